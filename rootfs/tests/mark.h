/* Talking to the instruction counter (scripts/plugin): a mark is a hint instruction that every
 * processor ignores and at which the plugin writes down its counts. Between MARK_BEGIN and MARK_END
 * lies what is measured; report() then names it and says how many operations it were, in the order
 * in which the pairs of marks were executed. */
#ifndef MARK_H
#define MARK_H

#include <stdio.h>

#define MARK_BEGIN() __asm__ volatile("slti x0, x0, 1" ::: "memory")
#define MARK_END() __asm__ volatile("slti x0, x0, 2" ::: "memory")

static inline void report(const char *operation, const char *mode, long operations)
{
    printf("bench: %s %s %ld\n", operation, mode, operations);
    fflush(stdout);
}

#endif
