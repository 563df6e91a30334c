/* Local sockets with names: in a file system and abstract; listening, connecting, datagrams. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define PATH "/tmp/unix_names.socket"

static struct sockaddr_un path_name(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};

    strcpy(name.sun_path, path);
    return name;
}

static socklen_t abstract_name(struct sockaddr_un *name, const char *text)
{
    memset(name, 0, sizeof *name);
    name->sun_family = AF_UNIX;
    strcpy(name->sun_path + 1, text);
    return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(text);
}

static int listener(int kind, const char *path)
{
    struct sockaddr_un name = path_name(path);
    int fd = socket(AF_UNIX, kind, 0);

    mkdir("/tmp", 0777);
    unlink(path);
    REQUIRE(fd >= 0);
    REQUIRE(bind(fd, (void *)&name, sizeof name) == 0);
    REQUIRE(listen(fd, 5) == 0);
    return fd;
}

static int connected(int kind, const char *path)
{
    struct sockaddr_un name = path_name(path);
    int fd = socket(AF_UNIX, kind, 0);

    REQUIRE(connect(fd, (void *)&name, sizeof name) == 0);
    return fd;
}

static short ready(int fd, short events)
{
    struct pollfd entry = {.fd = fd, .events = events};

    poll(&entry, 1, 0);
    return entry.revents;
}

CASE(a_stream_is_accepted)
{
    struct sockaddr_un name;
    socklen_t length = sizeof name;
    struct ucred who;
    char bytes[16];
    int server = listener(SOCK_STREAM, PATH), one;
    struct stat status;

    CHECK_EQUAL(stat(PATH, &status), 0);
    CHECK(S_ISSOCK(status.st_mode));
    CHECK_EQUAL(ready(server, POLLIN), 0);
    int client = connected(SOCK_STREAM, PATH);
    CHECK_EQUAL(ready(server, POLLIN), POLLIN);
    /* What is sent before is there after. */
    CHECK_EQUAL(write(client, "early", 5), 5);
    int end = accept4(server, (void *)&name, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    REQUIRE(end >= 0);
    CHECK_EQUAL(length, sizeof(sa_family_t));
    CHECK_EQUAL(name.sun_family, AF_UNIX);
    CHECK_EQUAL(fcntl(end, F_GETFD), FD_CLOEXEC);
    CHECK(fcntl(end, F_GETFL) & O_NONBLOCK);
    CHECK_EQUAL(read(end, bytes, sizeof bytes), 5);
    CHECK_EQUAL(write(end, "answer", 6), 6);
    CHECK_EQUAL(read(client, bytes, sizeof bytes), 6);
    /* The server's end has the server's name. */
    length = sizeof name;
    CHECK_EQUAL(getsockname(end, (void *)&name, &length), 0);
    CHECK_EQUAL(length, offsetof(struct sockaddr_un, sun_path) + sizeof PATH);
    CHECK(strcmp(name.sun_path, PATH) == 0);
    length = sizeof name;
    memset(&name, 0, sizeof name);
    CHECK_EQUAL(getpeername(client, (void *)&name, &length), 0);
    CHECK(strcmp(name.sun_path, PATH) == 0);
    length = sizeof name;
    CHECK_EQUAL(getpeername(end, (void *)&name, &length), 0);
    CHECK_EQUAL(length, sizeof(sa_family_t));
    length = sizeof who;
    CHECK_EQUAL(getsockopt(end, SOL_SOCKET, SO_PEERCRED, &who, &length), 0);
    CHECK(who.pid == getpid() && who.uid == geteuid() && who.gid == getegid());
    length = sizeof one;
    CHECK_EQUAL(getsockopt(server, SOL_SOCKET, SO_ACCEPTCONN, &one, &length), 0);
    CHECK_EQUAL(one, 1);
    CHECK_EQUAL(getsockopt(client, SOL_SOCKET, SO_ACCEPTCONN, &one, &length), 0);
    CHECK_EQUAL(one, 0);
    close(client);
    CHECK_EQUAL(read(end, bytes, sizeof bytes), 0);
}

CASE(the_other_process_is_known)
{
    struct ucred who;
    socklen_t length = sizeof who;
    int server = listener(SOCK_STREAM, PATH), status;
    pid_t child = fork();

    if (child == 0) {
        int client = connected(SOCK_STREAM, PATH);
        char byte;
        getsockopt(client, SOL_SOCKET, SO_PEERCRED, &who, &length);
        _exit(who.pid == getppid() && read(client, &byte, 1) == 1 ? 0 : 1);
    }
    int end = accept(server, NULL, NULL);
    CHECK_EQUAL(getsockopt(end, SOL_SOCKET, SO_PEERCRED, &who, &length), 0);
    CHECK_EQUAL(who.pid, child);
    CHECK_EQUAL(write(end, "x", 1), 1);
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
}

