#!/usr/bin/env python3
"""Everything that must pass, from cheap to dear; what `make test` runs after set-up.

    test.py [--only GROUP-OR-STEP ...] [--list]

Each step is a command with a time limit. Its output goes to target/log/<step>.log and is shown if it
fails. The last line is `N passed, N failed`, which counts the tests that a step reports (cargo's,
unittest's and our own summaries are understood) or the step itself if it reports none.

To add a step, add a line to STEPS. A step about packages runs for those of them that the workspace
has. The whole run has a limit too, so that it cannot outgrow its place in CI: what does not start in
time fails.
"""

import argparse
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import check_layers
from environment import PROJECT, TARGET, TRIPLE, Failure, cargo_environment, main

WHOLE_LIMIT_SECONDS = 36 * 60
SHOWN_LINES = 80
IMAGE = "zcore"

# Crates whose tests run under Miri: those with unsafe code or atomics that the host can execute.
MIRI_PACKAGES = ["ksync", "executor", "kernel-object"]

PASSED = [re.compile(rb"^test result: \S+ (\d+) passed; (\d+) failed", re.M),
          re.compile(rb"^(\d+) passed, (\d+) failed$", re.M)]
UNITTEST = re.compile(rb"^Ran (\d+) tests? in", re.M)
UNITTEST_FAILED = re.compile(rb"^FAILED \(.*?(\d+)(?:.*?(\d+))?\)$", re.M)


@dataclasses.dataclass
class Step:
    """A command that must succeed."""

    name: str
    group: str
    command: list
    environment: dict = dataclasses.field(default_factory=dict)
    limit_seconds: int = 600
    skip_because: str = ""  # not run, with this reason


@dataclasses.dataclass
class Outcome:
    """How many tests of a step passed and failed."""

    passed: int
    failed: int


def packages_with(metadata, names=None, dependency=None):
    """-p NAME for each package of the workspace that is named, or that depends on something."""
    arguments = []
    for package in metadata:
        depends = any(entry["name"] == dependency for entry in package["dependencies"])
        if package["name"] in (names or ()) or (dependency and depends):
            arguments += ["-p", package["name"]]
    return arguments


def miri_toolchain():
    """The arguments by which cargo finds a nightly with Miri; None if there is none on this machine."""
    probe = subprocess.run(["cargo", "+nightly", "miri", "--version"], capture_output=True, check=False,
                           env=cargo_environment(RUSTUP_AUTO_INSTALL="0"))
    return ["cargo", "+nightly", "miri"] if probe.returncode == 0 else None


def steps():
    """The list, in order."""
    metadata = check_layers.workspace_packages()
    has_image = any(package["name"] == IMAGE for package in metadata)
    loom = packages_with(metadata, dependency="loom")
    miri = packages_with(metadata, names=MIRI_PACKAGES)
    shell = [str(path.relative_to(PROJECT)) for path in
             [*PROJECT.glob("scripts/**/*.sh"), PROJECT / "scripts/cargo", *PROJECT.glob("rootfs/**/*.sh"),
              *PROJECT.glob("rootfs/**/init"), PROJECT / ".ci/run"]]
    python = [str(path.relative_to(PROJECT)) for path in sorted(PROJECT.glob("scripts/**/*.py"))]

    found = [
        Step("format", "lint", ["cargo", "fmt", "--all", "--check"]),
        Step("layers", "lint", ["scripts/check_layers.py"]),
        Step("claims", "lint", ["scripts/check_docs.py"]),
        Step("shell-scripts", "lint", ["shellcheck", "-x", *shell]),
        Step("python-scripts", "lint", ["python3", "-W", "error", "-m", "py_compile", *python],
             {"PYTHONPYCACHEPREFIX": str(TARGET / "pycache")}),
        Step("clippy-host", "lint", ["cargo", "clippy", "--locked", "--all-targets", "--", "-D", "warnings"]),
        Step("clippy-target", "lint", ["cargo", "clippy", "--locked", "--release", "--workspace", "--target", TRIPLE,
                                       "--", "-D", "warnings"]),
        # Private items are documented as well, so that links to them are no mistake.
        Step("documentation", "lint", ["cargo", "doc", "--locked", "--no-deps", "--document-private-items"],
             {"RUSTDOCFLAGS": "-D warnings -A rustdoc::private-intra-doc-links"}),
        Step("script-tests", "host", ["python3", "-m", "unittest", "discover", "-s", "scripts/tests", "-t", "scripts"],
             {"PYTHONPYCACHEPREFIX": str(TARGET / "pycache")}),
        Step("unit-tests", "host", ["cargo", "test", "--locked"], limit_seconds=900),
    ]
    # Models are tests/loom.rs of a package, or are named so among its unit tests.
    models = [name for name in loom[1::2] if (PROJECT / name / "tests" / "loom.rs").exists()]
    for step, names, which in [("loom", models, ["--test", "loom"]),
                               ("loom-units", [name for name in loom[1::2] if name not in models], ["--lib", "loom"])]:
        if names:
            packages = [word for name in names for word in ("-p", name)]
            found.append(Step(step, "host", ["cargo", "test", "--locked", "--release", *packages, *which],
                              {"RUSTFLAGS": "--cfg loom", "CARGO_TARGET_DIR": str(TARGET / "loom")}, 600))
    if miri:
        program = miri_toolchain()
        found.append(Step("miri", "host", [*(program or []), "test", "--locked", *miri, "--lib"],
                          {"CARGO_TARGET_DIR": str(TARGET / "miri"), "MIRIFLAGS": "-Zmiri-strict-provenance"}, 600,
                          "" if program else "this machine has no nightly toolchain with Miri (scripts/setup.sh miri)"))
    found.append(Step("boot-linux", "boot", ["scripts/boottest.py", "--linux", "--harts", "1"]))
    found.append(Step("image-linux", "boot", ["scripts/imagetest.py", "--linux", "--image", "small"]))
    if has_image:
        found += [
            Step("build", "boot", ["scripts/build.py"], limit_seconds=900),
            Step("boot", "boot", ["scripts/boottest.py", "--harts", "1,2,4", "--kind", "cases"]),
            # With two harts as well they run for `make acceptance`.
            Step("boot-guest", "boot", ["scripts/boottest.py", "--harts", "1,4", "--kind", "guest"]),
            Step("image", "boot", ["scripts/imagetest.py", "--image", "small"]),
            Step("busybox-suite", "boot", ["scripts/busybox_suite.py", "--sample", "--harts", "1"]),
            Step("liburing-suite", "boot", ["scripts/liburing_suite.py", "--sample"]),
            Step("debugger", "boot", ["scripts/gdbtest.py"], limit_seconds=300,
                 skip_because="" if shutil.which("gdb-multiarch") else "there is no gdb (scripts/setup.sh debug)"),
            Step("boot-kernel", "boot", ["scripts/boottest.py", "--harts", "1,2,4", "--kind", "kernel"]),
        ]
    return found


