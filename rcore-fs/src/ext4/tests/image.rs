//! Making images.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What Debian's mke2fs makes by default, whatever version it is.
pub(super) const USUAL: &[&str] = &["-t", "ext4", "-O", "metadata_csum_seed,orphan_file"];

/// A folder that goes with its owner.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("zcore-ext4-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn tree(&self) -> PathBuf {
        let tree = self.0.join("tree");
        fs::create_dir_all(&tree).expect("a folder for the tree");
        tree
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a tool of e2fsprogs, wherever Debian puts it, with text as its input.
pub(super) fn run(tool: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(tool);
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(arguments).env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{tool} (package e2fsprogs): {error}"));
    // A child that does not read its input is judged by its status.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the tool ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    // e2fsck says 1 if it changed something, as it was told to.
    let is_fine = output.status.success() || (tool == "e2fsck" && output.status.code() == Some(1));
    assert!(is_fine, "{tool} {arguments:?}: {text}{complaints}");
    text
}

/// Makes an image of so many KiB, filled from a tree if there is one, then changed by commands of debugfs.
pub(super) fn make(
    folder: &Folder,
    options: &[&str],
    kib: usize,
    tree: Option<&Path>,
    commands: &str,
) -> Vec<u8> {
    let image = folder.path().join("image");
    let _ = fs::remove_file(&image);
    let (image_text, size) = (image.to_str().expect("a plain path"), format!("{kib}k"));
    let mut arguments = vec!["-q", "-F"];
    arguments.extend(options);
    if let Some(tree) = tree {
        arguments.extend(["-d", tree.to_str().expect("a plain path")]);
    }
    arguments.extend([image_text, &size]);
    run("mke2fs", &arguments, "");
    if !commands.is_empty() {
        run("debugfs", &["-w", "-f", "-", image_text], commands);
    }
    fs::read(&image).expect("the image")
}

/// Lets e2fsck index the directories of the image that was made last.
pub(super) fn index_directories(folder: &Folder) -> Vec<u8> {
    let image = folder.path().join("image");
    run("e2fsck", &["-f", "-y", "-D", image.to_str().expect("a plain path")], "");
    fs::read(&image).expect("the image")
}

/// Commands of debugfs that create empty files with these names.
pub(super) fn create_files(directory: &str, source: &Path, names: impl Iterator<Item = String>) -> String {
    let mut commands = format!("cd {directory}\n");
    for name in names {
        writeln!(commands, "write {} {name}", source.display()).expect("text grows");
    }
    commands
}
