/* execve(2) and execveat(2): what the new program finds, what it keeps, and what becomes of other threads. */
#include "check.h"

#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define SELF "/tests/exec"

extern char **environ;

/* This program is also the one that is executed: the first argument says what it is to look at. */
__attribute__((constructor)) static void be_the_program(int argc, char **argv, char **environment)
{
    sigset_t mask;
    struct sigaction action;

    if (argc < 2)
        return;
    if (strcmp(argv[1], "--arguments") == 0) {
        int ok = argc == 4 && strcmp(argv[0], "zero") == 0 && strcmp(argv[2], "") == 0 &&
                 strcmp(argv[3], "three") == 0 && environment[0] && strcmp(environment[0], "A=b") == 0 &&
                 environment[1] == NULL;
        _exit(ok ? 0 : 1);
    }
    if (strcmp(argv[1], "--auxiliary") == 0) {
        const unsigned char *random = (const void *)getauxval(AT_RANDOM);
        int ok = getauxval(AT_PAGESZ) == 4096 && getauxval(AT_CLKTCK) == 100 && getauxval(AT_UID) == getuid() &&
                 getauxval(AT_EGID) == getegid() && getauxval(AT_SECURE) == 0 && getauxval(AT_SYSINFO_EHDR) &&
                 (getauxval(AT_HWCAP) & 0x112d) == 0x112d && getauxval(AT_PHENT) == sizeof(Elf64_Phdr) &&
                 getauxval(AT_ENTRY) && random && strcmp((const char *)getauxval(AT_EXECFN), SELF) == 0;
        _exit(ok ? 0 : 1);
    }
    if (strcmp(argv[1], "--signals") == 0) {
        sigprocmask(SIG_BLOCK, NULL, &mask);
        int ok = sigismember(&mask, SIGUSR1) && !sigismember(&mask, SIGUSR2);
        sigaction(SIGHUP, NULL, &action);
        ok = ok && action.sa_handler == SIG_IGN;
        sigaction(SIGINT, NULL, &action);
        ok = ok && action.sa_handler == SIG_DFL;
        sigpending(&mask);
        ok = ok && sigismember(&mask, SIGUSR1);
        stack_t stack;
        sigaltstack(NULL, &stack);
        _exit(ok && stack.ss_flags == SS_DISABLE ? 0 : 1);
    }
    if (strcmp(argv[1], "--descriptors") == 0) {
        int kept = atoi(argv[2]), closed = atoi(argv[3]);
        _exit(fcntl(kept, F_GETFD) >= 0 && fcntl(closed, F_GETFD) < 0 ? 0 : 1);
    }
    if (strcmp(argv[1], "--only-thread") == 0)
        _exit(getpid() == atoi(argv[2]) && syscall(SYS_gettid) == getpid() ? 0 : 1);
    if (strcmp(argv[1], "--name") == 0) {
        char name[16];
        prctl(PR_GET_NAME, name);
        _exit(strcmp(name, argv[2]) ? 1 : 0);
    }
    if (strcmp(argv[1], "--script") == 0)
        _exit(argc == 4 && strcmp(argv[3], "more") == 0 ? 0 : 1);
}

