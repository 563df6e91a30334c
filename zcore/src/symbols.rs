//! Names for code addresses, from the table that the build appends to the image (`scripts/mksymbols.py`).

use core::ops::Range;

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __image_end: u8;
}

const MAGIC: &[u8] = b"ZSYM";
const HEADER_BYTES: usize = 8;
const ENTRY_BYTES: usize = 8;
/// A table larger than this is not one.
const MOST_ENTRIES: usize = 1 << 20;
const LONGEST_NAME: usize = 512;

/// Addresses of the kernel's code.
pub fn text() -> Range<usize> {
    (&raw const __image_start).addr()..(&raw const __text_end).addr()
}

fn table() -> Option<(&'static [u8], usize)> {
    let start = &raw const __image_end;
    // SAFETY: the build pads the image to `__image_end` and appends the table there; boot reserves its frames. Without
    // a table this reads the first bytes of ordinary memory behind the image, which are not the magic ones.
    let header = unsafe { core::slice::from_raw_parts(start, HEADER_BYTES) };
    let (magic, count) = header.split_at(4);
    let count = u32::from_le_bytes(count.try_into().ok()?) as usize;
    if magic != MAGIC || count == 0 || count > MOST_ENTRIES {
        return None;
    }
    // SAFETY: as above: the entries follow the header.
    let entries = unsafe { core::slice::from_raw_parts(start.add(HEADER_BYTES), count * ENTRY_BYTES) };
    Some((entries, start.addr() + HEADER_BYTES + count * ENTRY_BYTES))
}

fn entry(entries: &[u8], index: usize) -> Option<(usize, usize)> {
    let bytes = entries.get(index * ENTRY_BYTES..)?.first_chunk::<ENTRY_BYTES>()?;
    let (start, name) = bytes.split_at(4);
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize);
    Some((number(start)?, number(name)?))
}

fn name_at(address: usize) -> &'static str {
    let start = core::ptr::with_exposed_provenance::<u8>(address);
    // SAFETY: names follow the entries, each ended by a zero byte.
    let len = (0..LONGEST_NAME).find(|&at| unsafe { start.add(at).read() } == 0).unwrap_or(0);
    // SAFETY: as above.
    let bytes = unsafe { core::slice::from_raw_parts(start, len) };
    core::str::from_utf8(bytes).unwrap_or("?")
}

/// How many bytes the build appended to the image: entries and names.
pub fn table_bytes() -> usize {
    let Some((entries, names)) = table() else { return 0 };
    let last_name = entry(entries, entries.len() / ENTRY_BYTES - 1).map_or(0, |(_, name)| name);
    // The last entry's name is the empty one; names are shared, so others may lie behind it.
    let furthest = (0..entries.len() / ENTRY_BYTES)
        .filter_map(|index| entry(entries, index))
        .map(|(_, name)| name)
        .max()
        .unwrap_or(last_name);
    names + furthest + name_at(names + furthest).len() + 1 - (&raw const __image_end).addr()
}

/// The function that holds `address`, and the offset inside it.
pub fn lookup(address: usize) -> Option<(&'static str, usize)> {
    let (entries, names) = table()?;
    let offset = address.checked_sub(text().start)?;
    let (mut low, mut high) = (0, entries.len() / ENTRY_BYTES);
    while low < high {
        let middle = low.midpoint(high);
        if entry(entries, middle)?.0 <= offset {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let (start, name) = entry(entries, low.checked_sub(1)?)?;
    Some((name_at(names + name), offset - start))
}
