/* Openings that are only places (O_PATH), files without a name (O_TMPFILE), limits to where a path leads (openat2), and
 * renames that leave a whiteout. */
#include "check.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#ifndef RENAME_WHITEOUT
#define RENAME_WHITEOUT 4
#endif

/* A tmpfs of one's own, which goes with the case's processes. */
static void prepare_attached(bool is_attached)
{
    char where[] = "/tmp/places.XXXXXX";

    REQUIRE(mkdtemp(where));
    REQUIRE(mount("none", where, "tmpfs", 0, "") == 0);
    REQUIRE(chdir(where) == 0);
    if (!is_attached)
        umount2(where, MNT_DETACH);
    int fd = open("file", O_CREAT | O_WRONLY, 0644);
    REQUIRE(write(fd, "hello", 5) == 5);
    close(fd);
    REQUIRE(mkdir("directory", 0755) == 0);
    REQUIRE(mkdir("directory/below", 0755) == 0);
    REQUIRE(symlink("file", "link") == 0);
}

static void prepare(void)
{
    prepare_attached(false);
}

CASE(a_place_can_be_used_as_one)
{
    struct stat by_name, by_place;
    struct statfs fs;
    char text[64], path[64];

    prepare();
    int fd = open("file", O_PATH | O_CLOEXEC), directory = open("directory", O_PATH | O_DIRECTORY);
    REQUIRE(fd >= 0 && directory >= 0);
    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQUAL(fcntl(fd, F_GETFL), O_PATH);
    CHECK_EQUAL(fcntl(directory, F_GETFL), O_PATH | O_DIRECTORY);
    CHECK(fcntl(fd, F_SETFD, 0) == 0);
    CHECK_EQUAL(fcntl(fd, F_GETFD), 0);
    CHECK(stat("file", &by_name) == 0);
    CHECK(fstat(fd, &by_place) == 0);
    CHECK_EQUAL(by_name.st_ino, by_place.st_ino);
    CHECK(fstatat(fd, "", &by_place, AT_EMPTY_PATH) == 0);
    CHECK_EQUAL(by_name.st_ino, by_place.st_ino);
    CHECK(fstatfs(fd, &fs) == 0);
    CHECK(faccessat(fd, "", R_OK, AT_EMPTY_PATH) == 0);
    CHECK(fchownat(fd, "", 0, 0, AT_EMPTY_PATH) == 0);
    sprintf(path, "/proc/self/fd/%d", fd);
    int reopened = open(path, O_RDONLY);
    REQUIRE(reopened >= 0);
    CHECK_EQUAL(read(reopened, text, sizeof text), 5);
    int copy = dup(fd);
    CHECK(copy >= 0 && fcntl(copy, F_GETFL) == O_PATH);
    int other = fcntl(fd, F_DUPFD_CLOEXEC, 50);
    CHECK_EQUAL(other, 50);
    CHECK_EQUAL(dup2(fd, 60), 60);
    CHECK_EQUAL(fcntl(60, F_GETFL), O_PATH);
    CHECK(mkdirat(directory, "made", 0700) == 0);
    CHECK(fstatat(directory, "made", &by_name, 0) == 0);
    int within = openat(directory, "made", O_RDONLY);
    CHECK(within >= 0);
    CHECK(fchdir(directory) == 0);
    CHECK(stat("made", &by_name) == 0);
    CHECK_FAILS(fchdir(fd), ENOTDIR);
    CHECK_FAILS(open("../file", O_PATH | O_DIRECTORY), ENOTDIR);
    CHECK_FAILS(open("nothing", O_PATH | O_CREAT, 0644), ENOENT);
    CHECK(close(fd) == 0);
    CHECK_FAILS(fstat(fd, &by_place), EBADF);
}

