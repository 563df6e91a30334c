/* Who reads and writes where: positions that several share, appending, and the flags of preadv2 and pwritev2. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20
#endif
#ifndef RWF_ATOMIC
#define RWF_ATOMIC 0x40
#endif

enum { PAGE = 4096, WRITERS = 2, RECORDS = 400, RECORD_BYTES = 5000 };

static char path[64];

static int new_file(int flags)
{
    snprintf(path, sizeof path, "/positions.%d", getpid());
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | flags, 0600);
    REQUIRE(fd >= 0);
    return fd;
}

static off_t size_of(int fd)
{
    struct stat status;

    REQUIRE(fstat(fd, &status) == 0);
    return status.st_size;
}

/* --- one position, several users -------------------------------------------------------------------------- */

struct share {
    int fd;
    char name;
    long count;
    int *seen;
};

/* Records are longer than a page, and the memory that they come from is touched by the call for the first time. */
static void *write_records(void *argument)
{
    struct share *share = argument;
    char *fresh = mmap(NULL, RECORD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    for (long i = 0; i < RECORDS; i++) {
        memset(fresh, share->name, RECORD_BYTES);
        if (write(share->fd, fresh, RECORD_BYTES) == RECORD_BYTES)
            share->count++;
    }
    munmap(fresh, RECORD_BYTES);
    return NULL;
}

static void check_records(int fd)
{
    char record[RECORD_BYTES];
    long found[WRITERS] = {0};

    CHECK_EQUAL(size_of(fd), (off_t)WRITERS * RECORDS * RECORD_BYTES);
    for (off_t at = 0; pread(fd, record, sizeof record, at) == sizeof record; at += sizeof record) {
        int writer = record[0] - 'a';
        REQUIRE(writer >= 0 && writer < WRITERS);
        for (size_t i = 0; i < sizeof record; i++)
            REQUIRE(record[i] == record[0]);
        found[writer]++;
    }
    for (int i = 0; i < WRITERS; i++)
        CHECK_EQUAL(found[i], RECORDS);
}

CASE(who_write_at_one_position_lose_nothing)
{
    int fd = new_file(0);
    pthread_t threads[WRITERS];
    struct share shares[WRITERS];

    for (int i = 0; i < WRITERS; i++) {
        shares[i] = (struct share){.fd = fd, .name = 'a' + i};
        REQUIRE(pthread_create(&threads[i], NULL, write_records, &shares[i]) == 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        CHECK_EQUAL(shares[i].count, RECORDS);
    }
    check_records(fd);
    CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), size_of(fd));
    unlink(path);
}

CASE(who_append_lose_nothing)
{
    int fd = new_file(O_APPEND);
    pid_t children[WRITERS];

    for (int i = 0; i < WRITERS; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            struct share share = {.fd = open(path, O_WRONLY | O_APPEND), .name = 'a' + i};
            write_records(&share);
            _exit(share.count == RECORDS ? 0 : 1);
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        int status;
        CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
    }
    check_records(fd);
    unlink(path);
}

enum { NUMBERS = 60000, NUMBERS_AT_ONCE = 700 };

static void *read_numbers(void *argument)
{
    struct share *share = argument;
    int numbers[NUMBERS_AT_ONCE];
    long bytes;

    while ((bytes = read(share->fd, numbers, sizeof numbers)) > 0)
        for (size_t i = 0; i < bytes / sizeof *numbers; i++) {
            __atomic_add_fetch(&share->seen[numbers[i]], 1, __ATOMIC_RELAXED);
            share->count++;
        }
    return NULL;
}

CASE(who_read_at_one_position_get_each_byte_once)
{
    static int numbers[NUMBERS];
    static int seen[NUMBERS];
    int fd = new_file(0);
    pthread_t threads[WRITERS];
    struct share shares[WRITERS];
    long sum = 0;

    for (int i = 0; i < NUMBERS; i++)
        numbers[i] = i;
    REQUIRE(write(fd, numbers, sizeof numbers) == sizeof numbers);
    REQUIRE(lseek(fd, 0, SEEK_SET) == 0);
    for (int i = 0; i < WRITERS; i++) {
        shares[i] = (struct share){.fd = fd, .seen = seen};
        REQUIRE(pthread_create(&threads[i], NULL, read_numbers, &shares[i]) == 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        sum += shares[i].count;
    }
    CHECK_EQUAL(sum, NUMBERS);
    for (int i = 0; i < NUMBERS; i++)
        REQUIRE(seen[i] == 1);
    unlink(path);
}

CASE(a_failed_transfer_leaves_the_position)
{
    int fd = new_file(0);
    char *nowhere = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(write(fd, "abcdef", 6) == 6);
    REQUIRE(lseek(fd, 2, SEEK_SET) == 2);
    CHECK_FAILS(read(fd, nowhere, 3), EFAULT);
    CHECK_FAILS(write(fd, nowhere, 3), EFAULT);
    CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), 2);
    CHECK_EQUAL(size_of(fd), 6);
    /* And nobody is kept waiting by what failed. */
    char byte;
    CHECK(read(fd, &byte, 1) == 1 && byte == 'c');
    unlink(path);
}

