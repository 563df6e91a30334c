//! The hashes by which large directories are ordered.

/// The largest hash means the end of a directory, so no name has it.
const END: u32 = 0x7fff_ffff;

/// Which hash a directory uses, with what the filesystem adds to it.
#[derive(Clone, Copy)]
pub(super) struct NameHash {
    kind: Kind,
    seed: [u32; 4],
    is_unsigned: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Legacy,
    HalfMd4,
    Tea,
}

impl NameHash {
    /// The hash that a directory's index names; `None` if it is not known.
    pub fn new(number: u8, seed: [u32; 4], is_unsigned: bool) -> Option<Self> {
        let (kind, says_unsigned) = match number {
            0 | 3 => (Kind::Legacy, number == 3),
            1 | 4 => (Kind::HalfMd4, number == 4),
            2 | 5 => (Kind::Tea, number == 5),
            _ => return None,
        };
        Some(Self { kind, seed, is_unsigned: is_unsigned || says_unsigned })
    }

    /// The hash of a name; its lowest bit is zero.
    pub fn of(&self, name: &[u8]) -> u32 {
        let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        if self.seed != [0; 4] {
            state = self.seed;
        }
        let hash = match self.kind {
            Kind::Legacy => self.legacy(name),
            Kind::HalfMd4 => {
                let mut rest = name;
                loop {
                    half_md4(&mut state, &self.words::<8>(rest));
                    let Some(next) = rest.get(32..).filter(|next| !next.is_empty()) else { break };
                    rest = next;
                }
                state[1]
            }
            Kind::Tea => {
                let mut rest = name;
                loop {
                    tea(&mut state, &self.words::<4>(rest));
                    let Some(next) = rest.get(16..).filter(|next| !next.is_empty()) else { break };
                    rest = next;
                }
                state[0]
            }
        };
        match hash & !1 {
            hash if hash == END << 1 => (END - 1) << 1,
            hash => hash,
        }
    }

    /// A byte of a name as the number it is there.
    fn number(&self, byte: u8) -> u32 {
        if self.is_unsigned { u32::from(byte) } else { byte as i8 as u32 }
    }

    fn legacy(&self, name: &[u8]) -> u32 {
        let (mut hash, mut before) = (0x12a3_fe2d_u32, 0x37ab_e8f9_u32);
        for &byte in name {
            let mut next = before.wrapping_add(hash ^ self.number(byte).wrapping_mul(7_152_373));
            if next & 0x8000_0000 != 0 {
                next = next.wrapping_sub(0x7fff_ffff);
            }
            before = hash;
            hash = next;
        }
        hash << 1
    }

    /// The next bytes of a name as words, filled up with the length.
    fn words<const COUNT: usize>(&self, rest: &[u8]) -> [u32; COUNT] {
        let len = rest.len() as u32;
        let filling = (len | len << 8) | (len | len << 8) << 16;
        let mut words = [filling; COUNT];
        for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
            *word = bytes.iter().fold(filling, |word, &byte| self.number(byte).wrapping_add(word << 8));
        }
        words
    }
}

/// A cut-down MD4: three rounds of eight steps.
fn half_md4(state: &mut [u32; 4], input: &[u32; 8]) {
    type Mix = fn(u32, u32, u32) -> u32;
    const ROUNDS: [(Mix, u32, [usize; 8], [u32; 4]); 3] = [
        (|x, y, z| z ^ (x & (y ^ z)), 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (|x, y, z| (x & y).wrapping_add((x ^ y) & z), 0x5a82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]),
        (|x, y, z| x ^ y ^ z, 0x6ed9_eba1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, constant, order, shifts) in ROUNDS {
        for (step, word) in order.into_iter().enumerate() {
            let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(input[word]).wrapping_add(constant);
            (a, b, c, d) = (d, sum.rotate_left(shifts[step % 4]), b, c);
        }
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(add);
    }
}

/// The Tiny Encryption Algorithm with the name as key.
fn tea(state: &mut [u32; 4], key: &[u32; 4]) {
    const DELTA: u32 = 0x9e37_79b9;
    let mix = |other: u32, sum: u32, left: u32, right: u32| {
        (other << 4).wrapping_add(left) ^ other.wrapping_add(sum) ^ (other >> 5).wrapping_add(right)
    };
    let (mut first, mut second) = (state[0], state[1]);
    let mut sum = 0u32;
    for _ in 0..16 {
        sum = sum.wrapping_add(DELTA);
        first = first.wrapping_add(mix(second, sum, key[0], key[1]));
        second = second.wrapping_add(mix(first, sum, key[2], key[3]));
    }
    state[0] = state[0].wrapping_add(first);
    state[1] = state[1].wrapping_add(second);
}
