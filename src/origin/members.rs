//! The servers of a group as they are now: those that are written down, and those that names stand for.
//!
//! Decides who is in the list, and keeps a server that stays, with all that is known of it. Readers take one list and go
//! by it to their end; a server that leaves answers what it has been asked and is asked nothing new. Lists come from
//! [`super::discover`]; which of a list is asked is the group's decision.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::eject::{Ejector, Record};
use super::error::OriginSetupError;
use super::own::Own;
use super::ring::{Ring, is_laden};
use super::server::{Server, host_value};
use super::{OriginFamilies, sni};
use crate::config::model::{Balance, Origin, OriginServer};

/// Servers of one group at most; a name may stand for any number.
pub(super) const MEMBERS_MAX: usize = 256;

/// A server that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What it is called by: the same on every node that looks the name up.
    pub(super) authority: String,
    /// TLS, the host that it is asked for, and the port.
    pub(super) place: OriginServer,
    /// Where it is.
    pub(super) addresses: Vec<SocketAddr>,
    /// Its share, beside those of others.
    pub(super) weight: u32,
}

/// The servers of a group.
pub(super) struct Members {
    list: ArcSwap<List>,
    changed: Notify,
    /// What the current list was made of.
    found: Mutex<Vec<Found>>,
    named: Vec<Arc<Server>>,
    ejector: Arc<Ejector>,
    origin: Origin,
    own: Own,
    families: OriginFamilies,
}

/// A list of servers; places in it mean nothing in another.
pub(super) struct List {
    pub(super) servers: Vec<Arc<Server>>,
    /// Where this node stands in it.
    pub(super) own: Option<usize>,
    ring: Option<Ring>,
}

impl Members {
    /// The servers that are written down.
    ///
    /// # Errors
    /// A `Host` cannot be sent.
    pub(super) fn new(
        origin: &Origin,
        own: Own,
        families: &OriginFamilies,
    ) -> Result<Members, OriginSetupError> {
        let ejector = Ejector::new(origin.name.as_str().into(), origin.eject.clone(), origin.servers.len());
        let server = |place: &OriginServer| {
            let host = host_value(origin, place)?;
            let authority = place.authority();
            let gauge = families.healthy(&origin.name, &authority);
            Ok(Arc::new(Server::new(
                place,
                host,
                sni(origin, place),
                gauge,
                record(families, origin, &ejector, &authority),
            )))
        };
        let named = origin.servers.iter().map(server).collect::<Result<Vec<_>, OriginSetupError>>()?;
        let members = Members {
            list: ArcSwap::from_pointee(List { servers: Vec::new(), own: None, ring: None }),
            changed: Notify::new(),
            found: Mutex::default(),
            named,
            ejector,
            origin: origin.clone(),
            own,
            families: families.clone(),
        };
        members.put(members.named.clone(), &[]);
        Ok(members)
    }

    /// The servers now; none while the names of a group that has nothing else are not resolved.
    pub(super) fn now(&self) -> Arc<List> {
        self.list.load_full()
    }

