#!/usr/bin/env python3
"""Builds the kernel: target/Image to boot, target/zcore.elf with its symbols, target/symbols.bin.

    build.py [--debug] [--features LIST]

The profile is `release`: it keeps line tables, and an unoptimised kernel measures nothing. With --debug it is `checked`,
which has debug assertions and overflow checks, and the products are in target/debug-kernel/.
"""

import argparse
import shutil
import subprocess

import elf
import mkimage
import mksymbols
from environment import PROJECT, TARGET, TRIPLE, Failure, cargo_environment, main, setup

PACKAGE = "zcore"
DEBUG_PRODUCTS = TARGET / "debug-kernel"


def build(features="", debug=False):
    """Builds and returns the image's path."""
    profile, products = ("checked", DEBUG_PRODUCTS) if debug else ("release", TARGET)
    command = ["cargo", "build", "--locked", "--profile", profile, "--package", PACKAGE, "--target", TRIPLE,
               "--target-dir", str(TARGET)]
    if features:
        command += ["--features", features]
    if subprocess.run(command, cwd=PROJECT, env=cargo_environment(), check=False).returncode != 0:
        raise Failure("the kernel does not build")
    program = TARGET / TRIPLE / profile / PACKAGE
    kernel = elf.Elf(program)
    symbols = mksymbols.table(kernel)
    image = mkimage.make(kernel, symbols)
    products.mkdir(parents=True, exist_ok=True)
    _write_if_changed(products / "symbols.bin", symbols)
    _write_if_changed(products / "Image", image)
    shutil.copyfile(program, products / "zcore.elf")
    return products / "Image"


def _write_if_changed(path, data):
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)


def _main():
    parser = argparse.ArgumentParser(description="Build the kernel.")
    parser.add_argument("--features", default="", help="cargo features of the image crate")
    parser.add_argument("--debug", action="store_true", help="with debug assertions and overflow checks")
    options = parser.parse_args()
    setup("host", "rust")
    image = build(options.features, options.debug)
    print(f"{image.relative_to(PROJECT)}: {image.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(_main)
