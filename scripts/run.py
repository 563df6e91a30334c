#!/usr/bin/env python3
"""Boots to a prompt: makes the initial file system and becomes QEMU (see qemu.py for the options)."""

import argparse
import os

import guest
import qemu
from environment import PROJECT, main


def prepare(options):
    """The machine that the options describe, with the initial file system made."""
    machine = qemu.machine_from(options)
    if machine.initrd is None:
        machine.initrd = guest.initramfs()
        if options.linux:
            machine.initrd = guest.for_linux(machine.initrd)
    if "rdinit=" not in machine.append:
        machine.append = f"rdinit=/init {machine.append}".strip()
    return machine


def _main():
    parser = argparse.ArgumentParser(description="Boot to a prompt in QEMU.")
    qemu.add_arguments(parser)
    machine = prepare(parser.parse_args())
    os.chdir(PROJECT)
    qemu.interactive(machine)


if __name__ == "__main__":
    main(_main)
