use linux_abi::time::Timespec;
use rcore_fs::tmpfs::{Tmpfs, TmpfsOptions};
use rcore_fs::{Creation, NewNode};

use super::super::attach;
use super::*;

fn file_system() -> Arc<Tmpfs> {
    Tmpfs::new(Timespec::default, &TmpfsOptions::default()).unwrap()
}

/// Creates something, and gives what walks to it.
fn make(directory: &Place, name: &[u8], node: NewNode<'_>) -> Place {
    let creation = Creation { node, permissions: 0o755, user: 0, group: 0 };
    let Ok(Ok(_)) = directory.inode().create(name, &creation).done() else {
        panic!("memory waits for nothing")
    };
    directory.try_find(name).ok().expect("it was just created")
}

/// `/directory/file`, and links.
fn tree() -> PathContext {
    let root = super::super::detached(file_system());
    let directory = make(&root, b"directory", NewNode::Directory);
    make(&directory, b"file", NewNode::Regular);
    make(&directory, b"up", NewNode::SymbolicLink(b"../directory/./file"));
    make(&root, b"link", NewNode::SymbolicLink(b"/directory"));
    make(&root, b"dangling", NewNode::SymbolicLink(b"directory/new"));
    make(&root, b"loop", NewNode::SymbolicLink(b"loop"));
    make(&root, b"slashes", NewNode::SymbolicLink(b"directory/file/"));
    PathContext::new(root)
}

fn walk_from(context: &PathContext, path: &[u8], follow_last: bool) -> Result<Vec<u8>, Errno> {
    let credentials = Credentials::root();
    match try_walk(
        Route { context, credentials: &credentials, start: None, path, resolve: ResolveFlags::empty() },
        follow_last,
    ) {
        Ok(place) => place.path(&context.root()),
        Err(Obstacle::Error(errno)) => Err(errno),
        Err(_) => panic!("memory waits for nothing"),
    }
}

#[test]
fn components_are_walked_one_by_one() {
    let context = tree();
    let walk =
        |path: &str| walk_from(&context, path.as_bytes(), true).map(|path| String::from_utf8(path).unwrap());
    let file = Ok("/directory/file".into());
    assert_eq!(walk("/directory/file"), file);
    assert_eq!(walk("directory//./file"), file);
    assert_eq!(walk("./directory/../directory/file"), file);
    assert_eq!(walk("../../directory/file"), file);
    assert_eq!(walk("link/file"), file);
    assert_eq!(walk("link/up"), file);
    assert_eq!(walk("/"), Ok("/".into()));
    assert_eq!(walk("."), Ok("/".into()));
    assert_eq!(walk("link/."), Ok("/directory".into()));
    assert_eq!(walk("link//"), Ok("/directory".into()));
    assert_eq!(walk(""), Err(Errno::ENOENT));
    assert_eq!(walk("nowhere"), Err(Errno::ENOENT));
    assert_eq!(walk("directory/file/"), Err(Errno::ENOTDIR));
    assert_eq!(walk("directory/file/."), Err(Errno::ENOTDIR));
    assert_eq!(walk("directory/file/.."), Err(Errno::ENOTDIR));
    assert_eq!(walk("link/up/"), Err(Errno::ENOTDIR));
    assert_eq!(walk("slashes"), Err(Errno::ENOTDIR));
    assert_eq!(walk("loop"), Err(Errno::ELOOP));
    assert_eq!(walk(&"x".repeat(256)), Err(Errno::ENAMETOOLONG));
    assert_eq!(walk(&"x/".repeat(2048)), Err(Errno::ENAMETOOLONG));
}

#[test]
fn a_link_at_the_end_is_followed_or_not() {
    let context = tree();
    assert_eq!(walk_from(&context, b"link", false), Ok(b"/link".to_vec()));
    assert_eq!(walk_from(&context, b"link/", false), Ok(b"/directory".to_vec()));
    assert_eq!(walk_from(&context, b"loop", false), Ok(b"/loop".to_vec()));
}

#[test]
fn a_name_that_is_free_is_found_behind_links() {
    let context = tree();
    let credentials = Credentials::root();
    let free = |path: &'static [u8]| {
        let route = Route {
            context: &context,
            credentials: &credentials,
            start: None,
            path,
            resolve: ResolveFlags::empty(),
        };
        match try_walk_to_free(route, true) {
            Ok(Destination::Free(last)) => {
                Ok((last.directory.path(&context.root()).unwrap(), last.name.into_owned()))
            }
            Ok(Destination::Place(_)) => Err(Errno::EEXIST),
            Err(Obstacle::Error(errno)) => Err(errno),
            Err(_) => panic!("memory waits for nothing"),
        }
    };
    assert_eq!(free(b"dangling"), Ok((b"/directory".to_vec(), b"new".to_vec())));
    assert_eq!(free(b"link/other"), Ok((b"/directory".to_vec(), b"other".to_vec())));
    assert_eq!(free(b"link/file"), Err(Errno::EEXIST));
    assert_eq!(free(b"other/"), Err(Errno::EISDIR));
    assert_eq!(free(b"nowhere/other"), Err(Errno::ENOENT));
}

#[test]
fn a_mount_covers_a_directory_until_one_walks_up() {
    let context = tree();
    let root = context.root();
    let directory = root.try_find(b"directory").ok().unwrap();
    let mounted = attach(file_system(), Some(directory.clone()));
    make(&mounted, b"inside", NewNode::Regular);
    assert_eq!(walk_from(&context, b"directory/inside", true), Ok(b"/directory/inside".to_vec()));
    assert_eq!(walk_from(&context, b"directory/file", true), Err(Errno::ENOENT));
    assert_eq!(walk_from(&context, b"directory/..", true), Ok(b"/".to_vec()));
    assert_eq!(walk_from(&context, b"link/inside", true), Ok(b"/directory/inside".to_vec()));
}

#[test]
fn nobody_walks_through_what_he_may_not_search() {
    let context = tree();
    let root = context.root();
    let creation = Creation { node: NewNode::Directory, permissions: 0o700, user: 1, group: 1 };
    assert!(root.inode().create(b"private", &creation).done().is_ok());
    let mut other = Credentials::root();
    other.file_user = 2;
    other.file_group = 2;
    other.effective = Capabilities::empty();
    let walk = |credentials: &Credentials, path: &[u8]| {
        let route =
            Route { context: &context, credentials, start: None, path, resolve: ResolveFlags::empty() };
        match try_walk(route, true) {
            Ok(_) => Ok(()),
            Err(Obstacle::Error(errno)) => Err(errno),
            Err(_) => panic!("memory waits for nothing"),
        }
    };
    assert_eq!(walk(&other, b"private"), Ok(()));
    assert_eq!(walk(&other, b"private/"), Ok(()));
    assert_eq!(walk(&other, b"private/."), Err(Errno::EACCES));
    assert_eq!(walk(&other, b"private/x"), Err(Errno::EACCES));
    assert_eq!(walk(&Credentials::root(), b"private/x"), Err(Errno::ENOENT));
    other.file_user = 1;
    assert_eq!(walk(&other, b"private/."), Ok(()));
}
