//! Syscalls on files.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use linux_abi::Errno;
use linux_abi::directory::DirectoryEntryWriter;
use linux_abi::file::{
    AT_FDCWD, AtFlags, F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, F_SETFD, F_SETFL, FD_CLOEXEC, Iovec,
    OpenFlags, SEEK_CUR, SEEK_END, SEEK_SET,
};
use linux_abi::limits::PATH_MAX;
use linux_abi::signal::Signal;
use linux_abi::signal_info::SignalInfo;
use linux_abi::stat::{FileType, Stat, Statx, StatxMask, StatxTimestamp};
use linux_abi::time::Timespec;
use linux_object::credentials::Permission;
use linux_object::file::open::open;
use linux_object::file::{OpenFile, PipeEnds, Position, Seek, pipe};
use linux_object::namespace::{PathContext, Place, walk};
use linux_object::obstacle::{Attempt, Obstacle, complete};
use linux_object::signal::send_to_thread;
use linux_object::thread::Thread;
use linux_object::user_buffer::{UserBuffer, UserMemory};
use rcore_fs::{DirectoryEntry, FIRST_ENTRY, Metadata};

use crate::argument::{Fd, Mode, OpenArgument, PathAddress, UserAddress};
use crate::call::{Call, Outcome, attempt, slow};

/// A single transfer moves at most this much, like Linux's.
const MOST_BYTES: usize = 0x7fff_f000;
const MOST_IOVECS: usize = 1024;
/// `getdents64` collects at most this much in the kernel at once.
const MOST_DIRECTORY_BYTES: usize = 32 << 10;

pub(crate) fn descriptor(call: &Call<'_>, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
    call.resources.files.get(fd.0)
}

/// Where a relative path begins: `None` is the working directory.
pub(crate) fn start_of(call: &Call<'_>, directory: Fd) -> Result<Option<Arc<Place>>, Errno> {
    if directory.0 == AT_FDCWD {
        return Ok(None);
    }
    let file = descriptor(call, directory)?;
    file.place().cloned().map(Some).ok_or(Errno::ENOTDIR)
}

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

fn transfer(
    call: &Call<'_>,
    file: Arc<OpenFile>,
    position: Position,
    mut buffer: UserBuffer,
    direction: Direction,
) -> Outcome {
    let thread = call.owned_thread();
    attempt(call, move || match direction {
        Direction::Read => file.try_read(position, &mut buffer),
        Direction::Write => note_broken_pipe(&thread, file.try_write(position, &mut buffer)),
    })
}

fn simple_transfer(
    call: &mut Call<'_>,
    fd: Fd,
    address: UserAddress,
    count: usize,
    position: Result<Position, Errno>,
    direction: Direction,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let buffer = call.memory().simple_buffer(address.get(), count.min(MOST_BYTES));
    Ok(transfer(call, file, position?, buffer, direction))
}

fn vector_transfer(
    call: &mut Call<'_>,
    fd: Fd,
    vectors: UserAddress,
    count: usize,
    position: Result<Position, Errno>,
    direction: Direction,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let position = position?;
    if count > MOST_IOVECS {
        return Err(Errno::EINVAL);
    }
    let (memory, thread) = (call.memory(), call.owned_thread());
    let mut buffer = None;
    Ok(attempt(call, move || {
        let buffer = match &mut buffer {
            Some(buffer) => buffer,
            empty => empty.insert(read_vectors(&memory, vectors, count)?),
        };
        match direction {
            Direction::Read => file.try_read(position, buffer),
            Direction::Write => note_broken_pipe(&thread, file.try_write(position, buffer)),
        }
    }))
}

/// Who writes to a pipe that nobody reads is told twice.
fn note_broken_pipe(thread: &Arc<Thread>, outcome: Attempt) -> Attempt {
    if let Err(Obstacle::Error(Errno::EPIPE)) = outcome {
        let own = thread.process();
        let info = SignalInfo::kill(Signal::SIGPIPE, own.id(), own.credentials().real_user);
        send_to_thread(thread, Signal::SIGPIPE, info);
    }
    outcome
}

