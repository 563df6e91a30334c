//! Where paths begin.

use linux_abi::file::{AT_FDCWD, AtFlags};
use linux_object::credentials::Capabilities;

use crate::argument::{Fd, PathAddress};
use crate::call::{Call, Outcome};
use crate::file::{attempt_at, try_check_entry};

pub fn chroot(call: &mut Call<'_>, path: PathAddress) -> Outcome {
    attempt_at(call, Fd(AT_FDCWD), path, AtFlags::empty(), |caller, credentials, place| {
        try_check_entry(credentials, place)?;
        credentials.require(Capabilities::SYS_CHROOT)?;
        caller.resources.paths.set_root(place.clone());
        Ok(0)
    })
}
