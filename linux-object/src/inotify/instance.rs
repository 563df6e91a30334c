//! What is behind a descriptor: watches by number, and the queue of what happened.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use kernel_hal::VirtAddr;
use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::inotify::{InotifyEvent, WatchMask};
use linux_abi::poll::PollEvents;
use linux_abi::terminal::FIONREAD;
use rcore_fs::INode;
use zerocopy::IntoBytes;

use super::{Watch, register, unregister};
use crate::file::{File, OpenFile, UserMemory};
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::thread::Thread;
use crate::user_buffer::UserBuffer;

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
/// Events that are kept, at most (`max_queued_events`).
const MOST_EVENTS: usize = 16384;
/// What is told of lost events has no watch.
const NO_WATCH: i32 = -1;
/// Names are followed by zeros up to a multiple of this.
const NAME_ALIGNMENT: usize = size_of::<InotifyEvent>();

/// Bits that say how to watch, and are kept with what is watched for.
const KEPT: WatchMask = WatchMask::ALL_EVENTS.union(WatchMask::ONESHOT);

#[derive(PartialEq, Eq)]
struct Event {
    watch: i32,
    mask: WatchMask,
    cookie: u32,
    name: Arc<[u8]>,
}

impl Event {
    fn name_bytes(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(NAME_ALIGNMENT) }
    }

    fn bytes(&self) -> usize {
        size_of::<InotifyEvent>() + self.name_bytes()
    }
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    watches: BTreeMap<i32, Arc<Watch>>,
    last_number: i32,
}

/// What watches refer to.
pub(super) struct Queue {
    state: SpinLock<State>,
    changed: WaitQueue,
}

impl Waitable for Queue {
    fn wait_queue(&self) -> &WaitQueue {
        &self.changed
    }
}

impl Queue {
    /// Notes an event. One like the last is told once; where there is no room it is told that some are lost.
    pub fn push(&self, watch: i32, mask: WatchMask, cookie: u32, name: &[u8]) {
        let event = Event { watch, mask, cookie, name: name.into() };
        {
            let mut state = self.state.lock();
            if state.events.back() == Some(&event) {
                return;
            }
            let is_full = state.events.len() >= MOST_EVENTS || state.events.try_reserve(1).is_err();
            if is_full {
                let is_known = state.events.back().is_some_and(|last| last.watch == NO_WATCH);
                if !is_known && state.events.len() <= MOST_EVENTS {
                    let lost = Event {
                        watch: NO_WATCH,
                        mask: WatchMask::Q_OVERFLOW,
                        cookie: 0,
                        name: Arc::default(),
                    };
                    state.events.push_back(lost);
                }
            } else {
                state.events.push_back(event);
            }
        }
        self.changed.wake_one_for(READABLE.bits());
    }

    /// Ends a watch, and tells so. False: there is none.
    pub fn forget(&self, number: i32) -> bool {
        let Some(watch) = self.state.lock().watches.remove(&number) else { return false };
        unregister(&watch);
        self.push(number, WatchMask::IGNORED, 0, &[]);
        true
    }
}

/// An instance.
pub struct Inotify {
    queue: Arc<Queue>,
}

impl Inotify {
    /// An instance that watches nothing.
    pub fn new() -> Result<Arc<Self>, Errno> {
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        let state = SpinLock::new(Rank::FILE_WATCHES, State::default());
        Ok(Arc::new(Self { queue: Arc::new(Queue { state, changed: WaitQueue::new("inotify") }) }))
    }

    /// The instance behind an opening: `EINVAL` if it is something else.
    pub fn of(file: &OpenFile) -> Result<&Self, Errno> {
        let file: &dyn core::any::Any = &**file.file();
        file.downcast_ref().ok_or(Errno::EINVAL)
    }

    /// Watches an inode, or changes what it is watched for. Returns the watch's number.
    pub fn watch(&self, inode: &Arc<dyn INode>, mask: WatchMask) -> Result<i32, Errno> {
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        let kept = mask & KEPT;
        let watch = {
            let mut state = self.queue.state.lock();
            if let Some(known) = state.watches.values().find(|watch| Arc::ptr_eq(&watch.inode, inode)) {
                if mask.contains(WatchMask::MASK_CREATE) {
                    return Err(Errno::EEXIST);
                }
                if mask.contains(WatchMask::MASK_ADD) {
                    known.mask.fetch_or(kept.bits(), Ordering::Relaxed);
                } else {
                    known.mask.store(kept.bits(), Ordering::Relaxed);
                }
                return Ok(known.number);
            }
            let number = state.last_number.checked_add(1).ok_or(Errno::ENOSPC)?;
            state.last_number = number;
            let watch = Arc::new(Watch {
                number,
                mask: AtomicU32::new(kept.bits()),
                inode: inode.clone(),
                queue: Arc::downgrade(&self.queue),
            });
            state.watches.insert(number, watch.clone());
            watch
        };
        register(&watch);
        Ok(watch.number)
    }

    /// Ends a watch.
    pub fn forget(&self, number: i32) -> Result<(), Errno> {
        if self.queue.forget(number) { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

impl Waitable for Inotify {
    fn wait_queue(&self) -> &WaitQueue {
        &self.queue.changed
    }
}

fn copy_out(event: &Event, buffer: &mut UserBuffer) -> Result<(), Obstacle> {
    let len = event.name_bytes();
    let header =
        InotifyEvent { wd: event.watch, mask: event.mask.bits(), cookie: event.cookie, len: len as u32 };
    buffer.copy_out(header.as_bytes())?;
    buffer.copy_out(&event.name)?;
    let zeros = [0; NAME_ALIGNMENT];
    buffer.copy_out(&zeros[..len - event.name.len()])
}

impl File for Inotify {
    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        loop {
            let event = self.queue.state.lock().events.pop_front();
            let Some(event) = event else { break };
            let mark = buffer.mark();
            let is_too_large = buffer.remaining() < event.bytes();
            let outcome = if is_too_large { Ok(()) } else { copy_out(&event, buffer) };
            if !is_too_large && outcome.is_ok() {
                continue;
            }
            // Nobody has learnt of it: it is still the first.
            buffer.rewind(mark);
            self.queue.state.lock().events.push_front(event);
            return match (outcome, buffer.done()) {
                (Err(obstacle), _) => Err(obstacle),
                (Ok(()), 0) => Err(Errno::EINVAL.into()),
                (Ok(()), done) => Ok(done),
            };
        }
        match buffer.done() {
            0 => Err(Obstacle::NotReadyFor(self.queue.clone(), READABLE)),
            done => Ok(done),
        }
    }

    fn ready(&self) -> PollEvents {
        if self.queue.state.lock().events.is_empty() { PollEvents::empty() } else { READABLE }
    }

    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        output.write_str("anon_inode:inotify")
    }

    fn try_control(&self, request: u32, argument: usize, memory: &UserMemory, _caller: &Thread) -> Attempt {
        if request != FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let bytes: usize = self.queue.state.lock().events.iter().map(Event::bytes).sum();
        memory.write(VirtAddr::new(argument), &(bytes as i32))?;
        Ok(0)
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let watches = core::mem::take(&mut self.queue.state.lock().watches);
        watches.values().for_each(unregister);
    }
}
