//! Waiting for readiness: `ppoll` and `pselect6`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_hal::Instant;
use linux_abi::Errno;
use linux_abi::poll::{PollEvents, Pollfd};
use linux_abi::signal::SignalSet;
use linux_abi::time::Timespec;
use linux_object::file::MOST_DESCRIPTORS;
use linux_object::obstacle::{Obstacle, complete};
use linux_object::poll::{Interest, look, wait};
use linux_object::thread::{Interrupted, Thread};
use linux_object::user_buffer::UserMemory;
use zerocopy::IntoBytes;

use crate::argument::UserAddress;
use crate::call::{Call, Completion, Outcome};
use crate::wait_mask::{SIGNAL_SET_BYTES, TemporaryMask, read_optional};

/// So many descriptors are looked at without allocating anything.
const FEW: usize = 8;

pub fn ppoll(
    call: &mut Call<'_>,
    entries: UserAddress,
    count: u32,
    timeout: UserAddress,
    mask: UserAddress,
    set_size: usize,
) -> Result<Outcome, Errno> {
    let count = count as usize;
    if !mask.is_null() && set_size != SIGNAL_SET_BYTES || count > call.resources.files.limit() {
        return Err(Errno::EINVAL);
    }
    let memory = call.memory();
    if count <= FEW && mask.is_null() {
        match look_at_few(call, &memory, entries, count, timeout) {
            Ok(Some(ready)) => return Ok(Outcome::Done(ready)),
            Err(Obstacle::Error(errno)) => return Err(errno),
            _ => {}
        }
    }
    let (thread, files) = (call.owned_thread(), call.resources.files.clone());
    Ok(Outcome::Wait(Box::pin(async move {
        let poll = async {
            let mut told: Vec<Pollfd> = complete(|| memory.read_array(entries.get(), count)).await?;
            let limits = Limits::read(&memory, timeout, mask).await?;
            let mut interests: Vec<Interest> = told.iter().map(interest).collect();
            let mask = TemporaryMask::set(&thread, limits.mask);
            let outcome = thread.interruptible(wait(&files, &mut interests, limits.deadline)).await;
            let outcome = Waited::conclude(outcome, mask, &thread);
            limits.tell_rest(&memory, timeout).await;
            let Waited::Ready(ready) = outcome? else { return Ok(None) };
            told.iter_mut().zip(&interests).for_each(|(entry, interest)| {
                entry.revents = interest.ready.bits() as i16;
            });
            complete(|| memory.write_bytes(entries.get(), told.as_bytes())).await?;
            Ok(Some(ready))
        };
        completion(poll.await)
    })))
}

fn completion(outcome: Result<Option<usize>, Errno>) -> Completion {
    match outcome {
        Ok(Some(ready)) => Completion::Value(ready),
        Ok(None) => Completion::InterruptedForGood,
        Err(errno) => Completion::Error(errno),
    }
}

fn interest(entry: &Pollfd) -> Interest {
    let events = PollEvents::from_bits_truncate(u32::from(entry.events as u16));
    Interest { number: entry.fd, events, ready: PollEvents::empty() }
}

/// What is ready at once; `None` if nothing is and there is time to wait.
fn look_at_few(
    call: &Call<'_>,
    memory: &UserMemory,
    entries: UserAddress,
    count: usize,
    timeout: UserAddress,
) -> Result<Option<usize>, Obstacle> {
    let mut told = [Pollfd::default(); FEW];
    let told = &mut told[..count];
    memory.read_bytes(entries.get(), told.as_mut_bytes())?;
    let span = read_optional::<Timespec>(memory, timeout)?.map(Timespec::to_duration).transpose()?;
    let mut interests = [Interest::default(); FEW];
    for (interest, entry) in interests.iter_mut().zip(&*told) {
        *interest = self::interest(entry);
    }
    let ready = look(&call.resources.files, &mut interests[..count]);
    if ready == 0 && span.is_none_or(|span| !span.is_zero()) {
        return Ok(None);
    }
    for (interest, entry) in interests.iter().zip(&mut *told) {
        entry.revents = interest.ready.bits() as i16;
    }
    memory.write_bytes(entries.get(), told.as_bytes())?;
    Ok(Some(ready))
}

/// How long a wait may last, and under which mask.
struct Limits {
    deadline: Instant,
    mask: Option<SignalSet>,
}

impl Limits {
    async fn read(memory: &UserMemory, timeout: UserAddress, mask: UserAddress) -> Result<Self, Errno> {
        let span: Option<Timespec> = complete(|| read_optional(memory, timeout)).await?;
        let mask = complete(|| read_optional(memory, mask)).await?;
        let span = span.map(Timespec::to_duration).transpose()?;
        let deadline = span.map_or(Instant::FAR_FUTURE, |span| Instant::now() + span);
        Ok(Self { deadline, mask })
    }

