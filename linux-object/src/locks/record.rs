//! Locks on ranges of bytes: one holder's never overlap, whatever he does.

use alloc::vec::Vec;

use super::Holder;

/// How a lock excludes others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Those who want it alone.
    Shared,
    /// Everybody.
    Exclusive,
}

impl LockKind {
    /// Whether two holders cannot have such locks at once.
    pub fn excludes(self, other: Self) -> bool {
        self == Self::Exclusive || other == Self::Exclusive
    }
}

/// Bytes from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRange {
    /// The first byte.
    pub first: u64,
    /// The last byte.
    pub last: u64,
}

impl LockRange {
    /// The last byte that a file can have: up to here is up to the end, wherever that will be.
    pub const END: u64 = i64::MAX as u64;
    /// The whole file.
    pub const ALL: Self = Self { first: 0, last: Self::END };

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    fn touches(self, other: Self) -> bool {
        self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }
}

/// A lock on a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub holder: Holder,
    pub kind: LockKind,
    pub range: LockRange,
    /// Who took it; -1 for an opening's.
    pub process: i32,
}

/// The first lock of another that is in the way.
pub(super) fn conflict(records: &[Record], wanted: &Record) -> Option<Record> {
    let is_in_the_way = |other: &&Record| {
        other.holder != wanted.holder
            && other.range.overlaps(wanted.range)
            && other.kind.excludes(wanted.kind)
    };
    records.iter().filter(is_in_the_way).min_by_key(|record| record.range.first).copied()
}

/// Takes a range away from a holder: what it locks on both sides stays.
pub(super) fn clear(records: &mut Vec<Record>, holder: Holder, range: LockRange) {
    let mut rests = Vec::new();
    records.retain(|record| {
        let is_hit = record.holder == holder && record.range.overlaps(range);
        if is_hit && record.range.first < range.first {
            let range = LockRange { first: record.range.first, last: range.first - 1 };
            rests.push(Record { range, ..*record });
        }
        if is_hit && record.range.last > range.last {
            let range = LockRange { first: range.last + 1, last: record.range.last };
            rests.push(Record { range, ..*record });
        }
        !is_hit
    });
    records.append(&mut rests);
}

/// Gives a holder a lock in place of what it has there; locks of a kind that touch become one.
pub(super) fn set(records: &mut Vec<Record>, wanted: Record) {
    clear(records, wanted.holder, wanted.range);
    let mut merged = wanted;
    records.retain(|record| {
        let joins = record.holder == merged.holder
            && record.kind == merged.kind
            && record.range.touches(merged.range);
        if joins {
            merged.range.first = merged.range.first.min(record.range.first);
            merged.range.last = merged.range.last.max(record.range.last);
        }
        !joins
    });
    records.push(merged);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn record(holder: usize, kind: LockKind, first: u64, last: u64) -> Record {
        Record { holder: Holder::Table(holder), kind, range: LockRange { first, last }, process: 1 }
    }

    fn ranges(records: &[Record]) -> Vec<(u64, u64)> {
        let mut ranges: Vec<_> =
            records.iter().map(|record| (record.range.first, record.range.last)).collect();
        ranges.sort_unstable();
        ranges
    }

    #[test]
    fn locks_split_and_join() {
        let mut records = vec![];
        set(&mut records, record(1, LockKind::Exclusive, 0, 99));
        set(&mut records, record(1, LockKind::Shared, 40, 59));
        assert_eq!(ranges(&records), [(0, 39), (40, 59), (60, 99)]);
        set(&mut records, record(1, LockKind::Exclusive, 40, 59));
        assert_eq!(ranges(&records), [(0, 99)]);
        clear(&mut records, Holder::Table(1), LockRange { first: 10, last: 10 });
        assert_eq!(ranges(&records), [(0, 9), (11, 99)]);
        clear(&mut records, Holder::Table(1), LockRange::ALL);
        assert!(records.is_empty());
    }

    #[test]
    fn others_are_in_the_way() {
        let records = vec![record(1, LockKind::Shared, 10, 19), record(1, LockKind::Exclusive, 30, 39)];
        assert_eq!(conflict(&records, &record(2, LockKind::Shared, 0, 29)), None);
        assert_eq!(conflict(&records, &record(2, LockKind::Exclusive, 19, 19)), Some(records[0]));
        assert_eq!(conflict(&records, &record(2, LockKind::Shared, 0, 30)), Some(records[1]));
        assert_eq!(conflict(&records, &record(1, LockKind::Exclusive, 0, 99)), None);
    }
}
