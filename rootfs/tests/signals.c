/* Signals: how they are sent, queued, blocked, handled, and what they do to calls that wait. */
#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

static volatile int order[64], count;
static volatile siginfo_t last;
static volatile uintptr_t handler_stack;

static void note(int signal, siginfo_t *info, void *context)
{
    (void)context;
    order[count++ % 64] = signal;
    memcpy((void *)&last, info, sizeof *info);
    handler_stack = (uintptr_t)__builtin_frame_address(0);
}

static void handle(int signal, int flags)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | flags};

    sigemptyset(&action.sa_mask);
    REQUIRE(sigaction(signal, &action, NULL) == 0);
}

static sigset_t set_of(int signal)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signal);
    return set;
}

static void mask(int how, int signal)
{
    sigset_t set = set_of(signal);

    sigprocmask(how, &set, NULL);
}

CASE(a_handler_is_told_who_sent)
{
    handle(SIGUSR1, 0);
    CHECK_EQUAL(kill(getpid(), SIGUSR1), 0);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(last.si_signo, SIGUSR1);
    CHECK_EQUAL(last.si_code, SI_USER);
    CHECK_EQUAL(last.si_pid, getpid());
    CHECK_EQUAL(last.si_uid, getuid());
    raise(SIGUSR1);
    CHECK_EQUAL(last.si_code, SI_TKILL);
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 77});
    CHECK_EQUAL(last.si_code, SI_QUEUE);
    CHECK_EQUAL(last.si_value.sival_int, 77);
}

CASE(standard_signals_merge_and_real_time_signals_queue)
{
    handle(SIGUSR1, 0);
    handle(SIGRTMIN + 1, 0);
    handle(SIGRTMIN, 0);
    mask(SIG_BLOCK, SIGUSR1);
    mask(SIG_BLOCK, SIGRTMIN);
    mask(SIG_BLOCK, SIGRTMIN + 1);
    for (int i = 0; i < 3; i++) {
        kill(getpid(), SIGUSR1);
        sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i});
    }
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 9});
    sigset_t pending, none;
    sigpending(&pending);
    CHECK(sigismember(&pending, SIGUSR1) && sigismember(&pending, SIGRTMIN + 1));
    CHECK_EQUAL(count, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    CHECK_EQUAL(count, 5);
    /* All were delivered before any handler ran to its end, each interrupted by the next one: that of the lowest
     * number was delivered first, and so began last. */
    CHECK_EQUAL(order[4], SIGUSR1);
    CHECK_EQUAL(order[3], SIGRTMIN);
}

CASE(the_queue_has_a_limit)
{
    struct rlimit limit = {.rlim_cur = 4, .rlim_max = 4};
    int sent = 0;

    handle(SIGRTMIN, 0);
    mask(SIG_BLOCK, SIGRTMIN);
    REQUIRE(setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
    while (sent < 10 && sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 1}) == 0)
        sent++;
    CHECK_EQUAL(errno, EAGAIN);
    CHECK(sent <= 4);
    /* kill() gets through all the same. */
    CHECK_EQUAL(kill(getpid(), SIGRTMIN), 0);
}

CASE(what_cannot_be_caught)
{
    struct sigaction action = {.sa_handler = SIG_IGN};
    sigset_t all, now;

    CHECK_FAILS(sigaction(SIGKILL, &action, NULL), EINVAL);
    CHECK_FAILS(sigaction(SIGSTOP, &action, NULL), EINVAL);
    CHECK_EQUAL(syscall(SYS_rt_sigaction, SIGKILL, NULL, NULL, 8), 0);
    CHECK_FAILS(syscall(SYS_rt_sigaction, 65, NULL, NULL, 8), EINVAL);
    CHECK_FAILS(syscall(SYS_rt_sigaction, 0, NULL, NULL, 8), EINVAL);
    CHECK_FAILS(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4), EINVAL);
    CHECK_FAILS(syscall(SYS_rt_sigaction, SIGUSR1, (void *)8, NULL, 8), EFAULT);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigprocmask(SIG_SETMASK, NULL, &now);
    CHECK(!sigismember(&now, SIGKILL) && !sigismember(&now, SIGSTOP) && sigismember(&now, SIGTERM));
    CHECK_FAILS(syscall(SYS_rt_sigprocmask, 7, &all, NULL, 8), EINVAL);
    CHECK_FAILS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, (void *)8, NULL, 8), EFAULT);
    CHECK_FAILS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, 16), EINVAL);
}

