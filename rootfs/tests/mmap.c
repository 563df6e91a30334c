/* Mapping and unmapping: where, what, and what is refused. */
#include "check.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

enum { PAGE = 4096 };

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 8
#endif

static char *map(size_t pages, int protection, int flags)
{
    char *start = mmap(NULL, pages * PAGE, protection, flags | MAP_ANONYMOUS, -1, 0);

    if (start == MAP_FAILED) {
        printf("  mmap of %zu pages: %s\n", pages, strerrorname_np(errno));
        exit(FAILED);
    }
    return start;
}

/* A file of so many pages, each full of its number plus one. */
static int numbered_file(int pages, int flags)
{
    char page[PAGE];
    int fd = open("/tmp/numbered", O_RDWR | O_CREAT | O_TRUNC, 0600);

    if (fd < 0) {
        mkdir("/tmp", 0777);
        fd = open("/tmp/numbered", O_RDWR | O_CREAT | O_TRUNC, 0600);
    }
    REQUIRE(fd >= 0);
    for (int i = 0; i < pages; i++) {
        memset(page, i + 1, sizeof page);
        REQUIRE(write(fd, page, sizeof page) == sizeof page);
    }
    close(fd);
    fd = open("/tmp/numbered", flags);
    REQUIRE(fd >= 0);
    return fd;
}

static bool is_mapped(const void *address)
{
    unsigned char present;

    return mincore((void *)address, PAGE, &present) == 0;
}

CASE(anonymous_memory_is_zeros_and_keeps_what_is_stored)
{
    char *pages = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE);

    for (int i = 0; i < 4 * PAGE; i++)
        REQUIRE(pages[i] == 0);
    memset(pages, 7, 4 * PAGE);
    CHECK_EQUAL(pages[4 * PAGE - 1], 7);
    CHECK(munmap(pages, 4 * PAGE) == 0);
    CHECK(!is_mapped(pages));
}

CASE(a_hole_is_cut_out_of_the_middle)
{
    char *pages = map(5, PROT_READ | PROT_WRITE, MAP_PRIVATE);

    memset(pages, 1, 5 * PAGE);
    CHECK(munmap(pages + 2 * PAGE, PAGE) == 0);
    CHECK(is_mapped(pages + PAGE) && !is_mapped(pages + 2 * PAGE) && is_mapped(pages + 3 * PAGE));
    CHECK_EQUAL(pages[PAGE] + pages[4 * PAGE], 2);
    /* Over the hole too, and where nothing is. */
    CHECK(munmap(pages, 5 * PAGE) == 0);
    CHECK(munmap(pages, 5 * PAGE) == 0);
    CHECK_FAILS(munmap(pages + 1, PAGE), EINVAL);
    CHECK_FAILS(munmap(pages, 0), EINVAL);
    CHECK_FAILS(munmap((void *)(1L << 62), PAGE), EINVAL);
}

