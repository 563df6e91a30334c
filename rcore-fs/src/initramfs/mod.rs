//! The initial files: unpacks what the boot loader hands over into a filesystem.
//!
//! An image is a row of cpio archives ("newc", with or without checksums), each of them as it is or compressed with
//! gzip, with zeros between them. Files with several names are told by their inode numbers. A later archive overrides an
//! earlier one. Symbolic links inside the image are followed as if its root were the root.
//!
//! * Nothing is held twice: a compressed archive is inflated through a window of 32 KiB, and data goes from there into
//!   the pages of the file.
//! * A large image takes seconds to unpack; others run in between.
//! * Whatever is wrong with an image, and wherever memory runs out, is an [`ArchiveError`] that says what, where and
//!   at which file. What was unpacked before stays.
//! * Bytes after the last archive that are no archive are counted and left alone; boot loaders round sizes up.

mod error;
mod gzip;
mod header;
mod reader;
#[cfg(test)]
mod tests;
mod unpack;

pub use error::{ArchiveError, Problem};
pub use header::Entry;
pub use reader::Reader;
pub use unpack::{Summary, unpack};
