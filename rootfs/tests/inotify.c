/* inotify: what happens to files and names is told, in order, once. */
#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define DIRECTORY "/tmp/inotify"

static char buffer[8192];
static ssize_t filled, at;

/* The next event; a mask of 0 if there is none. */
static struct inotify_event *next(int fd)
{
    static struct inotify_event none;

    if (at >= filled) {
        filled = read(fd, buffer, sizeof buffer);
        at = 0;
        if (filled <= 0) {
            filled = 0;
            return &none;
        }
    }
    struct inotify_event *event = (void *)(buffer + at);
    at += sizeof *event + event->len;
    return event;
}

#define CHECK_EVENT(fd, watch, wanted, title)                                             \
    do {                                                                                  \
        struct inotify_event *event = next(fd);                                           \
        CHECK_EQUAL(event->mask, wanted);                                                 \
        CHECK_EQUAL(event->wd, watch);                                                    \
        if (event->mask == (wanted))                                                      \
            CHECK(strcmp(event->len ? event->name : "", title) == 0);                     \
    } while (0)

#define CHECK_NOTHING(fd) CHECK_EQUAL(next(fd)->mask, 0)

static int prepare(void)
{
    mkdir("/tmp", 0777);
    system("rm -rf " DIRECTORY " " DIRECTORY "2");
    REQUIRE(mkdir(DIRECTORY, 0777) == 0 && mkdir(DIRECTORY "2", 0777) == 0);
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    REQUIRE(fd >= 0);
    return fd;
}

static void touch(const char *path)
{
    close(open(path, O_WRONLY | O_CREAT, 0600));
}

CASE(a_directory_tells_of_its_names)
{
    int fd = prepare(), watch = inotify_add_watch(fd, DIRECTORY, IN_CREATE | IN_DELETE | IN_MOVE);

    CHECK_EQUAL(watch, 1);
    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_NOTHING(fd);
    touch(DIRECTORY "/file");
    CHECK_EVENT(fd, watch, IN_CREATE, "file");
    CHECK_EQUAL(mkdir(DIRECTORY "/below", 0777), 0);
    CHECK_EVENT(fd, watch, IN_CREATE | IN_ISDIR, "below");
    CHECK_EQUAL(symlink("x", DIRECTORY "/link"), 0);
    CHECK_EVENT(fd, watch, IN_CREATE, "link");
    CHECK_EQUAL(link(DIRECTORY "/file", DIRECTORY "/other"), 0);
    CHECK_EVENT(fd, watch, IN_CREATE, "other");
    CHECK_EQUAL(unlink(DIRECTORY "/link"), 0);
    CHECK_EVENT(fd, watch, IN_DELETE, "link");
    CHECK_EQUAL(rmdir(DIRECTORY "/below"), 0);
    CHECK_EVENT(fd, watch, IN_DELETE | IN_ISDIR, "below");
    CHECK_EQUAL(unlink(DIRECTORY "/absent"), -1);
    touch(DIRECTORY "2/unwatched");
    CHECK_NOTHING(fd);
}

CASE(both_sides_of_a_move_share_a_cookie)
{
    int fd = prepare();
    int from = inotify_add_watch(fd, DIRECTORY, IN_ALL_EVENTS), to = inotify_add_watch(fd, DIRECTORY "2", IN_MOVE);

    touch(DIRECTORY "/file");
    at = filled = 0;
    read(fd, buffer, sizeof buffer);
    int file = inotify_add_watch(fd, DIRECTORY "/file", IN_MOVE_SELF);
    CHECK_EQUAL(rename(DIRECTORY "/file", DIRECTORY "2/moved"), 0);
    struct inotify_event *event = next(fd);
    CHECK_EQUAL(event->mask, IN_MOVED_FROM);
    CHECK_EQUAL(event->wd, from);
    CHECK(strcmp(event->name, "file") == 0);
    unsigned cookie = event->cookie;
    CHECK(cookie != 0);
    event = next(fd);
    CHECK_EQUAL(event->mask, IN_MOVED_TO);
    CHECK_EQUAL(event->wd, to);
    CHECK_EQUAL(event->cookie, cookie);
    CHECK(strcmp(event->name, "moved") == 0);
    CHECK_EVENT(fd, file, IN_MOVE_SELF, "");
    CHECK_NOTHING(fd);
}

