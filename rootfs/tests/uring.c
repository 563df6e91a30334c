/* io_uring: setting rings up, submitting, completions, links, and what is registered. */
#include "uring.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

CASE(setup_tells_sizes_and_offsets)
{
    struct io_uring_params params = {0};
    int fd = ring_setup(5, &params);

    REQUIRE(fd >= 0);
    CHECK_EQUAL(params.sq_entries, 8);
    CHECK_EQUAL(params.cq_entries, 16);
    CHECK_EQUAL(params.sq_off.head, 0);
    CHECK_EQUAL(params.sq_off.tail, 4);
    CHECK_EQUAL(params.sq_off.ring_mask, 16);
    CHECK_EQUAL(params.sq_off.ring_entries, 24);
    CHECK_EQUAL(params.sq_off.dropped, 32);
    CHECK_EQUAL(params.sq_off.flags, 36);
    CHECK_EQUAL(params.sq_off.array, 320);
    CHECK_EQUAL(params.cq_off.head, 8);
    CHECK_EQUAL(params.cq_off.tail, 12);
    CHECK_EQUAL(params.cq_off.ring_mask, 20);
    CHECK_EQUAL(params.cq_off.ring_entries, 28);
    CHECK_EQUAL(params.cq_off.flags, 40);
    CHECK_EQUAL(params.cq_off.overflow, 44);
    CHECK_EQUAL(params.cq_off.cqes, 64);
    CHECK(params.features & IORING_FEAT_SINGLE_MMAP);
    CHECK(params.features & IORING_FEAT_NODROP);
    CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
}

CASE(setup_refuses_what_makes_no_sense)
{
    struct io_uring_params params = {0};

    CHECK_FAILS(ring_setup(0, &params), EINVAL);
    CHECK_FAILS(ring_setup(32769, &params), EINVAL);
    CHECK_FAILS(ring_setup(1, NULL), EFAULT);
    params.flags = 1u << 31;
    CHECK_FAILS(ring_setup(1, &params), EINVAL);
    params.flags = IORING_SETUP_TASKRUN_FLAG;
    CHECK_FAILS(ring_setup(1, &params), EINVAL);
    params.flags = IORING_SETUP_DEFER_TASKRUN;
    CHECK_FAILS(ring_setup(1, &params), EINVAL);
    params.flags = IORING_SETUP_CQSIZE;
    params.cq_entries = 0;
    CHECK_FAILS(ring_setup(4, &params), EINVAL);
    params.cq_entries = 2;
    CHECK_FAILS(ring_setup(4, &params), EINVAL);
    params = (struct io_uring_params){.resv = {1}};
    CHECK_FAILS(ring_setup(1, &params), EINVAL);
    params = (struct io_uring_params){.flags = IORING_SETUP_CLAMP};
    int fd = ring_setup(100000, &params);
    CHECK(fd >= 0);
    CHECK_EQUAL(params.sq_entries, 32768);
    close(fd);
}

CASE(entering_refuses_what_makes_no_sense)
{
    struct ring ring;
    int pipes[2];

    ring_open(&ring, 4, 0, 0);
    CHECK_FAILS(ring_enter_with(ring.fd, 0, 0, 1u << 30, NULL, 0), EINVAL);
    CHECK_FAILS(ring_enter_with(-1, 0, 0, 0, NULL, 0), EBADF);
    REQUIRE(pipe(pipes) == 0);
    CHECK_FAILS(ring_enter_with(pipes[0], 0, 0, 0, NULL, 0), EOPNOTSUPP);
    CHECK_EQUAL(ring_enter(&ring, 3, 0), 0);
    struct io_uring_getevents_arg argument = {.ts = 8};
    CHECK_FAILS(ring_enter_with(ring.fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument, 8), EINVAL);
    CHECK_FAILS(ring_enter_with(ring.fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument,
                                sizeof(argument)), EFAULT);
    ring_close(&ring);
}

