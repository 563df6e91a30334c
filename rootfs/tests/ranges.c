/* Ranges of files: sizes, holes, reserved space, reads and writes at positions, copies, ranges of descriptors. */
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { PAGE = 4096 };

static int new_file(void)
{
    char path[64];

    snprintf(path, sizeof path, "/ranges.%d", getpid());
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
    REQUIRE(fd >= 0);
    unlink(path);
    return fd;
}

static off_t size_of(int fd)
{
    struct stat status;

    REQUIRE(fstat(fd, &status) == 0);
    return status.st_size;
}

static blkcnt_t blocks_of(int fd)
{
    struct stat status;

    REQUIRE(fstat(fd, &status) == 0);
    return status.st_blocks;
}

CASE(vectors_at_a_position_leave_the_own_alone)
{
    int fd = new_file();
    char a[4] = "abc", b[4] = "def", got[8] = {0};
    struct iovec out[2] = {{a, 3}, {b, 3}}, in[2] = {{got, 2}, {got + 2, 4}};

    CHECK_EQUAL(pwritev(fd, out, 2, 10), 6);
    CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), 0);
    CHECK_EQUAL(size_of(fd), 16);
    CHECK_EQUAL(preadv(fd, in, 2, 10), 6);
    CHECK(memcmp(got, "abcdef", 6) == 0);
    CHECK_FAILS(preadv(fd, in, 2, -1), EINVAL);
    CHECK_FAILS(preadv(fd, in, -1, 0), EINVAL);
    CHECK_EQUAL(preadv(fd, in, 0, 0), 0);
    CHECK_EQUAL(pwritev2(fd, out, 2, -1, 0), 6);
    CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), 6);
    CHECK_EQUAL(preadv2(fd, in, 2, 0, 0), 6);
    CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), 6);
    CHECK_FAILS(preadv2(fd, in, 2, 0, 1 << 20), EOPNOTSUPP);
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    CHECK_FAILS(preadv(ends[0], in, 2, 0), ESPIPE);
}

CASE(sizes_grow_with_zeros_and_shrink)
{
    int fd = new_file();
    char byte = 'x';

    CHECK_EQUAL(write(fd, "hello", 5), 5);
    CHECK_EQUAL(ftruncate(fd, 2), 0);
    CHECK_EQUAL(ftruncate(fd, 3 * PAGE), 0);
    CHECK_EQUAL(size_of(fd), 3 * PAGE);
    CHECK_EQUAL(pread(fd, &byte, 1, 3), 1);
    CHECK_EQUAL(byte, 0);
    CHECK_FAILS(ftruncate(fd, -1), EINVAL);
    CHECK_FAILS(ftruncate(-1, 0), EBADF);
    CHECK_FAILS(truncate("/", 0), EISDIR);
    CHECK_FAILS(truncate("/none", 0), ENOENT);
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    CHECK_FAILS(ftruncate(ends[1], 0), EINVAL);
}

CASE(space_is_reserved)
{
    int fd = new_file();

    CHECK_EQUAL(fallocate(fd, 0, 0, 3 * PAGE), 0);
    CHECK_EQUAL(size_of(fd), 3 * PAGE);
    CHECK_EQUAL(blocks_of(fd), 24);
    CHECK_EQUAL(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 2 * PAGE), 0);
    CHECK_EQUAL(size_of(fd), 3 * PAGE);
    CHECK_FAILS(fallocate(fd, 0, -1, 1), EINVAL);
    CHECK_FAILS(fallocate(fd, 0, 0, 0), EINVAL);
    CHECK_FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 1), EOPNOTSUPP);
    CHECK_FAILS(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE), EOPNOTSUPP);
    CHECK_FAILS(fallocate(fd, 1 << 20, 0, PAGE), EOPNOTSUPP);
    CHECK_FAILS(fallocate(-1, 0, 0, PAGE), EBADF);
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    CHECK_FAILS(fallocate(ends[1], 0, 0, PAGE), ESPIPE);
    CHECK_FAILS(fallocate(open("/", O_RDONLY), 0, 0, PAGE), EBADF);
}

