/* Who a process acts as: user and group ids, further groups, capabilities, and programs with set-id bits. */
#include "check.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { USER = 1000, OTHER = 2000 };

static void get_capabilities(unsigned long long *effective, unsigned long long *permitted)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    REQUIRE(syscall(SYS_capget, &header, data) == 0);
    *effective = data[0].effective | (unsigned long long)data[1].effective << 32;
    *permitted = data[0].permitted | (unsigned long long)data[1].permitted << 32;
}

static long set_capabilities(unsigned long long effective, unsigned long long permitted, unsigned long long inheritable)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {
        {effective, permitted, inheritable},
        {effective >> 32, permitted >> 32, inheritable >> 32},
    };

    return syscall(SYS_capset, &header, data);
}

#define CHECK_USERS(real, effective, saved)                \
    do {                                                   \
        uid_t is_real, is_effective, is_saved;             \
        CHECK(getresuid(&is_real, &is_effective, &is_saved) == 0); \
        CHECK_EQUAL(is_real, real);                        \
        CHECK_EQUAL(is_effective, effective);              \
        CHECK_EQUAL(is_saved, saved);                      \
    } while (0)

CASE(root_becomes_somebody_else_for_good)
{
    unsigned long long effective, permitted;

    CHECK_EQUAL(getuid(), 0);
    CHECK_EQUAL(setgid(USER), 0);
    CHECK_EQUAL(setuid(USER), 0);
    CHECK_USERS(USER, USER, USER);
    CHECK_EQUAL(getegid(), USER);
    get_capabilities(&effective, &permitted);
    CHECK_EQUAL(effective, 0);
    CHECK_EQUAL(permitted, 0);
    CHECK_FAILS(setuid(0), EPERM);
    CHECK_FAILS(setgid(0), EPERM);
    CHECK_FAILS(setresuid(OTHER, -1, -1), EPERM);
    CHECK_EQUAL(setuid(USER), 0);
}

CASE(the_effective_user_alone_can_come_back)
{
    unsigned long long effective, permitted;

    CHECK_EQUAL(setresuid(-1, USER, -1), 0);
    CHECK_USERS(0, USER, 0);
    get_capabilities(&effective, &permitted);
    CHECK_EQUAL(effective, 0);
    CHECK(permitted != 0);
    CHECK_EQUAL(setuid(0), 0);
    CHECK_USERS(0, 0, 0);
    get_capabilities(&effective, &permitted);
    CHECK(effective == permitted);
}

CASE(real_and_effective_change_places)
{
    CHECK_EQUAL(setreuid(USER, OTHER), 0);
    CHECK_USERS(USER, OTHER, OTHER);
    CHECK_EQUAL(setreuid(OTHER, USER), 0);
    CHECK_USERS(OTHER, USER, USER);
    CHECK_FAILS(setreuid(0, -1), EPERM);
    CHECK_EQUAL(setreuid(-1, OTHER), 0);
    CHECK_USERS(OTHER, OTHER, USER);
}

CASE(groups_have_the_same_rules)
{
    gid_t real, effective, saved;

    CHECK_EQUAL(setresgid(1, 2, 3), 0);
    CHECK_EQUAL(getresgid(&real, &effective, &saved), 0);
    CHECK(real == 1 && effective == 2 && saved == 3);
    CHECK_EQUAL(setuid(USER), 0);
    CHECK_EQUAL(setregid(2, 1), 0);
    CHECK_EQUAL(getresgid(&real, &effective, &saved), 0);
    CHECK(real == 2 && effective == 1 && saved == 1);
    CHECK_FAILS(setresgid(-1, -1, 7), EPERM);
}

CASE(invalid_ids_are_refused)
{
    CHECK_FAILS(setuid(-1), EINVAL);
    CHECK_FAILS(setgid(-1), EINVAL);
    CHECK_FAILS(syscall(SYS_getresuid, 8, 8, 8), EFAULT);
}

CASE(the_user_for_files_is_apart)
{
    mkdir("/fsuid", 0755);
    CHECK_EQUAL(setfsuid(USER), 0);
    CHECK_EQUAL(setfsuid(-1), USER);
    CHECK_EQUAL(geteuid(), 0);
    CHECK_FAILS(open("/fsuid/file", O_CREAT | O_EXCL | O_RDWR, 0600), EACCES);
    CHECK_EQUAL(setfsuid(0), USER);
    CHECK_EQUAL(setfsgid(5), 0);
    CHECK_EQUAL(setfsgid(0), 5);
    CHECK_EQUAL(setresuid(USER, USER, USER), 0);
    CHECK_EQUAL(setfsuid(0), USER);
    CHECK_EQUAL(setfsuid(-1), USER);
}

