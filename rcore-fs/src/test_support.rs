//! What the tests share.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use linux_abi::Errno;
use linux_abi::time::Timespec;

use crate::{Creation, DirectoryEntry, INode, NewNode};

thread_local! {
    static SECONDS: Cell<i64> = const { Cell::new(1000) };
}

/// A clock that stands still until a test moves it.
pub(crate) fn clock() -> Timespec {
    Timespec { tv_sec: SECONDS.get(), tv_nsec: 5 }
}

/// Moves the clock on, and returns the new time.
pub(crate) fn tick() -> Timespec {
    SECONDS.set(SECONDS.get() + 1);
    clock()
}

/// Polls a future that must not have to wait for anybody else.
pub(crate) fn finish<F: IntoFuture>(future: F) -> F::Output {
    let mut future = pin!(future.into_future());
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the operation waits for something that nobody here does"),
    }
}

/// How to create something with plain attributes.
pub(crate) fn new(node: NewNode<'_>) -> Creation<'_> {
    Creation { node, permissions: 0o644, user: 0, group: 0 }
}

/// Creates something.
pub(crate) fn make(
    directory: &Arc<dyn INode>,
    name: &str,
    node: NewNode<'_>,
) -> Result<Arc<dyn INode>, Errno> {
    finish(directory.create(name.as_bytes(), &new(node)))
}

/// One entry of a listing: name, inode number, next position.
pub(crate) type Listed = (String, u64, u64);

/// Lists up to `most` entries of a directory from a position on.
pub(crate) fn list(directory: &Arc<dyn INode>, from: u64, most: usize) -> Vec<Listed> {
    let mut listed = Vec::new();
    let mut sink = |entry: &DirectoryEntry<'_>| {
        if listed.len() == most {
            return ControlFlow::Break(());
        }
        listed.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.inode, entry.next));
        ControlFlow::Continue(())
    };
    finish(directory.iterate(from, &mut sink)).unwrap();
    listed
}

/// All names in a directory.
pub(crate) fn names(directory: &Arc<dyn INode>) -> Vec<String> {
    list(directory, 0, usize::MAX).into_iter().map(|(name, ..)| name).collect()
}

/// How many inputs a fuzz test tries: `usual`, or what `ZCORE_FUZZ_ITERATIONS` says.
pub(crate) fn iterations(usual: usize) -> usize {
    std::env::var("ZCORE_FUZZ_ITERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A small repeatable generator (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}