CASE(mapping_wants_a_known_offset)
{
    struct ring ring;

    ring_open(&ring, 4, 0, 0);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, ring.fd, 0x20000000) == MAP_FAILED && errno == ENOMEM);
    void *again = mmap(NULL, ring.rings_bytes, PROT_READ, MAP_SHARED, ring.fd, IORING_OFF_CQ_RING);
    CHECK(again != MAP_FAILED);
    CHECK_EQUAL(*(unsigned *)((char *)again + ring.params.cq_off.ring_entries), ring.params.cq_entries);
    ring_close(&ring);
}

CASE(nothing_is_done_in_order)
{
    static const unsigned flags[] = {0, IORING_SETUP_SQE128, IORING_SETUP_CQE32, IORING_SETUP_NO_SQARRAY,
                                     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};

    for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        struct ring ring;

        ring_open(&ring, 8, flags[i], 0);
        for (uint64_t round = 0; round < 10; round++) {
            for (uint64_t name = 0; name < 8; name++)
                ring_request(&ring, IORING_OP_NOP, round * 8 + name);
            CHECK_EQUAL(ring_enter(&ring, 8, 8), 8);
            CHECK_EQUAL(ring_available(&ring), 8);
            for (uint64_t name = 0; name < 8; name++)
                CHECK_COMPLETION(&ring, round * 8 + name, 0);
        }
        ring_close(&ring);
    }
}

CASE(unknown_operations_complete_with_an_error)
{
    struct ring ring;

    ring_open(&ring, 4, 0, 0);
    ring_request(&ring, 255, 1);
    ring_request(&ring, IORING_OP_NOP, 2);
    /* What is wrong with one ends the submission. */
    CHECK_EQUAL(ring_enter(&ring, 2, 0), 1);
    CHECK_COMPLETION(&ring, 1, -EINVAL);
    CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
    CHECK_COMPLETION(&ring, 2, 0);
    ring_close(&ring);

    ring_open(&ring, 4, IORING_SETUP_SUBMIT_ALL, 0);
    ring_request(&ring, 255, 1);
    ring_request(&ring, IORING_OP_NOP, 2);
    CHECK_EQUAL(ring_enter(&ring, 2, 0), 2);
    CHECK_COMPLETION(&ring, 1, -EINVAL);
    CHECK_COMPLETION(&ring, 2, 0);
    ring_close(&ring);
}

CASE(a_bad_index_is_dropped)
{
    struct ring ring;

    ring_open(&ring, 4, 0, 0);
    ring_request(&ring, IORING_OP_NOP, 1);
    ring_word(&ring, ring.params.sq_off.array)[0] = 77;
    ring_enter(&ring, 1, 0);
    CHECK_EQUAL(*ring_word(&ring, ring.params.sq_off.dropped), 1);
    CHECK_EQUAL(ring_available(&ring), 0);
    ring_close(&ring);
}

CASE(what_overflows_is_kept)
{
    struct ring ring;

    ring_open(&ring, 4, 0, 4);
    for (uint64_t name = 0; name < 12; name++) {
        ring_request(&ring, IORING_OP_NOP, name);
        CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
    }
    CHECK_EQUAL(ring_available(&ring), 4);
    CHECK(*ring_word(&ring, ring.params.sq_off.flags) & IORING_SQ_CQ_OVERFLOW);
    struct pollfd ready = {.fd = ring.fd, .events = POLLIN};
    CHECK_EQUAL(poll(&ready, 1, 0), 1);
    for (uint64_t name = 0; name < 12; name++)
        CHECK_COMPLETION(&ring, name, 0);
    CHECK(!(*ring_word(&ring, ring.params.sq_off.flags) & IORING_SQ_CQ_OVERFLOW));
    CHECK_EQUAL(*ring_word(&ring, ring.params.cq_off.overflow), 0);
    CHECK_EQUAL(poll(&ready, 1, 0), 0);
    ring_close(&ring);
}

