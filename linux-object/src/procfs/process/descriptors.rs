//! `/proc/PID/fd` and `/proc/PID/fdinfo`: what a process has open.

use alloc::string::String;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt::Write;

use linux_abi::Errno;
use linux_abi::file::{O_ACCMODE, O_RDONLY, O_WRONLY, OpenFlags};
use linux_abi::stat::FileType;
use rcore_fs::generated::{
    ContentBuffer, DirectoryNode, DynamicEntries, DynamicEntry, FileNode, LinkNode, dynamic_inode_number,
};
use rcore_fs::{Attempt, INode};

use super::Subject;
use crate::file::{AnonymousNode, OpenFile};
use crate::procfs::text::{Produced, Text, shown_path};
use crate::procfs::{numbered_entry, parse_number};

const LISTABLE: u32 = 0o500;
const INFORMATION_DIRECTORY: u32 = 0o555;
const INFORMATION: u32 = 0o444;

pub(super) fn directory(subject: &Subject, inode: u64) -> Arc<dyn INode> {
    let entries =
        Descriptors { subject: subject.clone(), inode, make: link, file_type: FileType::SymbolicLink };
    DirectoryNode::dynamic(subject.attributes(inode, LISTABLE), entries)
}

pub(super) fn info_directory(subject: &Subject, inode: u64) -> Arc<dyn INode> {
    let entries =
        Descriptors { subject: subject.clone(), inode, make: information, file_type: FileType::Regular };
    DirectoryNode::dynamic(subject.attributes(inode, INFORMATION_DIRECTORY), entries)
}

/// An inode for each descriptor.
struct Descriptors {
    subject: Subject,
    inode: u64,
    make: fn(&Subject, i32, &OpenFile, u64) -> Arc<dyn INode>,
    file_type: FileType,
}

fn opening(subject: &Subject, number: i32) -> Result<Arc<OpenFile>, Errno> {
    subject.check_inspection()?;
    subject.resources()?.files.get_place(number).map_err(|_| Errno::ENOENT)
}

impl DynamicEntries for Descriptors {
    fn next(&self, from: u64) -> Option<DynamicEntry> {
        self.subject.check_inspection().ok()?;
        let (number, _opening) = self.subject.resources().ok()?.files.next(usize::try_from(from).ok()?)?;
        Some(numbered_entry(self.inode, number, self.file_type))
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Attempt<'a, Arc<dyn INode>> {
        let Some(number) = parse_number(name) else { return Attempt::failed(Errno::ENOENT) };
        let found = opening(&self.subject, number).map_err(|errno| match errno {
            Errno::EACCES => Errno::EACCES,
            _ => Errno::ENOENT,
        });
        let inode = dynamic_inode_number(self.inode, number as u64);
        found.map(|opening| (self.make)(&self.subject, number, &opening, inode)).into()
    }
}

/// The permissions of the link tell how the file was opened.
fn link_permissions(opening: &OpenFile) -> u32 {
    match opening.flags() & O_ACCMODE {
        O_RDONLY => 0o500,
        O_WRONLY => 0o300,
        _ => 0o700,
    }
}

fn link(subject: &Subject, number: i32, opened: &OpenFile, inode: u64) -> Arc<dyn INode> {
    let (shown, jumping) = (subject.clone(), subject.clone());
    LinkNode::to_object(
        subject.attributes(inode, link_permissions(opened)),
        move || {
            let opening = opening(&shown, number)?;
            if let Some(place) = opening.place() {
                return Ok(shown_path(place)?.into());
            }
            let mut text = String::new();
            opening.file().describe(&mut text).map_err(|_| Errno::ENOMEM)?;
            Ok(text.into_bytes().into())
        },
        move || {
            let opening = opening(&jumping, number)?;
            let place = opening.place().cloned().unwrap_or_else(|| AnonymousNode::place(opening));
            Ok(Arc::new(place) as Arc<dyn Any + Send + Sync>)
        },
    )
}

fn information(subject: &Subject, number: i32, _opened: &OpenFile, inode: u64) -> Arc<dyn INode> {
    let owner = subject.clone();
    let text = Text(move |output: &mut ContentBuffer| write_information(&owner, number, output));
    FileNode::new(subject.attributes(inode, INFORMATION), text)
}

fn write_information(subject: &Subject, number: i32, output: &mut ContentBuffer) -> Produced {
    let files = subject.resources()?.files;
    let opening = opening(subject, number)?;
    let mut flags = opening.flags();
    if files.is_close_on_exec(number).unwrap_or(false) {
        flags |= OpenFlags::CLOEXEC.bits();
    }
    let mount = opening.place().map_or(0, |place| place.mount().id());
    let inode = opening.inode().map_or(1, |inode| inode.number());
    writeln!(
        output,
        "pos:\t{}\nflags:\t0{flags:o}\nmnt_id:\t{mount}\nino:\t{inode}",
        opening.list_position()
    )?;
    opening.file().describe_state(output)?;
    Ok(())
}
