//! Who waits on which word.
//!
//! Waiters lie in buckets by a hash of their word. A bucket's lock makes "the word still has this value" and "now I
//! wait" one step, and its counter makes a wake without waiters as cheap as one load. Words are read and changed under the
//! lock by accesses that report a fault instead of resolving it; the caller resolves it outside and comes again.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use core::task::Waker;

use kernel_hal::{VirtAddr, interrupt};
use kernel_object::address_space::MemoryKey;
use kernel_object::paged_object::PagedObject;
use ksync::{Rank, SpinLock, SpinLockGuard};
use linux_abi::Errno;

/// How many buckets there are. A power of two.
const BUCKETS: usize = 256;
/// How many are woken before a bucket's lock is released to call them.
const BATCH: usize = 8;

/// The identity of a word: two addresses with one key are one word.
#[derive(Clone)]
pub(super) struct Key {
    /// An address space's number or an object's address; the lowest bit tells them apart.
    place: u64,
    offset: u64,
    #[expect(dead_code, reason = "keeps the object, so that no other gets its address")]
    object: Option<Arc<PagedObject>>,
}

impl Key {
    /// The key of a word of one address space.
    pub(super) fn private(space: u64, address: VirtAddr) -> Self {
        Self { place: space << 1 | 1, offset: address.as_usize() as u64, object: None }
    }

    pub(super) fn of(key: MemoryKey) -> Self {
        match key {
            MemoryKey::Private { space, address } => Self::private(space, address),
            MemoryKey::Shared { object, offset } => {
                Self { place: Arc::as_ptr(&object).addr() as u64, offset, object: Some(object) }
            }
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.place == other.place && self.offset == other.offset
    }

    fn bucket(&self) -> usize {
        const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = (self.offset >> 2 ^ self.place.rotate_left(32)).wrapping_mul(MIX);
        (mixed >> 32) as usize % BUCKETS
    }
}

/// The state of a wait, shared by whoever waits and the bucket. A thread uses the same for one wait after the other.
pub struct Waiter {
    is_woken: AtomicBool,
    /// The bucket in which the waiter lies; changed with both buckets locked.
    bucket: AtomicUsize,
}

impl Waiter {
    /// A waiter that waits for nothing.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { is_woken: AtomicBool::new(true), bucket: AtomicUsize::new(0) })
    }
}

struct Entry {
    key: Key,
    bits: u32,
    waiter: Arc<Waiter>,
    waker: Waker,
}

struct Bucket {
    /// How many lie in it or are about to.
    count: AtomicUsize,
    entries: SpinLock<Vec<Entry>>,
}

static TABLE: [Bucket; BUCKETS] =
    [const { Bucket { count: AtomicUsize::new(0), entries: SpinLock::new(Rank::FUTEX, Vec::new()) } };
        BUCKETS];

/// A place in a bucket; being dropped gives it up.
pub(super) struct Registration(Arc<Waiter>);

impl Registration {
    /// Whether the wait is over.
    pub(super) fn is_woken(&self) -> bool {
        self.0.is_woken.load(Ordering::Acquire)
    }

