//! How endpoints get names and peers.

use alloc::sync::Arc;

use kernel_hal::Instant;
use linux_abi::Errno;

use super::listen::Admission;
use super::{Condition, Details, Endpoint, Link, PORTS, packets};
use crate::address::{Address, Name, Scope};
use crate::route;

/// A number by which one of several listeners is chosen: ports of one client all have the same parity.
fn pick_by(local: Name) -> usize {
    usize::from(local.port).wrapping_mul(0x9e37) >> 8
}

/// How a wish to be connected stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is a connection.
    Connected,
    /// The listener has no room.
    Pending,
}

impl Endpoint {
    fn any_address(&self) -> Address {
        if self.is_v6 { Address::ANY_V6 } else { Address::ANY_V4 }
    }

    fn scope(&self, details: &Details, address: Address) -> Scope {
        Scope { address, only_v6: self.is_v6 && details.options.only_v6 }
    }

    /// Gives it a name; port 0 is any.
    pub fn bind(self: &Arc<Self>, name: Name, user: u32) -> Result<(), Errno> {
        if !name.address.is_any() && !route::is_own(name.address) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let mut details = self.details.lock();
        if details.local.port != 0 || self.condition().contains(Condition::CONNECTED) {
            return Err(Errno::EINVAL);
        }
        details.user = user;
        let scope = self.scope(&details, name.address);
        let port = PORTS.bind(name.port, Self::claim(&details, scope), self)?;
        details.bound = Some(scope);
        details.local = Name::new(name.address, port);
        Ok(())
    }

    /// Gives it a port if it has none.
    pub(super) fn bind_any(self: &Arc<Self>, user: u32) -> Result<(), Errno> {
        if self.is_bound() { Ok(()) } else { self.bind(Name::new(self.any_address(), 0), user) }
    }

    /// Connects with who listens there.
    pub fn connect(self: &Arc<Self>, to: Name, user: u32) -> Result<Progress, Errno> {
        let condition = self.condition();
        if condition.intersects(Condition::CONNECTED | Condition::LISTENING) {
            return Err(Errno::EISCONN);
        }
        if condition.contains(Condition::CONNECTING) {
            return Err(Errno::EALREADY);
        }
        let (source, address) = route::to(to.address)?;
        let remote = Name::new(address, to.port);
        self.leave(Condition::SENDING_ENDED | Condition::RECEIVING_ENDED);
        let local = self.take_names(source, remote, user)?;
        // A link is for ever: an endpoint that has tried packets once goes on with them.
        if packets::uses_packets(remote.address) || self.channel().is_some() {
            self.enter(Condition::CONNECTING);
            self.ask_by_packets(local, remote);
            return Ok(Progress::Pending);
        }
        let outcome = match PORTS.find(remote, pick_by(local), Self::is_listening) {
            Some(listener) => {
                self.enter(Condition::CONNECTING);
                self.ask(&listener, local, remote)
            }
            None => Err(Errno::ECONNREFUSED),
        };
        if outcome.is_err() {
            self.lose_names();
        }
        outcome
    }

    fn is_listening(&self) -> bool {
        self.condition().contains(Condition::LISTENING)
    }

    /// Enters the connection that is about to be in the table, under names that are free.
    fn take_names(self: &Arc<Self>, source: Address, remote: Name, user: u32) -> Result<Name, Errno> {
        let mut details = self.details.lock();
        let has_address = details.bound.is_some_and(|scope| !scope.address.is_any());
        let address = if has_address { details.local.address } else { source };
        if address.is_v4() != remote.address.is_v4() {
            return Err(Errno::ENETUNREACH);
        }
        if details.options.only_v6 && remote.address.is_v4() {
            return Err(Errno::ENETUNREACH);
        }
        details.user = user;
        let claim = Self::claim(&details, Scope { address, only_v6: true });
        let port = match details.bound {
            Some(_) => {
                let local = Name::new(address, details.local.port);
                PORTS.connect(local, remote, claim, self, false)?;
                local.port
            }
            None => PORTS.connect_from_any(address, remote, claim, self)?,
        };
        let local = Name::new(address, port);
        (details.local, details.remote) = (local, remote);
        Ok(local)
    }

