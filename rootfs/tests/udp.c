/* UDP on loopback: datagrams and who sent them, connections that are none, what nobody hears, many at once. */
#include "inet.h"

#include <fcntl.h>
#include <sys/ioctl.h>

/* A socket with a name. */
static int bound(struct sockaddr_in *name)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    socklen_t len = sizeof *name;

    *name = loopback(0);
    REQUIRE(bind(fd, (struct sockaddr *)name, sizeof *name) == 0);
    REQUIRE(getsockname(fd, (struct sockaddr *)name, &len) == 0);
    return fd;
}

CASE(datagrams_tell_who_sent_them)
{
    struct sockaddr_in one_name, two_name, from;
    int one = bound(&one_name), two = bound(&two_name), bytes;
    socklen_t len = sizeof from;
    char buffer[16];

    CHECK_EQUAL(ready(two), POLLOUT);
    CHECK_EQUAL(sendto(one, "hello", 5, 0, (struct sockaddr *)&two_name, sizeof two_name), 5);
    CHECK_EQUAL(sendto(one, "", 0, 0, (struct sockaddr *)&two_name, sizeof two_name), 0);
    CHECK_EQUAL(sendto(one, "long one", 8, 0, (struct sockaddr *)&two_name, sizeof two_name), 8);
    CHECK_EQUAL(ready(two), POLLIN | POLLOUT);
    CHECK(ioctl(two, FIONREAD, &bytes) == 0);
    CHECK_EQUAL(bytes, 5);
    CHECK_EQUAL(recv(two, buffer, 2, MSG_PEEK | MSG_TRUNC), 5);
    CHECK_EQUAL(recvfrom(two, buffer, 16, 0, (struct sockaddr *)&from, &len), 5);
    CHECK_EQUAL(len, sizeof from);
    CHECK_EQUAL(from.sin_port, one_name.sin_port);
    CHECK_EQUAL(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    CHECK_EQUAL(read(two, buffer, 16), 0);
    struct iovec piece = {.iov_base = buffer, .iov_len = 4};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof from};
    CHECK_EQUAL(recvmsg(two, &message, 0), 4);
    CHECK_EQUAL(message.msg_flags, MSG_TRUNC);
    CHECK_EQUAL(message.msg_namelen, sizeof from);
    CHECK_FAILS(recv(two, buffer, 16, MSG_DONTWAIT), EAGAIN);
}

CASE(a_connection_that_is_none)
{
    struct sockaddr_in one_name, two_name, told;
    int one = bound(&one_name), two = bound(&two_name), other = socket(AF_INET, SOCK_DGRAM, 0);
    socklen_t len = sizeof told;
    char buffer[16];

    CHECK_FAILS(send(one, "x", 1, 0), EDESTADDRREQ);
    CHECK_FAILS(getpeername(one, (struct sockaddr *)&told, &len), ENOTCONN);
    CHECK(connect(one, (struct sockaddr *)&two_name, sizeof two_name) == 0);
    CHECK(getpeername(one, (struct sockaddr *)&told, &len) == 0);
    CHECK_EQUAL(told.sin_port, two_name.sin_port);
    CHECK_EQUAL(sendto(other, "no", 2, 0, (struct sockaddr *)&one_name, sizeof one_name), 2);
    CHECK_FAILS(recv(one, buffer, 16, MSG_DONTWAIT), EAGAIN);
    CHECK_EQUAL(sendto(two, "yes", 3, 0, (struct sockaddr *)&one_name, sizeof one_name), 3);
    CHECK_EQUAL(recv(one, buffer, 16, 0), 3);
    CHECK_EQUAL(write(one, "answer", 6), 6);
    CHECK_EQUAL(read(two, buffer, 16), 6);
    told.sin_family = AF_UNSPEC;
    CHECK(connect(one, (struct sockaddr *)&told, sizeof told) == 0);
    CHECK_FAILS(getpeername(one, (struct sockaddr *)&told, &len), ENOTCONN);
    CHECK_FAILS(send(one, "x", 1, 0), EDESTADDRREQ);
}

