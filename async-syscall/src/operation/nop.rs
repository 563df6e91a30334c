//! `NOP`.

use linux_abi::Errno;
use linux_object::obstacle::Attempt;

use super::{Begun, Issue, Prepared};
use crate::request::Outcome;

/// Its flag that gives it a result.
const INJECT_RESULT: u32 = 1;

/// Does nothing.
pub(crate) struct Nop {
    result: i32,
}

pub(super) fn prepare(issue: &Issue<'_>) -> Attempt<Prepared> {
    let result = match issue.entry.rw_flags {
        0 => 0,
        INJECT_RESULT => issue.entry.len as i32,
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(Prepared::Nop(Nop { result }))
}

impl Nop {
    pub(super) fn begin(self) -> Result<Begun, Errno> {
        Ok(Begun::Ended(Outcome { result: self.result, is_success: self.result >= 0, ..Outcome::value(0) }))
    }
}
