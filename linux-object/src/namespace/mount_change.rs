//! Changing which mounts there are and where: what `mount`, `umount2` and `pivot_root` do to those that exist.
//!
//! Each change is one step under the lock of the table. There is one table for everybody, so that nothing propagates to
//! other tables; nor do mounts that were bound to each other follow one another.

use alloc::sync::Arc;
use alloc::vec::Vec;

use linux_abi::Errno;
use linux_abi::stat::FileType;
use rcore_fs::FileSystem;

use super::mount::{ATTACHED, Attachment};
use super::{Mount, MountFlags, Place, cache};
use crate::process::all_processes;

/// What becomes of a mount's relation to others (`MS_SHARED` and its like).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// It has none that would be seen here.
    Plain,
    /// It must not be bound elsewhere.
    Unbindable,
}

fn is_directory(place: &Place) -> bool {
    place.file_type() == FileType::Directory
}

/// What a mount covers: `EINVAL` if it is nowhere.
fn index_of(attached: &[Attachment], mount: &Arc<Mount>) -> Result<usize, Errno> {
    attached.iter().position(|attachment| Arc::ptr_eq(&attachment.mount, mount)).ok_or(Errno::EINVAL)
}

/// Whether a mount is `above` or lies on it, at whatever distance. The table is locked.
fn lies_on(mount: &Arc<Mount>, above: &Arc<Mount>) -> bool {
    let mut mount = mount.clone();
    loop {
        if Arc::ptr_eq(&mount, above) {
            return true;
        }
        match mount.attached_at() {
            Some(at) => mount = at.mount().clone(),
            None => return false,
        }
    }
}

/// Shows what is at one place at another too. `with_mounts`: and everything that is mounted below it.
pub fn bind(source: &Place, target: &Place, with_mounts: bool) -> Result<(), Errno> {
    let mut attached = ATTACHED.lock();
    index_of(&attached, source.mount())?;
    index_of(&attached, target.mount())?;
    if source.mount().is_unbindable() {
        return Err(Errno::EINVAL);
    }
    if is_directory(source) != is_directory(target) {
        return Err(Errno::ENOTDIR);
    }
    let top = source.mount().copy(source.entry().clone());
    let mut copies = alloc::vec![(source.mount().clone(), top.clone())];
    let mut new = alloc::vec![(top, target.clone())];
    if with_mounts {
        let mut done = 0;
        while let Some((original, copy)) = copies.get(done).cloned() {
            done += 1;
            for attachment in attached.iter() {
                let Some(at) = &attachment.at else { continue };
                let is_seen = Arc::ptr_eq(at.mount(), &original)
                    && (done > 1 || source.entry().contains(at.entry()))
                    && !attachment.mount.is_unbindable();
                if is_seen {
                    let child = attachment.mount.copy(attachment.mount.root().clone());
                    new.push((child.clone(), Place::new(copy.clone(), at.entry().clone())));
                    copies.push((attachment.mount.clone(), child));
                }
            }
        }
    }
    for (mount, at) in new {
        let attachment = Attachment::new(mount, Some(at));
        attached.push(attachment);
    }
    Ok(())
}

/// Moves a mount, with all that is mounted on it.
pub fn move_mount(source: &Place, target: &Place) -> Result<(), Errno> {
    let mut attached = ATTACHED.lock();
    let index = index_of(&attached, source.mount())?;
    index_of(&attached, target.mount())?;
    let is_movable = source.is_mount_root() && attached[index].at.is_some();
    if !is_movable || is_directory(source) != is_directory(target) {
        return Err(Errno::EINVAL);
    }
    if lies_on(target.mount(), source.mount()) {
        return Err(Errno::ELOOP);
    }
    let former = attached[index].put(Some(target.clone()));
    drop(attached);
    drop(former);
    Ok(())
}

/// Gives a mount other flags; with `file_system` it and all others of its filesystem become read-only or writable too.
pub fn remount(place: &Place, flags: MountFlags, file_system: bool) -> Result<(), Errno> {
    index_of(&ATTACHED.lock(), place.mount())?;
    if !place.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let mount = place.mount();
    if file_system {
        mount.set_file_system_read_only(flags.contains(MountFlags::RDONLY))?;
    }
    mount.set_flags(flags)
}