CASE(reading_and_writing_files)
{
    struct ring ring;
    char text[32] = {0};
    struct iovec vectors[2] = {{.iov_base = text, .iov_len = 3}, {.iov_base = text + 8, .iov_len = 16}};
    int file = open("/tmp/uring", O_RDWR | O_CREAT | O_TRUNC, 0600);

    REQUIRE(file >= 0);
    unlink("/tmp/uring");
    ring_open(&ring, 4, 0, 0);
    struct io_uring_sqe *sqe = ring_request(&ring, IORING_OP_WRITE, 1);
    sqe->fd = file;
    sqe->addr = (uintptr_t)"abcdefgh";
    sqe->len = 8;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 1, 8);
    sqe = ring_request(&ring, IORING_OP_READV, 2);
    sqe->fd = file;
    sqe->addr = (uintptr_t)vectors;
    sqe->len = 2;
    sqe->off = 2;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 2, 6);
    CHECK(memcmp(text, "cde\0\0\0\0\0fgh", 12) == 0);
    /* Without an offset the file's own position counts. */
    CHECK_EQUAL(lseek(file, 4, SEEK_SET), 4);
    for (uint64_t name = 3; name < 5; name++) {
        sqe = ring_request(&ring, IORING_OP_READ, name);
        sqe->fd = file;
        sqe->addr = (uintptr_t)text;
        sqe->len = 3;
        sqe->off = (uint64_t)-1;
        CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    }
    CHECK_COMPLETION(&ring, 3, 3);
    CHECK_COMPLETION(&ring, 4, 1);
    CHECK_EQUAL(lseek(file, 0, SEEK_CUR), 8);
    sqe = ring_request(&ring, IORING_OP_READ, 5);
    sqe->fd = 999;
    sqe->addr = (uintptr_t)text;
    sqe->len = 1;
    sqe = ring_request(&ring, IORING_OP_READ, 6);
    sqe->fd = file;
    sqe->addr = 8;
    sqe->len = 1;
    CHECK_EQUAL(ring_enter(&ring, 2, 2), 2);
    CHECK_COMPLETION(&ring, 5, -EBADF);
    CHECK_COMPLETION(&ring, 6, -EFAULT);
    ring_close(&ring);
}

static void request_read(struct ring *ring, uint64_t name, int fd, void *buffer, unsigned len)
{
    struct io_uring_sqe *sqe = ring_request(ring, IORING_OP_READ, name);

    sqe->fd = fd;
    sqe->addr = (uintptr_t)buffer;
    sqe->len = len;
}

CASE(a_read_waits_for_its_pipe)
{
    static const unsigned flags[] = {0, IORING_SETUP_COOP_TASKRUN,
                                     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};

    for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        struct ring ring;
        int pipes[2];
        char bytes[8] = {0};

        REQUIRE(pipe(pipes) == 0);
        ring_open(&ring, 4, flags[i], 0);
        request_read(&ring, 1, pipes[0], bytes, 8);
        CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
        CHECK_EQUAL(ring_available(&ring), 0);
        CHECK_EQUAL(write(pipes[1], "pipe", 4), 4);
        CHECK_COMPLETION(&ring, 1, 4);
        CHECK(memcmp(bytes, "pipe", 4) == 0);
        request_read(&ring, 2, pipes[0], bytes, 8);
        CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
        close(pipes[1]);
        CHECK_COMPLETION(&ring, 2, 0);
        ring_close(&ring);
        close(pipes[0]);
    }
}

CASE(a_completion_comes_while_the_program_computes)
{
    struct ring ring;
    int pipes[2];
    char byte;

    REQUIRE(pipe(pipes) == 0);
    ring_open(&ring, 4, 0, 0);
    request_read(&ring, 1, pipes[0], &byte, 1);
    CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
    CHECK_EQUAL(write(pipes[1], "x", 1), 1);
    /* Nobody enters the kernel for it. */
    while (ring_available(&ring) == 0)
        ;
    CHECK_COMPLETION(&ring, 1, 1);
    ring_close(&ring);
}

CASE(a_nonblocking_file_is_waited_for)
{
    struct ring ring;
    int pipes[2];
    char byte;

    REQUIRE(pipe2(pipes, O_NONBLOCK) == 0);
    ring_open(&ring, 4, 0, 0);
    request_read(&ring, 1, pipes[0], &byte, 1);
    CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
    CHECK_EQUAL(ring_available(&ring), 0);
    CHECK_EQUAL(write(pipes[1], "x", 1), 1);
    CHECK_COMPLETION(&ring, 1, 1);
    ring_close(&ring);
}

