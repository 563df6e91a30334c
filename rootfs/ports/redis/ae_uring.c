/* See ae_uring.h. This file is longer than one idea needs because the ring, the streams and the readiness of an event
 * loop's turn share their lists.
 *
 * A turn is one io_uring_enter: it submits what the handlers left (requests to poll again, staged replies, closings),
 * waits, and runs the kernel's deferred work. A SEND never waits in the kernel (MSG_DONTWAIT) and tells only of failure
 * (IOSQE_CQE_SKIP_SUCCESS): it is over when the enter returns, so a staging buffer is never in use for longer.
 * With SQPOLL that does not hold, and every SEND tells of its end.
 *
 * POLL is submitted anew after each event, because event loops promise level-triggered readiness and a multishot
 * POLL tells of edges.
 *
 * A request names what it belongs to. A stream is named by its address, and lives until its last request has ended,
 * whoever has its descriptor's number by then; other descriptors carry a generation beside their number. */
#define _GNU_SOURCE
#include "ae_uring.h"

#include "ae.h"
#include "redisassert.h"
#include "zmalloc.h"

#include <errno.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SUBMISSIONS 1024
#define COMPLETIONS 16384
#define BUFFERS 256 /* a power of two */
#define BUFFER_BYTES 16384
#define BUFFER_GROUP 1
#define STAGED_BYTES_MAX (256 * 1024)
#define STAGED_BYTES_KEPT 4096
#define SQPOLL_IDLE_MILLISECONDS 1000
#define SPIN_MICROSECONDS 1000
#define DISARM_MILLISECONDS 5000

/* The low bits of user_data say what a completion is about. */
enum tag { TAG_NOTHING, TAG_RECEIVE, TAG_SEND, TAG_ROOM, TAG_POLL, TAG_ACCEPT, TAG_BITS = 7 };

enum kind { KIND_NONE, KIND_POLLED, KIND_LISTENER, KIND_STREAM };

struct stream {
    int fd;              /* -1 when it is closed */
    int requests;        /* in flight, and naming it */
    int error;           /* an errno that ended it */
    int send_result;     /* of a completion, until it is settled */
    short first, last;   /* received buffers, linked by `next_buffer`; -1 is none */
    unsigned char receiving, ended, direct, dirty, sending, told, awaiting_room;
    char *staged;
    size_t staged_length, staged_capacity;
    char *spilled;       /* received bytes that had to leave their buffers */
    size_t spilled_start, spilled_length;
    struct stream *next_dirty;
};

struct slot {
    unsigned char kind, mask, ready, listed, touched, in_flight_mask;
    uint32_t generation;
    int error;           /* of a listener */
    int *accepted;
    int accepted_start, accepted_end, accepted_capacity;
    struct stream *stream;
};

struct numbers { int *values; int count, capacity; };

struct ring {
    struct aeEventLoop *loop;
    int fd, sqpoll, child, setsize;
    void *rings;
    size_t rings_bytes, entries_bytes, buffers_bytes;
    struct io_uring_sqe *entries;
    _Atomic unsigned *sq_head, *sq_tail, *sq_flags, *cq_head, *cq_tail;
    unsigned sq_mask, cq_mask, sq_local_tail, sq_submitted;
    struct io_uring_cqe *completions;
    struct io_uring_buf_ring *buffer_ring;
    char *buffers;
    uint16_t buffer_tail;
    int buffers_held;
    short next_buffer[BUFFERS];
    unsigned buffer_start[BUFFERS], buffer_length[BUFFERS];
    struct slot *slots;
    struct numbers ready, touched, closing;
    struct stream *dirty, *sent;
};

/* A process has one loop of this kind: its main thread's. */
static struct ring *the_ring;

static void numbers_push(struct numbers *numbers, int value) {
    if (numbers->count == numbers->capacity) {
        numbers->capacity = numbers->capacity ? numbers->capacity * 2 : 64;
        numbers->values = zrealloc(numbers->values, sizeof(int) * numbers->capacity);
    }
    numbers->values[numbers->count++] = value;
}

static struct slot *slot_of(struct ring *ring, int fd) {
    return ring && fd >= 0 && fd < ring->setsize ? &ring->slots[fd] : NULL;
}

static struct stream *stream_of(int fd) {
    struct slot *slot = slot_of(the_ring, fd);
    return slot ? slot->stream : NULL;
}

/* ---- entering ------------------------------------------------------------------------------------------------- */

static int enter(struct ring *ring, unsigned submit, unsigned wait, unsigned flags, const struct timespec *timeout) {
    struct __kernel_timespec limit;
    struct io_uring_getevents_arg argument = {0};
    if (timeout) {
        limit.tv_sec = timeout->tv_sec;
        limit.tv_nsec = timeout->tv_nsec;
        argument.ts = (uint64_t)(uintptr_t)&limit;
    }
    return (int)syscall(__NR_io_uring_enter, ring->fd, submit, wait, flags | IORING_ENTER_EXT_ARG, &argument,
                        sizeof(argument));
}

