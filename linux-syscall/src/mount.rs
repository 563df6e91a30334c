//! Mounting, and bringing filesystems to stable storage.

use kernel_hal::PAGE_SIZE;
use linux_abi::Errno;
use linux_abi::stat::FileType;
use linux_object::namespace::{self, walk};
use linux_object::obstacle::complete;

use crate::argument::{Bits, PathAddress, UserAddress};
use crate::call::{Call, Outcome, slow};

/// What `mount` did before its flags had a magic number in the upper half.
const OLD_MAGIC: usize = 0xc0ed_0000;
const OLD_MAGIC_MASK: usize = 0xffff_0000;
/// Flags that change nothing here: every filesystem so far has neither devices of its own nor set-id programs of others
/// (`MS_NOSUID`, `MS_NODEV`, `MS_NOEXEC`), notes access times cheaply (`MS_NOATIME`, `MS_NODIRATIME`, `MS_RELATIME`), or the
/// flag only silences messages (`MS_SILENT`).
const HARMLESS: usize = 2 | 4 | 8 | 1024 | 2048 | 0x20_0000 | 0x8000;
const LONGEST_KIND: usize = 64;

pub fn mount(
    call: &mut Call<'_>,
    _source: PathAddress,
    target: PathAddress,
    kind: PathAddress,
    flags: Bits,
    options: PathAddress,
) -> Result<Outcome, Errno> {
    if !call.thread.credentials().is_privileged() {
        return Err(Errno::EPERM);
    }
    let flags = if flags.0 & OLD_MAGIC_MASK == OLD_MAGIC { flags.0 & !OLD_MAGIC_MASK } else { flags.0 };
    if flags & !HARMLESS != 0 {
        return Err(Errno::EINVAL);
    }
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let target = complete(|| memory.read_path(UserAddress(target.0).get())).await?;
        let kind =
            complete(|| memory.read_string(UserAddress(kind.0).get(), LONGEST_KIND, Errno::EINVAL)).await?;
        if options.0 != 0 {
            let options =
                complete(|| memory.read_string(UserAddress(options.0).get(), PAGE_SIZE, Errno::EINVAL))
                    .await?;
            if !options.is_empty() {
                return Err(Errno::EINVAL);
            }
        }
        let credentials = thread.credentials();
        let place = walk(&resources.paths, &credentials, None, &target, true).await?;
        if place.inode().file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        namespace::attach(namespace::make(&kind)?, Some(place));
        Ok(0)
    }))
}

pub fn sync(_call: &mut Call<'_>) -> Outcome {
    slow(async {
        for mount in namespace::mounts() {
            if let Err(error) = mount.file_system().sync().await {
                log::error!("sync of {}: {error}", mount.file_system().name());
            }
        }
        Ok(0)
    })
}
