/* What single operations cost: the table of `make bench-micro`.
 *
 * Without arguments each operation is done a few times and its result is checked, as a test. With "measure" it
 * is done often, between marks (mark.h); further arguments choose operations by their names. */
#include "loopback.h"
#include "mark.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 16, TEST_OPERATIONS = 20, WARM_UP_SHARE = 10 };

static const char *file_path = "/tmp/micro";
static char file_buffer[PAGE];

static void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* What must hold; the cost of the test is the same on every kernel. */
static inline void must(bool holds, const char *what)
{
    if (!holds)
        fail(what);
}

static int must_open(const char *path, int flags)
{
    int fd = open(path, flags, 0600);

    must(fd >= 0, path);
    return fd;
}

static void must_exit_well(pid_t child)
{
    int status;

    must(waitpid(child, &status, 0) == child && status == 0, "child");
}

/* --- calls ------------------------------------------------------------------------------------------------ */

static void call_getppid(long count)
{
    for (long i = 0; i < count; i++)
        syscall(SYS_getppid);
}

static void clock_by_vdso(long count)
{
    struct timespec now;

    for (long i = 0; i < count; i++)
        clock_gettime(CLOCK_MONOTONIC, &now);
}

static void clock_by_call(long count)
{
    struct timespec now;

    for (long i = 0; i < count; i++)
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
}

static void read_zero(long count)
{
    int fd = must_open("/dev/zero", O_RDONLY);
    char byte;

    for (long i = 0; i < count; i++)
        must(read(fd, &byte, 1) == 1, "read of /dev/zero");
    close(fd);
}

/* --- files ------------------------------------------------------------------------------------------------ */

static void open_close(long count)
{
    for (long i = 0; i < count; i++)
        close(must_open(file_path, O_RDONLY));
}

static void stat_file(long count)
{
    struct stat result;

    for (long i = 0; i < count; i++)
        must(stat(file_path, &result) == 0, "stat");
}

static void pread_page(long count)
{
    int fd = must_open(file_path, O_RDONLY);

    for (long i = 0; i < count; i++)
        must(pread(fd, file_buffer, PAGE, i % PAGES * PAGE) == PAGE, "pread");
    close(fd);
}

static void pwrite_page(long count)
{
    int fd = must_open(file_path, O_RDWR);

    for (long i = 0; i < count; i++)
        must(pwrite(fd, file_buffer, PAGE, i % PAGES * PAGE) == PAGE, "pwrite");
    close(fd);
}

static void create_unlink(long count)
{
    char path[64];

    for (long i = 0; i < count; i++) {
        snprintf(path, sizeof path, "/tmp/micro-%ld", i % 64);
        close(must_open(path, O_CREAT | O_RDWR));
        must(unlink(path) == 0, "unlink");
    }
}

/* --- one process ------------------------------------------------------------------------------------------ */

static void pipe_alone(long count)
{
    int ends[2];
    char byte = 0;

    must(pipe(ends) == 0, "pipe");
    for (long i = 0; i < count; i++)
        must(write(ends[1], &byte, 1) == 1 && read(ends[0], &byte, 1) == 1, "pipe");
    close(ends[0]);
    close(ends[1]);
}

static void eventfd_alone(long count)
{
    int fd = eventfd(0, 0);
    uint64_t value = 1;

    for (long i = 0; i < count; i++) {
        must(write(fd, &value, sizeof value) == sizeof value, "eventfd");
        must(read(fd, &value, sizeof value) == sizeof value && value == 1, "eventfd");
    }
    close(fd);
}

