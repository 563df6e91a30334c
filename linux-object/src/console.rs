//! The console: a serial port with a line discipline, as a file.
//!
//! Two kernel tasks move bytes: one from the port to the line discipline, woken (and raised above ordinary work) by the
//! port's interrupt, one from the output that did not fit to the port. Programs only meet the line discipline.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use executor::TaskOptions;
use kernel_hal::Instant;
use ksync::{Once, Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::file::OpenFlags;
use linux_abi::poll::PollEvents;
use linux_abi::signal::{SIG_IGN, Signal, SignalSet};
use linux_abi::signal_info::SignalInfo;
use linux_abi::stat::{DeviceNumber, FileType};
use linux_abi::terminal::{
    FIONREAD, LocalModes, TCFLSH, TCGETS, TCGETS2, TCIFLUSH, TCIOFF, TCIOFLUSH, TCION, TCOFLUSH, TCOOFF,
    TCOON, TCSBRK, TCSBRKP, TCSETS, TCSETS2, TCSETSF, TCSETSW, TCXONC, TIOCGPGRP, TIOCGSID, TIOCGWINSZ,
    TIOCNOTTY, TIOCOUTQ, TIOCSCTTY, TIOCSPGRP, TIOCSWINSZ, Termios, Termios2, Winsize,
};
use zcore_drivers::serial::SerialPort;

use crate::file::{File, UserMemory};
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::process::{all_processes, find_process};
use crate::signal;
use crate::terminal::{
    Effects, Flow, Flush, LineDiscipline, OutputPort, ReadStep, STANDARD_TERMIOS, TermiosChange,
};
use crate::thread::{Thread, current_thread};
use crate::user_buffer::UserBuffer;

/// Bytes that are moved at once.
const PIECE: usize = 256;
/// Output that waits for the port.
const OUTPUT_BYTES: usize = 4096;

const FIRST_PROCESS: i32 = 1;

static CONSOLE: Once<Arc<Console>> = Once::new();

/// The system's console.
pub struct Console {
    name: String,
    port: Arc<dyn SerialPort>,
    state: SpinLock<State>,
    /// Woken when a reader, a writer or a poll may find something new.
    changed: WaitQueue,
    /// Woken when there is output for the port.
    output_added: WaitQueue,
}

struct State {
    discipline: LineDiscipline,
    output: Output,
    /// A reader copies to its program's memory: others wait.
    is_being_read: bool,
    /// The timer of a read without lines ran out.
    read_timer_ran_out: bool,
    session: i32,
    foreground_group: i32,
}

/// What the port has not taken yet. Its memory is there from the beginning.
struct Output(VecDeque<u8>);

impl OutputPort for Output {
    fn room(&self) -> usize {
        OUTPUT_BYTES - self.0.len()
    }
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }
    fn discard(&mut self) {
        self.0.clear();
    }
}

/// Makes a port the system's console, under this name. Called once, at boot, when tasks can be spawned.
pub fn set_port(name: String, port: Arc<dyn SerialPort>) -> Result<(), Errno> {
    let discipline = LineDiscipline::new(STANDARD_TERMIOS).map_err(|_| Errno::ENOMEM)?;
    let mut output = VecDeque::new();
    output.try_reserve_exact(OUTPUT_BYTES).map_err(|_| Errno::ENOMEM)?;
    let state = State {
        discipline,
        output: Output(output),
        is_being_read: false,
        read_timer_ran_out: false,
        session: 0,
        foreground_group: 0,
    };
    let console = CONSOLE.call_once(|| {
        Arc::new(Console {
            name,
            port,
            state: SpinLock::new(Rank::FILE, state),
            changed: WaitQueue::new("console"),
            output_added: WaitQueue::new("console output"),
        })
    });
    let input = console.clone();
    executor::spawn(TaskOptions::new("console input").boosted(), async move { input.move_input().await })
        .detach();
    let output = console.clone();
    executor::spawn(TaskOptions::new("console output").boosted(), async move { output.move_output().await })
        .detach();
    Ok(())
}

/// The console, for whoever opens it.
pub fn open() -> Result<Arc<dyn File>, Errno> {
    let console = CONSOLE.get().ok_or(Errno::ENXIO)?;
    Ok(console.clone())
}

