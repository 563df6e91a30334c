//! Which ports are taken, by whom, and which connections there are.
//!
//! The table is cut into shards by the local port, so that two operations meet only if their ports do. A shard knows
//! sockets that were *bound* (with the rules of `SO_REUSEADDR` and `SO_REUSEPORT`), and *connections* by both names,
//! which hold their ports too, also after they have ended, while late packets could be taken for those of a new one.

mod choice;
mod conflict;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use kernel_hal::Instant;
use ksync::{Rank, SpinLock};
use linux_abi::Errno;

use crate::address::{Address, Name, Scope};

/// How long names stay taken after a connection has ended.
pub const TIME_WAIT: Duration = Duration::from_secs(60);
/// After so long a connection between this machine's own addresses may take them over.
const REUSE_AFTER: Duration = Duration::from_secs(1);
/// So many ended connections are remembered (`net.ipv4.tcp_max_tw_buckets`).
pub const MOST_TIME_WAIT: usize = 16384;
const SHARDS: usize = 64;

/// What a socket asks for, and what it lets others have.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Where it listens.
    pub scope: Scope,
    /// `SO_REUSEADDR`.
    pub reuse_address: bool,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// Whose it is.
    pub user: u32,
}

/// A socket that was bound.
struct Bound<T> {
    claim: Claim,
    is_listening: bool,
    endpoint: Weak<T>,
}

/// Both names of a connection, in the order in which they are looked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    port: u16,
    remote_port: u16,
    remote: Address,
    local: Address,
}

impl Key {
    fn new(local: Name, remote: Name) -> Self {
        Self { port: local.port, remote_port: remote.port, remote: remote.address, local: local.address }
    }
}

/// What became of a connection whose endpoint is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remains {
    /// Its program has closed it; the other end may still send.
    FinWait,
    /// Both directions have ended.
    TimeWait,
}

enum State<T> {
    Live(Weak<T>),
    Ended { remains: Remains, since: Instant, answer: Option<(u32, u32)> },
}

/// Whose a segment is.
pub enum Owner<T> {
    /// A connection's.
    Live(Arc<T>),
    /// That of a connection that ended a while ago; what answers late segments: its number, and what it wants.
    Ended(u32, u32),
}

struct Connection<T> {
    claim: Claim,
    state: State<T>,
}

/// A connection as listings show it.
pub struct Listed<T> {
    /// The name at this end.
    pub local: Name,
    /// The name at the other end; no port if there is none.
    pub remote: Name,
    /// The endpoint, or what is left of it and for how long.
    pub state: Result<Arc<T>, (Remains, Duration)>,
    /// Whose it is.
    pub user: u32,
}

struct Shard<T> {
    bound: BTreeMap<u16, Vec<Bound<T>>>,
    connections: BTreeMap<Key, Connection<T>>,
    /// Ended connections in the order in which they are forgotten.
    ended: VecDeque<(Instant, Key)>,
}

/// The ports of one protocol.
pub struct Ports<T> {
    shards: [SpinLock<Shard<T>>; SHARDS],
    ended: AtomicUsize,
}

impl<T> Ports<T> {
    /// All ports are free.
    pub const fn new() -> Self {
        Self {
            shards: [const {
                let shard =
                    Shard { bound: BTreeMap::new(), connections: BTreeMap::new(), ended: VecDeque::new() };
                SpinLock::new(Rank::PORTS, shard)
            }; SHARDS],
            ended: AtomicUsize::new(0),
        }
    }

    fn shard(&self, port: u16) -> &SpinLock<Shard<T>> {
        &self.shards[usize::from(port) % SHARDS]
    }

    /// Takes a port for a socket; returns which, if it asks for any (0).
    pub fn bind(&self, port: u16, claim: Claim, endpoint: &Arc<T>) -> Result<u16, Errno> {
        if port != 0 {
            return self.try_bind(port, claim, endpoint, false).map(|()| port);
        }
        choice::candidates(true)
            .find(|&port| self.try_bind(port, claim, endpoint, true).is_ok())
            .ok_or(Errno::EADDRINUSE)
    }

