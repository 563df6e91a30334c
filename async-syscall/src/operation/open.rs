//! Opening files, making sockets, and asking about what a path leads to.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};

use linux_abi::Errno;
use linux_abi::file::{AtFlags, OpenFlags, OpenHow, ResolveFlags};
use linux_abi::io_uring::RequestFlags;
use linux_object::file::open::{check_flags, open, other_side, try_open};
use linux_object::file::status::{statx_flags, try_statx};
use linux_object::file::{FileTable, OpenFile};
use linux_object::namespace::{Route, start_of, try_place_at};
use linux_object::obstacle::{Attempt, Obstacle};
use linux_object::socket::make::{create, creation_flags};

use super::names::Path;
use super::{Begun, Issue, Prepared, address, attempt, finish};
use crate::request::Outcome;
use crate::ring::Ring;

/// Where a new file is put.
#[derive(Clone)]
pub(crate) struct Place {
    ring: Weak<Ring>,
    files: Arc<FileTable>,
    /// 0: an ordinary descriptor; otherwise a place in the table of registered files.
    index: u32,
    close_on_exec: bool,
}

impl Place {
    /// `EINVAL`: a registered file has no flag that closes it.
    pub fn of(issue: &Issue<'_>, close_on_exec: bool) -> Result<Self, Errno> {
        let index = issue.entry.file_index;
        if index != 0 && close_on_exec {
            return Err(Errno::EINVAL);
        }
        let (ring, files) = (Arc::downgrade(issue.ring), issue.resources.files.clone());
        Ok(Self { ring, files, index, close_on_exec })
    }

    /// Puts it there; the result of the request that made it.
    pub fn put(&self, file: Arc<OpenFile>) -> Result<usize, Errno> {
        match self.index {
            0 => self.files.insert(file, 0, self.close_on_exec).map(|number| number as usize),
            index => self.ring.upgrade().ok_or(Errno::ECANCELED)?.install_file(file, index),
        }
    }
}

/// Opens a file.
pub(crate) struct Open {
    path: Path,
    flags: OpenFlags,
    permissions: u32,
    place: Place,
}

fn check_fields(issue: &Issue<'_>) -> Result<(), Errno> {
    if issue.entry.buf_index != 0 {
        return Err(Errno::EINVAL);
    }
    if issue.flags().contains(RequestFlags::FIXED_FILE) { Err(Errno::EBADF) } else { Ok(()) }
}

fn prepare(issue: &Issue<'_>, flags: OpenFlags, permissions: u32) -> Attempt<Prepared> {
    check_flags(flags)?;
    let place = Place::of(issue, flags.contains(OpenFlags::CLOEXEC))?;
    let path = Path::read(issue, issue.entry.fd, issue.entry.addr)?;
    Ok(Prepared::Open(Box::new(Open { path, flags, permissions, place })))
}

pub(super) fn prepare_open(issue: &Issue<'_>) -> Attempt<Prepared> {
    check_fields(issue)?;
    prepare(issue, OpenFlags::from_bits_retain(issue.entry.rw_flags), issue.entry.len)
}

pub(super) fn prepare_open_how(issue: &Issue<'_>) -> Attempt<Prepared> {
    check_fields(issue)?;
    if (issue.entry.len as usize) < size_of::<OpenHow>() {
        return Err(Errno::EINVAL.into());
    }
    let how: OpenHow = issue.memory().read(address(issue.entry.off))?;
    // What stands behind must be zero: it may mean something that is not known here.
    let extra = issue.entry.len as usize - size_of::<OpenHow>();
    if extra > 0 {
        let rest = issue
            .memory()
            .read_array::<u8>(address(issue.entry.off) + size_of::<OpenHow>(), extra.min(4096))?;
        if extra > 4096 || rest.iter().any(|&byte| byte != 0) {
            return Err(Errno::E2BIG.into());
        }
    }
    let flags = u32::try_from(how.flags).ok().and_then(OpenFlags::from_bits).ok_or(Errno::EINVAL)?;
    let creates = flags.contains(OpenFlags::CREAT) || flags.contains(OpenFlags::TMPFILE);
    if how.resolve != 0 || how.mode & !0o7777 != 0 || (how.mode != 0 && !creates) {
        return Err(Errno::EINVAL.into());
    }
    prepare(issue, flags, how.mode as u32)
}

