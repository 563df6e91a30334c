/* What memory and new processes cost: page faults, short mappings, fork, exec, spawn. */
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mark.h"

enum { PAGE = 4096, PAGES = 256, MAPPINGS = 8, SHORT_MAPPINGS = 500, FORKS = 20, PROGRAMS = 10, QUICK = 2 };

static char *const NO_ENVIRONMENT[] = {NULL};

static void require(bool condition, const char *what)
{
    if (condition)
        return;
    printf("failed: %s\n", what);
    exit(EXIT_FAILURE);
}

static void page_faults(int count)
{
    for (int i = 0; i < count; i++) {
        volatile char *pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        require(pages != MAP_FAILED, "mmap");
        MARK_BEGIN();
        for (int page = 0; page < PAGES; page++)
            pages[page * PAGE] = 1;
        MARK_END();
        report("page-fault", "anonymous", PAGES);
        munmap((void *)pages, PAGES * PAGE);
    }
}

static void short_mappings(int count)
{
    for (int i = 0; i < count; i++) {
        volatile char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        require(page != MAP_FAILED, "mmap");
        page[0] = 1;
        munmap((void *)page, PAGE);
    }
}

static void wait_for(pid_t child)
{
    int status;

    require(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a child");
}

static void forks(int count)
{
    for (int i = 0; i < count; i++) {
        pid_t child = fork();

        if (child == 0)
            _exit(0);
        wait_for(child);
    }
}

static void forks_and_programs(int count)
{
    for (int i = 0; i < count; i++) {
        char *const arguments[] = {"nothing", NULL};
        pid_t child = fork();

        if (child == 0) {
            execve("/tests/helpers/nothing", arguments, NO_ENVIRONMENT);
            _exit(127);
        }
        wait_for(child);
    }
}

static void spawns(int count)
{
    for (int i = 0; i < count; i++) {
        char *const arguments[] = {"nothing", NULL};
        pid_t child;

        require(posix_spawn(&child, "/tests/helpers/nothing-dynamic", NULL, NULL, arguments, NO_ENVIRONMENT) == 0,
                "posix_spawn");
        wait_for(child);
    }
}

static void measure(void (*run)(int), int count, const char *operation, const char *mode)
{
    run(QUICK);
    for (int round = 0; round < ROUNDS; round++) {
        MARK_BEGIN();
        run(count);
        MARK_END();
        report(operation, mode, count);
    }
}

int main(int argc, char **argv)
{
    bool measuring = is_measuring(argc, argv);

    if (measuring)
        settle();
    page_faults(measuring ? MAPPINGS : QUICK);
    measure(short_mappings, measuring ? SHORT_MAPPINGS : QUICK, "mmap-touch-munmap", "anonymous");
    measure(forks, measuring ? FORKS : QUICK, "fork-exit-wait", "static");
    measure(forks_and_programs, measuring ? PROGRAMS : QUICK, "fork-exec-wait", "static");
    measure(spawns, measuring ? PROGRAMS : QUICK, "spawn-exec-wait", "dynamic");
    return EXIT_SUCCESS;
}
