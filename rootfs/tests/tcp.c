/* TCP on loopback: names, bytes, ends that close, resets, readiness, limits. */
#include "inet.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

CASE(bytes_go_both_ways_between_names)
{
    struct sockaddr_in name, peer;
    socklen_t len = sizeof name;
    char buffer[16];
    struct pair pair = connected_pair();

    REQUIRE(getpeername(pair.client, (struct sockaddr *)&peer, &len) == 0);
    CHECK_EQUAL(len, sizeof peer);
    REQUIRE(getsockname(pair.server, (struct sockaddr *)&name, &len) == 0);
    CHECK_EQUAL(name.sin_port, peer.sin_port);
    CHECK_EQUAL(name.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    CHECK_EQUAL(name.sin_family, AF_INET);
    REQUIRE(getsockname(pair.client, (struct sockaddr *)&name, &len) == 0);
    REQUIRE(getpeername(pair.server, (struct sockaddr *)&peer, &len) == 0);
    CHECK_EQUAL(name.sin_port, peer.sin_port);
    CHECK(ntohs(name.sin_port) >= 32768);
    CHECK_EQUAL(ready(pair.client), POLLOUT);
    CHECK_EQUAL(write(pair.client, "request", 7), 7);
    CHECK_EQUAL(send(pair.client, "!", 1, 0), 1);
    CHECK_EQUAL(ready(pair.server), POLLIN | POLLOUT);
    CHECK_EQUAL(recv(pair.server, buffer, 8, MSG_WAITALL), 8);
    CHECK(memcmp(buffer, "request!", 8) == 0);
    CHECK_EQUAL(send(pair.server, "answer", 6, 0), 6);
    CHECK_EQUAL(recv(pair.client, buffer, 3, 0), 3);
    CHECK_EQUAL(recv(pair.client, buffer, 16, MSG_DONTWAIT), 3);
    CHECK_FAILS(recv(pair.client, buffer, 16, MSG_DONTWAIT), EAGAIN);
    CHECK_EQUAL(write(pair.client, "", 0), 0);
    CHECK_EQUAL(ready(pair.server), POLLOUT);
}

CASE(what_is_not_connected)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = loopback(0);
    socklen_t len = sizeof name;
    char byte;

    REQUIRE(fd >= 0);
    signal(SIGPIPE, SIG_IGN);
    CHECK_EQUAL(ready(fd), POLLOUT | POLLHUP);
    CHECK_FAILS(getpeername(fd, (struct sockaddr *)&name, &len), ENOTCONN);
    CHECK(getsockname(fd, (struct sockaddr *)&name, &len) == 0);
    CHECK_EQUAL(name.sin_port, 0);
    CHECK_FAILS(recv(fd, &byte, 1, 0), ENOTCONN);
    CHECK_FAILS(send(fd, &byte, 1, 0), EPIPE);
    CHECK_FAILS(shutdown(fd, SHUT_RDWR), ENOTCONN);
    CHECK_FAILS(accept(fd, NULL, NULL), EINVAL);
    CHECK_FAILS(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
    CHECK_FAILS(socket(AF_INET, SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
    CHECK_FAILS(socket(AF_INET, 77, 0), EINVAL);
    CHECK_FAILS(socket(12345, SOCK_STREAM, 0), EAFNOSUPPORT);
    CHECK_FAILS(connect(fd, (struct sockaddr *)&name, 5), EINVAL);
    name.sin_family = 77;
    CHECK_FAILS(connect(fd, (struct sockaddr *)&name, sizeof name), EAFNOSUPPORT);
    CHECK_FAILS(bind(fd, (struct sockaddr *)&name, sizeof name), EAFNOSUPPORT);
    CHECK_FAILS(getsockname(0, (struct sockaddr *)&name, &len), ENOTSOCK);
    CHECK_FAILS(getsockname(99, (struct sockaddr *)&name, &len), EBADF);
    CHECK_FAILS(getsockname(fd, (struct sockaddr *)8, &len), EFAULT);
    len = -1;
    CHECK_FAILS(getsockname(fd, (struct sockaddr *)&name, &len), EINVAL);
}

CASE(nobody_listens)
{
    struct sockaddr_in name = loopback(0);
    int fd = socket(AF_INET, SOCK_STREAM, 0), error;
    int listener = listening(&name, 1);
    socklen_t len = sizeof error;

    close(listener);
    CHECK_FAILS(connect(fd, (struct sockaddr *)&name, sizeof name), ECONNREFUSED);
    CHECK_FAILS(connect(fd, (struct sockaddr *)&name, sizeof name), ECONNREFUSED);
    REQUIRE(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    CHECK_FAILS(connect(fd, (struct sockaddr *)&name, sizeof name), EINPROGRESS);
    CHECK_EQUAL(ready(fd), POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0);
    CHECK_EQUAL(error, ECONNREFUSED);
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0);
    CHECK_EQUAL(error, 0);
    CHECK_FAILS(connect(fd, (struct sockaddr *)&name, sizeof name), ECONNABORTED);
    name.sin_addr.s_addr = htonl(0x0a010203);
    CHECK_FAILS(connect(fd, (struct sockaddr *)&name, sizeof name), ENETUNREACH);
    CHECK_FAILS(bind(fd, (struct sockaddr *)&name, sizeof name), EADDRNOTAVAIL);
}

CASE(who_does_not_wait_is_told_later)
{
    struct sockaddr_in name = loopback(0);
    int listener = listening(&name, 5), error = -1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    socklen_t len = sizeof error;

    CHECK_FAILS(connect(fd, (struct sockaddr *)&name, sizeof name), EINPROGRESS);
    CHECK_EQUAL(ready(fd), POLLOUT);
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0);
    CHECK_EQUAL(error, 0);
    CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0);
    CHECK_FAILS(connect(fd, (struct sockaddr *)&name, sizeof name), EISCONN);
    CHECK_EQUAL(ready(listener), POLLIN);
    REQUIRE(fcntl(listener, F_SETFL, O_NONBLOCK) == 0);
    int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    CHECK(accepted >= 0);
    CHECK_EQUAL(fcntl(accepted, F_GETFD), FD_CLOEXEC);
    CHECK_EQUAL(fcntl(accepted, F_GETFL), O_RDWR | O_NONBLOCK);
    CHECK_FAILS(accept(listener, NULL, NULL), EAGAIN);
    CHECK_FAILS(accept4(listener, NULL, NULL, 1), EINVAL);
    CHECK_EQUAL(ready(listener), 0);
}

CASE(accept_tells_who_connected)
{
    struct sockaddr_in name = loopback(0), told, own;
    int listener = listening(&name, 5);
    socklen_t len = sizeof told;
    int client = socket(AF_INET, SOCK_STREAM, 0);

    REQUIRE(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
    CHECK_EQUAL(send(client, "early", 5, 0), 5);
    REQUIRE(getsockname(client, (struct sockaddr *)&own, &len) == 0);
    close(client);
    memset(&told, 0, sizeof told);
    len = sizeof told;
    int server = accept(listener, (struct sockaddr *)&told, &len);
    REQUIRE(server >= 0);
    CHECK_EQUAL(len, sizeof told);
    CHECK_EQUAL(told.sin_port, own.sin_port);
    CHECK_EQUAL(told.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    char buffer[8];
    CHECK_EQUAL(read(server, buffer, 8), 5);
    CHECK_EQUAL(read(server, buffer, 8), 0);
}

CASE(a_direction_that_ends_leaves_the_other)
{
    struct pair pair = connected_pair();
    char buffer[8];

    signal(SIGPIPE, SIG_IGN);
    CHECK_EQUAL(write(pair.client, "last", 4), 4);
    CHECK(shutdown(pair.client, SHUT_WR) == 0);
    CHECK_FAILS(write(pair.client, "x", 1), EPIPE);
    CHECK_EQUAL(ready(pair.client), POLLOUT);
    CHECK_EQUAL(ready(pair.server), POLLIN | POLLOUT | POLLRDHUP);
    CHECK_EQUAL(read(pair.server, buffer, 8), 4);
    CHECK_EQUAL(read(pair.server, buffer, 8), 0);
    CHECK_EQUAL(write(pair.server, "answer", 6), 6);
    CHECK_EQUAL(read(pair.client, buffer, 8), 6);
    CHECK(shutdown(pair.server, SHUT_WR) == 0);
    CHECK_EQUAL(ready(pair.client), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
    CHECK_EQUAL(ready(pair.server), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
    CHECK_EQUAL(read(pair.client, buffer, 8), 0);
    CHECK_FAILS(shutdown(pair.client, SHUT_RDWR), ENOTCONN);
    CHECK_FAILS(shutdown(pair.server, 3), EINVAL);
}

CASE(who_receives_no_more_still_gets_what_is_sent)
{
    struct pair pair = connected_pair();
    char buffer[8];

    CHECK(shutdown(pair.server, SHUT_RD) == 0);
    CHECK_EQUAL(ready(pair.server), POLLIN | POLLOUT | POLLRDHUP);
    CHECK_EQUAL(read(pair.server, buffer, 8), 0);
    CHECK_EQUAL(write(pair.client, "still", 5), 5);
    CHECK_EQUAL(read(pair.server, buffer, 8), 5);
    CHECK_EQUAL(read(pair.server, buffer, 8), 0);
    CHECK_EQUAL(ready(pair.client), POLLOUT);
}

CASE(bytes_that_nobody_read_make_a_reset)
{
    struct pair pair = connected_pair();
    char buffer[8];
    int error;
    socklen_t len = sizeof error;

    signal(SIGPIPE, SIG_IGN);
    CHECK_EQUAL(write(pair.client, "unread", 6), 6);
    CHECK_EQUAL(write(pair.server, "before", 6), 6);
    close(pair.server);
    CHECK_EQUAL(ready(pair.client), POLLIN | POLLOUT | POLLERR | POLLRDHUP | POLLHUP);
    CHECK_EQUAL(read(pair.client, buffer, 8), 6);
    CHECK_FAILS(read(pair.client, buffer, 8), ECONNRESET);
    CHECK_EQUAL(read(pair.client, buffer, 8), 0);
    CHECK_FAILS(write(pair.client, "x", 1), EPIPE);
    CHECK(getsockopt(pair.client, SOL_SOCKET, SO_ERROR, &error, &len) == 0);
    CHECK_EQUAL(error, 0);
    CHECK_EQUAL(ready(pair.client), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
}

CASE(linger_of_zero_resets)
{
    struct pair pair = connected_pair();
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    char byte;

    REQUIRE(setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    close(pair.client);
    CHECK_FAILS(write(pair.server, "x", 1), ECONNRESET);
    CHECK_EQUAL(read(pair.server, &byte, 1), 0);
}

CASE(to_write_to_a_closed_end_is_answered_by_a_reset)
{
    struct pair pair = connected_pair();
    char byte;

    signal(SIGPIPE, SIG_IGN);
    close(pair.server);
    CHECK_EQUAL(ready(pair.client), POLLIN | POLLOUT | POLLRDHUP);
    CHECK_EQUAL(read(pair.client, &byte, 1), 0);
    CHECK_EQUAL(write(pair.client, "x", 1), 1);
    CHECK_EQUAL(ready(pair.client), POLLIN | POLLOUT | POLLERR | POLLRDHUP | POLLHUP);
    CHECK_FAILS(write(pair.client, "x", 1), EPIPE);
    CHECK_EQUAL(read(pair.client, &byte, 1), 0);
}

static volatile int broken;

static void on_broken(int number)
{
    (void)number;
    broken++;
}

CASE(a_broken_connection_raises_a_signal)
{
    struct pair pair = connected_pair();

    signal(SIGPIPE, on_broken);
    REQUIRE(shutdown(pair.client, SHUT_WR) == 0);
    CHECK_FAILS(send(pair.client, "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_EQUAL(broken, 0);
    CHECK_FAILS(send(pair.client, "x", 1, 0), EPIPE);
    CHECK_EQUAL(broken, 1);
    CHECK_FAILS(write(pair.client, "x", 1), EPIPE);
    CHECK_EQUAL(broken, 2);
}

CASE(peek_wait_for_all_and_throw_away)
{
    struct pair pair = connected_pair();
    char buffer[16];
    int bytes, status;

    CHECK_EQUAL(write(pair.client, "abcdef", 6), 6);
    CHECK_EQUAL(recv(pair.server, buffer, 4, MSG_PEEK), 4);
    CHECK(ioctl(pair.server, FIONREAD, &bytes) == 0);
    CHECK_EQUAL(bytes, 6);
    CHECK_EQUAL(recv(pair.server, NULL, 2, MSG_TRUNC), 2);
    CHECK_EQUAL(recv(pair.server, buffer, 16, MSG_PEEK), 4);
    CHECK(memcmp(buffer, "cdef", 4) == 0);
    pid_t child = fork();
    if (child == 0) {
        usleep(20000);
        _exit(write(pair.client, "ghij", 4) == 4 ? 0 : 1);
    }
    CHECK_EQUAL(recv(pair.server, buffer, 8, MSG_WAITALL), 8);
    CHECK(memcmp(buffer, "cdefghij", 8) == 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK_EQUAL(write(pair.client, "kl", 2), 2);
    CHECK_EQUAL(recv(pair.server, buffer, 8, MSG_WAITALL | MSG_DONTWAIT), 2);
    CHECK_FAILS(recv(pair.server, buffer, 8, MSG_OOB), EINVAL);
}

CASE(a_sender_waits_for_room)
{
    enum { TOTAL = 8 << 20 };
    struct pair pair = connected_pair();
    static unsigned char bytes[TOTAL];
    long wrong = 0, sent = 0, got;
    int status;

    REQUIRE(fcntl(pair.client, F_SETFL, O_NONBLOCK) == 0);
    while ((got = write(pair.client, bytes, 65536)) > 0)
        sent += got;
    CHECK_EQUAL(errno, EAGAIN);
    CHECK(sent >= 200000 && sent < 7 << 20);
    CHECK_EQUAL(ready(pair.client), 0);
    for (long left = sent; left > 0; left -= got)
        REQUIRE((got = read(pair.server, bytes, left)) > 0);
    CHECK_EQUAL(ready(pair.client), POLLOUT);
    REQUIRE(fcntl(pair.client, F_SETFL, 0) == 0);
    pid_t child = fork();
    if (child == 0) {
        for (long i = 0; i < TOTAL; i++)
            bytes[i] = (i * 7 + i / 4096) & 255;
        _exit(send(pair.client, bytes, TOTAL, 0) == TOTAL ? 0 : 1);
    }
    CHECK_EQUAL(recv(pair.server, bytes, TOTAL, MSG_WAITALL), TOTAL);
    for (long i = 0; i < TOTAL; i++)
        wrong += bytes[i] != ((i * 7 + i / 4096) & 255);
    CHECK_EQUAL(wrong, 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

CASE(waiting_has_limits)
{
    struct pair pair = connected_pair();
    struct timeval limit = {.tv_usec = 50000}, told;
    struct sockaddr_in name = loopback(0);
    int listener = listening(&name, 1);
    socklen_t len = sizeof told;
    char byte;

    REQUIRE(setsockopt(pair.client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    REQUIRE(getsockopt(pair.client, SOL_SOCKET, SO_RCVTIMEO, &told, &len) == 0);
    CHECK(told.tv_sec == 0 && told.tv_usec >= 50000 && told.tv_usec < 60000);
    long long before = check_milliseconds();
    CHECK_FAILS(read(pair.client, &byte, 1), EAGAIN);
    CHECK_FAILS(recv(pair.client, &byte, 1, 0), EAGAIN);
    CHECK(check_milliseconds() - before >= 95);
    REQUIRE(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK_FAILS(accept(listener, NULL, NULL), EAGAIN);
    limit.tv_usec = 1000000;
    CHECK_FAILS(setsockopt(pair.client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), EDOM);
}

CASE(epoll_tells_edges)
{
    struct pair pair = connected_pair();
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET}, got[4];
    char buffer[8];

    REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, pair.server, &event) == 0);
    CHECK_EQUAL(epoll_wait(epoll, got, 4, 0), 1);
    CHECK_EQUAL(got[0].events, EPOLLOUT);
    CHECK_EQUAL(epoll_wait(epoll, got, 4, 0), 0);
    CHECK_EQUAL(write(pair.client, "abcd", 4), 4);
    CHECK_EQUAL(epoll_wait(epoll, got, 4, 0), 1);
    CHECK_EQUAL(got[0].events, EPOLLIN | EPOLLOUT);
    CHECK_EQUAL(epoll_wait(epoll, got, 4, 0), 0);
    CHECK_EQUAL(read(pair.server, buffer, 2), 2);
    CHECK_EQUAL(epoll_wait(epoll, got, 4, 0), 0);
    CHECK_EQUAL(write(pair.client, "e", 1), 1);
    CHECK_EQUAL(epoll_wait(epoll, got, 4, 0), 1);
    CHECK_EQUAL(read(pair.server, buffer, 8), 3);
    CHECK(shutdown(pair.client, SHUT_WR) == 0);
    CHECK_EQUAL(epoll_wait(epoll, got, 4, 0), 1);
    CHECK_EQUAL(got[0].events, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    close(pair.client);
    CHECK_EQUAL(write(pair.server, "x", 1), 1);
    CHECK_EQUAL(epoll_wait(epoll, got, 4, 1000), 1);
    CHECK_EQUAL(got[0].events, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLERR | EPOLLHUP);
}

CASE(a_reader_that_waits_is_woken_by_the_end)
{
    for (int how = 0; how < 2; how++) {
        struct pair pair = connected_pair();
        struct linger linger = {.l_onoff = how, .l_linger = 0};
        char byte;
        int status;

        pid_t child = fork();
        if (child == 0) {
            usleep(20000);
            setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
            _exit(0);
        }
        close(pair.client);
        if (how == 0)
            CHECK_EQUAL(read(pair.server, &byte, 1), 0);
        else
            CHECK_FAILS(read(pair.server, &byte, 1), ECONNRESET);
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
}