impl Open {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let (resources, credentials) = (issue.resources.clone(), issue.credentials());
        let Self { path, flags, permissions, place } = self;
        if flags.intersects(OpenFlags::CREAT | OpenFlags::TRUNC) {
            // It is done once.
            return Ok(finish(None, async move {
                let text = path.text.bytes();
                let start = start_of(&resources.files, path.directory, text)?;
                let context = &resources.paths;
                let route = Route {
                    context,
                    credentials: &credentials,
                    start: start.as_ref(),
                    path: text,
                    resolve: ResolveFlags::empty(),
                };
                let file = open(route, flags, permissions).await?;
                if let Some(Obstacle::Event(other_side)) = other_side(&file) {
                    other_side.await?;
                }
                place.put(file)
            }));
        }
        let mut opened = None;
        Ok(attempt(None, move || {
            let file = match opened.take() {
                Some(file) => file,
                None => {
                    let text = path.text.bytes();
                    let start = start_of(&resources.files, path.directory, text)?;
                    let context = &resources.paths;
                    let route = Route {
                        context,
                        credentials: &credentials,
                        start: start.as_ref(),
                        path: text,
                        resolve: ResolveFlags::empty(),
                    };
                    try_open(route, flags)?
                }
            };
            if let Some(obstacle) = other_side(&file) {
                opened = Some(file);
                return Err(obstacle);
            }
            Ok(Outcome::value(place.put(file)?))
        }))
    }
}

/// Tells about a file.
pub(crate) struct Status {
    path: Path,
    flags: AtFlags,
    buffer: u64,
}

pub(super) fn prepare_status(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if entry.file_index != 0 {
        return Err(Errno::EINVAL.into());
    }
    check_fields(issue)?;
    let flags = statx_flags(entry.rw_flags, entry.len)?;
    let path = Path::read(issue, entry.fd, entry.addr)?;
    Ok(Prepared::Status(Box::new(Status { path, flags, buffer: entry.off })))
}

impl Status {
    pub(super) fn begin(self: Box<Self>, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let (resources, credentials, memory) = (issue.resources.clone(), issue.credentials(), issue.memory());
        Ok(attempt(None, move || {
            let Path { directory, text } = &self.path;
            let place = try_place_at(&resources, &credentials, *directory, text.bytes(), self.flags)?;
            memory.write(address(self.buffer), &try_statx(&place)?)?;
            Ok(Outcome::value(0))
        }))
    }
}

/// Makes a socket.
pub(crate) struct MakeSocket {
    family: i32,
    kind: i32,
    protocol: i32,
    status: OpenFlags,
    place: Place,
}

pub(super) fn prepare_socket(issue: &Issue<'_>) -> Attempt<Prepared> {
    const KIND: i32 = 0xf;
    let entry = issue.entry;
    if entry.addr != 0 || entry.rw_flags != 0 || entry.buf_index != 0 {
        return Err(Errno::EINVAL.into());
    }
    let kind = entry.off as i32;
    let (status, close_on_exec) = creation_flags(kind & !KIND)?;
    let place = Place::of(issue, close_on_exec)?;
    let (family, protocol) = (entry.fd, entry.len as i32);
    Ok(Prepared::MakeSocket(MakeSocket { family, kind: kind & KIND, protocol, status, place }))
}

impl MakeSocket {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file = create(self.family, self.kind, self.protocol, issue.thread)?;
        let number = self.place.put(OpenFile::new(file, None, self.status))?;
        Ok(Begun::Ended(Outcome::value(number)))
    }
}
