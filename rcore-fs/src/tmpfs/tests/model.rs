//! Random operations on a tmpfs and on a naive model of one: every result and the whole tree must agree.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::test_support::{Random, iterations};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const PAGE: u64 = 4096;

/// What the model knows about an inode. The real one has the same index.
struct Model {
    file_type: FileType,
    links: u32,
    /// Of a directory.
    entries: BTreeMap<&'static str, usize>,
    parent: usize,
    removed: bool,
    nameable: bool,
    data: Vec<u8>,
    pages: BTreeSet<u64>,
}

impl Model {
    fn new(file_type: FileType, links: u32, parent: usize) -> Self {
        Self {
            file_type,
            links,
            entries: BTreeMap::new(),
            parent,
            removed: false,
            nameable: false,
            data: Vec::new(),
            pages: BTreeSet::new(),
        }
    }

    fn is_directory(&self) -> bool {
        self.file_type == FileType::Directory
    }
}

struct Twins {
    models: Vec<Model>,
    nodes: Vec<Arc<dyn INode>>,
    file_system: Arc<Tmpfs>,
    log: Vec<String>,
}

impl Twins {
    fn new() -> Self {
        let (file_system, root) = file_system();
        let models = vec![Model::new(FileType::Directory, 2, 0)];
        Self { models, nodes: vec![root], file_system, log: Vec::new() }
    }

    fn is_inside(&self, mut directory: usize, ancestor: usize) -> bool {
        while directory != ancestor && directory != 0 {
            directory = self.models[directory].parent;
        }
        directory == ancestor
    }

    fn create(&mut self, directory: usize, name: &'static str, node: NewNode<'_>) {
        let file_type = node.file_type();
        let model = &self.models[directory];
        let expected = if !model.is_directory() {
            Err(Errno::ENOTDIR)
        } else if model.removed {
            Err(Errno::ENOENT)
        } else if model.entries.contains_key(name) {
            Err(Errno::EEXIST)
        } else {
            Ok(())
        };
        let made = make(&self.nodes[directory], name, node);
        assert_eq!(made.as_ref().map(|_| ()).map_err(|error| *error), expected);
        let Ok(made) = made else { return };
        let is_directory = file_type == FileType::Directory;
        let index = self.models.len();
        self.models.push(Model::new(file_type, if is_directory { 2 } else { 1 }, directory));
        self.nodes.push(made);
        self.models[directory].entries.insert(name, index);
        self.models[directory].links += u32::from(is_directory);
    }

    fn link(&mut self, directory: usize, name: &'static str, target: usize) {
        let (model, linked) = (&self.models[directory], &self.models[target]);
        let expected = if !model.is_directory() {
            Err(Errno::ENOTDIR)
        } else if linked.is_directory() {
            Err(Errno::EPERM)
        } else if linked.links == 0 && !linked.nameable || model.removed {
            Err(Errno::ENOENT)
        } else if model.entries.contains_key(name) {
            Err(Errno::EEXIST)
        } else {
            Ok(())
        };
        assert_eq!(finish(self.nodes[directory].link(name.as_bytes(), &self.nodes[target])), expected);
        if expected.is_ok() {
            self.models[directory].entries.insert(name, target);
            self.models[target].links += 1;
            self.models[target].nameable = false;
        }
    }

    fn remove(&mut self, directory: usize, name: &'static str, as_directory: bool) {
        let model = &self.models[directory];
        let found = model.entries.get(name).copied();
        let expected = match found {
            _ if !model.is_directory() => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
            Some(index) => match (self.models[index].is_directory(), as_directory) {
                (true, false) => Err(Errno::EISDIR),
                (false, true) => Err(Errno::ENOTDIR),
                (true, true) if !self.models[index].entries.is_empty() => Err(Errno::ENOTEMPTY),
                _ => Ok(()),
            },
        };
        let node = &self.nodes[directory];
        let name_bytes = name.as_bytes();
        let result = if as_directory {
            finish(node.remove_directory(name_bytes))
        } else {
            finish(node.unlink(name_bytes))
        };
        assert_eq!(result, expected);
        if let (Ok(()), Some(index)) = (expected, found) {
            self.models[directory].entries.remove(name);
            self.models[directory].links -= u32::from(as_directory);
            self.lose(index);
        }
    }

