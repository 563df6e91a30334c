//! Syscalls on credentials: ids, groups, capabilities.

use alloc::vec::Vec;

use linux_abi::Errno;
use linux_abi::capability::{
    _LINUX_CAPABILITY_VERSION_1, _LINUX_CAPABILITY_VERSION_2, _LINUX_CAPABILITY_VERSION_3, CAPABILITIES,
    CapabilityData, CapabilityHeader,
};
use linux_abi::process::{
    PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, PR_CAP_AMBIENT_IS_SET, PR_CAP_AMBIENT_LOWER,
    PR_CAP_AMBIENT_RAISE, PR_CAPBSET_DROP, PR_CAPBSET_READ, PR_GET_KEEPCAPS, PR_GET_NO_NEW_PRIVS,
    PR_GET_SECUREBITS, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS, PR_SET_SECUREBITS,
};
use linux_object::credentials::{
    AmbientChange, Capabilities, Credentials, GroupChange, MOST_GROUPS, SecureBits, UserChange,
};
use linux_object::obstacle::Attempt;
use linux_object::process::find_thread;
use linux_object::user_buffer::UserMemory;

use crate::argument::UserAddress;
use crate::call::{Call, Outcome, attempt};

pub fn getuid(call: &mut Call<'_>) -> usize {
    call.thread.credentials().real_user as usize
}

pub fn geteuid(call: &mut Call<'_>) -> usize {
    call.thread.credentials().effective_user as usize
}

pub fn getgid(call: &mut Call<'_>) -> usize {
    call.thread.credentials().real_group as usize
}

pub fn getegid(call: &mut Call<'_>) -> usize {
    call.thread.credentials().effective_group as usize
}

/// The id that means none.
const NO_ID: u32 = u32::MAX;

fn given(id: u32) -> Option<u32> {
    (id != NO_ID).then_some(id)
}

fn change(
    call: &Call<'_>,
    change: impl FnOnce(&Credentials) -> Result<Credentials, Errno>,
) -> Result<usize, Errno> {
    let new = change(&call.thread.credentials())?;
    call.thread.set_credentials(new);
    Ok(0)
}

pub fn setuid(call: &mut Call<'_>, user: u32) -> Result<usize, Errno> {
    let user = given(user).ok_or(Errno::EINVAL)?;
    change(call, |own| own.with_users(UserChange::All(user)))
}

pub fn setreuid(call: &mut Call<'_>, real: u32, effective: u32) -> Result<usize, Errno> {
    change(call, |own| own.with_users(UserChange::RealEffective(given(real), given(effective))))
}

pub fn setresuid(call: &mut Call<'_>, real: u32, effective: u32, saved: u32) -> Result<usize, Errno> {
    change(call, |own| own.with_users(UserChange::Each(given(real), given(effective), given(saved))))
}

pub fn setgid(call: &mut Call<'_>, group: u32) -> Result<usize, Errno> {
    let group = given(group).ok_or(Errno::EINVAL)?;
    change(call, |own| own.with_groups(GroupChange::All(group)))
}

pub fn setregid(call: &mut Call<'_>, real: u32, effective: u32) -> Result<usize, Errno> {
    change(call, |own| own.with_groups(GroupChange::RealEffective(given(real), given(effective))))
}

pub fn setresgid(call: &mut Call<'_>, real: u32, effective: u32, saved: u32) -> Result<usize, Errno> {
    change(call, |own| own.with_groups(GroupChange::Each(given(real), given(effective), given(saved))))
}

/// Returns the id before the call, whether it was changed or not: that is how Linux says so.
pub fn setfsuid(call: &mut Call<'_>, user: u32) -> usize {
    let own = call.thread.credentials();
    if let Some(new) = given(user).and_then(|user| own.with_file_user(user)) {
        call.thread.set_credentials(new);
    }
    own.file_user as usize
}