fn read_vectors(memory: &UserMemory, vectors: UserAddress, count: usize) -> Attempt<UserBuffer> {
    let vectors: Vec<Iovec> = memory.read_array(vectors.get(), count)?;
    let mut left = MOST_BYTES;
    let mut pieces = Vec::new();
    pieces.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for vector in vectors {
        let len = usize::try_from(vector.iov_len as i64).map_err(|_| Errno::EINVAL)?.min(left);
        left -= len;
        pieces.push((UserAddress(vector.iov_base as usize).get(), len));
    }
    Ok(memory.buffer(pieces))
}

fn at(offset: i64) -> Result<Position, Errno> {
    u64::try_from(offset).map(Position::At).map_err(|_| Errno::EINVAL)
}

pub fn read(call: &mut Call<'_>, fd: Fd, buffer: UserAddress, count: usize) -> Result<Outcome, Errno> {
    simple_transfer(call, fd, buffer, count, Ok(Position::Current), Direction::Read)
}

pub fn write(call: &mut Call<'_>, fd: Fd, buffer: UserAddress, count: usize) -> Result<Outcome, Errno> {
    simple_transfer(call, fd, buffer, count, Ok(Position::Current), Direction::Write)
}

pub fn pread64(
    call: &mut Call<'_>,
    fd: Fd,
    buffer: UserAddress,
    count: usize,
    offset: i64,
) -> Result<Outcome, Errno> {
    simple_transfer(call, fd, buffer, count, at(offset), Direction::Read)
}

pub fn pwrite64(
    call: &mut Call<'_>,
    fd: Fd,
    buffer: UserAddress,
    count: usize,
    offset: i64,
) -> Result<Outcome, Errno> {
    simple_transfer(call, fd, buffer, count, at(offset), Direction::Write)
}

pub fn readv(call: &mut Call<'_>, fd: Fd, vectors: UserAddress, count: usize) -> Result<Outcome, Errno> {
    vector_transfer(call, fd, vectors, count, Ok(Position::Current), Direction::Read)
}

pub fn writev(call: &mut Call<'_>, fd: Fd, vectors: UserAddress, count: usize) -> Result<Outcome, Errno> {
    vector_transfer(call, fd, vectors, count, Ok(Position::Current), Direction::Write)
}

pub fn lseek(call: &mut Call<'_>, fd: Fd, offset: i64, whence: i32) -> Result<usize, Errno> {
    let seek = match whence {
        SEEK_SET => Seek::Start(offset),
        SEEK_CUR => Seek::Current(offset),
        SEEK_END => Seek::End(offset),
        _ => return Err(Errno::EINVAL),
    };
    descriptor(call, fd)?.seek(seek).map(|position| position as usize)
}

pub fn openat(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    flags: OpenArgument,
    mode: Mode,
) -> Result<Outcome, Errno> {
    let flags = flags.0;
    if flags.intersects(OpenFlags::PATH) || flags.contains(OpenFlags::TMPFILE) {
        return Err(Errno::EOPNOTSUPP);
    }
    let start = start_of(call, directory)?;
    let memory = call.memory();
    let (resources, thread) = (call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let path = complete(|| memory.read_path(UserAddress(path.0).get())).await?;
        let credentials = thread.process().credentials();
        let file = open(&resources.paths, &credentials, start, &path, flags, mode.0).await?;
        let number = resources.files.insert(file, 0, flags.contains(OpenFlags::CLOEXEC))?;
        Ok(number as usize)
    }))
}

pub fn close(call: &mut Call<'_>, fd: Fd) -> Result<usize, Errno> {
    call.resources.files.remove(fd.0).map(|_| 0)
}

pub fn pipe2(call: &mut Call<'_>, result: UserAddress, flags: OpenArgument) -> Result<Outcome, Errno> {
    let flags = flags.0;
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(flags) {
        return Err(Errno::EINVAL);
    }
    let PipeEnds { reader, writer } = pipe()?;
    let status = flags & OpenFlags::NONBLOCK;
    let files = call.resources.files.clone();
    let close_on_exec = flags.contains(OpenFlags::CLOEXEC);
    let read_end = files.insert(OpenFile::new(reader, None, status), 0, close_on_exec)?;
    let opening = OpenFile::new(writer, None, OpenFlags::WRONLY | status);
    let write_end = files.insert(opening, 0, close_on_exec).inspect_err(|_| drop(files.remove(read_end)))?;
    let memory = call.memory();
    Ok(slow(async move {
        let outcome = complete(|| memory.write(result.get(), &[read_end, write_end])).await;
        if outcome.is_err() {
            // The program does not know the numbers.
            drop((files.remove(read_end), files.remove(write_end)));
        }
        outcome.map(|()| 0)
    }))
}

