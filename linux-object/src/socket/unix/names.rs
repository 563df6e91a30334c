//! Names of local sockets: nodes in a file system, and abstract ones, which only sockets know.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll, Waker};

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::stat::FileType;
use rcore_fs::{INode, NewNode};

use super::super::{AF_UNIX, SocketName};
use super::Endpoint;
use crate::credentials::Permission;
use crate::namespace::{Actor, Named, Place, walk};
use crate::obstacle::{Attempt, Obstacle};
use crate::thread::Thread;

const FAMILY_BYTES: usize = 2;
/// Bytes of a name behind the family, at most.
const MOST_PATH_BYTES: usize = 108;
/// Bytes of an abstract name that the kernel chooses.
const CHOSEN_DIGITS: usize = 5;
const MOST_CHOSEN: u32 = 1 << 20;
const SOCKET_PERMISSIONS: u32 = 0o777;

/// A name as a program gives it.
pub(super) enum LocalName<'a> {
    /// Only the family.
    None,
    /// Known to sockets only: the bytes behind the family, zero first.
    Abstract(&'a [u8]),
    /// A node in a file system.
    Path(&'a [u8]),
}

impl<'a> LocalName<'a> {
    pub fn parse(name: &'a [u8]) -> Result<Self, Errno> {
        let (family, rest) = name.split_first_chunk::<FAMILY_BYTES>().ok_or(Errno::EINVAL)?;
        if i32::from(u16::from_le_bytes(*family)) != AF_UNIX || rest.len() > MOST_PATH_BYTES {
            return Err(Errno::EINVAL);
        }
        Ok(match rest {
            [] => Self::None,
            [0, ..] => Self::Abstract(rest),
            path => Self::Path(path.split(|&byte| byte == 0).next().unwrap_or(path)),
        })
    }
}

fn with_family(rest: &[u8]) -> SocketName {
    (AF_UNIX as u16).to_le_bytes().iter().chain(rest).copied().collect()
}

/// The name of a socket that has none.
pub(super) fn no_name() -> SocketName {
    with_family(&[])
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Abstract(Vec<u8>),
    /// The address of the inode, which the socket that is bound to it keeps.
    Node(usize),
}

static NAMES: SpinLock<BTreeMap<Key, Weak<Endpoint>>> = SpinLock::new(Rank::FILE, BTreeMap::new());
static NEXT_CHOSEN: AtomicU32 = AtomicU32::new(0);

/// A socket's name, for as long as the socket is there.
pub(super) struct Binding {
    pub name: SocketName,
    key: Key,
    _inode: Option<Arc<dyn INode>>,
}

impl Drop for Binding {
    fn drop(&mut self) {
        let mut names = NAMES.lock();
        // The name may belong to another by now, if this one never got it.
        if names.get(&self.key).is_some_and(|owner| owner.strong_count() == 0) {
            names.remove(&self.key);
        }
    }
}

fn key_of_inode(inode: &Arc<dyn INode>) -> Key {
    Key::Node(Arc::as_ptr(inode).cast::<()>().addr())
}

/// Takes an abstract name for a socket: `EADDRINUSE` if it is taken.
fn take(endpoint: &Arc<Endpoint>, rest: &[u8]) -> Result<Binding, Errno> {
    let mut names = NAMES.lock();
    if names.get(&Key::Abstract(rest.to_vec())).is_some_and(|owner| owner.strong_count() > 0) {
        return Err(Errno::EADDRINUSE);
    }
    names.insert(Key::Abstract(rest.to_vec()), Arc::downgrade(endpoint));
    Ok(Binding { name: with_family(rest), key: Key::Abstract(rest.to_vec()), _inode: None })
}

/// Takes an abstract name that nobody has.
fn choose(endpoint: &Arc<Endpoint>) -> Result<Binding, Errno> {
    for _ in 0..MOST_CHOSEN {
        let number = NEXT_CHOSEN.fetch_add(1, Ordering::Relaxed) % MOST_CHOSEN;
        let text = alloc::format!("\0{number:0CHOSEN_DIGITS$x}");
        match take(endpoint, text.as_bytes()) {
            Err(Errno::EADDRINUSE) => {}
            other => return other,
        }
    }
    Err(Errno::ENOSPC)
}

async fn make_node(thread: Arc<Thread>, path: Vec<u8>) -> Result<Place, Errno> {
    let paths = thread.resources().paths;
    let credentials = thread.credentials();
    let actor = Actor { paths: &paths, credentials: &credentials };
    let named = Named { start: None, path: &path };
    actor.create(&named, NewNode::Socket, SOCKET_PERMISSIONS & !paths.creation_mask()).await.map_err(
        |errno| match errno {
            Errno::EEXIST => Errno::EADDRINUSE,
            other => other,
        },
    )?;
    walk(&paths, &credentials, None, &path, false).await
}

async fn find_node(thread: Arc<Thread>, path: Vec<u8>) -> Result<Arc<Endpoint>, Errno> {
    let paths = thread.resources().paths;
    let credentials = thread.credentials();
    let place = walk(&paths, &credentials, None, &path, true).await?;
    let inode = place.inode();
    credentials.check(&inode.metadata().await?, Permission::WRITE)?;
    if inode.file_type() != FileType::Socket {
        return Err(Errno::ECONNREFUSED);
    }
    owner_of(&key_of_inode(inode))
}

fn owner_of(key: &Key) -> Result<Arc<Endpoint>, Errno> {
    NAMES.lock().get(key).and_then(Weak::upgrade).ok_or(Errno::ECONNREFUSED)
}

/// What came of looking a path up, until the attempt is made again that asked for it.
#[derive(Default)]
pub(super) struct LookedUp(Option<Result<Found, Errno>>);

enum Found {
    Made(Place),
    Owner(Arc<Endpoint>),
}

/// Looks a path up at once if no device is needed, else as what has to be waited for.
fn look_up(
    endpoint: &Arc<Endpoint>,
    look: impl Future<Output = Result<Found, Errno>> + Send + 'static,
) -> Attempt<Found> {
    if let Some(result) = endpoint.looked_up.lock().0.take() {
        return result.map_err(Obstacle::Error);
    }
    let mut look = Box::pin(look);
    if let Poll::Ready(result) = look.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return result.map_err(Obstacle::Error);
    }
    let endpoint = endpoint.clone();
    Err(Obstacle::Wait(Box::pin(async move {
        let result = look.await;
        endpoint.looked_up.lock().0 = Some(result);
        Ok(())
    })))
}

