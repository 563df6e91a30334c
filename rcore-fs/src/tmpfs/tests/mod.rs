mod concurrent;
mod model;
mod scan;

use std::sync::Arc;

use kernel_object::frame;
use linux_abi::Errno;
use linux_abi::file::RenameFlags;
use linux_abi::stat::{DeviceNumber, FileType};
use linux_abi::time::Timespec;

use super::*;
use crate::test_support::{clock, finish, make, names, new, tick};
use crate::{AttributeChanges, FileSystem, INode, Metadata, NewNode, TimeChange, Touch, file_data};

fn file_system() -> (Arc<Tmpfs>, Arc<dyn INode>) {
    limited(None, None)
}

fn limited(most_pages: Option<u64>, most_inodes: Option<u64>) -> (Arc<Tmpfs>, Arc<dyn INode>) {
    let options = TmpfsOptions { most_pages, most_inodes, ..TmpfsOptions::default() };
    let file_system = Tmpfs::new(clock, &options).unwrap();
    let root = file_system.root();
    (file_system, root)
}

fn metadata(node: &Arc<dyn INode>) -> Metadata {
    finish(node.metadata()).unwrap()
}

fn rename(
    old_directory: &Arc<dyn INode>,
    old_name: &str,
    new_directory: &Arc<dyn INode>,
    new_name: &str,
) -> Result<(), Errno> {
    rename_with(old_directory, old_name, new_directory, new_name, RenameFlags::empty())
}

fn rename_with(
    old_directory: &Arc<dyn INode>,
    old_name: &str,
    new_directory: &Arc<dyn INode>,
    new_name: &str,
    flags: RenameFlags,
) -> Result<(), Errno> {
    finish(old_directory.rename(old_name.as_bytes(), new_directory, new_name.as_bytes(), flags))
}

fn write(node: &Arc<dyn INode>, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
    finish(file_data::write_all(&**node, offset, bytes))
}

fn read(node: &Arc<dyn INode>, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; length];
    let count = finish(file_data::read(&**node, offset, &mut bytes)).unwrap();
    bytes.truncate(count);
    bytes
}

#[test]
fn each_kind_is_what_it_was_made_as() {
    let (_file_system, root) = file_system();
    let device = DeviceNumber::new(1, 3);
    for (name, node, file_type) in [
        ("file", NewNode::Regular, FileType::Regular),
        ("directory", NewNode::Directory, FileType::Directory),
        ("link", NewNode::SymbolicLink(b"target"), FileType::SymbolicLink),
        ("character", NewNode::CharacterDevice(device), FileType::CharacterDevice),
        ("block", NewNode::BlockDevice(device), FileType::BlockDevice),
        ("fifo", NewNode::Fifo, FileType::Fifo),
        ("socket", NewNode::Socket, FileType::Socket),
    ] {
        let made = make(&root, name, node).unwrap();
        assert_eq!(made.file_type(), file_type);
        let found = finish(root.lookup(name.as_bytes())).unwrap();
        assert!(Arc::ptr_eq(&made, &found));
        let metadata = metadata(&found);
        assert_eq!(
            (metadata.file_type, metadata.permissions, metadata.inode),
            (file_type, 0o644, made.number())
        );
        let is_device = matches!(file_type, FileType::CharacterDevice | FileType::BlockDevice);
        assert_eq!(metadata.device, if is_device { device } else { DeviceNumber::default() });
        assert_eq!(matches!(made.contents(), Contents::Pages(_)), file_type == FileType::Regular);
        assert_eq!(finish(made.read_link()).is_ok(), file_type == FileType::SymbolicLink);
        assert_eq!(make(&root, name, NewNode::Regular).err(), Some(Errno::EEXIST));
    }
    assert_eq!(metadata(&finish(root.lookup(b"link")).unwrap()).size, 6);
    assert_eq!(metadata(&root).links, 3);
    assert_eq!(metadata(&root).size, 9 * 20);
}

#[test]
fn what_is_no_directory_has_no_entries() {
    let (_file_system, root) = file_system();
    let file = make(&root, "file", NewNode::Regular).unwrap();
    assert_eq!(finish(file.lookup(b"x")).err(), Some(Errno::ENOTDIR));
    assert_eq!(make(&file, "x", NewNode::Fifo).err(), Some(Errno::ENOTDIR));
    assert_eq!(finish(file.unlink(b"x")), Err(Errno::ENOTDIR));
    assert_eq!(finish(file.remove_directory(b"x")), Err(Errno::ENOTDIR));
    assert_eq!(finish(file.link(b"x", &file)), Err(Errno::ENOTDIR));
    assert_eq!(rename(&root, "file", &file, "x"), Err(Errno::ENOTDIR));
    assert_eq!(finish(file.create_unnamed(&new(NewNode::Regular), true)).err(), Some(Errno::ENOTDIR));
}

