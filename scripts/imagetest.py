#!/usr/bin/env python3
"""Uses a disk image as a person would, at its shell, on either kernel.

    imagetest.py --image small|full [--linux|--debug] [--harts N] [--repeat N] [--list] [NAME ...]

Two kinds of checks. Scripts of rootfs/images/checks/, which are in the image under /tests/checks: the verdict
is their exit status. Dialogues, below: they type keys into editors and shells, and judge by the statuses of
commands that look at the outcome. All run in one boot, with the root mounted for reading only; a check that
does not come back costs a new boot for those that are left. In the end the shell is left, and the machine has
to power off.
"""

import argparse
import functools
import pathlib
import re
import time

import build
import guest
import qemu
import run
from environment import TARGET, Failure, main
from session import BACKSPACE, END_OF_FILE, ESCAPE, INTERRUPT, SET_PROMPT, SUSPEND, UP, Session, Unexpected

BOOT_SECONDS = 300
CHECK_SECONDS = 300
KEY_SECONDS = 60
PRESSES = 12
SHOWN_LINES = 40


class Wrong(Exception):
    """A check that failed, on a machine that goes on."""


def demand(session, line, status=0, timeout_seconds=KEY_SECONDS):
    """Runs a command that must end with that status."""
    got, output = session.command(line, timeout_seconds)
    if got != status:
        raise Wrong(f"`{line}` ended with status {got}, not {status}:\n{output}")


def press(session, line, key, status):
    """Starts a program that says when it has begun, presses a key, and demands the status that the shell then has."""
    session.send(line + "\n")
    session.expect(r"\nbegin\r", KEY_SECONDS)
    session.send(key)
    got = session.prompt(KEY_SECONDS)
    if got != status:
        raise Wrong(f"after {key!r} `{line}` ended with status {got}, not {status}")


def press_until_prompt(session, key):
    """Presses a key until the shell is back; returns its status. A shell prints the job that it takes to the foreground
    before it gives it the terminal: a key that comes between is the shell's."""
    for _ in range(PRESSES):
        session.send(key)
        try:
            return session.prompt(KEY_SECONDS / PRESSES)
        except Unexpected:
            continue
    raise Wrong(f"{key!r}, pressed {PRESSES} times, does not bring the shell back")


SLEEPER = "sh -c 'echo begin; exec sleep 1000'"


def check_interrupt(session):
    """Ctrl-C ends a program that waits, one that computes, and a pipeline; a shell goes on."""
    press(session, SLEEPER, INTERRUPT, 130)
    press(session, "sh -c 'echo begin; while :; do :; done'", INTERRUPT, 130)
    press(session, "sleep 1000 | cat | sh -c 'echo begin; exec cat'", INTERRUPT, 130)
    # The shell's own loop: it is ended, not the shell.
    press(session, "echo begin; while :; do :; done", INTERRUPT, 130)


def check_job_control(session):
    """Ctrl-Z stops, bg and fg go on, kill %1 ends, jobs knows."""
    press(session, SLEEPER, SUSPEND, 148)
    demand(session, "jobs -s | grep -q sleep")
    demand(session, "bg")
    demand(session, "jobs -r | grep -q sleep")
    session.send("fg\n")
    session.expect(r"\nsh -c[^\n]*sleep 1000'\r", KEY_SECONDS)
    status = press_until_prompt(session, INTERRUPT)
    if status != 130:
        raise Wrong(f"after fg and Ctrl-C the status is {status}, not 130")
    demand(session, "sleep 1000 &")
    demand(session, "kill %1; wait %1", 143)
    demand(session, "jobs >/dev/null; jobs >/tmp/jobs; test ! -s /tmp/jobs")


def check_line_editing(session):
    """The keys of readline and of the terminal's own line discipline."""
    demand(session, f"falsx{BACKSPACE}e", 1)
    session.send(f"{UP}\n")
    if session.prompt(KEY_SECONDS) != 1:
        raise Wrong("the last command did not come back with the arrow key")
    session.send("sh -c 'echo begin; exec cat >/tmp/typed'\n")
    session.expect(r"\nbegin\r", KEY_SECONDS)
    session.send(f"hellx{BACKSPACE}o\n")
    session.expect(r"hell.*o\r\n", KEY_SECONDS)
    session.send(END_OF_FILE)
    if session.prompt(KEY_SECONDS) != 0:
        raise Wrong("cat did not end well at the end of the input")
    demand(session, 'test "$(cat /tmp/typed)" = hello')


def check_vi(session, left_insert):
    """Writes two lines, goes back to the first, deletes a word, saves, leaves.

    `left_insert` is what the editor shows when escape has ended its insert mode: whatever comes too soon after escape
    is taken for the rest of some key's code."""
    demand(session, "rm -f /tmp/vi-file")
    session.send("vi /tmp/vi-file\n")
    session.expect(r"~", KEY_SECONDS)
    session.send("ione two\nthree")
    # An editor that gets the letters in two pieces draws them in two.
    session.expect(r"t\S*?h\S*?r\S*?e\S*?e", KEY_SECONDS)
    session.send(ESCAPE)
    session.expect(left_insert, KEY_SECONDS)
    session.send(":1\ndw:wq\n")
    if session.prompt(KEY_SECONDS) != 0:
        raise Wrong("vi did not end well")
    demand(session, "printf 'two\\nthree\\n' | cmp - /tmp/vi-file")


def check_top(session):
    """The screen comes, is drawn again by itself, and `q` leaves."""
    session.send("top\n")
    session.expect(r"(?i)load average", KEY_SECONDS)
    session.expect(r"(?i)\bcommand\b", KEY_SECONDS)
    # Later screens may be only what differs, of which the first line always is part.
    session.expect(r"(?i)load average", KEY_SECONDS)
    session.send("q")
    if session.prompt(KEY_SECONDS) != 0:
        raise Wrong("top did not end well")
    demand(session, "stty -a | grep -qw icanon")


