//! Puts the entries of an image into a filesystem.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::pin::Pin;
use core::task::{Context, Poll};

use linux_abi::Errno;
use linux_abi::limits::{PATH_MAX, SYMLINKS_MAX};
use linux_abi::stat::{FileType, PERMISSION_BITS};
use linux_abi::time::Timespec;

use super::error::{ArchiveError, Problem};
use super::header::Entry;
use super::reader::Reader;
use crate::file_data;
use crate::inode::{Creation, INode, NewNode};
use crate::metadata::{AttributeChanges, TimeChange};

/// What was unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Archives in the image.
    pub archives: usize,
    /// Entries in them.
    pub entries: usize,
    /// Bytes of data in regular files.
    pub data_bytes: u64,
    /// Bytes behind the last archive that are none.
    pub trailing_bytes: usize,
}

/// Unpacks an image below `root`. The entries' directories must exist or come before them.
pub async fn unpack(image: &[u8], root: &Arc<dyn INode>) -> Result<Summary, ArchiveError> {
    let mut unpacker = Unpacker {
        reader: Reader::new(image),
        root,
        linked: BTreeMap::new(),
        linked_in_archive: 0,
        directories: Vec::new(),
        summary: Summary::default(),
        since_pause: 0,
    };
    while let Some(entry) = unpacker.reader.next_entry()? {
        unpacker.unpack_entry(&entry).await.map_err(|failure| match failure {
            Failure::Located(error) => error,
            Failure::Here(problem) => unpacker.reader.error(problem),
        })?;
        unpacker.summary.entries += 1;
        unpacker.pause_after(ENTRY_COST).await;
    }
    // Last of all, because every file that was put into a directory changed its time; and the innermost first.
    while let Some((directory, time)) = unpacker.directories.pop() {
        let refused = |error| unpacker.reader.error(Problem::Refused(error));
        directory.set_attributes(&content_time(time)).await.map_err(refused)?;
    }
    unpacker.summary.archives = unpacker.reader.archive();
    unpacker.summary.trailing_bytes = unpacker.reader.trailing_bytes();
    Ok(unpacker.summary)
}

/// A problem, with its place already or at the present entry.
enum Failure {
    Located(ArchiveError),
    Here(Problem),
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        Self::Located(error)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Here(problem)
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::Here(Problem::Refused(error))
    }
}

struct Unpacker<'a> {
    reader: Reader<'a>,
    root: &'a Arc<dyn INode>,
    /// Files with several names, of the present archive.
    linked: BTreeMap<(u32, u32, u32), Arc<dyn INode>>,
    linked_in_archive: usize,
    /// Directories whose times are yet to be set.
    directories: Vec<(Arc<dyn INode>, Timespec)>,
    summary: Summary,
    /// Bytes of work since others last ran.
    since_pause: usize,
}

fn content_time(time: Timespec) -> AttributeChanges {
    let time = Some(TimeChange::To(time));
    AttributeChanges { accessed: time, modified: time, ..AttributeChanges::default() }
}

/// A large image takes seconds: after so many bytes others get the hart.
const BYTES_AT_ONCE: usize = 1 << 20;
/// An entry without data counts as so many bytes.
const ENTRY_COST: usize = 4096;

