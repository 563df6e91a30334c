/* rseq(2) and membarrier(2): restartable sequences, and barriers for all threads of a process. */
#include "check.h"

#include <linux/membarrier.h>
#include <linux/rseq.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

/* riscv64's C library registers nothing (it defines no signature), so that this is the program's own matter. */
enum { SIGNATURE = 0x53053053 };

static __thread struct {
    uint32_t cpu_id_start, cpu_id;
    uint64_t rseq_cs;
    uint32_t flags, node_id, mm_cid, end;
} __attribute__((aligned(32))) own_area;

#define area() (&own_area)

static long call(const void *where, unsigned size, int flags, unsigned signature)
{
    return syscall(SYS_rseq, where, size, flags, signature);
}

CASE(registering)
{
    CHECK(getauxval(27) >= 20 && getauxval(28) == 32);
    CHECK_FAILS(call(area(), 32, 1, SIGNATURE), EINVAL);
    CHECK_FAILS(call((char *)area() + 8, 32, 0, SIGNATURE), EINVAL);
    CHECK_FAILS(call(area(), 16, 0, SIGNATURE), EINVAL);
    CHECK_FAILS(call(area(), 32, 2, SIGNATURE), EINVAL);
    CHECK_FAILS(call((void *)-4096L, 32, 0, SIGNATURE), EFAULT);
    CHECK_EQUAL(call(area(), 32, 0, SIGNATURE), 0);
    CHECK(area()->cpu_id < 64 && area()->cpu_id == area()->cpu_id_start);
    CHECK_FAILS(call(area(), 32, 0, SIGNATURE), EBUSY);
    CHECK_FAILS(call(area(), 32, 0, 1), EPERM);
    CHECK_FAILS(call(area(), 64, 0, SIGNATURE), EINVAL);
    CHECK_FAILS(call(area(), 32, 1, 1), EPERM);
    CHECK_EQUAL(call(area(), 32, 1, SIGNATURE), 0);
    CHECK_EQUAL((int32_t)area()->cpu_id, -1);
    CHECK_FAILS(call(area(), 32, 1, SIGNATURE), EINVAL);
}

