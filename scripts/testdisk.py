"""The disks that tests of the disk driver inside the kernel run on.

Every 64-bit word of the image, little-endian, holds its own number; zcore/src/kernel_test/disk.rs knows that.
"""

import array
import itertools
import sys

import testtree
from environment import TARGET, Failure

IMAGE = TARGET / "test-disk.img"
IMAGE_BYTES = 16 << 20

# Blocks of 4 KiB that the disk "failing" cannot read; zcore/src/kernel_test/disk_faults.rs knows them, too.
BAD_BLOCKS = (3, 500, 2047)
BLOCK_SECTORS = 8

DRIVES = {
    "plain": "format=raw,read-only=on",
    "scratch": "format=raw,snapshot=on",
    "slow": "format=raw,snapshot=on,throttling.iops-total=400",
}


TREES = {"root": testtree.root, "ext4": testtree.ext4}


def image():
    """The image, made if it is not there."""
    if not IMAGE.exists() or IMAGE.stat().st_size != IMAGE_BYTES:
        words = array.array("Q", range(IMAGE_BYTES // 8))
        if sys.byteorder == "big":
            words.byteswap()
        IMAGE.parent.mkdir(parents=True, exist_ok=True)
        unfinished = IMAGE.with_suffix(".part")
        unfinished.write_bytes(words.tobytes())
        unfinished.rename(IMAGE)
    return IMAGE


def options(kind):
    """The fields of qemu.Machine that attach a disk, as pairs.

    root, ext4: filesystems, see testtree.py; what is written to them is thrown away;
    plain: can only be read; scratch: what is written is thrown away; slow: the same, 400 requests a
    second; failing: QEMU fails reads of BAD_BLOCKS, each request by itself.
    """
    if kind in TREES:
        return (("drives", [f"{TREES[kind]()},format=raw,snapshot=on"]),)
    if kind in DRIVES:
        return (("drives", [f"{image()},{DRIVES[kind]}"]),)
    if kind != "failing":
        raise Failure(f"no such kind of disk: {kind}")
    rules = [f"file.inject-error.{number}.event=read_aio,file.inject-error.{number}.errno=5,"
             f"file.inject-error.{number}.sector={block * BLOCK_SECTORS + sector}"
             for number, (block, sector) in enumerate(itertools.product(BAD_BLOCKS, range(BLOCK_SECTORS)))]
    drive = ("if=none,id=failing,read-only=on,driver=raw,file.driver=blkdebug,file.image.driver=file,"
             f"file.image.filename={image()}," + ",".join(rules))
    return (("extra", ["-drive", drive, "-device", "virtio-blk-device,drive=failing,request-merging=off"]),)
