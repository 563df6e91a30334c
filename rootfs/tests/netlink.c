/* NETLINK_ROUTE: what programs ask about links, addresses and routes, the errors, and the sockets that they ask through. */
#include "inet.h"

#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

static char answer[65536];

static int opened(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    REQUIRE(fd >= 0);
    return fd;
}

/* Sends a request with this body. */
static void ask(int fd, int type, int flags, const void *body, size_t len)
{
    struct {
        struct nlmsghdr header;
        char body[128];
    } request = {.header = {.nlmsg_len = NLMSG_LENGTH(len), .nlmsg_type = type, .nlmsg_flags = flags, .nlmsg_seq = 7}};
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

    memcpy(request.body, body, len);
    REQUIRE(sendto(fd, &request, request.header.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof kernel) ==
            (ssize_t)request.header.nlmsg_len);
}

static struct nlmsghdr *received(int fd, int *len)
{
    struct sockaddr_nl from = {.nl_pid = 1};
    socklen_t from_len = sizeof from;

    *len = recvfrom(fd, answer, sizeof answer, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
    REQUIRE(*len > 0);
    CHECK_EQUAL(from_len, sizeof from);
    CHECK_EQUAL(from.nl_family, AF_NETLINK);
    CHECK_EQUAL(from.nl_pid, 0);
    return (struct nlmsghdr *)answer;
}

/* The error with which a request is answered; 0 is an acknowledgement. */
static int error_of(int fd, int type, int flags, const void *body, size_t body_len)
{
    int len;

    ask(fd, type, flags, body, body_len);
    struct nlmsghdr *header = received(fd, &len);
    REQUIRE(header->nlmsg_type == NLMSG_ERROR);
    CHECK_EQUAL(header->nlmsg_seq, 7);
    struct nlmsgerr *error = NLMSG_DATA(header);
    CHECK_EQUAL(error->msg.nlmsg_type, type);
    CHECK_EQUAL(error->msg.nlmsg_seq, 7);
    CHECK_EQUAL(header->nlmsg_flags & NLM_F_CAPPED, error->error ? 0 : NLM_F_CAPPED);
    CHECK_EQUAL(len, error->error ? NLMSG_LENGTH(4) + NLMSG_ALIGN(NLMSG_LENGTH(body_len)) : NLMSG_LENGTH(4 + NLMSG_HDRLEN));
    return -error->error;
}

static const void *attribute(struct nlmsghdr *header, size_t body, int kind, int len)
{
    int left = header->nlmsg_len - NLMSG_LENGTH(body);
    struct rtattr *one = (struct rtattr *)((char *)NLMSG_DATA(header) + NLMSG_ALIGN(body));

    for (; RTA_OK(one, left); one = RTA_NEXT(one, left))
        if ((one->rta_type & NLA_TYPE_MASK) == kind) {
            CHECK_EQUAL(RTA_PAYLOAD(one), len);
            return RTA_DATA(one);
        }
    printf("  no attribute %d\n", kind);
    exit(FAILED);
}

static void check_loopback(struct nlmsghdr *header)
{
    struct ifinfomsg *info = NLMSG_DATA(header);

    CHECK_EQUAL(header->nlmsg_type, RTM_NEWLINK);
    CHECK_EQUAL(header->nlmsg_pid, getpid());
    CHECK_EQUAL(info->ifi_family, AF_UNSPEC);
    CHECK_EQUAL(info->ifi_type, 772);
    CHECK_EQUAL(info->ifi_index, 1);
    CHECK_EQUAL(info->ifi_flags, IFF_UP | IFF_LOOPBACK | IFF_RUNNING | 0x10000);
    CHECK(strcmp(attribute(header, sizeof *info, IFLA_IFNAME, 3), "lo") == 0);
    CHECK_EQUAL(*(int *)attribute(header, sizeof *info, IFLA_MTU, 4), 65536);
    CHECK_EQUAL(*(int *)attribute(header, sizeof *info, IFLA_TXQLEN, 4), 1000);
    CHECK_EQUAL(*(char *)attribute(header, sizeof *info, IFLA_OPERSTATE, 1), 0);
    CHECK_EQUAL(*(char *)attribute(header, sizeof *info, IFLA_CARRIER, 1), 1);
    CHECK(memcmp(attribute(header, sizeof *info, IFLA_ADDRESS, 6), "\0\0\0\0\0", 6) == 0);
    CHECK(strcmp(attribute(header, sizeof *info, IFLA_QDISC, 8), "noqueue") == 0);
}

static void check_done(int fd)
{
    int len;
    struct nlmsghdr *header = received(fd, &len);

    CHECK_EQUAL(header->nlmsg_type, NLMSG_DONE);
    CHECK_EQUAL(header->nlmsg_flags, NLM_F_MULTI);
    CHECK_EQUAL(len, NLMSG_LENGTH(4));
    CHECK_EQUAL(*(int *)NLMSG_DATA(header), 0);
    CHECK_FAILS(recv(fd, answer, sizeof answer, MSG_DONTWAIT), EAGAIN);
}

CASE(links)
{
    struct rtgenmsg any = {.rtgen_family = AF_UNSPEC};
    struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
    struct {
        struct ifinfomsg info;
        struct rtattr name;
        char text[4];
    } named = {.name = {.rta_len = 7, .rta_type = IFLA_IFNAME}, .text = "lo"};
    int fd = opened(), len;

    CHECK_EQUAL(ready(fd), POLLOUT);
    ask(fd, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP | NLM_F_ACK, &any, sizeof any);
    CHECK_EQUAL(ready(fd), POLLIN | POLLOUT);
    struct nlmsghdr *header = received(fd, &len);
    CHECK_EQUAL(header->nlmsg_flags, NLM_F_MULTI);
    check_loopback(header);
    CHECK_EQUAL(ready(fd), POLLIN | POLLOUT);
    check_done(fd);
    CHECK_EQUAL(ready(fd), POLLOUT);

    CHECK_EQUAL(error_of(fd, RTM_GETLINK, NLM_F_REQUEST, &info, sizeof info), EINVAL);
    CHECK_EQUAL(error_of(fd, RTM_GETLINK, NLM_F_REQUEST, &info, 3), EINVAL);
    info.ifi_index = 77;
    CHECK_EQUAL(error_of(fd, RTM_GETLINK, NLM_F_REQUEST, &info, sizeof info), ENODEV);
    info.ifi_index = 1;
    ask(fd, RTM_GETLINK, NLM_F_REQUEST, &info, sizeof info);
    check_loopback(received(fd, &len));
    CHECK_FAILS(recv(fd, answer, sizeof answer, MSG_DONTWAIT), EAGAIN);
    ask(fd, RTM_GETLINK, NLM_F_REQUEST, &named, sizeof named);
    header = received(fd, &len);
    CHECK_EQUAL(header->nlmsg_flags, 0);
    check_loopback(header);
    strcpy(named.text, "no");
    CHECK_EQUAL(error_of(fd, RTM_GETLINK, NLM_F_REQUEST, &named, sizeof named), ENODEV);
}

CASE(addresses)
{
    struct ifaddrmsg asked = {.ifa_family = AF_UNSPEC};
    int fd = opened(), len;

    ask(fd, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, &asked, sizeof asked);
    struct nlmsghdr *header = received(fd, &len);
    struct ifaddrmsg *told = NLMSG_DATA(header);
    CHECK_EQUAL(header->nlmsg_type, RTM_NEWADDR);
    CHECK_EQUAL(told->ifa_family, AF_INET);
    CHECK_EQUAL(told->ifa_prefixlen, 8);
    CHECK_EQUAL(told->ifa_flags, IFA_F_PERMANENT);
    CHECK_EQUAL(told->ifa_scope, RT_SCOPE_HOST);
    CHECK_EQUAL(told->ifa_index, 1);
    CHECK_EQUAL(*(unsigned *)attribute(header, sizeof *told, IFA_LOCAL, 4), htonl(INADDR_LOOPBACK));
    CHECK_EQUAL(*(unsigned *)attribute(header, sizeof *told, IFA_ADDRESS, 4), htonl(INADDR_LOOPBACK));
    CHECK(strcmp(attribute(header, sizeof *told, IFA_LABEL, 3), "lo") == 0);
    const struct ifa_cacheinfo *cache = attribute(header, sizeof *told, IFA_CACHEINFO, sizeof *cache);
    CHECK_EQUAL(cache->ifa_valid, 0xffffffff);
    header = NLMSG_NEXT(header, len);
    REQUIRE(NLMSG_OK(header, len));
    told = NLMSG_DATA(header);
    CHECK_EQUAL(told->ifa_family, AF_INET6);
    CHECK_EQUAL(told->ifa_prefixlen, 128);
    CHECK(memcmp(attribute(header, sizeof *told, IFA_ADDRESS, 16), &in6addr_loopback, 16) == 0);
    header = NLMSG_NEXT(header, len);
    CHECK(!NLMSG_OK(header, len));
    check_done(fd);

    asked.ifa_family = AF_INET6;
    ask(fd, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, &asked, sizeof asked);
    header = received(fd, &len);
    CHECK_EQUAL(header->nlmsg_type, RTM_NEWADDR);
    /* The end of a dump may come with it or after it. */
    header = NLMSG_NEXT(header, len);
    if (NLMSG_OK(header, len))
        CHECK_EQUAL(header->nlmsg_type, NLMSG_DONE);
    else
        check_done(fd);
    asked.ifa_family = AF_INET;
    CHECK_EQUAL(error_of(fd, RTM_GETADDR, NLM_F_REQUEST, &asked, sizeof asked), EOPNOTSUPP);
}

CASE(routes)
{
    struct rtmsg asked = {.rtm_family = AF_INET};
    struct {
        struct rtmsg route;
        struct rtattr to;
        unsigned address;
    } way = {.route = {.rtm_family = AF_INET, .rtm_dst_len = 32},
             .to = {.rta_len = 8, .rta_type = RTA_DST},
             .address = htonl(0x7f010203)};
    static const struct {
        unsigned address;
        int bits, scope, type;
    } rows[] = {{0x7f000000, 8, RT_SCOPE_HOST, RTN_LOCAL},
                {0x7f000001, 32, RT_SCOPE_HOST, RTN_LOCAL},
                {0x7fffffff, 32, RT_SCOPE_LINK, RTN_BROADCAST}};
    int fd = opened(), len;

    ask(fd, RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, &asked, sizeof asked);
    struct nlmsghdr *header = received(fd, &len);
    for (int i = 0; i < 3; i++, header = NLMSG_NEXT(header, len)) {
        REQUIRE(NLMSG_OK(header, len));
        struct rtmsg *told = NLMSG_DATA(header);
        CHECK_EQUAL(header->nlmsg_type, RTM_NEWROUTE);
        CHECK_EQUAL(told->rtm_dst_len, rows[i].bits);
        CHECK_EQUAL(told->rtm_scope, rows[i].scope);
        CHECK_EQUAL(told->rtm_type, rows[i].type);
        CHECK_EQUAL(told->rtm_table, RT_TABLE_LOCAL);
        CHECK_EQUAL(told->rtm_protocol, RTPROT_KERNEL);
        CHECK_EQUAL(*(unsigned *)attribute(header, sizeof *told, RTA_DST, 4), htonl(rows[i].address));
        CHECK_EQUAL(*(int *)attribute(header, sizeof *told, RTA_OIF, 4), 1);
        CHECK_EQUAL(*(unsigned *)attribute(header, sizeof *told, RTA_PREFSRC, 4), htonl(INADDR_LOOPBACK));
    }
    CHECK(!NLMSG_OK(header, len));
    check_done(fd);

    ask(fd, RTM_GETROUTE, NLM_F_REQUEST, &way, sizeof way);
    header = received(fd, &len);
    struct rtmsg *told = NLMSG_DATA(header);
    CHECK_EQUAL(told->rtm_type, RTN_LOCAL);
    CHECK_EQUAL(told->rtm_dst_len, 32);
    CHECK_EQUAL(*(unsigned *)attribute(header, sizeof *told, RTA_DST, 4), way.address);
    CHECK_EQUAL(*(int *)attribute(header, sizeof *told, RTA_OIF, 4), 1);
    CHECK_EQUAL(*(unsigned *)attribute(header, sizeof *told, RTA_PREFSRC, 4), htonl(INADDR_LOOPBACK));
    way.address = htonl(0xcb007105);
    CHECK_EQUAL(error_of(fd, RTM_GETROUTE, NLM_F_REQUEST, &way, sizeof way), ENETUNREACH);
}

CASE(what_is_no_request_is_acknowledged_at_most)
{
    struct ifinfomsg info = {.ifi_index = 1};
    int fd = opened();

    ask(fd, RTM_GETLINK, 0, &info, sizeof info);
    CHECK_FAILS(recv(fd, answer, sizeof answer, MSG_DONTWAIT), EAGAIN);
    CHECK_EQUAL(error_of(fd, RTM_GETLINK, NLM_F_ACK, &info, sizeof info), 0);
    CHECK_EQUAL(error_of(fd, NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, &info, 0), 0);
    CHECK_EQUAL(error_of(fd, 12346, NLM_F_REQUEST, &info, sizeof info), EOPNOTSUPP);
    CHECK_EQUAL(send(fd, "abc", 3, 0), 3);
    CHECK_FAILS(recv(fd, answer, sizeof answer, MSG_DONTWAIT), EAGAIN);
    CHECK_FAILS(send(fd, "", 0, 0), ENODATA);
    CHECK_FAILS(send(fd, "abcd", 4, MSG_OOB), EOPNOTSUPP);
}

CASE(a_user_may_ask_but_change_nothing)
{
    struct ifinfomsg info = {.ifi_index = 1};
    struct sockaddr_nl group = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd, len;

    REQUIRE(setuid(1000) == 0);
    fd = opened();
    CHECK_EQUAL(error_of(fd, RTM_NEWLINK, NLM_F_REQUEST, &info, sizeof info), EPERM);
    CHECK_EQUAL(error_of(fd, RTM_DELLINK, NLM_F_REQUEST, &info, sizeof info), EPERM);
    CHECK_EQUAL(error_of(fd, RTM_SETLINK, NLM_F_REQUEST, &info, sizeof info), EPERM);
    ask(fd, RTM_GETLINK, NLM_F_REQUEST, &info, sizeof info);
    check_loopback(received(fd, &len));
    CHECK_FAILS(sendto(fd, "abcd", 4, 0, (struct sockaddr *)&group, sizeof group), EPERM);
}

CASE(several_requests_and_cut_answers)
{
    struct {
        struct nlmsghdr header;
        struct ifinfomsg info;
    } two[2] = {{.header = {.nlmsg_len = 32, .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = 1},
                 .info = {.ifi_index = 1}},
                {.header = {.nlmsg_len = 32, .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = 2},
                 .info = {.ifi_index = 9}}};
    int fd = opened();
    char small[20];
    struct iovec piece = {.iov_base = small, .iov_len = sizeof small};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

    CHECK_EQUAL(write(fd, two, sizeof two), sizeof two);
    ssize_t whole = recv(fd, small, sizeof small, MSG_PEEK | MSG_TRUNC);
    CHECK(whole > 32);
    CHECK_EQUAL(recvmsg(fd, &message, 0), sizeof small);
    CHECK_EQUAL(message.msg_flags, MSG_TRUNC);
    CHECK_EQUAL(((struct nlmsghdr *)small)->nlmsg_len, whole);
    CHECK_EQUAL(read(fd, answer, sizeof answer), 20 + 32);
    CHECK_EQUAL(((struct nlmsghdr *)answer)->nlmsg_seq, 2);
}

CASE(names)
{
    struct sockaddr_nl name = {.nl_family = AF_NETLINK}, told;
    socklen_t len = sizeof told;
    int first = opened(), second = opened(), third = opened();

    CHECK(getsockname(first, (struct sockaddr *)&told, &len) == 0);
    CHECK_EQUAL(told.nl_pid, 0);
    CHECK_EQUAL(len, sizeof told);
    CHECK(bind(first, (struct sockaddr *)&name, sizeof name) == 0);
    CHECK(getsockname(first, (struct sockaddr *)&told, &len) == 0);
    CHECK_EQUAL(told.nl_pid, getpid());
    name.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR;
    CHECK(bind(second, (struct sockaddr *)&name, sizeof name) == 0);
    CHECK(getsockname(second, (struct sockaddr *)&told, &len) == 0);
    CHECK((int)told.nl_pid < 0);
    CHECK_EQUAL(told.nl_groups, RTMGRP_LINK | RTMGRP_IPV4_IFADDR);
    name.nl_pid = getpid();
    CHECK_FAILS(bind(third, (struct sockaddr *)&name, sizeof name), EADDRINUSE);
    CHECK_FAILS(bind(second, (struct sockaddr *)&name, sizeof name), EINVAL);
    close(first);
    CHECK(bind(third, (struct sockaddr *)&name, sizeof name) == 0);
    CHECK_FAILS(bind(third, (struct sockaddr *)&name, 8), EINVAL);
    name.nl_family = AF_INET;
    CHECK_FAILS(bind(third, (struct sockaddr *)&name, sizeof name), EINVAL);
    CHECK(getpeername(third, (struct sockaddr *)&told, &len) == 0);
    CHECK_EQUAL(told.nl_pid, 0);
    told = (struct sockaddr_nl){.nl_family = AF_NETLINK};
    CHECK(connect(third, (struct sockaddr *)&told, sizeof told) == 0);
    told.nl_pid = 99999;
    CHECK_FAILS(sendto(third, "abcd", 4, 0, (struct sockaddr *)&told, sizeof told), ECONNREFUSED);
    CHECK_FAILS(listen(third, 1), EOPNOTSUPP);
    CHECK_FAILS(accept(third, NULL, NULL), EOPNOTSUPP);
    CHECK_FAILS(shutdown(third, SHUT_RDWR), EOPNOTSUPP);
    CHECK_FAILS(socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE), ESOCKTNOSUPPORT);
    CHECK_FAILS(socket(AF_NETLINK, SOCK_RAW, 23), EPROTONOSUPPORT);
}

