/* io_uring on sockets: sending, receiving, accepting, and provided buffers. */
#include "uring.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef IOU_PBUF_RING_MMAP
#define IOU_PBUF_RING_MMAP 1
#endif
#ifndef IORING_OFF_PBUF_RING
#define IORING_OFF_PBUF_RING 0x80000000ULL
#define IORING_OFF_PBUF_SHIFT 16
#endif
enum { FIXED_FD_INSTALL = 54, BIND = 56, LISTEN = 57, UNREGISTER_PBUF = 23, REGISTER_PBUF_STATUS = 26 };

static void request_receive(struct ring *ring, uint64_t name, int fd, void *buffer, unsigned len)
{
    struct io_uring_sqe *sqe = ring_request(ring, IORING_OP_RECV, name);

    sqe->fd = fd;
    sqe->addr = (uintptr_t)buffer;
    sqe->len = len;
}

static void request_send(struct ring *ring, uint64_t name, int fd, const void *bytes, unsigned len)
{
    struct io_uring_sqe *sqe = ring_request(ring, IORING_OP_SEND, name);

    sqe->fd = fd;
    sqe->addr = (uintptr_t)bytes;
    sqe->len = len;
}

CASE(sending_and_receiving)
{
    struct ring ring;
    int ends[2];
    char bytes[16] = {0};

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    ring_open(&ring, 8, 0, 0);
    request_receive(&ring, 1, ends[0], bytes, sizeof(bytes));
    CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
    CHECK_EQUAL(ring_available(&ring), 0);
    request_send(&ring, 2, ends[1], "hello", 5);
    CHECK_EQUAL(ring_enter(&ring, 1, 2), 1);
    struct io_uring_cqe first = ring_take(&ring), second = ring_take(&ring);
    CHECK_EQUAL(first.user_data + second.user_data, 3);
    CHECK_EQUAL(first.res + second.res, 10);
    CHECK(memcmp(bytes, "hello", 5) == 0);
    request_receive(&ring, 3, ends[0], bytes, sizeof(bytes));
    ring.sqes[2].msg_flags = MSG_DONTWAIT;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 3, -EAGAIN);
    request_receive(&ring, 4, STDOUT_FILENO, bytes, sizeof(bytes));
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 4, -ENOTSOCK);
    close(ends[0]);
    /* A ring's request sends no signal. */
    request_send(&ring, 5, ends[1], "x", 1);
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 5, -EPIPE);
    request_receive(&ring, 6, ends[1], bytes, sizeof(bytes));
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 6, 0);
    ring_close(&ring);
}

CASE(a_receive_can_wait_for_all)
{
    struct ring ring;
    int ends[2];
    char bytes[8] = {0};

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    ring_open(&ring, 8, 0, 0);
    CHECK_EQUAL(write(ends[1], "abc", 3), 3);
    request_receive(&ring, 1, ends[0], bytes, 8);
    ring.sqes[0].msg_flags = MSG_WAITALL;
    CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
    CHECK_EQUAL(write(ends[1], "defgh", 5), 5);
    CHECK_COMPLETION(&ring, 1, 8);
    CHECK(memcmp(bytes, "abcdefgh", 8) == 0);
    ring_close(&ring);
}

enum { GROUP = 3, COUNT = 4, SIZE = 32 };

struct provided {
    struct io_uring_buf_ring *ring;
    char memory[COUNT][SIZE];
    unsigned short tail;
};

static void put(struct provided *provided, unsigned short number)
{
    struct io_uring_buf *buffer = &provided->ring->bufs[provided->tail & (COUNT - 1)];

    buffer->addr = (uintptr_t)provided->memory[number];
    buffer->len = SIZE;
    buffer->bid = number;
    __atomic_store_n(&provided->ring->tail, ++provided->tail, __ATOMIC_RELEASE);
}

static void provide(struct ring *ring, struct provided *provided, unsigned short flags)
{
    struct io_uring_buf_reg given = {.ring_entries = COUNT, .bgid = GROUP, .pad = flags};

    memset(provided, 0, sizeof(*provided));
    if (!(flags & IOU_PBUF_RING_MMAP)) {
        provided->ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        given.ring_addr = (uintptr_t)provided->ring;
    }
    REQUIRE(ring_register(ring, IORING_REGISTER_PBUF_RING, &given, 1) == 0);
    if (flags & IOU_PBUF_RING_MMAP)
        provided->ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd,
                              (off_t)(IORING_OFF_PBUF_RING | (GROUP << IORING_OFF_PBUF_SHIFT)));
    REQUIRE(provided->ring != MAP_FAILED);
    for (unsigned short number = 0; number < COUNT; number++)
        put(provided, number);
}

static void request_multishot(struct ring *ring, uint64_t name, int fd)
{
    struct io_uring_sqe *sqe = ring_request(ring, IORING_OP_RECV, name);

    sqe->fd = fd;
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
}

