//! Operations that give names and take them away.

use alloc::boxed::Box;

use linux_abi::Errno;
use linux_abi::file::{AtFlags, RenameFlags};
use linux_abi::io_uring::RequestFlags;

use linux_object::namespace::{Actor, Named, NewNode, start_of};
use linux_object::obstacle::Attempt;
use linux_object::path_text::PathText;
use linux_object::thread::Resources;

use super::{Begun, Issue, Prepared, address, finish};

const AT_REMOVEDIR: u32 = 0x200;

/// A path, and the descriptor of the directory in which it begins.
pub(crate) struct Path {
    pub directory: i32,
    pub text: PathText,
}

impl Path {
    /// Reads it, so that the program may reuse that memory.
    pub fn read(issue: &Issue<'_>, directory: i32, at: u64) -> Attempt<Self> {
        let mut text = PathText::new();
        text.load(&issue.memory(), address(at))?;
        Ok(Self { directory, text })
    }

    fn named(&self, resources: &Resources) -> Result<Named<'_>, Errno> {
        let path = self.text.bytes();
        Ok(Named { start: start_of(&resources.files, self.directory, path)?, path })
    }
}

enum Change {
    MakeDirectory { permissions: u32 },
    Unlink,
    RemoveDirectory,
    MakeLink { target: PathText },
    Link { old: Path, follow: bool },
    Rename { old: Path, flags: RenameFlags },
}

/// A change of a name.
pub(crate) struct NameChange {
    path: Path,
    change: Change,
}

fn prepared(path: Path, change: Change) -> Attempt<Prepared> {
    Ok(Prepared::NameChange(Box::new(NameChange { path, change })))
}

/// Fields that none of these uses, and no registered files.
fn check(issue: &Issue<'_>) -> Result<(), Errno> {
    if issue.entry.buf_index != 0 || issue.entry.file_index != 0 {
        return Err(Errno::EINVAL);
    }
    if issue.flags().contains(RequestFlags::FIXED_FILE) { Err(Errno::EBADF) } else { Ok(()) }
}

pub(super) fn prepare_make_directory(issue: &Issue<'_>) -> Attempt<Prepared> {
    const PERMISSIONS: u32 = 0o1777;
    let entry = issue.entry;
    if entry.off != 0 || entry.rw_flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    check(issue)?;
    let path = Path::read(issue, entry.fd, entry.addr)?;
    prepared(path, Change::MakeDirectory { permissions: entry.len & PERMISSIONS })
}

pub(super) fn prepare_unlink(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if entry.off != 0 || entry.len != 0 {
        return Err(Errno::EINVAL.into());
    }
    check(issue)?;
    let change = match entry.rw_flags {
        0 => Change::Unlink,
        AT_REMOVEDIR => Change::RemoveDirectory,
        _ => return Err(Errno::EINVAL.into()),
    };
    prepared(Path::read(issue, entry.fd, entry.addr)?, change)
}

pub(super) fn prepare_symbolic_link(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if entry.len != 0 || entry.rw_flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    check(issue)?;
    let mut target = PathText::new();
    target.load(&issue.memory(), address(entry.addr))?;
    if target.bytes().is_empty() {
        return Err(Errno::ENOENT.into());
    }
    prepared(Path::read(issue, entry.fd, entry.off)?, Change::MakeLink { target })
}

pub(super) fn prepare_link(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    check(issue)?;
    let flags = AtFlags::from_bits(entry.rw_flags).filter(|&flags| AtFlags::SYMLINK_FOLLOW.contains(flags));
    let follow = !flags.ok_or(Errno::EINVAL)?.is_empty();
    let old = Path::read(issue, entry.fd, entry.addr)?;
    prepared(Path::read(issue, entry.len as i32, entry.off)?, Change::Link { old, follow })
}

pub(super) fn prepare_rename(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    check(issue)?;
    let flags = RenameFlags::from_bits(entry.rw_flags).ok_or(Errno::EINVAL)?;
    if flags.contains(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE) {
        return Err(Errno::EINVAL.into());
    }
    let old = Path::read(issue, entry.fd, entry.addr)?;
    prepared(Path::read(issue, entry.len as i32, entry.off)?, Change::Rename { old, flags })
}

impl NameChange {
    pub(super) fn begin(self: Box<Self>, issue: &Issue<'_>) -> Result<Begun, Errno> {
        const LINK_PERMISSIONS: u32 = 0o777;
        let (resources, credentials) = (issue.resources.clone(), issue.credentials());
        Ok(finish(None, async move {
            let actor = Actor { paths: &resources.paths, credentials: &credentials };
            let named = self.path.named(&resources)?;
            match &self.change {
                Change::MakeDirectory { permissions } => {
                    actor.create(&named, NewNode::Directory, *permissions).await?;
                }
                Change::Unlink => actor.unlink(&named).await?,
                Change::RemoveDirectory => actor.remove_directory(&named).await?,
                Change::MakeLink { target } => {
                    actor.create(&named, NewNode::SymbolicLink(target.bytes()), LINK_PERMISSIONS).await?;
                }
                Change::Link { old, follow } => actor.link(&old.named(&resources)?, &named, *follow).await?,
                Change::Rename { old, flags } => {
                    actor.rename(&old.named(&resources)?, &named, *flags).await?;
                }
            }
            Ok(0)
        }))
    }
}
