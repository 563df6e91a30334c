/* /proc/sys: settings, read and written. */
#include "check.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>

static char text[256];

static const char *load(const char *path)
{
    int fd = open(path, O_RDONLY);
    long count = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    close(fd);
    text[count > 0 ? count : 0] = 0;
    return text;
}

static long store(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY);
    if (fd < 0)
        return -1;
    long written = write(fd, value, strlen(value));
    int error = errno;
    close(fd);
    errno = error;
    return written;
}

CASE(mount_proc)
{
    mkdir("/proc", 0755);
    if (access("/proc/self", F_OK) != 0)
        CHECK(mount("proc", "/proc", "proc", 0, NULL) == 0);
}

CASE(names_agree_with_uname)
{
    struct utsname name;
    char expected[128];

    REQUIRE(uname(&name) == 0);
    snprintf(expected, sizeof expected, "%s\n", name.sysname);
    CHECK(strcmp(load("/proc/sys/kernel/ostype"), expected) == 0);
    snprintf(expected, sizeof expected, "%s\n", name.release);
    CHECK(strcmp(load("/proc/sys/kernel/osrelease"), expected) == 0);
    snprintf(expected, sizeof expected, "%s\n", name.version);
    CHECK(strcmp(load("/proc/sys/kernel/version"), expected) == 0);
}

CASE(the_names_of_the_machine_can_be_set)
{
    struct utsname name;

    CHECK_EQUAL(store("/proc/sys/kernel/hostname", "first\n"), 6);
    REQUIRE(uname(&name) == 0);
    CHECK(strcmp(name.nodename, "first") == 0);
    CHECK(sethostname("second", 6) == 0);
    CHECK(strcmp(load("/proc/sys/kernel/hostname"), "second\n") == 0);
    CHECK(setdomainname("example", 7) == 0);
    CHECK(strcmp(load("/proc/sys/kernel/domainname"), "example\n") == 0);
    CHECK_EQUAL(store("/proc/sys/kernel/domainname", "other"), 5);
    REQUIRE(uname(&name) == 0);
    CHECK(strcmp(name.domainname, "other") == 0);
    CHECK_FAILS(sethostname("x", -1), EINVAL);
    CHECK_FAILS(setdomainname("x", 65), EINVAL);
    CHECK_FAILS(sethostname((char *)8, 5), EFAULT);
}

CASE(identifiers)
{
    char boot[256], one[256];

    snprintf(boot, sizeof boot, "%s", load("/proc/sys/kernel/random/boot_id"));
    CHECK_EQUAL(strlen(boot), 37);
    CHECK(strcmp(boot, load("/proc/sys/kernel/random/boot_id")) == 0);
    snprintf(one, sizeof one, "%s", load("/proc/sys/kernel/random/uuid"));
    CHECK(strlen(one) == 37 && one[14] == '4');
    CHECK(strcmp(one, load("/proc/sys/kernel/random/uuid")) != 0);
}

CASE(numbers)
{
    CHECK(atoi(load("/proc/sys/kernel/pid_max")) >= 32768);
    CHECK_EQUAL(atoi(load("/proc/sys/kernel/ngroups_max")), 65536);
    CHECK_EQUAL(atoi(load("/proc/sys/vm/max_map_count")), 65530);
    CHECK_EQUAL(atoi(load("/proc/sys/vm/overcommit_memory")), 0);
    CHECK_EQUAL(atoi(load("/proc/sys/kernel/overflowuid")), 65534);
}

CASE(what_is_fixed_is_refused)
{
    long result = store("/proc/sys/kernel/ostype", "Other");
    int error = errno;
    CHECK_EQUAL(result, -1);
    CHECK(error == EACCES || error == EPERM);
    CHECK_FAILS(open("/proc/sys/kernel/nothing", O_RDONLY), ENOENT);
    CHECK_FAILS(mkdir("/proc/sys/new", 0777), ENOENT);
}
