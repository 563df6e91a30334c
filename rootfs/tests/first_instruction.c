/* When a first program runs its own instructions: the machine's counter, in microseconds, as early as C has a say. Run
 * as the first program itself (init=), it ends the machine, too. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/reboot.h>
#include <unistd.h>

enum { TICKS_PER_MICROSECOND = 10 };

static unsigned long begin;

/* Before the C library has set itself up. */
static void note_begin(void)
{
    __asm__ volatile("rdtime %0" : "=r"(begin));
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(void) = note_begin;

int main(void)
{
    printf("first instructions: %lu us\n", begin / TICKS_PER_MICROSECOND);
    fflush(stdout);
    if (getpid() == 1)
        reboot(RB_POWER_OFF);
    return begin > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
