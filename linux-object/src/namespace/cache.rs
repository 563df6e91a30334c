//! The cache of names: what a directory said of a name when it was last asked.
//!
//! A walk asks an inode only for what is not here. An entry says that a name in a directory (as reached through one
//! mount) leads to a [`Place`], or that there is no such name. So long as anybody uses a place that has a name, it is
//! here, and everybody who walks there gets the same one.
//!
//! * A directory is known by its filesystem and its inode's number, so that a change through one mount is seen through
//!   every other: the hash takes these and the name, not the mount.
//! * Who changes names changes the filesystem first and tells the cache afterwards, which counts up the bucket's
//!   generation. Who looks a name up notes the generation before it asks the inode; an answer that is older than the
//!   last change is not kept, and asked for again.
//! * Filesystems whose names come and go by themselves are not cached.
//! * Bounded: a bucket keeps [`MOST_IN_BUCKET`] entries; what nobody uses and was not asked for lately goes first.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ksync::{Rank, SpinLock};
use rcore_fs::INode;

use super::Place;

const BUCKETS: usize = 2048;
/// Entries that a bucket keeps although nobody uses them.
const MOST_IN_BUCKET: usize = 8;

struct Entry {
    hash: u64,
    above: Arc<Place>,
    name: Box<[u8]>,
    /// `None`: there is no such name.
    place: Option<Arc<Place>>,
    /// Whether it was asked for since an entry was last sought to be given up.
    is_recent: bool,
}

impl Entry {
    fn is_used(&self) -> bool {
        self.place.as_ref().is_some_and(|place| Arc::strong_count(place) > 1)
    }

    /// Whether this is what the directory says of the name, through whatever mount.
    fn is_of(&self, hash: u64, directory: &Place, name: &[u8]) -> bool {
        self.hash == hash && self.above.key() == directory.key() && *self.name == *name
    }
}

struct Bucket {
    entries: Vec<Entry>,
    generation: u64,
}

static TABLE: [SpinLock<Bucket>; BUCKETS] =
    [const { SpinLock::new(Rank::MOUNT_TABLE, Bucket { entries: Vec::new(), generation: 0 }) }; BUCKETS];

/// What the cache knows of a name.
pub(super) enum Found {
    /// It leads here.
    Place(Arc<Place>),
    /// There is no such name.
    Absent,
    /// Nothing; an answer counts if the generation is still this one.
    Unknown(Generation),
}

/// A state of a bucket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// A number of which the upper bits are as random as the lower ones.
pub(super) fn mix(state: u64, word: u64) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = (state ^ word).wrapping_mul(MULTIPLIER);
    product ^ product >> 32
}

fn hash_of(directory: &Place, name: &[u8]) -> u64 {
    let mut chunks = name.chunks_exact(8);
    let mut hash = directory.key();
    for chunk in &mut chunks {
        hash = mix(hash, u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
    }
    let rest = chunks.remainder().iter().fold(name.len() as u64, |rest, &byte| rest << 8 | u64::from(byte));
    mix(hash, rest)
}

fn bucket(hash: u64) -> &'static SpinLock<Bucket> {
    &TABLE[hash as usize % BUCKETS]
}

/// Looks a name up.
pub(super) fn look_up(directory: &Arc<Place>, name: &[u8]) -> Found {
    let hash = hash_of(directory, name);
    let mut bucket = bucket(hash).lock();
    let found = bucket
        .entries
        .iter_mut()
        .find(|entry| entry.hash == hash && entry.above.is_same(directory) && *entry.name == *name);
    match found {
        Some(entry) => {
            entry.is_recent = true;
            entry.place.clone().map_or(Found::Absent, Found::Place)
        }
        None => Found::Unknown(Generation(bucket.generation)),
    }
}

/// The state of a name's bucket, to be noted before the directory is changed or asked.
pub(super) fn generation(directory: &Place, name: &[u8]) -> Generation {
    Generation(bucket(hash_of(directory, name)).lock().generation)
}

