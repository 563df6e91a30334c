#!/usr/bin/env python3
"""Makes what runs inside the machine: guest test programs and the initial file systems.

    guest.py initramfs    target/initramfs.cpio.gz: what `make run` boots
    guest.py tests        target/initramfs-tests.cpio.gz: the same with the guest tests
    guest.py modules      target/linux-modules.cpio.gz: drivers that Debian's Linux has as modules;
                          appended to either of the above when Linux boots
    guest.py linux-boot   target/linux-boot.cpio.gz: those modules, and a script that goes on with a disk
    guest.py small|full   target/images/NAME.ext4: a disk image of rootfs/images/ with the guest tests
"""

import argparse
import concurrent.futures
import functools
import lzma
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile

import imagerecipe
import mkinitramfs
from environment import CACHE, PROJECT, TARGET, Failure, is_stale, main

COMPILER = "riscv64-linux-gnu-gcc"
FLAGS = ["-std=gnu11", "-O2", "-s", "-Wall", "-Wextra", "-Werror", "-pthread",
         # Tests hand the kernel bad pointers and pass over results on purpose.
         "-Wno-nonnull", "-Wno-stringop-overflow", "-Wno-stringop-overread", "-Wno-unused-result"]
STATIC = ["-static"]
DYNAMIC = ["-pie", "-static-libgcc"]
SOURCES = PROJECT / "rootfs" / "tests"
CHECKS = PROJECT / "rootfs" / "images" / "checks"
BENCHMARKS = PROJECT / "rootfs" / "images" / "benchmarks"
PROGRAMS = TARGET / "guest"
HELPERS = PROGRAMS / "helpers"
CROSS_LIBRARIES = pathlib.Path("/usr/riscv64-linux-gnu/lib")
LIBRARIES = TARGET / "guest-libraries"
LINUX_MODULES = ["virtio_mmio", "virtio_blk", "virtio_net", "virtio-rng", "crc32c_generic", "ext4"]


def linking(source):
    """What is measured is linked statically, so that nothing but itself counts; tests share the C library, since every
    test boots with all of them in memory."""
    return STATIC if '#include "mark.h"' in source.read_text() else DYNAMIC


def compile_programs():
    """Compiles what changed of rootfs/tests, and removes what has no source any more.

    *.c and long/*.c become target/guest/NAME; the programs that they start, helpers/*.c, become target/guest/helpers/NAME and,
    linked to the C library at run time, NAME-dynamic beside it."""
    HELPERS.mkdir(parents=True, exist_ok=True)
    headers = list(SOURCES.glob("*.h"))
    sources = sorted([*SOURCES.glob("*.c"), *SOURCES.glob("long/*.c")])
    products = {PROGRAMS / source.stem: (source, linking(source)) for source in sources}
    for source in sorted(SOURCES.glob("helpers/*.c")):
        products[HELPERS / source.stem] = source, STATIC
        products[HELPERS / f"{source.stem}-dynamic"] = source, DYNAMIC
    for program in [*PROGRAMS.iterdir(), *HELPERS.iterdir()]:
        if program.is_file() and program not in products:
            program.unlink()

    def compile_one(product):
        program, (source, linking) = product
        if is_stale(program, source, *headers):
            outcome = subprocess.run([COMPILER, *FLAGS, *linking, "-o", str(program), str(source)],
                                     capture_output=True, text=True, check=False)
            if outcome.returncode != 0:
                program.unlink(missing_ok=True)
                return outcome.stderr
        return ""

    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        errors = "".join(pool.map(compile_one, products.items()))
    if errors:
        raise Failure(f"guest programs do not compile:\n{errors}")
    copy_libraries()


def copy_libraries():
    """The C library of the cross compiler, which programs find under /lib."""
    LIBRARIES.mkdir(parents=True, exist_ok=True)
    for name in ("ld-linux-riscv64-lp64d.so.1", "libc.so.6", "libgcc_s.so.1"):
        copy, original = LIBRARIES / name, CROSS_LIBRARIES / name
        if is_stale(copy, original):
            shutil.copyfile(original, copy)


def initramfs():
    """The file system that `make run` boots."""
    return mkinitramfs.write([PROJECT / "rootfs/initramfs"], TARGET / "initramfs.cpio.gz")


def tests_initramfs():
    """The same with guest tests under /tests."""
    compile_programs()
    return mkinitramfs.write([PROJECT / "rootfs/initramfs", SOURCES], TARGET / "initramfs-tests.cpio.gz")


