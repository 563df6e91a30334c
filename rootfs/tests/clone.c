/* clone(2) and clone3(2): what is shared and what is copied, and which flags go together. */
#include "check.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static char stack[1 << 16] __attribute__((aligned(16)));

static int run(int (*function)(void *), int flags)
{
    int status = -1;
    pid_t child = clone(function, stack + sizeof stack, flags | SIGCHLD, NULL);

    if (child < 0)
        return -errno;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1000;
}

static volatile int shared;

static int change_memory(void *unused)
{
    (void)unused;
    shared++;
    return 0;
}

CASE(memory)
{
    CHECK_EQUAL(run(change_memory, 0), 0);
    CHECK_EQUAL(shared, 0);
    CHECK_EQUAL(run(change_memory, CLONE_VM), 0);
    CHECK_EQUAL(shared, 1);
    CHECK_EQUAL(run(change_memory, CLONE_VM | CLONE_VFORK), 0);
    CHECK_EQUAL(shared, 2);
}

static int close_all(void *unused)
{
    (void)unused;
    close(77);
    return 0;
}

CASE(files)
{
    REQUIRE(dup2(0, 77) == 77);
    CHECK_EQUAL(run(close_all, 0), 0);
    CHECK(fcntl(77, F_GETFD) >= 0);
    CHECK_EQUAL(run(close_all, CLONE_FILES), 0);
    CHECK_FAILS(fcntl(77, F_GETFD), EBADF);
}

static int change_directory(void *unused)
{
    (void)unused;
    return chdir("/tests");
}

CASE(paths)
{
    char path[64];

    REQUIRE(chdir("/") == 0);
    CHECK_EQUAL(run(change_directory, 0), 0);
    CHECK(strcmp(getcwd(path, sizeof path), "/") == 0);
    CHECK_EQUAL(run(change_directory, CLONE_FS), 0);
    CHECK(strcmp(getcwd(path, sizeof path), "/tests") == 0);
}

static int change_action(void *unused)
{
    (void)unused;
    signal(SIGUSR1, SIG_IGN);
    return 0;
}

CASE(signal_actions)
{
    struct sigaction action;

    CHECK_EQUAL(run(change_action, CLONE_VM), 0);
    sigaction(SIGUSR1, NULL, &action);
    CHECK(action.sa_handler == SIG_DFL);
    CHECK_EQUAL(run(change_action, CLONE_VM | CLONE_SIGHAND), 0);
    sigaction(SIGUSR1, NULL, &action);
    CHECK(action.sa_handler == SIG_IGN);
}

CASE(flags_that_need_others)
{
    CHECK_EQUAL(run(change_memory, CLONE_SIGHAND), -EINVAL);
    CHECK_FAILS(syscall(SYS_clone, CLONE_THREAD | CLONE_VM, stack, NULL, NULL, NULL), EINVAL);
    CHECK_FAILS(syscall(SYS_clone, CLONE_THREAD, stack, NULL, NULL, NULL), EINVAL);
}

CASE(numbers_are_stored)
{
    volatile pid_t parents = 0, childs = 0;
    int status;
    long child = syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, NULL, &parents, NULL, &childs);

    if (child == 0)
        _exit(childs == getpid() && parents == 0 ? 0 : 1);
    CHECK_EQUAL(parents, child);
    CHECK_EQUAL(childs, 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    /* A bad address is nobody's concern. */
    child = syscall(SYS_clone, CLONE_PARENT_SETTID | SIGCHLD, NULL, (void *)8, NULL, NULL);
    if (child == 0)
        _exit(0);
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

CASE(a_sibling)
{
    int status, ends[2];
    pid_t sibling = 0;

    REQUIRE(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        pid_t parent = getppid();
        long own = syscall(SYS_clone, CLONE_PARENT, NULL, NULL, NULL, NULL);

        if (own == 0)
            _exit(getppid() == parent ? 8 : 9);
        sibling = own;
        write(ends[1], &sibling, sizeof sibling);
        _exit(waitpid(sibling, NULL, __WALL) == -1 && errno == ECHILD ? 0 : 1);
    }
    CHECK_EQUAL(read(ends[0], &sibling, sizeof sibling), (long)sizeof sibling);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(waitpid(sibling, &status, 0) == sibling && WEXITSTATUS(status) == 8);
}

static long clone3(struct clone_args *arguments, size_t size)
{
    return syscall(SYS_clone3, arguments, size);
}

CASE(clone3_makes_processes)
{
    struct clone_args arguments = {.exit_signal = SIGCHLD};
    int status;
    long child = clone3(&arguments, sizeof arguments);

    if (child == 0)
        _exit(6);
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 6);
    child = clone3(&arguments, 64);
    if (child == 0)
        _exit(7);
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
}

