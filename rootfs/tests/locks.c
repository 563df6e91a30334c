/* flock, and the locks of fcntl: of processes and of openings. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static const char *path = "/tmp/locks";

static int open_it(void)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);

    if (fd < 0) {
        mkdir("/tmp", 0777);
        fd = open(path, O_RDWR | O_CREAT, 0600);
    }
    REQUIRE(fd >= 0);
    return fd;
}

static int lock(int fd, int command, int type, long start, long length)
{
    struct flock wanted = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

    return fcntl(fd, command, &wanted);
}

/* What is in the way of an exclusive lock on a byte, as another process sees it; its pid, 0 for nothing. */
static struct flock seen_by_another(int fd, long at)
{
    struct flock seen = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    int ends[2];

    REQUIRE(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        fcntl(fd, F_GETLK, &seen);
        _exit(write(ends[1], &seen, sizeof seen) != sizeof seen);
    }
    CHECK_EQUAL(read(ends[0], &seen, sizeof seen), sizeof seen);
    waitpid(child, NULL, 0);
    close(ends[0]);
    close(ends[1]);
    return seen;
}

static bool is_free(int fd, long at)
{
    return seen_by_another(fd, at).l_type == F_UNLCK;
}

static void ignore(int signal)
{
    (void)signal;
}

