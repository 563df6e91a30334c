#!/usr/bin/env python3
"""Builds the disk images: ext4 file systems of Debian riscv64 packages, as rootfs/images/ describes them.

    mkrootfs.py packages NAME     the packages that the recipe asks for
    mkrootfs.py build NAME        .cache/images/NAME.ext4 and NAME.manifest from packages that were fetched

`make image-NAME` (scripts/setup/images.sh) fetches the packages, then runs `build`. The packages' trees
go one after the other through a tar stream into mke2fs, so nothing is unpacked on this machine, nothing
is mounted and nobody has to be root. No program of a package runs: what its maintainer scripts would have
done, as far as it is missed, the recipe says. The same packages and recipe give the same image, byte by
byte; the manifest names the packages with their versions and hashes.
"""

import argparse
import dataclasses
import fnmatch
import hashlib
import io
import os
import pathlib
import posixpath
import subprocess
import tarfile
import time
import uuid

import imagerecipe
from environment import CACHE, PROJECT, Failure, main

IMAGES = CACHE / "images"
PACKAGES = IMAGES / "packages"
TOOLS = CACHE / "e2fsprogs"

# Where a merged /usr has what older paths name.
MERGED = ("/bin", "/sbin", "/lib", "/lib64")
PASSWD_MASTER = "/usr/share/base-passwd/passwd.master"
GROUP_MASTER = "/usr/share/base-passwd/group.master"


@dataclasses.dataclass(frozen=True)
class Package:
    """A package to put into the image."""

    name: str
    version: str
    architecture: str
    file: pathlib.Path


def package_list(name):
    """What apt resolved, in the order of installation."""
    listed = IMAGES / f"{name}.packages"
    if not listed.exists():
        raise Failure(f"the packages of {name} are not fetched: run make image-{name}")
    words = [line.split() for line in listed.read_text().splitlines() if not line.startswith("#")]
    return [Package(package, version, architecture, PACKAGES / file) for package, version, architecture, file in words]


def merged(path):
    """A path with the directories that are links into /usr resolved."""
    for prefix in MERGED:
        if path.startswith(prefix + "/"):
            return "/usr" + path
    return path


class Accounts:
    """/etc/passwd and /etc/group: Debian's own lists and what the recipe adds."""

    def __init__(self, passwd, group, recipe):
        self.group_lines = group.decode().splitlines() + [f"{name}:x:{number}:" for name, number in recipe.groups.items()]
        self.groups = {line.split(":")[0]: int(line.split(":")[2]) for line in self.group_lines}
        self.passwd_lines = passwd.decode().splitlines()
        for name, (number, group_name, home, shell) in recipe.users.items():
            self.passwd_lines.append(f"{name}:*:{number}:{self.group(group_name)}:{name}:{home}:{shell}")
        self.users = {line.split(":")[0]: int(line.split(":")[2]) for line in self.passwd_lines}

    def user(self, name):
        return self._number(self.users, name)

    def group(self, name):
        return self._number(self.groups, name)

    @staticmethod
    def _number(numbers, name):
        if name not in numbers:
            raise Failure(f"the recipe names {name}, which is no user or group of the image")
        return numbers[name]


