//! What executing a program does to credentials.

use super::{Capabilities, Credentials, SecureBits};

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;

/// Whose a program's file is, and its permission bits.
#[derive(Clone, Copy, Debug)]
pub struct ProgramOwner {
    /// The permission bits.
    pub permissions: u32,
    /// The owner.
    pub user: u32,
    /// The group.
    pub group: u32,
}

impl Credentials {
    /// What a thread has that executes a program, and whether the program must not trust its surroundings
    /// (`AT_SECURE`). `owner` is absent where set-id bits have no effect: on a mount with `nosuid`.
    pub fn for_program(&self, owner: Option<ProgramOwner>) -> (Self, bool) {
        let mut new = self.clone();
        if let Some(owner) = owner
            && !self.no_new_privileges
        {
            if owner.permissions & SET_USER_ID != 0 {
                new.effective_user = owner.user;
            }
            // Without the permission to execute the bit once meant mandatory locking.
            if owner.permissions & SET_GROUP_ID != 0 && owner.permissions & GROUP_EXECUTE != 0 {
                new.effective_group = owner.group;
            }
        }
        let takes_id = new.effective_user != self.real_user || new.effective_group != self.real_group;
        if takes_id {
            new.ambient = Capabilities::empty();
        }
        let root_counts = !self.secure_bits.contains(SecureBits::NOROOT);
        let is_root = root_counts && (new.real_user == 0 || new.effective_user == 0);
        new.permitted = if is_root { self.inheritable | self.bounding } else { new.ambient };
        new.effective =
            if root_counts && new.effective_user == 0 { new.permitted } else { new.ambient & new.permitted };
        new.saved_user = new.effective_user;
        new.file_user = new.effective_user;
        new.saved_group = new.effective_group;
        new.file_group = new.effective_group;
        new.secure_bits -= SecureBits::KEEP_CAPS;
        let gains = new.real_user != 0
            && ((new.effective - new.ambient) | (new.permitted - new.ambient)) != Capabilities::empty();
        (new, takes_id || gains)
    }
}