#[test]
fn an_unlinked_file_lives_while_it_is_used() {
    let (file_system, root) = file_system();
    let file = make(&root, "file", NewNode::Regular).unwrap();
    write(&file, 0, b"still here").unwrap();
    finish(root.unlink(b"file")).unwrap();
    assert_eq!(finish(root.lookup(b"file")).err(), Some(Errno::ENOENT));
    assert_eq!(metadata(&file).links, 0);
    assert_eq!(read(&file, 0, 100), b"still here");
    assert_eq!(finish(root.link(b"again", &file)), Err(Errno::ENOENT));
    assert_eq!(file_system.volume.inodes.used(), 2);
    assert_eq!(file_system.volume.pages.used(), 1);
    drop(file);
    assert_eq!(file_system.volume.inodes.used(), 1);
    assert_eq!(file_system.volume.pages.used(), 0);
}

#[test]
fn an_unnamed_file_can_be_named_once() {
    let (file_system, root) = file_system();
    let file = finish(root.create_unnamed(&new(NewNode::Regular), true)).unwrap();
    assert_eq!(metadata(&file).links, 0);
    assert!(names(&root).is_empty());
    finish(root.link(b"named", &file)).unwrap();
    assert_eq!(metadata(&file).links, 1);
    assert_eq!(file_system.volume.inodes.used(), 2);
    finish(root.unlink(b"named")).unwrap();
    assert_eq!(finish(root.link(b"again", &file)), Err(Errno::ENOENT));
    assert_eq!(finish(root.create_unnamed(&new(NewNode::Directory), true)).err(), Some(Errno::EINVAL));
}

#[test]
fn a_removed_directory_takes_nothing_in() {
    let (_file_system, root) = file_system();
    let directory = make(&root, "directory", NewNode::Directory).unwrap();
    let file = make(&root, "file", NewNode::Regular).unwrap();
    assert_eq!(finish(root.unlink(b"directory")), Err(Errno::EISDIR));
    assert_eq!(finish(root.remove_directory(b"file")), Err(Errno::ENOTDIR));
    finish(root.remove_directory(b"directory")).unwrap();
    assert_eq!(metadata(&directory).links, 0);
    assert_eq!(metadata(&root).links, 2);
    assert_eq!(make(&directory, "x", NewNode::Regular).err(), Some(Errno::ENOENT));
    assert_eq!(finish(directory.link(b"x", &file)), Err(Errno::ENOENT));
    assert_eq!(rename(&root, "file", &directory, "x"), Err(Errno::ENOENT));
    assert_eq!(metadata(&file).links, 1);
}

#[test]
fn renaming_follows_the_rules() {
    let (_file_system, root) = file_system();
    let a = make(&root, "a", NewNode::Directory).unwrap();
    let b = make(&a, "b", NewNode::Directory).unwrap();
    let c = make(&b, "c", NewNode::Directory).unwrap();
    let file = make(&root, "file", NewNode::Regular).unwrap();
    // Into itself, directly or further down.
    assert_eq!(rename(&root, "a", &a, "x"), Err(Errno::EINVAL));
    assert_eq!(rename(&root, "a", &c, "x"), Err(Errno::EINVAL));
    assert_eq!(rename_with(&root, "a", &b, "c", RenameFlags::EXCHANGE), Err(Errno::EINVAL));
    assert_eq!(rename_with(&b, "c", &root, "a", RenameFlags::EXCHANGE), Err(Errno::EINVAL));
    // Onto what it lies in.
    assert_eq!(rename(&b, "c", &root, "a"), Err(Errno::ENOTEMPTY));
    make(&b, "file", NewNode::Regular).unwrap();
    assert_eq!(rename(&b, "file", &root, "a"), Err(Errno::ENOTEMPTY));
    // Kinds must agree.
    assert_eq!(rename(&root, "file", &b, "c"), Err(Errno::EISDIR));
    assert_eq!(rename(&b, "c", &root, "file"), Err(Errno::ENOTDIR));
    // Flags.
    assert_eq!(rename_with(&b, "file", &root, "file", RenameFlags::NOREPLACE), Err(Errno::EEXIST));
    assert_eq!(rename_with(&b, "file", &root, "no", RenameFlags::EXCHANGE), Err(Errno::ENOENT));
    let both = RenameFlags::EXCHANGE | RenameFlags::NOREPLACE;
    assert_eq!(rename_with(&b, "file", &root, "file", both), Err(Errno::EINVAL));
    let both = RenameFlags::WHITEOUT | RenameFlags::EXCHANGE;
    assert_eq!(rename_with(&b, "file", &root, "x", both), Err(Errno::EINVAL));
    assert_eq!(rename(&root, "no", &root, "x"), Err(Errno::ENOENT));
    // Two names of one file: nothing happens, and both stay.
    finish(root.link(b"link", &file)).unwrap();
    assert_eq!(rename(&root, "link", &root, "file"), Ok(()));
    assert_eq!(names(&root), ["a", "file", "link"]);
    // A directory over an empty one, elsewhere: all counts move.
    let empty = make(&root, "empty", NewNode::Directory).unwrap();
    assert_eq!((metadata(&root).links, metadata(&b).links), (4, 3));
    assert_eq!(rename(&b, "c", &root, "empty"), Ok(()));
    assert_eq!((metadata(&root).links, metadata(&b).links, metadata(&empty).links), (4, 2, 0));
    assert!(Arc::ptr_eq(&finish(root.lookup(b"empty")).unwrap(), &c));
    // What moved up may now take in what it lay in.
    assert_eq!(rename(&root, "a", &c, "a"), Ok(()));
    assert_eq!(rename(&root, "empty", &b, "x"), Err(Errno::EINVAL));
    // Another filesystem.
    let (_other, other_root) = super::tests::file_system();
    assert_eq!(rename(&root, "file", &other_root, "file"), Err(Errno::EXDEV));
    assert_eq!(finish(other_root.link(b"file", &file)), Err(Errno::EXDEV));
}

