//! User copies through the software walk, page by page.

use std::sync::atomic::{AtomicU32, Ordering};

use super::paging::translate;
use crate::user_memory::CopyFault;
use crate::{Access, PAGE_SIZE, PageFault, VirtAddr};

fn by_page(
    start: VirtAddr,
    len: usize,
    access: Access,
    mut copy: impl FnMut(*mut u8, usize, usize),
) -> Result<(), CopyFault> {
    let mut done = 0;
    while done < len {
        let address = start + done;
        let pointer = translate(address, access).map_err(|fault| CopyFault { done, fault })?;
        let piece = (len - done).min(PAGE_SIZE - address.page_offset());
        copy(pointer, done, piece);
        done += piece;
    }
    Ok(())
}

pub(crate) fn copy_in(destination: &mut [u8], source: VirtAddr) -> Result<(), CopyFault> {
    let len = destination.len();
    by_page(source, len, Access::Read, |pointer, done, piece| {
        // SAFETY: `translate` returned a page of the arena, and the piece stays inside that page.
        let page = unsafe { std::slice::from_raw_parts(pointer, piece) };
        destination[done..done + piece].copy_from_slice(page);
    })
}

pub(crate) fn copy_out(destination: VirtAddr, source: &[u8]) -> Result<(), CopyFault> {
    by_page(destination, source.len(), Access::Write, |pointer, done, piece| {
        // SAFETY: as in `copy_in`; the source is a kernel slice that cannot overlap a user page.
        unsafe { pointer.copy_from_nonoverlapping(source[done..].as_ptr(), piece) };
    })
}

pub(crate) fn zero(destination: VirtAddr, len: usize) -> Result<(), CopyFault> {
    by_page(destination, len, Access::Write, |pointer, _, piece| {
        // SAFETY: as in `copy_in`.
        unsafe { pointer.write_bytes(0, piece) };
    })
}

pub(crate) fn load_u32(address: VirtAddr) -> Result<u32, PageFault> {
    Ok(word(address, Access::Read)?.load(Ordering::Acquire))
}

pub(crate) fn compare_exchange_u32(address: VirtAddr, expected: u32, new: u32) -> Result<u32, PageFault> {
    let word = word(address, Access::Write)?;
    Ok(word
        .compare_exchange(expected, new, Ordering::AcqRel, Ordering::Acquire)
        .unwrap_or_else(|found| found))
}

fn word(address: VirtAddr, access: Access) -> Result<&'static AtomicU32, PageFault> {
    debug_assert_eq!(address.as_usize() % 4, 0);
    let pointer = translate(address, access)?;
    // SAFETY: an aligned word inside a page of the arena, which lives as long as the process.
    Ok(unsafe { AtomicU32::from_ptr(pointer.cast()) })
}
