//! `epoll`: many files watched at once.
//!
//! Each registration observes its file's wait queue for good. A wake puts the registration on the *ready list*, if it is
//! not there already, and wakes one who waits; how much is watched does not matter. Who waits looks at nothing but the
//! ready list: an entry is taken off, the file is asked what it is ready for, and if that is of interest it is told.
//! A level-triggered entry then goes back to the end of the list, to be asked again by the next wait; an edge-triggered
//! one stays away until the next wake.
//!
//! A registration belongs to an opening, under the number with which it was registered: it ends when the last reference
//! to the opening goes, not when a descriptor is closed.

mod nesting;
mod registration;

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::any::Any;
use core::fmt;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use kernel_hal::{Instant, VirtAddr};
use ksync::{Observation, Rank, SharedQueue, SpinLock, WaitQueue, Waiter};
use linux_abi::Errno;
use linux_abi::poll::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EpollBehaviour, EpollEvent, PollEvents};

use crate::file::{File, FileTable, OpenFile};
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::user_buffer::UserMemory;
use nesting::Links;
use registration::ReadySet;
pub(crate) use registration::Registration;

/// Which registration: the number that was given, and the opening that it stood for.
type Key = (i32, usize);

/// A registration and its place in the file's wait queue.
struct Watch {
    registration: Arc<Registration>,
    _observation: Observation<SharedQueue<dyn Waitable>>,
}

/// An epoll instance.
pub struct Epoll {
    this: Weak<Self>,
    ready: Arc<ReadySet>,
    watches: SpinLock<BTreeMap<Key, Watch>>,
    links: SpinLock<Links>,
}

/// What is told whether it was asked for or not.
const ALWAYS: PollEvents = PollEvents::ERR.union(PollEvents::HUP);
/// What an exclusive registration may ask for.
const EXCLUSIVE_EVENTS: u32 = PollEvents::IN.bits() | PollEvents::OUT.bits() | ALWAYS.bits();
const EXCLUSIVE_BEHAVIOUR: u32 =
    EpollBehaviour::EXCLUSIVE.bits() | EpollBehaviour::WAKEUP.bits() | EpollBehaviour::ET.bits();

fn key_of(number: i32, file: &Arc<OpenFile>) -> Key {
    (number, Arc::as_ptr(file).addr())
}

