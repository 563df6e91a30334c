/* select and pselect6: three sets, time left, masks. */
#include "check.h"

#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>

CASE(each_set_keeps_what_is_ready)
{
    int ends[2];
    fd_set reads, writes;
    struct timeval none = {0};

    REQUIRE(pipe(ends) == 0);
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    FD_SET(ends[0], &reads);
    FD_SET(ends[1], &writes);
    CHECK_EQUAL(select(ends[1] + 1, &reads, &writes, NULL, &none), 1);
    CHECK(!FD_ISSET(ends[0], &reads) && FD_ISSET(ends[1], &writes));
    REQUIRE(write(ends[1], "x", 1) == 1);
    FD_SET(ends[0], &reads);
    CHECK_EQUAL(select(ends[1] + 1, &reads, &writes, NULL, NULL), 2);
    CHECK(FD_ISSET(ends[0], &reads) && FD_ISSET(ends[1], &writes));
    /* The end of a file is readable; a broken pipe is writable and readable. */
    close(ends[0]);
    FD_ZERO(&reads);
    FD_SET(ends[1], &reads);
    CHECK_EQUAL(select(ends[1] + 1, &reads, &writes, NULL, NULL), 2);
}

CASE(it_waits_and_tells_the_time_left)
{
    int ends[2];
    fd_set reads;
    struct timespec span = {.tv_sec = 20};

    REQUIRE(pipe(ends) == 0);
    if (fork() == 0) {
        usleep(50000);
        write(ends[1], "x", 1);
        _exit(0);
    }
    FD_ZERO(&reads);
    FD_SET(ends[0], &reads);
    CHECK_EQUAL(syscall(SYS_pselect6, ends[0] + 1, &reads, NULL, NULL, &span, NULL), 1);
    CHECK(span.tv_sec < 20);
    long long start = check_milliseconds();
    struct timeval short_span = {.tv_usec = 40000};
    CHECK_EQUAL(select(0, NULL, NULL, NULL, &short_span), 0);
    CHECK(check_milliseconds() - start >= 40);
}

static volatile int signals;

static void on_signal(int number)
{
    (void)number;
    signals++;
}

CASE(signals_and_masks)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t blocked, none;

    sigaction(SIGUSR1, &action, NULL);
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    raise(SIGUSR1);
    CHECK_FAILS(pselect(0, NULL, NULL, NULL, NULL, &none), EINTR);
    CHECK_EQUAL(signals, 1);
    struct {
        const sigset_t *set;
        size_t size;
    } bad = {&none, 4};
    CHECK_FAILS(syscall(SYS_pselect6, 0, NULL, NULL, NULL, NULL, &bad), EINVAL);
}

CASE(bad_arguments_are_refused)
{
    fd_set reads;
    struct timespec bad = {.tv_nsec = -1};

    FD_ZERO(&reads);
    FD_SET(60, &reads);
    CHECK_FAILS(select(61, &reads, NULL, NULL, NULL), EBADF);
    CHECK_FAILS(select(-1, NULL, NULL, NULL, NULL), EINVAL);
    CHECK_FAILS(select(10, (void *)8, NULL, NULL, NULL), EFAULT);
    CHECK_FAILS(pselect(0, NULL, NULL, NULL, &bad, NULL), EINVAL);
}
