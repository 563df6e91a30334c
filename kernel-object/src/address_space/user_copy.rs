//! Copying between the kernel and a program's memory, faults included.
//!
//! A copy holds no lock: it runs until it faults, the fault is answered like the program's own, and it goes on where it
//! stopped. The `try_` forms never wait; they return what to await, and how far they came, so that the caller can go on
//! (or give a short result). The `async` forms await.
//!
//! Every form first puts the address space in force on this hart: after an `.await` that may be another hart.
//!
//! A value is copied once, and what the program does to its memory afterwards changes nothing. Only types whose every
//! bit pattern is valid can be copied in, and only types without padding out (zerocopy's traits say which), so nothing
//! of the kernel's leaks.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use kernel_hal::user_memory::{self, CopyFault};
use kernel_hal::{PAGE_SIZE, PageFault, VirtAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{AddressSpace, FaultOutcome, FaultResult};
use crate::paged_object::{PageLoad, PagerError};

/// A copy that came to an end early.
#[derive(Debug)]
pub struct CopyStop {
    /// Bytes copied before.
    pub done: usize,
    /// Why.
    pub reason: StopReason,
}

/// Why a copy stopped.
#[derive(Debug)]
pub enum StopReason {
    /// A page has to be brought: await this and go on from `done`.
    Load(PageLoad),
    /// The program has no such memory, or may not use it so.
    BadAddress,
    /// No frame for a page.
    OutOfMemory,
}

/// A copy that cannot be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserError {
    /// Bytes copied before.
    pub done: usize,
    /// Why.
    pub kind: UserErrorKind,
}

/// Why a copy cannot be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserErrorKind {
    /// The program has no such memory, or may not use it so; also if its file could not be read.
    BadAddress,
    /// No frame for a page.
    OutOfMemory,
    /// A string has no end within its limit.
    TooLong,
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            UserErrorKind::BadAddress => "bad address",
            UserErrorKind::OutOfMemory => "out of memory",
            UserErrorKind::TooLong => "too long",
        })
    }
}

impl core::error::Error for UserError {}

impl CopyStop {
    /// Waits for what is missing. Returns how far the copy came, if it may go on.
    pub async fn settle(self) -> Result<usize, UserError> {
        let kind = match self.reason {
            StopReason::Load(load) => match load.await {
                Ok(()) => return Ok(self.done),
                Err(PagerError::OutOfMemory) => UserErrorKind::OutOfMemory,
                Err(_) => UserErrorKind::BadAddress,
            },
            StopReason::BadAddress => UserErrorKind::BadAddress,
            StopReason::OutOfMemory => UserErrorKind::OutOfMemory,
        };
        Err(UserError { done: self.done, kind })
    }
}

impl AddressSpace {
    /// Runs a copy, answering its faults, until it ends or would have to wait. `attempt` goes on from the number of
    /// bytes it is given.
    #[inline]
    fn copy_with_faults(
        self: &Arc<Self>,
        address: VirtAddr,
        len: usize,
        mut attempt: impl FnMut(usize) -> Result<(), CopyFault>,
    ) -> Result<(), CopyStop> {
        let mut done = 0;
        // A range that leaves user space is refused as a whole: its first page may well be resolvable.
        if !address.is_user_range(len) {
            return Err(CopyStop { done, reason: StopReason::BadAddress });
        }
        loop {
            self.activate();
            let Err(stopped) = attempt(done) else { return Ok(()) };
            done += stopped.done;
            self.answer(stopped.fault).map_err(|reason| CopyStop { done, reason })?;
        }
    }

    fn answer(&self, fault: PageFault) -> Result<(), StopReason> {
        match self.fault(fault) {
            FaultOutcome::Ready(FaultResult::Resolved) => Ok(()),
            FaultOutcome::Ready(FaultResult::OutOfMemory) => Err(StopReason::OutOfMemory),
            FaultOutcome::Ready(_) => Err(StopReason::BadAddress),
            FaultOutcome::NeedsLoad(load) => Err(StopReason::Load(load)),
        }
    }

