//! Whose an object is, and what others may do with it.

use linux_abi::Errno;
use linux_abi::ipc::IpcPermissions;

use crate::credentials::{Capabilities, Credentials};

const OWNER_SHIFT: u32 = 6;
const GROUP_SHIFT: u32 = 3;
const RIGHTS: u32 = 0o7;
/// The bits of a mode that say who may do what.
pub(super) const PERMISSION_BITS: u32 = 0o777;

/// Owner, creator and mode of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    user: u32,
    group: u32,
    creator: u32,
    creator_group: u32,
    pub(super) permissions: u32,
}

impl Access {
    /// Of an object that somebody makes.
    pub(super) fn of_creator(credentials: &Credentials, permissions: u32) -> Self {
        let (user, group) = (credentials.effective_user, credentials.effective_group);
        let permissions = permissions & PERMISSION_BITS;
        Self { user, group, creator: user, creator_group: group, permissions }
    }

    fn is_owner(&self, credentials: &Credentials) -> bool {
        [self.user, self.creator].contains(&credentials.effective_user)
    }

    /// `EACCES` unless somebody has all rights that are asked for, in whichever of the three places of a mode.
    pub(super) fn check(&self, credentials: &Credentials, wanted: u32) -> Result<(), Errno> {
        let wanted = (wanted >> OWNER_SHIFT | wanted >> GROUP_SHIFT | wanted) & RIGHTS;
        let shift = if self.is_owner(credentials) {
            OWNER_SHIFT
        } else if credentials.is_in_group(self.group) || credentials.is_in_group(self.creator_group) {
            GROUP_SHIFT
        } else {
            0
        };
        let is_allowed = wanted & !(self.permissions >> shift) == 0;
        if is_allowed || credentials.has(Capabilities::IPC_OWNER) { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// `EPERM` unless somebody may change or remove the object.
    pub(super) fn check_control(
        &self,
        credentials: &Credentials,
        capability: Capabilities,
    ) -> Result<(), Errno> {
        if self.is_owner(credentials) { Ok(()) } else { credentials.require(capability) }
    }

    /// Gives it another owner and other permissions.
    pub(super) fn change(&mut self, new: &IpcPermissions) {
        self.user = new.uid;
        self.group = new.gid;
        self.permissions = new.mode & PERMISSION_BITS;
    }

    /// As programs see it.
    pub(super) fn encode(&self, key: i32, sequence: u16, mode_flags: u32) -> IpcPermissions {
        IpcPermissions {
            key,
            uid: self.user,
            gid: self.group,
            cuid: self.creator,
            cgid: self.creator_group,
            mode: self.permissions | mode_flags,
            seq: sequence,
            ..IpcPermissions::default()
        }
    }
}
