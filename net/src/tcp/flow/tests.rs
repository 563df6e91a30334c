//! Two flows and a wire between them that loses, repeats, exchanges and damages.

use std::vec;
use std::vec::Vec;

use super::*;

#[derive(Default)]
struct Wire {
    segments: Vec<(Header, Vec<u8>)>,
}

impl Outbox for Wire {
    fn send(&mut self, header: &Header, bytes: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let mut payload = vec![0; bytes];
        fill(&mut payload);
        self.segments.push((*header, payload));
    }
}

/// What a wire does, in a thousand segments.
#[derive(Clone, Copy, Default)]
struct Faults {
    lost: u64,
    repeated: u64,
    delayed: u64,
}

struct Side {
    flow: Flow,
    wire: Wire,
    events: Events,
    received: Vec<u8>,
}

struct World {
    now: Instant,
    random: u64,
    faults: Faults,
    sides: [Side; 2],
    /// When what arrives where.
    in_flight: Vec<(Instant, usize, Header, Vec<u8>)>,
    sent: usize,
}

const DELAY: Duration = Duration::from_micros(100);

fn setup(initial: u32) -> Setup {
    Setup { initial, segment_bytes: 1460, receive_limit: 131_072 }
}

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let mut client = Wire::default();
        let flow = Flow::connect(setup(u32::MAX - 5000), now, &mut client);
        let asked = client.segments[0].0;
        let mut server = Wire::default();
        let answering = Flow::accept(setup(77), &asked, now, &mut server);
        client.segments.clear();
        let side = |flow, wire| Side { flow, wire, events: Events::empty(), received: Vec::new() };
        Self {
            now,
            random: seed | 1,
            faults,
            sides: [side(flow, client), side(answering, server)],
            in_flight: Vec::new(),
            sent: 0,
        }
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 1000 < per_mille
    }

    fn carry(&mut self) {
        for from in 0..2 {
            for (header, bytes) in std::mem::take(&mut self.sides[from].wire.segments) {
                self.sent += 1;
                let copies = 1 + usize::from(self.chance(self.faults.repeated));
                for _ in 0..copies {
                    if self.chance(self.faults.lost) {
                        continue;
                    }
                    let late = if self.chance(self.faults.delayed) { DELAY * 5 } else { DELAY };
                    self.in_flight.push((self.now + late, 1 - from, header, bytes.clone()));
                }
            }
        }
    }

    /// One step: what arrives next, or the next timer. False if nothing will happen any more.
    fn step(&mut self) -> bool {
        self.carry();
        let arrival = self.in_flight.iter().enumerate().min_by_key(|(index, entry)| (entry.0, *index));
        let arrival = arrival.map(|(index, entry)| (entry.0, index));
        let timer = (0..2).filter_map(|side| Some((self.sides[side].flow.deadline()?, side))).min();
        match (arrival, timer) {
            (Some((at, index)), timer) if timer.is_none_or(|timer| at <= timer.0) => {
                self.now = self.now.max(at);
                let (_, to, header, bytes) = self.in_flight.remove(index);
                let side = &mut self.sides[to];
                side.events |= side.flow.handle(&header, &bytes, self.now, &mut side.wire);
            }
            (_, Some((at, side))) => {
                self.now = self.now.max(at);
                let side = &mut self.sides[side];
                side.events |= side.flow.expire(self.now, &mut side.wire);
            }
            _ => return false,
        }
        true
    }

    fn read(&mut self, side: usize) {
        let now = self.now;
        let side = &mut self.sides[side];
        while let Some(piece) = side.flow.take_arrived() {
            side.flow.note_read(piece.len(), now, &mut side.wire);
            side.received.extend(piece);
        }
    }

    fn write(&mut self, side: usize, bytes: &[u8]) {
        let now = self.now;
        let side = &mut self.sides[side];
        side.flow.push(bytes.to_vec()).unwrap();
        side.flow.transmit(now, &mut side.wire);
    }

    fn end(&mut self, side: usize) {
        let now = self.now;
        let side = &mut self.sides[side];
        side.flow.end();
        side.flow.transmit(now, &mut side.wire);
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            if self.in_flight.is_empty() && self.sides.iter().all(|side| side.wire.segments.is_empty()) {
                return;
            }
            self.step();
        }
        panic!("it does not come to rest");
    }
}

