//! The shared object as the kernel carries it.

#[repr(C, align(4096))]
struct Pages<const BYTES: usize>([u8; BYTES]);

static PAGES: Pages<{ include_bytes!(concat!(env!("OUT_DIR"), "/vdso.so")).len() }> =
    Pages(*include_bytes!(concat!(env!("OUT_DIR"), "/vdso.so")));

/// The bytes to map, whole pages at the start of a page: readable and executable, right behind the data page.
pub static IMAGE: &[u8] = &PAGES.0;

include!(concat!(env!("OUT_DIR"), "/offsets.rs"));
