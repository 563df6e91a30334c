/* prctl(2) and its like. */
#include "check.h"

#include <pthread.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

CASE(names)
{
    char name[17] = "";

    CHECK_EQUAL(prctl(PR_GET_NAME, name), 0);
    CHECK(strcmp(name, "prctl") == 0);
    CHECK_EQUAL(prctl(PR_SET_NAME, "a name that is too long"), 0);
    CHECK_EQUAL(prctl(PR_GET_NAME, name), 0);
    CHECK(strcmp(name, "a name that is ") == 0);
    CHECK_FAILS(prctl(PR_SET_NAME, 8), EFAULT);
    CHECK_FAILS(prctl(PR_GET_NAME, 8), EFAULT);
}

CASE(what_is_unknown)
{
    CHECK_FAILS(prctl(9999), EINVAL);
    CHECK_FAILS(prctl(PR_SET_SECCOMP, 77, 0, 0, 0), EINVAL);
    CHECK_FAILS(prctl(PR_SET_TIMING, 1), EINVAL);
    CHECK_FAILS(prctl(PR_CAPBSET_READ, 64), EINVAL);
}

CASE(flags)
{
    int value = -1;

    CHECK_EQUAL(prctl(PR_GET_DUMPABLE), 1);
    CHECK_EQUAL(prctl(PR_SET_DUMPABLE, 0), 0);
    CHECK_EQUAL(prctl(PR_GET_DUMPABLE), 0);
    CHECK_FAILS(prctl(PR_SET_DUMPABLE, 2), EINVAL);
    CHECK_EQUAL(prctl(PR_GET_KEEPCAPS), 0);
    CHECK_EQUAL(prctl(PR_SET_KEEPCAPS, 1), 0);
    CHECK_EQUAL(prctl(PR_GET_KEEPCAPS), 1);
    CHECK_FAILS(prctl(PR_SET_KEEPCAPS, 2), EINVAL);
    CHECK_EQUAL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
    CHECK_FAILS(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
    CHECK_FAILS(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0), EINVAL);
    CHECK_EQUAL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_EQUAL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    CHECK_EQUAL(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 0);
    CHECK_EQUAL(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
    CHECK_EQUAL(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
    CHECK_EQUAL(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    CHECK_EQUAL(prctl(PR_GET_CHILD_SUBREAPER, &value), 0);
    CHECK_EQUAL(value, 1);
    CHECK_EQUAL(prctl(PR_GET_SECCOMP), 0);
    CHECK_EQUAL(prctl(PR_CAPBSET_READ, 0), 1);
    CHECK_EQUAL(prctl(PR_GET_TIMING), 0);
}

CASE(the_signal_of_a_parents_death)
{
    int value = -1, status;

    CHECK_EQUAL(prctl(PR_GET_PDEATHSIG, &value), 0);
    CHECK_EQUAL(value, 0);
    CHECK_EQUAL(prctl(PR_SET_PDEATHSIG, SIGUSR1), 0);
    CHECK_EQUAL(prctl(PR_GET_PDEATHSIG, &value), 0);
    CHECK_EQUAL(value, SIGUSR1);
    CHECK_FAILS(prctl(PR_SET_PDEATHSIG, 65), EINVAL);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_GET_PDEATHSIG, &value);
        _exit(value);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

CASE(slack_of_timers)
{
    CHECK_EQUAL(prctl(PR_GET_TIMERSLACK), 50000);
    CHECK_EQUAL(prctl(PR_SET_TIMERSLACK, 1), 0);
    CHECK_EQUAL(prctl(PR_GET_TIMERSLACK), 1);
    CHECK_EQUAL(prctl(PR_SET_TIMERSLACK, 0), 0);
    CHECK_EQUAL(prctl(PR_GET_TIMERSLACK), 50000);
}

CASE(personalities)
{
    CHECK_EQUAL(personality(0xffffffff), 0);
    CHECK_EQUAL(personality(0), 0);
}

static void *name_itself(void *argument)
{
    prctl(PR_SET_NAME, "other");
    return argument;
}

CASE(each_thread_has_a_name)
{
    char name[16];
    pthread_t thread;

    REQUIRE(pthread_create(&thread, NULL, name_itself, NULL) == 0);
    pthread_join(thread, NULL);
    prctl(PR_GET_NAME, name);
    CHECK(strcmp(name, "prctl") == 0);
}