    /// Copies from the program's memory as far as that needs no waiting.
    #[inline]
    pub fn try_copy_in(self: &Arc<Self>, destination: &mut [u8], source: VirtAddr) -> Result<(), CopyStop> {
        let len = destination.len();
        self.copy_with_faults(source, len, |done| {
            user_memory::copy_in(&mut destination[done..], source + done)
        })
    }

    /// Copies to the program's memory as far as that needs no waiting.
    #[inline]
    pub fn try_copy_out(self: &Arc<Self>, destination: VirtAddr, source: &[u8]) -> Result<(), CopyStop> {
        self.copy_with_faults(destination, source.len(), |done| {
            user_memory::copy_out(destination + done, &source[done..])
        })
    }

    /// Fills the program's memory with zeros as far as that needs no waiting.
    pub fn try_zero(self: &Arc<Self>, destination: VirtAddr, len: usize) -> Result<(), CopyStop> {
        self.copy_with_faults(destination, len, |done| user_memory::zero(destination + done, len - done))
    }

    /// Copies from the program's memory.
    pub async fn copy_in(
        self: &Arc<Self>,
        destination: &mut [u8],
        source: VirtAddr,
    ) -> Result<(), UserError> {
        let mut done = 0;
        loop {
            let Err(stop) = self.try_copy_in(&mut destination[done..], source + done) else { return Ok(()) };
            done += go_on(stop, done).await?;
        }
    }

    /// Copies to the program's memory.
    pub async fn copy_out(self: &Arc<Self>, destination: VirtAddr, source: &[u8]) -> Result<(), UserError> {
        let mut done = 0;
        loop {
            let Err(stop) = self.try_copy_out(destination + done, &source[done..]) else { return Ok(()) };
            done += go_on(stop, done).await?;
        }
    }

    /// Fills the program's memory with zeros.
    pub async fn zero(self: &Arc<Self>, destination: VirtAddr, len: usize) -> Result<(), UserError> {
        let mut done = 0;
        loop {
            let Err(stop) = self.try_zero(destination + done, len - done) else { return Ok(()) };
            done += go_on(stop, done).await?;
        }
    }

    /// Copies a value in, as far as that needs no waiting: a value that is not whole is no value.
    #[inline]
    pub fn try_read_value<T: FromBytes + IntoBytes>(
        self: &Arc<Self>,
        source: VirtAddr,
    ) -> Result<T, CopyStop> {
        let mut value = T::new_zeroed();
        self.try_copy_in(value.as_mut_bytes(), source)?;
        Ok(value)
    }

    /// Copies a value out as far as that needs no waiting.
    #[inline]
    pub fn try_write_value<T: IntoBytes + Immutable>(
        self: &Arc<Self>,
        destination: VirtAddr,
        value: &T,
    ) -> Result<(), CopyStop> {
        self.try_copy_out(destination, value.as_bytes())
    }

    /// Copies a value in.
    pub async fn read_value<T: FromBytes + IntoBytes>(
        self: &Arc<Self>,
        source: VirtAddr,
    ) -> Result<T, UserError> {
        let mut value = T::new_zeroed();
        self.copy_in(value.as_mut_bytes(), source).await?;
        Ok(value)
    }

    /// Copies a value out.
    pub async fn write_value<T: IntoBytes + Immutable>(
        self: &Arc<Self>,
        destination: VirtAddr,
        value: &T,
    ) -> Result<(), UserError> {
        self.copy_out(destination, value.as_bytes()).await
    }