CASE(abstract_names_end_with_their_sockets)
{
    struct sockaddr_un name, told;
    socklen_t length = abstract_name(&name, "unix names"), told_length = sizeof told;
    int server = socket(AF_UNIX, SOCK_SEQPACKET, 0), other = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    char bytes[16];

    CHECK_FAILS(connect(other, (void *)&name, length), ECONNREFUSED);
    CHECK_EQUAL(bind(server, (void *)&name, length), 0);
    CHECK_FAILS(connect(other, (void *)&name, length), ECONNREFUSED);
    CHECK_FAILS(bind(other, (void *)&name, length), EADDRINUSE);
    CHECK_EQUAL(listen(server, 1), 0);
    CHECK_EQUAL(connect(other, (void *)&name, length), 0);
    CHECK_EQUAL(getpeername(other, (void *)&told, &told_length), 0);
    CHECK_EQUAL(told_length, length);
    CHECK(memcmp(&told, &name, length) == 0);
    int end = accept(server, NULL, NULL);
    CHECK_EQUAL(send(other, "one", 3, 0), 3);
    CHECK_EQUAL(send(other, "second", 6, 0), 6);
    CHECK_EQUAL(read(end, bytes, sizeof bytes), 3);
    CHECK_EQUAL(read(end, bytes, 4), 4);
    close(server);
    int again = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQUAL(bind(again, (void *)&name, length), 0);
    /* A name that the kernel chooses: five digits. */
    int chosen = socket(AF_UNIX, SOCK_STREAM, 0);
    name.sun_family = AF_UNIX;
    CHECK_EQUAL(bind(chosen, (void *)&name, sizeof(sa_family_t)), 0);
    told_length = sizeof told;
    CHECK_EQUAL(getsockname(chosen, (void *)&told, &told_length), 0);
    CHECK_EQUAL(told_length, sizeof(sa_family_t) + 6);
    CHECK_EQUAL(told.sun_path[0], 0);
}

CASE(what_cannot_be_connected)
{
    struct sockaddr_un name = path_name(PATH);
    int server = listener(SOCK_STREAM, PATH), fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int datagram = socket(AF_UNIX, SOCK_DGRAM, 0);

    CHECK_FAILS(connect(datagram, (void *)&name, sizeof name), EPROTOTYPE);
    CHECK_FAILS(connect(fd, (void *)&name, 1), EINVAL);
    CHECK_FAILS(connect(fd, (void *)&name, sizeof name + 1), EINVAL);
    name.sun_family = AF_INET;
    CHECK_FAILS(connect(fd, (void *)&name, sizeof name), EINVAL);
    name = path_name("/tmp/unix_names.absent");
    CHECK_FAILS(connect(fd, (void *)&name, sizeof name), ENOENT);
    name = path_name("/tmp");
    CHECK_FAILS(connect(fd, (void *)&name, sizeof name), ECONNREFUSED);
    close(server);
    name = path_name(PATH);
    CHECK_FAILS(connect(fd, (void *)&name, sizeof name), ECONNREFUSED);
    CHECK_FAILS(bind(fd, (void *)&name, sizeof name), EADDRINUSE);
    CHECK_FAILS(listen(fd, 1), EINVAL);
    CHECK_FAILS(listen(datagram, 1), EOPNOTSUPP);
    CHECK_FAILS(accept(fd, NULL, NULL), EINVAL);
    CHECK_FAILS(accept(datagram, NULL, NULL), EOPNOTSUPP);
    CHECK_FAILS(send(fd, "x", 1, MSG_NOSIGNAL), ENOTCONN);
    CHECK_FAILS(recv(fd, &name, 1, 0), EINVAL);
    CHECK_FAILS(getpeername(fd, (void *)&name, &(socklen_t){sizeof name}), ENOTCONN);
    CHECK_EQUAL(ready(fd, POLLIN | POLLOUT), POLLOUT | POLLHUP);
    CHECK_FAILS(socket(AF_UNIX, SOCK_RDM, 0), ESOCKTNOSUPPORT);
    CHECK_FAILS(socket(AF_UNIX, 13, 0), EINVAL);
    CHECK_FAILS(socket(AF_UNIX, SOCK_STREAM, 5), EPROTONOSUPPORT);
    unlink(PATH);
    fd = connected(SOCK_STREAM, (close(listener(SOCK_STREAM, PATH "2")), listener(SOCK_STREAM, PATH), PATH));
    CHECK_FAILS(connect(fd, (void *)&name, sizeof name), EISCONN);
    struct ucred who;
    int alone = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQUAL(getsockopt(alone, SOL_SOCKET, SO_PEERCRED, &who, &(socklen_t){sizeof who}), 0);
    CHECK(who.pid == 0 && who.uid == (uid_t)-1 && who.gid == (gid_t)-1);
}