/* Makes the queued requests the kernel's to take; how many it has not taken. */
static unsigned publish(struct ring *ring) {
    atomic_store_explicit(ring->sq_tail, ring->sq_local_tail, memory_order_release);
    return ring->sq_local_tail - atomic_load_explicit(ring->sq_head, memory_order_acquire);
}

static void submit_only(struct ring *ring) {
    unsigned count = publish(ring);
    unsigned flags = 0;
    if (ring->sqpoll) {
        flags = IORING_ENTER_SQ_WAKEUP | IORING_ENTER_SQ_WAIT;
    }
    if (count && enter(ring, count, 0, flags, NULL) < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY)
        panic("io_uring_enter: %s", strerror(errno));
}

static struct io_uring_sqe *request(struct ring *ring, int opcode, int fd, uint64_t user_data) {
    while (ring->sq_local_tail - atomic_load_explicit(ring->sq_head, memory_order_acquire) > ring->sq_mask)
        submit_only(ring);
    struct io_uring_sqe *entry = &ring->entries[ring->sq_local_tail++ & ring->sq_mask];
    memset(entry, 0, sizeof(*entry));
    entry->opcode = opcode;
    entry->fd = fd;
    entry->user_data = user_data;
    return entry;
}

static uint64_t stream_name(struct stream *stream, enum tag tag) {
    return (uint64_t)(uintptr_t)stream | tag;
}

static uint64_t slot_name(struct ring *ring, int fd, enum tag tag) {
    return (uint64_t)ring->slots[fd].generation << 35 | (uint64_t)fd << 3 | tag;
}

static struct io_uring_sqe *stream_request(struct ring *ring, struct stream *stream, int opcode, enum tag tag) {
    stream->requests++;
    return request(ring, opcode, stream->fd, stream_name(stream, tag));
}

static void cancel(struct ring *ring, uint64_t name) {
    request(ring, IORING_OP_ASYNC_CANCEL, -1, TAG_NOTHING)->addr = name;
}

/* ---- buffers -------------------------------------------------------------------------------------------------- */

static void offer(struct ring *ring, int index) {
    struct io_uring_buf *buffer = &ring->buffer_ring->bufs[ring->buffer_tail++ & (BUFFERS - 1)];
    buffer->addr = (uint64_t)(uintptr_t)(ring->buffers + (size_t)index * BUFFER_BYTES);
    buffer->len = BUFFER_BYTES;
    buffer->bid = index;
}

static void publish_buffers(struct ring *ring) {
    __atomic_store_n(&ring->buffer_ring->tail, ring->buffer_tail, __ATOMIC_RELEASE);
}

static void drop_first(struct ring *ring, struct stream *stream) {
    int index = stream->first;
    stream->first = ring->next_buffer[index];
    if (stream->first < 0) stream->last = -1;
    ring->buffers_held--;
    offer(ring, index);
}

static void hold(struct ring *ring, struct stream *stream, int index, unsigned length) {
    ring->next_buffer[index] = -1;
    ring->buffer_start[index] = 0;
    ring->buffer_length[index] = length;
    if (stream->last < 0) stream->first = index;
    else ring->next_buffer[stream->last] = index;
    stream->last = index;
    ring->buffers_held++;
}

/* Nobody reads this stream now: its bytes must not keep buffers that others need. */
static void spill(struct ring *ring, struct stream *stream) {
    while (stream->first >= 0) {
        int index = stream->first;
        unsigned length = ring->buffer_length[index];
        size_t end = stream->spilled_start + stream->spilled_length;
        stream->spilled = zrealloc(stream->spilled, end + length);
        memcpy(stream->spilled + end,
               ring->buffers + (size_t)index * BUFFER_BYTES + ring->buffer_start[index], length);
        stream->spilled_length += length;
        drop_first(ring, stream);
    }
}

/* ---- streams -------------------------------------------------------------------------------------------------- */

static void list_ready(struct ring *ring, int fd) {
    struct slot *slot = &ring->slots[fd];
    if (!slot->listed) {
        slot->listed = 1;
        numbers_push(&ring->ready, fd);
    }
}

/* Something of it has to be submitted before the next wait. */
static void touch(struct ring *ring, int fd) {
    struct slot *slot = &ring->slots[fd];
    if (!slot->touched) {
        slot->touched = 1;
        numbers_push(&ring->touched, fd);
    }
}

static void mark_dirty(struct ring *ring, struct stream *stream) {
    if (!stream->dirty) {
        stream->dirty = 1;
        stream->next_dirty = ring->dirty;
        ring->dirty = stream;
    }
}

static void release(struct stream *stream) {
    if (stream->fd >= 0 || stream->requests || stream->dirty) return;
    zfree(stream->staged);
    zfree(stream->spilled);
    zfree(stream);
}

static int stream_readable(const struct stream *stream) {
    return stream->spilled_length || stream->first >= 0 || stream->ended || stream->error;
}

static int stream_has_room(const struct stream *stream) {
    return stream->error || !stream->staged_length;
}

