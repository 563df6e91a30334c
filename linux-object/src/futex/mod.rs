//! Futexes: waiting until somebody says that a word of memory has changed.
//!
//! A word of a shared mapping is known by the object behind it, wherever it is mapped; any other by its address space and
//! address. Priority inheritance is not supported.

pub mod robust;
mod table;

use alloc::sync::Arc;
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Poll, Waker};

use kernel_hal::{Instant, PageFault, VirtAddr};
use kernel_object::address_space::AddressSpace;
use linux_abi::Errno;
use linux_abi::futex::{
    FUTEX_OP_ADD, FUTEX_OP_ANDN, FUTEX_OP_CMP_EQ, FUTEX_OP_CMP_GE, FUTEX_OP_CMP_GT, FUTEX_OP_CMP_LE,
    FUTEX_OP_CMP_LT, FUTEX_OP_CMP_NE, FUTEX_OP_OPARG_SHIFT, FUTEX_OP_OR, FUTEX_OP_SET, FUTEX_OP_XOR,
};

use crate::obstacle::{Attempt, complete};
use crate::user_buffer::UserMemory;
pub use table::Waiter;
use table::{Key, Registration, register};

/// Any waiter, whatever its bits.
pub const ANY_BITS: u32 = u32::MAX;

/// A word of a program's memory, as alleged.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    address: VirtAddr,
    is_private: bool,
}

impl Word {
    /// The word at an address. `is_private`: the caller says that only threads of the same memory use it.
    pub fn new(address: VirtAddr, is_private: bool) -> Result<Self, Errno> {
        if !address.as_usize().is_multiple_of(size_of::<u32>()) {
            return Err(Errno::EINVAL);
        }
        if !address.is_user_range(size_of::<u32>()) {
            return Err(Errno::EFAULT);
        }
        Ok(Self { address, is_private })
    }

    fn key(&self, space: &AddressSpace) -> Result<Key, Errno> {
        if self.is_private {
            return Ok(Key::private(space.number(), self.address));
        }
        space.memory_key(self.address).map(Key::of).ok_or(Errno::EFAULT)
    }
}

/// Why something under a bucket's lock was not done.
enum Refusal {
    Error(Errno),
    Fault(PageFault),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Error(errno)
    }
}

/// Does something under a bucket's lock, resolving faults outside of it.
fn persist<T>(memory: &UserMemory, mut action: impl FnMut() -> Result<T, Refusal>) -> Attempt<T> {
    loop {
        // The accesses under the lock are to this memory, on this hart.
        memory.space().activate();
        match action() {
            Ok(value) => return Ok(value),
            Err(Refusal::Error(errno)) => return Err(errno.into()),
            Err(Refusal::Fault(fault)) => memory.settle(fault)?,
        }
    }
}

fn check_value(memory: &UserMemory, word: Word, expected: u32) -> Result<(), Refusal> {
    match memory.try_load_u32(word.address) {
        Ok(value) if value == expected => Ok(()),
        Ok(_) => Err(Refusal::Error(Errno::EAGAIN)),
        Err(fault) => Err(Refusal::Fault(fault)),
    }
}

/// Lets the waiter wait for a word, if the word has the value: `EAGAIN` if it has not. `waker` is that of the task which then
/// waits.
pub fn begin_wait(
    memory: &UserMemory,
    waiter: &Arc<Waiter>,
    waker: &Waker,
    word: Word,
    expected: u32,
    bits: u32,
) -> Attempt<Waiting> {
    let key = word.key(memory.space())?;
    persist(memory, || register(waiter, &key, bits, waker, || check_value(memory, word, expected)))
        .map(Waiting)
}

/// A place among the waiters of a word; being dropped gives it up.
pub struct Waiting(Registration);

impl Waiting {
    /// Whether the word's waiters were woken. Who waits for that is the task whose waker the wait began with.
    #[inline]
    pub fn is_woken(&self) -> bool {
        self.0.is_woken()
    }

    /// Waits until the word's waiters are woken; `ETIMEDOUT` after the deadline.
    pub async fn until_woken(&self, deadline: Instant) -> Result<(), Errno> {
        let mut sleep = pin!(executor::sleep_until(deadline));
        poll_fn(|context| {
            let is_over = !self.is_woken() && sleep.as_mut().poll(context).is_ready();
            // A wake that came before the place is given up counts.
            match self.is_woken() {
                true => Poll::Ready(Ok(())),
                false if is_over => Poll::Ready(Err(Errno::ETIMEDOUT)),
                false => Poll::Pending,
            }
        })
        .await
    }
}

/// Wakes up to `count` waiters whose bits meet `bits`; returns how many.
pub fn wake(space: &AddressSpace, word: Word, bits: u32, count: usize) -> Result<usize, Errno> {
    Ok(table::wake(&word.key(space)?, bits, count))
}

