/* What a forked child sees, and what neither sees of the other. */
#include "check.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { PAGE = 4096, PAGES = 200 };

static char *map(size_t pages)
{
    char *start = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(start != MAP_FAILED);
    return start;
}

static void wait_well(pid_t child)
{
    int status;

    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
}

static bool is_full_of(const char *pages, char byte)
{
    for (int i = 0; i < PAGES * PAGE; i += 64)
        if (pages[i] != byte)
            return false;
    return true;
}

CASE(each_has_its_own_copy)
{
    char *pages = map(PAGES);
    int ends[2];
    char byte;

    REQUIRE(pipe(ends) == 0);
    memset(pages, 1, PAGES * PAGE);
    pid_t child = fork();
    if (child == 0) {
        /* The parent changes everything first. */
        read(ends[0], &byte, 1);
        bool was_old = is_full_of(pages, 1);
        memset(pages, 3, PAGES * PAGE);
        _exit(!was_old || !is_full_of(pages, 3));
    }
    memset(pages, 2, PAGES * PAGE);
    write(ends[1], "x", 1);
    wait_well(child);
    CHECK(is_full_of(pages, 2));
}

CASE(generations_of_copies)
{
    char *pages = map(PAGES);

    memset(pages, 1, PAGES * PAGE);
    for (int generation = 2; generation < 8; generation++) {
        pid_t child = fork();

        if (child != 0) {
            wait_well(child);
            CHECK(is_full_of(pages, generation - 1));
            if (generation > 2)
                _exit(check_failures != 0);
            return;
        }
        memset(pages, generation, PAGES * PAGE);
    }
    _exit(0);
}

CASE(changes_of_mappings_stay_apart)
{
    char *pages = map(4);

    memset(pages, 5, 4 * PAGE);
    pid_t child = fork();
    if (child == 0) {
        munmap(pages + PAGE, PAGE);
        mprotect(pages, PAGE, PROT_NONE);
        _exit(pages[2 * PAGE] != 5);
    }
    wait_well(child);
    CHECK(pages[0] == 5 && pages[PAGE] == 5);
    pages[0] = 6;
}

CASE(a_parked_page_is_inherited)
{
    char *page = map(1);

    page[0] = 9;
    REQUIRE(mprotect(page, PAGE, PROT_NONE) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(mprotect(page, PAGE, PROT_READ | PROT_WRITE) != 0 || page[0] != 9 || (page[0] = 8) != 8);
    wait_well(child);
    REQUIRE(mprotect(page, PAGE, PROT_READ) == 0);
    CHECK_EQUAL(page[0], 9);
}

CASE(system_calls_copy_on_write_too)
{
    char *page = map(1);
    int ends[2];

    REQUIRE(pipe(ends) == 0);
    page[0] = 'p';
    pid_t child = fork();
    if (child == 0) {
        REQUIRE(write(ends[1], "c", 1) == 1 && read(ends[0], page, 1) == 1);
        _exit(page[0] != 'c');
    }
    wait_well(child);
    CHECK_EQUAL(page[0], 'p');
}

CASE(another_process_can_be_read_and_written)
{
    char *page = map(2), bytes[8] = "";
    int to_child[2], from_child[2];
    char byte;

    REQUIRE(pipe(to_child) == 0 && pipe(from_child) == 0);
    pid_t child = fork();
    if (child == 0) {
        strcpy(page, "child");
        write(from_child[1], "x", 1);
        read(to_child[0], &byte, 1);
        _exit(strcmp(page, "CHild") != 0);
    }
    read(from_child[0], &byte, 1);
    struct iovec own = {bytes, 6}, other = {page, 6};
    CHECK_EQUAL(process_vm_readv(child, &own, 1, &other, 1, 0), 6);
    CHECK(strcmp(bytes, "child") == 0 && page[0] == 0);
    own = (struct iovec){"CH", 2};
    CHECK_EQUAL(process_vm_writev(child, &own, 1, &other, 1, 0), 2);
    other.iov_base = (void *)8;
    CHECK_FAILS(process_vm_readv(child, &own, 1, &other, 1, 0), EFAULT);
    CHECK_FAILS(process_vm_readv(child, &own, 1, &other, 1, 1), EINVAL);
    CHECK_FAILS(process_vm_readv(0x3fffff, &own, 1, &other, 1, 0), ESRCH);
    write(to_child[1], "x", 1);
    wait_well(child);
}
