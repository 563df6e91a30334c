//! Registered buffers: memory that requests name by an index.
//!
//! Its pages are pinned while it is registered, so it is there whenever a request wants it. A buffer can have a tag: when it
//! is not registered any more and the last request that uses it has ended, a completion with the tag says so.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use kernel_hal::PAGE_SIZE;
use kernel_object::paged_object::SharedPages;
use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::file::Iovec;
use linux_abi::io_uring::{CloneBuffers, ResourceFlags, ResourceRegister, ResourceUpdate2};
use linux_abi::resource::{RLIM_INFINITY, RLIMIT_MEMLOCK};
use linux_object::obstacle::{Attempt, Obstacle};
use linux_object::user_buffer::{UserBuffer, UserMemory};

use super::Registration;
use super::files::{read_at, read_sized};
use super::pin::pin;
use crate::operation::address;
use crate::request::Outcome;
use crate::ring::{Ring, ring_of};

const MOST_BUFFERS: u32 = 1 << 14;
const MOST_BYTES: u64 = 1 << 30;

/// Memory that is registered, in one ring or several.
struct Pinned {
    memory: UserMemory,
    start: u64,
    len: u64,
    pages: SharedPages,
}

/// Memory in its place in one ring.
pub(crate) struct Buffer {
    pinned: Arc<Pinned>,
    tag: u64,
    ring: Weak<Ring>,
}

impl Buffer {
    /// A part of it, which lies in it.
    pub fn buffer(&self, start: u64, len: u32) -> UserBuffer<'static> {
        self.pinned.memory.simple_buffer(address(start), len as usize)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.tag != 0
            && let Some(ring) = self.ring.upgrade()
            && !ring.is_closed()
        {
            ring.post_named(self.tag, Outcome::value(0));
        }
    }
}

type Slots = Vec<Option<Arc<Buffer>>>;

/// The table of one ring, if there is one.
pub(crate) struct Buffers(SpinLock<Option<Slots>>);

impl Buffers {
    pub(super) const fn new() -> Self {
        Self(SpinLock::new(Rank::FILE_TABLE, None))
    }

    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.0.lock().as_ref().map_or(0, Vec::len)
    }

    fn pinned_pages(&self) -> usize {
        let table = self.0.lock();
        let pages = |slot: &Option<Arc<Buffer>>| slot.as_ref().map_or(0, |buffer| buffer.pinned.pages.len());
        table.iter().flatten().map(pages).sum::<usize>() / PAGE_SIZE
    }
}

impl Ring {
    /// The registered buffer with this index, if this range lies in it.
    pub(crate) fn registered_memory(&self, index: u16, start: u64, len: u32) -> Result<Arc<Buffer>, Errno> {
        let table = self.registered.buffers.0.lock();
        let slot = table.as_ref().and_then(|table| table.get(usize::from(index)));
        let buffer = slot.and_then(Option::as_ref).ok_or(Errno::EFAULT)?;
        let end = start.checked_add(u64::from(len)).ok_or(Errno::EFAULT)?;
        let Pinned { start: from, len: room, .. } = *buffer.pinned;
        if start < from || end > from + room { Err(Errno::EFAULT) } else { Ok(buffer.clone()) }
    }

    fn pin_buffer(
        self: &Arc<Self>,
        registration: &Registration<'_>,
        vector: Iovec,
        tag: u64,
    ) -> Attempt<Option<Arc<Buffer>>> {
        if vector.iov_base == 0 {
            return match (vector.iov_len, tag) {
                (0, 0) => Ok(None),
                (0, _) => Err(Errno::EINVAL.into()),
                _ => Err(Errno::EFAULT.into()),
            };
        }
        if vector.iov_len == 0 || vector.iov_len > MOST_BYTES {
            return Err(Errno::EFAULT.into());
        }
        let end = vector.iov_base.checked_add(vector.iov_len).ok_or(Errno::EOVERFLOW)?;
        end.checked_next_multiple_of(PAGE_SIZE as u64).ok_or(Errno::EOVERFLOW)?;
        let first = vector.iov_base - vector.iov_base % PAGE_SIZE as u64;
        let count = ((end - first) as usize).div_ceil(PAGE_SIZE);
        self.check_allowance(registration, count)?;
        let memory = registration.memory();
        let pages = pin(registration.resources, first, count * PAGE_SIZE)?;
        let pinned = Arc::new(Pinned { memory, start: vector.iov_base, len: vector.iov_len, pages });
        Ok(Some(Arc::new(Buffer { pinned, tag, ring: Arc::downgrade(self) })))
    }

