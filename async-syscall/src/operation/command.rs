//! `URING_CMD`: commands that files have of their own. Sockets have those that read and set their options.

use linux_abi::Errno;
use linux_object::obstacle::Attempt;
use linux_object::socket::{SOL_SOCKET, socket_of};

use super::{Begun, Issue, Prepared, address, attempt};
use crate::request::Outcome;

const MOST_VALUE_BYTES: usize = 256;

enum Kind {
    Read,
    Set,
}

/// A command to a socket.
pub(crate) struct Command {
    kind: Kind,
    level: i32,
    option: i32,
    value: u64,
    len: usize,
}

pub(super) fn prepare(issue: &Issue<'_>) -> Attempt<Prepared> {
    const READ_OPTION: u32 = 2;
    const SET_OPTION: u32 = 3;
    let entry = issue.entry;
    if entry.off >> 32 != 0 || entry.rw_flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let kind = match entry.off as u32 {
        READ_OPTION => Kind::Read,
        SET_OPTION => Kind::Set,
        _ => return Err(Errno::EOPNOTSUPP.into()),
    };
    let (level, option) = (entry.addr as i32, (entry.addr >> 32) as i32);
    let len = usize::try_from(entry.file_index as i32).map_err(|_| Errno::EINVAL)?;
    Ok(Prepared::Command(Command { kind, level, option, value: entry.addr3, len }))
}

impl Command {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file = issue.file()?;
        socket_of(&file).map_err(|_| Errno::EOPNOTSUPP)?;
        let Self { kind, level, option, value, len } = self;
        let (memory, thread) = (issue.memory(), issue.thread.clone());
        if matches!(kind, Kind::Read) && level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut answer = None;
        Ok(attempt(Some(file.clone()), move || {
            let socket = socket_of(&file)?;
            let len = match kind {
                Kind::Read => {
                    let answer = match &answer {
                        Some(answer) => answer,
                        // Once only: to tell an error takes it away.
                        None => answer.insert(socket.option(level, option)?),
                    };
                    let told = &answer[..len.min(answer.len())];
                    memory.write_bytes(address(value), told)?;
                    told.len()
                }
                Kind::Set => {
                    let mut bytes = [0; MOST_VALUE_BYTES];
                    let bytes = &mut bytes[..len.min(MOST_VALUE_BYTES)];
                    memory.read_bytes(address(value), bytes)?;
                    socket.set_option(level, option, bytes, &thread)?;
                    0
                }
            };
            Ok(Outcome::value(len))
        }))
    }
}
