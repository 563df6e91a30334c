//! Pipes and FIFOs: a bounded queue of bytes between openings that read and openings that write.
//!
//! Who reads or writes has the pipe's *turn*, an asynchronous mutex, since he copies from or to a program's memory,
//! which may fault; no spin lock is held meanwhile. How full the pipe is stands beside it in atomics, so asking for
//! readiness takes no lock. A pipe is bounded by slots of a page, as Linux's is: how much fits depends on how it was
//! written.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use kernel_hal::{PAGE_SIZE, VirtAddr};
use ksync::{AsyncMutex, AsyncMutexGuard, WaitQueue};
use linux_abi::Errno;
use linux_abi::file::{O_ACCMODE, O_RDONLY, O_WRONLY, OpenFlags};
use linux_abi::limits::PIPE_BUF;
use linux_abi::poll::PollEvents;
use linux_abi::stat::FileType;
use linux_abi::terminal::FIONREAD;

use super::companion::Companion;
use super::page_ring::{PageRing, SlotKind};
use super::{File, UserMemory, anonymous_number};
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::thread::Thread;
use crate::user_buffer::UserBuffer;

/// Slots in a new pipe: Linux's default, 64 KiB.
const DEFAULT_SLOTS: usize = 16;
/// How often the turn is asked for before the attempt waits for it: a copy of a page takes longer than this, a small
/// one does not.
const TRIES: usize = 64;

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const WRITABLE: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM);

/// The largest size that an unprivileged process may give a pipe (`/proc/sys/fs/pipe-max-size`), in bytes.
pub static PIPE_MAX_SIZE: AtomicU32 = AtomicU32::new(1 << 20);

/// The queue of bytes, which its ends share.
pub struct Pipe {
    number: u64,
    contents: AsyncMutex<PageRing<()>>,
    /// How full it is and how full it may be; written by who has the turn.
    used_slots: AtomicUsize,
    bytes: AtomicUsize,
    most_slots: AtomicUsize,
    /// Openings that read and that write, now and ever.
    readers: AtomicUsize,
    writers: AtomicUsize,
    readers_ever: AtomicUsize,
    writers_ever: AtomicUsize,
    changed: WaitQueue,
}

/// One opening of a pipe.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
    /// Whether each write is a packet (`O_DIRECT`).
    as_packets: AtomicBool,
    /// How many writers there had been when this end was opened without waiting for one: of those no hang-up is told.
    earlier_writers: usize,
    /// How often the other side had been opened, if this opening waits for it.
    awaited: Option<usize>,
    /// Of a FIFO.
    companion: Option<Arc<Companion>>,
}

/// Both ends of a new pipe.
pub struct PipeEnds {
    /// The end to read from.
    pub reader: Arc<dyn File>,
    /// The end to write to.
    pub writer: Arc<dyn File>,
}

/// Makes a pipe.
pub fn pipe() -> Result<PipeEnds, Errno> {
    kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
    let pipe = Arc::new(Pipe::default());
    let writer = Arc::new(PipeEnd::new(pipe.clone(), false, true));
    Ok(PipeEnds { reader: Arc::new(PipeEnd::new(pipe, true, false)), writer })
}

impl Default for Pipe {
    fn default() -> Self {
        Self {
            number: anonymous_number(),
            contents: AsyncMutex::new(PageRing::default()),
            used_slots: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            most_slots: AtomicUsize::new(DEFAULT_SLOTS),
            readers: AtomicUsize::new(0),
            writers: AtomicUsize::new(0),
            readers_ever: AtomicUsize::new(0),
            writers_ever: AtomicUsize::new(0),
            changed: WaitQueue::new("pipe"),
        }
    }
}

/// Somebody who has the turn and is done with it says how full the pipe is now.
#[inline(always)]
fn publish(pipe: &Pipe, ring: AsyncMutexGuard<'_, PageRing<()>>) {
    pipe.used_slots.store(ring.slots(), Ordering::Relaxed);
    pipe.bytes.store(ring.bytes(), Ordering::Relaxed);
}

