//! The cache of names: what a directory said of a name when it was last asked.
//!
//! A walk asks an inode only for what is not here. A slot says that a name in a directory leads to an [`Entry`], or that
//! there is no such name. So long as anybody uses an entry that has a name, it is here, and everybody who walks there
//! gets the same one: a directory is known by the address of its own entry.
//!
//! * Who changes names changes the filesystem first and tells the cache afterwards, which counts up the bucket's
//!   generation. Who looks a name up notes the generation before it asks the inode; an answer that is older than the
//!   last change is not kept, and asked for again.
//! * Filesystems whose names come and go by themselves are not cached.
//! * Bounded: a bucket keeps [`MOST_IN_BUCKET`] slots; what nobody uses and was not asked for lately goes first.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ksync::{Rank, SpinLock};
use rcore_fs::INode;

use super::Entry;

const BUCKETS: usize = 2048;
/// Slots that a bucket keeps although nobody uses them.
const MOST_IN_BUCKET: usize = 8;

struct Slot {
    hash: u64,
    above: Arc<Entry>,
    name: Box<[u8]>,
    /// `None`: there is no such name.
    entry: Option<Arc<Entry>>,
    /// Whether it was asked for since a slot was last sought to be given up.
    is_recent: bool,
}

impl Slot {
    fn is_used(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| Arc::strong_count(entry) > 1)
    }

    /// Whether this is what the directory says of the name.
    #[inline]
    fn is_of(&self, hash: u64, directory: &Entry, name: &[u8]) -> bool {
        self.hash == hash && core::ptr::eq(&*self.above, directory) && *self.name == *name
    }
}

struct Bucket {
    slots: Vec<Slot>,
    generation: u64,
}

static TABLE: [SpinLock<Bucket>; BUCKETS] =
    [const { SpinLock::new(Rank::MOUNT_TABLE, Bucket { slots: Vec::new(), generation: 0 }) }; BUCKETS];

/// What the cache knows of a name.
pub(super) enum Found {
    /// It leads here.
    Entry(Arc<Entry>),
    /// There is no such name.
    Absent,
    /// Nothing; an answer counts if the generation is still this one.
    Unknown(Generation),
}

/// A state of a bucket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// A number of which the upper bits are as random as the lower ones.
#[inline]
fn mix(state: u64, word: u64) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = (state ^ word).wrapping_mul(MULTIPLIER);
    product ^ product >> 32
}

#[inline]
fn hash_of(directory: &Entry, name: &[u8]) -> u64 {
    let mut chunks = name.chunks_exact(8);
    let mut hash = core::ptr::from_ref(directory).addr() as u64;
    for chunk in &mut chunks {
        hash = mix(hash, u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
    }
    let rest = chunks.remainder().iter().fold(name.len() as u64, |rest, &byte| rest << 8 | u64::from(byte));
    mix(hash, rest)
}

#[inline]
fn bucket(hash: u64) -> &'static SpinLock<Bucket> {
    &TABLE[hash as usize % BUCKETS]
}

/// Looks a name up.
pub(super) fn look_up(directory: &Arc<Entry>, name: &[u8]) -> Found {
    let hash = hash_of(directory, name);
    let mut bucket = bucket(hash).lock();
    match bucket.slots.iter_mut().find(|slot| slot.is_of(hash, directory, name)) {
        Some(slot) => {
            slot.is_recent = true;
            slot.entry.clone().map_or(Found::Absent, Found::Entry)
        }
        None => Found::Unknown(Generation(bucket.generation)),
    }
}

/// The state of a name's bucket, to be noted before the directory is changed or asked.
pub(super) fn generation(directory: &Entry, name: &[u8]) -> Generation {
    Generation(bucket(hash_of(directory, name)).lock().generation)
}