/// As [`setfsuid`].
pub fn setfsgid(call: &mut Call<'_>, group: u32) -> usize {
    let own = call.thread.credentials();
    if let Some(new) = given(group).and_then(|group| own.with_file_group(group)) {
        call.thread.set_credentials(new);
    }
    own.file_group as usize
}

fn store_ids(call: &Call<'_>, ids: [(UserAddress, u32); 3]) -> Outcome {
    let memory = call.memory();
    attempt(call, move || {
        for (address, id) in &ids {
            memory.write(address.get(), id)?;
        }
        Ok(0)
    })
}

pub fn getresuid(
    call: &mut Call<'_>,
    real: UserAddress,
    effective: UserAddress,
    saved: UserAddress,
) -> Outcome {
    let own = call.thread.credentials();
    store_ids(call, [(real, own.real_user), (effective, own.effective_user), (saved, own.saved_user)])
}

pub fn getresgid(
    call: &mut Call<'_>,
    real: UserAddress,
    effective: UserAddress,
    saved: UserAddress,
) -> Outcome {
    let own = call.thread.credentials();
    store_ids(call, [(real, own.real_group), (effective, own.effective_group), (saved, own.saved_group)])
}

pub fn getgroups(call: &mut Call<'_>, size: i32, list: UserAddress) -> Result<Outcome, Errno> {
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    let groups = call.thread.credentials().groups.clone();
    if size == 0 {
        return Ok(Outcome::Done(groups.len()));
    }
    if size < groups.len() {
        return Err(Errno::EINVAL);
    }
    let memory = call.memory();
    Ok(attempt(call, move || memory.write(list.get(), &groups[..]).map(|()| groups.len())))
}

pub fn setgroups(call: &mut Call<'_>, size: i32, list: UserAddress) -> Result<Outcome, Errno> {
    call.thread.credentials().require(Capabilities::SETGID)?;
    let size = usize::try_from(size).ok().filter(|&size| size <= MOST_GROUPS).ok_or(Errno::EINVAL)?;
    let (memory, thread) = (call.memory(), call.owned_thread());
    Ok(attempt(call, move || {
        let groups: Vec<u32> = memory.read_array(list.get(), size)?;
        if groups.contains(&NO_ID) {
            return Err(Errno::EINVAL.into());
        }
        thread.set_credentials(thread.credentials().with_further_groups(groups)?);
        Ok(0)
    }))
}

/// How many words of 32 bits a set has in the version of the structure that the caller uses. An unknown version is
/// replaced by the present one, which tells the caller.
fn words_of_version(memory: &UserMemory, address: UserAddress, version: u32) -> Attempt<Option<usize>> {
    match version {
        _LINUX_CAPABILITY_VERSION_1 => Ok(Some(1)),
        _LINUX_CAPABILITY_VERSION_2 | _LINUX_CAPABILITY_VERSION_3 => Ok(Some(2)),
        _ => memory.write(address.get(), &_LINUX_CAPABILITY_VERSION_3).map(|()| None),
    }
}

fn word(set: Capabilities, index: usize) -> u32 {
    (set.bits() >> (32 * index)) as u32
}

pub fn capget(call: &mut Call<'_>, header: UserAddress, data: UserAddress) -> Outcome {
    let (memory, thread) = (call.memory(), call.owned_thread());
    attempt(call, move || {
        let asked: CapabilityHeader = memory.read(header.get())?;
        let Some(words) = words_of_version(&memory, header, asked.version)? else {
            return if data.is_null() { Ok(0) } else { Err(Errno::EINVAL.into()) };
        };
        let credentials = match asked.pid {
            ..0 => return Err(Errno::EINVAL.into()),
            0 => thread.credentials(),
            id => find_thread(id).ok_or(Errno::ESRCH)?.credentials(),
        };
        if data.is_null() {
            return Ok(0);
        }
        let set = |index| CapabilityData {
            effective: word(credentials.effective, index),
            permitted: word(credentials.permitted, index),
            inheritable: word(credentials.inheritable, index),
        };
        memory.write(data.get(), &[set(0), set(1)][..words])?;
        Ok(0)
    })
}

