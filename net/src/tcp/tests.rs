use std::vec::Vec;

use super::*;
use crate::Blocked;
use crate::address::Address;
use crate::bytes::Bytes;
use crate::test_support::Memory;

fn loopback(port: u16) -> Name {
    Name::new(Address::LOOPBACK_V4, port)
}

fn listener(backlog: usize) -> (Arc<Endpoint>, Name) {
    let listener = Endpoint::new(false);
    listener.bind(loopback(0), 0).unwrap();
    listener.listen(backlog, 0).unwrap();
    let name = listener.local_name();
    (listener, name)
}

fn accept(listener: &Arc<Endpoint>) -> Arc<Endpoint> {
    listener.accept::<Errno>().ok().expect("somebody has connected")
}

/// Two ends of a connection, and the listener between them.
fn connected() -> (Arc<Endpoint>, Arc<Endpoint>, Arc<Endpoint>) {
    let (listener, name) = listener(5);
    let client = Endpoint::new(false);
    assert_eq!(client.connect(name, 0), Ok(Progress::Connected));
    let server = accept(&listener);
    (client, server, listener)
}

fn send(endpoint: &Arc<Endpoint>, bytes: &[u8]) -> Result<usize, Option<Errno>> {
    let mut source = Memory::of(bytes);
    match endpoint.send(&mut source) {
        Ok(sent) => Ok(sent),
        Err(Blocked::NotReady(_)) if source.done() > 0 => Ok(source.done()),
        Err(Blocked::Error(errno)) => Err(Some(errno)),
        Err(_) => Err(None),
    }
}

fn receive(endpoint: &Arc<Endpoint>, room: usize) -> Result<Vec<u8>, Option<Errno>> {
    let mut sink = Memory::room(room);
    match endpoint.receive(&mut sink, Transfer::default()) {
        Ok(_) => Ok(sink.moved().to_vec()),
        Err(Blocked::Error(errno)) => Err(Some(errno)),
        Err(_) => Err(None),
    }
}

#[test]
fn bytes_go_both_ways_and_names_are_each_others() {
    let (client, server, _listener) = connected();
    assert_eq!(client.peer_name(), Ok(server.local_name()));
    assert_eq!(server.peer_name(), Ok(client.local_name()));
    assert_eq!(receive(&server, 10), Err(None));
    assert!(!server.ready().intersects(READABLE));
    assert_eq!(send(&client, b"request"), Ok(7));
    assert_eq!(server.received_bytes(), 7);
    assert!(server.ready().contains(READABLE | WRITABLE));
    assert_eq!(receive(&server, 10).unwrap(), b"request");
    assert_eq!(send(&server, b"answer"), Ok(6));
    assert_eq!(receive(&client, 3).unwrap(), b"ans");
    assert_eq!(receive(&client, 10).unwrap(), b"wer");
    assert_eq!(client.information().sent, 7);
    assert_eq!(client.information().received, 6);
}

#[test]
fn who_sends_too_much_waits_for_room() {
    let (client, server, _listener) = connected();
    client.set_send_limit(8192);
    server.set_receive_limit(4096);
    let bytes = std::vec![1; 100_000];
    assert_eq!(send(&client, &bytes), Ok(12288));
    assert_eq!(send(&client, &bytes), Err(None));
    assert_eq!((server.received_bytes(), client.unsent_bytes()), (4096, 8192));
    assert!(!client.ready().intersects(WRITABLE));
    assert_eq!(receive(&server, 1000).unwrap().len(), 1000);
    assert!(!client.ready().intersects(WRITABLE));
    assert_eq!(receive(&server, 8000).unwrap().len(), 8000);
    assert!(client.ready().contains(WRITABLE));
    assert!(!client.condition().contains(Condition::WANTS_ROOM));
}

#[test]
fn a_direction_that_ends_leaves_the_other_open() {
    let (client, server, _listener) = connected();
    send(&client, b"last").unwrap();
    client.shut_down(false, true).unwrap();
    assert_eq!(send(&client, b"x"), Err(Some(Errno::EPIPE)));
    assert_eq!((client.state(), server.state()), (State::FinWait2, State::CloseWait));
    assert!(server.ready().contains(READABLE | PollEvents::RDHUP));
    assert!(!server.ready().intersects(PollEvents::HUP));
    assert_eq!(receive(&server, 10).unwrap(), b"last");
    assert_eq!(receive(&server, 10).unwrap(), b"");
    assert_eq!(send(&server, b"answer"), Ok(6));
    assert_eq!(receive(&client, 10).unwrap(), b"answer");
    server.shut_down(false, true).unwrap();
    assert_eq!((client.state(), server.state()), (State::Closed, State::Closed));
    assert_eq!(receive(&client, 10).unwrap(), b"");
    assert!(server.ready().contains(PollEvents::HUP) && client.ready().contains(PollEvents::HUP));
    assert_eq!(client.peer_name(), Err(Errno::ENOTCONN));
    assert_eq!(client.shut_down(true, true), Err(Errno::ENOTCONN));
}