/* --- flags ------------------------------------------------------------------------------------------------ */

static ssize_t write_with(int fd, const char *text, off_t at, int flags)
{
    struct iovec piece = {(void *)text, strlen(text)};

    return pwritev2(fd, &piece, 1, at, flags);
}

static ssize_t read_with(int fd, char *byte, off_t at, int flags)
{
    struct iovec piece = {byte, 1};

    return preadv2(fd, &piece, 1, at, flags);
}

CASE(append_and_its_opposite)
{
    int fd = new_file(0);
    int appending = open(path, O_RDWR | O_APPEND);
    char got[16] = {0};

    REQUIRE(write(fd, "abc", 3) == 3);
    REQUIRE(lseek(fd, 1, SEEK_SET) == 1);
    CHECK_EQUAL(write_with(fd, "de", 0, RWF_APPEND), 2);
    CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), 1);
    CHECK_EQUAL(write_with(fd, "f", -1, RWF_APPEND), 1);
    CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), 6);
    CHECK_EQUAL(write_with(appending, "X", 1, RWF_NOAPPEND), 1);
    CHECK_EQUAL(write_with(appending, "g", 1, 0), 1);
    CHECK_EQUAL(pread(fd, got, sizeof got, 0), 7);
    CHECK(strcmp(got, "aXcdefg") == 0);
    CHECK_FAILS(write_with(fd, "x", 0, RWF_APPEND | RWF_NOAPPEND), EINVAL);
    CHECK_EQUAL(read_with(fd, got, 0, RWF_APPEND), 1);
    unlink(path);
}

CASE(writes_that_last)
{
    int fd = new_file(0);

    CHECK_EQUAL(write_with(fd, "abc", 0, RWF_DSYNC), 3);
    CHECK_EQUAL(write_with(fd, "abc", -1, RWF_SYNC), 3);
    CHECK_EQUAL(write_with(fd, "abc", -1, RWF_HIPRI), 3);
    CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), 6);
    unlink(path);
}

CASE(what_does_not_wait_says_so)
{
    char byte = 1;
    int ends[2], sockets[2], event = eventfd(0, 0), zero = open("/dev/zero", O_RDWR);
    int file = new_file(0);

    REQUIRE(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0 && event >= 0 && zero >= 0);
    CHECK_FAILS(read_with(ends[0], &byte, -1, RWF_NOWAIT), EAGAIN);
    CHECK_EQUAL(write_with(ends[1], "a", -1, RWF_NOWAIT), 1);
    CHECK_EQUAL(read_with(ends[0], &byte, -1, RWF_NOWAIT), 1);
    CHECK(byte == 'a');
    CHECK_FAILS(read_with(sockets[0], &byte, -1, RWF_NOWAIT), EAGAIN);
    CHECK_EQUAL(write_with(sockets[1], "b", -1, RWF_NOWAIT), 1);
    CHECK_EQUAL(read_with(sockets[0], &byte, -1, RWF_NOWAIT), 1);
    CHECK_EQUAL(read_with(zero, &byte, -1, RWF_NOWAIT), 1);
    CHECK(byte == 0);
    uint64_t count;
    struct iovec whole = {&count, sizeof count};
    CHECK_FAILS(preadv2(event, &whole, 1, -1, RWF_NOWAIT), EAGAIN);
    /* A file in memory does not promise it. */
    CHECK_FAILS(read_with(file, &byte, 0, RWF_NOWAIT), EOPNOTSUPP);
    CHECK_FAILS(write_with(file, "a", 0, RWF_NOWAIT), EOPNOTSUPP);
    unlink(path);
}

CASE(flags_that_are_refused)
{
    char byte = 1;
    int fd = new_file(0), reader = open(path, O_RDONLY), ends[2];

    REQUIRE(pipe(ends) == 0);
    CHECK_FAILS(write_with(fd, "a", 0, RWF_ATOMIC), EOPNOTSUPP);
    CHECK_FAILS(read_with(fd, &byte, 0, RWF_ATOMIC), EOPNOTSUPP);
    CHECK_FAILS(write_with(fd, "a", 0, 1 << 30), EOPNOTSUPP);
    CHECK_FAILS(read_with(fd, &byte, 0, 1 << 30), EOPNOTSUPP);
    CHECK_FAILS(write_with(reader, "a", 0, 1 << 30), EBADF);
    CHECK_FAILS(write_with(fd, "a", -2, 0), EINVAL);
    CHECK_FAILS(read_with(ends[0], &byte, 0, RWF_NOWAIT), ESPIPE);
    CHECK_FAILS(read_with(-1, &byte, 0, 1 << 30), EBADF);
    unlink(path);
}
