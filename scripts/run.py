#!/usr/bin/env python3
"""Boots to a prompt and becomes QEMU (see qemu.py for the options): from a disk image, --image NAME, or from the
initial file system alone."""

import argparse
import os
import socket

import guest
import imagerecipe
import qemu
from environment import PROJECT, main

NO_IMAGE = "none"
# Ports of the host that lead into the machine: Redis' own, and one for web servers.
FORWARDED_PORTS = (6379, 8080)


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


def _is_free(port):
    with socket.socket() as listener:
        # As QEMU does: what is left of old connections does not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def add_network(machine):
    """A card in QEMU's user network, where nothing needs to be root; the machine asks it for its address."""
    forwards = []
    for port in FORWARDED_PORTS:
        if _is_free(port):
            forwards.append(f"hostfwd=tcp:127.0.0.1:{port}-:{port}")
        else:
            print(f"port {port} of this host is taken: it does not lead into the machine")
    machine.network = ",".join(["user", *forwards])
    if "ip=" not in machine.append:
        machine.append = f"ip=dhcp {machine.append}"


def _main():
    parser = argparse.ArgumentParser(description="Boot to a prompt in QEMU.")
    qemu.add_arguments(parser)
    add_image_argument(parser)
    machine = prepare(parser.parse_args())
    if not machine.network:
        add_network(machine)
    os.chdir(PROJECT)
    qemu.interactive(machine)


if __name__ == "__main__":
    main(_main)