static long futex(volatile int *word, int operation, int value)
{
    return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static void futex_wake_nobody(long count)
{
    static int word;

    for (long i = 0; i < count; i++)
        must(futex(&word, FUTEX_WAKE, 1) == 0, "futex");
}

static void yield_alone(long count)
{
    for (long i = 0; i < count; i++)
        sched_yield();
}

static volatile sig_atomic_t signals;

static void count_signal(int signal)
{
    (void)signal;
    signals++;
}

static void signal_self(long count)
{
    pid_t self = getpid();

    signal(SIGUSR1, count_signal);
    signals = 0;
    for (long i = 0; i < count; i++)
        kill(self, SIGUSR1);
    must(signals == count, "signals");
}

/* --- memory ----------------------------------------------------------------------------------------------- */

static char *must_map(size_t len)
{
    char *address = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    must(address != MAP_FAILED, "mmap");
    return address;
}

/* In maps of 256 pages, whose making and unmaking is spread over them. */
static void page_fault(long count)
{
    while (count > 0) {
        long pages = count < 256 ? count : 256;
        char *address = must_map(pages * PAGE);

        for (long i = 0; i < pages; i++)
            address[i * PAGE] = 1;
        munmap(address, pages * PAGE);
        count -= pages;
    }
}

static void map_touch_unmap(long count)
{
    for (long i = 0; i < count; i++) {
        char *address = must_map(PAGE);

        address[0] = 1;
        munmap(address, PAGE);
    }
}

/* --- two of them ------------------------------------------------------------------------------------------ */

static void yield_in_turn(long count)
{
    pid_t child = fork();

    must(child >= 0, "fork");
    yield_alone(count);
    if (child == 0)
        _exit(0);
    must_exit_well(child);
}

static void pipe_ping_pong(long count)
{
    int there[2], back[2];
    char byte = 0;

    must(pipe(there) == 0 && pipe(back) == 0, "pipe");
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        for (long i = 0; i < count; i++)
            if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
                _exit(1);
        _exit(0);
    }
    for (long i = 0; i < count; i++)
        must(write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1, "ping");
    must_exit_well(child);
    for (int i = 0; i < 2; i++) {
        close(there[i]);
        close(back[i]);
    }
}

static volatile int turn;
static long turns;

static void take_turn(int own)
{
    while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != own)
        futex(&turn, FUTEX_WAIT, !own);
    __atomic_store_n(&turn, !own, __ATOMIC_SEQ_CST);
    futex(&turn, FUTEX_WAKE, 1);
}

static void *other_player(void *argument)
{
    for (long i = 0; i < turns; i++)
        take_turn(1);
    return argument;
}

static void futex_ping_pong(long count)
{
    pthread_t thread;

    turn = 0;
    turns = count;
    must(pthread_create(&thread, NULL, other_player, NULL) == 0, "pthread_create");
    for (long i = 0; i < count; i++)
        take_turn(0);
    pthread_join(thread, NULL);
}

static void serve_echo(int fd, long count)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    int poll = epoll_create1(0);
    char message[64];

    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) != 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        _exit(1);
    for (long i = 0; i < count;) {
        if (epoll_wait(poll, &event, 1, -1) != 1)
            continue;
        long bytes = read(fd, message, sizeof message);
        if (bytes <= 0 || write(fd, message, bytes) != bytes)
            _exit(1);
        i++;
    }
    _exit(0);
}

static void epoll_echo(const int ends[2], long count)
{
    char message[64] = "echo";
    pid_t child = fork();

    must(child >= 0, "fork");
    if (child == 0) {
        close(ends[0]);
        serve_echo(ends[1], count);
    }
    close(ends[1]);
    for (long i = 0; i < count; i++) {
        must(write(ends[0], message, sizeof message) == sizeof message, "write to the echo");
        must(read(ends[0], message, sizeof message) == sizeof message, "read from the echo");
    }
    must_exit_well(child);
    close(ends[0]);
}

static void unix_epoll_echo(long count)
{
    int ends[2];

    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    epoll_echo(ends, count);
}

/* A listener at a port of its own on loopback. */
static int tcp_listener(struct sockaddr_in *name)
{
    socklen_t len = sizeof *name;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    *name = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    must(bind(listener, (struct sockaddr *)name, sizeof *name) == 0 && listen(listener, 5) == 0, "listen");
    must(getsockname(listener, (struct sockaddr *)name, &len) == 0, "getsockname");
    return listener;
}

static int tcp_connected_with(const struct sockaddr_in *name)
{
    int end = socket(AF_INET, SOCK_STREAM, 0);

    must(connect(end, (const struct sockaddr *)name, sizeof *name) == 0, "connect");
    return end;
}