static int readiness(struct ring *ring, int fd) {
    struct slot *slot = &ring->slots[fd];
    int ready = slot->ready;
    if (slot->kind == KIND_LISTENER) {
        if (slot->accepted_start < slot->accepted_end || slot->error) ready |= AE_READABLE;
    } else if (slot->kind == KIND_STREAM) {
        if (stream_readable(slot->stream)) ready |= AE_READABLE;
        if (stream_has_room(slot->stream)) ready |= AE_WRITABLE;
    } else if (slot->stream && slot->stream->spilled_length) {
        ready |= AE_READABLE;
    }
    return ready & slot->mask;
}

static void fail_stream(struct ring *ring, struct stream *stream, int error) {
    if (!stream->error) stream->error = error;
    stream->staged_length = 0;
    if (stream->fd >= 0) list_ready(ring, stream->fd);
}

static void queue_send(struct ring *ring, struct stream *stream, int last) {
    struct io_uring_sqe *entry = stream_request(ring, stream, IORING_OP_SEND, TAG_SEND);
    entry->addr = (uint64_t)(uintptr_t)stream->staged;
    entry->len = stream->staged_length;
    entry->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
    if (!last && !ring->sqpoll) {
        entry->msg_flags |= MSG_DONTWAIT;
        entry->flags = IOSQE_CQE_SKIP_SUCCESS;
    }
    stream->sending = 1;
}

/* Whether somebody wants to go on writing, which a SEND that only tells of failure would not wake up for. */
static int queue_dirty(struct ring *ring) {
    int eager = 0;
    while (ring->dirty) {
        struct stream *stream = ring->dirty;
        ring->dirty = stream->next_dirty;
        if (stream->fd < 0 || !stream->staged_length || stream->sending || stream->awaiting_room || stream->error) {
            stream->dirty = 0;
            release(stream);
            continue;
        }
        queue_send(ring, stream, 0);
        eager |= ring->slots[stream->fd].mask & AE_WRITABLE;
        if (ring->sqpoll) {
            stream->dirty = 0;
        } else {
            stream->next_dirty = ring->sent;
            ring->sent = stream;
        }
    }
    return eager && !ring->sqpoll;
}

static void keep_or_free_staging(struct stream *stream) {
    if (stream->staged_capacity > STAGED_BYTES_KEPT) {
        zfree(stream->staged);
        stream->staged = NULL;
        stream->staged_capacity = 0;
    }
}

/* A SEND ended: with all, with a part, or with an error. */
static void sent(struct ring *ring, struct stream *stream, int result) {
    stream->sending = 0;
    if (result == -EAGAIN || result == -EINTR) result = 0;
    if (result < 0) {
        fail_stream(ring, stream, -result);
    } else {
        stream->staged_length -= result;
        if (stream->staged_length) {
            memmove(stream->staged, stream->staged + result, stream->staged_length);
            if (stream->fd >= 0) {
                stream->awaiting_room = 1;
                struct io_uring_sqe *entry = stream_request(ring, stream, IORING_OP_POLL_ADD, TAG_ROOM);
                entry->poll32_events = POLLOUT;
            }
        } else {
            keep_or_free_staging(stream);
            if (stream->fd >= 0 && ring->slots[stream->fd].mask & AE_WRITABLE) list_ready(ring, stream->fd);
        }
    }
}

/* After an enter that took everything: a SEND that told nothing has sent all. */
static void settle_sent(struct ring *ring) {
    while (ring->sent) {
        struct stream *stream = ring->sent;
        ring->sent = stream->next_dirty;
        stream->dirty = 0;
        if (!stream->told) stream->requests--;
        if (stream->fd < 0) stream->sending = 0;
        else sent(ring, stream, stream->told ? stream->send_result : (int)stream->staged_length);
        stream->told = 0;
        release(stream);
    }
}

/* ---- completions ---------------------------------------------------------------------------------------------- */

static void received(struct ring *ring, struct stream *stream, const struct io_uring_cqe *completion) {
    int result = completion->res;
    if (completion->flags & IORING_CQE_F_BUFFER) {
        int index = completion->flags >> IORING_CQE_BUFFER_SHIFT;
        if (result > 0 && stream->fd >= 0) {
            hold(ring, stream, index, result);
            if (!(ring->slots[stream->fd].mask & AE_READABLE)) spill(ring, stream);
        } else {
            offer(ring, index);
        }
    }
    if (!(completion->flags & IORING_CQE_F_MORE)) {
        stream->receiving = 0;
        stream->requests--;
        if (result == 0) stream->ended = 1;
        else if (result < 0 && result != -ENOBUFS && result != -ECANCELED && result != -EINTR && !stream->error)
            stream->error = -result;
        if (stream->fd >= 0) touch(ring, stream->fd);
    }
    if (stream->fd >= 0) list_ready(ring, stream->fd);
    else release(stream);
}

