/* The shared object that the kernel maps into every process: each function does what its system call does,
 * clocks do not enter the kernel, and a signal handler's frame can be unwound. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <unwind.h>

#ifndef SYS_riscv_hwprobe
#define SYS_riscv_hwprobe 258
#endif

enum { PROBE_KEYS = 10, MARK_IN_T2 = 0x5a5a };

#define CHECK(condition) check(condition, #condition, __LINE__)

static int failures;

static void check(int condition, const char *text, int line)
{
    if (condition)
        return;
    printf("vdso.c:%d: %s\n", line, text);
    failures++;
}

/* --- the object ------------------------------------------------------------------------------------------ */

static const char *base;
static const Elf64_Sym *symbols;
static const Elf64_Versym *versions;
static const Elf64_Verdef *definitions;
static const char *strings;
static uint32_t symbol_count;

static void open_object(void)
{
    const Elf64_Ehdr *header = (const void *)getauxval(AT_SYSINFO_EHDR);
    const Elf64_Phdr *segments;

    CHECK(header && memcmp(header->e_ident, ELFMAG, SELFMAG) == 0);
    if (failures)
        exit(EXIT_FAILURE);
    base = (const char *)header;
    segments = (const void *)(base + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++) {
        if (segments[i].p_type != PT_DYNAMIC)
            continue;
        for (const Elf64_Dyn *entry = (const void *)(base + segments[i].p_vaddr); entry->d_tag; entry++) {
            const void *place = base + entry->d_un.d_ptr;

            switch (entry->d_tag) {
            case DT_SYMTAB: symbols = place; break;
            case DT_STRTAB: strings = place; break;
            case DT_VERSYM: versions = place; break;
            case DT_VERDEF: definitions = place; break;
            case DT_HASH: symbol_count = ((const uint32_t *)place)[1]; break;
            }
        }
    }
    CHECK(symbols && strings && versions && definitions && symbol_count);
    if (failures)
        exit(EXIT_FAILURE);
}

static const char *version_of(uint32_t symbol)
{
    const Elf64_Verdef *definition = definitions;

    for (;;) {
        if (definition->vd_ndx == (versions[symbol] & 0x7fff))
            return strings + ((const Elf64_Verdaux *)((const char *)definition + definition->vd_aux))->vda_name;
        if (!definition->vd_next)
            return "";
        definition = (const void *)((const char *)definition + definition->vd_next);
    }
}

static void *function(const char *name)
{
    for (uint32_t i = 1; i < symbol_count; i++)
        if (strcmp(strings + symbols[i].st_name, name) == 0 && strcmp(version_of(i), "LINUX_4.15") == 0)
            return (void *)(base + symbols[i].st_value);
    printf("no %s@LINUX_4.15\n", name);
    exit(EXIT_FAILURE);
}

/* --- clocks ---------------------------------------------------------------------------------------------- */

static int (*vdso_clock_gettime)(clockid_t, struct timespec *);
static int (*vdso_clock_getres)(clockid_t, struct timespec *);
static int (*vdso_gettimeofday)(struct timeval *, struct timezone *);

static int64_t nanoseconds(struct timespec time)
{
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int64_t by_call(clockid_t clock)
{
    struct timespec time = { 0, 0 };

    CHECK(syscall(SYS_clock_gettime, clock, &time) == 0);
    return nanoseconds(time);
}

static int64_t by_vdso(clockid_t clock)
{
    struct timespec time = { -1, -1 };

    CHECK(vdso_clock_gettime(clock, &time) == 0);
    CHECK(time.tv_nsec >= 0 && time.tv_nsec < 1000000000);
    return nanoseconds(time);
}

static void clocks(void)
{
    static const clockid_t served[] = {
        CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE,
        CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID,
    };
    struct timespec vdso, call;

    for (size_t i = 0; i < sizeof served / sizeof *served; i++) {
        clockid_t clock = served[i];

        for (int round = 0; round < 1000; round++) {
            int64_t before = by_call(clock), between = by_vdso(clock), after = by_call(clock);

            if (before > between || between > after) {
                printf("clock %d: %lld %lld %lld\n", clock, (long long)before, (long long)between, (long long)after);
                failures++;
                break;
            }
        }
        CHECK(vdso_clock_getres(clock, &vdso) == 0 && syscall(SYS_clock_getres, clock, &call) == 0);
        CHECK(nanoseconds(vdso) == nanoseconds(call) && nanoseconds(vdso) > 0);
        CHECK(vdso_clock_getres(clock, NULL) == 0);
    }
    /* A coarse clock is behind its fine one, by no more than it says (on Linux: unless a tick is late). */
    for (int round = 0; round < 1000; round++)
        CHECK(by_vdso(CLOCK_MONOTONIC_COARSE) <= by_vdso(CLOCK_MONOTONIC));

    static const clockid_t wrong[] = { 10, 12, 13, 1000, INT32_MAX };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK(vdso_clock_gettime(wrong[i], &vdso) == -EINVAL);
        CHECK(vdso_clock_getres(wrong[i], &vdso) == -EINVAL);
    }
    /* A clock with a negative number is that of a process: this one's. */
    CHECK(vdso_clock_gettime((clockid_t)(~(unsigned)getpid() << 3 | 2), &vdso) == 0);
}