CASE(bad_targets)
{
    siginfo_t info = {.si_code = SI_USER};

    CHECK_FAILS(kill(999999, 0), ESRCH);
    CHECK_FAILS(kill(-999999, 0), ESRCH);
    CHECK_FAILS(kill(getpid(), 65), EINVAL);
    CHECK_FAILS(kill(getpid(), -1), EINVAL);
    CHECK_FAILS(syscall(SYS_tkill, 0, 0), EINVAL);
    CHECK_FAILS(syscall(SYS_tkill, 999999, 0), ESRCH);
    CHECK_FAILS(syscall(SYS_tgkill, getpid(), 0, 0), EINVAL);
    CHECK_FAILS(syscall(SYS_tgkill, 1, getpid(), 0), ESRCH);
    CHECK_EQUAL(syscall(SYS_tgkill, getpid(), getpid(), 0), 0);
    CHECK_FAILS(syscall(SYS_rt_sigqueueinfo, 1, SIGUSR1, &info), EPERM);
    CHECK_FAILS(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, (void *)8), EFAULT);
}

CASE(handlers_run_with_signals_blocked)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_RESETHAND};

    handle(SIGUSR1, 0);
    sigaction(SIGUSR2, &action, NULL);
    raise(SIGUSR2);
    sigaction(SIGUSR2, NULL, &action);
    CHECK(action.sa_handler == SIG_DFL);
    /* What is not known is gone when it is read back. */
    action = (struct sigaction){.sa_handler = SIG_IGN, .sa_flags = 0x400};
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGUSR2, NULL, &action);
    CHECK_EQUAL(action.sa_flags & 0x400, 0);
}

static volatile int depth, deepest, raised;

static void recurse(int signal)
{
    if (++depth > deepest)
        deepest = depth;
    if (raised++ < 2)
        raise(signal);
    depth--;
}

CASE(a_signal_defers_itself_unless_told_not_to)
{
    struct sigaction action = {.sa_handler = recurse};

    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    CHECK_EQUAL(deepest, 1);
    deepest = raised = 0;
    action.sa_flags = SA_NODEFER;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    CHECK_EQUAL(deepest, 3);
}

static char other_stack[64 << 10] __attribute__((aligned(16)));

static bool is_on_other_stack(uintptr_t address)
{
    return address - (uintptr_t)other_stack < sizeof other_stack;
}

static void look_at_stack(int signal)
{
    stack_t stack;

    (void)signal;
    handler_stack = (uintptr_t)&stack;
    sigaltstack(NULL, &stack);
    count = stack.ss_flags;
    if (stack.ss_flags & SS_ONSTACK)
        CHECK_FAILS(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL), EPERM);
}

CASE(an_alternate_stack)
{
    stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof other_stack}, old;
    struct sigaction action = {.sa_handler = look_at_stack, .sa_flags = SA_ONSTACK};

    CHECK_FAILS(sigaltstack(&(stack_t){.ss_sp = other_stack, .ss_size = 100}, NULL), ENOMEM);
    CHECK_FAILS(sigaltstack(&(stack_t){.ss_sp = other_stack, .ss_size = 65536, .ss_flags = 99}, NULL), EINVAL);
    CHECK_FAILS(sigaltstack((void *)8, NULL), EFAULT);
    CHECK_EQUAL(sigaltstack(&stack, NULL), 0);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    CHECK(is_on_other_stack(handler_stack));
    CHECK_EQUAL(count, SS_ONSTACK);
    action.sa_flags = 0;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    CHECK(!is_on_other_stack(handler_stack));
    CHECK_EQUAL(count, 0);
    /* Disarmed while in use, and back afterwards. */
    stack.ss_flags = (int)(1u << 31);
    CHECK_EQUAL(sigaltstack(&stack, NULL), 0);
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    CHECK(is_on_other_stack(handler_stack));
    CHECK_EQUAL(count, SS_DISABLE);
    CHECK_EQUAL(sigaltstack(NULL, &old), 0);
    CHECK(old.ss_sp == other_stack && old.ss_flags == (int)(1u << 31));
}

