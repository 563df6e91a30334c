//! Sending, receiving, and what leads to a connection.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::OpenFlags;
use linux_abi::io_uring::{
    AcceptFlags, CompletionFlags, IORING_FILE_INDEX_ALLOC, Opcode, RequestFlags, SocketFlags,
};
use linux_abi::poll::PollEvents;
use linux_object::file::{File, OpenFile};
use linux_object::obstacle::{Attempt, Obstacle};
use linux_object::socket::message::try_read_name;
use linux_object::socket::{MessageFlags, Outgoing, Received, Shutdown, SocketName, socket_of};
use linux_object::user_buffer::UserMemory;

use super::buffers::{Destination, refuse_to_wait};
use super::{Begun, Issue, Prepared, address, attempt};
use crate::request::Outcome;
use crate::ring::Ring;

/// A single transfer moves at most this much, like Linux's.
const MOST_BYTES: usize = 0x7fff_f000;

/// Receives bytes, once or again and again.
pub(crate) struct Receive {
    flags: MessageFlags,
    options: SocketFlags,
}

pub(super) fn prepare_receive(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if entry.off != 0 || entry.file_index != 0 {
        return Err(Errno::EINVAL.into());
    }
    let options = SocketFlags::from_bits(entry.ioprio).ok_or(Errno::EINVAL)?;
    let flags = MessageFlags::from_bits_retain(entry.rw_flags);
    if !(SocketFlags::POLL_FIRST | SocketFlags::MULTISHOT).contains(options) {
        return Err(Errno::EINVAL.into());
    }
    if options.contains(SocketFlags::MULTISHOT) {
        let chooses = issue.flags().contains(RequestFlags::BUFFER_SELECT);
        if !chooses || flags.contains(MessageFlags::WAITALL) || entry.len != 0 {
            return Err(Errno::EINVAL.into());
        }
    }
    Ok(Prepared::Receive(Receive { flags, options }))
}

impl Receive {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file = issue.file()?;
        socket_of(&file)?;
        let destination = Destination::of(issue)?;
        let memory = issue.memory();
        let more = self.options.contains(SocketFlags::MULTISHOT).then(|| More::of(issue));
        let keep = file.clone();
        // What was received towards `MSG_WAITALL` stays received, whatever comes between.
        let mut whole = None;
        Ok(attempt(Some(keep), move || {
            loop {
                let outcome = destination.with_piece(|piece| {
                    let buffer = whole.get_or_insert_with(|| {
                        memory.simple_buffer(address(piece.address), (piece.len as usize).min(MOST_BYTES))
                    });
                    let wanted = buffer.done() + buffer.remaining();
                    let mut received = Received::default();
                    let outcome = socket_of(&file)?.try_receive(buffer, self.flags, &mut received);
                    let outcome = wait_or_refuse(outcome, self.flags);
                    if outcome.is_ok() || piece.is_chosen() {
                        whole = None;
                    }
                    let moved = outcome?;
                    let is_all = !self.flags.contains(MessageFlags::WAITALL) || moved == wanted;
                    let mut flags = CompletionFlags::empty();
                    flags.set(CompletionFlags::SOCK_NONEMPTY, file.file().ready().contains(PollEvents::IN));
                    Ok(Outcome { flags, is_success: is_all, ..Outcome::value(moved) })
                })?;
                match &more {
                    Some(more) if outcome.result > 0 && more.tell(outcome) => {}
                    _ => return Ok(outcome),
                }
            }
        }))
    }
}

/// Waits, unless the request says otherwise. That the file is non-blocking does not count, as on Linux: the wait of a
/// ring's request blocks nobody.
pub(super) fn wait_or_refuse(outcome: Attempt, flags: MessageFlags) -> Attempt {
    if flags.contains(MessageFlags::DONTWAIT) { refuse_to_wait(outcome) } else { outcome }
}

/// What the second completion of a send from its place says: the bytes were copied after all.
pub(super) const NOTIFICATION_COPIED: i32 = i32::MIN;

/// Sends bytes.
pub(crate) struct Send {
    flags: MessageFlags,
    options: SocketFlags,
    name: Option<SocketName>,
}

fn read_name(memory: &UserMemory, at: u64, len: usize) -> Attempt<SocketName> {
    try_read_name(memory, address(at), len)
}