impl Pipe {
    fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Acquire) > 0
    }

    fn has_writers(&self) -> bool {
        self.writers.load(Ordering::Acquire) > 0
    }

    fn most_slots(&self) -> usize {
        self.most_slots.load(Ordering::Relaxed)
    }

    /// The right to change the contents; what keeps somebody from it is another who copies.
    #[inline(always)]
    fn turn(self: &Arc<Self>) -> Result<AsyncMutexGuard<'_, PageRing<()>>, Obstacle> {
        match self.contents.try_lock() {
            Some(guard) => Ok(guard),
            None => self.turn_after_others(),
        }
    }

    #[cold]
    fn turn_after_others(self: &Arc<Self>) -> Result<AsyncMutexGuard<'_, PageRing<()>>, Obstacle> {
        for _ in 0..TRIES {
            if let Some(guard) = self.contents.try_lock() {
                return Ok(guard);
            }
            core::hint::spin_loop();
        }
        let pipe = self.clone();
        Err(Obstacle::Wait(Box::pin(async move {
            pipe.contents.until_free().await;
            Ok(())
        })))
    }

    fn read(self: &Arc<Self>, buffer: &mut UserBuffer) -> Attempt {
        if buffer.remaining() == 0 {
            return Ok(buffer.done());
        }
        let mut ring = self.turn()?;
        let slots = ring.slots();
        let Some(kind) = ring.front().map(|slot| slot.kind()) else {
            drop(ring);
            return self.find_nothing(buffer);
        };
        let mut outcome = ring.move_out(buffer);
        if outcome.is_ok() && kind == SlotKind::Stream && buffer.remaining() > 0 && ring.slots() > 0 {
            outcome = read_more(&mut ring, buffer);
        }
        let most_slots = self.most_slots();
        let has_room = slots >= most_slots && ring.slots() < most_slots;
        publish(self, ring);
        if has_room {
            self.changed.wake_one_for(WRITABLE.bits());
        }
        match outcome {
            Ok(()) => Ok(buffer.done()),
            Err(obstacle) => Err(obstacle),
        }
    }

    #[cold]
    fn find_nothing(self: &Arc<Self>, buffer: &UserBuffer) -> Attempt {
        match buffer.done() {
            0 if self.has_writers() => Err(Obstacle::NotReadyFor(self.clone(), READABLE)),
            done => Ok(done),
        }
    }

    fn write(self: &Arc<Self>, buffer: &mut UserBuffer, as_packets: bool) -> Attempt {
        let wanted = buffer.remaining();
        if wanted == 0 {
            return Ok(buffer.done());
        }
        let mut ring = self.turn()?;
        if !self.has_readers() {
            return Err(Errno::EPIPE.into());
        }
        let (slots, bytes) = (ring.slots(), ring.bytes());
        let most_slots = self.most_slots();
        let kind = if as_packets { SlotKind::PacketEnd } else { SlotKind::Stream };
        // Most often it fits in one slot.
        let mut outcome = if !as_packets && wanted < PAGE_SIZE && wanted <= ring.room_in_last() {
            ring.append(buffer, wanted)
        } else if wanted <= PAGE_SIZE && slots < most_slots {
            ring.push(buffer, PAGE_SIZE, kind, ())
        } else {
            fill(&mut ring, buffer, kind, most_slots)
        };
        if outcome.is_err() {
            undo_part(&mut ring, buffer, slots, bytes);
        } else if buffer.remaining() > 0 {
            outcome = Err(Obstacle::NotReadyFor(self.clone(), WRITABLE));
        }
        let has_more = ring.bytes() != bytes;
        publish(self, ring);
        if has_more {
            self.changed.wake_one_for(READABLE.bits());
        }
        match outcome {
            Ok(()) => Ok(buffer.done()),
            Err(obstacle) => Err(obstacle),
        }
    }

    fn ready(&self, end: &PipeEnd) -> PollEvents {
        let used = self.used_slots.load(Ordering::Relaxed);
        let mut events = PollEvents::empty();
        if end.reads {
            events.set(READABLE, used > 0);
            let has_had_writers = self.writers_ever.load(Ordering::Relaxed) != end.earlier_writers;
            events.set(PollEvents::HUP, !self.has_writers() && has_had_writers);
        }
        if end.writes {
            events.set(WRITABLE, used < self.most_slots());
            events.set(PollEvents::ERR, !self.has_readers());
        }
        events
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.most_slots() * PAGE_SIZE
    }

    /// Gives it at least so many bytes (`F_SETPIPE_SZ`); returns how many it has.
    pub fn set_size(self: &Arc<Self>, bytes: usize, is_privileged: bool) -> Attempt {
        let wanted = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| bytes.max(PAGE_SIZE as u32).checked_next_power_of_two());
        let wanted = wanted.ok_or(Errno::EINVAL)?;
        let slots = wanted as usize / PAGE_SIZE;
        let mut ring = self.turn()?;
        if slots > self.most_slots() && wanted > PIPE_MAX_SIZE.load(Ordering::Relaxed) && !is_privileged {
            return Err(Errno::EPERM.into());
        }
        if slots < ring.slots() {
            return Err(Errno::EBUSY.into());
        }
        let was_full = ring.slots() >= self.most_slots();
        ring.drop_spare();
        self.most_slots.store(slots, Ordering::Relaxed);
        let has_room = was_full && ring.slots() < slots;
        publish(self, ring);
        if has_room {
            self.changed.wake_one_for(WRITABLE.bits());
        }
        Ok(wanted as usize)
    }
}

