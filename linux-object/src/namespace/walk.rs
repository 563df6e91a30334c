//! Walking a path, one component at a time.
//!
//! A walk is a plain function: what it needs is nearly always in the cache of names. If a directory has to be brought
//! from a disk the walk ends with that obstacle, and is attempted again from its beginning when the cache knows more.
//! It allocates nothing until it meets a symbolic link.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;

use linux_abi::Errno;
use linux_abi::file::ResolveFlags;
use linux_abi::limits::{NAME_MAX, PATH_MAX};
use linux_abi::stat::FileType;

use super::mount::{covering, may_be_covered};
use super::{Entry, MountFlags, PathContext, Place};
use crate::credentials::{Capabilities, Credentials, Permission};
use crate::obstacle::{Attempt, Obstacle, complete};

/// How many symbolic links one walk follows at most.
const MOST_LINKS: usize = 40;

/// Where the last component of a path is to be looked up or created.
pub struct LastComponent<'p> {
    /// The directory.
    pub directory: Place,
    /// The name in it; empty if the path ends in a directory itself (`/`, `.`, `..`).
    pub name: Cow<'p, [u8]>,
    /// Whether a slash follows: then it must be a directory.
    pub must_be_directory: bool,
}

/// Where a path begins, and who walks it.
#[derive(Clone, Copy)]
pub struct Route<'a> {
    /// Root and working directory.
    pub context: &'a PathContext,
    /// Who walks.
    pub credentials: &'a Credentials,
    /// Where a relative path begins, if that is not the working directory.
    pub start: Option<&'a Place>,
    /// The path.
    pub path: &'a [u8],
    /// What the walk must not do.
    pub resolve: ResolveFlags,
}

/// Walks that stay below where they begin.
const SCOPED: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::IN_ROOT);

/// What a walk leads to that may end before something that does not exist.
pub enum Destination<'p> {
    /// Something that exists.
    Place(Place),
    /// A name that is free.
    Free(LastComponent<'p>),
}

/// The last component of a path, where a walk stops before it.
struct LastName<'p> {
    name: Cow<'p, [u8]>,
    must_be_directory: bool,
}

impl<'p> LastName<'p> {
    fn within(self, directory: Place) -> LastComponent<'p> {
        LastComponent { directory, name: self.name, must_be_directory: self.must_be_directory }
    }
}

/// What a walk is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Something that exists.
    Existing { follow_last: bool },
    /// Something that exists, or a free name where something can be created.
    ExistingOrFree { follow_last: bool },
    /// The directory of the last component, which is not looked up.
    Parent,
}

impl Goal {
    fn follows_last(self) -> bool {
        match self {
            Self::Existing { follow_last } | Self::ExistingOrFree { follow_last } => follow_last,
            Self::Parent => false,
        }
    }
}

/// The place that a path names. `follow_last`: whether a symbolic link at its end is followed.
pub fn try_walk(route: Route<'_>, follow_last: bool) -> Attempt<Place> {
    let mut walker = Walker::begin(route)?;
    walker.run(route.path, Goal::Existing { follow_last })?;
    Ok(walker.at)
}

/// The place that a path names, or where it would be.
pub fn try_walk_to_free<'p>(route: Route<'p>, follow_last: bool) -> Attempt<Destination<'p>> {
    let mut walker = Walker::begin(route)?;
    let last = walker.run(route.path, Goal::ExistingOrFree { follow_last })?;
    Ok(match last {
        Some(last) => Destination::Free(last.within(walker.at)),
        None => Destination::Place(walker.at),
    })
}

/// The directory in which a path's last component is, or would be. The component itself is not looked up.
pub fn try_walk_to_parent<'p>(route: Route<'p>) -> Attempt<LastComponent<'p>> {
    let mut walker = Walker::begin(route)?;
    let last = walker.run(route.path, Goal::Parent)?;
    let nothing = LastName { name: Cow::Borrowed(&[]), must_be_directory: true };
    Ok(last.unwrap_or(nothing).within(walker.at))
}

/// As [`try_walk`], with all waiting that it takes.
pub async fn walk(
    context: &PathContext,
    credentials: &Credentials,
    start: Option<&Place>,
    path: &[u8],
    follow_last: bool,
) -> Result<Place, Errno> {
    let route = Route { context, credentials, start, path, resolve: ResolveFlags::empty() };
    complete(|| try_walk(route, follow_last)).await
}

/// As [`try_walk_to_parent`], with all waiting that it takes.
pub async fn walk_to_parent<'p>(route: Route<'p>) -> Result<LastComponent<'p>, Errno> {
    complete(|| try_walk_to_parent(route)).await
}

