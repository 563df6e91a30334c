/* Memory that several see: over fork, through files, by reads and writes. */
#include "check.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PAGE = 4096 };

static int file_of(size_t bytes)
{
    int fd;

    mkdir("/tmp", 0777);
    fd = open("/tmp/shared", O_RDWR | O_CREAT | O_TRUNC, 0600);
    REQUIRE(fd >= 0 && ftruncate(fd, bytes) == 0);
    return fd;
}

static void wait_well(pid_t child)
{
    int status;

    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
}

CASE(anonymous_memory_is_shared_over_fork)
{
    volatile int *numbers = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child;

    REQUIRE(numbers != MAP_FAILED);
    numbers[0] = 1;
    child = fork();
    if (child == 0) {
        pid_t grandchild = fork();

        if (grandchild == 0) {
            numbers[PAGE / 4] = numbers[0] + 1;
            _exit(0);
        }
        wait_well(grandchild);
        numbers[2 * PAGE / 4] = numbers[PAGE / 4] + 1;
        _exit(0);
    }
    wait_well(child);
    CHECK(numbers[PAGE / 4] == 2 && numbers[2 * PAGE / 4] == 3);
}

CASE(two_processes_count_together)
{
    enum { ROUNDS = 20000 };
    int *counter = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t children[3];

    REQUIRE(counter != MAP_FAILED);
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            for (int round = 0; round < ROUNDS; round++)
                __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
            _exit(0);
        }
    }
    for (int i = 0; i < 3; i++)
        wait_well(children[i]);
    CHECK_EQUAL(*counter, 3 * ROUNDS);
}

CASE(files_are_one_memory_for_all)
{
    int fd = file_of(2 * PAGE), other = open("/tmp/shared", O_RDWR);
    char *one = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *two = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
    char byte;

    REQUIRE(one != MAP_FAILED && two != MAP_FAILED);
    one[5] = 'a';
    CHECK_EQUAL(two[5], 'a');
    CHECK(pread(other, &byte, 1, 5) == 1 && byte == 'a');
    CHECK_EQUAL(pwrite(fd, "bcd", 3, PAGE - 1), 3);
    CHECK(one[PAGE - 1] == 'b' && two[PAGE + 1] == 'd');
    unlink("/tmp/shared");
}

CASE(a_private_page_follows_the_file_until_it_is_changed)
{
    int fd = file_of(PAGE);
    char *mine = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

    REQUIRE(mine != MAP_FAILED);
    CHECK_EQUAL(mine[0], 0);
    CHECK_EQUAL(pwrite(fd, "x", 1, 0), 1);
    CHECK_EQUAL(mine[0], 'x');
    mine[1] = 'y';
    CHECK_EQUAL(pwrite(fd, "z", 1, 0), 1);
    CHECK_EQUAL(mine[0], 'x');
    unlink("/tmp/shared");
}

CASE(what_a_mapping_stores_behind_the_end_is_not_in_the_file)
{
    int fd = file_of(10);
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char bytes[20];

    REQUIRE(page != MAP_FAILED);
    memset(page, 'x', 20);
    CHECK_EQUAL(pread(fd, bytes, 20, 0), 10);
    CHECK_EQUAL(bytes[9], 'x');
    unlink("/tmp/shared");
}

CASE(synchronising_checks_its_arguments)
{
    int fd = file_of(3 * PAGE);
    char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    REQUIRE(pages != MAP_FAILED);
    pages[0] = 1;
    CHECK(msync(pages, 3 * PAGE, MS_SYNC) == 0);
    CHECK(msync(pages, 3 * PAGE, MS_ASYNC) == 0);
    CHECK(msync(pages, 3 * PAGE, MS_SYNC | MS_INVALIDATE) == 0);
    CHECK(msync(pages, 0, MS_SYNC) == 0);
    CHECK_FAILS(msync(pages + 1, PAGE, MS_SYNC), EINVAL);
    CHECK_FAILS(msync(pages, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
    CHECK_FAILS(msync(pages, PAGE, 64), EINVAL);
    REQUIRE(mlock(pages, PAGE) == 0);
    CHECK_FAILS(msync(pages, PAGE, MS_SYNC | MS_INVALIDATE), EBUSY);
    CHECK(munmap(pages + PAGE, PAGE) == 0);
    CHECK_FAILS(msync(pages, 3 * PAGE, MS_SYNC), ENOMEM);
    unlink("/tmp/shared");
}
