//! A program's memory, as it alleges it in a syscall.
//!
//! Addresses are checked when they are used, not before: what is mapped may change at any time. A fault is resolved
//! here if that needs no device; otherwise the attempt ends with the obstacle, and what was moved so far stays counted.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_hal::user_memory::{self, CopyFault};
use kernel_hal::{PageFault, VirtAddr};
use kernel_object::address_space::{AddressSpace, FaultOutcome, FaultResult};
use kernel_object::paged_object::PagerError;
use linux_abi::Errno;
use linux_abi::limits::PATH_MAX;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::file::errno_of;
use crate::memory::pressure;
use crate::obstacle::{Attempt, Obstacle};

/// Access to the memory of an address space, which each use puts in force on this hart.
#[derive(Clone)]
pub struct UserMemory {
    space: Arc<AddressSpace>,
}

/// Reads strings in pieces that never cross a page.
const STRING_PIECE: usize = 256;

impl UserMemory {
    /// The memory of `space`.
    pub fn new(space: Arc<AddressSpace>) -> Self {
        Self { space }
    }

    /// The address space.
    pub fn space(&self) -> &Arc<AddressSpace> {
        &self.space
    }

    /// Loads an aligned word if it is present. The address space must be in force on this hart.
    pub fn try_load_u32(&self, address: VirtAddr) -> Result<u32, PageFault> {
        user_memory::load_u32(address)
    }

    /// Replaces an aligned word that holds `expected`, if it is present; returns what it held. The address space must be
    /// in force on this hart.
    pub fn try_compare_exchange_u32(
        &self,
        address: VirtAddr,
        expected: u32,
        new: u32,
    ) -> Result<u32, PageFault> {
        user_memory::compare_exchange_u32(address, expected, new)
    }

    /// Lets a fault be resolved: `Ok` to go on, or what stands in the way.
    pub(crate) fn settle(&self, fault: PageFault) -> Result<(), Obstacle> {
        match self.space.fault(fault) {
            FaultOutcome::Ready(FaultResult::Resolved) => Ok(()),
            FaultOutcome::Ready(FaultResult::OutOfMemory) => {
                Err(Obstacle::Wait(Box::pin(pressure::make_room(self.space.clone()))))
            }
            FaultOutcome::Ready(_) => Err(Errno::EFAULT.into()),
            FaultOutcome::NeedsLoad(load) => {
                let space = self.space.clone();
                Err(Obstacle::Wait(Box::pin(async move {
                    match load.await {
                        Err(PagerError::OutOfMemory) => pressure::make_room(space).await,
                        other => other.map_err(errno_of),
                    }
                })))
            }
        }
    }

    /// Repeats a copy until it is done, resolving faults between. `done` counts what was copied, also on failure.
    fn persist(
        &self,
        done: &mut usize,
        mut copy: impl FnMut(usize) -> Result<(), CopyFault>,
    ) -> Result<(), Obstacle> {
        loop {
            // After a wait this may be another hart.
            self.space.activate();
            let stopped = match copy(*done) {
                Ok(()) => return Ok(()),
                Err(stopped) => stopped,
            };
            *done += stopped.done;
            self.settle(stopped.fault)?;
        }
    }

    /// Copies from the program.
    pub fn read_bytes(&self, address: VirtAddr, destination: &mut [u8]) -> Result<(), Obstacle> {
        self.persist(&mut 0, |done| user_memory::copy_in(&mut destination[done..], address + done))
    }

    /// Copies to the program.
    pub fn write_bytes(&self, address: VirtAddr, source: &[u8]) -> Result<(), Obstacle> {
        self.persist(&mut 0, |done| user_memory::copy_out(address + done, &source[done..]))
    }

