//! Walking a path, one component at a time.

use alloc::sync::Arc;
use alloc::vec::Vec;

use linux_abi::Errno;
use linux_abi::limits::{NAME_MAX, PATH_MAX};
use linux_abi::stat::FileType;

use super::mount::covering;
use super::{PathContext, Place};
use crate::credentials::{Credentials, Permission};

/// How many symbolic links one walk follows at most.
const MOST_LINKS: usize = 40;

/// Where the last component of a path is to be looked up or created.
pub struct LastComponent {
    /// The directory.
    pub directory: Arc<Place>,
    /// The name in it; empty if the path ends in a directory itself (`/`, `.`, `..`).
    pub name: Vec<u8>,
    /// Whether a slash follows: then it must be a directory.
    pub must_be_directory: bool,
}

/// What is left of a path: a stack of pieces, the innermost link's last.
struct Remaining {
    pieces: Vec<(Vec<u8>, usize)>,
}

impl Remaining {
    /// The next component. Empty components and `.` are skipped.
    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let (bytes, at) = self.pieces.last_mut()?;
            let rest = &bytes[*at..];
            let start = rest.iter().position(|&byte| byte != b'/');
            let Some(start) = start else {
                self.pieces.pop();
                continue;
            };
            let len = rest[start..].iter().position(|&byte| byte == b'/').unwrap_or(rest.len() - start);
            let component = rest[start..start + len].to_vec();
            *at += start + len;
            if component != b"." {
                return Some(component);
            }
        }
    }

    /// Whether anything but slashes and dots is left.
    fn is_last(&self) -> bool {
        let is_nothing = |component: &[u8]| component.is_empty() || component == b".";
        self.pieces.iter().all(|(bytes, at)| bytes[*at..].split(|&byte| byte == b'/').all(is_nothing))
    }

    /// Whether a slash follows the component that was just taken.
    fn has_trailing_slash(&self) -> bool {
        self.pieces.iter().any(|(bytes, at)| bytes[*at..].contains(&b'/'))
    }
}

/// The place that a path names. `follow_last`: whether a symbolic link at its end is followed.
pub async fn walk(
    context: &PathContext,
    credentials: &Credentials,
    start: Option<Arc<Place>>,
    path: &[u8],
    follow_last: bool,
) -> Result<Arc<Place>, Errno> {
    let walker = Walker::new(context, credentials, start, path)?;
    match walker.run(follow_last, false).await? {
        Arrival::Place(place) => Ok(place),
        Arrival::Parent(_) => Err(Errno::ENOENT),
    }
}

/// The directory in which a path's last component is, or would be. The component itself is not looked up.
pub async fn walk_to_parent(
    context: &PathContext,
    credentials: &Credentials,
    start: Option<Arc<Place>>,
    path: &[u8],
) -> Result<LastComponent, Errno> {
    let walker = Walker::new(context, credentials, start, path)?;
    match walker.run(false, true).await? {
        Arrival::Parent(last) => Ok(last),
        Arrival::Place(directory) => {
            Ok(LastComponent { directory, name: Vec::new(), must_be_directory: true })
        }
    }
}

enum Arrival {
    Place(Arc<Place>),
    Parent(LastComponent),
}

struct Walker<'a> {
    credentials: &'a Credentials,
    root: Arc<Place>,
    at: Arc<Place>,
    remaining: Remaining,
    links_left: usize,
}

impl<'a> Walker<'a> {
    fn new(
        context: &PathContext,
        credentials: &'a Credentials,
        start: Option<Arc<Place>>,
        path: &[u8],
    ) -> Result<Self, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let root = context.root();
        let at = match start {
            _ if path[0] == b'/' => root.clone(),
            Some(start) => start,
            None => context.working_directory(),
        };
        let remaining = Remaining { pieces: alloc::vec![(path.to_vec(), 0)] };
        Ok(Self { credentials, root, at, remaining, links_left: MOST_LINKS })
    }

    async fn run(mut self, follow_last: bool, stop_at_parent: bool) -> Result<Arrival, Errno> {
        while let Some(name) = self.remaining.next() {
            self.check_search().await?;
            if name == b".." {
                if !self.at.is_same(&self.root) {
                    self.at = self.at.parent();
                }
                continue;
            }
            if name.len() > NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            let is_last = self.remaining.is_last();
            let must_be_directory = self.remaining.has_trailing_slash();
            if is_last && stop_at_parent {
                let last = LastComponent { directory: self.at, name, must_be_directory };
                return Ok(Arrival::Parent(last));
            }
            let found = self.at.find(&name).await?;
            match found.inode().file_type() {
                FileType::SymbolicLink if !is_last || follow_last || must_be_directory => {
                    let jumped = self.follow(found.inode()).await?;
                    // Behind a jump no component is left that would meet the trailing slash.
                    if jumped && must_be_directory {
                        self.check_directory()?;
                    }
                }
                FileType::Directory => self.at = enter(found),
                _ if !is_last || must_be_directory => return Err(Errno::ENOTDIR),
                _ => self.at = found,
            }
        }
        Ok(Arrival::Place(self.at))
    }

    /// Goes on with what a symbolic link says, or at the object that it leads to: then `true`.
    async fn follow(&mut self, link: &Arc<dyn rcore_fs::INode>) -> Result<bool, Errno> {
        self.links_left = self.links_left.checked_sub(1).ok_or(Errno::ELOOP)?;
        if let Some(object) = link.jump() {
            self.at = object?.downcast::<Place>().map_err(|_| Errno::EACCES)?;
            return Ok(true);
        }
        let target = link.read_link().await?;
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target[0] == b'/' {
            self.at = self.root.clone();
        }
        self.remaining.pieces.push((target.to_vec(), 0));
        Ok(false)
    }

    fn check_directory(&self) -> Result<(), Errno> {
        if self.at.inode().file_type() == FileType::Directory { Ok(()) } else { Err(Errno::ENOTDIR) }
    }

    async fn check_search(&self) -> Result<(), Errno> {
        self.check_directory()?;
        if self.credentials.is_privileged() {
            return Ok(());
        }
        let metadata = self.at.inode().metadata().await?;
        self.credentials.check(&metadata, Permission::EXECUTE)
    }
}

/// The root of what is mounted over a directory, if anything is.
fn enter(mut place: Arc<Place>) -> Arc<Place> {
    while let Some(mount) = covering(&place) {
        place = Place::mount_root(mount);
    }
    place
}
