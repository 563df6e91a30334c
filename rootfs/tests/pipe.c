/* Pipes: what goes in comes out, bounds, ends that close. */
#include "check.h"

#include <fcntl.h>

CASE(bytes_come_out_in_order)
{
    int ends[2];
    char buffer[8];

    REQUIRE(pipe(ends) == 0);
    CHECK_EQUAL(write(ends[1], "hello", 5), 5);
    CHECK_EQUAL(read(ends[0], buffer, 2), 2);
    CHECK_EQUAL(read(ends[0], buffer + 2, 6), 3);
    CHECK(memcmp(buffer, "hello", 5) == 0);
}

CASE(the_last_writer_gone_is_the_end)
{
    int ends[2];
    char byte;

    REQUIRE(pipe(ends) == 0);
    close(ends[1]);
    CHECK_EQUAL(read(ends[0], &byte, 1), 0);
}

CASE(without_readers_a_write_fails)
{
    int ends[2];

    REQUIRE(pipe(ends) == 0);
    signal(SIGPIPE, SIG_IGN);
    close(ends[0]);
    CHECK_FAILS(write(ends[1], "x", 1), EPIPE);
}

CASE(a_full_pipe_does_not_take_more)
{
    int ends[2];
    static char page[4096];
    long total = 0, written;

    REQUIRE(pipe2(ends, O_NONBLOCK) == 0);
    CHECK_FAILS(read(ends[0], page, 1), EAGAIN);
    while ((written = write(ends[1], page, sizeof page)) > 0)
        total += written;
    CHECK_EQUAL(errno, EAGAIN);
    CHECK_EQUAL(total, 65536);
}

CASE(bad_arguments_are_refused)
{
    int ends[2];

    CHECK_FAILS(pipe2(ends, ~0), EINVAL);
    CHECK_FAILS(pipe((int *)8), EFAULT);
}
