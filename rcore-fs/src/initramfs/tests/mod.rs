mod builder;
mod fuzz;
mod real_tool;

use std::sync::Arc;

use kernel_object::frame;
use linux_abi::Errno;
use linux_abi::stat::{DeviceNumber, FileType};

use super::*;
use crate::test_support::{clock, finish, names};
use crate::tmpfs::{Tmpfs, TmpfsOptions};
use crate::{FileSystem, INode, file_data};
use builder::{Builder, Fields, gzip};

fn empty_root() -> (Arc<Tmpfs>, Arc<dyn INode>) {
    let file_system = Tmpfs::new(clock, &TmpfsOptions::default()).unwrap();
    let root = file_system.root();
    (file_system, root)
}

fn look_up(root: &Arc<dyn INode>, path: &str) -> Result<Arc<dyn INode>, Errno> {
    path.split('/').try_fold(Arc::clone(root), |directory, name| finish(directory.lookup(name.as_bytes())))
}

fn content(root: &Arc<dyn INode>, path: &str) -> Vec<u8> {
    let file = look_up(root, path).unwrap();
    let mut bytes = vec![0; finish(file.metadata()).unwrap().size as usize];
    assert_eq!(finish(file_data::read(&*file, 0, &mut bytes)), Ok(bytes.len()));
    bytes
}

/// Unpacks an image that must be in order.
fn unpacked(image: &[u8]) -> (Arc<Tmpfs>, Arc<dyn INode>, Summary) {
    let (file_system, root) = empty_root();
    let summary = finish(unpack(image, &root)).unwrap_or_else(|error| panic!("{error}"));
    (file_system, root, summary)
}

fn problem(image: &[u8]) -> Problem {
    let (_file_system, root) = empty_root();
    finish(unpack(image, &root)).expect_err("the image is damaged").problem
}

fn sample() -> Builder {
    Builder::new()
        .directory(".")
        .directory("bin")
        .file("bin/busybox", &[7; 10_000])
        .link("bin/sh", "busybox")
        .directory("dev")
        .device("dev/console", 5, 1)
        .file("empty", b"")
        .file("./etc.conf", b"answer=42\n")
}

#[test]
fn every_kind_of_file_is_unpacked() {
    let (_file_system, root, summary) = unpacked(&sample().finish());
    assert_eq!(summary, Summary { archives: 1, entries: 8, data_bytes: 10_010, trailing_bytes: 0 });
    assert_eq!(names(&root), ["bin", "dev", "empty", "etc.conf"]);
    assert_eq!(content(&root, "bin/busybox"), [7; 10_000]);
    assert_eq!(content(&root, "etc.conf"), b"answer=42\n");
    assert_eq!(*finish(look_up(&root, "bin/sh").unwrap().read_link()).unwrap(), *b"busybox");
    let console = finish(look_up(&root, "dev/console").unwrap().metadata()).unwrap();
    assert_eq!((console.file_type, console.device), (FileType::CharacterDevice, DeviceNumber::new(5, 1)));
    for path in ["bin", "bin/busybox", "bin/sh", "dev/console"] {
        let metadata = finish(look_up(&root, path).unwrap().metadata()).unwrap();
        assert_eq!(metadata.modified.tv_sec, 1_700_000_000, "{path}");
        assert_eq!((metadata.user, metadata.group), (1000, 100), "{path}");
    }
    assert_eq!(finish(look_up(&root, "bin").unwrap().metadata()).unwrap().permissions, 0o755);
    assert_eq!(finish(root.metadata()).unwrap().permissions, 0o755);
}

#[test]
fn names_of_one_file_share_it_wherever_the_data_is() {
    let data_last = Builder::new().hard_link("a", 7, b"").hard_link("b", 7, b"data").finish();
    let data_first = Builder::new().hard_link("a", 7, b"data").hard_link("b", 7, b"").finish();
    for image in [data_last, data_first] {
        let (_file_system, root, _) = unpacked(&image);
        let metadata = finish(look_up(&root, "a").unwrap().metadata()).unwrap();
        assert_eq!(metadata.links, 2);
        assert_eq!(finish(look_up(&root, "b").unwrap().metadata()), Ok(metadata));
        assert_eq!(content(&root, "a"), b"data");
    }
    // In another archive the same number is another file.
    let mut image = Builder::new().hard_link("a", 7, b"one").finish();
    image.extend(Builder::new().hard_link("b", 7, b"two").finish());
    let (_file_system, root, _) = unpacked(&image);
    assert_eq!((content(&root, "a"), content(&root, "b")), (b"one".to_vec(), b"two".to_vec()));
}