static void accepted(struct ring *ring, uint64_t name, const struct io_uring_cqe *completion) {
    int fd = (int)(name >> 3 & UINT32_MAX), result = completion->res;
    struct slot *slot = slot_of(ring, fd);
    if (!slot || slot->kind != KIND_LISTENER || slot_name(ring, fd, TAG_ACCEPT) != name) {
        if (result >= 0) close(result);
        return;
    }
    if (result >= 0) {
        if (slot->accepted_end == slot->accepted_capacity) {
            slot->accepted_capacity = slot->accepted_capacity ? slot->accepted_capacity * 2 : 64;
            slot->accepted = zrealloc(slot->accepted, sizeof(int) * slot->accepted_capacity);
        }
        slot->accepted[slot->accepted_end++] = result;
    } else if (result != -ECANCELED && result != -EINTR && result != -EAGAIN) {
        slot->error = -result;
    }
    if (!(completion->flags & IORING_CQE_F_MORE)) {
        slot->in_flight_mask = 0;
        touch(ring, fd);
    }
    list_ready(ring, fd);
}

static void polled(struct ring *ring, uint64_t name, int result) {
    int fd = (int)(name >> 3 & UINT32_MAX);
    struct slot *slot = slot_of(ring, fd);
    if (!slot || slot->kind != KIND_POLLED || slot_name(ring, fd, TAG_POLL) != name) return;
    slot->in_flight_mask = 0;
    if (result < 0) result = result == -ECANCELED ? 0 : POLLERR;
    if (result & POLLIN) slot->ready |= AE_READABLE;
    if (result & POLLOUT) slot->ready |= AE_WRITABLE;
    if (result & (POLLERR | POLLHUP | POLLNVAL)) slot->ready |= AE_READABLE | AE_WRITABLE;
    touch(ring, fd);
    list_ready(ring, fd);
}

static void reap(struct ring *ring) {
    unsigned head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);
    unsigned tail = atomic_load_explicit(ring->cq_tail, memory_order_acquire);
    for (; head != tail; head++) {
        struct io_uring_cqe completion = ring->completions[head & ring->cq_mask];
        uint64_t name = completion.user_data;
        struct stream *stream = (struct stream *)(uintptr_t)(name & ~(uint64_t)TAG_BITS);
        switch (name & TAG_BITS) {
        case TAG_RECEIVE: received(ring, stream, &completion); break;
        case TAG_SEND:
            stream->requests--;
            if (stream->dirty && !ring->sqpoll && stream->fd >= 0) {
                stream->told = 1;
                stream->send_result = completion.res;
            } else if (stream->dirty) {
                stream->told = 1;
            } else {
                sent(ring, stream, completion.res);
                release(stream);
            }
            break;
        case TAG_ROOM:
            stream->requests--;
            stream->awaiting_room = 0;
            if (stream->fd >= 0 && stream->staged_length) mark_dirty(ring, stream);
            release(stream);
            break;
        case TAG_POLL: polled(ring, name, completion.res); break;
        case TAG_ACCEPT: accepted(ring, name, &completion); break;
        default: break;
        }
    }
    atomic_store_explicit(ring->cq_head, head, memory_order_release);
}

/* ---- a turn --------------------------------------------------------------------------------------------------- */

static void arm(struct ring *ring, int fd) {
    struct slot *slot = &ring->slots[fd];
    if (slot->kind == KIND_STREAM) {
        struct stream *stream = slot->stream;
        if (!(slot->mask & AE_READABLE) || stream->receiving || stream->ended || stream->error) return;
        if (ring->buffers_held == BUFFERS) {
            touch(ring, fd);
            return;
        }
        struct io_uring_sqe *entry = stream_request(ring, stream, IORING_OP_RECV, TAG_RECEIVE);
        entry->ioprio = IORING_RECV_MULTISHOT;
        entry->flags = IOSQE_BUFFER_SELECT;
        entry->buf_group = BUFFER_GROUP;
        stream->receiving = 1;
    } else if (slot->kind == KIND_LISTENER) {
        if (!(slot->mask & AE_READABLE) || slot->in_flight_mask) return;
        struct io_uring_sqe *entry = request(ring, IORING_OP_ACCEPT, fd, slot_name(ring, fd, TAG_ACCEPT));
        entry->ioprio = IORING_ACCEPT_MULTISHOT;
        entry->accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
        slot->in_flight_mask = AE_READABLE;
    } else if (slot->kind == KIND_POLLED) {
        int wanted = slot->mask & (AE_READABLE | AE_WRITABLE);
        if (slot->in_flight_mask == wanted) return;
        if (slot->in_flight_mask) {
            cancel(ring, slot_name(ring, fd, TAG_POLL));
            slot->generation = (slot->generation + 1) & 0x1fffffff;
        }
        struct io_uring_sqe *entry = request(ring, IORING_OP_POLL_ADD, fd, slot_name(ring, fd, TAG_POLL));
        entry->poll32_events = (wanted & AE_READABLE ? POLLIN : 0) | (wanted & AE_WRITABLE ? POLLOUT : 0);
        slot->in_flight_mask = wanted;
    }
}

