/* Faults: which signal, which code, which address. */
#include "check.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PAGE = 4096 };

static sigjmp_buf back;
static volatile char *volatile nowhere = (char *)8;
static volatile siginfo_t seen;

static void note(int signal, siginfo_t *info, __attribute__((unused)) void *context)
{
    seen = *info;
    siglongjmp(back, signal);
}

/* The signal that an access brings, or 0; what it says is in `seen`. */
static int access_to(volatile char *address, bool stores)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_NODEFER};
    int signal;

    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    memset((void *)&seen, 0, sizeof seen);
    if ((signal = sigsetjmp(back, 1)))
        return signal;
    if (stores)
        *address = 1;
    else
        (void)*address;
    return 0;
}

static int file_of(size_t bytes)
{
    int fd;

    mkdir("/tmp", 0777);
    fd = open("/tmp/faults", O_RDWR | O_CREAT | O_TRUNC, 0600);
    REQUIRE(fd >= 0 && ftruncate(fd, bytes) == 0);
    unlink("/tmp/faults");
    return fd;
}

CASE(nothing_there)
{
    CHECK_EQUAL(access_to((char *)8, false), SIGSEGV);
    CHECK(seen.si_code == SEGV_MAPERR && seen.si_addr == (void *)8);
    CHECK_EQUAL(access_to((char *)0x1234567, true), SIGSEGV);
    CHECK(seen.si_code == SEGV_MAPERR && seen.si_addr == (void *)0x1234567);
    CHECK_EQUAL(seen.si_signo, SIGSEGV);
}

CASE(the_kernels_half)
{
    CHECK_EQUAL(access_to((char *)0xffffffff80000000, false), SIGSEGV);
}

CASE(not_allowed)
{
    char *page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK_EQUAL(access_to(page + 33, false), SIGSEGV);
    CHECK(seen.si_code == SEGV_ACCERR && seen.si_addr == page + 33);
    CHECK_EQUAL(access_to((char *)access_to, true), SIGSEGV);
    CHECK(seen.si_code == SEGV_ACCERR && seen.si_addr == (void *)access_to);
}

CASE(behind_the_end_of_a_file)
{
    int fd = file_of(PAGE + 10);
    char *pages = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    REQUIRE(pages != MAP_FAILED);
    CHECK_EQUAL(access_to(pages + 2 * PAGE - 1, false), 0);
    CHECK_EQUAL(access_to(pages + 2 * PAGE + 7, false), SIGBUS);
    CHECK(seen.si_code == BUS_ADRERR && seen.si_addr == pages + 2 * PAGE + 7);
    CHECK_EQUAL(access_to(pages + 3 * PAGE, true), SIGBUS);
    CHECK_EQUAL(seen.si_code, BUS_ADRERR);
    /* When the file has grown the page is there. */
    CHECK(ftruncate(fd, 3 * PAGE) == 0);
    CHECK_EQUAL(access_to(pages + 2 * PAGE + 7, true), 0);
}

CASE(a_file_that_shrinks_takes_its_pages_along)
{
    int fd = file_of(3 * PAGE);
    char *shared = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *mine = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

    REQUIRE(shared != MAP_FAILED && mine != MAP_FAILED);
    memset(shared, 5, 3 * PAGE);
    mine[2 * PAGE] = 6;
    CHECK(ftruncate(fd, 100) == 0);
    CHECK_EQUAL(access_to(shared + PAGE, false), SIGBUS);
    CHECK_EQUAL(access_to(mine + 2 * PAGE, false), SIGBUS);
    CHECK(shared[99] == 5 && shared[100] == 0);
    CHECK(ftruncate(fd, 3 * PAGE) == 0);
    CHECK(access_to(shared + 2 * PAGE, false) == 0 && shared[2 * PAGE] == 0);
}

CASE(system_calls_say_so_instead)
{
    int fd = file_of(PAGE), ends[2];
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    REQUIRE(pages != MAP_FAILED && pipe(ends) == 0);
    CHECK_FAILS(write(ends[1], pages + PAGE, 10), EFAULT);
    CHECK_EQUAL(write(ends[1], "0123456789", 10), 10);
    CHECK_FAILS(read(ends[0], pages + PAGE, 10), EFAULT);
    CHECK_FAILS(write(ends[1], (void *)8, 10), EFAULT);
}

CASE(without_a_handler_it_is_the_end)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        *nowhere = 1;
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    child = fork();
    if (child == 0) {
        sigset_t all;

        /* Neither blocking nor ignoring helps. */
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, NULL);
        signal(SIGSEGV, SIG_IGN);
        *nowhere = 1;
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}
