//! Builds the shared object: this crate's sources once more, for RISC-V, with `--cfg vdso_image`.
//!
//! The compiler and the linker are the ones that build the kernel: of rustup's toolchain, its own linker; with the
//! distribution's compiler, what set-up wrote to `.cache/env` (a sysroot and a linker). Nothing else is needed, neither
//! a cross compiler nor the network.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "riscv64imac-unknown-none-elf";
const SETTING_PREFIX: &str = "CARGO_TARGET_RISCV64IMAC_UNKNOWN_NONE_ELF_";
const PAGE_BYTES: usize = 4096;

/// `e_flags`: compressed instructions, and the floating-point ABI of Linux's programs. The target's own ABI is
/// another, but no function here has a floating-point argument, so the code is the same for both.
const HEADER_FLAGS: u32 = 0x1 | 0x4;
const HEADER_FLAGS_OFFSET: usize = 48;

fn main() {
    let directory = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let output = PathBuf::from(variable("OUT_DIR"));
    println!("cargo:rustc-check-cfg=cfg(vdso_image)");
    for source in ["build.rs", "image.ld", "src"] {
        println!("cargo:rerun-if-changed={source}");
    }
    let settings = Settings::read(&directory);

    let object = output.join("vdso.o");
    let linked = output.join("vdso.linked");
    compile(&settings, &directory, &object);
    link(&settings, &directory, &object, &linked);

    let mut image = fs::read(&linked).expect("the linker wrote it");
    image[HEADER_FLAGS_OFFSET..][..4].copy_from_slice(&HEADER_FLAGS.to_le_bytes());
    let sigreturn = Dynamic { image: &image }.symbol("__vdso_rt_sigreturn").expect("the image has it");
    let offsets = format!(
        "/// Bytes of the ELF file in [`IMAGE`]; zeros follow.\n\
         pub const IMAGE_FILE_BYTES: usize = {};\n\
         /// Where signal handlers return to: the offset of `__vdso_rt_sigreturn` in the image.\n\
         pub const RT_SIGRETURN_OFFSET: usize = {sigreturn:#x};\n",
        image.len(),
    );
    image.resize(image.len().next_multiple_of(PAGE_BYTES), 0);
    fs::write(output.join("vdso.so"), image).expect("cargo made the directory");
    fs::write(output.join("offsets.rs"), offsets).expect("cargo made the directory");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

/// Runs a command to its end and returns what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{complaint}");
    String::from_utf8(output.stdout).expect("compilers print text")
}

/// How to compile for the target, and to link.
struct Settings {
    /// `--sysroot` where the target's library is not the compiler's own.
    sysroot: Option<String>,
    linker: Option<String>,
    /// The compiler that cargo runs under lacks the target.
    uses_pinned_toolchain: bool,
}

impl Settings {
    fn read(directory: &Path) -> Self {
        let written = directory.join("../.cache/env");
        if written.exists() {
            println!("cargo:rerun-if-changed={}", written.display());
        }
        let written = fs::read_to_string(written).unwrap_or_default();
        let setting = |name: &str| {
            let name = format!("{SETTING_PREFIX}{name}");
            println!("cargo:rerun-if-env-changed={name}");
            let from_file = || written.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix('='));
            env::var(&name).ok().or_else(|| from_file().map(String::from))
        };
        // Other flags are meant for the kernel.
        let is_sysroot = |flag: &&str| flag.starts_with("--sysroot=");
        let sysroot =
            setting("RUSTFLAGS").and_then(|flags| flags.split(' ').find(is_sysroot).map(String::from));
        let mut settings = Self { sysroot, linker: setting("LINKER"), uses_pinned_toolchain: false };
        // A toolchain that was chosen for a tool (Miri, a fuzzer) may lack the target. The project's has it.
        if !Path::new(run(settings.target_compiler().args(["--print", "target-libdir"])).trim()).exists() {
            settings.uses_pinned_toolchain = true;
        }
        settings
    }

    fn target_compiler(&self) -> Command {
        let mut command = self.compiler();
        command.args(["--target", TARGET]).args(&self.sysroot);
        command
    }

    fn compiler(&self) -> Command {
        let mut command = if self.uses_pinned_toolchain {
            let mut command = Command::new("rustc");
            command.env_remove("RUSTUP_TOOLCHAIN");
            command
        } else {
            Command::new(variable("RUSTC"))
        };
        command.current_dir(variable("CARGO_MANIFEST_DIR"));
        command
    }

    fn linker(&self) -> Command {
        if let Some(linker) = &self.linker {
            return Command::new(linker);
        }
        // Beside the libraries of the toolchain's own host.
        let host = variable("HOST");
        let libraries = run(self.compiler().args(["--target", &host, "--print", "target-libdir"]));
        let mut command = Command::new(Path::new(libraries.trim()).with_file_name("bin").join("rust-lld"));
        command.args(["-flavor", "gnu"]);
        command
    }
}

