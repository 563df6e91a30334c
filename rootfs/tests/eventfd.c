/* eventfd: a counter that is read and written. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>

static int ready(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT};
    return poll(&entry, 1, 0) < 0 ? -1 : entry.revents;
}

CASE(a_read_takes_all_or_one)
{
    uint64_t count = 5;
    int plain = eventfd(3, EFD_NONBLOCK), semaphore = eventfd(2, EFD_NONBLOCK | EFD_SEMAPHORE);

    REQUIRE(plain >= 0 && semaphore >= 0);
    CHECK_EQUAL(write(plain, &count, 8), 8);
    CHECK_EQUAL(ready(plain), POLLIN | POLLOUT);
    CHECK_EQUAL(read(plain, &count, 8), 8);
    CHECK_EQUAL(count, 8);
    CHECK_FAILS(read(plain, &count, 8), EAGAIN);
    CHECK_EQUAL(ready(plain), POLLOUT);
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(read(semaphore, &count, 8), 8);
        CHECK_EQUAL(count, 1);
    }
    CHECK_FAILS(read(semaphore, &count, 8), EAGAIN);
}

CASE(a_full_counter_takes_no_more)
{
    uint64_t count = UINT64_MAX - 1, one = 1, bad = UINT64_MAX;
    int fd = eventfd(0, EFD_NONBLOCK);

    CHECK_FAILS(write(fd, &bad, 8), EINVAL);
    CHECK_EQUAL(write(fd, &count, 8), 8);
    CHECK_EQUAL(ready(fd), POLLIN);
    CHECK_FAILS(write(fd, &one, 8), EAGAIN);
    CHECK_EQUAL(read(fd, &count, 8), 8);
    CHECK_EQUAL(count, UINT64_MAX - 1);
    CHECK_EQUAL(write(fd, &one, 8), 8);
}

CASE(bad_arguments_are_refused)
{
    uint64_t count[2] = {1, 7};
    int fd = eventfd(0, EFD_CLOEXEC);

    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_FAILS(eventfd(0, 8), EINVAL);
    CHECK_FAILS(write(fd, count, 7), EINVAL);
    CHECK_FAILS(write(fd, count, 16), EINVAL);
    CHECK_EQUAL(write(fd, count, 8), 8);
    CHECK_FAILS(read(fd, count, 7), EINVAL);
    CHECK_FAILS(read(fd, (void *)8, 8), EFAULT);
    CHECK_FAILS(write(fd, (void *)8, 8), EFAULT);
}

CASE(readers_and_writers_wait)
{
    uint64_t count = 1, full = UINT64_MAX - 1;
    int fd = eventfd(0, 0);

    if (fork() == 0) {
        usleep(50000);
        write(fd, &count, 8);
        _exit(0);
    }
    CHECK_EQUAL(read(fd, &count, 8), 8);
    CHECK_EQUAL(count, 1);
    REQUIRE(write(fd, &full, 8) == 8);
    if (fork() == 0) {
        usleep(50000);
        read(fd, &full, 8);
        _exit(0);
    }
    CHECK_EQUAL(write(fd, &count, 8), 8);
}

static void on_signal(int number)
{
    (void)number;
}

CASE(a_signal_interrupts_a_read)
{
    struct sigaction action = {.sa_handler = on_signal};
    uint64_t count;
    int fd = eventfd(0, 0);
    pid_t parent = getpid();

    sigaction(SIGUSR1, &action, NULL);
    if (fork() == 0) {
        /* Again and again: the first may come before the call. */
        do
            usleep(50000);
        while (kill(parent, SIGUSR1) == 0);
        _exit(0);
    }
    CHECK_FAILS(read(fd, &count, 8), EINTR);
}