impl Epoll {
    /// An instance that watches nothing.
    pub fn new() -> Result<Arc<Self>, Errno> {
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            ready: Arc::default(),
            watches: SpinLock::new(Rank::FILE, BTreeMap::new()),
            links: SpinLock::new(Rank::FILE, Links::default()),
        }))
    }

    /// The instance behind an opening: `EINVAL` if it is something else.
    pub fn of(file: &OpenFile) -> Result<&Self, Errno> {
        let file: &dyn Any = &**file.file();
        file.downcast_ref().ok_or(Errno::EINVAL)
    }

    /// `epoll_ctl`.
    pub fn control(
        files: &FileTable,
        (epoll, number): (i32, i32),
        operation: i32,
        event: EpollEvent,
    ) -> Result<(), Errno> {
        let epoll = files.get(epoll)?;
        let file = files.get(number)?;
        if !file.file().is_watchable() {
            return Err(Errno::EPERM);
        }
        let epoll = Self::of(&epoll)?;
        match operation {
            EPOLL_CTL_ADD => epoll.add(number, &file, event),
            EPOLL_CTL_MOD => epoll.modify(number, &file, event),
            EPOLL_CTL_DEL => epoll.remove(number, &file),
            _ => Err(Errno::EINVAL),
        }
    }

    /// What may be done with these two at all.
    fn check(&self, file: &OpenFile) -> Result<(), Errno> {
        if !file.file().is_watchable() {
            return Err(Errno::EPERM);
        }
        if core::ptr::eq(Arc::as_ptr(file.file()).cast::<()>(), core::ptr::from_ref(self).cast()) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Begins to watch a file.
    pub fn add(&self, number: i32, file: &Arc<OpenFile>, event: EpollEvent) -> Result<(), Errno> {
        self.check(file)?;
        let is_exclusive = event.events & EpollBehaviour::EXCLUSIVE.bits() != 0;
        let nested = Self::of(file).ok();
        if is_exclusive && (event.events & !(EXCLUSIVE_EVENTS | EXCLUSIVE_BEHAVIOUR) != 0 || nested.is_some())
        {
            return Err(Errno::EINVAL);
        }
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        let order = match nested {
            Some(inner) => Some((inner, nesting::check(self, inner)?)),
            None => None,
        };
        let key = key_of(number, file);
        if self.watches.lock().contains_key(&key) {
            return Err(Errno::EEXIST);
        }
        let registration = Registration::new(self.this.clone(), self.ready.clone(), key, file, event);
        let waitable = file.waitable();
        let queue = SharedQueue::new(waitable, |file| file.wait_queue());
        let observe = if is_exclusive { Observation::exclusive } else { Observation::new };
        let observation = observe(queue, registration.clone(), ksync::EVERY_EVENT);
        let watch = Watch { registration: registration.clone(), _observation: observation };
        let rejected = {
            let mut watches = self.watches.lock();
            if watches.contains_key(&key) {
                Some((Errno::EEXIST, watch))
            } else if self.ready.reserve(watches.len() + 1).is_err() {
                Some((Errno::ENOMEM, watch))
            } else {
                watches.insert(key, watch);
                None
            }
        };
        if let Some((errno, watch)) = rejected {
            self.ready.forget(&watch.registration);
            return Err(errno);
        }
        file.add_watcher(Arc::downgrade(&registration));
        if let Some((inner, order)) = order {
            nesting::link(self, inner, &order);
        }
        registration.look();
        Ok(())
    }

    /// Changes what is waited for, and makes a one-shot registration wait again.
    pub fn modify(&self, number: i32, file: &Arc<OpenFile>, event: EpollEvent) -> Result<(), Errno> {
        self.check(file)?;
        let registration = {
            let watches = self.watches.lock();
            let watch = watches.get(&key_of(number, file)).ok_or(Errno::ENOENT)?;
            watch.registration.clone()
        };
        let was_exclusive = registration.behaviour().contains(EpollBehaviour::EXCLUSIVE);
        if was_exclusive || event.events & EpollBehaviour::EXCLUSIVE.bits() != 0 {
            return Err(Errno::EINVAL);
        }
        registration.set(event);
        registration.look();
        Ok(())
    }

    /// Ends the watch of a file.
    pub fn remove(&self, number: i32, file: &Arc<OpenFile>) -> Result<(), Errno> {
        self.check(file)?;
        let watch = self.watches.lock().remove(&key_of(number, file)).ok_or(Errno::ENOENT)?;
        file.remove_watcher(&watch.registration);
        self.ready.forget(&watch.registration);
        if let Ok(inner) = Self::of(file) {
            nesting::unlink(self, inner);
        }
        Ok(())
    }

    /// The opening behind a registration is gone.
    fn forget(&self, registration: &Arc<Registration>) {
        let watch = self.watches.lock().remove(&registration.key());
        self.ready.forget(registration);
        drop(watch);
    }

    /// Tells the program at most `most` events; 0 if nothing is ready.
    #[inline]
    pub fn try_wait(&self, memory: &UserMemory, address: VirtAddr, most: usize) -> Attempt {
        // Who finds entries and is told of none may have been beside another look.
        while !self.ready.holds_nothing() {
            let told = self.tell(memory, address, most);
            self.ready.end_look();
            if !matches!(told, Ok(0)) {
                return told;
            }
        }
        Ok(0)
    }

    fn tell(&self, memory: &UserMemory, address: VirtAddr, most: usize) -> Attempt {
        let mut told = 0;
        // Entries that go back to the end are not for this turn.
        let mut left = self.ready.len();
        while told < most && left > 0 {
            left -= 1;
            let Some(registration) = self.ready.pop() else { break };
            let Some((event, claim)) = registration.claim() else { continue };
            let at = address + told * size_of::<EpollEvent>();
            if let Err(obstacle) = memory.write(at, &event) {
                registration.give_back(claim);
                if told > 0 {
                    break;
                }
                return Err(obstacle);
            }
            told += 1;
            registration.told(claim);
        }
        if told > 0 && self.ready.len() > 0 {
            // What is left may be for another who waits here.
            self.ready.queue.wake_next_for(PollEvents::IN.bits());
        }
        Ok(told)
    }

    /// Waits until [`Epoll::try_wait`], which has just had nothing, has something to tell, or the deadline has passed: then
    /// 0.
    pub async fn wait(
        &self,
        memory: &UserMemory,
        address: VirtAddr,
        most: usize,
        deadline: Instant,
    ) -> Result<usize, Errno> {
        let queue = SharedQueue::new(self.ready.clone(), |ready| &ready.queue);
        let mut waiter = pin!(Waiter::new_for(queue, PollEvents::IN.bits()));
        let mut sleep = pin!(executor::sleep_until(deadline));
        let mut has_looked = true;
        loop {
            let outcome = poll_fn(|context| {
                loop {
                    if !core::mem::take(&mut has_looked) {
                        match self.try_wait(memory, address, most) {
                            Ok(0) => {}
                            Ok(told) => {
                                waiter.as_mut().finish();
                                return Poll::Ready(Ok(told));
                            }
                            other => return Poll::Ready(other),
                        }
                    }
                    if deadline != Instant::FAR_FUTURE && sleep.as_mut().poll(context).is_ready() {
                        return Poll::Ready(Ok(0));
                    }
                    if !waiter.as_mut().register(context.waker()) {
                        return Poll::Pending;
                    }
                }
            });
            match outcome.await {
                Ok(told) => return Ok(told),
                Err(Obstacle::Error(errno)) => return Err(errno),
                Err(Obstacle::Wait(page)) => page.await?,
                // Copies to a program's memory meet no others.
                Err(_) => return Err(Errno::EFAULT),
            }
        }
    }
}

impl Waitable for Epoll {
    fn wait_queue(&self) -> &WaitQueue {
        &self.ready.queue
    }
}

impl File for Epoll {
    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        output.write_str("anon_inode:[eventpoll]")
    }

    fn describe_state(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        let told: alloc::vec::Vec<_> =
            self.watches.lock().values().map(|watch| watch.registration.description()).collect();
        told.iter().try_for_each(|(number, events, data)| {
            writeln!(output, "tfd: {number:8} events: {events:8x} data: {data:16x}")
        })
    }

    fn ready(&self) -> PollEvents {
        while !self.ready.holds_nothing() {
            let Some(registration) = self.ready.pop() else { continue };
            if !registration.events().is_empty() {
                self.ready.put_back(registration);
                self.ready.end_look();
                return PollEvents::IN | PollEvents::RDNORM;
            }
        }
        PollEvents::empty()
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        let watches = core::mem::take(self.watches.get_mut());
        for watch in watches.values() {
            if let Some(file) = watch.registration.opening() {
                file.remove_watcher(&watch.registration);
            }
        }
        // Entries on the list hold the list.
        drop(watches);
        self.ready.clear();
    }
}

pub(crate) use registration::Watcher;
