//! Seals: what may no longer be done to an object, for programs that share memory without trusting each other.
//!
//! The object only remembers them; whoever changes its size or its content on behalf of a program asks first.

use core::sync::atomic::Ordering;

use bitflags::bitflags;

use super::PagedObject;

bitflags! {
    /// What may no longer be done. The numbers are those of Linux's `F_SEAL_`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Seals: u8 {
        /// Adding seals.
        const SEAL = 0x01;
        /// Making it smaller.
        const SHRINK = 0x02;
        /// Making it larger.
        const GROW = 0x04;
        /// Changing its content.
        const WRITE = 0x08;
        /// Changing its content but through mappings that exist.
        const FUTURE_WRITE = 0x10;
        /// Changing whether it can be executed.
        const EXECUTE = 0x20;
    }
}

/// Why a seal was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// No more seals may be added.
    Closed,
    /// It is mapped so that it can be stored to.
    Busy,
}

impl PagedObject {
    /// What may no longer be done. Objects are born closed to seals.
    pub fn seals(&self) -> Seals {
        Seals::from_bits_retain(self.seals.load(Ordering::SeqCst))
    }

    /// Whether its content may not be changed by a new request.
    #[inline]
    pub fn is_write_sealed(&self) -> bool {
        self.seals().intersects(Seals::WRITE.union(Seals::FUTURE_WRITE))
    }

    /// Lets seals be added: before anybody else knows the object.
    pub fn open_to_seals(&self) {
        self.seals.store(0, Ordering::SeqCst);
    }

    /// Adds seals. Who maps the object for storing looks at the seals again afterwards: one of the two notices.
    pub fn add_seals(&self, seals: Seals) -> Result<(), Sealed> {
        let update = self.seals.try_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
            let is_closed = Seals::from_bits_retain(old).contains(Seals::SEAL);
            (!is_closed).then_some(old | seals.bits())
        });
        let before = update.map_err(|_| Sealed::Closed)?;
        let is_new = seals.contains(Seals::WRITE) && before & Seals::WRITE.bits() == 0;
        if is_new && self.is_mapped_writable() {
            self.seals.store(before, Ordering::SeqCst);
            return Err(Sealed::Busy);
        }
        Ok(())
    }
}