CASE(a_place_cannot_be_used_as_a_file)
{
    char bytes[8];
    struct iovec piece = {.iov_base = bytes, .iov_len = 8};
    struct epoll_event event = {.events = EPOLLIN};

    prepare();
    int fd = open("file", O_PATH), directory = open("directory", O_PATH), epoll = epoll_create1(0);
    CHECK_FAILS(read(fd, bytes, 8), EBADF);
    CHECK_FAILS(write(fd, bytes, 8), EBADF);
    CHECK_FAILS(pread(fd, bytes, 8, 0), EBADF);
    CHECK_FAILS(readv(fd, &piece, 1), EBADF);
    CHECK_FAILS(lseek(fd, 0, SEEK_SET), EBADF);
    CHECK_FAILS(ftruncate(fd, 0), EBADF);
    CHECK_FAILS(fallocate(fd, 0, 0, 8), EBADF);
    CHECK_FAILS(fsync(fd), EBADF);
    CHECK_FAILS(fchmod(fd, 0600), EBADF);
    CHECK_FAILS(fchown(fd, 0, 0), EBADF);
    CHECK_FAILS(futimens(fd, NULL), EBADF);
    CHECK_FAILS(ioctl(fd, FIONREAD, bytes), EBADF);
    CHECK_FAILS(fcntl(fd, F_SETFL, O_NONBLOCK), EBADF);
    CHECK_FAILS(fcntl(fd, F_SETOWN, getpid()), EBADF);
    CHECK_FAILS(fcntl(fd, F_GETPIPE_SZ), EBADF);
    CHECK_FAILS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), EBADF);
    CHECK_FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), EBADF);
    CHECK_FAILS(syscall(SYS_getdents64, directory, bytes, 8), EBADF);
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    CHECK_EQUAL(poll(&entry, 1, 0), 1);
    CHECK_EQUAL(entry.revents, POLLNVAL);
}

CASE(a_place_may_be_a_link_or_forbidden)
{
    struct stat info;
    char text[16], path[64];

    prepare();
    int link = open("link", O_PATH | O_NOFOLLOW);
    REQUIRE(link >= 0);
    CHECK_EQUAL(fcntl(link, F_GETFL), O_PATH | O_NOFOLLOW);
    CHECK(fstat(link, &info) == 0 && S_ISLNK(info.st_mode));
    CHECK_EQUAL(readlinkat(link, "", text, sizeof text), 4);
    sprintf(path, "/proc/self/fd/%d", link);
    CHECK_FAILS(open(path, O_RDONLY), ELOOP);
    int followed = open("link", O_PATH);
    CHECK(fstat(followed, &info) == 0 && S_ISREG(info.st_mode));
    REQUIRE(chmod("file", 0) == 0 && chmod("directory", 0) == 0);
    REQUIRE(setuid(1000) == 0);
    int fd = open("file", O_PATH), directory = open("directory", O_PATH);
    CHECK(fd >= 0 && directory >= 0);
    CHECK_FAILS(open("file", O_RDONLY), EACCES);
    sprintf(path, "/proc/self/fd/%d", fd);
    CHECK_FAILS(open(path, O_RDONLY), EACCES);
    CHECK_FAILS(openat(directory, "below", O_PATH), EACCES);
    CHECK_FAILS(fchdir(directory), EACCES);
}

CASE(a_place_can_be_sent)
{
    int ends[2];
    char byte = 0;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec piece = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};

    prepare();
    int fd = open("file", O_PATH), got;
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    CHECK_EQUAL(sendmsg(ends[0], &message, 0), 1);
    CHECK_EQUAL(recvmsg(ends[1], &message, 0), 1);
    memcpy(&got, CMSG_DATA(&control.header), sizeof got);
    CHECK(got > fd);
    CHECK_EQUAL(fcntl(got, F_GETFL), O_PATH);
    CHECK_FAILS(read(got, &byte, 1), EBADF);
}