pub(super) fn prepare_send(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let is_in_place = entry.opcode == Opcode::SendZc as u8;
    let mut known = SocketFlags::POLL_FIRST;
    if is_in_place {
        known |= SocketFlags::FIXED_BUF | SocketFlags::ZC_REPORT_USAGE;
        let skips = issue.flags().contains(RequestFlags::CQE_SKIP_SUCCESS);
        if entry.addr3 != 0 || entry.padding != 0 || skips {
            return Err(Errno::EINVAL.into());
        }
    }
    let options = SocketFlags::from_bits(entry.ioprio).filter(|&options| known.contains(options));
    let options = options.ok_or(Errno::EINVAL)?;
    let flags = MessageFlags::from_bits_retain(entry.rw_flags) | MessageFlags::NOSIGNAL;
    // The length of the name lies in the lower half of the word.
    let name_len = (entry.file_index & 0xffff) as usize;
    if entry.file_index >> 16 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let name = match entry.off {
        0 => None,
        at => Some(read_name(&issue.memory(), at, name_len)?),
    };
    Ok(Prepared::Send(Send { flags, options, name }))
}

impl Send {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file = issue.file()?;
        socket_of(&file)?;
        let entry = issue.entry;
        let fixed = match self.options.contains(SocketFlags::FIXED_BUF) {
            true => Some(issue.ring.registered_memory(entry.buf_index, entry.addr, entry.len)?),
            false => None,
        };
        let destination = Destination::of(issue)?;
        let memory = issue.memory();
        let mut outgoing = Outgoing { name: self.name, ..Outgoing::default() };
        let is_told = self.options.contains(SocketFlags::ZC_REPORT_USAGE);
        let notification = Some(if is_told { NOTIFICATION_COPIED } else { 0 });
        let keep = file.clone();
        let mut whole = fixed.as_ref().map(|fixed| fixed.buffer(entry.addr, entry.len));
        Ok(attempt(Some(keep), move || {
            // What is registered stays so until it was sent.
            let _held = &fixed;
            destination.with_piece(|piece| {
                let len = (piece.len as usize).min(MOST_BYTES);
                let buffer = whole.get_or_insert_with(|| memory.simple_buffer(address(piece.address), len));
                let outcome = socket_of(&file)?.try_send(buffer, self.flags, &mut outgoing);
                let outcome = wait_or_refuse(outcome, self.flags);
                let done = buffer.done();
                if piece.is_chosen() && (outcome.is_ok() || done == 0) {
                    whole = None;
                }
                let moved = match (outcome, done) {
                    (Err(Obstacle::Error(_)), moved) if moved > 0 => moved,
                    (outcome, _) => outcome?,
                };
                Ok(Outcome { notification, ..Outcome::moved(moved, len) })
            })
        }))
    }
}

/// Takes connections, once or again and again.
pub(crate) struct Accept {
    status: OpenFlags,
    close_on_exec: bool,
    options: AcceptFlags,
    name: u64,
    name_len: u64,
    /// 0: an ordinary descriptor; otherwise a place in the table of registered files.
    place: u32,
}

/// The flags that a new socket's descriptor has.
fn creation_flags(flags: u32) -> Result<(OpenFlags, bool), Errno> {
    let known = OpenFlags::NONBLOCK.bits() | OpenFlags::CLOEXEC.bits();
    if flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let status = OpenFlags::from_bits_retain(flags & OpenFlags::NONBLOCK.bits()) | OpenFlags::RDWR;
    Ok((status, flags & OpenFlags::CLOEXEC.bits() != 0))
}

pub(super) fn prepare_accept(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let options = AcceptFlags::from_bits(entry.ioprio).ok_or(Errno::EINVAL)?;
    let (status, close_on_exec) = creation_flags(entry.rw_flags)?;
    let is_direct = entry.file_index != 0;
    let is_multishot = options.contains(AcceptFlags::MULTISHOT);
    if entry.len != 0
        || entry.buf_index != 0
        || (is_direct && close_on_exec)
        || (is_multishot && is_direct && entry.file_index != IORING_FILE_INDEX_ALLOC)
    {
        return Err(Errno::EINVAL.into());
    }
    Ok(Prepared::Accept(Accept {
        status,
        close_on_exec,
        options,
        name: entry.addr,
        name_len: entry.off,
        place: entry.file_index,
    }))
}

