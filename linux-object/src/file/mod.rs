//! Open files: what a descriptor stands for, and what can be done with it.
//!
//! A [`File`] is the object behind a descriptor: it answers attempts and says when its readiness changes. An [`OpenFile`]
//! is one opening of it: access mode, status flags, position. A [`FileTable`] gives openings their numbers.

mod anonymous;
mod block_device;
mod companion;
mod directory;
mod generated;
pub mod limit;
mod memory_devices;
mod null;
mod page_ring;
mod path_only;
mod pipe;
mod regular;
mod send;
mod signal_driven;
mod space;
mod table;
mod transfer;

pub mod open;
pub mod status;
pub mod storage;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use kernel_object::paged_object::WriteAccess;
use ksync::{Once, Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::file::{FASYNC, O_ACCMODE, O_RDONLY, O_WRONLY, OpenFlags};
use linux_abi::inotify::WatchMask;
use linux_abi::poll::PollEvents;
use linux_abi::stat::FileType;
use rcore_fs::{DirectorySink, FIRST_ENTRY, INode};

use crate::epoll::{Registration, Watcher};
use crate::inotify;
use crate::locks;
use crate::memory::mapping::MappedContent;
use crate::namespace::Place;
use crate::obstacle::{Attempt, Slow, Waitable};
use crate::socket::Socket;
use crate::thread::Thread;
use crate::user_buffer::UserBuffer;

pub use anonymous::{AnonymousNode, anonymous_number};
pub use block_device::{DiskFile, add_disk, disk_at, disk_named, disks};
pub use companion::Companion;
pub use memory_devices::{FullDevice, RandomDevice};
pub use null::{NullDevice, ZeroDevice};
pub use page_ring::{PageRing, Slot, SlotKind};
pub use pipe::{PIPE_MAX_SIZE, Pipe, PipeEnd, PipeEnds, pipe};
pub(crate) use regular::errno_of;
pub use send::Sending;
pub use signal_driven::Owner;
pub use table::{FileTable, MOST_DESCRIPTORS};
pub use transfer::{Direction, Position, Transfer, Turn};

/// How a position is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// To this position.
    Start(i64),
    /// So far from where it is.
    Current(i64),
    /// So far from the end.
    End(i64),
    /// To the next data from here on.
    Data(i64),
    /// To the next hole from here on.
    Hole(i64),
}

/// The object behind a descriptor. What it cannot do it refuses with the error that Linux gives.
///
/// The `try_` operations never wait: they finish or name the obstacle. `offset` is where a seekable file is read or
/// written; others ignore it.
pub trait File: Waitable + Any {
    /// Moves bytes to the program. 0 is the end of the file.
    fn try_read(&self, _offset: u64, _buffer: &mut UserBuffer) -> Attempt {
        Err(Errno::EINVAL.into())
    }

    /// Moves bytes from the program.
    fn try_write(&self, _offset: u64, _buffer: &mut UserBuffer) -> Attempt {
        Err(Errno::EINVAL.into())
    }

    /// What could be done without waiting.
    fn ready(&self) -> PollEvents {
        PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM
    }

    /// Whose queue is woken in place of the file's own, for the calling thread: what it is ready for depends on who asks.
    fn woken_by(&self) -> Option<Arc<dyn Waitable>> {
        None
    }

    /// Whether it can be watched for readiness: `epoll` refuses what is always ready.
    fn is_watchable(&self) -> bool {
        true
    }

    /// The status flags are these from now on; called at the beginning if there are any, and when they change.
    fn set_status(&self, _flags: OpenFlags) -> Result<(), Errno> {
        Ok(())
    }

    /// Whether it has positions.
    fn is_seekable(&self) -> bool {
        false
    }

    /// Whether what would have to wait can be refused (`RWF_NOWAIT`).
    fn can_refuse_to_wait(&self) -> bool {
        self.as_socket().is_some()
    }

    /// Whether it has no positions and takes any: to go to one leads nowhere.
    fn ignores_positions(&self) -> bool {
        false
    }

