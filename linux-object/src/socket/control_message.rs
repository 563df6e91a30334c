//! Control messages: what comes beside bytes, as a program writes and reads it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use linux_abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Ancillary, MOST_RIGHTS, MessageFlags, PeerCredentials, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET};
use crate::file::FileTable;
use crate::thread::Thread;

/// `struct cmsghdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ControlHeader {
    len: u64,
    level: i32,
    kind: i32,
}

const CONTROL_HEADER: usize = size_of::<ControlHeader>();
const ALIGNMENT: usize = 8;

/// What the control messages of a send ask for.
pub fn read_control(
    mut control: &[u8],
    files: &FileTable,
    thread: &Thread,
    ancillary: &mut Option<Box<Ancillary>>,
) -> Result<(), Errno> {
    while control.len() >= CONTROL_HEADER {
        let (header, _) = ControlHeader::read_from_prefix(control).map_err(|_| Errno::EINVAL)?;
        let len = usize::try_from(header.len).map_err(|_| Errno::EINVAL)?;
        let payload = control.get(CONTROL_HEADER..len).ok_or(Errno::EINVAL)?;
        if header.level == SOL_SOCKET {
            let ancillary = ancillary.get_or_insert_default();
            match header.kind {
                SCM_RIGHTS => {
                    for number in payload.as_chunks::<4>().0 {
                        ancillary.rights.push(files.get_place(i32::from_le_bytes(*number))?);
                    }
                    if ancillary.rights.len() > MOST_RIGHTS {
                        return Err(Errno::EINVAL);
                    }
                }
                SCM_CREDENTIALS => ancillary.credentials = Some(alleged_credentials(payload, thread)?),
                _ => return Err(Errno::EINVAL),
            }
        }
        control = control.get(len.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    if ancillary.as_ref().is_some_and(|found| found.rights.is_empty() && found.credentials.is_none()) {
        *ancillary = None;
    }
    Ok(())
}

/// A program may say who it is; only a privileged one may say that it is somebody else.
fn alleged_credentials(payload: &[u8], thread: &Thread) -> Result<PeerCredentials, Errno> {
    let ([process, user, group], rest) = <[i32; 3]>::read_from_prefix(payload).map_err(|_| Errno::EINVAL)?;
    if !rest.is_empty() {
        return Err(Errno::EINVAL);
    }
    let alleged = PeerCredentials { process, user: user as u32, group: group as u32 };
    let own = thread.credentials();
    let is_own_user = [own.real_user, own.effective_user, own.saved_user].contains(&alleged.user);
    let is_own_group = [own.real_group, own.effective_group, own.saved_group].contains(&alleged.group);
    let is_own = process == thread.process().id() && is_own_user && is_own_group;
    if is_own || own.is_privileged() { Ok(alleged) } else { Err(Errno::EPERM) }
}

/// The control messages of what was received; descriptors get their numbers here.
pub fn write_control(
    ancillary: Option<Box<Ancillary>>,
    files: &FileTable,
    wants_credentials: bool,
    room: usize,
    told: &mut MessageFlags,
) -> Vec<u8> {
    let mut control = Vec::new();
    let Some(ancillary) = ancillary else { return control };
    let put = |control: &mut Vec<u8>, kind: i32, payload: &[u8]| {
        let len = CONTROL_HEADER + payload.len();
        let header = ControlHeader { len: len as u64, level: SOL_SOCKET, kind };
        control.resize(control.len().next_multiple_of(ALIGNMENT), 0);
        control.extend_from_slice(header.as_bytes());
        control.extend_from_slice(payload);
        // What follows a message begins aligned, if there is room.
        control.resize(control.len().next_multiple_of(ALIGNMENT).min(room.max(control.len())), 0);
    };
    if wants_credentials && let Some(sender) = ancillary.credentials {
        let payload = [sender.process, sender.user as i32, sender.group as i32];
        if CONTROL_HEADER + size_of_val(&payload) <= room {
            put(&mut control, SCM_CREDENTIALS, payload.as_bytes());
        } else {
            told.insert(MessageFlags::CTRUNC);
        }
    }
    if !ancillary.rights.is_empty() {
        let left = room.saturating_sub(control.len() + CONTROL_HEADER) / size_of::<i32>();
        let close_on_exec = told.contains(MessageFlags::CMSG_CLOEXEC);
        let mut numbers = Vec::new();
        for right in ancillary.rights.into_iter() {
            let number = if numbers.len() < left { files.insert(right, 0, close_on_exec).ok() } else { None };
            match number {
                Some(number) => numbers.push(number),
                None => told.insert(MessageFlags::CTRUNC),
            }
        }
        if !numbers.is_empty() {
            put(&mut control, SCM_RIGHTS, numbers.as_bytes());
        }
    }
    control
}
