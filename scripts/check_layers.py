#!/usr/bin/env python3
"""Checks the rules that hold the house's walls up, as far as `cargo metadata` and a look at each
crate's root can tell:

* dependencies point down: a crate uses only crates below it in LAYERS;
* only the hardware layer depends on crates that know the processor or its firmware;
* a crate that is not meant to contain `unsafe` forbids it.
"""

import json
import pathlib
import subprocess

from environment import PROJECT, Failure, cargo_environment, main

# Top to bottom. A crate may use any crate below it, none above.
LAYERS = [
    "zcore",
    "linux-syscall",
    "async-syscall",
    "linux-object",
    "net",
    "rcore-fs",
    "zcore-drivers",
    "kernel-object",
    "executor",
    "ksync",
    "kernel-hal",
    "linux-abi",
    "vdso",
]

# Crates from elsewhere that know the processor or its firmware, and who may use them.
MACHINE_CRATES = {"riscv", "sbi-rt", "sbi-spec"}
KNOWS_THE_MACHINE = {"kernel-hal"}

MAY_CONTAIN_UNSAFE = {"kernel-hal", "ksync", "executor", "kernel-object", "zcore-drivers", "vdso", "zcore"}


def workspace_packages():
    """The packages of the workspace, from cargo."""
    outcome = subprocess.run(["cargo", "metadata", "--format-version=1", "--no-deps", "--locked"], cwd=PROJECT,
                             env=cargo_environment(), capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        raise Failure(f"cargo metadata: {outcome.stderr.strip()}")
    return json.loads(outcome.stdout)["packages"]


def violations(packages):
    """One sentence per broken rule."""
    rank = {name: index for index, name in enumerate(LAYERS)}
    names = {package["name"] for package in packages}
    for package in packages:
        name = package["name"]
        if name not in rank:
            yield f"{name} has no place in LAYERS (scripts/check_layers.py)"
            continue
        for dependency in package["dependencies"]:
            other = dependency["name"]
            if other in names and other in rank and rank[other] <= rank[name]:
                yield f"{name} depends on {other}, which is not below it"
            if other in MACHINE_CRATES and name not in KNOWS_THE_MACHINE:
                yield f"{name} depends on {other}: only {', '.join(sorted(KNOWS_THE_MACHINE))} may know the machine"
        if name not in MAY_CONTAIN_UNSAFE:
            for target in package["targets"]:
                if {"lib", "bin"} & set(target["kind"]) and not _forbids_unsafe(target["src_path"]):
                    yield f"{target['src_path']} lacks #![forbid(unsafe_code)]"


def _forbids_unsafe(path):
    return "#![forbid(unsafe_code)]" in pathlib.Path(path).read_text()


def _main():
    found = list(violations(workspace_packages()))
    for violation in found:
        print(violation.replace(f"{PROJECT}/", ""))
    return 1 if found else 0


if __name__ == "__main__":
    main(_main)