static int option(int fd, int level, int which)
{
    int value = -1;
    socklen_t len = sizeof value;

    CHECK(getsockopt(fd, level, which, &value, &len) == 0);
    return value;
}

CASE(options)
{
    int fd = opened(), one = 1, group = RTNLGRP_NEIGH, none = 99;
    struct timeval limit = {.tv_usec = 20000};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec piece = {.iov_base = answer, .iov_len = sizeof answer};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct ifinfomsg info = {.ifi_index = 1};

    CHECK_EQUAL(option(fd, SOL_SOCKET, SO_TYPE), SOCK_RAW);
    CHECK_EQUAL(option(fd, SOL_SOCKET, SO_DOMAIN), AF_NETLINK);
    CHECK_EQUAL(option(fd, SOL_SOCKET, SO_PROTOCOL), NETLINK_ROUTE);
    CHECK_EQUAL(option(fd, SOL_SOCKET, SO_RCVBUF), 212992);
    CHECK(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) == 0);
    CHECK_EQUAL(option(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS), 1 << (RTNLGRP_NEIGH - 1));
    CHECK(setsockopt(fd, SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, &group, sizeof group) == 0);
    CHECK_EQUAL(option(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS), 0);
    CHECK_FAILS(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &none, sizeof none), EINVAL);
    CHECK_FAILS(setsockopt(fd, SOL_NETLINK, 6, &one, sizeof one), ENOPROTOOPT);

    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    CHECK_FAILS(recv(fd, answer, sizeof answer, 0), EAGAIN);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof one) == 0);
    ask(fd, RTM_GETLINK, NLM_F_REQUEST, &info, sizeof info);
    CHECK(recvmsg(fd, &message, 0) > 0);
    struct cmsghdr *told = CMSG_FIRSTHDR(&message);
    REQUIRE(told && told->cmsg_type == SCM_CREDENTIALS);
    CHECK_EQUAL(((struct ucred *)CMSG_DATA(told))->pid, 0);
    CHECK_EQUAL(((struct ucred *)CMSG_DATA(told))->uid, 0);

    CHECK(setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one) == 0);
    info.ifi_index = 9;
    ask(fd, RTM_GETLINK, NLM_F_REQUEST, &info, sizeof info);
    CHECK_EQUAL(recv(fd, answer, sizeof answer, 0), NLMSG_LENGTH(4 + NLMSG_HDRLEN));
    CHECK_EQUAL(((struct nlmsghdr *)answer)->nlmsg_flags, NLM_F_CAPPED);
}