/// Keeps what the directory said of a name, or what somebody else has kept meanwhile. `Err`: names were changed since
/// `generation`, so that the answer may be an old one.
pub(super) fn keep(
    directory: &Arc<Entry>,
    name: &[u8],
    inode: Option<Arc<dyn INode>>,
    generation: Generation,
) -> Result<Option<Arc<Entry>>, ()> {
    let hash = hash_of(directory, name);
    let entry = inode.map(|inode| directory.child(name, inode));
    let slot =
        Slot { hash, above: directory.clone(), name: name.into(), entry: entry.clone(), is_recent: true };
    let mut given_up = None;
    let mut bucket = bucket(hash).lock();
    if bucket.generation != generation.0 {
        drop(bucket);
        return Err(());
    }
    if let Some(known) = bucket.slots.iter().find(|known| known.is_of(hash, directory, name)) {
        let known = known.entry.clone();
        drop(bucket);
        return Ok(known);
    }
    if bucket.slots.len() >= MOST_IN_BUCKET {
        let mut chosen = None;
        for (index, candidate) in bucket.slots.iter_mut().enumerate() {
            if !candidate.is_used() && !core::mem::take(&mut candidate.is_recent) && chosen.is_none() {
                chosen = Some(index);
            }
        }
        // All were asked for lately: the first that nobody uses.
        let chosen = chosen.or_else(|| bucket.slots.iter().position(|candidate| !candidate.is_used()));
        given_up = chosen.map(|index| bucket.slots.swap_remove(index));
    }
    if bucket.slots.try_reserve(1).is_ok() {
        bucket.slots.push(slot);
    }
    drop(bucket);
    // Outside of the lock: this may free the inode.
    drop(given_up);
    Ok(entry)
}

/// A name was created: as [`keep`], in place of that there was none. `None`: names were changed by others too, and the
/// cache keeps nothing.
pub(super) fn replace(
    directory: &Arc<Entry>,
    name: &[u8],
    inode: Arc<dyn INode>,
    generation: Generation,
) -> Option<Arc<Entry>> {
    let is_current = self::generation(directory, name) == generation;
    forget(directory, name);
    if !is_current {
        return None;
    }
    let next = Generation(generation.0 + 1);
    keep(directory, name, Some(inode), next).ok().flatten()
}

/// A name was changed or removed: whatever is known of it is forgotten.
pub(super) fn forget(directory: &Entry, name: &[u8]) {
    drop(take(directory, name));
}

fn take(directory: &Entry, name: &[u8]) -> Vec<Slot> {
    let hash = hash_of(directory, name);
    let mut bucket = bucket(hash).lock();
    bucket.generation += 1;
    bucket.slots.extract_if(.., |slot| slot.is_of(hash, directory, name)).collect()
}

/// Names have changed their places: who holds an entry that moved sees it where it is now. `old` and `new` are each a
/// directory and a name in it; with `exchanged` what had the new name has the old one now.
pub(super) fn rename(old: (&Arc<Entry>, &[u8]), new: (&Arc<Entry>, &[u8]), exchanged: bool) {
    let moved = take(old.0, old.1);
    let replaced = take(new.0, new.1);
    let settle = |slots: Vec<Slot>, to: (&Arc<Entry>, &[u8])| {
        for entry in slots.into_iter().filter_map(|slot| slot.entry) {
            entry.move_to(to.0, to.1);
            adopt(to.0, to.1, entry);
        }
    };
    settle(moved, new);
    if exchanged {
        settle(replaced, old);
    }
}

/// Puts an entry in that has just got this name, unless somebody has looked the name up meanwhile.
fn adopt(directory: &Arc<Entry>, name: &[u8], entry: Arc<Entry>) {
    let hash = hash_of(directory, name);
    let slot =
        Slot { hash, above: directory.clone(), name: name.into(), entry: Some(entry), is_recent: true };
    let mut bucket = bucket(hash).lock();
    if !bucket.slots.iter().any(|known| known.is_of(hash, directory, name))
        && bucket.slots.try_reserve(1).is_ok()
    {
        bucket.slots.push(slot);
    }
}

/// Forgets everything that nobody uses (`/proc/sys/vm/drop_caches`).
pub fn drop_names() {
    loop {
        let mut dropped = 0;
        for bucket in &TABLE {
            let slots: Vec<Slot> = {
                let mut bucket = bucket.lock();
                let unused = bucket.slots.extract_if(.., |slot| !slot.is_used()).collect();
                // Thousands of buckets: what they had room for is worth having back.
                bucket.slots.shrink_to_fit();
                unused
            };
            dropped += slots.len();
        }
        // What was used by its children alone may go now.
        if dropped == 0 {
            return;
        }
    }
}

/// Forgets everything below a directory.
pub(super) fn forget_below(top: &Arc<Entry>) {
    for bucket in &TABLE {
        let gone: Vec<Slot> = {
            let mut bucket = bucket.lock();
            if bucket.slots.is_empty() {
                continue;
            }
            bucket.generation += 1;
            bucket.slots.extract_if(.., |slot| top.contains(&slot.above)).collect()
        };
        drop(gone);
    }
}

/// How many names are kept, for those who watch memory.
pub fn cached_names() -> usize {
    TABLE.iter().map(|bucket| bucket.lock().slots.len()).sum()
}

#[cfg(test)]
mod tests;
