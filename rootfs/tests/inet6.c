/* IPv6: its own addresses, IPv4's inside of it, interfaces. */
#include "inet.h"

#include <fcntl.h>
#include <sys/ioctl.h>

static struct sockaddr_in6 name6(struct in6_addr address, int port)
{
    return (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = address};
}

static int listening6(struct sockaddr_in6 *name, int only_v6)
{
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    socklen_t len = sizeof *name;

    REQUIRE(fd >= 0);
    REQUIRE(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof only_v6) == 0);
    REQUIRE(bind(fd, (struct sockaddr *)name, sizeof *name) == 0);
    REQUIRE(listen(fd, 5) == 0);
    REQUIRE(getsockname(fd, (struct sockaddr *)name, &len) == 0);
    CHECK_EQUAL(len, sizeof *name);
    return fd;
}

CASE(a_stream_over_v6)
{
    struct sockaddr_in6 name = name6(in6addr_loopback, 0), told;
    int listener = listening6(&name, 0), client = socket(AF_INET6, SOCK_STREAM, 0);
    socklen_t len = sizeof told;
    char buffer[4];

    REQUIRE(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
    int server = accept(listener, (struct sockaddr *)&told, &len);
    CHECK_EQUAL(told.sin6_family, AF_INET6);
    CHECK(memcmp(&told.sin6_addr, &in6addr_loopback, 16) == 0);
    CHECK_EQUAL(write(client, "six", 3), 3);
    CHECK_EQUAL(read(server, buffer, 4), 3);
}

CASE(both_versions_arrive_at_a_listener_of_both)
{
    struct sockaddr_in6 name = name6(in6addr_any, 0), told;
    int listener = listening6(&name, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in v4 = loopback(ntohs(name.sin6_port));
    socklen_t len = sizeof told;
    struct in6_addr mapped;

    REQUIRE(inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped) == 1);
    REQUIRE(connect(client, (struct sockaddr *)&v4, sizeof v4) == 0);
    int server = accept(listener, (struct sockaddr *)&told, &len);
    CHECK(memcmp(&told.sin6_addr, &mapped, 16) == 0);
    REQUIRE(getsockname(server, (struct sockaddr *)&told, &len) == 0);
    CHECK(memcmp(&told.sin6_addr, &mapped, 16) == 0);
    int taken = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_FAILS(bind(taken, (struct sockaddr *)&v4, sizeof v4), EADDRINUSE);
    struct sockaddr_in6 to = name6(mapped, name.sin6_port);
    int six = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK(connect(six, (struct sockaddr *)&to, sizeof to) == 0);
}

CASE(one_of_v6_only_leaves_the_other_version)
{
    struct sockaddr_in6 name = name6(in6addr_any, 0);
    listening6(&name, 1);
    struct sockaddr_in v4 = loopback(ntohs(name.sin6_port));
    int client = socket(AF_INET, SOCK_STREAM, 0), other = socket(AF_INET, SOCK_STREAM, 0);

    CHECK_FAILS(connect(client, (struct sockaddr *)&v4, sizeof v4), ECONNREFUSED);
    CHECK(bind(other, (struct sockaddr *)&v4, sizeof v4) == 0);
}

CASE(names_of_the_wrong_version)
{
    int four = socket(AF_INET, SOCK_STREAM, 0), six = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in v4 = loopback(0);
    struct sockaddr_in6 v6 = name6(in6addr_loopback, 0);

    CHECK_FAILS(bind(four, (struct sockaddr *)&v6, sizeof v6), EAFNOSUPPORT);
    CHECK_FAILS(bind(six, (struct sockaddr *)&v4, sizeof v4), EINVAL);
    CHECK_FAILS(bind(six, (struct sockaddr *)&v6, 23), EINVAL);
    REQUIRE(inet_pton(AF_INET6, "2001:db8::1", &v6.sin6_addr) == 1);
    CHECK_FAILS(bind(six, (struct sockaddr *)&v6, sizeof v6), EADDRNOTAVAIL);
    v6.sin6_port = htons(80);
    CHECK_FAILS(connect(six, (struct sockaddr *)&v6, sizeof v6), ENETUNREACH);
}

CASE(datagrams_over_v6)
{
    struct sockaddr_in6 name = name6(in6addr_any, 0), from;
    int two = socket(AF_INET6, SOCK_DGRAM, 0), one = socket(AF_INET6, SOCK_DGRAM, 0);
    int four = socket(AF_INET, SOCK_DGRAM, 0);
    socklen_t len = sizeof name;
    char buffer[4];

    REQUIRE(bind(two, (struct sockaddr *)&name, sizeof name) == 0);
    REQUIRE(getsockname(two, (struct sockaddr *)&name, &len) == 0);
    struct sockaddr_in v4 = loopback(ntohs(name.sin6_port));
    name.sin6_addr = in6addr_loopback;
    CHECK_EQUAL(sendto(one, "six", 3, 0, (struct sockaddr *)&name, sizeof name), 3);
    CHECK_EQUAL(recvfrom(two, buffer, 4, 0, (struct sockaddr *)&from, &len), 3);
    CHECK(memcmp(&from.sin6_addr, &in6addr_loopback, 16) == 0);
    CHECK_EQUAL(sendto(four, "four", 4, 0, (struct sockaddr *)&v4, sizeof v4), 4);
    CHECK_EQUAL(recvfrom(two, buffer, 4, 0, (struct sockaddr *)&from, &len), 4);
    CHECK(IN6_IS_ADDR_V4MAPPED(&from.sin6_addr));
    CHECK_EQUAL(sendto(two, "back", 4, 0, (struct sockaddr *)&from, sizeof from), 4);
    CHECK_EQUAL(recv(four, buffer, 4, 0), 4);
}

CASE(the_interface_tells_about_itself)
{
    struct ifreq requests[4], request = {.ifr_name = "lo"};
    struct ifconf list = {.ifc_len = sizeof requests, .ifc_req = requests};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    CHECK(ioctl(fd, SIOCGIFCONF, &list) == 0);
    CHECK_EQUAL(list.ifc_len, sizeof requests[0]);
    CHECK(strcmp(requests[0].ifr_name, "lo") == 0);
    CHECK(ioctl(fd, SIOCGIFFLAGS, &request) == 0);
    CHECK_EQUAL(request.ifr_flags, IFF_UP | IFF_LOOPBACK | IFF_RUNNING);
    CHECK(ioctl(fd, SIOCGIFADDR, &request) == 0);
    CHECK_EQUAL(((struct sockaddr_in *)&request.ifr_addr)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    CHECK(ioctl(fd, SIOCGIFNETMASK, &request) == 0);
    CHECK_EQUAL(((struct sockaddr_in *)&request.ifr_netmask)->sin_addr.s_addr, htonl(0xff000000));
    CHECK(ioctl(fd, SIOCGIFMTU, &request) == 0);
    CHECK_EQUAL(request.ifr_mtu, 65536);
    CHECK_EQUAL(if_nametoindex("lo"), 1);
    request.ifr_ifindex = 1;
    CHECK(ioctl(fd, SIOCGIFNAME, &request) == 0);
    CHECK(strcmp(request.ifr_name, "lo") == 0);
    strcpy(request.ifr_name, "nothing");
    CHECK_FAILS(ioctl(fd, SIOCGIFFLAGS, &request), ENODEV);
}
