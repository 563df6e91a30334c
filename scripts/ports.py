"""What is built of rootfs/ports/, as a disk for the full image."""

import shutil
import subprocess

from environment import CACHE, PROJECT, TARGET, Failure

PORT = PROJECT / "rootfs" / "ports" / "redis"
BUILT = CACHE / "ports" / "redis" / "redis"
STRIP = "riscv64-linux-gnu-strip"
PROGRAMS = ("redis-server", "redis-cli", "redis-benchmark")


def disk():
    """A file system with the programs, the checks and Redis' own suite."""
    if not (BUILT / "src" / "redis-server").exists():
        raise Failure("the port is not built: run scripts/setup.sh port-redis")
    tree, image = TARGET / "ports" / "redis", TARGET / "ports" / "redis.ext4"
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "src").mkdir(parents=True)
    for program in PROGRAMS:
        subprocess.run([STRIP, "-o", tree / "src" / program, BUILT / "src" / program], check=True)
    # The suite looks for these names; both are the server.
    for name in ("redis-sentinel", "redis-check-rdb", "redis-check-aof"):
        (tree / "src" / name).symlink_to("redis-server")
    shutil.copytree(BUILT / "tests", tree / "tests", symlinks=True)
    (tree / "tests" / "tmp").mkdir(exist_ok=True)
    for name in ("redis.conf", "sentinel.conf", "runtest"):
        shutil.copy2(BUILT / name, tree / name)
    shutil.copytree(BUILT / "src" / "commands", tree / "src" / "commands")
    shutil.copytree(BUILT / "utils", tree / "utils", symlinks=True)
    shutil.copytree(PORT / "checks", tree / "checks")
    image.unlink(missing_ok=True)
    subprocess.run([CACHE / "e2fsprogs" / "mke2fs", "-q", "-t", "ext4", "-d", tree, image, "128M"], check=True)
    return image