CASE(a_file_tells_what_is_done_with_it)
{
    int fd = prepare(), directory = inotify_add_watch(fd, DIRECTORY, IN_ALL_EVENTS & ~IN_CREATE);
    char byte;

    touch(DIRECTORY "/file");
    CHECK_EVENT(fd, directory, IN_OPEN, "file");
    CHECK_EVENT(fd, directory, IN_CLOSE_WRITE, "file");
    int own = inotify_add_watch(fd, DIRECTORY "/file", IN_ALL_EVENTS);
    CHECK(own > directory);
    int file = open(DIRECTORY "/file", O_RDWR);
    CHECK_EVENT(fd, directory, IN_OPEN, "file");
    CHECK_EVENT(fd, own, IN_OPEN, "");
    CHECK_EQUAL(write(file, "ab", 2), 2);
    CHECK_EVENT(fd, directory, IN_MODIFY, "file");
    CHECK_EVENT(fd, own, IN_MODIFY, "");
    CHECK_EQUAL(pread(file, &byte, 1, 0), 1);
    CHECK_EVENT(fd, directory, IN_ACCESS, "file");
    CHECK_EVENT(fd, own, IN_ACCESS, "");
    CHECK_EQUAL(ftruncate(file, 0), 0);
    CHECK_EVENT(fd, directory, IN_MODIFY, "file");
    CHECK_EVENT(fd, own, IN_MODIFY, "");
    CHECK_EQUAL(fchmod(file, 0644), 0);
    CHECK_EVENT(fd, directory, IN_ATTRIB, "file");
    CHECK_EVENT(fd, own, IN_ATTRIB, "");
    close(file);
    CHECK_EVENT(fd, directory, IN_CLOSE_WRITE, "file");
    CHECK_EVENT(fd, own, IN_CLOSE_WRITE, "");
    close(open(DIRECTORY "/file", O_RDONLY));
    CHECK_EVENT(fd, directory, IN_OPEN, "file");
    CHECK_EVENT(fd, own, IN_OPEN, "");
    CHECK_EVENT(fd, directory, IN_CLOSE_NOWRITE, "file");
    CHECK_EVENT(fd, own, IN_CLOSE_NOWRITE, "");
    CHECK_NOTHING(fd);
}

CASE(what_is_gone_ends_its_watch)
{
    int fd = prepare();

    touch(DIRECTORY "/file");
    int directory = inotify_add_watch(fd, DIRECTORY, IN_DELETE | IN_DELETE_SELF);
    int file = inotify_add_watch(fd, DIRECTORY "/file", IN_ATTRIB | IN_DELETE_SELF);
    CHECK_EQUAL(unlink(DIRECTORY "/file"), 0);
    CHECK_EVENT(fd, file, IN_ATTRIB, "");
    struct inotify_event *event = next(fd);
    /* Whether the name or the file goes first is not promised. */
    bool name_first = event->mask == IN_DELETE;
    CHECK(name_first || event->mask == IN_DELETE_SELF);
    int rest = name_first ? IN_DELETE_SELF | IN_IGNORED : IN_DELETE | IN_IGNORED;
    while (rest && (event = next(fd))->mask) {
        CHECK(event->mask & rest);
        rest &= ~event->mask;
    }
    CHECK_EQUAL(rest, 0);
    CHECK_FAILS(inotify_rm_watch(fd, file), EINVAL);
    CHECK_EQUAL(rmdir(DIRECTORY), 0);
    CHECK_EVENT(fd, directory, IN_DELETE_SELF, "");
    CHECK_EVENT(fd, directory, IN_IGNORED, "");
    CHECK_NOTHING(fd);
}

CASE(watches_are_changed_and_ended)
{
    int fd = prepare(), watch = inotify_add_watch(fd, DIRECTORY, IN_CREATE);

    CHECK_EQUAL(inotify_add_watch(fd, DIRECTORY, IN_DELETE | IN_MASK_ADD), watch);
    touch(DIRECTORY "/a");
    unlink(DIRECTORY "/a");
    CHECK_EVENT(fd, watch, IN_CREATE, "a");
    CHECK_EVENT(fd, watch, IN_DELETE, "a");
    CHECK_EQUAL(inotify_add_watch(fd, DIRECTORY, IN_DELETE), watch);
    touch(DIRECTORY "/a");
    CHECK_NOTHING(fd);
    CHECK_FAILS(inotify_add_watch(fd, DIRECTORY, IN_DELETE | IN_MASK_CREATE), EEXIST);
    CHECK_EQUAL(inotify_rm_watch(fd, watch), 0);
    CHECK_EVENT(fd, watch, IN_IGNORED, "");
    unlink(DIRECTORY "/a");
    CHECK_NOTHING(fd);
    watch = inotify_add_watch(fd, DIRECTORY, IN_CREATE | IN_ONESHOT);
    touch(DIRECTORY "/a");
    touch(DIRECTORY "/b");
    CHECK_EVENT(fd, watch, IN_CREATE, "a");
    CHECK_EVENT(fd, watch, IN_IGNORED, "");
    CHECK_NOTHING(fd);
}

