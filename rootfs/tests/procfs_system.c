/* /proc: the system as a whole, as ps, top and free read it. */
#include "check.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

static char text[1 << 16];

static long load(const char *path)
{
    int fd = open(path, O_RDONLY);
    long total = 0, count;

    if (fd < 0)
        return -1;
    while ((count = read(fd, text + total, sizeof text - 1 - total)) > 0)
        total += count;
    close(fd);
    text[total] = 0;
    return count < 0 ? -1 : total;
}

static long long number(const char *name)
{
    size_t length = strlen(name);

    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0)
            return strtoll(line + length + strspn(line + length, ": \t"), NULL, 10);
    }
    return -1;
}

CASE(mount_proc)
{
    mkdir("/proc", 0755);
    if (access("/proc/self", F_OK) != 0)
        CHECK(mount("proc", "/proc", "proc", 0, NULL) == 0);
}

CASE(memory_agrees_with_sysinfo)
{
    struct sysinfo info;

    REQUIRE(load("/proc/meminfo") > 0 && sysinfo(&info) == 0);
    CHECK_EQUAL(number("MemTotal"), (long long)info.totalram * info.mem_unit / 1024);
    CHECK(number("MemFree") > 0 && number("MemFree") < number("MemTotal"));
    CHECK(number("MemAvailable") > 0 && number("Cached") >= 0);
    CHECK_EQUAL(number("SwapTotal"), 0);
    CHECK_EQUAL(info.totalswap, 0);
}

CASE(time_goes_on_and_is_charged)
{
    long long user[2], total[2];
    volatile unsigned long spin = 0;

    for (int round = 0; round < 2; round++) {
        long long u, nice, system, idle, wait;
        REQUIRE(load("/proc/stat") > 0);
        REQUIRE(sscanf(text, "cpu %lld %lld %lld %lld %lld", &u, &nice, &system, &idle, &wait) == 5);
        user[round] = u;
        total[round] = u + nice + system + idle + wait;
        if (round == 0) {
            long long end = check_milliseconds() + 300;
            while (check_milliseconds() < end)
                for (int i = 0; i < 10000; i++)
                    spin++;
        }
    }
    CHECK(user[1] > user[0]);
    CHECK(total[1] > total[0]);
    CHECK(number("ctxt") > 0 && number("processes") > 1 && number("procs_running") >= 1);
    CHECK(number("btime") > 1000000000LL);
    CHECK(number("cpu0") >= 0);
    CHECK(strstr(text, "\nintr ") != NULL);
}

CASE(a_busy_program_uses_user_time)
{
    volatile unsigned long spin = 0;
    long long end = check_milliseconds() + 200;

    while (check_milliseconds() < end)
        for (int i = 0; i < 10000; i++)
            spin++;
    REQUIRE(load("/proc/self/stat") > 0);
    char *at = strrchr(text, ')') + 1;
    for (int i = 3; i < 14; i++)
        at = strchr(at + 1, ' ');
    CHECK(strtol(at, NULL, 10) >= 5);
}

CASE(the_small_ones)
{
    double one, five, fifteen, up, idle;
    int running, tasks, last;

    REQUIRE(load("/proc/loadavg") > 0);
    CHECK_EQUAL(sscanf(text, "%lf %lf %lf %d/%d %d", &one, &five, &fifteen, &running, &tasks, &last), 6);
    CHECK(running >= 1 && tasks >= running && last >= getpid());
    REQUIRE(load("/proc/uptime") > 0);
    CHECK_EQUAL(sscanf(text, "%lf %lf", &up, &idle), 2);
    CHECK(up > 0 && idle >= 0);
    REQUIRE(load("/proc/cpuinfo") > 0);
    CHECK_EQUAL(number("processor"), 0);
    CHECK(strstr(text, "isa\t\t: rv64") != NULL);
    int processors = 0;
    for (char *at = text; (at = strstr(at, "processor\t: ")); at++)
        processors++;
    CHECK_EQUAL(processors, sysconf(_SC_NPROCESSORS_CONF));
    REQUIRE(load("/proc/filesystems") > 0);
    CHECK(strstr(text, "nodev\tproc\n") && strstr(text, "nodev\ttmpfs\n"));
    REQUIRE(load("/proc/devices") > 0);
    CHECK(strstr(text, "Character devices:\n  1 mem\n") && strstr(text, "\nBlock devices:\n"));
    REQUIRE(load("/proc/swaps") > 0);
    CHECK(strncmp(text, "Filename", 8) == 0);
    REQUIRE(load("/proc/partitions") > 0 || text[0] == 0);
    REQUIRE(load("/proc/cmdline") > 0);
    CHECK(strstr(text, "rdinit=") != NULL);
    REQUIRE(load("/proc/interrupts") > 0);
    CHECK(strstr(text, "CPU0") != NULL);
    REQUIRE(load("/proc/version") > 0);
    CHECK(strncmp(text, "Linux version 6.12.", 19) == 0);
    REQUIRE(load("/proc/vmstat") > 0);
    CHECK(number("nr_free_pages") > 0);
}
