/* Pipes: what goes in comes out, bounds, ends that close, sizes, packets, readiness. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

static int ready(int fd, int events)
{
    struct pollfd entry = {.fd = fd, .events = events};
    return poll(&entry, 1, 0) < 0 ? -1 : entry.revents;
}

CASE(bytes_come_out_in_order)
{
    int ends[2];
    char buffer[8];

    REQUIRE(pipe(ends) == 0);
    CHECK_EQUAL(write(ends[1], "hello", 5), 5);
    CHECK_EQUAL(read(ends[0], buffer, 2), 2);
    CHECK_EQUAL(read(ends[0], buffer + 2, 6), 3);
    CHECK(memcmp(buffer, "hello", 5) == 0);
    CHECK_EQUAL(read(ends[0], buffer, 0), 0);
    CHECK_EQUAL(write(ends[1], buffer, 0), 0);
}

CASE(the_last_writer_gone_is_the_end)
{
    int ends[2];
    char bytes[4];

    REQUIRE(pipe(ends) == 0 && write(ends[1], "ab", 2) == 2);
    int copy = dup(ends[1]);
    close(ends[1]);
    CHECK_EQUAL(ready(ends[0], POLLIN), POLLIN);
    close(copy);
    CHECK_EQUAL(ready(ends[0], POLLIN), POLLIN | POLLHUP);
    CHECK_EQUAL(read(ends[0], bytes, 4), 2);
    CHECK_EQUAL(read(ends[0], bytes, 4), 0);
    CHECK_EQUAL(ready(ends[0], POLLIN), POLLHUP);
}

static volatile int broken;

static void on_broken(int number)
{
    (void)number;
    broken++;
}

CASE(without_readers_a_write_fails)
{
    int ends[2];

    REQUIRE(pipe(ends) == 0);
    signal(SIGPIPE, on_broken);
    close(ends[0]);
    CHECK_FAILS(write(ends[1], "x", 1), EPIPE);
    CHECK_EQUAL(broken, 1);
    CHECK_EQUAL(ready(ends[1], POLLOUT), POLLOUT | POLLERR);
}

CASE(a_full_pipe_does_not_take_more)
{
    int ends[2], bytes;
    static char page[4096];
    long total = 0, written;

    REQUIRE(pipe2(ends, O_NONBLOCK) == 0);
    CHECK_FAILS(read(ends[0], page, 1), EAGAIN);
    while ((written = write(ends[1], page, sizeof page)) > 0)
        total += written;
    CHECK_EQUAL(errno, EAGAIN);
    CHECK_EQUAL(total, 65536);
    CHECK_EQUAL(ready(ends[1], POLLOUT), 0);
    CHECK(ioctl(ends[0], FIONREAD, &bytes) == 0);
    CHECK_EQUAL(bytes, 65536);
    /* Room is counted in pages. */
    CHECK_EQUAL(read(ends[0], page, 4095), 4095);
    CHECK_EQUAL(ready(ends[1], POLLOUT), 0);
    CHECK_FAILS(write(ends[1], page, 1), EAGAIN);
    CHECK_EQUAL(read(ends[0], page, 1), 1);
    CHECK_EQUAL(ready(ends[1], POLLOUT), POLLOUT);
    CHECK_EQUAL(write(ends[1], page, 1), 1);
    CHECK_FAILS(write(ends[1], page, 4096), EAGAIN);
    CHECK_EQUAL(write(ends[1], page, 4095), 4095);
    CHECK_FAILS(write(ends[1], page, 1), EAGAIN);
}

CASE(small_writes_share_pages)
{
    int ends[2], total = 0;

    REQUIRE(pipe2(ends, O_NONBLOCK) == 0);
    while (write(ends[1], "0123456789", 10) == 10)
        total += 10;
    CHECK_EQUAL(total, 16 * 4090);
}

CASE(a_large_write_is_cut_when_it_may_not_wait)
{
    int ends[2];
    static char bytes[100000];

    REQUIRE(pipe2(ends, O_NONBLOCK) == 0);
    CHECK_EQUAL(write(ends[1], bytes, 100000), 65536);
    CHECK_FAILS(write(ends[1], bytes, 100000), EAGAIN);
    CHECK_EQUAL(read(ends[0], bytes, 5000), 5000);
    CHECK_EQUAL(write(ends[1], bytes, 5000), 4096);
}

