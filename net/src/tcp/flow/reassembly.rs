//! Bytes that came before those that precede them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Pieces beyond the next byte wanted, none of which overlap.
#[derive(Default)]
pub struct Reassembly {
    /// By their distance from the first byte of the connection, which does not wrap.
    pieces: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
}

/// More pieces are not kept: a peer that sends every other byte would make a record of each.
const MOST_PIECES: usize = 512;

impl Reassembly {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Keeps a piece; what is there already is not kept twice.
    pub fn insert(&mut self, mut start: u64, mut piece: &[u8]) {
        while !piece.is_empty() && self.pieces.len() < MOST_PIECES {
            // What lies before and covers the beginning.
            if let Some((&other, bytes)) = self.pieces.range(..=start).next_back() {
                let end = other + bytes.len() as u64;
                if end > start {
                    let covered = (end - start) as usize;
                    let Some(rest) = piece.get(covered..) else { return };
                    (start, piece) = (end, rest);
                    continue;
                }
            }
            let until = self.pieces.range(start..).next().map_or(u64::MAX, |(&other, _)| other);
            let count = usize::try_from(until - start).unwrap_or(usize::MAX).min(piece.len());
            let (now, later) = piece.split_at(count);
            let mut kept = Vec::new();
            if kept.try_reserve_exact(count).is_err() {
                return;
            }
            kept.extend_from_slice(now);
            self.bytes += count;
            self.pieces.insert(start, kept);
            (start, piece) = (start + count as u64, later);
        }
    }

    /// Takes out the piece that has the next byte wanted, without what is before that.
    pub fn take(&mut self, next: u64) -> Option<Vec<u8>> {
        loop {
            let (&start, _) = self.pieces.first_key_value()?;
            if start > next {
                return None;
            }
            let (_, mut piece) = self.pieces.pop_first()?;
            self.bytes -= piece.len();
            let old = (next - start) as usize;
            if old < piece.len() {
                piece.drain(..old);
                return Some(piece);
            }
        }
    }

    /// The first ranges that wait, for the sender to know.
    pub fn ranges(&self) -> [Option<(u64, u64)>; 3] {
        let mut ranges = [None; 3];
        let mut count = 0usize;
        for (&start, piece) in &self.pieces {
            let end = start + piece.len() as u64;
            if let Some(last) = count.checked_sub(1)
                && let Some((_, last_end)) = &mut ranges[last]
                && *last_end == start
            {
                *last_end = end;
                continue;
            }
            let Some(place) = ranges.get_mut(count) else { break };
            *place = Some((start, end));
            count += 1;
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_pieces_come_out_once_and_in_order() {
        let text: Vec<u8> = (0..200u8).collect();
        let mut queue = Reassembly::default();
        for (start, end) in [(50, 60), (55, 70), (10, 80), (100, 120), (90, 130), (5, 7), (60, 61)] {
            queue.insert(start as u64, &text[start..end]);
        }
        assert_eq!(queue.ranges(), [Some((5, 7)), Some((10, 80)), Some((90, 130))]);
        assert_eq!(queue.take(4), None);
        let mut out = Vec::new();
        let mut next = 6;
        while let Some(piece) = queue.take(next as u64) {
            assert_eq!(piece, text[next..next + piece.len()]);
            next += piece.len();
            out.extend(piece);
            next = if next == 7 { 10 } else { next };
        }
        assert_eq!(next, 80);
        assert_eq!(queue.len(), 40);
    }
}
