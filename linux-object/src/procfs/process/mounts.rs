//! What is mounted where, as a process sees it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;

use rcore_fs::generated::ContentBuffer;

use super::Subject;
use crate::namespace::{Mount, Place, mounts as all_mounts};
use crate::procfs::text::{Produced, append_escaped};

/// What would break a line into wrong fields.
const SPECIAL: &[u8] = b" \t\n\\";

fn mount_point(mount: &Mount, root: &Place) -> Vec<u8> {
    match mount.attached_at() {
        Some(place) => place.path(root).unwrap_or_default(),
        None => alloc::vec![b'/'],
    }
}

fn access(mount: &Mount) -> &'static str {
    if mount.is_read_only() { "ro" } else { "rw" }
}

fn visible(subject: &Subject) -> Result<(Vec<Arc<Mount>>, Place), linux_abi::Errno> {
    Ok((all_mounts(), subject.resources()?.paths.root()))
}

pub(super) fn mounts(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let (mounts, root) = visible(subject)?;
    for mount in mounts {
        let name = mount.file_system().name();
        append_escaped(output, mount.source(), SPECIAL)?;
        output.write_char(' ')?;
        append_escaped(output, &mount_point(&mount, &root), SPECIAL)?;
        write!(output, " {name} {}", access(&mount))?;
        mount.file_system().show_options(output)?;
        writeln!(output, " 0 0")?;
    }
    Ok(())
}

pub(super) fn information(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let (mounts, root) = visible(subject)?;
    for mount in mounts {
        let name = mount.file_system().name();
        let id = mount.id();
        let above = mount.attached_at().map_or(id, |place| place.mount().id());
        let (device, access) = (mount.device(), access(&mount));
        write!(output, "{id} {above} {}:{} / ", device.major(), device.minor())?;
        append_escaped(output, &mount_point(&mount, &root), SPECIAL)?;
        write!(output, " {access} - {name} ")?;
        append_escaped(output, mount.source(), SPECIAL)?;
        write!(output, " {access}")?;
        mount.file_system().show_options(output)?;
        writeln!(output)?;
    }
    Ok(())
}
