/* Memory that stays in memory, and how much of it there may be. */
#include "check.h"

#include <sys/mman.h>
#include <sys/resource.h>

enum { PAGE = 4096 };

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

static char *map(size_t pages, int flags)
{
    char *start = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(start != MAP_FAILED);
    return start;
}

static int present(char *pages, size_t count)
{
    unsigned char bytes[64];
    int sum = 0;

    REQUIRE(mincore(pages, count * PAGE, bytes) == 0);
    for (size_t i = 0; i < count; i++)
        sum += bytes[i] & 1;
    return sum;
}

static void become_a_user_who_may_lock(size_t bytes)
{
    struct rlimit limit = {bytes, bytes};

    REQUIRE(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    REQUIRE(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0);
}

CASE(locking_brings_the_pages)
{
    char *pages = map(8, 0);

    CHECK(mlock(pages + 100, 2 * PAGE) == 0);
    CHECK_EQUAL(present(pages, 8), 3);
    CHECK(munlock(pages, 8 * PAGE) == 0);
    CHECK(mlock2(pages, 8 * PAGE, MLOCK_ONFAULT) == 0);
    CHECK_EQUAL(present(pages, 8), 3);
    CHECK_EQUAL(present(map(5, MAP_LOCKED), 5), 5);
}

CASE(holes_and_arguments_are_errors)
{
    char *pages = map(3, 0);
    char *nothing = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(munmap(pages + PAGE, PAGE) == 0);
    CHECK_FAILS(mlock(pages, 3 * PAGE), ENOMEM);
    CHECK_FAILS(munlock(pages, 3 * PAGE), ENOMEM);
    CHECK_FAILS(mlock(nothing, PAGE), ENOMEM);
    CHECK_FAILS(mlock2(pages, PAGE, 8), EINVAL);
    CHECK(mlock(pages, 0) == 0);
    CHECK_FAILS(mlockall(0), EINVAL);
    CHECK_FAILS(mlockall(64), EINVAL);
    CHECK_FAILS(mlockall(MCL_ONFAULT), EINVAL);
}

CASE(everything_is_locked_now_or_later)
{
    char *before = map(4, 0);

    CHECK(mlockall(MCL_CURRENT) == 0);
    CHECK_EQUAL(present(before, 4), 4);
    CHECK_EQUAL(present(map(4, 0), 4), 0);
    CHECK(mlockall(MCL_FUTURE) == 0);
    CHECK_EQUAL(present(map(4, 0), 4), 4);
    CHECK(mlockall(MCL_FUTURE | MCL_ONFAULT) == 0);
    CHECK_EQUAL(present(map(4, 0), 4), 0);
    CHECK(munlockall() == 0);
    CHECK_EQUAL(present(map(4, 0), 4), 0);
}

CASE(a_user_has_a_limit)
{
    char *pages = map(16, 0);

    become_a_user_who_may_lock(8 * PAGE);
    CHECK(mlock(pages, 8 * PAGE) == 0);
    /* What is locked already counts once. */
    CHECK(mlock(pages, 4 * PAGE) == 0);
    CHECK_FAILS(mlock(pages + 8 * PAGE, PAGE), ENOMEM);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0), EAGAIN);
    CHECK_FAILS(mlockall(MCL_CURRENT), ENOMEM);
    CHECK(munlock(pages, 2 * PAGE) == 0);
    CHECK(mlock(pages + 8 * PAGE, 2 * PAGE) == 0);
}

CASE(a_user_without_a_limit_above_zero_may_lock_nothing)
{
    char *pages = map(1, 0);

    become_a_user_who_may_lock(0);
    CHECK_FAILS(mlock(pages, PAGE), EPERM);
    CHECK_FAILS(mlockall(MCL_CURRENT), EPERM);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0), EPERM);
    CHECK(munlock(pages, PAGE) == 0);
}

CASE(a_child_has_locked_nothing)
{
    char *pages = map(4, 0);
    int status;

    become_a_user_who_may_lock(4 * PAGE);
    REQUIRE(mlock(pages, 4 * PAGE) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(mlock(map(4, 0), 4 * PAGE) != 0);
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_EQUAL(status, 0);
}