static void arm_touched(struct ring *ring) {
    int count = ring->touched.count;
    for (int i = 0; i < count; i++) {
        int fd = ring->touched.values[i];
        ring->slots[fd].touched = 0;
        arm(ring, fd);
    }
    ring->touched.count -= count;
    memmove(ring->touched.values, ring->touched.values + count, sizeof(int) * ring->touched.count);
}

/* Forgets who is not ready any more; whether somebody is. */
static int prune_ready(struct ring *ring) {
    int kept = 0;
    for (int i = 0; i < ring->ready.count; i++) {
        int fd = ring->ready.values[i];
        if (readiness(ring, fd)) ring->ready.values[kept++] = fd;
        else ring->slots[fd].listed = 0;
    }
    ring->ready.count = kept;
    return kept;
}

static void close_queued(struct ring *ring) {
    for (int i = 0; i < ring->closing.count; i++) close(ring->closing.values[i]);
    ring->closing.count = 0;
}

static int completions_waiting(struct ring *ring) {
    return atomic_load_explicit(ring->cq_tail, memory_order_acquire) !=
           atomic_load_explicit(ring->cq_head, memory_order_relaxed);
}

/* With SQPOLL: watches the completion queue for a moment before it sleeps. */
static int spin(struct ring *ring, const struct timespec *timeout) {
    long long limit = SPIN_MICROSECONDS;
    if (timeout && timeout->tv_sec == 0 && timeout->tv_nsec / 1000 < limit) limit = timeout->tv_nsec / 1000;
    monotime start = getMonotonicUs();
    do {
        for (int i = 0; i < 64; i++)
            if (completions_waiting(ring)) return 1;
    } while ((long long)(getMonotonicUs() - start) < limit);
    return 0;
}

static void enter_polled(struct ring *ring, int wait, const struct timespec *timeout) {
    unsigned count = publish(ring), flags;
    atomic_thread_fence(memory_order_seq_cst);
    flags = atomic_load_explicit(ring->sq_flags, memory_order_relaxed);
    if (flags & IORING_SQ_NEED_WAKEUP) {
        enter(ring, count, 0, IORING_ENTER_SQ_WAKEUP, NULL);
    } else if (flags & IORING_SQ_CQ_OVERFLOW) {
        enter(ring, 0, 0, IORING_ENTER_GETEVENTS, NULL);
    }
    if (!wait || completions_waiting(ring) || spin(ring, timeout)) return;
    enter(ring, 0, 1, IORING_ENTER_GETEVENTS, timeout);
}

/* Submits everything, waits if asked to, and accounts for what came. */
static void turn(struct ring *ring, int wait, const struct timespec *timeout) {
    if (queue_dirty(ring)) wait = 0;
    publish_buffers(ring);
    if (ring->sqpoll) {
        enter_polled(ring, wait, timeout);
        /* Closing a descriptor before its requests were taken would lose them. */
        while (ring->closing.count && publish(ring)) submit_only(ring);
    } else {
        do {
            if (enter(ring, publish(ring), wait ? 1 : 0, IORING_ENTER_GETEVENTS, timeout) < 0 && errno != EINTR &&
                errno != ETIME && errno != EAGAIN && errno != EBUSY)
                panic("io_uring_enter: %s", strerror(errno));
            reap(ring);
            wait = 0;
        } while (publish(ring) ||
                 atomic_load_explicit(ring->sq_flags, memory_order_relaxed) & IORING_SQ_CQ_OVERFLOW);
        settle_sent(ring);
    }
    reap(ring);
    close_queued(ring);
}

int aeUringPoll(aeEventLoop *loop, struct timeval *timeout) {
    struct ring *ring = loop->apidata;
    struct timespec limit;
    int count = 0, dont_wait = timeout && !timeout->tv_sec && !timeout->tv_usec;
    if (ring->child) return 0;
    if (timeout) {
        limit.tv_sec = timeout->tv_sec;
        limit.tv_nsec = timeout->tv_usec * 1000L;
    }
    arm_touched(ring);
    int ready = prune_ready(ring);
    turn(ring, !ready && !dont_wait, timeout ? &limit : NULL);
    for (int i = 0; i < ring->ready.count; i++) {
        int fd = ring->ready.values[i], mask = readiness(ring, fd);
        struct slot *slot = &ring->slots[fd];
        if (!mask) continue;
        if (count == loop->nevents) break;
        loop->fired[count].fd = fd;
        loop->fired[count++].mask = mask;
        slot->ready = 0;
    }
    return count;
}

/* Goes on until a condition of some descriptor holds; for the cold paths that cannot wait for the next turn. */
static void settle_until(struct ring *ring, int (*over)(struct ring *, int), int fd) {
    while (!over(ring, fd)) turn(ring, 1, NULL);
}

static int listener_is_idle(struct ring *ring, int fd) { return !ring->slots[fd].in_flight_mask; }
static int stream_is_idle(struct ring *ring, int fd) {
    struct stream *stream = ring->slots[fd].stream;
    return !stream->receiving && !stream->sending;
}

/* ---- what ae.c calls ------------------------------------------------------------------------------------------ */

static int is_listener(int fd) {
    int listens = 0;
    socklen_t length = sizeof(listens);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens;
}

