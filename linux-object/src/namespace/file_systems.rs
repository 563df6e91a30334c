//! Kinds of filesystems, by the names that `mount` knows.

use alloc::sync::Arc;
use alloc::vec::Vec;

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use rcore_fs::FileSystem;

/// Makes an instance.
pub type FileSystemMaker = fn() -> Result<Arc<dyn FileSystem>, Errno>;

static KINDS: SpinLock<Vec<(&'static str, FileSystemMaker)>> = SpinLock::new(Rank::DEVICE_TABLE, Vec::new());

/// Makes a kind known.
pub fn register(name: &'static str, maker: FileSystemMaker) {
    KINDS.lock().push((name, maker));
}

/// The names of all kinds.
pub fn kinds() -> Vec<&'static str> {
    KINDS.lock().iter().map(|&(name, _)| name).collect()
}

/// An instance of a kind; `ENODEV` if there is no such kind.
pub fn make(name: &[u8]) -> Result<Arc<dyn FileSystem>, Errno> {
    let maker = KINDS.lock().iter().find(|(known, _)| known.as_bytes() == name).map(|&(_, maker)| maker);
    maker.ok_or(Errno::ENODEV)?()
}