/// Lets others run once.
#[derive(Default)]
struct Pause {
    is_over: bool,
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if core::mem::replace(&mut self.is_over, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Unpacker<'_> {
    /// Notes work that was done, and lets others run if it is enough.
    async fn pause_after(&mut self, bytes: usize) {
        self.since_pause += bytes;
        if self.since_pause >= BYTES_AT_ONCE {
            self.since_pause = 0;
            Pause::default().await;
        }
    }

    async fn unpack_entry(&mut self, entry: &Entry) -> Result<(), Failure> {
        let file_type = FileType::from_mode(entry.mode).ok_or(Problem::BadMode(entry.mode))?;
        let (parent_path, name) = split(self.reader.name())?;
        let (parent_path, name) = (copy(parent_path)?, copy(name)?);
        if name.is_empty() {
            let root = Arc::clone(self.root);
            return self.adjust_directory(root, entry).await;
        }
        let parent = self.find_directory(parent_path).await?;
        let existing = match parent.lookup(&name).await {
            Ok(node) => Some(node),
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(error.into()),
        };
        match file_type {
            FileType::Directory => match existing {
                Some(directory) if directory.file_type() == FileType::Directory => {
                    self.adjust_directory(directory, entry).await
                }
                existing => {
                    clear_the_way(&parent, &name, existing).await?;
                    let directory = parent.create(&name, &creation(entry, NewNode::Directory)).await?;
                    self.note_directory(directory, entry)
                }
            },
            FileType::SymbolicLink => {
                let target = self.read_target(entry).await?;
                clear_the_way(&parent, &name, existing).await?;
                let link = parent.create(&name, &creation(entry, NewNode::SymbolicLink(&target))).await?;
                self.set_time(&link, entry).await
            }
            FileType::Regular => self.unpack_file(&parent, &name, existing, entry).await,
            FileType::CharacterDevice => {
                self.make_special(&parent, &name, existing, entry, NewNode::CharacterDevice(entry.device))
                    .await
            }
            FileType::BlockDevice => {
                self.make_special(&parent, &name, existing, entry, NewNode::BlockDevice(entry.device)).await
            }
            FileType::Fifo => self.make_special(&parent, &name, existing, entry, NewNode::Fifo).await,
            FileType::Socket => self.make_special(&parent, &name, existing, entry, NewNode::Socket).await,
        }
    }

    async fn unpack_file(
        &mut self,
        parent: &Arc<dyn INode>,
        name: &[u8],
        existing: Option<Arc<dyn INode>>,
        entry: &Entry,
    ) -> Result<(), Failure> {
        if self.linked_in_archive != self.reader.archive() {
            self.linked.clear();
            self.linked_in_archive = self.reader.archive();
        }
        let known = if entry.links > 1 { self.linked.get(&entry.identity).cloned() } else { None };
        let file = match known {
            Some(file) => {
                let has_name = existing.as_ref().is_some_and(|existing| Arc::ptr_eq(existing, &file));
                if !has_name {
                    clear_the_way(parent, name, existing).await?;
                    parent.link(name, &file).await?;
                }
                file
            }
            None => {
                clear_the_way(parent, name, existing).await?;
                let file = parent.create(name, &creation(entry, NewNode::Regular)).await?;
                if entry.links > 1 {
                    self.linked.insert(entry.identity, Arc::clone(&file));
                }
                file
            }
        };
        // Of a file with several names only one entry has the data, and it need not be the first.
        let mut offset = 0;
        loop {
            let chunk = self.reader.data()?;
            let count = chunk.len().min(BYTES_AT_ONCE);
            if count == 0 {
                break;
            }
            file_data::write_all(&*file, offset, &chunk[..count]).await?;
            self.reader.consume(count);
            offset += count as u64;
            self.pause_after(count).await;
        }
        self.summary.data_bytes += offset;
        self.set_time(&file, entry).await
    }

    async fn make_special(
        &mut self,
        parent: &Arc<dyn INode>,
        name: &[u8],
        existing: Option<Arc<dyn INode>>,
        entry: &Entry,
        node: NewNode<'_>,
    ) -> Result<(), Failure> {
        clear_the_way(parent, name, existing).await?;
        let node = parent.create(name, &creation(entry, node)).await?;
        self.set_time(&node, entry).await
    }

    async fn set_time(&self, node: &Arc<dyn INode>, entry: &Entry) -> Result<(), Failure> {
        Ok(node.set_attributes(&content_time(time_of(entry))).await?)
    }

    /// Gives a directory that exists the attributes of the entry.
    async fn adjust_directory(&mut self, directory: Arc<dyn INode>, entry: &Entry) -> Result<(), Failure> {
        let changes = AttributeChanges {
            permissions: Some(entry.mode & PERMISSION_BITS),
            user: Some(entry.user),
            group: Some(entry.group),
            ..AttributeChanges::default()
        };
        directory.set_attributes(&changes).await?;
        self.note_directory(directory, entry)
    }

    fn note_directory(&mut self, directory: Arc<dyn INode>, entry: &Entry) -> Result<(), Failure> {
        self.directories.try_reserve(1).map_err(|_| Problem::OutOfMemory)?;
        self.directories.push((directory, time_of(entry)));
        Ok(())
    }

    async fn read_target(&mut self, entry: &Entry) -> Result<Vec<u8>, Failure> {
        let length = entry.size as usize;
        if length == 0 || length >= PATH_MAX {
            return Err(Problem::BadLink(entry.size).into());
        }
        let mut target = Vec::new();
        target.try_reserve_exact(length).map_err(|_| Problem::OutOfMemory)?;
        loop {
            let chunk = self.reader.data()?;
            let count = chunk.len();
            if count == 0 {
                break;
            }
            target.extend_from_slice(chunk);
            self.reader.consume(count);
        }
        if target.contains(&0) {
            return Err(Problem::BadLink(entry.size).into());
        }
        Ok(target)
    }

    /// Walks to a directory inside the image; links on the way are followed as if the image's root were the root.
    async fn find_directory(&self, path: Vec<u8>) -> Result<Arc<dyn INode>, Failure> {
        let mut above: Vec<Arc<dyn INode>> = Vec::new();
        let mut here = Arc::clone(self.root);
        let mut rest = path;
        let mut links_followed = 0;
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            let component: Vec<u8> = rest.drain(..end).collect();
            if !rest.is_empty() {
                rest.remove(0);
            }
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    if let Some(parent) = above.pop() {
                        here = parent;
                    }
                    continue;
                }
                _ => {}
            }
            let next = here.lookup(&component).await?;
            if next.file_type() != FileType::SymbolicLink {
                above.push(std::mem::replace(&mut here, next));
                continue;
            }
            links_followed += 1;
            if links_followed > SYMLINKS_MAX {
                return Err(Errno::ELOOP.into());
            }
            let target = next.read_link().await?;
            if target.len() + rest.len() >= 2 * PATH_MAX {
                return Err(Errno::ENAMETOOLONG.into());
            }
            if target.starts_with(b"/") {
                here = Arc::clone(self.root);
                above.clear();
            }
            let behind = std::mem::replace(&mut rest, copy(&target)?);
            rest.push(b'/');
            rest.extend_from_slice(&behind);
        }
        if here.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        Ok(here)
    }
}