fn transfer(seed: u64, faults: Faults, total: usize) -> World {
    let mut world = World::new(seed, faults);
    let text: Vec<u8> = (0..total).map(|index| (index * 7 + index / 251) as u8).collect();
    let mut written = [0; 2];
    let mut ended = [false; 2];
    let mut steps = 0;
    while world.sides.iter().any(|side| !side.events.contains(Events::OVER)) {
        for side in 0..2 {
            world.read(side);
            while written[side] < total && world.sides[side].flow.outgoing_bytes() < 60_000 {
                let end = total.min(written[side] + 5000);
                world.write(side, &text[written[side]..end]);
                written[side] = end;
            }
            if written[side] == total && !ended[side] {
                ended[side] = true;
                world.end(side);
            }
        }
        assert!(world.step(), "nothing happens any more");
        steps += 1;
        assert!(steps < 2_000_000, "it does not end");
        assert!(!world.sides.iter().any(|side| side.events.intersects(Events::RESET | Events::TIMED_OUT)));
    }
    for side in 0..2 {
        world.read(side);
        assert!(world.sides[side].received == text, "seed {seed}: what arrived differs");
        assert!(
            world.sides[side].events.contains(Events::CONNECTED | Events::PEER_ENDED | Events::END_CONFIRMED)
        );
    }
    world
}

#[test]
fn a_good_wire_carries_both_ways_without_repetition() {
    let world = transfer(1, Faults::default(), 500_000);
    assert_eq!(world.sides[0].flow.retransmitted + world.sides[1].flow.retransmitted, 0);
    assert!(world.sent < 2 * 500_000 / 1460 * 2, "{} segments", world.sent);
}

#[test]
fn a_bad_wire_loses_nothing_in_the_end() {
    for seed in 1..60 {
        let faults = Faults { lost: 50, repeated: 30, delayed: 50 };
        transfer(seed * 0x9e37_79b9, faults, 120_000);
    }
    for seed in 1..20 {
        transfer(seed * 77, Faults { lost: 250, repeated: 100, delayed: 200 }, 20_000);
    }
}

#[test]
fn loss_is_repaired_without_waiting_for_the_long_timer() {
    let world = transfer(42, Faults { lost: 50, ..Faults::default() }, 2_000_000);
    let seconds = world.now.nanos_since(Instant::from_nanos(1_000_000_000)) as f64 / 1e9;
    assert!(seconds < 30.0, "{seconds} s");
}

#[test]
fn who_reads_nothing_stops_the_sender_and_starts_him_again() {
    let mut world = World::new(3, Faults::default());
    world.settle();
    world.write(0, &vec![5; 400_000]);
    for _ in 0..3000 {
        world.step();
    }
    let unread = world.sides[1].flow.unread;
    assert!((100_000..=131_072).contains(&unread), "{unread}");
    let left = world.sides[0].flow.outgoing_bytes();
    assert_eq!(left, 400_000 - unread);
    for _ in 0..10_000 {
        world.read(1);
        if world.sides[1].received.len() == 400_000 {
            return;
        }
        world.step();
    }
    panic!("only {} arrived", world.sides[1].received.len());
}

#[test]
fn small_writes_wait_for_each_other_unless_they_need_not() {
    let mut world = World::new(3, Faults::default());
    world.settle();
    let before = world.sent;
    for _ in 0..10 {
        world.write(0, b"ab");
    }
    world.carry();
    assert_eq!(world.sent - before, 1);
    for _ in 0..20 {
        world.step();
    }
    world.read(1);
    assert_eq!(world.sides[1].received.len(), 20);
    world.sides[0].flow.sends_at_once = true;
    let before = world.sent;
    for _ in 0..10 {
        world.write(0, b"ab");
    }
    world.carry();
    assert_eq!(world.sent - before, 10);
}

#[test]
fn a_cork_holds_back_and_gives_way() {
    let mut world = World::new(3, Faults::default());
    world.settle();
    world.sides[0].flow.cork(true, world.now);
    let before = world.sent;
    world.write(0, &[1; 2000]);
    world.carry();
    assert_eq!(world.sent - before, 1);
    let now = world.now;
    while world.sides[1].received.len() < 2000 {
        assert!(world.step());
        world.read(1);
    }
    assert!(Duration::from_nanos(world.now.nanos_since(now)) >= LONGEST_CORK);
}

