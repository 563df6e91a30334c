//! Syscalls on files, by topic.

mod directory;
mod open;
mod ranges;
mod status;
mod transfer;

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::{AT_FDCWD, AtFlags};
use linux_object::credentials::Credentials;
use linux_object::file::{AnonymousNode, OpenFile};
use linux_object::namespace::{PathContext, Place, walk};
use linux_object::obstacle::complete;
use linux_object::thread::Thread;
use linux_object::user_buffer::UserMemory;

use crate::argument::{Fd, PathAddress, UserAddress};
use crate::call::Call;

pub use directory::*;
pub use open::*;
pub use ranges::*;
pub use status::*;
pub use transfer::*;

pub(crate) fn descriptor(call: &Call<'_>, fd: Fd) -> Result<Arc<OpenFile>, Errno> {
    call.resources.files.get(fd.0)
}

/// Where a relative path begins: `None` is the working directory.
pub(crate) fn start_of(call: &Call<'_>, directory: Fd) -> Result<Option<Arc<Place>>, Errno> {
    if directory.0 == AT_FDCWD {
        return Ok(None);
    }
    let file = descriptor(call, directory)?;
    Ok(Some(place_of(&file)))
}

/// Where an opening lies; what has no name gets a place that no path leads to.
fn place_of(file: &Arc<OpenFile>) -> Arc<Place> {
    file.place().cloned().unwrap_or_else(|| AnonymousNode::place(file.clone()))
}

/// The place that the `*at` calls mean: a path, or with `AT_EMPTY_PATH` and an empty one the descriptor itself.
pub(crate) async fn place_at(
    memory: &UserMemory,
    paths: &PathContext,
    thread: &Thread,
    target: Target,
    flags: AtFlags,
) -> Result<Arc<Place>, Errno> {
    let path = complete(|| memory.read_path(UserAddress(target.path.0).get())).await?;
    place_for(paths, &thread.credentials(), target.start, &path, flags).await
}

/// As [`place_at`], for a path that was read already.
async fn place_for(
    paths: &PathContext,
    credentials: &Credentials,
    start: Option<Arc<Place>>,
    path: &[u8],
    flags: AtFlags,
) -> Result<Arc<Place>, Errno> {
    if path.is_empty() && flags.contains(AtFlags::EMPTY_PATH) {
        return Ok(start.unwrap_or_else(|| paths.working_directory()));
    }
    walk(paths, credentials, start, path, !flags.contains(AtFlags::SYMLINK_NOFOLLOW)).await
}

/// A path argument, and the directory argument before it.
pub(crate) struct Target {
    pub(crate) start: Option<Arc<Place>>,
    pub(crate) path: PathAddress,
}
