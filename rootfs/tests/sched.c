/* Scheduling: policies, priorities, nice values, affinity, and the clocks that count what a thread has used. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/times.h>

struct attributes {
    unsigned size, policy;
    unsigned long long flags;
    int nice;
    unsigned priority;
    unsigned long long runtime, deadline, period;
};

static long get(struct attributes *attributes, unsigned size, unsigned flags)
{
    return syscall(SYS_sched_getattr, 0, attributes, size, flags);
}

static long set(struct attributes *attributes, unsigned flags)
{
    return syscall(SYS_sched_setattr, 0, attributes, flags);
}

CASE(policies)
{
    struct sched_param parameter = {.sched_priority = 7};
    struct timespec interval;

    CHECK_EQUAL(sched_getscheduler(0), SCHED_OTHER);
    CHECK_EQUAL(sched_setscheduler(0, SCHED_FIFO, &parameter), 0);
    CHECK_EQUAL(sched_getscheduler(getpid()), SCHED_FIFO);
    parameter.sched_priority = 0;
    CHECK_EQUAL(sched_getparam(0, &parameter), 0);
    CHECK_EQUAL(parameter.sched_priority, 7);
    CHECK_EQUAL(sched_rr_get_interval(0, &interval), 0);
    CHECK_EQUAL(interval.tv_sec * 1000000000 + interval.tv_nsec, 0);
    parameter.sched_priority = 9;
    CHECK_EQUAL(sched_setparam(0, &parameter), 0);
    CHECK_EQUAL(sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &parameter), 0);
    CHECK_EQUAL(sched_getscheduler(0), SCHED_RR | SCHED_RESET_ON_FORK);
    CHECK_EQUAL(sched_rr_get_interval(0, &interval), 0);
    CHECK_EQUAL(interval.tv_nsec, 100000000);
    pid_t child = fork();
    if (child == 0)
        _exit(sched_getscheduler(0) == SCHED_OTHER ? 0 : 1);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    parameter.sched_priority = 0;
    for (int policy = SCHED_BATCH; policy <= SCHED_IDLE; policy += 2) {
        CHECK_EQUAL(sched_setscheduler(0, policy, &parameter), 0);
        CHECK_EQUAL(sched_getscheduler(0), policy);
    }
    CHECK_EQUAL(sched_setscheduler(0, SCHED_OTHER, &parameter), 0);
}

CASE(bad_policies)
{
    struct sched_param none = {0}, some = {.sched_priority = 1}, high = {.sched_priority = 100};

    CHECK_FAILS(sched_setscheduler(0, SCHED_FIFO, &none), EINVAL);
    CHECK_FAILS(sched_setscheduler(0, SCHED_FIFO, &high), EINVAL);
    CHECK_FAILS(sched_setscheduler(0, SCHED_OTHER, &some), EINVAL);
    CHECK_FAILS(sched_setscheduler(0, 4, &none), EINVAL);
    CHECK_FAILS(sched_setscheduler(0, -1, &none), EINVAL);
    CHECK_FAILS(sched_setscheduler(-1, SCHED_OTHER, &none), EINVAL);
    CHECK_FAILS(sched_setscheduler(999999, SCHED_OTHER, &none), ESRCH);
    CHECK_FAILS(sched_setscheduler(0, SCHED_OTHER, NULL), EINVAL);
    CHECK_FAILS(sched_setscheduler(0, SCHED_OTHER, (void *)8), EFAULT);
    CHECK_FAILS(sched_getparam(0, NULL), EINVAL);
    CHECK_FAILS(sched_getparam(0, (void *)8), EFAULT);
    CHECK_FAILS(sched_getscheduler(-1), EINVAL);
    CHECK_FAILS(sched_getscheduler(999999), ESRCH);
    CHECK_EQUAL(sched_get_priority_max(SCHED_FIFO), 99);
    CHECK_EQUAL(sched_get_priority_min(SCHED_RR), 1);
    CHECK_EQUAL(sched_get_priority_max(SCHED_OTHER), 0);
    CHECK_FAILS(sched_get_priority_max(77), EINVAL);
}

CASE(attributes)
{
    struct attributes now = {0}, wanted = {.size = sizeof wanted, .policy = SCHED_OTHER, .nice = 5};

    CHECK_EQUAL(get(&now, sizeof now, 0), 0);
    CHECK_EQUAL(now.size, 48);
    CHECK_EQUAL(now.policy, SCHED_OTHER);
    CHECK_EQUAL(set(&wanted, 0), 0);
    CHECK_EQUAL(get(&now, sizeof now, 0), 0);
    CHECK_EQUAL(now.nice, 5);
    CHECK_EQUAL(getpriority(PRIO_PROCESS, 0), 5);
    wanted = (struct attributes){.policy = SCHED_FIFO, .priority = 3};
    CHECK_EQUAL(set(&wanted, 0), 0);
    CHECK_EQUAL(get(&now, sizeof now, 0), 0);
    CHECK_EQUAL(now.priority, 3);
    CHECK_FAILS(get(&now, 47, 0), EINVAL);
    CHECK_FAILS(get(&now, 5000, 0), EINVAL);
    CHECK_FAILS(get(&now, sizeof now, 1), EINVAL);
    CHECK_FAILS(get(NULL, sizeof now, 0), EINVAL);
    CHECK_FAILS(set(&wanted, 1), EINVAL);
    CHECK_FAILS(set(NULL, 0), EINVAL);
    wanted.size = 40;
    CHECK_FAILS(set(&wanted, 0), E2BIG);
    wanted = (struct attributes){.size = sizeof wanted, .policy = SCHED_OTHER, .flags = 1ull << 40};
    CHECK_FAILS(set(&wanted, 0), EINVAL);
}

CASE(nice_values)
{
    int status;

    CHECK_EQUAL(setpriority(PRIO_PROCESS, 0, 10), 0);
    CHECK_EQUAL(getpriority(PRIO_PROCESS, getpid()), 10);
    CHECK_EQUAL(setpriority(PRIO_PROCESS, 0, 100), 0);
    CHECK_EQUAL(getpriority(PRIO_PROCESS, 0), 19);
    CHECK_EQUAL(setpriority(PRIO_PROCESS, 0, -100), 0);
    CHECK_EQUAL(getpriority(PRIO_PROCESS, 0), -20);
    CHECK_FAILS(setpriority(9, 0, 0), EINVAL);
    CHECK_FAILS(setpriority(PRIO_PROCESS, 999999, 0), ESRCH);
    CHECK_FAILS(getpriority(PRIO_PGRP, 999999), ESRCH);
    CHECK_EQUAL(setpriority(PRIO_PROCESS, 0, 3), 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK_EQUAL(getpriority(PRIO_PROCESS, 0), 3);
        REQUIRE(setresuid(1000, 1000, 1000) == 0);
        CHECK_EQUAL(setpriority(PRIO_PROCESS, 0, 4), 0);
        CHECK_FAILS(setpriority(PRIO_PROCESS, 0, 2), EACCES);
        CHECK_FAILS(setpriority(PRIO_PROCESS, getppid(), 9), EPERM);
        struct sched_param parameter = {.sched_priority = 1};
        CHECK_FAILS(sched_setscheduler(0, SCHED_FIFO, &parameter), EPERM);
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(0, &one);
        CHECK_FAILS(sched_setaffinity(getppid(), sizeof one, &one), EPERM);
        _exit(check_failures);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

CASE(limits_of_priority)
{
    struct rlimit nice = {.rlim_cur = 25, .rlim_max = 25}, real_time = {.rlim_cur = 5, .rlim_max = 5};
    struct sched_param parameter = {.sched_priority = 5};
    int status;
    pid_t child = fork();

    if (child == 0) {
        setrlimit(RLIMIT_NICE, &nice);
        setrlimit(RLIMIT_RTPRIO, &real_time);
        REQUIRE(setresuid(1000, 1000, 1000) == 0);
        CHECK_EQUAL(setpriority(PRIO_PROCESS, 0, -5), 0);
        CHECK_FAILS(setpriority(PRIO_PROCESS, 0, -6), EACCES);
        CHECK_EQUAL(sched_setscheduler(0, SCHED_FIFO, &parameter), 0);
        parameter.sched_priority = 6;
        CHECK_FAILS(sched_setscheduler(0, SCHED_FIFO, &parameter), EPERM);
        _exit(check_failures);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

CASE(affinity)
{
    cpu_set_t all, one, now;
    unsigned hart, node;

    CHECK_EQUAL(syscall(SYS_sched_getaffinity, 0, sizeof all, &all) > 0, 1);
    CPU_ZERO(&all);
    REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
    CHECK_EQUAL(CPU_COUNT(&all), sysconf(_SC_NPROCESSORS_ONLN));
    for (int i = 0; i < CPU_COUNT(&all); i++) {
        CPU_ZERO(&one);
        CPU_SET(i, &one);
        CHECK_EQUAL(sched_setaffinity(0, sizeof one, &one), 0);
        CHECK_EQUAL(getcpu(&hart, &node), 0);
        CHECK_EQUAL(hart, i);
        CHECK_EQUAL(syscall(SYS_getcpu, &hart, &node, NULL), 0);
        CHECK_EQUAL(hart, i);
        CHECK_EQUAL(sched_getaffinity(0, sizeof now, &now), 0);
        CHECK(CPU_EQUAL(&now, &one));
    }
    CPU_ZERO(&one);
    CHECK_FAILS(sched_setaffinity(0, sizeof one, &one), EINVAL);
    CPU_SET(1000, &one);
    CHECK_FAILS(sched_setaffinity(0, sizeof one, &one), EINVAL);
    CHECK_FAILS(syscall(SYS_sched_getaffinity, 0, 4, &now), EINVAL);
    CHECK_FAILS(syscall(SYS_sched_getaffinity, 0, 0, &now), EINVAL);
    CHECK_FAILS(sched_setaffinity(999999, sizeof all, &all), ESRCH);
    CHECK_FAILS(syscall(SYS_sched_setaffinity, 0, 8, (void *)8), EFAULT);
}

static atomic_int order[2], place;
static atomic_int is_over;

static void *spin_until_over(void *argument)
{
    while (!is_over)
        ;
    return argument;
}

static void *be_urgent(void *argument)
{
    /* Gets the hart from the one that spins, which would keep it for ever otherwise. */
    order[0] = ++place;
    is_over = 1;
    return argument;
}

