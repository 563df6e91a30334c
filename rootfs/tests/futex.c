/* futex(2): waiting for a word to change, waking, moving waiters, operations on a second word. */
#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static long futex(void *word, int operation, long value, const void *timeout, void *other, long value3)
{
    return syscall(SYS_futex, word, operation, value, timeout, other, value3);
}

static _Atomic uint32_t word, other_word;

struct waiter {
    pthread_t thread;
    _Atomic uint32_t *word;
    int operation;
    uint32_t bits;
    long result;
    int error;
    atomic_int is_done;
};

static void *wait_once(void *argument)
{
    struct waiter *self = argument;

    self->result = futex(self->word, self->operation, 0, NULL, NULL, self->bits);
    self->error = errno;
    self->is_done = 1;
    return NULL;
}

/* State of a thread, by its number, as the kernel tells it: S for one that sleeps. Waiting itself is not
 * observable otherwise. */
static void start(struct waiter *waiter, _Atomic uint32_t *on, int operation, uint32_t bits)
{
    *waiter = (struct waiter){.word = on, .operation = operation, .bits = bits};
    REQUIRE(pthread_create(&waiter->thread, NULL, wait_once, waiter) == 0);
}

/* Wakes until as many were woken as there are: who has not begun to wait is found by a later round. */
static void wake_exactly(_Atomic uint32_t *on, int operation, uint32_t bits, int count)
{
    for (int woken = 0; woken < count;) {
        long now = futex(on, operation, count - woken, NULL, NULL, bits);
        REQUIRE(now >= 0);
        woken += now;
        if (now == 0)
            sched_yield();
    }
}

CASE(a_changed_word_is_not_waited_for)
{
    word = 1;
    CHECK_FAILS(futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0), EAGAIN);
    CHECK_FAILS(futex(&word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0), EAGAIN);
}

CASE(nobody_is_woken_where_nobody_waits)
{
    CHECK_EQUAL(futex(&word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0), 0);
    CHECK_EQUAL(futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0), 0);
}

CASE(bad_arguments_are_refused)
{
    struct timespec bad = {.tv_nsec = 1000000000}, negative = {.tv_sec = -1};

    CHECK_FAILS(futex((char *)&word + 1, FUTEX_WAIT, 0, NULL, NULL, 0), EINVAL);
    CHECK_FAILS(futex((char *)&word + 2, FUTEX_WAKE, 1, NULL, NULL, 0), EINVAL);
    CHECK_FAILS(futex((void *)4096, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EFAULT);
    CHECK_FAILS(futex((void *)4096, FUTEX_WAKE, 1, NULL, NULL, 0), EFAULT);
    CHECK_FAILS(futex((void *)-4096L, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EFAULT);
    CHECK_FAILS(futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0), EINVAL);
    CHECK_FAILS(futex(&word, FUTEX_WAIT, 0, &negative, NULL, 0), EINVAL);
    CHECK_FAILS(futex(&word, FUTEX_WAIT, 0, (void *)8, NULL, 0), EFAULT);
    CHECK_FAILS(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0), EINVAL);
    CHECK_FAILS(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0), EINVAL);
    CHECK_FAILS(futex(&word, 77, 0, NULL, NULL, 0), ENOSYS);
    CHECK_FAILS(futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0), ENOSYS);
    CHECK_FAILS(futex(&word, FUTEX_CMP_REQUEUE, -1, (void *)1, &other_word, 0), EINVAL);
    CHECK_FAILS(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)(long)-1, &other_word, 0), EINVAL);
}

static void check_elapsed(long long begin, long long least)
{
    CHECK(check_milliseconds() - begin >= least);
}

CASE(a_wait_ends_at_its_time)
{
    struct timespec soon = {.tv_nsec = 20000000}, moment;
    long long begin = check_milliseconds();

    CHECK_FAILS(futex(&word, FUTEX_WAIT, 0, &soon, NULL, 0), ETIMEDOUT);
    check_elapsed(begin, 20);
    for (int clock = 0; clock < 2; clock++) {
        begin = check_milliseconds();
        clock_gettime(clock ? CLOCK_REALTIME : CLOCK_MONOTONIC, &moment);
        moment.tv_nsec += 20000000;
        if (moment.tv_nsec >= 1000000000) {
            moment.tv_sec++;
            moment.tv_nsec -= 1000000000;
        }
        int flags = FUTEX_WAIT_BITSET | (clock ? FUTEX_CLOCK_REALTIME : 0);
        CHECK_FAILS(futex(&word, flags, 0, &moment, NULL, -1), ETIMEDOUT);
        check_elapsed(begin, 19);
        CHECK_FAILS(futex(&word, flags, 0, &moment, NULL, -1), ETIMEDOUT);
    }
}

