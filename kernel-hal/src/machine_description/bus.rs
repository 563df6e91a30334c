//! Buses: how an address in a device's node becomes an address that a hart can use.

use super::Region;
use crate::device_tree::{Cells, DeviceTree, Node};

/// A bus that devices sit on, with the buses between it and the harts.
pub(super) struct Bus<'a, 'parent> {
    node: Node<'a>,
    parent: Option<&'parent Bus<'a, 'parent>>,
    /// The interrupt controller of devices that do not name one.
    interrupt_parent: Option<u32>,
}

impl<'a> Bus<'a, '_> {
    /// The first `reg` entry of a device on this bus, as a hart sees it. `None` if it is malformed or hidden.
    pub(super) fn first_region(&self, device: &Node<'a>) -> Option<Region> {
        let mut cells = Cells::new(device.property("reg")?);
        let address = cells.next_number(self.node.address_cells())?;
        let bytes = cells.next_number(self.node.size_cells())?;
        Region::new(self.to_hart_address(address, bytes)?, bytes)
    }

    /// The interrupt of a device on this bus: its controller and the line's number there.
    pub(super) fn first_interrupt(&self, device: &Node<'a>) -> Option<(u32, u32)> {
        if let Some(extended) = device.property("interrupts-extended") {
            let mut cells = Cells::new(extended);
            return Some((cells.next_u32()?, cells.next_u32()?));
        }
        let controller = device.u32("interrupt-parent").or(self.interrupt_parent)?;
        Some((controller, Cells::new(device.property("interrupts")?).next_u32()?))
    }

    fn to_hart_address(&self, address: u64, bytes: u64) -> Option<u64> {
        let Some(parent) = self.parent else { return Some(address) };
        // Without the property the bus is not visible from its parent; an empty one means "same addresses".
        let ranges = self.node.property("ranges")?;
        if ranges.is_empty() {
            return parent.to_hart_address(address, bytes);
        }
        let end = address.checked_add(bytes)?;
        let mut cells = Cells::new(ranges);
        while !cells.is_empty() {
            // An entry that cannot be read ends the search; an entry has at least one byte because a size has.
            let child_start = cells.next_number(self.node.address_cells())?;
            let parent_start = cells.next_number(parent.node.address_cells())?;
            let window = cells.next_number(self.node.size_cells().max(1))?;
            let inside = address >= child_start
                && child_start.checked_add(window).is_some_and(|window_end| end <= window_end);
            if inside {
                return parent.to_hart_address(parent_start.checked_add(address - child_start)?, bytes);
            }
        }
        None
    }
}

/// Calls `visit` for every enabled device in the tree's order, at the root and on simple buses.
pub(super) fn for_each_device<'a>(tree: &DeviceTree<'a>, visit: &mut dyn FnMut(&Node<'a>, &Bus<'a, '_>)) {
    let root = tree.root();
    walk(&Bus { node: root, parent: None, interrupt_parent: root.u32("interrupt-parent") }, visit);
}

/// Recursion ends because the tree's depth has been checked.
fn walk<'a>(bus: &Bus<'a, '_>, visit: &mut dyn FnMut(&Node<'a>, &Bus<'a, '_>)) {
    for node in bus.node.children().filter(Node::is_enabled) {
        if node.is_compatible(&["simple-bus"]) {
            let interrupt_parent = node.u32("interrupt-parent").or(bus.interrupt_parent);
            walk(&Bus { node, parent: Some(bus), interrupt_parent }, visit);
        } else {
            visit(&node, bus);
        }
    }
}