/// Where the next component begins, from `at` on: behind slashes and components `.`.
#[inline]
fn skip(text: &[u8], mut at: usize) -> usize {
    loop {
        match text.get(at) {
            Some(b'/') => at += 1,
            Some(b'.') if matches!(text.get(at + 1), None | Some(b'/')) => at += 1,
            _ => return at,
        }
    }
}

struct Walker<'a> {
    context: &'a PathContext,
    credentials: &'a Credentials,
    /// Looked at when it is needed.
    root: Option<Place>,
    at: Place,
    resolve: ResolveFlags,
    /// What a scoped walk must not leave.
    scope: Option<Place>,
    links_left: usize,
    /// A slash followed a link whose path is being walked: its end must be a directory.
    needs_directory: bool,
}

impl<'a> Walker<'a> {
    #[inline]
    fn begin(route: Route<'a>) -> Attempt<Self> {
        let Route { context, credentials, start, path, resolve } = route;
        let &first = path.first().ok_or(Errno::ENOENT)?;
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let at = match start {
            _ if first == b'/' && !resolve.intersects(SCOPED) => context.root(),
            Some(start) => start.clone(),
            None => context.working_directory(),
        };
        let mut walker = Self {
            context,
            credentials,
            root: None,
            at,
            resolve,
            scope: None,
            links_left: MOST_LINKS,
            needs_directory: false,
        };
        if resolve.intersects(SCOPED) {
            walker.set_scope(first == b'/')?;
        }
        walker.check_directory()?;
        Ok(walker)
    }

    /// The walk stays below where it is now.
    #[cold]
    fn set_scope(&mut self, is_absolute: bool) -> Result<(), Errno> {
        if self.resolve.contains(ResolveFlags::IN_ROOT) {
            self.root = Some(self.at.clone());
        } else if is_absolute {
            return Err(Errno::EXDEV);
        }
        self.scope = Some(self.at.clone());
        Ok(())
    }

