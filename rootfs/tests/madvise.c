/* Advice on memory that changes what is in it, or what becomes of it. */
#include "check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PAGE = 4096, PAGES = 4 };

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

static char *map(int flags)
{
    char *start = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    REQUIRE(start != MAP_FAILED);
    memset(start, 7, PAGES * PAGE);
    return start;
}

static int count_present(void *pages)
{
    unsigned char present[PAGES];
    int count = 0;

    REQUIRE(mincore(pages, PAGES * PAGE, present) == 0);
    for (int i = 0; i < PAGES; i++)
        count += present[i] & 1;
    return count;
}

/* What a child sees at an address: a byte, or minus the signal that ended it. */
static int seen_by_child(volatile char *address)
{
    int status;
    pid_t child = fork();

    if (child == 0)
        _exit(*address);
    REQUIRE(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

CASE(what_is_not_needed_is_zeros_again)
{
    char *pages = map(MAP_PRIVATE);

    CHECK(madvise(pages + PAGE, 2 * PAGE, MADV_DONTNEED) == 0);
    CHECK_EQUAL(count_present(pages), 2);
    CHECK(pages[0] == 7 && pages[PAGE] == 0 && pages[2 * PAGE] == 0 && pages[3 * PAGE] == 7);
}

CASE(what_is_shared_stays)
{
    char *pages = map(MAP_SHARED);

    CHECK(madvise(pages, PAGES * PAGE, MADV_DONTNEED) == 0);
    CHECK_EQUAL(pages[PAGE], 7);
}

CASE(a_file_shows_again_below_private_changes)
{
    char *pages;
    int fd;

    mkdir("/tmp", 0777);
    fd = open("/tmp/advice", O_RDWR | O_CREAT | O_TRUNC, 0600);
    unlink("/tmp/advice");
    REQUIRE(fd >= 0 && write(fd, "abc", 3) == 3);
    pages = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    REQUIRE(pages != MAP_FAILED);
    pages[0] = 'x';
    CHECK(madvise(pages, PAGE, MADV_DONTNEED) == 0);
    CHECK_EQUAL(pages[0], 'a');
    CHECK_FAILS(madvise(pages, PAGE, MADV_FREE), EINVAL);
    CHECK(madvise(pages, PAGE, MADV_WILLNEED) == 0);
    CHECK(madvise(pages, PAGE, MADV_PAGEOUT) == 0);
    CHECK(madvise(pages, PAGE, MADV_COLD) == 0);
    CHECK_EQUAL(pages[0], 'a');
}

CASE(what_is_free_keeps_or_loses_its_content)
{
    char *pages = map(MAP_PRIVATE), *shared = map(MAP_SHARED);

    CHECK(madvise(pages, PAGES * PAGE, MADV_FREE) == 0);
    CHECK(pages[0] == 7 || pages[0] == 0);
    pages[0] = 9;
    CHECK_EQUAL(pages[0], 9);
    CHECK_FAILS(madvise(shared, PAGE, MADV_FREE), EINVAL);
}

CASE(a_child_gets_what_the_parent_says)
{
    char *pages = map(MAP_PRIVATE), *shared = map(MAP_SHARED);

    CHECK(madvise(pages, PAGE, MADV_DONTFORK) == 0);
    CHECK(madvise(pages + PAGE, PAGE, MADV_WIPEONFORK) == 0);
    CHECK_EQUAL(seen_by_child(pages), -SIGSEGV);
    CHECK_EQUAL(seen_by_child(pages + PAGE), 0);
    CHECK_EQUAL(seen_by_child(pages + 2 * PAGE), 7);
    CHECK(pages[0] == 7 && pages[PAGE] == 7);
    CHECK(madvise(pages, PAGE, MADV_DOFORK) == 0);
    CHECK(madvise(pages + PAGE, PAGE, MADV_KEEPONFORK) == 0);
    CHECK_EQUAL(seen_by_child(pages), 7);
    CHECK_EQUAL(seen_by_child(pages + PAGE), 7);
    CHECK_FAILS(madvise(shared, PAGE, MADV_WIPEONFORK), EINVAL);
}

CASE(a_hole_is_made_in_what_is_shared)
{
    char *pages = map(MAP_SHARED), *mine = map(MAP_PRIVATE);

    CHECK(madvise(pages + PAGE, PAGE, MADV_REMOVE) == 0);
    CHECK(pages[0] == 7 && pages[PAGE] == 0 && pages[2 * PAGE] == 7);
    CHECK_FAILS(madvise(mine, PAGE, MADV_REMOVE), EINVAL);
}

CASE(pages_are_brought)
{
    char *pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(pages != MAP_FAILED);
    CHECK(madvise(pages, 2 * PAGE, MADV_POPULATE_WRITE) == 0);
    CHECK_EQUAL(count_present(pages), 2);
    CHECK(madvise(pages + 2 * PAGE, PAGE, MADV_POPULATE_READ) == 0);
    CHECK_EQUAL(count_present(pages), 3);
    CHECK(mprotect(pages, PAGE, PROT_READ) == 0);
    CHECK_FAILS(madvise(pages, PAGE, MADV_POPULATE_WRITE), EINVAL);
    CHECK(munmap(pages, PAGE) == 0);
    CHECK_FAILS(madvise(pages, 2 * PAGE, MADV_POPULATE_READ), ENOMEM);
}

CASE(holes_are_told_after_the_rest_is_done)
{
    char *pages = map(MAP_PRIVATE);

    CHECK(munmap(pages + PAGE, PAGE) == 0);
    CHECK_FAILS(madvise(pages, PAGES * PAGE, MADV_DONTNEED), ENOMEM);
    CHECK(pages[0] == 0 && pages[3 * PAGE] == 0);
    CHECK_FAILS(madvise(pages + PAGE, PAGE, MADV_NORMAL), ENOMEM);
}

CASE(arguments_are_checked)
{
    char *pages = map(MAP_PRIVATE);

    CHECK_FAILS(madvise(pages + 1, PAGE, MADV_NORMAL), EINVAL);
    CHECK_FAILS(madvise(pages, PAGE, 12345), EINVAL);
    CHECK_FAILS(madvise(pages, ~0UL - PAGE, MADV_NORMAL), EINVAL);
    CHECK(madvise(pages, 0, MADV_DONTNEED) == 0);
    CHECK(madvise(pages, PAGE, MADV_RANDOM) == 0);
    CHECK(madvise(pages, PAGE, MADV_SEQUENTIAL) == 0);
    CHECK(madvise(pages, PAGE, MADV_NORMAL) == 0);
    CHECK(madvise(pages, PAGE, MADV_DONTDUMP) == 0);
    CHECK(madvise(pages, PAGE, MADV_DODUMP) == 0);
}

CASE(locked_memory_is_left_alone)
{
    char *pages = map(MAP_PRIVATE);

    REQUIRE(mlock(pages, PAGE) == 0);
    CHECK_FAILS(madvise(pages, PAGE, MADV_DONTNEED), EINVAL);
    CHECK_EQUAL(pages[0], 7);
    CHECK_FAILS(madvise(pages, PAGE, MADV_COLD), EINVAL);
    CHECK(madvise(pages, PAGE, MADV_DONTNEED_LOCKED) == 0);
    CHECK_EQUAL(pages[0], 0);
}