CASE(nobody_hears)
{
    struct sockaddr_in one_name, two_name;
    int one = bound(&one_name), two = bound(&two_name), error;
    socklen_t len = sizeof error;
    char byte;

    CHECK(connect(one, (struct sockaddr *)&two_name, sizeof two_name) == 0);
    close(two);
    CHECK_EQUAL(send(one, "x", 1, 0), 1);
    CHECK_EQUAL(ready(one), POLLOUT | POLLERR);
    CHECK_FAILS(recv(one, &byte, 1, MSG_DONTWAIT), ECONNREFUSED);
    CHECK_EQUAL(send(one, "x", 1, 0), 1);
    CHECK(getsockopt(one, SOL_SOCKET, SO_ERROR, &error, &len) == 0);
    CHECK_EQUAL(error, ECONNREFUSED);
    int alone = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_EQUAL(sendto(alone, "x", 1, 0, (struct sockaddr *)&two_name, sizeof two_name), 1);
    CHECK_FAILS(recv(alone, &byte, 1, MSG_DONTWAIT), EAGAIN);
    two_name.sin_addr.s_addr = htonl(0x0a010203);
    CHECK_FAILS(sendto(alone, "x", 1, 0, (struct sockaddr *)&two_name, sizeof two_name), ENETUNREACH);
    two_name.sin_addr.s_addr = htonl(INADDR_BROADCAST);
    CHECK_FAILS(sendto(alone, "x", 1, 0, (struct sockaddr *)&two_name, sizeof two_name), ENETUNREACH);
    two_name.sin_port = 0;
    CHECK_FAILS(sendto(alone, "x", 1, 0, (struct sockaddr *)&two_name, sizeof two_name), EINVAL);
}

CASE(a_datagram_has_a_largest_size_and_a_queue_an_end)
{
    struct sockaddr_in name;
    int two = bound(&name), one = socket(AF_INET, SOCK_DGRAM, 0), small = 4096, count = 0;
    static char large[65508];

    CHECK_FAILS(sendto(one, large, 65508, 0, (struct sockaddr *)&name, sizeof name), EMSGSIZE);
    CHECK_EQUAL(sendto(one, large, 65507, 0, (struct sockaddr *)&name, sizeof name), 65507);
    CHECK_EQUAL(recv(two, large, sizeof large, 0), 65507);
    CHECK(setsockopt(two, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
    for (int i = 0; i < 100; i++)
        CHECK_EQUAL(sendto(one, large, 1000, 0, (struct sockaddr *)&name, sizeof name), 1000);
    while (recv(two, large, sizeof large, MSG_DONTWAIT) == 1000)
        count++;
    CHECK(count > 0 && count < 20);
}

CASE(many_at_once)
{
    struct sockaddr_in name;
    int two = bound(&name), one = socket(AF_INET, SOCK_DGRAM, 0);
    struct iovec pieces[3] = {{"a", 1}, {"bc", 2}, {"def", 3}};
    struct mmsghdr messages[4];
    char buffers[4][8];

    memset(messages, 0, sizeof messages);
    for (int i = 0; i < 3; i++) {
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_name = &name;
        messages[i].msg_hdr.msg_namelen = sizeof name;
    }
    CHECK_EQUAL(sendmmsg(one, messages, 3, 0), 3);
    CHECK_EQUAL(messages[2].msg_len, 3);
    struct iovec rooms[4];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < 4; i++) {
        rooms[i] = (struct iovec){buffers[i], 8};
        messages[i].msg_hdr.msg_iov = &rooms[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    CHECK_EQUAL(recvmmsg(two, messages, 4, MSG_WAITFORONE, NULL), 3);
    CHECK_EQUAL(messages[0].msg_len, 1);
    CHECK_EQUAL(messages[1].msg_len, 2);
    CHECK(memcmp(buffers[2], "def", 3) == 0);
    CHECK_FAILS(recvmmsg(two, messages, 4, MSG_DONTWAIT, NULL), EAGAIN);
    CHECK_FAILS(sendmmsg(one, messages, 1, 0), EDESTADDRREQ);
}

CASE(a_receiver_that_waits_is_woken)
{
    struct sockaddr_in name;
    int two = bound(&name), status;
    char byte = 0;

    pid_t child = fork();
    if (child == 0) {
        int one = socket(AF_INET, SOCK_DGRAM, 0);
        usleep(20000);
        _exit(sendto(one, "x", 1, 0, (struct sockaddr *)&name, sizeof name) == 1 ? 0 : 1);
    }
    CHECK_EQUAL(recv(two, &byte, 1, 0), 1);
    CHECK_EQUAL(byte, 'x');
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

CASE(directions_end)
{
    struct sockaddr_in name;
    int two = bound(&name);
    char byte;

    signal(SIGPIPE, SIG_IGN);
    CHECK(connect(two, (struct sockaddr *)&name, sizeof name) == 0);
    CHECK(shutdown(two, SHUT_RD) == 0);
    CHECK_EQUAL(ready(two), POLLIN | POLLOUT | POLLRDHUP);
    CHECK_EQUAL(recv(two, &byte, 1, 0), 0);
    CHECK(shutdown(two, SHUT_WR) == 0);
    CHECK_FAILS(send(two, "x", 1, 0), EPIPE);
    CHECK_EQUAL(ready(two), POLLIN | POLLOUT | POLLRDHUP | POLLHUP);
    CHECK_FAILS(listen(two, 1), EOPNOTSUPP);
    CHECK_FAILS(accept(two, NULL, NULL), EOPNOTSUPP);
}