    /// Copies an array of `count` values in. The caller has checked `count` against what the request may name.
    pub async fn read_array<T: FromBytes + IntoBytes + Clone>(
        self: &Arc<Self>,
        source: VirtAddr,
        count: usize,
    ) -> Result<Vec<T>, UserError> {
        let no_memory = UserError { done: 0, kind: UserErrorKind::OutOfMemory };
        let mut values = Vec::new();
        values.try_reserve_exact(count).map_err(|_| no_memory)?;
        values.resize(count, T::new_zeroed());
        self.copy_in(values.as_mut_slice().as_mut_bytes(), source).await?;
        Ok(values)
    }

    /// Copies an array out.
    pub async fn write_array<T: IntoBytes + Immutable>(
        self: &Arc<Self>,
        destination: VirtAddr,
        values: &[T],
    ) -> Result<(), UserError> {
        self.copy_out(destination, values.as_bytes()).await
    }

    /// Copies a string in that a zero byte ends, without that byte. Fails if it and its end do not fit in `limit`
    /// bytes. What lies behind the end is not looked at beyond its page.
    pub async fn read_string(self: &Arc<Self>, source: VirtAddr, limit: usize) -> Result<Vec<u8>, UserError> {
        let mut string = Vec::new();
        let mut stage = [0; 256];
        while string.len() < limit {
            let at = source + string.len();
            let piece = stage.len().min(PAGE_SIZE - at.page_offset()).min(limit - string.len());
            let piece = &mut stage[..piece];
            self.copy_in(piece, at).await.map_err(|error| UserError { done: string.len(), ..error })?;
            let end = piece.iter().position(|byte| *byte == 0);
            let bytes = &piece[..end.unwrap_or(piece.len())];
            string
                .try_reserve(bytes.len())
                .map_err(|_| UserError { done: string.len(), kind: UserErrorKind::OutOfMemory })?;
            string.extend_from_slice(bytes);
            if end.is_some() {
                return Ok(string);
            }
        }
        Err(UserError { done: string.len(), kind: UserErrorKind::TooLong })
    }

    /// Copies a string in, if it lies in memory that needs no waiting; its length without the zero byte. For short
    /// names with room on the caller's stack. `None` inside means that it does not fit.
    pub fn try_read_string(
        self: &Arc<Self>,
        destination: &mut [u8],
        source: VirtAddr,
    ) -> Result<Option<usize>, CopyStop> {
        let mut len = 0;
        while len < destination.len() {
            let at = source + len;
            let piece = (destination.len() - len).min(64 - at.as_usize() % 64);
            let piece = &mut destination[len..len + piece];
            self.try_copy_in(piece, at).map_err(|stop| CopyStop { done: len, ..stop })?;
            if let Some(end) = piece.iter().position(|byte| *byte == 0) {
                return Ok(Some(len + end));
            }
            len += piece.len();
        }
        Ok(None)
    }

    /// Loads a naturally aligned word atomically, as futexes do.
    pub fn try_load_u32(self: &Arc<Self>, address: VirtAddr) -> Result<u32, CopyStop> {
        let mut word = 0;
        self.copy_with_faults(address, size_of::<u32>(), |_| {
            word = user_memory::load_u32(address).map_err(no_bytes)?;
            Ok(())
        })?;
        Ok(word)
    }

    /// Exchanges a naturally aligned word atomically if it holds `expected`; returns what it held.
    pub fn try_compare_exchange_u32(
        self: &Arc<Self>,
        address: VirtAddr,
        expected: u32,
        new: u32,
    ) -> Result<u32, CopyStop> {
        let mut found = 0;
        self.copy_with_faults(address, size_of::<u32>(), |_| {
            found = user_memory::compare_exchange_u32(address, expected, new).map_err(no_bytes)?;
            Ok(())
        })?;
        Ok(found)
    }
}

fn no_bytes(fault: PageFault) -> CopyFault {
    CopyFault { done: 0, fault }
}

/// Waits for what stopped a copy that had come `before` bytes far already; returns how much further it came.
async fn go_on(stop: CopyStop, before: usize) -> Result<usize, UserError> {
    stop.settle().await.map_err(|error| UserError { done: before + error.done, ..error })
}
