/* Local socket pairs: streams, messages, what comes with them, ends that close. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static int ready(int fd, int events)
{
    struct pollfd entry = {.fd = fd, .events = events};
    return poll(&entry, 1, 0) < 0 ? -1 : entry.revents;
}

CASE(a_stream_goes_both_ways)
{
    int ends[2], bytes;
    char buffer[8];

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK_EQUAL(ready(ends[0], POLLIN | POLLOUT), POLLOUT);
    CHECK_EQUAL(write(ends[0], "hel", 3), 3);
    CHECK_EQUAL(send(ends[0], "lo", 2, MSG_NOSIGNAL), 2);
    CHECK(ioctl(ends[1], FIONREAD, &bytes) == 0);
    CHECK_EQUAL(bytes, 5);
    CHECK_EQUAL(recv(ends[1], buffer, 2, MSG_PEEK), 2);
    CHECK_EQUAL(read(ends[1], buffer, 8), 5);
    CHECK(memcmp(buffer, "hello", 5) == 0);
    CHECK_EQUAL(write(ends[1], "back", 4), 4);
    CHECK_EQUAL(recv(ends[0], buffer, 8, 0), 4);
    CHECK_FAILS(recv(ends[0], buffer, 8, MSG_DONTWAIT), EAGAIN);
}

CASE(messages_stay_apart)
{
    int kinds[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    char buffer[8];
    static char large[20000];

    for (int i = 0; i < 2; i++) {
        int ends[2];
        REQUIRE(socketpair(AF_UNIX, kinds[i] | SOCK_NONBLOCK, 0, ends) == 0);
        CHECK_EQUAL(send(ends[0], "hello", 5, 0), 5);
        CHECK_EQUAL(send(ends[0], "", 0, 0), 0);
        CHECK_EQUAL(send(ends[0], "you", 3, 0), 3);
        CHECK_EQUAL(recv(ends[1], buffer, 2, MSG_PEEK | MSG_TRUNC), 5);
        CHECK_EQUAL(recv(ends[1], buffer, 2, 0), 2);
        CHECK_EQUAL(recv(ends[1], buffer, 8, 0), 0);
        CHECK_EQUAL(read(ends[1], buffer, 8), 3);
        CHECK_FAILS(recv(ends[1], buffer, 8, 0), EAGAIN);
        large[0] = 1;
        large[19999] = 2;
        CHECK_EQUAL(send(ends[0], large, 20000, 0), 20000);
        large[0] = large[19999] = 0;
        CHECK_EQUAL(recv(ends[1], large, 20000, 0), 20000);
        CHECK(large[0] == 1 && large[19999] == 2);
    }
}

CASE(a_message_may_be_too_large)
{
    int ends[2];
    static char large[1 << 20];

    REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    CHECK_FAILS(send(ends[0], large, sizeof large, 0), EMSGSIZE);
}

CASE(an_end_that_closes)
{
    int ends[2];
    char buffer[8];

    signal(SIGPIPE, SIG_IGN);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    REQUIRE(write(ends[0], "ab", 2) == 2);
    close(ends[0]);
    CHECK_EQUAL(ready(ends[1], POLLIN | POLLRDHUP | POLLOUT), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
    CHECK_EQUAL(read(ends[1], buffer, 8), 2);
    CHECK_EQUAL(read(ends[1], buffer, 8), 0);
    CHECK_FAILS(write(ends[1], "x", 1), EPIPE);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    REQUIRE(write(ends[1], "unread", 6) == 6);
    close(ends[0]);
    CHECK_FAILS(read(ends[1], buffer, 8), ECONNRESET);
    CHECK_EQUAL(read(ends[1], buffer, 8), 0);
    REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    close(ends[0]);
    CHECK_FAILS(write(ends[1], "x", 1), ECONNREFUSED);
}

static volatile int broken;

static void on_broken(int number)
{
    (void)number;
    broken++;
}

CASE(directions_can_be_shut_down)
{
    int ends[2];
    char byte;

    signal(SIGPIPE, on_broken);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK_FAILS(shutdown(ends[0], 3), EINVAL);
    CHECK(shutdown(ends[0], SHUT_WR) == 0);
    CHECK_EQUAL(read(ends[1], &byte, 1), 0);
    CHECK_EQUAL(ready(ends[1], POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
    CHECK_FAILS(send(ends[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_EQUAL(broken, 0);
    CHECK_FAILS(send(ends[0], "x", 1, 0), EPIPE);
    CHECK_EQUAL(broken, 1);
    CHECK_EQUAL(write(ends[1], "x", 1), 1);
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
}

CASE(a_sender_waits_for_room_and_a_receiver_for_all)
{
    enum { TOTAL = 1 << 20 };
    int ends[2], status;
    static unsigned char bytes[TOTAL];
    long wrong = 0;

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        for (long i = 0; i < TOTAL; i++)
            bytes[i] = (i * 7 + i / 4096) & 255;
        _exit(send(ends[0], bytes, TOTAL, 0) == TOTAL ? 0 : 1);
    }
    CHECK_EQUAL(recv(ends[1], bytes, TOTAL, MSG_WAITALL), TOTAL);
    for (long i = 0; i < TOTAL; i++)
        wrong += bytes[i] != ((i * 7 + i / 4096) & 255);
    CHECK_EQUAL(wrong, 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

CASE(who_may_not_wait_sends_what_fits)
{
    int ends[2];
    static char bytes[1 << 20];

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    CHECK_EQUAL(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
    long sent = write(ends[0], bytes, sizeof bytes);
    CHECK(sent > 65536 && sent < (long)sizeof bytes);
    CHECK_FAILS(write(ends[0], bytes, 4096), EAGAIN);
    CHECK_EQUAL(ready(ends[0], POLLOUT), 0);
    while (sent > 0) {
        long count = read(ends[1], bytes, sizeof bytes);
        REQUIRE(count > 0);
        sent -= count;
    }
    CHECK_EQUAL(ready(ends[0], POLLOUT), POLLOUT);
}

static long send_rights(int socket, const void *bytes, size_t len, const int *fds, int count)
{
    char control[CMSG_SPACE(8 * sizeof(int))] = {0};
    struct iovec piece = {(void *)bytes, len};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control};
    struct cmsghdr *header = (void *)control;

    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    return sendmsg(socket, &message, 0);
}

CASE(descriptors_are_passed)
{
    int ends[2], through[2], got[2];
    char bytes[8], control[CMSG_SPACE(2 * sizeof(int))];
    struct iovec piece = {bytes, 8};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control};
    struct cmsghdr *header = (void *)control;

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && pipe(through) == 0);
    CHECK_EQUAL(write(ends[0], "ab", 2), 2);
    CHECK_EQUAL(send_rights(ends[0], "cd", 2, through, 2), 2);
    CHECK_EQUAL(write(ends[0], "ef", 2), 2);
    close(through[1]);
    message.msg_controllen = sizeof control;
    /* A read ends after the bytes that descriptors came with. */
    CHECK_EQUAL(recvmsg(ends[1], &message, MSG_CMSG_CLOEXEC), 4);
    CHECK(memcmp(bytes, "abcd", 4) == 0);
    CHECK_EQUAL(message.msg_controllen, CMSG_SPACE(2 * sizeof(int)));
    CHECK_EQUAL(header->cmsg_type, SCM_RIGHTS);
    memcpy(got, CMSG_DATA(header), sizeof got);
    CHECK_EQUAL(fcntl(got[0], F_GETFD), FD_CLOEXEC);
    CHECK_EQUAL(write(got[1], "x", 1), 1);
    CHECK_EQUAL(read(through[0], bytes, 1), 1);
    message.msg_controllen = sizeof control;
    CHECK_EQUAL(recvmsg(ends[1], &message, 0), 2);
    CHECK_EQUAL(message.msg_controllen, 0);
    /* Not received, they go with the socket. */
    REQUIRE(pipe(through) == 0);
    CHECK_EQUAL(send_rights(ends[0], "x", 1, &through[1], 1), 1);
    close(through[1]);
    close(ends[0]);
    close(ends[1]);
    CHECK_EQUAL(read(through[0], bytes, 1), 0);
    int bad = 999;
    REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    CHECK_FAILS(send_rights(ends[0], "x", 1, &bad, 1), EBADF);
}