pub fn dup(call: &mut Call<'_>, fd: Fd) -> Result<usize, Errno> {
    let file = descriptor(call, fd)?;
    call.resources.files.insert(file, 0, false).map(|number| number as usize)
}

pub fn dup3(call: &mut Call<'_>, old: Fd, new: Fd, flags: OpenArgument) -> Result<usize, Errno> {
    if old == new || !OpenFlags::CLOEXEC.contains(flags.0) {
        return Err(Errno::EINVAL);
    }
    let file = descriptor(call, old)?;
    let replaced = call.resources.files.replace(new.0, file, flags.0.contains(OpenFlags::CLOEXEC));
    replaced.map(|_| new.0 as usize).map_err(|error| match error {
        Errno::EMFILE => Errno::EBADF,
        other => other,
    })
}

pub fn fcntl(call: &mut Call<'_>, fd: Fd, command: i32, argument: usize) -> Result<usize, Errno> {
    let files = &call.resources.files;
    let file = descriptor(call, fd)?;
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let close_on_exec = command == F_DUPFD_CLOEXEC;
            let number = files.insert(file, argument, close_on_exec).map_err(|error| {
                if argument >= linux_object::file::MOST_DESCRIPTORS { Errno::EINVAL } else { error }
            })?;
            Ok(number as usize)
        }
        F_GETFD => files.is_close_on_exec(fd.0).map(|set| if set { FD_CLOEXEC as usize } else { 0 }),
        F_SETFD => files.set_close_on_exec(fd.0, argument & FD_CLOEXEC as usize != 0).map(|()| 0),
        F_GETFL => Ok(file.flags() as usize),
        F_SETFL => {
            file.set_flags(OpenFlags::from_bits_retain(argument as u32));
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

pub fn ioctl(call: &mut Call<'_>, fd: Fd, request: u32, argument: UserAddress) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let (memory, thread) = (call.memory(), call.owned_thread());
    Ok(attempt(call, move || file.file().try_control(request, argument.0, &memory, &thread)))
}

fn stat_of(place: Option<&Arc<Place>>, metadata: &Metadata) -> Stat {
    Stat {
        st_dev: place.map_or(0, |place| place.mount().id() as u64),
        st_ino: metadata.inode,
        st_mode: metadata.mode(),
        st_nlink: metadata.links,
        st_uid: metadata.user,
        st_gid: metadata.group,
        st_rdev: metadata.device.encode().into(),
        st_size: metadata.size as i64,
        st_blksize: metadata.block_size as i32,
        st_blocks: metadata.blocks as i64,
        st_atime: metadata.accessed.tv_sec,
        st_atime_nsec: metadata.accessed.tv_nsec as u64,
        st_mtime: metadata.modified.tv_sec,
        st_mtime_nsec: metadata.modified.tv_nsec as u64,
        st_ctime: metadata.changed.tv_sec,
        st_ctime_nsec: metadata.changed.tv_nsec as u64,
        ..Stat::default()
    }
}

/// The place that the `*at` calls mean: a path, or with `AT_EMPTY_PATH` and an empty one the descriptor itself.
async fn place_at(
    memory: &UserMemory,
    paths: &PathContext,
    thread: &Thread,
    target: Target,
    flags: AtFlags,
) -> Result<Arc<Place>, Errno> {
    let path = complete(|| memory.read_path(UserAddress(target.path.0).get())).await?;
    if path.is_empty() && flags.contains(AtFlags::EMPTY_PATH) {
        return Ok(target.start.unwrap_or_else(|| paths.working_directory()));
    }
    let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
    walk(paths, &thread.process().credentials(), target.start, &path, follow).await
}

struct Target {
    start: Option<Arc<Place>>,
    path: PathAddress,
}

const STAT_FLAGS: AtFlags = AtFlags::SYMLINK_NOFOLLOW
    .union(AtFlags::NO_AUTOMOUNT)
    .union(AtFlags::EMPTY_PATH)
    .union(AtFlags::STATX_FORCE_SYNC)
    .union(AtFlags::STATX_DONT_SYNC);

pub fn newfstatat(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    buffer: UserAddress,
    flags: u32,
) -> Result<Outcome, Errno> {
    let flags = AtFlags::from_bits(flags).filter(|&flags| STAT_FLAGS.contains(flags)).ok_or(Errno::EINVAL)?;
    let target = Target { start: start_of(call, directory)?, path };
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let place = place_at(&memory, &resources.paths, &thread, target, flags).await?;
        let metadata = place.inode().metadata().await?;
        let stat = stat_of(Some(&place), &metadata);
        complete(|| memory.write(buffer.get(), &stat)).await?;
        Ok(0)
    }))
}

