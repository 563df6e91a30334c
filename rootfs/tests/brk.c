/* The heap's end. */
#include "check.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { PAGE = 4096 };

static char *set_break(char *end)
{
    return (char *)syscall(SYS_brk, end);
}

static char *aligned_break(void)
{
    char *end = (char *)(((unsigned long)set_break(NULL) + PAGE - 1) & -(long)PAGE);

    REQUIRE(set_break(end) == end);
    return end;
}

CASE(it_moves_up_and_down)
{
    char *end = aligned_break();

    REQUIRE(set_break(end + 5 * PAGE) == end + 5 * PAGE);
    memset(end, 9, 5 * PAGE);
    CHECK(set_break(end + PAGE + 1) == end + PAGE + 1);
    CHECK_EQUAL(end[2 * PAGE - 1], 9);
    CHECK(set_break(end + 5 * PAGE) == end + 5 * PAGE);
    CHECK(end[PAGE] == 9 && end[2 * PAGE] == 0);
    CHECK(set_break(NULL) == end + 5 * PAGE);
}

CASE(what_is_impossible_changes_nothing)
{
    char *end = aligned_break();

    CHECK(set_break((char *)PAGE) == end);
    CHECK(set_break((char *)-1L) == end);
    CHECK(mmap(end + 4 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == end + 4 * PAGE);
    CHECK(set_break(end + 5 * PAGE) == end);
    CHECK(set_break(end + 3 * PAGE) == end + 3 * PAGE);
}

CASE(the_limit_on_data_holds)
{
    struct rlimit limit = {64 * PAGE, 64 * PAGE};
    char *end = aligned_break();

    REQUIRE(setrlimit(RLIMIT_DATA, &limit) == 0);
    CHECK(set_break(end + 100 * PAGE) == end);
    CHECK_FAILS(mmap(NULL, 100 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    CHECK(mmap(NULL, 100 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

CASE(the_limit_on_address_space_holds)
{
    struct rlimit limit = {64 << 20, 64 << 20};
    char *pages;

    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK_FAILS(mmap(NULL, 80 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    pages = mmap(NULL, 40 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    CHECK_FAILS(mremap(pages, 40 << 20, 80 << 20, MREMAP_MAYMOVE), ENOMEM);
}