CASE(closing_a_ring_ends_what_waits)
{
    struct ring ring;
    int pipes[2];
    char byte;

    REQUIRE(pipe(pipes) == 0);
    ring_open(&ring, 4, 0, 0);
    request_read(&ring, 1, pipes[0], &byte, 1);
    CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
    close(pipes[0]);
    /* The request has the pipe open. */
    struct pollfd ready = {.fd = pipes[1], .events = POLLOUT};
    CHECK_EQUAL(poll(&ready, 1, 0), 1);
    CHECK_EQUAL(ready.revents, POLLOUT);
    ring_close(&ring);
    ready.events = 0;
    CHECK_EQUAL(poll(&ready, 1, 10000), 1);
    CHECK_EQUAL(ready.revents, POLLERR);
}

CASE(links_go_one_after_the_other)
{
    struct ring ring;
    int pipes[2];
    char byte;

    REQUIRE(pipe(pipes) == 0);
    ring_open(&ring, 8, 0, 0);
    request_read(&ring, 1, pipes[0], &byte, 1);
    ring.sqes[0].flags = IOSQE_IO_LINK;
    ring_request(&ring, IORING_OP_NOP, 2)->flags = IOSQE_IO_LINK;
    ring_request(&ring, IORING_OP_NOP, 3);
    ring_request(&ring, IORING_OP_NOP, 4);
    CHECK_EQUAL(ring_enter(&ring, 4, 1), 4);
    CHECK_COMPLETION(&ring, 4, 0);
    CHECK_EQUAL(ring_available(&ring), 0);
    CHECK_EQUAL(write(pipes[1], "x", 1), 1);
    CHECK_COMPLETION(&ring, 1, 1);
    CHECK_COMPLETION(&ring, 2, 0);
    CHECK_COMPLETION(&ring, 3, 0);
    ring_close(&ring);
}

CASE(a_failure_ends_soft_links_only)
{
    struct ring ring;
    char byte;

    ring_open(&ring, 8, 0, 0);
    request_read(&ring, 1, 999, &byte, 1);
    ring.sqes[0].flags = IOSQE_IO_LINK;
    ring_request(&ring, IORING_OP_NOP, 2)->flags = IOSQE_IO_LINK;
    ring_request(&ring, IORING_OP_NOP, 3);
    CHECK_EQUAL(ring_enter(&ring, 3, 3), 3);
    CHECK_COMPLETION(&ring, 1, -EBADF);
    CHECK_COMPLETION(&ring, 2, -ECANCELED);
    CHECK_COMPLETION(&ring, 3, -ECANCELED);
    request_read(&ring, 4, 999, &byte, 1);
    ring.sqes[3].flags = IOSQE_IO_HARDLINK;
    ring_request(&ring, IORING_OP_NOP, 5);
    CHECK_EQUAL(ring_enter(&ring, 2, 2), 2);
    CHECK_COMPLETION(&ring, 4, -EBADF);
    CHECK_COMPLETION(&ring, 5, 0);
    ring_close(&ring);
}

CASE(a_chain_with_a_wrong_link_is_not_begun)
{
    struct ring ring;

    ring_open(&ring, 8, IORING_SETUP_SUBMIT_ALL, 0);
    ring_request(&ring, IORING_OP_NOP, 1)->flags = IOSQE_IO_LINK;
    ring_request(&ring, 255, 2)->flags = IOSQE_IO_LINK;
    ring_request(&ring, IORING_OP_NOP, 3);
    ring_request(&ring, IORING_OP_NOP, 4);
    CHECK_EQUAL(ring_enter(&ring, 4, 4), 4);
    int results[5] = {0};
    for (int i = 0; i < 4; i++) {
        struct io_uring_cqe cqe = ring_take(&ring);
        results[cqe.user_data] = cqe.res;
    }
    CHECK_EQUAL(results[1], -ECANCELED);
    CHECK_EQUAL(results[2], -EINVAL);
    CHECK_EQUAL(results[3], -ECANCELED);
    CHECK_EQUAL(results[4], 0);
    ring_close(&ring);
}