fn time_of(entry: &Entry) -> Timespec {
    Timespec { tv_sec: i64::from(entry.modified), tv_nsec: 0 }
}

fn creation<'a>(entry: &Entry, node: NewNode<'a>) -> Creation<'a> {
    Creation { node, permissions: entry.mode & PERMISSION_BITS, user: entry.user, group: entry.group }
}

fn copy(bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut copy = Vec::new();
    copy.try_reserve(bytes.len()).map_err(|_| Problem::OutOfMemory)?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// The path to the directory, and the name in it; an empty name is the root itself.
fn split(path: &[u8]) -> Result<(&[u8], &[u8]), Problem> {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let path = &path[..end];
    if path.split(|&byte| byte == b'/').any(|component| component == b"..") {
        return Err(Problem::UnsafeName);
    }
    let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[][..], path),
    };
    // "a/b/." is "a/b", and "." is the root.
    if name == b"." { split(parent) } else { Ok((parent, name)) }
}

/// Removes what has a name that is needed.
async fn clear_the_way(
    parent: &Arc<dyn INode>,
    name: &[u8],
    existing: Option<Arc<dyn INode>>,
) -> Result<(), Failure> {
    let Some(existing) = existing else { return Ok(()) };
    match existing.file_type() {
        FileType::Directory => parent.remove_directory(name).await?,
        _ => parent.unlink(name).await?,
    }
    Ok(())
}