pub fn fstat(call: &mut Call<'_>, fd: Fd, buffer: UserAddress) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let memory = call.memory();
    Ok(slow(async move {
        let metadata = metadata_of(&file).await?;
        let stat = stat_of(file.place(), &metadata);
        complete(|| memory.write(buffer.get(), &stat)).await?;
        Ok(0)
    }))
}

async fn metadata_of(file: &OpenFile) -> Result<Metadata, Errno> {
    file.inode().ok_or(Errno::EBADF)?.metadata().await
}

pub fn statx(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    flags: u32,
    mask: u32,
    buffer: UserAddress,
) -> Result<Outcome, Errno> {
    let flags = AtFlags::from_bits(flags).filter(|&flags| STAT_FLAGS.contains(flags)).ok_or(Errno::EINVAL)?;
    const RESERVED: u32 = 1 << 31;
    if mask & RESERVED != 0 {
        return Err(Errno::EINVAL);
    }
    let target = Target { start: start_of(call, directory)?, path };
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let place = place_at(&memory, &resources.paths, &thread, target, flags).await?;
        let metadata = place.inode().metadata().await?;
        let statx = statx_of(&place, &metadata);
        complete(|| memory.write(buffer.get(), &statx)).await?;
        Ok(0)
    }))
}

fn statx_of(place: &Place, metadata: &Metadata) -> Statx {
    let stamp = |time: Timespec| StatxTimestamp {
        tv_sec: time.tv_sec,
        tv_nsec: time.tv_nsec as u32,
        ..StatxTimestamp::default()
    };
    Statx {
        stx_mask: (StatxMask::BASIC_STATS | StatxMask::BTIME).bits(),
        stx_blksize: metadata.block_size,
        stx_nlink: metadata.links,
        stx_uid: metadata.user,
        stx_gid: metadata.group,
        stx_mode: metadata.mode() as u16,
        stx_ino: metadata.inode,
        stx_size: metadata.size,
        stx_blocks: metadata.blocks,
        stx_atime: stamp(metadata.accessed),
        stx_btime: stamp(metadata.created),
        stx_ctime: stamp(metadata.changed),
        stx_mtime: stamp(metadata.modified),
        stx_rdev_major: metadata.device.major(),
        stx_rdev_minor: metadata.device.minor(),
        stx_dev_minor: place.mount().id() as u32,
        ..Statx::default()
    }
}

pub fn faccessat(call: &mut Call<'_>, directory: Fd, path: PathAddress, mode: u32) -> Result<Outcome, Errno> {
    faccessat2(call, directory, path, mode, 0)
}

const AT_EACCESS: u32 = 0x200;

pub fn faccessat2(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    mode: u32,
    flags: u32,
) -> Result<Outcome, Errno> {
    let effective = flags & AT_EACCESS != 0;
    let flags = AtFlags::from_bits(flags & !AT_EACCESS).ok_or(Errno::EINVAL)?;
    let wanted = Permission::from_bits(mode).ok_or(Errno::EINVAL)?;
    if !(AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH).contains(flags) {
        return Err(Errno::EINVAL);
    }
    let target = Target { start: start_of(call, directory)?, path };
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let place = place_at(&memory, &resources.paths, &thread, target, flags).await?;
        let mut credentials = (*thread.process().credentials()).clone();
        if !effective {
            credentials.file_user = credentials.real_user;
            credentials.file_group = credentials.real_group;
        }
        credentials.check(&place.inode().metadata().await?, wanted)?;
        Ok(0)
    }))
}

