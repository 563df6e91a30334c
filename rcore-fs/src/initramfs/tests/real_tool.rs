//! Archives that GNU cpio writes, where it is installed; elsewhere the test says so and has nothing to read.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// Archives a folder in the given format.
fn archive(folder: &Path, format: &str, names: &str) -> Option<Vec<u8>> {
    let mut cpio = Command::new("cpio")
        .args(["-o", "--quiet", "-H", format])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    cpio.stdin.take().expect("piped").write_all(names.as_bytes()).expect("cpio reads its names");
    let output = cpio.wait_with_output().expect("cpio ends");
    assert!(output.status.success());
    Some(output.stdout)
}

#[test]
fn archives_of_gnu_cpio_are_read() {
    let folder = std::env::temp_dir().join(format!("rcore-fs-cpio-{}", std::process::id()));
    fs::create_dir_all(folder.join("usr/bin")).unwrap();
    fs::write(folder.join("usr/bin/tool"), vec![3; 70_001]).unwrap();
    fs::hard_link(folder.join("usr/bin/tool"), folder.join("usr/bin/alias")).unwrap();
    fs::write(folder.join("empty"), b"").unwrap();
    symlink("usr/bin", folder.join("bin")).unwrap();
    let names = ".\nusr\nusr/bin\nusr/bin/tool\nusr/bin/alias\nempty\nbin\n";
    for format in ["newc", "crc"] {
        let Some(image) = archive(&folder, format, names) else {
            eprintln!("no cpio here: nothing to read");
            break;
        };
        for image in [gzip(&image), image] {
            let (_file_system, root, summary) = unpacked(&image);
            assert_eq!(summary, Summary { archives: 1, entries: 7, data_bytes: 70_001, trailing_bytes: 0 });
            assert_eq!(content(&root, "usr/bin/alias"), vec![3; 70_001]);
            let tool = look_up(&root, "usr/bin/tool").unwrap();
            assert!(Arc::ptr_eq(&tool, &look_up(&root, "usr/bin/alias").unwrap()));
            assert_eq!(finish(tool.metadata()).unwrap().links, 2);
            assert_eq!(*finish(look_up(&root, "bin").unwrap().read_link()).unwrap(), *b"usr/bin");
            assert_eq!(content(&root, "empty"), b"");
        }
    }
    fs::remove_dir_all(folder).unwrap();
}
