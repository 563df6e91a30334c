/* timer_create and its kin: clocks, ways to be told, overruns. */
#include "check.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>

/* The system calls themselves: the C library has timers of its own above them. */
static int create(int clock, void *event, int *timer)
{
    return syscall(SYS_timer_create, clock, event, timer);
}

static int set(int timer, int flags, struct itimerspec *wanted, struct itimerspec *old)
{
    return syscall(SYS_timer_settime, timer, flags, wanted, old);
}

static struct itimerspec milliseconds(long value, long interval)
{
    return (struct itimerspec){
        .it_value = {value / 1000, value % 1000 * 1000000},
        .it_interval = {interval / 1000, interval % 1000 * 1000000},
    };
}

static struct sigevent by_signal(int signal, long value)
{
    return (struct sigevent){
        .sigev_notify = SIGEV_SIGNAL, .sigev_signo = signal, .sigev_value.sival_ptr = (void *)value};
}

static sigset_t block(int signal)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signal);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return set;
}

static int take(const sigset_t *set, siginfo_t *info, long limit)
{
    struct timespec time = {limit / 1000, limit % 1000 * 1000000};

    return sigtimedwait(set, info, &time);
}

CASE(it_sends_its_signal_once)
{
    static const int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI};
    sigset_t rt = block(SIGRTMIN);
    struct itimerspec wanted = milliseconds(50, 0), now;
    siginfo_t info;

    for (unsigned i = 0; i < sizeof clocks / sizeof clocks[0]; i++) {
        struct sigevent event = by_signal(SIGRTMIN, 0x1234567890);
        long long start = check_milliseconds();
        int timer = -1;

        REQUIRE(create(clocks[i], &event, &timer) == 0);
        CHECK_EQUAL(set(timer, 0, &wanted, &now), 0);
        CHECK_EQUAL(now.it_value.tv_nsec, 0);
        CHECK_EQUAL(syscall(SYS_timer_gettime, timer, &now), 0);
        CHECK(now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 50000000);
        CHECK_EQUAL(take(&rt, &info, 10000), SIGRTMIN);
        CHECK(check_milliseconds() - start >= 50);
        CHECK_EQUAL(info.si_code, SI_TIMER);
        CHECK_EQUAL((long)info.si_value.sival_ptr, 0x1234567890);
        CHECK_EQUAL(info.si_timerid, timer);
        CHECK_EQUAL(info.si_overrun, 0);
        CHECK_EQUAL(syscall(SYS_timer_gettime, timer, &now), 0);
        CHECK_EQUAL(now.it_value.tv_nsec, 0);
        CHECK_EQUAL(syscall(SYS_timer_delete, timer), 0);
        CHECK_FAILS(syscall(SYS_timer_delete, timer), EINVAL);
    }
}

