//! Pages by index: a radix tree of 64-way nodes that is as deep as its largest index needs.
//!
//! An object with only page 0 needs no node at all. Each node knows in two 64-bit words which of its slots lead to
//! pages and which to dirty pages, so that a walk over few dirty pages of a large file looks at few nodes. Making
//! room is the only step that can fail; everything after it works on the slot that was made.

use core::num::NonZeroU32;
use core::ops::Range;

use crate::OutOfMemory;
use crate::fallible::TryBox;
use crate::frame::SharedFrame;

const FAN_OUT_LOG2: u32 = 6;
const FAN_OUT: usize = 1 << FAN_OUT_LOG2;

/// One page of an object.
#[derive(Default)]
pub(super) struct Slot {
    /// The content; absent while it is being loaded for the first time.
    pub(super) frame: Option<SharedFrame>,
    /// The pager is filling a frame for this page; the token tells this load from one before a truncation.
    pub(super) loading: Option<NonZeroU32>,
    /// The pager is writing this page out.
    pub(super) writing: bool,
    /// Somebody used the page since reclaim last looked.
    pub(super) referenced: bool,
    /// Its use begins the next window of read-ahead.
    pub(super) begins_read_ahead: bool,
}

struct Node<T> {
    slots: [Option<T>; FAN_OUT],
    occupied: u64,
    dirty: u64,
}

enum Tree {
    Leaf(TryBox<Node<Slot>>),
    Inner(TryBox<Node<Tree>>),
}

/// The pages of one object.
#[derive(Default)]
pub(super) struct PageIndex {
    /// Page 0, while it is the only page.
    single: Option<Slot>,
    single_is_dirty: bool,
    tree: Option<Tree>,
    height: u32,
    count: usize,
    dirty_count: usize,
}

impl<T> Node<T> {
    fn new() -> Result<TryBox<Self>, OutOfMemory> {
        TryBox::new(Self { slots: [const { None }; FAN_OUT], occupied: 0, dirty: 0 })
    }

    fn set(&mut self, position: usize, value: T) {
        self.slots[position] = Some(value);
        self.occupied |= 1 << position;
    }

    fn clear(&mut self, position: usize) -> Option<T> {
        self.occupied &= !(1 << position);
        self.dirty &= !(1 << position);
        self.slots[position].take()
    }
}

/// Positions at or after `from` among the set bits.
fn next_bit(bits: u64, from: usize) -> Option<usize> {
    if from >= FAN_OUT {
        return None;
    }
    let rest = bits & (u64::MAX << from);
    (rest != 0).then(|| rest.trailing_zeros() as usize)
}

/// The first index that a tree of this height cannot hold.
fn capacity(height: u32) -> u64 {
    1u64.checked_shl(FAN_OUT_LOG2 * height).unwrap_or(u64::MAX)
}

fn position(index: u64, height: u32) -> usize {
    (index >> (FAN_OUT_LOG2 * (height - 1))) as usize & (FAN_OUT - 1)
}

impl Tree {
    fn new(height: u32) -> Result<Self, OutOfMemory> {
        if height == 1 { Node::new().map(Self::Leaf) } else { Node::new().map(Self::Inner) }
    }

    fn has_dirty(&self) -> bool {
        match self {
            Self::Leaf(node) => node.dirty != 0,
            Self::Inner(node) => node.dirty != 0,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Leaf(node) => node.occupied == 0,
            Self::Inner(node) => node.occupied == 0,
        }
    }

    fn get(&mut self, index: u64, height: u32) -> Option<&mut Slot> {
        let mut tree = self;
        let mut height = height;
        loop {
            let at = position(index, height);
            match tree {
                Self::Leaf(node) => return node.slots[at].as_mut(),
                Self::Inner(node) => tree = node.slots[at].as_mut()?,
            }
            height -= 1;
        }
    }

    fn make(&mut self, index: u64, height: u32) -> Result<(&mut Slot, bool), OutOfMemory> {
        let at = position(index, height);
        match self {
            Self::Leaf(node) => {
                let is_new = node.slots[at].is_none();
                if is_new {
                    node.set(at, Slot::default());
                }
                node.slots[at].as_mut().map(|slot| (slot, is_new)).ok_or(OutOfMemory)
            }
            Self::Inner(node) => {
                if node.slots[at].is_none() {
                    let child = Self::new(height - 1)?;
                    node.set(at, child);
                }
                node.slots[at].as_mut().ok_or(OutOfMemory)?.make(index, height - 1)
            }
        }
    }

    fn set_dirty(&mut self, index: u64, height: u32, dirty: bool) {
        let at = position(index, height);
        let (bits, is_dirty) = match self {
            Self::Leaf(node) => {
                let is_dirty = dirty && node.slots[at].is_some();
                (&mut node.dirty, is_dirty)
            }
            Self::Inner(node) => {
                let Some(child) = node.slots[at].as_mut() else { return };
                child.set_dirty(index, height - 1, dirty);
                let is_dirty = child.has_dirty();
                (&mut node.dirty, is_dirty)
            }
        };
        *bits = if is_dirty { *bits | 1 << at } else { *bits & !(1 << at) };
    }