    /// The turn that who writes has, of a file with positions whose writers must not meet.
    fn content_turn(&self) -> Option<&Turn> {
        None
    }

    /// Where appended bytes go and where the end is, of a seekable file.
    fn end(&self) -> Result<u64, Errno> {
        Ok(0)
    }

    /// What it is, as `stat` tells it of an opening without a path.
    fn kind(&self) -> FileType {
        FileType::Regular
    }

    /// Its inode's number, of an opening without a path: all that have nothing to tell apart share one.
    fn number(&self) -> u64 {
        1
    }

    /// What `/proc/PID/fd` shows in place of a path for an opening that has none: `pipe:[7]`, `anon_inode:[eventfd]`.
    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        output.write_str("anon_inode:[file]")
    }

    /// What `/proc/PID/fdinfo` shows beside position and flags: whole lines.
    fn describe_state(&self, _output: &mut dyn fmt::Write) -> fmt::Result {
        Ok(())
    }

    /// What opening it once more through `/proc/PID/fd` opens, if it has no path by which to open it.
    fn reopen(self: Arc<Self>, _flags: OpenFlags) -> Result<Arc<dyn File>, Errno> {
        Err(Errno::ENXIO)
    }

    /// What `fsync` waits for beside the inode.
    fn sync(&self) -> Option<Slow<Result<(), Errno>>> {
        None
    }

    /// What `mmap` shows of it from this offset on.
    fn mapped_content(&self, _offset: u64) -> Result<MappedContent, Errno> {
        Err(Errno::ENODEV)
    }

    /// The socket that it is, if it is one.
    fn as_socket(&self) -> Option<&dyn Socket> {
        None
    }

    /// `ioctl`.
    fn try_control(
        &self,
        _request: u32,
        _argument: usize,
        _memory: &UserMemory,
        _caller: &Thread,
    ) -> Attempt {
        Err(Errno::ENOTTY.into())
    }
}

pub use crate::user_buffer::UserMemory;

/// One opening of a file.
pub struct OpenFile {
    file: Arc<dyn File>,
    place: Option<Place>,
    /// Held as long as the opening is there, if it may write.
    _write_access: Option<WriteAccess>,
    access: u32,
    status: AtomicU32,
    is_seekable: bool,
    position: AtomicU64,
    /// Who reads or writes at the position, or moves it.
    position_turn: Turn,
    /// Epoll registrations of this opening.
    watchers: Once<Box<SpinLock<Vec<Watcher>>>>,
    signal_driven: Once<Box<signal_driven::SignalDriven>>,
}

/// Status flags that can be changed after opening.
const CHANGEABLE: OpenFlags =
    OpenFlags::APPEND.union(OpenFlags::NONBLOCK).union(OpenFlags::DIRECT).union(OpenFlags::NOATIME);

/// Where a regular file lies that is open for writing: nobody may make its mount read-only meanwhile.
#[inline]
fn written_place(place: Option<&Place>, access: u32) -> Option<&Place> {
    place.filter(|place| access != O_RDONLY && place.file_type() == FileType::Regular)
}

impl OpenFile {
    /// Opens `file`; `place` is where a path walk found it.
    pub fn new(file: Arc<dyn File>, place: Option<Place>, flags: OpenFlags) -> Arc<Self> {
        Self::with(file, place, flags, None)
    }

    /// Opens what a path walk found. `ETXTBSY` if that would be for writing, and a program runs that is in it.
    pub fn at(file: Arc<dyn File>, place: Place, flags: OpenFlags) -> Result<Arc<Self>, Errno> {
        let access = match written_place(Some(&place), flags.bits() & O_ACCMODE) {
            Some(place) => place.write_access()?,
            None => None,
        };
        Ok(Self::with(file, Some(place), flags, access))
    }

