/* Stacks grow by themselves, as far as they may. */
#include "check.h"

#include <alloca.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>

enum { PAGE = 4096 };

static int status_of(pid_t child)
{
    int status;

    REQUIRE(waitpid(child, &status, 0) == child);
    return status;
}

/* Steps over so many bytes of the stack and touches each page. */
static __attribute__((noinline)) void use_stack(size_t bytes)
{
    volatile char *room = alloca(bytes);

    for (size_t at = bytes; at >= PAGE; at -= PAGE)
        room[at - PAGE] = 1;
}

static void limit_stack(size_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};

    REQUIRE(setrlimit(RLIMIT_STACK, &limit) == 0);
}

CASE(it_grows_to_its_limit)
{
    use_stack(4 << 20);
    use_stack(7 << 20);
}

CASE(beyond_the_limit_is_the_end)
{
    pid_t child = fork();

    if (child == 0) {
        use_stack(9 << 20);
        _exit(0);
    }
    int status = status_of(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    limit_stack(16 << 20);
    child = fork();
    if (child == 0) {
        use_stack(9 << 20);
        _exit(0);
    }
    CHECK_EQUAL(status_of(child), 0);
    limit_stack(1 << 20);
    child = fork();
    if (child == 0) {
        use_stack(2 << 20);
        _exit(0);
    }
    status = status_of(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* A mapping that grows down, with a free megabyte and more below it. */
static char *growing(void)
{
    char *room = mmap(NULL, 4 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *top = room + (3 << 20);

    REQUIRE(room != MAP_FAILED && munmap(room, 4 << 20) == 0);
    REQUIRE(mmap(top, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_GROWSDOWN, -1,
                 0) == top);
    return top;
}

CASE(other_mappings_can_grow_down_too)
{
    volatile char *top = growing();

    top[0] = 1;
    top[-1] = 2;
    top[-10 * PAGE] = 3;
    CHECK(top[0] == 1 && top[-1] == 2 && top[-10 * PAGE] == 3);
}

CASE(a_gap_stays_free_below)
{
    volatile char *top = growing();
    char *below = (char *)top - (2 << 20);

    REQUIRE(mmap(below, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == below);
    top[-PAGE] = 1;
    pid_t child = fork();
    if (child == 0) {
        top[-(2 << 20) + 2 * PAGE] = 1;
        _exit(0);
    }
    int status = status_of(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    child = fork();
    if (child == 0) {
        top[-(2 << 20) + 300 * PAGE] = 1;
        _exit(0);
    }
    CHECK_EQUAL(status_of(child), 0);
}

CASE(a_system_call_makes_it_grow)
{
    char *top = growing();
    int ends[2];

    REQUIRE(pipe(ends) == 0);
    CHECK_EQUAL(write(ends[1], "0123456789", 10), 10);
    CHECK_EQUAL(read(ends[0], top - 3 * PAGE, 10), 10);
    CHECK_EQUAL(top[-3 * PAGE + 9], '9');
}

CASE(memory_can_be_all_different_in_each_run)
{
    static char seen[4][64];
    int different = 0;

    for (int run = 0; run < 4; run++) {
        int ends[2];

        REQUIRE(pipe(ends) == 0);
        pid_t child = fork();
        if (child == 0) {
            dup2(ends[1], 1);
            execl("/tests/helpers/where", "where", NULL);
            _exit(127);
        }
        REQUIRE(status_of(child) == 0);
        REQUIRE(read(ends[0], seen[run], sizeof seen[run] - 1) > 0);
        different += run > 0 && strcmp(seen[run], seen[0]) != 0;
        close(ends[0]);
        close(ends[1]);
    }
    CHECK_EQUAL(different, 3);
}

CASE(memory_can_be_alike_in_each_run)
{
    char seen[2][64] = {"", ""};

    for (int run = 0; run < 2; run++) {
        int ends[2];

        REQUIRE(pipe(ends) == 0);
        pid_t child = fork();
        if (child == 0) {
            if (personality(ADDR_NO_RANDOMIZE) < 0 || (personality(0xffffffff) & ADDR_NO_RANDOMIZE) == 0)
                _exit(1);
            dup2(ends[1], 1);
            execl("/tests/helpers/where-dynamic", "where", NULL);
            _exit(127);
        }
        REQUIRE(status_of(child) == 0);
        REQUIRE(read(ends[0], seen[run], sizeof seen[run] - 1) > 0);
        close(ends[0]);
        close(ends[1]);
    }
    CHECK(strcmp(seen[0], seen[1]) == 0);
}
