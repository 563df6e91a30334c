"""Tests of the tools themselves; `make test` runs them."""

import gzip
import pathlib
import subprocess
import tempfile
import unittest

import boottest
import check_layers
import count
import demangle
import elf
import list_unsafe
import mkimage
import mkinitramfs
import mksymbols
import qemu
import test
import testdisk
from environment import Failure

HERE = pathlib.Path(__file__).parent


class Unsafe(unittest.TestCase):
    def test_only_code_counts(self):
        source = """
            // unsafe { in a comment }
            const TEXT: &str = "unsafe { in a string }";
            unsafe extern "C" { static START: u8; }
            unsafe impl Sync for Cell {}
            unsafe extern "C" fn first() { unsafe { second() } }
            #[unsafe(no_mangle)]
            unsafe fn second() { unsafe{ third() } }
        """
        self.assertEqual(list_unsafe.count(source), [2, 2, 1, 1])


class TestDisk(unittest.TestCase):
    def test_every_word_holds_its_number(self):
        with open(testdisk.image(), "rb") as image:
            image.seek(8 * 1_000_003)
            self.assertEqual(int.from_bytes(image.read(8), "little"), 1_000_003)
        self.assertEqual(testdisk.IMAGE.stat().st_size, testdisk.IMAGE_BYTES)

    def test_kinds(self):
        for kind in (*testdisk.DRIVES, "failing"):
            qemu.command(qemu.Machine(kernel=HERE / "tiny.S", **dict(testdisk.options(kind))))
        self.assertRaises(Failure, testdisk.options, "nonesuch")


class KernelTests(unittest.TestCase):
    def test_list_of_the_kernel(self):
        console = "ktest: a\nktest: b harts=2 disk=slow\nktest: c harts=2 panics=at .*, value 0x0,\nktest: d disk=plain\n"
        self.assertEqual(boottest.KERNEL_TEST.findall(console), [
            ("a", "", "", ""), ("b", "2", "slow", ""), ("c", "2", "", "at .*, value 0x0,"), ("d", "", "plain", "")])

    def test_a_panic_must_be_the_right_one(self):
        case = boottest.Case("c", "", ending="failed", status=101, expect=("null",))
        def complaint(ending, status, console):
            return boottest.complaint(case, qemu.Result(ending, status, console, 0))

        self.assertEqual(complaint("failed", 101, "null pointer"), "")
        self.assertTrue(complaint("failed", 101, "something else"))
        self.assertTrue(complaint("failed", 3, "null pointer"))
        self.assertTrue(complaint("shutdown", 0, "null pointer"))


