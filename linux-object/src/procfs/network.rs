//! `/proc/net`: sockets, interfaces and routes, as the programs that look at them parse it.

use alloc::sync::Arc;
use core::fmt::Write;

use net::address::{Address, Name};
use net::ports::{Listed, Remains};
use net::stack::{card, interfaces};
use net::tcp::{Condition, State, state_of_remains};
use net::{tcp, udp};
use rcore_fs::INode;
use rcore_fs::generated::{ContentBuffer, DirectoryNode, FileNode, dynamic_inode_number};

use super::process::Subject;
use super::text::{Produced, Text};
use crate::socket::internet::interface;

type Writer = fn(&mut ContentBuffer) -> Produced;

const FILES: &[(&str, Writer)] = &[
    ("arp", neighbours),
    ("dev", devices),
    ("if_inet6", addresses),
    ("route", routes),
    ("sockstat", statistics),
    ("sockstat6", statistics_v6),
    ("tcp", |output| tcp_sockets(output, false)),
    ("tcp6", |output| tcp_sockets(output, true)),
    ("udp", |output| udp_sockets(output, false)),
    ("udp6", |output| udp_sockets(output, true)),
];

/// The directory, as a process has it: there is one network for all.
pub(super) fn directory(subject: &Subject, inode: u64) -> Arc<dyn INode> {
    let directory = DirectoryNode::new(subject.attributes(inode, 0o555));
    for (index, &(name, writer)) in FILES.iter().enumerate() {
        let attributes = subject.attributes(dynamic_inode_number(inode, index as u64), 0o444);
        // Names differ, so each has its place.
        let _ = directory.add(name, FileNode::new(attributes, Text(writer)));
    }
    directory
}

/// How a name looks: words of the address as a little-endian machine reads them.
fn write_name(output: &mut ContentBuffer, is_v6: bool, name: Name) -> Produced {
    if is_v6 {
        let octets = name.address.octets();
        for word in octets.as_chunks::<4>().0 {
            write!(output, "{:08X}", u32::from_le_bytes(*word))?;
        }
    } else {
        write!(output, "{:08X}", u32::from_le_bytes(name.address.v4_octets()))?;
    }
    Ok(write!(output, ":{:04X}", name.port)?)
}

/// What a line of a table begins with.
struct Line {
    number: usize,
    width: usize,
    is_v6: bool,
    local: Name,
    remote: Name,
    state: u32,
    sending: usize,
    receiving: usize,
    /// Which timer runs, and how long.
    timer: (u32, u64),
    user: u32,
    inode: u64,
}

impl Line {
    fn write(&self, output: &mut ContentBuffer) -> Produced {
        write!(output, "{:width$}: ", self.number, width = self.width)?;
        write_name(output, self.is_v6, self.local)?;
        write!(output, " ")?;
        write_name(output, self.is_v6, self.remote)?;
        write!(
            output,
            " {:02X} {:08X}:{:08X} {:02X}:{:08X} 00000000 {:5} {:8} {}",
            self.state, self.sending, self.receiving, self.timer.0, self.timer.1, self.user, 0, self.inode
        )?;
        Ok(())
    }
}

const TIME_WAIT_TIMER: u32 = 3;
const CLOCK_TICKS: u128 = 100;
const MILLISECONDS: u128 = 1000;

fn tcp_line(number: usize, listed: &Listed<tcp::Endpoint>, is_v6: bool) -> Line {
    let Listed { local, remote, state, user } = listed;
    let mut line = Line {
        number,
        width: 4,
        is_v6,
        local: *local,
        remote: *remote,
        state: State::TimeWait as u32,
        sending: 0,
        receiving: 0,
        timer: (0, 0),
        user: *user,
        inode: 0,
    };
    match state {
        Ok(endpoint) => {
            let state = endpoint.state();
            line.state = state as u32;
            line.inode = endpoint.tag();
            line.sending = endpoint.unsent_bytes();
            line.receiving = match endpoint.backlog() {
                Some((waiting, _)) => waiting,
                None => endpoint.received_bytes(),
            };
        }
        Err((remains, left)) => {
            line.state = state_of_remains(*remains) as u32;
            line.user = 0;
            line.timer = (TIME_WAIT_TIMER, (left.as_millis() * CLOCK_TICKS / MILLISECONDS) as u64);
        }
    }
    line
}

fn belongs<T>(listed: &Listed<T>, is_v6: bool, of_endpoint: impl Fn(&T) -> bool) -> bool {
    match &listed.state {
        Ok(endpoint) => of_endpoint(endpoint) == is_v6,
        // Which socket it was is forgotten, its addresses are not.
        Err(_) => listed.local.address.is_v4() != is_v6,
    }
}

fn tcp_sockets(output: &mut ContentBuffer, is_v6: bool) -> Produced {
    let (local, remote) = if is_v6 {
        ("local_address                        ", " remote_address                       ")
    } else {
        ("local_address", "rem_address  ")
    };
    writeln!(
        output,
        "  sl  {local} {remote} st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
    )?;
    let listed = tcp::list();
    let listed = listed.iter().filter(|one| belongs(one, is_v6, tcp::Endpoint::is_v6));
    // What has a port but neither listens nor is connected is no socket of the table.
    let listed =
        listed.filter(|one| !matches!(&one.state, Ok(endpoint) if endpoint.state() == State::Closed));
    for (number, one) in listed.enumerate() {
        tcp_line(number, one, is_v6).write(output)?;
        match &one.state {
            Ok(endpoint) if endpoint.condition().contains(Condition::LISTENING) => {
                writeln!(output, " 1 0000000000000000 100 0 0 10 0")?;
            }
            Ok(_) => writeln!(output, " 1 0000000000000000 20 4 30 10 -1")?,
            Err(_) => writeln!(output, " 3 0000000000000000")?,
        }
    }
    Ok(())
}

