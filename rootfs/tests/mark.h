/* Talking to the instruction counter (scripts/plugin): a mark is a hint instruction that every
 * processor ignores and at which the plugin writes down its counts. Between MARK_BEGIN and MARK_END
 * lies what is measured; report() then names it and says how many operations it were, in the order
 * in which the pairs of marks were executed. Pairs of the same name are rounds: their median counts.
 *
 * The plugin counts all that the machine does. settle() therefore waits until nothing else runs: a
 * kernel that has just started still works in the background (Linux verifies its certificates). It is
 * for measuring only, which a program is told by the argument "measure". */
#ifndef MARK_H
#define MARK_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 5 };

#define MARK_BEGIN() __asm__ volatile("slti x0, x0, 1" ::: "memory")
#define MARK_END() __asm__ volatile("slti x0, x0, 2" ::: "memory")

static inline bool is_measuring(int argc, char **argv)
{
    return argc > 1 && strcmp(argv[1], "measure") == 0;
}

static inline long nanoseconds_of_spin(void)
{
    struct timespec begin, end;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long i = 0; i < 500000; i++)
        __asm__ volatile("");
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (end.tv_sec - begin.tv_sec) * 1000000000L + end.tv_nsec - begin.tv_nsec;
}

/* Returns when the same work took the same time (the best one up to an eighth) for a tenth of a second in a
 * row, or after some seconds on a machine that never comes to rest. */
static inline void settle(void)
{
    long best = nanoseconds_of_spin(), calm = 0;

    for (int spins = 0; calm < 100000000L && spins < 5000; spins++) {
        long spin = nanoseconds_of_spin();

        if (spin < best)
            best = spin;
        calm = spin <= best + best / 8 ? calm + spin : 0;
    }
}

static inline void report(const char *operation, const char *mode, long operations)
{
    printf("bench: %s %s %ld\n", operation, mode, operations);
    fflush(stdout);
}

#endif
