/* What tests of internet sockets share. */
#ifndef INET_H
#define INET_H

#include "check.h"
#include "loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

/* What a descriptor is ready for, everything asked. */
__attribute__((unused)) static int ready(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP | POLLPRI};
    return poll(&entry, 1, 0) < 0 ? -1 : entry.revents;
}

__attribute__((unused)) static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A listener with this name, in which a port of 0 becomes the one it has. */
__attribute__((unused)) static int listening(struct sockaddr_in *name, int backlog)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t len = sizeof *name;

    REQUIRE(fd >= 0);
    REQUIRE(bind(fd, (struct sockaddr *)name, sizeof *name) == 0);
    REQUIRE(listen(fd, backlog) == 0);
    REQUIRE(getsockname(fd, (struct sockaddr *)name, &len) == 0);
    return fd;
}

struct pair {
    int client, server;
};

/* Two ends of a connection. */
__attribute__((unused)) static struct pair connected_pair(void)
{
    struct sockaddr_in name = loopback(0);
    struct pair pair;
    int listener = listening(&name, 1);

    pair.client = socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(connect(pair.client, (struct sockaddr *)&name, sizeof name) == 0);
    pair.server = accept(listener, NULL, NULL);
    REQUIRE(pair.server >= 0);
    close(listener);
    return pair;
}

#endif