CASE(real_time_goes_first)
{
    pthread_t spinner, urgent;
    pthread_attr_t attributes;
    struct sched_param parameter = {.sched_priority = 10};
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(0, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    parameter.sched_priority = 20;
    REQUIRE(sched_setscheduler(0, SCHED_FIFO, &parameter) == 0);
    pthread_attr_init(&attributes);
    pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
    parameter.sched_priority = 5;
    pthread_attr_setschedparam(&attributes, &parameter);
    REQUIRE(pthread_create(&spinner, &attributes, spin_until_over, NULL) == 0);
    parameter.sched_priority = 6;
    pthread_attr_setschedparam(&attributes, &parameter);
    REQUIRE(pthread_create(&urgent, &attributes, be_urgent, NULL) == 0);
    CHECK_EQUAL(place, 0);
    CHECK_EQUAL(pthread_join(urgent, NULL), 0);
    CHECK_EQUAL(pthread_join(spinner, NULL), 0);
}

static atomic_int interruptions;

/* Overwrites floating-point registers each time it gets the hart. */
static void *be_urgent_with_numbers(void *argument)
{
    for (int i = 0; i < 50; i++) {
        struct timespec moment = {.tv_nsec = 1000000};
        nanosleep(&moment, NULL);
        __asm__ volatile("fmv.d.x fs0, %0\n fmv.d.x fs11, %0\n fmv.d.x fa0, %0" ::"r"(-1L) : "fs0", "fs11", "fa0");
        interruptions++;
    }
    return argument;
}

CASE(floating_point_registers_survive_a_preemption_in_the_kernel)
{
    static char zeros[1 << 20];
    pthread_t urgent;
    pthread_attr_t attributes;
    struct sched_param parameter = {.sched_priority = 5};
    cpu_set_t one;
    int fd = open("/dev/zero", O_RDONLY);

    REQUIRE(fd >= 0);
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    pthread_attr_init(&attributes);
    pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
    pthread_attr_setschedparam(&attributes, &parameter);
    REQUIRE(pthread_create(&urgent, &attributes, be_urgent_with_numbers, NULL) == 0);
    for (long round = 1; interruptions < 50; round++) {
        long low, middle, high;
        register long a0 __asm__("a0") = fd;
        register char *a1 __asm__("a1") = zeros;
        register long a2 __asm__("a2") = sizeof zeros;
        register long a7 __asm__("a7") = SYS_read;
        __asm__ volatile("fmv.d.x fs0, %[round]\n fmv.d.x fs11, %[round]\n fmv.d.x fa0, %[round]\n"
                         "ecall\n"
                         "fmv.x.d %[low], fs0\n fmv.x.d %[high], fs11\n fmv.x.d %[middle], fa0"
                         : "+r"(a0), [low] "=&r"(low), [middle] "=&r"(middle), [high] "=&r"(high)
                         : "r"(a1), "r"(a2), "r"(a7), [round] "r"(round)
                         : "fs0", "fs11", "fa0", "memory");
        REQUIRE(a0 == sizeof zeros);
        REQUIRE(low == round && middle == round && high == round);
    }
    CHECK_EQUAL(pthread_join(urgent, NULL), 0);
    close(fd);
}

static long long nanoseconds(clockid_t clock)
{
    struct timespec time;

    return clock_gettime(clock, &time) ? -1 : time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void *use_time(void *argument)
{
    long long begin = nanoseconds(CLOCK_THREAD_CPUTIME_ID);

    while (nanoseconds(CLOCK_THREAD_CPUTIME_ID) - begin < 30000000)
        ;
    pause();
    return argument;
}

CASE(clocks_of_cpu_time)
{
    pthread_t thread;
    clockid_t clock;
    struct timespec resolution;

    long long own = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    REQUIRE(pthread_create(&thread, NULL, use_time, NULL) == 0);
    REQUIRE(pthread_getcpuclockid(thread, &clock) == 0);
    while (nanoseconds(clock) < 30000000) {
        struct timespec moment = {.tv_nsec = 1000000};
        nanosleep(&moment, NULL);
    }
    CHECK(nanoseconds(CLOCK_PROCESS_CPUTIME_ID) >= 30000000 + own);
    CHECK_EQUAL(clock_getcpuclockid(getpid(), &clock), 0);
    CHECK(nanoseconds(clock) >= 30000000);
    CHECK_EQUAL(clock_getres(clock, &resolution), 0);
    CHECK_EQUAL(clock_getcpuclockid(999999, &clock), ESRCH);
    CHECK_FAILS(clock_gettime(-1, &resolution), EINVAL);
    CHECK_FAILS(clock_gettime((clockid_t)(~999999u << 3 | 2), &resolution), EINVAL);
    CHECK_FAILS(clock_gettime(99, &resolution), EINVAL);
}

CASE(usage)
{
    struct rusage before, after;
    struct tms times_now;

    CHECK_EQUAL(getrusage(RUSAGE_SELF, &before), 0);
    long long begin = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    volatile long counter = 0;
    while (nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - begin < 50000000)
        for (int i = 0; i < 10000; i++)
            counter++;
    struct timespec moment = {.tv_nsec = 1000000};
    /* A sleep that is over before it has begun (the machine stood still meanwhile) gives up no hart. */
    do {
        nanosleep(&moment, NULL);
        REQUIRE(getrusage(RUSAGE_SELF, &after) == 0);
    } while (after.ru_nvcsw == before.ru_nvcsw);
    CHECK(after.ru_utime.tv_sec > before.ru_utime.tv_sec ||
          after.ru_utime.tv_usec - before.ru_utime.tv_usec >= 20000);
    CHECK(after.ru_nvcsw > before.ru_nvcsw);
    CHECK(after.ru_maxrss > 0 && after.ru_minflt > 0);
    CHECK_EQUAL(getrusage(RUSAGE_THREAD, &after), 0);
    CHECK_EQUAL(getrusage(RUSAGE_CHILDREN, &after), 0);
    CHECK_EQUAL(after.ru_utime.tv_sec + after.ru_utime.tv_usec, 0);
    CHECK_FAILS(getrusage(7, &after), EINVAL);
    CHECK_FAILS(syscall(SYS_getrusage, RUSAGE_SELF, 8), EFAULT);
    CHECK(times(&times_now) > 0);
    CHECK(times_now.tms_utime + times_now.tms_stime >= 4);
}

CASE(yielding)
{
    for (int i = 0; i < 1000; i++)
        CHECK_EQUAL(sched_yield(), 0);
}
