use alloc::format;

use linux_abi::time::Timespec;
use rcore_fs::tmpfs::{Tmpfs, TmpfsOptions};
use rcore_fs::{Creation, NewNode};

use super::super::{Mount, Place};
use super::*;

fn root_place() -> Place {
    let clock: fn() -> Timespec = Timespec::default;
    let options = TmpfsOptions::default();
    Place::mount_root(Mount::detached(Tmpfs::new(clock, &options).unwrap()))
}

fn root() -> Arc<Entry> {
    root_place().entry().clone()
}

fn create(directory: &Arc<Entry>, name: &[u8]) -> Arc<dyn INode> {
    let creation = Creation { node: NewNode::Directory, permissions: 0o755, user: 0, group: 0 };
    let Ok(Ok(inode)) = directory.inode().create(name, &creation).done() else {
        panic!("memory waits for nothing")
    };
    inode
}

#[test]
fn what_was_said_is_known() {
    let mounted = root_place();
    let root = mounted.entry();
    let Found::Unknown(generation) = look_up(root, b"a") else { panic!("nobody has asked yet") };
    let place = keep(root, b"a", Some(create(root, b"a")), generation).unwrap().unwrap();
    let Found::Entry(again) = look_up(root, b"a") else { panic!("it was kept") };
    assert!(Arc::ptr_eq(&place, &again));
    // A second mount of the same filesystem has the same directory.
    let other = Place::mount_root(Mount::detached(mounted.mount().file_system().clone()));
    assert!(!other.is_same(&mounted));
    assert!(matches!(look_up(other.entry(), b"a"), Found::Entry(found) if Arc::ptr_eq(&found, &place)));
}

#[test]
fn that_there_is_no_such_name_is_known_until_it_is_created() {
    let root = root();
    let Found::Unknown(generation) = look_up(&root, b"new") else { panic!("nobody has asked yet") };
    assert!(keep(&root, b"new", None, generation).unwrap().is_none());
    assert!(matches!(look_up(&root, b"new"), Found::Absent));
    let generation = super::generation(&root, b"new");
    let place = replace(&root, b"new", create(&root, b"new"), generation).unwrap();
    assert!(matches!(look_up(&root, b"new"), Found::Entry(found) if Arc::ptr_eq(&found, &place)));
}

#[test]
fn answers_from_before_a_change_are_not_kept() {
    let root = root();
    let Found::Unknown(generation) = look_up(&root, b"old") else { panic!("nobody has asked yet") };
    let inode = create(&root, b"old");
    forget(&root, b"old");
    assert!(keep(&root, b"old", Some(inode.clone()), generation).is_err());
    assert!(replace(&root, b"old", inode, generation).is_none());
    assert!(matches!(look_up(&root, b"old"), Found::Unknown(_)));
}

#[test]
fn who_holds_an_entry_sees_it_move() {
    let top = root_place();
    let root = top.entry().clone();
    let Found::Unknown(generation) = look_up(&root, b"from") else { panic!("nobody has asked yet") };
    let place = keep(&root, b"from", Some(create(&root, b"from")), generation).unwrap().unwrap();
    let directory = root.child(b"directory", create(&root, b"directory"));
    rename((&root, b"from"), (&directory, b"to"), false);
    let mut moved = top.clone();
    moved.move_within(place.clone());
    assert_eq!(moved.path(&top).unwrap(), b"/directory/to");
    assert!(matches!(look_up(&root, b"from"), Found::Unknown(_)));
    assert!(matches!(look_up(&directory, b"to"), Found::Entry(found) if Arc::ptr_eq(&found, &place)));
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_used() {
    let root = root();
    let held: Vec<_> = (0..64)
        .map(|index| {
            let name = format!("held {index}").into_bytes();
            let generation = super::generation(&root, &name);
            keep(&root, &name, Some(create(&root, &name)), generation).unwrap().unwrap()
        })
        .collect();
    for index in 0..4 * BUCKETS * MOST_IN_BUCKET {
        let name = format!("other {index}").into_bytes();
        let generation = super::generation(&root, &name);
        let _ = keep(&root, &name, None, generation);
    }
    assert!(cached_names() <= BUCKETS * MOST_IN_BUCKET + held.len() + BUCKETS);
    for (index, place) in held.iter().enumerate() {
        let name = format!("held {index}").into_bytes();
        assert!(matches!(look_up(&root, &name), Found::Entry(found) if Arc::ptr_eq(&found, place)));
    }
}