static void time_of_day(void)
{
    struct timeval time;
    struct timezone zone = { 77, 77 }, expected = { 78, 78 };
    int64_t before = by_call(CLOCK_REALTIME) / 1000, between, after;

    CHECK(vdso_gettimeofday(&time, &zone) == 0);
    after = by_call(CLOCK_REALTIME) / 1000;
    between = time.tv_sec * 1000000LL + time.tv_usec;
    CHECK(time.tv_usec >= 0 && time.tv_usec < 1000000 && before <= between && between <= after);
    CHECK(syscall(SYS_gettimeofday, NULL, &expected) == 0);
    CHECK(zone.tz_minuteswest == expected.tz_minuteswest && zone.tz_dsttime == expected.tz_dsttime);
    CHECK(vdso_gettimeofday(NULL, NULL) == 0);
    CHECK(vdso_gettimeofday(&time, NULL) == 0);
}

/* --- harts ----------------------------------------------------------------------------------------------- */

struct pair {
    int64_t key;
    uint64_t value;
};

static int (*vdso_getcpu)(unsigned *, unsigned *, void *);
static int (*vdso_riscv_hwprobe)(struct pair *, size_t, size_t, unsigned long *, unsigned);
static int (*vdso_flush_icache)(void *, void *, unsigned long);

static void which_hart(void)
{
    unsigned hart = 99, node = 99;
    cpu_set_t old, one;

    CHECK(sched_getaffinity(0, sizeof old, &old) == 0);
    for (unsigned candidate = 0; candidate < CPU_SETSIZE; candidate++) {
        if (!CPU_ISSET(candidate, &old))
            continue;
        CPU_ZERO(&one);
        CPU_SET(candidate, &one);
        CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
        CHECK(vdso_getcpu(&hart, &node, NULL) == 0);
        CHECK(hart == candidate && node == 0);
    }
    CHECK(sched_setaffinity(0, sizeof old, &old) == 0);
    CHECK(vdso_getcpu(NULL, NULL, NULL) == 0);
}

/* Both ways give the same answer to the same question. */
static void probe_both(const struct pair *question, size_t count, const unsigned long *set, size_t set_bytes,
                       unsigned flags)
{
    struct pair vdso[16], call[16];
    unsigned long vdso_set = set ? *set : 0, call_set = vdso_set;
    long result;

    memcpy(vdso, question, count * sizeof *question);
    memcpy(call, question, count * sizeof *question);
    result = syscall(SYS_riscv_hwprobe, call, count, set_bytes, set ? &call_set : NULL, flags);
    CHECK(vdso_riscv_hwprobe(vdso, count, set_bytes, set ? &vdso_set : NULL, flags) == (result ? -errno : 0));
    CHECK(memcmp(vdso, call, count * sizeof *question) == 0);
    CHECK(vdso_set == call_set);
}

