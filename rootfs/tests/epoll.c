/* epoll: how registrations behave, what they belong to, nesting, waiting. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static int add(int epoll, int fd, unsigned events)
{
    struct epoll_event event = {.events = events, .data.u64 = 0x100000000ull + fd};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static int change(int epoll, int fd, unsigned events)
{
    struct epoll_event event = {.events = events, .data.u64 = 0x200000000ull + fd};
    return epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

static int now(int epoll, struct epoll_event *events, int count)
{
    return epoll_wait(epoll, events, count, 0);
}

CASE(bad_arguments_are_refused)
{
    struct epoll_event event = {.events = EPOLLIN};
    int ends[2], epoll = epoll_create1(0);
    char name[] = "/tmp/epollXXXXXX";

    REQUIRE(epoll >= 0 && pipe(ends) == 0);
    CHECK_FAILS(epoll_create1(1), EINVAL);
    CHECK_FAILS(epoll_create(0), EINVAL);
    CHECK_FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, -1, &event), EBADF);
    CHECK_FAILS(epoll_ctl(-1, EPOLL_CTL_ADD, ends[0], &event), EBADF);
    CHECK_FAILS(epoll_ctl(ends[1], EPOLL_CTL_ADD, ends[0], &event), EINVAL);
    CHECK_FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &event), EINVAL);
    CHECK_FAILS(epoll_ctl(epoll, 7, ends[0], &event), EINVAL);
    CHECK_FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], (void *)8), EFAULT);
    CHECK_FAILS(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[0], &event), ENOENT);
    CHECK_FAILS(epoll_ctl(epoll, EPOLL_CTL_DEL, ends[0], NULL), ENOENT);
    REQUIRE(add(epoll, ends[0], EPOLLIN) == 0);
    CHECK_FAILS(add(epoll, ends[0], EPOLLIN), EEXIST);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_DEL, ends[0], NULL) == 0);
    CHECK_FAILS(epoll_wait(epoll, &event, 0, 0), EINVAL);
    CHECK_FAILS(epoll_wait(epoll, &event, -1, 0), EINVAL);
    CHECK_FAILS(epoll_wait(epoll, (void *)-4096L, 1, 0), EFAULT);
    CHECK_FAILS(epoll_wait(ends[0], &event, 1, 0), EINVAL);
    CHECK_FAILS(epoll_wait(-1, &event, 1, 0), EBADF);
    CHECK_FAILS(read(epoll, name, 1), EINVAL);
    int file = mkstemp(name);
    REQUIRE(file >= 0);
    CHECK_FAILS(add(epoll, file, EPOLLIN), EPERM);
    unlink(name);
    CHECK(fcntl(epoll_create1(EPOLL_CLOEXEC), F_GETFD) == FD_CLOEXEC);
}

CASE(level_triggered_tells_until_it_is_read)
{
    struct epoll_event event;
    int ends[2], epoll = epoll_create1(0);
    char byte;

    REQUIRE(pipe(ends) == 0 && add(epoll, ends[0], EPOLLIN) == 0);
    CHECK_EQUAL(now(epoll, &event, 1), 0);
    REQUIRE(write(ends[1], "x", 1) == 1);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(now(epoll, &event, 1), 1);
        CHECK_EQUAL(event.events, EPOLLIN);
        CHECK_EQUAL(event.data.u64, 0x100000000ull + ends[0]);
    }
    REQUIRE(read(ends[0], &byte, 1) == 1);
    CHECK_EQUAL(now(epoll, &event, 1), 0);
}

CASE(what_is_ready_when_it_is_added_is_told)
{
    struct epoll_event event;
    int ends[2], epoll = epoll_create1(0);

    REQUIRE(pipe(ends) == 0 && write(ends[1], "x", 1) == 1);
    CHECK(add(epoll, ends[0], EPOLLIN | EPOLLET) == 0);
    CHECK_EQUAL(now(epoll, &event, 1), 1);
    CHECK_EQUAL(now(epoll, &event, 1), 0);
}

CASE(edge_triggered_tells_each_write_once)
{
    struct epoll_event event;
    int ends[2], epoll = epoll_create1(0);
    char bytes[2];

    REQUIRE(pipe(ends) == 0 && add(epoll, ends[0], EPOLLIN | EPOLLET) == 0);
    for (int i = 0; i < 3; i++) {
        REQUIRE(write(ends[1], "x", 1) == 1);
        CHECK_EQUAL(now(epoll, &event, 1), 1);
        CHECK_EQUAL(now(epoll, &event, 1), 0);
    }
    REQUIRE(read(ends[0], bytes, 1) == 1);
    CHECK_EQUAL(now(epoll, &event, 1), 0);
    /* Changing what is waited for looks anew. */
    CHECK(change(epoll, ends[0], EPOLLIN | EPOLLET) == 0);
    CHECK_EQUAL(now(epoll, &event, 1), 1);
    CHECK_EQUAL(event.data.u64, 0x200000000ull + ends[0]);
}

