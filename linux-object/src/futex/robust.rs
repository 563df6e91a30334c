//! Robust futexes: the kernel releases what a thread held when it ended.
//!
//! The list is the program's own and may be anything: it is followed for a bounded number of steps, and any fault ends
//! the walk, as on Linux.

use kernel_hal::VirtAddr;
use linux_abi::Errno;
use linux_abi::futex::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, ROBUST_LIST_LIMIT, RobustListHead};

use super::{ANY_BITS, Word, change_word, persist, wake};
use crate::obstacle::complete;
use crate::user_buffer::UserMemory;

/// The lowest bit of a link says that the entry is a lock with priority inheritance.
const PRIORITY_INHERITANCE: u64 = 1;

/// Releases everything that is on the list of the thread with this number.
pub async fn release_all(memory: &UserMemory, list: VirtAddr, thread: i32) {
    // Where a walk ends nobody can be told.
    let _ = walk(memory, list, thread).await;
}

async fn walk(memory: &UserMemory, list: VirtAddr, thread: i32) -> Result<(), Errno> {
    let head: RobustListHead = complete(|| memory.read(list)).await?;
    let pending = head.list_op_pending;
    let address_of =
        |link: u64| (link & !PRIORITY_INHERITANCE).wrapping_add_signed(head.futex_offset) as usize;
    let mut link = head.list;
    for _ in 0..ROBUST_LIST_LIMIT {
        if link & !PRIORITY_INHERITANCE == list.as_usize() as u64 {
            break;
        }
        // Read before the entry is released: then it may be freed.
        let next: Result<u64, Errno> =
            complete(|| memory.read(VirtAddr::new((link & !PRIORITY_INHERITANCE) as usize))).await;
        if link != pending {
            release(memory, address_of(link), thread, link & PRIORITY_INHERITANCE != 0, false).await?;
        }
        link = next?;
    }
    if pending != 0 {
        release(memory, address_of(pending), thread, pending & PRIORITY_INHERITANCE != 0, true).await?;
    }
    Ok(())
}

async fn release(
    memory: &UserMemory,
    address: usize,
    thread: i32,
    inherits_priority: bool,
    is_pending: bool,
) -> Result<(), Errno> {
    let word = Word::new(VirtAddr::new(address), false)?;
    let owned = |value: u32| value & FUTEX_TID_MASK == thread as u32;
    let old = complete(|| {
        persist(memory, || {
            let change = |value| {
                if owned(value) { value & FUTEX_WAITERS | FUTEX_OWNER_DIED } else { value }
            };
            change_word(memory, word.address, change).map_err(super::Refusal::Fault)
        })
    })
    .await?;
    // A lock that was released but whose waiter was not yet woken is the other thing that a pending operation can be.
    let was_being_released = is_pending && old & FUTEX_TID_MASK == 0;
    if !inherits_priority && (owned(old) && old & FUTEX_WAITERS != 0 || was_being_released) {
        wake(memory.space(), word, ANY_BITS, 1)?;
    }
    Ok(())
}
