//! What a virtio disk says of itself (specification 5.2.4).

use bitflags::bitflags;
use virtio_drivers::transport::Transport;

use crate::block::{BlockInformation, MAX_SEGMENT_BYTES, SECTOR_BYTES};
use crate::virtio::{VirtioError, read_configuration};

bitflags! {
    /// The features of disks that this driver understands.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct BlockFeatures: u64 {
        /// There is a limit on the size of a segment.
        const SEGMENT_BYTES = 1 << 1;
        /// There is a limit on the number of segments.
        const SEGMENTS = 1 << 2;
        /// Writes are refused.
        const READ_ONLY = 1 << 5;
        /// The size of a logical block is given.
        const BLOCK_SIZE = 1 << 6;
        /// There is a volatile cache and a way to flush it.
        const FLUSH = 1 << 9;
        /// The size of a physical block is given.
        const TOPOLOGY = 1 << 10;
        const DISCARD = 1 << 13;
        const WRITE_ZEROES = 1 << 14;
    }
}

/// Offsets in the configuration space.
mod offset {
    pub const CAPACITY: usize = 0;
    pub const MAX_SEGMENT_BYTES: usize = 8;
    pub const MAX_SEGMENTS: usize = 12;
    pub const BLOCK_SIZE: usize = 20;
    pub const PHYSICAL_BLOCK_EXPONENT: usize = 24;
    pub const MAX_DISCARD_SECTORS: usize = 36;
    pub const MAX_WRITE_ZEROES_SECTORS: usize = 48;
}

/// Reads the configuration: the disk, and the largest piece of memory that it takes. Values that make no sense are
/// replaced by cautious ones.
pub(super) fn read<T: Transport>(
    transport: &T,
    features: BlockFeatures,
) -> Result<(BlockInformation, u32), VirtioError> {
    let information = read_configuration(transport, |transport| {
        let word = |at| transport.read_config_space::<u32>(at);
        let word_if = |feature, at, otherwise| {
            if features.contains(feature) { word(at) } else { Ok(otherwise) }
        };
        let low = word(offset::CAPACITY)?;
        let high = word(offset::CAPACITY + 4)?;
        let logical = word_if(BlockFeatures::BLOCK_SIZE, offset::BLOCK_SIZE, SECTOR_BYTES as u32)?;
        let exponent = if features.contains(BlockFeatures::TOPOLOGY) {
            transport.read_config_space::<u8>(offset::PHYSICAL_BLOCK_EXPONENT)?
        } else {
            0
        };
        let segment_bytes = word_if(BlockFeatures::SEGMENT_BYTES, offset::MAX_SEGMENT_BYTES, u32::MAX)?;
        let segments = word_if(BlockFeatures::SEGMENTS, offset::MAX_SEGMENTS, u32::MAX)?;
        let sane_logical =
            if logical.is_power_of_two() && (512..=65536).contains(&logical) { logical } else { 512 };
        let information = BlockInformation {
            sectors: u64::from(high) << 32 | u64::from(low),
            logical_block_bytes: sane_logical,
            physical_block_bytes: sane_logical
                .checked_shl(u32::from(exponent))
                .unwrap_or(sane_logical)
                .max(sane_logical),
            read_only: features.contains(BlockFeatures::READ_ONLY),
            needs_flush: features.contains(BlockFeatures::FLUSH),
            max_segments: (segments as usize).max(1),
            max_discard_sectors: word_if(BlockFeatures::DISCARD, offset::MAX_DISCARD_SECTORS, 0)?,
            max_write_zeroes_sectors: word_if(
                BlockFeatures::WRITE_ZEROES,
                offset::MAX_WRITE_ZEROES_SECTORS,
                0,
            )?,
            queue_depth: 0,
        };
        Ok((information, segment_bytes))
    });
    let (information, segment_bytes) = information?;
    // A segment is a page or less; a device that cannot take a page in one piece is none that we know.
    if (segment_bytes as usize) < MAX_SEGMENT_BYTES
        || information.logical_block_bytes as usize > MAX_SEGMENT_BYTES
    {
        return Err(VirtioError::BadConfiguration);
    }
    Ok((information, segment_bytes))
}
