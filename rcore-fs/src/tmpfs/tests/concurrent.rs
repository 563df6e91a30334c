//! Several threads in one filesystem: operations are single steps, and nothing is lost or counted twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::test_support::{Random, list};

/// Counts the inodes under a directory, and checks each directory's links.
fn census(directory: &Arc<dyn INode>) -> u64 {
    let mut subdirectories = 0;
    let mut count = 1;
    for (name, ..) in list(directory, 0, usize::MAX) {
        let node = finish(directory.lookup(name.as_bytes())).unwrap();
        if node.file_type() == FileType::Directory {
            subdirectories += 1;
            count += census(&node);
        } else {
            assert_eq!(metadata(&node).links, 1);
            count += 1;
        }
    }
    assert_eq!(metadata(directory).links, 2 + subdirectories);
    count
}

#[test]
fn threads_leave_a_consistent_tree() {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let (file_system, root) = file_system();
    thread::scope(|scope| {
        for seed in 1..=4 {
            let root = &root;
            scope.spawn(move || {
                let mut random = Random::new(seed);
                for _ in 0..20_000 {
                    let mut place = [Arc::clone(root), Arc::clone(root)];
                    for directory in &mut place {
                        for _ in 0..random.below(4) {
                            let name = random.pick(&NAMES);
                            match finish(directory.lookup(name.as_bytes())) {
                                Ok(node) if node.file_type() == FileType::Directory => *directory = node,
                                _ => break,
                            }
                        }
                    }
                    let (name, other) = (*random.pick(&NAMES), *random.pick(&NAMES));
                    // All of these may fail: what counts is what they leave behind.
                    let _ = match random.below(6) {
                        0 => make(&place[0], name, NewNode::Directory).map(|_| ()),
                        1 => make(&place[0], name, NewNode::Regular).map(|_| ()),
                        2 => finish(place[0].unlink(name.as_bytes())),
                        3 => finish(place[0].remove_directory(name.as_bytes())),
                        4 => rename_with(&place[0], name, &place[1], other, RenameFlags::EXCHANGE),
                        _ => rename(&place[0], name, &place[1], other),
                    };
                }
            });
        }
    });
    assert_eq!(census(&root), file_system.volume.inodes.used());
}

#[test]
fn a_file_that_moves_is_always_in_one_place() {
    let (_file_system, root) = file_system();
    let (left, right) =
        (make(&root, "left", NewNode::Directory).unwrap(), make(&root, "right", NewNode::Directory).unwrap());
    make(&left, "file", NewNode::Regular).unwrap();
    make(&right, "other", NewNode::Regular).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20_000 {
                rename_with(&left, "file", &right, "other", RenameFlags::EXCHANGE).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                // An exchange never leaves a name without a file, not even for a moment.
                assert!(finish(left.lookup(b"file")).is_ok());
                assert_eq!(list(&right, 0, 9).len(), 1);
            }
        });
    });
    // An even number of exchanges: everything is where it was.
    assert_eq!(names(&left), ["file"]);
}