CASE(answers_that_nobody_reads_are_lost)
{
    struct ifinfomsg info = {.ifi_index = 1};
    int fd = opened(), count = 0;

    for (int i = 0; i < 2000; i++)
        ask(fd, RTM_GETLINK, NLM_F_REQUEST, &info, sizeof info);
    CHECK_FAILS(recv(fd, answer, sizeof answer, MSG_DONTWAIT), ENOBUFS);
    while (recv(fd, answer, sizeof answer, MSG_DONTWAIT) > 0)
        count++;
    CHECK_EQUAL(errno, EAGAIN);
    CHECK(count > 10 && count < 1000);
}

CASE(the_c_library_asks_in_this_way)
{
    struct ifaddrs *all;
    int v4 = 0, v6 = 0, packet = 0;

    REQUIRE(getifaddrs(&all) == 0);
    for (struct ifaddrs *one = all; one; one = one->ifa_next) {
        if (strcmp(one->ifa_name, "lo") != 0)
            continue;
        CHECK(one->ifa_flags & IFF_LOOPBACK);
        REQUIRE(one->ifa_addr);
        v4 += one->ifa_addr->sa_family == AF_INET;
        v6 += one->ifa_addr->sa_family == AF_INET6;
        packet += one->ifa_addr->sa_family == AF_PACKET;
        if (one->ifa_addr->sa_family == AF_INET)
            CHECK_EQUAL(((struct sockaddr_in *)one->ifa_netmask)->sin_addr.s_addr, htonl(0xff000000));
    }
    CHECK_EQUAL(v4, 1);
    CHECK_EQUAL(v6, 1);
    CHECK_EQUAL(packet, 1);
    freeifaddrs(all);
    CHECK_EQUAL(if_nametoindex("lo"), 1);
    struct if_nameindex *names = if_nameindex();
    REQUIRE(names);
    CHECK_EQUAL(names[0].if_index, 1);
    CHECK(strcmp(names[0].if_name, "lo") == 0);
}