CASE(a_fixed_mapping_replaces_what_is_there)
{
    char *pages = map(3, PROT_READ | PROT_WRITE, MAP_PRIVATE);

    memset(pages, 5, 3 * PAGE);
    CHECK(mmap(pages + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == pages + PAGE);
    CHECK(pages[0] == 5 && pages[PAGE] == 0 && pages[2 * PAGE] == 5);
    CHECK_FAILS(mmap(pages + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
    CHECK_FAILS(mmap((void *)(1L << 62), PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), ENOMEM);
}

CASE(a_fixed_mapping_can_be_told_to_replace_nothing)
{
    char *pages = map(3, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;

    CHECK(munmap(pages + PAGE, PAGE) == 0);
    CHECK_FAILS(mmap(pages, 2 * PAGE, PROT_READ, flags, -1, 0), EEXIST);
    CHECK_FAILS(mmap(pages + PAGE, 2 * PAGE, PROT_READ, flags, -1, 0), EEXIST);
    CHECK(mmap(pages + PAGE, PAGE, PROT_READ, flags, -1, 0) == pages + PAGE);
}

CASE(a_wish_for_an_address_is_heeded_if_it_is_free)
{
    char *pages = map(2, PROT_READ, MAP_PRIVATE);
    char *other;

    CHECK(munmap(pages, PAGE) == 0);
    CHECK(mmap(pages, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == pages);
    other = mmap(pages, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(other != MAP_FAILED && other != pages);
}

CASE(bad_arguments_are_refused)
{
    CHECK_FAILS(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0), EINVAL);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_GROWSDOWN | MAP_ANONYMOUS, -1, 0), EINVAL);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
    CHECK_FAILS(mmap(NULL, ~0UL - PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    CHECK_FAILS(mmap(NULL, 1UL << 58, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), ENOMEM);
    /* No huge pages were set aside. */
    CHECK_FAILS(mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0), ENOMEM);
}

CASE(access_modes_of_files_limit_what_may_be_mapped)
{
    int fd = numbered_file(1, O_RDONLY), pipe_ends[2];
    int directory = open("/", O_RDONLY);

    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EACCES);
    CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) != MAP_FAILED);
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
    close(fd);
    fd = open("/tmp/numbered", O_WRONLY);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, fd, 0), EACCES);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0), EACCES);
    close(fd);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, directory, 0), ENODEV);
    REQUIRE(pipe(pipe_ends) == 0);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, pipe_ends[0], 0), ENODEV);
}

CASE(flags_are_validated_if_that_is_asked_for)
{
    int fd = numbered_file(1, O_RDWR);

    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0), EOPNOTSUPP);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | 1 << 25, fd, 0), EOPNOTSUPP);
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE, fd, 0) != MAP_FAILED);
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED | 1 << 25, fd, 0) != MAP_FAILED);
}

CASE(files_are_mapped_by_the_page)
{
    int fd = numbered_file(3, O_RDWR);
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, PAGE);

    REQUIRE(pages != MAP_FAILED);
    CHECK(pages[0] == 2 && pages[PAGE] == 3);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 100), EINVAL);
    /* The mapping outlives the descriptor and the name. */
    close(fd);
    unlink("/tmp/numbered");
    CHECK(pages[PAGE - 1] == 2);
}

CASE(private_changes_stay_private)
{
    int fd = numbered_file(2, O_RDWR);
    char *mine = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char byte;

    REQUIRE(mine != MAP_FAILED);
    CHECK_EQUAL(mine[PAGE], 2);
    mine[0] = 99;
    mine[PAGE] = 98;
    CHECK(pread(fd, &byte, 1, 0) == 1 && byte == 1);
    CHECK(pread(fd, &byte, 1, PAGE) == 1 && byte == 2);
    /* What is written to the file later is not seen where a copy was made. */
    CHECK(pwrite(fd, "x", 1, 1) == 1);
    CHECK_EQUAL(mine[0], 99);
}

CASE(zeros_can_be_mapped_from_their_device)
{
    int fd = open("/dev/zero", O_RDWR);
    char *pages;

    if (fd < 0)
        SKIP("there is no /dev/zero");
    pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    REQUIRE(pages != MAP_FAILED);
    CHECK_EQUAL(pages[PAGE], 0);
    pages[PAGE] = 1;
    pages = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(pages != MAP_FAILED);
    CHECK_EQUAL(pages[0], 0);
}

