//! Sending and receiving messages: pieces of memory, a name, and what comes beside the bytes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_hal::VirtAddr;
use linux_abi::Errno;
use linux_abi::io_uring::{CompletionFlags, Opcode, ReceivedMessage, RequestFlags, SocketFlags};
use linux_abi::poll::PollEvents;
use linux_object::file::OpenFile;
use linux_object::obstacle::{Attempt, Obstacle};
use linux_object::socket::message::{MessageHeader, Told, imply_credentials};
use linux_object::socket::{MessageFlags, Outgoing, Received, socket_of};
use zerocopy::IntoBytes;

use super::buffers::{Destination, Piece};
use super::socket::{More, NOTIFICATION_COPIED, wait_or_refuse};
use super::{Begun, Issue, Prepared, address, attempt};
use crate::request::Outcome;

/// Sends a message.
pub(crate) struct SendMessage {
    pieces: Vec<(VirtAddr, usize)>,
    outgoing: Outgoing,
    flags: MessageFlags,
    /// The result of the completion that says that the memory is free.
    notification: Option<i32>,
}

/// The fields that messages use; the flags are in the priority.
fn prepare_fields(issue: &Issue<'_>, known: SocketFlags) -> Result<(SocketFlags, MessageFlags), Errno> {
    let entry = issue.entry;
    if entry.off != 0 || entry.file_index != 0 {
        return Err(Errno::EINVAL);
    }
    let options = SocketFlags::from_bits(entry.ioprio).filter(|&options| known.contains(options));
    Ok((options.ok_or(Errno::EINVAL)?, MessageFlags::from_bits_retain(entry.rw_flags)))
}

pub(super) fn prepare_send(issue: &Issue<'_>) -> Attempt<Prepared> {
    let is_in_place = issue.entry.opcode == Opcode::SendmsgZc as u8;
    let known = SocketFlags::POLL_FIRST
        | if is_in_place { SocketFlags::ZC_REPORT_USAGE } else { SocketFlags::empty() };
    let (options, flags) = prepare_fields(issue, known)?;
    let skips = issue.flags().contains(RequestFlags::CQE_SKIP_SUCCESS);
    if issue.flags().contains(RequestFlags::BUFFER_SELECT) || (is_in_place && skips) {
        return Err(Errno::EINVAL.into());
    }
    let memory = issue.memory();
    let header: MessageHeader = memory.read(address(issue.entry.addr))?;
    let pieces = header.try_pieces(&memory)?;
    let outgoing = header.try_outgoing(&memory, &issue.resources.files, issue.thread)?;
    let flags = flags | MessageFlags::NOSIGNAL;
    let is_told = options.contains(SocketFlags::ZC_REPORT_USAGE);
    let notification = is_in_place.then_some(if is_told { NOTIFICATION_COPIED } else { 0 });
    Ok(Prepared::SendMessage(Box::new(SendMessage { pieces, outgoing, flags, notification })))
}

impl SendMessage {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let Self { pieces, mut outgoing, flags, notification } = self;
        let file = issue.file()?;
        imply_credentials(&mut outgoing, socket_of(&file)?, issue.thread);
        let wanted = pieces.iter().map(|piece| piece.1).sum::<usize>();
        let mut buffer = issue.memory().buffer(pieces);
        let keep = file.clone();
        Ok(attempt(Some(keep), move || {
            let outcome = socket_of(&file)?.try_send(&mut buffer, flags, &mut outgoing);
            let outcome = wait_or_refuse(outcome, flags);
            let moved = match (outcome, buffer.done()) {
                (Err(Obstacle::Error(_)), moved) if moved > 0 => moved,
                (outcome, _) => outcome?,
            };
            Ok(Outcome { notification, ..Outcome::moved(moved, wanted) })
        }))
    }
}

/// Receives messages, once or again and again.
pub(crate) struct ReceiveMessage {
    header: MessageHeader,
    pieces: Vec<(VirtAddr, usize)>,
    flags: MessageFlags,
    options: SocketFlags,
}

pub(super) fn prepare_receive(issue: &Issue<'_>) -> Attempt<Prepared> {
    let (options, flags) = prepare_fields(issue, SocketFlags::POLL_FIRST | SocketFlags::MULTISHOT)?;
    let chooses = issue.flags().contains(RequestFlags::BUFFER_SELECT);
    let is_multishot = options.contains(SocketFlags::MULTISHOT);
    if is_multishot && (!chooses || flags.contains(MessageFlags::WAITALL)) {
        return Err(Errno::EINVAL.into());
    }
    let memory = issue.memory();
    let header: MessageHeader = memory.read(address(issue.entry.addr))?;
    let pieces = header.try_pieces(&memory)?;
    if chooses && pieces.len() > 1 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Prepared::ReceiveMessage(Box::new(ReceiveMessage { header, pieces, flags, options })))
}

/// A message was received, and the program has to be told where it wants to be.
struct Arrived {
    moved: usize,
    is_all: bool,
    told: Told,
}

