//! Builds blobs for tests.

/// A node to be written: properties, then children.
#[derive(Clone, Default)]
pub(crate) struct TestNode {
    name: String,
    properties: Vec<(String, Vec<u8>)>,
    children: Vec<TestNode>,
}

impl TestNode {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub(crate) fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    pub(crate) fn cells(self, name: &str, cells: &[u32]) -> Self {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.bytes(name, &bytes)
    }

    /// Each string gets its NUL.
    pub(crate) fn strings(self, name: &str, strings: &[&str]) -> Self {
        let bytes: Vec<u8> = strings.iter().flat_map(|text| text.bytes().chain([0])).collect();
        self.bytes(name, &bytes)
    }

    pub(crate) fn flag(self, name: &str) -> Self {
        self.bytes(name, &[])
    }

    pub(crate) fn child(mut self, child: TestNode) -> Self {
        self.children.push(child);
        self
    }

    /// Takes a property out of the node at this path of child names.
    pub(crate) fn without(mut self, path: &[&str], property: &str) -> Self {
        self.at(path).properties.retain(|(name, _)| name != property);
        self
    }

    /// Replaces or adds a property in the node at this path of child names.
    pub(crate) fn with(mut self, path: &[&str], property: &str, value: &[u8]) -> Self {
        let node = self.at(path);
        node.properties.retain(|(name, _)| name != property);
        node.properties.push((property.into(), value.into()));
        self
    }

    pub(crate) fn at(&mut self, path: &[&str]) -> &mut TestNode {
        path.iter().fold(self, |node, part| {
            node.children.iter_mut().find(|child| child.name == *part).expect("a node of the test's tree")
        })
    }

    /// The blob with this node as its root.
    pub(crate) fn build(&self) -> Vec<u8> {
        self.build_with_reservations(&[])
    }

    pub(crate) fn build_with_reservations(&self, reservations: &[(u64, u64)]) -> Vec<u8> {
        let (mut structure, mut strings) = (Vec::new(), Vec::new());
        self.write(&mut structure, &mut strings);
        structure.extend(9u32.to_be_bytes());
        let reservation_block: Vec<u8> = reservations
            .iter()
            .chain([&(0, 0)])
            .flat_map(|&(a, b)| [a, b])
            .flat_map(u64::to_be_bytes)
            .collect();
        let structure_offset = 40 + reservation_block.len();
        let strings_offset = structure_offset + structure.len();
        let total = strings_offset + strings.len();
        let header = [
            super::MAGIC as usize,
            total,
            structure_offset,
            strings_offset,
            40,
            17,
            16,
            0,
            strings.len(),
            structure.len(),
        ];
        let header = header.iter().flat_map(|&word| (word as u32).to_be_bytes());
        header.chain(reservation_block).chain(structure).chain(strings).collect()
    }

    fn write(&self, structure: &mut Vec<u8>, strings: &mut Vec<u8>) {
        let pad = |structure: &mut Vec<u8>| structure.resize(structure.len().next_multiple_of(4), 0);
        structure.extend(1u32.to_be_bytes());
        structure.extend(self.name.bytes().chain([0]));
        pad(structure);
        for (name, value) in &self.properties {
            structure.extend(3u32.to_be_bytes());
            structure.extend((value.len() as u32).to_be_bytes());
            structure.extend((string_offset(strings, name) as u32).to_be_bytes());
            structure.extend(value);
            pad(structure);
        }
        for child in &self.children {
            child.write(structure, strings);
        }
        structure.extend(2u32.to_be_bytes());
    }
}

fn string_offset(strings: &mut Vec<u8>, name: &str) -> usize {
    let wanted: Vec<u8> = name.bytes().chain([0]).collect();
    if let Some(found) = strings.windows(wanted.len()).position(|window| window == wanted) {
        return found;
    }
    strings.extend(&wanted);
    strings.len() - wanted.len()
}