CASE(a_waiter_is_woken)
{
    struct waiter waiter;

    start(&waiter, &word, FUTEX_WAIT_PRIVATE, 0);
    wake_exactly(&word, FUTEX_WAKE_PRIVATE, 0, 1);
    pthread_join(waiter.thread, NULL);
    CHECK_EQUAL(waiter.result, 0);
}

CASE(as_many_are_woken_as_asked_for)
{
    struct waiter waiters[5];

    for (int i = 0; i < 5; i++)
        start(&waiters[i], &word, FUTEX_WAIT, 0);
    wake_exactly(&word, FUTEX_WAKE, 0, 2);
    int done = 0;
    while (done < 2) {
        done = 0;
        for (int i = 0; i < 5; i++)
            done += waiters[i].is_done;
    }
    CHECK_EQUAL(done, 2);
    wake_exactly(&word, FUTEX_WAKE, 0, 3);
    for (int i = 0; i < 5; i++)
        pthread_join(waiters[i].thread, NULL);
}

CASE(bits_choose_who_is_woken)
{
    struct waiter one, two;

    start(&one, &word, FUTEX_WAIT_BITSET, 1);
    start(&two, &word, FUTEX_WAIT_BITSET, 2);
    wake_exactly(&word, FUTEX_WAKE_BITSET, 2, 1);
    pthread_join(two.thread, NULL);
    CHECK_EQUAL(one.is_done, 0);
    CHECK_EQUAL(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 4), 0);
    wake_exactly(&word, FUTEX_WAKE_BITSET, 1, 1);
    pthread_join(one.thread, NULL);
}

CASE(waiters_are_moved)
{
    struct waiter waiters[4];

    word = other_word = 0;
    for (int i = 0; i < 4; i++)
        start(&waiters[i], &word, FUTEX_WAIT, 0);
    CHECK_FAILS(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)10, &other_word, 5), EAGAIN);
    /* Moved to a word and back, until all four have been seen: then all wait. */
    for (;;) {
        long there = futex(&word, FUTEX_CMP_REQUEUE, 0, (void *)10, &other_word, 0);
        long back = futex(&other_word, FUTEX_CMP_REQUEUE, 0, (void *)10, &word, 0);
        REQUIRE(there >= 0 && back >= there);
        if (back == 4)
            break;
        sched_yield();
    }
    CHECK_EQUAL(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)2, &other_word, 0), 3);
    CHECK_EQUAL(futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0), 1);
    CHECK_EQUAL(futex(&other_word, FUTEX_REQUEUE, 1, (void *)0, &word, 0), 1);
    CHECK_EQUAL(futex(&other_word, FUTEX_WAKE, 10, NULL, NULL, 0), 1);
    for (int i = 0; i < 4; i++) {
        pthread_join(waiters[i].thread, NULL);
        CHECK_EQUAL(waiters[i].result, 0);
    }
}

CASE(an_operation_on_a_second_word)
{
    struct waiter one, two;

    word = 0;
    other_word = 0;
    start(&one, &word, FUTEX_WAIT, 0);
    start(&two, &other_word, FUTEX_WAIT, 0);
    /* Both wait once each can be moved to where it is already. */
    while (futex(&word, FUTEX_CMP_REQUEUE, 0, (void *)1, &word, 0) != 1)
        sched_yield();
    while (futex(&other_word, FUTEX_CMP_REQUEUE, 0, (void *)1, &other_word, 0) != 1)
        sched_yield();
    CHECK_EQUAL(futex(&word, FUTEX_WAKE_OP, 1, (void *)1, &other_word,
                      FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_NE, 0)),
                1);
    CHECK_EQUAL(other_word, 5);
    pthread_join(one.thread, NULL);
    CHECK_EQUAL(two.is_done, 0);
    CHECK_EQUAL(futex(&word, FUTEX_WAKE_OP, 1, (void *)1, &other_word,
                      FUTEX_OP(FUTEX_OP_ANDN, 4, FUTEX_OP_CMP_GT, 4)),
                1);
    CHECK_EQUAL(other_word, 1);
    pthread_join(two.thread, NULL);
    CHECK_EQUAL(futex(&word, FUTEX_WAKE_OP, 1, (void *)1, &other_word,
                      FUTEX_OP((FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT), 3, FUTEX_OP_CMP_EQ, 9)),
                0);
    CHECK_EQUAL(other_word, 9);
    CHECK_FAILS(futex(&word, FUTEX_WAKE_OP, 1, (void *)1, &other_word, 7u << 28), ENOSYS);
}

