//! Where paths begin.

use linux_abi::Errno;
use linux_abi::file::AtFlags;
use linux_abi::stat::FileType;
use linux_object::credentials::{Capabilities, Permission};

use crate::argument::PathAddress;
use crate::call::{Call, Outcome, slow};
use crate::file::{Target, place_at};

pub fn chroot(call: &mut Call<'_>, path: PathAddress) -> Outcome {
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    slow(async move {
        let target = Target { start: None, path };
        let place = place_at(&memory, &resources.paths, &thread, target, AtFlags::empty()).await?;
        if place.inode().file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let credentials = thread.credentials();
        credentials.check(&place.inode().metadata().await?, Permission::EXECUTE)?;
        credentials.require(Capabilities::SYS_CHROOT)?;
        resources.paths.set_root(place);
        Ok(0)
    })
}