static int status_of(pid_t child)
{
    int status;

    if (waitpid(child, &status, 0) != child)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int run(char *const argv[], char *const environment[])
{
    pid_t child = fork();

    if (child == 0) {
        execve(SELF, argv, environment);
        _exit(99);
    }
    return status_of(child);
}

CASE(arguments_and_environment)
{
    CHECK_EQUAL(run((char *[]){"zero", "--arguments", "", "three", NULL}, (char *[]){"A=b", NULL}), 0);
}

CASE(the_auxiliary_vector)
{
    CHECK_EQUAL(run((char *[]){"exec", "--auxiliary", NULL}, environ), 0);
}

CASE(the_name_is_the_files)
{
    CHECK_EQUAL(run((char *[]){"other", "--name", "exec", NULL}, environ), 0);
}

static void nothing(int signal)
{
    (void)signal;
}

CASE(signals_over_exec)
{
    pid_t child = fork();

    if (child == 0) {
        static char stack[16384];
        stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
        sigset_t mask;

        sigaltstack(&alternate, NULL);
        sigemptyset(&mask);
        sigaddset(&mask, SIGUSR1);
        sigprocmask(SIG_BLOCK, &mask, NULL);
        raise(SIGUSR1);
        signal(SIGHUP, SIG_IGN);
        signal(SIGINT, nothing);
        execl(SELF, "exec", "--signals", NULL);
        _exit(99);
    }
    CHECK_EQUAL(status_of(child), 0);
}

CASE(descriptors_over_exec)
{
    char kept[8], closed[8];
    int one = open("/", O_RDONLY), two = open("/", O_RDONLY | O_CLOEXEC);

    snprintf(kept, sizeof kept, "%d", one);
    snprintf(closed, sizeof closed, "%d", two);
    CHECK_EQUAL(run((char *[]){"exec", "--descriptors", kept, closed, NULL}, environ), 0);
    CHECK(fcntl(two, F_GETFD) >= 0);
}

static const char *script(const char *text, mode_t mode)
{
    static const char path[] = "/exec-test-script";
    int file;

    unlink(path);
    file = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    if (file < 0 || write(file, text, strlen(text)) != (ssize_t)strlen(text))
        return NULL;
    close(file);
    return path;
}

CASE(scripts_name_their_interpreter)
{
    const char *path = script("#! " SELF "   --script\nwhatever\n", 0755);

    REQUIRE(path);
    pid_t child = fork();
    if (child == 0) {
        /* argv becomes: the interpreter, its argument, the script, what was given. */
        execl(path, "gone", "more", NULL);
        _exit(99);
    }
    CHECK_EQUAL(status_of(child), 0);
    unlink(path);
}

CASE(what_cannot_be_executed)
{
    char *argv[] = {"x", NULL};
    const char *path;

    CHECK_FAILS(execve("/nowhere", argv, environ), ENOENT);
    CHECK_FAILS(execve("/", argv, environ), EACCES);
    CHECK_FAILS(execve("", argv, environ), ENOENT);
    CHECK_FAILS(execve((char *)8, argv, environ), EFAULT);
    CHECK_FAILS(execve(SELF, (char **)8, environ), EFAULT);
    CHECK_FAILS(execve(SELF "/x", argv, environ), ENOTDIR);
    REQUIRE((path = script("#!/nowhere\n", 0755)));
    CHECK_FAILS(execve(path, argv, environ), ENOENT);
    REQUIRE((path = script("#!" SELF "\n", 0644)));
    CHECK_FAILS(execve(path, argv, environ), EACCES);
    REQUIRE((path = script("neither this nor that\n", 0755)));
    CHECK_FAILS(execve(path, argv, environ), ENOEXEC);
    REQUIRE((path = script("#!/exec-test-script\n", 0755)));
    CHECK_FAILS(execve(path, argv, environ), ELOOP);
    REQUIRE((path = script("\177ELF", 0755)));
    CHECK_FAILS(execve(path, argv, environ), ENOEXEC);
    unlink(path);
    size_t size = 256 << 10;
    char *string = malloc(size);
    memset(string, 'a', size);
    string[size - 1] = 0;
    CHECK_FAILS(execve(SELF, (char *[]){"x", string, NULL}, environ), E2BIG);
}

static int run_at(int directory, const char *path, int flags)
{
    pid_t child = fork();

    if (child == 0) {
        syscall(SYS_execveat, directory, path, (char *[]){"exec", "--name", "x", NULL}, environ, flags);
        _exit(errno);
    }
    return status_of(child);
}

CASE(execveat_finds_programs)
{
    int directory = open("/tests", O_RDONLY | O_DIRECTORY), file = open(SELF, O_RDONLY);

    REQUIRE(directory >= 0 && file >= 0);
    CHECK_EQUAL(run_at(directory, "exec", 0), 1);
    CHECK_EQUAL(run_at(file, "", AT_EMPTY_PATH), 1);
    CHECK_EQUAL(run_at(-1, SELF, 0), 1);
    CHECK_EQUAL(run_at(file, "", 0), ENOENT);
    CHECK_EQUAL(run_at(-1, "exec", 0), EBADF);
    CHECK_EQUAL(run_at(file, "exec", 0), ENOTDIR);
    CHECK_EQUAL(run_at(directory, "exec", 0x40000000), EINVAL);
    unlink("/exec-test-link");
    REQUIRE(symlink(SELF, "/exec-test-link") == 0);
    CHECK_EQUAL(run_at(-1, "/exec-test-link", AT_SYMLINK_NOFOLLOW), ELOOP);
    CHECK_EQUAL(run_at(-1, "/exec-test-link", 0), 1);
    unlink("/exec-test-link");
}

static void *wait_for_ever(void *argument)
{
    for (;;)
        pause();
    return argument;
}

static void *spin_for_ever(void *argument)
{
    volatile long counter = 0;

    for (;;)
        counter++;
    return argument;
}

static void *execute(void *argument)
{
    char number[16];

    snprintf(number, sizeof number, "%d", getpid());
    execl(SELF, "exec", "--only-thread", number, NULL);
    return argument;
}

CASE(the_first_thread_executes_alone)
{
    pid_t child = fork();

    if (child == 0) {
        pthread_t thread;

        for (int i = 0; i < 4; i++)
            pthread_create(&thread, NULL, i % 2 ? spin_for_ever : wait_for_ever, NULL);
        execute(NULL);
        _exit(99);
    }
    CHECK_EQUAL(status_of(child), 0);
}

CASE(another_thread_takes_the_number_over)
{
    for (int round = 0; round < 5; round++) {
        pid_t child = fork();

        if (child == 0) {
            pthread_t thread;

            for (int i = 0; i < 3; i++)
                pthread_create(&thread, NULL, i % 2 ? spin_for_ever : wait_for_ever, NULL);
            pthread_create(&thread, NULL, execute, NULL);
            wait_for_ever(NULL);
        }
        CHECK_EQUAL(status_of(child), 0);
    }
}

CASE(the_first_thread_may_have_ended_before)
{
    pid_t child = fork();

    if (child == 0) {
        pthread_t thread;

        pthread_create(&thread, NULL, execute, NULL);
        syscall(SYS_exit, 3);
    }
    CHECK_EQUAL(status_of(child), 0);
}

CASE(all_threads_execute_at_once)
{
    for (int round = 0; round < 5; round++) {
        pid_t child = fork();

        if (child == 0) {
            pthread_t thread;

            for (int i = 0; i < 4; i++)
                pthread_create(&thread, NULL, execute, NULL);
            execute(NULL);
            wait_for_ever(NULL);
        }
        CHECK_EQUAL(status_of(child), 0);
    }
}

CASE(a_failed_exec_changes_nothing)
{
    pthread_t thread;

    REQUIRE(pthread_create(&thread, NULL, wait_for_ever, NULL) == 0);
    CHECK_FAILS(execl("/nowhere", "x", NULL), ENOENT);
    CHECK_EQUAL(pthread_kill(thread, 0), 0);
}

CASE(vfork_waits_until_exec)
{
    volatile int reached = 0;
    pid_t child = vfork();

    if (child == 0) {
        struct timespec moment = {.tv_nsec = 30000000};
        nanosleep(&moment, NULL);
        reached = 1;
        execl(SELF, "exec", "--name", "exec", NULL);
        _exit(99);
    }
    CHECK_EQUAL(reached, 1);
    CHECK_EQUAL(status_of(child), 0);
}

CASE(who_writes_a_program_and_who_runs_it_exclude_each_other)
{
    char *arguments[] = {"copy", "no case has this name", NULL};
    char bytes[4096];
    ssize_t count;
    int status;

    if (access("/proc/self/exe", W_OK) != 0 && errno == EROFS)
        SKIP("the program lies where nothing can be written");
    CHECK_FAILS(open("/proc/self/exe", O_WRONLY), ETXTBSY);
    CHECK_FAILS(open("/proc/self/exe", O_RDWR), ETXTBSY);
    CHECK_FAILS(open("/proc/self/exe", O_RDONLY | O_TRUNC), ETXTBSY);
    CHECK_FAILS(truncate("/proc/self/exe", 0), ETXTBSY);

    mkdir("/tmp", 0777);
    int source = open("/proc/self/exe", O_RDONLY);
    int writer = open("/tmp/written", O_WRONLY | O_CREAT | O_TRUNC, 0755);
    REQUIRE(source >= 0 && writer >= 0);
    while ((count = read(source, bytes, sizeof bytes)) > 0)
        REQUIRE(write(writer, bytes, count) == count);
    CHECK_FAILS(execv("/tmp/written", arguments), ETXTBSY);
    close(writer);
    pid_t child = fork();
    if (child == 0) {
        execv("/tmp/written", arguments);
        _exit(FAILED);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* It has ended: it may be written again. */
    writer = open("/tmp/written", O_WRONLY);
    CHECK(writer >= 0);
    close(writer);
    unlink("/tmp/written");
}
