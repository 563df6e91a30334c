//! Renaming in tmpfs.

use alloc::sync::Arc;

use kernel_object::frame;
use linux_abi::Errno;
use linux_abi::stat::DeviceNumber;

use super::node::Node;
use crate::inode::{Creation, NewNode, RenameFlags};
use crate::metadata::Touch;
use crate::names::{check_new_name, check_old_name};

/// What a name becomes that hides the same name of a layer below.
const WHITEOUT: Creation<'static> =
    Creation { node: NewNode::CharacterDevice(DeviceNumber::new(0, 0)), permissions: 0, user: 0, group: 0 };

/// A rename whose names were looked up, with the tree locked.
struct Move<'a> {
    old_directory: &'a Arc<Node>,
    old_name: &'a [u8],
    new_directory: &'a Arc<Node>,
    new_name: &'a [u8],
    source: Arc<Node>,
    target: Option<Arc<Node>>,
}

impl Node {
    pub fn move_name(
        self: &Arc<Self>,
        old_name: &[u8],
        new_directory: &Arc<Node>,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        self.expect_directory()?;
        new_directory.expect_directory()?;
        check_old_name(old_name)?;
        check_new_name(new_name)?;
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let may_replace = !flags.contains(RenameFlags::NOREPLACE);
        let leaves_whiteout = flags.contains(RenameFlags::WHITEOUT);
        if exchange && (!may_replace || leaves_whiteout) {
            return Err(Errno::EINVAL);
        }
        frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        let whiteout = if leaves_whiteout { Some(Node::new(&self.volume, &WHITEOUT, 1)?) } else { None };

        let tree = self.volume.tree.lock();
        let source = self.state.lock().entries.get(old_name).cloned().ok_or(Errno::ENOENT)?;
        let target = new_directory.state.lock().entries.get(new_name).cloned();
        let same_file = target.as_ref().is_some_and(|target| Arc::ptr_eq(target, &source));
        match target {
            Some(_) if !may_replace => return Err(Errno::EEXIST),
            None if exchange => return Err(Errno::ENOENT),
            // Two names of one file stay as they are, by POSIX's wish.
            _ if same_file => return Ok(()),
            _ => {}
        }
        let step = Move { old_directory: self, old_name, new_directory, new_name, source, target };
        let dropped = if exchange { step.exchange() } else { step.replace() };
        let left = match whiteout {
            Some(whiteout) if dropped.is_ok() => self.add_entry(old_name, whiteout),
            _ => Ok(()),
        };
        drop(tree);
        // What was replaced may be freed with this: without the lock.
        dropped.map(drop).and(left)
    }

    /// With the tree locked: whether this is `directory` or one of those it lies in.
    fn contains(self: &Arc<Self>, directory: &Arc<Node>) -> bool {
        // A directory without subdirectories contains nothing but itself; most moves end here.
        if self.state.lock().links == 2 {
            return Arc::ptr_eq(self, directory);
        }
        let mut current = Some(Arc::clone(directory));
        while let Some(node) = current {
            if Arc::ptr_eq(self, &node) {
                return true;
            }
            current = node.state.lock().parent.upgrade();
        }
        false
    }
}

impl Move<'_> {
    fn is_within_one_directory(&self) -> bool {
        Arc::ptr_eq(self.old_directory, self.new_directory)
    }

    /// Moves the source to the new name. Returns what lost that name.
    fn replace(self) -> Result<Option<Arc<Node>>, Errno> {
        if self.new_directory.state.lock().removed {
            return Err(Errno::ENOENT);
        }
        let is_directory = self.source.is_directory();
        if is_directory && !self.is_within_one_directory() && self.source.contains(self.new_directory) {
            return Err(Errno::EINVAL);
        }
        if let Some(target) = &self.target {
            match (is_directory, target.is_directory()) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) if target.contains(self.old_directory) => return Err(Errno::ENOTEMPTY),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) => target.expect_empty()?,
                (false, false) => {}
            }
        }
        match &self.target {
            Some(_) => {
                self.old_directory.remove_entry(self.old_name);
                // The name keeps its position: a scan that is under way meets it once, whoever it leads to.
                let mut state = self.new_directory.state.lock();
                state.entries.replace(self.new_name, Arc::clone(&self.source));
            }
            None if self.is_within_one_directory() => {
                self.old_directory.state.lock().entries.rename(self.old_name, self.new_name);
            }
            None => {
                self.old_directory.remove_entry(self.old_name);
                self.new_directory.add_entry(self.new_name, Arc::clone(&self.source))?;
            }
        }
        self.finish(&self.source, self.new_directory);
        if let Some(target) = &self.target {
            target.lose_name();
        }
        Ok(self.target)
    }

    /// Lets source and target change places. Nothing loses its name.
    fn exchange(self) -> Result<Option<Arc<Node>>, Errno> {
        let Some(target) = &self.target else { return Err(Errno::ENOENT) };
        if !self.is_within_one_directory() {
            let into_itself = self.source.is_directory() && self.source.contains(self.new_directory)
                || target.is_directory() && target.contains(self.old_directory);
            if into_itself {
                return Err(Errno::EINVAL);
            }
        }
        let put = |directory: &Arc<Node>, name, node: &Arc<Node>, instead_of: &Arc<Node>| {
            let mut state = directory.state.lock();
            state.entries.replace(name, Arc::clone(node));
            state.links -= u32::from(instead_of.is_directory());
            state.links += u32::from(node.is_directory());
        };
        put(self.new_directory, self.new_name, &self.source, target);
        put(self.old_directory, self.old_name, target, &self.source);
        self.finish(&self.source, self.new_directory);
        self.finish(target, self.old_directory);
        Ok(None)
    }

    /// Sets the time stamps, and the parent of a directory that moved.
    fn finish(&self, moved: &Arc<Node>, into: &Arc<Node>) {
        let now = (moved.volume.clock)();
        self.old_directory.state.lock().stamp(Touch::WRITTEN, now);
        self.new_directory.state.lock().stamp(Touch::WRITTEN, now);
        let mut state = moved.state.lock();
        state.changed = now;
        if moved.is_directory() {
            state.parent = Arc::downgrade(into);
        }
    }
}
