//! Directory operations of tmpfs. Each is one step for all others: it runs with the volume's tree locked.

use alloc::sync::{Arc, Weak};
use std::ops::ControlFlow;

use kernel_object::frame;
use linux_abi::Errno;

use super::node::Node;
use crate::inode::{Creation, DirectoryEntry, DirectorySink, NewNode};
use crate::metadata::Touch;
use crate::names::{check_length, check_new_name, check_old_name};

/// How many entries a scan hands on with the locks held.
const ENTRIES_PER_BATCH: usize = 64;

impl Node {
    pub fn find(&self, name: &[u8]) -> Result<Arc<Node>, Errno> {
        self.expect_directory()?;
        check_length(name)?;
        let _tree = self.volume.tree.lock();
        self.state.lock().entries.get(name).cloned().ok_or(Errno::ENOENT)
    }

    pub fn make(&self, name: &[u8], creation: &Creation<'_>) -> Result<Arc<Node>, Errno> {
        self.expect_directory()?;
        check_new_name(name)?;
        let is_directory = matches!(creation.node, NewNode::Directory);
        let node = Node::new(&self.volume, creation, if is_directory { 2 } else { 1 })?;
        if is_directory {
            node.state.lock().parent = Weak::clone(&self.this);
        }
        let _tree = self.volume.tree.lock();
        self.add_entry(name, Arc::clone(&node))?;
        Ok(node)
    }

    pub fn add_link(&self, name: &[u8], target: &Arc<Node>) -> Result<(), Errno> {
        self.expect_directory()?;
        check_new_name(name)?;
        if target.is_directory() {
            return Err(Errno::EPERM);
        }
        frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        let tree = self.volume.tree.lock();
        // Read now, written below: only a holder of the tree changes them.
        let (links, nameable) = {
            let state = target.state.lock();
            (state.links, state.nameable)
        };
        if links == 0 && !nameable {
            return Err(Errno::ENOENT);
        }
        if links == u32::MAX {
            return Err(Errno::EMLINK);
        }
        // The first name comes with the inode.
        if links > 0 {
            self.volume.inodes.take(1)?;
        }
        if let Err(error) = self.add_entry(name, Arc::clone(target)) {
            drop(tree);
            if links > 0 {
                self.volume.inodes.give_back(1);
            }
            return Err(error);
        }
        let mut state = target.state.lock();
        state.links = links + 1;
        state.nameable = false;
        state.changed = (self.volume.clock)();
        Ok(())
    }

    pub fn remove_name(&self, name: &[u8]) -> Result<(), Errno> {
        self.expect_directory()?;
        check_old_name(name)?;
        let tree = self.volume.tree.lock();
        let node = self.state.lock().entries.get(name).cloned().ok_or(Errno::ENOENT)?;
        if node.is_directory() {
            return Err(Errno::EISDIR);
        }
        let entry = self.remove_entry(name);
        node.lose_name();
        drop(tree);
        // The last user may be this one: the file's pages are freed without the lock.
        drop((entry, node));
        Ok(())
    }

    pub fn remove_empty_directory(&self, name: &[u8]) -> Result<(), Errno> {
        self.expect_directory()?;
        check_old_name(name)?;
        let tree = self.volume.tree.lock();
        let node = self.state.lock().entries.get(name).cloned().ok_or(Errno::ENOENT)?;
        if !node.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        node.expect_empty()?;
        let entry = self.remove_entry(name);
        node.lose_name();
        drop(tree);
        drop((entry, node));
        Ok(())
    }

    /// Hands the entries on, some at a time: between two batches others get at the locks.
    pub fn list(&self, from: u64, sink: &mut dyn DirectorySink) -> Result<(), Errno> {
        self.expect_directory()?;
        let mut next = from;
        loop {
            let from = next;
            let mut left = ENTRIES_PER_BATCH;
            let mut is_full = false;
            let mut batch = |entry: &DirectoryEntry<'_>| {
                if left == 0 {
                    return ControlFlow::Break(());
                }
                left -= 1;
                let result = sink.push(entry);
                match result {
                    ControlFlow::Continue(()) => next = entry.next,
                    ControlFlow::Break(()) => is_full = true,
                }
                result
            };
            let tree = self.volume.tree.lock();
            let scan = self.state.lock().entries.iterate(from, &mut batch, |node| (node.number, node.kind()));
            drop(tree);
            if scan.is_continue() || is_full {
                return Ok(());
            }
        }
    }

    pub fn expect_directory(&self) -> Result<(), Errno> {
        if self.is_directory() { Ok(()) } else { Err(Errno::ENOTDIR) }
    }

    /// With the tree locked: whether nothing is in this directory.
    pub fn expect_empty(&self) -> Result<(), Errno> {
        if self.state.lock().entries.is_empty() { Ok(()) } else { Err(Errno::ENOTEMPTY) }
    }

    /// With the tree locked: adds an entry under a free name and counts a new subdirectory's `..`.
    pub fn add_entry(&self, name: &[u8], node: Arc<Node>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.removed {
            return Err(Errno::ENOENT);
        }
        if state.entries.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        state.links += u32::from(node.is_directory());
        state.entries.insert(name, node);
        state.stamp(Touch::WRITTEN, (self.volume.clock)());
        Ok(())
    }

    /// With the tree locked: takes an entry out and stops counting a subdirectory's `..`.
    pub fn remove_entry(&self, name: &[u8]) -> Option<Arc<Node>> {
        let mut state = self.state.lock();
        let node = state.entries.remove(name)?;
        state.links -= u32::from(node.is_directory());
        state.stamp(Touch::WRITTEN, (self.volume.clock)());
        Some(node)
    }

    /// With the tree locked: notes that one of this inode's names is gone. A directory has only one.
    pub fn lose_name(&self) {
        let mut state = self.state.lock();
        if self.is_directory() {
            state.links = 0;
            state.removed = true;
        } else {
            state.links -= 1;
            if state.links > 0 {
                self.volume.inodes.give_back(1);
            }
        }
        state.changed = (self.volume.clock)();
    }

    /// Takes everything out of the tree under this directory, level by level but without recursion and without
    /// memory: a program may have made the tree as deep as it liked.
    pub fn clear(self: &Arc<Self>) {
        let mut directory = Arc::clone(self);
        loop {
            let tree = self.volume.tree.lock();
            let first = directory.state.lock().entries.first().cloned();
            match first {
                Some(child) if child.is_directory() && child.expect_empty().is_err() => {
                    drop(tree);
                    directory = child;
                }
                Some(child) => {
                    let entry = directory.state.lock().entries.pop_first();
                    child.lose_name();
                    drop(tree);
                    drop((entry, child));
                }
                None if Arc::ptr_eq(&directory, self) => return,
                None => {
                    let parent = directory.state.lock().parent.upgrade();
                    drop(tree);
                    let Some(parent) = parent else { return };
                    directory = parent;
                }
            }
        }
    }
}
