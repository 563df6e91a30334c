/* What is known about a file, and who may change it: permissions, owner, times. */
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452 /* older headers lack it */
#endif

enum { USER = 1000, OTHER = 2000, GROUP = 77 };

static struct stat status_of(const char *path)
{
    struct stat status;

    REQUIRE(lstat(path, &status) == 0);
    return status;
}

/* An empty file with these attributes, in a directory that everybody may use. */
static const char *file_of(uid_t user, gid_t group, mode_t mode)
{
    static char path[64];

    mkdir("/attributes", 0777);
    REQUIRE(chmod("/attributes", 0777) == 0);
    snprintf(path, sizeof path, "/attributes/file.%d", getpid());
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
    REQUIRE(fd >= 0);
    close(fd);
    REQUIRE(chown(path, user, group) == 0);
    REQUIRE(chmod(path, mode) == 0);
    return path;
}

static void become(uid_t user)
{
    REQUIRE(setresgid(user, user, user) == 0 && setresuid(user, user, user) == 0);
}

CASE(permissions_are_set_by_every_call)
{
    const char *path = file_of(0, 0, 0640);
    int fd = open(path, O_RDONLY);

    CHECK_EQUAL(status_of(path).st_mode, S_IFREG | 0640);
    CHECK_EQUAL(fchmod(fd, 07777), 0);
    CHECK_EQUAL(status_of(path).st_mode, S_IFREG | 07777);
    CHECK_EQUAL(fchmodat(AT_FDCWD, path, 0, 0), 0);
    CHECK_EQUAL(status_of(path).st_mode, S_IFREG);
    CHECK_EQUAL(syscall(SYS_fchmodat2, fd, "", 0600, AT_EMPTY_PATH), 0);
    CHECK_EQUAL(status_of(path).st_mode, S_IFREG | 0600);
    CHECK_FAILS(syscall(SYS_fchmodat2, fd, "", 0600, 1), EINVAL);
    CHECK_FAILS(chmod("/attributes/none", 0600), ENOENT);
    CHECK_FAILS(fchmod(-1, 0600), EBADF);
    CHECK_FAILS(chmod((char *)8, 0600), EFAULT);
}

CASE(only_the_owner_changes_permissions)
{
    const char *path = file_of(USER, USER, 0666);

    become(OTHER);
    CHECK_FAILS(chmod(path, 0600), EPERM);
}

CASE(the_owner_changes_permissions)
{
    const char *path = file_of(USER, GROUP, 0600);

    become(USER);
    CHECK_EQUAL(chmod(path, 06755), 0);
    /* The group is not one of the owner's: its set-id bit is not for him to set. */
    CHECK_EQUAL(status_of(path).st_mode & 07777, 04755);
}

CASE(links_have_no_permissions_of_their_own)
{
    umask(0077);
    REQUIRE(symlink("/nowhere", "/attributes.link") == 0);
    CHECK_EQUAL(status_of("/attributes.link").st_mode & 07777, 0777);
    CHECK_FAILS(syscall(SYS_fchmodat2, AT_FDCWD, "/attributes.link", 0600, AT_SYMLINK_NOFOLLOW), EOPNOTSUPP);
    CHECK_FAILS(chmod("/attributes.link", 0600), ENOENT);
    CHECK_EQUAL(lchown("/attributes.link", USER, -1), 0);
    CHECK_EQUAL(status_of("/attributes.link").st_uid, USER);
}

CASE(root_gives_files_away)
{
    const char *path = file_of(0, 0, 0644);

    CHECK_EQUAL(chown(path, USER, -1), 0);
    CHECK_EQUAL(status_of(path).st_uid, USER);
    CHECK_EQUAL(status_of(path).st_gid, 0);
    CHECK_EQUAL(chown(path, -1, GROUP), 0);
    CHECK_EQUAL(status_of(path).st_gid, GROUP);
    CHECK_FAILS(fchown(-1, 0, 0), EBADF);
    CHECK_FAILS(fchownat(AT_FDCWD, path, 0, 0, 1), EINVAL);
    CHECK_FAILS(fchownat(AT_FDCWD, "", 0, 0, 0), ENOENT);
}

CASE(the_owner_changes_the_group_to_one_of_his)
{
    const char *path = file_of(USER, USER, 0644);

    become(USER);
    CHECK_FAILS(chown(path, OTHER, -1), EPERM);
    CHECK_FAILS(chown(path, -1, GROUP), EPERM);
    CHECK_EQUAL(chown(path, USER, USER), 0);
}

CASE(a_new_owner_does_not_inherit_set_id_bits)
{
    const char *path = file_of(0, 0, 06755);

    CHECK_EQUAL(chown(path, USER, USER), 0);
    CHECK_EQUAL(status_of(path).st_mode & 07777, 0755);
}

