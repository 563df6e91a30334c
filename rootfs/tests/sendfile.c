/* sendfile: from a file to a file, a pipe, a socket, by position or not. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { PAGE = 4096, PIPE_BYTES = 16 * PAGE, LARGE = 5 * PIPE_BYTES + 123 };

static int new_file(const char *name, int flags)
{
    char path[64];

    snprintf(path, sizeof path, "/%s.%d", name, getpid());
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | flags, 0600);
    REQUIRE(fd >= 0);
    unlink(path);
    return fd;
}

static char large[LARGE], got[LARGE];

static int large_file(void)
{
    int fd = new_file("source", 0);

    for (size_t i = 0; i < sizeof large; i++)
        large[i] = i % 251;
    REQUIRE(write(fd, large, sizeof large) == sizeof large);
    REQUIRE(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static off_t size_of(int fd)
{
    struct stat status;

    REQUIRE(fstat(fd, &status) == 0);
    return status.st_size;
}

CASE(to_a_file_by_position_and_without)
{
    int source = large_file(), target = new_file("target", 0);
    off_t at = 7;

    CHECK_EQUAL(sendfile(target, source, NULL, 100), 100);
    CHECK_EQUAL(lseek(source, 0, SEEK_CUR), 100);
    CHECK_EQUAL(lseek(target, 0, SEEK_CUR), 100);
    CHECK_EQUAL(sendfile(target, source, &at, 50), 50);
    CHECK_EQUAL(at, 57);
    CHECK_EQUAL(lseek(source, 0, SEEK_CUR), 100);
    CHECK_EQUAL(pread(target, got, sizeof got, 0), 150);
    CHECK(memcmp(got, large, 100) == 0 && memcmp(got + 100, large + 7, 50) == 0);
    at = 1;
    CHECK_EQUAL(sendfile(target, source, &at, sizeof large), sizeof large - 1);
    CHECK_EQUAL(at, sizeof large);
    CHECK_EQUAL(size_of(target), 150 + sizeof large - 1);
    CHECK_EQUAL(pread(target, got, sizeof got, 150), sizeof large - 1);
    CHECK(memcmp(got, large + 1, sizeof large - 1) == 0);
    /* At the end there is nothing. */
    CHECK_EQUAL(sendfile(target, source, &at, 10), 0);
    at = 2 * sizeof large;
    CHECK_EQUAL(sendfile(target, source, &at, 10), 0);
    CHECK_EQUAL(at, 2 * sizeof large);
    CHECK_EQUAL(sendfile(target, source, NULL, 0), 0);
}

CASE(a_file_to_itself_grows)
{
    int fd = large_file();
    off_t at = 10;

    REQUIRE(lseek(fd, 0, SEEK_END) == sizeof large);
    CHECK_EQUAL(sendfile(fd, fd, &at, 100), 100);
    CHECK_EQUAL(size_of(fd), sizeof large + 100);
    CHECK_EQUAL(pread(fd, got, 100, sizeof large), 100);
    CHECK(memcmp(got, large + 10, 100) == 0);
}

