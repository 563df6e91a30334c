/* Resource limits: getting, setting, inheriting, and what they do. */
#include "check.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

CASE(limits_are_read_and_set)
{
    struct rlimit limit, old;

    for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
        CHECK_EQUAL(getrlimit(resource, &limit), 0);
        CHECK_EQUAL(syscall(SYS_getrlimit, resource, &old), 0);
        CHECK(limit.rlim_cur == old.rlim_cur && limit.rlim_max == old.rlim_max);
        CHECK(limit.rlim_cur <= limit.rlim_max);
    }
    CHECK_FAILS(getrlimit(16, &limit), EINVAL);
    CHECK_FAILS(prlimit(0, 16, NULL, &limit), EINVAL);
    CHECK_FAILS(prlimit(999999, RLIMIT_CORE, NULL, &limit), ESRCH);
    CHECK_FAILS(syscall(SYS_prlimit64, 0, RLIMIT_CORE, 8, NULL), EFAULT);
    limit = (struct rlimit){.rlim_cur = 2, .rlim_max = 1};
    CHECK_FAILS(setrlimit(RLIMIT_CORE, &limit), EINVAL);
    limit = (struct rlimit){.rlim_cur = 1, .rlim_max = 2};
    CHECK_EQUAL(prlimit(0, RLIMIT_CORE, &limit, &old), 0);
    CHECK_EQUAL(prlimit(getpid(), RLIMIT_CORE, NULL, &old), 0);
    CHECK(old.rlim_cur == 1 && old.rlim_max == 2);
    CHECK_EQUAL(getrlimit(RLIMIT_STACK, &limit), 0);
    CHECK_EQUAL(limit.rlim_cur, 8 << 20);
    CHECK(limit.rlim_max == RLIM_INFINITY);
}

CASE(a_normal_user_lowers_only)
{
    struct rlimit limit = {.rlim_cur = 10, .rlim_max = 20};
    int status;
    pid_t child = fork();

    if (child == 0) {
        setrlimit(RLIMIT_MEMLOCK, &limit);
        REQUIRE(setresuid(1000, 1000, 1000) == 0);
        limit.rlim_cur = 20;
        CHECK_EQUAL(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
        limit.rlim_max = 30;
        CHECK_FAILS(setrlimit(RLIMIT_MEMLOCK, &limit), EPERM);
        CHECK_FAILS(prlimit(getppid(), RLIMIT_CORE, NULL, &limit), EPERM);
        _exit(check_failures);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

CASE(children_inherit)
{
    struct rlimit limit = {.rlim_cur = 77, .rlim_max = 78};
    int status;

    setrlimit(RLIMIT_CORE, &limit);
    pid_t child = fork();
    if (child == 0) {
        getrlimit(RLIMIT_CORE, &limit);
        int ok = limit.rlim_cur == 77;
        limit.rlim_cur = 5;
        setrlimit(RLIMIT_CORE, &limit);
        _exit(ok ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    getrlimit(RLIMIT_CORE, &limit);
    CHECK_EQUAL(limit.rlim_cur, 77);
}

CASE(open_files)
{
    struct rlimit limit = {.rlim_cur = 10, .rlim_max = 1024};

    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int last = -1, next;
    while ((next = dup(0)) >= 0)
        last = next;
    CHECK_EQUAL(errno, EMFILE);
    CHECK_EQUAL(last, 9);
    CHECK_FAILS(dup2(0, 10), EBADF);
    CHECK_FAILS(fcntl(0, F_DUPFD, 10), EINVAL);
    CHECK_FAILS(open("/", O_RDONLY), EMFILE);
}

CASE(address_space)
{
    struct rlimit limit = {.rlim_cur = 64 << 20, .rlim_max = 64 << 20};

    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK(mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    CHECK_FAILS(mmap(NULL, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
}

CASE(data)
{
    struct rlimit limit = {.rlim_cur = 16 << 20, .rlim_max = 16 << 20};

    REQUIRE(setrlimit(RLIMIT_DATA, &limit) == 0);
    CHECK_FAILS(sbrk(32 << 20), ENOMEM);
}

CASE(processes_of_a_user)
{
    struct rlimit limit = {.rlim_cur = 3, .rlim_max = 3};
    int status;
    pid_t child = fork();

    if (child == 0) {
        REQUIRE(setrlimit(RLIMIT_NPROC, &limit) == 0);
        REQUIRE(setresuid(1234, 1234, 1234) == 0);
        int made = 0;
        pid_t own;
        while (made < 10 && (own = fork()) >= 0) {
            if (own == 0)
                for (;;)
                    pause();
            made++;
        }
        int ok = made == 2 && errno == EAGAIN;
        signal(SIGTERM, SIG_IGN);
        kill(0, 0);
        kill(-1, SIGTERM);
        _exit(ok ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static volatile int signals;

static void count(int signal)
{
    (void)signal;
    signals++;
}

CASE(cpu_time)
{
    struct rlimit limit = {.rlim_cur = 1, .rlim_max = 2};
    int status;
    pid_t child = fork();

    if (child == 0) {
        signal(SIGXCPU, count);
        setrlimit(RLIMIT_CPU, &limit);
        while (signals == 0)
            ;
        signal(SIGXCPU, SIG_IGN);
        for (;;)
            ;
    }
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, SIGKILL);
}

CASE(file_size)
{
    struct rlimit limit = {.rlim_cur = 1000, .rlim_max = 1000};
    static char bytes[800];
    int file = open("/limits-test", O_RDWR | O_CREAT | O_TRUNC, 0600);

    REQUIRE(file >= 0);
    signal(SIGXFSZ, count);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK_EQUAL(write(file, bytes, 800), 800);
    CHECK_EQUAL(write(file, bytes, 800), 200);
    CHECK_EQUAL(signals, 0);
    CHECK_FAILS(write(file, bytes, 800), EFBIG);
    CHECK_EQUAL(signals, 1);
    CHECK_FAILS(pwrite(file, bytes, 1, 5000), EFBIG);
    CHECK_FAILS(ftruncate(file, 1001), EFBIG);
    CHECK_EQUAL(signals, 3);
    CHECK_EQUAL(ftruncate(file, 900), 0);
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(write(ends[1], bytes, 800), 800);
    unlink("/limits-test");
}
