//! Opening, closing, and what a descriptor alone is asked for.

use alloc::boxed::Box;
use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::{
    AT_FDCWD, F_ADD_SEALS, F_DUPFD, F_DUPFD_CLOEXEC, F_GET_SEALS, F_GETFD, F_GETFL, F_GETLK, F_GETOWN,
    F_GETOWN_EX, F_GETPIPE_SZ, F_GETSIG, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_SETFD, F_SETFL, F_SETLK,
    F_SETLKW, F_SETOWN, F_SETOWN_EX, F_SETPIPE_SZ, F_SETSIG, FASYNC, FD_CLOEXEC, O_ACCMODE, O_RDONLY,
    OpenFlags, ResolveFlags,
};
use linux_object::file::open::{open, try_open};
use linux_object::file::{OpenFile, PipeEnd, PipeEnds, pipe};
use linux_object::memory::memory_file;
use linux_object::namespace::Route;
use linux_object::obstacle::{Obstacle, complete};
use linux_object::path_text::PathText;
use linux_object::thread::{Resources, Thread};
use linux_object::user_buffer::UserMemory;

use super::{lock, owner, place_descriptor, place_of, start_of};
use crate::argument::{Fd, Mode, OpenArgument, PathAddress, UserAddress};
use crate::call::{Call, Completion, Outcome, attempt, attempt_for, start};

pub fn openat(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    flags: OpenArgument,
    mode: Mode,
) -> Result<Outcome, Errno> {
    let mut flags = flags.0;
    if flags.contains(OpenFlags::PATH) {
        // Whatever else is asked for means nothing.
        flags &= PATH_FLAGS;
    }
    if flags.intersects(OpenFlags::CREAT | OpenFlags::TRUNC | TMPFILE_ALONE) {
        check_creation(flags)?;
        let opening = Opening { directory, path, flags, permissions: mode.0, resolve: ResolveFlags::empty() };
        let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
        return Ok(start(async move { opening.run(&memory, &resources, &thread).await }));
    }
    let mut opened = None;
    Ok(attempt_for(call, move |caller| {
        let file = match opened.take() {
            Some(file) => file,
            None => {
                let mut text = PathText::new();
                text.load(&caller.memory(), path.get())?;
                let Resources { files, paths, .. } = caller.resources;
                let start = start_of(files, directory, text.bytes())?;
                let credentials = caller.thread.credentials();
                let route = Route {
                    context: paths,
                    credentials: &credentials,
                    start: start.as_ref(),
                    path: text.bytes(),
                    resolve: ResolveFlags::empty(),
                };
                try_open(route, flags)?
            }
        };
        if let Some(end) = PipeEnd::of(&**file.file())
            && end.waits_for_other_side()
        {
            opened = Some(file.clone());
            return Err(Obstacle::Event(Box::pin(async move {
                if let Some(end) = PipeEnd::of(&**file.file()) {
                    end.until_other_side().await;
                }
                Ok(())
            })));
        }
        let number = caller.resources.files.insert(file, 0, flags.contains(OpenFlags::CLOEXEC))?;
        Ok(number as usize)
    }))
}

/// The flags that mean something together with `O_PATH`.
pub(super) const PATH_FLAGS: OpenFlags =
    OpenFlags::PATH.union(OpenFlags::DIRECTORY).union(OpenFlags::NOFOLLOW).union(OpenFlags::CLOEXEC);
/// `O_TMPFILE` without the `O_DIRECTORY` that belongs to it.
pub(super) const TMPFILE_ALONE: OpenFlags = OpenFlags::TMPFILE.difference(OpenFlags::DIRECTORY);

/// Whether flags that create something make sense together.
pub(super) fn check_creation(flags: OpenFlags) -> Result<(), Errno> {
    let is_unnamed = flags.intersects(TMPFILE_ALONE);
    let is_valid = if is_unnamed {
        let writes = flags.bits() & O_ACCMODE != O_RDONLY;
        flags.contains(OpenFlags::DIRECTORY) && !flags.contains(OpenFlags::CREAT) && writes
    } else {
        !flags.contains(OpenFlags::CREAT | OpenFlags::DIRECTORY)
    };
    if is_valid { Ok(()) } else { Err(Errno::EINVAL) }
}

/// An opening that is done once, because it may create or cut a file, or must not wait.
pub(super) struct Opening {
    pub(super) directory: Fd,
    pub(super) path: PathAddress,
    pub(super) flags: OpenFlags,
    pub(super) permissions: u32,
    pub(super) resolve: ResolveFlags,
}

impl Opening {
    async fn open(
        &self,
        memory: &UserMemory,
        resources: &Resources,
        thread: &Thread,
    ) -> Result<Arc<OpenFile>, Errno> {
        let mut text = PathText::new();
        complete(|| text.load(memory, self.path.get())).await?;
        let path = text.bytes();
        // A walk within a directory begins there even if its path is absolute.
        let is_scoped = self.resolve.intersects(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT);
        let start = if is_scoped && self.directory.0 != AT_FDCWD {
            Some(place_of(&resources.files.get_place(self.directory.0)?))
        } else {
            start_of(&resources.files, self.directory, path)?
        };
        let credentials = thread.credentials();
        let route = Route {
            context: &resources.paths,
            credentials: &credentials,
            start: start.as_ref(),
            path,
            resolve: self.resolve,
        };
        if !self.resolve.contains(ResolveFlags::CACHED) {
            return open(route, self.flags, self.permissions).await;
        }
        match try_open(route, self.flags) {
            Ok(file) => Ok(file),
            Err(Obstacle::Error(errno)) => Err(errno),
            // What is not in memory is not waited for.
            Err(_) => Err(Errno::EAGAIN),
        }
    }

