/* /proc: what a process sees of itself and of others. */
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static char text[1 << 16];

/* The whole of a file, ended by a zero; -1 if it cannot be read. */
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

static bool store(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY | O_TRUNC);

    if (fd < 0)
        return false;
    long written = write(fd, value, strlen(value));
    int error = errno;
    close(fd);
    errno = error;
    return written == (long)strlen(value);
}

/* The value behind a name at the start of a line; NULL if there is none. */
static const char *field(const char *name)
{
    size_t length = strlen(name);

    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0)
            return line + length + strspn(line + length, ": \t");
    }
    return NULL;
}

static long number(const char *name)
{
    const char *value = field(name);

    return value ? strtol(value, NULL, 0) : -1;
}

CASE(mount_proc)
{
    /* In a process of its own, and for the cases that follow. */
    mkdir("/proc", 0755);
    if (access("/proc/self", F_OK) != 0)
        CHECK(mount("proc", "/proc", "proc", 0, NULL) == 0);
}

CASE(self_is_the_one_who_looks)
{
    char link[64], expected[64];
    long length;

    length = readlink("/proc/self", link, sizeof link - 1);
    REQUIRE(length > 0);
    link[length] = 0;
    CHECK_EQUAL(atoi(link), getpid());
    length = readlink("/proc/thread-self", link, sizeof link - 1);
    REQUIRE(length > 0);
    link[length] = 0;
    snprintf(expected, sizeof expected, "%d/task/%d", getpid(), getpid());
    CHECK(strcmp(link, expected) == 0);
    pid_t child = fork();
    if (child == 0) {
        length = readlink("/proc/self", link, sizeof link - 1);
        link[length > 0 ? length : 0] = 0;
        _exit(atoi(link) == getpid() ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
}

CASE(stat_tells_who_and_whose)
{
    REQUIRE(load("/proc/self/stat") > 0);
    int pid, parent, group, session;
    char name[32], state;
    unsigned long long start;

    CHECK_EQUAL(sscanf(text, "%d (%31[^)]) %c %d %d %d", &pid, name, &state, &parent, &group, &session), 6);
    CHECK_EQUAL(pid, getpid());
    CHECK_EQUAL(parent, getppid());
    CHECK_EQUAL(group, getpgrp());
    CHECK_EQUAL(session, getsid(0));
    CHECK(strcmp(name, "procfs") == 0);
    CHECK_EQUAL(state, 'R');
    /* All 52 fields, whatever the name holds. */
    int fields = 2;
    for (char *at = strrchr(text, ')') + 1; (at = strchr(at, ' ')); at++)
        fields++;
    CHECK_EQUAL(fields, 52);
    char *at = strrchr(text, ')') + 1;
    for (int i = 3; i < 22; i++)
        at = strchr(at + 1, ' ');
    start = strtoull(at, NULL, 10);
    load("/proc/uptime");
    CHECK(start > 0 && start <= strtod(text, NULL) * 100 + 1);
}

CASE(a_name_can_be_changed_and_seen)
{
    CHECK(store("/proc/self/comm", "a b) c"));
    REQUIRE(load("/proc/self/comm") > 0);
    CHECK(strcmp(text, "a b) c\n") == 0);
    load("/proc/self/stat");
    CHECK(strstr(text, "(a b) c) R") != NULL);
    load("/proc/self/status");
    CHECK(field("Name") && strncmp(field("Name"), "a b) c\n", 7) == 0);
    CHECK(store("/proc/self/comm", "0123456789abcdefgh"));
    load("/proc/self/comm");
    CHECK(strcmp(text, "0123456789abcde\n") == 0);
    CHECK(!store("/proc/1/comm", "x"));
}

CASE(status_agrees_with_the_system_calls)
{
    sigset_t blocked;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    signal(SIGUSR2, SIG_IGN);
    kill(getpid(), SIGUSR1);
    umask(0123);
    REQUIRE(load("/proc/self/status") > 0);
    CHECK_EQUAL(number("Pid"), getpid());
    CHECK_EQUAL(number("Tgid"), getpid());
    CHECK_EQUAL(number("PPid"), getppid());
    CHECK_EQUAL(number("Uid"), getuid());
    CHECK_EQUAL(number("Umask"), 0123);
    CHECK_EQUAL(number("Threads"), 1);
    CHECK_EQUAL(strtoull(field("SigBlk"), NULL, 16) >> (SIGUSR1 - 1) & 1, 1);
    CHECK_EQUAL(strtoull(field("ShdPnd"), NULL, 16) >> (SIGUSR1 - 1) & 1, 1);
    CHECK_EQUAL(strtoull(field("SigIgn"), NULL, 16) >> (SIGUSR2 - 1) & 1, 1);
    CHECK(number("VmRSS") > 0 && number("VmRSS") <= number("VmSize"));
    long before = number("VmSize");
    char *more = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(more, 1, 4 << 20);
    load("/proc/self/status");
    CHECK(number("VmSize") >= before + 8192);
    CHECK(number("VmRSS") >= 4096);
    REQUIRE(load("/proc/self/statm") > 0);
    long pages, resident;
    CHECK_EQUAL(sscanf(text, "%ld %ld", &pages, &resident), 2);
    CHECK(pages * 4 >= before + 8192 && resident >= 1024);
}

CASE(states_are_those_of_the_process)
{
    int ends[2];
    char path[64], byte;

    REQUIRE(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[1]);
        (void)!read(ends[0], &byte, 1);
        _exit(3);
    }
    snprintf(path, sizeof path, "/proc/%d/stat", child);
    /* It gets to its read sooner or later. */
    do
        REQUIRE(load(path) > 0);
    while (!strstr(text, ") S "));
    kill(child, SIGSTOP);
    int status;
    REQUIRE(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    load(path);
    CHECK(strstr(text, ") T ") != NULL);
    kill(child, SIGCONT);
    close(ends[1]);
    do
        REQUIRE(load(path) > 0);
    while (!strstr(text, "(procfs) Z "));
    snprintf(path, sizeof path, "/proc/%d/cmdline", child);
    CHECK_EQUAL(load(path), 0);
    snprintf(path, sizeof path, "/proc/%d/stat", child);
    int fd = open(path, O_RDONLY);
    waitpid(child, &status, 0);
    CHECK_FAILS(read(fd, &byte, 1), ESRCH);
    CHECK_EQUAL(load(path), -1);
    CHECK_EQUAL(errno, ENOENT);
}

CASE(the_command_line_and_the_environment)
{
    int ends[2];

    REQUIRE(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        execve("/bin/busybox", (char *[]){"cat", "/proc/self/cmdline", "/proc/self/environ", NULL},
               (char *[]){"NAME=value", NULL});
        _exit(1);
    }
    close(ends[1]);
    long total = 0, count;
    while ((count = read(ends[0], text + total, sizeof text - total)) > 0)
        total += count;
    static const char expected[] = "cat\0/proc/self/cmdline\0/proc/self/environ\0NAME=value";
    CHECK_EQUAL(total, sizeof expected);
    CHECK(memcmp(text, expected, sizeof expected) == 0);
    waitpid(child, NULL, 0);
}

CASE(maps_show_what_is_mapped)
{
    void *area = mmap(NULL, 3 * 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char line[128];
    int fd = open("/tmp/map ped", O_RDWR | O_CREAT, 0600);

    if (fd < 0) {
        mkdir("/tmp", 0777);
        fd = open("/tmp/map ped", O_RDWR | O_CREAT, 0600);
    }
    REQUIRE(fd >= 0 && ftruncate(fd, 8192) == 0);
    void *file = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 4096);
    REQUIRE(load("/proc/self/maps") > 0);
    snprintf(line, sizeof line, "%08lx-", (long)file);
    const char *at = strstr(text, line);
    REQUIRE(at != NULL);
    CHECK(strncmp(strchr(at, ' '), " rw-p 00001000 ", 15) == 0);
    const char *end = strchr(at, '\n');
    CHECK(strncmp(end - 12, "/tmp/map ped", 12) == 0);
    struct stat status;
    unsigned long offset, inode;
    REQUIRE(fstat(fd, &status) == 0);
    CHECK_EQUAL(sscanf(strchr(at, ' '), " %*s %lx %*x:%*x %lu", &offset, &inode), 2);
    CHECK_EQUAL(inode, status.st_ino);
    snprintf(line, sizeof line, "%08lx-%08lx r--s 00000000 ", (long)area, (long)area + 3 * 4096);
    CHECK(strstr(text, line) != NULL);
    CHECK(strstr(text, " [stack]\n") != NULL);
    CHECK(strstr(text, " [vdso]\n") != NULL);
    sbrk(4096);
    load("/proc/self/maps");
    CHECK(strstr(text, " [heap]\n") != NULL);
    unlink("/tmp/map ped");
    load("/proc/self/maps");
    CHECK(strstr(text, "/tmp/map ped (deleted)\n") != NULL);
}

CASE(ten_thousand_areas_are_read_in_pieces)
{
    enum { AREAS = 10000 };
    char *area = mmap(NULL, 2 * AREAS * 4096L, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char piece[999];
    long lines = 0, count;

    REQUIRE(area != MAP_FAILED);
    for (int i = 0; i < AREAS; i++)
        REQUIRE(mprotect(area + 2L * i * 4096, 4096, PROT_READ | PROT_WRITE) == 0);
    int fd = open("/proc/self/maps", O_RDONLY);
    while ((count = read(fd, piece, sizeof piece)) > 0)
        for (long i = 0; i < count; i++)
            lines += piece[i] == '\n';
    CHECK(lines >= 2 * AREAS);
    CHECK_EQUAL(lseek(fd, 0, SEEK_SET), 0);
    CHECK(read(fd, piece, sizeof piece) > 0);
}

CASE(descriptors_are_links)
{
    char link[64], path[64];
    int ends[2];
    long length;

    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    REQUIRE(fd >= 0 && pipe(ends) == 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    length = readlink(path, link, sizeof link);
    CHECK_EQUAL(length, 9);
    CHECK(memcmp(link, "/dev/null", 9) == 0);
    struct stat status;
    REQUIRE(lstat(path, &status) == 0);
    CHECK_EQUAL(status.st_mode, S_IFLNK | 0300);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    length = readlink(path, link, sizeof link);
    CHECK(length > 6 && memcmp(link, "pipe:[", 6) == 0);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    REQUIRE(load(path) > 0);
    CHECK_EQUAL(number("pos"), 0);
    CHECK_EQUAL(number("flags") & (O_ACCMODE | O_CLOEXEC), O_WRONLY | O_CLOEXEC);
    DIR *directory = opendir("/proc/self/fd");
    int seen = 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        seen += entry->d_name[0] != '.' && (atoi(entry->d_name) == fd || atoi(entry->d_name) == ends[1]);
    CHECK_EQUAL(seen, 2);
    CHECK_FAILS(open("/proc/self/fd/999", O_RDONLY), ENOENT);
    CHECK_FAILS(open("/proc/self/fd/x", O_RDONLY), ENOENT);
}

CASE(a_link_leads_to_what_is_open_whatever_its_name)
{
    char path[64], buffer[8] = "";
    int ends[2];

    mkdir("/tmp", 0777);
    int fd = open("/tmp/gone", O_RDWR | O_CREAT, 0600);
    REQUIRE(fd >= 0 && write(fd, "hello", 5) == 5);
    unlink("/tmp/gone");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, O_RDONLY);
    REQUIRE(again >= 0);
    CHECK_EQUAL(read(again, buffer, 8), 5);
    CHECK(strcmp(buffer, "hello") == 0);
    long length = readlink(path, text, sizeof text);
    CHECK(length == 19 && memcmp(text, "/tmp/gone (deleted)", 19) == 0);
    REQUIRE(pipe(ends) == 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[1]);
    int writer = open(path, O_WRONLY);
    REQUIRE(writer >= 0);
    CHECK_EQUAL(write(writer, "x", 1), 1);
    CHECK_EQUAL(read(ends[0], buffer, 8), 1);
    close(ends[1]);
    close(writer);
    CHECK_EQUAL(read(ends[0], buffer, 8), 0);
}

CASE(links_to_where_the_process_is)
{
    long length;
    struct stat one, other;

    mkdir("/tmp", 0777);
    REQUIRE(chdir("/tmp") == 0);
    length = readlink("/proc/self/cwd", text, sizeof text);
    CHECK(length == 4 && memcmp(text, "/tmp", 4) == 0);
    length = readlink("/proc/self/root", text, sizeof text);
    CHECK(length == 1 && text[0] == '/');
    length = readlink("/proc/self/exe", text, sizeof text - 1);
    REQUIRE(length > 0);
    text[length] = 0;
    CHECK(strcmp(strrchr(text, '/'), "/procfs") == 0);
    REQUIRE(stat("/proc/self/exe", &one) == 0 && stat(text, &other) == 0);
    CHECK(one.st_ino == other.st_ino && one.st_size == other.st_size);
    REQUIRE(stat("/proc/self/cwd/..", &one) == 0 && stat("/", &other) == 0);
    CHECK_EQUAL(one.st_ino, other.st_ino);
    CHECK_FAILS(open("/proc/self/exe/", O_RDONLY), ENOTDIR);
}

CASE(others_are_protected)
{
    char path[64];
    int ends[2];
    char byte;

    REQUIRE(pipe(ends) == 0);
    pid_t root_process = getpid();
    pid_t child = fork();
    if (child == 0) {
        if (setgid(1000) != 0 || setuid(1000) != 0)
            _exit(77);
        snprintf(path, sizeof path, "/proc/%d/environ", root_process);
        CHECK_FAILS(open(path, O_RDONLY), EACCES);
        snprintf(path, sizeof path, "/proc/%d/fd", root_process);
        CHECK_FAILS(open(path, O_RDONLY), EACCES);
        snprintf(path, sizeof path, "/proc/%d/maps", root_process);
        CHECK_FAILS(open(path, O_RDONLY), EACCES);
        snprintf(path, sizeof path, "/proc/%d/cwd", root_process);
        CHECK_FAILS(readlink(path, text, sizeof text), EACCES);
        snprintf(path, sizeof path, "/proc/%d/cmdline", root_process);
        CHECK(load(path) > 0);
        snprintf(path, sizeof path, "/proc/%d/stat", root_process);
        CHECK(load(path) > 0);
        _exit(check_failures ? 1 : 0);
    }
    close(ends[1]);
    (void)!read(ends[0], &byte, 1);
    int status;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("ids cannot be changed");
    CHECK_EQUAL(status, 0);
}

CASE(limits_and_adjustments)
{
    REQUIRE(load("/proc/self/limits") > 0);
    CHECK(strncmp(text, "Limit ", 6) == 0);
    CHECK(field("Max open files") != NULL);
    CHECK(store("/proc/self/oom_score_adj", "500\n"));
    load("/proc/self/oom_score_adj");
    CHECK_EQUAL(atoi(text), 500);
    load("/proc/self/oom_score");
    CHECK(atoi(text) >= 990);
    CHECK(!store("/proc/self/oom_score_adj", "1001"));
    CHECK_EQUAL(errno, EINVAL);
    pid_t child = fork();
    if (child == 0) {
        load("/proc/self/oom_score_adj");
        _exit(atoi(text) == 500 ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
}

CASE(mounts_are_told_in_three_ways)
{
    REQUIRE(load("/proc/mounts") > 0);
    CHECK(strstr(text, "proc /proc proc rw") != NULL);
    REQUIRE(load("/proc/self/mountinfo") > 0);
    char *line = strstr(text, " /proc ");
    REQUIRE(line != NULL);
    CHECK(strstr(line, " - proc proc rw") != NULL);
}

CASE(processes_are_listed_once_and_in_order)
{
    enum { CHILDREN = 20 };
    pid_t children[CHILDREN];
    int ends[2], seen[CHILDREN] = {0};
    char byte;

    REQUIRE(pipe(ends) == 0);
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            close(ends[1]);
            (void)!read(ends[0], &byte, 1);
            _exit(0);
        }
    }
    int fd = open("/proc", O_RDONLY | O_DIRECTORY), last = 0;
    struct {
        unsigned long inode, next;
        unsigned short length;
        unsigned char type;
        char name[];
    } *entry;
    long count;
    while ((count = syscall(SYS_getdents64, fd, text, 200)) > 0)
        for (char *at = text; at < text + count; at += entry->length) {
            entry = (void *)at;
            int pid = atoi(entry->name);
            if (pid == 0)
                continue;
            CHECK_EQUAL(entry->type, DT_DIR);
            CHECK(pid > last);
            last = pid;
            for (int i = 0; i < CHILDREN; i++)
                seen[i] += pid == children[i];
        }
    CHECK_EQUAL(count, 0);
    for (int i = 0; i < CHILDREN; i++)
        CHECK_EQUAL(seen[i], 1);
    close(ends[1]);
    while (wait(NULL) > 0)
        ;
}

CASE(what_cannot_be_done_is_refused)
{
    CHECK_FAILS(mkdir("/proc/new", 0777), ENOENT);
    CHECK_FAILS(open("/proc/new", O_RDWR | O_CREAT, 0600), ENOENT);
    CHECK_FAILS(unlink("/proc/self/stat"), EPERM);
    CHECK_FAILS(open("/proc/0", O_RDONLY), ENOENT);
    CHECK_FAILS(open("/proc/01", O_RDONLY), ENOENT);
    CHECK_FAILS(open("/proc/99999999999", O_RDONLY), ENOENT);
    int fd = open("/proc/self/cmdline", O_RDONLY);
    CHECK_FAILS(read(fd, (void *)8, 10), EFAULT);
    CHECK(pread(fd, text, 10, 1) > 0);
    CHECK_EQUAL(pread(fd, text, 10, 1 << 20), 0);
}
