/* FIFOs: who waits for whom when they are opened, and one queue for all who open it. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#define FIFO "/tmp/fifo-test"

static void make(void)
{
    unlink(FIFO);
    REQUIRE(mkfifo(FIFO, 0600) == 0);
}

static int ready(int fd, int events)
{
    struct pollfd entry = {.fd = fd, .events = events};
    return poll(&entry, 1, 0) < 0 ? -1 : entry.revents;
}

CASE(who_does_not_wait_may_read_but_not_write_alone)
{
    char byte;

    make();
    CHECK_FAILS(open(FIFO, O_WRONLY | O_NONBLOCK), ENXIO);
    int reader = open(FIFO, O_RDONLY | O_NONBLOCK);
    REQUIRE(reader >= 0);
    CHECK_EQUAL(read(reader, &byte, 1), 0);
    CHECK_EQUAL(ready(reader, POLLIN), 0);
    int writer = open(FIFO, O_WRONLY | O_NONBLOCK);
    REQUIRE(writer >= 0);
    CHECK_FAILS(read(reader, &byte, 1), EAGAIN);
    CHECK_EQUAL(write(writer, "x", 1), 1);
    CHECK_EQUAL(ready(reader, POLLIN), POLLIN);
    close(writer);
    CHECK_EQUAL(ready(reader, POLLIN), POLLIN | POLLHUP);
    CHECK_EQUAL(read(reader, &byte, 1), 1);
    CHECK_EQUAL(read(reader, &byte, 1), 0);
}

CASE(a_reader_waits_for_a_writer)
{
    char bytes[8];

    make();
    if (fork() == 0) {
        usleep(100000);
        int writer = open(FIFO, O_WRONLY);
        write(writer, "hello", 5);
        _exit(0);
    }
    int reader = open(FIFO, O_RDONLY);
    REQUIRE(reader >= 0);
    CHECK_EQUAL(read(reader, bytes, 8), 5);
    CHECK_EQUAL(read(reader, bytes, 8), 0);
}

CASE(a_writer_waits_for_a_reader_even_one_that_leaves_at_once)
{
    make();
    if (fork() == 0) {
        usleep(100000);
        close(open(FIFO, O_RDONLY | O_NONBLOCK));
        _exit(0);
    }
    int writer = open(FIFO, O_WRONLY);
    REQUIRE(writer >= 0);
}

CASE(both_ways_waits_for_nobody)
{
    char byte;

    make();
    int both = open(FIFO, O_RDWR);
    REQUIRE(both >= 0);
    CHECK_EQUAL(write(both, "x", 1), 1);
    CHECK_EQUAL(ready(both, POLLIN | POLLOUT), POLLIN | POLLOUT);
    CHECK_EQUAL(read(both, &byte, 1), 1);
}

static void on_signal(int number)
{
    (void)number;
}

CASE(a_signal_interrupts_the_opening)
{
    struct sigaction action = {.sa_handler = on_signal};
    pid_t parent = getpid();

    make();
    sigaction(SIGUSR1, &action, NULL);
    if (fork() == 0) {
        /* Again and again: the first may come before the call. */
        do
            usleep(50000);
        while (kill(parent, SIGUSR1) == 0);
        _exit(0);
    }
    CHECK_FAILS(open(FIFO, O_RDONLY), EINTR);
    /* Who gave up is not counted. */
    CHECK_FAILS(open(FIFO, O_WRONLY | O_NONBLOCK), ENXIO);
}

CASE(what_nobody_read_is_gone_with_the_last_opening)
{
    char byte;

    make();
    int both = open(FIFO, O_RDWR | O_NONBLOCK);
    REQUIRE(write(both, "x", 1) == 1);
    int reader = open(FIFO, O_RDONLY | O_NONBLOCK);
    close(both);
    CHECK_EQUAL(read(reader, &byte, 1), 1);
    both = open(FIFO, O_RDWR | O_NONBLOCK);
    REQUIRE(write(both, "x", 1) == 1);
    close(both);
    close(reader);
    both = open(FIFO, O_RDWR | O_NONBLOCK);
    CHECK_FAILS(read(both, &byte, 1), EAGAIN);
    CHECK_FAILS(lseek(both, 0, SEEK_SET), ESPIPE);
}
