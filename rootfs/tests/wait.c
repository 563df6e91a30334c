/* wait4(2) and waitid(2): which children, which changes, and who becomes the parent of orphans. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static pid_t child_that_exits(int status)
{
    pid_t child = fork();

    if (child == 0)
        _exit(status);
    return child;
}

static pid_t child_that_waits(void)
{
    pid_t child = fork();

    if (child == 0)
        for (;;)
            pause();
    return child;
}

CASE(without_children_there_is_nothing_to_wait_for)
{
    siginfo_t info;

    CHECK_FAILS(waitpid(-1, NULL, 0), ECHILD);
    CHECK_FAILS(waitpid(getpid(), NULL, 0), ECHILD);
    CHECK_FAILS(waitid(P_ALL, 0, &info, WEXITED), ECHILD);
}

CASE(bad_arguments_are_refused)
{
    siginfo_t info;

    CHECK_FAILS(waitpid(-1, NULL, 0x10000), EINVAL);
    CHECK_FAILS(waitpid(-1, NULL, WEXITED), EINVAL);
    CHECK_FAILS(waitid(P_ALL, 0, &info, 0), EINVAL);
    CHECK_FAILS(waitid(P_ALL, 0, &info, WNOHANG), EINVAL);
    CHECK_FAILS(waitid(P_ALL, 0, &info, WEXITED | 0x10000), EINVAL);
    CHECK_FAILS(waitid(17, 0, &info, WEXITED), EINVAL);
    CHECK_FAILS(waitid(P_PID, 0, &info, WEXITED), EINVAL);
    CHECK_FAILS(waitid(P_PGID, -1, &info, WEXITED), EINVAL);
    CHECK_FAILS(waitid((idtype_t)3, -1, &info, WEXITED), EINVAL);
    CHECK_FAILS(waitid((idtype_t)3, 99, &info, WEXITED), EBADF);
    CHECK_FAILS(waitpid(-2147483647 - 1, NULL, 0), ESRCH);
    child_that_exits(0);
    CHECK_FAILS(waitpid(-1, (int *)8, 0), EFAULT);
}

CASE(statuses)
{
    int status;
    pid_t child = child_that_exits(77);

    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 77);
    child = child_that_waits();
    CHECK_EQUAL(waitpid(child, &status, WNOHANG), 0);
    kill(child, SIGKILL);
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !WCOREDUMP(status));
}

CASE(waitid_tells_more)
{
    siginfo_t info;
    pid_t child = child_that_exits(5);

    CHECK_EQUAL(waitid(P_PID, child, &info, WEXITED | WNOWAIT), 0);
    CHECK_EQUAL(info.si_pid, child);
    CHECK_EQUAL(info.si_signo, SIGCHLD);
    CHECK_EQUAL(info.si_code, CLD_EXITED);
    CHECK_EQUAL(info.si_status, 5);
    CHECK_EQUAL(info.si_uid, getuid());
    CHECK_EQUAL(waitid(P_PGID, getpgrp(), &info, WEXITED), 0);
    CHECK_EQUAL(info.si_pid, child);
    CHECK_FAILS(waitid(P_PID, child, &info, WEXITED), ECHILD);
    child = child_that_waits();
    memset(&info, 0xff, sizeof info);
    CHECK_EQUAL(waitid(P_ALL, 0, &info, WEXITED | WNOHANG), 0);
    CHECK_EQUAL(info.si_pid, 0);
    CHECK_EQUAL(info.si_signo, 0);
    kill(child, SIGTERM);
    CHECK_EQUAL(waitid(P_ALL, 0, &info, WEXITED), 0);
    CHECK_EQUAL(info.si_code, CLD_KILLED);
    CHECK_EQUAL(info.si_status, SIGTERM);
}

CASE(stops_and_continuations)
{
    siginfo_t info;
    int status;
    pid_t child = child_that_waits();

    kill(child, SIGSTOP);
    CHECK_EQUAL(waitpid(child, &status, WUNTRACED), child);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    CHECK_EQUAL(waitpid(child, &status, WUNTRACED | WNOHANG), 0);
    kill(child, SIGCONT);
    CHECK_EQUAL(waitid(P_PID, child, &info, WCONTINUED), 0);
    CHECK_EQUAL(info.si_code, CLD_CONTINUED);
    CHECK_EQUAL(info.si_status, SIGCONT);
    kill(child, SIGSTOP);
    CHECK_EQUAL(waitid(P_PID, child, &info, WSTOPPED | WNOWAIT), 0);
    CHECK_EQUAL(info.si_code, CLD_STOPPED);
    CHECK_EQUAL(info.si_status, SIGSTOP);
    CHECK_EQUAL(waitid(P_PID, child, &info, WSTOPPED), 0);
    CHECK_EQUAL(waitid(P_PID, child, &info, WSTOPPED | WNOHANG), 0);
    CHECK_EQUAL(info.si_pid, 0);
    kill(child, SIGKILL);
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
}

static void *spin(void *argument)
{
    volatile long *counter = argument;

    for (;;)
        ++*counter;
    return NULL;
}

CASE(a_stopped_process_stands_still_with_all_its_threads)
{
    int status, ends[2];
    pid_t child;

    REQUIRE(pipe(ends) == 0);
    if ((child = fork()) == 0) {
        static long counters[3];
        pthread_t thread;

        for (int i = 0; i < 3; i++)
            pthread_create(&thread, NULL, spin, &counters[i]);
        write(ends[1], "x", 1);
        for (;;)
            pause();
    }
    char byte;
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
    for (int round = 0; round < 10; round++) {
        kill(child, SIGSTOP);
        CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
        kill(child, SIGCONT);
        CHECK(waitpid(child, &status, WCONTINUED) == child && WIFCONTINUED(status));
    }
    kill(child, SIGSTOP);
    CHECK_EQUAL(waitpid(child, &status, WUNTRACED), child);
    kill(child, SIGKILL);
    CHECK(waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGKILL);
}

CASE(groups_choose_children)
{
    int status;
    pid_t one = child_that_waits(), two = child_that_waits();

    CHECK_EQUAL(setpgid(one, one), 0);
    CHECK_EQUAL(setpgid(two, one), 0);
    CHECK_EQUAL(getpgid(two), one);
    CHECK_EQUAL(waitpid(-one, &status, WNOHANG), 0);
    CHECK_FAILS(waitpid(0, &status, WNOHANG), ECHILD);
    kill(-one, SIGTERM);
    CHECK(waitpid(-one, &status, 0) > 0);
    CHECK(waitpid(-one, &status, 0) > 0);
    CHECK_FAILS(waitpid(-one, &status, 0), ECHILD);
}

CASE(clone_children_are_another_kind)
{
    int status;
    pid_t child = syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);

    if (child == 0)
        _exit(3);
    REQUIRE(child > 0);
    CHECK_FAILS(waitpid(child, &status, 0), ECHILD);
    CHECK_EQUAL(waitpid(child, &status, __WCLONE), child);
    signal(SIGUSR2, SIG_IGN);
    child = syscall(SYS_clone, SIGUSR2, NULL, NULL, NULL, NULL);
    if (child == 0)
        _exit(3);
    CHECK_EQUAL(waitpid(child, &status, __WALL), child);
    child = child_that_exits(4);
    CHECK_FAILS(waitpid(child, &status, __WCLONE), ECHILD);
    CHECK_EQUAL(waitpid(child, &status, __WALL), child);
}

static void *make_child(void *argument)
{
    *(pid_t *)argument = child_that_waits();
    pause();
    return NULL;
}

CASE(a_thread_may_look_at_its_own_children_only)
{
    volatile pid_t child = 0;
    int status;
    pthread_t thread;

    REQUIRE(pthread_create(&thread, NULL, make_child, (void *)&child) == 0);
    while (child == 0)
        sched_yield();
    CHECK_FAILS(waitpid(child, &status, WNOHANG | __WNOTHREAD), ECHILD);
    CHECK_EQUAL(waitpid(child, &status, WNOHANG), 0);
    kill(child, SIGKILL);
    CHECK_EQUAL(waitpid(child, &status, 0), child);
}

CASE(usage_comes_with_the_status)
{
    struct rusage usage, all;
    int status;
    pid_t child = fork();

    if (child == 0) {
        struct timespec now;

        do
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
        while (now.tv_sec == 0 && now.tv_nsec < 50000000);
        _exit(0);
    }
    memset(&usage, 0xff, sizeof usage);
    CHECK_EQUAL(wait4(child, &status, 0, &usage), child);
    long used = usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_sec * 1000000 +
                usage.ru_stime.tv_usec;
    CHECK(used >= 40000);
    CHECK(usage.ru_maxrss > 0);
    getrusage(RUSAGE_CHILDREN, &all);
    CHECK(all.ru_utime.tv_sec * 1000000 + all.ru_utime.tv_usec + all.ru_stime.tv_sec * 1000000 +
              all.ru_stime.tv_usec >= 40000);
}

CASE(who_ignores_sigchld_has_no_zombies)
{
    int status;

    signal(SIGCHLD, SIG_IGN);
    pid_t child = child_that_exits(1);
    CHECK_FAILS(waitpid(child, &status, 0), ECHILD);
    /* Its number may be taken back a moment after its parent was told. */
    while (kill(child, 0) == 0)
        sched_yield();
    CHECK_EQUAL(errno, ESRCH);
    struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    sigaction(SIGCHLD, &action, NULL);
    child = child_that_exits(1);
    CHECK_FAILS(waitpid(-1, &status, 0), ECHILD);
}