int aeUringAdd(aeEventLoop *loop, int fd, int mask) {
    struct ring *ring = loop->apidata;
    struct slot *slot = &ring->slots[fd];
    if (ring->child) return 0;
    if (slot->kind == KIND_NONE) {
        slot->kind = mask == AE_READABLE && is_listener(fd) ? KIND_LISTENER : KIND_POLLED;
    }
    slot->mask |= mask & (AE_READABLE | AE_WRITABLE);
    touch(ring, fd);
    list_ready(ring, fd);
    return 0;
}

void aeUringDelete(aeEventLoop *loop, int fd, int mask) {
    struct ring *ring = loop->apidata;
    struct slot *slot = &ring->slots[fd];
    if (ring->child) return;
    slot->mask &= ~mask;
    slot->ready &= slot->mask;
    if (slot->kind == KIND_STREAM) {
        if (mask & AE_READABLE) {
            spill(ring, slot->stream);
            if (slot->stream->receiving) cancel(ring, stream_name(slot->stream, TAG_RECEIVE));
        }
        return;
    }
    if (slot->mask) {
        touch(ring, fd);
        return;
    }
    if (slot->kind == KIND_LISTENER) {
        /* The address has to be free when the caller closes the descriptor. */
        if (slot->in_flight_mask) {
            cancel(ring, slot_name(ring, fd, TAG_ACCEPT));
            settle_until(ring, listener_is_idle, fd);
        }
        while (slot->accepted_start < slot->accepted_end) close(slot->accepted[slot->accepted_start++]);
        slot->accepted_start = slot->accepted_end = 0;
        slot->error = 0;
    } else if (slot->in_flight_mask) {
        cancel(ring, slot_name(ring, fd, TAG_POLL));
        slot->in_flight_mask = 0;
    }
    slot->generation = (slot->generation + 1) & 0x1fffffff;
    if (!slot->stream) slot->kind = KIND_NONE;
}

int aeUringResize(aeEventLoop *loop, int setsize) {
    struct ring *ring = loop->apidata;
    ring->slots = zrealloc(ring->slots, sizeof(struct slot) * setsize);
    if (setsize > ring->setsize)
        memset(ring->slots + ring->setsize, 0, sizeof(struct slot) * (setsize - ring->setsize));
    ring->setsize = setsize;
    /* Lists may name descriptors that no longer have a slot; they are idle. */
    struct numbers *lists[] = {&ring->ready, &ring->touched};
    for (int i = 0; i < 2; i++) {
        int kept = 0;
        for (int j = 0; j < lists[i]->count; j++)
            if (lists[i]->values[j] < setsize) lists[i]->values[kept++] = lists[i]->values[j];
        lists[i]->count = kept;
    }
    return 0;
}

void aeUringFree(aeEventLoop *loop) {
    struct ring *ring = loop->apidata;
    if (!ring->child) turn(ring, 0, NULL);
    close(ring->fd);
    munmap(ring->rings, ring->rings_bytes);
    munmap(ring->entries, ring->entries_bytes);
    munmap(ring->buffer_ring, ring->buffers_bytes);
    for (int fd = 0; fd < ring->setsize; fd++) {
        zfree(ring->slots[fd].accepted);
        if (ring->slots[fd].stream) {
            zfree(ring->slots[fd].stream->staged);
            zfree(ring->slots[fd].stream->spilled);
            zfree(ring->slots[fd].stream);
        }
    }
    zfree(ring->slots);
    zfree(ring->ready.values);
    zfree(ring->touched.values);
    zfree(ring->closing.values);
    zfree(ring);
    the_ring = NULL;
}

static int map_rings(struct ring *ring, const struct io_uring_params *params) {
    size_t submissions = params->sq_off.array + params->sq_entries * sizeof(unsigned);
    size_t completions = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
    char *base;
    if (!(params->features & IORING_FEAT_SINGLE_MMAP)) {
        errno = ENOSYS;
        return -1;
    }
    ring->rings_bytes = submissions > completions ? submissions : completions;
    ring->entries_bytes = params->sq_entries * sizeof(struct io_uring_sqe);
    base = mmap(NULL, ring->rings_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
    if (base == MAP_FAILED) return -1;
    ring->rings = base;
    ring->entries = mmap(NULL, ring->entries_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
                         IORING_OFF_SQES);
    if (ring->entries == MAP_FAILED) return -1;
    ring->sq_head = (_Atomic unsigned *)(base + params->sq_off.head);
    ring->sq_tail = (_Atomic unsigned *)(base + params->sq_off.tail);
    ring->sq_flags = (_Atomic unsigned *)(base + params->sq_off.flags);
    ring->sq_mask = *(unsigned *)(base + params->sq_off.ring_mask);
    ring->cq_head = (_Atomic unsigned *)(base + params->cq_off.head);
    ring->cq_tail = (_Atomic unsigned *)(base + params->cq_off.tail);
    ring->cq_mask = *(unsigned *)(base + params->cq_off.ring_mask);
    ring->completions = (struct io_uring_cqe *)(base + params->cq_off.cqes);
    unsigned *indices = (unsigned *)(base + params->sq_off.array);
    for (unsigned i = 0; i < params->sq_entries; i++) indices[i] = i;
    return 0;
}

/* Shared mappings: after a fork the kernel and this process still mean the same pages. */
static int map_buffers(struct ring *ring) {
    size_t ring_bytes = BUFFERS * sizeof(struct io_uring_buf);
    struct io_uring_buf_reg registration = {0};
    ring->buffers_bytes = ring_bytes + (size_t)BUFFERS * BUFFER_BYTES;
    ring->buffer_ring = mmap(NULL, ring->buffers_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ring->buffer_ring == MAP_FAILED) return -1;
    ring->buffers = (char *)ring->buffer_ring + ring_bytes;
    registration.ring_addr = (uint64_t)(uintptr_t)ring->buffer_ring;
    registration.ring_entries = BUFFERS;
    registration.bgid = BUFFER_GROUP;
    if (syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_PBUF_RING, &registration, 1) < 0) return -1;
    for (int i = 0; i < BUFFERS; i++) offer(ring, i);
    publish_buffers(ring);
    return 0;
}

