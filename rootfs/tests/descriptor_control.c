/* ioctl: the requests that every descriptor understands. */
#include "check.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

CASE(a_descriptor_is_closed_by_exec_or_not)
{
    int fd = eventfd(0, 0);

    CHECK_EQUAL(ioctl(fd, FIOCLEX), 0);
    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQUAL(ioctl(fd, FIONCLEX), 0);
    CHECK_EQUAL(fcntl(fd, F_GETFD), 0);
    CHECK_FAILS(ioctl(-1, FIOCLEX), EBADF);
}

CASE(waiting_is_turned_off_for_all_openings)
{
    int on = 1, off = 0, pair[2], ends[2];
    char byte;

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(ends) == 0);
    int descriptors[] = {pair[0], ends[0], open("/", O_RDONLY | O_DIRECTORY), eventfd(0, 0)};
    for (unsigned i = 0; i < sizeof descriptors / sizeof *descriptors; i++) {
        int fd = descriptors[i], same = dup(fd), before = fcntl(fd, F_GETFL);

        CHECK_EQUAL(ioctl(fd, FIONBIO, &on), 0);
        CHECK_EQUAL(fcntl(same, F_GETFL), before | O_NONBLOCK);
        if (i < 2)
            CHECK_FAILS(read(same, &byte, 1), EAGAIN);
        CHECK_EQUAL(ioctl(same, FIONBIO, &off), 0);
        CHECK_EQUAL(fcntl(fd, F_GETFL), before);
        CHECK_FAILS(ioctl(fd, FIONBIO, (void *)8), EFAULT);
        CHECK_FAILS(ioctl(fd, FIOASYNC, (void *)8), EFAULT);
        CHECK_EQUAL(ioctl(fd, FIOASYNC, &off), 0);
    }
}

CASE(what_is_left_of_a_file)
{
    int fd = open("/tmp/descriptor-control", O_RDWR | O_CREAT | O_TRUNC, 0600), rest = -1;

    REQUIRE(fd >= 0);
    CHECK_EQUAL(write(fd, "0123456789", 10), 10);
    CHECK_EQUAL(ioctl(fd, FIONREAD, &rest), 0);
    CHECK_EQUAL(rest, 0);
    lseek(fd, 3, SEEK_SET);
    CHECK_EQUAL(ioctl(fd, FIONREAD, &rest), 0);
    CHECK_EQUAL(rest, 7);
    lseek(fd, 12, SEEK_SET);
    CHECK_EQUAL(ioctl(fd, FIONREAD, &rest), 0);
    CHECK_EQUAL(rest, -2);
    CHECK_FAILS(ioctl(fd, FIONREAD, (void *)8), EFAULT);
    CHECK_FAILS(ioctl(fd, TIOCGWINSZ, &rest), ENOTTY);
    unlink("/tmp/descriptor-control");
}
