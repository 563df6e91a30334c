//! `prctl`: what a thread asks about itself, each option a small call of its own.

use linux_abi::Errno;
use linux_abi::process::{PR_GET_NAME, PR_SET_NAME};
use linux_object::thread::NAME_BYTES;

use crate::argument::UserAddress;
use crate::call::{Call, Outcome, attempt};
use crate::identity;

pub fn prctl(
    call: &mut Call<'_>,
    option: i32,
    first: usize,
    second: usize,
    third: usize,
    fourth: usize,
) -> Result<Outcome, Errno> {
    if let Some(answer) = identity::control(call, option, [first, second, third, fourth]) {
        return answer.map(Outcome::Done);
    }
    let (memory, thread) = (call.memory(), call.owned_thread());
    let address = UserAddress(first).get();
    match option {
        PR_SET_NAME => Ok(attempt(call, move || {
            // What is longer is cut off.
            let mut name = [0; NAME_BYTES];
            let mut used = 0;
            while used < NAME_BYTES - 1 {
                memory.read_bytes(address + used, &mut name[used..=used])?;
                if name[used] == 0 {
                    break;
                }
                used += 1;
            }
            thread.set_name(&name[..used]);
            Ok(0)
        })),
        PR_GET_NAME => Ok(attempt(call, move || memory.write(address, &thread.name()).map(|()| 0))),
        _ => Err(Errno::EINVAL),
    }
}
