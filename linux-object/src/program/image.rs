//! What is remembered of the program in a piece of memory, for whoever looks at the process from outside.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use kernel_object::paged_object::WriteDenial;
use ksync::Once;

use crate::namespace::Place;

/// The program in a piece of memory: where it came from, and where what lies.
#[derive(Default)]
pub struct ProgramImage {
    /// The file that was executed.
    pub executable: Option<Place>,
    /// Nobody writes the file meanwhile.
    pub unwritten: Option<WriteDenial>,
    /// Where its code lies.
    pub code: Range<usize>,
    /// Where its initialised data lies.
    pub data: Range<usize>,
    /// Its first stack pointer.
    pub stack_start: usize,
    /// Where its arguments lie.
    pub arguments: Range<usize>,
    /// Where its environment lies.
    pub environment: Range<usize>,
    /// The auxiliary vector that it was given.
    pub auxiliary: Vec<u8>,
}

impl ProgramImage {
    /// That of who has no memory any more: all of them share it.
    pub fn none() -> Arc<Self> {
        static NONE: Once<Arc<ProgramImage>> = Once::new();
        NONE.call_once(Arc::default).clone()
    }
}

/// An area that is no file's, by the name that `/proc/PID/maps` shows. It is the area's
/// [origin](kernel_object::address_space::Origin), as a file's is its [`Place`].
pub struct SpecialArea(pub &'static str);