/// Goes on with a read that the first slot was not enough for.
#[inline(never)]
fn read_more(ring: &mut PageRing<()>, buffer: &mut UserBuffer) -> Result<(), Obstacle> {
    while let Some(kind) = ring.front().map(|slot| slot.kind()) {
        ring.move_out(buffer)?;
        if kind != SlotKind::Stream || buffer.remaining() == 0 {
            break;
        }
    }
    Ok(())
}

/// Puts in what there is room for.
#[inline(never)]
fn fill(
    ring: &mut PageRing<()>,
    buffer: &mut UserBuffer,
    kind: SlotKind,
    most_slots: usize,
) -> Result<(), Obstacle> {
    // What makes whole pages begins a page; the rest goes where it fits in one piece.
    let odd = buffer.remaining() % PAGE_SIZE;
    if kind == SlotKind::Stream && odd != 0 && odd <= ring.room_in_last() {
        ring.append(buffer, odd)?;
    }
    while buffer.remaining() > 0 && ring.slots() < most_slots {
        ring.push(buffer, PAGE_SIZE, kind, ())?;
    }
    Ok(())
}

/// Of a write that is atomic all is put in or nothing: the program's memory ended in the middle.
#[cold]
fn undo_part(ring: &mut PageRing<()>, buffer: &mut UserBuffer, slots: usize, bytes: usize) {
    let is_atomic = buffer.done() + buffer.remaining() <= PIPE_BUF;
    let moved = ring.bytes() - bytes;
    if is_atomic && moved > 0 {
        ring.undo(slots, bytes);
        buffer.rewind(buffer.mark_before(moved));
    }
}

impl Waitable for Pipe {
    fn wait_queue(&self) -> &WaitQueue {
        &self.changed
    }

    fn is_worth_an_attempt(&self, events: u32) -> bool {
        let used = self.used_slots.load(Ordering::Relaxed);
        events & READABLE.bits() != 0 && (used > 0 || !self.has_writers())
            || events & WRITABLE.bits() != 0 && (used < self.most_slots() || !self.has_readers())
    }
}

/// Of whoever writes and then does not, a hang-up is told.
const NO_EARLIER_WRITERS: usize = usize::MAX;

impl PipeEnd {
    fn new(pipe: Arc<Pipe>, reads: bool, writes: bool) -> Self {
        if reads {
            pipe.readers.fetch_add(1, Ordering::AcqRel);
            pipe.readers_ever.fetch_add(1, Ordering::AcqRel);
        }
        if writes {
            pipe.writers.fetch_add(1, Ordering::AcqRel);
            pipe.writers_ever.fetch_add(1, Ordering::AcqRel);
        }
        Self {
            pipe,
            reads,
            writes,
            as_packets: AtomicBool::new(false),
            earlier_writers: NO_EARLIER_WRITERS,
            awaited: None,
            companion: None,
        }
    }