CASE(what_is_not_taken_is_counted)
{
    sigset_t rt = block(SIGRTMIN);
    struct sigevent event = by_signal(SIGRTMIN, 1);
    struct itimerspec wanted = milliseconds(10, 10), none = milliseconds(0, 0), old;
    siginfo_t info;
    int timer;

    REQUIRE(create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK_EQUAL(set(timer, 0, &wanted, NULL), 0);
    usleep(155000);
    CHECK_EQUAL(take(&rt, &info, 10000), SIGRTMIN);
    CHECK(info.si_overrun >= 13);
    CHECK_EQUAL(syscall(SYS_timer_getoverrun, timer), info.si_overrun);
    /* It goes on, one signal at a time. */
    CHECK_EQUAL(take(&rt, &info, 10000), SIGRTMIN);
    CHECK_EQUAL(syscall(SYS_timer_gettime, timer, &old), 0);
    CHECK(old.it_value.tv_nsec > 0 && old.it_value.tv_nsec <= 10000000);
    CHECK_EQUAL(set(timer, 0, &none, &old), 0);
    CHECK_EQUAL(old.it_interval.tv_nsec, 10000000);
    while (take(&rt, &info, 0) > 0)
        ;
    CHECK_EQUAL(take(&rt, &info, 50), -1);
}

CASE(without_an_event_it_sends_sigalrm_with_its_number)
{
    sigset_t alarms = block(SIGALRM);
    struct itimerspec wanted = milliseconds(1, 0);
    siginfo_t info;
    int first, second;

    REQUIRE(create(CLOCK_MONOTONIC, NULL, &first) == 0);
    REQUIRE(create(CLOCK_MONOTONIC, NULL, &second) == 0);
    CHECK(first != second);
    CHECK_EQUAL(set(second, 0, &wanted, NULL), 0);
    CHECK_EQUAL(take(&alarms, &info, 10000), SIGALRM);
    CHECK_EQUAL(info.si_value.sival_int, second);
    CHECK_EQUAL(info.si_timerid, second);
}

CASE(absolute_times)
{
    static const int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC};
    sigset_t rt = block(SIGRTMIN);
    struct sigevent event = by_signal(SIGRTMIN, 1);
    siginfo_t info;

    for (int i = 0; i < 2; i++) {
        struct itimerspec wanted = milliseconds(0, 0);
        struct timespec after;
        int timer;

        REQUIRE(create(clocks[i], &event, &timer) == 0);
        clock_gettime(clocks[i], &wanted.it_value);
        wanted.it_value.tv_nsec += 50000000;
        if (wanted.it_value.tv_nsec >= 1000000000) {
            wanted.it_value.tv_nsec -= 1000000000;
            wanted.it_value.tv_sec++;
        }
        CHECK_EQUAL(set(timer, TIMER_ABSTIME, &wanted, NULL), 0);
        CHECK_EQUAL(take(&rt, &info, 10000), SIGRTMIN);
        clock_gettime(clocks[i], &after);
        CHECK(after.tv_sec > wanted.it_value.tv_sec ||
              (after.tv_sec == wanted.it_value.tv_sec && after.tv_nsec >= wanted.it_value.tv_nsec));
        wanted.it_value = (struct timespec){.tv_nsec = 1};
        CHECK_EQUAL(set(timer, TIMER_ABSTIME, &wanted, NULL), 0);
        CHECK_EQUAL(take(&rt, &info, 10000), SIGRTMIN);
    }
}

