//! Syscalls on files, by topic.

mod control;
mod directory;
mod lock;
mod open;
mod open_how;
mod owner;
mod ranges;
mod sendfile;
mod status;
mod transfer;

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::{AT_FDCWD, AtFlags, ResolveFlags};
use linux_object::credentials::Credentials;
use linux_object::file::{AnonymousNode, FileTable, OpenFile};
use linux_object::namespace::{Place, Route, try_walk};
use linux_object::obstacle::Attempt;
use linux_object::path_text::PathText;
use linux_object::thread::Resources;

use crate::argument::{Fd, PathAddress};
use crate::call::{Call, Caller, Outcome, attempt_for};

pub use control::*;
pub use directory::*;
pub use lock::flock;
pub use open::*;
pub use open_how::openat2;
pub use ranges::*;
pub use sendfile::sendfile;
pub use status::*;
pub use transfer::*;

/// What a descriptor stands for, for a call that needs no more than the place.
pub(crate) fn place_descriptor(call: &Call<'_>, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
    call.resources.files.get_place(fd.0)
}

pub(crate) fn descriptor(call: &Call<'_>, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
    call.resources.files.get(fd.0)
}

/// Where a path begins: `None` is the root, or the working directory. A path from the root on needs no directory.
#[inline]
pub(crate) fn start_of(files: &FileTable, directory: Fd, path: &[u8]) -> Result<Option<Place>, Errno> {
    if directory.0 == AT_FDCWD || path.first() == Some(&b'/') {
        return Ok(None);
    }
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    files.get_place(directory.0).map(|file| Some(place_of(&file)))
}

/// Where an opening lies; what has no name gets a place that no path leads to.
pub(crate) fn place_of(file: &Arc<OpenFile>) -> Place {
    file.place().cloned().unwrap_or_else(|| AnonymousNode::place(file.clone()))
}

/// The place that the `*at` calls mean: a path, or with `AT_EMPTY_PATH` and an empty one the descriptor itself.
#[inline]
pub(crate) fn try_place(
    caller: Caller<'_>,
    credentials: &Credentials,
    directory: Fd,
    path: PathAddress,
    flags: AtFlags,
) -> Attempt<Place> {
    let mut text = PathText::new();
    text.load(&caller.memory(), path.get())?;
    let path = text.bytes();
    let Resources { files, paths, .. } = caller.resources;
    if path.is_empty() && flags.contains(AtFlags::EMPTY_PATH) {
        return match directory.0 {
            AT_FDCWD => Ok(paths.working_directory()),
            number => Ok(place_of(&files.get_place(number)?)),
        };
    }
    let start = start_of(files, directory, path)?;
    let route =
        Route { context: paths, credentials, start: start.as_ref(), path, resolve: ResolveFlags::empty() };
    try_walk(route, !flags.contains(AtFlags::SYMLINK_NOFOLLOW))
}

/// Attempts something with the place that the `*at` calls mean.
pub(crate) fn attempt_at(
    call: &Call<'_>,
    directory: Fd,
    path: PathAddress,
    flags: AtFlags,
    operation: impl Fn(Caller<'_>, &Credentials, &Place) -> Attempt + Send + 'static,
) -> Outcome {
    attempt_for(call, move |caller| {
        let credentials = caller.thread.credentials();
        let place = try_place(caller, &credentials, directory, path, flags)?;
        operation(caller, &credentials, &place)
    })
}
