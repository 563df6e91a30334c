//! Damaged images: errors, never a panic, never a walk without an end.

use std::collections::VecDeque;
use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;

use linux_abi::Errno;
use linux_abi::stat::FileType;

use super::image::{Folder, USUAL, index_directories, make, run};
use super::mount;
use crate::ext4::{Ext4, Ext4Options};
use crate::file_data;
use crate::test_disk::block_on;
use crate::test_support::{Random, iterations};
use crate::{DirectoryEntry, FileSystem, INode};

/// The most inodes that a walk looks at: a damaged tree may lead in circles.
const MOST_INODES: usize = 300;
/// The most bytes that are read of a file whose size may be anything.
const MOST_BYTES: usize = 200 << 10;

/// Uses everything that can be reached. Returns how many operations failed.
fn use_everything(mounted: &Ext4) -> usize {
    let mut errors = 0;
    let mut waiting = VecDeque::from([mounted.root()]);
    let mut seen = 0;
    while let Some(node) = waiting.pop_front() {
        seen += 1;
        if seen > MOST_INODES {
            break;
        }
        match node.file_type() {
            FileType::Directory => errors += walk_directory(&node, &mut waiting),
            FileType::SymbolicLink => errors += usize::from(block_on(node.read_link()).is_err()),
            FileType::Regular => {
                let mut bytes = [0; 8192];
                let mut at = 0;
                while at < MOST_BYTES {
                    match block_on(file_data::read(&*node, at as u64, &mut bytes)) {
                        Ok(0) => break,
                        Ok(count) => at += count,
                        Err(_) => {
                            errors += 1;
                            at += bytes.len();
                        }
                    }
                }
            }
            _ => {}
        }
    }
    errors
}

fn walk_directory(directory: &Arc<dyn INode>, waiting: &mut VecDeque<Arc<dyn INode>>) -> usize {
    let mut names = Vec::new();
    let mut sink = |entry: &DirectoryEntry<'_>| {
        names.push(entry.name.to_vec());
        if names.len() < 2 * MOST_INODES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let mut errors = usize::from(block_on(directory.iterate(0, &mut sink)).is_err());
    names.push(b"nonesuch".to_vec());
    for name in names {
        match block_on(directory.lookup(&name)) {
            Ok(node) => waiting.push_back(node),
            Err(_) => errors += 1,
        }
    }
    errors
}

fn sample(options: &[&str]) -> Vec<u8> {
    let folder = Folder::new();
    let tree = folder.tree();
    fs::create_dir(tree.join("d")).unwrap();
    for number in 0..150 {
        fs::write(
            tree.join(format!("d/a rather long name of a file {number}")),
            vec![number as u8; number * 40],
        )
        .unwrap();
    }
    fs::write(tree.join("large"), vec![5; 300_000]).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    for piece in 0..40 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, &[7; 1024], piece * 20_000).unwrap();
    }
    std::os::unix::fs::symlink("t".repeat(200), tree.join("link")).unwrap();
    make(&folder, options, 4 << 10, Some(&tree), "");
    index_directories(&folder)
}

/// Where there is something: random damage elsewhere hits nothing.
fn interesting(image: &[u8]) -> Vec<usize> {
    (1024..image.len()).filter(|&at| image[at] != 0).collect()
}

