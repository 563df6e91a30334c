/* The frame of a guest test. A file is a family of system calls, a function is a case:
 *
 *     CASE(read_at_the_end_of_a_file) { ... CHECK(...); CHECK_FAILS(read(-1, buffer, 1), EBADF); }
 *
 * Cases run in the order of the file, each in a process of its own: what one leaves behind or crashes on does
 * not touch the next, and one that does not end is ended after LIMIT_SECONDS and counts as failed. A case that
 * cannot be tried says why with SKIP(). The file has no main(); arguments choose cases by their names. */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_SECONDS = 30, MOST_CASES = 256, FAILED = 1, SKIPPED = 77 };

struct check_case {
    const char *name;
    void (*run)(void);
};

static struct check_case check_cases[MOST_CASES];
static int check_case_count;
static int check_failures;

#define CASE(title)                                                                  \
    static void title(void);                                                         \
    __attribute__((constructor)) static void add_##title(void)                       \
    {                                                                                \
        check_cases[check_case_count++] = (struct check_case){#title, title};        \
    }                                                                                \
    static void title(void)

/* Notes a failure and goes on. */
#define CHECK(condition)                                                             \
    do {                                                                             \
        errno = 0;                                                                   \
        if (!(condition)) {                                                          \
            int error = errno;                                                       \
            printf("  %s:%d: %s (errno: %s)\n", __FILE_NAME__, __LINE__, #condition, \
                   error ? strerrorname_np(error) : "none");                         \
            check_failures++;                                                        \
        }                                                                            \
    } while (0)

/* What the rest of the case stands on. */
#define REQUIRE(condition)                                                           \
    do {                                                                             \
        int before = check_failures;                                                 \
        CHECK(condition);                                                            \
        if (check_failures != before)                                                \
            exit(FAILED);                                                            \
    } while (0)

/* The call returns -1 with this error. */
#define CHECK_FAILS(call, error)                                                     \
    do {                                                                             \
        errno = 0;                                                                   \
        long result = (long)(call);                                                  \
        int got = errno;                                                             \
        if (result != -1 || got != (error)) {                                        \
            printf("  %s:%d: %s: %ld with %s, not %s\n", __FILE_NAME__, __LINE__, #call, result, \
                   got ? strerrorname_np(got) : "no error", strerrorname_np(error)); \
            check_failures++;                                                        \
        }                                                                            \
    } while (0)

/* Two numbers are equal; both are shown if not. */
#define CHECK_EQUAL(left, right)                                                     \
    do {                                                                             \
        long long is = (long long)(left), should = (long long)(right);               \
        if (is != should) {                                                          \
            printf("  %s:%d: %s is %lld, not %lld\n", __FILE_NAME__, __LINE__, #left, is, should); \
            check_failures++;                                                        \
        }                                                                            \
    } while (0)

#define SKIP(why)                                                                    \
    do {                                                                             \
        printf("  skipped: %s\n", why);                                              \
        fflush(stdout);                                                              \
        _exit(SKIPPED);                                                              \
    } while (0)

/* Milliseconds on a clock that never jumps. */
__attribute__((unused)) static long long check_milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* How a case ended, as wait() tells it; -1 if it did not. */
static int check_run_case(const struct check_case *one)
{
    sigset_t child_ended, before;
    struct timespec limit = {.tv_sec = LIMIT_SECONDS};
    int status = -1;

    sigemptyset(&child_ended);
    sigaddset(&child_ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child_ended, &before);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        one->run();
        fflush(stdout);
        _exit(check_failures ? FAILED : 0);
    }
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (sigtimedwait(&child_ended, NULL, &limit) < 0 && errno == EAGAIN) {
            kill(child, SIGKILL);
            waitpid(child, NULL, 0);
            return -1;
        }
    }
    return status;
}

int main(int argc, char **argv)
{
    int failed = 0;

    for (int i = 0; i < check_case_count; i++) {
        const struct check_case *one = &check_cases[i];
        bool is_wanted = argc < 2;

        for (int j = 1; j < argc; j++)
            is_wanted |= strcmp(argv[j], one->name) == 0;
        if (!is_wanted)
            continue;
        int status = check_run_case(one);
        if (status == 0 || (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED))
            continue;
        failed++;
        if (status == -1)
            printf("%s: did not end within %d s\n", one->name, LIMIT_SECONDS);
        else if (WIFSIGNALED(status))
            printf("%s: ended by signal %d\n", one->name, WTERMSIG(status));
        else
            printf("%s: failed\n", one->name);
    }
    fflush(stdout);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