    fn try_bind(&self, port: u16, claim: Claim, endpoint: &Arc<T>, is_choice: bool) -> Result<(), Errno> {
        let mut shard = self.shard(port).lock();
        self.forget_ended(&mut shard);
        if shard.has_conflict(port, &claim, Weak::new().as_ptr(), is_choice) {
            return Err(Errno::EADDRINUSE);
        }
        let bound = Bound { claim, is_listening: false, endpoint: Arc::downgrade(endpoint) };
        shard.bound.entry(port).or_default().push(bound);
        Ok(())
    }

    /// A bound socket begins to listen, or stops: `EADDRINUSE` if another listens where it would.
    pub fn set_listening(&self, port: u16, endpoint: &Arc<T>, is_listening: bool) -> Result<(), Errno> {
        let mut shard = self.shard(port).lock();
        let own = Arc::as_ptr(endpoint);
        let claim = shard.bound(port).find(|bound| bound.endpoint.as_ptr() == own).map(|bound| bound.claim);
        let claim = claim.ok_or(Errno::EINVAL)?;
        if is_listening && shard.has_conflict(port, &claim, own, false) {
            return Err(Errno::EADDRINUSE);
        }
        if let Some(list) = shard.bound.get_mut(&port)
            && let Some(bound) = list.iter_mut().find(|bound| bound.endpoint.as_ptr() == own)
        {
            bound.is_listening = is_listening;
        }
        Ok(())
    }

    /// A bound socket gives its port back.
    pub fn unbind(&self, port: u16, endpoint: &T) {
        let mut shard = self.shard(port).lock();
        let Some(list) = shard.bound.get_mut(&port) else { return };
        let removed = list
            .iter()
            .position(|bound| core::ptr::eq(bound.endpoint.as_ptr(), endpoint))
            .map(|index| list.remove(index));
        if list.is_empty() {
            shard.bound.remove(&port);
        }
        drop(shard);
        drop(removed);
    }

    /// The socket for which something is that comes to this name: who has this very address is before who takes any;
    /// `pick` chooses among equals (`SO_REUSEPORT`), `accepts` says who comes into question at all.
    pub fn find(&self, to: Name, pick: usize, accepts: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let shard = self.shard(to.port).lock();
        let fits = |bound: &&Bound<T>| bound.claim.scope.contains(to.address);
        let score = |bound: &Bound<T>| match bound.claim.scope.address {
            Address::ANY_V6 => 1,
            Address::ANY_V4 => 2,
            _ => 3,
        };
        let mut best: Option<(u32, usize, Arc<T>)> = None;
        for bound in shard.bound(to.port).filter(fits) {
            let Some(endpoint) = bound.endpoint.upgrade() else { continue };
            if !accepts(&endpoint) {
                continue;
            }
            let score = score(bound);
            best = match best {
                Some((best_score, count, chosen)) if best_score == score && bound.claim.reuse_port => {
                    // The one with this number, counted as they come.
                    let chosen = if pick % (count + 1) == count { endpoint } else { chosen };
                    Some((score, count + 1, chosen))
                }
                Some(better) if better.0 > score => Some(better),
                _ => Some((score, 1, endpoint)),
            };
        }
        drop(shard);
        best.map(|(_, _, endpoint)| endpoint)
    }

    /// Enters a connection under its names: `EADDRNOTAVAIL` if there is one with the same. A listener's side takes over
    /// what is left of an ended one at once.
    pub fn connect(
        &self,
        local: Name,
        remote: Name,
        claim: Claim,
        endpoint: &Arc<T>,
        is_accepting: bool,
    ) -> Result<(), Errno> {
        let key = Key::new(local, remote);
        let mut shard = self.shard(local.port).lock();
        self.forget_ended(&mut shard);
        if let Some(connection) = shard.connections.get(&key) {
            match connection.state {
                State::Ended { remains: Remains::TimeWait, since, .. }
                    if is_accepting || Instant::now() >= since + REUSE_AFTER =>
                {
                    self.ended.fetch_sub(1, Ordering::Relaxed);
                }
                _ => return Err(Errno::EADDRNOTAVAIL),
            }
        }
        shard.connections.insert(key, Connection { claim, state: State::Live(Arc::downgrade(endpoint)) });
        Ok(())
    }