    /// Opens a FIFO. Where the rules say so, the opening is to be followed by [`PipeEnd::until_other_side`].
    pub fn open_fifo(companion: Arc<Companion>, flags: OpenFlags) -> Result<Self, Errno> {
        let pipe = companion.fifo().clone();
        let access = flags.bits() & O_ACCMODE;
        let (reads, writes) = (access != O_WRONLY, access != O_RDONLY);
        let is_nonblocking = flags.contains(OpenFlags::NONBLOCK);
        let is_alone = match (reads, writes) {
            (true, false) => !pipe.has_writers(),
            (false, true) => !pipe.has_readers(),
            _ => false,
        };
        if is_alone && is_nonblocking && writes {
            return Err(Errno::ENXIO);
        }
        let mut end = Self::new(pipe, reads, writes);
        end.companion = Some(companion);
        if is_alone {
            let seen = end.others_ever();
            if is_nonblocking {
                end.earlier_writers = seen;
            } else {
                end.awaited = Some(seen);
            }
        }
        // Whoever waits for this side goes on.
        end.pipe.changed.wake_all();
        Ok(end)
    }

    /// How often the other side was opened.
    fn others_ever(&self) -> usize {
        let ever = if self.reads { &self.pipe.writers_ever } else { &self.pipe.readers_ever };
        ever.load(Ordering::Acquire)
    }

    /// Whether this opening of a FIFO waits for the other side.
    pub fn waits_for_other_side(&self) -> bool {
        self.awaited.is_some_and(|seen| seen == self.others_ever())
    }

    /// Waits until the other side of the FIFO has been opened, even if it was closed again meanwhile.
    pub async fn until_other_side(&self) {
        self.pipe.changed.wait_until(|| (!self.waits_for_other_side()).then_some(())).await;
    }

    /// The pipe.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// The pipe behind a file, if it is one's end.
    pub fn of(file: &dyn File) -> Option<&Self> {
        (file as &dyn Any).downcast_ref()
    }
}

impl Waitable for PipeEnd {
    fn wait_queue(&self) -> &WaitQueue {
        &self.pipe.changed
    }
}

impl File for PipeEnd {
    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        self.pipe.read(buffer)
    }

    fn try_write(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        self.pipe.write(buffer, self.as_packets.load(Ordering::Relaxed))
    }

    fn can_refuse_to_wait(&self) -> bool {
        true
    }

    fn ready(&self) -> PollEvents {
        self.pipe.ready(self)
    }

    fn kind(&self) -> FileType {
        FileType::Fifo
    }

    fn number(&self) -> u64 {
        self.pipe.number
    }

    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        write!(output, "pipe:[{}]", self.pipe.number)
    }

    fn reopen(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn File>, Errno> {
        let access = flags.bits() & O_ACCMODE;
        Ok(Arc::new(Self::new(self.pipe.clone(), access != O_WRONLY, access != O_RDONLY)))
    }

    fn set_status(&self, flags: OpenFlags) -> Result<(), Errno> {
        self.as_packets.store(flags.contains(OpenFlags::DIRECT), Ordering::Relaxed);
        Ok(())
    }

    fn try_control(&self, request: u32, argument: usize, memory: &UserMemory, _caller: &Thread) -> Attempt {
        if request != FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let bytes = self.pipe.bytes.load(Ordering::Relaxed) as i32;
        memory.write(VirtAddr::new(argument), &bytes)?;
        Ok(0)
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let was_last_reader = self.reads && self.pipe.readers.fetch_sub(1, Ordering::AcqRel) == 1;
        let was_last_writer = self.writes && self.pipe.writers.fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last_reader || was_last_writer {
            self.pipe.changed.wake_all();
        }
        if !self.pipe.has_readers()
            && !self.pipe.has_writers()
            && let Some(mut ring) = self.pipe.contents.try_lock()
        {
            // What nobody read is gone, also for those who open the FIFO next.
            *ring = PageRing::default();
            publish(&self.pipe, ring);
        }
    }
}