CASE(a_forked_child_stays_registered)
{
    int status;

    REQUIRE(call(area(), 32, 0, SIGNATURE) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(call(area(), 32, 0, SIGNATURE) == -1 && errno == EBUSY ? 0 : 1);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void *register_again(void *argument)
{
    (void)argument;
    return (void *)(call(area(), 32, 0, SIGNATURE));
}

CASE(a_thread_registers_for_itself)
{
    pthread_t thread;
    void *result;

    REQUIRE(call(area(), 32, 0, SIGNATURE) == 0);
    REQUIRE(pthread_create(&thread, NULL, register_again, NULL) == 0);
    pthread_join(thread, &result);
    CHECK_EQUAL((long)result, 0);
}

CASE(the_harts_number_follows)
{
    cpu_set_t all, one;

    REQUIRE(call(area(), 32, 0, SIGNATURE) == 0);
    REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
    for (int round = 0; round < 20; round++) {
        int hart = round % CPU_COUNT(&all);

        CPU_ZERO(&one);
        CPU_SET(hart, &one);
        REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
        CHECK_EQUAL(area()->cpu_id, hart);
        CHECK_EQUAL(area()->cpu_id_start, hart);
    }
}

/* Counts rounds of a sequence that ends only when it was aborted: by a signal, or by losing the hart. */
static long run_until_aborted(struct rseq_cs *section)
{
    long rounds = 0;

    asm volatile(
        "   la   t0, 2f\n"
        "   sd   t0, 8(%[section])\n"
        "   la   t1, 3f\n"
        "   sub  t1, t1, t0\n"
        "   sd   t1, 16(%[section])\n"
        "   la   t1, 4f\n"
        "   sd   t1, 24(%[section])\n"
        "   sd   %[section], 8(%[area])\n"
        "2: addi %[rounds], %[rounds], 1\n"
        "   j    2b\n"
        "3: j    5f\n"
        "   .balign 4\n"
        "   .word 0x53053053\n" /* the signature */
        "4: nop\n"
        "5:\n"
        : [rounds] "+r"(rounds)
        : [section] "r"(section), [area] "r"(area())
        : "t0", "t1", "memory");
    return rounds;
}

static volatile sig_atomic_t signals;

static void count(int signal)
{
    (void)signal;
    signals++;
}

CASE(a_signal_aborts_a_sequence)
{
    static struct rseq_cs section __attribute__((aligned(32)));
    pid_t self = getpid(), child;

    REQUIRE(call(area(), 32, 0, SIGNATURE) == 0);
    signal(SIGUSR1, count);
    if ((child = fork()) == 0) {
        for (;;) {
            struct timespec moment = {.tv_nsec = 20000000};
            nanosleep(&moment, NULL);
            kill(self, SIGUSR1);
        }
    }
    CHECK(run_until_aborted(&section) > 0);
    CHECK_EQUAL(area()->rseq_cs, 0);
    kill(child, SIGKILL);
}

static void *spin(void *argument)
{
    while (!*(volatile int *)argument)
        ;
    return NULL;
}

CASE(losing_the_hart_aborts_a_sequence)
{
    static struct rseq_cs section __attribute__((aligned(32)));
    volatile int is_over = 0;
    pthread_t thread;
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(0, &one);
    REQUIRE(call(area(), 32, 0, SIGNATURE) == 0);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    REQUIRE(pthread_create(&thread, NULL, spin, (void *)&is_over) == 0);
    for (int i = 0; i < 5; i++)
        CHECK(run_until_aborted(&section) > 0);
    is_over = 1;
    pthread_join(thread, NULL);
}

CASE(bad_sections_end_the_program)
{
    static struct rseq_cs section __attribute__((aligned(32)));
    int status;

    for (int kind = 0; kind < 3; kind++) {
        pid_t child = fork();

        if (child == 0) {
            REQUIRE(call(area(), 32, 0, SIGNATURE) == 0);
            section.start_ip = kind == 0 ? -1ul : 0x10000;
            section.post_commit_offset = 0x100;
            section.abort_ip = 0x20000;
            section.version = kind == 1;
            area()->rseq_cs = kind == 2 ? 8 : (uintptr_t)&section;
            sched_yield();
            raise(SIGCONT);
            for (;;)
                ;
        }
        /* Whatever comes between leads to a look at the section. */
        struct timespec moment = {.tv_nsec = 100000000};
        nanosleep(&moment, NULL);
        kill(child, SIGCONT);
        nanosleep(&moment, NULL);
        kill(child, SIGUSR2);
        CHECK_EQUAL(waitpid(child, &status, 0), child);
        CHECK(WIFSIGNALED(status));
        CHECK_EQUAL(WTERMSIG(status), SIGSEGV);
    }
}

static long barrier(int command, unsigned flags)
{
    return syscall(SYS_membarrier, command, flags, 0);
}

CASE(barriers)
{
    long known = barrier(MEMBARRIER_CMD_QUERY, 0);

    CHECK((known & 0x1ff) == 0x1ff);
    CHECK_FAILS(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, 0), EPERM);
    CHECK_EQUAL(barrier(MEMBARRIER_CMD_GLOBAL, 0), 0);
    CHECK_EQUAL(barrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0), 0);
    CHECK_EQUAL(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0), 0);
    CHECK_EQUAL(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0), 0);
    CHECK_EQUAL(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0), 0);
    CHECK_EQUAL(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0), 0);
    CHECK_EQUAL(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0), 0);
    CHECK_EQUAL(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, 0), 0);
    CHECK_FAILS(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 1), EINVAL);
    CHECK_FAILS(barrier(1 << 20, 0), EINVAL);
    CHECK_FAILS(barrier(-1, 0), EINVAL);
}

static volatile int x, y, seen_x, seen_y, go[2], done[2];

static void *other_side(void *argument)
{
    for (int i = 1; i <= 2000; i++) {
        while (go[1] != i)
            ;
        /* A plain store and load; the expensive side makes it as good as a barrier here. */
        y = 1;
        asm volatile("" ::: "memory");
        seen_x = x;
        done[1] = i;
    }
    return argument;
}

CASE(a_barrier_orders_the_other_threads)
{
    pthread_t thread;

    if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
        SKIP("one hart orders everything");
    CHECK_EQUAL(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0), 0);
    REQUIRE(pthread_create(&thread, NULL, other_side, NULL) == 0);
    for (int i = 1; i <= 2000; i++) {
        x = y = 0;
        __sync_synchronize();
        go[1] = i;
        x = 1;
        barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0);
        seen_y = y;
        while (done[1] != i)
            ;
        if (!seen_x && !seen_y) {
            CHECK(!"one of the two sees the other");
            break;
        }
    }
    pthread_join(thread, NULL);
}