    /// The same with a port that is chosen; returns the port.
    pub fn connect_from_any(
        &self,
        local: Address,
        remote: Name,
        claim: Claim,
        endpoint: &Arc<T>,
    ) -> Result<u16, Errno> {
        choice::candidates(false)
            .find(|&port| {
                // A port that somebody asked for is his.
                let is_free = self.shard(port).lock().bound(port).next().is_none();
                is_free && self.connect(Name::new(local, port), remote, claim, endpoint, false).is_ok()
            })
            .ok_or(Errno::EADDRNOTAVAIL)
    }

    /// The connection with these names, or what is left of it.
    pub fn owner(&self, local: Name, remote: Name) -> Option<Owner<T>> {
        let shard = self.shard(local.port).lock();
        match &shard.connections.get(&Key::new(local, remote))?.state {
            State::Live(endpoint) => endpoint.upgrade().map(Owner::Live),
            State::Ended { answer, .. } => answer.map(|(own, wanted)| Owner::Ended(own, wanted)),
        }
    }

    /// A connection is over: its names are free again, or remain taken for a while.
    pub fn disconnect(&self, local: Name, remote: Name, remains: Option<Remains>) {
        self.end(local, remote, remains, None);
    }

    /// The same, with what late segments are to be answered with.
    pub fn end(&self, local: Name, remote: Name, remains: Option<Remains>, answer: Option<(u32, u32)>) {
        let key = Key::new(local, remote);
        let mut shard = self.shard(local.port).lock();
        let Some(connection) = shard.connections.get_mut(&key) else { return };
        let was_ended = matches!(connection.state, State::Ended { .. });
        let Some(remains) = remains else {
            shard.connections.remove(&key);
            if was_ended {
                self.ended.fetch_sub(1, Ordering::Relaxed);
            }
            return;
        };
        if !was_ended && self.ended.fetch_add(1, Ordering::Relaxed) >= MOST_TIME_WAIT {
            self.ended.fetch_sub(1, Ordering::Relaxed);
            shard.connections.remove(&key);
            return;
        }
        let since = Instant::now();
        connection.state = State::Ended { remains, since, answer };
        shard.ended.push_back((since, key));
        self.forget_ended(&mut shard);
    }

    /// Forgets connections that ended long ago.
    fn forget_ended(&self, shard: &mut Shard<T>) {
        let Some(&(first, _)) = shard.ended.front() else { return };
        let now = Instant::now();
        if now < first + TIME_WAIT {
            return;
        }
        while let Some(&(entered, key)) = shard.ended.front()
            && now >= entered + TIME_WAIT
        {
            shard.ended.pop_front();
            let is_same = shard.connections.get(&key).is_some_and(
                |connection| matches!(connection.state, State::Ended { since, .. } if since == entered),
            );
            if is_same {
                shard.connections.remove(&key);
                self.ended.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// How many ended connections are remembered.
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// All sockets that have a port. `is_connected` says which bound ones are among the connections.
    pub fn list(&self, is_connected: impl Fn(&T) -> bool) -> Vec<Listed<T>> {
        let mut listed = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            self.forget_ended(&mut shard);
            for (&port, list) in &shard.bound {
                for bound in list {
                    if let Some(endpoint) =
                        bound.endpoint.upgrade().filter(|endpoint| !is_connected(endpoint))
                    {
                        let local = Name::new(bound.claim.scope.address, port);
                        let user = bound.claim.user;
                        listed.push(Listed { local, remote: Name::default(), state: Ok(endpoint), user });
                    }
                }
            }
            let now = Instant::now();
            for (key, connection) in &shard.connections {
                let state = match &connection.state {
                    State::Live(endpoint) => match endpoint.upgrade() {
                        Some(endpoint) => Ok(endpoint),
                        None => continue,
                    },
                    State::Ended { remains, since, .. } => Err((*remains, (*since + TIME_WAIT).since(now))),
                };
                listed.push(Listed {
                    local: Name::new(key.local, key.port),
                    remote: Name::new(key.remote, key.remote_port),
                    state,
                    user: connection.claim.user,
                });
            }
        }
        listed
    }
}

impl<T> Shard<T> {
    fn bound(&self, port: u16) -> impl Iterator<Item = &Bound<T>> {
        self.bound.get(&port).into_iter().flatten()
    }
}

impl<T> Default for Ports<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