def count(output, success):
    """The tests that a step's output reports, or the step itself as one."""
    passed = failed = 0
    reports = [match for pattern in PASSED for match in pattern.finditer(output)]
    for match in reports:
        passed += int(match[1])
        failed += int(match[2])
    ran = sum(int(match[1]) for match in UNITTEST.finditer(output))
    broken = sum(int(group) for match in UNITTEST_FAILED.finditer(output) for group in match.groups() if group)
    passed += ran - broken
    failed += broken
    if success and not failed:
        # Who reports tests and has run none was asked for the wrong ones.
        return Outcome(max(passed, 1), 0) if passed or not reports else Outcome(0, 1)
    # A step that fails without a failed test (it does not compile, it hangs) is one failure.
    return Outcome(passed, max(failed, 1))


def run(step, limit_seconds):
    """Runs one step; its output is in its log."""
    log = TARGET / "log" / f"{step.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        # A group of its own, so that at the limit everything it started ends with it.
        process = subprocess.Popen(step.command, cwd=PROJECT, env=cargo_environment(TERM="dumb", **step.environment),
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            status = process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
            output.write(f"\nended by its limit of {limit_seconds:.0f} seconds\n".encode())
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    text = log.read_bytes()
    outcome = count(text, status == 0)
    if outcome.failed:
        print("failed", flush=True)
        lines = text.decode(errors="replace").splitlines()
        hidden = len(lines) - SHOWN_LINES
        if hidden > 0:
            print(f"  | ({hidden} more lines in {log.relative_to(PROJECT)})")
        print("\n".join(f"  | {line}" for line in lines[-SHOWN_LINES:]), flush=True)
    return outcome


def run_all(chosen):
    """Runs the steps; returns the sums and the names of those that failed."""
    started = time.monotonic()
    total = Outcome(0, 0)
    failures = []
    for number, step in enumerate(chosen, start=1):
        print(f"[{number:2}/{len(chosen)}] {step.name:<16} ", end="", flush=True)
        remaining = WHOLE_LIMIT_SECONDS - (time.monotonic() - started)
        if step.skip_because:
            print(f"skipped: {step.skip_because}", flush=True)
            continue
        if remaining <= 0:
            print(f"failed: the whole run's limit of {WHOLE_LIMIT_SECONDS // 60} minutes is over", flush=True)
            outcome = Outcome(0, 1)
        else:
            began = time.monotonic()
            outcome = run(step, min(step.limit_seconds, remaining))
            if not outcome.failed:
                print(f"ok {time.monotonic() - began:7.1f} s  {outcome.passed:5} passed", flush=True)
        total.passed += outcome.passed
        total.failed += outcome.failed
        if outcome.failed:
            failures.append(step.name)
    return total, failures


def _main():
    parser = argparse.ArgumentParser(description="Run everything that must pass.")
    parser.add_argument("--only", action="append", default=[], metavar="GROUP-OR-STEP",
                        help="a step, or one of the groups lint, host, boot; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the steps and do nothing")
    options = parser.parse_args()
    available = steps()
    unknown = set(options.only) - {step.name for step in available} - {step.group for step in available}
    if unknown:
        raise Failure(f"no such step or group: {', '.join(sorted(unknown))}")
    chosen = [step for step in available if not options.only or {step.name, step.group} & set(options.only)]
    if options.list:
        for step in chosen:
            print(f"{step.group:<5} {step.name:<16} {' '.join(step.command)[:100]}")
        return 0
    sys.stdout.reconfigure(line_buffering=True)
    total, failures = run_all(chosen)
    if failures:
        print(f"failed: {', '.join(failures)}")
    print(f"{total.passed} passed, {total.failed} failed")
    return 1 if total.failed else 0


if __name__ == "__main__":
    main(_main)
