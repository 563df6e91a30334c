"""A machine that is talked to over its console, as a person at a terminal would.

`Session.expect` waits for a pattern, `Session.send` types, `Session.command` types a shell command and returns the
status with which it ended: the shell's prompt says that, so a verdict never depends on what a program prints.
"""

import os
import pathlib
import re
import selectors
import socket
import subprocess
import time

import qemu

# What the shell prints before each command; typed in a form that its own echo does not match.
PROMPT = re.compile(rb"<status:(\d+)># ")
SET_PROMPT = "PS1='<status:$''?># '"
# Control keys.
INTERRUPT, SUSPEND, END_OF_FILE, ESCAPE, BACKSPACE, UP = "\x03", "\x1a", "\x04", "\x1b", "\x7f", "\x1b[A"


class Unexpected(Exception):
    """The machine did not do what was waited for."""


class Session:
    """A running machine. Use it as a context: at its end QEMU ends, too."""

    def __init__(self, machine, log=None):
        self.log = log
        self.control, theirs = socket.socketpair()
        arguments = qemu.command(machine) + [
            "-chardev", "stdio,id=console,signal=off",
            "-chardev", f"socket,id=control,fd={theirs.fileno()}", "-mon", "chardev=control,mode=control",
        ]
        self.started = time.monotonic()
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        pass_fds=[theirs.fileno()], bufsize=0)
        theirs.close()
        self.control.sendall(b'{"execute": "qmp_capabilities"}\n')
        self.console = bytearray()
        self.messages = bytearray()
        self.seen = 0  # of the console, by earlier calls of expect
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ, self.console)
        self.selector.register(self.control, selectors.EVENT_READ, self.messages)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.selector.close()
        self.control.close()
        self.process.stdin.close()
        self.process.stdout.close()
        if self.log is not None:
            pathlib.Path(self.log).parent.mkdir(parents=True, exist_ok=True)
            pathlib.Path(self.log).write_bytes(bytes(self.console))

    def _read(self, deadline):
        """Reads what is there; False if the deadline is over or nothing more can come."""
        if not self.selector.get_map():
            return False
        ready = self.selector.select(max(0, deadline - time.monotonic()))
        for key, _ in ready:
            try:
                data = os.read(key.fd, 65536)
            except ConnectionResetError:
                data = b""
            if data:
                key.data.extend(data)
            else:
                self.selector.unregister(key.fileobj)
        return bool(ready)

    def expect(self, pattern, timeout_seconds):
        """Waits for a regular expression after what was waited for before; returns the match."""
        compiled = re.compile(pattern.encode() if isinstance(pattern, str) else pattern)
        deadline = time.monotonic() + timeout_seconds
        while True:
            found = compiled.search(self.console, self.seen)
            if found:
                self.seen = found.end()
                return found
            if not self._read(deadline):
                ended = "" if self.selector.get_map() else " (the machine has ended)"
                raise Unexpected(f"{compiled.pattern.decode()!r} did not appear within {timeout_seconds:.0f} s{ended}")

    def send(self, text):
        """Types."""
        try:
            self.process.stdin.write(text.encode())
        except BrokenPipeError:
            raise Unexpected("the machine has ended") from None

    def prompt(self, timeout_seconds):
        """Waits for the prompt; returns the status that it says."""
        return int(self.expect(PROMPT, timeout_seconds)[1])

    def command(self, line, timeout_seconds):
        """Runs a shell command; returns its status and what was on the console meanwhile."""
        before = self.seen
        self.send(line + "\n")
        status = self.prompt(timeout_seconds)
        return status, self.text(before, self.seen)

    def text(self, start=0, end=None):
        """A part of the console, with the carriage returns of terminals removed."""
        return bytes(self.console[start:end]).decode(errors="replace").replace("\r\n", "\n").replace("\r", "")

    def finish(self, timeout_seconds):
        """Waits until the machine ends by itself; how it did."""
        deadline = time.monotonic() + timeout_seconds
        while self.selector.get_map() and self._read(deadline):
            pass
        timed_out = bool(self.selector.get_map())
        if timed_out:
            self.process.kill()
        status = self.process.wait()
        ending = "timeout" if timed_out else qemu.ending_of(self.messages) or "killed"
        return qemu.Result(ending, status, self.text(), time.monotonic() - self.started)
