//! Changing ids: the rules of `setuid` and its kin.

use alloc::sync::Arc;
use alloc::vec::Vec;

use linux_abi::Errno;

use super::{Capabilities, Credentials, SecureBits};

/// How many further groups there can be.
pub const MOST_GROUPS: usize = 65536;

/// What the effective user loses and gets back with user 0: the capabilities that are about files.
const FILE_CAPABILITIES: Capabilities = Capabilities::CHOWN
    .union(Capabilities::DAC_OVERRIDE)
    .union(Capabilities::DAC_READ_SEARCH)
    .union(Capabilities::FOWNER)
    .union(Capabilities::FSETID)
    .union(Capabilities::LINUX_IMMUTABLE)
    .union(Capabilities::MKNOD)
    .union(Capabilities::MAC_OVERRIDE);

/// How user ids are to be changed; `None` leaves one as it is.
#[derive(Clone, Copy, Debug)]
pub enum UserChange {
    /// `setuid`.
    All(u32),
    /// `setreuid`: real, effective.
    RealEffective(Option<u32>, Option<u32>),
    /// `setresuid`: real, effective, saved.
    Each(Option<u32>, Option<u32>, Option<u32>),
}

/// How group ids are to be changed; `None` leaves one as it is.
#[derive(Clone, Copy, Debug)]
pub enum GroupChange {
    /// `setgid`.
    All(u32),
    /// `setregid`: real, effective.
    RealEffective(Option<u32>, Option<u32>),
    /// `setresgid`: real, effective, saved.
    Each(Option<u32>, Option<u32>, Option<u32>),
}

/// Real, effective and saved id.
#[derive(Clone, Copy)]
struct Ids {
    real: u32,
    effective: u32,
    saved: u32,
}

impl Ids {
    fn has(self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    fn set_all(self, id: u32, privileged: bool) -> Result<Self, Errno> {
        if privileged {
            return Ok(Self { real: id, effective: id, saved: id });
        }
        if id != self.real && id != self.saved {
            return Err(Errno::EPERM);
        }
        Ok(Self { effective: id, ..self })
    }

    fn set_real_effective(
        self,
        real: Option<u32>,
        effective: Option<u32>,
        privileged: bool,
    ) -> Result<Self, Errno> {
        let real_is_fine = real.is_none_or(|id| id == self.real || id == self.effective);
        let effective_is_fine = effective.is_none_or(|id| self.has(id));
        if !(privileged || real_is_fine && effective_is_fine) {
            return Err(Errno::EPERM);
        }
        let mut new = self;
        new.real = real.unwrap_or(self.real);
        new.effective = effective.unwrap_or(self.effective);
        if real.is_some() || effective.is_some_and(|id| id != self.real) {
            new.saved = new.effective;
        }
        Ok(new)
    }

    fn set_each(self, wanted: [Option<u32>; 3], privileged: bool) -> Result<Self, Errno> {
        if !privileged && !wanted.iter().flatten().all(|&id| self.has(id)) {
            return Err(Errno::EPERM);
        }
        let [real, effective, saved] = wanted;
        Ok(Self {
            real: real.unwrap_or(self.real),
            effective: effective.unwrap_or(self.effective),
            saved: saved.unwrap_or(self.saved),
        })
    }
}

impl Credentials {
    /// With other user ids. Who gives up user 0 gives up capabilities, as Linux has it.
    pub fn with_users(&self, change: UserChange) -> Result<Self, Errno> {
        let old = Ids { real: self.real_user, effective: self.effective_user, saved: self.saved_user };
        let privileged = self.has(Capabilities::SETUID);
        let ids = match change {
            UserChange::All(id) => old.set_all(id, privileged)?,
            UserChange::RealEffective(real, effective) => {
                old.set_real_effective(real, effective, privileged)?
            }
            UserChange::Each(real, effective, saved) => old.set_each([real, effective, saved], privileged)?,
        };
        let mut new = self.clone();
        new.real_user = ids.real;
        new.effective_user = ids.effective;
        new.saved_user = ids.saved;
        new.file_user = ids.effective;
        if !self.secure_bits.contains(SecureBits::NO_SETUID_FIXUP) {
            if old.has(0) && !ids.has(0) {
                if !self.secure_bits.contains(SecureBits::KEEP_CAPS) {
                    new.permitted = Capabilities::empty();
                    new.effective = Capabilities::empty();
                }
                new.ambient = Capabilities::empty();
            }
            if old.effective == 0 && ids.effective != 0 {
                new.effective = Capabilities::empty();
            }
            if old.effective != 0 && ids.effective == 0 {
                new.effective = new.permitted;
            }
        }
        Ok(new)
    }

    /// With other group ids.
    pub fn with_groups(&self, change: GroupChange) -> Result<Self, Errno> {
        let old = Ids { real: self.real_group, effective: self.effective_group, saved: self.saved_group };
        let privileged = self.has(Capabilities::SETGID);
        let ids = match change {
            GroupChange::All(id) => old.set_all(id, privileged)?,
            GroupChange::RealEffective(real, effective) => {
                old.set_real_effective(real, effective, privileged)?
            }
            GroupChange::Each(real, effective, saved) => {
                old.set_each([real, effective, saved], privileged)?
            }
        };
        let mut new = self.clone();
        new.real_group = ids.real;
        new.effective_group = ids.effective;
        new.saved_group = ids.saved;
        new.file_group = ids.effective;
        Ok(new)
    }

    /// With another user for files, if that is allowed.
    pub fn with_file_user(&self, user: u32) -> Option<Self> {
        let known = [self.real_user, self.effective_user, self.saved_user, self.file_user];
        if !known.contains(&user) && !self.has(Capabilities::SETUID) {
            return None;
        }
        let mut new = self.clone();
        new.file_user = user;
        if !self.secure_bits.contains(SecureBits::NO_SETUID_FIXUP) {
            if self.file_user == 0 && user != 0 {
                new.effective -= FILE_CAPABILITIES;
            }
            if self.file_user != 0 && user == 0 {
                new.effective |= new.permitted & FILE_CAPABILITIES;
            }
        }
        Some(new)
    }

    /// With another group for files, if that is allowed.
    pub fn with_file_group(&self, group: u32) -> Option<Self> {
        let known = [self.real_group, self.effective_group, self.saved_group, self.file_group];
        let may = known.contains(&group) || self.has(Capabilities::SETGID);
        may.then(|| Self { file_group: group, ..self.clone() })
    }

    /// With other further groups.
    pub fn with_further_groups(&self, mut groups: Vec<u32>) -> Result<Self, Errno> {
        self.require(Capabilities::SETGID)?;
        groups.sort_unstable();
        Ok(Self { groups: Arc::from(groups), ..self.clone() })
    }
}
