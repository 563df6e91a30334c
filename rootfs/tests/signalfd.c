/* signalfd: signals that are read instead of handled. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

static sigset_t set_of(int first, int second)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, first);
    if (second)
        sigaddset(&set, second);
    return set;
}

static int blocked_fd(int first, int second, int flags)
{
    sigset_t set = set_of(first, second);

    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, flags);
}

static bool is_readable(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT};
    return poll(&entry, 1, 0) == 1 && entry.revents == POLLIN;
}

CASE(a_signal_is_read_with_what_came_with_it)
{
    struct signalfd_siginfo info;
    int fd = blocked_fd(SIGUSR1, SIGRTMIN, SFD_NONBLOCK | SFD_CLOEXEC);

    REQUIRE(fd >= 0);
    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQUAL(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    CHECK(!is_readable(fd));
    CHECK_FAILS(read(fd, &info, sizeof info), EAGAIN);
    kill(getpid(), SIGUSR1);
    CHECK(is_readable(fd));
    memset(&info, 0xff, sizeof info);
    CHECK_EQUAL(read(fd, &info, sizeof info), sizeof info);
    CHECK_EQUAL(info.ssi_signo, SIGUSR1);
    CHECK_EQUAL(info.ssi_code, SI_USER);
    CHECK_EQUAL(info.ssi_errno, 0);
    CHECK_EQUAL(info.ssi_pid, getpid());
    CHECK_EQUAL(info.ssi_uid, getuid());
    CHECK_EQUAL(info.ssi_fd, 0);
    CHECK_EQUAL(info.ssi_ptr, 0);
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_ptr = (void *)0x123456789abcdef});
    CHECK_EQUAL(read(fd, &info, sizeof info), sizeof info);
    CHECK_EQUAL(info.ssi_signo, SIGRTMIN);
    CHECK_EQUAL(info.ssi_code, SI_QUEUE);
    CHECK_EQUAL(info.ssi_ptr, 0x123456789abcdef);
    CHECK_EQUAL(info.ssi_int, 0x89abcdef - 0x100000000);
    raise(SIGUSR1);
    CHECK_EQUAL(read(fd, &info, sizeof info), sizeof info);
    CHECK_EQUAL(info.ssi_code, SI_TKILL);
    CHECK(!is_readable(fd));
}

CASE(many_are_read_at_once)
{
    struct signalfd_siginfo infos[5];
    int fd = blocked_fd(SIGUSR1, SIGRTMIN, SFD_NONBLOCK);

    for (int i = 0; i < 3; i++)
        sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i});
    kill(getpid(), SIGUSR1);
    kill(getpid(), SIGUSR1);
    CHECK_EQUAL(read(fd, infos, 2 * sizeof infos[0] + 100), 2 * sizeof infos[0]);
    CHECK_EQUAL(infos[0].ssi_signo, SIGUSR1);
    CHECK_EQUAL(infos[1].ssi_signo, SIGRTMIN);
    CHECK_EQUAL(infos[1].ssi_int, 0);
    CHECK_EQUAL(read(fd, infos, sizeof infos), 2 * sizeof infos[0]);
    CHECK_EQUAL(infos[0].ssi_int, 1);
    CHECK_EQUAL(infos[1].ssi_int, 2);
    CHECK_FAILS(read(fd, infos, sizeof infos), EAGAIN);
}

CASE(the_end_of_a_child_is_read)
{
    struct signalfd_siginfo info;
    int fd = blocked_fd(SIGCHLD, 0, 0);
    pid_t child = fork();

    if (child == 0)
        _exit(9);
    CHECK_EQUAL(read(fd, &info, sizeof info), sizeof info);
    CHECK_EQUAL(info.ssi_signo, SIGCHLD);
    CHECK_EQUAL(info.ssi_code, CLD_EXITED);
    CHECK_EQUAL(info.ssi_pid, child);
    CHECK_EQUAL(info.ssi_status, 9);
    waitpid(child, NULL, 0);
}

CASE(the_mask_can_be_changed)
{
    struct signalfd_siginfo info;
    int fd = blocked_fd(SIGUSR1, SIGUSR2, SFD_NONBLOCK);
    sigset_t second = set_of(SIGUSR2, 0);

    CHECK_EQUAL(signalfd(fd, &second, 0), fd);
    kill(getpid(), SIGUSR1);
    CHECK(!is_readable(fd));
    kill(getpid(), SIGUSR2);
    CHECK_EQUAL(read(fd, &info, sizeof info), sizeof info);
    CHECK_EQUAL(info.ssi_signo, SIGUSR2);
    sigset_t first = set_of(SIGUSR1, 0);
    CHECK_EQUAL(signalfd(fd, &first, 0), fd);
    CHECK(is_readable(fd));
    CHECK_EQUAL(read(fd, &info, sizeof info), sizeof info);
    CHECK_EQUAL(info.ssi_signo, SIGUSR1);
}

static int shared_fd;

static void *read_here(void *result)
{
    struct signalfd_siginfo info;
    sigset_t set = set_of(SIGUSR1, SIGUSR2);
    struct pollfd entry = {.fd = shared_fd, .events = POLLIN};

    (void)set;
    raise(SIGUSR2);
    CHECK_EQUAL(poll(&entry, 1, 0), 1);
    CHECK_EQUAL(read(shared_fd, &info, sizeof info), sizeof info);
    CHECK_EQUAL(info.ssi_signo, SIGUSR2);
    *(int *)result = 1;
    return NULL;
}

CASE(a_thread_reads_its_own_signals_and_those_of_the_process)
{
    struct signalfd_siginfo info;
    int done = 0;
    pthread_t thread;

    shared_fd = blocked_fd(SIGUSR1, SIGUSR2, SFD_NONBLOCK);
    pthread_kill(pthread_self(), SIGUSR1);
    REQUIRE(pthread_create(&thread, NULL, read_here, &done) == 0);
    pthread_join(thread, NULL);
    CHECK_EQUAL(done, 1);
    CHECK_EQUAL(read(shared_fd, &info, sizeof info), sizeof info);
    CHECK_EQUAL(info.ssi_signo, SIGUSR1);
}

static void *send_soon(void *target)
{
    struct timespec pause = {.tv_nsec = 50000000};

    nanosleep(&pause, NULL);
    kill(getpid(), *(int *)target);
    return NULL;
}

CASE(who_waits_is_woken)
{
    struct signalfd_siginfo info;
    int fd = blocked_fd(SIGUSR1, 0, 0), signal = SIGUSR1;
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    pthread_t thread;

    pthread_create(&thread, NULL, send_soon, &signal);
    CHECK_EQUAL(read(fd, &info, sizeof info), sizeof info);
    CHECK_EQUAL(info.ssi_signo, SIGUSR1);
    pthread_join(thread, NULL);
    pthread_create(&thread, NULL, send_soon, &signal);
    CHECK_EQUAL(poll(&entry, 1, 10000), 1);
    CHECK_EQUAL(read(fd, &info, sizeof info), sizeof info);
    pthread_join(thread, NULL);
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 5};
    CHECK_EQUAL(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
    CHECK_EQUAL(epoll_wait(epoll, &event, 1, 0), 0);
    pthread_create(&thread, NULL, send_soon, &signal);
    CHECK_EQUAL(epoll_wait(epoll, &event, 1, 10000), 1);
    CHECK_EQUAL(event.data.u32, 5);
    CHECK_EQUAL(read(fd, &info, sizeof info), sizeof info);
    pthread_join(thread, NULL);
    CHECK_EQUAL(epoll_wait(epoll, &event, 1, 0), 0);
}

CASE(a_child_reads_its_own_signals)
{
    struct signalfd_siginfo info;
    int status, fd = blocked_fd(SIGUSR1, 0, SFD_NONBLOCK);

    kill(getpid(), SIGUSR1);
    pid_t child = fork();
    if (child == 0) {
        if (read(fd, &info, sizeof info) != -1 || errno != EAGAIN)
            _exit(1);
        kill(getpid(), SIGUSR1);
        _exit(read(fd, &info, sizeof info) == sizeof info && (pid_t)info.ssi_pid == getpid() ? 0 : 2);
    }
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(read(fd, &info, sizeof info), sizeof info);
}

static void ignore(int signal)
{
    (void)signal;
}

CASE(other_signals_interrupt_a_read)
{
    struct signalfd_siginfo info;
    struct sigaction action = {.sa_handler = ignore};
    int fd = blocked_fd(SIGUSR1, 0, 0), signal = SIGUSR2;
    pthread_t thread;
    sigset_t set = set_of(SIGUSR2, 0);

    sigaction(SIGUSR2, &action, NULL);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pthread_create(&thread, NULL, send_soon, &signal);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    CHECK_FAILS(read(fd, &info, sizeof info), EINTR);
    pthread_join(thread, NULL);
}

CASE(proc_tells_the_mask)
{
    char path[64], text[512] = "";
    int fd = blocked_fd(SIGUSR1, SIGTERM, 0);

    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    int file = open(path, O_RDONLY);
    CHECK(read(file, text, sizeof text - 1) > 0);
    CHECK(strstr(text, "sigmask:\t0000000000004200\n") != NULL);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, text, sizeof text - 1);
    REQUIRE(length > 0);
    text[length] = 0;
    CHECK(strcmp(text, "anon_inode:[signalfd]") == 0);
}

CASE(bad_arguments_are_refused)
{
    struct signalfd_siginfo info;
    sigset_t set = set_of(SIGUSR1, 0);
    int ends[2], fd = blocked_fd(SIGUSR1, 0, SFD_NONBLOCK);

    REQUIRE(pipe(ends) == 0);
    CHECK_FAILS(signalfd(-1, &set, 1), EINVAL);
    CHECK_FAILS(signalfd(ends[0], &set, 0), EINVAL);
    CHECK_FAILS(signalfd(999, &set, 0), EBADF);
    CHECK_FAILS(syscall(SYS_signalfd4, -1, &set, 4, 0), EINVAL);
    CHECK_FAILS(syscall(SYS_signalfd4, -1, (void *)8, 8, 0), EFAULT);
    CHECK_FAILS(read(fd, &info, sizeof info - 1), EINVAL);
    CHECK_FAILS(write(fd, &info, sizeof info), EINVAL);
    /* Neither of these can be blocked, so neither is ever read. */
    sigset_t both = set_of(SIGKILL, SIGSTOP);
    CHECK(signalfd(-1, &both, 0) >= 0);
    kill(getpid(), SIGUSR1);
    CHECK_FAILS(read(fd, (void *)8, sizeof info), EFAULT);
}
