//! Registered files: a table of openings that requests name by index.
//!
//! A table may have gaps, which the kernel fills when a request asks it to choose (*direct descriptors*), within a range
//! if the program named one. Files can have tags: when the last request that uses a file that was taken out has ended,
//! a completion with the tag says so.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::io_uring::{
    FileIndexRange, IORING_FILE_INDEX_ALLOC, IORING_REGISTER_FILES_SKIP, ResourceFlags, ResourceRegister,
    ResourceUpdate, ResourceUpdate2,
};
use linux_object::file::OpenFile;
use linux_object::obstacle::Attempt;
use zerocopy::FromBytes;

use super::Registration;
use crate::operation::address;
use crate::request::Outcome;
use crate::ring::{Ring, ring_of};

/// The most that may be registered.
const MOST_FILES: u32 = 1 << 20;

#[derive(Clone, Default)]
struct Slot {
    file: Option<Arc<OpenFile>>,
    tag: u64,
}

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    /// Where the kernel chooses.
    range: Range<usize>,
}

/// The table of one ring, if there is one.
pub(super) struct Files(SpinLock<Option<Table>>);

impl Files {
    pub(super) const fn new() -> Self {
        Self(SpinLock::new(Rank::FILE_TABLE, None))
    }

    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.0.lock().as_ref().map_or(0, |table| table.slots.len())
    }
}

impl Ring {
    /// The registered file with this index.
    pub(crate) fn registered_file(&self, index: i32) -> Result<Arc<OpenFile>, Errno> {
        let table = self.registered.files.0.lock();
        let slot = table.as_ref().and_then(|table| table.slots.get(usize::try_from(index).ok()?));
        slot.and_then(|slot| slot.file.clone()).ok_or(Errno::EBADF)
    }

    /// Puts a file into the table: at an index (one more than it is named by), or where the kernel chooses. Returns the
    /// result of the request that made the file.
    pub(crate) fn install_file(&self, file: Arc<OpenFile>, place: u32) -> Result<usize, Errno> {
        if ring_of(&file).is_ok() {
            return Err(Errno::EBADF);
        }
        let (result, former) = {
            let mut table = self.registered.files.0.lock();
            let chooses = place == IORING_FILE_INDEX_ALLOC;
            let missing = if chooses { Errno::ENFILE } else { Errno::ENXIO };
            let table = table.as_mut().ok_or(missing)?;
            let (index, result) = if chooses {
                let range = table.range.start..table.range.end.min(table.slots.len());
                let begin = range.start;
                let free = table
                    .slots
                    .get(range)
                    .and_then(|slots| slots.iter().position(|slot| slot.file.is_none()));
                let index = begin + free.ok_or(Errno::ENFILE)?;
                (index, index)
            } else {
                (place as usize - 1, 0)
            };
            let slot = table.slots.get_mut(index).ok_or(Errno::EINVAL)?;
            let former = core::mem::replace(slot, Slot { file: Some(file), tag: 0 });
            (result, former)
        };
        self.tell_tag(former);
        Ok(result)
    }

    /// Takes a file out of the table.
    pub(crate) fn remove_file(&self, index: u32) -> Result<(), Errno> {
        let former = {
            let mut table = self.registered.files.0.lock();
            let table = table.as_mut().ok_or(Errno::ENXIO)?;
            let slot = table.slots.get_mut(index as usize).ok_or(Errno::EINVAL)?;
            if slot.file.is_none() {
                return Err(Errno::EBADF);
            }
            core::mem::take(slot)
        };
        self.tell_tag(former);
        Ok(())
    }

    /// Posts the tag of a file that is no longer registered.
    fn tell_tag(&self, slot: Slot) {
        let Slot { file, tag } = slot;
        drop(file);
        if tag != 0 {
            self.post_named(tag, Outcome::value(0));
        }
    }

    pub(super) fn register_files(&self, registration: &Registration<'_>) -> Attempt {
        self.fill_table(registration, registration.argument, 0, registration.count)
    }

    pub(super) fn register_files_with_tags(&self, registration: &Registration<'_>) -> Attempt {
        let given: ResourceRegister = read_sized(registration)?;
        let flags = ResourceFlags::from_bits(given.flags).ok_or(Errno::EINVAL)?;
        if given.resv2 != 0 || given.nr == 0 {
            return Err(Errno::EINVAL.into());
        }
        let is_sparse = flags.contains(ResourceFlags::SPARSE);
        if is_sparse && given.data != 0 {
            return Err(Errno::EINVAL.into());
        }
        self.fill_table(registration, given.data, given.tags, given.nr)
    }

    /// A new table, from an array of descriptors (none: all places are free) and one of tags.
    fn fill_table(&self, registration: &Registration<'_>, numbers: u64, tags: u64, count: u32) -> Attempt {
        if self.registered.files.0.lock().is_some() {
            return Err(Errno::EBUSY.into());
        }
        if count == 0 {
            return Err(Errno::EINVAL.into());
        }
        let limit = registration.resources.files.limit();
        if count > MOST_FILES || count as usize > limit {
            return Err(Errno::EMFILE.into());
        }
        let mut slots = Vec::new();
        slots.try_reserve_exact(count as usize).map_err(|_| Errno::ENOMEM)?;
        for index in 0..count as usize {
            let number = if numbers == 0 { -1 } else { read_at::<i32>(registration, numbers, index)? };
            let tag = if tags == 0 { 0 } else { read_at::<u64>(registration, tags, index)? };
            if number == -1 && tag != 0 {
                return Err(Errno::EINVAL.into());
            }
            slots.push(Slot { file: self.file_to_register(registration, number)?, tag });
        }
        let range = 0..slots.len();
        *self.registered.files.0.lock() = Some(Table { slots, range });
        Ok(0)
    }