static void tcp_pair(int ends[2])
{
    struct sockaddr_in name;
    int listener = tcp_listener(&name), on = 1;

    ends[0] = tcp_connected_with(&name);
    ends[1] = accept(listener, NULL, NULL);
    must(ends[1] >= 0, "accept");
    close(listener);
    for (int i = 0; i < 2; i++)
        must(setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "TCP_NODELAY");
}

static void tcp_epoll_echo(long count)
{
    int ends[2];

    tcp_pair(ends);
    epoll_echo(ends, count);
}

static void tcp_alone(long count)
{
    char message[64] = "there";
    int ends[2];

    tcp_pair(ends);
    for (long i = 0; i < count; i++) {
        must(write(ends[0], message, sizeof message) == sizeof message, "write");
        must(read(ends[1], message, sizeof message) == sizeof message, "read");
    }
    close(ends[0]);
    close(ends[1]);
}

static void tcp_connect_close(long count)
{
    struct linger at_once = {.l_onoff = 1};
    struct sockaddr_in name;
    int listener = tcp_listener(&name);

    for (long i = 0; i < count; i++) {
        int end = tcp_connected_with(&name), other = accept(listener, NULL, NULL);

        must(other >= 0, "accept");
        must(setsockopt(end, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0, "SO_LINGER");
        close(end);
        close(other);
    }
    close(listener);
}

/* --- beginnings and ends ---------------------------------------------------------------------------------- */

static void *nothing(void *argument)
{
    return argument;
}

static void thread_create_join(long count)
{
    pthread_t thread;

    for (long i = 0; i < count; i++) {
        must(pthread_create(&thread, NULL, nothing, NULL) == 0, "pthread_create");
        pthread_join(thread, NULL);
    }
}

static void fork_exit_wait(long count)
{
    for (long i = 0; i < count; i++) {
        pid_t child = fork();

        must(child >= 0, "fork");
        if (child == 0)
            _exit(0);
        must_exit_well(child);
    }
}

static char *arguments[] = {"nothing", NULL}, *environment[] = {NULL};

static void fork_exec_wait(long count)
{
    for (long i = 0; i < count; i++) {
        pid_t child = fork();

        must(child >= 0, "fork");
        if (child == 0) {
            execve("/tests/helpers/nothing", arguments, environment);
            _exit(1);
        }
        must_exit_well(child);
    }
}

static void spawn_dynamic(long count)
{
    for (long i = 0; i < count; i++) {
        pid_t child;

        must(posix_spawn(&child, "/tests/helpers/nothing-dynamic", NULL, NULL, arguments, environment) == 0,
             "posix_spawn");
        must_exit_well(child);
    }
}

/* As hackbench does with pipes and processes: groups of 20 senders and 20 receivers, each sender sends each
 * receiver messages of 100 bytes. One operation is the whole, at 2 groups and 100 messages. */
enum { GROUPS = 2, MEMBERS = 20, MESSAGES = 100, MESSAGE_BYTES = 100 };

static void must_start_together(int ready, int go)
{
    char byte = 0;

    if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) < 0)
        _exit(1);
}

static void hackbench_receive(int from, int ready, int go)
{
    char message[MESSAGE_BYTES];

    must_start_together(ready, go);
    for (long left = (long)MEMBERS * MESSAGES * MESSAGE_BYTES; left > 0;) {
        long bytes = read(from, message, sizeof message);
        if (bytes <= 0)
            _exit(1);
        left -= bytes;
    }
    _exit(0);
}

static void hackbench_send(int (*pipes)[2], int ready, int go)
{
    char message[MESSAGE_BYTES] = "";

    must_start_together(ready, go);
    for (int i = 0; i < MESSAGES; i++)
        for (int j = 0; j < MEMBERS; j++)
            if (write(pipes[j][1], message, sizeof message) != sizeof message)
                _exit(1);
    _exit(0);
}

