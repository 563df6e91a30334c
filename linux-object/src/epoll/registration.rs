//! One watched file, and the list of those that may be ready.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use ksync::{Observer, Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::poll::{EpollBehaviour, EpollEvent, PollEvents};

use super::{ALWAYS, Epoll, Key};
use crate::file::{File, OpenFile};

/// What was registered, as its opening refers to it.
pub type Watcher = Weak<Registration>;

/// Bits that say how a registration behaves, not what it waits for.
const BEHAVIOUR: u32 = EpollBehaviour::all().bits();

/// A file that is watched.
pub struct Registration {
    epoll: Weak<Epoll>,
    ready: Arc<ReadySet>,
    file: Arc<dyn File>,
    opening: Weak<OpenFile>,
    key: Key,
    /// What it waits for; empty while a one-shot registration rests.
    interest: AtomicU32,
    behaviour: AtomicU32,
    data: AtomicU64,
    /// It is on the ready list, or about to be put there by who set this.
    is_listed: AtomicBool,
    is_dead: AtomicBool,
}

/// What is about to be told: what a one-shot registration waited for.
pub struct Claim(Option<u32>);

impl Registration {
    pub fn new(
        epoll: Weak<Epoll>,
        ready: Arc<ReadySet>,
        key: Key,
        opening: &Arc<OpenFile>,
        event: EpollEvent,
    ) -> Arc<Self> {
        let registration = Self {
            epoll,
            ready,
            file: opening.file().clone(),
            opening: Arc::downgrade(opening),
            key,
            interest: AtomicU32::new(0),
            behaviour: AtomicU32::new(0),
            data: AtomicU64::new(0),
            is_listed: AtomicBool::new(false),
            is_dead: AtomicBool::new(false),
        };
        registration.set(event);
        Arc::new(registration)
    }

    pub fn key(&self) -> Key {
        self.key
    }

    /// Number, events and data, for `/proc`.
    pub fn description(&self) -> (i32, u32, u64) {
        let events = self.interest.load(Ordering::Relaxed) | self.behaviour.load(Ordering::Relaxed);
        (self.key.0, events, self.data.load(Ordering::Relaxed))
    }

    pub fn opening(&self) -> Option<Arc<OpenFile>> {
        self.opening.upgrade()
    }

    /// The last reference to the opening is gone.
    pub fn end(self: &Arc<Self>) {
        if let Some(epoll) = self.epoll.upgrade() {
            epoll.forget(self);
        }
    }

    pub fn behaviour(&self) -> EpollBehaviour {
        EpollBehaviour::from_bits_retain(self.behaviour.load(Ordering::Relaxed))
    }

    /// Sets what is waited for. Under the list's lock, so that nobody sees half of it.
    pub fn set(&self, event: EpollEvent) {
        let _list = self.ready.list.lock();
        self.data.store(event.data, Ordering::Relaxed);
        self.behaviour.store(event.events & BEHAVIOUR, Ordering::Relaxed);
        self.interest.store(event.events & !BEHAVIOUR | ALWAYS.bits(), Ordering::Relaxed);
    }

    /// What of interest the file is ready for.
    pub fn events(&self) -> PollEvents {
        let interest = self.interest.load(Ordering::Relaxed);
        if interest == 0 || self.is_dead.load(Ordering::Relaxed) {
            return PollEvents::empty();
        }
        self.file.ready() & PollEvents::from_bits_retain(interest)
    }

    /// Puts the registration on the list if its file is ready: whoever registered or changed it looks for himself.
    pub fn look(self: &Arc<Self>) {
        // Between the change of interest and the look; its twin is in the wake that reads the interest.
        fence(Ordering::SeqCst);
        if !self.events().is_empty() {
            self.clone().list();
        }
    }

    fn list(self: Arc<Self>) -> bool {
        if !self.is_listed.swap(true, Ordering::AcqRel) {
            let ready = self.ready.clone();
            ready.push(self, VecDeque::push_back);
            ready.queue.wake_one_for(PollEvents::IN.bits())
        } else {
            false
        }
    }

    /// What there is to tell, if there is anything. A one-shot registration can be claimed once.
    pub fn claim(&self) -> Option<(EpollEvent, Claim)> {
        let (data, interest) = {
            let _list = self.ready.list.lock();
            (self.data.load(Ordering::Relaxed), self.interest.load(Ordering::Relaxed))
        };
        if interest == 0 || self.is_dead.load(Ordering::Relaxed) {
            return None;
        }
        let events = self.file.ready() & PollEvents::from_bits_retain(interest);
        if events.is_empty() {
            return None;
        }
        let mut claim = Claim(None);
        if self.behaviour().contains(EpollBehaviour::ONESHOT) {
            let swap = self.interest.compare_exchange(interest, 0, Ordering::AcqRel, Ordering::Relaxed);
            // Somebody else was first, or what is waited for has changed: then it was listed again.
            swap.ok()?;
            claim = Claim(Some(interest));
        }
        Some((EpollEvent { events: events.bits(), padding_after_events: 0, data }, claim))
    }

    /// The program was told.
    pub fn told(self: Arc<Self>, claim: Claim) {
        let is_level = claim.0.is_none() && !self.behaviour().contains(EpollBehaviour::ET);
        if is_level && !self.is_listed.swap(true, Ordering::AcqRel) {
            let ready = self.ready.clone();
            ready.push(self, VecDeque::push_back);
        }
    }