CASE(silent_timers_only_count)
{
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    struct itimerspec wanted = milliseconds(20, 0), now;
    int timer;

    REQUIRE(create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK_EQUAL(set(timer, 0, &wanted, NULL), 0);
    CHECK_EQUAL(syscall(SYS_timer_gettime, timer, &now), 0);
    CHECK(now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 20000000);
    usleep(40000);
    CHECK_EQUAL(syscall(SYS_timer_gettime, timer, &now), 0);
    CHECK_EQUAL(now.it_value.tv_nsec, 0);
    wanted = milliseconds(20, 30);
    CHECK_EQUAL(set(timer, 0, &wanted, NULL), 0);
    usleep(40000);
    CHECK_EQUAL(syscall(SYS_timer_gettime, timer, &now), 0);
    CHECK(now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 30000000);
}

static int other_thread;
static pthread_barrier_t begun;

static void *wait_for_it(void *result)
{
    sigset_t rt = block(SIGRTMIN);
    siginfo_t info;

    other_thread = gettid();
    pthread_barrier_wait(&begun);
    *(int *)result = take(&rt, &info, 10000);
    return NULL;
}

CASE(one_thread_is_told)
{
    struct itimerspec wanted = milliseconds(20, 0);
    pthread_t thread;
    int timer, result = 0;
    siginfo_t info;
    sigset_t rt = block(SIGRTMIN);

    pthread_barrier_init(&begun, NULL, 2);
    pthread_create(&thread, NULL, wait_for_it, &result);
    pthread_barrier_wait(&begun);
    struct sigevent event = by_signal(SIGRTMIN, 1);
    event.sigev_notify = SIGEV_THREAD_ID;
    event._sigev_un._tid = other_thread;
    REQUIRE(create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK_EQUAL(set(timer, 0, &wanted, NULL), 0);
    pthread_join(thread, NULL);
    CHECK_EQUAL(result, SIGRTMIN);
    CHECK_EQUAL(take(&rt, &info, 0), -1);
    event._sigev_un._tid = getppid();
    CHECK_FAILS(create(CLOCK_MONOTONIC, &event, &timer), EINVAL);
}

CASE(cpu_time_expires_only_by_working)
{
    static const int clocks[] = {CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
    sigset_t rt = block(SIGRTMIN);
    struct sigevent event = by_signal(SIGRTMIN, 1);
    struct itimerspec wanted = milliseconds(40, 0), now;
    siginfo_t info;

    for (int i = 0; i < 2; i++) {
        struct timespec before, after;
        int timer;

        REQUIRE(create(clocks[i], &event, &timer) == 0);
        clock_gettime(clocks[i], &before);
        CHECK_EQUAL(set(timer, 0, &wanted, NULL), 0);
        CHECK_EQUAL(take(&rt, &info, 100), -1);
        CHECK_EQUAL(syscall(SYS_timer_gettime, timer, &now), 0);
        CHECK(now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 40000000);
        while (take(&rt, &info, 0) < 0)
            ;
        clock_gettime(clocks[i], &after);
        CHECK((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec >= 40000000);
        CHECK_EQUAL(info.si_timerid, timer);
    }
}

CASE(children_and_programs_have_none)
{
    int timer, status;

    REQUIRE(create(CLOCK_MONOTONIC, NULL, &timer) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(syscall(SYS_timer_delete, timer) == -1 && errno == EINVAL ? 0 : 1);
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
    child = fork();
    if (child == 0) {
        struct itimerspec wanted = milliseconds(50, 0);
        if (create(CLOCK_MONOTONIC, NULL, &timer) != 0 || set(timer, 0, &wanted, NULL) != 0)
            _exit(1);
        execl("/bin/sh", "sh", "-c", "sleep 0.2", NULL);
        _exit(1);
    }
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
}

CASE(ignored_signals_are_not_told)
{
    sigset_t rt;
    struct sigevent event = by_signal(SIGRTMIN, 1);
    struct itimerspec wanted = milliseconds(5, 5);
    siginfo_t info;
    int timer;

    signal(SIGRTMIN, SIG_IGN);
    REQUIRE(create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK_EQUAL(set(timer, 0, &wanted, NULL), 0);
    usleep(50000);
    rt = block(SIGRTMIN);
    CHECK_EQUAL(take(&rt, &info, 10000), SIGRTMIN);
}

CASE(bad_arguments_are_refused)
{
    struct itimerspec wanted = milliseconds(5, 0), now;
    struct sigevent event = by_signal(65, 1);
    int timer = -1;

    CHECK_FAILS(create(77, NULL, &timer), EINVAL);
    CHECK_FAILS(create(CLOCK_MONOTONIC_COARSE, NULL, &timer), EOPNOTSUPP);
    CHECK_FAILS(create(CLOCK_MONOTONIC_RAW, NULL, &timer), EOPNOTSUPP);
    CHECK_FAILS(create(CLOCK_MONOTONIC, &event, &timer), EINVAL);
    event = by_signal(SIGUSR1, 1);
    event.sigev_notify = 9;
    CHECK_FAILS(create(CLOCK_MONOTONIC, &event, &timer), EINVAL);
    CHECK_FAILS(create(CLOCK_MONOTONIC, (void *)8, &timer), EFAULT);
    CHECK_FAILS(create(CLOCK_MONOTONIC, NULL, (void *)8), EFAULT);
    REQUIRE(create(CLOCK_MONOTONIC, NULL, &timer) == 0);
    CHECK_FAILS(set(timer + 100, 0, &wanted, NULL), EINVAL);
    CHECK_FAILS(set(timer, 0, NULL, NULL), EINVAL);
    CHECK_FAILS(set(timer, 0, (void *)8, NULL), EFAULT);
    CHECK_FAILS(syscall(SYS_timer_gettime, timer + 100, &now), EINVAL);
    CHECK_FAILS(syscall(SYS_timer_gettime, timer, (void *)8), EFAULT);
    CHECK_FAILS(syscall(SYS_timer_getoverrun, timer + 100), EINVAL);
    wanted.it_value.tv_nsec = 1000000000;
    CHECK_FAILS(set(timer, 0, &wanted, NULL), EINVAL);
    wanted = milliseconds(5, 0);
    wanted.it_interval.tv_sec = -1;
    CHECK_FAILS(set(timer, 0, &wanted, NULL), EINVAL);
}
