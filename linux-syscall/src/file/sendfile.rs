//! `sendfile`.

use alloc::boxed::Box;
use alloc::sync::Arc;

use linux_abi::Errno;
use linux_object::file::{Direction, OpenFile, Sending, Transfer};
use linux_object::obstacle::{Attempt, Obstacle, complete};
use linux_object::thread::Thread;
use linux_object::user_buffer::{UserBuffer, UserMemory};

use super::transfer::MOST_BYTES;
use super::{descriptor, note_broken_pipe};
use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Completion, Outcome};
use crate::socket::wait_within;
use linux_object::file::limit::write_within_limit;

/// The arguments that are looked at in this order, after the offset.
struct Request {
    source: Result<Arc<OpenFile>, Errno>,
    target: Result<Arc<OpenFile>, Errno>,
    count: usize,
}

impl Request {
    fn begin(self, offset: Option<i64>) -> Result<Sending, Errno> {
        let source = self.source?;
        source.check_access(Direction::Read)?;
        if offset.is_some() && !source.is_seekable() && !source.file().ignores_positions() {
            return Err(Errno::ESPIPE);
        }
        let offset = offset.map(u64::try_from).transpose().map_err(|_| Errno::EINVAL)?;
        if self.count > isize::MAX as usize {
            return Err(Errno::EINVAL);
        }
        let target = self.target?;
        target.check_access(Direction::Write)?;
        Sending::new(source, target, offset, self.count.min(MOST_BYTES))
    }
}

pub fn sendfile(
    call: &mut Call<'_>,
    target: Fd,
    source: Fd,
    offset: UserAddress,
    count: usize,
) -> Result<Outcome, Errno> {
    let request = Request { source: descriptor(call, source), target: descriptor(call, target), count };
    let (thread, memory) = (call.owned_thread(), call.memory());
    let known = match read_offset(&memory, offset) {
        Ok(known) => Some(known),
        Err(Obstacle::Error(errno)) => return Err(errno),
        // Its page is not in memory.
        Err(_) => None,
    };
    if let Some(known) = known {
        let mut sending = request.begin(known)?;
        match attempt(&thread, &mut sending) {
            Err(Obstacle::Error(errno)) => return Err(errno),
            outcome if outcome.is_err() || known.is_some() => {
                return Ok(Outcome::Wait(Box::pin(finish(thread, memory, sending, offset, outcome))));
            }
            outcome => {
                sending.keep_position();
                return Ok(Outcome::Done(outcome.unwrap_or(sending.sent())));
            }
        }
    }
    Ok(Outcome::Wait(Box::pin(async move {
        let begun = match complete(|| read_offset(&memory, offset)).await {
            Ok(known) => request.begin(known),
            Err(errno) => Err(errno),
        };
        match begun {
            Ok(mut sending) => {
                let outcome = attempt(&thread, &mut sending);
                finish(thread, memory, sending, offset, outcome).await
            }
            Err(errno) => Completion::Error(errno),
        }
    })))
}

fn read_offset(memory: &UserMemory, offset: UserAddress) -> Attempt<Option<i64>> {
    if offset.is_null() { Ok(None) } else { memory.read(offset.get()).map(Some) }
}

fn attempt(thread: &Arc<Thread>, sending: &mut Sending) -> Attempt {
    sending.attempt(|target: &Arc<OpenFile>, transfer: &mut Transfer, piece: &mut UserBuffer| {
        note_broken_pipe(thread, write_within_limit(thread, target, transfer, piece))
    })
}

/// Goes on after the first attempt, and says how far it came where the offset was.
async fn finish(
    thread: Arc<Thread>,
    memory: UserMemory,
    mut sending: Sending,
    offset: UserAddress,
    outcome: Attempt,
) -> Completion {
    let limit = sending.target().file().as_socket().and_then(|socket| socket.send_limit());
    let outcome = wait_within(&thread, limit, outcome, || attempt(&thread, &mut sending)).await;
    let completion = match (outcome, sending.sent()) {
        (Ok(Some(result)), _) => result.into(),
        (Ok(None), 0) => Completion::Error(Errno::EAGAIN),
        (Err(_), 0) => return Completion::Interrupted,
        (_, sent) => Completion::Value(sent),
    };
    if offset.is_null() {
        sending.keep_position();
        return completion;
    }
    let position = sending.position() as i64;
    match complete(|| memory.write(offset.get(), &position)).await {
        Ok(()) => completion,
        Err(errno) => Completion::Error(errno),
    }
}
