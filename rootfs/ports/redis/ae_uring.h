/* The event loop's second backend: one io_uring for readiness, receiving, accepting and sending.
 *
 * What is registered with the event loop is served in one of three ways. A listening socket has a multishot ACCEPT. A
 * stream, which is the socket of a client, has a multishot RECV into provided buffers, and what is written to it is
 * staged and sent by the enter of this turn. Everything else has a POLL and is read and written by the caller.
 *
 * The functions for sockets may be called whatever the backend is: for a descriptor that is no stream they are the
 * system calls of the same name. */
#ifndef AE_URING_H
#define AE_URING_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>

struct aeEventLoop;

/* What ae.c calls. */
int aeUringCreate(struct aeEventLoop *loop, int sqpoll);
int aeUringResize(struct aeEventLoop *loop, int setsize);
void aeUringFree(struct aeEventLoop *loop);
int aeUringAdd(struct aeEventLoop *loop, int fd, int mask);
void aeUringDelete(struct aeEventLoop *loop, int fd, int mask);
int aeUringPoll(struct aeEventLoop *loop, struct timeval *timeout);

/* Makes a connected socket a stream. The event loop is the one it is registered with. */
void aeUringStream(struct aeEventLoop *loop, int fd);
/* Makes it an ordinary descriptor again: nothing is in flight afterwards, and what was received is read first. */
void aeUringDisarm(int fd);

ssize_t aeUringRead(int fd, void *buffer, size_t length);
ssize_t aeUringWrite(int fd, const void *data, size_t length);
ssize_t aeUringWritev(int fd, const struct iovec *parts, int count);
int aeUringShutdown(int fd);
/* What is staged is sent before the descriptor is closed. */
int aeUringClose(int fd);
int aeUringAccept(int fd, struct sockaddr *address, socklen_t *length, int flags);
/* Bytes that were written and not sent. */
size_t aeUringStaged(int fd);

/* Sends what is staged; before a fork and before the end. */
void aeUringFlush(void);
/* In a child: the ring is the parent's. */
void aeUringForked(void);

#endif