pub fn readlinkat(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    buffer: UserAddress,
    size: i32,
) -> Result<Outcome, Errno> {
    let size = usize::try_from(size).ok().filter(|&size| size > 0).ok_or(Errno::EINVAL)?;
    let target = Target { start: start_of(call, directory)?, path };
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        let place = place_at(&memory, &resources.paths, &thread, target, flags).await?;
        let link = place.inode().read_link().await?;
        let len = link.len().min(size);
        complete(|| memory.write_bytes(buffer.get(), &link[..len])).await?;
        Ok(len)
    }))
}

pub fn getdents64(call: &mut Call<'_>, fd: Fd, buffer: UserAddress, count: u32) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let memory = call.memory();
    Ok(slow(async move {
        let size = (count as usize).min(MOST_DIRECTORY_BYTES);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(size, 0);
        let (used, next) = list(&file, &mut bytes).await?;
        complete(|| memory.write_bytes(buffer.get(), &bytes[..used])).await?;
        // Only what has reached the program counts as listed.
        file.set_list_position(next);
        Ok(used)
    }))
}

/// Fills `bytes` with records; returns how many bytes they have and where the listing goes on.
async fn list(file: &OpenFile, bytes: &mut [u8]) -> Result<(usize, u64), Errno> {
    let place = file.place().ok_or(Errno::ENOTDIR)?;
    if place.inode().file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    let mut next = file.list_position();
    let mut writer = DirectoryEntryWriter::new(bytes);
    let mut is_full = false;
    let dots: [(u64, &[u8], u64); 2] =
        [(0, b".", place.inode().number()), (1, b"..", place.parent().inode().number())];
    for (position, name, inode) in dots {
        if next != position {
            continue;
        }
        match writer.push(inode, position as i64 + 1, Some(FileType::Directory), name) {
            Ok(()) => next = position + 1,
            Err(_) => is_full = true,
        }
    }
    if !is_full {
        let mut sink = |entry: &DirectoryEntry<'_>| match writer.push(
            entry.inode,
            entry.next as i64,
            Some(entry.file_type),
            entry.name,
        ) {
            Ok(()) => {
                next = entry.next;
                ControlFlow::Continue(())
            }
            Err(_) => {
                is_full = true;
                ControlFlow::Break(())
            }
        };
        place.inode().iterate(file.list_position().max(FIRST_ENTRY), &mut sink).await?;
    }
    match writer.used() {
        0 if is_full => Err(Errno::EINVAL),
        used => Ok((used, next)),
    }
}

pub fn getcwd(call: &mut Call<'_>, buffer: UserAddress, size: usize) -> Result<Outcome, Errno> {
    let paths = &call.resources.paths;
    let mut path = paths.working_directory().path(&paths.root())?;
    path.push(0);
    if path.len() > size.min(PATH_MAX) {
        return Err(Errno::ERANGE);
    }
    let memory = call.memory();
    Ok(attempt(call, move || {
        memory.write_bytes(buffer.get(), &path)?;
        Ok(path.len())
    }))
}

pub fn chdir(call: &mut Call<'_>, path: PathAddress) -> Result<Outcome, Errno> {
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let target = Target { start: None, path };
        let place = place_at(&memory, &resources.paths, &thread, target, AtFlags::empty()).await?;
        if place.inode().file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let metadata = place.inode().metadata().await?;
        thread.process().credentials().check(&metadata, Permission::EXECUTE)?;
        resources.paths.set_working_directory(place);
        Ok(0)
    }))
}

pub fn fchdir(call: &mut Call<'_>, fd: Fd) -> Result<usize, Errno> {
    let place = descriptor(call, fd)?.place().cloned().ok_or(Errno::ENOTDIR)?;
    if place.inode().file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    call.resources.paths.set_working_directory(place);
    Ok(0)
}

pub fn umask(call: &mut Call<'_>, mask: Mode) -> usize {
    call.resources.paths.set_creation_mask(mask.0) as usize
}