    /// Runs `change` on the waiter's entry if it still waits.
    fn with_entry(&self, change: impl FnOnce(&Bucket, &mut Vec<Entry>, usize)) {
        while !self.is_woken() {
            let number = self.0.bucket.load(Ordering::Acquire);
            let bucket = &TABLE[number];
            let mut entries = bucket.entries.lock();
            if self.0.bucket.load(Ordering::Relaxed) != number {
                continue;
            }
            let index = entries.iter().position(|entry| Arc::ptr_eq(&entry.waiter, &self.0));
            if let Some(index) = index {
                change(bucket, &mut entries, index);
            }
            return;
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut entry = None;
        self.with_entry(|bucket, entries, index| {
            entry = Some(entries.remove(index));
            bucket.count.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Registers a waiter, which is in no bucket, if `check`, which runs under the bucket's lock, agrees.
pub(super) fn register<E: From<Errno>>(
    waiter: &Arc<Waiter>,
    key: &Key,
    bits: u32,
    waker: &Waker,
    check: impl FnOnce() -> Result<(), E>,
) -> Result<Registration, E> {
    let number = key.bucket();
    let bucket = &TABLE[number];
    let mut entries = bucket.entries.lock();
    // Before the word is read; its twin is in `wake`.
    bucket.count.fetch_add(1, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    let outcome = check().and_then(|()| entries.try_reserve(1).map_err(|_| Errno::ENOMEM.into()));
    if let Err(refusal) = outcome {
        bucket.count.fetch_sub(1, Ordering::Relaxed);
        drop(entries);
        return Err(refusal);
    }
    waiter.bucket.store(number, Ordering::Relaxed);
    waiter.is_woken.store(false, Ordering::Release);
    entries.push(Entry { key: key.clone(), bits, waiter: waiter.clone(), waker: waker.clone() });
    Ok(Registration(waiter.clone()))
}

/// Takes the longest waiting waiter of a word out of a locked bucket.
#[inline]
fn take_one(bucket: &Bucket, entries: &mut Vec<Entry>, key: &Key, bits: u32) -> Option<Entry> {
    let index = entries.iter().position(|entry| entry.key.is(key) && entry.bits & bits != 0)?;
    let entry = entries.remove(index);
    bucket.count.fetch_sub(1, Ordering::Relaxed);
    entry.waiter.is_woken.store(true, Ordering::Release);
    Some(entry)
}

/// Takes up to `count` waiters of a word out of a locked bucket; returns those that are to be called once it is unlocked.
fn take(
    bucket: &Bucket,
    entries: &mut Vec<Entry>,
    key: &Key,
    bits: u32,
    count: usize,
) -> [Option<Entry>; BATCH] {
    let mut taken = [const { None }; BATCH];
    let (mut number, mut index) = (0, 0);
    while number < count.min(BATCH) && index < entries.len() {
        if !entries[index].key.is(key) || entries[index].bits & bits == 0 {
            index += 1;
            continue;
        }
        // In the order of arrival, which the rest keeps.
        let entry = entries.remove(index);
        bucket.count.fetch_sub(1, Ordering::Relaxed);
        entry.waiter.is_woken.store(true, Ordering::Release);
        taken[number] = Some(entry);
        number += 1;
    }
    taken
}

/// Calls them; returns how many there were.
fn call(taken: [Option<Entry>; BATCH]) -> usize {
    let mut count = 0;
    for entry in taken.into_iter().flatten() {
        entry.waker.wake();
        count += 1;
    }
    count
}

/// Wakes up to `count` waiters of a word of those whose bits meet `bits`; returns how many.
pub(super) fn wake(key: &Key, bits: u32, count: usize) -> usize {
    let bucket = &TABLE[key.bucket()];
    // Between the program's change of the word and the look for waiters.
    fence(Ordering::SeqCst);
    // Who comes while we call others is not meant.
    let most = bucket.count.load(Ordering::SeqCst).min(count);
    if most == 1 {
        let taken = take_one(bucket, &mut bucket.entries.lock(), key, bits);
        return taken.map_or(0, |entry| {
            entry.waker.wake();
            1
        });
    }
    let mut woken = 0;
    while woken < most {
        let taken = take(bucket, &mut bucket.entries.lock(), key, bits, most - woken);
        let batch = call(taken);
        woken += batch;
        if batch < BATCH {
            break;
        }
    }
    woken
}

/// Two buckets, locked.
struct Pair<'a> {
    first: (&'a Bucket, SpinLockGuard<'a, Vec<Entry>>),
    second: Option<(&'a Bucket, SpinLockGuard<'a, Vec<Entry>>)>,
    is_swapped: bool,
}

impl Pair<'_> {
    /// Locks the buckets of two keys, the one with the lower number first.
    fn lock(one: &Key, other: &Key) -> Self {
        let (one, other) = (one.bucket(), other.bucket());
        let (low, high) = (one.min(other), one.max(other));
        let first = (&TABLE[low], TABLE[low].entries.lock());
        let second = (low != high).then(|| {
            let bucket = &TABLE[high];
            // Everybody locks in this order, so this ends; meanwhile the hart does what it owes to others.
            let guard = loop {
                if let Some(guard) = bucket.entries.try_lock() {
                    break guard;
                }
                interrupt::serve_while_spinning();
                core::hint::spin_loop();
            };
            (bucket, guard)
        });
        Self { first, second, is_swapped: one != low }
    }

    fn get(&mut self, is_other: bool) -> (&Bucket, &mut Vec<Entry>) {
        match &mut self.second {
            Some((bucket, entries)) if is_other != self.is_swapped => (bucket, entries),
            _ => (self.first.0, &mut self.first.1),
        }
    }
}

/// Wakes up to `wake_count` waiters of one word and lets up to `move_count` others wait on another instead, if `check`, which runs under
/// the locks, agrees. Returns how many were woken and how many were moved.
pub(super) fn requeue<E: From<Errno>>(
    from: &Key,
    to: &Key,
    wake_count: usize,
    move_count: usize,
    check: impl FnOnce() -> Result<(), E>,
) -> Result<(usize, usize), E> {
    let mut check = Some(check);
    let mut woken = 0;
    loop {
        let mut pair = Pair::lock(from, to);
        if let Some(check) = check.take() {
            fence(Ordering::SeqCst);
            check()?;
        }
        let (bucket, entries) = pair.get(false);
        let taken = take(bucket, entries, from, u32::MAX, wake_count - woken);
        let is_last = woken + taken.iter().flatten().count() == wake_count || taken[BATCH - 1].is_none();
        let moved = if is_last { move_waiters(&mut pair, from, to, move_count)? } else { 0 };
        drop(pair);
        woken += call(taken);
        if is_last {
            return Ok((woken, moved));
        }
    }
}

fn move_waiters(pair: &mut Pair<'_>, from: &Key, to: &Key, most: usize) -> Result<usize, Errno> {
    if from.is(to) {
        let (_, entries) = pair.get(false);
        return Ok(entries.iter().filter(|entry| entry.key.is(from)).count().min(most));
    }
    let mut moved = 0;
    let mut index = 0;
    loop {
        let (bucket, entries) = pair.get(false);
        let Some(offset) = entries[index..].iter().position(|entry| entry.key.is(from)) else { break };
        if moved == most {
            break;
        }
        index += offset;
        let mut entry = entries.remove(index);
        bucket.count.fetch_sub(1, Ordering::Relaxed);
        entry.key = to.clone();
        entry.waiter.bucket.store(to.bucket(), Ordering::Release);
        let (bucket, entries) = pair.get(true);
        entries.push(entry);
        bucket.count.fetch_add(1, Ordering::Relaxed);
        moved += 1;
    }
    Ok(moved)
}

/// Changes a word and wakes waiters of two, as one step: up to `count` of the first, and up to `other_count` of the second if
/// `change`, which runs under the locks, says so.
pub(super) fn wake_two<E>(
    key: &Key,
    other: &Key,
    count: usize,
    other_count: usize,
    change: impl FnOnce() -> Result<bool, E>,
) -> Result<usize, E> {
    let (taken, other_taken, wakes_other) = {
        let mut pair = Pair::lock(key, other);
        let wakes_other = change()?;
        let (bucket, entries) = pair.get(false);
        let taken = take(bucket, entries, key, u32::MAX, count);
        let mut other_taken = [const { None }; BATCH];
        if wakes_other {
            let (bucket, entries) = pair.get(true);
            other_taken = take(bucket, entries, other, u32::MAX, other_count);
        }
        (taken, other_taken, wakes_other)
    };
    let (mut woken, mut other_woken) = (call(taken), call(other_taken));
    // What did not fit into the first batch was there already; nobody who waits now can have missed the change.
    if woken == BATCH {
        woken += wake(key, u32::MAX, count - BATCH);
    }
    if wakes_other && other_woken == BATCH {
        other_woken += wake(other, u32::MAX, other_count - BATCH);
    }
    Ok(woken + other_woken)
}