CASE(success_can_be_kept_silent)
{
    struct ring ring;
    char byte;

    ring_open(&ring, 8, 0, 0);
    ring_request(&ring, IORING_OP_NOP, 1)->flags = IOSQE_CQE_SKIP_SUCCESS;
    request_read(&ring, 2, 999, &byte, 1);
    ring.sqes[1].flags = IOSQE_CQE_SKIP_SUCCESS;
    CHECK_EQUAL(ring_enter(&ring, 2, 1), 2);
    CHECK_COMPLETION(&ring, 2, -EBADF);
    CHECK_EQUAL(ring_available(&ring), 0);
    ring_close(&ring);
}

static void request_poll(struct ring *ring, uint64_t name, int fd, unsigned events, unsigned flags)
{
    struct io_uring_sqe *sqe = ring_request(ring, IORING_OP_POLL_ADD, name);

    sqe->fd = fd;
    sqe->poll32_events = events;
    sqe->len = flags;
}

CASE(polls_tell_once_or_each_time)
{
    struct ring ring;
    int pipes[2];
    char bytes[8];

    REQUIRE(pipe(pipes) == 0);
    ring_open(&ring, 8, 0, 0);
    request_poll(&ring, 1, pipes[1], POLLOUT, 0);
    request_poll(&ring, 2, pipes[0], POLLIN, 0);
    CHECK_EQUAL(ring_enter(&ring, 2, 1), 2);
    CHECK_COMPLETION(&ring, 1, POLLOUT);
    CHECK_EQUAL(ring_available(&ring), 0);
    CHECK_EQUAL(write(pipes[1], "x", 1), 1);
    CHECK_COMPLETION(&ring, 2, POLLIN);
    CHECK_EQUAL(read(pipes[0], bytes, 8), 1);

    request_poll(&ring, 3, pipes[0], POLLIN, IORING_POLL_ADD_MULTI);
    CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(write(pipes[1], "x", 1), 1);
        struct io_uring_cqe cqe = ring_take(&ring);
        CHECK_EQUAL(cqe.user_data, 3);
        CHECK_EQUAL(cqe.res, POLLIN);
        CHECK_EQUAL(cqe.flags, IORING_CQE_F_MORE);
        CHECK_EQUAL(read(pipes[0], bytes, 8), 1);
    }
    ring_request(&ring, IORING_OP_POLL_REMOVE, 4)->addr = 3;
    CHECK_EQUAL(ring_enter(&ring, 1, 2), 1);
    struct io_uring_cqe first = ring_take(&ring), second = ring_take(&ring);
    if (first.user_data == 4) {
        struct io_uring_cqe swapped = first;
        first = second;
        second = swapped;
    }
    CHECK_EQUAL(first.user_data, 3);
    CHECK_EQUAL(first.res, -ECANCELED);
    CHECK_EQUAL(first.flags, 0);
    CHECK_EQUAL(second.user_data, 4);
    CHECK_EQUAL(second.res, 0);
    ring_request(&ring, IORING_OP_POLL_REMOVE, 5)->addr = 3;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 5, -ENOENT);
    ring_close(&ring);
}

CASE(a_poll_can_be_changed)
{
    struct ring ring;
    int pipes[2];

    REQUIRE(pipe(pipes) == 0);
    ring_open(&ring, 8, 0, 0);
    request_poll(&ring, 1, pipes[1], POLLPRI, 0);
    CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
    struct io_uring_sqe *sqe = ring_request(&ring, IORING_OP_POLL_REMOVE, 2);
    sqe->addr = 1;
    sqe->off = 77;
    sqe->len = IORING_POLL_UPDATE_USER_DATA;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 2, 0);
    sqe = ring_request(&ring, IORING_OP_POLL_REMOVE, 3);
    sqe->addr = 77;
    sqe->poll32_events = POLLOUT;
    sqe->len = IORING_POLL_UPDATE_EVENTS;
    CHECK_EQUAL(ring_enter(&ring, 1, 2), 1);
    struct io_uring_cqe first = ring_take(&ring), second = ring_take(&ring);
    CHECK_EQUAL(first.user_data + second.user_data, 80);
    CHECK_EQUAL(first.res + second.res, POLLOUT);
    ring_close(&ring);
}