static void check_refused(struct clone_args arguments, int error)
{
    CHECK_FAILS(clone3(&arguments, sizeof arguments), error);
}

CASE(clone3_refuses)
{
    static char large[8192];
    struct clone_args *arguments = (void *)large;
    pid_t taken = 1;

    CHECK_FAILS(clone3(arguments, 63), EINVAL);
    CHECK_FAILS(clone3(arguments, 4097), E2BIG);
    CHECK_FAILS(clone3((void *)8, 64), EFAULT);
    large[100] = 1;
    CHECK_FAILS(clone3(arguments, 128), E2BIG);
    check_refused((struct clone_args){.flags = SIGCHLD}, EINVAL);
    check_refused((struct clone_args){.flags = CLONE_DETACHED}, EINVAL);
    check_refused((struct clone_args){.exit_signal = 65}, EINVAL);
    check_refused((struct clone_args){.exit_signal = 1ull << 40}, EINVAL);
    check_refused((struct clone_args){.flags = 1ull << 40}, EINVAL);
    check_refused((struct clone_args){.stack = 4096}, EINVAL);
    check_refused((struct clone_args){.stack_size = 4096}, EINVAL);
    check_refused((struct clone_args){.stack = -4096ull, .stack_size = 8192}, EINVAL);
    check_refused((struct clone_args){.flags = CLONE_SIGHAND}, EINVAL);
    check_refused((struct clone_args){.flags = CLONE_VM | CLONE_SIGHAND | CLONE_CLEAR_SIGHAND}, EINVAL);
    check_refused((struct clone_args){.flags = CLONE_PARENT, .exit_signal = SIGCHLD}, EINVAL);
    check_refused((struct clone_args){.set_tid_size = 1}, EINVAL);
    check_refused((struct clone_args){.set_tid = (uintptr_t)&taken}, EINVAL);
    check_refused((struct clone_args){.set_tid = (uintptr_t)&taken, .set_tid_size = 33}, EINVAL);
    check_refused((struct clone_args){.set_tid = (uintptr_t)&taken, .set_tid_size = 1}, EEXIST);
    taken = -5;
    check_refused((struct clone_args){.set_tid = (uintptr_t)&taken, .set_tid_size = 1}, EINVAL);
}

CASE(a_number_of_ones_choice)
{
    pid_t wanted = 31234;
    struct clone_args arguments = {
        .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&wanted, .set_tid_size = 1};
    int status;
    long child = clone3(&arguments, sizeof arguments);

    if (child == 0)
        _exit(getpid() == wanted ? 0 : 1);
    CHECK_EQUAL(child, wanted);
    CHECK(waitpid(wanted, &status, 0) == wanted && status == 0);
}

static void handler(int signal)
{
    (void)signal;
}

CASE(signal_actions_can_be_cleared)
{
    struct clone_args arguments = {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
    int status;

    signal(SIGUSR1, handler);
    signal(SIGUSR2, SIG_IGN);
    long child = clone3(&arguments, sizeof arguments);
    if (child == 0) {
        struct sigaction one, two;

        sigaction(SIGUSR1, NULL, &one);
        sigaction(SIGUSR2, NULL, &two);
        _exit(one.sa_handler == SIG_DFL && two.sa_handler == SIG_IGN ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

CASE(unshare_what_was_shared)
{
    CHECK_EQUAL(unshare(CLONE_FS | CLONE_FILES), 0);
    CHECK_EQUAL(unshare(0), 0);
    CHECK_FAILS(unshare(CLONE_SETTLS), EINVAL);
    CHECK_FAILS(setns(999, 0), EBADF);
    CHECK_FAILS(setns(0, 0), EINVAL);
}

CASE(fork_copies)
{
    volatile long value = 1;
    int status;
    double number = 1.25;
    pid_t child = fork();

    if (child == 0) {
        value = 2;
        /* Floating-point registers come along. */
        _exit(number == 1.25 && value == 2 ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK_EQUAL(value, 1);
}