CASE(others_may_not_connect)
{
    int server = listener(SOCK_STREAM, PATH), status;
    pid_t child;

    if (geteuid() != 0)
        SKIP("not root");
    CHECK_EQUAL(chmod(PATH, 0600), 0);
    child = fork();
    if (child == 0) {
        struct sockaddr_un name = path_name(PATH);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (setuid(1000) != 0)
            _exit(1);
        _exit(connect(fd, (void *)&name, sizeof name) == -1 && errno == EACCES ? 0 : 2);
    }
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
    close(server);
}

CASE(the_queue_of_connections_has_an_end)
{
    struct sockaddr_un name;
    socklen_t length = abstract_name(&name, "queue");
    int server = socket(AF_UNIX, SOCK_STREAM, 0), made = 0, clients[8];

    REQUIRE(bind(server, (void *)&name, length) == 0 && listen(server, 2) == 0);
    for (int i = 0; i < 8; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(clients[i], (void *)&name, length) == 0)
            made++;
        else
            CHECK_EQUAL(errno, EAGAIN);
    }
    CHECK_EQUAL(made, 3);
    int end = accept(server, NULL, NULL);
    CHECK(end >= 0);
    CHECK_EQUAL(connect(clients[7], (void *)&name, length), 0);
    /* Who waits when the listener goes is told. */
    close(server);
    char byte;
    CHECK_FAILS(read(clients[7], &byte, 1), ECONNRESET);
    CHECK_EQUAL(write(clients[0], "x", 1), 1);
    CHECK_EQUAL(read(end, &byte, 1), 1);
}

static struct sockaddr_un target;
static socklen_t target_length;

static void *connect_now(void *result)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    usleep(50000);
    *(int *)result = connect(fd, (void *)&target, target_length) == 0 ? fd : -errno;
    return NULL;
}

CASE(who_waits_is_woken)
{
    int server = socket(AF_UNIX, SOCK_STREAM, 0), results[3], clients[3];
    pthread_t thread;

    target_length = abstract_name(&target, "woken");
    REQUIRE(bind(server, (void *)&target, target_length) == 0 && listen(server, 0) == 0);
    pthread_create(&thread, NULL, connect_now, &results[0]);
    int end = accept(server, NULL, NULL);
    CHECK(end >= 0);
    pthread_join(thread, NULL);
    CHECK(results[0] >= 0);
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK_EQUAL(epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event), 0);
    pthread_create(&thread, NULL, connect_now, &results[1]);
    CHECK_EQUAL(epoll_wait(epoll, &event, 1, 10000), 1);
    pthread_join(thread, NULL);
    /* The queue is full now: the next one waits for an accept. */
    clients[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_FAILS(connect(clients[0], (void *)&target, target_length), EAGAIN);
    pthread_create(&thread, NULL, connect_now, &results[2]);
    usleep(150000);
    CHECK(accept(server, NULL, NULL) >= 0);
    CHECK(accept(server, NULL, NULL) >= 0);
    pthread_join(thread, NULL);
    CHECK(results[2] >= 0);
    CHECK_EQUAL(fcntl(server, F_SETFL, O_NONBLOCK), 0);
    CHECK_FAILS(accept(server, NULL, NULL), EAGAIN);
    CHECK_EQUAL(shutdown(server, SHUT_RD), 0);
    CHECK_FAILS(connect(clients[0], (void *)&target, target_length), ECONNREFUSED);
    CHECK_EQUAL(fcntl(server, F_SETFL, 0), 0);
    CHECK_FAILS(accept(server, NULL, NULL), EINVAL);
}