static volatile sig_atomic_t signals;
static volatile siginfo_t last;

static void count(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    signals++;
    last.si_code = info->si_code;
}

CASE(sigchld_tells_of_stops_unless_told_not_to)
{
    struct sigaction action = {.sa_sigaction = count, .sa_flags = SA_SIGINFO | SA_RESTART};
    int status;
    sigset_t mask;
    pid_t child = child_that_waits();

    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &mask, NULL);
    sigaction(SIGCHLD, &action, NULL);
    kill(child, SIGSTOP);
    waitpid(child, &status, WUNTRACED);
    CHECK_EQUAL(signals, 1);
    CHECK_EQUAL(last.si_code, CLD_STOPPED);
    kill(child, SIGCONT);
    waitpid(child, &status, WCONTINUED);
    /* The report may be taken before the signal is sent. */
    while (signals < 2)
        sched_yield();
    CHECK_EQUAL(last.si_code, CLD_CONTINUED);
    action.sa_flags |= SA_NOCLDSTOP;
    sigaction(SIGCHLD, &action, NULL);
    kill(child, SIGSTOP);
    waitpid(child, &status, WUNTRACED);
    CHECK_EQUAL(signals, 2);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    CHECK_EQUAL(signals, 3);
    CHECK_EQUAL(last.si_code, CLD_KILLED);
}