CASE(holes_are_punched_and_found)
{
    int fd = new_file();
    static char bytes[4 * PAGE];

    memset(bytes, 'x', sizeof bytes);
    REQUIRE(write(fd, bytes, sizeof bytes) == sizeof bytes);
    CHECK_EQUAL(lseek(fd, 0, SEEK_HOLE), 4 * PAGE);
    CHECK_EQUAL(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE - 10, PAGE + 20), 0);
    CHECK_EQUAL(size_of(fd), 4 * PAGE);
    CHECK_EQUAL(blocks_of(fd), 24);
    REQUIRE(pread(fd, bytes, sizeof bytes, 0) == sizeof bytes);
    CHECK(bytes[PAGE - 11] == 'x' && bytes[PAGE - 10] == 0 && bytes[2 * PAGE + 9] == 0 && bytes[2 * PAGE + 10] == 'x');
    CHECK_EQUAL(lseek(fd, 0, SEEK_HOLE), PAGE);
    CHECK_EQUAL(lseek(fd, PAGE, SEEK_DATA), 2 * PAGE);
    CHECK_EQUAL(lseek(fd, 100, SEEK_DATA), 100);
    CHECK_EQUAL(lseek(fd, 2 * PAGE + 5, SEEK_HOLE), 4 * PAGE);
    CHECK_FAILS(lseek(fd, 4 * PAGE, SEEK_DATA), ENXIO);
    CHECK_FAILS(lseek(fd, 4 * PAGE, SEEK_HOLE), ENXIO);
    CHECK_FAILS(lseek(fd, 0, 9), EINVAL);
}

CASE(bytes_are_copied_from_file_to_file)
{
    int from = new_file(), to = new_file();
    char got[16] = {0};
    off_t in = 2, out = 1;

    REQUIRE(write(from, "0123456789", 10) == 10);
    CHECK_EQUAL(copy_file_range(from, &in, to, &out, 5, 0), 5);
    CHECK(in == 7 && out == 6);
    CHECK_EQUAL(lseek(from, 0, SEEK_CUR), 10);
    CHECK_EQUAL(pread(to, got, sizeof got, 0), 6);
    CHECK(memcmp(got, "\0" "23456", 6) == 0);
    CHECK_EQUAL(copy_file_range(from, NULL, to, NULL, 5, 0), 0);
    CHECK_EQUAL(lseek(from, 8, SEEK_SET), 8);
    CHECK_EQUAL(copy_file_range(from, NULL, to, NULL, 100, 0), 2);
    CHECK_EQUAL(lseek(to, 0, SEEK_CUR), 2);
    CHECK_FAILS(copy_file_range(from, NULL, to, NULL, 1, 1), EINVAL);
    CHECK_FAILS(copy_file_range(-1, NULL, to, NULL, 1, 0), EBADF);
    in = 0, out = 1;
    CHECK_FAILS(copy_file_range(from, &in, from, &out, 4, 0), EINVAL);
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    CHECK_FAILS(copy_file_range(ends[0], NULL, to, NULL, 1, 0), EINVAL);
}

CASE(a_range_of_descriptors_is_closed)
{
    int fd = open("/", O_RDONLY);

    REQUIRE(fd >= 0);
    int second = fcntl(fd, F_DUPFD, 20), third = fcntl(fd, F_DUPFD, 30);
    CHECK_EQUAL(syscall(SYS_close_range, 20, 25, 0), 0);
    CHECK_FAILS(fcntl(second, F_GETFD), EBADF);
    CHECK_EQUAL(fcntl(third, F_GETFD), 0);
    CHECK_EQUAL(syscall(SYS_close_range, 10, ~0U, 4), 0);
    CHECK_EQUAL(fcntl(third, F_GETFD), FD_CLOEXEC);
    CHECK_EQUAL(fcntl(fd, F_GETFD), 0);
    CHECK_FAILS(syscall(SYS_close_range, 5, 4, 0), EINVAL);
    CHECK_FAILS(syscall(SYS_close_range, 5, 6, 1), EINVAL);
}

CASE(advice_is_judged)
{
    int fd = new_file();
    int ends[2];

    REQUIRE(pipe(ends) == 0);
    CHECK_EQUAL(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
    CHECK_EQUAL(posix_fadvise(fd, 0, 0, 77), EINVAL);
    CHECK_EQUAL(posix_fadvise(ends[0], 0, 0, POSIX_FADV_NORMAL), ESPIPE);
    CHECK_EQUAL(posix_fadvise(-1, 0, 0, POSIX_FADV_NORMAL), EBADF);
    CHECK_EQUAL(syncfs(fd), 0);
    CHECK_FAILS(syncfs(-1), EBADF);
    CHECK_EQUAL(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE), 0);
    CHECK_FAILS(sync_file_range(fd, -1, 0, SYNC_FILE_RANGE_WRITE), EINVAL);
    CHECK_FAILS(sync_file_range(fd, 0, 0, 8), EINVAL);
    CHECK_FAILS(sync_file_range(ends[0], 0, 0, 2), ESPIPE);
}