    fn with(
        file: Arc<dyn File>,
        place: Option<Place>,
        flags: OpenFlags,
        write_access: Option<WriteAccess>,
    ) -> Arc<Self> {
        let status = flags & (CHANGEABLE | OpenFlags::DSYNC | OpenFlags::SYNC);
        if !(status & CHANGEABLE).is_empty() {
            // Nothing is refused at the beginning that `open` has let pass.
            let _ = file.set_status(status);
        }
        let access = flags.bits() & O_ACCMODE;
        if let Some(place) = written_place(place.as_ref(), access) {
            place.mount().add_writer();
        }
        let is_seekable = file.is_seekable();
        let opening = Arc::new(Self {
            file,
            place,
            _write_access: write_access,
            access,
            status: AtomicU32::new((status | flags & OpenFlags::DIRECTORY).bits()),
            is_seekable,
            position: AtomicU64::new(0),
            position_turn: Turn::new(()),
            watchers: Once::new(),
            signal_driven: Once::new(),
        });
        opening.note(WatchMask::OPEN);
        opening
    }

    /// An opening that only stands for a place (`O_PATH`).
    pub fn path_only(place: Place, flags: OpenFlags) -> Arc<Self> {
        let kept = OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW;
        Arc::new(Self {
            file: path_only::object(),
            place: Some(place),
            _write_access: None,
            access: O_RDONLY,
            status: AtomicU32::new((flags & kept).bits()),
            is_seekable: false,
            position: AtomicU64::new(0),
            position_turn: Turn::new(()),
            watchers: Once::new(),
            signal_driven: Once::new(),
        })
    }

    /// Whether it only stands for a place.
    #[inline]
    pub fn is_path_only(&self) -> bool {
        self.status.load(Ordering::Relaxed) & OpenFlags::PATH.bits() != 0
    }

    /// The object.
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// Whose queue is woken when what the file is ready for changes, for the calling thread.
    pub fn waitable(&self) -> Arc<dyn Waitable> {
        self.file.woken_by().unwrap_or_else(|| self.file.clone())
    }

    /// Where a path walk found it.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// The inode, if it has one.
    pub fn inode(&self) -> Option<&Arc<dyn INode>> {
        self.place.as_ref().map(|place| place.inode())
    }

    /// Access mode and status flags, as `F_GETFL` returns them.
    pub fn flags(&self) -> u32 {
        self.access | self.status.load(Ordering::Relaxed)
    }

    /// Sets the status flags that can be changed; others are left as they are.
    pub fn set_flags(&self, flags: OpenFlags) -> Result<(), Errno> {
        let keep = self.status.load(Ordering::Relaxed) & !CHANGEABLE.bits();
        self.file.set_status(flags & CHANGEABLE)?;
        self.status.store(keep | (flags & CHANGEABLE).bits(), Ordering::Relaxed);
        Ok(())
    }

    fn set_async_flag(&self, is_on: bool) {
        let flag = FASYNC;
        if is_on {
            self.status.fetch_or(flag, Ordering::Relaxed);
        } else {
            self.status.fetch_and(!flag, Ordering::Relaxed);
        }
    }

    /// Whether operations fail rather than wait.
    pub fn is_nonblocking(&self) -> bool {
        self.status.load(Ordering::Relaxed) & OpenFlags::NONBLOCK.bits() != 0
    }

    /// Whether it was opened for this.
    pub fn check_access(&self, direction: Direction) -> Result<(), Errno> {
        match direction {
            Direction::Read => self.check_readable(),
            Direction::Write => self.check_writable(),
        }
    }

    #[inline]
    pub(crate) fn check_readable(&self) -> Result<(), Errno> {
        if self.access == O_WRONLY { Err(Errno::EBADF) } else { Ok(()) }
    }

    #[inline]
    pub(crate) fn check_writable(&self) -> Result<(), Errno> {
        if self.access == O_RDONLY { Err(Errno::EBADF) } else { Ok(()) }
    }

    /// Whether it has positions.
    #[inline]
    pub fn is_seekable(&self) -> bool {
        self.is_seekable
    }

    /// Tells who watches the file.
    #[inline]
    fn note(&self, event: WatchMask) {
        if inotify::is_any() && !self.is_path_only() {
            inotify::happened_to(self, event);
        }
    }