/* What has no room is not waited for once some has been sent. */
CASE(to_a_pipe_as_much_as_fits)
{
    int source = large_file(), ends[2];

    REQUIRE(pipe(ends) == 0);
    CHECK_EQUAL(sendfile(ends[1], source, NULL, sizeof large), PIPE_BYTES);
    CHECK_EQUAL(lseek(source, 0, SEEK_CUR), PIPE_BYTES);
    REQUIRE(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    CHECK_FAILS(sendfile(ends[1], source, NULL, 10), EAGAIN);
    CHECK_EQUAL(read(ends[0], got, PIPE_BYTES), PIPE_BYTES);
    CHECK(memcmp(got, large, PIPE_BYTES) == 0);
    CHECK_EQUAL(lseek(source, 0, SEEK_CUR), PIPE_BYTES);
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    CHECK_FAILS(sendfile(ends[1], source, NULL, 10), EPIPE);
}

static void *read_all(void *argument)
{
    int fd = *(int *)argument;
    size_t done = 0;
    long bytes;

    while (done < sizeof got && (bytes = read(fd, got + done, sizeof got - done)) > 0)
        done += bytes;
    return (void *)done;
}

CASE(to_a_pipe_that_is_full_when_there_is_room)
{
    int source = large_file(), ends[2];
    pthread_t reader;
    size_t sent = 0;
    void *received;

    REQUIRE(pipe(ends) == 0);
    REQUIRE(pthread_create(&reader, NULL, read_all, &ends[0]) == 0);
    while (sent < sizeof large) {
        ssize_t bytes = sendfile(ends[1], source, NULL, sizeof large - sent);
        REQUIRE(bytes > 0);
        sent += bytes;
    }
    close(ends[1]);
    REQUIRE(pthread_join(reader, &received) == 0);
    CHECK_EQUAL((size_t)received, sizeof large);
    CHECK(memcmp(got, large, sizeof large) == 0);
}

CASE(to_a_socket_all_of_it)
{
    int source = large_file(), ends[2];
    pthread_t reader;
    void *received;
    off_t at = 0;

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    REQUIRE(pthread_create(&reader, NULL, read_all, &ends[0]) == 0);
    CHECK_EQUAL(sendfile(ends[1], source, &at, sizeof large), sizeof large);
    CHECK_EQUAL(at, sizeof large);
    shutdown(ends[1], SHUT_WR);
    REQUIRE(pthread_join(reader, &received) == 0);
    CHECK_EQUAL((size_t)received, sizeof large);
    CHECK(memcmp(got, large, sizeof large) == 0);
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    at = 0;
    CHECK_FAILS(sendfile(ends[1], source, &at, 10), EPIPE);
    CHECK_EQUAL(at, 0);
}

static void ignore(int signal)
{
    (void)signal;
}

CASE(a_signal_makes_it_short)
{
    int source = large_file(), ends[2], status;
    struct sigaction action = {.sa_handler = ignore};

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    REQUIRE(sigaction(SIGALRM, &action, NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        alarm(1);
        ssize_t sent = sendfile(ends[1], source, NULL, sizeof large);
        off_t at = lseek(source, 0, SEEK_CUR);
        _exit(sent > 0 && sent < (ssize_t)sizeof large && at == sent ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

CASE(zeros_are_sent_too)
{
    int zero = open("/dev/zero", O_RDONLY), target = new_file("target", 0);
    off_t at = 5;

    REQUIRE(zero >= 0);
    CHECK_EQUAL(sendfile(target, zero, NULL, 10000), 10000);
    CHECK_EQUAL(size_of(target), 10000);
    CHECK_EQUAL(sendfile(target, zero, &at, 10), 10);
    /* Which has no position that moves. */
    CHECK_EQUAL(at, 5);
}

CASE(devices_without_positions_take_any)
{
    const char *names[] = {"/dev/null", "/dev/zero", "/dev/full"};
    char byte = 1;

    for (int i = 0; i < 3; i++) {
        int fd = open(names[i], O_RDWR);
        REQUIRE(fd >= 0);
        CHECK_EQUAL(lseek(fd, 100, SEEK_SET), 0);
        CHECK_EQUAL(lseek(fd, 0, SEEK_END), 0);
        CHECK_EQUAL(pread(fd, &byte, 1, 1000), i == 0 ? 0 : 1);
        CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), 0);
    }
}

CASE(what_cannot_be_sent)
{
    int source = large_file(), target = new_file("target", 0), appending = new_file("appending", O_APPEND);
    int directory = open("/", O_RDONLY | O_DIRECTORY), reader = open("/dev/null", O_RDONLY);
    int writer = open("/dev/null", O_WRONLY), ends[2], sockets[2];
    off_t at = 0, before = -1;
    off_t *nowhere = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    CHECK_FAILS(sendfile(target, -1, NULL, 1), EBADF);
    CHECK_FAILS(sendfile(-1, source, NULL, 1), EBADF);
    CHECK_FAILS(sendfile(target, writer, NULL, 1), EBADF);
    CHECK_FAILS(sendfile(reader, source, NULL, 1), EBADF);
    CHECK_FAILS(sendfile(target, source, nowhere, 1), EFAULT);
    CHECK_FAILS(sendfile(-1, -1, nowhere, 1), EFAULT);
    CHECK_FAILS(sendfile(target, source, &before, 1), EINVAL);
    CHECK_FAILS(sendfile(target, source, NULL, -1), EINVAL);
    CHECK_FAILS(sendfile(appending, source, NULL, 1), EINVAL);
    CHECK_FAILS(sendfile(target, directory, NULL, 1), EINVAL);
    CHECK_FAILS(sendfile(target, ends[0], NULL, 1), EINVAL);
    CHECK_FAILS(sendfile(target, ends[0], &at, 1), ESPIPE);
    CHECK_FAILS(sendfile(target, sockets[0], NULL, 1), EINVAL);
    CHECK_FAILS(sendfile(target, sockets[0], &at, 1), ESPIPE);
    CHECK_EQUAL(sendfile(writer, source, NULL, 100), 100);
    CHECK_EQUAL(size_of(target), 0);
}
