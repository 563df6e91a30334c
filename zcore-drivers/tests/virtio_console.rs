//! The virtio console and entropy device against models.

mod common;

use std::pin::pin;

use common::{Wakes, iterations, poll_once, poll_with, ready};
use kernel_object::frame::host;
use virtio_drivers::transport::DeviceType;
use zcore_drivers::InterruptHandler;
use zcore_drivers::entropy::{EntropyFaults, EntropySource, FaultyEntropy};
use zcore_drivers::model::{DeviceModel, ModelTransport};
use zcore_drivers::random::SeededRandom;
use zcore_drivers::serial::SerialPort;
use zcore_drivers::virtio::VirtioError;
use zcore_drivers::virtio::console::VirtioConsole;
use zcore_drivers::virtio::entropy::VirtioEntropy;

const VERSION_1: u64 = 1 << 32;
const EVENT_INDEX: u64 = 1 << 29;
const EMERGENCY_WRITE: u64 = 1 << 2;

fn console(features: u64) -> (DeviceModel, VirtioConsole<ModelTransport>) {
    host::use_private(64);
    console_in_this_memory(features)
}

fn console_in_this_memory(features: u64) -> (DeviceModel, VirtioConsole<ModelTransport>) {
    let model = DeviceModel::new(DeviceType::Console, features, vec![0; 12], 2, 64);
    let console = VirtioConsole::new(model.transport()).expect("a console");
    (model, console)
}

fn interrupt(model: &DeviceModel, handler: &dyn InterruptHandler) {
    if model.interrupt_pending() {
        handler.handle_interrupt();
    }
}

/// Sends to the driver as much as there are buffers for; returns how much that was.
fn type_in(model: &DeviceModel, bytes: &[u8]) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        let Some(chain) = model.next_chain(0) else { break };
        let count = chain.write(0, &bytes[done..]);
        model.complete(0, chain.head, count as u32);
        done += count;
    }
    done
}

/// Takes what the driver has sent.
fn printed(model: &DeviceModel) -> Vec<u8> {
    let mut output = Vec::new();
    while let Some(chain) = model.next_chain(1) {
        output.extend(chain.read());
        model.complete(1, chain.head, 0);
    }
    model.sleep(1);
    output
}

#[test]
fn bytes_go_both_ways() {
    for features in [0, VERSION_1, VERSION_1 | EVENT_INDEX] {
        let (model, console) = console(features);
        let port: &dyn SerialPort = &console;
        let mut buffer = [0; 16];
        let (wakes, waker) = Wakes::new();
        let mut read = Box::pin(port.read(&mut buffer));
        assert!(poll_with(read.as_mut(), &waker).is_pending());
        assert_eq!(type_in(&model, b"hello"), 5);
        interrupt(&model, &console);
        assert_eq!(wakes.count(), 1);
        assert_eq!(ready(read.as_mut()), 5);
        drop(read);
        assert_eq!(&buffer[..5], b"hello");
        assert!(!port.is_readable());

        assert_eq!(port.try_write(b"world"), 5);
        assert!(!port.is_drained());
        assert_eq!(model.notifications(1), 1);
        assert_eq!(printed(&model), b"world");
        interrupt(&model, &console);
        assert!(port.is_drained());
    }
}

#[test]
fn a_slow_reader_holds_the_sender_up_and_nothing_is_lost() {
    let (model, console) = console(VERSION_1 | EVENT_INDEX);
    let port: &dyn SerialPort = &console;
    let mut random = SeededRandom::new(5);
    let sent: Vec<u8> = (0..iterations(60_000)).map(|_| random.next_u64() as u8).collect();
    let (mut position, mut received) = (0, Vec::<u8>::new());
    let mut held_up = false;
    while received.len() < sent.len() {
        let piece = &sent[position..(position + random.below(5000)).min(sent.len())];
        let accepted = type_in(&model, piece);
        held_up |= accepted < piece.len();
        position += accepted;
        interrupt(&model, &console);
        let mut buffer = vec![0; random.below(3000) + 1];
        let count = port.try_read(&mut buffer);
        received.extend(&buffer[..count]);
    }
    assert_eq!(received, sent);
    assert!(cfg!(miri) || held_up, "the buffers never ran out");
    assert_eq!(port.statistics().received, sent.len() as u64);
}

#[test]
fn a_writer_waits_for_room() {
    let (model, console) = console(VERSION_1 | EVENT_INDEX);
    let port: &dyn SerialPort = &console;
    let text: Vec<u8> = (0..40_000u32).map(|index| index as u8).collect();
    let mut write = pin!(port.write_all(&text));
    let mut output = Vec::new();
    let (wakes, waker) = Wakes::new();
    while poll_with(write.as_mut(), &waker).is_pending() {
        let before = wakes.count();
        output.extend(printed(&model));
        interrupt(&model, &console);
        assert_eq!(wakes.count(), before + 1, "room was made, but nobody told the writer");
    }
    output.extend(printed(&model));
    assert_eq!(output, text);
    let mut drain = pin!(port.drain());
    assert!(poll_once(drain.as_mut()).is_pending());
    interrupt(&model, &console);
    ready(drain);
}

