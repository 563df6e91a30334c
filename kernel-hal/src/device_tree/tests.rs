use super::builder::TestNode;
use super::*;

fn small_tree() -> Vec<u8> {
    TestNode::new("")
        .cells("#address-cells", &[2])
        .strings("compatible", &["first", "second"])
        .child(TestNode::new("soc").child(TestNode::new("serial@10").cells("reg", &[0, 16])).flag("ranges"))
        .child(TestNode::new("chosen").strings("bootargs", &["quiet"]))
        .build_with_reservations(&[(0x8000_0000, 0x1000)])
}

fn patched(offset: usize, word: u32) -> Vec<u8> {
    let mut blob = small_tree();
    blob[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
    blob
}

#[test]
fn nodes_and_properties_are_found() {
    let blob = small_tree();
    let tree = DeviceTree::parse(&blob).unwrap();
    let root = tree.root();
    let names: Vec<_> = root.children().map(|node| node.name()).collect();
    assert_eq!(names, ["soc", "chosen"]);
    assert!(root.is_compatible(&["second"]) && !root.is_compatible(&["third"]));
    assert_eq!(root.u32("#address-cells"), Some(2));
    assert_eq!(root.number("compatible"), None);
    let serial = tree.find("/soc/serial").unwrap();
    assert_eq!(serial.name(), "serial@10");
    assert!(tree.find("/soc/serial@10").unwrap().is(&serial));
    assert!(tree.find("/soc/serial@20").is_none() && tree.find("soc").is_none());
    assert_eq!(tree.find("/chosen").unwrap().text("bootargs"), Some("quiet"));
    assert_eq!(tree.reservations().collect::<Vec<_>>(), [(0x8000_0000, 0x1000)]);
}

#[test]
fn what_follows_the_blob_does_not_matter() {
    let mut blob = small_tree();
    blob.extend([0xff; 100]);
    assert_eq!(DeviceTree::parse(&blob).unwrap().blob().len(), blob.len() - 100);
}

#[test]
fn bad_headers_are_refused() {
    let error = |blob: &[u8]| DeviceTree::parse(blob).unwrap_err();
    assert_eq!(error(&[]), DeviceTreeError::HeaderTruncated);
    assert_eq!(error(&patched(0, 7)), DeviceTreeError::BadMagic(7));
    assert_eq!(error(&patched(4, 39)), DeviceTreeError::BadTotalSize(39));
    assert_eq!(error(&patched(4, 1 << 30)), DeviceTreeError::BadTotalSize(1 << 30));
    assert_eq!(error(&patched(20, 16)), DeviceTreeError::UnsupportedVersion(16));
    assert_eq!(error(&patched(8, 42)), DeviceTreeError::BadBlock(Block::Structure));
    assert_eq!(error(&patched(12, u32::MAX)), DeviceTreeError::BadBlock(Block::Strings));
    assert_eq!(error(&patched(16, 0)), DeviceTreeError::BadBlock(Block::Reservations));
    let blob = small_tree();
    for end in 0..blob.len() {
        DeviceTree::parse(&blob[..end]).unwrap_err();
    }
}

#[test]
fn bad_structure_is_refused() {
    let blob = small_tree();
    let structure = 72;
    assert_eq!(DeviceTree::parse(&patched(structure, 5)).unwrap_err(), DeviceTreeError::BadToken(0));
    assert_eq!(DeviceTree::parse(&patched(structure, 2)).unwrap_err(), DeviceTreeError::Unbalanced);
    assert_eq!(DeviceTree::parse(&patched(structure, 9)).unwrap_err(), DeviceTreeError::Unbalanced);
    let end = blob.windows(4).rposition(|window| window == 9u32.to_be_bytes()).unwrap();
    assert!(matches!(DeviceTree::parse(&patched(end, 4)).unwrap_err(), DeviceTreeError::BadToken(_)));

    let mut deep = TestNode::new("leaf");
    for _ in 0..MAX_DEPTH {
        deep = TestNode::new("node").child(deep);
    }
    assert_eq!(DeviceTree::parse(&deep.build()).unwrap_err(), DeviceTreeError::TooDeep);
}

#[test]
fn a_pointer_is_followed_only_if_it_can_be_one() {
    // SAFETY: null is refused before anything is read.
    let null = unsafe { DeviceTree::from_pointer(std::ptr::null()) };
    assert_eq!(null.unwrap_err(), DeviceTreeError::BadPointer);
    let blob = small_tree();
    let mut aligned = vec![0u64; blob.len().div_ceil(8)];
    for (word, bytes) in aligned.iter_mut().zip(blob.chunks(8)) {
        let mut buffer = [0; 8];
        buffer[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(buffer);
    }
    // SAFETY: the blob's header claims as many bytes as were copied, and they outlive `tree`.
    let tree = unsafe { DeviceTree::from_pointer(aligned.as_ptr().cast()) }.unwrap();
    assert_eq!(tree.blob(), blob);
}
