//! Address spaces, seen through the software MMU of the host twin: a test stores and loads as a program would.

mod basic;
mod copies;
mod exhaustion;
mod harts;
mod lock;
mod model;
mod remap;

use std::sync::Arc;
use std::vec::Vec;

use kernel_hal::{Access, PAGE_SIZE, PageFault, VirtAddr, user_memory};

use super::*;
use crate::frame::host::use_private;
use crate::frame::statistics;

const READ_WRITE: Protection = Protection::READ.union(Protection::WRITE);

fn new_space() -> Arc<AddressSpace> {
    AddressSpace::new(Layout::default(), Limits::USUAL).unwrap()
}

/// How an access ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    With(FaultResult),
    /// It wants to wait for a page.
    Waiting,
}

/// Answers faults until the access works or cannot.
fn access(space: &Arc<AddressSpace>, mut attempt: impl FnMut() -> Result<(), PageFault>) -> Ended {
    space.activate();
    for _ in 0..100 {
        let Err(fault) = attempt() else { return Ended::Well };
        match space.fault(fault) {
            FaultOutcome::Ready(FaultResult::Resolved) => {}
            FaultOutcome::Ready(result) => return Ended::With(result),
            FaultOutcome::NeedsLoad(_) => return Ended::Waiting,
        }
    }
    panic!("faults do not end");
}

fn store(space: &Arc<AddressSpace>, address: VirtAddr, byte: u8) -> Ended {
    access(space, || user_memory::copy_out(address, &[byte]).map_err(|stopped| stopped.fault))
}

fn load(space: &Arc<AddressSpace>, address: VirtAddr) -> Result<u8, Ended> {
    let mut byte = [0];
    match access(space, || user_memory::copy_in(&mut byte, address).map_err(|stopped| stopped.fault)) {
        Ended::Well => Ok(byte[0]),
        other => Err(other),
    }
}

fn not(result: FaultResult) -> Ended {
    Ended::With(result)
}

/// Lets go of the thread's address space, so that every frame can be counted.
fn leave(space: Arc<AddressSpace>) {
    AddressSpace::deactivate();
    assert_eq!(Arc::strong_count(&space), 1);
}