class Builder:
    """Writes the archive that becomes the file system."""

    def __init__(self, recipe, packages, made_at, output):
        self.recipe = recipe
        self.made_at = made_at
        self.packages = packages
        self.archive = tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT)
        self.paths = {}  # path -> kind: d for a directory, - for anything else
        self.kept = {}  # contents that the recipe copies
        self.wanted = [made.target for made in recipe.made.values() if made.kind == "copy"]
        passwd, group = (self._one_file("base-passwd", path) for path in (PASSWD_MASTER, GROUP_MASTER))
        self.accounts = Accounts(passwd, group, recipe)

    def _one_file(self, name, path):
        for package in self.packages:
            if package.name == name:
                with open_package(package) as tree:
                    for member in tree:
                        if merged(absolute(member.name)) == path:
                            return tree.extractfile(member).read()
        raise Failure(f"no package {name} with {path}")

    def write(self):
        """Packages first, then what the recipe makes, then links to busybox for what is still missing."""
        for package in self.packages:
            self._add_package(package)
        self._add_file("/etc/passwd", imagerecipe.Attributes(0o644), lines(self.accounts.passwd_lines))
        self._add_file("/etc/group", imagerecipe.Attributes(0o644), lines(self.accounts.group_lines))
        for path, made in self.recipe.made.items():
            self._add_made(path, made)
        self._add_applets()
        unused = set(self.recipe.owned) - set(self.paths)
        if unused:
            raise Failure(f"the recipe changes what no package has: {', '.join(sorted(unused))}")
        self.archive.close()

    def _add_package(self, package):
        with open_package(package) as tree:
            for member in tree:
                path = merged(absolute(member.name))
                if path != "/":
                    self._add_member(package, tree, member, path)

    def _add_member(self, package, tree, member, path):
        data = None
        if member.isreg():
            data = tree.extractfile(member)
            if any(fnmatch.fnmatchcase(path, pattern) for pattern in self.wanted):
                self.kept[path] = data.read()
                data = io.BytesIO(self.kept[path])
        if path in MERGED and member.isdir() or path in self.recipe.made or path in ("/etc/passwd", "/etc/group"):
            return
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in self.recipe.removed):
            return
        kind = "d" if member.isdir() else "-"
        if path in self.paths:
            if kind == "d" == self.paths[path]:
                return
            raise Failure(f"{package.name} brings {path}, which another package has brought")
        self._ensure_parents(path)
        member.name = path[1:]
        if member.islnk():
            member.linkname = merged(absolute(member.linkname))[1:]
        member.uname = member.gname = ""
        member.mtime = int(member.mtime)
        if path in self.recipe.owned:
            attributes = self.recipe.owned[path]
            member.mode = attributes.mode
            member.uid, member.gid = self.accounts.user(attributes.user), self.accounts.group(attributes.group)
        self.paths[path] = kind
        self.archive.addfile(member, data)

    def _add_made(self, path, made):
        match made.kind:
            case "dir":
                self._add(path, tarfile.DIRTYPE, made.attributes)
            case "file":
                self._add_file(path, made.attributes, made.data)
            case "copy":
                parts = [data for source, data in self.kept.items() if fnmatch.fnmatchcase(source, made.target)]
                if not parts:
                    raise Failure(f"the recipe copies {made.target} to {path}, but no package has it")
                self._add_file(path, made.attributes, b"".join(parts))
            case "slink":
                self._add(path, tarfile.SYMTYPE, made.attributes, linkname=made.target)
            case "node":
                kind, major, minor = made.device
                self._add(path, tarfile.CHRTYPE if kind == "c" else tarfile.BLKTYPE, made.attributes,
                          devmajor=major, devminor=minor)

    def _add_applets(self):
        there = {posixpath.basename(path) for path in self.paths if posixpath.dirname(path) in ("/usr/bin", "/usr/sbin")}
        for path, program in self.recipe.applets:
            if posixpath.basename(path) not in there:
                self._add(path, tarfile.SYMTYPE, imagerecipe.Attributes(0o777), linkname=program)

    def _add_file(self, path, attributes, data):
        self._add(path, tarfile.REGTYPE, attributes, data)

    def _add(self, path, kind, attributes, data=b"", **fields):
        self._ensure_parents(path)
        member = tarfile.TarInfo(path[1:])
        member.type, member.size, member.mode, member.mtime = kind, len(data), attributes.mode, self.made_at
        member.uid, member.gid = self.accounts.user(attributes.user), self.accounts.group(attributes.group)
        for name, value in fields.items():
            setattr(member, name, value)
        self.paths[path] = "d" if kind == tarfile.DIRTYPE else "-"
        self.archive.addfile(member, io.BytesIO(data) if data else None)

    def _ensure_parents(self, path):
        parent = posixpath.dirname(path)
        if parent != "/" and parent not in self.paths:
            # A link to a directory is no place to put files: the recipe has to name the real one.
            self._add(parent, tarfile.DIRTYPE, imagerecipe.Attributes(0o755))
        elif self.paths.get(parent, "d") != "d":
            raise Failure(f"{path} lies in {parent}, which is no directory")


def lines(texts):
    """A file of these lines."""
    return "".join(f"{text}\n" for text in texts).encode()


def absolute(name):
    """The absolute path of a member of a package: they are given as ./usr/bin/x."""
    return posixpath.normpath("/" + name).replace("//", "/")