/// `/dev/tty`: the console, if it is the caller's controlling terminal.
pub fn open_controlling() -> Result<Arc<dyn File>, Errno> {
    let session = current_thread().ok_or(Errno::ENXIO)?.process().session();
    foreground_group(session).ok_or(Errno::ENXIO)?;
    open()
}

/// What the console's device is called, without `/dev/`.
pub fn name() -> Option<&'static str> {
    CONSOLE.get().map(|console| console.name.as_str())
}

/// The device number of the console.
pub fn number() -> Option<DeviceNumber> {
    const SERIAL: DeviceNumber = DeviceNumber::new(4, 64);
    const VIRTIO: DeviceNumber = DeviceNumber::new(229, 0);
    name().map(|name| if name == "hvc0" { VIRTIO } else { SERIAL })
}

/// The foreground group, if the console is the controlling terminal of this session.
pub fn foreground_group(session: i32) -> Option<i32> {
    let state = CONSOLE.get()?.state.lock();
    (session != 0 && state.session == session).then_some(state.foreground_group)
}

/// Waits until everything that programs wrote to the console has been sent.
pub async fn drain() {
    let Some(console) = CONSOLE.get() else { return };
    console.changed.wait_until(|| console.state.lock().output.0.is_empty().then_some(())).await;
    console.port.drain().await;
}

impl Console {
    /// From the port to the line discipline, for ever. What does not fit is kept until a reader makes room.
    async fn move_input(&self) {
        let mut piece = [0; PIECE];
        loop {
            let count = self.port.read(&mut piece).await;
            let mut rest = &piece[..count];
            while !rest.is_empty() {
                let room = || {
                    let mut guard = self.state.lock();
                    let State { discipline, output, .. } = &mut *guard;
                    let received = discipline.receive(rest, output);
                    let group = guard.foreground_group;
                    drop(guard);
                    self.follow_up(received.effects, group);
                    (received.consumed > 0).then_some(received.consumed)
                };
                let consumed = self.changed.wait_until(room).await;
                rest = &rest[consumed..];
            }
        }
    }

    /// From the output that waits to the port, for ever.
    async fn move_output(&self) {
        loop {
            self.output_added.wait_until(|| (!self.state.lock().output.0.is_empty()).then_some(())).await;
            self.port.writable().wait_until(|| self.pump().then_some(())).await;
        }
    }

    /// Gives the port what it takes. Whether nothing is left.
    fn pump(&self) -> bool {
        let mut state = self.state.lock();
        let before = state.output.0.len();
        loop {
            let (first, _) = state.output.0.as_slices();
            let taken = self.port.try_write(first);
            if taken == 0 {
                break;
            }
            state.output.0.drain(..taken);
        }
        if state.output.room() > 0 {
            let State { discipline, output, .. } = &mut *state;
            discipline.send_echo(output);
        }
        let left = state.output.0.len();
        drop(state);
        if left < before {
            self.changed.wake_all();
        }
        left == 0
    }

    /// Does what the line discipline asks for, with no lock held.
    fn follow_up(&self, effects: Effects, foreground_group: i32) {
        send_signals(effects.signals, foreground_group);
        if !self.pump() {
            self.output_added.wake_all();
        }
        if effects.became_readable || effects.output_resumed || effects.input_discarded {
            self.changed.wake_all();
        }
    }

    fn not_ready() -> Obstacle {
        match CONSOLE.get() {
            Some(console) => Obstacle::NotReady(console.clone()),
            None => Obstacle::Error(Errno::EIO),
        }
    }

    /// Waits for input or a timer of so many tenths of a second.
    fn wait_with_timer(deciseconds: u8) -> Obstacle {
        Obstacle::Event(Box::pin(async move {
            let console = CONSOLE.get().ok_or(Errno::EIO)?;
            let deadline = Instant::now() + Duration::from_millis(100 * u64::from(deciseconds));
            let input =
                console.changed.wait_until(|| console.state.lock().discipline.is_readable().then_some(()));
            if executor::timeout(deadline, input).await.is_err() {
                console.state.lock().read_timer_ran_out = true;
            }
            Ok(())
        }))
    }

