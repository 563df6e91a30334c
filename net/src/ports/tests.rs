use super::*;

fn claim(address: Address, reuse_address: bool, reuse_port: bool) -> Claim {
    Claim { scope: Scope { address, only_v6: false }, reuse_address, reuse_port, user: 0 }
}

fn name(port: u16) -> Name {
    Name::new(Address::LOOPBACK_V4, port)
}

#[test]
fn a_port_is_had_by_one_unless_all_let_it_be_shared() {
    let ports = Ports::<u8>::new();
    let (one, two, three) = (Arc::new(1), Arc::new(2), Arc::new(3));
    let (own, shared) = (claim(Address::ANY_V4, false, false), claim(Address::ANY_V4, true, false));
    assert_eq!(ports.bind(80, own, &one), Ok(80));
    assert_eq!(ports.bind(80, shared, &two), Err(Errno::EADDRINUSE));
    ports.unbind(80, &one);
    assert_eq!(ports.bind(80, shared, &one), Ok(80));
    assert_eq!(ports.bind(80, shared, &two), Ok(80));
    assert_eq!(ports.bind(80, own, &three), Err(Errno::EADDRINUSE));
    assert_eq!(ports.set_listening(80, &one, true), Ok(()));
    assert_eq!(ports.set_listening(80, &two, true), Err(Errno::EADDRINUSE));
    assert_eq!(ports.bind(80, shared, &three), Err(Errno::EADDRINUSE));
    let grouped = claim(Address::ANY_V4, false, true);
    assert_eq!(ports.bind(81, grouped, &one), Ok(81));
    assert_eq!(ports.bind(81, grouped, &two), Ok(81));
    assert_eq!(ports.set_listening(81, &one, true), Ok(()));
    assert_eq!(ports.set_listening(81, &two, true), Ok(()));
    let chosen: Vec<u8> = (0..4).map(|pick| *ports.find(name(81), pick, |_| true).unwrap()).collect();
    assert!(chosen.contains(&1) && chosen.contains(&2));
}

#[test]
fn the_narrowest_listener_is_found() {
    let ports = Ports::<u8>::new();
    let (any, own) = (Arc::new(1), Arc::new(2));
    ports.bind(80, claim(Address::ANY_V6, true, false), &any).unwrap();
    ports.bind(80, claim(Address::LOOPBACK_V4, true, false), &own).unwrap();
    assert_eq!(ports.find(name(80), 0, |_| true).as_deref(), Some(&2));
    assert_eq!(ports.find(name(80), 0, |endpoint| *endpoint != 2).as_deref(), Some(&1));
    let other = Name::new(Address::LOOPBACK_V6, 80);
    assert_eq!(ports.find(other, 0, |_| true).as_deref(), Some(&1));
    assert!(ports.find(name(81), 0, |_| true).is_none());
}

#[test]
fn names_of_an_ended_connection_stay_taken() {
    let ports = Ports::<u8>::new();
    let endpoint = Arc::new(1);
    let own = claim(Address::ANY_V4, false, false);
    let port = ports.connect_from_any(Address::LOOPBACK_V4, name(80), own, &endpoint).unwrap();
    assert_eq!(ports.connect(name(port), name(80), own, &endpoint, false), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(ports.connect(name(port), name(81), own, &endpoint, false), Ok(()));
    ports.disconnect(name(port), name(81), None);
    ports.disconnect(name(port), name(80), Some(Remains::TimeWait));
    assert_eq!(ports.ended(), 1);
    assert_eq!(ports.connect(name(port), name(80), own, &endpoint, false), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(ports.bind(port, own, &endpoint), Err(Errno::EADDRINUSE));
    assert_eq!(ports.connect(name(port), name(80), own, &endpoint, true), Ok(()));
    assert_eq!(ports.ended(), 0);
    assert_eq!(ports.list(|_| false).len(), 1);
}
