/* Whose terminal the console is, and what that allows: sessions, foreground and background. */
#include "check.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>

static int terminal;

/* Makes the caller the leader of a session whose terminal is the console. */
static void take_terminal(void)
{
    mkdir("/dev", 0755);
    if (access("/dev/tty", F_OK) != 0)
        mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    REQUIRE(setsid() == getpid());
    /* Who leads a session may be told to hang up when it ends. */
    signal(SIGHUP, SIG_IGN);
    terminal = open("/dev/ttyS0", O_RDWR);
    REQUIRE(terminal >= 0);
}

/* Runs `action` in a background group; returns how the child ended or stopped. */
static int in_background(void (*action)(void))
{
    int status = -1;

    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        action();
        _exit(check_failures ? 1 : 0);
    }
    setpgid(child, child);
    REQUIRE(waitpid(child, &status, WUNTRACED) == child);
    if (WIFSTOPPED(status)) {
        int ended;
        kill(child, SIGKILL);
        kill(child, SIGCONT);
        waitpid(child, &ended, 0);
    }
    return status;
}

CASE(a_leader_gets_the_terminal_that_it_opens)
{
    take_terminal();
    CHECK_EQUAL(tcgetsid(terminal), getpid());
    CHECK_EQUAL(tcgetpgrp(terminal), getpid());
    int again = open("/dev/tty", O_RDWR);
    CHECK(again >= 0);
    CHECK_EQUAL(tcgetpgrp(again), getpid());
    CHECK(ioctl(terminal, TIOCSCTTY, 0) == 0);
}

CASE(without_asking_there_is_none)
{
    REQUIRE(setsid() == getpid());
    signal(SIGHUP, SIG_IGN);
    terminal = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
    REQUIRE(terminal >= 0);
    CHECK_FAILS(tcgetpgrp(terminal), ENOTTY);
    CHECK_FAILS(open("/dev/tty", O_RDWR), ENXIO);
    CHECK(ioctl(terminal, TIOCSCTTY, 0) == 0);
    CHECK_EQUAL(tcgetsid(terminal), getpid());
    CHECK(ioctl(terminal, TIOCNOTTY) == 0);
    CHECK_FAILS(tcgetpgrp(terminal), ENOTTY);
}

static void read_terminal(void)
{
    char byte;

    CHECK_FAILS(read(terminal, &byte, 1), EIO);
}

static void read_and_ignore(void)
{
    signal(SIGTTIN, SIG_IGN);
    read_terminal();
}

CASE(a_background_read_stops_or_fails)
{
    take_terminal();
    int status = in_background(read_terminal);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTIN);
    CHECK_EQUAL(in_background(read_and_ignore), 0);
}

static void set_group(void)
{
    tcsetpgrp(terminal, getpgrp());
}

static void set_group_blocked(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTTOU);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CHECK(tcsetpgrp(terminal, getpgrp()) == 0);
    CHECK_EQUAL(tcgetpgrp(terminal), getpgrp());
    CHECK(tcsetpgrp(terminal, getsid(0)) == 0);
}

static void write_terminal(void)
{
    CHECK_EQUAL(write(terminal, "", 0), 0);
    CHECK_EQUAL(write(terminal, "\r", 1), 1);
}

CASE(background_output_and_settings)
{
    struct termios settings;

    take_terminal();
    CHECK_EQUAL(in_background(write_terminal), 0);
    int status = in_background(set_group);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTOU);
    CHECK_EQUAL(in_background(set_group_blocked), 0);
    REQUIRE(tcgetattr(terminal, &settings) == 0);
    settings.c_lflag |= TOSTOP;
    REQUIRE(tcsetattr(terminal, TCSANOW, &settings) == 0);
    status = in_background(write_terminal);
    settings.c_lflag &= ~TOSTOP;
    CHECK(tcsetattr(terminal, TCSANOW, &settings) == 0);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTOU);
}

CASE(groups_that_cannot_be_in_the_foreground)
{
    take_terminal();
    CHECK_FAILS(tcsetpgrp(terminal, 999999), ESRCH);
    CHECK_FAILS(tcsetpgrp(terminal, -1), EINVAL);
    CHECK_FAILS(tcsetpgrp(terminal, getppid()), EPERM);
}

static volatile sig_atomic_t seen;

static void note(int signal)
{
    seen = signal;
}

CASE(a_new_window_size_is_announced)
{
    struct winsize before, other;

    take_terminal();
    signal(SIGWINCH, note);
    REQUIRE(ioctl(terminal, TIOCGWINSZ, &before) == 0);
    other = before;
    other.ws_row += 3;
    CHECK(ioctl(terminal, TIOCSWINSZ, &other) == 0);
    CHECK_EQUAL(seen, SIGWINCH);
    seen = 0;
    CHECK(ioctl(terminal, TIOCSWINSZ, &other) == 0);
    CHECK_EQUAL(seen, 0);
    CHECK(ioctl(terminal, TIOCSWINSZ, &before) == 0);
}

CASE(the_end_of_the_leader_hangs_up)
{
    int ends[2], status;
    char byte = 0;

    REQUIRE(pipe(ends) == 0);
    pid_t leader = fork();
    if (leader == 0) {
        int ready[2];
        take_terminal();
        if (pipe(ready) != 0 || fork() == 0) {
            signal(SIGHUP, SIG_DFL);
            sigset_t set;
            int signal;
            sigemptyset(&set);
            sigaddset(&set, SIGHUP);
            sigprocmask(SIG_BLOCK, &set, NULL);
            (void)!write(ready[1], "r", 1);
            sigwait(&set, &signal);
            byte = signal;
            (void)!write(ends[1], &byte, 1);
            _exit(0);
        }
        (void)!read(ready[0], &byte, 1);
        _exit(0);
    }
    close(ends[1]);
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
    CHECK_EQUAL(byte, SIGHUP);
    waitpid(leader, &status, 0);
}

CASE(queues_can_be_asked_and_emptied)
{
    int count = -1;

    take_terminal();
    CHECK_EQUAL(write(terminal, "\r", 1), 1);
    CHECK(tcdrain(terminal) == 0);
    CHECK(ioctl(terminal, TIOCOUTQ, &count) == 0 && count == 0);
    CHECK(ioctl(terminal, FIONREAD, &count) == 0 && count >= 0);
    CHECK(tcflush(terminal, TCIOFLUSH) == 0);
    CHECK_FAILS(tcflush(terminal, 77), EINVAL);
    CHECK_FAILS(ioctl(terminal, 0x5499, 0), ENOTTY);
    CHECK(isatty(terminal));
}
