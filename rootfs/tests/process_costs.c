/* What threads and processes cost: making and ending them, signals, giving way, futexes between two threads. */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mark.h"

enum { THREADS = 200, FORKS = 100, SIGNALS = 1000, YIELDS = 1000, TURNS = 1000, WAKES = 2000 };

static void *nothing(void *argument)
{
    return argument;
}

static void threads(int count)
{
    pthread_t thread;

    for (int i = 0; i < count; i++) {
        if (pthread_create(&thread, NULL, nothing, NULL) != 0)
            exit(EXIT_FAILURE);
        pthread_join(thread, NULL);
    }
}

static void forks(int count)
{
    for (int i = 0; i < count; i++) {
        pid_t child = fork();

        if (child == 0)
            _exit(0);
        waitpid(child, NULL, 0);
    }
}

static volatile int handled;

static void handler(int signal)
{
    (void)signal;
    handled++;
}

static void signals(int count)
{
    pid_t self = getpid();

    for (int i = 0; i < count; i++)
        kill(self, SIGUSR1);
}

static void yields(int count)
{
    for (int i = 0; i < count; i++)
        sched_yield();
}

static long futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    return syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static void wakes(int count)
{
    static _Atomic uint32_t word;

    for (int i = 0; i < count; i++)
        futex(&word, FUTEX_WAKE_PRIVATE, 1);
}

static _Atomic uint32_t ball;

static void play(uint32_t me, int turns)
{
    for (int i = 0; i < turns; i++) {
        while (ball != me)
            futex(&ball, FUTEX_WAIT_PRIVATE, 1 - me);
        ball = 1 - me;
        futex(&ball, FUTEX_WAKE_PRIVATE, 1);
    }
}

static void *play_second(void *argument)
{
    play(1, *(int *)argument);
    return NULL;
}

static void turns(int count)
{
    int all = count * (ROUNDS + 1);
    pthread_t other;

    pthread_create(&other, NULL, play_second, &all);
    play(0, count);
    for (int round = 0; round < ROUNDS; round++) {
        MARK_BEGIN();
        play(0, count);
        MARK_END();
        report("futex-ping-pong", "2-threads", count);
    }
    pthread_join(other, NULL);
}

static void measure(const char *operation, const char *mode, void (*run)(int), int count)
{
    run(count / 10);
    for (int round = 0; round < ROUNDS; round++) {
        MARK_BEGIN();
        run(count);
        MARK_END();
        report(operation, mode, count);
    }
}

int main(int argc, char **argv)
{
    if (is_measuring(argc, argv))
        settle();
    signal(SIGUSR1, handler);
    measure("thread-create-join", "pthread", threads, THREADS);
    measure("fork-exit-wait", "static", forks, FORKS);
    measure("signal-to-self", "handler", signals, SIGNALS);
    measure("sched-yield", "alone", yields, YIELDS);
    pid_t child = fork();
    if (child == 0)
        for (;;)
            sched_yield();
    measure("sched-yield", "2-processes", yields, YIELDS);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    measure("futex-wake", "no-waiter", wakes, WAKES);
    turns(TURNS);
    return handled > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
