//! The entries of a directory in memory: by name, and in an order with stable positions.
//!
//! Both indexes are ordered trees. A hash table would find names faster, but it grows by moving everything at once
//! (under a lock that masks interrupts), wants one large piece of memory for a large directory, and invites names
//! that collide; the layer above keeps looked-up names in its own hash table anyway.
//!
//! Positions come from a counter and are never used again, so removing an entry moves no other, and an entry that is
//! added during a scan lies behind it. A name keeps its position when something else takes it by a rename; within one
//! directory an entry that is renamed to a free name keeps its own.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use std::ops::ControlFlow;

use linux_abi::stat::FileType;

use crate::inode::{DirectoryEntry, DirectorySink, FIRST_ENTRY};

/// The entries of one directory; each leads to an `N`.
pub(crate) struct DirectoryTable<N> {
    positions: BTreeMap<Arc<[u8]>, u64>,
    entries: BTreeMap<u64, Entry<N>>,
    next_position: u64,
}

struct Entry<N> {
    name: Arc<[u8]>,
    node: N,
}

impl<N> DirectoryTable<N> {
    pub const fn new() -> Self {
        Self { positions: BTreeMap::new(), entries: BTreeMap::new(), next_position: FIRST_ENTRY }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Above every entry's position, and not above that of any entry to come.
    pub fn end_position(&self) -> u64 {
        self.next_position
    }

    pub fn get(&self, name: &[u8]) -> Option<&N> {
        self.positions.get(name).map(|position| &self.entries[position].node)
    }

    /// Adds an entry at the end; the name must be free.
    pub fn insert(&mut self, name: &[u8], node: N) {
        let name: Arc<[u8]> = name.into();
        let position = self.next_position;
        self.next_position += 1;
        let previous = self.positions.insert(Arc::clone(&name), position);
        debug_assert!(previous.is_none(), "the name was taken");
        self.entries.insert(position, Entry { name, node });
    }

    /// Puts another node behind a name that exists; returns the old one.
    pub fn replace(&mut self, name: &[u8], node: N) -> Option<N> {
        let position = self.positions.get(name)?;
        let entry = self.entries.get_mut(position)?;
        Some(std::mem::replace(&mut entry.node, node))
    }

    pub fn remove(&mut self, name: &[u8]) -> Option<N> {
        let position = self.positions.remove(name)?;
        self.entries.remove(&position).map(|entry| entry.node)
    }

    /// Gives an entry another name, which must be free; it stays where it is.
    pub fn rename(&mut self, old_name: &[u8], new_name: &[u8]) {
        let new_name: Arc<[u8]> = new_name.into();
        if let Some(position) = self.positions.remove(old_name) {
            self.positions.insert(Arc::clone(&new_name), position);
            if let Some(entry) = self.entries.get_mut(&position) {
                entry.name = new_name;
            }
        }
    }

    /// The entry with the lowest position.
    pub fn first(&self) -> Option<&N> {
        self.entries.first_key_value().map(|(_, entry)| &entry.node)
    }

    /// Takes out the entry with the lowest position.
    pub fn pop_first(&mut self) -> Option<N> {
        let (_, entry) = self.entries.pop_first()?;
        self.positions.remove(&entry.name);
        Some(entry.node)
    }

    /// Hands the entries from a position on to `sink`; `describe` gives a node's number and type.
    pub fn iterate(
        &self,
        from: u64,
        sink: &mut dyn DirectorySink,
        describe: impl Fn(&N) -> (u64, FileType),
    ) -> ControlFlow<()> {
        for (position, entry) in self.entries.range(from..) {
            let (inode, file_type) = describe(&entry.node);
            sink.push(&DirectoryEntry { name: &entry.name, inode, file_type, next: position + 1 })?;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn scan(table: &DirectoryTable<u64>, from: u64, limit: usize) -> Vec<(Vec<u8>, u64)> {
        let mut seen = Vec::new();
        let mut sink = |entry: &DirectoryEntry<'_>| {
            if seen.len() == limit {
                return ControlFlow::Break(());
            }
            seen.push((entry.name.to_vec(), entry.next));
            ControlFlow::Continue(())
        };
        let _ = table.iterate(from, &mut sink, |node| (*node, FileType::Regular));
        seen
    }

    fn names(table: &DirectoryTable<u64>, from: u64) -> Vec<Vec<u8>> {
        scan(table, from, usize::MAX).into_iter().map(|(name, _)| name).collect()
    }

    fn table(names: &[&str]) -> DirectoryTable<u64> {
        let mut table = DirectoryTable::new();
        for (index, name) in names.iter().enumerate() {
            table.insert(name.as_bytes(), index as u64);
        }
        table
    }

    #[test]
    fn positions_survive_removals() {
        let mut table = table(&["a", "b", "c", "d"]);
        let seen = scan(&table, 0, 2);
        assert_eq!(seen, [(b"a".to_vec(), 3), (b"b".to_vec(), 4)]);
        // What was seen, and what comes next, may both go; the rest is where it was.
        table.remove(b"a");
        table.remove(b"c");
        table.insert(b"e", 9);
        assert_eq!(names(&table, 4), [b"d", b"e"]);
        assert_eq!(table.end_position(), 7);
    }

    #[test]
    fn a_name_that_comes_back_is_a_new_entry() {
        let mut table = table(&["a", "b"]);
        table.remove(b"a");
        table.insert(b"a", 5);
        assert_eq!(names(&table, 0), [b"b", b"a"]);
        assert_eq!(table.get(b"a"), Some(&5));
    }

    #[test]
    fn renaming_within_the_directory_keeps_the_place() {
        let mut table = table(&["a", "b", "c"]);
        table.rename(b"a", b"z");
        assert_eq!(names(&table, 0), [b"z", b"b", b"c"]);
        assert_eq!(table.get(b"a"), None);
        assert_eq!(table.replace(b"c", 77), Some(2));
        assert_eq!(names(&table, 3), [b"b", b"c"]);
        assert_eq!(table.get(b"c"), Some(&77));
    }

    #[test]
    fn taking_from_the_front_empties_both_indexes() {
        let mut table = table(&["a", "b"]);
        assert_eq!(table.pop_first(), Some(0));
        assert_eq!(table.get(b"a"), None);
        assert_eq!(table.pop_first(), Some(1));
        assert!(table.is_empty() && table.pop_first().is_none());
    }
}
