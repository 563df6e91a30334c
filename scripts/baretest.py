#!/usr/bin/env python3
"""What the README promises of a bare machine, tried on one: Debian 12 in a directory, as debootstrap makes it.

    baretest.py rustup          git, make and rustup are there: clones, types `make run` and waits for a prompt that answers
                                (prints how long that took), then again, then again without a network
    baretest.py distribution    the same without rustup: the compiler is Debian's
    baretest.py test            clones and types `make test` (prints how long it took), with rustup
    baretest.py user            a user who is not root and has no sudo is told what is missing, by exit status 1

Needs root, debootstrap and a network. The machine's own mirror, proxies and certificates are used. What is cloned is the
last commit. The system is in target/bare/ and remains there after a failure.
"""

import os
import re
import shutil
import subprocess
import sys
import time

import measure
from environment import PROJECT, TARGET, Failure, main

BARE = TARGET / "bare"
RELEASE = "bookworm"
PACKAGES = "git,make,ca-certificates"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# How the machine reaches the network: these variables are handed on.
NETWORK_VARIABLES = re.compile(r"(?i)^(\w+_proxy|SSL_CERT_FILE|CARGO_HTTP_CAINFO|CURL_CA_BUNDLE|GIT_SSL_CAINFO)$")

FIRST_RUN_SECONDS = 1800
AGAIN_SECONDS = 15
TEST_SECONDS = 2400
USER = 1000
# Of root, inside.
HOME = "/root"


def mirror():
    """The mirror of the machine's own apt, found as scripts/setup/debian.sh finds it."""
    script = "CACHE=; . scripts/setup/debian.sh; debian_mirror"
    found = subprocess.run(["bash", "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    if not found.stdout.strip():
        raise Failure("no Debian mirror in this machine's apt configuration: name one with ZCORE_DEBIAN_MIRROR")
    return found.stdout.strip()


def base():
    """A system as debootstrap leaves it; made once."""
    place = BARE / "base"
    if place.exists():
        return place
    if not shutil.which("debootstrap"):
        raise Failure("there is no debootstrap here: apt-get install debootstrap")
    new = BARE / "base.new"
    subprocess.run(["rm", "-rf", new], check=True)
    new.mkdir(parents=True)
    print(f"making a system of {RELEASE} ...", flush=True)
    with open(BARE / "debootstrap.log", "wb") as log:
        status = subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", f"--keyring={KEYRING}", RELEASE,
                                 new, mirror()], stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if status != 0:
        raise Failure(f"debootstrap ended with status {status}, see {log.name}")
    # Security updates, which the compiler of the distribution is in, and how the network is reached.
    suites = "".join(f"deb [signed-by={KEYRING}] {line}\n" for line in (
        f"{mirror()} {RELEASE} main", f"{mirror()} {RELEASE}-updates main",
        f"{re.sub('/debian/?$', '/debian-security', mirror())} {RELEASE}-security main"))
    (new / "etc/apt/sources.list").write_text(suites)
    acquire = subprocess.run("apt-config dump | grep '^Acquire::' | grep -v '^Acquire::IndexTargets' || true", shell=True,
                             capture_output=True, text=True, check=True).stdout
    (new / "etc/apt/apt.conf.d/50machine").write_text(acquire)
    for file in (CERTIFICATES, "/etc/resolv.conf", "/etc/hosts"):
        shutil.copyfile(file, new / file[1:])
    # The clone's source is a bind mount of another owner.
    (new / "etc/gitconfig").write_text("[safe]\n\tdirectory = *\n")
    new.rename(place)
    return place


class System:
    """A copy of the bare system."""

    def __init__(self, name, rustup):
        self.root = BARE / name
        remove(self.root)
        subprocess.run(["cp", "-a", "--reflink=auto", base(), self.root], check=True)
        self.path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        (self.root / "source").mkdir()
        if rustup:
            program = shutil.which("rustup")
            if not program:
                raise Failure("there is no rustup here to put into the system")
            programs = self.root / HOME[1:] / ".cargo/bin"
            programs.mkdir(parents=True)
            shutil.copy(os.path.realpath(program), programs / "rustup")
            for name in ("cargo", "rustc", "rustdoc", "rustfmt", "cargo-clippy", "cargo-fmt", "clippy-driver"):
                os.link(programs / "rustup", programs / name)
            self.path = f"{HOME}/.cargo/bin:{self.path}"

    def command(self, words, user=None, network=True):
        """The command that runs words inside, in namespaces that end with it."""
        environment = {"PATH": self.path, "HOME": HOME if user is None else "/home/user", "TERM": "dumb", "LANG": "C.UTF-8",
                       **{name: value for name, value in os.environ.items() if NETWORK_VARIABLES.match(name)}}
        mounts = ('mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && mount --bind "$1" "$0/source" && shift && '
                  'exec chroot "$0" "$@"')
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"]),
                "bash", "-c", mounts, self.root, source(),
                *([] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]),
                "env", "-i", *(f"{name}={value}" for name, value in environment.items()), "sh", "-c", words]

    def remove(self):
        """What is on disk; for a system that showed what it should."""
        remove(self.root)


