/* libcurl as a table of functions. It is loaded when a store elsewhere is first spoken to: linked, its thirty libraries
 * would cost every start 2 ms, and 6 MiB of memory, also of the tools that write to a drive.
 *
 * Swift calls no variadic function, so each kind of option has a setter. */
#include <curl/curl.h>
#include <dlfcn.h>

struct curl_functions {
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *);
    void (*easy_reset)(CURL *);
    CURLcode (*easy_perform)(CURL *);
    CURLcode (*easy_pause)(CURL *, int);
    const char *(*easy_strerror)(CURLcode);
    CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
    CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
};

/* 0, or -1 where libcurl is not there; dlerror(3) says why. The library is never unloaded. */
static inline int curl_functions_load(struct curl_functions *curl) {
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return -1;
#define LOAD(NAME) ((curl->NAME = (__typeof__(curl->NAME))dlsym(library, "curl_" #NAME)) != 0)
    return LOAD(easy_init) && LOAD(easy_cleanup) && LOAD(easy_reset) && LOAD(easy_perform) && LOAD(easy_pause) &&
                   LOAD(easy_strerror) && LOAD(easy_setopt) && LOAD(easy_getinfo) && LOAD(slist_append) && LOAD(slist_free_all)
               ? 0
               : -1;
#undef LOAD
}

static inline CURLcode curl_set_long(const struct curl_functions *curl, CURL *handle, CURLoption option, long value) {
    return curl->easy_setopt(handle, option, value);
}

static inline CURLcode curl_set_offset(const struct curl_functions *curl, CURL *handle, CURLoption option,
                                       curl_off_t value) {
    return curl->easy_setopt(handle, option, value);
}

static inline CURLcode curl_set_string(const struct curl_functions *curl, CURL *handle, CURLoption option,
                                       const char *value) {
    return curl->easy_setopt(handle, option, value);
}

static inline CURLcode curl_set_pointer(const struct curl_functions *curl, CURL *handle, CURLoption option,
                                        void *value) {
    return curl->easy_setopt(handle, option, value);
}

/* Read, write and header functions are of one type. */
static inline CURLcode curl_set_bytes_function(const struct curl_functions *curl, CURL *handle, CURLoption option,
                                               size_t (*value)(char *, size_t, size_t, void *)) {
    return curl->easy_setopt(handle, option, value);
}

static inline CURLcode curl_set_seek_function(const struct curl_functions *curl, CURL *handle,
                                              int (*value)(void *, curl_off_t, int)) {
    return curl->easy_setopt(handle, CURLOPT_SEEKFUNCTION, value);
}

static inline CURLcode curl_set_progress_function(const struct curl_functions *curl, CURL *handle,
                                                  int (*value)(void *, curl_off_t, curl_off_t, curl_off_t,
                                                               curl_off_t)) {
    return curl->easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, value);
}

static inline CURLcode curl_set_open_socket_function(
    const struct curl_functions *curl, CURL *handle,
    curl_socket_t (*value)(void *, curlsocktype, struct curl_sockaddr *)) {
    return curl->easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, value);
}

static inline CURLcode curl_get_long(const struct curl_functions *curl, CURL *handle, CURLINFO info, long *value) {
    return curl->easy_getinfo(handle, info, value);
}