    fn lose(&mut self, index: usize) {
        let model = &mut self.models[index];
        if model.is_directory() {
            (model.links, model.removed) = (0, true);
        } else {
            model.links -= 1;
        }
    }

    fn rename(&mut self, from: usize, old: &'static str, to: usize, new: &'static str, flags: RenameFlags) {
        let expected = self.expect_rename(from, old, to, new, flags);
        assert_eq!(rename_with(&self.nodes[from], old, &self.nodes[to], new, flags), expected.map(|_| ()));
        let Ok(true) = expected else { return };
        let source = self.models[from].entries[old];
        let target = self.models[to].entries.get(new).copied();
        let is_directory = |twins: &Self, index: usize| u32::from(twins.models[index].is_directory());
        let source_counts = is_directory(self, source);
        self.models[from].entries.remove(old);
        self.models[from].links -= source_counts;
        self.models[to].entries.insert(new, source);
        self.models[to].links += source_counts;
        self.models[source].parent = to;
        if let Some(target) = target {
            let target_counts = is_directory(self, target);
            self.models[to].links -= target_counts;
            if flags.contains(RenameFlags::EXCHANGE) {
                self.models[from].entries.insert(old, target);
                self.models[from].links += target_counts;
                self.models[target].parent = from;
            } else {
                self.lose(target);
            }
        }
    }

    /// Whether something is moved at all, or why not.
    fn expect_rename(
        &self,
        from: usize,
        old: &str,
        to: usize,
        new: &str,
        flags: RenameFlags,
    ) -> Result<bool, Errno> {
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        if !self.models[from].is_directory() || !self.models[to].is_directory() {
            return Err(Errno::ENOTDIR);
        }
        let source = *self.models[from].entries.get(old).ok_or(Errno::ENOENT)?;
        let target = self.models[to].entries.get(new).copied();
        let source_is_directory = self.models[source].is_directory();
        match target {
            Some(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(Errno::EEXIST),
            None if exchange => return Err(Errno::ENOENT),
            Some(target) if target == source => return Ok(false),
            None if self.models[to].removed => return Err(Errno::ENOENT),
            _ => {}
        }
        if source_is_directory && self.is_inside(to, source) {
            return Err(Errno::EINVAL);
        }
        let Some(target) = target else { return Ok(true) };
        let target_is_directory = self.models[target].is_directory();
        if exchange {
            let into_itself = target_is_directory && self.is_inside(from, target);
            return if into_itself { Err(Errno::EINVAL) } else { Ok(true) };
        }
        match (source_is_directory, target_is_directory) {
            (true, false) => Err(Errno::ENOTDIR),
            (false, true) if self.is_inside(from, target) => Err(Errno::ENOTEMPTY),
            (false, true) => Err(Errno::EISDIR),
            (true, true) if !self.models[target].entries.is_empty() => Err(Errno::ENOTEMPTY),
            _ => Ok(true),
        }
    }

    fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) {
        let model = &mut self.models[file];
        let expected = if model.file_type == FileType::Regular { Ok(()) } else { Err(Errno::EINVAL) };
        assert_eq!(write(&self.nodes[file], offset, bytes), expected);
        if expected.is_err() || bytes.is_empty() {
            return;
        }
        let end = offset as usize + bytes.len();
        model.data.resize(model.data.len().max(end), 0);
        model.data[offset as usize..end].copy_from_slice(bytes);
        model.pages.extend(offset / PAGE..(end as u64).div_ceil(PAGE));
    }

    fn truncate(&mut self, file: usize, size: u64) {
        let model = &mut self.models[file];
        let expected = match model.file_type {
            FileType::Regular => Ok(()),
            FileType::Directory => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        };
        assert_eq!(finish(self.nodes[file].set_attributes(&AttributeChanges::size(size))), expected);
        if expected.is_ok() {
            model.data.resize(size as usize, 0);
            model.pages.retain(|&page| page < size.div_ceil(PAGE));
        }
    }

