//! Kinds of filesystems, by the names that `mount` knows.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use rcore_fs::FileSystem;
use rcore_fs::disk::Disk;

use crate::obstacle::Slow;

/// Makes an instance, with options as `mount` has them.
pub type FileSystemMaker = fn(&str) -> Result<Arc<dyn FileSystem>, Errno>;

/// Mounts what is on a disk, with options as `mount` has them; the last argument says whether it may be written.
pub type DiskFileSystemMaker = fn(Arc<Disk>, String, bool) -> Slow<Result<Arc<dyn FileSystem>, Errno>>;

#[derive(Clone, Copy)]
enum Maker {
    Plain(FileSystemMaker),
    OnDisk(DiskFileSystemMaker),
}

static KINDS: SpinLock<Vec<(&'static str, Maker)>> = SpinLock::new(Rank::DEVICE_TABLE, Vec::new());

/// Makes a kind known.
pub fn register(name: &'static str, maker: FileSystemMaker) {
    KINDS.lock().push((name, Maker::Plain(maker)));
}

/// Makes a kind known that lies on a disk.
pub fn register_on_disk(name: &'static str, maker: DiskFileSystemMaker) {
    KINDS.lock().push((name, Maker::OnDisk(maker)));
}

/// The names of all kinds, and whether each needs a disk.
pub fn kinds() -> Vec<(&'static str, bool)> {
    KINDS.lock().iter().map(|&(name, maker)| (name, matches!(maker, Maker::OnDisk(_)))).collect()
}

fn find(name: &[u8]) -> Result<Maker, Errno> {
    let maker = KINDS.lock().iter().find(|(known, _)| known.as_bytes() == name).map(|&(_, maker)| maker);
    maker.ok_or(Errno::ENODEV)
}

/// Whether a kind lies on a disk; `ENODEV` if there is no such kind.
pub fn needs_disk(name: &[u8]) -> Result<bool, Errno> {
    find(name).map(|maker| matches!(maker, Maker::OnDisk(_)))
}

/// An instance of a kind; `ENODEV` if there is no such kind, `EINVAL` if it does not know one of the options.
pub fn make(name: &[u8], options: &str) -> Result<Arc<dyn FileSystem>, Errno> {
    match find(name)? {
        Maker::Plain(maker) => maker(options),
        Maker::OnDisk(_) => Err(Errno::ENOTBLK),
    }
}

/// What is on a disk, mounted as a kind. `EROFS` if it was to be written and cannot be.
pub async fn make_on_disk(
    name: &[u8],
    disk: Arc<Disk>,
    options: String,
    may_write: bool,
) -> Result<Arc<dyn FileSystem>, Errno> {
    match find(name)? {
        Maker::OnDisk(maker) => maker(disk, options, may_write).await,
        Maker::Plain(_) => Err(Errno::EINVAL),
    }
}
