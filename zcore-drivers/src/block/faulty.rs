//! A disk that fails, hesitates and answers out of order, repeatably.

use alloc::boxed::Box;
use alloc::sync::Arc;
use std::str::FromStr;
use std::task::{Poll, Waker};
use std::time::Duration;

use kernel_hal::Instant;
use ksync::{Rank, SpinLock, WaitQueue};

use super::{
    BlockDevice, BlockError, BlockInformation, BlockRequest, BlockResult, BlockStatistics, Segments,
    SubmitError, Ticket,
};
use crate::random::SeededRandom;

/// What goes wrong. Chances are per million requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Where the faults start from: the same seed makes the same faults for the same requests in the same order.
    pub seed: u64,
    /// A request fails. The device may have carried it out all the same, as with real disks.
    pub error_per_million: u32,
    /// A request fails because too little was transferred.
    pub short_per_million: u32,
    /// Every answer is held back for this long, counted from submission.
    pub delay: Duration,
    /// And for up to this much longer, chosen per request, which changes the order of answers.
    pub jitter: Duration,
}

/// A description of faults that is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFaultPlan;

/// Reads `seed=7,error=10000,short=100,delay=50ms,jitter=500us`; everything may be left out.
impl FromStr for FaultPlan {
    type Err = BadFaultPlan;

    fn from_str(text: &str) -> Result<Self, BadFaultPlan> {
        let mut plan = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or(BadFaultPlan)?;
            match key {
                "seed" => plan.seed = value.parse().map_err(|_| BadFaultPlan)?,
                "error" => plan.error_per_million = value.parse().map_err(|_| BadFaultPlan)?,
                "short" => plan.short_per_million = value.parse().map_err(|_| BadFaultPlan)?,
                "delay" => plan.delay = duration(value)?,
                "jitter" => plan.jitter = duration(value)?,
                _ => return Err(BadFaultPlan),
            }
        }
        Ok(plan)
    }
}

fn duration(text: &str) -> Result<Duration, BadFaultPlan> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count = number.parse().map_err(|_| BadFaultPlan)?;
    match &text[number.len()..] {
        "s" => Ok(Duration::from_secs(count)),
        "ms" => Ok(Duration::from_millis(count)),
        "us" => Ok(Duration::from_micros(count)),
        _ => Err(BadFaultPlan),
    }
}

/// How the wrapper gets woken later: the executor's timers, or a test's.
pub trait TimerHook: Send + Sync {
    /// Wakes `waker` at `deadline` or soon after. May be called often for the same waker.
    fn wake_at(&self, deadline: Instant, waker: &Waker);
}

/// What is planned for the request in a slot.
#[derive(Clone, Copy, Debug, Default)]
struct Planned {
    failure: Option<BlockError>,
    not_before: Instant,
}

struct Plans {
    random: SeededRandom,
    by_slot: Box<[Planned]>,
}

/// A disk with faults.
///
/// A ticket is the inner disk's ticket: an answer that is held back keeps its slot, as a slow device would.
pub struct FaultyBlock {
    inner: Arc<dyn BlockDevice>,
    timer: Arc<dyn TimerHook>,
    faults: FaultPlan,
    /// Never held while the inner disk is called.
    plans: SpinLock<Plans>,
}

impl FaultyBlock {
    /// The disk with these faults.
    pub fn new(inner: Arc<dyn BlockDevice>, timer: Arc<dyn TimerHook>, faults: FaultPlan) -> Self {
        let by_slot = (0..inner.information().queue_depth).map(|_| Planned::default()).collect();
        let plans = Plans { random: SeededRandom::new(faults.seed), by_slot };
        Self { inner, timer, faults, plans: SpinLock::new(Rank::DEVICE_QUEUE, plans) }
    }

    fn plan(&self, random: &mut SeededRandom) -> Planned {
        let failure = if random.chance_per_million(self.faults.error_per_million) {
            Some(BlockError::Device)
        } else if random.chance_per_million(self.faults.short_per_million) {
            Some(BlockError::ShortTransfer)
        } else {
            None
        };
        let jitter = random.below(self.faults.jitter.as_nanos() as usize + 1) as u64;
        let delay = self.faults.delay + Duration::from_nanos(jitter);
        Planned {
            failure,
            not_before: if delay.is_zero() { Instant::default() } else { Instant::now() + delay },
        }
    }
}

impl BlockDevice for FaultyBlock {
    fn information(&self) -> BlockInformation {
        self.inner.information()
    }

    fn statistics(&self) -> BlockStatistics {
        self.inner.statistics()
    }

    fn submit(
        &self,
        request: BlockRequest,
        segments: &mut Segments,
        waker: Option<&Waker>,
    ) -> Result<Ticket, SubmitError> {
        let ticket = self.inner.submit(request, segments, waker)?;
        let mut plans = self.plans.lock();
        // The slot is ours until its ticket is used up, so nobody else can be looking at this entry.
        let planned = self.plan(&mut plans.random);
        plans.by_slot[usize::from(ticket.slot)] = planned;
        Ok(ticket)
    }

    fn kick(&self) {
        self.inner.kick();
    }

    fn poll_result(&self, ticket: &Ticket, waker: &Waker) -> Poll<BlockResult> {
        let planned = self.plans.lock().by_slot[usize::from(ticket.slot)];
        if Instant::now() < planned.not_before {
            self.timer.wake_at(planned.not_before, waker);
            return Poll::Pending;
        }
        self.inner.poll_result(ticket, waker).map(|result| planned.failure.map_or(result, Err))
    }

    fn abandon(&self, ticket: Ticket) {
        self.inner.abandon(ticket);
    }

    fn slots_free(&self) -> &WaitQueue {
        self.inner.slots_free()
    }

    fn check_timeouts(&self, now: Instant) {
        self.inner.check_timeouts(now);
    }
}

impl std::fmt::Debug for FaultyBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyBlock").field("faults", &self.faults).finish_non_exhaustive()
    }
}
