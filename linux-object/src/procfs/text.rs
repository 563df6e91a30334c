//! Generated text by closures that may fail with an error of their own, and may take what is written.

use alloc::vec::Vec;

use linux_abi::Errno;
use rcore_fs::Attempt;
use rcore_fs::generated::{ContentBuffer, ContentError, GeneratedFile};

use crate::namespace::Place;
use crate::thread::current_thread;

/// What came of making a content.
pub(super) type Produced = Result<(), ContentError>;

/// A file whose text a closure writes at once.
pub(super) struct Text<F>(pub(super) F);

impl<F: Fn(&mut ContentBuffer) -> Produced + Send + Sync> GeneratedFile for Text<F> {
    fn produce(&self, mut output: ContentBuffer) -> Attempt<'_, ContentBuffer> {
        let outcome = (self.0)(&mut output);
        output.conclude(outcome).into()
    }
}

/// Appends bytes with those escaped that would confuse a reader of fields: as `\040`.
pub(super) fn append_escaped(output: &mut ContentBuffer, bytes: &[u8], special: &[u8]) -> Produced {
    for &byte in bytes {
        if special.contains(&byte) {
            let digit = |shift: u32| b'0' + (byte >> shift & 7);
            output.append(&[b'\\', digit(6), digit(3), digit(0)])?;
        } else {
            output.append(&[byte])?;
        }
    }
    Ok(())
}

/// What follows the path of a file whose last name is gone.
const DELETED: &[u8] = b" (deleted)";

/// The path of a place as the reader sees it.
pub(super) fn shown_path(place: &Place) -> Result<Vec<u8>, Errno> {
    let mut path = match current_thread() {
        Some(reader) => place.path(&reader.resources().paths.root())?,
        None => place.absolute_path()?,
    };
    let links = place.inode().metadata().done().ok().and_then(Result::ok).map(|metadata| metadata.links);
    if links == Some(0) {
        path.extend_from_slice(DELETED);
    }
    Ok(path)
}