def check_interactive_python(session):
    """Python's own prompt, an interrupt there, and Ctrl-D."""
    session.send("PYTHON_BASIC_REPL=1 python3 -q\n")
    session.expect(r">>> ", CHECK_SECONDS)
    session.send("import time; time.sleep(1000)\n")
    session.expect(r"sleep\(1000\)\r\n", KEY_SECONDS)
    session.send(INTERRUPT)
    session.expect(r"KeyboardInterrupt", KEY_SECONDS)
    session.expect(r">>> ", KEY_SECONDS)
    session.send("raise SystemExit(6 * 7)\n")
    if session.prompt(KEY_SECONDS) != 42:
        raise Wrong("python3 did not end with the status that it was told")


DIALOGUES = {"interrupt": check_interrupt, "job-control": check_job_control, "line-editing": check_line_editing,
             "top": check_top}
# vi is busybox's in the small image and vim in the full one.
DIALOGUES_OF = {
    "small": {"vi": functools.partial(check_vi, left_insert=r"- /tmp/vi-file")},
    "full": {"vi": functools.partial(check_vi, left_insert=r"\x08|\x1b\[\d*;?\d*H"),
             "interactive-python": check_interactive_python},
}


def scripts(image):
    """The names of the scripts for an image: the full one runs those of the small one, too."""
    found = []
    for path in sorted(guest.CHECKS.glob("*.sh")):
        needed = re.search(r"^# image: (\w+)$", path.read_text(), re.MULTILINE)
        if needed is None:
            raise Failure(f"{path.name} does not say which image it needs")
        if needed[1] in ("small", image):
            found.append(path.stem)
    return found


def script_check(name):
    """A check that runs a script of the image."""
    def check(session):
        status, output = session.command(f"/tests/checks/{name}.sh </dev/null", CHECK_SECONDS)
        if status != 0:
            raise Wrong(f"it ended with status {status}:\n{output}")
    return check


def checks(image):
    """All checks of an image by name."""
    return {name: script_check(name) for name in scripts(image)} | DIALOGUES | DIALOGUES_OF[image]


def start(options, number):
    """A machine that has come to its prompt."""
    machine = qemu.Machine(harts=options.harts, memory=options.memory, append=f"quiet {options.append}".strip())
    if options.kernel:
        machine.kernel = options.kernel
    if options.linux:
        machine.kernel = qemu.LINUX_IMAGE
        machine.append += " panic=-1"
    run.image_machine(machine, options.image, options.linux, ",snapshot=on")
    log = TARGET / "log" / "image" / f"{'linux-' * options.linux}{options.image}-{number}.log"
    session = Session(machine, log)
    try:
        session.expect(r"# $", BOOT_SECONDS)
        session.send(SET_PROMPT + "\n")
        session.prompt(KEY_SECONDS)
    except BaseException:
        session.__exit__(None, None, None)
        raise
    return session


def run_checks(options, wanted):
    """Runs checks; returns the number of those that passed and failed."""
    passed = failed = boots = 0
    session = None
    try:
        for name, check in list(wanted.items()) * options.repeat:
            started = time.monotonic()
            begin, problem, lost = 0, "", False
            try:
                if session is None:
                    boots += 1
                    session = start(options, boots)
                begin = session.seen
                check(session)
            except Wrong as wrong:
                problem = str(wrong)
            except Unexpected as unexpected:
                problem, lost = str(unexpected), True
                if session is not None:
                    problem += "\n" + session.text(begin)
            print(f"{options.image} {name:<24} {'FAILED' if problem else 'ok':<6} {time.monotonic() - started:6.1f} s", flush=True)
            if problem:
                failed += 1
                print("\n".join(f"  | {line}" for line in problem.splitlines()[-SHOWN_LINES:]), flush=True)
            else:
                passed += 1
            if lost:
                if session is None:
                    # It does not boot: the others would not, either.
                    return passed, len(wanted) * options.repeat - passed
                session.__exit__(None, None, None)
                session = None
        if session is not None:
            session.send("exit\n")
            result = session.finish(KEY_SECONDS)
            if result.powered_off():
                passed += 1
            else:
                failed += 1
                print(f"{options.image}: leaving the shell did not power off: {result.explain()}")
    finally:
        if session is not None:
            session.__exit__(None, None, None)
    return passed, failed


def _main():
    parser = argparse.ArgumentParser(description="Use a disk image as a person would.")
    parser.add_argument("--image", choices=["small", "full"], default="small")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--linux", action="store_true", help="Debian's Linux instead of our kernel")
    which.add_argument("--debug", dest="kernel", action="store_const", const=build.DEBUG_PRODUCTS / "Image",
                       help="our kernel with debug assertions and overflow checks")
    which.add_argument("--kernel", type=pathlib.Path, help="another image of our kernel")
    parser.add_argument("--harts", type=int, default=2)
    parser.add_argument("--memory", default="1G")
    parser.add_argument("--append", default="", help="more words for the kernel's command line")
    parser.add_argument("--repeat", type=int, default=1, help="all of it so many times, in one boot")
    parser.add_argument("--list", action="store_true", help="print the names and do nothing")
    parser.add_argument("names", nargs="*", help="only these checks")
    options = parser.parse_args()
    wanted = checks(options.image)
    if options.names:
        unknown = set(options.names) - set(wanted)
        if unknown:
            raise Failure(f"no such check of this image: {', '.join(sorted(unknown))}")
        wanted = {name: wanted[name] for name in options.names}
    if options.list:
        print("\n".join(wanted))
        return 0
    passed, failed = run_checks(options, wanted)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    main(_main)
