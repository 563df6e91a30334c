//! Who a thread acts as, and what that allows.
//!
//! Credentials never change: a thread that changes its own gets a new set, and who looked at the old one goes on with
//! it. Each thread has its own, as on Linux; a C library that wants a process to have one set changes them in every
//! thread. What root may do is said by capabilities alone: no check here asks for user 0.

mod change;
mod program;
mod security;

use alloc::sync::Arc;

use bitflags::bitflags;
use linux_abi::Errno;
use linux_abi::signal::Signal;
use linux_abi::stat::FileType;
use rcore_fs::{Metadata, Ownership};

use crate::process::Process;
use crate::thread::Thread;

pub use change::{GroupChange, MOST_GROUPS, UserChange};
pub use linux_abi::capability::{Capabilities, SecureBits};
pub(crate) use program::ProgramOwner;
pub use security::AmbientChange;

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

/// User and group ids, and capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Further groups, in ascending order.
    pub groups: Arc<[u32]>,
    /// What it may do now.
    pub effective: Capabilities,
    /// What it may make effective.
    pub permitted: Capabilities,
    /// What a program that it executes may be given by the program's file.
    pub inheritable: Capabilities,
    /// What no program that it executes can go beyond.
    pub bounding: Capabilities,
    /// What every program that it executes keeps.
    pub ambient: Capabilities,
    /// How ids and capabilities depend on each other.
    pub secure_bits: SecureBits,
    /// Whether executing a program never gives it more than it has.
    pub no_new_privileges: bool,
}

impl Default for Credentials {
    fn default() -> Self {
        Self::root()
    }
}

impl Credentials {
    /// The first process's: it may do everything.
    pub fn root() -> Self {
        Self {
            real_user: 0,
            effective_user: 0,
            saved_user: 0,
            file_user: 0,
            real_group: 0,
            effective_group: 0,
            saved_group: 0,
            file_group: 0,
            groups: Arc::default(),
            effective: Capabilities::all(),
            permitted: Capabilities::all(),
            inheritable: Capabilities::empty(),
            bounding: Capabilities::all(),
            ambient: Capabilities::empty(),
            secure_bits: SecureBits::empty(),
            no_new_privileges: false,
        }
    }

    /// Whether all of these capabilities are in effect.
    #[inline]
    pub fn has(&self, capabilities: Capabilities) -> bool {
        self.effective.contains(capabilities)
    }

    /// `EPERM` unless all of these capabilities are in effect.
    pub fn require(&self, capabilities: Capabilities) -> Result<(), Errno> {
        if self.has(capabilities) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// Whether it may administer the system.
    pub fn is_privileged(&self) -> bool {
        self.has(Capabilities::SYS_ADMIN)
    }

    /// Whether a group is one of those whose files it may use.
    pub fn is_in_group(&self, group: u32) -> bool {
        self.file_group == group || self.groups.binary_search(&group).is_ok()
    }

    /// Whether a file may be used in this way: `EACCES` if not.
    #[inline]
    pub fn check(&self, metadata: &Metadata, wanted: Permission) -> Result<(), Errno> {
        self.check_mode(metadata.file_type, metadata.permissions, metadata.user, metadata.group, wanted)
    }

    /// As [`Self::check`], of what is known of who may use the file.
    #[inline]
    pub fn check_ownership(
        &self,
        file_type: FileType,
        ownership: Ownership,
        wanted: Permission,
    ) -> Result<(), Errno> {
        let Ownership { permissions, user, group } = ownership;
        self.check_mode(file_type, permissions, user, group, wanted)
    }

    /// As [`Self::check`], of what a file's permissions, owner and group are.
    #[inline]
    pub fn check_mode(
        &self,
        file_type: FileType,
        permissions: u32,
        user: u32,
        group: u32,
        wanted: Permission,
    ) -> Result<(), Errno> {
        let shift = if user == self.file_user {
            6
        } else if permissions >> 3 & 7 != permissions & 7 && self.is_in_group(group) {
            3
        } else {
            0
        };
        if Permission::from_bits_truncate(permissions >> shift).contains(wanted) {
            return Ok(());
        }
        self.override_mode(file_type, permissions, wanted)
    }

    /// What capabilities allow that the permissions do not.
    #[cold]
    fn override_mode(&self, file_type: FileType, permissions: u32, wanted: Permission) -> Result<(), Errno> {
        let is_directory = file_type == FileType::Directory;
        // Nobody may execute what nobody may execute.
        let may_override = is_directory || !wanted.contains(Permission::EXECUTE) || permissions & 0o111 != 0;
        let reads_only = wanted == Permission::READ || is_directory && !wanted.contains(Permission::WRITE);
        let allowed = may_override && self.has(Capabilities::DAC_OVERRIDE)
            || reads_only && self.has(Capabilities::DAC_READ_SEARCH);
        if allowed { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Whether it may do what only the owner of a file may.
    pub fn owns(&self, owner: u32) -> bool {
        self.file_user == owner || self.has(Capabilities::FOWNER)
    }

    /// As `access` judges: with the real ids, and with the capabilities that root would have.
    pub fn as_real(&self) -> Self {
        let mut real = self.clone();
        real.file_user = self.real_user;
        real.file_group = self.real_group;
        if !self.secure_bits.contains(SecureBits::NO_SETUID_FIXUP) {
            real.effective = if self.real_user == 0 { self.permitted } else { Capabilities::empty() };
        }
        real
    }

    /// Whether somebody with these credentials may send signals to who has the others.
    fn may_signal(&self, target: &Self) -> bool {
        let users = [self.effective_user, self.real_user];
        users.iter().any(|user| [target.saved_user, target.real_user].contains(user))
            || self.has(Capabilities::KILL)
    }
}

/// Whether `sender` may send `signal` to a process; `None` is the question alone. `EPERM` if not.
pub fn may_signal(sender: &Thread, target: &Process, signal: Option<Signal>) -> Result<(), Errno> {
    judge_signal(sender, target, signal, || target.credentials())
}

/// As [`may_signal`], to one thread.
pub fn may_signal_thread(sender: &Thread, target: &Thread, signal: Option<Signal>) -> Result<(), Errno> {
    judge_signal(sender, target.process(), signal, || target.credentials())
}

fn judge_signal(
    sender: &Thread,
    process: &Process,
    signal: Option<Signal>,
    target: impl FnOnce() -> Arc<Credentials>,
) -> Result<(), Errno> {
    let own = sender.process();
    if core::ptr::eq(&**own, process) || sender.credentials().may_signal(&target()) {
        return Ok(());
    }
    // Who stops a job from its own session's terminal lets it go on, whoever it has become.
    let goes_on = signal == Some(Signal::SIGCONT) && own.session() == process.session();
    if goes_on { Ok(()) } else { Err(Errno::EPERM) }
}

#[cfg(test)]
mod tests;