CASE(one_shot_tells_once_until_it_is_armed_again)
{
    struct epoll_event event;
    int ends[2], epoll = epoll_create1(0);

    REQUIRE(pipe(ends) == 0 && add(epoll, ends[0], EPOLLIN | EPOLLONESHOT) == 0);
    REQUIRE(write(ends[1], "x", 1) == 1);
    CHECK_EQUAL(now(epoll, &event, 1), 1);
    CHECK_EQUAL(now(epoll, &event, 1), 0);
    REQUIRE(write(ends[1], "x", 1) == 1);
    CHECK_EQUAL(now(epoll, &event, 1), 0);
    close(ends[1]);
    CHECK_EQUAL(now(epoll, &event, 1), 0);
    CHECK(change(epoll, ends[0], EPOLLIN | EPOLLONESHOT) == 0);
    CHECK_EQUAL(now(epoll, &event, 1), 1);
    CHECK_EQUAL(event.events, EPOLLIN | EPOLLHUP);
}

CASE(hang_ups_and_errors_are_always_told)
{
    struct epoll_event event;
    int reads[2], writes[2], epoll = epoll_create1(0);

    REQUIRE(pipe(reads) == 0 && pipe(writes) == 0);
    REQUIRE(add(epoll, reads[0], 0) == 0 && add(epoll, writes[1], 0) == 0);
    CHECK_EQUAL(now(epoll, &event, 1), 0);
    close(reads[1]);
    CHECK_EQUAL(now(epoll, &event, 1), 1);
    CHECK_EQUAL(event.events, EPOLLHUP);
    REQUIRE(epoll_ctl(epoll, EPOLL_CTL_DEL, reads[0], NULL) == 0);
    close(writes[0]);
    CHECK_EQUAL(now(epoll, &event, 1), 1);
    CHECK_EQUAL(event.events, EPOLLERR);
}

CASE(a_registration_ends_with_the_opening_not_with_the_descriptor)
{
    struct epoll_event event;
    int ends[2], epoll = epoll_create1(0);

    REQUIRE(pipe(ends) == 0 && add(epoll, ends[0], EPOLLIN) == 0);
    int copy = dup(ends[0]), number = ends[0];
    close(ends[0]);
    REQUIRE(write(ends[1], "x", 1) == 1);
    CHECK_EQUAL(now(epoll, &event, 1), 1);
    CHECK_EQUAL(event.data.u64, 0x100000000ull + number);
    CHECK_FAILS(epoll_ctl(epoll, EPOLL_CTL_DEL, number, NULL), EBADF);
    CHECK_FAILS(epoll_ctl(epoll, EPOLL_CTL_DEL, copy, NULL), ENOENT);
    close(copy);
    CHECK_EQUAL(now(epoll, &event, 1), 0);
}

