#!/usr/bin/env python3
"""Builds the kernel: target/Image to boot, target/zcore.elf with its symbols, target/symbols.bin.

    build.py [--features LIST]

The profile is always `release`: it keeps line tables, and an unoptimised kernel measures nothing.
"""

import argparse
import shutil
import subprocess

import elf
import mkimage
import mksymbols
from environment import PROJECT, TARGET, TRIPLE, Failure, cargo_environment, main, setup

PACKAGE = "zcore"


def build(features=""):
    """Builds and returns the image's path."""
    command = ["cargo", "build", "--locked", "--release", "--package", PACKAGE, "--target", TRIPLE,
               "--target-dir", str(TARGET)]
    if features:
        command += ["--features", features]
    if subprocess.run(command, cwd=PROJECT, env=cargo_environment(), check=False).returncode != 0:
        raise Failure("the kernel does not build")
    program = TARGET / TRIPLE / "release" / PACKAGE
    kernel = elf.Elf(program)
    symbols = mksymbols.table(kernel)
    image = mkimage.make(kernel, symbols)
    _write_if_changed(TARGET / "symbols.bin", symbols)
    _write_if_changed(TARGET / "Image", image)
    shutil.copyfile(program, TARGET / "zcore.elf")
    return TARGET / "Image"


def _write_if_changed(path, data):
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)


def _main():
    parser = argparse.ArgumentParser(description="Build the kernel.")
    parser.add_argument("--features", default="", help="cargo features of the image crate")
    options = parser.parse_args()
    setup("host", "rust")
    image = build(options.features)
    print(f"{image.relative_to(PROJECT)}: {image.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(_main)