CASE(options_and_names)
{
    int ends[2], number, on = 1;
    socklen_t len = sizeof number;
    struct ucred peer;
    struct sockaddr_un name;

    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
    CHECK(getsockopt(ends[0], SOL_SOCKET, SO_TYPE, &number, &len) == 0 && number == SOCK_SEQPACKET);
    CHECK(getsockopt(ends[0], SOL_SOCKET, SO_DOMAIN, &number, &len) == 0 && number == AF_UNIX);
    CHECK(getsockopt(ends[0], SOL_SOCKET, SO_ERROR, &number, &len) == 0 && number == 0);
    CHECK(getsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &number, &len) == 0);
    CHECK_EQUAL(number, 212992);
    number = 10000;
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &number, len) == 0);
    CHECK(getsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &number, &len) == 0);
    CHECK_EQUAL(number, 20000);
    len = sizeof peer;
    CHECK(getsockopt(ends[0], SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0);
    CHECK_EQUAL(peer.pid, getpid());
    CHECK_EQUAL(peer.uid, getuid());
    CHECK_FAILS(getsockopt(ends[0], SOL_SOCKET, 9999, &number, &len), ENOPROTOOPT);
    len = sizeof name;
    CHECK(getsockname(ends[0], (void *)&name, &len) == 0);
    CHECK(len == 2 && name.sun_family == AF_UNIX);
    len = sizeof name;
    CHECK(getpeername(ends[0], (void *)&name, &len) == 0 && len == 2);
    CHECK(setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    char bytes[4], control[CMSG_SPACE(sizeof peer)];
    struct iovec piece = {bytes, 4};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *header = (void *)control;
    CHECK_EQUAL(send(ends[0], "x", 1, 0), 1);
    CHECK_EQUAL(recvmsg(ends[1], &message, 0), 1);
    CHECK_EQUAL(header->cmsg_type, SCM_CREDENTIALS);
    memcpy(&peer, CMSG_DATA(header), sizeof peer);
    CHECK_EQUAL(peer.pid, getpid());
}

CASE(bad_arguments_are_refused)
{
    int ends[2], pipe_ends[2];
    char byte;

    CHECK_FAILS(socketpair(AF_UNIX, 77, 0, ends), EINVAL);
    CHECK_FAILS(socketpair(AF_UNIX, 9, 0, ends), ESOCKTNOSUPPORT);
    CHECK_FAILS(socketpair(AF_UNIX, SOCK_STREAM, 5, ends), EPROTONOSUPPORT);
    CHECK_FAILS(socketpair(199, SOCK_STREAM, 0, ends), EAFNOSUPPORT);
    CHECK_FAILS(socketpair(AF_UNIX, SOCK_STREAM, 0, (int *)8), EFAULT);
    REQUIRE(pipe(pipe_ends) == 0);
    CHECK_FAILS(send(pipe_ends[1], "x", 1, 0), ENOTSOCK);
    CHECK_FAILS(recv(-1, &byte, 1, 0), EBADF);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK_FAILS(send(ends[0], (void *)8, 1, 0), EFAULT);
    CHECK_FAILS(lseek(ends[0], 0, SEEK_SET), ESPIPE);
}

static void on_signal(int number)
{
    (void)number;
}

CASE(a_signal_interrupts)
{
    struct sigaction action = {.sa_handler = on_signal};
    int ends[2];
    char byte;
    pid_t parent = getpid();

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    sigaction(SIGUSR1, &action, NULL);
    if (fork() == 0) {
        /* Again and again: the first may come before the call. */
        do
            usleep(50000);
        while (kill(parent, SIGUSR1) == 0);
        _exit(0);
    }
    CHECK_FAILS(recv(ends[0], &byte, 1, 0), EINTR);
}

/* Whether the other end of a pipe goes: sockets are closed meanwhile, which is when the kernel looks for those that
 * nobody can reach. */
static bool goes(int pipe_end)
{
    struct pollfd end = {.fd = pipe_end, .events = POLLIN};

    for (int tries = 0; tries < 100; tries++) {
        int ends[2];

        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
            return false;
        close(ends[0]);
        close(ends[1]);
        if (poll(&end, 1, 50) == 1)
            return end.revents & POLLHUP;
    }
    return false;
}

CASE(sockets_that_nobody_can_reach_are_freed)
{
    int one[2], two[2], pipe_ends[2];

    /* One in its own queue. */
    REQUIRE(pipe(pipe_ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, one) == 0);
    int itself[] = {one[1], pipe_ends[1]};
    CHECK_EQUAL(send_rights(one[0], "x", 1, itself, 2), 1);
    close(one[0]);
    close(one[1]);
    close(pipe_ends[1]);
    CHECK(goes(pipe_ends[0]));
    close(pipe_ends[0]);
    /* Two in each other's. */
    REQUIRE(pipe(pipe_ends) == 0);
    REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, one) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, two) == 0);
    int first[] = {one[1], pipe_ends[1]}, second[] = {two[1]};
    CHECK_EQUAL(send_rights(two[0], "x", 1, first, 2), 1);
    CHECK_EQUAL(send_rights(one[0], "x", 1, second, 1), 1);
    close(one[0]);
    close(one[1]);
    close(two[0]);
    close(two[1]);
    close(pipe_ends[1]);
    CHECK(goes(pipe_ends[0]));
}

CASE(sockets_that_somebody_can_reach_stay)
{
    int one[2], two[2], pipe_ends[2];
    struct pollfd end;

    REQUIRE(pipe(pipe_ends) == 0);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, one) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, two) == 0);
    /* The pipe lies in a queue whose socket lies in a queue that is open. */
    int inner[] = {two[1], pipe_ends[1]}, outer[] = {two[1]};
    CHECK_EQUAL(send_rights(two[0], "x", 1, inner, 2), 1);
    CHECK_EQUAL(send_rights(one[0], "x", 1, outer, 1), 1);
    close(two[0]);
    close(two[1]);
    close(pipe_ends[1]);
    end = (struct pollfd){.fd = pipe_ends[0], .events = POLLIN};
    for (int i = 0; i < 5; i++) {
        int ends[2];

        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
        close(ends[0]);
        close(ends[1]);
        CHECK_EQUAL(poll(&end, 1, 20), 0);
    }
    close(one[1]);
    CHECK(goes(pipe_ends[0]));
}
