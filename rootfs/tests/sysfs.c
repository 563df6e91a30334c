/* /sys, as far as programs look at it for harts and devices. */
#include "check.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

static char text[256];

static long load(const char *path)
{
    int fd = open(path, O_RDONLY);
    long count = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    close(fd);
    text[count > 0 ? count : 0] = 0;
    return count;
}

CASE(mount_sys)
{
    mkdir("/sys", 0755);
    if (access("/sys/devices", F_OK) != 0)
        CHECK(mount("sysfs", "/sys", "sysfs", 0, NULL) == 0);
}

CASE(harts_are_counted)
{
    char expected[32];
    long harts = sysconf(_SC_NPROCESSORS_ONLN);

    snprintf(expected, sizeof expected, harts == 1 ? "0\n" : "0-%ld\n", harts - 1);
    REQUIRE(load("/sys/devices/system/cpu/online") > 0);
    CHECK(strcmp(text, expected) == 0);
    CHECK(load("/sys/devices/system/cpu/possible") > 0);
    CHECK(load("/sys/devices/system/cpu/present") > 0);
    CHECK(load("/sys/devices/system/cpu/cpu0/topology/core_id") > 0);
    CHECK(access("/sys/devices/system/cpu/cpu99", F_OK) != 0);
}

CASE(classes_are_there)
{
    struct stat status;

    CHECK(stat("/sys/block", &status) == 0 && S_ISDIR(status.st_mode));
    CHECK(stat("/sys/class/block", &status) == 0 && S_ISDIR(status.st_mode));
    CHECK(load("/sys/class/tty/console/active") > 0);
    CHECK(strcmp(text, "ttyS0\n") == 0 || strcmp(text, "hvc0\n") == 0);
}

CASE(nothing_can_be_made)
{
    CHECK_FAILS(mkdir("/sys/new", 0777), EPERM);
    CHECK_FAILS(open("/sys/devices/nothing", O_RDONLY), ENOENT);
}