int aeUringCreate(aeEventLoop *loop, int sqpoll) {
    struct io_uring_params params = {0};
    struct ring *ring = zcalloc(sizeof(*ring));
    params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL;
    params.cq_entries = COMPLETIONS;
    if (sqpoll) {
        params.flags |= IORING_SETUP_SQPOLL;
        params.sq_thread_idle = SQPOLL_IDLE_MILLISECONDS;
    } else {
        params.flags |= IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    }
    ring->loop = loop;
    ring->sqpoll = sqpoll;
    ring->fd = (int)syscall(__NR_io_uring_setup, SUBMISSIONS, &params);
    if (ring->fd < 0) {
        zfree(ring);
        return -1;
    }
    if (map_rings(ring, &params) < 0 || map_buffers(ring) < 0) {
        int error = errno;
        close(ring->fd);
        zfree(ring);
        errno = error;
        return -1;
    }
    ring->setsize = loop->setsize;
    ring->slots = zcalloc(sizeof(struct slot) * ring->setsize);
    loop->apidata = ring;
    the_ring = ring;
    return 0;
}

/* ---- sockets -------------------------------------------------------------------------------------------------- */

void aeUringStream(aeEventLoop *loop, int fd) {
    struct slot *slot = slot_of(the_ring, fd);
    if (!slot || loop != the_ring->loop || the_ring->child || slot->stream) return;
    if (slot->in_flight_mask) cancel(the_ring, slot_name(the_ring, fd, TAG_POLL));
    slot->in_flight_mask = slot->ready = 0;
    slot->generation = (slot->generation + 1) & 0x1fffffff;
    slot->kind = KIND_STREAM;
    slot->stream = zcalloc(sizeof(struct stream));
    slot->stream->fd = fd;
    slot->stream->first = slot->stream->last = -1;
    if (slot->mask) {
        touch(the_ring, fd);
        list_ready(the_ring, fd);
    }
}

/* Sends what is staged by a system call, while no request does; waits for room if it may. */
static void send_directly(struct stream *stream, int may_wait) {
    size_t done = 0;
    while (done < stream->staged_length) {
        ssize_t count = send(stream->fd, stream->staged + done, stream->staged_length - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count > 0) {
            done += count;
        } else if (errno != EAGAIN && errno != EINTR) {
            stream->error = errno;
            done = stream->staged_length;
        } else if (!may_wait || !aeWait(stream->fd, AE_WRITABLE, DISARM_MILLISECONDS)) {
            break;
        }
    }
    stream->staged_length -= done;
    memmove(stream->staged, stream->staged + done, stream->staged_length);
}

void aeUringDisarm(int fd) {
    struct slot *slot = slot_of(the_ring, fd);
    if (!slot || slot->kind != KIND_STREAM || the_ring->child) return;
    struct stream *stream = slot->stream;
    if (stream->receiving) cancel(the_ring, stream_name(stream, TAG_RECEIVE));
    slot->mask |= AE_READABLE; /* what arrives until then stays in its order */
    int had = slot->mask;
    settle_until(the_ring, stream_is_idle, fd);
    slot->mask = had;
    send_directly(stream, 1);
    spill(the_ring, stream);
    stream->direct = 1;
    slot->kind = KIND_POLLED;
    slot->mask = the_ring->loop->events[fd].mask & (AE_READABLE | AE_WRITABLE);
    if (slot->mask) {
        touch(the_ring, fd);
        list_ready(the_ring, fd);
    }
}