    /// Reads a structure.
    pub fn read<T: FromBytes + IntoBytes>(&self, address: VirtAddr) -> Attempt<T> {
        let mut value = T::new_zeroed();
        self.read_bytes(address, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a structure.
    pub fn write<T: IntoBytes + Immutable + ?Sized>(&self, address: VirtAddr, value: &T) -> Attempt<()> {
        self.write_bytes(address, value.as_bytes())
    }

    /// Reads an array of structures.
    pub fn read_array<T: FromBytes + IntoBytes + Clone>(
        &self,
        address: VirtAddr,
        len: usize,
    ) -> Attempt<Vec<T>> {
        let mut values = Vec::new();
        values.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        values.resize(len, T::new_zeroed());
        for (index, value) in values.iter_mut().enumerate() {
            self.read_bytes(address + index * size_of::<T>(), value.as_mut_bytes())?;
        }
        Ok(values)
    }

    /// Reads a string that ends with a zero byte. `too_long`: the error if it has `limit` bytes or more.
    pub fn read_string(&self, address: VirtAddr, limit: usize, too_long: Errno) -> Attempt<Vec<u8>> {
        let mut string = Vec::new();
        let mut piece = [0; STRING_PIECE];
        while string.len() < limit {
            let at = address.checked_add(string.len()).ok_or(Errno::EFAULT)?;
            let to_boundary = STRING_PIECE - at.as_usize() % STRING_PIECE;
            let piece = &mut piece[..to_boundary];
            self.read_bytes(at, piece)?;
            let end = piece.iter().position(|&byte| byte == 0);
            let text = &piece[..end.unwrap_or(piece.len())];
            string.try_reserve(text.len()).map_err(|_| Errno::ENOMEM)?;
            string.extend_from_slice(text);
            if end.is_some() && string.len() < limit {
                return Ok(string);
            }
        }
        Err(too_long.into())
    }

    /// Reads a path.
    pub fn read_path(&self, address: VirtAddr) -> Attempt<Vec<u8>> {
        self.read_string(address, PATH_MAX, Errno::ENAMETOOLONG)
    }

    /// The pieces that an array of `iovec` names, as one buffer.
    pub fn buffer(&self, pieces: Vec<(VirtAddr, usize)>) -> UserBuffer {
        UserBuffer { memory: self.clone(), pieces: Pieces::Many(pieces), at: 0, inside: 0, done: 0 }
    }

    /// One piece as a buffer.
    pub fn simple_buffer(&self, address: VirtAddr, len: usize) -> UserBuffer {
        let pieces = Pieces::One((address, len));
        UserBuffer { memory: self.clone(), pieces, at: 0, inside: 0, done: 0 }
    }
}

/// One piece needs no allocation.
enum Pieces {
    One((VirtAddr, usize)),
    Many(Vec<(VirtAddr, usize)>),
}

/// Where a read or write moves bytes to or from: pieces of a program's memory, and how far it came.
pub struct UserBuffer {
    memory: UserMemory,
    pieces: Pieces,
    at: usize,
    inside: usize,
    done: usize,
}

/// A point of a transfer.
#[derive(Clone, Copy)]
pub struct Mark {
    at: usize,
    inside: usize,
    done: usize,
}

impl Mark {
    /// Bytes moved before it.
    pub fn done(&self) -> usize {
        self.done
    }
}

impl UserBuffer {
    fn pieces(&self) -> &[(VirtAddr, usize)] {
        match &self.pieces {
            Pieces::One(piece) => core::slice::from_ref(piece),
            Pieces::Many(pieces) => pieces,
        }
    }

    /// Bytes moved so far.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Bytes still to be moved.
    pub fn remaining(&self) -> usize {
        let rest: usize = self.pieces().iter().skip(self.at).map(|piece| piece.1).sum();
        rest - self.inside
    }

    /// Leaves out what is beyond the next `most` bytes.
    pub fn cut(&mut self, most: usize) {
        let (at, mut left) = (self.at, most.saturating_add(self.inside));
        let pieces = match &mut self.pieces {
            Pieces::One(piece) => core::slice::from_mut(piece),
            Pieces::Many(pieces) => pieces,
        };
        for piece in pieces.iter_mut().skip(at) {
            piece.1 = piece.1.min(left);
            left -= piece.1;
        }
    }

    /// The next bytes to be moved, if there are any left.
    fn next(&mut self) -> Option<(VirtAddr, usize)> {
        loop {
            let &(address, len) = self.pieces().get(self.at)?;
            if self.inside < len {
                return Some((address + self.inside, len - self.inside));
            }
            self.at += 1;
            self.inside = 0;
        }
    }

    /// Where the transfer stands, for [`Self::rewind`].
    pub fn mark(&self) -> Mark {
        Mark { at: self.at, inside: self.inside, done: self.done }
    }

    /// Goes back to a mark: what was moved since does not count.
    pub fn rewind(&mut self, mark: Mark) {
        Mark { at: self.at, inside: self.inside, done: self.done } = mark;
    }

    fn advance(&mut self, bytes: usize) {
        self.inside += bytes;
        self.done += bytes;
    }

    /// Moves at most `most` bytes by `copy`, which gets the number of bytes it has moved, an address and a length.
    pub fn move_with(
        &mut self,
        most: usize,
        mut copy: impl FnMut(usize, VirtAddr, usize) -> Result<(), CopyFault>,
    ) -> Result<(), Obstacle> {
        let mut moved = 0;
        while moved < most
            && let Some((address, len)) = self.next()
        {
            let len = len.min(most - moved);
            let mut done = 0;
            let outcome =
                self.memory.persist(&mut done, |done| copy(moved + done, address + done, len - done));
            let counted = if outcome.is_ok() { len } else { done };
            self.advance(counted);
            moved += counted;
            outcome?;
        }
        Ok(())
    }

    /// Moves these bytes to the program, as many as it has room for.
    pub fn copy_out(&mut self, bytes: &[u8]) -> Result<(), Obstacle> {
        self.move_with(bytes.len(), |done, address, len| {
            user_memory::copy_out(address, &bytes[done..done + len])
        })
    }

    /// Moves bytes from the program; returns how many there were.
    pub fn copy_in(&mut self, bytes: &mut [u8]) -> Attempt {
        let before = self.done;
        self.move_with(bytes.len(), |done, address, len| {
            user_memory::copy_in(&mut bytes[done..done + len], address)
        })?;
        Ok(self.done - before)
    }

    /// Fills the rest with zeros.
    pub fn fill_with_zeros(&mut self) -> Result<(), Obstacle> {
        self.move_with(usize::MAX, |_, address, len| user_memory::zero(address, len))
    }

    /// Counts so many of the next bytes as moved without looking at them.
    pub fn skip(&mut self, mut bytes: usize) {
        while bytes > 0
            && let Some((_, len)) = self.next()
        {
            let step = len.min(bytes);
            self.advance(step);
            bytes -= step;
        }
    }

    /// Counts the rest as moved without looking at it.
    pub fn skip_all(&mut self) {
        while let Some((_, len)) = self.next() {
            self.advance(len);
        }
    }
}