CASE(a_large_write_waits_for_room_and_keeps_its_order)
{
    enum { TOTAL = 300001 };
    int ends[2], status;
    static unsigned char all[TOTAL];
    unsigned char bytes[3000];
    size_t at = 0;
    long count, wrong = 0;

    REQUIRE(pipe(ends) == 0);
    pid_t writer = fork();
    if (writer == 0) {
        for (size_t i = 0; i < TOTAL; i++)
            all[i] = (i * 7 + i / 4096) & 255;
        _exit(write(ends[1], all, TOTAL) == TOTAL ? 0 : 1);
    }
    close(ends[1]);
    while ((count = read(ends[0], bytes, sizeof bytes)) > 0)
        for (long i = 0; i < count; i++, at++)
            wrong += bytes[i] != ((at * 7 + at / 4096) & 255);
    CHECK_EQUAL(at, TOTAL);
    CHECK_EQUAL(wrong, 0);
    CHECK(waitpid(writer, &status, 0) == writer && status == 0);
}

CASE(small_writes_of_several_are_not_mixed)
{
    enum { WRITERS = 4, ROUNDS = 200, BYTES = 1000 };
    int ends[2], wrong = 0;
    char bytes[BYTES];

    REQUIRE(pipe(ends) == 0);
    for (int writer = 0; writer < WRITERS; writer++) {
        if (fork() == 0) {
            memset(bytes, 'a' + writer, BYTES);
            for (int i = 0; i < ROUNDS; i++)
                if (write(ends[1], bytes, BYTES) != BYTES)
                    _exit(1);
            _exit(0);
        }
    }
    close(ends[1]);
    for (int i = 0; i < WRITERS * ROUNDS; i++) {
        for (int have = 0; have < BYTES;) {
            long count = read(ends[0], bytes + have, BYTES - have);
            REQUIRE(count > 0);
            have += count;
        }
        for (int j = 1; j < BYTES; j++)
            wrong += bytes[j] != bytes[0];
    }
    CHECK_EQUAL(wrong, 0);
    CHECK_EQUAL(read(ends[0], bytes, 1), 0);
}

CASE(two_readers_share_what_comes)
{
    int ends[2], told[2];
    char byte;

    REQUIRE(pipe(ends) == 0 && pipe(told) == 0);
    for (int i = 0; i < 2; i++) {
        if (fork() == 0) {
            if (read(ends[0], &byte, 1) == 1)
                write(told[1], &byte, 1);
            _exit(0);
        }
    }
    usleep(100000);
    REQUIRE(write(ends[1], "xy", 2) == 2);
    CHECK_EQUAL(read(told[0], &byte, 1), 1);
    CHECK_EQUAL(read(told[0], &byte, 1), 1);
}

CASE(sizes_can_be_changed)
{
    int ends[2];
    static char bytes[32768];

    REQUIRE(pipe2(ends, O_NONBLOCK) == 0);
    CHECK_EQUAL(fcntl(ends[0], F_GETPIPE_SZ), 65536);
    CHECK_EQUAL(fcntl(ends[0], F_SETPIPE_SZ, 0), 4096);
    CHECK_EQUAL(fcntl(ends[1], F_SETPIPE_SZ, 5000), 8192);
    CHECK_EQUAL(fcntl(ends[0], F_GETPIPE_SZ), 8192);
    CHECK_EQUAL(write(ends[1], bytes, 32768), 8192);
    CHECK_FAILS(fcntl(ends[1], F_SETPIPE_SZ, 4096), EBUSY);
    CHECK_FAILS(fcntl(ends[1], F_SETPIPE_SZ, -1), EINVAL);
    CHECK_EQUAL(fcntl(ends[1], F_SETPIPE_SZ, 32768), 32768);
    CHECK_EQUAL(write(ends[1], bytes, 32768), 32768 - 8192);
    CHECK_FAILS(fcntl(0, F_GETPIPE_SZ), EBADF);
    CHECK_EQUAL(fcntl(ends[1], F_SETPIPE_SZ, 2 << 20), 2 << 20);
}

