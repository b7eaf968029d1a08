/* Connections of a process to itself by the loopback interface: nothing of them is on disk, and they go with the process. */
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline struct sockaddr_in linux_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* A socket with a port that nobody else has, or -1. One that listens never blocks. */
static inline int linux_loopback_socket(int listens, uint16_t *port) {
    struct sockaddr_in address = linux_loopback();
    socklen_t length = sizeof address;
    int number = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (listens ? SOCK_NONBLOCK : 0), 0);
    if (number < 0)
        return -1;
    if (bind(number, (struct sockaddr *)&address, sizeof address) != 0 || (listens && listen(number, 4) != 0) ||
        getsockname(number, (struct sockaddr *)&address, &length) != 0) {
        close(number);
        return -1;
    }
    *port = ntohs(address.sin_port);
    return number;
}

/* The connection that has come there from that port of ours, or -1: everybody on this machine can connect. */
static inline int linux_accept_from(int listener, uint16_t port) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int number = (int)syscall(SYS_accept4, listener, &address, &length, SOCK_CLOEXEC);
    if (number < 0)
        return -1;
    if (length == sizeof address && address.sin_addr.s_addr == htonl(INADDR_LOOPBACK) && ntohs(address.sin_port) == port)
        return number;
    close(number);
    return -1;
}