    /// Nothing came of the connection.
    fn lose_names(&self) {
        let mut details = self.details.lock();
        PORTS.disconnect(details.local, details.remote, None);
        match details.bound {
            Some(scope) => details.local.address = scope.address,
            None => details.local = Name::default(),
        }
        details.remote = Name::default();
        drop(details);
        self.leave(Condition::CONNECTING);
    }

    /// Asks a listener for a connection.
    fn ask(self: &Arc<Self>, listener: &Arc<Self>, local: Name, remote: Name) -> Result<Progress, Errno> {
        match listener.reserve(self) {
            Admission::Granted => listener.admit(self, local, remote).map(|()| Progress::Connected),
            Admission::Full => Ok(Progress::Pending),
            Admission::Gone => Err(Errno::ECONNREFUSED),
        }
    }

    /// A listener's end of a connection that is about to be made, with the listener's options and limits.
    pub(super) fn answering_end(&self, local: Name, remote: Name) -> Self {
        let mut new = Self::unnamed(self.is_v6);
        let (receive_limit, send_limit) = self.limits();
        (new.receive_limit, new.send_limit) = (receive_limit.into(), send_limit.into());
        new.low_water = self.low_water().into();
        let defers = {
            let (own, new) = (self.details.lock(), new.details.get_mut());
            new.options = own.options;
            (new.local, new.remote, new.user) = (local, remote, own.user);
            new.began = Instant::now();
            own.options.defer_accept > 0
        };
        let mut condition = Condition::CONNECTED | self.condition() & Condition::FIXED_LIMIT;
        condition.set(Condition::DEFERRED, defers);
        new.condition = condition.bits().into();
        new
    }

    /// Makes the listener's end of a connection for which there is room.
    pub(super) fn admit(
        self: &Arc<Self>,
        client: &Arc<Self>,
        local: Name,
        remote: Name,
    ) -> Result<(), Errno> {
        let mut new = self.answering_end(remote, local);
        new.link.call_once(|| Link::Fused(Arc::downgrade(client)));
        let claim = Self::claim(new.details.get_mut(), Scope { address: remote.address, only_v6: true });
        new.grow();
        client.grow();
        let new = Arc::new(new);
        if PORTS.connect(remote, local, claim, &new, true).is_err() {
            self.cancel_reservation();
            return Err(Errno::ECONNREFUSED);
        }
        // The client is whole before anybody can accept the other end.
        client.link.call_once(|| Link::Fused(Arc::downgrade(&new)));
        let was = client.enter(Condition::CONNECTED);
        client.leave(Condition::CONNECTING);
        if was.contains(Condition::CLOSED) {
            // Its program closed it while it was let in.
            PORTS.disconnect(local, remote, None);
            PORTS.disconnect(remote, local, None);
            new.be_reset();
        }
        self.enqueue(new);
        Ok(())
    }

    /// Tells what became of a wish to be connected, for calls that come back to it.
    pub fn connection_outcome(&self) -> Option<Result<(), Errno>> {
        let condition = self.condition();
        if condition.contains(Condition::CONNECTING) {
            return None;
        }
        self.leave(Condition::UNTOLD);
        if condition.contains(Condition::CONNECTED) {
            return Some(Ok(()));
        }
        self.leave(Condition::SENDING_ENDED | Condition::RECEIVING_ENDED);
        Some(Err(self.take_error().unwrap_or(Errno::ECONNABORTED)))
    }

    /// The caller does not wait: what becomes of it is told later.
    pub fn tell_later(&self, outcome: Result<Progress, Errno>) {
        if let Err(errno) = outcome {
            self.fail(errno);
            self.enter(Condition::SENDING_ENDED | Condition::RECEIVING_ENDED);
            self.changed.wake_all();
        }
        self.enter(Condition::UNTOLD);
    }

    /// A connection that has not been made will not be made any more: nobody answered, or nobody wants it.
    pub fn give_up(self: &Arc<Self>, why: Option<Errno>) {
        if !self.condition().contains(Condition::CONNECTING) {
            return;
        }
        self.forget_flow();
        self.lose_names();
        if let Some(errno) = why {
            self.tell_later(Err(errno));
        }
        self.changed.wake_all();
    }

    /// A pending connection is refused after all.
    pub(super) fn be_refused(self: &Arc<Self>) {
        self.give_up(Some(Errno::ECONNREFUSED));
    }
}
