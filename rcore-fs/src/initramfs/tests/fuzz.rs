//! Damaged images: whatever they say, reading them ends, with an error or without.

use super::builder::{Builder, gzip};
use super::*;
use crate::test_support::{Random, iterations};

/// The most that a damaged image of a few hundred bytes may claim to hold: deflate cannot expand a thousandfold twice.
const MOST_BYTES: u64 = 4 << 20;

fn damage(image: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        if image.is_empty() {
            return;
        }
        let at = random.below(image.len());
        match random.below(7) {
            0 => image[at] = random.next() as u8,
            1 => image[at] ^= 1 << random.below(8),
            2 => image[at] = *random.pick(b"0123456789abcdefABCDEF"),
            3 => image.truncate(at),
            4 => {
                let byte = random.next() as u8;
                image.insert(at, byte);
            }
            5 => {
                image.remove(at);
            }
            _ => {
                let length = random.below(image.len() - at);
                let piece = image[at..at + length].to_vec();
                let to = random.below(image.len());
                image.splice(to..to, piece);
            }
        }
    }
}

fn read_all(image: &[u8]) -> Result<u64, ArchiveError> {
    let mut reader = Reader::new(image);
    let mut bytes = 0;
    while let Some(entry) = reader.next_entry()? {
        assert!(!reader.name().is_empty() && !reader.name().contains(&0));
        let mut left = u64::from(entry.size);
        loop {
            let count = reader.data()?.len();
            if count == 0 {
                break;
            }
            reader.consume(count);
            left -= count as u64;
            bytes += count as u64;
            assert!(bytes < MOST_BYTES);
        }
        assert_eq!(left, 0, "the data ends early without an error");
    }
    Ok(bytes)
}

#[test]
fn damaged_images_end_in_order() {
    let plain = Builder::new()
        .directory("d")
        .file("d/f", b"some data that is compressed")
        .link("l", "d")
        .hard_link("l/a", 9, b"")
        .hard_link("b", 9, b"data")
        .device("n", 1, 3)
        .finish();
    let summed = Builder::with_checksums().file("sum", b"0123456789").finish();
    let images = [
        plain.clone(),
        summed.clone(),
        gzip(&plain),
        [plain.clone(), vec![0; 100], summed.clone()].concat(),
        [gzip(&plain), gzip(&summed)].concat(),
        [summed, gzip(&plain)].concat(),
    ];
    let mut random = Random::new(0x696e_6974);
    let (mut whole, mut broken) = (0, 0);
    for round in 0..iterations(100_000) {
        let mut image = random.pick(&images).clone();
        damage(&mut image, &mut random);
        match read_all(&image) {
            Ok(_) => whole += 1,
            Err(_) => broken += 1,
        }
        if round % 8 == 0 {
            let (_file_system, root) = empty_root();
            // Names may lead anywhere: what counts is that it ends.
            let _ = finish(unpack(&image, &root));
        }
    }
    // Both happen, or the test would not test much.
    assert!(whole > 0 && broken > whole, "{whole} whole, {broken} broken");
}