#[test]
fn archives_follow_each_other_compressed_or_not() {
    let first = sample().finish();
    let second = Builder::new()
        .directory("bin")
        .link("sbin", "/bin")
        .file("sbin/init", b"init")
        .file("empty", b"no longer")
        .finish();
    let padded = |part: &[u8]| [part, &[0; 512 - 3][..]].concat();
    for image in [
        [first.clone(), second.clone()].concat(),
        [padded(&first), second.clone()].concat(),
        [padded(&first), gzip(&second)].concat(),
        [gzip(&first), gzip(&second)].concat(),
        [padded(&gzip(&first)), padded(&second)].concat(),
        gzip(&[padded(&first), second.clone()].concat()),
    ] {
        let (_file_system, root, summary) = unpacked(&image);
        assert_eq!((summary.archives, summary.trailing_bytes), (2, 0));
        assert_eq!(content(&root, "bin/init"), b"init");
        assert_eq!(content(&root, "empty"), b"no longer");
        assert_eq!(content(&root, "bin/busybox"), [7; 10_000]);
    }
}

#[test]
fn what_follows_the_last_archive_is_counted() {
    let image = [sample().finish(), vec![0; 5], b"garbage".to_vec()].concat();
    assert_eq!(unpacked(&image).2.trailing_bytes, 7);
    let image = [gzip(&sample().finish()), b"x".to_vec()].concat();
    assert_eq!(unpacked(&image).2.trailing_bytes, 1);
}

#[test]
fn damage_is_named() {
    let with = |at: usize, bytes: &[u8]| {
        let mut image = Builder::new().file("name", b"data").finish();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        problem(&image)
    };
    assert_eq!(problem(b""), Problem::Empty);
    assert_eq!(problem(&[0; 4096]), Problem::Empty);
    assert_eq!(problem(b"#!/bin/sh\n"), Problem::BadMagic);
    assert_eq!(problem(b"\xfd7zXZ\0\0\x04"), Problem::UnsupportedCompression("xz"));
    assert_eq!(problem(b"\x28\xb5\x2f\xfd\x04"), Problem::UnsupportedCompression("zstd"));
    assert_eq!(with(5, b"7"), Problem::BadMagic);
    assert_eq!(with(10, b"g"), Problem::BadNumber);
    assert_eq!(with(14, b"000001A4"), Problem::BadMode(0o644));
    assert_eq!(with(54, b"00001000"), Problem::TruncatedData);
    assert_eq!(with(54, b"FFFFFFFF"), Problem::TruncatedData);
    assert_eq!(with(94, b"00000000"), Problem::EmptyName);
    assert_eq!(with(94, b"00000001"), Problem::EmptyName);
    assert_eq!(with(94, b"00001001"), Problem::NameTooLong(4097));
    assert_eq!(with(94, b"00000FFF"), Problem::TruncatedName);
    assert_eq!(with(94, b"00000004"), Problem::BadName);
    assert_eq!(with(111, b"\0"), Problem::BadName);
    assert_eq!(with(110, b"../a"), Problem::UnsafeName);
    assert_eq!(problem(&Builder::new().link("a", "").finish()), Problem::BadLink(0));
    assert_eq!(problem(&Builder::new().link("a", &"x".repeat(4096)).finish()), Problem::BadLink(4096));
    assert_eq!(problem(&Builder::new().file("no/such", b"").finish()), Problem::Refused(Errno::ENOENT));
    assert_eq!(
        problem(&Builder::new().file("a", b"").file("a/b", b"").finish()),
        Problem::Refused(Errno::ENOTDIR)
    );
    let loops = Builder::new().link("a", "b").link("b", "a").file("a/c", b"").finish();
    assert_eq!(problem(&loops), Problem::Refused(Errno::ELOOP));
    let full = Builder::new().directory("d").file("d/f", b"").file("d", b"").finish();
    assert_eq!(problem(&full), Problem::Refused(Errno::ENOTEMPTY));
}

#[test]
fn errors_say_where() {
    let image = Builder::new().directory("etc").file("etc/passwd", b"root").without_trailer();
    let (_file_system, root) = empty_root();
    let error = finish(unpack(&image[..image.len() - 2], &root)).unwrap_err();
    assert_eq!(error.to_string(), "etc/passwd (at byte 116): truncated: the data goes beyond the end");
}

#[test]
fn checksums_are_checked() {
    let image = Builder::with_checksums().file("name", b"data").finish();
    let (_file_system, root, _) = unpacked(&image);
    assert_eq!(content(&root, "name"), b"data");
    let mut damaged = image;
    damaged[116] ^= 1;
    assert_eq!(problem(&damaged), Problem::BadChecksum);
}

