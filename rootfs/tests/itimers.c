/* setitimer, getitimer and alarm: real time, time in user mode, time on a hart. */
#include "check.h"

#include <stdint.h>
#include <sys/syscall.h>
#include <sys/time.h>

static volatile sig_atomic_t count;
static volatile int code;

static void note(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    code = info->si_code;
    count++;
}

static void handle(int signal)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};

    sigaction(signal, &action, NULL);
}

static struct itimerval milliseconds(long value, long interval)
{
    return (struct itimerval){
        .it_value = {value / 1000, value % 1000 * 1000},
        .it_interval = {interval / 1000, interval % 1000 * 1000},
    };
}

static void work_until(int wanted)
{
    while (count < wanted)
        ;
}

CASE(real_time_expires_once)
{
    struct itimerval wanted = milliseconds(50, 0), now;
    long long start = check_milliseconds();

    handle(SIGALRM);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &wanted, &now), 0);
    CHECK_EQUAL(now.it_value.tv_sec + now.it_value.tv_usec, 0);
    CHECK_EQUAL(getitimer(ITIMER_REAL, &now), 0);
    CHECK(now.it_value.tv_sec == 0 && now.it_value.tv_usec > 0 && now.it_value.tv_usec <= 50000);
    while (count == 0)
        pause();
    CHECK(check_milliseconds() - start >= 50);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(code, SI_KERNEL);
    CHECK_EQUAL(getitimer(ITIMER_REAL, &now), 0);
    CHECK_EQUAL(now.it_value.tv_usec, 0);
}

CASE(real_time_expires_again_and_again)
{
    struct itimerval wanted = milliseconds(20, 20), none = milliseconds(0, 0), old;
    sigset_t set, before;

    handle(SIGALRM);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, &before);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &wanted, NULL), 0);
    while (count < 5)
        sigsuspend(&before);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &none, &old), 0);
    CHECK_EQUAL(old.it_interval.tv_usec, 20000);
    count = 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    CHECK(count <= 1);
    count = 0;
    usleep(60000);
    CHECK_EQUAL(count, 0);
}

CASE(alarm_counts_seconds)
{
    handle(SIGALRM);
    CHECK_EQUAL(alarm(100), 0);
    unsigned left = alarm(1);
    CHECK(left == 100 || left == 99);
    CHECK_EQUAL(pause(), -1);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(alarm(0), 0);
}

CASE(time_in_user_mode)
{
    struct itimerval wanted = milliseconds(30, 0), now;
    struct timespec used;

    handle(SIGVTALRM);
    CHECK_EQUAL(setitimer(ITIMER_VIRTUAL, &wanted, NULL), 0);
    usleep(100000);
    CHECK_EQUAL(count, 0);
    CHECK_EQUAL(getitimer(ITIMER_VIRTUAL, &now), 0);
    CHECK(now.it_value.tv_usec > 0);
    work_until(1);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    CHECK(used.tv_sec > 0 || used.tv_nsec >= 20000000);
    CHECK_EQUAL(code, SI_KERNEL);
}

CASE(time_on_a_hart)
{
    struct itimerval wanted = milliseconds(20, 20), none = milliseconds(0, 0), old;

    handle(SIGPROF);
    CHECK_EQUAL(setitimer(ITIMER_PROF, &wanted, NULL), 0);
    work_until(3);
    CHECK_EQUAL(setitimer(ITIMER_PROF, &none, &old), 0);
    CHECK_EQUAL(old.it_interval.tv_usec, 20000);
    count = 0;
    for (long long end = check_milliseconds() + 60; check_milliseconds() < end;)
        ;
    CHECK_EQUAL(count, 0);
}

CASE(a_program_keeps_them_a_child_does_not)
{
    struct itimerval wanted = milliseconds(100000, 0), now;
    int status, ends[2];

    REQUIRE(pipe(ends) == 0);
    dup2(ends[0], 9);
    setitimer(ITIMER_REAL, &wanted, NULL);
    setitimer(ITIMER_PROF, &wanted, NULL);
    pid_t child = fork();
    if (child == 0) {
        getitimer(ITIMER_REAL, &now);
        long left = now.it_value.tv_sec + now.it_value.tv_usec;
        getitimer(ITIMER_PROF, &now);
        _exit(left + now.it_value.tv_sec != 0);
    }
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
    child = fork();
    if (child == 0) {
        wanted = milliseconds(300, 0);
        setitimer(ITIMER_REAL, &wanted, NULL);
        execl("/bin/sh", "sh", "-c", "read line <&9", NULL);
        _exit(1);
    }
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
}

CASE(bad_arguments_are_refused)
{
    struct itimerval wanted = milliseconds(1000, 0), now;

    CHECK_FAILS(syscall(SYS_setitimer, 3, &wanted, NULL), EINVAL);
    CHECK_FAILS(syscall(SYS_getitimer, -1, &now), EINVAL);
    CHECK_FAILS(syscall(SYS_getitimer, ITIMER_REAL, (void *)8), EFAULT);
    CHECK_FAILS(syscall(SYS_setitimer, ITIMER_REAL, (void *)8, NULL), EFAULT);
    wanted.it_value.tv_usec = 1000000;
    CHECK_FAILS(setitimer(ITIMER_REAL, &wanted, NULL), EINVAL);
    wanted = milliseconds(1000, 0);
    wanted.it_interval.tv_sec = -1;
    CHECK_FAILS(setitimer(ITIMER_REAL, &wanted, NULL), EINVAL);
    wanted = milliseconds(1000, 0);
    CHECK_FAILS(syscall(SYS_setitimer, ITIMER_REAL, &wanted, (void *)8), EFAULT);
    CHECK_EQUAL(getitimer(ITIMER_REAL, &now), 0);
    CHECK(now.it_value.tv_sec + now.it_value.tv_usec > 0);
}
