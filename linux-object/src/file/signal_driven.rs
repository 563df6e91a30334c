//! Signal-driven input and output (`O_ASYNC`): who owns an opening is sent a signal when its readiness changes.
//!
//! While it is switched on, an observer watches the file's wait queue. A wake may come from anywhere, so the observer
//! only notes it; a task of the opening's own sends the signal.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use executor::TaskOptions;
use ksync::{EVERY_EVENT, Observation, Observer, Rank, SharedQueue, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::poll::PollEvents;
use linux_abi::signal::Signal;
use linux_abi::signal_info::{POLL_ERR, POLL_HUP, POLL_IN, POLL_OUT, SignalInfo};
use linux_abi::stat::FileType;

use super::{File, OpenFile};
use crate::credentials::Credentials;
use crate::obstacle::Waitable;
use crate::process::{self, Process};
use crate::signal::{send_to_process, send_to_thread};
use crate::thread::Thread;

/// Who is sent the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A thread.
    Thread(i32),
    /// A process.
    Process(i32),
    /// Every process of a group.
    Group(i32),
}

#[derive(Clone, Copy, Default)]
struct Settings {
    owner: Option<Owner>,
    /// Who made it the owner: real and effective user.
    users: [u32; 2],
    /// The signal, if it is to be another than SIGIO: then it says what happened.
    signal: Option<Signal>,
    /// The number that the opening had when it was switched on.
    number: i32,
}

/// What the observer and the task have in common.
struct Signaller {
    settings: SpinLock<Settings>,
    /// Events that were not told yet.
    events: AtomicU32,
    has_task: AtomicBool,
    is_over: AtomicBool,
    noted: WaitQueue,
}

/// What an opening has that sends signals.
pub(super) struct SignalDriven {
    signaller: Arc<Signaller>,
    observation: SpinLock<Option<Observation<SharedQueue<dyn Waitable>>>>,
}

impl Default for SignalDriven {
    fn default() -> Self {
        Self {
            signaller: Arc::new(Signaller {
                settings: SpinLock::new(Rank::FILE, Settings::default()),
                events: AtomicU32::new(0),
                has_task: AtomicBool::new(false),
                is_over: AtomicBool::new(false),
                noted: WaitQueue::new("signal-driven"),
            }),
            observation: SpinLock::new(Rank::FILE, None),
        }
    }
}

impl Drop for SignalDriven {
    fn drop(&mut self) {
        self.signaller.is_over.store(true, Ordering::Release);
        self.signaller.noted.wake_all();
    }
}

impl Observer for Signaller {
    fn notify(self: Arc<Self>, events: u32) -> bool {
        self.events.fetch_or(events, Ordering::AcqRel);
        self.noted.wake_one();
        false
    }
}

/// The code and the events that go with a signal.
fn code_of(events: PollEvents) -> (i32, PollEvents) {
    let told = [
        (POLL_IN, PollEvents::IN | PollEvents::RDNORM),
        (POLL_OUT, PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND),
        (POLL_ERR, PollEvents::ERR),
        (POLL_HUP, PollEvents::HUP | PollEvents::ERR),
    ];
    told.into_iter().find(|(_, band)| events.intersects(*band)).unwrap_or(told[0])
}

fn may_be_sent(settings: &Settings, target: &Credentials) -> bool {
    settings.users[1] == 0
        || settings.users.iter().any(|user| [target.real_user, target.saved_user].contains(user))
}

impl Signaller {
    async fn run(self: Arc<Self>) {
        loop {
            let noted = || match self.events.swap(0, Ordering::AcqRel) {
                0 => self.is_over.load(Ordering::Acquire).then_some(0),
                events => Some(events),
            };
            match self.noted.wait_until(noted).await {
                0 => return,
                events => self.send(PollEvents::from_bits_truncate(events)),
            }
        }
    }

