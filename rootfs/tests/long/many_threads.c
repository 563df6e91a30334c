/* What a thread that waits costs: many of them blocked in read, each with a stack as large as they come. */
#include "../check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum { THREADS = 10000, MOST_KERNEL_BYTES = 2048 };

static int ends[2];
static atomic_int arrived;

static void *wait_for_end(void *argument)
{
    char byte;

    (void)argument;
    atomic_fetch_add(&arrived, 1);
    return (void *)read(ends[0], &byte, 1);
}

/* What is in use, in bytes. */
struct usage {
    long free, programs, tables;
};

static struct usage usage(void)
{
    struct usage found = {0};
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    long value;

    REQUIRE(file != NULL);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemFree: %ld", &value) == 1)
            found.free = value * 1024;
        if (sscanf(line, "AnonPages: %ld", &value) == 1)
            found.programs = value * 1024;
        if (sscanf(line, "PageTables: %ld", &value) == 1)
            found.tables = value * 1024;
    }
    fclose(file);
    return found;
}

/* How many threads of the whole machine run or could. */
static int runnable(void)
{
    int count = -1;
    FILE *file = fopen("/proc/loadavg", "r");

    REQUIRE(file != NULL);
    CHECK(fscanf(file, "%*s %*s %*s %d/", &count) == 1);
    fclose(file);
    return count;
}

/* Linux's defaults allow fewer threads in a small machine; where the settings cannot be changed they are no limit. */
static void allow_many(void)
{
    const char *const settings[] = {"/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"};

    for (int i = 0; i < 2; i++) {
        int fd = open(settings[i], O_WRONLY);

        (void)!write(fd, "100000", 6);
        close(fd);
    }
}

CASE(threads_that_wait_are_small)
{
    static pthread_t threads[THREADS];

    mkdir("/proc", 0755);
    if (access("/proc/self", F_OK) != 0)
        REQUIRE(mount("proc", "/proc", "proc", 0, NULL) == 0);
    allow_many();
    REQUIRE(pipe(ends) == 0);
    struct usage before = usage();
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, wait_for_end, NULL) == 0);
    while (atomic_load(&arrived) < THREADS || runnable() > 1)
        sched_yield();
    struct usage after = usage();
    long tables = after.tables - before.tables, programs = after.programs - before.programs;
    long kernel = before.free - after.free - tables - programs;
    printf("note: of each thread %ld bytes are page tables, %ld its own memory\n", tables / THREADS, programs / THREADS);
    printf("measured: %ld\n", kernel / THREADS);
    if (access("/proc/zcore", F_OK) == 0)
        CHECK(kernel / THREADS <= MOST_KERNEL_BYTES);
    /* One end is enough for all of them: the process's. */
}
