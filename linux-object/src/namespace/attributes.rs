//! Changing what is known about a file: permissions, owner, times.

use kernel_object::paged_object::WriteAccess;
use linux_abi::Errno;
use linux_abi::inotify::WatchMask;
use linux_abi::stat::FileType;
use rcore_fs::{AttributeChanges, Contents, Metadata, TimeChange};

use super::Place;
use crate::credentials::{Capabilities, Credentials, Permission};
use crate::inotify;

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;

/// What is to become of a file's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimesChange {
    /// Both become the present moment, which who may write the file may want too.
    Touch,
    /// Accessed and modified time; `None` leaves one as it is.
    Set(Option<TimeChange>, Option<TimeChange>),
}

/// The permission bits that a file keeps when its content or its owner changes: set-id bits are lost, unless they mean
/// something else.
fn without_set_id(credentials: &Credentials, metadata: &Metadata) -> u32 {
    let mut permissions = metadata.permissions & !SET_USER_ID;
    let is_program = permissions & GROUP_EXECUTE != 0;
    let may_keep = credentials.is_in_group(metadata.group) || credentials.has(Capabilities::FSETID);
    if permissions & SET_GROUP_ID != 0 && (is_program || !may_keep) {
        permissions &= !SET_GROUP_ID;
    }
    permissions
}

impl Place {
    /// Changes the permission bits (`chmod`).
    pub async fn change_permissions(&self, credentials: &Credentials, permissions: u32) -> Result<(), Errno> {
        if self.file_type() == FileType::SymbolicLink {
            return Err(Errno::EOPNOTSUPP);
        }
        let metadata = self.inode().metadata().await?;
        if !credentials.owns(metadata.user) {
            return Err(Errno::EPERM);
        }
        let mut permissions = permissions & 0o7777;
        if !credentials.is_in_group(metadata.group) && !credentials.has(Capabilities::FSETID) {
            permissions &= !SET_GROUP_ID;
        }
        self.inode().set_attributes(&AttributeChanges::permissions(permissions)).await?;
        self.note(WatchMask::ATTRIB);
        Ok(())
    }

    /// Changes owner and group (`chown`); `None` leaves one as it is.
    pub async fn change_owner(
        &self,
        credentials: &Credentials,
        user: Option<u32>,
        group: Option<u32>,
    ) -> Result<(), Errno> {
        let metadata = self.inode().metadata().await?;
        let is_owner = credentials.file_user == metadata.user;
        let user_is_fine = user.is_none_or(|user| is_owner && user == metadata.user);
        let group_is_fine =
            group.is_none_or(|group| is_owner && (group == metadata.group || credentials.is_in_group(group)));
        if !(user_is_fine && group_is_fine || credentials.has(Capabilities::CHOWN)) {
            return Err(Errno::EPERM);
        }
        let changes = AttributeChanges {
            user,
            group,
            permissions: (metadata.file_type != FileType::Directory)
                .then(|| without_set_id(credentials, &metadata))
                .filter(|&permissions| permissions != metadata.permissions),
            ..AttributeChanges::default()
        };
        self.inode().set_attributes(&changes).await?;
        self.note(WatchMask::ATTRIB);
        Ok(())
    }

    /// Changes the times (`utimensat`).
    pub async fn change_times(&self, credentials: &Credentials, change: TimesChange) -> Result<(), Errno> {
        let metadata = self.inode().metadata().await?;
        let (accessed, modified) = match change {
            TimesChange::Touch => {
                if !credentials.owns(metadata.user) {
                    credentials.check(&metadata, Permission::WRITE)?;
                }
                (Some(TimeChange::Now), Some(TimeChange::Now))
            }
            TimesChange::Set(accessed, modified) => {
                if !credentials.owns(metadata.user) {
                    return Err(Errno::EPERM);
                }
                (accessed, modified)
            }
        };
        self.inode()
            .set_attributes(&AttributeChanges { accessed, modified, ..AttributeChanges::default() })
            .await?;
        self.note(WatchMask::ATTRIB);
        Ok(())
    }

    /// Gives a regular file another size (`truncate`); who may do so has been checked.
    pub async fn change_size(&self, credentials: &Credentials, size: u64) -> Result<(), Errno> {
        let _access = self.write_access()?;
        let metadata = self.inode().metadata().await?;
        let permissions = Some(without_set_id(credentials, &metadata))
            .filter(|&permissions| permissions != metadata.permissions);
        let changes = AttributeChanges { permissions, ..AttributeChanges::size(size) };
        self.inode().set_attributes(&changes).await?;
        self.note(WatchMask::MODIFY);
        Ok(())
    }

    /// The right to write a file that has pages. `ETXTBSY` if a program runs that is in it.
    pub fn write_access(&self) -> Result<Option<WriteAccess>, Errno> {
        match self.inode().contents() {
            Contents::Pages(pages) => WriteAccess::of(&pages).map(Some).ok_or(Errno::ETXTBSY),
            _ => Ok(None),
        }
    }

    /// Tells who watches it.
    fn note(&self, event: WatchMask) {
        if inotify::is_any() {
            inotify::happened(self, event);
        }
    }
}