    fn send(&self, events: PollEvents) {
        let settings = *self.settings.lock();
        let signal = settings.signal.unwrap_or(Signal::SIGIO);
        let info = match settings.signal {
            Some(signal) => {
                let (code, band) = code_of(events);
                SignalInfo::poll(signal, code, i64::from(band.bits()), settings.number)
            }
            None => SignalInfo::kernel(signal),
        };
        let tell = |process: &Arc<Process>| {
            let first = process.threads().into_iter().next();
            if first.is_some_and(|thread| may_be_sent(&settings, &thread.credentials())) {
                send_to_process(process, signal, info);
            }
        };
        match settings.owner {
            None => {}
            Some(Owner::Thread(id)) => {
                if let Some(thread) = process::find_thread(id)
                    && may_be_sent(&settings, &thread.credentials())
                {
                    send_to_thread(&thread, signal, info);
                }
            }
            Some(Owner::Process(id)) => {
                if let Some(process) = process::find_process_of(id) {
                    tell(&process);
                }
            }
            Some(Owner::Group(id)) => {
                process::all_processes().iter().filter(|process| process.group() == id).for_each(tell);
            }
        }
    }
}

/// Whether a file tells its readiness by signals.
fn can_signal(file: &dyn File) -> bool {
    matches!(file.kind(), FileType::Socket | FileType::Fifo | FileType::CharacterDevice)
        && file.is_watchable()
}

impl OpenFile {
    /// Switches signals on or off. What cannot send any stays silent.
    pub fn set_signal_driven(&self, is_on: bool, number: i32) -> Result<(), Errno> {
        if !can_signal(&**self.file()) {
            return Err(Errno::ENOTTY);
        }
        if !is_on && self.signal_driven.get().is_none() {
            return Ok(());
        }
        let driven = self.signal_driven();
        self.set_async_flag(is_on);
        if !is_on {
            let ended = driven.observation.lock().take();
            drop(ended);
            return Ok(());
        }
        driven.signaller.settings.lock().number = number;
        if !driven.signaller.has_task.swap(true, Ordering::AcqRel) {
            let _ = executor::spawn(TaskOptions::new("signal-driven"), driven.signaller.clone().run());
        }
        let waitable: Arc<dyn Waitable> = self.file().clone();
        let queue = SharedQueue::new(waitable, |file| file.wait_queue());
        let observation = Observation::new(queue, driven.signaller.clone(), EVERY_EVENT);
        let earlier = driven.observation.lock().replace(observation);
        drop(earlier);
        Ok(())
    }

    /// Sets who is sent signals; nobody if there is no owner.
    pub fn set_owner(&self, owner: Option<Owner>, caller: &Thread) -> Result<(), Errno> {
        let is_there = match owner {
            None => true,
            Some(Owner::Thread(id)) => process::find_thread(id).is_some(),
            Some(Owner::Process(id)) => process::find_process_of(id).is_some(),
            Some(Owner::Group(id)) => process::all_processes().iter().any(|process| process.group() == id),
        };
        if !is_there {
            return Err(Errno::ESRCH);
        }
        let credentials = caller.credentials();
        let mut settings = self.signal_driven().signaller.settings.lock();
        settings.owner = owner;
        settings.users = [credentials.real_user, credentials.effective_user];
        Ok(())
    }

    /// Who is sent signals.
    pub fn owner(&self) -> Option<Owner> {
        self.signal_driven.get()?.signaller.settings.lock().owner
    }

    /// Sets which signal is sent; `None` is SIGIO without a word.
    pub fn set_owner_signal(&self, signal: Option<Signal>) {
        self.signal_driven().signaller.settings.lock().signal = signal;
    }

    /// Which signal is sent.
    pub fn owner_signal(&self) -> Option<Signal> {
        self.signal_driven.get()?.signaller.settings.lock().signal
    }

    fn signal_driven(&self) -> &SignalDriven {
        self.signal_driven.call_once(Default::default)
    }
}