#[test]
fn a_reset_ends_both() {
    let mut world = World::new(3, Faults::default());
    world.settle();
    let side = &mut world.sides[0];
    side.flow.reset(&mut side.wire);
    world.settle();
    assert!(world.sides[1].events.contains(Events::RESET | Events::OVER));
    assert_eq!(world.sides[0].flow.deadline(), None);
}

#[test]
fn bytes_for_nobody_are_answered_by_a_reset() {
    let mut world = World::new(3, Faults::default());
    world.settle();
    world.end(0);
    let now = world.now;
    world.sides[0].flow.orphan(now);
    world.settle();
    world.write(1, b"late");
    world.settle();
    assert!(world.sides[1].events.contains(Events::RESET));
}

#[test]
fn nobody_answers() {
    let now = Instant::from_nanos(0);
    let mut wire = Wire::default();
    let mut flow = Flow::connect(setup(9), now, &mut wire);
    let mut events = Events::empty();
    let mut last = now;
    while let Some(deadline) = flow.deadline() {
        last = deadline;
        events |= flow.expire(deadline, &mut wire);
    }
    assert_eq!(events, Events::TIMED_OUT | Events::OVER);
    assert_eq!(wire.segments.len(), 7);
    assert_eq!(last.nanos_since(now), 127_000_000_000);
}

#[test]
fn a_silent_peer_is_asked_and_given_up() {
    let mut world = World::new(3, Faults::default());
    world.settle();
    let keep = KeepAlive { idle: Duration::from_secs(10), interval: Duration::from_secs(1), probes: 3 };
    world.sides[0].flow.set_keep_alive(Some(keep));
    for _ in 0..50 {
        assert!(world.step());
    }
    assert!(!world.sides[0].events.contains(Events::TIMED_OUT));
    world.faults.lost = 1000;
    while !world.sides[0].events.contains(Events::TIMED_OUT) {
        assert!(world.step());
    }
}

#[test]
fn two_that_ask_each_other_are_connected() {
    let now = Instant::from_nanos(5);
    let mut wires = [Wire::default(), Wire::default()];
    let [first, second] = &mut wires;
    let mut flows = [Flow::connect(setup(10), now, first), Flow::connect(setup(9000), now, second)];
    let mut events = [Events::empty(); 2];
    for _ in 0..10 {
        for from in 0..2 {
            for (header, bytes) in std::mem::take(&mut wires[from].segments) {
                let to = 1 - from;
                events[to] |= flows[to].handle(&header, &bytes, now, &mut wires[to]);
            }
        }
    }
    assert_eq!(events, [Events::CONNECTED; 2]);
}

#[test]
fn nonsense_does_no_harm() {
    let mut random = 0x1234_5678_9abc_def1u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for round in 0..20_000 {
        let mut world = World::new(round | 1, Faults::default());
        if next() % 2 == 0 {
            world.settle();
        }
        world.write(0, &[3; 3000]);
        for _ in 0..20 {
            let side = (next() % 2) as usize;
            let flow = &world.sides[side].flow;
            let near = |number: u32, value: u64| {
                if value.is_multiple_of(3) {
                    value as u32
                } else {
                    number.wrapping_add((value % 5000) as u32).wrapping_sub(2500)
                }
            };
            let controls =
                [Control::None, Control::Push, Control::Synchronize, Control::Finish, Control::Reset];
            let header = Header {
                sequence: near(flow.wanted(), next()),
                acknowledgement: (next() % 8 != 0).then(|| near(flow.next, next())),
                window: next() as u16,
                control: controls[(next() % 5) as usize],
                scale: (next() % 2 == 0).then(|| next() as u8),
                segment_bytes: (next() % 2 == 0).then(|| next() as u16),
                takes_ranges: next() % 2 == 0,
                received: [None; 3],
            };
            let bytes = vec![0; (next() % 3000) as usize];
            let now = world.now + Duration::from_millis(next() % 500);
            world.now = now;
            let side = &mut world.sides[side];
            side.flow.handle(&header, &bytes, now, &mut side.wire);
            if next() % 4 == 0 {
                side.flow.expire(now, &mut side.wire);
            }
            if next() % 8 == 0 {
                side.flow.end();
                side.flow.transmit(now, &mut side.wire);
            }
        }
    }
}
