/* The devices that every program relies on. */
#include "check.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

CASE(mount_devices)
{
    mkdir("/dev", 0755);
    mkdir("/proc", 0755);
    if (access("/dev/full", F_OK) != 0)
        CHECK(mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) == 0);
    if (access("/proc/self", F_OK) != 0)
        CHECK(mount("proc", "/proc", "proc", 0, NULL) == 0);
}

CASE(numbers_and_permissions)
{
    static const struct {
        const char *path;
        int major, minor, mode;
    } expected[] = {
        {"/dev/null", 1, 3, 0666}, {"/dev/zero", 1, 5, 0666}, {"/dev/full", 1, 7, 0666},
        {"/dev/random", 1, 8, 0666}, {"/dev/urandom", 1, 9, 0666}, {"/dev/tty", 5, 0, 0666},
        {"/dev/console", 5, 1, 0600}, {"/dev/kmsg", 1, 11, 0644},
    };
    struct stat status;

    for (unsigned i = 0; i < sizeof expected / sizeof *expected; i++) {
        REQUIRE(stat(expected[i].path, &status) == 0);
        CHECK_EQUAL(status.st_mode, S_IFCHR | expected[i].mode);
        CHECK_EQUAL(status.st_rdev, makedev(expected[i].major, expected[i].minor));
    }
}

CASE(null_and_zero)
{
    char bytes[8] = "xxxxxxx";

    int fd = open("/dev/null", O_RDWR);
    REQUIRE(fd >= 0);
    CHECK_EQUAL(read(fd, bytes, 8), 0);
    CHECK_EQUAL(write(fd, bytes, 8), 8);
    fd = open("/dev/zero", O_RDWR);
    REQUIRE(fd >= 0);
    CHECK_EQUAL(read(fd, bytes, 8), 8);
    CHECK(memcmp(bytes, "\0\0\0\0\0\0\0", 8) == 0);
    CHECK_FAILS(read(fd, (void *)8, 8), EFAULT);
}

CASE(full_has_no_room)
{
    char bytes[8] = "xxxxxxx";

    int fd = open("/dev/full", O_RDWR);
    REQUIRE(fd >= 0);
    CHECK_FAILS(write(fd, "x", 1), ENOSPC);
    CHECK_EQUAL(read(fd, bytes, 8), 8);
    CHECK(bytes[0] == 0 && bytes[7] == 0);
}

CASE(random_bytes_differ)
{
    char one[64], other[64];

    int fd = open("/dev/urandom", O_RDWR);
    REQUIRE(fd >= 0);
    CHECK_EQUAL(read(fd, one, 64), 64);
    CHECK_EQUAL(read(fd, other, 64), 64);
    CHECK(memcmp(one, other, 64) != 0);
    CHECK_EQUAL(write(fd, one, 64), 64);
    fd = open("/dev/random", O_RDONLY);
    REQUIRE(fd >= 0);
    CHECK_EQUAL(read(fd, one, 16), 16);
}

CASE(without_a_controlling_terminal_there_is_no_tty)
{
    pid_t child = fork();
    if (child == 0) {
        setsid();
        CHECK_FAILS(open("/dev/tty", O_RDWR), ENXIO);
        _exit(check_failures ? 1 : 0);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
}
