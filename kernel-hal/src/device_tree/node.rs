//! Nodes and their properties.

use super::{Cells, DeviceTree, Strings, Token, big_endian_u32};

/// A property: a name and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property<'a> {
    /// The name.
    pub name: &'a str,
    /// The value's bytes.
    pub value: &'a [u8],
}

/// A node of a device tree.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    tree: DeviceTree<'a>,
    name: &'a str,
    /// Offset in the structure block of what follows the node's name.
    body: usize,
}

impl<'a> Node<'a> {
    pub(super) fn new(tree: DeviceTree<'a>, name: &'a str, body: usize) -> Self {
        Self { tree, name, body }
    }

    /// The name with its unit address, such as `serial@10000000`; empty for the root.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Whether this is the same node of the same tree.
    pub fn is(&self, other: &Self) -> bool {
        self.body == other.body && std::ptr::eq(self.tree.structure, other.tree.structure)
    }

    /// The properties in the blob's order.
    pub fn properties(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let (tree, mut cursor) = (self.tree, self.body);
        std::iter::from_fn(move || {
            loop {
                let (token, next) = tree.token_at(cursor).ok()?;
                cursor = next;
                match token {
                    Token::Property(property) => return Some(property),
                    Token::Nop => {}
                    _ => return None,
                }
            }
        })
        .fuse()
    }

    /// The children in the blob's order.
    pub fn children(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let (tree, mut cursor, mut depth) = (self.tree, self.body, 0usize);
        std::iter::from_fn(move || {
            loop {
                let (token, next) = tree.token_at(cursor).ok()?;
                cursor = next;
                match token {
                    Token::BeginNode(name) => {
                        depth += 1;
                        if depth == 1 {
                            return Some(Node::new(tree, name, next));
                        }
                    }
                    Token::EndNode => depth = depth.checked_sub(1)?,
                    Token::Property(_) | Token::Nop => {}
                    Token::End => return None,
                }
            }
        })
        .fuse()
    }

    /// The child with this name; a name without `@` also matches one that has a unit address.
    pub fn child(&self, name: &str) -> Option<Node<'a>> {
        let bare = |node: &Node<'a>| node.name.split('@').next() == Some(name);
        self.children().find(|node| node.name == name).or_else(|| self.children().find(bare))
    }

    /// The value of the property with this name.
    pub fn property(&self, name: &str) -> Option<&'a [u8]> {
        self.properties().find(|property| property.name == name).map(|property| property.value)
    }

    /// Whether there is a property with this name, of any value.
    pub fn has(&self, name: &str) -> bool {
        self.property(name).is_some()
    }

    /// A property that is exactly one cell.
    pub fn u32(&self, name: &str) -> Option<u32> {
        let value = self.property(name)?;
        if value.len() == 4 { big_endian_u32(value, 0) } else { None }
    }

    /// A property that is exactly one or two cells.
    pub fn number(&self, name: &str) -> Option<u64> {
        let value = self.property(name)?;
        match value.len() {
            4 | 8 => Cells::new(value).next_number(value.len() / 4),
            _ => None,
        }
    }

    /// The first string of a property.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.strings(name).next()
    }

    /// The strings of a property; none if there is no such property.
    pub fn strings(&self, name: &str) -> Strings<'a> {
        Strings::new(self.property(name).unwrap_or_default())
    }

    /// Whether the node says it is compatible with one of these.
    pub fn is_compatible(&self, any_of: &[&str]) -> bool {
        self.strings("compatible").any(|found| any_of.contains(&found))
    }

    /// Whether the node's device may be used: its status is absent or `okay`.
    pub fn is_enabled(&self) -> bool {
        match self.property("status") {
            None => true,
            Some(_) => matches!(self.text("status"), Some("okay" | "ok")),
        }
    }

    /// How many cells an address of the node's children has.
    pub fn address_cells(&self) -> usize {
        self.u32("#address-cells").map_or(2, |cells| cells as usize)
    }

    /// How many cells a size of the node's children has.
    pub fn size_cells(&self) -> usize {
        self.u32("#size-cells").map_or(1, |cells| cells as usize)
    }
}
