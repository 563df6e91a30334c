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

mod buffer;

pub use buffer::{Mark, Progress, UserBuffer};

/// Access to the memory of an address space, which each use puts in force on this hart.
#[derive(Clone)]
pub struct UserMemory {
    space: Arc<AddressSpace>,
}

/// Lets a fault be resolved: `Ok` to go on, or what stands in the way.
pub(super) fn settle(space: &Arc<AddressSpace>, fault: PageFault) -> Result<(), Obstacle> {
    match space.fault(fault) {
        FaultOutcome::Ready(FaultResult::Resolved) => Ok(()),
        FaultOutcome::Ready(FaultResult::OutOfMemory) => {
            Err(Obstacle::Wait(Box::pin(pressure::make_room(space.clone()))))
        }
        FaultOutcome::Ready(_) => Err(Errno::EFAULT.into()),
        FaultOutcome::NeedsLoad(load) => {
            let space = space.clone();
            Err(Obstacle::Wait(Box::pin(async move {
                match load.await {
                    Err(PagerError::OutOfMemory) => pressure::make_room(space).await,
                    other => other.map_err(errno_of),
                }
            })))
        }
    }
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
        settle(&self.space, fault)
    }

    /// Repeats a copy until it is done, resolving faults between.
    #[inline]
    fn persist(&self, mut copy: impl FnMut(usize) -> Result<(), CopyFault>) -> Result<(), Obstacle> {
        // After a wait this may be another hart.
        self.space.activate();
        match copy(0) {
            Ok(()) => Ok(()),
            Err(stopped) => self.go_on(stopped, &mut copy),
        }
    }

    #[cold]
    fn go_on(
        &self,
        mut stopped: CopyFault,
        copy: &mut dyn FnMut(usize) -> Result<(), CopyFault>,
    ) -> Result<(), Obstacle> {
        let mut done = 0;
        loop {
            done += stopped.done;
            self.settle(stopped.fault)?;
            self.space.activate();
            match copy(done) {
                Ok(()) => return Ok(()),
                Err(again) => stopped = again,
            }
        }
    }

    /// Copies from the program.
    pub fn read_bytes(&self, address: VirtAddr, destination: &mut [u8]) -> Result<(), Obstacle> {
        self.persist(|done| user_memory::copy_in(&mut destination[done..], address + done))
    }

    /// Copies to the program.
    pub fn write_bytes(&self, address: VirtAddr, source: &[u8]) -> Result<(), Obstacle> {
        self.persist(|done| user_memory::copy_out(address + done, &source[done..]))
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
    pub fn buffer(&self, pieces: Vec<(VirtAddr, usize)>) -> UserBuffer<'static> {
        UserBuffer::of_pieces(self.space.clone(), pieces)
    }

    /// One piece as a buffer.
    pub fn simple_buffer(&self, address: VirtAddr, len: usize) -> UserBuffer<'static> {
        UserBuffer::owned(self.space.clone(), address, len)
    }
}