    fn compare(&self) {
        let mut data_pages = 0;
        let mut charged = 0;
        for (model, node) in self.models.iter().zip(&self.nodes) {
            let metadata = metadata(node);
            assert_eq!((metadata.file_type, metadata.links), (model.file_type, model.links));
            assert_eq!(metadata.blocks, model.pages.len() as u64 * 8);
            data_pages += model.pages.len() as u64;
            charged += if model.is_directory() { 1 } else { u64::from(model.links.max(1)) };
            match model.file_type {
                FileType::Regular => {
                    assert_eq!(metadata.size, model.data.len() as u64);
                    assert_eq!(read(node, 0, model.data.len() + 10), model.data);
                }
                FileType::Directory => {
                    let mut listed = names(node);
                    listed.sort();
                    assert_eq!(listed, model.entries.keys().copied().collect::<Vec<_>>());
                    for (name, index) in &model.entries {
                        let found = finish(node.lookup(name.as_bytes())).unwrap();
                        assert!(Arc::ptr_eq(&found, &self.nodes[*index]));
                    }
                }
                _ => {}
            }
        }
        assert_eq!(self.file_system.volume.pages.used(), data_pages);
        assert_eq!(self.file_system.volume.inodes.used(), charged);
    }

    fn step(&mut self, random: &mut Random) {
        let any = random.below(self.models.len());
        let directory = self.some_directory(random);
        let (name, other_name) = (*random.pick(&NAMES), *random.pick(&NAMES));
        let choice = random.below(100);
        self.log.push(format!("{choice}: {any} {directory} {name} {other_name}"));
        match choice {
            0..12 => self.create(directory, name, NewNode::Regular),
            12..24 => self.create(directory, name, NewNode::Directory),
            24..27 => self.create(directory, name, NewNode::SymbolicLink(b"a/b")),
            27..29 => self.create(any, name, NewNode::Fifo),
            29..31 => {
                let node = finish(self.nodes[0].create_unnamed(&new(NewNode::Regular), true)).unwrap();
                self.models.push(Model { nameable: true, ..Model::new(FileType::Regular, 0, 0) });
                self.nodes.push(node);
            }
            31..40 => self.link(directory, name, any),
            40..50 => self.remove(directory, name, false),
            50..56 => self.remove(directory, name, true),
            56..80 => {
                let to = self.some_directory(random);
                let flags = match random.below(4) {
                    0 => RenameFlags::EXCHANGE,
                    1 => RenameFlags::NOREPLACE,
                    _ => RenameFlags::empty(),
                };
                self.rename(directory, name, to, other_name, flags);
            }
            80..92 => {
                let bytes = vec![random.next() as u8; random.below(6000)];
                self.write(any, random.below(20_000) as u64, &bytes);
            }
            _ => self.truncate(any, random.below(20_000) as u64),
        }
    }

    /// Mostly a directory, and mostly one that is in use.
    fn some_directory(&self, random: &mut Random) -> usize {
        let mut chosen = 0;
        for _ in 0..4 {
            chosen = random.below(self.models.len());
            if self.models[chosen].is_directory() && !self.models[chosen].removed {
                break;
            }
        }
        chosen
    }
}

#[test]
fn behaves_like_the_model() {
    for seed in 1..=iterations(60) as u64 {
        let mut random = Random::new(seed);
        let mut twins = Twins::new();
        for round in 0..400 {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                twins.step(&mut random);
                if round % 20 == 0 {
                    twins.compare();
                }
            }));
            if let Err(panic) = outcome {
                eprintln!(
                    "seed {seed}, the last steps: {:#?}",
                    &twins.log[twins.log.len().saturating_sub(5)..]
                );
                std::panic::resume_unwind(panic);
            }
        }
        twins.compare();
        let volume = Arc::clone(&twins.file_system.volume);
        drop(twins);
        assert_eq!((volume.inodes.used(), volume.pages.used()), (0, 0));
    }
}
