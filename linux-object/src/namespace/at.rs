//! What the `*at` calls mean by a descriptor and a path.

use alloc::sync::Arc;

use kernel_hal::VirtAddr;
use linux_abi::Errno;
use linux_abi::file::{AT_FDCWD, AtFlags, ResolveFlags};

use super::{Place, Route, try_walk};
use crate::credentials::Credentials;
use crate::file::{AnonymousNode, FileTable, OpenFile};
use crate::obstacle::Attempt;
use crate::path_text::PathText;
use crate::thread::Resources;
use crate::user_buffer::UserMemory;

/// Where a path begins: `None` is the root, or the working directory. A path from the root on needs no directory.
#[inline]
pub fn start_of(files: &FileTable, directory: i32, path: &[u8]) -> Result<Option<Place>, Errno> {
    if directory == AT_FDCWD || path.first() == Some(&b'/') {
        return Ok(None);
    }
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    files.get_place(directory).map(|file| Some(place_of(&file)))
}

/// Where an opening lies; what has no name gets a place that no path leads to.
pub fn place_of(file: &Arc<OpenFile>) -> Place {
    file.place().cloned().unwrap_or_else(|| AnonymousNode::place(file.clone()))
}

/// The place that a path means, or with `AT_EMPTY_PATH` and an empty one the descriptor itself.
#[inline]
pub fn try_place_at(
    resources: &Resources,
    credentials: &Credentials,
    directory: i32,
    path: &[u8],
    flags: AtFlags,
) -> Attempt<Place> {
    let Resources { files, paths, .. } = resources;
    if path.is_empty() && flags.contains(AtFlags::EMPTY_PATH) {
        return match directory {
            AT_FDCWD => Ok(paths.working_directory()),
            number => Ok(place_of(&files.get_place(number)?)),
        };
    }
    let start = start_of(files, directory, path)?;
    let route =
        Route { context: paths, credentials, start: start.as_ref(), path, resolve: ResolveFlags::empty() };
    try_walk(route, !flags.contains(AtFlags::SYMLINK_NOFOLLOW))
}

/// The same with a path that has to be read first.
#[inline]
pub fn try_place_named(
    memory: &UserMemory,
    resources: &Resources,
    credentials: &Credentials,
    (directory, path): (i32, VirtAddr),
    flags: AtFlags,
) -> Attempt<Place> {
    let mut text = PathText::new();
    text.load(memory, path)?;
    try_place_at(resources, credentials, directory, text.bytes(), flags)
}