CASE(timeouts_end_by_time_or_by_count)
{
    struct ring ring;
    struct __kernel_timespec soon = {.tv_nsec = 20000000}, late = {.tv_sec = 100};

    ring_open(&ring, 8, 0, 0);
    struct io_uring_sqe *sqe = ring_request(&ring, IORING_OP_TIMEOUT, 1);
    sqe->addr = (uintptr_t)&soon;
    sqe->len = 1;
    long long before = check_milliseconds();
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 1, -ETIME);
    CHECK(check_milliseconds() - before >= 19);
    sqe = ring_request(&ring, IORING_OP_TIMEOUT, 2);
    sqe->addr = (uintptr_t)&late;
    sqe->len = 1;
    sqe->off = 2;
    ring_request(&ring, IORING_OP_NOP, 3);
    CHECK_EQUAL(ring_enter(&ring, 2, 1), 2);
    CHECK_COMPLETION(&ring, 3, 0);
    CHECK_EQUAL(ring_available(&ring), 0);
    ring_request(&ring, IORING_OP_NOP, 4);
    CHECK_EQUAL(ring_enter(&ring, 1, 2), 1);
    CHECK_COMPLETION(&ring, 4, 0);
    CHECK_COMPLETION(&ring, 2, 0);
    ring_close(&ring);
}

CASE(a_timeout_can_be_ended_and_changed)
{
    struct ring ring;
    struct __kernel_timespec soon = {.tv_nsec = 10000000}, late = {.tv_sec = 100};

    ring_open(&ring, 8, 0, 0);
    for (uint64_t name = 1; name < 3; name++) {
        struct io_uring_sqe *sqe = ring_request(&ring, IORING_OP_TIMEOUT, name);
        sqe->addr = (uintptr_t)&late;
        sqe->len = 1;
    }
    CHECK_EQUAL(ring_enter(&ring, 2, 0), 2);
    ring_request(&ring, IORING_OP_TIMEOUT_REMOVE, 3)->addr = 1;
    CHECK_EQUAL(ring_enter(&ring, 1, 2), 1);
    struct io_uring_cqe first = ring_take(&ring), second = ring_take(&ring);
    CHECK_EQUAL(first.user_data + second.user_data, 4);
    CHECK_EQUAL(first.res + second.res, -ECANCELED);
    struct io_uring_sqe *sqe = ring_request(&ring, IORING_OP_TIMEOUT_REMOVE, 4);
    sqe->addr = 2;
    sqe->addr2 = (uintptr_t)&soon;
    sqe->timeout_flags = IORING_TIMEOUT_UPDATE;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 4, 0);
    CHECK_COMPLETION(&ring, 2, -ETIME);
    ring_request(&ring, IORING_OP_TIMEOUT_REMOVE, 5)->addr = 2;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 5, -ENOENT);
    ring_close(&ring);
}

CASE(a_timeout_can_repeat)
{
    struct ring ring;
    struct __kernel_timespec soon = {.tv_nsec = 5000000};

    ring_open(&ring, 8, 0, 0);
    struct io_uring_sqe *sqe = ring_request(&ring, IORING_OP_TIMEOUT, 1);
    sqe->addr = (uintptr_t)&soon;
    sqe->len = 1;
    sqe->off = 3;
    sqe->timeout_flags = IORING_TIMEOUT_MULTISHOT;
    CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
    for (int i = 0; i < 3; i++) {
        struct io_uring_cqe cqe = ring_take(&ring);
        CHECK_EQUAL(cqe.res, -ETIME);
        CHECK_EQUAL(cqe.flags, i < 2 ? IORING_CQE_F_MORE : 0);
    }
    ring_close(&ring);
}

CASE(waiting_can_time_out)
{
    struct ring ring;
    struct __kernel_timespec soon = {.tv_nsec = 20000000};
    struct io_uring_getevents_arg argument = {.ts = (uintptr_t)&soon};

    ring_open(&ring, 4, 0, 0);
    long long before = check_milliseconds();
    CHECK_FAILS(ring_enter_with(ring.fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument,
                                sizeof(argument)), ETIME);
    CHECK(check_milliseconds() - before >= 19);
    ring_close(&ring);
}

static void nothing(int signal)
{
    (void)signal;
}