    /// Tells who watches the file if something was moved.
    #[inline]
    fn note_moved(&self, event: WatchMask, before: usize, buffer: &UserBuffer) {
        if inotify::is_any() && buffer.done() > before {
            inotify::happened_to(self, event);
        }
    }

    /// What a read leaves behind: a time of access, and news for who watches.
    #[inline]
    fn note_read(&self, before: usize, buffer: &UserBuffer) {
        self.note_moved(WatchMask::ACCESS, before, buffer);
        if buffer.done() > before
            && let Some(place) = &self.place
            && self.status.load(Ordering::Relaxed) & OpenFlags::NOATIME.bits() == 0
        {
            place.note_access();
        }
    }

    /// Moves the position, when nobody reads or writes there.
    pub fn try_seek(self: &Arc<Self>, seek: Seek) -> Attempt<u64> {
        if self.file.ignores_positions() {
            return Ok(0);
        }
        if !self.is_seekable {
            return Err(Errno::ESPIPE.into());
        }
        let _turn = self.try_take_position()?;
        let (base, distance) = match seek {
            Seek::Start(distance) => (0, distance),
            Seek::Current(distance) => (self.position.load(Ordering::Relaxed), distance),
            Seek::End(distance) => (self.file.end()?, distance),
            Seek::Data(from) => (self.find_extent(from, true)?, 0),
            Seek::Hole(from) => (self.find_extent(from, false)?, 0),
        };
        let position = base.checked_add_signed(distance).filter(|&position| position <= i64::MAX as u64);
        let position = position.ok_or(Errno::EINVAL)?;
        self.position.store(position, Ordering::Relaxed);
        Ok(position)
    }

    /// The turn at the position, for who waits for it.
    pub fn position_turn(&self) -> &Turn {
        &self.position_turn
    }

    /// Lists a directory from the current position on; `sink` notes where to go on, for [`Self::set_list_position`].
    pub async fn list(&self, sink: &mut dyn DirectorySink) -> Result<(), Errno> {
        let inode = self.inode().filter(|inode| inode.file_type() == FileType::Directory);
        let inode = inode.ok_or(Errno::ENOTDIR)?;
        inode.iterate(self.position.load(Ordering::Relaxed).max(FIRST_ENTRY), sink).await
    }

    /// Tells who watches a directory that it was listed.
    pub fn note_listed(&self) {
        self.note(WatchMask::ACCESS);
    }

    /// Tells who watches that bytes went from this file to another.
    pub fn note_copied_to(&self, target: &Self) {
        self.note(WatchMask::ACCESS);
        target.note(WatchMask::MODIFY);
    }

    /// Where a listing goes on.
    pub fn list_position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Sets where a listing goes on.
    pub fn set_list_position(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }
}

/// Who watches an opening is told when it ends.
impl OpenFile {
    pub(crate) fn add_watcher(&self, watcher: Watcher) {
        let watchers = self.watchers.call_once(|| Box::new(SpinLock::new(Rank::FILE, Vec::new())));
        watchers.lock().push(watcher);
    }

    pub(crate) fn remove_watcher(&self, watcher: &Arc<Registration>) {
        if let Some(watchers) = self.watchers.get() {
            let mut watchers = watchers.lock();
            if let Some(index) = watchers.iter().position(|other| other.as_ptr() == Arc::as_ptr(watcher)) {
                watchers.swap_remove(index);
            }
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        locks::opening_ended(self);
        self.note(if self.access == O_RDONLY { WatchMask::CLOSE_NOWRITE } else { WatchMask::CLOSE_WRITE });
        if let Some(place) = written_place(self.place.as_ref(), self.access) {
            place.mount().remove_writer();
        }
        if let Some(watchers) = self.watchers.get() {
            let watchers = core::mem::take(&mut *watchers.lock());
            watchers.iter().filter_map(Watcher::upgrade).for_each(|watcher| watcher.end());
        }
    }
}