def remove(tree):
    """A directory with everything in it; never across a mount."""
    subprocess.run(["rm", "-rf", "--one-file-system", tree], check=True)


def source():
    """A repository with the last commit, to clone from."""
    place = BARE / "project.git"
    remove(place)
    subprocess.run(["git", "clone", "-q", "--bare", "--no-local", PROJECT, place], check=True)
    return place


def prompts(name, rustup):
    """From nothing to a prompt, again, and again without a network; how long the first took."""
    system = System(name, rustup)
    first = measure.prompt(system.command("git clone -q /source $HOME/project && exec make -C $HOME/project run"), FIRST_RUN_SECONDS)
    print(f"clone and make run: prompt after {first:.0f} s", flush=True)
    for what, network in (("make run again", True), ("make run without a network", False)):
        again = measure.prompt(system.command("exec make -C $HOME/project run", network=network))
        print(f"{what}: prompt after {again:.1f} s", flush=True)
        if again > AGAIN_SECONDS:
            raise Failure(f"{what}: {again:.1f} s are more than {AGAIN_SECONDS} s")
    system.remove()
    return first


def tests():
    """The whole of `make test` from a clone; how long it took."""
    system = System("test", True)
    started = time.monotonic()
    command = system.command("git clone -q /source $HOME/project && exec make -C $HOME/project test")
    status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False, timeout=TEST_SECONDS).returncode
    if status != 0:
        raise Failure(f"make test ended with status {status}")
    system.remove()
    return time.monotonic() - started


def user():
    """Without root and sudo: a list and status 1, and nothing is changed."""
    system = System("user", False)
    home = system.root / "home/user"
    home.mkdir(parents=True)
    os.chown(home, USER, USER)
    command = system.command("git clone -q /source $HOME/project && exec make -C $HOME/project run", user=USER)
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=FIRST_RUN_SECONDS)
    said = result.stdout + result.stderr
    print(said, end="")
    # make's own status for a failed recipe is 2.
    if result.returncode == 0 or "Error 1" not in said:
        raise Failure(f"make run ended with status {result.returncode}, and its set-up not with 1")
    for package in ("python3", "gcc", "xz-utils", "rustc-web"):
        if not re.search(rf"Install as root:.* {package}\b", said):
            raise Failure(f"{package} is missing there and is not named")
    system.remove()


def _main():
    if os.geteuid() != 0:
        raise Failure("a system in a directory needs root")
    match sys.argv[1:]:
        case ["rustup" | "distribution" as name]:
            print(f"measured: {prompts(name, name == 'rustup'):.1f}")
        case ["test"]:
            print(f"measured: {tests():.1f}")
        case ["user"]:
            user()
        case _:
            raise Failure(__doc__)
    return 0


if __name__ == "__main__":
    main(_main)
