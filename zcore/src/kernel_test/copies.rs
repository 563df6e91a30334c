//! Copies from and to a program's memory that fault, at every offset.

use alloc::boxed::Box;
use alloc::sync::Arc;

use kernel_hal::user_memory::{self, CopyFault};
use kernel_hal::{Access, PAGE_SIZE, PageFault, USER_END, VirtAddr};
use kernel_object::address_space::{AddressSpace, Layout, Limits, MapRequest, Protection};

use super::Entry;

pub const TESTS: &[Entry] = &[
    Entry::new("copies-every-offset", || Box::pin(async { every_offset() })),
    Entry::new("copies-every-alignment", || Box::pin(async { every_alignment() })),
    Entry::new("copies-rights", || Box::pin(async { rights() })),
];

const START: VirtAddr = VirtAddr::new(0x10_0000);
const READ_WRITE: Protection = Protection::READ.union(Protection::WRITE);

fn space_with(pages: usize, protection: Protection) -> Arc<AddressSpace> {
    let space = AddressSpace::new(Layout::default(), Limits::USUAL).expect("memory");
    space.map(MapRequest::anonymous(pages * PAGE_SIZE, protection).at(START)).expect("a mapping");
    space
}

fn byte_at(offset: usize) -> u8 {
    (offset * 7 + offset / 256) as u8
}

/// One page is there, the next is not: each copy stops exactly at the border, whatever its offset and length.
fn every_offset() {
    let space = space_with(1, READ_WRITE);
    let pattern: alloc::vec::Vec<u8> = (0..PAGE_SIZE).map(byte_at).collect();
    space.try_copy_out(START, &pattern).expect("a copy");
    space.activate();
    let border = START + PAGE_SIZE;
    let mut buffer = [0; 200];
    for offset in 0..=PAGE_SIZE {
        for len in [1, 7, 8, 31, 64, 65, 200] {
            let fits = (PAGE_SIZE - offset).min(len);
            let fault = |access| {
                let fault = PageFault { address: border, access };
                if fits == len { Ok(()) } else { Err(CopyFault { done: fits, fault }) }
            };
            buffer.fill(0xee);
            let result = user_memory::copy_in(&mut buffer[..len], START + offset);
            assert_eq!(result, fault(Access::Read), "in: {len} bytes at {offset}");
            assert_eq!(buffer[..fits], pattern[offset..offset + fits], "in: {len} bytes at {offset}");
            assert!(buffer[fits..].iter().all(|byte| *byte == 0xee), "in: more than was there");
            let result = user_memory::copy_out(START + offset, &pattern[offset..offset + fits.max(1) - 1]);
            assert_eq!(result, Ok(()), "out: at {offset}");
            let mut source = [0; 200];
            source[..fits].copy_from_slice(&pattern[offset..offset + fits]);
            let result = user_memory::copy_out(START + offset, &source[..len]);
            assert_eq!(result, fault(Access::Write), "out: {len} bytes at {offset}");
        }
    }
    // What was copied out was what is there, so it is there still.
    let mut whole = alloc::vec![0; PAGE_SIZE];
    assert_eq!(user_memory::copy_in(&mut whole, START), Ok(()));
    assert!(whole == pattern);
    for offset in (0..=PAGE_SIZE).rev() {
        let result = user_memory::zero(START + offset, 100);
        let fits = (PAGE_SIZE - offset).min(100);
        match result {
            Ok(()) => assert_eq!(fits, 100),
            Err(stopped) => assert_eq!((stopped.done, stopped.fault.address), (fits, border)),
        }
    }
    assert_eq!(user_memory::copy_in(&mut whole, START), Ok(()));
    assert!(whole.iter().all(|byte| *byte == 0));
    AddressSpace::deactivate();
}

/// All alignments of both sides and all small lengths, over a border between pages that appear on demand.
fn every_alignment() {
    let space = space_with(2, READ_WRITE);
    let source: [u8; 200] = core::array::from_fn(byte_at);
    let mut back = [0; 200];
    for user_offset in 0..16 {
        for kernel_offset in 0..16 {
            for len in 0..150 {
                let address = START + PAGE_SIZE - 40 + user_offset;
                let bytes = &source[kernel_offset..kernel_offset + len];
                assert!(space.try_copy_out(address, bytes).is_ok());
                let copy = &mut back[kernel_offset..kernel_offset + len];
                assert!(space.try_copy_in(copy, address).is_ok());
                assert_eq!(back[kernel_offset..kernel_offset + len], *bytes);
            }
        }
    }
    AddressSpace::deactivate();
}

/// What a program may not store to, the kernel does not store to for it; nor does it touch its own memory for it.
fn rights() {
    let space = space_with(1, Protection::READ);
    let mut byte = [1];
    assert!(space.try_copy_in(&mut byte, START).is_ok());
    assert_eq!(byte, [0]);
    assert!(space.try_copy_out(START, &[1]).is_err(), "stored to a read-only page");
    assert!(user_memory::compare_exchange_u32(START, 0, 1).is_err());
    assert_eq!(user_memory::load_u32(START), Ok(0));
    let kernel = VirtAddr::new(every_offset as *const () as usize);
    for address in [kernel, VirtAddr::new(USER_END), VirtAddr::new(usize::MAX - 3), VirtAddr::new(0)] {
        assert!(space.try_copy_in(&mut byte, address).is_err(), "loaded from {address:?}");
        assert!(space.try_copy_out(address, &byte).is_err(), "stored to {address:?}");
    }
    AddressSpace::deactivate();
}
