/* Many threads that wait: each is made, waits in read, and goes on. What one costs the kernel is looked up in
 * /proc/meminfo: on ours at most 2 KiB beside its page tables, which are reported apart. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum { MOST_THREADS = 10000, MOST_BYTES_EACH = 2048 };

static int ends[2];
static atomic_int waiting, done;

static void *wait_in_read(void *argument)
{
    char byte;

    atomic_fetch_add(&waiting, 1);
    if (read(ends[0], &byte, 1) == 1)
        atomic_fetch_add(&done, 1);
    return argument;
}

/* A line of /proc/meminfo in KiB; -1 if there is none. */
static long memory(const char *what)
{
    char line[128];
    long value = -1;
    FILE *file = fopen("/proc/meminfo", "r");

    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, what, strlen(what)) == 0)
            value = atol(line + strlen(what));
    if (file)
        fclose(file);
    return value;
}

CASE(ten_thousand_threads_wait)
{
    static pthread_t threads[MOST_THREADS];
    int count = 0;

    mkdir("/proc", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    REQUIRE(pipe(ends) == 0);
    /* What the first thread alone brings into memory does not count. */
    pthread_t first;
    REQUIRE(pthread_create(&first, NULL, wait_in_read, NULL) == 0);
    long kernel = memory("Slab:"), tables = memory("PageTables:");
    while (count < MOST_THREADS && pthread_create(&threads[count], NULL, wait_in_read, NULL) == 0)
        count++;
    while (waiting < count + 1) {
        struct timespec moment = {.tv_nsec = 1000000};
        nanosleep(&moment, NULL);
    }
    /* Linux makes as many as memory allows for. */
    CHECK(count >= 1000);
    if (kernel >= 0 && access("/proc/zcore", F_OK) == 0) {
        long each = (memory("Slab:") - kernel) * 1024 / count;

        printf("note: %ld bytes of kernel memory a thread, and %ld of page tables\n", each,
               (memory("PageTables:") - tables) * 1024 / count);
        CHECK_EQUAL(count, MOST_THREADS);
        CHECK(each <= MOST_BYTES_EACH);
    }
    for (int i = 0; i < count + 1; i++)
        REQUIRE(write(ends[1], "x", 1) == 1);
    for (int i = 0; i < count; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    REQUIRE(pthread_join(first, NULL) == 0);
    CHECK_EQUAL(done, count + 1);
}