#[test]
fn exchanging_moves_counts_and_parents() {
    let (_file_system, root) = file_system();
    let a = make(&root, "a", NewNode::Directory).unwrap();
    let inner = make(&a, "inner", NewNode::Directory).unwrap();
    let file = make(&root, "file", NewNode::Regular).unwrap();
    rename_with(&a, "inner", &root, "file", RenameFlags::EXCHANGE).unwrap();
    assert!(Arc::ptr_eq(&finish(root.lookup(b"file")).unwrap(), &inner));
    assert!(Arc::ptr_eq(&finish(a.lookup(b"inner")).unwrap(), &file));
    assert_eq!((metadata(&root).links, metadata(&a).links), (4, 2));
    // The parent changed with it: a may go into inner now, and then inner not into a.
    rename(&root, "a", &inner, "a").unwrap();
    assert_eq!(rename(&root, "file", &a, "x"), Err(Errno::EINVAL));
}

#[test]
fn times_change_as_in_linux() {
    let (_file_system, root) = file_system();
    let start = tick();
    let file = make(&root, "file", NewNode::Regular).unwrap();
    let times = |node: &Arc<dyn INode>| {
        let metadata = metadata(node);
        (metadata.accessed, metadata.modified, metadata.changed)
    };
    assert_eq!(times(&file), (start, start, start));
    assert_eq!((times(&root).1, times(&root).2), (start, start));

    let written = tick();
    write(&file, 0, b"abc").unwrap();
    assert_eq!(times(&file), (start, written, written));
    assert_eq!(times(&root).1, start);

    let set = tick();
    finish(file.set_attributes(&AttributeChanges::permissions(0o4755))).unwrap();
    assert_eq!((times(&file), metadata(&file).permissions), ((start, written, set), 0o4755));
    tick();
    finish(file.set_attributes(&AttributeChanges::size(3))).unwrap();
    assert_eq!(times(&file), (start, written, set), "the same size changes nothing");
    let cut = tick();
    finish(file.set_attributes(&AttributeChanges::size(1))).unwrap();
    assert_eq!(times(&file), (start, cut, cut));
    let past = Timespec { tv_sec: 5, tv_nsec: 6 };
    let changed = tick();
    let changes = AttributeChanges { accessed: Some(TimeChange::To(past)), ..AttributeChanges::default() };
    finish(file.set_attributes(&changes)).unwrap();
    assert_eq!(times(&file), (past, cut, changed));
    let accessed = tick();
    file.touch(Touch::ACCESSED);
    assert_eq!(times(&file), (accessed, cut, changed));

    let linked = tick();
    finish(root.link(b"link", &file)).unwrap();
    assert_eq!((times(&file).2, times(&root).1), (linked, linked));
    let moved = tick();
    let directory = make(&root, "directory", NewNode::Directory).unwrap();
    let moved_again = tick();
    rename(&root, "link", &directory, "link").unwrap();
    assert_eq!(
        (times(&file).2, times(&root).1, times(&directory).1),
        (moved_again, moved_again, moved_again)
    );
    assert_eq!(times(&directory).0, moved);
    let removed = tick();
    finish(root.unlink(b"file")).unwrap();
    assert_eq!((times(&file).2, times(&root).2), (removed, removed));
}

