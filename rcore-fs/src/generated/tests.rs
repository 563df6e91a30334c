use std::collections::BTreeMap;
use std::fmt::Write;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use kernel_object::frame;
use linux_abi::Errno;
use linux_abi::stat::FileType;
use linux_abi::statfs::PROC_SUPER_MAGIC;

use super::*;
use crate::test_support::{clock, finish, list, make, names};
use crate::{Attempt, AttributeChanges, Contents, FileSystem, FileSystemFlags, INode, NewNode};

fn attributes(inode: u64, permissions: u32) -> Attributes {
    Attributes::new(inode, permissions, clock())
}

fn reader(file: impl GeneratedFile + 'static) -> GeneratedReader {
    let node: Arc<dyn INode> = FileNode::new(attributes(5, 0o444), file);
    match node.contents() {
        Contents::Generated(file) => GeneratedReader::new(file),
        _ => panic!("a generated file has generated contents"),
    }
}

fn read(reader: &GeneratedReader, offset: u64, length: usize) -> Result<String, Errno> {
    let mut bytes = vec![0; length];
    let count = finish(reader.read(offset, &mut bytes))?;
    Ok(String::from_utf8(bytes[..count].to_vec()).unwrap())
}

/// A file that tells how often it was asked.
fn counting() -> impl GeneratedFile {
    let asked = AtomicU32::new(0);
    TextFile(move |output: &mut ContentBuffer| {
        let round = asked.fetch_add(1, Ordering::Relaxed);
        (0..100).try_for_each(|line| writeln!(output, "round {round} line {line}"))
    })
}

#[test]
fn a_text_does_not_change_under_its_reader() {
    let reader = reader(counting());
    let whole = read(&reader, 0, 10_000).unwrap();
    assert!(whole.starts_with("round 0 line 0\n") && whole.ends_with("round 0 line 99\n"));
    let mut pieces = String::new();
    loop {
        // Not from the start, which would be a new text.
        let piece = read(&reader, 1 + pieces.len() as u64, 7).unwrap();
        if piece.is_empty() {
            break;
        }
        pieces.push_str(&piece);
    }
    assert_eq!(pieces, whole[1..]);
    assert!(read(&reader, 0, 100).unwrap().starts_with("round 1 "), "the start is a new text");
    assert!(read(&reader, 15, 100).unwrap().starts_with("round 1 line 1"));
    assert_eq!(read(&reader, u64::MAX, 5).unwrap(), "");
}

#[test]
fn each_open_file_has_its_own_text() {
    let node: Arc<dyn INode> = FileNode::new(attributes(5, 0o444), counting());
    let Contents::Generated(file) = node.contents() else { panic!("no content") };
    let (first, second) = (GeneratedReader::new(Arc::clone(&file)), GeneratedReader::new(file));
    assert!(read(&first, 0, 9).unwrap().starts_with("round 0"));
    assert!(read(&second, 0, 9).unwrap().starts_with("round 1"));
    assert_eq!(read(&first, 6, 1).unwrap(), "0");
    // A first read that is not at the start generates as well.
    let Contents::Generated(file) = node.contents() else { panic!("no content") };
    assert_eq!(read(&GeneratedReader::new(file), 6, 1).unwrap(), "2");
}

/// A file whose content takes a while: it waits for a flag.
struct Slow {
    ready: AtomicBool,
    begun: AtomicU32,
}

impl GeneratedFile for Arc<Slow> {
    fn produce(&self, mut output: ContentBuffer) -> Attempt<'_, ContentBuffer> {
        let round = self.begun.fetch_add(1, Ordering::Relaxed);
        Attempt::wait(async move {
            output.append(b"first, ")?;
            poll_fn(|_| if self.ready.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending })
                .await;
            write!(output, "then {round}").map_err(|_| Errno::ENOMEM)?;
            Ok(output)
        })
    }
}

#[test]
fn a_slow_content_is_awaited_and_begun_once() {
    let slow = Arc::new(Slow { ready: AtomicBool::new(false), begun: AtomicU32::new(0) });
    let reader = reader(Arc::clone(&slow));
    let mut bytes = [0; 40];
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut future = pin!(reader.read(0, &mut bytes));
        assert!(future.as_mut().poll(&mut context).is_pending());
        assert!(future.as_mut().poll(&mut context).is_pending());
        // Meanwhile somebody else may begin as well, and give up.
        let mut other = [0; 4];
        let mut abandoned = Box::pin(reader.read(0, &mut other));
        assert!(abandoned.as_mut().poll(&mut context).is_pending());
        drop(abandoned);
        slow.ready.store(true, Ordering::Relaxed);
        assert_eq!(future.as_mut().poll(&mut context), Poll::Ready(Ok(13)));
    }
    assert_eq!(bytes[..13], *b"first, then 0");
    assert_eq!(slow.begun.load(Ordering::Relaxed), 2);
    assert_eq!(read(&reader, 7, 40).unwrap(), "then 0");
}

