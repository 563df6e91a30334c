//! Where the pages of an object come from and go to.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::frame::PinnedFrame;

/// Why a page could not be brought or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagerError {
    /// The device or the filesystem's data is at fault.
    InputOutput,
    /// There is no room left where the pages should go.
    NoSpace,
    /// No memory for the page.
    OutOfMemory,
    /// The pages are no longer wanted: the object's owner is gone.
    Gone,
}

impl fmt::Display for PagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InputOutput => "input/output error",
            Self::NoSpace => "no space left",
            Self::OutOfMemory => "out of memory",
            Self::Gone => "the pager is gone",
        })
    }
}

impl core::error::Error for PagerError {}

/// What a pager's calls return. Boxed: this is the slow path.
pub type PagerFuture = Pin<Box<dyn Future<Output = Result<(), PagerError>> + Send>>;

/// Brings and stores pages of one object; a filesystem implements it.
///
/// The frames are owned and pinned: a device may go on with them even if the future is dropped, and whoever hands
/// them to a device keeps them until it has answered.
pub trait Pager: Send + Sync {
    /// Fills the frames with the pages from `first` on. Bytes beyond the end of the file are to be zero. The first
    /// page is the one that somebody waits for; the others are read ahead.
    fn load(self: Arc<Self>, first: u64, frames: Vec<PinnedFrame>) -> PagerFuture;

    /// Stores the pages from `first` on. Their content may change meanwhile; then they are dirty again and come again.
    fn write_back(self: Arc<Self>, first: u64, frames: Vec<PinnedFrame>) -> PagerFuture;

    /// Whether [`Self::prepare_write`] must succeed before a clean page may become dirty by a store to mapped memory.
    fn wants_prepare_write(&self) -> bool {
        false
    }

    /// Reserves what storing these pages will need, so that a store to mapped memory cannot be lost for lack of space.
    fn prepare_write(self: Arc<Self>, first: u64, count: u64) -> PagerFuture {
        let _ = (first, count);
        Box::pin(core::future::ready(Ok(())))
    }
}

/// A page on its way. When it ends well, what needed the page is tried again; it may have to wait again.
#[must_use = "nothing is loaded unless it is awaited"]
pub struct PageLoad(PagerFuture);

impl PageLoad {
    pub(crate) fn new(future: impl Future<Output = Result<(), PagerError>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for PageLoad {
    type Output = Result<(), PagerError>;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for PageLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageLoad")
    }
}