ssize_t aeUringRead(int fd, void *buffer, size_t length) {
    struct stream *stream = stream_of(fd);
    size_t done = 0;
    if (!stream) return read(fd, buffer, length);
    if (stream->spilled_length) {
        done = stream->spilled_length < length ? stream->spilled_length : length;
        memcpy(buffer, stream->spilled + stream->spilled_start, done);
        stream->spilled_start += done;
        stream->spilled_length -= done;
        if (!stream->spilled_length) {
            zfree(stream->spilled);
            stream->spilled = NULL;
            stream->spilled_start = 0;
        }
    }
    if (the_ring->child || stream->direct) return done ? (ssize_t)done : read(fd, buffer, length);
    while (done < length && stream->first >= 0) {
        int index = stream->first;
        size_t count = the_ring->buffer_length[index];
        if (count > length - done) count = length - done;
        memcpy((char *)buffer + done,
               the_ring->buffers + (size_t)index * BUFFER_BYTES + the_ring->buffer_start[index], count);
        done += count;
        the_ring->buffer_start[index] += count;
        the_ring->buffer_length[index] -= count;
        if (!the_ring->buffer_length[index]) drop_first(the_ring, stream);
    }
    if (done) return done;
    if (stream->error) {
        errno = stream->error;
        return -1;
    }
    if (stream->ended) return 0;
    errno = EAGAIN;
    return -1;
}

/* Room for as many of `length` bytes as may be staged; 0 if there is none now. */
static size_t room(struct stream *stream, size_t length) {
    size_t needed, capacity = stream->staged_capacity ? stream->staged_capacity : 256;
    if (stream->sending || stream->awaiting_room || stream->staged_length >= STAGED_BYTES_MAX) return 0;
    if (length > STAGED_BYTES_MAX - stream->staged_length) length = STAGED_BYTES_MAX - stream->staged_length;
    needed = stream->staged_length + length;
    while (capacity < needed) capacity *= 2;
    if (capacity != stream->staged_capacity) {
        stream->staged = zrealloc(stream->staged, capacity);
        stream->staged_capacity = capacity;
    }
    return length;
}

ssize_t aeUringWritev(int fd, const struct iovec *parts, int count) {
    struct stream *stream = stream_of(fd);
    size_t total = 0, left;
    if (!stream || stream->direct || the_ring->child) return writev(fd, parts, count);
    if (stream->error) {
        errno = stream->error;
        return -1;
    }
    for (int i = 0; i < count; i++) total += parts[i].iov_len;
    left = total = room(stream, total);
    if (!total) {
        errno = EAGAIN;
        return -1;
    }
    for (int i = 0; i < count && left; i++) {
        size_t length = parts[i].iov_len < left ? parts[i].iov_len : left;
        memcpy(stream->staged + stream->staged_length, parts[i].iov_base, length);
        stream->staged_length += length;
        left -= length;
    }
    mark_dirty(the_ring, stream);
    return total;
}

ssize_t aeUringWrite(int fd, const void *data, size_t length) {
    struct stream *stream = stream_of(fd);
    struct iovec part = {(void *)data, length};
    if (!stream || stream->direct || the_ring->child) return write(fd, data, length);
    return aeUringWritev(fd, &part, 1);
}

int aeUringShutdown(int fd) {
    struct stream *stream = stream_of(fd);
    if (stream && !the_ring->child && !stream->sending) send_directly(stream, 0);
    return shutdown(fd, SHUT_RDWR);
}

int aeUringClose(int fd) {
    struct slot *slot = slot_of(the_ring, fd);
    if (!slot || !slot->stream || the_ring->child) return close(fd);
    struct stream *stream = slot->stream;
    while (stream->first >= 0) drop_first(the_ring, stream);
    if (stream->staged_length && !stream->error && !stream->sending) queue_send(the_ring, stream, 1);
    if (stream->receiving) cancel(the_ring, stream_name(stream, TAG_RECEIVE));
    if (stream->awaiting_room) cancel(the_ring, stream_name(stream, TAG_ROOM));
    slot->stream = NULL;
    slot->kind = KIND_NONE;
    slot->mask = slot->ready = 0;
    slot->generation = (slot->generation + 1) & 0x1fffffff;
    stream->fd = -1;
    numbers_push(&the_ring->closing, fd);
    release(stream);
    return 0;
}

int aeUringAccept(int fd, struct sockaddr *address, socklen_t *length, int flags) {
    struct slot *slot = slot_of(the_ring, fd);
    if (!slot || slot->kind != KIND_LISTENER || the_ring->child) return accept4(fd, address, length, flags);
    while (slot->accepted_start < slot->accepted_end) {
        int connection = slot->accepted[slot->accepted_start++];
        if (slot->accepted_start == slot->accepted_end) slot->accepted_start = slot->accepted_end = 0;
        memset(address, 0, *length);
        /* Who has gone already is told by its first read. */
        if (getpeername(connection, address, length) < 0 && errno != ENOTCONN) {
            close(connection);
            continue;
        }
        return connection;
    }
    errno = slot->error ? slot->error : EAGAIN;
    slot->error = 0;
    return -1;
}

size_t aeUringStaged(int fd) {
    struct stream *stream = stream_of(fd);
    return stream ? stream->staged_length : 0;
}

void aeUringFlush(void) {
    if (the_ring && !the_ring->child) turn(the_ring, 0, NULL);
}

void aeUringForked(void) {
    if (the_ring) the_ring->child = 1;
}
