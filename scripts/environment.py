"""Where things lie, and the environment that set-up wrote; shared by every script."""

import os
import pathlib
import subprocess
import sys

PROJECT = pathlib.Path(__file__).resolve().parent.parent
CACHE = PROJECT / ".cache"
TARGET = PROJECT / "target"
QEMU = CACHE / "qemu" / "qemu-system-riscv64"
FIRMWARE = CACHE / "qemu" / "firmware"
LINUX_IMAGE = CACHE / "linux" / "Image"
TRIPLE = "riscv64imac-unknown-none-elf"


class Failure(Exception):
    """Something that the person at the terminal should read as one line, without a traceback."""


def cargo_environment(**extra):
    """The environment for cargo: that of this process, what set-up wrote to .cache/env, `extra`."""
    environment = dict(os.environ)
    written = CACHE / "env"
    if written.exists():
        for line in written.read_text().splitlines():
            name, _, value = line.partition("=")
            environment[name] = value
    environment.update(extra)
    return environment


def setup(*components):
    """Runs the set-up of these components; it does nothing where all is there."""
    command = [str(PROJECT / "scripts" / "setup.sh"), *components]
    if subprocess.run(command, check=False).returncode != 0:
        raise Failure(f"set-up of {' '.join(components)} failed")


def is_stale(product, *sources):
    """Whether `product` is absent or older than a source."""
    if not product.exists():
        return True
    made = product.stat().st_mtime_ns
    return any(source.stat().st_mtime_ns > made for source in sources)


def main(function):
    """Runs `function` as a script's body: its result is the exit status, a Failure is one line."""
    try:
        sys.exit(function())
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
