//! Giving names and taking them away.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::ResolveFlags;
use linux_abi::stat::FileType;
use rcore_fs::{AttributeChanges, Creation, INode, NewNode, RenameFlags};

use super::{LastComponent, PathContext, Place, Route, cache, walk, walk_to_parent};
use crate::credentials::{Credentials, Permission};
use crate::inotify;
use crate::obstacle::complete;

const STICKY: u32 = 0o1000;
const SET_GROUP_ID: u32 = 0o2000;

/// Who changes names, and from where paths begin.
pub struct Actor<'a> {
    /// Root, working directory and creation mask.
    pub paths: &'a PathContext,
    /// User and groups.
    pub credentials: &'a Credentials,
}

/// A path, and the directory that it begins in if that is not the working directory.
pub struct Named<'a> {
    /// The directory.
    pub start: Option<Place>,
    /// The path.
    pub path: &'a [u8],
}

/// `EROFS` where nothing may be changed.
fn check_writable(directory: &Place) -> Result<(), Errno> {
    if directory.mount().is_read_only() { Err(Errno::EROFS) } else { Ok(()) }
}

impl Actor<'_> {
    async fn parent<'p>(&'p self, named: &'p Named<'_>) -> Result<LastComponent<'p>, Errno> {
        let Named { start, path } = named;
        let route = Route {
            context: self.paths,
            credentials: self.credentials,
            start: start.as_ref(),
            path,
            resolve: ResolveFlags::empty(),
        };
        walk_to_parent(route).await
    }

    /// Whether names may be given and taken in a directory.
    async fn check_directory(&self, directory: &Place) -> Result<(), Errno> {
        check_writable(directory)?;
        let ownership = complete(|| directory.try_ownership()).await?;
        let wanted = Permission::WRITE | Permission::EXECUTE;
        self.credentials.check_ownership(FileType::Directory, ownership, wanted)
    }

    /// Whether this very name may be taken away: in a sticky directory only by who owns it or what it names.
    async fn check_removal(&self, directory: &Place, victim: &Arc<dyn INode>) -> Result<(), Errno> {
        let above = complete(|| directory.try_ownership()).await?;
        let wanted = Permission::WRITE | Permission::EXECUTE;
        self.credentials.check_ownership(FileType::Directory, above, wanted)?;
        if above.permissions & STICKY == 0 || self.credentials.is_privileged() {
            return Ok(());
        }
        let user = self.credentials.file_user;
        let owns = above.user == user || victim.ownership().await?.user == user;
        if owns { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// Creates something that is not a regular file to be opened.
    pub async fn create(&self, named: &Named<'_>, node: NewNode<'_>, permissions: u32) -> Result<(), Errno> {
        let LastComponent { directory, name, must_be_directory } = self.parent(named).await?;
        if name.is_empty() {
            return Err(Errno::EEXIST);
        }
        let is_directory = matches!(node, NewNode::Directory);
        if must_be_directory && !is_directory {
            return Err(Errno::ENOENT);
        }
        match complete(|| directory.try_find(&name)).await {
            Ok(_) => return Err(Errno::EEXIST),
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
        self.check_directory(&directory).await?;
        let above = complete(|| directory.try_ownership()).await?;
        let inherits = above.permissions & SET_GROUP_ID != 0;
        // A link has no permissions of its own, so nothing is masked either.
        let is_link = matches!(node, NewNode::SymbolicLink(_));
        let mask = if is_link { 0 } else { self.paths.creation_mask() };
        let mut permissions = permissions & !mask;
        if inherits && is_directory {
            permissions |= SET_GROUP_ID;
        }
        let creation = Creation {
            node,
            permissions,
            user: self.credentials.file_user,
            group: if inherits { above.group } else { self.credentials.file_group },
        };
        directory.create(&name, &creation).await.map(drop)
    }

    /// Takes a name away from something that is no directory.
    pub async fn unlink(&self, named: &Named<'_>) -> Result<(), Errno> {
        let LastComponent { directory, name, must_be_directory } = self.parent(named).await?;
        if name.is_empty() {
            return Err(Errno::EISDIR);
        }
        check_writable(&directory)?;
        let victim = complete(|| directory.try_find(&name)).await?;
        match victim.file_type() {
            FileType::Directory => return Err(Errno::EISDIR),
            _ if must_be_directory => return Err(Errno::ENOTDIR),
            _ => {}
        }
        self.check_removal(&directory, victim.inode()).await?;
        if victim.entry().is_mount_point() {
            return Err(Errno::EBUSY);
        }
        let watched = inotify::is_any().then(|| victim.inode().clone());
        // What is gone from the cache frees the file only if nobody else uses it.
        drop(victim);
        let outcome = directory.inode().unlink(&name).await;
        directory.entry().forget(&name);
        if let (Ok(()), Some(inode)) = (outcome, watched) {
            let is_gone = inode.metadata().await.is_ok_and(|metadata| metadata.links == 0);
            inotify::removed(&directory, &name, &inode, is_gone);
        }
        outcome
    }

    /// Removes an empty directory on which nothing is mounted.
    pub async fn remove_directory(&self, named: &Named<'_>) -> Result<(), Errno> {
        let LastComponent { directory, name, .. } = self.parent(named).await?;
        if name.is_empty() {
            return Err(if named.path.ends_with(b"..") { Errno::ENOTEMPTY } else { Errno::EINVAL });
        }
        check_writable(&directory)?;
        let victim = complete(|| directory.try_find(&name)).await?;
        if victim.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        self.check_removal(&directory, victim.inode()).await?;
        if victim.entry().is_mount_point() {
            return Err(Errno::EBUSY);
        }
        let outcome = directory.inode().remove_directory(&name).await;
        directory.entry().forget(&name);
        if outcome.is_ok() && inotify::is_any() {
            inotify::removed(&directory, &name, victim.inode(), true);
        }
        outcome
    }

    /// Gives something that is no directory another name.
    pub async fn link(&self, old: &Named<'_>, new: &Named<'_>, follow: bool) -> Result<(), Errno> {
        let target = walk(self.paths, self.credentials, old.start.as_ref(), old.path, follow).await?;
        self.link_place(&target, new).await
    }

    /// Gives what is at a place another name, if it is no directory.
    pub async fn link_place(&self, target: &Place, new: &Named<'_>) -> Result<(), Errno> {
        let LastComponent { directory, name, must_be_directory } = self.parent(new).await?;
        if target.file_type() == FileType::Directory {
            return Err(Errno::EPERM);
        }
        if name.is_empty() {
            return Err(Errno::EEXIST);
        }
        if must_be_directory {
            return Err(Errno::ENOENT);
        }
        if !Arc::ptr_eq(target.mount(), directory.mount()) {
            return Err(Errno::EXDEV);
        }
        self.check_directory(&directory).await?;
        let outcome = directory.inode().link(&name, target.inode()).await;
        directory.entry().forget(&name);
        if outcome.is_ok() && inotify::is_any() {
            inotify::names_changed(target.inode());
            inotify::created(&directory, &name, target.inode());
        }
        outcome
    }

    /// A whiteout belongs to who left it.
    async fn own_whiteout(&self, directory: &Place, name: &[u8]) -> Result<(), Errno> {
        let (user, group) = (self.credentials.file_user, self.credentials.file_group);
        if (user, group) == (0, 0) {
            return Ok(());
        }
        let left = directory.inode().lookup(name).await?;
        // Somebody else may have made something of the name already.
        if left.file_type() != FileType::CharacterDevice {
            return Ok(());
        }
        let changes =
            AttributeChanges { user: Some(user), group: Some(group), ..AttributeChanges::default() };
        left.set_attributes(&changes).await
    }

    /// Moves a name.
    pub async fn rename(&self, old: &Named<'_>, new: &Named<'_>, flags: RenameFlags) -> Result<(), Errno> {
        let from = self.parent(old).await?;
        let to = self.parent(new).await?;
        if from.name.is_empty() || to.name.is_empty() {
            return Err(Errno::EBUSY);
        }
        if !Arc::ptr_eq(from.directory.mount(), to.directory.mount()) {
            return Err(Errno::EXDEV);
        }
        check_writable(&from.directory)?;
        let moved = complete(|| from.directory.try_find(&from.name)).await?;
        let needs_directory = from.must_be_directory || to.must_be_directory;
        if needs_directory && moved.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        self.check_removal(&from.directory, moved.inode()).await?;
        let replaced = match complete(|| to.directory.try_find(&to.name)).await {
            Ok(replaced) => {
                self.check_removal(&to.directory, replaced.inode()).await?;
                Some(replaced)
            }
            Err(Errno::ENOENT) => {
                self.check_directory(&to.directory).await?;
                None
            }
            Err(error) => return Err(error),
        };
        if moved.entry().is_mount_point()
            || replaced.as_ref().is_some_and(|place| place.entry().is_mount_point())
        {
            return Err(Errno::EBUSY);
        }
        let target = to.directory.inode();
        from.directory.inode().rename(&from.name, target, &to.name, flags).await?;
        let same_file = replaced.as_ref().is_some_and(|replaced| {
            replaced.inode().number() == moved.inode().number() && !flags.contains(RenameFlags::EXCHANGE)
        });
        // Two names of one file have stayed as they were.
        if !same_file {
            let exchanged = flags.contains(RenameFlags::EXCHANGE);
            cache::rename((from.directory.entry(), &from.name), (to.directory.entry(), &to.name), exchanged);
            if flags.contains(RenameFlags::WHITEOUT) {
                from.directory.entry().forget(&from.name);
                self.own_whiteout(&from.directory, &from.name).await?;
            }
            if inotify::is_any() {
                let old = (&from.directory, &*from.name);
                let new = (&to.directory, &*to.name);
                inotify::moved(old, new, moved.inode());
                match replaced {
                    Some(replaced) if exchanged => inotify::moved(new, old, replaced.inode()),
                    Some(replaced) => {
                        inotify::names_changed(replaced.inode());
                        if replaced.inode().metadata().await.is_ok_and(|metadata| metadata.links == 0) {
                            inotify::gone(replaced.inode());
                        }
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }
}