CASE(waiting_is_interrupted_and_not_restarted)
{
    struct ring ring;
    struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};

    sigaction(SIGUSR1, &action, NULL);
    ring_open(&ring, 4, 0, 0);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        /* As often as it takes until the parent waits. */
        while (getppid() == parent) {
            kill(parent, SIGUSR1);
            usleep(1000);
        }
        _exit(0);
    }
    CHECK_FAILS(ring_enter_with(ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0), EINTR);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ring_close(&ring);
}

CASE(requests_are_ended_by_name_file_or_all)
{
    struct ring ring;
    int one[2], two[2];
    char byte;

    REQUIRE(pipe(one) == 0 && pipe(two) == 0);
    ring_open(&ring, 8, 0, 0);
    request_read(&ring, 1, one[0], &byte, 1);
    request_read(&ring, 2, two[0], &byte, 1);
    request_read(&ring, 3, two[0], &byte, 1);
    request_poll(&ring, 4, one[0], POLLIN, 0);
    CHECK_EQUAL(ring_enter(&ring, 4, 0), 4);
    ring_request(&ring, IORING_OP_ASYNC_CANCEL, 10)->addr = 1;
    CHECK_EQUAL(ring_enter(&ring, 1, 2), 1);
    struct io_uring_cqe first = ring_take(&ring), second = ring_take(&ring);
    CHECK_EQUAL(first.user_data + second.user_data, 11);
    CHECK_EQUAL(first.res + second.res, -ECANCELED);
    ring_request(&ring, IORING_OP_ASYNC_CANCEL, 11)->addr = 1;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 11, -ENOENT);
    struct io_uring_sqe *sqe = ring_request(&ring, IORING_OP_ASYNC_CANCEL, 12);
    sqe->fd = two[0];
    sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
    CHECK_EQUAL(ring_enter(&ring, 1, 3), 1);
    int sum = 0;
    for (int i = 0; i < 3; i++)
        sum += ring_take(&ring).res;
    CHECK_EQUAL(sum, 2 - 2 * ECANCELED);
    ring_request(&ring, IORING_OP_ASYNC_CANCEL, 13)->cancel_flags = IORING_ASYNC_CANCEL_ANY;
    CHECK_EQUAL(ring_enter(&ring, 1, 2), 1);
    sum = ring_take(&ring).res;
    sum += ring_take(&ring).res;
    CHECK_EQUAL(sum, 1 - ECANCELED);
    ring_close(&ring);
}

CASE(registered_files_have_indices)
{
    struct ring ring;
    int pipes[2], files[3] = {-1, -1, -1};
    char byte = 0;

    REQUIRE(pipe(pipes) == 0);
    ring_open(&ring, 8, 0, 0);
    CHECK_FAILS(ring_register(&ring, IORING_UNREGISTER_FILES, NULL, 0), ENXIO);
    files[1] = pipes[0];
    CHECK_EQUAL(ring_register(&ring, IORING_REGISTER_FILES, files, 3), 0);
    CHECK_FAILS(ring_register(&ring, IORING_REGISTER_FILES, files, 3), EBUSY);
    close(pipes[0]);
    CHECK_EQUAL(write(pipes[1], "x", 1), 1);
    request_read(&ring, 1, 1, &byte, 1);
    ring.sqes[0].flags = IOSQE_FIXED_FILE;
    request_read(&ring, 2, 2, &byte, 1);
    ring.sqes[1].flags = IOSQE_FIXED_FILE;
    request_read(&ring, 3, 3, &byte, 1);
    ring.sqes[2].flags = IOSQE_FIXED_FILE;
    CHECK_EQUAL(ring_enter(&ring, 3, 3), 3);
    CHECK_COMPLETION(&ring, 1, 1);
    CHECK_COMPLETION(&ring, 2, -EBADF);
    CHECK_COMPLETION(&ring, 3, -EBADF);
    CHECK_EQUAL(byte, 'x');
    int replacement = open("/dev/zero", O_RDONLY);
    struct io_uring_files_update update = {.offset = 2, .fds = (uintptr_t)&replacement};
    CHECK_EQUAL(ring_register(&ring, IORING_REGISTER_FILES_UPDATE, &update, 1), 1);
    update.offset = 3;
    CHECK_FAILS(ring_register(&ring, IORING_REGISTER_FILES_UPDATE, &update, 1), EINVAL);
    request_read(&ring, 4, 2, &byte, 1);
    ring.sqes[3].flags = IOSQE_FIXED_FILE;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 4, 1);
    CHECK_EQUAL(byte, 0);
    CHECK_EQUAL(ring_register(&ring, IORING_UNREGISTER_FILES, NULL, 0), 0);
    ring_close(&ring);
}

