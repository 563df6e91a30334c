/* Files in memory, and seals. */
#include "check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PAGE = 4096 };

static int make(unsigned flags)
{
    int fd = memfd_create("sample", flags);

    REQUIRE(fd >= 0);
    return fd;
}

CASE(it_is_a_file_without_a_name)
{
    struct stat status;
    char byte;
    int fd = make(0);

    REQUIRE(fstat(fd, &status) == 0);
    CHECK(S_ISREG(status.st_mode));
    CHECK_EQUAL(status.st_mode & 0777, 0777);
    CHECK_EQUAL(status.st_size, 0);
    CHECK_EQUAL(status.st_nlink, 0);
    CHECK_EQUAL(write(fd, "hello", 5), 5);
    CHECK(pread(fd, &byte, 1, 4) == 1 && byte == 'o');
    CHECK_EQUAL(lseek(fd, 0, SEEK_END), 5);
    CHECK_EQUAL(fcntl(fd, F_GETFD), 0);
    CHECK_EQUAL(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
}

CASE(it_is_mapped_and_shared)
{
    int fd = make(MFD_CLOEXEC), status;
    char *pages;
    pid_t child;

    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    REQUIRE(ftruncate(fd, 2 * PAGE) == 0);
    pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(pages != MAP_FAILED);
    child = fork();
    if (child == 0) {
        pages[PAGE] = 3;
        _exit(pwrite(fd, "x", 1, 7) != 1);
    }
    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    CHECK(pages[PAGE] == 3 && pages[7] == 'x');
}

CASE(arguments_are_checked)
{
    char name[260];

    memset(name, 'a', sizeof name);
    name[250] = 0;
    CHECK_FAILS(memfd_create(name, 0), EINVAL);
    name[249] = 0;
    CHECK(memfd_create(name, 0) >= 0);
    CHECK_FAILS(memfd_create("x", 0x100), EINVAL);
    CHECK_FAILS(memfd_create((char *)8, 0), EFAULT);
    CHECK(memfd_create("", 0) >= 0);
}

CASE(without_permission_there_are_no_seals)
{
    int fd = make(0), ends[2];

    CHECK_EQUAL(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL);
    CHECK_FAILS(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
    REQUIRE(pipe(ends) == 0);
    CHECK_FAILS(fcntl(ends[0], F_GET_SEALS), EINVAL);
}

CASE(a_sealed_size_stays)
{
    int fd = make(MFD_ALLOW_SEALING);

    CHECK_EQUAL(fcntl(fd, F_GET_SEALS), 0);
    REQUIRE(ftruncate(fd, PAGE) == 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    CHECK_FAILS(ftruncate(fd, 10), EPERM);
    CHECK(ftruncate(fd, 2 * PAGE) == 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) == 0);
    CHECK_FAILS(ftruncate(fd, 3 * PAGE), EPERM);
    CHECK_FAILS(pwrite(fd, "x", 1, 2 * PAGE), EPERM);
    CHECK_EQUAL(pwrite(fd, "x", 1, PAGE), 1);
    CHECK_EQUAL(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW);
    CHECK_FAILS(fcntl(fd, F_ADD_SEALS, 0x1000), EINVAL);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL) == 0);
    CHECK_FAILS(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
}

CASE(sealed_content_stays)
{
    int fd = make(MFD_ALLOW_SEALING);
    char *pages;

    REQUIRE(ftruncate(fd, PAGE) == 0);
    pages = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(pages != MAP_FAILED);
    CHECK_FAILS(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    CHECK_EQUAL(fcntl(fd, F_GET_SEALS), 0);
    REQUIRE(munmap(pages, PAGE) == 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
    CHECK_FAILS(write(fd, "x", 1), EPERM);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
    pages = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(pages != MAP_FAILED);
    CHECK_FAILS(mprotect(pages, PAGE, PROT_READ | PROT_WRITE), EACCES);
    pages = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    REQUIRE(pages != MAP_FAILED);
    pages[0] = 1;
}

CASE(mappings_that_exist_may_go_on_writing)
{
    int fd = make(MFD_ALLOW_SEALING);
    char *pages;
    char byte;

    REQUIRE(ftruncate(fd, PAGE) == 0);
    pages = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(pages != MAP_FAILED);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0);
    pages[5] = 6;
    CHECK(pread(fd, &byte, 1, 5) == 1 && byte == 6);
    CHECK_FAILS(write(fd, "x", 1), EPERM);
    CHECK_FAILS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
    pages = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    REQUIRE(pages != MAP_FAILED);
    CHECK_FAILS(mprotect(pages, PAGE, PROT_READ | PROT_WRITE), EACCES);
}
