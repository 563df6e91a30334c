/* What may be done with memory, and what happens to whoever does something else. */
#include "check.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PAGE = 4096 };

static sigjmp_buf back;
static volatile siginfo_t seen;

static void note(int signal, siginfo_t *info, __attribute__((unused)) void *context)
{
    seen = *info;
    siglongjmp(back, signal);
}

/* The si_code of the signal that an access brings, or 0. */
static int fault_of(volatile char *address, bool stores)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_NODEFER};

    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    if (sigsetjmp(back, 1))
        return seen.si_addr == address ? seen.si_code : -1;
    if (stores)
        *address = 1;
    else
        (void)*address;
    return 0;
}

static char *map(size_t pages, int protection)
{
    char *start = mmap(NULL, pages * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(start != MAP_FAILED);
    return start;
}

CASE(rights_are_taken_and_given_back)
{
    char *pages = map(3, PROT_READ | PROT_WRITE);

    memset(pages, 4, 3 * PAGE);
    CHECK(mprotect(pages + PAGE, PAGE, PROT_READ) == 0);
    CHECK_EQUAL(fault_of(pages + PAGE + 5, true), SEGV_ACCERR);
    CHECK_EQUAL(fault_of(pages + PAGE + 5, false), 0);
    CHECK(mprotect(pages, 3 * PAGE, PROT_NONE) == 0);
    CHECK_EQUAL(fault_of(pages + 2 * PAGE + 9, false), SEGV_ACCERR);
    CHECK(mprotect(pages, 3 * PAGE, PROT_READ | PROT_WRITE) == 0);
    CHECK(pages[0] == 4 && pages[PAGE + 5] == 4 && pages[3 * PAGE - 1] == 4);
    CHECK_EQUAL(fault_of(pages + PAGE, true), 0);
}

CASE(write_only_memory_can_be_read)
{
    char *page = map(1, PROT_WRITE);

    CHECK_EQUAL(fault_of(page, true), 0);
    CHECK_EQUAL(page[0], 1);
}

CASE(a_hole_ends_the_change_with_an_error)
{
    char *pages = map(3, PROT_READ | PROT_WRITE);

    CHECK(munmap(pages + PAGE, PAGE) == 0);
    CHECK_FAILS(mprotect(pages, 3 * PAGE, PROT_READ), ENOMEM);
    CHECK_EQUAL(fault_of(pages, true), SEGV_ACCERR);
    CHECK_EQUAL(fault_of(pages + 2 * PAGE, true), 0);
    CHECK_EQUAL(fault_of(pages + PAGE, false), SEGV_MAPERR);
    CHECK_FAILS(mprotect(pages + PAGE, PAGE, PROT_READ), ENOMEM);
}

CASE(bad_arguments_are_refused)
{
    char *page = map(1, PROT_READ);

    CHECK_FAILS(mprotect(page + 1, PAGE, PROT_READ), EINVAL);
    CHECK_FAILS(mprotect(page, PAGE, 0x4000), EINVAL);
    CHECK_FAILS(mprotect(page, PAGE, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP), EINVAL);
    CHECK_FAILS(mprotect(page, PAGE, PROT_READ | PROT_GROWSDOWN), EINVAL);
    CHECK_FAILS(mprotect(page, PAGE, PROT_READ | PROT_GROWSUP), EINVAL);
    CHECK(mprotect(page, 0, PROT_READ) == 0);
    CHECK(mprotect(page, PAGE, PROT_READ | 8) == 0);
}

CASE(a_file_that_was_opened_for_reading_never_becomes_writable)
{
    int fd;
    char *page;

    mkdir("/tmp", 0777);
    fd = open("/tmp/readonly", O_RDWR | O_CREAT, 0600);
    REQUIRE(fd >= 0 && ftruncate(fd, PAGE) == 0);
    close(fd);
    fd = open("/tmp/readonly", O_RDONLY);
    page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    REQUIRE(page != MAP_FAILED);
    CHECK_FAILS(mprotect(page, PAGE, PROT_READ | PROT_WRITE), EACCES);
    page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
    REQUIRE(page != MAP_FAILED);
    CHECK(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0);
    page[0] = 1;
    unlink("/tmp/readonly");
}

CASE(code_can_be_made_and_run)
{
    /* li a0, 42; ret */
    static const unsigned int code[] = {0x02a00513, 0x00008067};
    char *page = map(1, PROT_READ | PROT_WRITE);

    memcpy(page, code, sizeof code);
    CHECK(mprotect(page, PAGE, PROT_READ | PROT_EXEC) == 0);
    __builtin___clear_cache(page, page + sizeof code);
    CHECK_EQUAL(((int (*)(void))page)(), 42);
    CHECK(mprotect(page, PAGE, PROT_READ) == 0);
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    if (sigsetjmp(back, 1) == 0) {
        ((int (*)(void))page)();
        CHECK(!"data was executed");
    }
    CHECK(seen.si_code == SEGV_ACCERR && seen.si_addr == page);
}

CASE(a_change_downwards_reaches_the_start_of_a_stack)
{
    char *pages = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0);

    REQUIRE(pages != MAP_FAILED);
    memset(pages, 1, 4 * PAGE);
    CHECK(mprotect(pages + 2 * PAGE, PAGE, PROT_READ | PROT_GROWSDOWN) == 0);
    CHECK_EQUAL(fault_of(pages, true), SEGV_ACCERR);
    CHECK_EQUAL(fault_of(pages + 2 * PAGE, true), SEGV_ACCERR);
    CHECK_EQUAL(fault_of(pages + 3 * PAGE, true), 0);
}