CASE(files_without_a_name)
{
    struct stat info, again;
    char text[128], path[64];

    prepare();
    int fd = open(".", O_TMPFILE | O_RDWR, 0640);
    REQUIRE(fd >= 0);
    CHECK(fstat(fd, &info) == 0);
    CHECK_EQUAL(info.st_nlink, 0);
    CHECK_EQUAL(info.st_mode, S_IFREG | 0640);
    CHECK_EQUAL(write(fd, "content", 7), 7);
    sprintf(path, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(path, text, sizeof text - 1);
    REQUIRE(len > 0);
    text[len] = 0;
    char expected[64];
    sprintf(expected, "#%lu (deleted)", (unsigned long)info.st_ino);
    CHECK(strlen(text) > strlen(expected) && strcmp(text + strlen(text) - strlen(expected), expected) == 0);
    CHECK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW) == 0);
    CHECK(stat("named", &again) == 0);
    CHECK_EQUAL(again.st_ino, info.st_ino);
    CHECK_EQUAL(again.st_nlink, 1);
    CHECK_EQUAL(again.st_size, 7);
    CHECK(linkat(fd, "", AT_FDCWD, "second", AT_EMPTY_PATH) == 0);
    CHECK_FAILS(linkat(fd, "", AT_FDCWD, "second", AT_EMPTY_PATH), EEXIST);
    CHECK(fstat(fd, &again) == 0);
    CHECK_EQUAL(again.st_nlink, 2);
    CHECK_FAILS(linkat(fd, "", AT_FDCWD, "third", 0), ENOENT);
    CHECK_FAILS(linkat(fd, "", AT_FDCWD, "third", 0x1), EINVAL);

    int closed = open("directory", O_TMPFILE | O_WRONLY | O_EXCL, 0600);
    REQUIRE(closed >= 0);
    CHECK_FAILS(linkat(closed, "", AT_FDCWD, "third", AT_EMPTY_PATH), ENOENT);
    CHECK(rmdir("directory/below") == 0);
    CHECK(rmdir("directory") == 0);
    CHECK_EQUAL(write(closed, "x", 1), 1);

    CHECK_FAILS(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
    CHECK_FAILS(open(".", O_TMPFILE | O_RDWR | O_CREAT, 0600), EINVAL);
    CHECK_FAILS(open(".", (O_TMPFILE & ~O_DIRECTORY) | O_RDWR, 0600), EINVAL);
    CHECK_FAILS(open("file", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
    CHECK_FAILS(open("nothing", O_TMPFILE | O_RDWR, 0600), ENOENT);
    CHECK_FAILS(open("/proc", O_TMPFILE | O_RDWR, 0600), EOPNOTSUPP);
    REQUIRE(mkdir("closed", 0755) == 0);
    REQUIRE(setuid(1000) == 0);
    CHECK_FAILS(open("closed", O_TMPFILE | O_RDWR, 0600), EACCES);
}

static int open_how(int directory, const char *path, unsigned long flags, unsigned long resolve)
{
    struct open_how how = {.flags = flags, .resolve = resolve};
    return syscall(SYS_openat2, directory, path, &how, sizeof how);
}

CASE(openat2_knows_what_it_is_asked)
{
    struct {
        struct open_how how;
        unsigned long more;
    } longer = {.how = {.flags = O_RDONLY}};
    struct open_how how = {.flags = O_CREAT | O_RDWR, .mode = 0600};
    struct stat info;

    prepare();
    CHECK(open_how(AT_FDCWD, "file", O_RDONLY | O_CLOEXEC, 0) >= 0);
    CHECK(syscall(SYS_openat2, AT_FDCWD, "file", &longer, sizeof longer) >= 0);
    longer.more = 1;
    CHECK_FAILS(syscall(SYS_openat2, AT_FDCWD, "file", &longer, sizeof longer), E2BIG);
    CHECK_FAILS(syscall(SYS_openat2, AT_FDCWD, "file", &longer, 8), EINVAL);
    CHECK_FAILS(syscall(SYS_openat2, AT_FDCWD, "file", &longer, 8192), E2BIG);
    CHECK_FAILS(syscall(SYS_openat2, AT_FDCWD, "file", NULL, sizeof how), EFAULT);
    CHECK(syscall(SYS_openat2, AT_FDCWD, "new", &how, sizeof how) >= 0);
    CHECK(stat("new", &info) == 0);
    CHECK_EQUAL(info.st_mode, S_IFREG | 0600);
    how.mode = 010000;
    CHECK_FAILS(syscall(SYS_openat2, AT_FDCWD, "new", &how, sizeof how), EINVAL);
    how = (struct open_how){.flags = O_RDONLY, .mode = 0600};
    CHECK_FAILS(syscall(SYS_openat2, AT_FDCWD, "new", &how, sizeof how), EINVAL);
    CHECK_FAILS(open_how(AT_FDCWD, "file", 1UL << 40, 0), EINVAL);
    CHECK_FAILS(open_how(AT_FDCWD, "file", 1UL << 30, 0), EINVAL);
    CHECK_FAILS(open_how(AT_FDCWD, "file", O_RDONLY, 0x40), EINVAL);
    CHECK_FAILS(open_how(AT_FDCWD, "file", O_RDONLY, RESOLVE_BENEATH | RESOLVE_IN_ROOT), EINVAL);
    CHECK_FAILS(open_how(AT_FDCWD, "file", O_PATH | O_RDWR, 0), EINVAL);
    CHECK(open_how(AT_FDCWD, "file", O_PATH | O_CLOEXEC | O_NOFOLLOW, 0) >= 0);
}

CASE(walks_that_stay_below)
{
    prepare();
    REQUIRE(symlink("../file", "directory/up") == 0);
    REQUIRE(symlink("/file", "directory/absolute") == 0);
    REQUIRE(symlink("below/..", "directory/around") == 0);
    REQUIRE(symlink("/below", "directory/rooted") == 0);
    int directory = open("directory", O_RDONLY);

    CHECK(open_how(directory, "below", O_RDONLY, RESOLVE_BENEATH) >= 0);
    CHECK(open_how(directory, "below/..", O_RDONLY, RESOLVE_BENEATH) >= 0);
    CHECK(open_how(directory, "around", O_RDONLY, RESOLVE_BENEATH) >= 0);
    CHECK_FAILS(open_how(directory, "..", O_RDONLY, RESOLVE_BENEATH), EXDEV);
    CHECK_FAILS(open_how(directory, "below/../../file", O_RDONLY, RESOLVE_BENEATH), EXDEV);
    CHECK_FAILS(open_how(directory, "up", O_RDONLY, RESOLVE_BENEATH), EXDEV);
    CHECK_FAILS(open_how(directory, "absolute", O_RDONLY, RESOLVE_BENEATH), EXDEV);
    CHECK_FAILS(open_how(directory, "/tmp", O_RDONLY, RESOLVE_BENEATH), EXDEV);
    CHECK_FAILS(open_how(AT_FDCWD, "/", O_RDONLY, RESOLVE_BENEATH), EXDEV);

    CHECK(open_how(directory, "/below", O_RDONLY, RESOLVE_IN_ROOT) >= 0);
    CHECK(open_how(directory, "../../below", O_RDONLY, RESOLVE_IN_ROOT) >= 0);
    CHECK(open_how(directory, "rooted", O_RDONLY, RESOLVE_IN_ROOT) >= 0);
    CHECK_FAILS(open_how(directory, "up", O_RDONLY, RESOLVE_IN_ROOT), ENOENT);
    CHECK_FAILS(open_how(directory, "absolute", O_RDONLY, RESOLVE_IN_ROOT), ENOENT);
    CHECK(openat(directory, "up", O_RDONLY) >= 0);
}

CASE(walks_that_follow_nothing)
{
    char magic[64];

    prepare();
    REQUIRE(symlink("directory", "way") == 0);
    int directory = open("directory", O_RDONLY);
    sprintf(magic, "/proc/self/fd/%d", directory);
    CHECK(open_how(AT_FDCWD, "file", O_RDONLY, RESOLVE_NO_SYMLINKS) >= 0);
    CHECK_FAILS(open_how(AT_FDCWD, "link", O_RDONLY, RESOLVE_NO_SYMLINKS), ELOOP);
    CHECK_FAILS(open_how(AT_FDCWD, "way/below", O_RDONLY, RESOLVE_NO_SYMLINKS), ELOOP);
    CHECK(open_how(AT_FDCWD, "link", O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS) >= 0);
    CHECK_FAILS(open_how(AT_FDCWD, magic, O_RDONLY, RESOLVE_NO_SYMLINKS), ELOOP);
    CHECK_FAILS(open_how(AT_FDCWD, magic, O_RDONLY, RESOLVE_NO_MAGICLINKS), ELOOP);
    CHECK(open_how(AT_FDCWD, "link", O_RDONLY, RESOLVE_NO_MAGICLINKS) >= 0);
    CHECK(open_how(AT_FDCWD, magic, O_RDONLY, 0) >= 0);
    int fds = open("/proc/self/fd", O_RDONLY);
    sprintf(magic, "%d", directory);
    CHECK_FAILS(open_how(fds, magic, O_RDONLY, RESOLVE_BENEATH), EXDEV);
    CHECK_FAILS(open_how(fds, magic, O_RDONLY, RESOLVE_IN_ROOT), EXDEV);
}

CASE(walks_that_stay_in_a_mount)
{
    prepare_attached(true);
    REQUIRE(mount("none", "directory", "tmpfs", 0, "") == 0);
    REQUIRE(mkdir("directory/inner", 0755) == 0);
    int inner = open("directory/inner", O_RDONLY);
    CHECK(open_how(AT_FDCWD, "directory/inner", O_RDONLY, 0) >= 0);
    CHECK_FAILS(open_how(AT_FDCWD, "directory", O_RDONLY, RESOLVE_NO_XDEV), EXDEV);
    CHECK_FAILS(open_how(AT_FDCWD, "directory/inner", O_RDONLY, RESOLVE_NO_XDEV), EXDEV);
    CHECK(open_how(inner, "..", O_RDONLY, RESOLVE_NO_XDEV) >= 0);
    CHECK_FAILS(open_how(inner, "../..", O_RDONLY, RESOLVE_NO_XDEV), EXDEV);
    CHECK(open_how(AT_FDCWD, "/", O_RDONLY, RESOLVE_NO_XDEV) >= 0);
    CHECK_FAILS(open_how(AT_FDCWD, "/proc/self", O_RDONLY, RESOLVE_NO_XDEV), EXDEV);
    close(inner);
    umount("directory");
    umount2(".", MNT_DETACH);
}

CASE(walks_in_what_is_cached)
{
    prepare();
    CHECK(open_how(AT_FDCWD, "file", O_RDONLY, RESOLVE_CACHED) >= 0);
    CHECK_FAILS(open_how(AT_FDCWD, "file", O_RDWR | O_TRUNC, RESOLVE_CACHED), EAGAIN);
    CHECK_FAILS(open_how(AT_FDCWD, ".", O_RDWR | O_TMPFILE, RESOLVE_CACHED), EAGAIN);
}

static int rename_flags(const char *old, const char *new, unsigned flags)
{
    return syscall(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, flags);
}

CASE(whiteouts)
{
    struct stat info;

    prepare();
    CHECK(rename_flags("file", "moved", RENAME_WHITEOUT) == 0);
    CHECK(stat("moved", &info) == 0 && S_ISREG(info.st_mode));
    CHECK(stat("file", &info) == 0);
    CHECK_EQUAL(info.st_mode, S_IFCHR);
    CHECK_EQUAL(info.st_rdev, makedev(0, 0));
    CHECK(rename_flags("moved", "directory/moved", RENAME_WHITEOUT | 1) == 0);
    CHECK(stat("moved", &info) == 0 && S_ISCHR(info.st_mode));
    CHECK_FAILS(rename_flags("directory/moved", "link", RENAME_WHITEOUT | 1), EEXIST);
    CHECK_FAILS(rename_flags("directory/moved", "link", RENAME_WHITEOUT | 2), EINVAL);
    CHECK(unlink("file") == 0);
    REQUIRE(mkdir("open", 0777) == 0 && chmod("open", 0777) == 0);
    REQUIRE(setuid(1000) == 0);
    REQUIRE(mkdir("open/own", 0700) == 0);
    CHECK(rename_flags("open/own", "open/other", RENAME_WHITEOUT) == 0);
    CHECK(stat("open/own", &info) == 0 && S_ISCHR(info.st_mode));
    CHECK_EQUAL(info.st_uid, 1000);
    CHECK(mknod("open/made", S_IFCHR | 0600, makedev(0, 0)) == 0);
    CHECK_FAILS(mknod("open/device", S_IFCHR | 0600, makedev(0, 1)), EPERM);
}
