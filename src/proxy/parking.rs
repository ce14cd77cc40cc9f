//! Who is held: requests that wait for a playlist to grow, counted in all and by client.
//!
//! A held request costs a task, a socket and no work, so nothing else would bound how many one client has. Clients
//! are told apart by address; in IPv6 by the network of 64 bits that one host has to itself (RFC 7421). The table
//! holds clients with parked requests alone, so it is as bounded as these are. Hits do not come here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use prometheus::IntGauge;

use crate::admission::client::network_of;
use crate::config::model::Limits;

/// Shards of the table.
const SHARDS: usize = 64;

/// Counts parked requests.
#[derive(Debug)]
pub struct Parking {
    /// `limits.parked`
    all_max: usize,
    /// `limits.parked_per_client`
    client_max: usize,
    all: AtomicUsize,
    clients: Box<[Mutex<HashMap<IpAddr, usize>>]>,
}

/// A parked request; dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Parked<'a> {
    parking: &'a Parking,
    client: Option<IpAddr>,
    gauge: &'a IntGauge,
}

/// Which limit a request has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// `limits.parked`
    All,
    /// `limits.parked_per_client`
    Client,
}

impl Full {
    /// The word: the limit's.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Full::All => "parked",
            Full::Client => "parked_per_client",
        }
    }
}

impl Parking {
    /// Nobody parked.
    pub fn new(limits: &Limits) -> Parking {
        Parking {
            all_max: limits.parked,
            client_max: limits.parked_per_client,
            all: AtomicUsize::new(0),
            clients: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes a place for a request of this client, shown in `gauge`. None: it counts among all alone.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn park<'a>(
        &'a self,
        client: impl Into<Option<IpAddr>>,
        gauge: &'a IntGauge,
    ) -> Result<Parked<'a>, Full> {
        let client = client.into().map(network_of);
        let room = |taken: usize| (taken < self.all_max).then_some(taken + 1);
        self.all.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).map_err(|_| Full::All)?;
        if let Some(client) = client {
            let mut clients = self.shard(client).lock();
            let taken = clients.entry(client).or_default();
            if *taken >= self.client_max {
                drop(clients);
                self.all.fetch_sub(1, Ordering::AcqRel);
                return Err(Full::Client);
            }
            *taken += 1;
        }
        gauge.inc();
        Ok(Parked { parking: self, client, gauge })
    }

    fn shard(&self, client: IpAddr) -> &Mutex<HashMap<IpAddr, usize>> {
        let fold = |octets: &[u8]| octets.iter().fold(0_usize, |sum, octet| sum * 31 + usize::from(*octet));
        let place = match client {
            IpAddr::V4(address) => fold(&address.octets()),
            IpAddr::V6(address) => fold(&address.octets()[..8]),
        };
        &self.clients[place % SHARDS]
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client
            && let Entry::Occupied(mut place) = self.parking.shard(client).lock().entry(client)
        {
            *place.get_mut() -= 1;
            if *place.get() == 0 {
                place.remove();
            }
        }
        self.parking.all.fetch_sub(1, Ordering::AcqRel);
        self.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn parking(all_max: usize, client_max: usize) -> Parking {
        let clients = (0..SHARDS).map(|_| Mutex::default()).collect();
        Parking { all_max, client_max, all: AtomicUsize::new(0), clients }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_so_many_requests_parked_and_no_more() {
        let (parking, gauge) = (parking(10, 2), IntGauge::new("g", "g").unwrap());
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let first = parking.park(one, &gauge).unwrap();
        let _second = parking.park(one, &gauge).unwrap();
        assert_eq!(parking.park(one, &gauge).unwrap_err(), Full::Client);
        let _others = parking.park(other, &gauge).unwrap();
        assert_eq!(gauge.get(), 3);
        drop(first);
        let _third = parking.park(one, &gauge).unwrap();
        assert_eq!((gauge.get(), parking.all.load(Ordering::Acquire)), (3, 3));
    }

    #[test]
    fn all_clients_together_have_so_many_and_no_more() {
        let (parking, gauge) = (parking(3, 2), IntGauge::new("g", "g").unwrap());
        let clients: Vec<IpAddr> = (1..=4).map(|last| IpAddr::from([192, 0, 2, last])).collect();
        let parked: Vec<Parked<'_>> =
            clients.iter().take(3).map(|client| parking.park(*client, &gauge).unwrap()).collect();
        assert_eq!(parking.park(clients[3], &gauge).unwrap_err(), Full::All);
        drop(parked);
        assert_eq!((gauge.get(), parking.all.load(Ordering::Acquire)), (0, 0));
        assert!(parking.clients.iter().all(|shard| shard.lock().is_empty()), "nothing is left of them");
        assert!(parking.park(clients[3], &gauge).is_ok());
    }

    #[test]
    fn a_network_of_64_bits_is_one_client() {
        let (parking, gauge) = (parking(10, 1), IntGauge::new("g", "g").unwrap());
        let _held = parking.park(address("2001:db8:0:1::1"), &gauge).unwrap();
        assert_eq!(parking.park(address("2001:db8:0:1:ffff::2"), &gauge).unwrap_err(), Full::Client);
        assert!(parking.park(address("2001:db8:0:2::1"), &gauge).is_ok());
    }
}