CASE(pages_are_brought_at_once_if_that_is_asked_for)
{
    unsigned char present[300] = {0};
    char *pages = map(300, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE);
    int count = 0;

    REQUIRE(mincore(pages, 300 * PAGE, present) == 0);
    for (int i = 0; i < 300; i++)
        count += present[i] & 1;
    CHECK_EQUAL(count, 300);
    pages = map(300, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    pages[PAGE] = 1;
    REQUIRE(mincore(pages, 300 * PAGE, present) == 0);
    CHECK(!(present[0] & 1) && (present[1] & 1) && !(present[2] & 1));
}

CASE(mincore_checks_its_arguments)
{
    unsigned char present[4];
    char *pages = map(3, PROT_READ, MAP_PRIVATE);

    CHECK_FAILS(mincore(pages + 1, PAGE, present), EINVAL);
    CHECK_FAILS(mincore(pages, PAGE, (void *)8), EFAULT);
    CHECK(munmap(pages + PAGE, PAGE) == 0);
    CHECK_FAILS(mincore(pages, 3 * PAGE, present), ENOMEM);
    CHECK_FAILS(mincore(pages, ~0UL, present), ENOMEM);
}

CASE(a_promise_larger_than_the_machine_is_refused_unless_it_is_none)
{
    size_t huge = 64UL << 30;

    CHECK_FAILS(mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    char *pages = mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(pages != MAP_FAILED);
    pages[huge - 1] = 1;
    CHECK(mmap(NULL, huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

CASE(there_is_a_limit_to_the_number_of_mappings)
{
    enum { MOST = 65530 };
    char *pages = map(2 * (MOST + 100), PROT_READ, MAP_PRIVATE | MAP_NORESERVE);
    long cut = 0;

    while (cut < MOST + 100 && mprotect(pages + 2 * cut * PAGE, PAGE, PROT_NONE) == 0)
        cut++;
    CHECK_EQUAL(errno, ENOMEM);
    CHECK(2 * cut > MOST - 100 && 2 * cut < MOST + 100);
}

CASE(a_read_into_a_mapping_of_the_same_page_works)
{
    int fd = numbered_file(2, O_RDWR);
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    REQUIRE(pages != MAP_FAILED);
    CHECK_EQUAL(pread(fd, pages + 100, 50, PAGE), 50);
    CHECK(pages[99] == 1 && pages[100] == 2 && pages[149] == 2 && pages[150] == 1);
    CHECK_EQUAL(pread(fd, pages, PAGE, 0), PAGE);
    CHECK_EQUAL(pwrite(fd, pages, PAGE, 0), PAGE);
    CHECK_EQUAL(pwrite(fd, pages + PAGE, PAGE, 0), PAGE);
    CHECK_EQUAL(pages[100], 2);
}

/* The last page that a program can have mapped, which depends on the machine's paging. */
static char *map_last_page(void)
{
    const int bits[] = {56, 47, 38};

    for (int i = 0; i < 3; i++) {
        char *wanted = (char *)(1UL << bits[i]) - PAGE;
        char *page = mmap(wanted, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

        if (page == wanted)
            return page;
        if (page != MAP_FAILED)
            munmap(page, PAGE);
    }
    return NULL;
}

/* What reaches beyond the end of user space is refused as a whole, though its begin can be written. */
CASE(ranges_across_the_end_of_user_space_are_refused)
{
    char *page = map_last_page();
    int zero = open("/dev/zero", O_RDWR), ends[2];

    REQUIRE(zero >= 0 && pipe(ends) == 0);
    if (page == NULL)
        SKIP("the last page cannot be mapped");
    memset(page, 'x', PAGE);
    char *last = page + PAGE - 16;
    CHECK_EQUAL(read(zero, last, 16), 16);
    CHECK_EQUAL(write(ends[1], last, 16), 16);
    *last = 'y';
    CHECK_FAILS(read(zero, last, 17), EFAULT);
    CHECK_FAILS(read(zero, last, SIZE_MAX / 2), EFAULT);
    CHECK_FAILS(write(ends[1], last, 17), EFAULT);
    CHECK_FAILS(uname((struct utsname *)last), EFAULT);
    CHECK_FAILS(syscall(SYS_nanosleep, page + PAGE - 8, NULL), EFAULT);
    CHECK_FAILS(syscall(SYS_openat, AT_FDCWD, memset(last, 'x', 16), O_RDONLY), EFAULT);
    CHECK_EQUAL(*last, 'x');
}