    /// Walks until `at` is the end of the path; or the directory before its last component, which is returned then.
    fn run<'p>(&mut self, path: &'p [u8], goal: Goal) -> Attempt<Option<LastName<'p>>> {
        // What is left of the paths of links, the innermost last; only that one may be at its end.
        let mut links: Vec<Piece> = Vec::new();
        let mut base = skip(path, 0);
        if base > 0 && path[base - 1] == b'.' {
            self.check_search()?;
        }
        loop {
            let (text, at) = match links.last_mut() {
                Some(piece) => (&*piece.text, &mut piece.at),
                None => (path, &mut base),
            };
            let start = *at;
            if start == text.len() {
                if links.pop().is_none() {
                    return Ok(None);
                }
                continue;
            }
            let rest = &text[start..];
            let end = start + rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            *at = skip(text, end);
            let is_exhausted = *at == text.len();
            let is_last = is_exhausted && links.len() <= 1 && base == path.len();
            let text = links.last().map_or(path, |piece| &*piece.text);
            let (name, tail) = (&text[start..end], &text[end..]);

            self.check_search()?;
            if name == b".." {
                self.ascend()?;
            } else {
                if name.len() > NAME_MAX {
                    return Err(Errno::ENAMETOOLONG.into());
                }
                let must_be_directory = is_last && (self.needs_directory || !tail.is_empty());
                if must_be_directory && matches!(goal, Goal::ExistingOrFree { .. }) {
                    return Err(Errno::EISDIR.into());
                }
                let free = || {
                    let name = if links.is_empty() {
                        Cow::Borrowed(&path[start..end])
                    } else {
                        Cow::Owned(name.to_vec())
                    };
                    Ok(Some(LastName { name, must_be_directory }))
                };
                if is_last && goal == Goal::Parent {
                    return free();
                }
                let found = match self.at.try_find_entry(name) {
                    Err(Obstacle::Error(Errno::ENOENT))
                        if is_last && matches!(goal, Goal::ExistingOrFree { .. }) =>
                    {
                        return free();
                    }
                    outcome => outcome?,
                };
                match found.file_type() {
                    FileType::SymbolicLink if !is_last || must_be_directory || goal.follows_last() => {
                        self.needs_directory |= must_be_directory;
                        if let Some(piece) = self.follow(found)? {
                            if is_exhausted {
                                links.pop();
                            }
                            links.push(piece);
                        }
                        continue;
                    }
                    FileType::Directory => self.enter(found)?,
                    _ if !is_last || must_be_directory => return Err(Errno::ENOTDIR.into()),
                    // Even a file may be covered by another.
                    _ => self.enter(found)?,
                }
            }
            // Who names the directory once more (`a/.`) looks it up in itself.
            if is_exhausted && tail.ends_with(b".") {
                self.check_search()?;
            }
        }
    }

    /// Goes to what a symbolic link leads to by itself, or says with which path to go on.
    #[cold]
    fn follow(&mut self, link: Arc<Entry>) -> Attempt<Option<Piece>> {
        self.links_left = self.links_left.checked_sub(1).ok_or(Errno::ELOOP)?;
        let is_refused = self.resolve.contains(ResolveFlags::NO_SYMLINKS);
        if is_refused || self.at.mount().has(MountFlags::NOSYMFOLLOW) {
            return Err(Errno::ELOOP.into());
        }
        if let Some(object) = link.inode().jump() {
            if self.resolve.contains(ResolveFlags::NO_MAGICLINKS) {
                return Err(Errno::ELOOP.into());
            }
            let place = object?.downcast::<Place>().map_err(|_| Errno::EACCES)?;
            if self.scope.is_some() {
                return Err(Errno::EXDEV.into());
            }
            self.check_mount(&place)?;
            self.at = Place::clone(&place);
            // No component may be left that would meet the slash behind the link.
            if self.needs_directory {
                self.check_directory()?;
            }
            return Ok(None);
        }
        let text = link.try_read_link()?;
        match text.first() {
            None => return Err(Errno::ENOENT.into()),
            Some(b'/') if self.resolve.contains(ResolveFlags::BENEATH) => return Err(Errno::EXDEV.into()),
            Some(b'/') => {
                let root = self.root().clone();
                self.check_mount(&root)?;
                self.at = root;
            }
            Some(_) => {}
        }
        let at = skip(&text, 0);
        Ok(Some(Piece { text, at }))
    }

    fn root(&mut self) -> &Place {
        let context = self.context;
        self.root.get_or_insert_with(|| context.root())
    }

    /// Goes to the directory above, but not beyond the root.
    #[inline(never)]
    fn ascend(&mut self) -> Result<(), Errno> {
        let root = self.root().clone();
        let is_beneath = self.resolve.contains(ResolveFlags::BENEATH);
        if is_beneath && self.scope.as_ref().is_some_and(|scope| self.at.is_same(scope)) {
            return Err(Errno::EXDEV);
        }
        if !self.at.is_same(&root) {
            let parent = self.at.parent();
            self.check_mount(&parent)?;
            self.at = parent;
        }
        // What is renamed meanwhile must not lead out either.
        if let Some(scope) = &self.scope
            && !self.at.is_below(scope)
        {
            return Err(Errno::EAGAIN);
        }
        self.cross()
    }

    /// Whether the walk may go to a place in that mount.
    #[inline]
    fn check_mount(&self, place: &Place) -> Result<(), Errno> {
        let stays = self.resolve.contains(ResolveFlags::NO_XDEV);
        if stays && !Arc::ptr_eq(self.at.mount(), place.mount()) { Err(Errno::EXDEV) } else { Ok(()) }
    }

    /// Goes to what was found in the present directory.
    #[inline]
    fn enter(&mut self, found: Arc<Entry>) -> Result<(), Errno> {
        self.at.move_within(found);
        self.cross()
    }

    /// Goes to the root of what is mounted over the present directory, if anything is.
    #[inline(always)]
    fn cross(&mut self) -> Result<(), Errno> {
        if may_be_covered(&self.at) { self.cross_mounts() } else { Ok(()) }
    }

    #[cold]
    fn cross_mounts(&mut self) -> Result<(), Errno> {
        while let Some(mount) = covering(&self.at) {
            if self.resolve.contains(ResolveFlags::NO_XDEV) {
                return Err(Errno::EXDEV);
            }
            self.at = Place::mount_root(mount);
        }
        Ok(())
    }

    #[inline]
    fn check_directory(&self) -> Result<(), Errno> {
        if self.at.file_type() == FileType::Directory { Ok(()) } else { Err(Errno::ENOTDIR) }
    }

    /// Whether names may be looked up in the present directory.
    #[inline]
    fn check_search(&self) -> Attempt<()> {
        self.check_directory()?;
        if self.credentials.has(Capabilities::DAC_OVERRIDE) { Ok(()) } else { self.check_permission() }
    }

    #[inline(never)]
    fn check_permission(&self) -> Attempt<()> {
        let ownership = self.at.try_ownership()?;
        Ok(self.credentials.check_ownership(FileType::Directory, ownership, Permission::EXECUTE)?)
    }
}

/// What is left of a link's path.
struct Piece {
    text: Arc<[u8]>,
    /// Where the next component begins.
    at: usize,
}

#[cfg(test)]
mod tests;
