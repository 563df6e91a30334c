//! `memcpy`, `memmove` and `memset` at every alignment, next to what a loop over bytes does.

use alloc::boxed::Box;
use core::hint::black_box;

use super::Entry;

pub const TESTS: &[Entry] = &[
    Entry::new("memory-move", || Box::pin(async { moves() })),
    Entry::new("memory-fill", || Box::pin(async { fills() })),
];

const BYTES: usize = 400;
const LENGTHS: [usize; 16] = [0, 1, 7, 8, 9, 15, 16, 17, 23, 31, 63, 64, 65, 127, 129, 200];

fn pattern() -> [u8; BYTES] {
    core::array::from_fn(|index| (index * 31 + index / 7) as u8)
}

/// From every offset to every other inside two words, near each other (they overlap) and apart.
fn moves() {
    let original = pattern();
    for from in 0..16 {
        for to in (0..16).chain(180..196) {
            for len in LENGTHS {
                let mut moved = original;
                // What the compiler cannot see through, it cannot replace by something better.
                let (from, to, len) = (black_box(from), black_box(to), black_box(len));
                moved.copy_within(from..from + len, to);
                for index in 0..BYTES {
                    let is_inside = (to..to + len).contains(&index);
                    let expected = if is_inside { original[index - to + from] } else { original[index] };
                    assert!(moved[index] == expected, "{len} bytes from {from} to {to}: wrong at {index}");
                }
                let mut copied = [0; BYTES];
                copied[to..to + len].copy_from_slice(&original[from..from + len]);
                assert!(
                    copied[to..to + len] == original[from..from + len],
                    "{len} bytes from {from} to {to}"
                );
                assert!(copied[to + len..].iter().all(|&byte| byte == 0), "beyond the end");
            }
        }
    }
}

fn fills() {
    for start in 0..16 {
        for len in LENGTHS {
            let mut filled = pattern();
            filled[start..start + black_box(len)].fill(black_box(0xa5));
            for (index, (&byte, original)) in filled.iter().zip(pattern()).enumerate() {
                let is_inside = (start..start + len).contains(&index);
                assert!(
                    byte == if is_inside { 0xa5 } else { original },
                    "{len} bytes at {start}: wrong at {index}"
                );
            }
        }
    }
}
