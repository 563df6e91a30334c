"""Disk images with an ext4 filesystem for boot tests: made on the fly by mke2fs, without root and without mounting.

    root    the boot file system with the guest tests: what `root=/dev/vda` starts from
    ext4    what rootfs/tests/ext4.c expects to find
"""

import array
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile

import guest
import mkinitramfs
from environment import PROJECT, TARGET, Failure, is_stale

WORDS = 3_000_000 // 4
ENTRIES = 1000


def _tool(name):
    """Debian keeps mke2fs where only root's PATH leads."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise Failure(f"there is no {name}: run scripts/setup.sh host")
    return found


def _make(image, folder, kib):
    unfinished = image.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    outcome = subprocess.run(
        [_tool("mke2fs"), "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "metadata_csum_seed,orphan_file", "-E",
         "root_owner=0:0", "-d", str(folder), str(unfinished), f"{kib}k"], capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        raise Failure(f"{image.name} cannot be made: {outcome.stderr}")
    unfinished.rename(image)
    return image


def root():
    """The boot file system with the guest tests, as a disk."""
    guest.tests_initramfs()
    archive = TARGET / "initramfs-tests.cpio.gz"
    image = TARGET / "test-root.ext4"
    if not is_stale(image, archive, pathlib.Path(__file__)):
        return image
    tree = mkinitramfs.Tree()
    for recipe in (PROJECT / "rootfs/initramfs", guest.SOURCES):
        mkinitramfs.read_recipe(tree, recipe)
    with tempfile.TemporaryDirectory() as folder:
        for name, entry in sorted(tree.entries.items()):
            path = pathlib.Path(folder) / name
            if stat.S_ISDIR(entry.mode):
                path.mkdir()
            elif stat.S_ISLNK(entry.mode):
                path.symlink_to(entry.data.decode())
            elif stat.S_ISREG(entry.mode):
                path.write_bytes(entry.data)
            else:
                continue  # device nodes: the kernel mounts its own over /dev
            if not stat.S_ISLNK(entry.mode):
                path.chmod(stat.S_IMODE(entry.mode))
        return _make(image, folder, 64 << 10)


def ext4():
    """Files of every kind with contents that are known."""
    image = TARGET / "test-files.ext4"
    if not is_stale(image, pathlib.Path(__file__)):
        return image
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "small").write_bytes(b"hello\n")
        (folder / "small").chmod(0o640)
        words = array.array("I", range(WORDS))
        if sys.byteorder == "big":
            words.byteswap()
        (folder / "large").write_bytes(words.tobytes())
        with (folder / "sparse").open("wb") as sparse:
            sparse.seek(1 << 20)
            sparse.write(b"behind a hole")
            sparse.truncate((8 << 20) + 5)
        (folder / "short-link").symlink_to("small")
        (folder / "long-link").symlink_to("x/../" * 30 + "small")
        (folder / "x").mkdir()
        (folder / "many").mkdir()
        for number in range(ENTRIES):
            (folder / "many" / f"entry-{number}").write_bytes(str(number).encode())
        shutil.copy(guest.CACHE / "guest/usr/bin/busybox", folder / "busybox")
        (folder / "busybox").chmod(0o755)
        for path in folder.rglob("*"):
            os.utime(path, (1_700_000_000, 1_600_000_000), follow_symlinks=False)
        return _make(image, folder, 24 << 10)