impl ReceiveMessage {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file = issue.file()?;
        socket_of(&file)?;
        let most = self.pieces.first().map_or(0, |piece| piece.1);
        let chooses = issue.flags().contains(RequestFlags::BUFFER_SELECT);
        let destination = chooses.then(|| Destination::chosen(issue, most as u32)).transpose()?;
        if self.options.contains(SocketFlags::MULTISHOT)
            && let Some(destination) = destination
        {
            return Ok(self.begin_many(issue, file, destination));
        }
        let (memory, files, at) = (issue.memory(), issue.resources.files.clone(), address(issue.entry.addr));
        let Self { header, pieces, flags, .. } = self;
        let mut whole = destination.is_none().then(|| memory.buffer(pieces));
        let mut received = Received::default();
        let mut arrived: Option<Arrived> = None;
        let keep = file.clone();
        Ok(attempt(Some(keep), move || {
            let is_nonempty = |file: &OpenFile| file.file().ready().contains(PollEvents::IN);
            let mut receive = |piece: Option<Piece>| {
                if arrived.is_none() {
                    let mut chosen;
                    let buffer = match (&mut whole, piece) {
                        (Some(buffer), _) => buffer,
                        (None, piece) => {
                            let (at, len) = piece.map_or((0, 0), |piece| (piece.address, piece.len));
                            chosen = memory.simple_buffer(address(at), len as usize);
                            &mut chosen
                        }
                    };
                    let wanted = buffer.done() + buffer.remaining();
                    let socket = socket_of(&file)?;
                    let moved = wait_or_refuse(socket.try_receive(buffer, flags, &mut received), flags)?;
                    let is_all = !flags.contains(MessageFlags::WAITALL) || moved == wanted;
                    let is_cut = received.flags.intersects(MessageFlags::TRUNC | MessageFlags::CTRUNC);
                    let told = Told::new(&header, &mut received, flags, socket, &files);
                    arrived = Some(Arrived { moved, is_all: is_all && !is_cut, told });
                }
                let Some(found) = &arrived else { return Err(Errno::EAGAIN.into()) };
                found.told.try_write(&memory, at, &header)?;
                let mut flags = CompletionFlags::empty();
                flags.set(CompletionFlags::SOCK_NONEMPTY, is_nonempty(&file));
                Ok(Outcome { flags, is_success: found.is_all, ..Outcome::value(found.moved) })
            };
            match &destination {
                Some(destination) => destination.with_piece(|piece| receive(Some(piece))),
                None => receive(None),
            }
        }))
    }

    /// Each message goes into a buffer of its own, behind a header, its name and its control messages, which have as much
    /// room as the program's header says.
    fn begin_many(self, issue: &Issue<'_>, file: Arc<OpenFile>, destination: Destination) -> Begun {
        let (memory, files) = (issue.memory(), issue.resources.files.clone());
        let more = More::of(issue);
        let Self { header, flags, .. } = self;
        let keep = file.clone();
        attempt(Some(keep), move || {
            loop {
                let outcome = destination.with_piece(|piece| {
                    let name_room = header.name_len as usize;
                    let control_room = header.control_len as usize;
                    let begin = size_of::<ReceivedMessage>() + name_room + control_room;
                    let room = (piece.len as usize).checked_sub(begin).ok_or(Errno::EFAULT)?;
                    let at = address(piece.address);
                    let socket = socket_of(&file)?;
                    let mut received = Received::default();
                    let mut buffer = memory.simple_buffer(at + begin, room);
                    let taken = flags | MessageFlags::TRUNC;
                    let outcome = socket.try_receive(&mut buffer, taken, &mut received);
                    let full = wait_or_refuse(outcome, flags)?;
                    let told = Told::new(&header, &mut received, flags, socket, &files);
                    let (name, control, told_flags) = told.parts();
                    let payload = full.min(room);
                    if payload == 0 && received_end(socket.socket_kind()) {
                        return Ok(Outcome::value(0));
                    }
                    let shown = if flags.contains(MessageFlags::TRUNC) { full } else { payload };
                    let message = ReceivedMessage {
                        namelen: name.len() as u32,
                        controllen: control.len() as u32,
                        payloadlen: shown as u32,
                        flags: told_flags,
                    };
                    memory.write_bytes(at, message.as_bytes())?;
                    let name_at = at + size_of::<ReceivedMessage>();
                    memory.write_bytes(name_at, &name[..name.len().min(name_room)])?;
                    memory.write_bytes(name_at + name_room, control)?;
                    let mut flags = CompletionFlags::empty();
                    flags.set(CompletionFlags::SOCK_NONEMPTY, file.file().ready().contains(PollEvents::IN));
                    Ok(Outcome { flags, ..Outcome::value(begin + payload) })
                })?;
                if outcome.result <= 0 || !more.tell(outcome) {
                    return Ok(outcome);
                }
            }
        })
    }
}

/// Whether nothing means that nothing comes any more.
fn received_end(kind: linux_object::socket::SocketKind) -> bool {
    kind != linux_object::socket::SocketKind::Datagram
}