static void change_registers(int signal, siginfo_t *info, void *argument)
{
    ucontext_t *context = argument;

    (void)signal;
    (void)info;
    /* The floating-point state and what ends the frame. */
    const uint32_t *end = (const void *)((const char *)&context->uc_mcontext.__fpregs + 516);
    if (end[0] != 0 || end[1] != 0 || end[2] != 0)
        count = 100;
    context->uc_mcontext.__gregs[REG_A0] = 1234;
    context->uc_mcontext.__fpregs.__d.__f[10] = 0x4009000000000000ull;
    sigaddset(&context->uc_sigmask, SIGUSR2);
    asm volatile("fmv.d.x fa0, zero\n fmv.d.x fs0, zero" ::: "fa0", "fs0");
}

CASE(a_handler_may_change_what_goes_on)
{
    struct sigaction action = {.sa_sigaction = change_registers, .sa_flags = SA_SIGINFO};
    sigset_t now;

    sigaction(SIGUSR1, &action, NULL);
    register long result asm("a0") = getpid();
    register long signal asm("a1") = SIGUSR1;
    register long number asm("a7") = SYS_kill;
    register double value asm("fa0") = 1.5;
    register double kept asm("fs0") = 2.5;
    asm volatile("ecall" : "+r"(result), "+f"(value), "+f"(kept) : "r"(signal), "r"(number) : "memory");
    long after = result;
    double moved = value, same = kept;
    CHECK_EQUAL(after, 1234);
    CHECK(moved == 3.125);
    CHECK(same == 2.5);
    CHECK_EQUAL(count, 0);
    sigprocmask(SIG_BLOCK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR2));
}

static int ending(void (*function)(void))
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        function();
        _exit(0);
    }
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void return_from_nowhere(void)
{
    asm volatile("li a7, 139\n li sp, 8\n ecall" ::: "a7", "memory");
}

static void return_from_garbage(void)
{
    static char garbage[4096] __attribute__((aligned(16)));

    memset(garbage, 0xff, sizeof garbage);
    asm volatile("mv sp, %0\n li a7, 139\n ecall" ::"r"(garbage) : "a7", "memory");
}

static void overflow_the_stack(void)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};

    sigaction(SIGUSR1, &action, NULL);
    register long process asm("a0") = getpid();
    register long signal asm("a1") = SIGUSR1;
    register long number asm("a7") = SYS_kill;
    asm volatile("li sp, 4096\n ecall" : "+r"(process) : "r"(signal), "r"(number) : "memory");
}

static volatile int *volatile nowhere = (volatile int *)8;

static void block_and_fault(void)
{
    mask(SIG_BLOCK, SIGSEGV);
    *nowhere = 1;
}

static void ignore_and_fault(void)
{
    signal(SIGSEGV, SIG_IGN);
    *nowhere = 1;
}

CASE(hostile_frames_end_the_program)
{
    CHECK_EQUAL(ending(return_from_nowhere), SIGSEGV);
    CHECK_EQUAL(ending(return_from_garbage), SIGSEGV);
    CHECK_EQUAL(ending(overflow_the_stack), SIGSEGV);
    CHECK_EQUAL(ending(block_and_fault), SIGSEGV);
    CHECK_EQUAL(ending(ignore_and_fault), SIGSEGV);
}

static sigjmp_buf escape;

static void leave(int signal, siginfo_t *info, void *context)
{
    note(signal, info, context);
    siglongjmp(escape, 1);
}

static void catch(int signal)
{
    struct sigaction action = {.sa_sigaction = leave, .sa_flags = SA_SIGINFO};

    sigaction(signal, &action, NULL);
}

