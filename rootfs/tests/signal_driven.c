/* Signal-driven input: who owns a file is sent a signal when it becomes ready. */
#include "inet.h"

#include <fcntl.h>
#include <asm/ioctls.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

/* Waits for a signal of this set for at most a second; its number, or -1. */
static int arrived(const sigset_t *set, siginfo_t *info)
{
    struct timespec limit = {.tv_sec = 1};

    return sigtimedwait(set, info, &limit);
}

static int none_arrived(const sigset_t *set)
{
    struct timespec limit = {.tv_nsec = 50000000};

    return sigtimedwait(set, NULL, &limit) < 0 && errno == EAGAIN;
}

static sigset_t block(int number)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return set;
}

static void use(int reader, int writer)
{
    sigset_t set = block(SIGIO);
    char byte;
    int on = 1, off = 0;

    CHECK_EQUAL(fcntl(reader, F_GETOWN), 0);
    CHECK(fcntl(reader, F_SETOWN, getpid()) == 0);
    CHECK_EQUAL(fcntl(reader, F_GETOWN), getpid());
    CHECK(fcntl(reader, F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
    CHECK_EQUAL(fcntl(reader, F_GETFL) & O_ASYNC, O_ASYNC);
    CHECK(none_arrived(&set));
    CHECK_EQUAL(write(writer, "x", 1), 1);
    CHECK_EQUAL(arrived(&set, NULL), SIGIO);
    CHECK_EQUAL(read(reader, &byte, 1), 1);
    CHECK(ioctl(reader, FIOASYNC, &off) == 0);
    CHECK_EQUAL(fcntl(reader, F_GETFL) & O_ASYNC, 0);
    CHECK_EQUAL(write(writer, "x", 1), 1);
    CHECK(none_arrived(&set));
    CHECK(ioctl(reader, FIOASYNC, &on) == 0);
    CHECK_EQUAL(write(writer, "x", 1), 1);
    CHECK_EQUAL(arrived(&set, NULL), SIGIO);
}

CASE(a_pipe)
{
    int ends[2];

    REQUIRE(pipe(ends) == 0);
    use(ends[0], ends[1]);
}

CASE(a_local_socket)
{
    int ends[2];

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    use(ends[0], ends[1]);
}

CASE(a_connection)
{
    struct pair pair = connected_pair();

    use(pair.server, pair.client);
}

CASE(another_signal_says_what_happened)
{
    struct pair pair = connected_pair();
    int number = SIGRTMIN + 1;
    sigset_t set = block(number);
    siginfo_t info;

    CHECK_EQUAL(fcntl(pair.server, F_GETSIG), 0);
    CHECK(fcntl(pair.server, F_SETSIG, number) == 0);
    CHECK_EQUAL(fcntl(pair.server, F_GETSIG), number);
    CHECK_FAILS(fcntl(pair.server, F_SETSIG, 65), EINVAL);
    CHECK(fcntl(pair.server, F_SETOWN, getpid()) == 0);
    CHECK(fcntl(pair.server, F_SETFL, O_ASYNC) == 0);
    CHECK_EQUAL(write(pair.client, "x", 1), 1);
    CHECK_EQUAL(arrived(&set, &info), number);
    CHECK_EQUAL(info.si_fd, pair.server);
    CHECK_EQUAL(info.si_code, POLL_IN);
    CHECK_EQUAL(info.si_band & POLLIN, POLLIN);
}

CASE(owners)
{
    int ends[2], own;
    struct f_owner_ex owner = {.type = F_OWNER_PGRP, .pid = getpgrp()}, told;

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK_FAILS(fcntl(ends[0], F_SETOWN, 999999), ESRCH);
    CHECK(fcntl(ends[0], F_SETOWN_EX, &owner) == 0);
    CHECK(fcntl(ends[0], F_GETOWN_EX, &told) == 0);
    CHECK(told.type == F_OWNER_PGRP && told.pid == getpgrp());
    CHECK_EQUAL(fcntl(ends[0], F_GETOWN), -getpgrp());
    owner.type = 77;
    CHECK_FAILS(fcntl(ends[0], F_SETOWN_EX, &owner), EINVAL);
    own = getpid();
    CHECK(ioctl(ends[0], FIOSETOWN, &own) == 0);
    own = 0;
    CHECK(ioctl(ends[0], FIOGETOWN, &own) == 0);
    CHECK_EQUAL(own, getpid());
    CHECK(fcntl(ends[0], F_SETOWN, 0) == 0);
    CHECK_EQUAL(fcntl(ends[0], F_GETOWN), 0);
}