#[test]
fn failures_are_told_apart() {
    let broken = reader(TextFile(|_: &mut ContentBuffer| Err(std::fmt::Error)));
    assert_eq!(read(&broken, 0, 1), Err(Errno::EIO));
    let large = reader(TextFile(|output: &mut ContentBuffer| writeln!(output, "{:60000}", 1)));
    assert!(read(&large, 0, 1).is_ok());
    frame::host::use_private(8);
    frame::set_reserve(8);
    assert_eq!(read(&large, 0, 1), Err(Errno::ENOMEM), "programs may not use the kernel's reserve");
}

/// A file that keeps what is written to it.
struct Setting(Mutex<Vec<u8>>);

impl GeneratedFile for Setting {
    fn produce(&self, mut output: ContentBuffer) -> Attempt<'_, ContentBuffer> {
        let result = output.append(&self.0.lock().unwrap());
        result.map(|()| output).into()
    }

    fn consume(&self, offset: u64, input: &[u8]) -> Result<usize, Errno> {
        if offset != 0 {
            return Err(Errno::EINVAL);
        }
        *self.0.lock().unwrap() = input.to_vec();
        Ok(input.len())
    }
}

#[test]
fn a_setting_can_be_written_and_read_back() {
    let setting = reader(Setting(Mutex::new(b"60\n".to_vec())));
    assert_eq!(read(&setting, 0, 10).unwrap(), "60\n");
    assert_eq!(setting.write(0, b"10\n"), Ok(3));
    assert_eq!(read(&setting, 1, 10).unwrap(), "0\n", "an old text is not kept after a write");
    assert_eq!(setting.write(1, b"x"), Err(Errno::EINVAL));
    assert_eq!(reader(counting()).write(0, b"x"), Err(Errno::EINVAL));
}

#[test]
fn attributes_are_fixed_but_the_owner() {
    let owner = Arc::new(AtomicU32::new(0));
    let asked = Arc::clone(&owner);
    let file: Arc<dyn INode> =
        FileNode::new(attributes(7, 0o644).owned_by(move || (asked.load(Ordering::Relaxed), 9)), counting());
    owner.store(1000, Ordering::Relaxed);
    let metadata = finish(file.metadata()).unwrap();
    assert_eq!((metadata.user, metadata.group, metadata.size, metadata.inode), (1000, 9, 0, 7));
    assert_eq!(finish(file.set_attributes(&AttributeChanges::size(0))), Ok(()), "O_TRUNC must work");
    assert_eq!(finish(file.set_attributes(&AttributeChanges::permissions(0o777))), Err(Errno::EPERM));
}

#[test]
fn a_link_leads_where_its_callback_says() {
    let gone = Arc::new(AtomicBool::new(false));
    let is_gone = Arc::clone(&gone);
    let link: Arc<dyn INode> = LinkNode::new(attributes(3, 0o777), move || {
        if is_gone.load(Ordering::Relaxed) { Err(Errno::ENOENT) } else { Ok(Arc::from(&b"1234"[..])) }
    });
    assert_eq!(*finish(link.read_link()).unwrap(), *b"1234");
    gone.store(true, Ordering::Relaxed);
    assert_eq!(finish(link.read_link()).err(), Some(Errno::ENOENT));
}

#[test]
fn a_link_may_lead_to_an_object() {
    let link: Arc<dyn INode> =
        LinkNode::to_object(attributes(3, 0o777), || Ok(Arc::from(&b"pipe:[7]"[..])), || Ok(Arc::new(7u32)));
    assert_eq!(*finish(link.read_link()).unwrap(), *b"pipe:[7]");
    assert_eq!(link.jump().unwrap().unwrap().downcast_ref(), Some(&7u32));
    let path: Arc<dyn INode> = LinkNode::new(attributes(3, 0o777), || Ok(Arc::from(&b"x"[..])));
    assert!(path.jump().is_none());
}

/// A table of processes.
#[derive(Clone, Default)]
struct Processes(Arc<Mutex<BTreeMap<u64, ()>>>);

impl Processes {
    fn with(numbers: impl IntoIterator<Item = u64>) -> Self {
        let processes = Self::default();
        processes.0.lock().unwrap().extend(numbers.into_iter().map(|number| (number, ())));
        processes
    }

    fn remove(&self, number: u64) {
        self.0.lock().unwrap().remove(&number);
    }
}

impl DynamicEntries for Processes {
    fn next(&self, from: u64) -> Option<DynamicEntry> {
        let key = *self.0.lock().unwrap().range(from..).next()?.0;
        let inode = dynamic_inode_number(1, key);
        Some(DynamicEntry { key, name: key.to_string(), inode, file_type: FileType::Directory })
    }