static void hardware(void)
{
    struct pair all[PROBE_KEYS + 3];
    const unsigned long first = 1, none = 0;

    for (int i = 0; i < PROBE_KEYS; i++)
        all[i] = (struct pair){ i, 0 };
    all[PROBE_KEYS] = (struct pair){ -1, 5 };
    all[PROBE_KEYS + 1] = (struct pair){ 1000, 5 };
    all[PROBE_KEYS + 2] = (struct pair){ INT64_MIN, 5 };
    probe_both(all, PROBE_KEYS + 3, NULL, 0, 0);
    probe_both(all, PROBE_KEYS, &first, sizeof first, 0);
    probe_both(all, 0, NULL, 0, 0);
    probe_both(all, 1, NULL, 0, 0x80);
    probe_both(all, 1, NULL, 0, 1);

    /* Which harts are rv64ima with F, D and C: all that Debian runs on. And which have a bit that nobody has. */
    const struct pair baseline[] = { { 3, 1 }, { 4, 3 } }, nobodys[] = { { 3, 1 }, { 4, 1ULL << 63 } };

    probe_both(baseline, 2, &first, sizeof first, 1);
    probe_both(nobodys, 2, &first, sizeof first, 1);
    probe_both(baseline, 2, &none, sizeof none, 1);

    struct pair known[] = { { 3, 0 }, { 4, 0 } };

    CHECK(vdso_riscv_hwprobe(known, 2, 0, NULL, 0) == 0);
    CHECK(known[0].value == 1 && (known[1].value & 3) == 3);
}

static void new_code(void)
{
    uint32_t *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(code != MAP_FAILED);
    for (uint32_t value = 0; value < 100; value++) {
        code[0] = 0x00000513 | value << 20; /* li a0, value */
        code[1] = 0x00008067;               /* ret */
        CHECK(vdso_flush_icache(code, code + 2, value % 2) == 0);
        CHECK(((uint32_t (*)(void))code)() == value);
    }
    CHECK(vdso_flush_icache(code, code + 2, 2) == -EINVAL);
}

/* --- signals --------------------------------------------------------------------------------------------- */

/* Both have unwind tables of their own, whatever the compiler does for C. */
void handler(int);
long interrupt_self(long process, long signal);
extern const char interrupted_here[];

__asm__(
    ".text\n"
    "handler:\n"
    "    .cfi_startproc\n"
    "    addi sp, sp, -16\n"
    "    .cfi_def_cfa_offset 16\n"
    "    sd ra, 8(sp)\n"
    "    .cfi_offset ra, -8\n"
    "    mv a0, ra\n"
    "    call note_return_address\n"
    "    la a0, look_at_frame\n"
    "    li a1, 0\n"
    "    call _Unwind_Backtrace\n"
    "    ld ra, 8(sp)\n"
    "    .cfi_restore ra\n"
    "    addi sp, sp, 16\n"
    "    .cfi_def_cfa_offset 0\n"
    "    ret\n"
    "    .cfi_endproc\n"
    "interrupt_self:\n"
    "    .cfi_startproc\n"
    "    li t2, 0x5a5a\n"
    "    li a7, 129\n" /* kill */
    "    ecall\n"
    "interrupted_here:\n"
    "    ret\n"
    "    .cfi_endproc\n");

static const void *handler_returns_to;
static int frames, interrupted_frame;
static unsigned long t2_there;

__attribute__((used)) void note_return_address(const void *address)
{
    handler_returns_to = address;
}

__attribute__((used)) _Unwind_Reason_Code look_at_frame(struct _Unwind_Context *context, void *unused)
{
    int is_exact = 0;

    (void)unused;
    frames++;
    if (_Unwind_GetIPInfo(context, &is_exact) == (uintptr_t)interrupted_here && is_exact) {
        interrupted_frame = frames;
        t2_there = _Unwind_GetGR(context, 7);
    }
    return _URC_NO_REASON;
}

static void signals(void)
{
    struct sigaction action = { .sa_handler = handler };
    unsigned char stack[SIGSTKSZ];
    stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };

    for (int round = 0; round < 2; round++) {
        frames = interrupted_frame = 0;
        CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
        CHECK(interrupt_self(getpid(), SIGUSR1) == 0);
        CHECK(handler_returns_to == function("__vdso_rt_sigreturn"));
        /* The handler, the frame that the kernel made, and below it what was interrupted. */
        CHECK(interrupted_frame == 3);
        CHECK(t2_there == MARK_IN_T2);
        /* Once more, on another stack. */
        CHECK(sigaltstack(&alternate, NULL) == 0);
        action.sa_flags = SA_ONSTACK;
    }
}

int main(void)
{
    open_object();
    vdso_clock_gettime = function("__vdso_clock_gettime");
    vdso_clock_getres = function("__vdso_clock_getres");
    vdso_gettimeofday = function("__vdso_gettimeofday");
    vdso_getcpu = function("__vdso_getcpu");
    vdso_riscv_hwprobe = function("__vdso_riscv_hwprobe");
    vdso_flush_icache = function("__vdso_flush_icache");
    clocks();
    time_of_day();
    which_hart();
    hardware();
    new_code();
    signals();
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
