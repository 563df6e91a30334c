//! The shared object that every process has (the vDSO), and the clocks in the page before it.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use kernel_hal::{PAGE_SIZE, VirtAddr, time};
use kernel_object::address_space::{AddressSpace, MapRequest, Origin, Protection};
use kernel_object::frame::OutOfMemory;
use kernel_object::paged_object::{PagedObject, SharedPages};
use ksync::{Once, Rank, SpinLock};
use linux_abi::Errno;
use vdso::{Clocks, DataPage, IMAGE, Rate, ReadWords, WriteWords};

use super::{SpecialArea, map_errno};

/// Linux's timer frequency, which coarse clocks show.
const COARSE_RESOLUTION_NANOS: u64 = 4_000_000;
const TAI_OFFSET_SECONDS: i32 = 37;

/// The data page and, behind it, the image.
struct Pages(SharedPages);

impl ReadWords for Pages {
    fn load(&self, offset: usize, ordering: Ordering) -> u64 {
        self.0.load_u64(offset, ordering)
    }
}

impl WriteWords for Pages {
    fn store(&self, offset: usize, value: u64, ordering: Ordering) {
        self.0.store_u64(offset, value, ordering);
    }
}

struct SharedObject {
    object: Arc<PagedObject>,
    data: SpinLock<DataPage<Pages>>,
}

static SHARED_OBJECT: Once<Result<SharedObject, OutOfMemory>> = Once::new();

fn make() -> Result<SharedObject, OutOfMemory> {
    let pages = SharedPages::allocate(1 + IMAGE.len().div_ceil(PAGE_SIZE))?;
    pages.write(PAGE_SIZE, IMAGE);
    let object = Arc::new(pages.to_object()?);
    Ok(SharedObject { object, data: SpinLock::new(Rank::LOG, DataPage::new(Pages(pages))) })
}

fn shared_object() -> Result<&'static SharedObject, Errno> {
    SHARED_OBJECT.call_once(make).as_ref().map_err(|OutOfMemory| Errno::ENOMEM)
}

/// Maps it; returns where its ELF header is.
pub(super) fn map(space: &AddressSpace) -> Result<VirtAddr, Errno> {
    let shared = shared_object()?;
    let code_len = IMAGE.len();
    let whole = MapRequest::anonymous(PAGE_SIZE + code_len, Protection::empty());
    let start = space.map(whole).map_err(map_errno)?;
    let data = MapRequest::object(shared.object.clone(), 0, PAGE_SIZE, Protection::READ, true);
    let origin = |name| -> Option<Origin> { Some(Arc::new(SpecialArea(name))) };
    let data = MapRequest { maximum: Protection::READ, origin: origin("[vvar]"), ..data };
    space.map(data.at(start)).map_err(map_errno)?;
    let rights = Protection::READ | Protection::EXECUTE;
    let code = MapRequest::object(shared.object.clone(), PAGE_SIZE as u64, code_len, rights, false);
    let code = MapRequest { origin: origin("[vdso]"), ..code };
    space.map(code.at(start + PAGE_SIZE)).map_err(map_errno)?;
    Ok(start + PAGE_SIZE)
}

/// Tells programs the clocks: `realtime_base` is the time since 1970 at the machine's start, in nanoseconds.
pub fn publish_clocks(realtime_base: u64) -> Result<(), Errno> {
    let Some(rate) = Rate::from_frequency_hz(time::ticks_per_second()) else { return Ok(()) };
    shared_object()?.data.lock().publish(&Clocks {
        rate,
        monotonic_base: 0,
        boottime_base: 0,
        realtime_base,
        tai_offset_seconds: TAI_OFFSET_SECONDS,
        coarse_resolution: COARSE_RESOLUTION_NANOS,
    });
    Ok(())
}

/// Tells programs what the harts are.
pub fn publish_hardware(values: &[u64; vdso::PROBE_KEY_COUNT], harts: vdso::Harts) -> Result<(), Errno> {
    shared_object()?.data.lock().set_hardware(values, harts);
    Ok(())
}
