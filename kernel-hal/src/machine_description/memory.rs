//! Main memory, and what of it is taken.

use heapless::Vec;

use super::{
    MAX_MEMORY_REGIONS, MAX_RESERVED_REGIONS, MachineError, Problem, Problems, Region, ReservedRegion,
};
use crate::device_tree::{Cells, DeviceTree, Node};

/// Calls `each` for every pair of address and size in a node's `reg`; says whether the property was well formed.
pub(super) fn for_each_reg(node: &Node<'_>, parent: &Node<'_>, mut each: impl FnMut(u64, u64)) -> bool {
    let (address_cells, size_cells) = (parent.address_cells(), parent.size_cells());
    let Some(value) = node.property("reg") else { return false };
    // Zero cells for both would make an entry of no bytes.
    if address_cells == 0 || size_cells == 0 {
        return false;
    }
    let mut cells = Cells::new(value);
    while !cells.is_empty() {
        let (Some(address), Some(size)) = (cells.next_number(address_cells), cells.next_number(size_cells))
        else {
            return false;
        };
        each(address, size);
    }
    true
}

pub(super) fn read_memory<'a>(
    root: &Node<'a>,
    problems: &mut Problems<'a>,
) -> Result<Vec<Region, MAX_MEMORY_REGIONS>, MachineError> {
    let mut regions: Vec<Region, MAX_MEMORY_REGIONS> = Vec::new();
    let nodes =
        root.children().filter(|node| node.text("device_type") == Some("memory") && node.is_enabled());
    for node in nodes {
        let bad = Problem::BadProperty { node: node.name(), property: "reg" };
        let well_formed = for_each_reg(&node, root, |address, size| match Region::new(address, size) {
            Some(region) if regions.push(region).is_err() => {
                problems.note(Problem::TooMany("memory regions"))
            }
            None if size > 0 => problems.note(bad),
            _ => {}
        });
        if !well_formed {
            problems.note(bad);
        }
    }
    merge(&mut regions);
    if regions.is_empty() { Err(MachineError::NoMemory) } else { Ok(regions) }
}

/// Sorts the regions and joins those that overlap or touch.
fn merge(regions: &mut Vec<Region, MAX_MEMORY_REGIONS>) {
    regions.sort_unstable();
    let mut kept = 0;
    for index in 1..regions.len() {
        let region = regions[index];
        let last = &mut regions[kept];
        if region.start <= last.end() {
            last.bytes = last.bytes.max(region.end() - last.start);
        } else {
            kept += 1;
            regions[kept] = region;
        }
    }
    regions.truncate(kept + 1);
}

pub(super) fn read_reserved<'a>(
    tree: &DeviceTree<'a>,
    problems: &mut Problems<'a>,
) -> Vec<ReservedRegion, MAX_RESERVED_REGIONS> {
    let mut reserved = Vec::new();
    let mut add = |address, size, no_map, problems: &mut Problems<'a>, node| match Region::new(address, size)
    {
        Some(region) if reserved.push(ReservedRegion { region, no_map }).is_err() => {
            problems.note(Problem::TooMany("reserved regions"));
        }
        None if size > 0 => problems.note(Problem::BadProperty { node, property: "reg" }),
        _ => {}
    };
    for (address, size) in tree.reservations() {
        add(address, size, false, problems, "the reservation block");
    }
    let Some(parent) = tree.root().child("reserved-memory") else { return reserved };
    for node in parent.children().filter(Node::is_enabled) {
        let no_map = node.has("no-map");
        // A node with a size but no address asks for memory of the kernel's choice, for a device we do not have.
        if !node.has("reg") && node.has("size") {
            continue;
        }
        let well_formed =
            for_each_reg(&node, &parent, |address, size| add(address, size, no_map, problems, node.name()));
        if !well_formed {
            problems.note(Problem::BadProperty { node: node.name(), property: "reg" });
        }
    }
    reserved
}