CASE(two_numbers_of_one_opening_are_two_registrations)
{
    struct epoll_event events[3];
    int ends[2], epoll = epoll_create1(0);

    REQUIRE(pipe(ends) == 0);
    int copy = dup(ends[0]);
    REQUIRE(add(epoll, ends[0], EPOLLIN) == 0 && add(epoll, copy, EPOLLIN) == 0);
    REQUIRE(write(ends[1], "x", 1) == 1);
    CHECK_EQUAL(now(epoll, events, 3), 2);
    CHECK_EQUAL(now(epoll, events, 1), 1);
}

CASE(a_short_array_gets_each_in_turn)
{
    struct epoll_event event;
    int epoll = epoll_create1(0), seen[3] = {0}, readers[3];

    for (int i = 0; i < 3; i++) {
        int ends[2];
        REQUIRE(pipe(ends) == 0);
        readers[i] = ends[0];
        REQUIRE(add(epoll, ends[0], EPOLLIN) == 0 && write(ends[1], "x", 1) == 1);
    }
    for (int i = 0; i < 6; i++) {
        REQUIRE(now(epoll, &event, 1) == 1);
        for (int j = 0; j < 3; j++)
            seen[j] += event.data.u64 == 0x100000000ull + readers[j];
    }
    for (int j = 0; j < 3; j++)
        CHECK_EQUAL(seen[j], 2);
}

CASE(an_instance_can_be_watched_by_poll_and_by_another)
{
    struct epoll_event event;
    int ends[2], inner = epoll_create1(0), outer = epoll_create1(0);
    struct pollfd entry = {.fd = outer, .events = POLLIN};
    char byte;

    REQUIRE(pipe(ends) == 0 && add(inner, ends[0], EPOLLIN) == 0 && add(outer, inner, EPOLLIN) == 0);
    CHECK_EQUAL(poll(&entry, 1, 0), 0);
    REQUIRE(write(ends[1], "x", 1) == 1);
    CHECK_EQUAL(poll(&entry, 1, 0), 1);
    CHECK_EQUAL(entry.revents, POLLIN);
    CHECK_EQUAL(now(outer, &event, 1), 1);
    CHECK_EQUAL(event.data.u64, 0x100000000ull + inner);
    CHECK_EQUAL(now(inner, &event, 1), 1);
    CHECK_EQUAL(event.data.u64, 0x100000000ull + ends[0]);
    REQUIRE(read(ends[0], &byte, 1) == 1);
    CHECK_EQUAL(now(outer, &event, 1), 0);
    CHECK_EQUAL(poll(&entry, 1, 0), 0);
}

CASE(circles_and_towers_are_refused)
{
    int tower[7];

    for (int i = 0; i < 7; i++)
        tower[i] = epoll_create1(0);
    CHECK(add(tower[0], tower[1], EPOLLIN) == 0);
    CHECK_FAILS(add(tower[1], tower[0], EPOLLIN), ELOOP);
    CHECK(add(tower[1], tower[2], EPOLLIN) == 0);
    CHECK_FAILS(add(tower[2], tower[0], EPOLLIN), ELOOP);
    CHECK(add(tower[2], tower[3], EPOLLIN) == 0);
    CHECK(add(tower[3], tower[4], EPOLLIN) == 0);
    CHECK_FAILS(add(tower[4], tower[5], EPOLLIN), ELOOP);
    CHECK_FAILS(add(tower[6], tower[0], EPOLLIN), ELOOP);
    CHECK(epoll_ctl(tower[0], EPOLL_CTL_DEL, tower[1], NULL) == 0);
    CHECK(add(tower[4], tower[5], EPOLLIN) == 0);
    CHECK(add(tower[5], tower[0], EPOLLIN) != 0);
}

CASE(exclusive_registrations)
{
    int ends[2], first = epoll_create1(0), second = epoll_create1(0);

    REQUIRE(pipe(ends) == 0);
    CHECK(add(first, ends[0], EPOLLIN | EPOLLEXCLUSIVE) == 0);
    CHECK(add(second, ends[0], EPOLLIN | EPOLLEXCLUSIVE | EPOLLET) == 0);
    CHECK_FAILS(change(first, ends[0], EPOLLIN), EINVAL);
    CHECK_FAILS(change(first, ends[0], EPOLLIN | EPOLLEXCLUSIVE), EINVAL);
    CHECK_FAILS(add(first, ends[1], EPOLLOUT | EPOLLEXCLUSIVE | EPOLLONESHOT), EINVAL);
    CHECK_FAILS(add(first, ends[1], EPOLLOUT | EPOLLRDHUP | EPOLLEXCLUSIVE), EINVAL);
    CHECK_FAILS(add(first, second, EPOLLIN | EPOLLEXCLUSIVE), EINVAL);
}