    fn lookup<'a>(&'a self, name: &'a [u8]) -> Attempt<'a, Arc<dyn INode>> {
        let number = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        match number.filter(|number| self.0.lock().unwrap().contains_key(number)) {
            Some(number) => {
                Attempt::ready(DirectoryNode::new(attributes(dynamic_inode_number(1, number), 0o555)))
            }
            None => Attempt::failed(Errno::ENOENT),
        }
    }
}

fn process_directory(processes: &Processes) -> Arc<dyn INode> {
    let root = DirectoryNode::dynamic(attributes(1, 0o555), processes.clone());
    root.add("version", FileNode::new(attributes(2, 0o444), counting())).unwrap();
    root.add("sys", DirectoryNode::new(attributes(3, 0o555))).unwrap();
    assert_eq!(root.add("sys", DirectoryNode::new(attributes(4, 0o555))), Err(Errno::EEXIST));
    root
}

#[test]
fn fixed_entries_come_first_and_dynamic_ones_by_key() {
    let processes = Processes::with([1, 20, 300, 4000]);
    let root = process_directory(&processes);
    assert_eq!(names(&root), ["version", "sys", "1", "20", "300", "4000"]);
    for (name, inode, _) in list(&root, 0, 99) {
        assert_eq!(finish(root.lookup(name.as_bytes())).unwrap().number(), inode, "{name}");
    }
    assert_eq!(finish(root.lookup(b"21")).err(), Some(Errno::ENOENT));
    assert_eq!(finish(root.lookup(b"sys")).unwrap().file_type(), FileType::Directory);
    assert_eq!(finish(root.lookup(&[b'x'; 256])).err(), Some(Errno::ENAMETOOLONG));
    assert_eq!(finish(root.metadata()).unwrap().links, 3);
}

#[test]
fn a_scan_survives_processes_that_end() {
    let processes = Processes::with(1..=50);
    let root = process_directory(&processes);
    let (mut seen, mut from) = (Vec::new(), 0);
    loop {
        let batch = list(&root, from, 1);
        let Some(last) = batch.last() else { break };
        from = last.2;
        for (name, ..) in batch {
            if let Ok(number) = name.parse::<u64>() {
                // The one that was just seen ends, and so does one that comes next.
                processes.remove(number);
                processes.remove(number + 10);
            }
            seen.push(name);
        }
    }
    let expected: Vec<String> = ["version".into(), "sys".into()]
        .into_iter()
        .chain((1..=50).filter(|number| (number - 1) / 10 % 2 == 0).map(|number: u64| number.to_string()))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn entries_can_be_taken_away() {
    let root = DirectoryNode::new(attributes(1, 0o555));
    root.add("disk", DirectoryNode::new(attributes(2, 0o555))).unwrap();
    assert_eq!(root.remove("disk").unwrap().number(), 2);
    assert!(root.remove("disk").is_none());
    assert_eq!(root.add("a/b", DirectoryNode::new(attributes(2, 0o555))), Err(Errno::EINVAL));
}

#[test]
fn programs_cannot_change_the_tree() {
    let root = process_directory(&Processes::default());
    assert_eq!(make(&root, "x", NewNode::Regular).err(), Some(Errno::EPERM));
    assert_eq!(finish(root.unlink(b"version")), Err(Errno::EPERM));
    assert_eq!(finish(root.remove_directory(b"sys")), Err(Errno::EPERM));
    let sibling = Arc::clone(&root);
    let flags = crate::RenameFlags::empty();
    assert_eq!(finish(root.rename(b"version", &sibling, b"y", flags)), Err(Errno::EPERM));
}

#[test]
fn a_root_can_be_mounted() {
    let root = process_directory(&Processes::default());
    let file_system = GeneratedFileSystem::new("proc", PROC_SUPER_MAGIC, Arc::clone(&root));
    assert!(Arc::ptr_eq(&file_system.root(), &root));
    assert_eq!(finish(file_system.status()).unwrap().f_type, 0x9fa0);
    assert!(file_system.flags().contains(FileSystemFlags::VOLATILE_NAMES));
    assert_eq!(file_system.name(), "proc");
}

#[test]
fn dynamic_numbers_are_stable_and_apart() {
    let numbers: std::collections::BTreeSet<u64> =
        (0..100).flat_map(|parent| (0..100).map(move |key| dynamic_inode_number(parent, key))).collect();
    assert_eq!(numbers.len(), 10_000);
    assert!(numbers.iter().all(|number| number >> 63 == 1));
    assert_eq!(dynamic_inode_number(1, 2), dynamic_inode_number(1, 2));
}