fn udp_sockets(output: &mut ContentBuffer, is_v6: bool) -> Produced {
    let (local, remote) = if is_v6 {
        ("local_address                        ", " remote_address                       ")
    } else {
        ("local_address", "rem_address  ")
    };
    writeln!(
        output,
        "   sl  {local} {remote} st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops"
    )?;
    let listed = udp::list();
    let listed = listed.iter().filter(|one| belongs(one, is_v6, udp::Endpoint::is_v6));
    for (number, one) in listed.enumerate() {
        let Ok(endpoint) = &one.state else { continue };
        let remote = endpoint.peer_name().ok();
        let (receiving, lost) = endpoint.queue_state();
        let state = if remote.is_some() { State::Established } else { State::Closed };
        let line = Line {
            number,
            width: 5,
            is_v6,
            local: endpoint.local_name(),
            remote: remote.unwrap_or_default(),
            state: state as u32,
            sending: 0,
            receiving,
            timer: (0, 0),
            user: one.user,
            inode: endpoint.tag(),
        };
        line.write(output)?;
        writeln!(output, " 2 0000000000000000 {lost}")?;
    }
    Ok(())
}

/// What is carried inside the machine without packets is in no counter.
fn devices(output: &mut ContentBuffer) -> Produced {
    writeln!(output, "Inter-|   Receive                                                |  Transmit")?;
    writeln!(
        output,
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed"
    )?;
    for interface in interfaces::all() {
        let [received, received_bytes, sent, sent_bytes, lost] = interface.counters;
        writeln!(
            output,
            "{:>6}: {received_bytes:7} {received:7} {:4} {:4} {:4} {:5} {:10} {:9} {sent_bytes:8} {sent:7} {:4} {lost:4} {:4} {:5} {:7} {:10}",
            interface.name, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        )?;
    }
    Ok(())
}

fn addresses(output: &mut ContentBuffer) -> Produced {
    for interface in interfaces::all() {
        for &(address, bits) in &interface.v6 {
            for octet in address.octets() {
                write!(output, "{octet:02x}")?;
            }
            let scope = match address.octets() {
                _ if address.is_loopback() => 0x10,
                [0xfe, second, ..] if second & 0xc0 == 0x80 => 0x20,
                [0xfe, second, ..] if second & 0xc0 == 0xc0 => 0x40,
                _ => 0,
            };
            writeln!(output, " {:02x} {bits:02x} {scope:02x} 80 {:>8}", interface.index, interface.name)?;
        }
    }
    Ok(())
}

fn routes(output: &mut ContentBuffer) -> Produced {
    // The way to the machine itself is none of the table's.
    writeln!(output, "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT")?;
    for route in interfaces::routes() {
        let (network, bits) = route.destination;
        if !network.is_v4() {
            continue;
        }
        let word = |octets: [u8; 4]| u32::from_le_bytes(octets);
        let gateway = word(route.gateway.unwrap_or(Address::ANY_V4).v4_octets());
        // `RTF_UP`, `RTF_GATEWAY`.
        let flags = 1 | u32::from(route.gateway.is_some()) << 1;
        writeln!(
            output,
            "{}\t{:08X}\t{gateway:08X}\t{flags:04X}\t0\t0\t0\t{:08X}\t0\t0\t0",
            route.interface,
            word(network.v4_octets()),
            word(interface::mask(bits))
        )?;
    }
    Ok(())
}

/// Who is known by Ethernet addresses, of IPv4.
fn neighbours(output: &mut ContentBuffer) -> Produced {
    writeln!(output, "IP address       HW type     Flags       HW address            Mask     Device")?;
    for card in card::all() {
        for (address, hardware) in card.neighbours() {
            if !address.is_v4() {
                continue;
            }
            let flags = if hardware.is_some() { 2 } else { 0 };
            let [a, b, c, d, e, f] = hardware.unwrap_or_default();
            let address = alloc::format!("{address:?}");
            writeln!(
                output,
                "{address:<16} 0x1         0x{flags:x}         {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}     *        {}",
                card.name
            )?;
        }
    }
    Ok(())
}

/// Sockets of TCP in use and without a program, and of UDP, of one version.
fn counts(is_v6: bool) -> (usize, usize, usize) {
    let tcp = tcp::list();
    let tcp = tcp.iter().filter(|one| belongs(one, is_v6, tcp::Endpoint::is_v6));
    let (mut in_use, mut orphans) = (0, 0);
    for one in tcp {
        match &one.state {
            Ok(_) => in_use += 1,
            Err((Remains::FinWait, _)) => orphans += 1,
            Err((Remains::TimeWait, _)) => {}
        }
    }
    let udp = udp::list();
    (in_use, orphans, udp.iter().filter(|one| belongs(one, is_v6, udp::Endpoint::is_v6)).count())
}

fn statistics(output: &mut ContentBuffer) -> Produced {
    let (tcp, orphans, udp) = counts(false);
    let (tcp_v6, _, udp_v6) = counts(true);
    writeln!(output, "sockets: used {}", tcp + tcp_v6 + udp + udp_v6)?;
    writeln!(
        output,
        "TCP: inuse {tcp} orphan {orphans} tw {} alloc {} mem 0",
        tcp::PORTS.ended() - orphans.min(tcp::PORTS.ended()),
        tcp + tcp_v6
    )?;
    writeln!(output, "UDP: inuse {udp} mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0")?;
    Ok(())
}

fn statistics_v6(output: &mut ContentBuffer) -> Produced {
    let (tcp, _, udp) = counts(true);
    writeln!(output, "TCP6: inuse {tcp}\nUDP6: inuse {udp}")?;
    writeln!(output, "UDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0")?;
    Ok(())
}