#[test]
fn no_cut_goes_unnoticed() {
    let image = Builder::new().directory("d").file("d/f", b"some data").link("l", "d").finish();
    // The padding after the trailer's name is all that may be missing.
    let end = image.len() - (image.len() - image.windows(10).position(|w| w == b"TRAILER!!!").unwrap() - 11);
    for length in 0..end {
        let error = problem(&image[..length]);
        let is_cut = matches!(
            error,
            Problem::Empty
                | Problem::TruncatedHeader
                | Problem::TruncatedName
                | Problem::TruncatedData
                | Problem::MissingTrailer
        );
        assert!(is_cut, "cut at {length}: {error}");
    }
    unpacked(&image[..end]);
    let compressed = gzip(&image);
    for length in 2..compressed.len() {
        let error = problem(&compressed[..length]);
        assert_eq!(error, Problem::BadCompression("it ends too early"), "cut at {length}");
    }
}

#[test]
fn damaged_compression_is_noticed() {
    let compressed = gzip(&sample().finish());
    let length = compressed.len();
    let with = |at: usize, bits: u8| {
        let mut image = compressed.clone();
        image[at] ^= bits;
        problem(&image)
    };
    assert_eq!(with(2, 1), Problem::BadCompression("unknown method"));
    assert_eq!(with(3, 0x80), Problem::BadCompression("unknown method"));
    assert_eq!(with(length - 8, 1), Problem::BadCompression("wrong checksum"));
    assert_eq!(with(length - 4, 1), Problem::BadCompression("wrong length"));
    // A member that holds something else.
    assert_eq!(problem(&gzip(b"hello, world")), Problem::BadMagic);
    assert_eq!(problem(&gzip(&sample().without_trailer())), Problem::MissingTrailer);
}

#[test]
fn too_many_files_are_an_error() {
    let options = TmpfsOptions { most_inodes: Some(5), ..TmpfsOptions::default() };
    let file_system = Tmpfs::new(clock, &options).unwrap();
    let error = finish(unpack(&sample().finish(), &file_system.root())).unwrap_err();
    assert_eq!(error.problem, Problem::Refused(Errno::ENOSPC));
    assert_eq!(error.name.as_deref(), Some("dev/console"));
}

/// How often unpacking lets others run.
fn polls_to_unpack(image: &[u8]) -> usize {
    let (_file_system, root) = empty_root();
    let mut unpacking = std::pin::pin!(unpack(image, &root));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for polls in 1.. {
        if unpacking.as_mut().poll(&mut context).is_ready() {
            return polls;
        }
    }
    unreachable!()
}

#[test]
fn others_run_while_a_large_image_is_unpacked() {
    assert_eq!(polls_to_unpack(&sample().finish()), 1, "a small one goes in one piece");
    let large = Builder::new().file("large", &vec![1; 20 << 20]).finish();
    let many =
        (0..3000).fold(Builder::new(), |image, number| image.file(&format!("f{number}"), b"x")).finish();
    for image in [large.clone(), gzip(&large)] {
        let polls = polls_to_unpack(&image);
        assert!((20..=25).contains(&polls), "{polls} polls for 20 MiB");
    }
    assert!(polls_to_unpack(&many) > 8, "many small files");
}

#[test]
fn too_little_memory_is_an_error() {
    frame::host::use_private(64);
    let (_file_system, root) = empty_root();
    let image = gzip(&Builder::new().file("large", &vec![1; 1 << 20]).finish());
    let error = finish(unpack(&image, &root)).unwrap_err();
    assert_eq!(error.problem, Problem::Refused(Errno::ENOMEM));
    assert_eq!(error.name.as_deref(), Some("large"));
}

#[test]
fn special_fields_do_not_confuse() {
    // A directory has several links without being several names of one file.
    let directory = |inode| Fields { inode, mode: 0o040700, links: 3, device: (0, 0) };
    let image = Builder::new().entry("a", directory(5), b"").entry("b", directory(5), b"").finish();
    let (_file_system, root, _) = unpacked(&image);
    assert_ne!(look_up(&root, "a").unwrap().number(), look_up(&root, "b").unwrap().number());
    // One name twice, of one file.
    let image = Builder::new().hard_link("a", 5, b"x").hard_link("a", 5, b"").finish();
    let (_file_system, root, _) = unpacked(&image);
    assert_eq!(content(&root, "a"), b"x");
}