    /// The same, as soon as there is a server; None: there is none within `limit`.
    pub(super) async fn ready(&self, limit: Duration) -> Option<Arc<List>> {
        let by = Instant::now() + limit;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let list = self.now();
            if !list.servers.is_empty() {
                return Some(list);
            }
            tokio::time::timeout_at(by, changed).await.ok()?;
        }
    }

    /// Whether a server is in the list.
    pub(super) fn holds(&self, server: &Arc<Server>) -> bool {
        self.list.load().servers.iter().any(|held| Arc::ptr_eq(held, server))
    }

    /// Puts what names stand for in the place of what they stood for; gives the servers that are new.
    pub(super) fn replace(&self, mut found: Vec<Found>) -> Vec<Arc<Server>> {
        let name = &self.origin.name;
        found.sort_by(|a, b| a.authority.cmp(&b.authority));
        found.dedup_by(|a, b| a.authority == b.authority);
        found.retain(|found| !self.named.iter().any(|named| *named.authority == found.authority));
        let room = MEMBERS_MAX.saturating_sub(self.named.len());
        if found.len() > room {
            tracing::warn!(origin = %name, servers = found.len(), most = MEMBERS_MAX, "its names stand for more servers than are used");
            found.truncate(room);
        }
        let mut held = self.found.lock();
        if *held == found {
            return Vec::new();
        }
        let before = self.now();
        let same = |found: &Found| {
            let was = held.iter().find(|held| held.authority == found.authority)?;
            let same = was.place == found.place && was.addresses == found.addresses;
            let server = before.servers.iter().find(|server| *server.authority == found.authority);
            server.filter(|_| same).cloned()
        };
        let mut servers = self.named.clone();
        let mut new = Vec::new();
        let mut known = Vec::new();
        for found in found {
            let server = match same(&found) {
                Some(server) => server,
                None => {
                    // One that has moved is another one, with gauges of its own: what still comes from where it was says
                    // nothing of it.
                    if before.servers.iter().any(|server| *server.authority == found.authority) {
                        self.families.forget_server(name, &found.authority);
                    }
                    // A host that DNS knows fits into a field; one that does not is left out.
                    let Ok(host) = host_value(&self.origin, &found.place) else { continue };
                    let gauge = self.families.healthy(name, &found.authority);
                    let server = Arc::new(Server::found(
                        &found,
                        host,
                        sni(&self.origin, &found.place),
                        gauge,
                        record(&self.families, &self.origin, &self.ejector, &found.authority),
                    ));
                    new.push(Arc::clone(&server));
                    server
                }
            };
            servers.push(server);
            known.push(found);
        }
        let is_left = |server: &&Arc<Server>| !servers.iter().any(|now| now.authority == server.authority);
        for gone in before.servers.iter().filter(is_left) {
            tracing::info!(origin = %name, server = %gone.authority, "a server has left");
            self.families.forget_server(name, &gone.authority);
        }
        for server in &new {
            tracing::info!(origin = %name, server = %server.authority, "a server has joined");
        }
        self.put(servers, &known);
        *held = known;
        new
    }

    /// `servers`: those that are written down, then one for each of `found`.
    fn put(&self, servers: Vec<Arc<Server>>, found: &[Found]) {
        self.families.servers(&self.origin.name, servers.len());
        self.ejector.count(servers.len());
        let weights = std::iter::repeat_n(1, self.named.len()).chain(found.iter().map(|found| found.weight));
        let weighed = servers.iter().map(|server| &*server.authority).zip(weights);
        let ring = (self.origin.balance == Balance::Owner).then(|| Ring::new(weighed));
        let own = servers.iter().position(|server| server.is_own(&self.own));
        self.list.store(Arc::new(List { servers, own, ring }));
        self.changed.notify_waiters();
    }
}

/// What is to be known of a server.
fn record(
    families: &OriginFamilies,
    origin: &Origin,
    ejector: &Arc<Ejector>,
    authority: &str,
) -> Arc<Record> {
    Record::new(ejector, authority.into(), families.ejected(&origin.name, authority))
}

impl List {
    /// The `turn`-th of the places that `wanted` holds for, counted round and round.
    pub(super) fn nth(&self, turn: usize, wanted: impl Fn(&usize) -> bool) -> Option<usize> {
        let places = || (0..self.servers.len()).filter(|place| wanted(place));
        places().nth(turn.checked_rem(places().count())?)
    }

    /// The places in the order in which they come for a key; None: the group does not go by owners.
    pub(super) fn order(&self, placement: u64) -> Option<impl Iterator<Item = usize>> {
        Some(self.ring.as_ref()?.order(placement))
    }

    /// The first of the places that `wanted` holds for, in the order of a key, that does not have too much to do; the first
    /// of them where all have. None: the group does not go by owners, or none is wanted.
    pub(super) fn owner(&self, placement: u64, wanted: impl Fn(&usize) -> bool) -> Option<usize> {
        let wanted = |place: &usize| Some(*place) != self.own && wanted(place);
        let order: Vec<usize> = self.order(placement)?.filter(wanted).collect();
        let load = |place: usize| self.servers.get(place).map_or(0, |server| server.load.now());
        let all: usize = order.iter().map(|place| load(*place)).sum();
        let has_room = |place: &&usize| !is_laden(load(**place), all, order.len());
        order.iter().find(has_room).or(order.first()).copied()
    }
}