def modules_initramfs():
    """The modules that Debian's Linux needs for QEMU's virtio devices, in the order of loading."""
    found = sorted((CACHE / "linux/usr/lib/modules").glob("*"))
    if not found:
        raise Failure("Debian's Linux is not set up: run scripts/setup.sh linux")
    folder = found[0]
    files = {path.name.removesuffix(".ko.xz"): path for path in folder.rglob("*.ko.xz")}
    tree = mkinitramfs.Tree()
    for path in ("/lib", "/lib/modules", "/lib/modules/boot"):
        tree.add(path, mkinitramfs.Entry(stat.S_IFDIR | 0o755))
    order = []
    for name in LINUX_MODULES:
        _add_with_dependencies(name, files, order)
    for number, name in enumerate(order):
        data = lzma.decompress(files[name].read_bytes())
        tree.add(f"/lib/modules/boot/{number:02}-{name}.ko", mkinitramfs.Entry(stat.S_IFREG | 0o644, data))
    return mkinitramfs.write_archive(tree, TARGET / "linux-modules.cpio.gz")


def _add_with_dependencies(name, files, order):
    """Depth first over the `depends=` field that each module carries."""
    if name in order:
        return
    if name not in files:
        raise Failure(f"Debian's Linux has no module {name}")
    data = lzma.decompress(files[name].read_bytes())
    for field in data.split(b"\0"):
        if field.startswith(b"depends="):
            for needed in filter(None, field.removeprefix(b"depends=").decode().split(",")):
                # A module's file may be named with a dash where the field has an underscore.
                _add_with_dependencies(needed if needed in files else needed.replace("_", "-"), files, order)
    order.append(name)


def for_linux(archive):
    """An archive with the modules appended, which is what Linux accepts as one."""
    modules = modules_initramfs()
    together = TARGET / f"linux-{archive.name}"
    data = archive.read_bytes() + modules.read_bytes()
    if not together.exists() or together.read_bytes() != data:
        together.write_bytes(data)
    return together


def linux_boot():
    """What Debian's Linux needs before it can mount a disk."""
    return for_linux(mkinitramfs.write([PROJECT / "rootfs/linux-boot"], TARGET / "linux-boot.cpio.gz"))


def image(name):
    """A copy of the disk image with the checks of imagetest.py, the benchmarks of count.py and, where there is a
    compiler for them, guest tests under /tests.

    The copy is this tree's own and can be written to; it is made again when the image or a test changes.
    """
    original = CACHE / "images" / f"{name}.ext4"
    if not original.exists():
        raise Failure(f"the image {name} is not built: run make image-{name}")
    copy = TARGET / "images" / original.name
    tree = mkinitramfs.Tree()
    for folder in (CHECKS, BENCHMARKS):
        tree.add(f"/tests/{folder.name}", mkinitramfs.Entry(stat.S_IFDIR | 0o755))
        for script in folder.glob("*.sh"):
            tree.add_file(f"/tests/{folder.name}/{script.name}", 0o755, script)
    if shutil.which(COMPILER):
        compile_programs()
        mkinitramfs.read_recipe(tree, SOURCES)
    changed = [path for folder in (SOURCES, CHECKS, BENCHMARKS) for path in folder.rglob("*") if path.is_file()]
    if is_stale(copy, original, *changed):
        copy.parent.mkdir(parents=True, exist_ok=True)
        unfinished = copy.with_suffix(f".{os.getpid()}")
        subprocess.run(["cp", "--sparse=always", str(original), str(unfinished)], check=True)
        _add_tests(unfinished, tree)
        unfinished.rename(copy)
    return copy


def _add_tests(disk, tree):
    """Adds what a tree has below /tests, owned by root; the libraries there are the image's own."""
    with tempfile.TemporaryDirectory() as folder:
        lines = []
        for number, (path, entry) in enumerate(sorted(tree.entries.items())):
            if not path.startswith("tests/"):
                continue
            if stat.S_ISDIR(entry.mode):
                lines.append(f"mkdir /{path}")
            elif stat.S_ISREG(entry.mode):
                (pathlib.Path(folder) / str(number)).write_bytes(entry.data)
                lines.append(f"write {folder}/{number} /{path}")
            else:
                raise Failure(f"/{path} of the guest tests is neither a file nor a directory")
            lines += [f"set_inode_field /{path} {field} {value}"
                      for field, value in (("mode", f"0{entry.mode:o}"), ("uid", 0), ("gid", 0))]
        outcome = subprocess.run([str(CACHE / "e2fsprogs/debugfs"), "-w", "-f", "-", str(disk)], capture_output=True,
                                 input="".join(f"{line}\n" for line in lines), text=True, check=False)
    # debugfs ends with 0 whatever its commands do, and says on standard error what went wrong.
    complaints = [line for line in outcome.stderr.splitlines() if not line.startswith("debugfs 1.")]
    if outcome.returncode != 0 or complaints:
        raise Failure("guest tests cannot be added to the image:\n" + "\n".join(complaints))


def _main():
    parser = argparse.ArgumentParser(description="Make what runs inside the machine.")
    products = {"initramfs": initramfs, "tests": tests_initramfs, "modules": modules_initramfs, "linux-boot": linux_boot}
    products |= {name: functools.partial(image, name) for name in imagerecipe.names()}
    parser.add_argument("what", choices=list(products))
    options = parser.parse_args()
    product: pathlib.Path = products[options.what]()
    print(f"{product.relative_to(PROJECT)}: {product.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(_main)
