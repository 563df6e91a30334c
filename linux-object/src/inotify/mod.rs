//! `inotify`: programs are told what happens to files.
//!
//! A watch belongs to an inode, which it keeps in memory, and is found by it in one table. As long as nothing is watched, what
//! happens to files costs a load ([`is_any`]).
//!
//! Limits: that a file is gone is told when its last name is, also if it is still open.

mod instance;

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use ksync::{Rank, SpinLock};
use linux_abi::inotify::WatchMask;
use linux_abi::stat::FileType;
use rcore_fs::INode;

use crate::file::OpenFile;
use crate::namespace::Place;

pub use instance::Inotify;
use instance::Queue;

/// An inode that an instance watches.
struct Watch {
    number: i32,
    mask: AtomicU32,
    inode: Arc<dyn INode>,
    queue: Weak<Queue>,
}

static WATCHES: SpinLock<BTreeMap<usize, Vec<Arc<Watch>>>> =
    SpinLock::new(Rank::FILE_WATCHES, BTreeMap::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);
static NEXT_COOKIE: AtomicU32 = AtomicU32::new(1);

/// Whether anything is watched.
#[inline]
pub fn is_any() -> bool {
    COUNT.load(Ordering::Relaxed) != 0
}

fn key_of(inode: &Arc<dyn INode>) -> usize {
    Arc::as_ptr(inode).cast::<()>().addr()
}

fn register(watch: &Arc<Watch>) {
    WATCHES.lock().entry(key_of(&watch.inode)).or_default().push(watch.clone());
    COUNT.fetch_add(1, Ordering::Relaxed);
}

fn unregister(watch: &Arc<Watch>) {
    let key = key_of(&watch.inode);
    let removed = {
        let mut watches = WATCHES.lock();
        let Some(of_inode) = watches.get_mut(&key) else { return };
        let Some(index) = of_inode.iter().position(|other| Arc::ptr_eq(other, watch)) else { return };
        let removed = of_inode.swap_remove(index);
        if of_inode.is_empty() {
            watches.remove(&key);
        }
        removed
    };
    COUNT.fetch_sub(1, Ordering::Relaxed);
    drop(removed);
}

/// Something has happened to an inode, or to a name in it.
#[cold]
fn tell(inode: &Arc<dyn INode>, mut event: WatchMask, cookie: u32, name: &[u8], concerns_directory: bool) {
    let watches = WATCHES.lock().get(&key_of(inode)).cloned().unwrap_or_default();
    event.set(WatchMask::ISDIR, concerns_directory && !event.contains(WatchMask::DELETE_SELF));
    for watch in watches {
        let mask = WatchMask::from_bits_retain(watch.mask.load(Ordering::Relaxed));
        let Some(queue) = watch.queue.upgrade().filter(|_| mask.intersects(event & WatchMask::ALL_EVENTS))
        else {
            continue;
        };
        queue.push(watch.number, event, cookie, name);
        if mask.contains(WatchMask::ONESHOT) || event.contains(WatchMask::DELETE_SELF) {
            queue.forget(watch.number);
        }
    }
}

fn is_directory(inode: &Arc<dyn INode>) -> bool {
    inode.file_type() == FileType::Directory
}

/// Something has happened to what is at a place: whoever watches it is told, and whoever watches the directory.
#[cold]
pub fn happened(place: &Place, event: WatchMask) {
    let concerns_directory = is_directory(place.inode());
    if let (Some(above), name) = place.position() {
        tell(above.inode(), event, 0, &name, concerns_directory);
    }
    tell(place.inode(), event, 0, &[], concerns_directory);
}

/// The same of an opening.
#[cold]
pub fn happened_to(file: &OpenFile, event: WatchMask) {
    if let Some(place) = file.place() {
        happened(place, event);
    }
}

/// A name was made.
#[cold]
pub fn created(directory: &Place, name: &[u8], inode: &Arc<dyn INode>) {
    tell(directory.inode(), WatchMask::CREATE, 0, name, is_directory(inode));
}

/// A name was taken away; `is_gone` if it was the last one.
#[cold]
pub fn removed(directory: &Place, name: &[u8], inode: &Arc<dyn INode>, is_gone: bool) {
    if !is_directory(inode) {
        names_changed(inode);
    }
    tell(directory.inode(), WatchMask::DELETE, 0, name, is_directory(inode));
    if is_gone {
        gone(inode);
    }
}

/// A file has more or fewer names than before.
#[cold]
pub fn names_changed(inode: &Arc<dyn INode>) {
    tell(inode, WatchMask::ATTRIB, 0, &[], is_directory(inode));
}

/// A file has no name any more.
#[cold]
pub fn gone(inode: &Arc<dyn INode>) {
    tell(inode, WatchMask::DELETE_SELF, 0, &[], is_directory(inode));
}

/// A name was moved.
#[cold]
pub fn moved(from: (&Place, &[u8]), to: (&Place, &[u8]), inode: &Arc<dyn INode>) {
    let cookie = NEXT_COOKIE.fetch_add(1, Ordering::Relaxed);
    let concerns_directory = is_directory(inode);
    tell(from.0.inode(), WatchMask::MOVED_FROM, cookie, from.1, concerns_directory);
    tell(to.0.inode(), WatchMask::MOVED_TO, cookie, to.1, concerns_directory);
    tell(inode, WatchMask::MOVE_SELF, 0, &[], concerns_directory);
}