CASE(packets_are_read_one_by_one)
{
    int ends[2];
    char bytes[16];
    static char large[5000];

    REQUIRE(pipe2(ends, O_DIRECT | O_NONBLOCK) == 0);
    CHECK(fcntl(ends[1], F_GETFL) & O_DIRECT);
    CHECK_EQUAL(write(ends[1], "hello", 5), 5);
    CHECK_EQUAL(write(ends[1], "you", 3), 3);
    CHECK_EQUAL(read(ends[0], bytes, 16), 5);
    CHECK_EQUAL(read(ends[0], bytes, 1), 1);
    CHECK_FAILS(read(ends[0], bytes, 16), EAGAIN);
    CHECK_EQUAL(write(ends[1], large, 5000), 5000);
    CHECK_EQUAL(read(ends[0], large, 5000), 4096);
    CHECK_EQUAL(read(ends[0], large, 5000), 904);
}

CASE(vectors_are_moved_as_one)
{
    int ends[2];
    char left[2], right[8];
    struct iovec out[] = {{"ab", 2}, {"", 0}, {"cde", 3}}, in[] = {{left, 2}, {right, 8}};

    REQUIRE(pipe(ends) == 0);
    CHECK_EQUAL(writev(ends[1], out, 3), 5);
    CHECK_EQUAL(readv(ends[0], in, 2), 5);
    CHECK(memcmp(left, "ab", 2) == 0 && memcmp(right, "cde", 3) == 0);
}

static void on_signal(int number)
{
    (void)number;
}

CASE(signals_interrupt_reads_and_writes)
{
    struct sigaction action = {.sa_handler = on_signal};
    int ends[2];
    static char bytes[100000];
    pid_t parent = getpid();

    REQUIRE(pipe(ends) == 0);
    sigaction(SIGUSR1, &action, NULL);
    if (fork() == 0) {
        /* Again and again: the first may come before the call. */
        do
            usleep(100000);
        while (kill(parent, SIGUSR1) == 0);
        _exit(0);
    }
    CHECK_FAILS(read(ends[0], bytes, 1), EINTR);
    /* What was written counts. */
    CHECK_EQUAL(write(ends[1], bytes, 100000), 65536);
    CHECK_FAILS(write(ends[1], bytes, 1), EINTR);
}

CASE(handlers_may_let_a_read_go_on)
{
    struct sigaction action = {.sa_handler = on_broken, .sa_flags = SA_RESTART};
    int ends[2];
    char byte;
    pid_t parent = getpid();

    REQUIRE(pipe(ends) == 0);
    sigaction(SIGUSR1, &action, NULL);
    if (fork() == 0) {
        usleep(100000);
        kill(parent, SIGUSR1);
        usleep(100000);
        write(ends[1], "x", 1);
        _exit(0);
    }
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
    CHECK_EQUAL(broken, 1);
}

CASE(bad_arguments_are_refused)
{
    int ends[2];
    char byte;

    CHECK_FAILS(pipe2(ends, ~0), EINVAL);
    CHECK_FAILS(pipe((int *)8), EFAULT);
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    CHECK_EQUAL(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
    CHECK_FAILS(read(ends[1], &byte, 1), EBADF);
    CHECK_FAILS(write(ends[0], &byte, 1), EBADF);
    CHECK_FAILS(lseek(ends[0], 0, SEEK_CUR), ESPIPE);
    CHECK_FAILS(pread(ends[0], &byte, 1, 0), ESPIPE);
    CHECK_FAILS(write(ends[1], (void *)8, 1), EFAULT);
    REQUIRE(write(ends[1], "x", 1) == 1);
    CHECK_FAILS(read(ends[0], (void *)8, 1), EFAULT);
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
}

CASE(ioctl_sets_what_fcntl_sets)
{
    int ends[2], on = 1, off = 0;
    char byte;

    REQUIRE(pipe(ends) == 0);
    CHECK(ioctl(ends[0], FIONBIO, &on) == 0);
    CHECK_EQUAL(fcntl(ends[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    CHECK_FAILS(read(ends[0], &byte, 1), EAGAIN);
    CHECK(ioctl(ends[0], FIONBIO, &off) == 0);
    CHECK_EQUAL(fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0);
    CHECK(ioctl(ends[0], FIOCLEX) == 0);
    CHECK_EQUAL(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
    CHECK(ioctl(ends[0], FIONCLEX) == 0);
    CHECK_EQUAL(fcntl(ends[0], F_GETFD), 0);
    CHECK_FAILS(ioctl(ends[0], FIONBIO, (int *)8), EFAULT);
}
