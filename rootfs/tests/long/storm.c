/* A storm of random system calls: hostile pointers, random flags, memory that other threads unmap meanwhile.
 *
 *     storm [SECONDS [SEED]]
 *
 * Workers are processes of a few threads that make random calls for a second; some act as root, others as a user
 * of their own. What would end the test rather than the kernel is left out: reboot, signals to everybody, and for
 * root what changes the machine for others. The test fails if a worker cannot be ended, or if memory does not come
 * back: then something leaks. The kernel fails if it does not live to tell. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    WORKERS = 6,
    THREADS = 3,
    WORKER_MILLISECONDS = 1000,
    PATIENCE_MILLISECONDS = 30000,
    USER = 4321,
    PAGE = 4096,
    ARENA_PAGES = 64,
    LAST_CALL = 462,
    TOLERATED_KIB = 1024,
};

static long long now_milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* xorshift64*: the same seed gives the same calls. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dULL;
}

static bool one_in(uint64_t *state, unsigned chances)
{
    return next_random(state) % chances == 0;
}

/* --- arguments -------------------------------------------------------------------------------------------- */

static char *arena;

static const char *const paths[] = {
    ".", "..", "/", "a", "b", "a/b", "/tmp/storm", "/proc/self/maps", "/proc/self/status", "/proc/self/fd/3", "/dev/null",
    "/dev/zero", "/dev/urandom", "link", "fifo", "", "nowhere/at/all", "/proc/self/exe", "/sys", "/proc/meminfo",
};

static uint64_t a_pointer(uint64_t *state)
{
    uint64_t in_arena = (uint64_t)arena + next_random(state) % (ARENA_PAGES * PAGE);

    switch (next_random(state) % 12) {
    case 0: return 0;
    case 1: return next_random(state);
    case 2: return (uint64_t)-(int64_t)(next_random(state) % 4096);
    case 3: return 0xffffffc000000000ULL + next_random(state) % (1ULL << 36);
    case 4: return (1ULL << 38) - next_random(state) % 64;
    case 5: return (uint64_t)arena + (1 + next_random(state) % ARENA_PAGES) * PAGE - next_random(state) % 32;
    case 6: return (uint64_t)&paths + next_random(state) % 64;
    case 7: return (uint64_t)paths[next_random(state) % (sizeof paths / sizeof *paths)];
    default: return in_arena & ~7ULL;
    }
}

static uint64_t a_number(uint64_t *state)
{
    switch (next_random(state) % 8) {
    case 0: return next_random(state);
    case 1: return 1ULL << (next_random(state) % 64);
    case 2: return (uint64_t)-(int64_t)(next_random(state) % 256);
    case 3: return next_random(state) % 65536;
    case 4: return next_random(state) & 0xffffffff;
    default: return next_random(state) % 16;
    }
}

static uint64_t an_argument(uint64_t *state)
{
    switch (next_random(state) % 4) {
    case 0: return a_pointer(state);
    case 1: return next_random(state) % 24;
    default: return a_number(state);
    }
}

/* --- calls ------------------------------------------------------------------------------------------------ */

/* What nobody may try: it ends the machine, or the worker for good without a trace. */
static bool is_fatal(long number)
{
    return number == SYS_reboot || number == SYS_exit_group || number == SYS_exit || number == SYS_rt_sigreturn;
}

/* What root would do to others, or to the clock and the tree of files that the test stands on. */
static bool is_for_users_only(long number)
{
    switch (number) {
    case SYS_kill: case SYS_tkill: case SYS_tgkill: case SYS_rt_sigqueueinfo: case SYS_rt_tgsigqueueinfo:
    case SYS_pidfd_send_signal: case SYS_ptrace: case SYS_process_vm_writev: case SYS_prlimit64: case SYS_setpriority:
    case SYS_mount: case SYS_umount2: case SYS_pivot_root: case SYS_move_mount: case SYS_swapon: case SYS_swapoff:
    case SYS_clock_settime: case SYS_settimeofday: case SYS_clock_adjtime: case SYS_adjtimex:
    case SYS_init_module: case SYS_finit_module: case SYS_delete_module: case SYS_kexec_load: case SYS_bpf:
    case SYS_sched_setscheduler: case SYS_sched_setparam: case SYS_sched_setattr: case SYS_sched_setaffinity:
    case SYS_clone: case SYS_clone3: case SYS_execve: case SYS_execveat: case SYS_setsid: case SYS_setpgid: case SYS_vhangup:
    case SYS_sethostname: case SYS_setdomainname: case SYS_acct: case SYS_quotactl: case SYS_unlinkat: case SYS_renameat2:
    case SYS_fchmodat: case SYS_fchownat: case SYS_chroot: case SYS_syslog: case SYS_unshare: case SYS_setns: case SYS_prctl:
    case SYS_setuid: case SYS_setreuid: case SYS_setresuid: case SYS_setfsuid: case SYS_ioctl: case SYS_nfsservctl:
    case SYS_perf_event_open: case SYS_ioprio_set: case SYS_migrate_pages: case SYS_move_pages: case SYS_kcmp:
        return true;
    default:
        return false;
    }
}

