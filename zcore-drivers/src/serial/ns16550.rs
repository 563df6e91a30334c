//! The NS16550 UART.
//!
//! Received bytes go from the interrupt handler into a lock-free ring; if nobody reads them the newest are lost, as on
//! any UART. Bytes to send wait in a queue under the port's lock, from which the handler fills the FIFO each time it
//! ran empty.

use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use heapless::Deque;
use kernel_hal::machine_description::Uart;
use ksync::{Rank, SpinLock, WaitQueue};

use super::{SerialPort, SerialStatistics};
use crate::InterruptHandler;
use crate::byte_ring::ByteRing;

/// Bytes that wait to be read.
const RECEIVE_RING: usize = 4096;
/// Bytes that wait to be sent.
const SEND_QUEUE: usize = 4096;
/// Bytes that the FIFO takes when it is empty.
const FIFO_BYTES: usize = 16;
/// The speed that is set when the clock's rate is known.
const BAUD: u32 = 115_200;
/// How often a polled wait looks before it gives up on the device.
const POLL_LIMIT: usize = 100_000;
/// How many bytes one interrupt may bring: a device that never runs dry must not hold the hart.
const RECEIVE_LIMIT: usize = 1024;

/// The registers' numbers.
mod register {
    /// Read: received byte. Write: byte to send. With DLAB: divisor, low.
    pub const DATA: u8 = 0;
    /// Interrupt enable. With DLAB: divisor, high.
    pub const INTERRUPT_ENABLE: u8 = 1;
    /// Write: FIFO control. Read: which interrupt is pending.
    pub const FIFO_CONTROL: u8 = 2;
    pub const LINE_CONTROL: u8 = 3;
    pub const MODEM_CONTROL: u8 = 4;
    pub const LINE_STATUS: u8 = 5;
}

const ENABLE_RECEIVED: u8 = 1;
const ENABLE_SENDER_EMPTY: u8 = 2;
const FIFO_ENABLE_AND_CLEAR_RECEIVER: u8 = 0b011;
const EIGHT_BITS_NO_PARITY: u8 = 0b011;
const DIVISOR_ACCESS: u8 = 0x80;
/// DTR, RTS, and OUT2, which lets the interrupt out on PC hardware.
const MODEM_READY: u8 = 0b1011;
const STATUS_RECEIVED: u8 = 1;
const STATUS_SENDER_EMPTY: u8 = 0x20;
const STATUS_ALL_SENT: u8 = 0x40;

/// How the registers are reached.
pub trait UartRegisters: Send + Sync {
    /// Reads register `number`, below 8.
    fn read(&self, number: u8) -> u8;
    /// Writes register `number`, below 8.
    fn write(&self, number: u8, value: u8);
}

/// Registers on the memory bus.
#[derive(Debug)]
pub struct MmioRegisters {
    base: NonNull<u8>,
    shift: u32,
    bytes: u32,
}

// SAFETY: the pointer is to device registers, which belong to no thread.
unsafe impl Send for MmioRegisters {}
// SAFETY: as above; each access is one volatile load or store.
unsafe impl Sync for MmioRegisters {}

impl MmioRegisters {
    /// The registers of the UART that the device tree describes.
    ///
    /// # Safety
    /// The description must be that of a real UART (it came from the machine's device tree), whose registers the linear
    /// map covers and nobody else uses.
    pub unsafe fn new(uart: &Uart) -> Option<Self> {
        let base = NonNull::new(kernel_hal::memory::phys_to_virt(uart.registers.start))?;
        Some(Self { base, shift: uart.register_shift, bytes: uart.register_bytes })
    }

    fn address(&self, number: u8) -> NonNull<u8> {
        debug_assert!(number < 8);
        // SAFETY: the description was checked to have room for eight registers at this shift.
        unsafe { self.base.add(usize::from(number) << self.shift) }
    }
}

impl UartRegisters for MmioRegisters {
    fn read(&self, number: u8) -> u8 {
        let address = self.address(number);
        // SAFETY: a register of the UART, of the width that the description gives.
        unsafe {
            match self.bytes {
                4 => address.cast::<u32>().read_volatile() as u8,
                2 => address.cast::<u16>().read_volatile() as u8,
                _ => address.read_volatile(),
            }
        }
    }

    fn write(&self, number: u8, value: u8) {
        let address = self.address(number);
        // SAFETY: as in `read`.
        unsafe {
            match self.bytes {
                4 => address.cast::<u32>().write_volatile(u32::from(value)),
                2 => address.cast::<u16>().write_volatile(u16::from(value)),
                _ => address.write_volatile(value),
            }
        }
    }
}

/// An NS16550 UART.
pub struct Ns16550<R> {
    registers: R,
    received: ByteRing<RECEIVE_RING>,
    sender: SpinLock<Sender>,
    readable: WaitQueue,
    writable: WaitQueue,
    statistics: Counters,
}

#[derive(Default)]
struct Sender {
    queue: Deque<u8, SEND_QUEUE>,
    /// Whether the device will interrupt when its FIFO is empty.
    armed: bool,
}

#[derive(Default)]
struct Counters {
    received: AtomicU64,
    sent: AtomicU64,
    lost: AtomicU64,
}

