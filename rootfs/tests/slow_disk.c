/* Who waits for a disk uses no processor. DISK: ext4 (see ext4.c).
 *
 * On a disk that takes 50 ms for each request (the boot case slow-disk) the waiting is long enough to be
 * measured. Everything is measured in the guest's own clocks, so a busy host changes nothing. */
#include "check.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define DISK "/dev/vda"

enum { PIECES = 12, PIECE = 64 * 1024, STEP = 1 << 20, LEAST_WAIT_MILLISECONDS = 400 };

static long long microseconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

/* Reads places that lie apart, none of them from memory. */
static void read_the_disk(void)
{
    static char bytes[PIECE];
    int disk = open(DISK, O_RDONLY);

    REQUIRE(disk >= 0);
    CHECK(ioctl(disk, BLKFLSBUF, 0) == 0);
    for (int piece = 0; piece < PIECES; piece++)
        CHECK_EQUAL(pread(disk, bytes, PIECE, (off_t)piece * STEP), PIECE);
    close(disk);
}

static void need_disk(void)
{
    cpu_set_t one;

    if (access(DISK, F_OK) != 0) {
        mkdir("/dev", 0755);
        REQUIRE(mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) == 0);
    }
    /* Everybody on one processor. */
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
}

CASE(a_reader_alone_leaves_the_processor_idle)
{
    need_disk();
    long long wall = microseconds(CLOCK_MONOTONIC), used = microseconds(CLOCK_PROCESS_CPUTIME_ID);
    read_the_disk();
    used = microseconds(CLOCK_PROCESS_CPUTIME_ID) - used;
    wall = microseconds(CLOCK_MONOTONIC) - wall;
    printf("  %lld of %lld us\n", used, wall);
    if (wall < LEAST_WAIT_MILLISECONDS * 1000)
        SKIP("the disk is too fast");
    CHECK(used * 10 < wall);
}

struct worker {
    int stop;
    long long wall, used;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    long long wall = microseconds(CLOCK_MONOTONIC), used = microseconds(CLOCK_THREAD_CPUTIME_ID);

    while (!__atomic_load_n(&worker->stop, __ATOMIC_RELAXED))
        ;
    worker->used = microseconds(CLOCK_THREAD_CPUTIME_ID) - used;
    worker->wall = microseconds(CLOCK_MONOTONIC) - wall;
    return NULL;
}

CASE(a_worker_beside_a_reader_keeps_its_speed)
{
    struct worker worker = {0};
    pthread_t thread;

    need_disk();
    REQUIRE(pthread_create(&thread, NULL, work, &worker) == 0);
    read_the_disk();
    __atomic_store_n(&worker.stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    printf("  %lld of %lld us\n", worker.used, worker.wall);
    if (worker.wall < LEAST_WAIT_MILLISECONDS * 1000)
        SKIP("the disk is too fast");
    CHECK(worker.used * 10 > worker.wall * 9);
}