CASE(like_events_are_told_once_and_many_are_lost)
{
    int fd = prepare(), watch, bytes, count = 0;
    struct inotify_event *event;

    touch(DIRECTORY "/file");
    watch = inotify_add_watch(fd, DIRECTORY "/file", IN_MODIFY | IN_ATTRIB);
    int file = open(DIRECTORY "/file", O_RDWR);
    for (int i = 0; i < 10; i++)
        CHECK_EQUAL(write(file, "x", 1), 1);
    CHECK_EQUAL(ioctl(fd, FIONREAD, &bytes), 0);
    CHECK_EQUAL(bytes, (int)sizeof *event);
    CHECK_EVENT(fd, watch, IN_MODIFY, "");
    CHECK_NOTHING(fd);
    for (int i = 0; i < 9000; i++) {
        fchmod(file, 0600);
        if (write(file, "x", 1) != 1)
            exit(FAILED);
    }
    bool is_lost = false;
    while ((event = next(fd))->mask) {
        count++;
        is_lost = event->mask == IN_Q_OVERFLOW && event->wd == -1;
    }
    CHECK(is_lost);
    CHECK(count > 16000 && count < 17000);
}

static void *make_soon(void *unused)
{
    usleep(50000);
    touch(DIRECTORY "/soon");
    return unused;
}

CASE(who_waits_is_woken)
{
    int fd = prepare(), watch = inotify_add_watch(fd, DIRECTORY, IN_CREATE), bytes;
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    pthread_t thread;

    CHECK_EQUAL(poll(&entry, 1, 0), 0);
    pthread_create(&thread, NULL, make_soon, NULL);
    CHECK_EQUAL(poll(&entry, 1, 10000), 1);
    pthread_join(thread, NULL);
    CHECK_EQUAL(ioctl(fd, FIONREAD, &bytes), 0);
    CHECK_EQUAL(bytes, 32);
    CHECK_FAILS(read(fd, buffer, 16), EINVAL);
    CHECK_EVENT(fd, watch, IN_CREATE, "soon");
    unlink(DIRECTORY "/soon");
    fcntl(fd, F_SETFL, 0);
    pthread_create(&thread, NULL, make_soon, NULL);
    CHECK_EVENT(fd, watch, IN_CREATE, "soon");
    pthread_join(thread, NULL);
}

CASE(bad_arguments_are_refused)
{
    int fd = prepare(), ends[2];

    touch(DIRECTORY "/file");
    REQUIRE(pipe(ends) == 0);
    CHECK_FAILS(syscall(SYS_inotify_init1, 1), EINVAL);
    CHECK_FAILS(inotify_add_watch(fd, DIRECTORY "/absent", IN_CREATE), ENOENT);
    CHECK_FAILS(inotify_add_watch(fd, DIRECTORY, 0), EINVAL);
    CHECK_FAILS(inotify_add_watch(ends[0], DIRECTORY, IN_CREATE), EINVAL);
    CHECK_FAILS(inotify_add_watch(999, DIRECTORY, IN_CREATE), EBADF);
    CHECK_FAILS(inotify_add_watch(fd, DIRECTORY "/file", IN_OPEN | IN_ONLYDIR), ENOTDIR);
    CHECK_FAILS(inotify_add_watch(fd, DIRECTORY, IN_CREATE | IN_MASK_ADD | IN_MASK_CREATE), EINVAL);
    CHECK_FAILS(inotify_add_watch(fd, (void *)8, IN_CREATE), EFAULT);
    CHECK_FAILS(inotify_rm_watch(fd, 77), EINVAL);
    CHECK_FAILS(inotify_rm_watch(ends[0], 1), EINVAL);
    CHECK_FAILS(write(fd, "x", 1), EBADF);
    CHECK_EQUAL(chmod(DIRECTORY "/file", 0), 0);
    if (geteuid() == 0 && seteuid(1000) == 0)
        CHECK_FAILS(inotify_add_watch(fd, DIRECTORY "/file", IN_OPEN), EACCES);
}

CASE(listings_and_copies_are_told)
{
    int fd = prepare(), watch = inotify_add_watch(fd, DIRECTORY, IN_ACCESS | IN_MODIFY);
    char listing[1024];
    off_t offset = 0;

    touch(DIRECTORY "/from");
    touch(DIRECTORY "/to");
    int from = open(DIRECTORY "/from", O_RDWR), to = open(DIRECTORY "/to", O_WRONLY);
    int directory = open(DIRECTORY, O_RDONLY);
    REQUIRE(write(from, "content", 7) == 7);
    CHECK_EVENT(fd, watch, IN_MODIFY, "from");
    CHECK(syscall(SYS_getdents64, directory, listing, sizeof listing) > 0);
    CHECK_EVENT(fd, watch, IN_ACCESS | IN_ISDIR, "");
    CHECK_EQUAL(copy_file_range(from, &offset, to, NULL, 3, 0), 3);
    CHECK_EVENT(fd, watch, IN_ACCESS, "from");
    CHECK_EVENT(fd, watch, IN_MODIFY, "to");
    CHECK_EQUAL(syscall(SYS_sendfile, to, from, &offset, 4), 4);
    CHECK_EVENT(fd, watch, IN_ACCESS, "from");
    CHECK_EVENT(fd, watch, IN_MODIFY, "to");
    CHECK_NOTHING(fd);
}