#[test]
fn the_end_that_closes_first_leaves_its_names_taken() {
    let (client, server, listener) = connected();
    let (local, remote) = (client.local_name(), server.local_name());
    client.close();
    server.close();
    let other = Endpoint::new(false);
    assert_eq!(other.bind(local, 0), Err(Errno::EADDRINUSE));
    listener.close();
    assert_eq!(other.bind(remote, 0), Ok(()));
    other.close();
}

#[test]
fn bytes_nobody_read_make_a_reset() {
    let (client, server, _listener) = connected();
    send(&client, b"unread").unwrap();
    send(&server, b"before").unwrap();
    server.close();
    assert!(client.ready().contains(PollEvents::ERR | PollEvents::HUP | READABLE));
    assert_eq!(receive(&client, 10).unwrap(), b"before");
    assert_eq!(receive(&client, 10), Err(Some(Errno::ECONNRESET)));
    assert_eq!(receive(&client, 10).unwrap(), b"");
    assert_eq!(send(&client, b"x"), Err(Some(Errno::EPIPE)));
}

#[test]
fn to_send_to_a_closed_end_is_answered_by_a_reset() {
    let (client, server, _listener) = connected();
    server.close();
    assert_eq!(receive(&client, 10).unwrap(), b"");
    assert_eq!(send(&client, b"x"), Ok(1));
    assert!(client.ready().contains(PollEvents::ERR | PollEvents::HUP));
    assert_eq!(send(&client, b"x"), Err(Some(Errno::EPIPE)));
    assert_eq!(receive(&client, 10).unwrap(), b"");
}

#[test]
fn linger_zero_resets_and_frees_the_names() {
    let (client, server, _listener) = connected();
    let local = client.local_name();
    client.change_options(|options| options.linger = Some(0));
    client.close();
    assert_eq!(receive(&server, 1), Err(Some(Errno::ECONNRESET)));
    let other = Endpoint::new(false);
    assert_eq!(other.bind(local, 0), Ok(()));
    other.close();
}

#[test]
fn a_full_backlog_makes_others_wait() {
    let (listener, name) = listener(0);
    let clients: Vec<_> = (0..3).map(|_| Endpoint::new(false)).collect();
    let progress: Vec<_> = clients.iter().map(|client| client.connect(name, 0).unwrap()).collect();
    assert_eq!(progress, [Progress::Connected, Progress::Pending, Progress::Pending]);
    assert_eq!(clients[1].state(), State::SynSent);
    assert_eq!(clients[1].connect(name, 0), Err(Errno::EALREADY));
    clients[1].close();
    accept(&listener);
    assert_eq!(clients[2].connection_outcome(), Some(Ok(())));
    let late = Endpoint::new(false);
    assert_eq!(late.connect(name, 0), Ok(Progress::Pending));
    listener.close();
    assert_eq!(late.connection_outcome(), Some(Err(Errno::ECONNREFUSED)));
    assert_eq!(receive(&clients[2], 1), Err(Some(Errno::ECONNRESET)));
    assert_eq!(late.connect(name, 0), Err(Errno::ECONNREFUSED));
}

#[test]
fn a_deferred_end_is_accepted_when_it_has_received() {
    let (listener, name) = listener(5);
    listener.change_options(|options| options.defer_accept = 1);
    let client = Endpoint::new(false);
    assert_eq!(client.connect(name, 0), Ok(Progress::Connected));
    assert!(!listener.ready().intersects(READABLE));
    send(&client, b"hello").unwrap();
    assert!(listener.ready().contains(READABLE));
    assert_eq!(receive(&accept(&listener), 10).unwrap(), b"hello");
}

#[test]
fn an_endpoint_of_both_versions_takes_both() {
    let listener = Endpoint::new(true);
    listener.bind(Name::new(Address::ANY_V6, 0), 0).unwrap();
    listener.listen(5, 0).unwrap();
    let port = listener.local_name().port;
    for address in [Address::LOOPBACK_V4, Address::LOOPBACK_V6] {
        let client = Endpoint::new(true);
        assert_eq!(client.connect(Name::new(address, port), 0), Ok(Progress::Connected));
        assert_eq!(accept(&listener).local_name().address, address);
    }
    let client = Endpoint::new(false);
    let elsewhere = Name::new(Address::v4([10, 0, 0, 1]), port);
    assert_eq!(client.connect(elsewhere, 0), Err(Errno::ENETUNREACH));
    assert_eq!(client.bind(elsewhere, 0), Err(Errno::EADDRNOTAVAIL));
}

#[test]
fn two_threads_move_a_megabyte() {
    let (client, server, _listener) = connected();
    let frames = kernel_object::frame::host::use_private(2048);
    let sender = std::thread::spawn(move || {
        kernel_object::frame::host::share_private(frames);
        let bytes: Vec<u8> = (0..1_000_000u32).map(|index| (index / 7) as u8).collect();
        let mut source = Memory::of(&bytes);
        while client.send(&mut source).is_err() {
            std::thread::yield_now();
        }
        client.close();
    });
    let mut received = Vec::new();
    loop {
        match receive(&server, 3000) {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => received.extend(bytes),
            Err(None) => std::thread::yield_now(),
            Err(Some(errno)) => panic!("{errno:?}"),
        }
    }
    sender.join().unwrap();
    assert_eq!(received.len(), 1_000_000);
    assert!(received.iter().enumerate().all(|(index, &byte)| byte == (index / 7) as u8));
}