/// Wakes up to `wake_count` waiters and lets up to `move_count` others wait on `target` instead; `expected`: only if the
/// word has this value, `EAGAIN` otherwise. Returns how many were woken, and how many moved.
pub fn try_requeue(
    memory: &UserMemory,
    word: Word,
    target: Word,
    wake_count: usize,
    move_count: usize,
    expected: Option<u32>,
) -> Attempt<(usize, usize)> {
    let (from, to) = (word.key(memory.space())?, target.key(memory.space())?);
    persist(memory, || {
        table::requeue(&from, &to, wake_count, move_count, || match expected {
            Some(expected) => check_value(memory, word, expected),
            None => Ok(()),
        })
    })
}

/// The operation of `FUTEX_WAKE_OP`, decoded.
#[derive(Clone, Copy, Debug)]
pub struct WakeOperation {
    operation: u32,
    argument: i32,
    comparison: u32,
    compared_with: i32,
}

impl WakeOperation {
    /// Decodes it; `ENOSYS` for operations and comparisons that do not exist, as on Linux.
    pub fn decode(encoded: u32) -> Result<Self, Errno> {
        let signed_12_bits = |field: u32| ((field << 20) as i32) >> 20;
        let (mut operation, comparison) = (encoded >> 28, encoded >> 24 & 0xf);
        let mut argument = signed_12_bits(encoded >> 12);
        if operation & FUTEX_OP_OPARG_SHIFT != 0 {
            operation &= !FUTEX_OP_OPARG_SHIFT;
            argument = 1 << (argument & 31);
        }
        if operation > FUTEX_OP_XOR || comparison > FUTEX_OP_CMP_GE {
            return Err(Errno::ENOSYS);
        }
        Ok(Self { operation, argument, comparison, compared_with: signed_12_bits(encoded) })
    }

    fn apply(self, old: u32) -> u32 {
        let argument = self.argument as u32;
        match self.operation {
            FUTEX_OP_SET => argument,
            FUTEX_OP_ADD => old.wrapping_add(argument),
            FUTEX_OP_OR => old | argument,
            FUTEX_OP_ANDN => old & !argument,
            _ => old ^ argument,
        }
    }

    fn holds(self, old: u32) -> bool {
        let old = old as i32;
        match self.comparison {
            FUTEX_OP_CMP_EQ => old == self.compared_with,
            FUTEX_OP_CMP_NE => old != self.compared_with,
            FUTEX_OP_CMP_LT => old < self.compared_with,
            FUTEX_OP_CMP_LE => old <= self.compared_with,
            FUTEX_OP_CMP_GT => old > self.compared_with,
            _ => old >= self.compared_with,
        }
    }
}

/// Changes the second word, wakes waiters of the first, and of the second if its old value says so: one step.
pub fn try_wake_two(
    memory: &UserMemory,
    word: Word,
    other: Word,
    count: usize,
    other_count: usize,
    operation: WakeOperation,
) -> Attempt {
    let (key, other_key) = (word.key(memory.space())?, other.key(memory.space())?);
    persist(memory, || {
        table::wake_two(&key, &other_key, count, other_count, || {
            change_word(memory, other.address, |old| operation.apply(old)).map(|old| operation.holds(old))
        })
        .map_err(Refusal::Fault)
    })
}

/// Changes a word atomically; returns what it held.
fn change_word(
    memory: &UserMemory,
    address: VirtAddr,
    change: impl Fn(u32) -> u32,
) -> Result<u32, PageFault> {
    let mut old = memory.try_load_u32(address)?;
    loop {
        match memory.try_compare_exchange_u32(address, old, change(old))? {
            found if found == old => return Ok(old),
            found => old = found,
        }
    }
}

/// Zeroes the word that tells of a thread's end, and wakes who waits for that.
pub async fn announce_end(memory: &UserMemory, address: VirtAddr) {
    // A bad address is the program's own loss: nobody is left who could be told.
    if complete(|| memory.write(address, &0u32)).await.is_ok()
        && let Ok(word) = Word::new(address, false)
    {
        let _ = wake(memory.space(), word, ANY_BITS, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_operations_are_decoded() {
        // FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GT, -2)
        let operation = WakeOperation::decode(1 << 28 | 4 << 24 | 1 << 12 | 0xffe).unwrap();
        assert_eq!(operation.apply(7), 8);
        assert!(operation.holds(0) && operation.holds(u32::MAX) && !operation.holds(-2i32 as u32));
        // The argument as a shift: 1 << 5.
        let operation = WakeOperation::decode((8 | 2) << 28 | 5 << 12).unwrap();
        assert_eq!(operation.apply(1), 33);
        assert!(WakeOperation::decode(5 << 28).is_err());
        assert!(WakeOperation::decode(6 << 24).is_err());
    }
}
