/* What the process was started with. Swift's own way to the arguments reads /proc, and finds none where that is not mounted
 * or no descriptor is left. */

/* 0 where nobody handed them over. */
int arguments_count(void);

/* Of the arguments, from 0, or null. */
const char *arguments_at(int index);
