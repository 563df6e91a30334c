//! What threads and processes have used.

use core::time::Duration;

use kernel_hal::Instant;
use linux_abi::Errno;
use linux_abi::resource::{RUSAGE_CHILDREN, RUSAGE_SELF, RUSAGE_THREAD};
use linux_abi::time::{CLOCK_TICKS_PER_SECOND, Tms};

use crate::argument::UserAddress;
use crate::call::{Call, Outcome, attempt};

pub fn getrusage(call: &mut Call<'_>, who: i32, result: UserAddress) -> Result<Outcome, Errno> {
    let process = call.thread.process();
    let usage = match who {
        RUSAGE_SELF => process.usage(),
        RUSAGE_CHILDREN => process.usage_of_children(),
        RUSAGE_THREAD => {
            let most_resident = process.usage().most_resident;
            linux_object::process::Usage { most_resident, ..call.thread.usage() }
        }
        _ => return Err(Errno::EINVAL),
    };
    let (memory, usage) = (call.memory(), usage.encode());
    Ok(attempt(call, move || memory.write(result.get(), &usage).map(|()| 0)))
}

fn ticks(time: Duration) -> i64 {
    (time.as_micros() * u128::from(CLOCK_TICKS_PER_SECOND) / 1_000_000) as i64
}

pub fn times(call: &mut Call<'_>, result: UserAddress) -> Outcome {
    let (own, children) = (call.thread.process().usage(), call.thread.process().usage_of_children());
    let times = Tms {
        tms_utime: ticks(own.user),
        tms_stime: ticks(own.system),
        tms_cutime: ticks(children.user),
        tms_cstime: ticks(children.system),
    };
    let memory = call.memory();
    attempt(call, move || {
        if !result.is_null() {
            memory.write(result.get(), &times)?;
        }
        Ok(ticks(Duration::from_nanos(Instant::now().as_nanos())) as usize)
    })
}
