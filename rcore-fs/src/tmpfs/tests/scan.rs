//! Directory scans while the directory changes.

use super::*;
use crate::FIRST_ENTRY;
use crate::test_support::list;

/// Scans a directory a few entries at a time and lets something happen in between.
fn scan(root: &Arc<dyn INode>, step: usize, mut meanwhile: impl FnMut(&[String])) -> Vec<String> {
    let end = root.end_position();
    let (mut seen, mut from) = (Vec::new(), 0);
    while from < end {
        let mut batch = list(root, from, step);
        batch.retain(|(_, _, next)| *next <= end);
        let Some(last) = batch.last() else { break };
        from = last.2;
        let batch: Vec<String> = batch.into_iter().map(|(name, ..)| name).collect();
        meanwhile(&batch);
        seen.extend(batch);
    }
    seen
}

fn fill(count: usize) -> (Arc<Tmpfs>, Arc<dyn INode>, Vec<String>) {
    let (file_system, root) = file_system();
    let expected: Vec<String> = (0..count).map(|number| format!("file{number}")).collect();
    for name in &expected {
        make(&root, name, NewNode::Regular).unwrap();
    }
    (file_system, root, expected)
}

#[test]
fn every_step_gives_the_same_list() {
    let (_file_system, root, expected) = fill(200);
    for step in [1, 2, 63, 64, 65, 200, 1000] {
        assert_eq!(scan(&root, step, |_| {}), expected, "{step} at a time");
    }
    assert_eq!(list(&root, 0, 1), list(&root, FIRST_ENTRY, 1));
    assert!(list(&root, root.end_position(), 1).is_empty());
    assert!(list(&root, u64::MAX, 1).is_empty());
}

#[test]
fn removing_what_was_seen_loses_nothing() {
    let (_file_system, root, expected) = fill(150);
    let seen = scan(&root, 7, |batch| {
        for name in batch {
            finish(root.unlink(name.as_bytes())).unwrap();
        }
    });
    assert_eq!(seen, expected);
    assert!(names(&root).is_empty());
}

#[test]
fn removing_what_comes_skips_just_that() {
    let (_file_system, root, expected) = fill(100);
    let mut first = true;
    let seen = scan(&root, 10, |_| {
        if std::mem::take(&mut first) {
            // The very next one, and every other one after it.
            for name in expected[10..].iter().step_by(2) {
                finish(root.unlink(name.as_bytes())).unwrap();
            }
        }
    });
    let expected: Vec<String> =
        expected[..10].iter().chain(expected[11..].iter().step_by(2)).cloned().collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_scan_that_makes_files_ends() {
    let (_file_system, root, expected) = fill(20);
    let seen = scan(&root, 3, |batch| {
        for name in batch {
            make(&root, &format!("{name}.new"), NewNode::Regular).unwrap();
        }
    });
    assert_eq!(seen, expected);
    assert_eq!(names(&root).len(), 40);
}

#[test]
fn a_scan_that_renames_what_it_sees_sees_each_once() {
    let (_file_system, root, expected) = fill(50);
    let seen = scan(&root, 4, |batch| {
        for name in batch {
            rename(&root, name, &root, &format!("{name}.old")).unwrap();
        }
    });
    assert_eq!(seen, expected);
}

#[test]
fn a_name_that_is_replaced_is_never_missing() {
    let (_file_system, root, expected) = fill(30);
    let seen = scan(&root, 1, |batch| {
        // Replaces a file behind the scan, and the one just before it.
        for name in [expected.last().unwrap(), &batch[0]] {
            make(&root, "temporary", NewNode::Regular).unwrap();
            rename(&root, "temporary", &root, name).unwrap();
        }
    });
    assert_eq!(seen, expected);
}

#[test]
fn a_position_stays_valid_when_its_entry_is_gone() {
    let (_file_system, root, _) = fill(5);
    let third = list(&root, 0, 3)[2].2;
    for name in ["file2", "file3", "file1"] {
        finish(root.unlink(name.as_bytes())).unwrap();
    }
    let rest: Vec<String> = list(&root, third, 9).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(rest, ["file4"]);
    make(&root, "file3", NewNode::Regular).unwrap();
    let rest: Vec<String> = list(&root, third, 9).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(rest, ["file4", "file3"]);
}