CASE(a_wait_is_interrupted)
{
    struct sigaction action = {.sa_sigaction = count, .sa_flags = SA_SIGINFO};
    struct timespec moment = {.tv_nsec = 30000000};
    pid_t child = child_that_waits(), parent = getpid(), alarm_clock;

    sigaction(SIGUSR1, &action, NULL);
    if ((alarm_clock = fork()) == 0) {
        nanosleep(&moment, NULL);
        kill(parent, SIGUSR1);
        _exit(0);
    }
    CHECK_FAILS(waitpid(child, NULL, 0), EINTR);
    kill(child, SIGKILL);
}

CASE(orphans_go_to_the_nearest_who_adopts)
{
    int status, ends[2];
    pid_t grandchild = 0;

    REQUIRE(pipe(ends) == 0);
    CHECK_EQUAL(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    pid_t child = fork();
    if (child == 0) {
        pid_t own = child_that_waits();

        write(ends[1], &own, sizeof own);
        _exit(0);
    }
    CHECK_EQUAL(read(ends[0], &grandchild, sizeof grandchild), (long)sizeof grandchild);
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(waitpid(grandchild, &status, WNOHANG), 0);
    kill(grandchild, SIGKILL);
    CHECK_EQUAL(waitpid(-1, &status, 0), grandchild);
}

CASE(a_parents_death_is_told)
{
    int ends[2], status;
    char byte;

    REQUIRE(pipe(ends) == 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t child = fork();
    if (child == 0) {
        pid_t own = fork();

        if (own == 0) {
            prctl(PR_SET_PDEATHSIG, SIGUSR2);
            write(ends[1], "x", 1);
            for (;;)
                pause();
        }
        read(ends[0], &byte, 1);
        _exit(0);
    }
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(waitpid(-1, &status, 0) > 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR2);
}

CASE(an_orphaned_stopped_group_is_hung_up)
{
    int status, ends[2];
    pid_t grandchild = 0;

    REQUIRE(pipe(ends) == 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t child = fork();
    if (child == 0) {
        setsid();
        pid_t own = fork();
        if (own == 0) {
            setpgid(0, 0);
            write(ends[1], &(pid_t){getpid()}, sizeof own);
            kill(getpid(), SIGSTOP);
            pause();
        }
        waitpid(own, &status, WUNTRACED);
        _exit(0);
    }
    CHECK_EQUAL(read(ends[0], &grandchild, sizeof grandchild), (long)sizeof grandchild);
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(waitpid(grandchild, &status, 0), grandchild);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGHUP);
}

CASE(sessions_and_groups)
{
    pid_t child;
    int status;

    CHECK_FAILS(getpgid(999999), ESRCH);
    CHECK_FAILS(getsid(999999), ESRCH);
    CHECK_FAILS(getpgid(-1), ESRCH);
    CHECK_FAILS(setpgid(0, -1), EINVAL);
    CHECK_FAILS(setpgid(1, 0), ESRCH);
    if ((child = fork()) == 0) {
        CHECK_EQUAL(setsid(), getpid());
        CHECK_EQUAL(getsid(0), getpid());
        CHECK_EQUAL(getpgrp(), getpid());
        CHECK_FAILS(setsid(), EPERM);
        CHECK_FAILS(setpgid(0, 0), EPERM);
        CHECK_FAILS(setpgid(0, 999999), EPERM);
        _exit(check_failures);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    if ((child = fork()) == 0) {
        execl("/bin/busybox", "busybox", "sleep", "20", NULL);
        _exit(1);
    }
    /* After exec a child is left alone. */
    while (setpgid(child, child) == 0 || errno != EACCES)
        sched_yield();
    kill(child, SIGKILL);
    CHECK_EQUAL(waitpid(child, &status, 0), child);
}
