/* Ports of TCP: who may have which, how long they stay taken, the queue of a listener, options. */
#include "inet.h"

#include <fcntl.h>
#include <netinet/tcp.h>

static int bound_socket(struct sockaddr_in name, int reuse_address, int reuse_port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse_address, sizeof reuse_address);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuse_port, sizeof reuse_port);
    if (bind(fd, (struct sockaddr *)&name, sizeof name) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

CASE(a_port_is_had_by_one)
{
    struct sockaddr_in name = loopback(0), any;
    int listener = listening(&name, 1);

    any = name;
    any.sin_addr.s_addr = htonl(INADDR_ANY);
    CHECK_FAILS(bound_socket(name, 0, 0), EADDRINUSE);
    CHECK_FAILS(bound_socket(name, 1, 0), EADDRINUSE);
    CHECK_FAILS(bound_socket(any, 1, 1), EADDRINUSE);
    name.sin_addr.s_addr = htonl(0x7f000002);
    CHECK(bound_socket(name, 0, 0) >= 0);
    CHECK_FAILS(bind(listener, (struct sockaddr *)&name, sizeof name), EINVAL);
}

CASE(idle_sockets_may_share_and_one_of_them_listens)
{
    struct sockaddr_in name = loopback(0);
    socklen_t len = sizeof name;
    int one = bound_socket(name, 1, 0);

    REQUIRE(getsockname(one, (struct sockaddr *)&name, &len) == 0);
    int two = bound_socket(name, 1, 0);
    CHECK(two >= 0);
    CHECK_FAILS(bound_socket(name, 0, 0), EADDRINUSE);
    CHECK(listen(one, 1) == 0);
    CHECK_FAILS(listen(two, 1), EADDRINUSE);
}

CASE(listeners_may_share_a_port)
{
    struct sockaddr_in name = loopback(0);
    socklen_t len = sizeof name;
    int one = bound_socket(name, 0, 1);

    REQUIRE(getsockname(one, (struct sockaddr *)&name, &len) == 0);
    int two = bound_socket(name, 0, 1);
    REQUIRE(two >= 0);
    CHECK(listen(one, 100) == 0 && listen(two, 100) == 0);
    for (int i = 0; i < 64; i++) {
        int client = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
    }
    CHECK_EQUAL(ready(one), POLLIN);
    CHECK_EQUAL(ready(two), POLLIN);
}

CASE(who_closes_first_leaves_the_port_taken)
{
    struct sockaddr_in name = loopback(0);
    int listener = listening(&name, 1), client = socket(AF_INET, SOCK_STREAM, 0);

    REQUIRE(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
    int server = accept(listener, NULL, NULL);
    close(listener);
    CHECK_FAILS(bound_socket(name, 0, 0), EADDRINUSE);
    close(server);
    close(client);
    CHECK_FAILS(bound_socket(name, 0, 0), EADDRINUSE);
    CHECK_FAILS(bound_socket(name, 1, 0), EADDRINUSE);
}

CASE(who_lets_it_be_reused_has_it_again)
{
    struct sockaddr_in name = loopback(0);
    socklen_t len = sizeof name;
    int listener = bound_socket(name, 1, 0), client = socket(AF_INET, SOCK_STREAM, 0);

    REQUIRE(listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&name, &len) == 0);
    REQUIRE(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
    int server = accept(listener, NULL, NULL);
    close(listener);
    close(server);
    close(client);
    CHECK_FAILS(bound_socket(name, 0, 0), EADDRINUSE);
    int again = bound_socket(name, 1, 0);
    CHECK(again >= 0);
    CHECK(listen(again, 1) == 0);
}

CASE(a_reset_frees_the_port)
{
    struct sockaddr_in name = loopback(0);
    int listener = listening(&name, 1), client = socket(AF_INET, SOCK_STREAM, 0);
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    REQUIRE(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
    int server = accept(listener, NULL, NULL);
    REQUIRE(setsockopt(server, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    close(listener);
    close(server);
    CHECK(bound_socket(name, 0, 0) >= 0);
}

CASE(a_full_queue_makes_others_wait)
{
    struct sockaddr_in name = loopback(0);
    int listener = listening(&name, 1), clients[4], error;
    struct pollfd entry;

    for (int i = 0; i < 4; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        CHECK_FAILS(connect(clients[i], (struct sockaddr *)&name, sizeof name), EINPROGRESS);
    }
    CHECK_EQUAL(ready(clients[0]), POLLOUT);
    CHECK_EQUAL(ready(clients[1]), POLLOUT);
    CHECK_EQUAL(ready(clients[2]), 0);
    CHECK_FAILS(send(clients[2], "x", 1, 0), EAGAIN);
    CHECK_FAILS(connect(clients[2], (struct sockaddr *)&name, sizeof name), EALREADY);
    CHECK(accept(listener, NULL, NULL) >= 0);
    CHECK(accept(listener, NULL, NULL) >= 0);
    entry = (struct pollfd){.fd = clients[2], .events = POLLOUT};
    CHECK_EQUAL(poll(&entry, 1, 10000), 1);
    CHECK_EQUAL(entry.revents, POLLOUT);
    socklen_t len = sizeof error;
    CHECK(getsockopt(clients[2], SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0);
    CHECK_EQUAL(send(clients[2], "x", 1, 0), 1);
}

CASE(a_listener_that_closes_resets_who_was_not_accepted)
{
    struct sockaddr_in name = loopback(0);
    int listener = listening(&name, 5), client = socket(AF_INET, SOCK_STREAM, 0);
    char byte;

    REQUIRE(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
    close(listener);
    CHECK_FAILS(recv(client, &byte, 1, 0), ECONNRESET);
}

CASE(a_listener_can_be_shut_down)
{
    struct sockaddr_in name = loopback(0);
    int listener = listening(&name, 5), status;

    CHECK_FAILS(connect(listener, (struct sockaddr *)&name, sizeof name), EISCONN);
    pid_t child = fork();
    if (child == 0) {
        usleep(20000);
        _exit(shutdown(listener, SHUT_RD));
    }
    CHECK_FAILS(accept(listener, NULL, NULL), EINVAL);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_FAILS(connect(client, (struct sockaddr *)&name, sizeof name), ECONNREFUSED);
}

CASE(ports_below_1024_are_for_some)
{
    REQUIRE(seteuid(1000) == 0);
    CHECK_FAILS(bound_socket(loopback(80), 0, 0), EACCES);
    CHECK(bound_socket(loopback(8080), 0, 0) >= 0);
}

static int option(int fd, int level, int name)
{
    int value = -77;
    socklen_t len = sizeof value;

    return getsockopt(fd, level, name, &value, &len) < 0 ? -errno : value;
}

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

CASE(options_are_kept_and_inherited)
{
    struct sockaddr_in name = loopback(0);
    int listener = listening(&name, 5), client = socket(AF_INET, SOCK_STREAM, 0);

    CHECK_EQUAL(option(listener, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
    CHECK_EQUAL(option(listener, SOL_SOCKET, SO_DOMAIN), AF_INET);
    CHECK_EQUAL(option(listener, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
    CHECK_EQUAL(option(listener, SOL_SOCKET, SO_ACCEPTCONN), 1);
    CHECK_EQUAL(option(client, SOL_SOCKET, SO_ACCEPTCONN), 0);
    CHECK_EQUAL(option(client, IPPROTO_TCP, TCP_KEEPIDLE), 7200);
    CHECK_EQUAL(option(client, IPPROTO_TCP, TCP_KEEPINTVL), 75);
    CHECK_EQUAL(option(client, IPPROTO_TCP, TCP_KEEPCNT), 9);
    CHECK_EQUAL(option(client, IPPROTO_TCP, TCP_NODELAY), 0);
    CHECK_EQUAL(option(client, IPPROTO_IP, IP_TTL), 64);
    CHECK_EQUAL(set_option(listener, IPPROTO_TCP, TCP_NODELAY, 5), 0);
    CHECK_EQUAL(set_option(listener, IPPROTO_TCP, TCP_KEEPIDLE, 0), -EINVAL);
    CHECK_EQUAL(set_option(listener, IPPROTO_TCP, TCP_KEEPIDLE, 30), 0);
    CHECK_EQUAL(set_option(listener, SOL_SOCKET, SO_KEEPALIVE, 1), 0);
    CHECK_EQUAL(set_option(listener, SOL_SOCKET, SO_RCVBUF, 10000), 0);
    CHECK_EQUAL(set_option(listener, IPPROTO_IP, IP_TOS, 16), 0);
    CHECK_EQUAL(set_option(listener, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000), 0);
    CHECK_EQUAL(set_option(listener, IPPROTO_TCP, 12345, 1), -ENOPROTOOPT);
    CHECK_EQUAL(set_option(listener, SOL_SOCKET, 12345, 1), -ENOPROTOOPT);
    CHECK_EQUAL(option(listener, SOL_SOCKET, 12345), -ENOPROTOOPT);
    CHECK_FAILS(setsockopt(listener, SOL_SOCKET, SO_KEEPALIVE, &name, 3), EINVAL);
    REQUIRE(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
    int server = accept(listener, NULL, NULL);
    CHECK_EQUAL(option(server, IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK_EQUAL(option(server, IPPROTO_TCP, TCP_KEEPIDLE), 30);
    CHECK_EQUAL(option(server, SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_EQUAL(option(server, SOL_SOCKET, SO_RCVBUF), 20000);
    CHECK_EQUAL(option(server, IPPROTO_TCP, TCP_USER_TIMEOUT), 5000);
    char congestion[32];
    socklen_t len = sizeof congestion;
    CHECK(getsockopt(server, IPPROTO_TCP, TCP_CONGESTION, congestion, &len) == 0);
    CHECK_EQUAL(len, 16);
    CHECK(strcmp(congestion, "cubic") == 0);
}

CASE(a_connection_tells_about_itself)
{
    struct pair pair = connected_pair();
    struct tcp_info info;
    socklen_t len = sizeof info;

    memset(&info, 0xff, sizeof info);
    REQUIRE(getsockopt(pair.client, IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
    CHECK_EQUAL(info.tcpi_state, TCP_ESTABLISHED);
    CHECK_EQUAL(info.tcpi_retransmits, 0);
    CHECK_EQUAL(info.tcpi_unacked, 0);
    CHECK(info.tcpi_snd_mss > 536);
    shutdown(pair.client, SHUT_WR);
    REQUIRE(getsockopt(pair.server, IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
    CHECK_EQUAL(info.tcpi_state, TCP_CLOSE_WAIT);
    len = 1;
    info.tcpi_ca_state = 77;
    REQUIRE(getsockopt(pair.server, IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
    CHECK_EQUAL(len, 1);
    CHECK_EQUAL(info.tcpi_ca_state, 77);
}

/* How many lines of a table have this beginning of a name and this state. */
static int lines(const char *table, int port, int state)
{
    char line[512], wanted[16];
    unsigned int got;
    int count = 0;
    FILE *file = fopen(table, "r");

    REQUIRE(file != NULL);
    snprintf(wanted, sizeof wanted, ":%04X ", port);
    while (fgets(line, sizeof line, file)) {
        char *local = strstr(line, wanted);
        if (local && sscanf(local + 6, "%*[0-9A-F]:%*x %x", &got) == 1)
            count += got == (unsigned)state && strchr(line, ':') + 2 + 8 == local;
    }
    fclose(file);
    return count;
}

CASE(the_table_of_sockets_shows_them)
{
    struct sockaddr_in name = loopback(0);
    int listener = listening(&name, 5), client = socket(AF_INET, SOCK_STREAM, 0), port = ntohs(name.sin_port);

    CHECK_EQUAL(lines("/proc/net/tcp", port, TCP_LISTEN), 1);
    REQUIRE(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
    int server = accept(listener, NULL, NULL);
    CHECK_EQUAL(lines("/proc/net/tcp", port, TCP_ESTABLISHED), 1);
    close(server);
    CHECK_EQUAL(lines("/proc/net/tcp", port, TCP_ESTABLISHED), 0);
    close(client);
    CHECK_EQUAL(lines("/proc/self/net/tcp", port, TCP_TIME_WAIT), 1);
    CHECK_EQUAL(lines("/proc/net/tcp6", port, TCP_LISTEN), 0);
    close(listener);
    CHECK_EQUAL(lines("/proc/net/tcp", port, TCP_LISTEN), 0);
}