CASE(a_shared_word_is_one_word_everywhere)
{
    char name[] = "/tmp/futex-XXXXXX";
    int file = mkstemp(name);

    if (file < 0)
        file = open("/futex-test", O_RDWR | O_CREAT, 0600);
    REQUIRE(file >= 0 && ftruncate(file, 8192) == 0);
    _Atomic uint32_t *here = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    REQUIRE(here != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        _Atomic uint32_t *there = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 4096);

        while (there[1] == 0)
            futex((void *)&there[1], FUTEX_WAIT, 0, NULL, NULL, 0);
        there[2] = 1;
        futex((void *)&there[2], FUTEX_WAKE, 1, NULL, NULL, 0);
        _exit(0);
    }
    struct timespec moment = {.tv_nsec = 20000000};
    nanosleep(&moment, NULL);
    here[1025] = 1;
    futex((void *)&here[1025], FUTEX_WAKE, 1, NULL, NULL, 0);
    while (here[1026] == 0)
        futex((void *)&here[1026], FUTEX_WAIT, 0, NULL, NULL, 0);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void note(int signal)
{
    (void)signal;
}

static void *interrupt(void *argument)
{
    pthread_t target = *(pthread_t *)argument;
    struct timespec moment = {.tv_nsec = 30000000};

    nanosleep(&moment, NULL);
    pthread_kill(target, SIGUSR1);
    nanosleep(&moment, NULL);
    word = 1;
    futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0);
    return NULL;
}

CASE(signals_interrupt_a_wait)
{
    pthread_t self = pthread_self(), thread;
    struct timespec long_time = {.tv_sec = 20};
    struct sigaction action = {.sa_handler = note};

    sigaction(SIGUSR1, &action, NULL);
    word = 0;
    REQUIRE(pthread_create(&thread, NULL, interrupt, &self) == 0);
    CHECK_FAILS(futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0), EINTR);
    pthread_join(thread, NULL);
    /* With SA_RESTART a wait without a timeout is made again, and finds that the word has changed or is woken. */
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
    word = 0;
    REQUIRE(pthread_create(&thread, NULL, interrupt, &self) == 0);
    CHECK(futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0) == 0 || errno == EAGAIN);
    CHECK_EQUAL(word, 1);
    pthread_join(thread, NULL);
    /* One with a timeout is not. */
    word = 0;
    REQUIRE(pthread_create(&thread, NULL, interrupt, &self) == 0);
    CHECK_FAILS(futex(&word, FUTEX_WAIT, 0, &long_time, NULL, 0), EINTR);
    pthread_join(thread, NULL);
}

CASE(stopping_does_not_lengthen_a_wait)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        struct timespec time = {.tv_nsec = 300000000};
        long long begin = check_milliseconds();

        CHECK_FAILS(futex(&word, FUTEX_WAIT, 0, &time, NULL, 0), ETIMEDOUT);
        /* Stopped for longer than that: the time is over at once when it goes on. */
        long long elapsed = check_milliseconds() - begin;
        _exit(check_failures || elapsed < 300 ? 1 : 0);
    }
    struct timespec moment = {.tv_nsec = 100000000};
    nanosleep(&moment, NULL);
    kill(child, SIGSTOP);
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    kill(child, SIGCONT);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static _Atomic uint32_t ball;

static void *play(void *argument)
{
    uint32_t me = (uint32_t)(long)argument;

    for (int i = 0; i < 5000; i++) {
        while (ball != me)
            futex(&ball, FUTEX_WAIT_PRIVATE, 1 - me, NULL, NULL, 0);
        ball = 1 - me;
        futex(&ball, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    return NULL;
}

CASE(no_wake_is_lost)
{
    pthread_t other;

    REQUIRE(pthread_create(&other, NULL, play, (void *)1L) == 0);
    play((void *)0L);
    CHECK(pthread_join(other, NULL) == 0);
}
