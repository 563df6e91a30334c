/* Mounting: what covers what, what a mount forbids, and how mounts go away. */
#include "check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define TOP "/mount-test"

/* An empty tmpfs of its own for each case. */
static void begin(void)
{
    mkdir(TOP, 0755);
    umask(0);
    REQUIRE(mount("top", TOP, "tmpfs", 0, NULL) == 0);
    mkdir("/proc", 0755);
    if (access("/proc/self", F_OK) != 0)
        REQUIRE(mount("proc", "/proc", "proc", 0, NULL) == 0);
}

static void end(void)
{
    CHECK(umount2(TOP, MNT_DETACH) == 0);
}

static void make(const char *path, const char *text)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0755);

    REQUIRE(fd >= 0);
    REQUIRE(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Runs in a process of its own; its exit code says how many checks failed. */
static void apart(void (*run)(void))
{
    int status;

    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        run();
        fflush(stdout);
        _exit(check_failures ? FAILED : 0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

CASE(a_mount_covers_and_uncovers)
{
    begin();
    CHECK(mkdir(TOP "/point", 0755) == 0);
    make(TOP "/point/below", "1");
    CHECK(mount("upper", TOP "/point", "tmpfs", 0, NULL) == 0);
    CHECK(!is_there(TOP "/point/below"));
    make(TOP "/point/above", "2");
    CHECK_FAILS(rmdir(TOP "/point"), EBUSY);
    CHECK_FAILS(rename(TOP "/point", TOP "/other"), EBUSY);
    CHECK(umount2(TOP "/point", 0) == 0);
    CHECK(is_there(TOP "/point/below"));
    CHECK(!is_there(TOP "/point/above"));
    CHECK_FAILS(umount2(TOP "/point", 0), EINVAL);
    CHECK_FAILS(umount2(TOP "/nowhere", 0), ENOENT);
    CHECK_FAILS(umount2(TOP "/point", 0x100), EINVAL);
    CHECK(rename(TOP "/point", TOP "/other") == 0);
    end();
}

static void as_somebody(void)
{
    CHECK(setuid(1000) == 0);
    CHECK_FAILS(umount2(TOP, 0), EPERM);
    CHECK_FAILS(mount(TOP, TOP, NULL, MS_BIND, NULL), EPERM);
    CHECK_FAILS(syscall(SYS_pivot_root, TOP, TOP), EPERM);
}

CASE(only_who_may_administer_mounts)
{
    begin();
    apart(as_somebody);
    end();
}

CASE(what_is_used_stays)
{
    begin();
    mkdir(TOP "/a", 0755);
    CHECK(mount("a", TOP "/a", "tmpfs", 0, NULL) == 0);
    make(TOP "/a/file", "text");
    int fd = open(TOP "/a/file", O_RDONLY);
    CHECK_FAILS(umount2(TOP "/a", 0), EBUSY);
    close(fd);
    CHECK(chdir(TOP "/a") == 0);
    CHECK_FAILS(umount2(TOP "/a", 0), EBUSY);
    CHECK(chdir("/") == 0);
    mkdir(TOP "/a/b", 0755);
    CHECK(mount("b", TOP "/a/b", "tmpfs", 0, NULL) == 0);
    CHECK_FAILS(umount2(TOP "/a", 0), EBUSY);
    CHECK(umount2(TOP "/a/b", 0) == 0);
    CHECK(umount2(TOP "/a", 0) == 0);
    end();
}

CASE(a_detached_mount_serves_who_has_it_open)
{
    char text[8] = "";

    begin();
    mkdir(TOP "/a", 0755);
    CHECK(mount("a", TOP "/a", "tmpfs", 0, NULL) == 0);
    mkdir(TOP "/a/b", 0755);
    CHECK(mount("b", TOP "/a/b", "tmpfs", 0, NULL) == 0);
    make(TOP "/a/file", "kept");
    int fd = open(TOP "/a/file", O_RDWR);
    int directory = open(TOP "/a", O_RDONLY | O_DIRECTORY);
    CHECK(umount2(TOP "/a", MNT_DETACH) == 0);
    CHECK(!is_there(TOP "/a/file"));
    CHECK_EQUAL(pread(fd, text, 4, 0), 4);
    CHECK(strcmp(text, "kept") == 0);
    CHECK_EQUAL(faccessat(directory, "file", F_OK, 0), 0);
    CHECK_FAILS(mount(TOP, TOP, NULL, MS_MOVE, NULL), ELOOP);
    close(fd);
    close(directory);
    end();
}

CASE(a_bound_directory_is_the_same_twice)
{
    struct stat one, other;

    begin();
    mkdir(TOP "/from", 0755);
    mkdir(TOP "/from/inner", 0755);
    mkdir(TOP "/to", 0755);
    make(TOP "/from/file", "1");
    CHECK(mount("inner", TOP "/from/inner", "tmpfs", 0, NULL) == 0);
    make(TOP "/from/inner/deep", "2");
    CHECK(mount(TOP "/from", TOP "/to", NULL, MS_BIND, NULL) == 0);
    CHECK(stat(TOP "/from/file", &one) == 0 && stat(TOP "/to/file", &other) == 0);
    CHECK(one.st_dev == other.st_dev && one.st_ino == other.st_ino);
    CHECK(!is_there(TOP "/to/inner/deep"));
    CHECK(rename(TOP "/to/file", TOP "/to/renamed") == 0);
    CHECK(is_there(TOP "/from/renamed") && !is_there(TOP "/from/file"));
    CHECK_FAILS(rename(TOP "/to/renamed", TOP "/from/file"), EXDEV);
    CHECK_FAILS(link(TOP "/to/renamed", TOP "/from/file"), EXDEV);
    CHECK(unlink(TOP "/from/renamed") == 0);
    CHECK(!is_there(TOP "/to/renamed"));
    CHECK(umount2(TOP "/to", 0) == 0);
    CHECK(mount(TOP "/from", TOP "/to", NULL, MS_BIND | MS_REC, NULL) == 0);
    CHECK(is_there(TOP "/to/inner/deep"));
    CHECK(chdir(TOP "/to/inner") == 0);
    char path[64];
    CHECK(getcwd(path, sizeof path) && strcmp(path, TOP "/to/inner") == 0);
    CHECK(chdir("../..") == 0);
    CHECK(getcwd(path, sizeof path) && strcmp(path, TOP) == 0);
    CHECK(chdir("/") == 0);
    CHECK_FAILS(umount2(TOP "/to", 0), EBUSY);
    CHECK(umount2(TOP "/to", MNT_DETACH) == 0);
    CHECK(is_there(TOP "/from/inner/deep"));
    end();
}

CASE(a_file_can_be_bound_over_a_file)
{
    char text[8] = "";

    begin();
    make(TOP "/one", "one");
    make(TOP "/two", "two");
    mkdir(TOP "/directory", 0755);
    CHECK(mount(TOP "/one", TOP "/two", NULL, MS_BIND, NULL) == 0);
    int fd = open(TOP "/two", O_RDONLY);
    CHECK_EQUAL(read(fd, text, 3), 3);
    CHECK(strcmp(text, "one") == 0);
    close(fd);
    CHECK_FAILS(unlink(TOP "/two"), EBUSY);
    CHECK_FAILS(mount(TOP "/one", TOP "/directory", NULL, MS_BIND, NULL), ENOTDIR);
    CHECK_FAILS(mount(TOP "/directory", TOP "/one", NULL, MS_BIND, NULL), ENOTDIR);
    CHECK_FAILS(mount(TOP "/nowhere", TOP "/one", NULL, MS_BIND, NULL), ENOENT);
    CHECK_FAILS(mount(NULL, TOP "/one", NULL, MS_BIND, NULL), EINVAL);
    CHECK(umount2(TOP "/two", 0) == 0);
    CHECK(unlink(TOP "/two") == 0);
    end();
}

CASE(a_mount_moves_with_what_is_on_it)
{
    begin();
    mkdir(TOP "/from", 0755);
    mkdir(TOP "/to", 0755);
    CHECK(mount("a", TOP "/from", "tmpfs", 0, NULL) == 0);
    mkdir(TOP "/from/inner", 0755);
    CHECK(mount("b", TOP "/from/inner", "tmpfs", 0, NULL) == 0);
    make(TOP "/from/inner/deep", "1");
    CHECK_FAILS(mount(TOP "/from", TOP "/from/inner", NULL, MS_MOVE, NULL), ELOOP);
    CHECK_FAILS(mount(TOP "/to", TOP "/from", NULL, MS_MOVE, NULL), EINVAL);
    CHECK(mount(TOP "/from", TOP "/to", NULL, MS_MOVE, NULL) == 0);
    CHECK(is_there(TOP "/to/inner/deep") && !is_there(TOP "/from/inner"));
    CHECK(umount2(TOP "/to/inner", 0) == 0);
    CHECK(umount2(TOP "/to", 0) == 0);
    end();
}

CASE(nothing_changes_where_it_is_read_only)
{
    struct statvfs status;

    begin();
    mkdir(TOP "/d", 0755);
    make(TOP "/file", "text");
    int fd = open(TOP "/file", O_WRONLY);
    CHECK_FAILS(mount(NULL, TOP, NULL, MS_REMOUNT | MS_RDONLY, NULL), EBUSY);
    close(fd);
    CHECK(mount(NULL, TOP, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
    CHECK(statvfs(TOP, &status) == 0 && status.f_flag & ST_RDONLY);
    CHECK_FAILS(open(TOP "/file", O_RDWR), EROFS);
    CHECK_FAILS(open(TOP "/new", O_CREAT | O_WRONLY, 0644), EROFS);
    CHECK_FAILS(mkdir(TOP "/new", 0755), EROFS);
    CHECK_FAILS(mkdir(TOP "/d", 0755), EEXIST);
    CHECK_FAILS(unlink(TOP "/file"), EROFS);
    CHECK_FAILS(rmdir(TOP "/d"), EROFS);
    CHECK_FAILS(rename(TOP "/file", TOP "/new"), EROFS);
    CHECK_FAILS(link(TOP "/file", TOP "/new"), EROFS);
    CHECK_FAILS(symlink("file", TOP "/new"), EROFS);
    CHECK_FAILS(chmod(TOP "/file", 0600), EROFS);
    CHECK_FAILS(chown(TOP "/file", 1, 1), EROFS);
    CHECK_FAILS(truncate(TOP "/file", 0), EROFS);
    CHECK_FAILS(utimensat(AT_FDCWD, TOP "/file", NULL, 0), EROFS);
    CHECK_FAILS(access(TOP "/file", W_OK), EROFS);
    fd = open(TOP "/file", O_RDONLY);
    CHECK(fd >= 0);
    close(fd);
    CHECK(mount(NULL, TOP, NULL, MS_REMOUNT, NULL) == 0);
    CHECK(unlink(TOP "/file") == 0);
    CHECK_FAILS(mount(NULL, TOP "/d", NULL, MS_REMOUNT, NULL), EINVAL);
    CHECK_FAILS(mount(NULL, TOP, NULL, MS_REMOUNT, "frobnicate"), EINVAL);
    CHECK(mount(NULL, TOP, NULL, MS_REMOUNT, "size=1m") == 0);
    CHECK(statvfs(TOP, &status) == 0);
    CHECK_EQUAL(status.f_blocks * status.f_frsize, 1 << 20);
    end();
}

CASE(a_bound_mount_has_flags_of_its_own)
{
    begin();
    mkdir(TOP "/from", 0755);
    mkdir(TOP "/to", 0755);
    CHECK(mount(TOP "/from", TOP "/to", NULL, MS_BIND, NULL) == 0);
    CHECK(mount(NULL, TOP "/to", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0);
    CHECK_FAILS(mkdir(TOP "/to/new", 0755), EROFS);
    CHECK(mkdir(TOP "/from/new", 0755) == 0);
    CHECK(is_there(TOP "/to/new"));
    CHECK(umount2(TOP "/to", 0) == 0);
    end();
}

static void copy_self(const char *to)
{
    char buffer[4096];
    ssize_t count;
    int source = open("/proc/self/exe", O_RDONLY), target = open(to, O_CREAT | O_WRONLY, 0755);

    REQUIRE(source >= 0 && target >= 0);
    while ((count = read(source, buffer, sizeof buffer)) > 0)
        REQUIRE(write(target, buffer, count) == count);
    close(source);
    close(target);
}

CASE(programs_devices_and_links_can_be_forbidden)
{
    char *arguments[] = {"copy", NULL};

    begin();
    copy_self(TOP "/copy");
    CHECK(mknod(TOP "/null", S_IFCHR | 0666, makedev(1, 3)) == 0);
    CHECK(symlink("copy", TOP "/link") == 0);
    CHECK(is_there(TOP "/link"));
    int fd = open(TOP "/null", O_RDWR);
    CHECK(fd >= 0);
    close(fd);
    CHECK(access(TOP "/copy", X_OK) == 0);
    CHECK(mount(NULL, TOP, NULL, MS_REMOUNT | MS_NOEXEC | MS_NODEV | MS_NOSYMFOLLOW, NULL) == 0);
    CHECK_FAILS(execv(TOP "/copy", arguments), EACCES);
    CHECK_FAILS(access(TOP "/copy", X_OK), EACCES);
    fd = open(TOP "/copy", O_RDONLY);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EPERM);
    void *readable = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(readable != MAP_FAILED);
    CHECK_FAILS(mprotect(readable, 4096, PROT_READ | PROT_EXEC), EACCES);
    munmap(readable, 4096);
    close(fd);
    CHECK_FAILS(open(TOP "/null", O_RDWR), EACCES);
    CHECK_FAILS(open(TOP "/link", O_RDONLY), ELOOP);
    char target[8] = "";
    CHECK_EQUAL(readlink(TOP "/link", target, sizeof target), 4);
    end();
}

/* Who has learnt of the end of a program finds that it holds its mount no longer. */
CASE(a_program_that_has_ended_keeps_no_mount_busy)
{
    char *arguments[] = {"copy", "no case has this name", NULL};

    begin();
    for (int round = 0; round < 50; round++) {
        int status;

        REQUIRE(mkdir(TOP "/of-program", 0755) == 0 || round > 0);
        REQUIRE(mount("program", TOP "/of-program", "tmpfs", 0, NULL) == 0);
        copy_self(TOP "/of-program/copy");
        pid_t child = fork();
        if (child == 0) {
            execv(TOP "/of-program/copy", arguments);
            _exit(FAILED);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        REQUIRE(umount2(TOP "/of-program", 0) == 0);
    }
    end();
}

static time_t accessed_after_reading(time_t accessed)
{
    char byte;
    struct stat status;
    struct timespec times[2] = {{accessed, 0}, {1000, 0}};
    int fd = open(TOP "/file", O_RDONLY);

    CHECK(futimens(fd, times) == 0);
    CHECK_EQUAL(read(fd, &byte, 1), 1);
    close(fd);
    CHECK(stat(TOP "/file", &status) == 0);
    return status.st_atime;
}

CASE(access_times_are_kept_as_the_mount_says)
{
    begin();
    time_t later = time(NULL) + 1000;
    make(TOP "/file", "text");
    /* Relative: noted if the file was changed since, and not otherwise. */
    CHECK(accessed_after_reading(500) > 1000);
    CHECK_EQUAL(accessed_after_reading(later), later);
    CHECK(mount(NULL, TOP, NULL, MS_REMOUNT | MS_STRICTATIME, NULL) == 0);
    CHECK(accessed_after_reading(later) < later);
    CHECK(mount(NULL, TOP, NULL, MS_REMOUNT | MS_NOATIME, NULL) == 0);
    CHECK_EQUAL(accessed_after_reading(500), 500);
    /* A remount that does not speak of access times leaves them. */
    CHECK(mount(NULL, TOP, NULL, MS_REMOUNT, NULL) == 0);
    CHECK_EQUAL(accessed_after_reading(500), 500);
    end();
}

static bool find_line(const char *file, const char *wanted)
{
    char line[512];
    bool found = false;
    FILE *stream = fopen(file, "r");

    REQUIRE(stream != NULL);
    while (fgets(line, sizeof line, stream))
        found |= strstr(line, wanted) != NULL;
    fclose(stream);
    return found;
}

static void in_another_root(void)
{
    CHECK(chroot(TOP "/to") == 0);
    CHECK(chdir("/") == 0);
    CHECK(mkdir("/proc", 0755) == 0);
    CHECK(mount("proc", "/proc", "proc", 0, NULL) == 0);
    CHECK(find_line("/proc/self/mounts", "top / tmpfs rw"));
    CHECK(!find_line("/proc/self/mounts", TOP));
    CHECK(umount2("/proc", 0) == 0);
}

CASE(proc_shows_mounts)
{
    begin();
    mkdir(TOP "/from", 0755);
    mkdir(TOP "/to", 0755);
    CHECK(mount(TOP "/from", TOP "/to", NULL, MS_BIND, NULL) == 0);
    CHECK(mount(NULL, TOP "/to", NULL, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME,
                NULL) == 0);
    CHECK(find_line("/proc/self/mounts", "top " TOP " tmpfs rw,relatime"));
    CHECK(find_line("/proc/self/mounts", "top " TOP "/to tmpfs rw,nosuid,nodev,noexec,noatime"));
    CHECK(find_line("/proc/self/mountinfo", " /from " TOP "/to rw,nosuid,nodev,noexec,noatime - tmpfs top rw"));
    CHECK(find_line("/proc/self/mountinfo", " / " TOP " rw,relatime - tmpfs top rw"));
    apart(in_another_root);
    CHECK(umount2(TOP "/to", 0) == 0);
    CHECK(!find_line("/proc/self/mounts", TOP "/to"));
    end();
}

CASE(how_a_mount_relates_to_others)
{
    begin();
    mkdir(TOP "/d", 0755);
    CHECK(mount(NULL, TOP, NULL, MS_PRIVATE | MS_REC, NULL) == 0);
    CHECK(mount(NULL, TOP, NULL, MS_SLAVE, NULL) == 0);
    CHECK_FAILS(mount(NULL, TOP "/d", NULL, MS_PRIVATE, NULL), EINVAL);
    CHECK_FAILS(mount(NULL, TOP, NULL, MS_PRIVATE | MS_SLAVE, NULL), EINVAL);
    CHECK(mount(NULL, TOP, NULL, MS_UNBINDABLE, NULL) == 0);
    CHECK_FAILS(mount(TOP, TOP "/d", NULL, MS_BIND, NULL), EINVAL);
    CHECK(mount(NULL, TOP, NULL, MS_PRIVATE, NULL) == 0);
    CHECK(mount(TOP, TOP "/d", NULL, MS_BIND, NULL) == 0);
    CHECK(umount2(TOP "/d", 0) == 0);
    end();
}

static void pivot(void)
{
    char path[16];

    CHECK(chroot(TOP) == 0);
    CHECK(chdir("/") == 0);
    CHECK_FAILS(syscall(SYS_pivot_root, "/", "/"), EBUSY);
    CHECK_FAILS(syscall(SYS_pivot_root, "/plain", "/plain"), EBUSY);
    CHECK_FAILS(syscall(SYS_pivot_root, "/new", "/other"), EINVAL);
    CHECK_FAILS(syscall(SYS_pivot_root, "/new/file", "/new/old"), ENOTDIR);
    CHECK(syscall(SYS_pivot_root, "/new", "/new/old") == 0);
    CHECK(is_there("/file") && is_there("/old/plain"));
    CHECK(getcwd(path, sizeof path) && strcmp(path, "/") == 0);
    CHECK(umount2("/old/other", 0) == 0);
    CHECK(umount2("/old", 0) == 0);
    CHECK(!is_there("/old/plain"));
}

CASE(a_root_changes_place_with_another)
{
    begin();
    mkdir(TOP "/plain", 0755);
    mkdir(TOP "/new", 0755);
    mkdir(TOP "/other", 0755);
    CHECK(mount("other", TOP "/other", "tmpfs", 0, NULL) == 0);
    CHECK(mount("new", TOP "/new", "tmpfs", 0, NULL) == 0);
    mkdir(TOP "/new/old", 0755);
    make(TOP "/new/file", "1");
    apart(pivot);
    CHECK(is_there(TOP "/file"));
    end();
}
