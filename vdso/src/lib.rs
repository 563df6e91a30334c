//! The shared object that is mapped into every process (`linux-vdso.so.1`), and the page that it shares with the
//! kernel. Programs read the clocks, probe the hardware and return from signal handlers through it.
//!
//! The crate has two faces. Compiled by cargo it is the kernel's library: [`IMAGE`], the bytes to map;
//! [`RT_SIGRETURN_OFFSET`]; the [`DataPage`] that the kernel writes. Compiled by the build script with
//! `--cfg vdso_image` it is the shared object itself: the same layout and the same arithmetic, with the exported
//! functions of `entry` around them.
//!
//! How it lies in a process, upwards: the data page (read-only, the same frame in all processes), then at once the
//! image (read, execute). The code finds the data by that distance, so the two are mapped together.
//! `AT_SYSINFO_EHDR` is the image's address.
//!
//! Principles:
//! * What the page cannot answer goes to the kernel by a system call with the same arguments: an unknown clock, a
//!   clock that is switched off, a page of zeros, a reader that meets a writer. So nothing here loops or waits, and
//!   a fresh page is correct before anybody wrote to it.
//! * Nothing needs a periodic update. A clock is one line, `counter * rate + base`, exact for centuries; the coarse
//!   clocks are the fine ones rounded down. The kernel writes only when somebody sets the time.
//! * The image has no relocations and no data of its own, and cannot panic: the link fails if it could.
//!
//! Limits: all clocks that are served run from the `time` counter of RISC-V, which user mode must be allowed to read
//! (`scounteren`). There is one data page for all processes, hence no time namespaces.

#![no_std]

#[cfg(test)]
extern crate std;

mod clock;
mod layout;
#[cfg(any(vdso_image, all(test, not(loom))))]
mod probe;
mod reader;
mod sequence;
mod shim;
#[cfg(all(test, not(loom)))]
mod tests;
mod writer;

#[cfg(vdso_image)]
mod entry;
#[cfg(not(vdso_image))]
mod image;

pub use clock::{Clock, Rate};
pub use layout::{CLOCK_COUNT, PAGE_BYTES, PROBE_KEY_COUNT, ReadWords, WriteWords, clock_id};
pub use reader::{Timezone, clock_nanoseconds, clock_resolution, timezone};
pub use writer::{Clocks, DataPage, Harts};

#[cfg(not(vdso_image))]
pub use image::{IMAGE, IMAGE_FILE_BYTES, RT_SIGRETURN_OFFSET};