CASE(tags_tell_when_files_are_replaced)
{
    struct ring ring;
    int file = open("/dev/zero", O_RDONLY);
    uint64_t tag = 55, other = 66;
    struct io_uring_rsrc_register given = {.nr = 1, .data = (uintptr_t)&file, .tags = (uintptr_t)&tag};
    struct io_uring_rsrc_update2 update = {.nr = 1, .data = (uintptr_t)&file, .tags = (uintptr_t)&other};

    ring_open(&ring, 4, 0, 0);
    CHECK_EQUAL(ring_register(&ring, IORING_REGISTER_FILES2, &given, sizeof(given)), 0);
    CHECK_EQUAL(ring_register(&ring, IORING_REGISTER_FILES_UPDATE2, &update, sizeof(update)), 1);
    CHECK_COMPLETION(&ring, 55, 0);
    CHECK_EQUAL(ring_register(&ring, IORING_UNREGISTER_FILES, NULL, 0), 0);
    CHECK_EQUAL(ring_available(&ring), 0);
    ring_close(&ring);
}

CASE(an_eventfd_counts_completions)
{
    struct ring ring;
    int event = eventfd(0, EFD_NONBLOCK);
    uint64_t count;

    ring_open(&ring, 4, 0, 0);
    CHECK_FAILS(ring_register(&ring, IORING_UNREGISTER_EVENTFD, NULL, 0), ENXIO);
    CHECK_EQUAL(ring_register(&ring, IORING_REGISTER_EVENTFD, &event, 1), 0);
    CHECK_FAILS(ring_register(&ring, IORING_REGISTER_EVENTFD, &event, 1), EBUSY);
    ring_request(&ring, IORING_OP_NOP, 1);
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_EQUAL(read(event, &count, 8), 8);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(ring_register(&ring, IORING_UNREGISTER_EVENTFD, NULL, 0), 0);
    ring_request(&ring, IORING_OP_NOP, 2);
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_FAILS(read(event, &count, 8), EAGAIN);
    ring_close(&ring);
}

CASE(probe_tells_what_there_is)
{
    struct ring ring;
    struct {
        struct io_uring_probe head;
        struct io_uring_probe_op operations[256];
    } probe = {0};

    ring_open(&ring, 4, 0, 0);
    CHECK_EQUAL(ring_register(&ring, IORING_REGISTER_PROBE, &probe, 256), 0);
    CHECK(probe.head.ops_len > IORING_OP_SEND_ZC);
    CHECK(probe.operations[IORING_OP_NOP].flags & IO_URING_OP_SUPPORTED);
    CHECK_EQUAL(probe.operations[IORING_OP_READ].op, IORING_OP_READ);
    CHECK_FAILS(ring_register(&ring, IORING_REGISTER_PROBE, &probe, 256), EINVAL);
    ring_close(&ring);
}

CASE(a_disabled_ring_waits_to_be_enabled)
{
    struct ring ring;

    ring_open(&ring, 4, IORING_SETUP_R_DISABLED, 0);
    ring_request(&ring, IORING_OP_NOP, 1);
    CHECK_FAILS(ring_enter(&ring, 1, 0), EBADFD);
    CHECK_EQUAL(ring_register(&ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0), 0);
    CHECK_FAILS(ring_register(&ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0), EBADFD);
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 1, 0);
    ring_close(&ring);
}

CASE(one_issuer_means_one)
{
    struct ring ring;

    ring_open(&ring, 4, IORING_SETUP_SINGLE_ISSUER, 0);
    ring_request(&ring, IORING_OP_NOP, 1);
    pid_t child = fork();
    if (child == 0) {
        CHECK_FAILS(ring_enter(&ring, 1, 0), EEXIST);
        exit(check_failures ? FAILED : 0);
    }
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    ring_close(&ring);
}
