//! The kernel's own use of file data: unpacking archives, loading programs, reading configuration.

use alloc::sync::Arc;

use kernel_object::paged_object::{LARGEST_SIZE, PagedObject, PagerError};
use linux_abi::Errno;

use crate::inode::{Contents, INode};
use crate::metadata::Touch;

/// What a program is told about a pager's error.
pub fn pager_errno(error: PagerError) -> Errno {
    match error {
        PagerError::NoSpace => Errno::ENOSPC,
        PagerError::OutOfMemory => Errno::ENOMEM,
        PagerError::InputOutput | PagerError::Gone => Errno::EIO,
    }
}

fn pages(node: &dyn INode) -> Result<Arc<PagedObject>, Errno> {
    match node.contents() {
        Contents::Pages(object) => Ok(object),
        _ => Err(Errno::EINVAL),
    }
}

/// Reads from a regular file; returns the number of bytes, 0 at its end. Does not touch its times.
pub async fn read(node: &dyn INode, offset: u64, destination: &mut [u8]) -> Result<usize, Errno> {
    pages(node)?.read(offset, destination).await.map_err(pager_errno)
}

/// Writes all of `source` to a regular file, which grows as needed.
pub async fn write_all(node: &dyn INode, offset: u64, source: &[u8]) -> Result<(), Errno> {
    let object = pages(node)?;
    if offset.checked_add(source.len() as u64).is_none_or(|end| end > LARGEST_SIZE) {
        return Err(Errno::EFBIG);
    }
    let mut done = 0;
    while done < source.len() {
        let count = object.write(offset + done as u64, &source[done..]).await.map_err(pager_errno)?;
        done += count;
    }
    node.touch(Touch::WRITTEN);
    Ok(())
}
