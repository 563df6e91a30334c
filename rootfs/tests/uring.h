/* A small io_uring for guest tests: what the system calls give, without a library in between. */
#ifndef URING_H
#define URING_H

#include "check.h"

#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* Newer than some headers. */
#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif
#ifndef IORING_TIMEOUT_MULTISHOT
#define IORING_TIMEOUT_MULTISHOT (1U << 6)
#endif

struct ring {
    int fd;
    struct io_uring_params params;
    char *rings;
    size_t rings_bytes;
    struct io_uring_sqe *sqes;
    size_t sqes_bytes;
    unsigned tail;
};

static inline int ring_setup(unsigned entries, struct io_uring_params *params)
{
    return (int)syscall(__NR_io_uring_setup, entries, params);
}

static inline int ring_enter_with(int fd, unsigned submit, unsigned least, unsigned flags, void *argument, size_t size)
{
    return (int)syscall(__NR_io_uring_enter, fd, submit, least, flags, argument, size);
}

static inline int ring_enter(struct ring *ring, unsigned submit, unsigned least)
{
    return ring_enter_with(ring->fd, submit, least, least ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
}

static inline int ring_register(struct ring *ring, unsigned operation, void *argument, unsigned count)
{
    return (int)syscall(__NR_io_uring_register, ring->fd, operation, argument, count);
}

static inline unsigned *ring_word(struct ring *ring, unsigned offset)
{
    return (unsigned *)(ring->rings + offset);
}

/* The case ends if there is no such ring. */
static inline void ring_open(struct ring *ring, unsigned entries, unsigned flags, unsigned completions)
{
    memset(ring, 0, sizeof(*ring));
    ring->params.flags = flags | (completions ? IORING_SETUP_CQSIZE : 0);
    ring->params.cq_entries = completions;
    ring->fd = ring_setup(entries, &ring->params);
    REQUIRE(ring->fd >= 0);
    struct io_uring_params *params = &ring->params;
    size_t cqe = sizeof(struct io_uring_cqe) << ((flags & IORING_SETUP_CQE32) != 0);
    size_t cq_bytes = params->cq_off.cqes + params->cq_entries * cqe;
    size_t sq_bytes = params->sq_off.array + params->sq_entries * sizeof(unsigned);
    ring->rings_bytes = cq_bytes > sq_bytes ? cq_bytes : sq_bytes;
    ring->rings = mmap(NULL, ring->rings_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
                       IORING_OFF_SQ_RING);
    REQUIRE(ring->rings != MAP_FAILED);
    ring->sqes_bytes = params->sq_entries * (sizeof(struct io_uring_sqe) << ((flags & IORING_SETUP_SQE128) != 0));
    ring->sqes = mmap(NULL, ring->sqes_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
                      IORING_OFF_SQES);
    REQUIRE(ring->sqes != MAP_FAILED);
}

static inline void ring_close(struct ring *ring)
{
    munmap(ring->rings, ring->rings_bytes);
    munmap(ring->sqes, ring->sqes_bytes);
    close(ring->fd);
}

/* The next request, zeroed; it is submitted by the next ring_enter. */
static inline struct io_uring_sqe *ring_request(struct ring *ring, int operation, uint64_t user_data)
{
    unsigned index = ring->tail & (ring->params.sq_entries - 1);
    unsigned large = (ring->params.flags & IORING_SETUP_SQE128) != 0;
    struct io_uring_sqe *sqe = &ring->sqes[index << large];

    memset(sqe, 0, sizeof(*sqe) << large);
    sqe->opcode = (unsigned char)operation;
    sqe->user_data = user_data;
    sqe->fd = -1;
    if (!(ring->params.flags & IORING_SETUP_NO_SQARRAY))
        ring_word(ring, ring->params.sq_off.array)[index] = index;
    __atomic_store_n(ring_word(ring, ring->params.sq_off.tail), ++ring->tail, __ATOMIC_RELEASE);
    return sqe;
}

static inline unsigned ring_available(struct ring *ring)
{
    return __atomic_load_n(ring_word(ring, ring->params.cq_off.tail), __ATOMIC_ACQUIRE) -
           *ring_word(ring, ring->params.cq_off.head);
}

/* Takes the next completion out; waits for it if there is none. */
static inline struct io_uring_cqe ring_take(struct ring *ring)
{
    while (ring_available(ring) == 0)
        REQUIRE(ring_enter(ring, 0, 1) == 0);
    unsigned head = *ring_word(ring, ring->params.cq_off.head);
    unsigned large = (ring->params.flags & IORING_SETUP_CQE32) != 0;
    struct io_uring_cqe *cqes = (struct io_uring_cqe *)(ring->rings + ring->params.cq_off.cqes);
    struct io_uring_cqe taken = cqes[(head & (ring->params.cq_entries - 1)) << large];
    __atomic_store_n(ring_word(ring, ring->params.cq_off.head), head + 1, __ATOMIC_RELEASE);
    return taken;
}

/* The next completion has this name and this result. */
#define CHECK_COMPLETION(ring, name, result)           \
    do {                                               \
        struct io_uring_cqe cqe_ = ring_take(ring);    \
        CHECK_EQUAL(cqe_.user_data, name);             \
        CHECK_EQUAL(cqe_.res, result);                 \
    } while (0)

#endif
