/* /proc/sys: settings, read and written. */
#include "check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>

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
    CHECK(atoi(load("/proc/sys/kernel/threads-max")) > 1000);
    CHECK(atoll(load("/proc/sys/fs/file-max")) > 10000);
    CHECK(atoi(load("/proc/sys/fs/nr_open")) >= 1 << 20);
    CHECK_EQUAL(atoi(load("/proc/sys/vm/panic_on_oom")), 0);
    CHECK(atoi(load("/proc/sys/vm/mmap_min_addr")) >= 4096);
}

CASE(promises_of_memory)
{
    const char *path = "/proc/sys/vm/overcommit_memory";
    struct sysinfo machine;

    REQUIRE(sysinfo(&machine) == 0);
    size_t too_much = machine.totalram * machine.mem_unit * 3;
    CHECK_FAILS((long)mmap(NULL, too_much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    CHECK_EQUAL(store(path, "1\n"), 2);
    CHECK_EQUAL(atoi(load(path)), 1);
    void *place = mmap(NULL, too_much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(place != MAP_FAILED);
    CHECK(munmap(place, too_much) == 0);
    CHECK_FAILS(store(path, "3"), EINVAL);
    CHECK_FAILS(store(path, "word"), EINVAL);
    CHECK_EQUAL(store(path, "0"), 1);
    CHECK_EQUAL(atoi(load(path)), 0);
}

/* Where a new program has its parts. */
static void where(char *place, size_t size)
{
    int ends[2];
    long count;

    REQUIRE(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        execl("/tests/helpers/where", "where", NULL);
        _exit(1);
    }
    close(ends[1]);
    count = read(ends[0], place, size - 1);
    place[count > 0 ? count : 0] = 0;
    close(ends[0]);
    CHECK_EQUAL(waitpid(child, NULL, 0), child);
}

CASE(the_layout_of_programs)
{
    const char *path = "/proc/sys/kernel/randomize_va_space";
    char places[4][128];

    CHECK_EQUAL(atoi(load(path)), 2);
    CHECK_EQUAL(store(path, "0\n"), 2);
    where(places[0], sizeof places[0]);
    where(places[1], sizeof places[1]);
    CHECK(places[0][0] != 0 && strcmp(places[0], places[1]) == 0);
    CHECK_EQUAL(store(path, "2\n"), 2);
    where(places[2], sizeof places[2]);
    where(places[3], sizeof places[3]);
    CHECK(strcmp(places[2], places[3]) != 0);
}

/* Kilobytes that a line of /proc/meminfo says. */
static long meminfo(const char *name)
{
    FILE *file = fopen("/proc/meminfo", "r");
    char line[128];
    long value = -1;

    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            value = atol(line + strlen(name));
    fclose(file);
    return value;
}

CASE(caches_are_dropped)
{
    const char *path = "/proc/sys/vm/drop_caches";

    CHECK_EQUAL(store(path, "3\n"), 2);
    CHECK_EQUAL(store(path, "1"), 1);
    CHECK_EQUAL(store(path, "2"), 1);
    CHECK_FAILS(store(path, "0"), EINVAL);
    CHECK_FAILS(store(path, "99"), EINVAL);
    CHECK(meminfo("MemFree:") > 0);
}

CASE(pipes_of_users)
{
    const char *path = "/proc/sys/fs/pipe-max-size";

    CHECK_EQUAL(atoi(load(path)), 1 << 20);
    CHECK_EQUAL(store(path, "70000\n"), 6);
    CHECK_EQUAL(atoi(load(path)), 131072);
    CHECK_EQUAL(store(path, "1048576\n"), 8);
}

CASE(only_root_sets)
{
    pid_t child = fork();

    if (child == 0) {
        if (setuid(4321) != 0)
            _exit(2);
        _exit(open("/proc/sys/vm/overcommit_memory", O_WRONLY) == -1 && errno == EACCES ? 0 : 1);
    }
    int status = 0;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
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
