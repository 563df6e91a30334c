/* Threads as the C library makes them: creation, joining, locks, conditions, thread-local memory, ends. */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { THREADS = 8, ROUNDS = 200 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long counter;
static __thread long own;

static pid_t thread_id(void)
{
    return syscall(SYS_gettid);
}

static void *count_up(void *argument)
{
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        long before = counter;
        if (i % 16 == 0)
            sched_yield();
        counter = before + 1;
        pthread_mutex_unlock(&lock);
        own++;
    }
    return (void *)(own + (long)argument);
}

CASE(threads_share_memory_and_return_values)
{
    pthread_t threads[THREADS];
    void *value;

    for (long i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, count_up, (void *)(i * 1000)) == 0);
    for (long i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], &value) == 0);
        CHECK_EQUAL((long)value, i * 1000 + ROUNDS);
    }
    CHECK_EQUAL(counter, THREADS * ROUNDS);
    CHECK_EQUAL(own, 0);
}

static void *tell_numbers(void *argument)
{
    pid_t *numbers = argument;

    numbers[0] = getpid();
    numbers[1] = thread_id();
    numbers[2] = getppid();
    return NULL;
}

CASE(a_thread_has_a_number_of_its_own)
{
    pthread_t thread;
    pid_t numbers[3];

    REQUIRE(pthread_create(&thread, NULL, tell_numbers, numbers) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_EQUAL(numbers[0], getpid());
    CHECK(numbers[1] != getpid());
    CHECK_EQUAL(numbers[2], getppid());
    CHECK_EQUAL(thread_id(), getpid());
}

static int turn;

static void *take_turns(void *argument)
{
    int me = (int)(long)argument;

    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        while (turn % 2 != me)
            pthread_cond_wait(&changed, &lock);
        turn++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

CASE(conditions_hand_over)
{
    pthread_t other;

    REQUIRE(pthread_create(&other, NULL, take_turns, (void *)1L) == 0);
    take_turns((void *)0L);
    REQUIRE(pthread_join(other, NULL) == 0);
    CHECK_EQUAL(turn, 2 * ROUNDS);
}

CASE(a_timed_wait_ends)
{
    struct timespec limit;
    long long begin = check_milliseconds();

    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_nsec += 20000000;
    if (limit.tv_nsec >= 1000000000) {
        limit.tv_sec++;
        limit.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&lock);
    CHECK_EQUAL(pthread_cond_timedwait(&changed, &lock, &limit), ETIMEDOUT);
    pthread_mutex_unlock(&lock);
    CHECK(check_milliseconds() - begin >= 19);
}

static void *end_the_process(void *argument)
{
    (void)argument;
    exit(42);
}

static int wait_for(pid_t child)
{
    int status = -1;

    return waitpid(child, &status, 0) == child ? status : -1;
}

CASE(exit_ends_all_threads)
{
    pid_t child = fork();

    if (child == 0) {
        pthread_t thread;

        pthread_create(&thread, NULL, end_the_process, NULL);
        for (;;)
            pause();
    }
    int status = wait_for(child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static int pipe_ends[2];

static void *outlive_the_leader(void *argument)
{
    char byte;

    (void)argument;
    /* The leader is gone when its number answers no more as a thread that runs: it is told by the pipe. */
    read(pipe_ends[0], &byte, 1);
    _exit(7);
}

CASE(the_first_thread_may_end_first)
{
    int status;

    REQUIRE(pipe(pipe_ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;

        close(pipe_ends[1]);
        pthread_create(&thread, NULL, outlive_the_leader, NULL);
        syscall(SYS_exit, 3);
    }
    close(pipe_ends[0]);
    struct timespec moment = {.tv_nsec = 50000000};
    nanosleep(&moment, NULL);
    /* A zombie leader is not reported while a thread is left. */
    CHECK_EQUAL(waitpid(child, &status, WNOHANG), 0);
    CHECK(kill(child, 0) == 0);
    close(pipe_ends[1]);
    status = wait_for(child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void *end_alone(void *argument)
{
    syscall(SYS_exit, (long)argument);
    return NULL;
}

CASE(without_exit_group_the_last_threads_status_counts)
{
    pid_t child = fork();

    if (child == 0) {
        pthread_t thread;

        pthread_create(&thread, NULL, end_alone, (void *)9L);
        pthread_join(thread, NULL);
        syscall(SYS_exit, 5);
    }
    int status = wait_for(child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
}

static void *wait_for_ever(void *argument)
{
    for (;;)
        pause();
    return argument;
}

CASE(a_fatal_signal_ends_all_threads)
{
    pid_t child = fork();

    if (child == 0) {
        pthread_t thread;

        for (int i = 0; i < 4; i++)
            pthread_create(&thread, NULL, wait_for_ever, NULL);
        raise(SIGTERM);
    }
    int status = wait_for(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

CASE(a_fork_of_many_threads_has_one)
{
    pthread_t thread;

    for (int i = 0; i < 3; i++)
        REQUIRE(pthread_create(&thread, NULL, wait_for_ever, NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        /* exit_group would end the others, exit ends the process only if there are none. */
        syscall(SYS_exit, thread_id() == getpid() ? 4 : 5);
    }
    int status = wait_for(child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 4);
}

static void post(void *semaphore)
{
    sem_post(semaphore);
}

static void *cancel_me(void *argument)
{
    pthread_cleanup_push(post, argument);
    for (;;)
        pause();
    pthread_cleanup_pop(0);
    return NULL;
}

CASE(a_thread_can_be_cancelled)
{
    pthread_t thread;
    sem_t cleaned;
    void *value;

    sem_init(&cleaned, 0, 0);
    REQUIRE(pthread_create(&thread, NULL, cancel_me, &cleaned) == 0);
    CHECK(pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, &value) == 0);
    CHECK(value == PTHREAD_CANCELED);
    CHECK(sem_trywait(&cleaned) == 0);
}

CASE(a_robust_mutex_tells_of_its_owners_end)
{
    pthread_mutexattr_t attributes;
    pthread_mutex_t *shared =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    REQUIRE(shared != MAP_FAILED);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(shared, &attributes);
    pid_t child = fork();
    if (child == 0) {
        pthread_mutex_lock(shared);
        _exit(0);
    }
    CHECK_EQUAL(wait_for(child), 0);
    CHECK_EQUAL(pthread_mutex_lock(shared), EOWNERDEAD);
    CHECK_EQUAL(pthread_mutex_consistent(shared), 0);
    CHECK_EQUAL(pthread_mutex_unlock(shared), 0);
}

static void *hold_and_end(void *argument)
{
    pthread_mutex_lock(argument);
    return NULL;
}

CASE(a_waiter_on_a_robust_mutex_is_woken_by_its_owners_end)
{
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    pthread_t thread;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&mutex, &attributes);
    for (int i = 0; i < 20; i++) {
        REQUIRE(pthread_create(&thread, NULL, hold_and_end, &mutex) == 0);
        int result = pthread_mutex_lock(&mutex);
        /* Either we came first, or the thread has ended with it. */
        if (result == EOWNERDEAD)
            pthread_mutex_consistent(&mutex);
        else
            CHECK_EQUAL(result, 0);
        pthread_mutex_unlock(&mutex);
        pthread_join(thread, NULL);
        if (pthread_mutex_lock(&mutex) == EOWNERDEAD)
            pthread_mutex_consistent(&mutex);
        pthread_mutex_unlock(&mutex);
    }
}

static atomic_long ended;

static void *end_soon(void *argument)
{
    atomic_fetch_add(&ended, 1);
    return argument;
}

CASE(threads_come_and_go)
{
    for (int round = 0; round < 50; round++) {
        pthread_t threads[THREADS];

        for (int i = 0; i < THREADS; i++)
            REQUIRE(pthread_create(&threads[i], NULL, end_soon, NULL) == 0);
        for (int i = 0; i < THREADS; i++)
            REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
    CHECK_EQUAL(ended, 50 * THREADS);
}
