//! What is mounted where, as a process sees it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;

use linux_abi::Errno;
use rcore_fs::generated::ContentBuffer;

use super::Subject;
use crate::namespace::{Mount, MountFlags, Place, mounts as all_mounts};
use crate::procfs::text::{Produced, append_escaped};

/// What would break a line into wrong fields.
const SPECIAL: &[u8] = b" \t\n\\";

fn access(is_read_only: bool) -> &'static str {
    if is_read_only { "ro" } else { "rw" }
}

/// Options of the mount itself, each after a comma.
fn write_options(mount: &Mount, output: &mut ContentBuffer) -> Produced {
    const SHOWN: [(MountFlags, &str); 7] = [
        (MountFlags::NOSUID, "nosuid"),
        (MountFlags::NODEV, "nodev"),
        (MountFlags::NOEXEC, "noexec"),
        (MountFlags::NOATIME, "noatime"),
        (MountFlags::NODIRATIME, "nodiratime"),
        (MountFlags::RELATIME, "relatime"),
        (MountFlags::NOSYMFOLLOW, "nosymfollow"),
    ];
    for (flag, name) in SHOWN {
        if mount.has(flag) {
            write!(output, ",{name}")?;
        }
    }
    Ok(())
}

/// A mount, and the path that leads to it.
type Visible = (Arc<Mount>, Vec<u8>);

/// Those mounts that a walk of the process can come to, and where it sees each.
fn visible(subject: &Subject) -> Result<Vec<Visible>, Errno> {
    let root = subject.resources()?.paths.root();
    let mut seen = Vec::new();
    for mount in all_mounts() {
        let top = Place::mount_root(mount.clone());
        if top.is_below(&root) {
            seen.push((mount, top.path(&root)?));
        } else if Arc::ptr_eq(&mount, root.mount()) {
            seen.push((mount, alloc::vec![b'/']));
        }
    }
    Ok(seen)
}

pub(super) fn mounts(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    for (mount, point) in visible(subject)? {
        let name = mount.file_system().name();
        append_escaped(output, mount.source(), SPECIAL)?;
        output.write_char(' ')?;
        append_escaped(output, &point, SPECIAL)?;
        write!(output, " {name} {}", access(mount.is_read_only()))?;
        write_options(&mount, output)?;
        mount.file_system().show_options(output)?;
        writeln!(output, " 0 0")?;
    }
    Ok(())
}

pub(super) fn information(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    for (mount, point) in visible(subject)? {
        let name = mount.file_system().name();
        let id = mount.id();
        let above = mount.attached_at().map_or(id, |place| place.mount().id());
        let device = mount.device();
        write!(output, "{id} {above} {}:{} ", device.major(), device.minor())?;
        append_escaped(output, &mount.root_path()?, SPECIAL)?;
        output.write_char(' ')?;
        append_escaped(output, &point, SPECIAL)?;
        write!(output, " {}", access(mount.has(MountFlags::RDONLY)))?;
        write_options(&mount, output)?;
        write!(output, " - {name} ")?;
        append_escaped(output, mount.source(), SPECIAL)?;
        write!(output, " {}", access(mount.is_file_system_read_only()))?;
        mount.file_system().show_options(output)?;
        writeln!(output)?;
    }
    Ok(())
}