static void hackbench_pipe(long count)
{
    for (long i = 0; i < count; i++) {
        int ready[2], go[2], pipes[MEMBERS][2];
        char byte;

        must(pipe(ready) == 0 && pipe(go) == 0, "pipe");
        for (int group = 0; group < GROUPS; group++) {
            for (int j = 0; j < MEMBERS; j++) {
                must(pipe(pipes[j]) == 0, "pipe");
                if (fork() == 0) {
                    close(go[1]);
                    hackbench_receive(pipes[j][0], ready[1], go[0]);
                }
            }
            for (int j = 0; j < MEMBERS; j++)
                if (fork() == 0) {
                    close(go[1]);
                    hackbench_send(pipes, ready[1], go[0]);
                }
            for (int j = 0; j < MEMBERS; j++) {
                close(pipes[j][0]);
                close(pipes[j][1]);
            }
        }
        for (int j = 0; j < GROUPS * MEMBERS * 2; j++)
            must(read(ready[0], &byte, 1) == 1, "ready");
        close(go[1]);
        for (int j = 0; j < GROUPS * MEMBERS * 2; j++) {
            int status;

            must(wait(&status) > 0 && status == 0, "hackbench");
        }
        close(go[0]);
        close(ready[0]);
        close(ready[1]);
    }
}

/* --- the table -------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(long count);
    long count;
} operations[] = {
    {"getppid", call_getppid, 20000},
    {"clock-by-vdso", clock_by_vdso, 20000},
    {"clock-by-call", clock_by_call, 10000},
    {"read-zero", read_zero, 10000},
    {"open-close", open_close, 2000},
    {"stat", stat_file, 2000},
    {"pread-4k", pread_page, 4000},
    {"pwrite-4k", pwrite_page, 4000},
    {"create-unlink", create_unlink, 500},
    {"pipe-write-read", pipe_alone, 5000},
    {"eventfd-write-read", eventfd_alone, 5000},
    {"futex-wake-nobody", futex_wake_nobody, 10000},
    {"sched-yield", yield_alone, 10000},
    {"signal-self", signal_self, 2000},
    {"page-fault", page_fault, 4096},
    {"map-touch-unmap", map_touch_unmap, 1000},
    {"yield-round", yield_in_turn, 5000},
    {"pipe-ping-pong", pipe_ping_pong, 2000},
    {"futex-ping-pong", futex_ping_pong, 2000},
    {"unix-epoll-echo", unix_epoll_echo, 1000},
    {"tcp-epoll-echo", tcp_epoll_echo, 1000},
    {"tcp-write-read", tcp_alone, 2000},
    {"tcp-connect-close", tcp_connect_close, 500},
    {"thread-create-join", thread_create_join, 300},
    {"fork-exit-wait", fork_exit_wait, 100},
    {"fork-exec-wait", fork_exec_wait, 50},
    {"spawn-dynamic", spawn_dynamic, 30},
    {"hackbench-pipe", hackbench_pipe, 1},
};

static bool is_chosen(const char *name, int argc, char **argv, int first)
{
    bool chosen = argc <= first;

    for (int i = first; i < argc; i++)
        chosen |= strcmp(argv[i], name) == 0;
    return chosen;
}

int main(int argc, char **argv)
{
    bool measures = is_measuring(argc, argv);

    mkdir("/tmp", 01777);
    must(mount("micro", "/tmp", "tmpfs", 0, NULL) == 0, "mount of a tmpfs");
    int fd = must_open(file_path, O_CREAT | O_RDWR);
    for (int i = 0; i < PAGES; i++)
        must(write(fd, file_buffer, PAGE) == PAGE, "write");
    close(fd);
    if (measures)
        settle();
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        long count = operations[i].count;

        if (!is_chosen(operations[i].name, argc, argv, measures ? 2 : 1))
            continue;
        if (!measures) {
            operations[i].run(count < TEST_OPERATIONS ? count : TEST_OPERATIONS);
            continue;
        }
        operations[i].run(count / WARM_UP_SHARE + 1);
        for (int round = 0; round < ROUNDS; round++) {
            MARK_BEGIN();
            operations[i].run(count);
            MARK_END();
            report(operations[i].name, "syscall", count);
        }
    }
    return EXIT_SUCCESS;
}