class open_package:
    """The tree of a package, as a tar stream."""

    def __init__(self, package):
        self.package = package

    def __enter__(self):
        self.process = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(self.package.file)], stdout=subprocess.PIPE)
        self.tree = tarfile.open(fileobj=self.process.stdout, mode="r|")
        return self.tree

    def __exit__(self, kind, value, traceback):
        self.tree.close()
        complete = kind is None and not self.process.stdout.read()
        self.process.stdout.close()
        if self.process.wait() != 0 and complete:
            raise Failure(f"{self.package.file.name} cannot be read")


def write_manifest(packages, output):
    """One line a package: name, version, architecture, SHA-256 of its file."""
    rows = [f"{package.name} {package.version} {package.architecture} "
            f"{hashlib.sha256(package.file.read_bytes()).hexdigest()}" for package in sorted(packages, key=lambda one: one.name)]
    output.write_text("".join(f"{row}\n" for row in rows))


def tool(name, *arguments, statuses=(0,), **options):
    """Runs one of the file system tools."""
    outcome = subprocess.run([str(TOOLS / name), *arguments], capture_output=True, text=True, check=False, **options)
    if outcome.returncode not in statuses:
        raise Failure(f"{name} failed with status {outcome.returncode}:\n{outcome.stdout}{outcome.stderr}")
    return outcome.stdout


def build(name):
    """Makes the image and its manifest."""
    started = time.monotonic()
    recipe, packages = imagerecipe.read(name), package_list(name)
    print(f"image {name}: {len(packages)} packages ... ", end="", flush=True)
    unfinished = IMAGES / f"{name}.ext4.new"
    unfinished.unlink(missing_ok=True)
    with open(unfinished, "wb") as empty:
        empty.truncate(recipe.size_bytes)
    # Of the recipe's name: the identifiers must be the same each time.
    identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, f"zcore-image:{name}"))
    made_at = time_of(packages)
    environment = dict(os.environ, SOURCE_DATE_EPOCH=str(made_at), E2FSPROGS_FAKE_TIME=str(made_at), E2FSCK_TIME=str(made_at))
    command = [str(TOOLS / "mke2fs"), "-q", "-F", "-t", "ext4", "-b", "4096", "-L", f"zcore-{name}"[:16], "-U", identifier, "-d", "-",
               "-E", f"hash_seed={identifier},root_owner=0:0,lazy_itable_init=0,assume_storage_prezeroed=1,nodiscard",
               str(unfinished)]
    log = IMAGES / f"{name}.mke2fs.log"
    with open(log, "wb") as messages, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=messages, stderr=messages,
                                                       env=environment) as process:
        try:
            Builder(recipe, packages, made_at, process.stdin).write()
            process.stdin.close()
        except BrokenPipeError:
            pass
        except BaseException:
            process.kill()
            raise
        if process.wait() != 0:
            raise Failure(f"mke2fs failed:\n{log.read_text()}")
    # Large directories get their index here (status 1: something was changed), and the whole is checked.
    tool("e2fsck", "-fyD", str(unfinished), statuses=(0, 1), env=environment)
    tool("e2fsck", "-fn", str(unfinished), env=environment)
    write_manifest(packages, IMAGES / f"{name}.manifest")
    unfinished.rename(IMAGES / f"{name}.ext4")
    size = os.stat(IMAGES / f"{name}.ext4").st_blocks * 512 >> 20
    print(f"{size} MiB in .cache/images/{name}.ext4 ({time.monotonic() - started:.0f} s)")


def time_of(packages):
    """The time that the image gives as its own: it depends on the packages alone."""
    for package in packages:
        if package.name == "base-files":
            with open_package(package) as tree:
                return max(int(member.mtime) for member in tree)
    raise Failure("an image needs the package base-files")


def _main():
    parser = argparse.ArgumentParser(description="Build the disk images of rootfs/images/.")
    parser.add_argument("what", choices=["packages", "build"])
    parser.add_argument("name", choices=imagerecipe.names())
    options = parser.parse_args()
    os.chdir(PROJECT)
    if options.what == "packages":
        print("\n".join(imagerecipe.read(options.name).packages))
    else:
        build(options.name)


if __name__ == "__main__":
    main(_main)