CASE(a_multishot_receive_takes_buffers_of_a_ring)
{
    static struct provided provided;

    for (unsigned short flags = 0; flags <= IOU_PBUF_RING_MMAP; flags++) {
        struct ring ring;
        int ends[2];

        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
        ring_open(&ring, 8, 0, 0);
        provide(&ring, &provided, flags);
        request_multishot(&ring, 1, ends[0]);
        CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
        for (unsigned i = 0; i < 10; i++) {
            char text[] = {'a' + (char)i, 'b', 'c'};
            CHECK_EQUAL(write(ends[1], text, 3), 3);
            struct io_uring_cqe cqe = ring_take(&ring);
            unsigned number = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
            CHECK_EQUAL(cqe.user_data, 1);
            CHECK_EQUAL(cqe.res, 3);
            CHECK_EQUAL(cqe.flags & 3, IORING_CQE_F_BUFFER | IORING_CQE_F_MORE);
            CHECK_EQUAL(number, i % COUNT);
            CHECK(memcmp(provided.memory[number], text, 3) == 0);
            put(&provided, (unsigned short)number);
        }
        close(ends[1]);
        struct io_uring_cqe cqe = ring_take(&ring);
        CHECK_EQUAL(cqe.res, 0);
        CHECK_EQUAL(cqe.flags & IORING_CQE_F_MORE, 0);
        struct io_uring_buf_reg given = {.bgid = GROUP};
        CHECK_EQUAL(ring_register(&ring, UNREGISTER_PBUF, &given, 1), 0);
        CHECK_FAILS(ring_register(&ring, UNREGISTER_PBUF, &given, 1), ENOENT);
        ring_close(&ring);
        close(ends[0]);
    }
}

CASE(a_multishot_receive_ends_without_buffers)
{
    static struct provided provided;
    struct ring ring;
    int ends[2];
    char text[2 * COUNT * SIZE] = {1};

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    ring_open(&ring, 16, 0, 0);
    provide(&ring, &provided, 0);
    CHECK_EQUAL(write(ends[1], text, sizeof(text)), (long)sizeof(text));
    request_multishot(&ring, 1, ends[0]);
    CHECK_EQUAL(ring_enter(&ring, 1, COUNT + 1), 1);
    for (int i = 0; i < COUNT; i++) {
        struct io_uring_cqe cqe = ring_take(&ring);
        CHECK_EQUAL(cqe.res, SIZE);
        CHECK(cqe.flags & IORING_CQE_F_MORE);
    }
    struct io_uring_cqe cqe = ring_take(&ring);
    CHECK_EQUAL(cqe.res, -ENOBUFS);
    CHECK_EQUAL(cqe.flags & IORING_CQE_F_MORE, 0);
    ring_close(&ring);
}

CASE(a_receive_without_bytes_uses_no_buffer)
{
    static struct provided provided;
    struct ring ring;
    int ends[2];
    struct {
        uint32_t group, head, reserved[8];
    } status = {.group = GROUP};

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    ring_open(&ring, 8, 0, 0);
    provide(&ring, &provided, 0);
    struct io_uring_sqe *sqe = ring_request(&ring, IORING_OP_RECV, 1);
    sqe->fd = ends[0];
    sqe->len = 5;
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
    CHECK_EQUAL(ring_register(&ring, REGISTER_PBUF_STATUS, &status, 1), 0);
    CHECK_EQUAL(status.head, 0);
    CHECK_EQUAL(write(ends[1], "0123456789", 10), 10);
    struct io_uring_cqe cqe = ring_take(&ring);
    CHECK_EQUAL(cqe.res, 5);
    CHECK_EQUAL(cqe.flags >> IORING_CQE_BUFFER_SHIFT, 0);
    CHECK_EQUAL(ring_register(&ring, REGISTER_PBUF_STATUS, &status, 1), 0);
    CHECK_EQUAL(status.head, 1);
    ring_close(&ring);
}

CASE(buffers_are_provided_by_requests)
{
    struct ring ring;
    int ends[2];
    char memory[2][8];

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    ring_open(&ring, 8, 0, 0);
    struct io_uring_sqe *sqe = ring_request(&ring, IORING_OP_PROVIDE_BUFFERS, 1);
    sqe->fd = 2;
    sqe->addr = (uintptr_t)memory;
    sqe->len = 8;
    sqe->off = 70;
    sqe->buf_group = 9;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 1, 0);
    CHECK_EQUAL(write(ends[1], "text", 4), 4);
    sqe = ring_request(&ring, IORING_OP_RECV, 2);
    sqe->fd = ends[0];
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = 9;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    struct io_uring_cqe cqe = ring_take(&ring);
    CHECK_EQUAL(cqe.res, 4);
    CHECK_EQUAL(cqe.flags >> IORING_CQE_BUFFER_SHIFT, 70);
    CHECK(memcmp(memory[0], "text", 4) == 0);
    sqe = ring_request(&ring, IORING_OP_REMOVE_BUFFERS, 3);
    sqe->fd = 5;
    sqe->buf_group = 9;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 3, 1);
    sqe = ring_request(&ring, IORING_OP_REMOVE_BUFFERS, 4);
    sqe->fd = 1;
    sqe->buf_group = 10;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 4, -ENOENT);
    ring_close(&ring);
}