CASE(times_are_set_to_the_nanosecond)
{
    const char *path = file_of(0, 0, 0644);
    struct timespec times[2] = {{1000000000, 123456789}, {1500000000, 987654321}};

    CHECK_EQUAL(utimensat(AT_FDCWD, path, times, 0), 0);
    struct stat status = status_of(path);
    CHECK_EQUAL(status.st_atim.tv_sec, 1000000000);
    CHECK_EQUAL(status.st_atim.tv_nsec, 123456789);
    CHECK_EQUAL(status.st_mtim.tv_sec, 1500000000);
    CHECK_EQUAL(status.st_mtim.tv_nsec, 987654321);
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_nsec = UTIME_NOW;
    CHECK_EQUAL(utimensat(AT_FDCWD, path, times, 0), 0);
    status = status_of(path);
    CHECK_EQUAL(status.st_atim.tv_sec, 1000000000);
    CHECK(status.st_mtim.tv_sec != 1500000000);
    int fd = open(path, O_RDONLY);
    times[0] = times[1] = (struct timespec){5, 6};
    CHECK_EQUAL(futimens(fd, times), 0);
    CHECK_EQUAL(status_of(path).st_mtim.tv_sec, 5);
    times[0].tv_nsec = 1000000000;
    CHECK_FAILS(utimensat(AT_FDCWD, path, times, 0), EINVAL);
    times[0].tv_nsec = times[1].tv_nsec = UTIME_OMIT;
    CHECK_EQUAL(utimensat(AT_FDCWD, "/attributes/none", times, 0), 0);
    CHECK_FAILS(utimensat(AT_FDCWD, path, NULL, 1), EINVAL);
    CHECK_FAILS(utimensat(AT_FDCWD, path, (struct timespec *)8, 0), EFAULT);
}

CASE(who_may_write_may_touch)
{
    const char *path = file_of(0, 0, 0666);
    struct timespec times[2] = {{1, 0}, {1, 0}};

    become(USER);
    CHECK_EQUAL(utimensat(AT_FDCWD, path, NULL, 0), 0);
    CHECK_FAILS(utimensat(AT_FDCWD, path, times, 0), EPERM);
    times[0].tv_nsec = times[1].tv_nsec = UTIME_NOW;
    CHECK_EQUAL(utimensat(AT_FDCWD, path, times, 0), 0);
    times[1].tv_nsec = UTIME_OMIT;
    CHECK_FAILS(utimensat(AT_FDCWD, path, times, 0), EPERM);
}

CASE(who_may_not_write_may_not_touch)
{
    const char *path = file_of(0, 0, 0644);

    become(USER);
    CHECK_FAILS(utimensat(AT_FDCWD, path, NULL, 0), EACCES);
}

CASE(permissions_decide_what_a_user_opens)
{
    const char *path = file_of(0, 0, 0604);
    const char *access_of[] = {path};

    become(USER);
    CHECK(open(path, O_RDONLY) >= 0);
    CHECK_FAILS(open(path, O_WRONLY), EACCES);
    CHECK_FAILS(open(path, O_RDONLY | O_TRUNC), EACCES);
    CHECK_FAILS(truncate(path, 0), EACCES);
    CHECK_EQUAL(access(access_of[0], R_OK), 0);
    CHECK_FAILS(access(path, W_OK), EACCES);
    CHECK_FAILS(access(path, X_OK), EACCES);
    CHECK_FAILS(execl(path, path, NULL), EACCES);
}

CASE(a_directory_without_search_hides_what_is_in_it)
{
    REQUIRE(mkdir("/attributes.hidden", 0755) == 0);
    int fd = open("/attributes.hidden/file", O_CREAT | O_RDWR, 0666);
    REQUIRE(fd >= 0 && fchmod(fd, 0666) == 0);
    REQUIRE(chmod("/attributes.hidden", 0744) == 0);
    become(USER);
    struct stat status;
    CHECK_FAILS(stat("/attributes.hidden/file", &status), EACCES);
    CHECK_FAILS(open("/attributes.hidden/file", O_RDONLY), EACCES);
    CHECK_FAILS(chdir("/attributes.hidden"), EACCES);
    CHECK(open("/attributes.hidden", O_RDONLY | O_DIRECTORY) >= 0);
}

CASE(names_are_changed_by_who_may_write_the_directory)
{
    REQUIRE(mkdir("/attributes.locked", 0755) == 0);
    int fd = open("/attributes.locked/file", O_CREAT | O_RDWR, 0666);
    REQUIRE(fd >= 0);
    become(USER);
    CHECK_FAILS(unlink("/attributes.locked/file"), EACCES);
    CHECK_FAILS(rename("/attributes.locked/file", "/attributes.locked/other"), EACCES);
    CHECK_FAILS(mkdir("/attributes.locked/directory", 0700), EACCES);
    CHECK_FAILS(symlink("x", "/attributes.locked/link"), EACCES);
    CHECK_FAILS(open("/attributes.locked/new", O_CREAT | O_RDWR, 0600), EACCES);
}

CASE(in_a_sticky_directory_names_belong_to_owners)
{
    REQUIRE(mkdir("/attributes.sticky", 0777) == 0);
    REQUIRE(chmod("/attributes.sticky", 01777) == 0);
    int fd = open("/attributes.sticky/file", O_CREAT | O_RDWR, 0666);
    REQUIRE(fd >= 0);
    become(USER);
    CHECK_FAILS(unlink("/attributes.sticky/file"), EPERM);
    CHECK_FAILS(rename("/attributes.sticky/file", "/attributes.sticky/mine"), EPERM);
    fd = open("/attributes.sticky/own", O_CREAT | O_RDWR, 0666);
    CHECK(fd >= 0);
    CHECK_EQUAL(unlink("/attributes.sticky/own"), 0);
}

CASE(access_asks_for_the_real_user)
{
    const char *path = file_of(0, 0, 0600);

    REQUIRE(setresuid(USER, 0, 0) == 0);
    CHECK_FAILS(access(path, R_OK), EACCES);
    CHECK_EQUAL(faccessat(AT_FDCWD, path, R_OK, AT_EACCESS), 0);
    CHECK(open(path, O_RDONLY) >= 0);
}
