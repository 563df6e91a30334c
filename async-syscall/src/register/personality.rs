//! Personalities: rights that requests can act with in place of the submitter's.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_object::credentials::Credentials;
use linux_object::obstacle::Attempt;

use super::Registration;
use crate::ring::Ring;

#[derive(Default)]
struct Numbered {
    last: u16,
    known: BTreeMap<u16, Arc<Credentials>>,
}

/// Those of one ring.
pub(crate) struct Personalities(SpinLock<Numbered>);

impl Personalities {
    pub(super) const fn new() -> Self {
        Self(SpinLock::new(Rank::FILE_TABLE, Numbered { last: 0, known: BTreeMap::new() }))
    }

    /// The one with this number.
    pub(crate) fn get(&self, number: u16) -> Result<Arc<Credentials>, Errno> {
        self.0.lock().known.get(&number).cloned().ok_or(Errno::EINVAL)
    }

    /// All of them, for whoever shows the ring.
    pub(crate) fn numbers(&self) -> alloc::vec::Vec<u16> {
        self.0.lock().known.keys().copied().collect()
    }
}

impl Ring {
    /// The caller's rights get a number.
    pub(super) fn register_personality(&self, registration: &Registration<'_>) -> Attempt {
        registration.without_argument()?;
        let credentials = registration.thread.credentials();
        let mut numbered = self.registered.personalities.0.lock();
        if numbered.known.len() >= usize::from(u16::MAX) {
            return Err(Errno::ENOSPC.into());
        }
        let mut number = numbered.last;
        loop {
            number = number.checked_add(1).unwrap_or(1);
            if !numbered.known.contains_key(&number) {
                break;
            }
        }
        numbered.last = number;
        numbered.known.insert(number, credentials);
        Ok(usize::from(number))
    }

    pub(super) fn unregister_personality(&self, registration: &Registration<'_>) -> Attempt {
        if registration.argument != 0 {
            return Err(Errno::EINVAL.into());
        }
        let number = u16::try_from(registration.count).map_err(|_| Errno::EINVAL)?;
        let former = self.registered.personalities.0.lock().known.remove(&number);
        if former.is_some() { Ok(0) } else { Err(Errno::EINVAL.into()) }
    }
}