/// Sets how a mount, or it and all that lie on it, relate to others.
pub fn set_propagation(place: &Place, value: Propagation, with_mounts: bool) -> Result<(), Errno> {
    let attached = ATTACHED.lock();
    index_of(&attached, place.mount())?;
    if !place.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    for attachment in attached.iter() {
        let mount = &attachment.mount;
        if Arc::ptr_eq(mount, place.mount()) || with_mounts && lies_on(mount, place.mount()) {
            mount.set_unbindable(value == Propagation::Unbindable);
        }
    }
    Ok(())
}

/// Takes a mount away: `EBUSY` if anybody uses it or anything is mounted on it. `detach`: takes it and all that is mounted
/// on it out of sight at once; who uses them goes on.
/// Returns the filesystems, for bringing them to stable storage.
pub fn unmount(place: Place, detach: bool) -> Result<Vec<Arc<dyn FileSystem>>, Errno> {
    /// The table's, and the one in `place`.
    const OWN_REFERENCES: usize = 2;
    if !place.is_mount_root() {
        return Err(Errno::EINVAL);
    }
    let mut attached = ATTACHED.lock();
    let index = index_of(&attached, place.mount())?;
    // The top of everything stays.
    if attached[index].at.is_none() {
        return Err(Errno::EINVAL);
    }
    let lies_on_it = |attachment: &Attachment| lies_on(&attachment.mount, place.mount());
    let is_busy = attached.iter().filter(|attachment| lies_on_it(attachment)).count() > 1
        || Arc::strong_count(place.mount()) > OWN_REFERENCES;
    if is_busy && !detach {
        return Err(Errno::EBUSY);
    }
    let is_gone: Vec<bool> = attached.iter().map(lies_on_it).collect();
    let mut at = 0;
    let mut gone: Vec<Attachment> = attached
        .extract_if(.., |_| {
            at += 1;
            is_gone[at - 1]
        })
        .collect();
    let covered: Vec<Option<Place>> = gone.iter_mut().map(|attachment| attachment.put(None)).collect();
    let unused: Vec<Arc<Mount>> = gone
        .iter()
        .map(|attachment| attachment.mount.clone())
        .filter(|mount| !attached.iter().any(|other| Arc::ptr_eq(&other.mount.instance, &mount.instance)))
        .collect();
    drop(attached);
    drop(covered);
    // What the cache of names still holds of a filesystem keeps it in memory.
    unused.iter().for_each(|mount| cache::forget_below(&mount.instance.top));
    Ok(gone.iter().map(|attachment| attachment.mount.file_system().clone()).collect())
}

/// Makes the mount at `new_root` the one that lies where the mount of `root` lies, and puts that at `put_old`. Everybody
/// whose root or working directory was `root` is at `new_root` then.
pub fn pivot_root(root: &Place, new_root: &Place, put_old: &Place) -> Result<(), Errno> {
    if !is_directory(new_root) || !is_directory(put_old) {
        return Err(Errno::ENOTDIR);
    }
    let mut attached = ATTACHED.lock();
    let old_index = index_of(&attached, root.mount())?;
    let new_index = index_of(&attached, new_root.mount())?;
    index_of(&attached, put_old.mount())?;
    if Arc::ptr_eq(new_root.mount(), root.mount()) || Arc::ptr_eq(put_old.mount(), root.mount()) {
        return Err(Errno::EBUSY);
    }
    let is_possible = root.is_mount_root()
        && new_root.is_mount_root()
        && attached[old_index].at.is_some()
        && attached[new_index].at.is_some()
        && lies_on(put_old.mount(), new_root.mount())
        && lies_on(new_root.mount(), root.mount());
    if !is_possible {
        return Err(Errno::EINVAL);
    }
    let above = attached[old_index].put(None);
    let covered = attached[new_index].put(above);
    let nothing = attached[old_index].put(Some(put_old.clone()));
    drop(attached);
    drop((covered, nothing));
    for process in all_processes() {
        for thread in process.threads() {
            thread.resources().paths.replace(root, new_root);
        }
    }
    Ok(())
}