fn compile(settings: &Settings, directory: &Path, object: &Path) {
    let mut command = settings.target_compiler();
    command.args(["--edition", "2024", "--crate-name", "vdso", "--crate-type", "lib", "--emit", "obj"]);
    command.args(["--cfg", "vdso_image", "-o"]).arg(object);
    for option in [
        "opt-level=s",
        "codegen-units=1",
        "relocation-model=pic",
        "panic=abort",
        // A signal may interrupt any instruction, and whoever unwinds from its handler needs to know the frame.
        "force-unwind-tables=yes",
        "overflow-checks=off",
        "debug-assertions=off",
    ] {
        command.args(["-C", option]);
    }
    // The same source gives the same image wherever it lies.
    command.arg(format!("--remap-path-prefix={}=vdso", directory.display()));
    run(command.arg(directory.join("src/lib.rs")));
}

fn link(settings: &Settings, directory: &Path, object: &Path, linked: &Path) {
    let mut command = settings.linker();
    command.args(["-shared", "-soname", "linux-vdso.so.1", "--hash-style=both", "--build-id=sha1"]);
    command.args(["-Bsymbolic", "--eh-frame-hdr", "--gc-sections", "--strip-all", "-T"]);
    command.arg(directory.join("image.ld"));
    // `text` and `defs` refuse relocations and everything that is not in this object, the panic machinery above all.
    for option in ["text", "defs", "rodynamic", "norelro", "max-page-size=4096"] {
        command.args([OsStr::new("-z"), OsStr::new(option)]);
    }
    run(command.arg(object).arg("-o").arg(linked));
}

/// The dynamic symbols of the image, which is linked at zero: addresses are offsets.
struct Dynamic<'i> {
    image: &'i [u8],
}

impl Dynamic<'_> {
    fn symbol(&self, name: &str) -> Option<usize> {
        const SECTION_DYNSYM: usize = 11;
        let (table, count) = (self.number::<8>(40), self.number::<2>(60));
        let section = |index| table + index * 64;
        let symbols = (0..count).map(section).find(|&at| self.number::<4>(at + 4) == SECTION_DYNSYM)?;
        let strings = self.number::<8>(section(self.number::<4>(symbols + 40)) + 24);
        let (first, bytes) = (self.number::<8>(symbols + 24), self.number::<8>(symbols + 32));
        (first..first + bytes).step_by(24).find_map(|at| {
            let text = &self.image[strings + self.number::<4>(at)..];
            let found = text.starts_with(name.as_bytes()) && text[name.len()] == 0;
            found.then(|| self.number::<8>(at + 8))
        })
    }

    fn number<const BYTES: usize>(&self, offset: usize) -> usize {
        let mut word = [0; 8];
        word[..BYTES].copy_from_slice(&self.image[offset..offset + BYTES]);
        usize::from_le_bytes(word)
    }
}
