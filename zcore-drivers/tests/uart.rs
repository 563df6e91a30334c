//! The UART against a modelled 16550.

mod common;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Mutex;

use common::{Wakes, iterations, poll_once, poll_with, ready};
use zcore_drivers::InterruptHandler;
use zcore_drivers::random::SeededRandom;
use zcore_drivers::serial::{FaultySerial, Ns16550, SerialFaults, SerialPort, UartRegisters};

#[derive(Default)]
struct Chip {
    enabled: u8,
    line_control: u8,
    divisor: u16,
    input: VecDeque<u8>,
    fifo: VecDeque<u8>,
    output: Vec<u8>,
    overrun: bool,
    /// Neither sends nor says that it could.
    stuck: bool,
    /// Always has another byte.
    babbling: bool,
}

impl Chip {
    /// Whether the interrupt line is raised.
    fn interrupt(&self) -> bool {
        (self.enabled & 1 != 0 && !self.input.is_empty()) || (self.enabled & 2 != 0 && self.fifo.is_empty())
    }

    fn send(&mut self) {
        self.output.extend(self.fifo.drain(..));
    }
}

#[derive(Default)]
struct Registers(Mutex<Chip>);

impl UartRegisters for &Registers {
    fn read(&self, number: u8) -> u8 {
        let mut chip = self.0.lock().unwrap();
        match number {
            0 if chip.babbling => 0x42,
            0 => chip.input.pop_front().expect("a read of an empty receiver"),
            5 => {
                let received = u8::from(chip.babbling || !chip.input.is_empty());
                let empty = if chip.fifo.is_empty() && !chip.stuck { 0x60 } else { 0 };
                received | empty
            }
            _ => 0,
        }
    }

    fn write(&self, number: u8, value: u8) {
        let mut chip = self.0.lock().unwrap();
        let divisor_access = chip.line_control & 0x80 != 0;
        match number {
            0 if divisor_access => chip.divisor = chip.divisor & 0xff00 | u16::from(value),
            1 if divisor_access => chip.divisor = chip.divisor & 0xff | u16::from(value) << 8,
            0 => {
                chip.overrun |= chip.fifo.len() >= 16;
                chip.fifo.push_back(value);
            }
            1 => chip.enabled = value,
            3 => chip.line_control = value,
            _ => {}
        }
    }
}

/// Lets the chip send, and delivers the interrupts it raises.
fn run<'r>(registers: &'r Registers, uart: &Ns16550<&'r Registers>) {
    for _ in 0..100_000 {
        registers.0.lock().unwrap().send();
        if !registers.0.lock().unwrap().interrupt() {
            return;
        }
        uart.handle_interrupt();
    }
    panic!("the interrupt is never quiet");
}

#[test]
fn it_is_set_up_for_115200_8n1() {
    let registers = Registers::default();
    let _uart = Ns16550::new(&registers, Some(3_686_400));
    let chip = registers.0.lock().unwrap();
    assert_eq!((chip.divisor, chip.line_control, chip.enabled), (2, 3, 1));
}

#[test]
fn output_goes_out_by_interrupt_and_the_interrupt_falls_silent() {
    let registers = Registers::default();
    let uart = Ns16550::new(&registers, None);
    let port: &dyn SerialPort = &uart;
    let text: Vec<u8> = (0..20_000u32).map(|index| index as u8).collect();
    let mut write = pin!(port.write_all(&text));
    let (_wakes, waker) = Wakes::new();
    while poll_with(write.as_mut(), &waker).is_pending() {
        uart.handle_interrupt();
        registers.0.lock().unwrap().send();
    }
    let mut drain = pin!(port.drain());
    assert!(poll_once(drain.as_mut()).is_pending());
    run(&registers, &uart);
    ready(drain);
    let chip = registers.0.lock().unwrap();
    assert_eq!(chip.output, text);
    assert!(!chip.overrun && chip.enabled == 1);
}

/// A byte comes in while the last ones are on their way out: whoever waits for those still hears of their end.
#[test]
fn input_does_not_hide_the_end_of_output() {
    let registers = Registers::default();
    let uart = Ns16550::new(&registers, None);
    let port: &dyn SerialPort = &uart;
    assert_eq!(port.try_write(b"0123456789"), 10);
    let (wakes, waker) = Wakes::new();
    let mut drain = pin!(port.drain());
    assert!(poll_with(drain.as_mut(), &waker).is_pending());
    registers.0.lock().unwrap().input.push_back(b'x');
    uart.handle_interrupt();
    assert!(poll_with(drain.as_mut(), &waker).is_pending());
    let before = wakes.count();
    run(&registers, &uart);
    assert!(wakes.count() > before, "nobody was told");
    ready(drain);
    assert_eq!(registers.0.lock().unwrap().enabled, 1);
}

