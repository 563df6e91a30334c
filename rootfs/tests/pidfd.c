/* Descriptors of processes. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/sched.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static int pidfd_open(pid_t id, unsigned flags)
{
    return (int)syscall(SYS_pidfd_open, id, flags);
}

static long pidfd_send_signal(int fd, int signal, siginfo_t *info, unsigned flags)
{
    return syscall(SYS_pidfd_send_signal, fd, signal, info, flags);
}

static bool has_ended(int fd)
{
    struct pollfd look = {.fd = fd, .events = POLLIN};

    return poll(&look, 1, 0) == 1 && look.revents & POLLIN;
}

/* A child that waits for a signal. */
static pid_t waiting_child(void)
{
    pid_t child = fork();

    if (child == 0)
        for (;;)
            pause();
    return child;
}

CASE(the_end_can_be_waited_for)
{
    pid_t child = waiting_child();
    int fd = pidfd_open(child, 0);
    siginfo_t info = {0};

    REQUIRE(fd >= 0);
    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK(!has_ended(fd));
    CHECK_EQUAL(pidfd_send_signal(fd, 0, NULL, 0), 0);
    CHECK_EQUAL(pidfd_send_signal(fd, SIGTERM, NULL, 0), 0);
    struct pollfd end = {.fd = fd, .events = POLLIN};
    CHECK_EQUAL(poll(&end, 1, 10000), 1);
    /* It is there until somebody waits. */
    CHECK_EQUAL(pidfd_send_signal(fd, 0, NULL, 0), 0);
    CHECK_EQUAL(waitid(P_PIDFD, fd, &info, WEXITED | WNOWAIT), 0);
    CHECK_EQUAL(info.si_pid, child);
    CHECK_EQUAL(waitid(P_PIDFD, fd, &info, WEXITED), 0);
    CHECK(info.si_pid == child && info.si_code == CLD_KILLED && info.si_status == SIGTERM);
    CHECK_FAILS(waitid(P_PIDFD, fd, &info, WEXITED), ECHILD);
    CHECK_FAILS(pidfd_send_signal(fd, 0, NULL, 0), ESRCH);
    CHECK(has_ended(fd));
}

CASE(epoll_tells_of_the_end)
{
    pid_t child = waiting_child();
    int fd = pidfd_open(child, 0), epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 5}, found = {0};

    REQUIRE(fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    CHECK_EQUAL(epoll_wait(epoll, &found, 1, 0), 0);
    kill(child, SIGKILL);
    CHECK_EQUAL(epoll_wait(epoll, &found, 1, 10000), 1);
    CHECK_EQUAL(found.data.u32, 5);
    CHECK_EQUAL(waitpid(child, NULL, 0), child);
}

CASE(without_waiting)
{
    pid_t child = waiting_child();
    int fd = pidfd_open(child, O_NONBLOCK);
    siginfo_t info = {0};

    REQUIRE(fd >= 0);
    CHECK_FAILS(waitid(P_PIDFD, fd, &info, WEXITED), EAGAIN);
    CHECK_EQUAL(waitid(P_PIDFD, fd, &info, WEXITED | WNOHANG), 0);
    CHECK_EQUAL(info.si_pid, 0);
    kill(child, SIGKILL);
    CHECK_EQUAL(waitpid(child, NULL, 0), child);
}

