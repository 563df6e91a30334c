//! Changing capabilities: `capset` and the settings of `prctl`.

use linux_abi::Errno;

use super::{Capabilities, Credentials, SecureBits};

/// What `PR_CAP_AMBIENT` does.
#[derive(Clone, Copy, Debug)]
pub enum AmbientChange {
    /// Adds a capability.
    Raise(Capabilities),
    /// Takes one away.
    Lower(Capabilities),
    /// Takes all away.
    Clear,
}

impl Credentials {
    /// With other sets, as far as they may be changed.
    pub fn with_capabilities(
        &self,
        effective: Capabilities,
        permitted: Capabilities,
        inheritable: Capabilities,
    ) -> Result<Self, Errno> {
        let may_inherit =
            self.has(Capabilities::SETPCAP) || (self.inheritable | self.permitted).contains(inheritable);
        let is_allowed = may_inherit
            && (self.inheritable | self.bounding).contains(inheritable)
            && self.permitted.contains(permitted)
            && permitted.contains(effective);
        if !is_allowed {
            return Err(Errno::EPERM);
        }
        let ambient = self.ambient & permitted & inheritable;
        Ok(Self { effective, permitted, inheritable, ambient, ..self.clone() })
    }

    /// Without a capability that programs could be given.
    pub fn without_bounding(&self, capability: Capabilities) -> Result<Self, Errno> {
        self.require(Capabilities::SETPCAP)?;
        Ok(Self { bounding: self.bounding - capability, ..self.clone() })
    }

    /// With other ambient capabilities.
    pub fn with_ambient(&self, change: AmbientChange) -> Result<Self, Errno> {
        let ambient = match change {
            AmbientChange::Clear => Capabilities::empty(),
            AmbientChange::Lower(capability) => self.ambient - capability,
            AmbientChange::Raise(capability) => {
                let is_allowed = (self.permitted & self.inheritable).contains(capability)
                    && !self.secure_bits.contains(SecureBits::NO_CAP_AMBIENT_RAISE);
                if !is_allowed {
                    return Err(Errno::EPERM);
                }
                self.ambient | capability
            }
        };
        Ok(Self { ambient, ..self.clone() })
    }

    /// With capabilities kept, or not, by the next change from user 0.
    pub fn with_keep_capabilities(&self, keep: bool) -> Result<Self, Errno> {
        if self.secure_bits.contains(SecureBits::KEEP_CAPS_LOCKED) {
            return Err(Errno::EPERM);
        }
        let mut new = self.clone();
        new.secure_bits.set(SecureBits::KEEP_CAPS, keep);
        Ok(new)
    }

    /// With other security bits: a locked one stays, and so does its lock.
    pub fn with_secure_bits(&self, bits: u32) -> Result<Self, Errno> {
        let secure_bits = SecureBits::from_bits(bits).ok_or(Errno::EPERM)?;
        let locks = SecureBits::NOROOT_LOCKED
            | SecureBits::NO_SETUID_FIXUP_LOCKED
            | SecureBits::KEEP_CAPS_LOCKED
            | SecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
        let held = self.secure_bits & locks;
        let locked = SecureBits::from_bits_retain(held.bits() >> 1);
        let touches_locked = !((self.secure_bits ^ secure_bits) & locked).is_empty();
        if !secure_bits.contains(held) || touches_locked || !self.has(Capabilities::SETPCAP) {
            return Err(Errno::EPERM);
        }
        Ok(Self { secure_bits, ..self.clone() })
    }
}