pub fn capset(call: &mut Call<'_>, header: UserAddress, data: UserAddress) -> Outcome {
    let (memory, thread) = (call.memory(), call.owned_thread());
    attempt(call, move || {
        let asked: CapabilityHeader = memory.read(header.get())?;
        let words = words_of_version(&memory, header, asked.version)?.ok_or(Errno::EINVAL)?;
        if asked.pid != 0 && asked.pid != thread.id() {
            return Err(Errno::EPERM.into());
        }
        let sets: Vec<CapabilityData> = memory.read_array(data.get(), words)?;
        let combine = |part: fn(&CapabilityData) -> u32| {
            let bits = sets.iter().rev().fold(0, |bits, set| bits << 32 | u64::from(part(set)));
            // Bits of capabilities that there are not are dropped, as Linux does.
            Capabilities::from_bits_truncate(bits)
        };
        let new = thread.credentials().with_capabilities(
            combine(|set| set.effective),
            combine(|set| set.permitted),
            combine(|set| set.inheritable),
        )?;
        thread.set_credentials(new);
        Ok(0)
    })
}

fn capability(number: usize) -> Result<Capabilities, Errno> {
    let bit = u32::try_from(number).ok().filter(|&number| number < CAPABILITIES).map(|number| 1 << number);
    bit.and_then(Capabilities::from_bits).ok_or(Errno::EINVAL)
}

/// The options of `prctl` that are about credentials; `None`: it is another one.
pub fn control(call: &Call<'_>, option: i32, arguments: [usize; 4]) -> Option<Result<usize, Errno>> {
    let own = call.thread.credentials();
    let unused = |from: usize| arguments[from..].iter().all(|&argument| argument == 0);
    let [first, second, ..] = arguments;
    let flag = |set: bool| Ok(usize::from(set));
    let answer = match option {
        PR_GET_KEEPCAPS => flag(own.secure_bits.contains(SecureBits::KEEP_CAPS)),
        PR_SET_KEEPCAPS if first > 1 => Err(Errno::EINVAL),
        PR_SET_KEEPCAPS => change(call, |own| own.with_keep_capabilities(first == 1)),
        PR_CAPBSET_READ => capability(first).and_then(|capability| flag(own.bounding.contains(capability))),
        PR_CAPBSET_DROP => own
            .require(Capabilities::SETPCAP)
            .and_then(|()| capability(first))
            .and_then(|capability| change(call, |own| own.without_bounding(capability))),
        PR_GET_SECUREBITS => Ok(own.secure_bits.bits() as usize),
        PR_SET_SECUREBITS => u32::try_from(first)
            .map_err(|_| Errno::EPERM)
            .and_then(|bits| change(call, |own| own.with_secure_bits(bits))),
        PR_GET_NO_NEW_PRIVS if unused(0) => flag(own.no_new_privileges),
        PR_SET_NO_NEW_PRIVS if first == 1 && unused(1) => {
            change(call, |own| Ok(Credentials { no_new_privileges: true, ..own.clone() }))
        }
        PR_GET_NO_NEW_PRIVS | PR_SET_NO_NEW_PRIVS => Err(Errno::EINVAL),
        PR_CAP_AMBIENT => match first as u32 as i32 {
            PR_CAP_AMBIENT_CLEAR_ALL if unused(1) => {
                change(call, |own| own.with_ambient(AmbientChange::Clear))
            }
            action if unused(2) => capability(second).and_then(|capability| match action {
                PR_CAP_AMBIENT_IS_SET => flag(own.ambient.contains(capability)),
                PR_CAP_AMBIENT_RAISE => {
                    change(call, |own| own.with_ambient(AmbientChange::Raise(capability)))
                }
                PR_CAP_AMBIENT_LOWER => {
                    change(call, |own| own.with_ambient(AmbientChange::Lower(capability)))
                }
                _ => Err(Errno::EINVAL),
            }),
            _ => Err(Errno::EINVAL),
        },
        _ => return None,
    };
    Some(answer)
}