CASE(datagrams_go_by_name)
{
    struct sockaddr_un name, own, from;
    socklen_t length = abstract_name(&name, "receiver"), own_length, from_length = sizeof from;
    int receiver = socket(AF_UNIX, SOCK_DGRAM, 0), sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    int other = socket(AF_UNIX, SOCK_DGRAM, 0);
    char bytes[16];

    CHECK_FAILS(send(sender, "x", 1, 0), ENOTCONN);
    CHECK_FAILS(sendto(sender, "x", 1, 0, (void *)&name, length), ECONNREFUSED);
    REQUIRE(bind(receiver, (void *)&name, length) == 0);
    CHECK_EQUAL(sendto(sender, "one", 3, 0, (void *)&name, length), 3);
    CHECK_EQUAL(recvfrom(receiver, bytes, sizeof bytes, 0, (void *)&from, &from_length), 3);
    CHECK_EQUAL(from_length, 0);
    own_length = abstract_name(&own, "sender");
    REQUIRE(bind(sender, (void *)&own, own_length) == 0);
    CHECK_EQUAL(connect(sender, (void *)&name, length), 0);
    CHECK_EQUAL(send(sender, "second", 6, 0), 6);
    CHECK_EQUAL(sendto(other, "third", 5, 0, (void *)&name, length), 5);
    from_length = sizeof from;
    CHECK_EQUAL(recvfrom(receiver, bytes, sizeof bytes, 0, (void *)&from, &from_length), 6);
    CHECK_EQUAL(from_length, own_length);
    CHECK(memcmp(&from, &own, own_length) == 0);
    CHECK_EQUAL(sendto(receiver, "answer", 6, 0, (void *)&from, from_length), 6);
    CHECK_EQUAL(recv(sender, bytes, sizeof bytes, 0), 6);
    CHECK_EQUAL(recv(receiver, bytes, sizeof bytes, 0), 5);
    /* Who is connected hears only the other end. */
    CHECK_EQUAL(connect(receiver, (void *)&own, own_length), 0);
    CHECK_FAILS(sendto(other, "no", 2, 0, (void *)&name, length), EPERM);
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    CHECK_EQUAL(connect(receiver, &none, sizeof none), 0);
    CHECK_EQUAL(sendto(other, "yes", 3, 0, (void *)&name, length), 3);
    close(receiver);
    CHECK_FAILS(send(sender, "x", 1, 0), ECONNREFUSED);
    CHECK_FAILS(send(sender, "x", 1, 0), ENOTCONN);
}

static void *receive_later(void *fd)
{
    char bytes[1024];

    usleep(100000);
    for (int i = 0; i < 1000 && recv(*(int *)fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0; i++)
        ;
    return NULL;
}

CASE(senders_wait_for_room)
{
    struct sockaddr_un name;
    socklen_t length = abstract_name(&name, "full");
    int receiver = socket(AF_UNIX, SOCK_DGRAM, 0), sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    char bytes[1024] = "";
    pthread_t thread;
    int sent = 0;

    REQUIRE(bind(receiver, (void *)&name, length) == 0);
    while (sent < 1000 && sendto(sender, bytes, 1024, MSG_DONTWAIT, (void *)&name, length) == 1024)
        sent++;
    int error = errno;
    CHECK_EQUAL(error, EAGAIN);
    CHECK(sent > 5 && sent < 1000);
    pthread_create(&thread, NULL, receive_later, &receiver);
    CHECK_EQUAL(sendto(sender, bytes, 1024, 0, (void *)&name, length), 1024);
    pthread_join(thread, NULL);
    CHECK_EQUAL(connect(sender, (void *)&name, length), 0);
    while (send(sender, bytes, 1024, MSG_DONTWAIT) == 1024)
        ;
    CHECK_EQUAL(ready(sender, POLLOUT), 0);
    pthread_create(&thread, NULL, receive_later, &receiver);
    struct pollfd entry = {.fd = sender, .events = POLLOUT};
    CHECK_EQUAL(poll(&entry, 1, 10000), 1);
    pthread_join(thread, NULL);
}

CASE(descriptors_and_senders_go_along)
{
    struct sockaddr_un name;
    socklen_t length = abstract_name(&name, "rights");
    int receiver = socket(AF_UNIX, SOCK_DGRAM, 0), sender = socket(AF_UNIX, SOCK_DGRAM, 0), one = 1;
    char byte = 'x';
    struct iovec piece = {&byte, 1};
    union {
        char bytes[128];
        struct cmsghdr header;
    } control = {0};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};

    REQUIRE(bind(receiver, (void *)&name, length) == 0);
    CHECK_EQUAL(setsockopt(receiver, SOL_SOCKET, SO_PASSCRED, &one, sizeof one), 0);
    CHECK_EQUAL(sendto(sender, "x", 1, 0, (void *)&name, length), 1);
    CHECK_EQUAL(recvmsg(receiver, &message, 0), 1);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    REQUIRE(header != NULL);
    CHECK_EQUAL(header->cmsg_type, SCM_CREDENTIALS);
    CHECK_EQUAL(((struct ucred *)CMSG_DATA(header))->pid, getpid());
}