/// Gives a socket a name.
pub(super) fn try_bind(endpoint: &Arc<Endpoint>, name: &[u8], caller: &Arc<Thread>) -> Attempt<()> {
    let parsed = LocalName::parse(name)?;
    if endpoint.binding.get().is_some() {
        return match parsed {
            // To ask for any name is answered even by who has one.
            LocalName::None => Ok(()),
            _ => Err(Errno::EINVAL.into()),
        };
    }
    let binding = match parsed {
        LocalName::None => choose(endpoint)?,
        LocalName::Abstract(rest) => take(endpoint, rest)?,
        LocalName::Path(path) => {
            let (thread, owned) = (caller.clone(), path.to_vec());
            let found = look_up(endpoint, async move { make_node(thread, owned).await.map(Found::Made) })?;
            let Found::Made(place) = found else { return Err(Errno::EINVAL.into()) };
            let inode = place.inode().clone();
            NAMES.lock().insert(key_of_inode(&inode), Arc::downgrade(endpoint));
            let rest: Vec<u8> = path.iter().copied().chain([0]).collect();
            Binding { name: with_family(&rest), key: key_of_inode(&inode), _inode: Some(inode) }
        }
    };
    endpoint.binding.call_once(|| binding);
    Ok(())
}

/// The socket that a name stands for.
pub(super) fn try_find(
    asker: &Arc<Endpoint>,
    name: &LocalName<'_>,
    caller: &Arc<Thread>,
) -> Attempt<Arc<Endpoint>> {
    match name {
        LocalName::None => Err(Errno::EINVAL.into()),
        LocalName::Abstract(rest) => Ok(owner_of(&Key::Abstract(rest.to_vec()))?),
        LocalName::Path(path) => {
            let (thread, owned) = (caller.clone(), path.to_vec());
            let found = look_up(asker, async move { find_node(thread, owned).await.map(Found::Owner) })?;
            match found {
                Found::Owner(owner) => Ok(owner),
                Found::Made(_) => Err(Errno::ECONNREFUSED.into()),
            }
        }
    }
}