static void make_call(uint64_t *state, bool is_root)
{
    long number = next_random(state) % LAST_CALL;
    uint64_t arguments[6];

    /* A few numbers beyond the table as well. */
    if (one_in(state, 200))
        number = (long)a_number(state);
    if (is_fatal(number) || (is_root && is_for_users_only(number)))
        return;
    for (int i = 0; i < 6; i++)
        arguments[i] = an_argument(state);
    if (number == SYS_kill && ((int)arguments[0] == -1 || (int)arguments[0] == 0))
        return;
    /* Children would go on with the storm on the same stack. */
    if (number == SYS_clone || number == SYS_clone3)
        return;
    if (number == SYS_execve || number == SYS_execveat)
        arguments[number == SYS_execve ? 0 : 1] = (uint64_t)"/nowhere";
    syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

/* Fork, map, unmap and protect where the others work. */
static void disturb(uint64_t *state)
{
    char *place = arena + next_random(state) % ARENA_PAGES * PAGE;
    size_t len = (1 + next_random(state) % 8) * PAGE;

    if (place + len > arena + ARENA_PAGES * PAGE)
        len = PAGE;
    switch (next_random(state) % 6) {
    case 0:
        munmap(place, len);
        break;
    case 1:
        mprotect(place, len, next_random(state) % 8);
        break;
    case 2: {
        pid_t child = one_in(state, 8) ? fork() : 1;
        if (child == 0)
            _exit(0);
        break;
    }
    default:
        mmap(place, len, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_ANONYMOUS | (one_in(state, 2) ? MAP_SHARED : MAP_PRIVATE), -1, 0);
    }
}

/* --- workers ---------------------------------------------------------------------------------------------- */

struct thread_plan {
    uint64_t seed;
    bool is_root;
    bool disturbs;
    long long end;
};

static void *storm(void *argument)
{
    struct thread_plan *plan = argument;
    uint64_t state = plan->seed | 1;

    while (now_milliseconds() < plan->end)
        for (int i = 0; i < 64; i++) {
            if (plan->disturbs)
                disturb(&state);
            make_call(&state, plan->is_root);
        }
    return NULL;
}

static void open_files(void)
{
    int ends[2];
    int null = open("/dev/null", O_RDWR);

    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    if (pipe2(ends, O_NONBLOCK) != 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0)
        _exit(1);
    open("/dev/zero", O_RDWR);
    open(".", O_RDONLY | O_DIRECTORY);
    open("a", O_RDWR | O_CREAT, 0644);
    open("/proc/self/maps", O_RDONLY);
    eventfd(0, EFD_NONBLOCK);
    epoll_create1(0);
    symlink("a", "link");
    mkfifo("fifo", 0644);
}

static void ignore(int signal)
{
    (void)signal;
}

static void work(uint64_t seed, bool is_root)
{
    struct rlimit memory = {256 << 20, 256 << 20}, files = {256, 256}, processes = {200, 200};
    struct thread_plan plans[THREADS];
    char folder[64];

    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(folder, sizeof folder, "/tmp/storm/%d", getpid());
    mkdir(folder, 0755);
    if (chown(folder, is_root ? 0 : USER, 0) != 0 || chdir(folder) != 0)
        _exit(1);
    setrlimit(RLIMIT_AS, &memory);
    setrlimit(RLIMIT_NOFILE, &files);
    if (!is_root) {
        setrlimit(RLIMIT_NPROC, &processes);
        if (setresuid(USER, USER, USER) != 0)
            _exit(1);
    }
    for (int number = 1; number < 32; number++)
        signal(number, ignore);
    arena = mmap(NULL, ARENA_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    open_files();
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;

        plans[i] = (struct thread_plan){seed * 31 + i, is_root, i == 0, now_milliseconds() + WORKER_MILLISECONDS};
        if (i == 0 || pthread_create(&thread, NULL, storm, &plans[i]) != 0)
            continue;
    }
    storm(&plans[0]);
    _exit(0);
}

/* --- the supervisor --------------------------------------------------------------------------------------- */

static long free_kib(void)
{
    char line[128];
    long value = 0;
    FILE *file = fopen("/proc/sys/vm/drop_caches", "w");

    if (file) {
        fputs("3\n", file);
        fclose(file);
    }
    file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemFree: %ld", &value) == 1)
            break;
    if (file)
        fclose(file);
    return value;
}

/* What our kernel's heap consists of, where there is something to find. */
static void show_heap(void)
{
    char line[128];
    FILE *file = fopen("/proc/zcore/heap", "r");

    while (file && fgets(line, sizeof line, file))
        fputs(line, stdout);
    if (file)
        fclose(file);
}

static void clear_folder(void)
{
    umount2("/tmp/storm", MNT_DETACH);
}

static bool prepare_folder(void)
{
    mkdir("/tmp", 01777);
    mkdir("/tmp/storm", 0755);
    return mount("storm", "/tmp/storm", "tmpfs", 0, "size=64m") == 0 && chmod("/tmp/storm", 0755) == 0;
}

static pid_t start_worker(uint64_t *state)
{
    uint64_t seed = next_random(state);
    bool is_root = one_in(state, 2);
    pid_t child = fork();

    if (child == 0)
        work(seed, is_root);
    return child;
}

/* Ends what users' workers may have left behind, wherever it hides. */
static void end_strays(void)
{
    pid_t child = fork();

    if (child == 0) {
        if (setresuid(USER, USER, USER) == 0)
            kill(-1, SIGKILL);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

/* Shared memory lives until it is removed. */
static void remove_shared_memory(void)
{
    struct shmid_ds about;
    int last = shmctl(0, SHM_INFO, &about);

    for (int index = 0; index <= last; index++) {
        int id = shmctl(index, SHM_STAT, &about);

        if (id >= 0)
            shmctl(id, IPC_RMID, NULL);
    }
}

struct worker {
    pid_t id;
    long long started;
    bool was_killed;
};

/* Reaps whoever has ended; returns how many of the workers did. */
static int reap(struct worker *workers)
{
    int ended = 0;
    pid_t child;

    while ((child = waitpid(-1, NULL, WNOHANG)) > 0)
        for (int i = 0; i < WORKERS; i++)
            if (workers[i].id == child) {
                workers[i].id = 0;
                ended++;
            }
    return ended;
}

static void wait_a_little(void)
{
    struct timespec limit = {.tv_nsec = 50000000};
    sigset_t children;

    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigtimedwait(&children, NULL, &limit);
}

/* Runs workers until `end`, then waits for the last. False if one cannot be ended. */
static bool supervise(uint64_t *state, long long end)
{
    struct worker workers[WORKERS] = {0};
    bool is_busy = true;

    while (is_busy || now_milliseconds() < end) {
        long long now = now_milliseconds();

        is_busy = false;
        for (int i = 0; i < WORKERS; i++) {
            struct worker *worker = &workers[i];
            long long age = now - worker->started;

            if (worker->id == 0 && now < end)
                *worker = (struct worker){start_worker(state), now, false};
            is_busy |= worker->id != 0;
            if (worker->id != 0 && age > 2 * WORKER_MILLISECONDS && !worker->was_killed) {
                kill(worker->id, SIGKILL);
                worker->was_killed = true;
            }
            if (worker->id != 0 && age > PATIENCE_MILLISECONDS) {
                printf("process %d does not end\n", worker->id);
                return false;
            }
        }
        wait_a_little();
        reap(workers);
    }
    return true;
}

/* One storm of its own, with all that it leaves behind cleared away. */
static bool one_storm(uint64_t *state, long milliseconds)
{
    if (!prepare_folder()) {
        perror("tmpfs");
        return false;
    }
    bool is_well = supervise(state, now_milliseconds() + milliseconds);
    end_strays();
    while (is_well && (waitpid(-1, NULL, 0) > 0 || errno == EINTR))
        continue;
    remove_shared_memory();
    clear_folder();
    return is_well;
}

int main(int argc, char **argv)
{
    long seconds = argc > 1 ? atol(argv[1]) : 3;
    uint64_t state = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    sigset_t children;

    state = state * 0x9e3779b97f4a7c15ULL | 1;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    /* What the first storm makes the kernel keep (tables that only grow) is no leak. */
    if (!one_storm(&state, 1500))
        return EXIT_FAILURE;
    long before = free_kib();
    show_heap();
    if (!one_storm(&state, seconds * 1000))
        return EXIT_FAILURE;
    long after = free_kib();
    show_heap();
    printf("free memory: %ld KiB before, %ld KiB after\n", before, after);
    bool is_linux = access("/proc/zcore", F_OK) != 0;
    /* Linux keeps slabs and per-CPU lists; the bound is ours. */
    return is_linux || after + TOLERATED_KIB >= before ? EXIT_SUCCESS : EXIT_FAILURE;
}