    pub(super) async fn run(
        &self,
        memory: &UserMemory,
        resources: &Resources,
        thread: &Thread,
    ) -> Completion {
        let file = match self.open(memory, resources, thread).await {
            Ok(file) => file,
            Err(errno) => return Completion::Error(errno),
        };
        if let Some(end) = PipeEnd::of(&**file.file())
            && end.waits_for_other_side()
            && thread.interruptible(end.until_other_side()).await.is_err()
        {
            return Completion::Interrupted;
        }
        let number = resources.files.insert(file, 0, self.flags.contains(OpenFlags::CLOEXEC));
        number.map(|number| number as usize).into()
    }
}

pub fn close(call: &mut Call<'_>, fd: Fd) -> Result<usize, Errno> {
    call.resources.files.remove(fd.0).map(|_| 0)
}

pub fn pipe2(call: &mut Call<'_>, result: UserAddress, flags: OpenArgument) -> Result<Outcome, Errno> {
    let flags = flags.0;
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK | OpenFlags::DIRECT).contains(flags) {
        return Err(Errno::EINVAL);
    }
    let PipeEnds { reader, writer } = pipe()?;
    let status = flags & (OpenFlags::NONBLOCK | OpenFlags::DIRECT);
    let files = call.resources.files.clone();
    let close_on_exec = flags.contains(OpenFlags::CLOEXEC);
    let read_end = files.insert(OpenFile::new(reader, None, status), 0, close_on_exec)?;
    let opening = OpenFile::new(writer, None, OpenFlags::WRONLY | status);
    let write_end = files.insert(opening, 0, close_on_exec).inspect_err(|_| drop(files.remove(read_end)))?;
    let memory = call.memory();
    Ok(attempt(call, move || {
        let outcome = memory.write(result.get(), &[read_end, write_end]);
        if let Err(Obstacle::Error(_)) = outcome {
            // The program does not know the numbers.
            drop((files.remove(read_end), files.remove(write_end)));
        }
        outcome.map(|()| 0)
    }))
}

pub fn dup(call: &mut Call<'_>, fd: Fd) -> Result<usize, Errno> {
    let file = place_descriptor(call, fd)?;
    call.resources.files.insert(file, 0, false).map(|number| number as usize)
}

pub fn dup3(call: &mut Call<'_>, old: Fd, new: Fd, flags: OpenArgument) -> Result<usize, Errno> {
    if old == new || !OpenFlags::CLOEXEC.contains(flags.0) {
        return Err(Errno::EINVAL);
    }
    let file = place_descriptor(call, old)?;
    let replaced = call.resources.files.replace(new.0, file, flags.0.contains(OpenFlags::CLOEXEC));
    replaced.map(|_| new.0 as usize).map_err(|error| match error {
        Errno::EMFILE => Errno::EBADF,
        other => other,
    })
}

pub fn fcntl(call: &mut Call<'_>, fd: Fd, command: i32, argument: usize) -> Result<Outcome, Errno> {
    let files = &call.resources.files;
    let file = place_descriptor(call, fd)?;
    let concerns_number = matches!(command, F_DUPFD | F_DUPFD_CLOEXEC | F_GETFD | F_SETFD | F_GETFL);
    if file.is_path_only() && !concerns_number {
        return Err(Errno::EBADF);
    }
    let done = match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let close_on_exec = command == F_DUPFD_CLOEXEC;
            let number = files
                .insert(file, argument, close_on_exec)
                .map_err(|error| if argument >= files.limit() { Errno::EINVAL } else { error })?;
            number as usize
        }
        F_GETFD => {
            let is_set = files.is_close_on_exec(fd.0)?;
            if is_set { FD_CLOEXEC as usize } else { 0 }
        }
        F_SETFD => files.set_close_on_exec(fd.0, argument & FD_CLOEXEC as usize != 0).map(|()| 0)?,
        F_GETFL => file.flags() as usize,
        F_SETFL => {
            let wants_signals = argument as u32 & FASYNC != 0;
            if wants_signals != (file.flags() & FASYNC != 0) {
                // What has no signals to send is silent.
                let _ = file.set_signal_driven(wants_signals, fd.0);
            }
            file.set_flags(OpenFlags::from_bits_retain(argument as u32)).map(|()| 0)?
        }
        F_SETOWN | F_GETOWN | F_SETSIG | F_GETSIG | F_SETOWN_EX | F_GETOWN_EX => {
            return owner::control(call, file, command, argument);
        }
        F_GETPIPE_SZ => PipeEnd::of(&**file.file()).ok_or(Errno::EBADF)?.pipe().size(),
        F_SETPIPE_SZ => {
            let pipe = PipeEnd::of(&**file.file()).ok_or(Errno::EBADF)?.pipe().clone();
            let is_privileged = call.thread.credentials().is_privileged();
            return Ok(attempt(call, move || pipe.set_size(argument, is_privileged)));
        }
        F_GETLK | F_SETLK | F_SETLKW | F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW => {
            return lock::lock_range(call, fd, file, command, UserAddress(argument));
        }
        F_ADD_SEALS => memory_file::add_seals(&file, argument as u32).map(|()| 0)?,
        F_GET_SEALS => memory_file::seals(&file)? as usize,
        _ => return Err(Errno::EINVAL),
    };
    Ok(Outcome::Done(done))
}