CASE(further_groups_are_kept)
{
    gid_t groups[3] = {30, 10, 20}, got[4] = {0};

    CHECK_EQUAL(setgroups(3, groups), 0);
    CHECK_EQUAL(getgroups(0, NULL), 3);
    CHECK_FAILS(getgroups(2, got), EINVAL);
    CHECK_FAILS(getgroups(-1, got), EINVAL);
    CHECK_EQUAL(getgroups(4, got), 3);
    CHECK(got[0] == 10 && got[1] == 20 && got[2] == 30);
    CHECK_FAILS(syscall(SYS_setgroups, 65537, groups), EINVAL);
    CHECK_FAILS(syscall(SYS_setgroups, 1, 8), EFAULT);
    CHECK_EQUAL(setuid(USER), 0);
    CHECK_FAILS(setgroups(0, NULL), EPERM);
    CHECK_EQUAL(getgroups(4, got), 3);
}

CASE(a_further_group_opens_files)
{
    gid_t group = 77;

    umask(0);
    int fd = open("/tmp_group_file", O_CREAT | O_RDWR, 0060);
    REQUIRE(fd >= 0);
    CHECK_EQUAL(fchown(fd, 0, 77), 0);
    CHECK_EQUAL(setgroups(1, &group), 0);
    CHECK_EQUAL(setresuid(USER, USER, USER), 0);
    CHECK(open("/tmp_group_file", O_RDWR) >= 0);
}

CASE(capabilities_are_given_up_and_kept)
{
    unsigned long long effective, permitted;

    CHECK_EQUAL(prctl(PR_GET_KEEPCAPS), 0);
    CHECK_EQUAL(prctl(PR_SET_KEEPCAPS, 1), 0);
    CHECK_EQUAL(setresuid(USER, USER, USER), 0);
    get_capabilities(&effective, &permitted);
    CHECK_EQUAL(effective, 0);
    CHECK(permitted != 0);
    unsigned long long kill_only = 1ULL << CAP_KILL;
    CHECK_EQUAL(set_capabilities(kill_only, kill_only, 0), 0);
    CHECK_EQUAL(kill(getppid(), 0), 0);
    CHECK_FAILS(set_capabilities(3, 3, 0), EPERM);
    CHECK_FAILS(set_capabilities(3, kill_only, 0), EPERM);
    CHECK_EQUAL(set_capabilities(0, 0, 0), 0);
    CHECK_FAILS(kill(getppid(), 0), EPERM);
}

CASE(versions_of_capability_sets)
{
    struct __user_cap_header_struct header = {0x12345678, 0};
    struct __user_cap_data_struct data[2];

    CHECK_EQUAL(syscall(SYS_capget, &header, NULL), 0);
    CHECK_EQUAL(header.version, _LINUX_CAPABILITY_VERSION_3);
    header.version = 1;
    CHECK_FAILS(syscall(SYS_capget, &header, data), EINVAL);
    header = (struct __user_cap_header_struct){_LINUX_CAPABILITY_VERSION_3, -1};
    CHECK_FAILS(syscall(SYS_capget, &header, data), EINVAL);
    header.pid = 0x3fffffff;
    CHECK_FAILS(syscall(SYS_capget, &header, data), ESRCH);
    header.pid = getppid();
    CHECK_EQUAL(syscall(SYS_capget, &header, data), 0);
    CHECK_FAILS(syscall(SYS_capset, &header, data), EPERM);
    CHECK_FAILS(syscall(SYS_capget, 8, data), EFAULT);
}

CASE(bounding_and_ambient_sets)
{
    CHECK_EQUAL(prctl(PR_CAPBSET_READ, CAP_KILL), 1);
    CHECK_EQUAL(prctl(PR_CAPBSET_DROP, CAP_KILL), 0);
    CHECK_EQUAL(prctl(PR_CAPBSET_READ, CAP_KILL), 0);
    CHECK_FAILS(prctl(PR_CAPBSET_READ, 63), EINVAL);
    CHECK_FAILS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0), EPERM);
    unsigned long long effective, permitted;
    get_capabilities(&effective, &permitted);
    CHECK_EQUAL(set_capabilities(effective, permitted, 1 << CAP_CHOWN), 0);
    CHECK_EQUAL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0), 0);
    CHECK_EQUAL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0), 1);
    CHECK_EQUAL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), 0);
    CHECK_EQUAL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0), 0);
    CHECK_FAILS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0), EINVAL);
}