#[test]
fn only_regular_files_have_a_size_to_change() {
    let (_file_system, root) = file_system();
    let size = AttributeChanges::size(0);
    assert_eq!(finish(root.set_attributes(&size)), Err(Errno::EISDIR));
    let fifo = make(&root, "fifo", NewNode::Fifo).unwrap();
    assert_eq!(finish(fifo.set_attributes(&size)), Err(Errno::EINVAL));
    let file = make(&root, "file", NewNode::Regular).unwrap();
    let changes =
        AttributeChanges { size: Some(u64::MAX), permissions: Some(0), ..AttributeChanges::default() };
    assert_eq!(finish(file.set_attributes(&changes)), Err(Errno::EFBIG));
    assert_eq!(metadata(&file).permissions, 0o644, "all or nothing");
}

#[test]
fn holes_cost_nothing() {
    let (file_system, root) = limited(Some(3), None);
    let file = make(&root, "file", NewNode::Regular).unwrap();
    let end = 1 << 40;
    write(&file, end, b"x").unwrap();
    assert_eq!((metadata(&file).size, metadata(&file).blocks), (end + 1, 8));
    assert_eq!(read(&file, 1 << 30, 10_000), [0; 10_000]);
    assert_eq!(file_system.volume.pages.used(), 1);
    assert_eq!(read(&file, end - 1, 10), b"\0x");
    finish(file.set_attributes(&AttributeChanges::size(0))).unwrap();
    assert_eq!((metadata(&file).blocks, file_system.volume.pages.used()), (0, 0));
}

#[test]
fn limits_are_kept_and_shown() {
    let (file_system, root) = limited(Some(4), Some(5));
    let status = |file_system: &Arc<Tmpfs>| {
        let status = finish(file_system.status()).unwrap();
        (status.f_blocks, status.f_bfree, status.f_files, status.f_ffree)
    };
    assert_eq!(status(&file_system), (4, 4, 5, 4));
    let file = make(&root, "file", NewNode::Regular).unwrap();
    let failure = write(&file, 0, &[1; 5 * 4096]);
    assert_eq!(failure, Err(Errno::ENOSPC));
    assert_eq!(metadata(&file).size, 4 * 4096, "what fits is written");
    assert_eq!(status(&file_system), (4, 0, 5, 3));
    // Further names count.
    finish(root.link(b"a", &file)).unwrap();
    finish(root.link(b"b", &file)).unwrap();
    finish(root.link(b"c", &file)).unwrap();
    assert_eq!(finish(root.link(b"d", &file)), Err(Errno::ENOSPC));
    assert_eq!(make(&root, "d", NewNode::Fifo).err(), Some(Errno::ENOSPC));
    assert_eq!(status(&file_system).3, 0);
    assert_eq!(finish(root.link(b"a", &file)), Err(Errno::ENOSPC));
    for name in [b"a", b"b", b"c"] {
        finish(root.unlink(name)).unwrap();
    }
    assert_eq!(status(&file_system), (4, 0, 5, 3));
    assert_eq!(file_system.set_limits(Some(3), None), Err(Errno::EINVAL));
    assert_eq!(file_system.set_limits(Some(8), Some(1)), Err(Errno::EINVAL));
    assert_eq!(status(&file_system), (4, 0, 5, 3), "a refused change changes nothing");
    file_system.set_limits(Some(8), None).unwrap();
    write(&file, 0, &[1; 5 * 4096]).unwrap();
    let mut options = String::new();
    file_system.show_options(&mut options).unwrap();
    assert_eq!(options, ",size=32k");
    finish(root.unlink(b"file")).unwrap();
    drop(file);
    assert_eq!(status(&file_system), (8, 8, 0, 0));
}

#[test]
fn running_out_of_memory_is_an_error() {
    frame::host::use_private(40);
    let (_file_system, root) = file_system();
    let file = make(&root, "file", NewNode::Regular).unwrap();
    assert_eq!(write(&file, 0, &[1; 100 * 4096]), Err(Errno::ENOMEM));
    let written = metadata(&file).size;
    assert!(written > 0 && written < 40 * 4096);
    finish(file.set_attributes(&AttributeChanges::size(4096))).unwrap();
    assert_eq!(write(&file, 4096, &[2; 4096]), Ok(()));
    assert_eq!(read(&file, 4095, 2), [1, 2]);
}

#[test]
fn a_deep_tree_is_dropped_without_recursion() {
    let (file_system, root) = file_system();
    let mut directory = root;
    for _ in 0..100_000 {
        directory = make(&directory, "d", NewNode::Directory).unwrap();
        make(&directory, "f", NewNode::Fifo).unwrap();
    }
    let volume = Arc::clone(&file_system.volume);
    drop(file_system);
    assert_eq!(make(&directory, "late", NewNode::Fifo).err(), Some(Errno::ENOENT));
    drop(directory);
    assert_eq!(volume.inodes.used(), 0);
}
