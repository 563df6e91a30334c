/* poll and ppoll: what is told, time limits, masks. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>

CASE(files_numbers_and_gaps)
{
    int ends[2];
    struct pollfd entries[12] = {0};

    REQUIRE(pipe(ends) == 0 && write(ends[1], "x", 1) == 1);
    for (int i = 0; i < 12; i++)
        entries[i] = (struct pollfd){.fd = -1, .events = POLLIN, .revents = 7};
    entries[0].fd = ends[0];
    entries[1].fd = ends[1];
    entries[1].events = POLLOUT;
    entries[2].fd = 999;
    CHECK_EQUAL(poll(entries, 3, -1), 3);
    CHECK_EQUAL(entries[0].revents, POLLIN);
    CHECK_EQUAL(entries[1].revents, POLLOUT);
    CHECK_EQUAL(entries[2].revents, POLLNVAL);
    CHECK_EQUAL(poll(entries, 12, 0), 3);
    CHECK_EQUAL(entries[11].revents, 0);
    entries[0].events = POLLOUT;
    CHECK_EQUAL(poll(entries, 1, 0), 0);
    CHECK_EQUAL(entries[0].revents, 0);
    entries[0].events = POLLIN | POLLRDNORM;
    CHECK_EQUAL(poll(entries, 1, 0), 1);
    CHECK_EQUAL(entries[0].revents, POLLIN | POLLRDNORM);
}

CASE(a_regular_file_is_always_ready)
{
    char name[] = "/tmp/pollXXXXXX";
    int fd = mkstemp(name);
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT | POLLPRI};

    unlink(name);
    CHECK_EQUAL(poll(&entry, 1, -1), 1);
    CHECK_EQUAL(entry.revents, POLLIN | POLLOUT);
}

CASE(it_waits_for_any)
{
    int first[2], second[2];

    REQUIRE(pipe(first) == 0 && pipe(second) == 0);
    struct pollfd entries[] = {{.fd = first[0], .events = POLLIN}, {.fd = second[0], .events = POLLIN}};
    if (fork() == 0) {
        usleep(50000);
        write(second[1], "x", 1);
        _exit(0);
    }
    CHECK_EQUAL(poll(entries, 2, -1), 1);
    CHECK_EQUAL(entries[0].revents, 0);
    CHECK_EQUAL(entries[1].revents, POLLIN);
}

CASE(time_limits)
{
    struct timespec span = {.tv_nsec = 40000000}, bad = {.tv_nsec = 1000000000};
    long long start = check_milliseconds();
    int ends[2];

    CHECK_EQUAL(poll(NULL, 0, 40), 0);
    CHECK(check_milliseconds() - start >= 40);
    start = check_milliseconds();
    CHECK_EQUAL(syscall(SYS_ppoll, NULL, 0, &span, NULL, 0L), 0);
    CHECK(check_milliseconds() - start >= 40);
    CHECK(span.tv_sec == 0 && span.tv_nsec == 0);
    CHECK_FAILS(ppoll(NULL, 0, &bad, NULL), EINVAL);
    REQUIRE(pipe(ends) == 0);
    struct pollfd entry = {.fd = ends[0], .events = POLLIN};
    span.tv_sec = 20;
    if (fork() == 0) {
        usleep(50000);
        write(ends[1], "x", 1);
        _exit(0);
    }
    CHECK_EQUAL(syscall(SYS_ppoll, &entry, 1, &span, NULL, 0L), 1);
    CHECK(span.tv_sec < 20);
}

static volatile int signals;

static void on_signal(int number)
{
    (void)number;
    signals++;
}

CASE(signals_and_masks)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigset_t blocked, none;
    pid_t parent = getpid(), child;

    sigaction(SIGUSR1, &action, NULL);
    if ((child = fork()) == 0) {
        /* Again and again: the first may come before the call. */
        do
            usleep(50000);
        while (kill(parent, SIGUSR1) == 0);
        _exit(0);
    }
    CHECK_FAILS(poll(NULL, 0, 10000), EINTR);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK(signals >= 1);
    signals = 1;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    raise(SIGUSR1);
    CHECK_EQUAL(poll(NULL, 0, 10), 0);
    CHECK_FAILS(ppoll(NULL, 0, NULL, &none), EINTR);
    CHECK_EQUAL(signals, 2);
    sigprocmask(SIG_BLOCK, NULL, &none);
    CHECK(sigismember(&none, SIGUSR1));
}

CASE(bad_arguments_are_refused)
{
    CHECK_FAILS(poll((void *)8, 1, 0), EFAULT);
    CHECK_FAILS(syscall(SYS_ppoll, NULL, 1UL << 30, NULL, NULL, 0L), EINVAL);
    sigset_t none;
    sigemptyset(&none);
    CHECK_FAILS(syscall(SYS_ppoll, NULL, 0, NULL, &none, 4L), EINVAL);
}
