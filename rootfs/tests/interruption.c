/* What a signal does to each call that waits: made again after a handler with SA_RESTART, or EINTR whatever the handler
 * says; and after a stop, when no handler runs, made again without the program noticing, or not. */
#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

enum { PAUSE_MICROSECONDS = 40000 };

static int pipe_ends[2], full_pipe[2], sockets[2], event, full_event, timer, epoll, signals, listener, locked;
/* One that the kernel chooses: cases leave nothing to each other. */
static const struct sockaddr name = {.sa_family = AF_UNIX};
static uint32_t word;
static char byte;
static volatile sig_atomic_t handled;

static void note(int signal)
{
    (void)signal;
    handled++;
}

static long do_read_pipe(void) { return read(pipe_ends[0], &byte, 1); }
static long do_write_pipe(void) { return write(full_pipe[1], &byte, 1); }
static long do_read_socket(void) { return read(sockets[0], &byte, 1); }
static long do_recv(void) { return recv(sockets[0], &byte, 1, 0); }
static long do_read_event(void) { uint64_t count; return read(event, &count, 8); }
static long do_write_event(void) { uint64_t count = 5; return write(full_event, &count, 8); }
static long do_read_timer(void) { uint64_t count; return read(timer, &count, 8); }
static long do_read_signal(void) { struct signalfd_siginfo info; return read(signals, &info, sizeof info); }
static long do_accept(void) { return accept(listener, NULL, NULL); }
static long do_waitpid(void) { return waitpid(-1, NULL, 0); }
static long do_waitid(void) { siginfo_t info; return waitid(P_ALL, 0, &info, WEXITED); }
static long do_futex(void) { return syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0); }
static long do_flock(void) { return flock(locked, LOCK_EX); }
static long do_open_fifo(void) { return open("/tmp/interruption.fifo", O_RDONLY); }
static long do_lock(void)
{
    struct flock wanted = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    return fcntl(locked, F_OFD_SETLKW, &wanted);
}

static struct timespec long_time = {.tv_sec = 20};

static long do_poll(void)
{
    struct pollfd entry = {.fd = pipe_ends[0], .events = POLLIN};
    return syscall(SYS_ppoll, &entry, 1, NULL, NULL, 8);
}
static long do_poll_limited(void)
{
    struct pollfd entry = {.fd = pipe_ends[0], .events = POLLIN};
    struct timespec limit = long_time;
    return syscall(SYS_ppoll, &entry, 1, &limit, NULL, 8);
}
static long do_select(void)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pipe_ends[0], &set);
    return select(pipe_ends[0] + 1, &set, NULL, NULL, NULL);
}
static long do_epoll(void)
{
    struct epoll_event told;
    return epoll_wait(epoll, &told, 1, -1);
}
static long do_pause(void) { return pause(); }
static long do_sigsuspend(void) { sigset_t none; sigemptyset(&none); return sigsuspend(&none); }
static long do_sigtimedwait(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return sigtimedwait(&set, NULL, &long_time);
}
static long do_nanosleep(void) { return nanosleep(&long_time, NULL); }
static long do_clock_nanosleep(void)
{
    int error = clock_nanosleep(CLOCK_MONOTONIC, 0, &long_time, NULL);
    errno = error;
    return error ? -1 : 0;
}
static long do_absolute_nanosleep(void)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 20;
    int error = clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &end, NULL);
    errno = error;
    return error ? -1 : 0;
}
static long do_futex_limited(void)
{
    return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &long_time, NULL, 0);
}
static const struct {
    const char *title;
    long (*call)(void);
    bool restarts;
} calls[] = {
    {"read of a pipe", do_read_pipe, true},
    {"write to a pipe", do_write_pipe, true},
    {"read of a socket", do_read_socket, true},
    {"recv", do_recv, true},
    {"read of an eventfd", do_read_event, true},
    {"write to an eventfd", do_write_event, true},
    {"read of a timerfd", do_read_timer, true},
    {"read of a signalfd", do_read_signal, true},
    {"accept", do_accept, true},
    {"waitpid", do_waitpid, true},
    {"waitid", do_waitid, true},
    {"futex", do_futex, true},
    {"flock", do_flock, true},
    {"F_OFD_SETLKW", do_lock, true},
    {"open of a fifo", do_open_fifo, true},
    {"ppoll", do_poll, false},
    {"ppoll with a limit", do_poll_limited, false},
    {"select", do_select, false},
    {"epoll_wait", do_epoll, false},
    {"pause", do_pause, false},
    {"sigsuspend", do_sigsuspend, false},
    {"sigtimedwait", do_sigtimedwait, false},
    {"nanosleep", do_nanosleep, false},
    {"clock_nanosleep", do_clock_nanosleep, false},
    {"absolute clock_nanosleep", do_absolute_nanosleep, false},
    {"futex with a limit", do_futex_limited, false},
};

enum { CALLS = sizeof calls / sizeof calls[0] };