CASE(exclusive_watchers_are_not_all_woken)
{
    int ends[2], ready[2];
    enum { WATCHERS = 4 };
    char byte;

    REQUIRE(pipe(ends) == 0 && pipe(ready) == 0);
    pid_t children[WATCHERS];
    for (int i = 0; i < WATCHERS; i++) {
        if ((children[i] = fork()) == 0) {
            struct epoll_event event;
            int epoll = epoll_create1(0);
            add(epoll, ends[0], EPOLLIN | EPOLLEXCLUSIVE);
            write(ready[1], "r", 1);
            epoll_wait(epoll, &event, 1, -1);
            write(ready[1], "w", 1);
            pause();
            _exit(0);
        }
    }
    for (int i = 0; i < WATCHERS; i++)
        REQUIRE(read(ready[0], &byte, 1) == 1 && byte == 'r');
    /* Long enough for all to wait; if one does not yet, it finds the byte, and fewer are woken. */
    usleep(300000);
    REQUIRE(write(ends[1], "x", 1) == 1);
    REQUIRE(read(ready[0], &byte, 1) == 1 && byte == 'w');
    usleep(200000);
    fcntl(ready[0], F_SETFL, O_NONBLOCK);
    int woken = 1;
    while (read(ready[0], &byte, 1) == 1)
        woken++;
    CHECK(woken < WATCHERS);
    for (int i = 0; i < WATCHERS; i++)
        kill(children[i], SIGKILL);
}

CASE(a_wait_ends_when_something_happens)
{
    struct epoll_event event;
    int ends[2], epoll = epoll_create1(0);

    REQUIRE(pipe(ends) == 0 && add(epoll, ends[0], EPOLLIN) == 0);
    if (fork() == 0) {
        usleep(50000);
        write(ends[1], "x", 1);
        _exit(0);
    }
    CHECK_EQUAL(epoll_wait(epoll, &event, 1, -1), 1);
}

CASE(a_wait_sees_what_is_added_meanwhile)
{
    struct epoll_event event;
    int ends[2], epoll = epoll_create1(0);

    REQUIRE(pipe(ends) == 0);
    if (fork() == 0) {
        usleep(50000);
        add(epoll, ends[1], EPOLLOUT);
        _exit(0);
    }
    CHECK_EQUAL(epoll_wait(epoll, &event, 1, -1), 1);
    CHECK_EQUAL(event.events, EPOLLOUT);
}

CASE(a_timeout_ends_the_wait)
{
    struct epoll_event event;
    int epoll = epoll_create1(0);
    struct timespec span = {.tv_nsec = 30000000}, bad = {.tv_nsec = -1};
    long long start = check_milliseconds();

    CHECK_EQUAL(epoll_wait(epoll, &event, 1, 30), 0);
    CHECK(check_milliseconds() - start >= 30);
    start = check_milliseconds();
    CHECK_EQUAL(epoll_pwait2(epoll, &event, 1, &span, NULL), 0);
    CHECK(check_milliseconds() - start >= 30);
    CHECK_FAILS(epoll_pwait2(epoll, &event, 1, &bad, NULL), EINVAL);
    span.tv_nsec = 0;
    CHECK_EQUAL(epoll_pwait2(epoll, &event, 1, &span, NULL), 0);
}

static volatile int signals;

static void on_signal(int number)
{
    (void)number;
    signals++;
}