    /// Sets the settings that `ioctl` brought; the speeds stay.
    fn set_settings(&self, settings: &Termios, change: TermiosChange) {
        let old = self.state.lock().discipline.termios();
        let new = Termios2 {
            c_iflag: settings.c_iflag,
            c_oflag: settings.c_oflag,
            c_cflag: settings.c_cflag,
            c_lflag: settings.c_lflag,
            c_line: settings.c_line,
            c_cc: settings.c_cc,
            ..old
        };
        self.set_all_settings(&new, change);
    }

    fn set_all_settings(&self, new: &Termios2, change: TermiosChange) {
        let mut guard = self.state.lock();
        let State { discipline, output, .. } = &mut *guard;
        let effects = discipline.set_termios(new, change, output);
        let group = guard.foreground_group;
        drop(guard);
        self.follow_up(effects, group);
        self.changed.wake_all();
    }

    fn control_flow(&self, flow: Flow) {
        let mut guard = self.state.lock();
        let State { discipline, output, .. } = &mut *guard;
        let (character, effects) = discipline.control_flow(flow);
        if let Some(character) = character
            && output.room() > 0
        {
            output.put(&[character]);
        }
        let group = guard.foreground_group;
        drop(guard);
        self.follow_up(effects, group);
    }

    /// Job control: who is in the background of the session whose terminal this is gets a signal, on which it stops, and
    /// tries again when it goes on. Who ignores or blocks the signal reads an error, and may do anything else.
    fn check_foreground(&self, signal: Signal) -> Result<(), Obstacle> {
        let Some(caller) = current_thread() else { return Ok(()) };
        let process = caller.process();
        let group = process.group();
        {
            let state = self.state.lock();
            let is_background = state.session != 0
                && state.session == process.session()
                && state.foreground_group != 0
                && state.foreground_group != group;
            if !is_background {
                return Ok(());
            }
        }
        let ignores = caller.resources().signal_actions.get(signal).sa_handler == SIG_IGN
            || caller.with_signals(|signals| signals.blocked.contains(signal));
        match (ignores, signal) {
            (true, Signal::SIGTTIN) => return Err(Errno::EIO.into()),
            (true, _) => return Ok(()),
            (false, _) if process.is_in_orphaned_group() => return Err(Errno::EIO.into()),
            (false, _) => {}
        }
        send_signals(SignalSet::of(signal), group);
        Err(Self::not_ready())
    }

    /// The session no longer has this terminal: its foreground group hangs up.
    fn leave_session(&self, session: i32) {
        let group = {
            let mut state = self.state.lock();
            if session == 0 || state.session != session {
                return;
            }
            state.session = 0;
            core::mem::take(&mut state.foreground_group)
        };
        let mut signals = SignalSet::of(Signal::SIGHUP);
        signals.insert(Signal::SIGCONT);
        send_signals(signals, group);
        self.changed.wake_all();
    }

    fn settings(&self) -> Termios {
        let Termios2 { c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc, .. } =
            self.state.lock().discipline.termios();
        Termios { c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc }
    }

    fn flush(&self, what: Flush) {
        let mut guard = self.state.lock();
        let State { discipline, output, .. } = &mut *guard;
        let effects = discipline.flush(what, output);
        let group = guard.foreground_group;
        drop(guard);
        self.follow_up(effects, group);
    }

    /// Makes the console the controlling terminal of the caller's session.
    fn adopt_session(&self, caller: &Thread, steal: bool) -> Result<(), Errno> {
        let process = caller.process();
        let mut state = self.state.lock();
        if state.session == process.session() {
            return Ok(());
        }
        let is_leader = process.session() == process.id();
        let is_free = state.session == 0 || (steal && process.credentials().is_privileged());
        if !is_leader || !is_free {
            return Err(Errno::EPERM);
        }
        state.session = process.session();
        state.foreground_group = process.group();
        Ok(())
    }

