//! Who a process acts as, and what that allows.

use alloc::vec::Vec;

use bitflags::bitflags;
use linux_abi::Errno;
use linux_abi::stat::FileType;
use rcore_fs::Metadata;

bitflags! {
    /// What somebody wants to do with a file.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Permission: u32 {
        /// Execute it, or look names up in it.
        const EXECUTE = 1;
        /// Change it.
        const WRITE = 2;
        /// Read it.
        const READ = 4;
    }
}

/// User and group ids. They never change: a process that changes its ids gets new credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user who started the process.
    pub real_user: u32,
    /// The user it acts as.
    pub effective_user: u32,
    /// The user it may act as again.
    pub saved_user: u32,
    /// The user whose files it may use.
    pub file_user: u32,
    /// The group that it was started with.
    pub real_group: u32,
    /// The group it acts as.
    pub effective_group: u32,
    /// The group it may act as again.
    pub saved_group: u32,
    /// The group whose files it may use.
    pub file_group: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

impl Credentials {
    /// Whether file permissions do not matter.
    pub fn is_privileged(&self) -> bool {
        self.file_user == 0
    }

    /// Whether signals may be sent to who has these credentials.
    pub fn may_signal(&self, target: &Self) -> bool {
        let targets = [target.real_user, target.saved_user];
        self.effective_user == 0
            || targets.contains(&self.effective_user)
            || targets.contains(&self.real_user)
    }

    /// Whether a group is one of the process's.
    pub fn is_in_group(&self, group: u32) -> bool {
        self.file_group == group || self.groups.contains(&group)
    }

    /// Whether a file may be used in this way: `EACCES` if not.
    pub fn check(&self, metadata: &Metadata, wanted: Permission) -> Result<(), Errno> {
        let shift = if metadata.user == self.file_user {
            6
        } else if self.is_in_group(metadata.group) {
            3
        } else {
            0
        };
        let granted = Permission::from_bits_truncate(metadata.permissions >> shift);
        if granted.contains(wanted) {
            return Ok(());
        }
        // The superuser may do anything but execute what nobody may execute.
        let may_execute = metadata.permissions & 0o111 != 0 || metadata.file_type == FileType::Directory;
        if self.is_privileged() && (!wanted.contains(Permission::EXECUTE) || may_execute) {
            return Ok(());
        }
        Err(Errno::EACCES)
    }
}
