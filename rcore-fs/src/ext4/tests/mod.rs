//! Filesystems made by mke2fs and debugfs, compared with what they were made from.
//!
//! Both tools come with the development machine's set-up; without them the tests fail.

mod damage;
mod image;
mod reading;

use std::sync::Arc;

use super::{Ext4, Ext4Options, Refusal};
use linux_abi::stat::DeviceNumber;

use crate::disk::Disk;
use crate::test_disk::{MemoryDisk, block_on};

/// Mounts an image.
fn mount(content: Vec<u8>, options: Ext4Options) -> Result<(Arc<MemoryDisk>, Arc<Ext4>), Refusal> {
    let device = MemoryDisk::new(content);
    let disk = Disk::new(device.clone(), DeviceNumber::new(254, 0));
    Ok((device, block_on(Ext4::mount(&disk, options))?))
}
