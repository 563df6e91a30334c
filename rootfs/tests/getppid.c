/* The cheapest system call there is: what one costs is what entering and leaving the kernel costs. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mark.h"

enum { CALLS = 10000, WARM_UP_CALLS = 1000 };

int main(int argc, char **argv)
{
    long parent = getppid();

    for (int i = 0; i < WARM_UP_CALLS; i++)
        getppid();
    if (is_measuring(argc, argv))
        settle();
    for (int round = 0; round < ROUNDS; round++) {
        MARK_BEGIN();
        for (int i = 0; i < CALLS; i++)
            getppid();
        MARK_END();
        report("getppid", "syscall", CALLS);
    }
    /* The parent is still the same, and both ways of asking agree. */
    return getppid() == parent && syscall(SYS_getppid) == parent ? EXIT_SUCCESS : EXIT_FAILURE;
}
