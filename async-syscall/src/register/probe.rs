//! Which operations there are.

use linux_abi::Errno;
use linux_abi::io_uring::{IO_URING_OP_SUPPORTED, Opcode, ProbeHeader, ProbeOperation};
use linux_object::obstacle::Attempt;

use super::Registration;
use crate::operation::{ROWS, Support, address};

/// The most that a program may ask for.
const MOST_OPERATIONS: u32 = 256;

/// Tells the program what the table of operations says.
pub(super) fn probe(registration: &Registration<'_>) -> Attempt {
    if registration.argument == 0 || registration.count > MOST_OPERATIONS {
        return Err(Errno::EINVAL.into());
    }
    let memory = registration.memory();
    let at = address(registration.argument);
    let room = registration.count as usize;
    // A program that has not zeroed its memory may mean something by it that is not known here.
    let given: ProbeHeader = memory.read(at)?;
    if given != ProbeHeader::default() {
        return Err(Errno::EINVAL.into());
    }
    let operations = at + size_of::<ProbeHeader>();
    for index in 0..room {
        let given: ProbeOperation = memory.read(operations + index * size_of::<ProbeOperation>())?;
        if given != ProbeOperation::default() {
            return Err(Errno::EINVAL.into());
        }
    }
    let told = room.min(ROWS.len());
    let last_op = Opcode::ALL.len() as u8 - 1;
    memory.write(at, &ProbeHeader { last_op, ops_len: told as u8, ..Default::default() })?;
    for (index, row) in ROWS.iter().take(told).enumerate() {
        let flags = if row.support == Support::Absent { 0 } else { IO_URING_OP_SUPPORTED as u16 };
        let operation = ProbeOperation { op: index as u8, flags, ..Default::default() };
        memory.write(operations + index * size_of::<ProbeOperation>(), &operation)?;
    }
    Ok(0)
}