static void prepare(void)
{
    struct sigaction action = {.sa_handler = note};
    struct epoll_event wanted = {.events = EPOLLIN};
    struct itimerspec far = {.it_value.tv_sec = 100};
    uint64_t most = UINT64_MAX - 1;
    char block[4096] = "";
    sigset_t set;

    sigaction(SIGUSR1, &action, NULL);
    REQUIRE(pipe(pipe_ends) == 0 && pipe(full_pipe) == 0);
    fcntl(full_pipe[1], F_SETFL, O_NONBLOCK);
    while (write(full_pipe[1], block, sizeof block) > 0)
        ;
    fcntl(full_pipe[1], F_SETFL, 0);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    event = eventfd(0, 0);
    full_event = eventfd(0, 0);
    REQUIRE(write(full_event, &most, 8) == 8);
    timer = timerfd_create(CLOCK_MONOTONIC, 0);
    timerfd_settime(timer, 0, &far, NULL);
    epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_ends[0], &wanted);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signals = signalfd(-1, &set, 0);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    REQUIRE(bind(listener, &name, sizeof(sa_family_t)) == 0 && listen(listener, 1) == 0);
    mkdir("/tmp", 0777);
    mkfifo("/tmp/interruption.fifo", 0600);
    locked = open("/tmp/interruption.lock", O_RDWR | O_CREAT, 0600);
    int other = open("/tmp/interruption.lock", O_RDWR);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    REQUIRE(flock(other, LOCK_EX) == 0 && fcntl(other, F_OFD_SETLK, &lock) == 0);
}

/* What a process that waits in a call is doing by /proc: sleeping, stopped. */
static char state_of(pid_t process)
{
    char path[64], text[512] = "";

    snprintf(path, sizeof path, "/proc/%d/stat", process);
    int fd = open(path, O_RDONLY);
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    char *end = length > 0 ? strrchr(text, ')') : NULL;
    return end ? end[2] : 0;
}

static bool becomes(pid_t process, char wanted)
{
    for (long long end = check_milliseconds() + 10000; check_milliseconds() < end; usleep(1000))
        if (state_of(process) == wanted)
            return true;
    return false;
}

/* A child waits in the call when a signal comes: its error, 0 if it waits on, less if it is done. */
static int outcome_of(int index, int flags, int sent)
{
    int told[2], result = 0;

    REQUIRE(pipe(told) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct sigaction action = {.sa_handler = note, .sa_flags = flags};
        /* Somebody to wait for who does not end. */
        pid_t grandchild = fork();
        if (grandchild == 0) {
            signal(SIGTERM, SIG_DFL);
            close(told[1]);
            for (;;)
                pause();
        }
        sigaction(SIGUSR1, &action, NULL);
        errno = 0;
        long value = calls[index].call();
        int got = value == -1 ? errno : -1;
        kill(grandchild, SIGKILL);
        _exit(write(told[1], &got, sizeof got) != sizeof got);
    }
    close(told[1]);
    CHECK(becomes(child, 'S'));
    usleep(PAUSE_MICROSECONDS);
    if (sent == SIGSTOP) {
        kill(child, SIGSTOP);
        CHECK(becomes(child, 'T'));
        kill(child, SIGCONT);
    } else {
        kill(child, sent);
    }
    struct pollfd entry = {.fd = told[0], .events = POLLIN};
    /* A call that is made again does not end: that takes a while to see. */
    if (poll(&entry, 1, 100) == 1 && read(told[0], &result, sizeof result) != sizeof result)
        result = -2;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(told[0]);
    return result;
}

static void check_all(int flags, int signal, int (*expected)(int index))
{
    setpgid(0, 0);
    prepare();
    for (int i = 0; i < CALLS; i++) {
        int is = outcome_of(i, flags, signal), should = expected(i);
        if (is != should) {
            printf("  %s: %s, not %s\n", calls[i].title, is > 0 ? strerrorname_np(is) : is ? "done" : "waits on",
                   should ? strerrorname_np(should) : "waits on");
            check_failures++;
        }
    }
    /* The grandchildren of killed children are left. */
    struct sigaction ignored = {.sa_handler = SIG_IGN};
    sigaction(SIGTERM, &ignored, NULL);
    kill(0, SIGTERM);
}

static int always_interrupted(int index)
{
    (void)index;
    return EINTR;
}

static int restarted(int index)
{
    return calls[index].restarts ? 0 : EINTR;
}

/* Without a handler everything goes on, but for two that tell of any interruption. */
static int continued(int index)
{
    return calls[index].call == do_epoll || calls[index].call == do_sigtimedwait ? EINTR : 0;
}

CASE(a_handler_interrupts_every_call)
{
    check_all(0, SIGUSR1, always_interrupted);
}

CASE(a_handler_that_restarts)
{
    check_all(SA_RESTART, SIGUSR1, restarted);
}

CASE(a_stop_is_not_noticed)
{
    check_all(0, SIGSTOP, continued);
}

static int waits_on(int index)
{
    (void)index;
    return 0;
}

CASE(ignored_signals_are_not_noticed)
{
    check_all(0, SIGCHLD, waits_on);
}