CASE(security_bits_and_new_privileges)
{
    CHECK_EQUAL(prctl(PR_GET_SECUREBITS), 0);
    CHECK_EQUAL(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED), 0);
    CHECK_FAILS(prctl(PR_SET_SECUREBITS, 0), EPERM);
    CHECK_EQUAL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
    CHECK_FAILS(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
    CHECK_EQUAL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_EQUAL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
}

static void *become_user(void *nothing)
{
    CHECK_EQUAL(syscall(SYS_setresuid, USER, USER, USER), 0);
    CHECK_EQUAL(syscall(SYS_geteuid), USER);
    return nothing;
}

CASE(credentials_belong_to_a_thread)
{
    pthread_t thread;

    REQUIRE(pthread_create(&thread, NULL, become_user, NULL) == 0);
    pthread_join(thread, NULL);
    CHECK_EQUAL(syscall(SYS_geteuid), 0);
}

CASE(a_user_does_not_signal_root)
{
    CHECK_EQUAL(setresuid(USER, USER, USER), 0);
    CHECK_FAILS(kill(1, SIGTERM), EPERM);
    CHECK_FAILS(kill(getppid(), 0), EPERM);
    CHECK_EQUAL(kill(getpid(), 0), 0);
    CHECK_FAILS(syscall(SYS_tgkill, 1, 1, SIGTERM), EPERM);
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    CHECK_EQUAL(kill(child, SIGKILL), 0);
    CHECK_EQUAL(waitpid(child, NULL, 0), child);
}

CASE(a_saved_user_is_signalled)
{
    pid_t parent = getpid();
    CHECK_EQUAL(setresuid(OTHER, OTHER, USER), 0);
    pid_t child = fork();
    if (child == 0) {
        REQUIRE(setresuid(USER, USER, USER) == 0);
        CHECK_EQUAL(kill(parent, 0), 0);
        _exit(check_failures ? FAILED : 0);
    }
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
}

CASE(what_needs_a_capability_is_refused)
{
    CHECK_EQUAL(setresuid(USER, USER, USER), 0);
    CHECK_FAILS(sethostname("x", 1), EPERM);
    CHECK_FAILS(syscall(SYS_reboot, 0xfee1dead, 672274793, 0x89abcdef, 0), EPERM);
    CHECK_FAILS(syscall(SYS_mount, "none", "/", "tmpfs", 0, 0), EPERM);
    CHECK_FAILS(chroot("/"), EPERM);
}

/* The copy of this program that a set-id bit changes: its own arguments say what it must find. */
static int run_copy(mode_t mode, uid_t owner, gid_t group, const char *mounted)
{
    char path[64], self[4096];
    static char bytes[1 << 16];
    long got;

    snprintf(path, sizeof path, "%s/copy", mounted);
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    int from = open(length > 0 ? (self[length] = 0, self) : "/tests/credentials", O_RDONLY);
    int to = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0700);
    REQUIRE(from >= 0 && to >= 0);
    while ((got = read(from, bytes, sizeof bytes)) > 0)
        REQUIRE(write(to, bytes, got) == got);
    close(to);
    REQUIRE(chown(path, owner, group) == 0);
    REQUIRE(chmod(path, mode) == 0);
    pid_t child = fork();
    if (child == 0) {
        REQUIRE(setresgid(USER, USER, USER) == 0 && setresuid(USER, USER, USER) == 0);
        setenv("CREDENTIALS_COPY", "1", 1);
        execl(path, "copy", NULL);
        _exit(99);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

/* Bits: the effective user is OTHER, the effective group is OTHER, AT_SECURE is set, the real user is USER. */
__attribute__((constructor)) static void be_copy(void)
{
    if (getenv("CREDENTIALS_COPY"))
        _exit((geteuid() == OTHER) | (getegid() == OTHER) << 1 | (getauxval(AT_SECURE) != 0) << 2 |
              (getuid() == USER) << 3 | (geteuid() == 0) << 4);
}

CASE(set_id_bits_take_effect)
{
    mkdir("/setid", 0755);
    CHECK_EQUAL(run_copy(0755, OTHER, OTHER, "/setid"), 8);
    CHECK_EQUAL(run_copy(04755, OTHER, OTHER, "/setid"), 8 | 4 | 1);
    CHECK_EQUAL(run_copy(02755, OTHER, OTHER, "/setid"), 8 | 4 | 2);
    CHECK_EQUAL(run_copy(06755, OTHER, OTHER, "/setid"), 8 | 4 | 2 | 1);
    CHECK_EQUAL(run_copy(04755, 0, 0, "/setid"), 8 | 4 | 16);
    CHECK_EQUAL(run_copy(0744, OTHER, OTHER, "/setid"), 99);
    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK_EQUAL(run_copy(06755, OTHER, OTHER, "/setid"), 8);
}