    fn is_dirty(&self, index: u64, height: u32) -> bool {
        let at = position(index, height);
        match self {
            Self::Leaf(node) => node.dirty & 1 << at != 0,
            Self::Inner(node) => {
                node.slots[at].as_ref().is_some_and(|child| child.is_dirty(index, height - 1))
            }
        }
    }

    fn remove(&mut self, index: u64, height: u32) -> Option<Slot> {
        let at = position(index, height);
        match self {
            Self::Leaf(node) => node.clear(at),
            Self::Inner(node) => {
                let child = node.slots[at].as_mut()?;
                let removed = child.remove(index, height - 1);
                if child.is_empty() {
                    node.clear(at);
                } else if !child.has_dirty() {
                    node.dirty &= !(1 << at);
                }
                removed
            }
        }
    }

    /// The first page at or after `from` (relative to this tree), dirty ones only if asked.
    fn next(&self, from: u64, height: u32, only_dirty: bool) -> Option<u64> {
        let mut at = position(from, height);
        match self {
            Self::Leaf(node) => {
                next_bit(if only_dirty { node.dirty } else { node.occupied }, at).map(|found| found as u64)
            }
            Self::Inner(node) => {
                let bits = if only_dirty { node.dirty } else { node.occupied };
                let span = capacity(height - 1);
                let mut inside = from & (span - 1);
                while let Some(found) = next_bit(bits, at) {
                    if found != at {
                        inside = 0;
                    }
                    let child = node.slots[found].as_ref()?;
                    if let Some(below) = child.next(inside, height - 1, only_dirty) {
                        return Some(found as u64 * span + below);
                    }
                    at = found + 1;
                    inside = 0;
                }
                None
            }
        }
    }
}

impl Tree {
    /// Shows the pages of a range (relative to this tree) in order, with whether they are dirty.
    fn for_each(
        &mut self,
        range: Range<u64>,
        height: u32,
        base: u64,
        act: &mut impl FnMut(u64, &mut Slot, bool),
    ) {
        let span = capacity(height - 1);
        let end = range.end.min(capacity(height));
        let mut from = range.start;
        while from < end {
            let at = position(from, height);
            let next = (at as u64 + 1) * span;
            match self {
                Self::Leaf(node) => {
                    let dirty = node.dirty & 1 << at != 0;
                    if let Some(slot) = &mut node.slots[at] {
                        act(base + from, slot, dirty);
                    }
                }
                Self::Inner(node) => {
                    if let Some(child) = &mut node.slots[at] {
                        let start = at as u64 * span;
                        child.for_each(from - start..end - start, height - 1, base + start, act);
                    }
                }
            }
            from = next;
        }
    }
}

impl PageIndex {
    /// Shows the pages of a range in order, with whether they are dirty: one way down for all of them. For short
    /// ranges, because empty places are visited too.
    pub(super) fn for_each(&mut self, range: Range<u64>, mut act: impl FnMut(u64, &mut Slot, bool)) {
        match &mut self.tree {
            Some(tree) => tree.for_each(range, self.height, 0, &mut act),
            None => {
                if let Some(slot) = &mut self.single
                    && range.contains(&0)
                {
                    act(0, slot, self.single_is_dirty);
                }
            }
        }
    }

    /// How many pages there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// How many of them are dirty.
    pub(super) fn dirty_len(&self) -> usize {
        self.dirty_count
    }

    /// The page at an index, if there is one.
    #[inline]
    pub(super) fn get(&mut self, index: u64) -> Option<&mut Slot> {
        match &mut self.tree {
            Some(tree) if index < capacity(self.height) => tree.get(index, self.height),
            Some(_) => None,
            None if index == 0 => self.single.as_mut(),
            None => None,
        }
    }

    /// The page at an index; an empty one is made if there is none.
    pub(super) fn make(&mut self, index: u64) -> Result<&mut Slot, OutOfMemory> {
        if self.tree.is_none() && index == 0 {
            self.count += usize::from(self.single.is_none());
            return Ok(self.single.get_or_insert_default());
        }
        self.grow_to(index)?;
        let tree = self.tree.as_mut().ok_or(OutOfMemory)?;
        let (slot, is_new) = tree.make(index, self.height)?;
        self.count += usize::from(is_new);
        Ok(slot)
    }

    fn grow_to(&mut self, index: u64) -> Result<(), OutOfMemory> {
        if self.tree.is_none() {
            let mut leaf = Node::new()?;
            if let Some(slot) = self.single.take() {
                leaf.set(0, slot);
                leaf.dirty = u64::from(core::mem::take(&mut self.single_is_dirty));
            }
            self.tree = Some(Tree::Leaf(leaf));
            self.height = 1;
        }
        while index >= capacity(self.height) {
            let mut node = Node::new()?;
            if let Some(below) = self.tree.take() {
                node.dirty = u64::from(below.has_dirty());
                if !below.is_empty() {
                    node.set(0, below);
                }
            }
            self.tree = Some(Tree::Inner(node));
            self.height += 1;
        }
        Ok(())
    }

