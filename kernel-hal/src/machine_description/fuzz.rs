//! Damaged trees: nothing may panic, hang or contradict itself.

use std::vec::Vec;

use super::tests::virt_machine;
use super::*;
use crate::device_tree::builder::TestNode;
use crate::fuzzing::{Random, iterations};

/// Reads everything that can be read, and checks what must hold whatever the input.
fn read_all(blob: &[u8]) -> bool {
    let Ok(tree) = DeviceTree::parse(blob) else { return false };
    fn visit(node: &Node<'_>, visited: &mut usize) {
        *visited += node.properties().count() + 1;
        node.children().for_each(|child| visit(&child, visited));
    }
    let mut visited = 0;
    visit(&tree.root(), &mut visited);
    assert!(visited <= blob.len(), "more nodes and properties than bytes");
    let Ok(machine) = MachineDescription::read(&tree) else { return false };
    let bytes = blob.as_ptr_range();
    let command_line = machine.chosen.command_line.as_bytes().as_ptr_range();
    assert!(machine.chosen.command_line.is_empty() || bytes.start <= command_line.start);
    assert!(machine.chosen.command_line.is_empty() || command_line.end <= bytes.end);
    assert!(machine.memory.windows(2).all(|pair| pair[0].end() < pair[1].start));
    assert!(machine.usable_harts().next().is_some() && machine.timebase_frequency_hz > 0);
    let plic_lines = machine.plic.as_ref().map_or(0, |plic| plic.last_line);
    assert!(machine.virtio_mmio.iter().all(|slot| (1..=plic_lines).contains(&slot.interrupt)));
    assert!(machine.uart.is_none_or(|uart| uart.registers.bytes >= 8 << uart.register_shift));
    true
}

fn damage(blob: &mut Vec<u8>, random: &mut Random) {
    const WORDS: [u32; 12] =
        [0, 1, 2, 3, 4, 9, 16, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0xffff_fffc, 0xd00d_feed];
    let len = blob.len();
    match random.below(6) {
        0 => blob[random.below(len)] ^= 1 << random.below(8),
        1 => blob[random.below(len)] = random.next() as u8,
        2 => {
            let word = WORDS[random.below(WORDS.len())];
            let offset = random.below(len / 4) * 4;
            blob[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
        }
        3 => blob.truncate(random.below(len).max(64)),
        4 => {
            // Copies a piece of the tree over another one.
            let piece = (random.below(256) + 4) / 4 * 4;
            let from = random.below(len - piece.min(len - 1));
            let to = random.below(len - piece.min(len - 1));
            blob.copy_within(from..(from + piece).min(len - 1), to.min(len - piece.min(len)));
        }
        _ => {
            // Cells lie about counts and lengths: small numbers in place of words.
            let offset = random.below(len / 4) * 4;
            blob[offset..offset + 4].copy_from_slice(&(random.below(64) as u32).to_be_bytes());
        }
    }
}

#[test]
fn fuzz_damaged_trees_are_read_without_panic() {
    let pristine = virt_machine().build_with_reservations(&[(0x8000_0000, 0x1000)]);
    assert!(read_all(&pristine));
    let mut random = Random::new(0x6465_7669_6365_2121);
    let (mut understood, total) = (0, iterations(100_000));
    for _ in 0..total {
        let mut blob = pristine.clone();
        for _ in 0..=random.below(3) {
            damage(&mut blob, &mut random);
        }
        // Half of the time the header is repaired, so that the damage is in what it describes.
        if random.below(2) == 0 && blob.len() >= 40 {
            blob[..40].copy_from_slice(&pristine[..40]);
        }
        understood += usize::from(read_all(&blob));
    }
    // A fuzzer whose inputs are all refused at the door tests nothing behind it.
    assert!(cfg!(miri) || understood > total / 10, "only {understood} of {total} were understood");
}

#[test]
#[cfg_attr(miri, ignore = "megabytes are read, which takes an interpreter minutes")]
fn hostile_repetition_takes_no_time() {
    // As many entries as a blob can hold, in the lists that are searched.
    let contexts: Vec<u8> = [8u32, 9].iter().flat_map(|cell| cell.to_be_bytes()).collect();
    let mut tree = virt_machine()
        .with(&["soc", "plic@c000000"], "interrupts-extended", &contexts.repeat(100_000))
        .with(&["soc"], "compatible", &b"not-this\0".repeat(50_000));
    for number in 0..1000 {
        let node =
            TestNode::new(&format!("cpu@{number:x}")).strings("device_type", &["cpu"]).cells("reg", &[7]);
        let cpus = tree.at(&["cpus"]);
        *cpus = cpus.clone().child(node);
    }
    read_all(&tree.build());
}