    /// -1 stands for a gap. A ring cannot be registered.
    fn file_to_register(
        &self,
        registration: &Registration<'_>,
        number: i32,
    ) -> Result<Option<Arc<OpenFile>>, Errno> {
        if number == -1 {
            return Ok(None);
        }
        let file = registration.resources.files.get(number)?;
        if ring_of(&file).is_ok() { Err(Errno::EBADF) } else { Ok(Some(file)) }
    }

    pub(super) fn unregister_files(&self, registration: &Registration<'_>) -> Attempt {
        registration.without_argument()?;
        let table = self.registered.files.0.lock().take().ok_or(Errno::ENXIO)?;
        drop(table);
        Ok(0)
    }

    pub(super) fn update_files(&self, registration: &Registration<'_>) -> Attempt {
        if registration.count == 0 {
            return Err(Errno::EINVAL.into());
        }
        let given: ResourceUpdate = registration.memory().read(address(registration.argument))?;
        if given.resv != 0 {
            return Err(Errno::EINVAL.into());
        }
        self.replace_files(registration, given.offset, given.data, 0, registration.count)
    }

    pub(super) fn update_files_with_tags(&self, registration: &Registration<'_>) -> Attempt {
        let given: ResourceUpdate2 = read_sized(registration)?;
        if given.resv != 0 || given.resv2 != 0 || given.nr == 0 {
            return Err(Errno::EINVAL.into());
        }
        self.replace_files(registration, given.offset, given.data, given.tags, given.nr)
    }

    /// Replaces files from an index on; returns how many were.
    pub(crate) fn replace_files(
        &self,
        registration: &Registration<'_>,
        offset: u32,
        numbers: u64,
        tags: u64,
        count: u32,
    ) -> Attempt {
        let end = offset.checked_add(count).ok_or(Errno::EOVERFLOW)?;
        let len = self.registered.files.0.lock().as_ref().ok_or(Errno::ENXIO)?.slots.len();
        if end as usize > len {
            return Err(Errno::EINVAL.into());
        }
        for done in 0..count as usize {
            let replaced = self.replace_one(registration, offset as usize + done, numbers, tags, done);
            match replaced {
                Ok(()) => {}
                Err(linux_object::obstacle::Obstacle::Error(_)) if done > 0 => return Ok(done),
                Err(obstacle) => return Err(obstacle),
            }
        }
        Ok(count as usize)
    }

    /// Registers files wherever there is room and tells the program where, in place of their numbers. Returns how many
    /// found room.
    pub(crate) fn register_where_there_is_room(
        &self,
        registration: &Registration<'_>,
        done: &mut usize,
    ) -> Attempt {
        while *done < registration.count as usize {
            let number = read_at::<i32>(registration, registration.argument, *done)?;
            let installed = registration
                .resources
                .files
                .get(number)
                .and_then(|file| self.install_file(file, IORING_FILE_INDEX_ALLOC));
            let index = match installed {
                Ok(index) => index,
                Err(_) if *done > 0 => break,
                Err(errno) => return Err(errno.into()),
            };
            let at = address(registration.argument) + *done * size_of::<i32>();
            if let Err(obstacle) = registration.memory().write(at, &(index as i32)) {
                // Nobody would know where it is.
                let _ = self.remove_file(index as u32);
                return Err(obstacle);
            }
            *done += 1;
        }
        Ok(*done)
    }

    fn replace_one(
        &self,
        registration: &Registration<'_>,
        index: usize,
        numbers: u64,
        tags: u64,
        done: usize,
    ) -> Attempt<()> {
        let number = read_at::<i32>(registration, numbers, done)?;
        let tag = if tags == 0 { 0 } else { read_at::<u64>(registration, tags, done)? };
        if matches!(number, -1 | IORING_REGISTER_FILES_SKIP) && tag != 0 {
            return Err(Errno::EINVAL.into());
        }
        if number == IORING_REGISTER_FILES_SKIP {
            return Ok(());
        }
        let file = self.file_to_register(registration, number)?;
        let former = {
            let mut table = self.registered.files.0.lock();
            let slot = table.as_mut().and_then(|table| table.slots.get_mut(index)).ok_or(Errno::ENXIO)?;
            core::mem::replace(slot, Slot { file, tag })
        };
        self.tell_tag(former);
        Ok(())
    }

    pub(super) fn set_file_range(&self, registration: &Registration<'_>) -> Attempt {
        if registration.argument == 0 || registration.count != 0 {
            return Err(Errno::EINVAL.into());
        }
        let given: FileIndexRange = registration.memory().read(address(registration.argument))?;
        let end = given.off.checked_add(given.len).ok_or(Errno::EOVERFLOW)?;
        let mut table = self.registered.files.0.lock();
        let len = table.as_ref().map_or(0, |table| table.slots.len());
        if given.resv != 0 || end as usize > len {
            return Err(Errno::EINVAL.into());
        }
        if let Some(table) = table.as_mut() {
            table.range = given.off as usize..end as usize;
        }
        Ok(0)
    }
}

pub(super) fn read_at<T: FromBytes + zerocopy::IntoBytes>(
    registration: &Registration<'_>,
    array: u64,
    index: usize,
) -> Attempt<T> {
    registration.memory().read(address(array) + index * size_of::<T>())
}

/// A structure whose size the program says in place of a count.
pub(super) fn read_sized<T: FromBytes + zerocopy::IntoBytes>(registration: &Registration<'_>) -> Attempt<T> {
    if registration.count as usize != size_of::<T>() {
        return Err(Errno::EINVAL.into());
    }
    registration.memory().read(address(registration.argument))
}
