//! `/dev` as the kernel fills it: a tmpfs with a node for every device that was registered.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::stat::DeviceNumber;
use rcore_fs::tmpfs::{Tmpfs, TmpfsOptions};
use rcore_fs::{Attempt, Creation, FileSystem, INode, NewNode};

use crate::clock;

#[derive(Clone)]
struct Node {
    name: String,
    kind: NewNode<'static>,
    permissions: u32,
}

static NODES: SpinLock<Vec<Node>> = SpinLock::new(Rank::DEVICE_TABLE, Vec::new());
static INSTANCE: ksync::Once<Result<Arc<Tmpfs>, Errno>> = ksync::Once::new();

const ROOT_PERMISSIONS: u32 = 0o755;

/// Links that programs expect; on Linux it is udev that makes them.
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
const LINK_PERMISSIONS: u32 = 0o777;
/// Where programs share memory by names.
const SHARED_MEMORY: &str = "shm";
const SHARED_PERMISSIONS: u32 = 0o1777;

/// Says that a character device exists, before the filesystem is first mounted.
pub fn add_character_device(name: &str, number: DeviceNumber, permissions: u32) {
    add(name, NewNode::CharacterDevice(number), permissions);
}

/// As [`add_character_device`], with a disk.
pub fn add_block_device(name: &str, number: DeviceNumber, permissions: u32) {
    add(name, NewNode::BlockDevice(number), permissions);
}

fn add(name: &str, kind: NewNode<'static>, permissions: u32) {
    let node = Node { name: name.to_string(), kind, permissions };
    NODES.lock().push(node);
}

/// The one instance: what is changed in it is seen wherever it is mounted.
pub fn file_system() -> Result<Arc<dyn FileSystem>, Errno> {
    let instance = INSTANCE.call_once(make).clone()?;
    Ok(instance)
}

fn make() -> Result<Arc<Tmpfs>, Errno> {
    let options = TmpfsOptions { permissions: ROOT_PERMISSIONS, ..TmpfsOptions::default() };
    let instance = Tmpfs::new(clock::time_stamp, &options)?;
    let root = instance.root();
    let nodes = NODES.lock().clone();
    for node in nodes {
        let creation = Creation { node: node.kind, permissions: node.permissions, user: 0, group: 0 };
        create(&root, &node.name, &creation)?;
    }
    for (name, target) in LINKS {
        let node = NewNode::SymbolicLink(target.as_bytes());
        create(&root, name, &Creation { node, permissions: LINK_PERMISSIONS, user: 0, group: 0 })?;
    }
    let shared = Creation { node: NewNode::Directory, permissions: SHARED_PERMISSIONS, user: 0, group: 0 };
    create(&root, SHARED_MEMORY, &shared)?;
    Ok(instance)
}

fn create(root: &Arc<dyn INode>, name: &str, creation: &Creation<'_>) -> Result<(), Errno> {
    match root.create(name.as_bytes(), creation) {
        Attempt::Done(result) => result.map(drop),
        // A tmpfs never waits.
        Attempt::Wait(_) => Err(Errno::EAGAIN),
    }
}
