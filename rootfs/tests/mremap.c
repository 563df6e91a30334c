/* Mappings that grow, shrink and move. */
#include "check.h"

#include <sys/mman.h>

enum { PAGE = 4096 };

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static char *map(size_t pages, int flags)
{
    char *start = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    REQUIRE(start != MAP_FAILED);
    for (size_t i = 0; i < pages; i++)
        start[i * PAGE] = i + 1;
    return start;
}

/* Mapped pages with free ones behind them. */
static char *map_with_room(size_t pages, size_t room)
{
    char *start = map(pages + room, MAP_PRIVATE);

    REQUIRE(munmap(start + pages * PAGE, room * PAGE) == 0);
    return start;
}

static bool is_mapped(const void *address)
{
    unsigned char present;

    return mincore((void *)address, PAGE, &present) == 0;
}

CASE(a_mapping_grows_where_it_is_if_there_is_room)
{
    char *pages = map_with_room(2, 4);

    CHECK(mremap(pages, 2 * PAGE, 5 * PAGE, 0) == pages);
    CHECK(pages[PAGE] == 2 && pages[4 * PAGE] == 0);
    CHECK(!is_mapped(pages + 5 * PAGE));
}

CASE(a_mapping_in_the_way_makes_it_move_or_fail)
{
    char *pages = map(5, MAP_PRIVATE);
    char *moved;

    CHECK_FAILS(mremap(pages, 2 * PAGE, 4 * PAGE, 0), ENOMEM);
    moved = mremap(pages, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
    REQUIRE(moved != MAP_FAILED && moved != pages);
    CHECK(moved[0] == 1 && moved[PAGE] == 2 && moved[3 * PAGE] == 0);
    CHECK(!is_mapped(pages) && pages[2 * PAGE] == 3);
}

CASE(shrinking_unmaps_the_end)
{
    char *pages = map(4, MAP_PRIVATE);

    CHECK(mremap(pages, 4 * PAGE, PAGE, 0) == pages);
    CHECK(is_mapped(pages) && !is_mapped(pages + PAGE));
    CHECK(mremap(pages, PAGE, PAGE, 0) == pages);
}

CASE(shrinking_does_not_care_what_is_in_the_end)
{
    char *pages = map(4, MAP_PRIVATE);

    CHECK(mprotect(pages + 2 * PAGE, PAGE, PROT_READ) == 0);
    CHECK(mremap(pages, 4 * PAGE, PAGE, 0) == pages);
    CHECK(!is_mapped(pages + PAGE) && !is_mapped(pages + 3 * PAGE));
}

CASE(a_mapping_moves_where_it_is_told_to)
{
    char *pages = map(2, MAP_PRIVATE), *target = map(4, MAP_PRIVATE);

    CHECK(mremap(pages, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target + PAGE) == target + PAGE);
    CHECK(target[0] == 1 && target[PAGE] == 1 && target[2 * PAGE] == 2 && target[3 * PAGE] == 4);
    CHECK(!is_mapped(pages));
    CHECK_FAILS(mremap(target, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target + PAGE), EINVAL);
    CHECK_FAILS(mremap(target, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target + 1), EINVAL);
    CHECK_FAILS(mremap(target, PAGE, PAGE, MREMAP_FIXED, pages), EINVAL);
}

CASE(an_empty_mapping_can_stay_behind)
{
    char *pages = map(3, MAP_PRIVATE), *moved, *target;

    moved = mremap(pages, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
    REQUIRE(moved != MAP_FAILED && moved != pages);
    CHECK(moved[0] == 1 && moved[2 * PAGE] == 3);
    CHECK(pages[0] == 0 && pages[2 * PAGE] == 0);
    target = map(3, MAP_PRIVATE);
    CHECK(mremap(moved, 3 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED, target) == target);
    CHECK(target[PAGE] == 2 && moved[PAGE] == 0);
    CHECK_FAILS(mremap(pages, 3 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP), EINVAL);
    CHECK_FAILS(mremap(pages, 3 * PAGE, 3 * PAGE, MREMAP_DONTUNMAP), EINVAL);
}

CASE(a_shared_mapping_can_be_mapped_twice)
{
    char *pages = map(3, MAP_SHARED), *again, *mine = map(1, MAP_PRIVATE);

    again = mremap(pages, 0, 3 * PAGE, MREMAP_MAYMOVE);
    REQUIRE(again != MAP_FAILED && again != pages);
    again[PAGE] = 77;
    CHECK(pages[PAGE] == 77 && again[2 * PAGE] == 3);
    again = mremap(pages + PAGE, 0, PAGE, MREMAP_MAYMOVE);
    CHECK(again != MAP_FAILED && again[0] == 77);
    CHECK_FAILS(mremap(mine, 0, PAGE, MREMAP_MAYMOVE), EINVAL);
}

CASE(bad_arguments_are_refused)
{
    char *pages = map(4, MAP_PRIVATE);

    CHECK_FAILS(mremap(pages + 1, PAGE, PAGE, 0), EINVAL);
    CHECK_FAILS(mremap(pages, PAGE, 0, 0), EINVAL);
    CHECK_FAILS(mremap(pages, PAGE, PAGE, 64), EINVAL);
    CHECK(munmap(pages + 2 * PAGE, PAGE) == 0);
    CHECK_FAILS(mremap(pages + 2 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
    CHECK_FAILS(mremap(pages, 4 * PAGE, 5 * PAGE, MREMAP_MAYMOVE), EFAULT);
    CHECK_FAILS(mremap(pages, PAGE, 1UL << 50, MREMAP_MAYMOVE), ENOMEM);
}

CASE(what_moved_is_shared_with_a_child_as_before)
{
    char *pages = map(2, MAP_SHARED);
    char *moved = mremap(pages, 2 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
    int status;

    REQUIRE(moved != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        moved[PAGE] = 55;
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    CHECK_EQUAL(moved[PAGE], 55);
}
