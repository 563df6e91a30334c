//! Random numbers for programs and for address layouts: ChaCha20 over a pool that boot and devices seed.

use ksync::{Rank, SpinLock};

const BLOCK_BYTES: usize = 64;
const KEY_WORDS: usize = 8;
const DOUBLE_ROUNDS: usize = 10;
/// What one block has beside a new key.
const SHORT: usize = BLOCK_BYTES - 4 * KEY_WORDS;

/// The generator: a key, and how many blocks were made from it. After each request the key is replaced by generated
/// bytes, so what was handed out cannot be computed from what is stored later.
struct Generator {
    key: [u32; KEY_WORDS],
    counter: u64,
}

static GENERATOR: SpinLock<Generator> =
    SpinLock::new(Rank::LOG, Generator { key: [0; KEY_WORDS], counter: 0 });

fn quarter_round(state: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(12);
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(7);
}

/// One ChaCha20 block with a zero nonce.
fn block(key: &[u32; KEY_WORDS], counter: u64) -> [u8; BLOCK_BYTES] {
    const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
    let mut initial = [0; 16];
    initial[..4].copy_from_slice(&CONSTANTS);
    initial[4..12].copy_from_slice(key);
    initial[12] = counter as u32;
    initial[13] = (counter >> 32) as u32;
    let mut state = initial;
    for _ in 0..DOUBLE_ROUNDS {
        for column in 0..4 {
            quarter_round(&mut state, [column, column + 4, column + 8, column + 12]);
        }
        for diagonal in 0..4 {
            let at = |row: usize| 4 * row + (diagonal + row) % 4;
            quarter_round(&mut state, [at(0), at(1), at(2), at(3)]);
        }
    }
    let mut bytes = [0; BLOCK_BYTES];
    for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
        chunk.copy_from_slice(&state[index].wrapping_add(initial[index]).to_le_bytes());
    }
    bytes
}

/// As a key is stored.
fn key_of(bytes: &[u8]) -> [u32; KEY_WORDS] {
    let mut key = [0; KEY_WORDS];
    for (word, chunk) in key.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*chunk);
    }
    key
}

impl Generator {
    fn next_block(&mut self) -> [u8; BLOCK_BYTES] {
        self.counter += 1;
        block(&self.key, self.counter)
    }

    fn replace_key(&mut self) {
        self.key = key_of(&self.next_block());
    }

    /// Fills a buffer of at most [`SHORT`] bytes: one block has them and the next key.
    fn fill_short(&mut self, destination: &mut [u8]) {
        let block = self.next_block();
        let (key, rest) = block.split_at(4 * KEY_WORDS);
        self.key = key_of(key);
        destination.copy_from_slice(&rest[..destination.len()]);
    }
}

/// Mixes in bytes that an observer does not know.
pub fn add_entropy(bytes: &[u8]) {
    let mut generator = GENERATOR.lock();
    for chunk in bytes.chunks(4 * KEY_WORDS) {
        for (index, &byte) in chunk.iter().enumerate() {
            generator.key[index / 4] ^= u32::from(byte) << (8 * (index % 4));
        }
        generator.replace_key();
    }
}

/// Fills a buffer.
pub fn fill(destination: &mut [u8]) {
    let mut generator = GENERATOR.lock();
    if destination.len() <= SHORT {
        return generator.fill_short(destination);
    }
    for chunk in destination.chunks_mut(BLOCK_BYTES) {
        let block = generator.next_block();
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
    generator.replace_key();
}

/// An array of random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// A number below `bound`, which is a power of two.
pub fn below(bound: usize) -> usize {
    debug_assert!(bound.is_power_of_two());
    usize::from_le_bytes(bytes()) & (bound - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_function_is_chacha20() {
        // RFC 8439's first test vector: all-zero key and nonce, counter 0.
        let expected = [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90];
        assert_eq!(block(&[0; KEY_WORDS], 0)[..8], expected);
    }

    #[test]
    fn two_requests_differ() {
        add_entropy(b"some seed that the test knows");
        assert_ne!(bytes::<32>(), bytes::<32>());
        assert_ne!(bytes::<48>(), bytes::<48>());
    }

    #[test]
    fn what_was_handed_out_is_not_the_next_key() {
        let mut generator = Generator { key: [7; KEY_WORDS], counter: 0 };
        let mut short = [0; SHORT];
        generator.fill_short(&mut short);
        assert_ne!(generator.key, [7; KEY_WORDS]);
        assert_ne!(generator.key, key_of(&short));
        let first = short;
        generator.fill_short(&mut short);
        assert_ne!(first, short);
    }
}
