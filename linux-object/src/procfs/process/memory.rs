//! What is in the memory of a process: its areas, and the strings that it was started with.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt::Write;
use core::ops::Range;

use kernel_hal::{PAGE_SIZE, USER_END, VirtAddr};
use kernel_object::address_space::{AddressSpace, AreaInfo, Backing, Protection};
use linux_abi::Errno;
use linux_abi::stat::DeviceNumber;
use rcore_fs::SlowPath;
use rcore_fs::generated::ContentBuffer;

use super::Subject;
use crate::ipc::shared_memory::Attachment;
use crate::namespace::Place;
use crate::obstacle::complete;
use crate::procfs::text::{Produced, append_escaped, shown_path};
use crate::program::SpecialArea;
use crate::user_buffer::UserMemory;

/// The areas of an address space, one at a time: whatever is mapped and unmapped meanwhile, none is seen twice.
pub(super) fn areas(space: &AddressSpace) -> impl Iterator<Item = AreaInfo> {
    let mut from = VirtAddr::new(0);
    core::iter::from_fn(move || {
        if from.as_usize() >= USER_END {
            return None;
        }
        let area = space.area_from(from)?;
        from = area.range.end;
        Some(area)
    })
}

/// Where segments of shared memory seem to be files.
const SEGMENTS_DEVICE: DeviceNumber = DeviceNumber::new(0, 1);
/// The column where names begin.
const NAME_COLUMN: usize = 73;

pub(super) fn maps(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let Ok(resources) = subject.resources() else { return Ok(()) };
    let stack = resources.image.stack_start;
    areas(&resources.address_space).try_for_each(|area| write_area(&area, stack, output))
}

fn write_area(area: &AreaInfo, stack_start: usize, output: &mut ContentBuffer) -> Produced {
    let line_start = output.len();
    let flag = |right, letter| if area.protection.contains(right) { letter } else { '-' };
    let place = area.origin.as_deref().and_then(|origin| origin.downcast_ref::<Place>());
    let attachment = area.origin.as_deref().and_then(|origin| origin.downcast_ref::<Attachment>());
    let offset = match &area.backing {
        Backing::Object { first_page, .. } if place.is_some() || attachment.is_some() => {
            first_page * PAGE_SIZE as u64
        }
        _ => 0,
    };
    let (device, inode) = match (place, attachment) {
        (Some(place), _) => (place.mount().device(), place.inode().number()),
        (None, Some(attachment)) => (SEGMENTS_DEVICE, attachment.segment().id() as u64),
        (None, None) => (DeviceNumber::default(), 0),
    };
    write!(
        output,
        "{:08x}-{:08x} {}{}{}{} {offset:08x} {:02x}:{:02x} {} ",
        area.range.start.as_usize(),
        area.range.end.as_usize(),
        flag(Protection::READ, 'r'),
        flag(Protection::WRITE, 'w'),
        flag(Protection::EXECUTE, 'x'),
        if area.shared { 's' } else { 'p' },
        device.major(),
        device.minor(),
        inode,
    )?;
    let special = area.origin.as_deref().and_then(|origin| origin.downcast_ref::<SpecialArea>());
    let name = match special {
        Some(SpecialArea(name)) => Some(*name),
        None if area.is_break => Some("[heap]"),
        None if area.range.contains(&VirtAddr::new(stack_start)) => Some("[stack]"),
        None => None,
    };
    if name.is_some() || place.is_some() || attachment.is_some() {
        while output.len() - line_start < NAME_COLUMN {
            output.append(b" ")?;
        }
    }
    if let Some(origin) = area.origin.clone()
        && let Ok(place) = origin.downcast::<Place>()
    {
        append_escaped(output, &shown_path(&place)?, b"\n")?;
    } else if let Some(attachment) = attachment {
        write!(output, "/SYSV{:08x} (deleted)", attachment.segment().key())?;
    } else if let Some(name) = name {
        output.append(name.as_bytes())?;
    }
    output.append(b"\n")?;
    Ok(())
}

/// `smaps_rollup`, as far as it is known: with whom pages are shared is not counted.
pub(super) fn rollup(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let space = subject.resources()?.address_space;
    let resident = space.usage().resident * PAGE_SIZE / 1024;
    let first = areas(&space).next().map_or(0, |area| area.range.start.as_usize());
    let end = areas(&space).last().map_or(0, |area| area.range.end.as_usize());
    writeln!(output, "{first:08x}-{end:08x} ---p 00000000 00:00 0                          [rollup]")?;
    for (name, kib) in [("Rss:", resident), ("Swap:", 0), ("SwapPss:", 0)] {
        writeln!(output, "{name:16}{kib:8} kB")?;
    }
    Ok(())
}

pub(super) fn auxiliary(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let resources = subject.resources()?;
    Ok(output.append(&resources.image.auxiliary)?)
}

/// Bytes that are read from a program at once.
const PIECE: usize = 512;

async fn read_range(
    space: Arc<AddressSpace>,
    range: Range<usize>,
    mut output: ContentBuffer,
) -> Result<ContentBuffer, Errno> {
    let memory = UserMemory::new(space);
    let mut at = range.start;
    while at < range.end {
        let mut piece = [0; PIECE];
        let count = PIECE.min(range.end - at);
        if complete(|| memory.read_bytes(VirtAddr::new(at), &mut piece[..count])).await.is_err() {
            // The program has unmapped its own arguments.
            break;
        }
        output.append(&piece[..count])?;
        at += count;
    }
    Ok(output)
}

pub(super) fn command_line(subject: Subject, output: ContentBuffer) -> SlowPath<'static, ContentBuffer> {
    Box::pin(async move {
        // A zombie has none.
        let Ok(resources) = subject.resources() else { return Ok(output) };
        read_range(resources.address_space, resources.image.arguments.clone(), output).await
    })
}

pub(super) fn environment(subject: Subject, output: ContentBuffer) -> SlowPath<'static, ContentBuffer> {
    Box::pin(async move {
        subject.check_inspection()?;
        let Ok(resources) = subject.resources() else { return Ok(output) };
        read_range(resources.address_space, resources.image.environment.clone(), output).await
    })
}