    fn set_foreground_group(&self, caller: &Thread, group: i32) -> Result<(), Errno> {
        let session = caller.process().session();
        self.foreground_group_for(caller)?;
        if group < 0 {
            return Err(Errno::EINVAL);
        }
        let processes = all_processes();
        let mut members = processes.iter().filter(|process| process.group() == group).peekable();
        if members.peek().is_none() && find_process(group).is_none() {
            return Err(Errno::ESRCH);
        }
        if !members.any(|process| process.session() == session) {
            return Err(Errno::EPERM);
        }
        let mut state = self.state.lock();
        if state.session != session {
            return Err(Errno::ENOTTY);
        }
        state.foreground_group = group;
        Ok(())
    }
}

/// The leader of a session has ended: the terminal that was its own is free, and its foreground group hangs up.
pub fn session_ended(session: i32) {
    if let Some(console) = CONSOLE.get() {
        console.leave_session(session);
    }
}

/// A session leader without a terminal has opened the console by its own name: it is its terminal from now on.
pub fn adopt_if_free() {
    let Some((console, caller)) = CONSOLE.get().zip(current_thread()) else { return };
    // The first process leads a session only by our numbering: on Linux it is in none until it asks for one.
    if caller.process().id() != FIRST_PROCESS {
        // Who is no leader, or has a terminal already, just has it open.
        let _ = console.adopt_session(&caller, false);
    }
}

fn send_signals(mut signals: SignalSet, group: i32) {
    while let Some(signal) = signals.first() {
        signals.remove(signal);
        for process in all_processes().iter().filter(|process| group != 0 && process.group() == group) {
            signal::send_to_process(process, signal, SignalInfo::kernel(signal));
        }
    }
}

impl Waitable for Console {
    fn wait_queue(&self) -> &WaitQueue {
        &self.changed
    }
}