/// Keeps what the directory said of a name, or what somebody else has kept meanwhile. `Err`: names were changed since
/// `generation`, so that the answer may be an old one.
pub(super) fn keep(
    directory: &Arc<Place>,
    name: &[u8],
    inode: Option<Arc<dyn INode>>,
    generation: Generation,
) -> Result<Option<Arc<Place>>, ()> {
    let hash = hash_of(directory, name);
    let place = inode.map(|inode| directory.child(name, inode));
    let entry =
        Entry { hash, above: directory.clone(), name: name.into(), place: place.clone(), is_recent: true };
    let mut given_up = None;
    let mut bucket = bucket(hash).lock();
    if bucket.generation != generation.0 {
        drop(bucket);
        return Err(());
    }
    let is_it = |known: &Entry| known.is_of(hash, directory, name) && known.above.is_same(directory);
    if let Some(known) = bucket.entries.iter().find(|known| is_it(known)) {
        let known = known.place.clone();
        drop(bucket);
        return Ok(known);
    }
    if bucket.entries.len() >= MOST_IN_BUCKET {
        let mut chosen = None;
        for (index, candidate) in bucket.entries.iter_mut().enumerate() {
            if !candidate.is_used() && !core::mem::take(&mut candidate.is_recent) && chosen.is_none() {
                chosen = Some(index);
            }
        }
        // All were asked for lately: the first that nobody uses.
        let chosen = chosen.or_else(|| bucket.entries.iter().position(|candidate| !candidate.is_used()));
        given_up = chosen.map(|index| bucket.entries.swap_remove(index));
    }
    if bucket.entries.try_reserve(1).is_ok() {
        bucket.entries.push(entry);
    }
    drop(bucket);
    // Outside of the lock: this may free the inode.
    drop(given_up);
    Ok(place)
}

/// A name was created: as [`keep`], in place of that there was none. `None`: names were changed by others too, and the
/// cache keeps nothing.
pub(super) fn replace(
    directory: &Arc<Place>,
    name: &[u8],
    inode: Arc<dyn INode>,
    generation: Generation,
) -> Option<Arc<Place>> {
    let is_current = self::generation(directory, name) == generation;
    forget(directory, name);
    if !is_current {
        return None;
    }
    let next = Generation(generation.0 + 1);
    keep(directory, name, Some(inode), next).ok().flatten()
}

/// A name was changed or removed: whatever is known of it is forgotten.
pub(super) fn forget(directory: &Place, name: &[u8]) {
    drop(take(directory, name));
}

fn take(directory: &Place, name: &[u8]) -> Vec<Entry> {
    let hash = hash_of(directory, name);
    let mut bucket = bucket(hash).lock();
    bucket.generation += 1;
    bucket.entries.extract_if(.., |entry| entry.is_of(hash, directory, name)).collect()
}

/// Names have changed their places: who holds a place that moved sees it where it is now. `old` and `new` are each a
/// directory and a name in it; with `exchanged` what had the new name has the old one now.
pub(super) fn rename(old: (&Arc<Place>, &[u8]), new: (&Arc<Place>, &[u8]), exchanged: bool) {
    let moved = take(old.0, old.1);
    let replaced = take(new.0, new.1);
    let settle = |entries: Vec<Entry>, to: (&Arc<Place>, &[u8])| {
        for entry in entries {
            if let Some(place) = entry.place
                && Arc::ptr_eq(place.mount(), to.0.mount())
            {
                place.move_to(to.0, to.1);
                adopt(to.0, to.1, place);
            }
        }
    };
    settle(moved, new);
    if exchanged {
        settle(replaced, old);
    }
}

/// Puts a place in that has just got this name, unless somebody has looked the name up meanwhile.
fn adopt(directory: &Arc<Place>, name: &[u8], place: Arc<Place>) {
    let hash = hash_of(directory, name);
    let entry =
        Entry { hash, above: directory.clone(), name: name.into(), place: Some(place), is_recent: true };
    let mut bucket = bucket(hash).lock();
    if !bucket.entries.iter().any(|known| known.is_of(hash, directory, name))
        && bucket.entries.try_reserve(1).is_ok()
    {
        bucket.entries.push(entry);
    }
}

/// Forgets everything that nobody uses (`/proc/sys/vm/drop_caches`).
pub fn drop_names() {
    loop {
        let mut dropped = 0;
        for bucket in &TABLE {
            let entries: Vec<Entry> = {
                let mut bucket = bucket.lock();
                bucket.entries.extract_if(.., |entry| !entry.is_used()).collect()
            };
            dropped += entries.len();
        }
        // What was used by its children alone may go now.
        if dropped == 0 {
            return;
        }
    }
}

/// How many names are kept, for those who watch memory.
pub fn cached_names() -> usize {
    TABLE.iter().map(|bucket| bucket.lock().entries.len()).sum()
}

#[cfg(test)]
mod tests;