CASE(a_signal_interrupts_whatever_its_flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct epoll_event event;
    int epoll = epoll_create1(0);
    pid_t parent = getpid(), child;

    sigaction(SIGUSR1, &action, NULL);
    if ((child = fork()) == 0) {
        /* Again and again: the first may come before the call. */
        do
            usleep(50000);
        while (kill(parent, SIGUSR1) == 0);
        _exit(0);
    }
    CHECK_FAILS(epoll_wait(epoll, &event, 1, 10000), EINTR);
    kill(child, SIGKILL);
    CHECK(signals >= 1);
}

CASE(the_mask_is_in_force_while_it_waits)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct epoll_event event;
    int epoll = epoll_create1(0);
    sigset_t blocked, none, after;

    sigaction(SIGUSR1, &action, NULL);
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    raise(SIGUSR1);
    CHECK_EQUAL(epoll_wait(epoll, &event, 1, 0), 0);
    CHECK_EQUAL(signals, 0);
    CHECK_FAILS(epoll_pwait(epoll, &event, 1, 5000, &none), EINTR);
    CHECK_EQUAL(signals, 1);
    sigprocmask(SIG_BLOCK, NULL, &after);
    CHECK(sigismember(&after, SIGUSR1));
    CHECK_FAILS(syscall(SYS_epoll_pwait, epoll, &event, 1, 0, &none, 4L), EINVAL);
}

CASE(many_files_and_two_that_wait)
{
    enum { PIPES = 200 };
    static int ends[PIPES][2];
    struct epoll_event events[PIPES];
    int epoll = epoll_create1(0);
    char byte;

    for (int i = 0; i < PIPES; i++)
        REQUIRE(pipe(ends[i]) == 0 && add(epoll, ends[i][0], EPOLLIN | EPOLLONESHOT) == 0);
    int done[2];
    REQUIRE(pipe(done) == 0);
    pid_t children[2];
    for (int child = 0; child < 2; child++) {
        if ((children[child] = fork()) == 0) {
            for (int taken = 0;;) {
                int count = epoll_wait(epoll, events, 8, -1);
                for (int i = 0; i < count; i++, taken++) {
                    int fd = (int)(events[i].data.u64 & 0xffffffff);
                    if (read(fd, &byte, 1) != 1 || write(done[1], &byte, 1) != 1)
                        _exit(1);
                }
            }
        }
    }
    for (int i = 0; i < PIPES; i++)
        REQUIRE(write(ends[i][1], "x", 1) == 1);
    for (int i = 0; i < PIPES; i++)
        REQUIRE(read(done[0], &byte, 1) == 1);
    CHECK_EQUAL(now(epoll, events, PIPES), 0);
    kill(children[0], SIGKILL);
    kill(children[1], SIGKILL);
}

/* What is ready stays so until it is read: both who wait for it, in the instance and on it, must learn of it, also if they
   look at the same moment. */
CASE(who_waits_in_it_and_who_polls_it_both_learn)
{
    int epoll = epoll_create1(0);
    int ends[2], done[2];
    char byte;

    REQUIRE(pipe(ends) == 0 && pipe(done) == 0 && add(epoll, ends[0], EPOLLIN) == 0);
    for (int round = 0; round < 200; round++) {
        pid_t children[2];
        for (int child = 0; child < 2; child++) {
            if ((children[child] = fork()) == 0) {
                struct epoll_event event;
                struct pollfd polled = { .fd = epoll, .events = POLLIN };
                REQUIRE(write(done[1], "x", 1) == 1);
                _exit((child ? poll(&polled, 1, -1) : epoll_wait(epoll, &event, 1, -1)) != 1);
            }
        }
        for (int child = 0; child < 2; child++)
            REQUIRE(read(done[0], &byte, 1) == 1);
        for (int turn = 0; turn < round % 5; turn++)
            sched_yield();
        REQUIRE(write(ends[1], "x", 1) == 1);
        for (int child = 0; child < 2; child++) {
            int status = -1;
            REQUIRE(waitpid(children[child], &status, 0) == children[child] && status == 0);
        }
        REQUIRE(read(ends[0], &byte, 1) == 1);
    }
}