impl<R: UartRegisters> Ns16550<R> {
    /// Sets the UART up for 8 bits without parity. Its interrupt may come from now on.
    pub fn new(registers: R, clock_hz: Option<u32>) -> Self {
        registers.write(register::INTERRUPT_ENABLE, 0);
        // What firmware wrote last should come out first.
        wait_for(&registers, STATUS_ALL_SENT);
        // The rate is changed only if it is known and sane; firmware has set one that works.
        let divisor = clock_hz.map_or(0, |hz| hz / (16 * BAUD));
        if let Ok(divisor @ 1..) = u16::try_from(divisor) {
            registers.write(register::LINE_CONTROL, DIVISOR_ACCESS);
            registers.write(register::DATA, divisor as u8);
            registers.write(register::INTERRUPT_ENABLE, (divisor >> 8) as u8);
        }
        registers.write(register::LINE_CONTROL, EIGHT_BITS_NO_PARITY);
        registers.write(register::FIFO_CONTROL, FIFO_ENABLE_AND_CLEAR_RECEIVER);
        registers.write(register::MODEM_CONTROL, MODEM_READY);
        registers.write(register::INTERRUPT_ENABLE, ENABLE_RECEIVED);
        Self {
            registers,
            received: ByteRing::new(),
            sender: SpinLock::new(Rank::DEVICE_QUEUE, Sender::default()),
            readable: WaitQueue::new("uart input"),
            writable: WaitQueue::new("uart output"),
            statistics: Counters::default(),
        }
    }

    fn status(&self) -> u8 {
        self.registers.read(register::LINE_STATUS)
    }

    /// Fills the FIFO if it is empty, and asks for an interrupt if something is left. Returns how many bytes went out.
    fn fill_fifo(&self, sender: &mut Sender) -> usize {
        let mut count = 0;
        let is_empty = self.status() & STATUS_SENDER_EMPTY != 0;
        if is_empty {
            while count < FIFO_BYTES
                && let Some(byte) = sender.queue.pop_front()
            {
                self.registers.write(register::DATA, byte);
                count += 1;
            }
            self.statistics.sent.fetch_add(count as u64, Ordering::Relaxed);
        }
        // The interrupt also says that the last bytes are out, for those who wait for it: until they are it stays armed,
        // though a received byte may have brought us here in the meantime.
        let arm = count > 0 || !sender.queue.is_empty() || sender.armed && !is_empty;
        if arm != sender.armed {
            sender.armed = arm;
            let enable = if arm { ENABLE_RECEIVED | ENABLE_SENDER_EMPTY } else { ENABLE_RECEIVED };
            self.registers.write(register::INTERRUPT_ENABLE, enable);
        }
        count
    }

    /// Takes what the FIFO holds. Returns whether there was anything.
    fn empty_fifo(&self) -> bool {
        let mut found = false;
        for _ in 0..RECEIVE_LIMIT {
            if self.status() & STATUS_RECEIVED == 0 {
                break;
            }
            found = true;
            let byte = self.registers.read(register::DATA);
            let counter =
                if self.received.push(byte) { &self.statistics.received } else { &self.statistics.lost };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        found
    }
}

/// Waits until a status bit is set; gives up after a while.
fn wait_for<R: UartRegisters>(registers: &R, status: u8) -> bool {
    (0..POLL_LIMIT).any(|_| registers.read(register::LINE_STATUS) & status != 0)
}

impl<R: UartRegisters> InterruptHandler for Ns16550<R> {
    fn handle_interrupt(&self) {
        let mut sender = self.sender.lock();
        // The lock also makes this the only producer of the ring.
        let received = self.empty_fifo();
        let was_armed = sender.armed;
        let sent = self.fill_fifo(&mut sender);
        let finished = was_armed && !sender.armed;
        drop(sender);
        if received {
            self.readable.wake_all();
        }
        if sent > 0 || finished {
            self.writable.wake_all();
        }
    }
}

impl<R: UartRegisters> SerialPort for Ns16550<R> {
    fn try_read(&self, destination: &mut [u8]) -> usize {
        self.received.take(destination)
    }

    fn try_write(&self, bytes: &[u8]) -> usize {
        let mut sender = self.sender.lock();
        let count = bytes.len().min(SEND_QUEUE - sender.queue.len());
        for &byte in &bytes[..count] {
            let _has_room = sender.queue.push_back(byte);
        }
        if !sender.armed {
            self.fill_fifo(&mut sender);
        }
        count
    }

    fn is_readable(&self) -> bool {
        !self.received.is_empty()
    }

    fn is_writable(&self) -> bool {
        self.sender.lock().queue.len() < SEND_QUEUE
    }

    fn is_drained(&self) -> bool {
        self.sender.lock().queue.is_empty() && self.status() & STATUS_ALL_SENT != 0
    }

    fn readable(&self) -> &WaitQueue {
        &self.readable
    }

    fn writable(&self) -> &WaitQueue {
        &self.writable
    }

    fn write_polled(&self, bytes: &[u8]) {
        for &byte in bytes {
            if !wait_for(&self.registers, STATUS_SENDER_EMPTY) {
                return;
            }
            self.registers.write(register::DATA, byte);
        }
        wait_for(&self.registers, STATUS_ALL_SENT);
    }

    fn statistics(&self) -> SerialStatistics {
        SerialStatistics {
            received: self.statistics.received.load(Ordering::Relaxed),
            sent: self.statistics.sent.load(Ordering::Relaxed),
            lost: self.statistics.lost.load(Ordering::Relaxed),
            bogus: 0,
        }
    }
}

impl<R> fmt::Debug for Ns16550<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ns16550").finish_non_exhaustive()
    }
}
