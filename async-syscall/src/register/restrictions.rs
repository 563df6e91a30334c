//! Restrictions: what a ring may be used for, laid down before it is enabled.

use ksync::Once;
use linux_abi::Errno;
use linux_abi::io_uring::{
    IORING_RESTRICTION_REGISTER_OP, IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
    IORING_RESTRICTION_SQE_FLAGS_REQUIRED, IORING_RESTRICTION_SQE_OP, Opcode, REGISTER_OPERATIONS,
    Restriction,
};
use linux_object::obstacle::Attempt;

use super::Registration;
use super::files::read_at;
use crate::ring::Ring;

/// More than there are kinds, operations and calls together make no sense.
const MOST_RESTRICTIONS: u32 = 4 + 58 + 31;

/// What is allowed.
#[derive(Default)]
struct Allowed {
    calls: u64,
    operations: u64,
    flags: u8,
    required_flags: u8,
}

/// Those of one ring, if it has any.
pub(crate) struct Restrictions(Once<Allowed>);

impl Restrictions {
    pub(super) const fn new() -> Self {
        Self(Once::new())
    }

    /// Whether a request may be made.
    #[inline]
    pub(crate) fn check_request(&self, opcode: Opcode, flags: u8) -> Result<(), Errno> {
        let Some(allowed) = self.0.get() else { return Ok(()) };
        let is_allowed = allowed.operations & 1 << opcode as u8 != 0
            && flags & allowed.required_flags == allowed.required_flags
            && flags & !(allowed.flags | allowed.required_flags) == 0;
        if is_allowed { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Whether something may be registered.
    pub(super) fn check_call(&self, operation: u32) -> Result<(), Errno> {
        let Some(allowed) = self.0.get() else { return Ok(()) };
        if operation as usize >= REGISTER_OPERATIONS.len() {
            return Err(Errno::EINVAL);
        }
        if allowed.calls & 1 << operation != 0 { Ok(()) } else { Err(Errno::EACCES) }
    }
}

impl Ring {
    pub(super) fn register_restrictions(&self, registration: &Registration<'_>) -> Attempt {
        if self.is_enabled() {
            return Err(Errno::EBADFD.into());
        }
        let restrictions = &self.registered.restrictions.0;
        if restrictions.get().is_some() {
            return Err(Errno::EBUSY.into());
        }
        if registration.argument == 0 || registration.count > MOST_RESTRICTIONS {
            return Err(Errno::EINVAL.into());
        }
        let mut allowed = Allowed::default();
        for index in 0..registration.count as usize {
            let given: Restriction = read_at(registration, registration.argument, index)?;
            let number = given.register_op;
            match given.opcode {
                IORING_RESTRICTION_REGISTER_OP if usize::from(number) < REGISTER_OPERATIONS.len() => {
                    allowed.calls |= 1 << number;
                }
                IORING_RESTRICTION_SQE_OP if usize::from(number) < Opcode::ALL.len() => {
                    allowed.operations |= 1 << number;
                }
                IORING_RESTRICTION_SQE_FLAGS_ALLOWED => allowed.flags = number,
                IORING_RESTRICTION_SQE_FLAGS_REQUIRED => allowed.required_flags = number,
                _ => return Err(Errno::EINVAL.into()),
            }
        }
        restrictions.call_once(|| allowed);
        Ok(0)
    }
}
