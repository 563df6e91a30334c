//! The data of regular files: paged objects of anonymous memory.

use alloc::sync::Arc;

use kernel_object::paged_object::{LARGEST_SIZE, PageAccount, PagedObject, Seals};
use linux_abi::Errno;

use super::volume::{Quota, Volume};

/// Bytes in a page.
pub(super) const PAGE_BYTES: u64 = 4096;
/// The units of `st_blocks` in a page.
pub(super) const BLOCKS_PER_PAGE: u64 = PAGE_BYTES / 512;

/// An empty file's data, whose pages are charged to the volume.
pub(super) fn new_object(volume: &Arc<Volume>) -> Arc<PagedObject> {
    Arc::new(PagedObject::accounted(0, Arc::clone(&volume.pages) as Arc<dyn PageAccount>))
}

impl PageAccount for Quota {
    fn charge(&self) -> bool {
        self.take(1).is_ok()
    }

    fn refund(&self, pages: u64) {
        self.give_back(pages);
    }
}

pub(super) fn size(object: &PagedObject) -> u64 {
    object.size()
}

pub(super) fn resident_pages(object: &PagedObject) -> u64 {
    object.resident_pages() as u64
}

/// Gives a file another size; returns whether it had a different one.
pub(super) fn resize(object: &PagedObject, size: u64) -> Result<bool, Errno> {
    if size > LARGEST_SIZE {
        return Err(Errno::EFBIG);
    }
    let old = object.size();
    let seals = object.seals();
    if size < old && seals.contains(Seals::SHRINK) || size > old && seals.contains(Seals::GROW) {
        return Err(Errno::EPERM);
    }
    let changes = old != size;
    object.truncate(size);
    Ok(changes)
}