CASE(faults_tell_what_and_where)
{
    char *page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    static const uint32_t illegal[] __attribute__((section(".text"))) = {0};

    catch(SIGSEGV);
    catch(SIGILL);
    catch(SIGTRAP);
    catch(SIGBUS);
    if (sigsetjmp(escape, 1) == 0)
        *(volatile char *)((uintptr_t)nowhere + 12337) = 1;
    CHECK_EQUAL(last.si_code, SEGV_MAPERR);
    CHECK(last.si_addr == (void *)12345);
    if (sigsetjmp(escape, 1) == 0)
        page[5] = 1;
    CHECK_EQUAL(last.si_code, SEGV_ACCERR);
    CHECK(last.si_addr == page + 5);
    if (sigsetjmp(escape, 1) == 0)
        ((void (*)(void))illegal)();
    CHECK_EQUAL(last.si_signo, SIGILL);
    CHECK_EQUAL(last.si_code, ILL_ILLOPC);
    CHECK(last.si_addr == illegal);
    if (sigsetjmp(escape, 1) == 0)
        asm volatile("ebreak");
    CHECK_EQUAL(last.si_signo, SIGTRAP);
    CHECK_EQUAL(last.si_code, TRAP_BRKPT);
    if (sigsetjmp(escape, 1) == 0)
        ((void (*)(void))page)();
    CHECK_EQUAL(last.si_signo, SIGSEGV);
    CHECK_EQUAL(last.si_code, SEGV_ACCERR);
    int file = open("/signals-test", O_RDWR | O_CREAT, 0600);
    char *beyond = mmap(NULL, 8192, PROT_READ, MAP_SHARED, file, 0);
    if (sigsetjmp(escape, 1) == 0)
        (void)*(volatile char *)(beyond + 4097);
    CHECK_EQUAL(last.si_signo, SIGBUS);
    CHECK_EQUAL(last.si_code, BUS_ADRERR);
    CHECK(last.si_addr == beyond + 4097);
    unlink("/signals-test");
}

static pid_t parent;

/* Sends a signal after a while, and something to end a wait that goes on a while later. */
static pid_t send_later(int signal, int file)
{
    pid_t child;

    parent = getpid();
    if ((child = fork()) == 0) {
        struct timespec moment = {.tv_nsec = 40000000};

        nanosleep(&moment, NULL);
        kill(parent, signal);
        nanosleep(&moment, NULL);
        if (file >= 0)
            write(file, "x", 1);
        _exit(0);
    }
    return child;
}

CASE(reads_are_interrupted_or_made_again)
{
    int ends[2];
    char byte;

    REQUIRE(pipe(ends) == 0);
    handle(SIGUSR1, 0);
    send_later(SIGUSR1, ends[1]);
    CHECK_FAILS(read(ends[0], &byte, 1), EINTR);
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
    handle(SIGUSR1, SA_RESTART);
    send_later(SIGUSR1, ends[1]);
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
    CHECK_EQUAL(count, 2);
    /* One that is ignored, or acts by default without ending anything, interrupts nothing. */
    send_later(SIGCHLD, ends[1]);
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
    signal(SIGUSR1, SIG_IGN);
    send_later(SIGUSR1, ends[1]);
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
}

CASE(some_calls_are_never_made_again)
{
    struct pollfd none = {.fd = -1};
    struct timespec time = {.tv_sec = 20}, rest = {0};
    sigset_t empty;

    sigemptyset(&empty);
    handle(SIGUSR1, SA_RESTART);
    send_later(SIGUSR1, -1);
    CHECK_FAILS(poll(&none, 1, 20000), EINTR);
    send_later(SIGUSR1, -1);
    CHECK_FAILS(nanosleep(&time, &rest), EINTR);
    CHECK(rest.tv_sec == 19 && rest.tv_nsec > 0);
    send_later(SIGUSR1, -1);
    CHECK_EQUAL(clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL), EINTR);
    send_later(SIGUSR1, -1);
    CHECK_FAILS(pause(), EINTR);
    mask(SIG_BLOCK, SIGUSR1);
    send_later(SIGUSR1, -1);
    CHECK_FAILS(sigsuspend(&empty), EINTR);
    sigset_t wanted = set_of(SIGUSR2);
    mask(SIG_UNBLOCK, SIGUSR1);
    send_later(SIGUSR1, -1);
    CHECK_FAILS(sigtimedwait(&wanted, NULL, &time), EINTR);
    CHECK_EQUAL(count, 6);
}

