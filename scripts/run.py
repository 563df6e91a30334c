#!/usr/bin/env python3
"""Boots to a prompt and becomes QEMU (see qemu.py for the options): from a disk image, --image NAME, or from the
initial file system alone."""

import argparse
import os

import guest
import imagerecipe
import qemu
from environment import PROJECT, main

NO_IMAGE = "none"


def image_machine(machine, image, linux, drive_options=""):
    """Lets a machine boot from a disk image; its other drives come after that one."""
    machine.drives = [f"{guest.image(image)},format=raw{drive_options}", *machine.drives]
    if machine.initrd is None and linux:
        machine.initrd = guest.linux_boot()
    if "root=" not in machine.append:
        machine.append = f"root=/dev/vda ro init=/sbin/init {machine.append}".strip()
    return machine


def prepare(options):
    """The machine that the options describe, with the file system made that it boots from."""
    machine = qemu.machine_from(options)
    if options.image != NO_IMAGE:
        return image_machine(machine, options.image, options.linux)
    if machine.initrd is None:
        machine.initrd = guest.initramfs()
        if options.linux:
            machine.initrd = guest.for_linux(machine.initrd)
    if "rdinit=" not in machine.append:
        machine.append = f"rdinit=/init {machine.append}".strip()
    return machine


def add_image_argument(parser):
    """The option that says which image."""
    parser.add_argument("--image", choices=[NO_IMAGE, *imagerecipe.names()], default=NO_IMAGE, help="a disk image as the root")


def _main():
    parser = argparse.ArgumentParser(description="Boot to a prompt in QEMU.")
    qemu.add_arguments(parser)
    add_image_argument(parser)
    machine = prepare(parser.parse_args())
    os.chdir(PROJECT)
    qemu.interactive(machine)


if __name__ == "__main__":
    main(_main)