    /// Linux tells how much time is left, and says nothing if it cannot.
    async fn tell_rest(&self, memory: &UserMemory, timeout: UserAddress) {
        if !timeout.is_null() {
            let rest = Timespec::from_duration(self.deadline.since(Instant::now()));
            let _ = complete(|| memory.write(timeout.get(), &rest)).await;
        }
    }
}

/// How a wait ended.
enum Waited {
    Ready(usize),
    Interrupted,
}

impl Waited {
    fn conclude(
        outcome: Result<Result<usize, Errno>, Interrupted>,
        mask: TemporaryMask,
        thread: &Arc<Thread>,
    ) -> Result<Self, Errno> {
        match outcome {
            Ok(result) => {
                mask.restore(thread);
                result.map(Self::Ready)
            }
            Err(Interrupted) => Ok(Self::Interrupted),
        }
    }
}

const BITS: usize = u64::BITS as usize;
const SETS: usize = 3;
/// What the three sets of `select` stand for, and what of it makes a descriptor count as ready.
const MEANINGS: [(PollEvents, PollEvents); SETS] = [
    (
        PollEvents::IN.union(PollEvents::RDNORM).union(PollEvents::RDBAND),
        PollEvents::HUP.union(PollEvents::ERR),
    ),
    (PollEvents::OUT.union(PollEvents::WRNORM).union(PollEvents::WRBAND), PollEvents::ERR),
    (PollEvents::PRI, PollEvents::empty()),
];

/// The sixth argument of `pselect6`.
#[derive(
    Clone, Copy, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
)]
#[repr(C)]
struct MaskArgument {
    address: u64,
    size: u64,
}

pub fn pselect6(
    call: &mut Call<'_>,
    count: i32,
    reads: UserAddress,
    writes: UserAddress,
    exceptions: UserAddress,
    timeout: UserAddress,
    mask: UserAddress,
) -> Result<Outcome, Errno> {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?.min(MOST_DESCRIPTORS);
    let sets = [reads, writes, exceptions];
    let words = count.div_ceil(BITS);
    let (memory, thread, files) = (call.memory(), call.owned_thread(), call.resources.files.clone());
    Ok(Outcome::Wait(Box::pin(async move {
        let select = async {
            let argument: Option<MaskArgument> = complete(|| read_optional(&memory, mask)).await?;
            let mask = argument.map_or(UserAddress(0), |argument| UserAddress(argument.address as usize));
            if !mask.is_null() && argument.is_some_and(|argument| argument.size != SIGNAL_SET_BYTES as u64) {
                return Err(Errno::EINVAL);
            }
            let limits = Limits::read(&memory, timeout, mask).await?;
            let mut bits: [Vec<u64>; SETS] = Default::default();
            for (set, address) in bits.iter_mut().zip(sets) {
                if address.is_null() {
                    set.resize(words, 0);
                } else {
                    *set = complete(|| memory.read_array(address.get(), words)).await?;
                }
            }
            let mut interests = interests_of(&bits, count);
            if interests.iter().any(|interest| files.get(interest.number).is_err()) {
                return Err(Errno::EBADF);
            }
            let mask = TemporaryMask::set(&thread, limits.mask);
            let outcome = thread.interruptible(wait(&files, &mut interests, limits.deadline)).await;
            let outcome = Waited::conclude(outcome, mask, &thread);
            limits.tell_rest(&memory, timeout).await;
            let Waited::Ready(_) = outcome? else { return Ok(None) };
            let ready = keep_ready(&mut bits, &interests);
            for (set, address) in bits.iter().zip(sets) {
                if !address.is_null() {
                    complete(|| memory.write_bytes(address.get(), set.as_bytes())).await?;
                }
            }
            Ok(Some(ready))
        };
        completion(select.await)
    })))
}

fn interests_of(bits: &[Vec<u64>; SETS], count: usize) -> Vec<Interest> {
    let is_in = |set: &Vec<u64>, number: usize| set[number / BITS] >> (number % BITS) & 1 != 0;
    let interest = |number: usize| {
        let mut events = PollEvents::empty();
        for (set, (wanted, _)) in bits.iter().zip(MEANINGS) {
            events.set(wanted, is_in(set, number));
        }
        let interest = Interest { number: number as i32, events, ready: PollEvents::empty() };
        (!events.is_empty()).then_some(interest)
    };
    (0..count).filter_map(interest).collect()
}

/// Leaves in the sets what is ready; returns how many bits there are.
fn keep_ready(bits: &mut [Vec<u64>; SETS], interests: &[Interest]) -> usize {
    let mut count = 0;
    for (set, (wanted, also)) in bits.iter_mut().zip(MEANINGS) {
        let asked = core::mem::take(set);
        set.resize(asked.len(), 0);
        for interest in interests {
            let (word, bit) = (interest.number as usize / BITS, 1 << (interest.number as usize % BITS));
            if asked[word] & bit != 0 && interest.ready.intersects(wanted | also) {
                set[word] |= bit;
                count += 1;
            }
        }
    }
    count
}