    /// The program could not be told.
    pub fn give_back(self: Arc<Self>, claim: Claim) {
        if let Some(interest) = claim.0 {
            let _ = self.interest.compare_exchange(0, interest, Ordering::AcqRel, Ordering::Relaxed);
        }
        let ready = self.ready.clone();
        ready.put_back(self);
    }
}

impl Observer for Registration {
    fn notify(self: Arc<Self>, events: u32) -> bool {
        if self.interest.load(Ordering::Relaxed) & events == 0 || self.is_dead.load(Ordering::Relaxed) {
            return false;
        }
        self.list()
    }
}

#[derive(Default)]
pub struct List {
    entries: VecDeque<Arc<Registration>>,
    /// Entries of registrations that have ended.
    dead: usize,
    /// The instance is gone: what comes now is not kept, since an entry keeps the list.
    is_closed: bool,
}

/// Registrations whose files may be ready, and who waits for them.
pub struct ReadySet {
    list: SpinLock<List>,
    /// How many there are; written under the lock.
    len: AtomicUsize,
    /// Somebody found nothing here. While a file is asked its entry is on no list, so he may have come at that moment: who
    /// puts an entry back wakes him.
    was_found_empty: AtomicBool,
    pub queue: WaitQueue,
}

impl Default for ReadySet {
    fn default() -> Self {
        let list = SpinLock::new(Rank::READY_LIST, List::default());
        Self {
            list,
            len: AtomicUsize::new(0),
            was_found_empty: AtomicBool::new(false),
            queue: WaitQueue::new("epoll"),
        }
    }
}

impl ReadySet {
    /// Makes room for so many registrations, so that a wake never allocates.
    pub fn reserve(&self, registrations: usize) -> Result<(), Errno> {
        let mut list = self.list.lock();
        let wanted = registrations + list.dead;
        let more = wanted.saturating_sub(list.entries.len());
        list.entries.try_reserve(more).map_err(|_| Errno::ENOMEM)
    }

    fn push(
        &self,
        registration: Arc<Registration>,
        push: impl FnOnce(&mut VecDeque<Arc<Registration>>, Arc<Registration>),
    ) {
        let mut list = self.list.lock();
        if !list.is_closed {
            push(&mut list.entries, registration);
            self.note_len(&list);
        }
    }

    fn note_len(&self, list: &List) {
        self.len.store(list.entries.len(), Ordering::Relaxed);
    }

    /// How many there are: whoever is about to wait has registered with the queue before he asks.
    #[inline]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether nothing is listed, for somebody who waits if that is so.
    #[inline]
    pub fn holds_nothing(&self) -> bool {
        if self.len() != 0 {
            return false;
        }
        self.was_found_empty.store(true, Ordering::Relaxed);
        // Between saying so and looking again; its twin is in `end_look`.
        fence(Ordering::SeqCst);
        self.len() == 0
    }

    /// Entries that were taken off to ask their files have been put back.
    #[inline]
    pub fn end_look(&self) {
        fence(Ordering::SeqCst);
        let is_awaited = self.was_found_empty.load(Ordering::Relaxed);
        // Taken and reset at once: who comes after that is somebody else's to wake, or sees what was put back.
        if is_awaited && self.len() != 0 && self.was_found_empty.swap(false, Ordering::AcqRel) {
            self.queue.wake_one_for(PollEvents::IN.bits());
        }
    }

    /// Takes the first entry off. What happens to its file from now on lists it again.
    pub fn pop(&self) -> Option<Arc<Registration>> {
        let registration = {
            let mut list = self.list.lock();
            let registration = list.entries.pop_front()?;
            self.note_len(&list);
            if registration.is_dead.load(Ordering::Relaxed) {
                list.dead = list.dead.saturating_sub(1);
            }
            registration
        };
        registration.is_listed.store(false, Ordering::Relaxed);
        // Between taking it off and asking its file; its twin is in the wake that finds it listed.
        fence(Ordering::SeqCst);
        Some(registration)
    }

    /// Puts an entry back where it was.
    pub fn put_back(&self, registration: Arc<Registration>) {
        if !registration.is_listed.swap(true, Ordering::AcqRel) {
            self.push(registration, VecDeque::push_front);
        }
    }

    /// A registration has ended.
    pub fn forget(&self, registration: &Registration) {
        registration.is_dead.store(true, Ordering::Relaxed);
        if !registration.is_listed.load(Ordering::Acquire) {
            return;
        }
        let mut dead = VecDeque::new();
        {
            let mut list = self.list.lock();
            list.dead += 1;
            // Now and then, so that the list stays as short as there are registrations.
            if list.dead * 2 > list.entries.len() {
                let entries = core::mem::take(&mut list.entries);
                let capacity = entries.capacity();
                (dead, list.entries) =
                    entries.into_iter().partition(|entry| entry.is_dead.load(Ordering::Relaxed));
                let more = capacity.saturating_sub(list.entries.len());
                list.entries.reserve(more);
                list.dead = 0;
                self.note_len(&list);
            }
        }
        drop(dead);
    }

    pub fn clear(&self) {
        let entries = {
            let mut list = self.list.lock();
            list.is_closed = true;
            self.len.store(0, Ordering::Relaxed);
            core::mem::take(&mut list.entries)
        };
        drop(entries);
    }
}