#[test]
fn a_panic_is_printed_without_interrupts() {
    let (model, console) = console(VERSION_1 | EMERGENCY_WRITE);
    console.write_polled(b"panic!");
    assert_eq!(model.emergency_output(), b"panic!");
}

#[test]
#[cfg_attr(miri, ignore = "polls a million times")]
fn a_panic_does_not_wait_for_ever_for_a_console_that_does_not_move() {
    let (model, console) = console(VERSION_1);
    console.write_polled(b"panic!");
    assert_eq!(printed(&model), b"panic!");
}

#[test]
fn fuzz_a_console_that_lies() {
    host::use_private(64);
    for seed in 0..iterations(300) as u64 {
        let (model, console) =
            console_in_this_memory([VERSION_1, VERSION_1 | EVENT_INDEX][seed as usize % 2]);
        let port: &dyn SerialPort = &console;
        let mut random = SeededRandom::new(seed);
        for _ in 0..100 {
            match random.below(6) {
                0 => model.complete(random.below(2), random.below(24) as u32, random.next_u64() as u32),
                1 => {
                    if let Some(chain) = model.next_chain(random.below(2)) {
                        model.complete(random.below(2), chain.head, random.below(2000) as u32);
                    }
                }
                2 if random.below(30) == 0 => {
                    model.jump_used_index(random.below(2), random.next_u64() as u16)
                }
                3 => {
                    port.try_write(&[1; 700]);
                }
                4 => {
                    let mut buffer = [0; 700];
                    assert!(port.try_read(&mut buffer) <= 700);
                }
                _ => console.handle_interrupt(),
            }
        }
    }
}

#[test]
fn a_device_without_enough_buffers_is_refused() {
    host::use_private(64);
    let model = DeviceModel::new(DeviceType::Console, VERSION_1, vec![0; 12], 2, 8);
    assert_eq!(VirtioConsole::new(model.transport()).map(drop), Err(VirtioError::BadQueue(0)));
}

fn entropy() -> (DeviceModel, VirtioEntropy<ModelTransport>) {
    host::use_private(64);
    let model = DeviceModel::new(DeviceType::EntropySource, VERSION_1 | EVENT_INDEX, Vec::new(), 1, 8);
    let source = VirtioEntropy::new(model.transport()).expect("an entropy source");
    (model, source)
}

/// Answers with the next bytes of a counter, so that a byte that is handed out twice shows.
fn give(model: &DeviceModel, next: &mut u8, most: usize) {
    while let Some(chain) = model.next_chain(0) {
        let bytes: Vec<u8> = (0..chain.writable_bytes().min(most)).map(|index| *next + index as u8).collect();
        chain.write(0, &bytes);
        *next = next.wrapping_add(bytes.len() as u8);
        model.complete(0, chain.head, bytes.len() as u32);
        model.sleep(0);
    }
}

#[test]
fn every_random_byte_is_handed_out_once() {
    let (model, source) = entropy();
    let source: &VirtioEntropy<_> = &source;
    let device: &dyn EntropySource = source;
    let mut next = 0u8;
    let mut buffer = [0u8; 100];
    let (wakes, waker) = Wakes::new();
    let mut fill = Box::pin(device.fill(&mut buffer));
    assert!(poll_with(fill.as_mut(), &waker).is_pending());
    // The device gives 7 bytes at a time.
    for _ in 0..15 {
        give(&model, &mut next, 7);
        interrupt(&model, source);
        let _ready = poll_with(fill.as_mut(), &waker);
        if next >= 100 {
            break;
        }
    }
    drop(fill);
    assert!(wakes.count() > 0);
    let expected: Vec<u8> = (0..100).collect();
    assert_eq!(buffer[..], expected[..]);
}

#[test]
fn an_entropy_device_that_lies_does_no_harm() {
    let (model, source) = entropy();
    let mut random = SeededRandom::new(11);
    let mut buffer = [0; 300];
    for _ in 0..iterations(5000) {
        match random.below(5) {
            0 => {
                if let Some(chain) = model.next_chain(0) {
                    model.complete(0, chain.head, random.next_u64() as u32);
                }
            }
            1 if random.below(3) == 0 => model.complete(0, random.below(9) as u32, 4),
            2 => source.handle_interrupt(),
            _ => assert!(source.try_take(&mut buffer) <= 300),
        }
    }
}

#[test]
fn a_stingy_source_still_fills() {
    let (model, source) = entropy();
    let mut next = 0;
    give(&model, &mut next, 200);
    source.handle_interrupt();
    let faults = EntropyFaults { seed: 1, short_per_million: 500_000, nothing_per_million: 300_000 };
    let faulty = FaultyEntropy::new(source, faults);
    let device: &dyn EntropySource = &faulty;
    let mut buffer = [0; 50];
    let mut fill = Box::pin(device.fill(&mut buffer));
    let (_wakes, waker) = Wakes::new();
    assert!((0..1000).any(|_| poll_with(fill.as_mut(), &waker).is_ready()));
    drop(fill);
    let expected: Vec<u8> = (0..50).collect();
    assert_eq!(buffer[..], expected[..]);
}