impl Accept {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file = issue.file()?;
        socket_of(&file)?;
        let (memory, files) = (issue.memory(), issue.resources.files.clone());
        let ring = Arc::downgrade(issue.ring);
        let more = self.options.contains(AcceptFlags::MULTISHOT).then(|| More::of(issue));
        let keep = file.clone();
        let mut accepted: Option<Arc<dyn File>> = None;
        Ok(attempt(Some(keep), move || {
            loop {
                let new = match &accepted {
                    Some(new) => new,
                    None => {
                        if self.place == 0 {
                            files.check_room()?;
                        }
                        let outcome = socket_of(&file)?.try_accept();
                        let waits = !self.options.contains(AcceptFlags::DONTWAIT);
                        accepted.insert(if waits { outcome? } else { refuse_to_wait(outcome)? })
                    }
                };
                if self.name != 0 {
                    let name = new.as_socket().ok_or(Errno::ENOTSOCK)?.peer_name().unwrap_or_default();
                    write_name(&memory, &name, self.name, self.name_len)?;
                }
                let opening = OpenFile::new(new.clone(), None, self.status);
                accepted = None;
                let number = match self.place {
                    0 => files.insert(opening, 0, self.close_on_exec)? as usize,
                    place => ring.upgrade().ok_or(Errno::ECANCELED)?.install_file(opening, place)?,
                };
                let outcome = Outcome::value(number);
                match &more {
                    Some(more) if more.tell(outcome) => {}
                    _ => return Ok(outcome),
                }
            }
        }))
    }
}

/// Copies as much of a name as there is room for, and says how long it is.
fn write_name(memory: &UserMemory, name: &[u8], at: u64, len_at: u64) -> Attempt<()> {
    let room: i32 = memory.read(address(len_at))?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    memory.write_bytes(address(at), &name[..room.min(name.len())])?;
    memory.write(address(len_at), &(name.len() as u32))
}

/// Connects.
pub(crate) struct Connect(SocketName);

pub(super) fn prepare_connect(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if entry.len != 0 || entry.buf_index != 0 || entry.rw_flags != 0 || entry.file_index != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Prepared::Connect(Connect(read_name(&issue.memory(), entry.addr, entry.off as usize)?)))
}

impl Connect {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file = issue.file()?;
        socket_of(&file)?;
        let thread = issue.thread.clone();
        let keep = file.clone();
        let mut is_first = true;
        Ok(attempt(Some(keep), move || {
            let outcome = socket_of(&file)?.try_connect(&self.0, is_first, &thread);
            is_first = false;
            outcome.map(|()| Outcome::value(0))
        }))
    }
}

/// Calls on sockets that never wait.
pub(crate) enum SocketCall {
    /// `bind`.
    Bind(SocketName),
    /// `listen`.
    Listen(i32),
    /// `shutdown`.
    Shutdown(i32),
}

pub(super) fn prepare_shutdown(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let is_plain = entry.off == 0 && entry.addr == 0 && entry.rw_flags == 0 && entry.buf_index == 0;
    if !is_plain || entry.file_index != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Prepared::SocketCall(SocketCall::Shutdown(entry.len as i32)))
}

pub(super) fn prepare_bind(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if entry.len != 0 || entry.buf_index != 0 || entry.rw_flags != 0 || entry.file_index != 0 {
        return Err(Errno::EINVAL.into());
    }
    let name = read_name(&issue.memory(), entry.addr, entry.off as usize)?;
    Ok(Prepared::SocketCall(SocketCall::Bind(name)))
}

pub(super) fn prepare_listen(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let is_plain = entry.addr == 0 && entry.off == 0 && entry.rw_flags == 0 && entry.buf_index == 0;
    if !is_plain || entry.file_index != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Prepared::SocketCall(SocketCall::Listen(entry.len as i32)))
}

impl SocketCall {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file = issue.file()?;
        let socket = socket_of(&file)?;
        match self {
            Self::Listen(backlog) => socket.listen(backlog)?,
            Self::Shutdown(how) => socket.shut_down(Shutdown::from_number(how)?)?,
            Self::Bind(name) => {
                let (keep, thread) = (file.clone(), issue.thread.clone());
                return Ok(attempt(Some(keep), move || {
                    socket_of(&file)?.try_bind(&name, &thread).map(|()| Outcome::value(0))
                }));
            }
        }
        Ok(Begun::Ended(Outcome::value(0)))
    }
}

/// How a request that gives several completions posts all but its last.
pub(super) struct More {
    ring: alloc::sync::Weak<Ring>,
    user_data: u64,
}

impl More {
    pub(super) fn of(issue: &Issue<'_>) -> Self {
        Self { ring: Arc::downgrade(issue.ring), user_data: issue.entry.user_data }
    }

    /// Posts one; if there is no room for it, it becomes the last.
    pub(super) fn tell(&self, outcome: Outcome) -> bool {
        self.ring.upgrade().is_some_and(|ring| ring.post_more(self.user_data, outcome))
    }
}