#[test]
fn input_wakes_the_reader() {
    let registers = Registers::default();
    let uart = Ns16550::new(&registers, None);
    let port: &dyn SerialPort = &uart;
    let mut buffer = [0; 8];
    let (wakes, waker) = Wakes::new();
    let mut read = Box::pin(port.read(&mut buffer));
    assert!(poll_with(read.as_mut(), &waker).is_pending());
    registers.0.lock().unwrap().input.extend(b"ls\r");
    run(&registers, &uart);
    assert_eq!(wakes.count(), 1);
    assert_eq!(ready(read.as_mut()), 3);
    drop(read);
    assert_eq!(&buffer[..3], b"ls\r");
}

#[test]
fn what_nobody_reads_is_lost_and_counted() {
    let registers = Registers::default();
    let uart = Ns16550::new(&registers, None);
    registers.0.lock().unwrap().input.extend([7; 5000]);
    run(&registers, &uart);
    let statistics = uart.statistics();
    assert_eq!((statistics.received, statistics.lost), (4096, 904));
}

#[test]
fn bad_chips_do_not_hang_the_kernel() {
    let registers = Registers::default();
    registers.0.lock().unwrap().stuck = true;
    let uart = Ns16550::new(&registers, None);
    uart.write_polled(b"lost");
    assert!(registers.0.lock().unwrap().output.is_empty());
    registers.0.lock().unwrap().babbling = true;
    uart.handle_interrupt();
    assert_eq!(uart.statistics().received, 1024);
}

#[test]
fn polled_output_needs_no_interrupt() {
    let registers = Registers::default();
    let uart = Ns16550::new(&registers, None);
    for byte in b"panic" {
        uart.write_polled(&[*byte]);
        registers.0.lock().unwrap().send();
    }
    assert_eq!(registers.0.lock().unwrap().output, b"panic");
}

#[test]
fn random_traffic_keeps_its_order() {
    let mut random = SeededRandom::new(77);
    let registers = Registers::default();
    let uart = Ns16550::new(&registers, None);
    let (mut typed, mut read, mut written) = (Vec::new(), Vec::<u8>::new(), Vec::<u8>::new());
    for round in 0..iterations(20_000) {
        match random.below(5) {
            0 => {
                let byte = round as u8;
                registers.0.lock().unwrap().input.push_back(byte);
                typed.push(byte);
            }
            1 => {
                let bytes: Vec<u8> = (0..random.below(40)).map(|index| (round + index) as u8).collect();
                let count = uart.try_write(&bytes);
                written.extend(&bytes[..count]);
            }
            2 => registers.0.lock().unwrap().send(),
            3 => {
                let mut buffer = [0; 32];
                let count = uart.try_read(&mut buffer[..random.below(32)]);
                read.extend(&buffer[..count]);
            }
            _ => {
                if registers.0.lock().unwrap().interrupt() {
                    uart.handle_interrupt();
                }
            }
        }
    }
    run(&registers, &uart);
    let mut rest = [0; 4096];
    let count = uart.try_read(&mut rest);
    read.extend(&rest[..count]);
    assert_eq!(read, typed);
    assert_eq!(registers.0.lock().unwrap().output, written);
}

#[test]
fn injected_faults_are_repeatable() {
    let run_once = || {
        let registers = Registers::default();
        let uart = Ns16550::new(&registers, None);
        registers.0.lock().unwrap().input.extend((0..1000).map(|index| index as u8));
        uart.handle_interrupt();
        let faults = SerialFaults {
            seed: 3,
            lose_per_million: 50_000,
            corrupt_per_million: 50_000,
            short_write_per_million: 500_000,
        };
        let faulty = FaultySerial::new(uart, faults);
        let mut buffer = [0; 1000];
        let mut received: Vec<u8> = Vec::new();
        loop {
            let count = faulty.try_read(&mut buffer);
            if count == 0 {
                break;
            }
            received.extend(&buffer[..count]);
        }
        let accepted: Vec<usize> = (0..20).map(|_| faulty.try_write(b"four")).collect();
        (received, accepted)
    };
    let (received, accepted) = run_once();
    assert_eq!((received.clone(), accepted.clone()), run_once());
    assert!((900..990).contains(&received.len()), "{}", received.len());
    assert!(accepted.contains(&1) && accepted.contains(&4));
}
