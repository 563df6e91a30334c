//! Hands the linker script to the linker, for the bare target only.

fn main() {
    println!("cargo:rerun-if-changed=linker.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo:rustc-link-arg-bins=-T{directory}/linker.ld");
        // An index into the unwind tables, for backtraces.
        println!("cargo:rustc-link-arg-bins=--eh-frame-hdr");
    }
}