    /// What is pinned counts as locked.
    fn check_allowance(&self, registration: &Registration<'_>, pages: usize) -> Result<(), Errno> {
        let limit = registration.thread.process().limits().get(RLIMIT_MEMLOCK as u32).rlim_cur;
        let is_privileged = registration.thread.credentials().is_privileged();
        if is_privileged || limit == RLIM_INFINITY {
            return Ok(());
        }
        let wanted = (self.registered.buffers.pinned_pages() + pages) * PAGE_SIZE;
        if wanted as u64 > limit { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    pub(super) fn register_buffers(self: &Arc<Self>, registration: &Registration<'_>) -> Attempt {
        self.fill_buffers(registration, registration.argument, 0, registration.count, false)
    }

    pub(super) fn register_buffers_with_tags(self: &Arc<Self>, registration: &Registration<'_>) -> Attempt {
        let given: ResourceRegister = read_sized(registration)?;
        let flags = ResourceFlags::from_bits(given.flags).ok_or(Errno::EINVAL)?;
        let is_sparse = flags.contains(ResourceFlags::SPARSE);
        if given.resv2 != 0 || given.nr == 0 || (is_sparse && given.data != 0) {
            return Err(Errno::EINVAL.into());
        }
        self.fill_buffers(registration, given.data, given.tags, given.nr, is_sparse)
    }

    fn fill_buffers(
        self: &Arc<Self>,
        registration: &Registration<'_>,
        vectors: u64,
        tags: u64,
        count: u32,
        is_sparse: bool,
    ) -> Attempt {
        if self.registered.buffers.0.lock().is_some() {
            return Err(Errno::EBUSY.into());
        }
        if count == 0 || count > MOST_BUFFERS {
            return Err(Errno::EINVAL.into());
        }
        let mut slots = Vec::new();
        slots.try_reserve_exact(count as usize).map_err(|_| Errno::ENOMEM)?;
        for index in 0..count as usize {
            let tag = if tags == 0 { 0 } else { read_at::<u64>(registration, tags, index)? };
            if is_sparse {
                if tag != 0 {
                    return Err(Errno::EINVAL.into());
                }
                slots.push(None);
                continue;
            }
            let vector = read_at::<Iovec>(registration, vectors, index)?;
            match self.pin_buffer(registration, vector, tag) {
                Ok(slot) => slots.push(slot),
                Err(obstacle) => {
                    untag(slots);
                    return Err(obstacle);
                }
            }
        }
        *self.registered.buffers.0.lock() = Some(slots);
        Ok(0)
    }

    pub(super) fn unregister_buffers(&self, registration: &Registration<'_>) -> Attempt {
        registration.without_argument()?;
        let table = self.registered.buffers.0.lock().take().ok_or(Errno::ENXIO)?;
        drop(table);
        Ok(0)
    }

    pub(super) fn update_buffers(self: &Arc<Self>, registration: &Registration<'_>) -> Attempt {
        let given: ResourceUpdate2 = read_sized(registration)?;
        if given.resv != 0 || given.resv2 != 0 || given.nr == 0 {
            return Err(Errno::EINVAL.into());
        }
        let end = given.offset.checked_add(given.nr).ok_or(Errno::EOVERFLOW)?;
        let len = self.registered.buffers.0.lock().as_ref().map(Vec::len).ok_or(Errno::ENXIO)?;
        if end as usize > len {
            return Err(Errno::EINVAL.into());
        }
        for done in 0..given.nr as usize {
            let replaced = self.replace_buffer(registration, &given, done);
            match replaced {
                Ok(()) => {}
                Err(Obstacle::Error(_)) if done > 0 => return Ok(done),
                Err(obstacle) => return Err(obstacle),
            }
        }
        Ok(given.nr as usize)
    }

    fn replace_buffer(
        self: &Arc<Self>,
        registration: &Registration<'_>,
        given: &ResourceUpdate2,
        done: usize,
    ) -> Attempt<()> {
        let vector = read_at::<Iovec>(registration, given.data, done)?;
        let tag = if given.tags == 0 { 0 } else { read_at::<u64>(registration, given.tags, done)? };
        let buffer = self.pin_buffer(registration, vector, tag)?;
        let former = {
            let mut table = self.registered.buffers.0.lock();
            let index = given.offset as usize + done;
            let slot = table.as_mut().and_then(|table| table.get_mut(index)).ok_or(Errno::ENXIO)?;
            core::mem::replace(slot, buffer)
        };
        drop(former);
        Ok(())
    }

    /// Takes over what another ring has registered.
    pub(super) fn clone_buffers(self: &Arc<Self>, registration: &Registration<'_>) -> Attempt {
        const SOURCE_IS_REGISTERED: u32 = 1;
        if registration.count != 1 {
            return Err(Errno::EINVAL.into());
        }
        let given: CloneBuffers = registration.memory().read(address(registration.argument))?;
        if given.flags & !SOURCE_IS_REGISTERED != 0 || given.pad != [0; 6] {
            return Err(Errno::EINVAL.into());
        }
        let is_registered = given.flags & SOURCE_IS_REGISTERED != 0;
        let file = registration.ring_file(given.src_fd as i32, is_registered)?;
        let source = ring_of(&file).map_err(|_| Errno::EOPNOTSUPP)?;
        if self.registered.buffers.0.lock().is_some() {
            return Err(Errno::EBUSY.into());
        }
        let copies = {
            let table = source.registered.buffers.0.lock();
            let table = table.as_ref().ok_or(Errno::ENXIO)?;
            let copy = |buffer: &Arc<Buffer>| {
                let pinned = buffer.pinned.clone();
                Arc::new(Buffer { pinned, tag: 0, ring: Arc::downgrade(self) })
            };
            table.iter().map(|slot| slot.as_ref().map(copy)).collect::<Slots>()
        };
        *self.registered.buffers.0.lock() = Some(copies);
        Ok(0)
    }
}

/// Buffers that never came to be registered tell nobody that they are not any more.
fn untag(slots: Slots) {
    for buffer in slots.into_iter().flatten() {
        if let Some(mut buffer) = Arc::into_inner(buffer) {
            buffer.tag = 0;
        }
    }
}