static int listener(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    REQUIRE(fd >= 0);
    strcpy(name.sun_path, path);
    unlink(path);
    REQUIRE(bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0);
    REQUIRE(listen(fd, 8) == 0);
    return fd;
}

CASE(accepting_and_connecting)
{
    struct ring ring;
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/tmp/uring-socket"}, peer;
    socklen_t peer_len = sizeof(peer);
    int listening = listener(name.sun_path), client = socket(AF_UNIX, SOCK_STREAM, 0);

    ring_open(&ring, 8, 0, 0);
    struct io_uring_sqe *sqe = ring_request(&ring, IORING_OP_ACCEPT, 1);
    sqe->fd = listening;
    sqe->addr = (uintptr_t)&peer;
    sqe->addr2 = (uintptr_t)&peer_len;
    sqe->accept_flags = SOCK_CLOEXEC;
    CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
    sqe = ring_request(&ring, IORING_OP_CONNECT, 2);
    sqe->fd = client;
    sqe->addr = (uintptr_t)&name;
    sqe->off = sizeof(name);
    CHECK_EQUAL(ring_enter(&ring, 1, 2), 1);
    struct io_uring_cqe first = ring_take(&ring), second = ring_take(&ring);
    int accepted = first.user_data == 1 ? first.res : second.res;
    CHECK_EQUAL(first.user_data + second.user_data, 3);
    CHECK(accepted > client);
    CHECK_EQUAL(fcntl(accepted, F_GETFD), FD_CLOEXEC);
    CHECK_EQUAL(peer_len, sizeof(sa_family_t));
    CHECK_EQUAL(write(client, "x", 1), 1);
    sqe = ring_request(&ring, IORING_OP_SHUTDOWN, 3);
    sqe->fd = accepted;
    sqe->len = SHUT_WR;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 3, 0);
    char byte;
    CHECK_EQUAL(read(client, &byte, 1), 0);
    sqe = ring_request(&ring, IORING_OP_CLOSE, 4);
    sqe->fd = accepted;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 4, 0);
    CHECK_FAILS(fcntl(accepted, F_GETFD), EBADF);
    sqe = ring_request(&ring, IORING_OP_CLOSE, 5);
    sqe->fd = ring.fd;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 5, -EBADF);
    ring_close(&ring);
}

CASE(a_multishot_accept_fills_registered_files)
{
    struct ring ring;
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/tmp/uring-direct"};
    int listening = listener(name.sun_path), files[2] = {-1, -1}, clients[2];

    ring_open(&ring, 8, 0, 0);
    CHECK_EQUAL(ring_register(&ring, IORING_REGISTER_FILES, files, 2), 0);
    struct io_uring_sqe *sqe = ring_request(&ring, IORING_OP_ACCEPT, 1);
    sqe->fd = listening;
    sqe->ioprio = IORING_ACCEPT_MULTISHOT;
    sqe->file_index = IORING_FILE_INDEX_ALLOC;
    CHECK_EQUAL(ring_enter(&ring, 1, 0), 1);
    for (int i = 0; i < 2; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK_EQUAL(connect(clients[i], (struct sockaddr *)&name, sizeof(name)), 0);
        struct io_uring_cqe cqe = ring_take(&ring);
        CHECK_EQUAL(cqe.res, i);
        CHECK(cqe.flags & IORING_CQE_F_MORE);
    }
    request_send(&ring, 2, 1, "direct", 6);
    ring.sqes[1].flags = IOSQE_FIXED_FILE;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 2, 6);
    char text[8] = {0};
    CHECK_EQUAL(read(clients[1], text, 8), 6);
    CHECK(strcmp(text, "direct") == 0);
    sqe = ring_request(&ring, FIXED_FD_INSTALL, 3);
    sqe->fd = 1;
    sqe->flags = IOSQE_FIXED_FILE;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    struct io_uring_cqe cqe = ring_take(&ring);
    CHECK(cqe.res > 0);
    CHECK_EQUAL(write(cqe.res, "again", 5), 5);
    CHECK_EQUAL(read(clients[1], text, 8), 5);
    sqe = ring_request(&ring, IORING_OP_CLOSE, 4);
    sqe->fd = 0;
    sqe->file_index = 1;
    CHECK_EQUAL(ring_enter(&ring, 1, 1), 1);
    CHECK_COMPLETION(&ring, 4, 0);
    CHECK_EQUAL(read(clients[0], text, 8), 0);
    ring_close(&ring);
}