impl File for Console {
    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        self.check_foreground(Signal::SIGTTIN)?;
        loop {
            let mut piece = [0; PIECE];
            let peeked = {
                let mut state = self.state.lock();
                if state.is_being_read {
                    return Err(Self::not_ready());
                }
                let most = buffer.remaining().min(PIECE);
                match state.discipline.peek(&mut piece[..most]) {
                    Some(peeked) if most > 0 => {
                        state.is_being_read = true;
                        peeked
                    }
                    _ => {
                        let timer_ran_out = core::mem::take(&mut state.read_timer_ran_out);
                        let wanted = buffer.done() + buffer.remaining();
                        return match state.discipline.read_step(buffer.done(), wanted, timer_ran_out) {
                            ReadStep::Return => Ok(buffer.done()),
                            ReadStep::Wait { deciseconds: None } => Err(Self::not_ready()),
                            ReadStep::Wait { deciseconds: Some(timer) } => Err(Self::wait_with_timer(timer)),
                        };
                    }
                }
            };
            let before = buffer.done();
            let outcome = buffer.copy_out(&piece[..peeked.length]);
            let copied = buffer.done() - before;
            {
                let mut state = self.state.lock();
                state.discipline.consume(peeked, copied);
                state.is_being_read = false;
            }
            // There is room for input that was kept back, and the next reader may come.
            self.changed.wake_all();
            outcome?;
            if peeked.is_complete {
                return Ok(buffer.done());
            }
        }
    }

    fn try_write(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        let stops_writers =
            LocalModes::from_bits_retain(self.settings().c_lflag).contains(LocalModes::TOSTOP);
        if stops_writers {
            self.check_foreground(Signal::SIGTTOU)?;
        }
        while buffer.remaining() > 0 {
            let mut piece = [0; PIECE];
            let most = buffer.remaining().min(PIECE);
            let mark = buffer.mark();
            let count = buffer.copy_in(&mut piece[..most])?;
            let taken = {
                let mut guard = self.state.lock();
                let State { discipline, output, .. } = &mut *guard;
                discipline.process_output(&piece[..count], output)
            };
            if !self.pump() {
                self.output_added.wake_all();
            }
            if taken < count {
                buffer.rewind(mark);
                buffer.skip(taken);
                if taken == 0 {
                    return Err(Self::not_ready());
                }
            }
        }
        Ok(buffer.done())
    }

    fn kind(&self) -> FileType {
        FileType::CharacterDevice
    }

    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        output.write_str("/dev/console")
    }

    fn reopen(self: Arc<Self>, _flags: OpenFlags) -> Result<Arc<dyn File>, Errno> {
        Ok(self)
    }

    fn ready(&self) -> PollEvents {
        let state = self.state.lock();
        let mut events = PollEvents::empty();
        let is_writable = state.output.room() > 0 && !state.discipline.is_output_stopped();
        events.set(PollEvents::OUT | PollEvents::WRNORM, is_writable);
        events.set(PollEvents::IN | PollEvents::RDNORM, state.discipline.is_readable());
        events
    }

    fn try_control(&self, request: u32, argument: usize, memory: &UserMemory, caller: &Thread) -> Attempt {
        let address = kernel_hal::VirtAddr::new(argument);
        if matches!(
            request,
            TCSETS | TCSETSW | TCSETSF | TCSETS2 | TCFLSH | TCSBRK | TCSBRKP | TCXONC | TIOCSPGRP
        ) {
            self.check_foreground(Signal::SIGTTOU)?;
        }
        match request {
            TCGETS2 => {
                let settings = self.state.lock().discipline.termios();
                memory.write(address, &settings)?;
            }
            TCSETS2 => self.set_all_settings(&memory.read(address)?, TermiosChange::Now),
            TCSBRK | TCSBRKP => {
                // The ports cannot send a break; what comes before it, and all that `tcdrain` asks for, they do.
                if !self.state.lock().output.0.is_empty() {
                    return Err(Self::not_ready());
                }
            }
            TCXONC => self.control_flow(match argument as u32 {
                TCOOFF => Flow::StopOutput,
                TCOON => Flow::ResumeOutput,
                TCIOFF => Flow::StopInput,
                TCION => Flow::ResumeInput,
                _ => return Err(Errno::EINVAL.into()),
            }),
            TIOCOUTQ => {
                let waiting = self.state.lock().output.0.len();
                memory.write(address, &(waiting as i32))?;
            }
            TIOCNOTTY => {
                let process = caller.process();
                self.foreground_group_for(caller)?;
                if process.session() != process.id() {
                    // The terminal is the session's: one process alone cannot give it up.
                    return Err(Errno::ENOTTY.into());
                }
                self.leave_session(process.session());
            }
            TCGETS => memory.write(address, &self.settings())?,
            TCSETS => self.set_settings(&memory.read(address)?, TermiosChange::Now),
            TCSETSW | TCSETSF => {
                let settings = memory.read(address)?;
                if !self.state.lock().output.0.is_empty() {
                    return Err(Self::not_ready());
                }
                let change = if request == TCSETSW { TermiosChange::Drain } else { TermiosChange::Flush };
                self.set_settings(&settings, change);
            }
            TCFLSH => self.flush(match argument as u32 {
                TCIFLUSH => Flush::Input,
                TCOFLUSH => Flush::Output,
                TCIOFLUSH => Flush::Both,
                _ => return Err(Errno::EINVAL.into()),
            }),
            TIOCGWINSZ => {
                let size: Winsize = self.state.lock().discipline.window_size();
                memory.write(address, &size)?;
            }
            TIOCSWINSZ => {
                let size = memory.read(address)?;
                let (changed, group) = {
                    let mut state = self.state.lock();
                    (state.discipline.set_window_size(size), state.foreground_group)
                };
                if changed {
                    send_signals(SignalSet::of(Signal::SIGWINCH), group);
                }
            }
            FIONREAD => {
                let readable = self.state.lock().discipline.readable();
                memory.write(address, &(readable as i32))?;
            }
            TIOCSCTTY => self.adopt_session(caller, argument == 1)?,
            TIOCGPGRP => memory.write(address, &self.foreground_group_for(caller)?)?,
            TIOCSPGRP => self.set_foreground_group(caller, memory.read(address)?)?,
            TIOCGSID => {
                self.foreground_group_for(caller)?;
                memory.write(address, &caller.process().session())?;
            }
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(0)
    }
}

impl Console {
    /// The foreground group, if the console is the caller's controlling terminal.
    fn foreground_group_for(&self, caller: &Thread) -> Result<i32, Errno> {
        let state = self.state.lock();
        let is_own = state.session != 0 && state.session == caller.process().session();
        if is_own { Ok(state.foreground_group) } else { Err(Errno::ENOTTY) }
    }
}