#[test]
fn random_damage_is_survived() {
    let small: &[&str] = &["-t", "ext4", "-b", "1024", "-J", "size=1", "-N", "400"];
    // With checksums most damage is found at once; without them it goes deep.
    let without: &[&str] = &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^has_journal", "-N", "400"];
    let pointers: &[&str] = &["-t", "ext2", "-b", "1024", "-N", "400"];
    let mut random = Random::new(77);
    for options in [small, without, pointers] {
        let image = sample(options);
        let places = interesting(&image);
        let (_, mounted) = mount(image.clone(), Ext4Options::default()).unwrap();
        assert_eq!(use_everything(&mounted), 3, "the three names that are not there are the only errors");
        drop(mounted);
        let (mut refused, mut errors) = (0, 0);
        for _ in 0..iterations(60) {
            let mut damaged = image.clone();
            for _ in 0..=random.below(40) {
                let at = *random.pick(&places);
                match random.below(4) {
                    0 => damaged[at] = random.next() as u8,
                    1 => damaged[at] ^= 1 << random.below(8),
                    2 => damaged[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
                    _ => {
                        let (from, len) = (*random.pick(&places), random.below(64));
                        let piece: Vec<u8> = damaged[from..].iter().take(len).copied().collect();
                        damaged[at..].iter_mut().zip(piece).for_each(|(to, byte)| *to = byte);
                    }
                }
            }
            match mount(damaged, Ext4Options::default()) {
                Ok((_, mounted)) => errors += use_everything(&mounted),
                Err(_) => refused += 1,
            }
        }
        assert!(errors > 0, "{options:?}: no damage was noticed ({refused} refused)");
    }
}

/// Changes one byte, and says what an operation on the image then gives.
fn after_change(image: &[u8], at: usize, act: impl Fn(&Ext4) -> Errno) -> Errno {
    let mut image = image.to_vec();
    image[at] ^= 0x10;
    match mount(image, Ext4Options::default()) {
        Ok((_, mounted)) => act(&mounted),
        Err(refusal) => refusal.errno,
    }
}

#[test]
fn wrong_checksums_are_told_apart_from_wrong_structures() {
    let folder = Folder::new();
    let tree = folder.tree();
    fs::write(tree.join("a"), "1").unwrap();
    fs::create_dir(tree.join("d")).unwrap();
    let image = make(&folder, &["-t", "ext4", "-b", "4096"], 8 << 10, Some(&tree), "");
    let path = folder.path().join("image");
    let path = path.to_str().unwrap();
    let number = |text: &str, before: &str| -> usize {
        let rest = &text[text.find(before).unwrap_or_else(|| panic!("{before} in {text}")) + before.len()..];
        rest.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let look_up = |name: &'static str| {
        move |mounted: &Ext4| {
            block_on(mounted.root().lookup(name.as_bytes())).err().expect("the damage is noticed")
        }
    };
    // A byte of the volume's name, of a group's block number, of an inode's time, of an entry's name.
    assert_eq!(after_change(&image, 1024 + 0x78, look_up("a")), Errno::EBADMSG);
    assert_eq!(after_change(&image, 4096, look_up("a")), Errno::EBADMSG);
    let place = run("debugfs", &["-R", "imap a", path], "");
    let inode = number(&place, "located at block") * 4096
        + usize::from_str_radix(place.rsplit("0x").next().unwrap().trim(), 16).unwrap();
    assert_eq!(after_change(&image, inode + 8, look_up("a")), Errno::EBADMSG);
    let root_block = number(&run("debugfs", &["-R", "blocks /", path], ""), "");
    let entry = image[root_block * 4096..].iter().position(|&byte| byte == b'a').unwrap();
    assert_eq!(after_change(&image, root_block * 4096 + entry, look_up("a")), Errno::EBADMSG);
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let folder = Folder::new();
    let refusal = |options: &[&str], commands: &str, mount_options| {
        let image = make(&folder, options, 8 << 10, None, commands);
        mount(image, mount_options).err()
    };
    let inline = refusal(&["-t", "ext4", "-O", "inline_data"], "", Ext4Options::default()).unwrap();
    assert_eq!(
        (inline.errno, &*inline.reason),
        (Errno::EINVAL, "features that are not supported: inline_data")
    );
    let folded = refusal(&["-t", "ext4", "-O", "casefold"], "", Ext4Options::default()).unwrap();
    assert!(folded.reason.ends_with(" casefold"), "{folded}");
    let dirty = "feature needs_recovery\n";
    let journal = refusal(USUAL, dirty, Ext4Options::default()).unwrap();
    assert_eq!(journal.errno, Errno::EROFS);
    assert!(journal.reason.contains("noload"), "{journal}");
    assert_eq!(refusal(USUAL, dirty, Ext4Options::parse("noload").unwrap()), None);
    assert_eq!(refusal(&["-t", "ext4", "-O", "bigalloc"], "", Ext4Options::default()), None);
    assert_eq!(mount(vec![0; 1 << 20], Ext4Options::default()).err().unwrap().errno, Errno::EINVAL);
    assert_eq!(mount(vec![0; 512], Ext4Options::default()).err().unwrap().errno, Errno::EINVAL);
    let image = make(&folder, USUAL, 8 << 10, None, "");
    let cut = mount(image[..4 << 20].to_vec(), Ext4Options::default()).err().unwrap();
    assert!(cut.reason.contains("do not fit the disk"), "{cut}");
}

#[test]
fn unknown_options_are_refused() {
    assert_eq!(Ext4Options::parse("errors=remount-ro,norecovery"), Ok(Ext4Options { without_journal: true }));
    assert_eq!(Ext4Options::parse(""), Ok(Ext4Options::default()));
    assert_eq!(Ext4Options::parse("frobnicate"), Err(Errno::EINVAL));
}

#[test]
fn a_bad_sector_is_the_error_of_its_own_page_only() {
    let folder = Folder::new();
    let tree = folder.tree();
    fs::write(tree.join("a"), vec![3; 64 << 10]).unwrap();
    let image = make(&folder, &["-t", "ext4", "-b", "4096"], 8 << 10, Some(&tree), "");
    let blocks = run("debugfs", &["-R", "blocks a", folder.path().join("image").to_str().unwrap()], "");
    let blocks: Vec<u64> = blocks.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let (device, mounted) = mount(image, Ext4Options::default()).unwrap();
    device.spoil(blocks[5] * 8 + 3);
    let node = block_on(mounted.root().lookup(b"a")).unwrap();
    for page in 0..16 {
        let mut bytes = [0; 4096];
        let result = block_on(file_data::read(&*node, page * 4096, &mut bytes));
        assert_eq!(result, if page == 5 { Err(Errno::EIO) } else { Ok(4096) }, "page {page}");
    }
}