CASE(flock_excludes_other_openings)
{
    int first = open_it(), second = open_it(), copy = dup(first);

    CHECK_EQUAL(flock(first, LOCK_SH), 0);
    CHECK_EQUAL(flock(second, LOCK_SH | LOCK_NB), 0);
    CHECK_FAILS(flock(first, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    CHECK_EQUAL(flock(second, LOCK_UN), 0);
    CHECK_EQUAL(flock(copy, LOCK_EX | LOCK_NB), 0);
    CHECK_FAILS(flock(second, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    /* It ends with the last descriptor. */
    close(first);
    CHECK_FAILS(flock(second, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    close(copy);
    CHECK_EQUAL(flock(second, LOCK_EX | LOCK_NB), 0);
    CHECK_FAILS(flock(second, 0), EINVAL);
    CHECK_FAILS(flock(second, LOCK_EX | LOCK_SH), EINVAL);
    CHECK_FAILS(flock(-1, LOCK_EX), EBADF);
}

CASE(flock_is_inherited_and_waits)
{
    int first = open_it(), ends[2], status;
    char byte;

    REQUIRE(pipe(ends) == 0);
    CHECK_EQUAL(flock(first, LOCK_EX), 0);
    pid_t child = fork();
    if (child == 0) {
        int own = open_it();
        struct sigaction action = {.sa_handler = ignore};
        sigaction(SIGALRM, &action, NULL);
        /* The parent's opening has it, and the child is one of its owners. */
        if (flock(first, LOCK_EX | LOCK_NB) != 0)
            _exit(1);
        if (flock(own, LOCK_EX | LOCK_NB) != -1 || errno != EWOULDBLOCK)
            _exit(2);
        close(first);
        ualarm(50000, 0);
        if (flock(own, LOCK_EX) != -1 || errno != EINTR)
            _exit(3);
        if (write(ends[1], "x", 1) != 1)
            _exit(4);
        _exit(flock(own, LOCK_EX) == 0 ? 0 : 5);
    }
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
    CHECK_EQUAL(flock(first, LOCK_UN), 0);
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
}

CASE(ranges_exclude_other_processes)
{
    int fd = open_it();

    CHECK_EQUAL(lock(fd, F_SETLK, F_WRLCK, 10, 20), 0);
    struct flock seen = seen_by_another(fd, 15);
    CHECK_EQUAL(seen.l_type, F_WRLCK);
    CHECK_EQUAL(seen.l_start, 10);
    CHECK_EQUAL(seen.l_len, 20);
    CHECK_EQUAL(seen.l_pid, getpid());
    CHECK_EQUAL(seen.l_whence, SEEK_SET);
    CHECK(is_free(fd, 9) && is_free(fd, 30));
    /* A hole in the middle. */
    CHECK_EQUAL(lock(fd, F_SETLK, F_UNLCK, 15, 5), 0);
    CHECK(is_free(fd, 15) && is_free(fd, 19) && !is_free(fd, 14) && !is_free(fd, 20));
    CHECK_EQUAL(lock(fd, F_SETLK, F_RDLCK, 0, 0), 0);
    seen = seen_by_another(fd, 1000000);
    CHECK_EQUAL(seen.l_type, F_RDLCK);
    CHECK_EQUAL(seen.l_start, 0);
    CHECK_EQUAL(seen.l_len, 0);
    /* One's own are never in the way. */
    CHECK_EQUAL(lock(fd, F_SETLK, F_WRLCK, 0, 0), 0);
    CHECK_EQUAL(lseek(fd, 100, SEEK_SET), 100);
    struct flock wanted = {.l_type = F_UNLCK, .l_whence = SEEK_CUR, .l_start = 10, .l_len = -10};
    CHECK_EQUAL(fcntl(fd, F_SETLK, &wanted), 0);
    CHECK(is_free(fd, 100) && is_free(fd, 109) && !is_free(fd, 99) && !is_free(fd, 110));
}

CASE(any_close_gives_the_ranges_up)
{
    int fd = open_it(), other = open_it();

    CHECK_EQUAL(lock(fd, F_SETLK, F_WRLCK, 0, 10), 0);
    CHECK(!is_free(fd, 0));
    close(other);
    CHECK(is_free(fd, 0));
    CHECK_EQUAL(lock(fd, F_SETLK, F_WRLCK, 0, 10), 0);
    CHECK(!is_free(fd, 0));
    other = open_it();
    dup2(fd, other);
    CHECK(is_free(fd, 0));
}

CASE(the_end_of_a_process_gives_them_up)
{
    int fd = open_it(), ends[2], status;
    char byte;

    REQUIRE(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        if (lock(fd, F_SETLK, F_WRLCK, 0, 10) != 0 || write(ends[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
    CHECK_FAILS(lock(fd, F_SETLK, F_RDLCK, 5, 1), EAGAIN);
    struct flock seen = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 1};
    CHECK_EQUAL(fcntl(fd, F_GETLK, &seen), 0);
    CHECK_EQUAL(seen.l_pid, child);
    kill(child, SIGKILL);
    CHECK_EQUAL(lock(fd, F_SETLKW, F_WRLCK, 5, 1), 0);
    waitpid(child, &status, 0);
    /* A child has none of its parent's. */
    child = fork();
    if (child == 0)
        _exit(lock(fd, F_SETLK, F_WRLCK, 5, 1) == -1 && errno == EAGAIN ? 0 : 1);
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
}

CASE(who_waits_is_interrupted)
{
    int fd = open_it(), ends[2], status;
    char byte;

    REQUIRE(pipe(ends) == 0);
    CHECK_EQUAL(lock(fd, F_SETLK, F_WRLCK, 0, 1), 0);
    pid_t child = fork();
    if (child == 0) {
        struct sigaction action = {.sa_handler = ignore};
        sigaction(SIGALRM, &action, NULL);
        ualarm(50000, 0);
        if (lock(fd, F_SETLKW, F_WRLCK, 0, 1) != -1 || errno != EINTR)
            _exit(1);
        action.sa_flags = SA_RESTART;
        sigaction(SIGALRM, &action, NULL);
        ualarm(50000, 0);
        if (write(ends[1], "x", 1) != 1)
            _exit(2);
        _exit(lock(fd, F_SETLKW, F_WRLCK, 0, 1) == 0 ? 0 : 3);
    }
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
    usleep(150000);
    CHECK_EQUAL(lock(fd, F_SETLK, F_UNLCK, 0, 1), 0);
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
}

CASE(circles_of_waiters_are_refused)
{
    int fd = open_it(), ends[2], status;
    char byte;

    REQUIRE(pipe(ends) == 0);
    CHECK_EQUAL(lock(fd, F_SETLK, F_WRLCK, 0, 1), 0);
    pid_t child = fork();
    if (child == 0) {
        if (lock(fd, F_SETLK, F_WRLCK, 1, 1) != 0 || write(ends[1], "x", 1) != 1)
            _exit(1);
        _exit(lock(fd, F_SETLKW, F_WRLCK, 0, 1) == 0 ? 0 : 2);
    }
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
    /* Until the child waits, this waits for it: then one of the two is refused; here it must be this one. */
    usleep(200000);
    CHECK_FAILS(lock(fd, F_SETLKW, F_WRLCK, 1, 1), EDEADLK);
    CHECK_EQUAL(lock(fd, F_SETLK, F_UNLCK, 0, 1), 0);
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
}

CASE(openings_own_locks_too)
{
    int first = open_it(), second = open_it();

    CHECK_EQUAL(lock(first, F_OFD_SETLK, F_WRLCK, 0, 10), 0);
    CHECK_FAILS(lock(second, F_OFD_SETLK, F_RDLCK, 5, 1), EAGAIN);
    struct flock seen = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 1};
    CHECK_EQUAL(fcntl(second, F_OFD_GETLK, &seen), 0);
    CHECK_EQUAL(seen.l_type, F_WRLCK);
    CHECK_EQUAL(seen.l_pid, -1);
    /* They exclude those of processes, also one's own, and flock's do not matter. */
    CHECK_FAILS(lock(first, F_SETLK, F_WRLCK, 0, 1), EAGAIN);
    CHECK_EQUAL(flock(second, LOCK_EX | LOCK_NB), 0);
    int copy = dup(first);
    close(first);
    CHECK_FAILS(lock(second, F_OFD_SETLK, F_RDLCK, 5, 1), EAGAIN);
    close(copy);
    CHECK_EQUAL(lock(second, F_OFD_SETLK, F_RDLCK, 5, 1), 0);
    struct flock wrong = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1, .l_pid = 7};
    CHECK_FAILS(fcntl(second, F_OFD_SETLK, &wrong), EINVAL);
}

static void *close_soon(void *fd)
{
    usleep(50000);
    close(*(int *)fd);
    return NULL;
}

CASE(an_opening_waits_for_another)
{
    int first = open_it(), second = open_it();
    pthread_t thread;

    CHECK_EQUAL(lock(first, F_OFD_SETLK, F_WRLCK, 0, 0), 0);
    pthread_create(&thread, NULL, close_soon, &first);
    CHECK_EQUAL(lock(second, F_OFD_SETLKW, F_WRLCK, 0, 0), 0);
    pthread_join(thread, NULL);
}

CASE(proc_lists_them)
{
    char line[256], wanted[3][128];
    int fd = open_it(), other = open_it(), found = 0;
    struct stat status;

    fstat(fd, &status);
    CHECK_EQUAL(lock(fd, F_SETLK, F_WRLCK, 5, 10), 0);
    CHECK_EQUAL(lock(fd, F_OFD_SETLK, F_RDLCK, 100, 0), 0);
    CHECK_EQUAL(flock(other, LOCK_EX), 0);
    snprintf(wanted[0], 128, ": POSIX  ADVISORY  WRITE %d ", getpid());
    snprintf(wanted[1], 128, ": OFDLCK ADVISORY  READ -1 ");
    snprintf(wanted[2], 128, ": FLOCK  ADVISORY  WRITE %d ", getpid());
    snprintf(line, sizeof line, ":%lu ", status.st_ino);
    char inode[64], *ends[] = {" 5 14\n", " 100 EOF\n", " 0 EOF\n"};
    snprintf(inode, sizeof inode, ":%lu ", status.st_ino);
    FILE *file = fopen("/proc/locks", "r");
    REQUIRE(file != NULL);
    while (fgets(line, sizeof line, file))
        for (int i = 0; i < 3; i++)
            found += strstr(line, wanted[i]) && strstr(line, inode) && strstr(line, ends[i]);
    CHECK_EQUAL(found, 3);
}

CASE(bad_arguments_are_refused)
{
    int fd = open_it(), reader = open(path, O_RDONLY), writer = open(path, O_WRONLY);
    struct flock wanted = {.l_type = 7, .l_whence = SEEK_SET};

    CHECK_FAILS(fcntl(fd, F_SETLK, &wanted), EINVAL);
    CHECK_FAILS(fcntl(fd, F_GETLK, &wanted), EINVAL);
    wanted.l_type = F_UNLCK;
    CHECK_FAILS(fcntl(fd, F_GETLK, &wanted), EINVAL);
    wanted = (struct flock){.l_type = F_WRLCK, .l_whence = 9};
    CHECK_FAILS(fcntl(fd, F_SETLK, &wanted), EINVAL);
    CHECK_FAILS(lock(fd, F_SETLK, F_WRLCK, -1, 1), EINVAL);
    CHECK_FAILS(lock(fd, F_SETLK, F_WRLCK, 5, -6), EINVAL);
    CHECK_FAILS(lock(reader, F_SETLK, F_WRLCK, 0, 1), EBADF);
    CHECK_FAILS(lock(writer, F_SETLK, F_RDLCK, 0, 1), EBADF);
    CHECK_EQUAL(flock(reader, LOCK_EX | LOCK_NB), 0);
    CHECK_FAILS(fcntl(fd, F_SETLK, (void *)8), EFAULT);
    CHECK_FAILS(lock(-1, F_SETLK, F_WRLCK, 0, 1), EBADF);
}