    /// Whether the page at an index is dirty.
    pub(super) fn is_dirty(&self, index: u64) -> bool {
        match &self.tree {
            Some(tree) => index < capacity(self.height) && tree.is_dirty(index, self.height),
            None => index == 0 && self.single_is_dirty,
        }
    }

    /// Notes whether the page at an index is dirty; nothing if there is no page. Returns whether that is news.
    pub(super) fn set_dirty(&mut self, index: u64, dirty: bool) -> bool {
        if self.is_dirty(index) == dirty || self.get(index).is_none() {
            return false;
        }
        match &mut self.tree {
            Some(tree) => tree.set_dirty(index, self.height, dirty),
            None => self.single_is_dirty = dirty,
        }
        if dirty {
            self.dirty_count += 1;
        } else {
            self.dirty_count -= 1;
        }
        true
    }

    /// Takes the page at an index out.
    pub(super) fn remove(&mut self, index: u64) -> Option<Slot> {
        self.set_dirty(index, false);
        let removed = match &mut self.tree {
            Some(tree) if index < capacity(self.height) => tree.remove(index, self.height),
            None if index == 0 => self.single.take(),
            _ => None,
        };
        if removed.is_some() {
            self.count -= 1;
        }
        if self.count == 0 {
            self.tree = None;
            self.height = 0;
        }
        removed
    }

    /// The first page at or after an index.
    pub(super) fn next(&self, from: u64) -> Option<u64> {
        self.search(from, false)
    }

    /// The first dirty page at or after an index.
    pub(super) fn next_dirty(&self, from: u64) -> Option<u64> {
        self.search(from, true)
    }

    fn search(&self, from: u64, only_dirty: bool) -> Option<u64> {
        match &self.tree {
            Some(tree) if from < capacity(self.height) => tree.next(from, self.height, only_dirty),
            Some(_) => None,
            None => {
                let hit = if only_dirty { self.single_is_dirty } else { self.single.is_some() };
                (from == 0 && hit).then_some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn behaves_like_a_sorted_map() {
        let mut index = PageIndex::default();
        let mut model: BTreeMap<u64, bool> = BTreeMap::new();
        let mut random = 88172645463325252u64;
        for _ in 0..if cfg!(miri) { 60 } else { 30_000 } {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = match random >> 60 {
                0 => random >> 8 & 0xf_ffff_ffff_ffff,
                1..6 => random >> 8 & 0xffff,
                _ => random >> 8 & 0xff,
            };
            match random & 7 {
                0..3 => {
                    index.make(at).unwrap().referenced = true;
                    model.entry(at).or_insert(false);
                }
                3 => {
                    let dirty = random & 0x80 != 0;
                    let news = model.get(&at).is_some_and(|was| *was != dirty);
                    assert_eq!(index.set_dirty(at, dirty), news);
                    model.entry(at).and_modify(|is| *is = dirty);
                }
                4 | 5 => {
                    let near = model.range(at..).next().map(|(at, _)| *at).unwrap_or(at);
                    assert_eq!(index.remove(near).is_some(), model.remove(&near).is_some());
                }
                _ => {
                    assert_eq!(index.next(at), model.range(at..).next().map(|(at, _)| *at));
                    let dirty = model.range(at..).find(|(_, dirty)| **dirty).map(|(at, _)| *at);
                    assert_eq!(index.next_dirty(at), dirty);
                    assert_eq!(index.get(at).is_some(), model.contains_key(&at));
                    assert_eq!(index.is_dirty(at), model.get(&at) == Some(&true));
                    let mut seen = Vec::new();
                    index.for_each(at..at + 150, |at, _, dirty| seen.push((at, dirty)));
                    let expected: Vec<_> =
                        model.range(at..at + 150).map(|(at, dirty)| (*at, *dirty)).collect();
                    assert_eq!(seen, expected);
                }
            }
            assert_eq!(index.len(), model.len());
            assert_eq!(index.dirty_len(), model.values().filter(|dirty| **dirty).count());
        }
        let rest: Vec<u64> = model.keys().copied().collect();
        for at in rest {
            assert!(index.remove(at).is_some());
        }
        assert!(index.next(0).is_none() && index.tree.is_none());
    }

    #[test]
    fn page_zero_alone_needs_no_node_and_moves_into_the_tree() {
        let mut index = PageIndex::default();
        index.make(0).unwrap();
        index.set_dirty(0, true);
        assert!(index.tree.is_none());
        index.make(1 << 40).unwrap();
        assert!(index.is_dirty(0));
        assert_eq!(index.next(1), Some(1 << 40));
        assert_eq!(index.next_dirty(0), Some(0));
        assert_eq!(index.next_dirty(1), None);
    }
}