CASE(what_comes_with_a_signal)
{
    int fd = pidfd_open(getpid(), 0);
    siginfo_t sent = {.si_signo = SIGUSR1, .si_code = SI_QUEUE, .si_value.sival_int = 77}, got;
    sigset_t set;

    REQUIRE(fd >= 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CHECK_EQUAL(pidfd_send_signal(fd, SIGUSR1, &sent, 0), 0);
    CHECK_EQUAL(sigwaitinfo(&set, &got), SIGUSR1);
    CHECK(got.si_code == SI_QUEUE && got.si_value.sival_int == 77);
    CHECK_FAILS(pidfd_send_signal(fd, SIGUSR2, &sent, 0), EINVAL);
    CHECK_FAILS(pidfd_send_signal(fd, SIGUSR1, (void *)8, 0), EFAULT);
    pid_t child = waiting_child();
    int other = pidfd_open(child, 0);
    sent.si_code = SI_USER;
    CHECK_FAILS(pidfd_send_signal(other, SIGUSR1, &sent, 0), EPERM);
    kill(child, SIGKILL);
    CHECK_EQUAL(waitpid(child, NULL, 0), child);
}

CASE(clone_gives_one)
{
    int fd = -1, id = -1;
    struct clone_args arguments = {.flags = CLONE_PIDFD | CLONE_PARENT_SETTID, .exit_signal = SIGCHLD,
                                   .pidfd = (uintptr_t)&fd, .parent_tid = (uintptr_t)&id};
    siginfo_t info = {0};
    long child = syscall(SYS_clone3, &arguments, sizeof arguments);

    if (child == 0)
        /* The parent's descriptor is none of the child's. */
        _exit(fcntl(3, F_GETFD) == -1 ? 6 : 7);
    REQUIRE(child > 0 && fd >= 0);
    CHECK_EQUAL(id, child);
    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQUAL(waitid(P_PIDFD, fd, &info, WEXITED), 0);
    CHECK(info.si_pid == child && info.si_status == (fd == 3 ? 6 : info.si_status));
    close(fd);

    /* The old call stores it where it otherwise stores the number. */
    child = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &fd, 0, 0);
    if (child == 0)
        _exit(0);
    REQUIRE(child > 0 && fd >= 0);
    CHECK_EQUAL(waitid(P_PIDFD, fd, &info, WEXITED), 0);
    CHECK_EQUAL(info.si_pid, child);
    close(fd);
    CHECK_FAILS(syscall(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, 0, &fd, 0, 0), EINVAL);
    CHECK_FAILS(syscall(SYS_clone, CLONE_PIDFD | CLONE_DETACHED | SIGCHLD, 0, &fd, 0, 0), EINVAL);
    CHECK_FAILS(syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, 8, 0, 0), EFAULT);
    arguments.parent_tid = arguments.pidfd;
    CHECK_FAILS(syscall(SYS_clone3, &arguments, sizeof arguments), EINVAL);
    CHECK_FAILS(waitpid(-1, NULL, 0), ECHILD);
}

CASE(descriptors_can_be_fetched)
{
    char name[] = "fetched";
    int ready[2], here = memfd_create(name, 0), found;
    char byte;

    REQUIRE(pipe(ready) == 0 && here >= 0);
    pid_t child = fork();
    if (child == 0) {
        int own = dup2(memfd_create("its own", 0), 100);

        if (own != 100 || write(own, "hello", 5) != 5 || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    CHECK_EQUAL(read(ready[0], &byte, 1), 1);
    int fd = pidfd_open(child, 0);
    found = (int)syscall(SYS_pidfd_getfd, fd, 100, 0);
    REQUIRE(found >= 0);
    CHECK_EQUAL(fcntl(found, F_GETFD), FD_CLOEXEC);
    /* The very opening, with its position. */
    CHECK_EQUAL(lseek(found, 0, SEEK_CUR), 5);
    CHECK_FAILS(syscall(SYS_pidfd_getfd, fd, 101, 0), EBADF);
    CHECK_FAILS(syscall(SYS_pidfd_getfd, fd, 100, 1), EINVAL);
    CHECK_FAILS(syscall(SYS_pidfd_getfd, here, 100, 0), EBADF);
    kill(child, SIGKILL);
    CHECK_EQUAL(waitpid(child, NULL, 0), child);
    CHECK_FAILS(syscall(SYS_pidfd_getfd, fd, 100, 0), ESRCH);
}

CASE(what_is_refused)
{
    int file = memfd_create("no process", 0);
    siginfo_t info;

    CHECK_FAILS(pidfd_open(0, 0), EINVAL);
    CHECK_FAILS(pidfd_open(-1, 0), EINVAL);
    CHECK_FAILS(pidfd_open(getpid(), 0x1000), EINVAL);
    CHECK_FAILS(pidfd_open(4194000, 0), ESRCH);
    CHECK_FAILS(pidfd_send_signal(file, 0, NULL, 0), EBADF);
    CHECK_FAILS(pidfd_send_signal(-1, 0, NULL, 0), EBADF);
    CHECK_FAILS(pidfd_send_signal(file, 0, NULL, 0x100), EINVAL);
    CHECK_FAILS(waitid(P_PIDFD, file, &info, WEXITED), EBADF);
    int fd = pidfd_open(getpid(), 0);
    CHECK_FAILS(pidfd_send_signal(fd, 65, NULL, 0), EINVAL);
    CHECK_FAILS(waitid(P_PIDFD, fd, &info, WEXITED), ECHILD);
    CHECK_FAILS(read(fd, &info, 8), EINVAL);
}
