//! What is on the disk is what is read.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use linux_abi::Errno;
use linux_abi::stat::{DeviceNumber, FileType};
use linux_abi::time::Timespec;

use super::image::{Folder, USUAL, create_files, index_directories, make, run};
use super::mount;
use crate::disk::Disk;
use crate::ext4::{Ext4, Ext4Options};
use crate::file_data;
use crate::test_disk::{MemoryDisk, block_on};
use crate::{DirectoryEntry, FileSystem, INode};

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 * 31 + at + seed) as u8).collect()
}

fn read_all(node: &Arc<dyn INode>) -> Result<Vec<u8>, Errno> {
    let size = block_on(node.metadata())?.size as usize;
    let mut bytes = vec![0xcc; size + 10];
    let mut done = 0;
    loop {
        match block_on(file_data::read(&**node, done as u64, &mut bytes[done..]))? {
            0 => break,
            count => done += count,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

fn list(directory: &Arc<dyn INode>) -> BTreeMap<String, (u64, FileType)> {
    let mut found = BTreeMap::new();
    let (mut from, mut last) = (0, 1);
    // A few at a time, as a program with a small buffer does.
    while from != last {
        last = from;
        let mut left = 5;
        let mut sink = |entry: &DirectoryEntry<'_>| {
            if left == 0 {
                return ControlFlow::Break(());
            }
            left -= 1;
            assert!(entry.next > from, "positions grow");
            from = entry.next;
            let name = String::from_utf8(entry.name.to_vec()).unwrap();
            assert_eq!(found.insert(name, (entry.inode, entry.file_type)), None, "an entry came twice");
            ControlFlow::Continue(())
        };
        block_on(directory.iterate(last, &mut sink)).unwrap();
    }
    found
}

fn look_up(root: &Arc<dyn INode>, path: &str) -> Result<Arc<dyn INode>, Errno> {
    path.split('/')
        .filter(|name| !name.is_empty())
        .try_fold(root.clone(), |at, name| block_on(at.lookup(name.as_bytes())))
}

fn same_type(host: &Metadata, ours: FileType) -> bool {
    let kind = host.file_type();
    match ours {
        FileType::Directory => kind.is_dir(),
        FileType::Regular => kind.is_file(),
        FileType::SymbolicLink => kind.is_symlink(),
        FileType::Fifo => kind.is_fifo(),
        FileType::Socket => kind.is_socket(),
        FileType::CharacterDevice => kind.is_char_device(),
        FileType::BlockDevice => kind.is_block_device(),
    }
}

/// Compares a tree of ours with one of the host's, everything that both know.
fn compare(ours: &Arc<dyn INode>, host: &Path) -> usize {
    let mut expected: BTreeMap<String, _> = BTreeMap::new();
    for entry in fs::read_dir(host).unwrap() {
        let entry = entry.unwrap();
        expected.insert(entry.file_name().into_string().unwrap(), entry.path());
    }
    let mut listed = list(ours);
    listed.remove("lost+found");
    assert!(listed.keys().eq(expected.keys()), "{}: {:?}", host.display(), listed.keys());
    let mut compared = expected.len();
    for (name, path) in expected {
        let node = block_on(ours.lookup(name.as_bytes())).unwrap();
        let (inode, file_type) = listed[&name];
        assert_eq!((node.number(), node.file_type()), (inode, file_type), "{}", path.display());
        let (metadata, host) = (block_on(node.metadata()).unwrap(), fs::symlink_metadata(&path).unwrap());
        assert!(same_type(&host, file_type), "{}: {file_type:?}", path.display());
        assert_eq!(metadata.permissions, host.mode() & 0o7777, "{}", path.display());
        assert_eq!((metadata.user, metadata.group), (host.uid(), host.gid()));
        assert_eq!(metadata.modified.tv_sec, host.mtime(), "{}", path.display());
        match file_type {
            FileType::Directory => compared += compare(&node, &path),
            FileType::SymbolicLink => {
                let target = fs::read_link(&path).unwrap();
                assert_eq!(&*block_on(node.read_link()).unwrap(), target.as_os_str().as_encoded_bytes());
            }
            FileType::Regular => {
                assert_eq!(metadata.size, host.len());
                assert!(read_all(&node).unwrap() == fs::read(&path).unwrap(), "{} differs", path.display());
            }
            _ => {}
        }
    }
    compared
}

/// A tree with something of everything.
fn make_tree(tree: &Path) {
    fs::write(tree.join("empty"), "").unwrap();
    fs::write(tree.join("small"), "hello\n").unwrap();
    for (name, len) in [("page", 4096), ("odd", 4097), ("large", 3_000_001), ("block", 1024)] {
        fs::write(tree.join(name), pattern(len, name.len())).unwrap();
    }
    fs::set_permissions(tree.join("small"), fs::Permissions::from_mode(0o4751)).unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    for at in [0u64, 10_000, 1 << 20, 9 << 20] {
        sparse.write_all_at(&pattern(5000, at as usize), at).unwrap();
    }
    sparse.set_len((12 << 20) + 77).unwrap();
    symlink("small", tree.join("short-link")).unwrap();
    for len in [59, 60, 61, 400, 1000] {
        symlink(
            "x/".repeat(len)[..len].trim_end_matches('/').to_string() + "y",
            tree.join(format!("link-{len}")),
        )
        .unwrap();
    }
    let deep = tree.join("a/b/c/d/e");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("x".repeat(255)), "long name").unwrap();
    fs::create_dir(tree.join("many")).unwrap();
    for number in 0..600 {
        fs::write(tree.join(format!("many/file number {number:04}")), format!("{number}")).unwrap();
    }
}

#[test]
fn a_tree_is_what_it_was_made_from() {
    let folder = Folder::new();
    let tree = folder.tree();
    make_tree(&tree);
    let kinds: [&[&str]; 7] = [
        USUAL,
        &["-t", "ext4", "-b", "1024"],
        &["-t", "ext4", "-b", "2048", "-I", "128"],
        &["-t", "ext4", "-b", "4096", "-O", "^64bit,^metadata_csum,uninit_bg"],
        &["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode,^has_journal,^flex_bg"],
        &["-t", "ext3", "-b", "1024"],
        &["-t", "ext2", "-r", "0", "-I", "128", "-b", "1024"],
    ];
    for options in kinds {
        for is_indexed in [false, true] {
            let mut image = make(&folder, options, 32 << 10, Some(&tree), "");
            if is_indexed {
                image = index_directories(&folder);
            }
            let (_, mounted) = mount(image, Ext4Options::default())
                .unwrap_or_else(|refusal| panic!("{options:?}: {refusal}"));
            let root = mounted.root();
            assert_eq!(root.number(), 2);
            assert!(compare(&root, &tree) > 600, "{options:?}");
            assert_eq!(look_up(&root, "many/nonesuch").err(), Some(Errno::ENOENT));
            assert_eq!(look_up(&root, "small/x").err(), Some(Errno::ENOTDIR));
            assert_eq!(block_on(root.lookup(&[b'x'; 256])).err(), Some(Errno::ENAMETOOLONG));
        }
    }
}

#[test]
fn a_large_directory_is_indexed_and_every_name_is_found() {
    const NAMES: usize = 10_000;
    let folder = Folder::new();
    let tree = folder.tree();
    fs::create_dir(tree.join("d")).unwrap();
    let name = |number: usize| format!("name-{number}-{}-\u{fc}\u{e4}", "z".repeat(number % 23));
    for number in 0..NAMES {
        File::create(tree.join("d").join(name(number))).unwrap();
    }
    make(&folder, &["-t", "ext4", "-b", "1024", "-N", "12000"], 32 << 10, Some(&tree), "");
    for hash in ["half_md4", "tea", "legacy"] {
        let image_path = folder.path().join("image");
        run("tune2fs", &["-E", &format!("hash_alg={hash}"), image_path.to_str().unwrap()], "");
        let image = index_directories(&folder);
        let (device, mounted) = mount(image, Ext4Options::default()).unwrap();
        let directory = look_up(&mounted.root(), "d").unwrap();
        device.take_reads();
        assert_eq!(block_on(directory.lookup(b"nonesuch")).err(), Some(Errno::ENOENT));
        let reads = device.take_reads();
        assert!(reads.len() < 8, "{hash}: an index needs few blocks: {reads:?}");
        let listed = list(&directory);
        assert_eq!(listed.len(), NAMES);
        for number in 0..NAMES {
            let found = block_on(directory.lookup(name(number).as_bytes())).unwrap();
            assert_eq!(found.number(), listed[&name(number)].0, "{hash}: {}", name(number));
        }
    }
}

#[test]
fn special_files_and_times() {
    let folder = Folder::new();
    let commands = "mknod pipe p\nmknod old c 5 1\nmknod new b 254 16\nmknod large c 200 300\n\
        set_inode_field pipe mtime @0x1ffffffff\nset_inode_field pipe crtime @1700000000\n";
    let image = make(&folder, USUAL, 8 << 10, None, commands);
    let (_, mounted) = mount(image, Ext4Options::default()).unwrap();
    let root = mounted.root();
    let metadata = |name: &str| block_on(look_up(&root, name).unwrap().metadata()).unwrap();
    assert_eq!(metadata("pipe").file_type, FileType::Fifo);
    assert_eq!(
        (metadata("old").file_type, metadata("old").device),
        (FileType::CharacterDevice, DeviceNumber::new(5, 1))
    );
    assert_eq!(
        (metadata("new").file_type, metadata("new").device),
        (FileType::BlockDevice, DeviceNumber::new(254, 16))
    );
    assert_eq!(metadata("large").device, DeviceNumber::new(200, 300));
    assert_eq!(metadata("pipe").created, Timespec { tv_sec: 1_700_000_000, tv_nsec: 0 });
    assert!(metadata("pipe").modified.tv_sec > i64::from(u32::MAX), "{:?}", metadata("pipe").modified);
}

#[test]
fn a_fragmented_file_needs_a_deep_tree() {
    // Every other block of a full disk is given back, and a file is made of the holes.
    let folder = Folder::new();
    let source = folder.path().join("source");
    fs::write(&source, pattern(1024, 1)).unwrap();
    let large = folder.path().join("large");
    fs::write(&large, pattern(700 << 10, 2)).unwrap();
    const FILES: usize = 1700;
    let mut commands = create_files("/", &source, (0..FILES).map(|number| format!("f{number}")));
    for number in (0..FILES).step_by(2) {
        commands += &format!("rm f{number}\n");
    }
    commands += &format!("write {} large\n", large.display());
    let options = ["-t", "ext4", "-b", "1024", "-m", "0", "-O", "^has_journal,^resize_inode", "-N", "2000"];
    let image = make(&folder, &options, 2900, None, &commands);
    let (device, mounted) = mount(image, Ext4Options::default()).unwrap();
    let node = look_up(&mounted.root(), "large").unwrap();
    device.take_reads();
    assert!(read_all(&node).unwrap() == fs::read(&large).unwrap());
    assert!(device.take_reads().len() > 300, "the file is not fragmented");
    assert!(read_all(&look_up(&mounted.root(), "f1").unwrap()).unwrap() == fs::read(&source).unwrap());
}

#[test]
fn a_contiguous_file_comes_in_large_requests() {
    let folder = Folder::new();
    let tree = folder.tree();
    fs::write(tree.join("large"), pattern(4 << 20, 3)).unwrap();
    let (device, mounted) =
        mount(make(&folder, USUAL, 16 << 10, Some(&tree), ""), Ext4Options::default()).unwrap();
    let node = look_up(&mounted.root(), "large").unwrap();
    device.take_reads();
    let mut bytes = vec![0; 4 << 20];
    for at in (0..bytes.len()).step_by(4096) {
        block_on(file_data::read(&*node, at as u64, &mut bytes[at..at + 4096])).unwrap();
    }
    assert!(bytes == pattern(4 << 20, 3));
    let reads = device.take_reads();
    assert!(reads.len() <= 50, "{} requests for 4 MiB", reads.len());
    assert!(reads.iter().any(|&(_, sectors)| sectors == 256), "no request has 128 KiB: {reads:?}");
    // Once more from memory.
    assert!(read_all(&node).unwrap() == bytes);
    assert_eq!(device.take_reads(), []);
}

#[test]
fn there_is_one_object_for_each_inode_and_unused_ones_go_on_demand() {
    let folder = Folder::new();
    let tree = folder.tree();
    fs::write(tree.join("a"), "1").unwrap();
    fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
    fs::write(tree.join("c"), "2").unwrap();
    let device = MemoryDisk::new(make(&folder, USUAL, 8 << 10, Some(&tree), ""));
    let disk = Disk::new(device.clone(), DeviceNumber::new(254, 0));
    let mounted = block_on(Ext4::mount(&disk, Ext4Options::default())).unwrap();
    let again = block_on(Ext4::mount(&disk, Ext4Options::default())).unwrap();
    assert!(Arc::ptr_eq(&mounted, &again), "one disk has one filesystem");
    drop(again);
    let root = mounted.root();
    let (a, b) = (look_up(&root, "a").unwrap(), look_up(&root, "b").unwrap());
    assert!(Arc::ptr_eq(&a, &b));
    assert_eq!(block_on(a.metadata()).unwrap().links, 2);
    assert_eq!(read_all(&a).unwrap(), b"1");
    read_all(&look_up(&root, "c").unwrap()).unwrap();
    let volume = mounted.volume.clone();
    assert_eq!(volume.live_inodes(), 3);
    device.take_reads();
    read_all(&look_up(&root, "c").unwrap()).unwrap();
    assert_eq!(device.take_reads(), [], "an unused inode keeps its pages");
    mounted.drop_caches();
    assert_eq!(volume.live_inodes(), 2, "the root and the one that is used");
    read_all(&look_up(&root, "c").unwrap()).unwrap();
    assert_eq!(device.take_reads().len(), 1, "its data was forgotten, its metadata not");
    assert!(disk.is_mounted());
    drop((mounted, root, b));
    assert!(!disk.is_mounted());
    assert_eq!(volume.live_inodes(), 1);
    assert_eq!(read_all(&a).unwrap(), b"1", "an open file outlives the mount");
    drop(a);
    assert_eq!((volume.live_inodes(), Arc::strong_count(&volume)), (0, 1));
}

#[test]
fn nothing_can_be_changed() {
    use crate::test_support::new;
    use crate::{AttributeChanges, NewNode, RenameFlags};
    let folder = Folder::new();
    let tree = folder.tree();
    fs::write(tree.join("a"), "1").unwrap();
    let (_, mounted) = mount(make(&folder, USUAL, 8 << 10, Some(&tree), ""), Ext4Options::default()).unwrap();
    let root = mounted.root();
    let a = look_up(&root, "a").unwrap();
    assert_eq!(block_on(root.create(b"b", &new(NewNode::Regular))).err(), Some(Errno::EROFS));
    assert_eq!(block_on(root.unlink(b"a")), Err(Errno::EROFS));
    assert_eq!(block_on(root.link(b"b", &a)), Err(Errno::EROFS));
    assert_eq!(block_on(root.remove_directory(b"lost+found")), Err(Errno::EROFS));
    assert_eq!(block_on(root.rename(b"a", &root, b"b", RenameFlags::empty())), Err(Errno::EROFS));
    assert_eq!(block_on(a.set_attributes(&AttributeChanges::size(0))), Err(Errno::EROFS));
    assert_eq!(block_on(a.create(b"b", &new(NewNode::Regular))).err(), Some(Errno::ENOTDIR));
    assert_eq!(block_on(a.read_link()).err(), Some(Errno::EINVAL));
}

#[test]
fn the_status_is_what_the_superblock_says() {
    let folder = Folder::new();
    let image = make(&folder, USUAL, 8 << 10, None, "");
    let text = run("dumpe2fs", &["-h", folder.path().join("image").to_str().unwrap()], "");
    let field = |name: &str| -> i64 {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let (_, mounted) = mount(image, Ext4Options::default()).unwrap();
    let status = block_on(mounted.status()).unwrap();
    assert_eq!((status.f_type, status.f_bsize), (0xef53, field("Block size:")));
    assert_eq!(status.f_bfree, field("Free blocks:"));
    assert_eq!(status.f_bavail, field("Free blocks:") - field("Reserved block count:"));
    assert_eq!((status.f_files, status.f_ffree), (field("Inode count:"), field("Free inodes:")));
    assert_eq!(status.f_blocks, field("Block count:") - field("Overhead clusters:"));
}
