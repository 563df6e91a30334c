/* Memory runs out, and the right program ends for it. */
#include "check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

enum { PAGE = 4096 };

/* Uses memory until that is no longer possible. */
static void use_all_memory(void)
{
    size_t step = 1 << 20;

    for (;;) {
        char *pages = mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (pages == MAP_FAILED)
            _exit(3);
        for (size_t at = 0; at < step; at += PAGE)
            pages[at] = 1;
    }
}

static int status_of(pid_t child)
{
    int status;

    REQUIRE(waitpid(child, &status, 0) == child);
    return status;
}

CASE(who_uses_all_memory_is_ended)
{
    char *own = mmap(NULL, 100 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sysinfo first, last;

    REQUIRE(own != MAP_FAILED);
    memset(own, 5, 100 * PAGE);
    REQUIRE(sysinfo(&first) == 0);
    for (int round = 0; round < 3; round++) {
        pid_t child = fork();

        if (child == 0)
            use_all_memory();
        int status = status_of(child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    REQUIRE(sysinfo(&last) == 0);
    CHECK(own[50 * PAGE] == 5);
    CHECK(last.freeram + (8 << 20) > first.freeram);
}

CASE(who_is_worth_more_is_spared)
{
    int ends[2], fd;
    char byte;

    mkdir("/proc", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    REQUIRE(pipe(ends) == 0);
    pid_t cheap = fork();
    if (cheap == 0) {
        fd = open("/proc/self/oom_score_adj", O_WRONLY);
        if (fd < 0 || write(fd, "1000", 4) != 4)
            _exit(4);
        volatile char *pages = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (int at = 0; at < 4 << 20; at += PAGE)
            pages[at] = 1;
        write(ends[1], "x", 1);
        for (;;)
            pause();
    }
    REQUIRE(read(ends[0], &byte, 1) == 1);
    pid_t greedy = fork();
    if (greedy == 0)
        use_all_memory();
    /* The one that volunteered goes first, and then the other one. */
    int status = status_of(cheap);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = status_of(greedy);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

CASE(a_system_call_can_be_what_finds_no_memory)
{
    mkdir("/dev", 0755);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    pid_t child = fork();

    if (child == 0) {
        size_t len = 1 << 20;
        int zeros = open("/dev/zero", O_RDONLY);

        if (zeros < 0)
            _exit(4);
        for (;;) {
            char *pages = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

            if (pages == MAP_FAILED || read(zeros, pages, len) < 0)
                _exit(3);
        }
    }
    int status = status_of(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