CASE(stopping_goes_unnoticed_by_a_sleep)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        struct timespec time = {.tv_nsec = 200000000};
        long long begin = check_milliseconds();
        int result = nanosleep(&time, NULL);

        _exit(result == 0 && check_milliseconds() - begin >= 200 ? 0 : 1);
    }
    for (int i = 0; i < 3; i++) {
        struct timespec moment = {.tv_nsec = 20000000};

        nanosleep(&moment, NULL);
        kill(child, SIGSTOP);
        CHECK_EQUAL(waitpid(child, &status, WUNTRACED), child);
        kill(child, SIGCONT);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

CASE(sigtimedwait_takes_what_is_pending)
{
    siginfo_t info;
    sigset_t set = set_of(SIGUSR1);
    struct timespec none = {0}, soon = {.tv_nsec = 20000000}, bad = {.tv_nsec = -1};

    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CHECK_FAILS(sigtimedwait(&set, &info, &none), EAGAIN);
    CHECK_FAILS(sigtimedwait(&set, &info, &soon), EAGAIN);
    CHECK_FAILS(sigtimedwait(&set, &info, &bad), EINVAL);
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 5});
    raise(SIGUSR1);
    CHECK_EQUAL(sigtimedwait(&set, &info, &none), SIGUSR1);
    CHECK_EQUAL(sigtimedwait(&set, &info, &none), SIGRTMIN);
    CHECK_EQUAL(info.si_value.sival_int, 5);
    send_later(SIGUSR1, -1);
    CHECK_EQUAL(sigwaitinfo(&set, &info), SIGUSR1);
    CHECK_EQUAL(info.si_code, SI_USER);
}

CASE(the_mask_comes_back_after_sigsuspend)
{
    sigset_t empty, now;

    sigemptyset(&empty);
    handle(SIGUSR1, 0);
    mask(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    CHECK_FAILS(sigsuspend(&empty), EINTR);
    CHECK_EQUAL(count, 1);
    sigprocmask(SIG_BLOCK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR1));
}

static void *take_signals(void *argument)
{
    mask(SIG_UNBLOCK, SIGUSR1);
    while (count == 0)
        sched_yield();
    return argument;
}

CASE(a_thread_that_does_not_block_gets_the_processes_signal)
{
    pthread_t thread;

    handle(SIGUSR1, 0);
    mask(SIG_BLOCK, SIGUSR1);
    REQUIRE(pthread_create(&thread, NULL, take_signals, NULL) == 0);
    kill(getpid(), SIGUSR1);
    pthread_join(thread, NULL);
    CHECK_EQUAL(count, 1);
    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGUSR1));
}

CASE(ignoring_forgets_what_is_pending)
{
    sigset_t pending;

    mask(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGUSR1));
}

CASE(a_kill_ends_every_wait)
{
    int ends[2], status;
    struct timespec moment = {.tv_nsec = 20000000};

    REQUIRE(pipe(ends) == 0);
    for (int kind = 0; kind < 5; kind++) {
        pid_t child = fork();

        if (child == 0) {
            char byte;
            sigset_t all;
            struct timespec time = {.tv_sec = 25};

            sigfillset(&all);
            switch (kind) {
            case 0: read(ends[0], &byte, 1); break;
            case 1: nanosleep(&time, NULL); break;
            case 2: sigsuspend(&all); break;
            case 3: kill(getpid(), SIGSTOP); break;
            case 4:
                if (vfork() == 0)
                    for (;;)
                        pause();
                break;
            }
            _exit(1);
        }
        nanosleep(&moment, NULL);
        kill(child, SIGKILL);
        CHECK_EQUAL(waitpid(child, &status, 0), child);
        CHECK_EQUAL(status, SIGKILL);
    }
}

CASE(permission_is_needed)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        REQUIRE(setresuid(1000, 1000, 1000) == 0);
        CHECK_FAILS(kill(1, 0), EPERM);
        CHECK_FAILS(kill(getppid(), SIGUSR1), EPERM);
        CHECK_EQUAL(kill(getpid(), 0), 0);
        CHECK_FAILS(syscall(SYS_tgkill, getppid(), getppid(), SIGUSR1), EPERM);
        _exit(check_failures);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}
