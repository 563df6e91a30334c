//! Whether a socket may have a port that others have.

use super::{Claim, Key, Shard, State};
use crate::address::{Address, Name, Scope};

/// What the holder of a port is doing, as far as that matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Idle,
    Listening,
    Ended,
}

fn is_conflict(claim: &Claim, other: &Claim, holder: Holder, is_choice: bool) -> bool {
    if !claim.scope.overlaps(other.scope) {
        return false;
    }
    let shares_address = claim.reuse_address && other.reuse_address && holder != Holder::Listening;
    let shares_port =
        claim.reuse_port && other.reuse_port && (holder == Holder::Ended || claim.user == other.user);
    // A port that is chosen is one that nobody has, even where it could be shared.
    (!shares_address && !shares_port) || (is_choice && shares_address)
}

impl<T> Shard<T> {
    /// Whether somebody but `own` has the port in a way that excludes the claim.
    pub(super) fn has_conflict(&self, port: u16, claim: &Claim, own: *const T, is_choice: bool) -> bool {
        let with_bound = self.bound(port).any(|bound| {
            let holder = if bound.is_listening { Holder::Listening } else { Holder::Idle };
            bound.endpoint.as_ptr() != own && is_conflict(claim, &bound.claim, holder, is_choice)
        });
        let first = Key { port, remote_port: 0, remote: Address::default(), local: Address::default() };
        with_bound
            || self.connections.range(first..).take_while(|(key, _)| key.port == port).any(
                |(key, connection)| {
                    let holder = match &connection.state {
                        State::Live(endpoint) if endpoint.as_ptr() == own => return false,
                        State::Live(_) => Holder::Idle,
                        State::Ended { .. } => Holder::Ended,
                    };
                    let scope = Scope { address: Name::new(key.local, port).address, only_v6: true };
                    is_conflict(claim, &Claim { scope, ..connection.claim }, holder, is_choice)
                },
            )
    }
}