class Initramfs(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        (self.folder / "hello").write_text("hello\n")

    def write(self, recipe):
        (self.folder / "recipe").write_text(recipe)
        return mkinitramfs.write([self.folder], self.folder / "out.gz")

    def test_layout_of_the_archive(self):
        archive = gzip.decompress(self.write(
            "file /b/hello 0644 hello\ndir /b 0755 # a comment\nnode /console 0600 c 5 1\nslink /a hello\n").read_bytes())
        members = dict(self.members(archive))
        self.assertEqual(list(members), ["a", "b", "b/hello", "console", "TRAILER!!!"])
        self.assertEqual(members["a"][:2], (0o120777, b"hello"))
        self.assertEqual(members["b"][0], 0o040755)
        self.assertEqual(members["b/hello"][:2], (0o100644, b"hello\n"))
        self.assertEqual(members["console"], (0o020600, b"", 5, 1))
        self.assertEqual(len(archive) % 512, 0)

    def members(self, archive):
        """An independent reader: name, (mode, data, major, minor)."""
        position = 0
        while archive[position:position + 6] == b"070701":
            field = [int(archive[position + 6 + 8 * i:position + 14 + 8 * i], 16) for i in range(13)]
            name_end = position + 110 + field[11]
            data = (name_end + 3) & ~3
            end = data + field[6]
            yield archive[position + 110:name_end - 1].decode(), (field[1], archive[data:end], field[9], field[10])
            position = (end + 3) & ~3

    def test_equal_input_gives_equal_bytes(self):
        recipe = "dir /b 0755\nfile /b/hello 0644 hello\n"
        first = self.write(recipe).read_bytes()
        (self.folder / "hello").touch()
        self.assertEqual(self.write(recipe).read_bytes(), first)

    def test_mistakes_are_named(self):
        for recipe, complaint in [("dir b 0755\n", "absolute"), ("file /x 0644 absent\n", "does not exist"),
                                  ("frob /x\n", "recipe:1"), ("file /b/hello 0644 hello\n", "directory /b"),
                                  ("dir /b 0755\ndir /b 0755\n", "twice")]:
            with self.assertRaisesRegex(Failure, complaint):
                self.write(recipe)


class Demangle(unittest.TestCase):
    def test_names(self):
        for mangled, readable in [
            ("_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"),
            ("_RNvMNtCs1_1a1bINtB2_1SpE4push", "a::b::S::push"),
            ("_RNvXCs1_1aNtB2_1SNtCs2_4core5Clone5clone", "<a::S as Clone>::clone"),
            ("_RNCNvCs1_1a4main0B3_", "a::main::{closure}"),
            ("_RINvCs1_1a4makehANtB2_1Sj4_E", "a::make"),
            ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt"),
            ("_ZN33_$LT$a..S$u20$as$u20$a..Clone$GT$5clone17h0123456789abcdefE", "<a::S as a::Clone>::clone"),
            ("trap_entry", "trap_entry"),
            ("_Rnonsense", "_Rnonsense"),
            ("_ZN99short", "_ZN99short"),
        ]:
            self.assertEqual(demangle.demangle(mangled), readable)


class Image(unittest.TestCase):
    """A small kernel, built with the cross compiler and booted: it checks its own image."""

    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        cls.folder = pathlib.Path(holder.name)
        program = cls.folder / "tiny.elf"
        subprocess.run(["riscv64-linux-gnu-gcc", "-nostdlib", "-static", "-no-pie", "-march=rv64imac", "-mabi=lp64",
                        "-Wl,--build-id=none", "-T", str(HERE / "tiny.ld"), "-o", str(program),
                        str(HERE / "tiny.S")], check=True, capture_output=True)
        cls.elf = elf.Elf(program)
        cls.symbols = mksymbols.table(cls.elf)
        cls.image = mkimage.make(cls.elf, cls.symbols)

    def boot(self, image):
        path = self.folder / "Image"
        path.write_bytes(image)
        return qemu.run(qemu.Machine(kernel=path, memory="128M"), 60)

    def test_symbol_table(self):
        self.assertEqual(self.symbols[:8], b"ZSYM\x04\0\0\0")
        names = self.symbols[8 + 4 * 8:].split(b"\0")
        self.assertEqual(names[:4], [b"_start", b"main", b"finish", b""])

    def test_header_says_the_whole_size(self):
        self.assertEqual(int.from_bytes(self.image[16:24], "little"), len(self.image))
        self.assertEqual(len(self.image) % 4096, 0)

    def test_it_finds_its_symbols_when_booted(self):
        result = self.boot(self.image)
        self.assertEqual((result.ending, result.status), ("shutdown", 0), result.console)

    def test_a_failing_kernel_is_seen(self):
        place = self.image.index(b"ZSYM")
        result = self.boot(self.image[:place] + b"zsym" + self.image[place + 4:])
        self.assertEqual((result.ending, result.status), ("failed", 3), result.console)

    def test_a_hanging_kernel_is_ended(self):
        spin = b"\x6f\x00\x00\x00"  # j .
        self.boot_is_timeout(spin + self.image[4:])

    def boot_is_timeout(self, image):
        path = self.folder / "Image"
        path.write_bytes(image)
        result = qemu.run(qemu.Machine(kernel=path, memory="128M"), 3)
        self.assertEqual(result.ending, "timeout")
        self.assertFalse(result.powered_off())


class Counting(unittest.TestCase):
    def snapshot(self, mark, user, supervisor):
        return {"mark": mark, "user": user, "supervisor": supervisor, "machine": [0, 0], "syscalls": [0, 0],
                "nanoseconds": 0}

    def test_median_of_rounds_over_all_harts(self):
        snapshots = []
        for kernel in (1000, 100, 200):
            snapshots += [self.snapshot(1, [5, 5], [7, 0]), self.snapshot(2, [15, 5], [7, kernel])]
        console = "noise\n" + "bench: op mode 10\n" * 3
        (row,) = count.rows(console, snapshots, "zcore", 2)
        self.assertEqual((row["user"], row["supervisor"], row["total"]), (1.0, 20.0, 21.0))

    def test_marks_and_lines_must_agree(self):
        with self.assertRaises(Failure):
            count.rows("bench: op mode 10\n", [self.snapshot(1, [0], [0])], "zcore", 1)
        with self.assertRaises(Failure):
            count.rows("nothing", [], "zcore", 1)


class Layers(unittest.TestCase):
    def package(self, name, *dependencies):
        return {"name": name, "dependencies": [{"name": dependency} for dependency in dependencies], "targets": []}

    def test_upward_dependency_is_found(self):
        good = [self.package("executor", "ksync"), self.package("ksync", "log")]
        self.assertEqual(list(check_layers.violations(good)), [])
        bad = [self.package("executor"), self.package("ksync", "executor")]
        self.assertEqual(len(list(check_layers.violations(bad))), 1)

    def test_machine_crates_and_strangers_are_found(self):
        self.assertEqual(len(list(check_layers.violations([self.package("executor", "riscv")]))), 1)
        self.assertEqual(len(list(check_layers.violations([self.package("stranger")]))), 1)


class Summaries(unittest.TestCase):
    def test_what_is_counted(self):
        cargo = b"test result: ok. 3 passed; 0 failed; 1 ignored\ntest result: ok. 2 passed; 0 failed;\n"
        self.assertEqual(test.count(cargo, True), test.Outcome(5, 0))
        self.assertEqual(test.count(b"Ran 4 tests in 1s\n\nFAILED (failures=1, errors=1)\n", False), test.Outcome(2, 2))
        self.assertEqual(test.count(b"silent", True), test.Outcome(1, 0))
        self.assertEqual(test.count(b"does not compile", False), test.Outcome(0, 1))
        self.assertEqual(test.count(b"2 passed, 1 failed\n", False), test.Outcome(2, 1))


if __name__ == "__main__":
    unittest.main()
