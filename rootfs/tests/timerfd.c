/* timerfd: expiry, periods, absolute times, clocks that are set. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/time.h>
#include <sys/timerfd.h>

static struct itimerspec milliseconds(long value, long interval)
{
    return (struct itimerspec){
        .it_value = {value / 1000, value % 1000 * 1000000},
        .it_interval = {interval / 1000, interval % 1000 * 1000000},
    };
}

static bool is_readable(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT};
    return poll(&entry, 1, 0) == 1 && entry.revents == POLLIN;
}

CASE(it_expires_once)
{
    struct itimerspec wanted = milliseconds(50, 0), now;
    uint64_t count;
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    long long start = check_milliseconds();

    REQUIRE(fd >= 0);
    CHECK(timerfd_settime(fd, 0, &wanted, NULL) == 0);
    CHECK(timerfd_gettime(fd, &now) == 0);
    CHECK(now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 50000000);
    CHECK(!is_readable(fd));
    CHECK_EQUAL(read(fd, &count, 8), 8);
    CHECK_EQUAL(count, 1);
    CHECK(check_milliseconds() - start >= 50);
    CHECK(timerfd_gettime(fd, &now) == 0);
    CHECK(now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0);
    CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    CHECK_FAILS(read(fd, &count, 8), EAGAIN);
}

CASE(a_period_counts_what_was_missed)
{
    struct itimerspec wanted = milliseconds(20, 20), none = milliseconds(0, 0), old;
    uint64_t count;
    int fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK);

    CHECK(timerfd_settime(fd, 0, &wanted, NULL) == 0);
    usleep(130000);
    CHECK(is_readable(fd));
    CHECK_EQUAL(read(fd, &count, 8), 8);
    CHECK(count >= 6);
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    CHECK_EQUAL(poll(&entry, 1, 5000), 1);
    CHECK(timerfd_settime(fd, 0, &none, &old) == 0);
    CHECK_EQUAL(old.it_interval.tv_nsec, 20000000);
    CHECK(!is_readable(fd));
}

CASE(absolute_times_that_have_passed_expire_at_once)
{
    struct itimerspec wanted = {.it_value = {.tv_nsec = 1}};
    uint64_t count;
    int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);

    CHECK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &wanted, NULL) == 0);
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    CHECK_EQUAL(poll(&entry, 1, 5000), 1);
    CHECK_EQUAL(read(fd, &count, 8), 8);
    CHECK_EQUAL(count, 1);
}

CASE(setting_the_clock_moves_and_ends_timers)
{
    struct timespec start, later;
    struct itimerspec wanted = {0};
    uint64_t count;
    int moved = timerfd_create(CLOCK_REALTIME, 0), ended = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);

    clock_gettime(CLOCK_REALTIME, &start);
    wanted.it_value = start;
    wanted.it_value.tv_sec += 1000;
    CHECK(timerfd_settime(moved, TFD_TIMER_ABSTIME, &wanted, NULL) == 0);
    CHECK(timerfd_settime(ended, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &wanted, NULL) == 0);
    later = wanted.it_value;
    later.tv_sec += 1;
    if (clock_settime(CLOCK_REALTIME, &later) != 0)
        SKIP("the clock cannot be set");
    CHECK_EQUAL(read(moved, &count, 8), 8);
    CHECK_EQUAL(count, 1);
    CHECK(is_readable(ended));
    CHECK_FAILS(read(ended, &count, 8), ECANCELED);
    CHECK(clock_settime(CLOCK_REALTIME, &start) == 0);
}

CASE(bad_arguments_are_refused)
{
    struct itimerspec wanted = {.it_value = {.tv_nsec = 1000000000}}, now;
    char bytes[8];
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), ends[2];

    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_FAILS(timerfd_create(77, 0), EINVAL);
    CHECK_FAILS(timerfd_create(CLOCK_TAI, 0), EINVAL);
    CHECK_FAILS(timerfd_create(CLOCK_MONOTONIC, 1), EINVAL);
    CHECK_FAILS(timerfd_settime(fd, 0, &wanted, NULL), EINVAL);
    CHECK_FAILS(timerfd_settime(fd, 0, (void *)8, NULL), EFAULT);
    wanted.it_value.tv_nsec = 1;
    CHECK_FAILS(timerfd_settime(fd, 8, &wanted, NULL), EINVAL);
    CHECK_FAILS(timerfd_settime(-1, 0, &wanted, NULL), EBADF);
    REQUIRE(pipe(ends) == 0);
    CHECK_FAILS(timerfd_settime(ends[0], 0, &wanted, NULL), EINVAL);
    CHECK_FAILS(timerfd_gettime(ends[0], &now), EINVAL);
    CHECK_FAILS(read(fd, bytes, 7), EINVAL);
    CHECK_FAILS(write(fd, bytes, 8), EINVAL);
}

CASE(the_older_call_sets_the_clock_too)
{
    struct itimerspec in_an_hour = {.it_value = {.tv_sec = time(NULL) + 3600}};
    struct timeval now, wrong = {.tv_usec = 1000001};
    uint64_t count;
    int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);

    REQUIRE(timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &in_an_hour, NULL) == 0);
    REQUIRE(gettimeofday(&now, NULL) == 0);
    CHECK(settimeofday(&now, NULL) == 0);
    CHECK_FAILS(read(fd, &count, sizeof count), ECANCELED);
    CHECK_FAILS(settimeofday(&wrong, NULL), EINVAL);
    wrong.tv_usec = -1;
    CHECK_FAILS(settimeofday(&wrong, NULL), EINVAL);
    wrong = (struct timeval){.tv_sec = -5};
    CHECK_FAILS(settimeofday(&wrong, NULL), EINVAL);
    REQUIRE(setuid(1000) == 0);
    CHECK_FAILS(settimeofday(&now, NULL), EPERM);
}
