//! The addresses of one origin server: resolved without blocking, remembered briefly, kept when the resolver fails.
//!
//! Decides which address is tried first (the last one that worked). Called by the server for every connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

/// How long resolved addresses are used before the resolver is asked again. The system's resolver does not tell how
/// long its answer is good for; ten seconds follow a changed record soon enough and spare the resolver.
const ADDRESSES_KEPT: Duration = Duration::from_secs(10);

/// Addresses of one server that are remembered; a name may have any number.
pub(super) const ADDRESSES_MAX: usize = 8;

/// The addresses of one host name and port.
pub(super) struct Addresses {
    host: String,
    port: u16,
    literal: Option<IpAddr>,
    /// Somebody else resolves them: what is known holds.
    given: bool,
    known: ArcSwapOption<Known>,
    refresh: Mutex<()>,
    first: AtomicUsize,
}

struct Known {
    at: Instant,
    addresses: Vec<SocketAddr>,
}

impl Addresses {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
            literal: host.parse().ok(),
            given: false,
            known: ArcSwapOption::empty(),
            refresh: Mutex::new(()),
            first: AtomicUsize::new(0),
        }
    }

    /// These addresses of a host, as long as this lives.
    pub(super) fn given(host: &str, addresses: Vec<SocketAddr>) -> Self {
        let port = addresses.first().map_or(0, SocketAddr::port);
        let known = Known { at: Instant::now(), addresses };
        Self { known: ArcSwapOption::from_pointee(known), given: true, ..Self::new(host, port) }
    }

    /// What is known without asking.
    pub(super) fn known(&self) -> Vec<SocketAddr> {
        self.known.load().as_ref().map(|known| known.addresses.clone()).unwrap_or_default()
    }

    /// The addresses, the preferred one first; never empty, at most [`ADDRESSES_MAX`].
    ///
    /// When the resolver fails, addresses it gave before are used on.
    pub(super) async fn list(&self) -> std::io::Result<Vec<SocketAddr>> {
        if let Some(address) = self.literal {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let mut addresses = match self.known.load_full() {
            Some(known) if self.given || known.at.elapsed() < ADDRESSES_KEPT => known.addresses.clone(),
            Some(old) => match self.refresh.try_lock() {
                Ok(_guard) => self.refresh(Some(&old)).await?,
                Err(_busy) => old.addresses.clone(),
            },
            None => {
                let _guard = self.refresh.lock().await;
                match self.known.load_full() {
                    Some(known) => known.addresses.clone(),
                    None => self.refresh(None).await?,
                }
            }
        };
        let first = self.first.load(Ordering::Relaxed) % addresses.len().max(1);
        addresses.rotate_left(first);
        Ok(addresses)
    }

    async fn refresh(&self, old: Option<&Known>) -> std::io::Result<Vec<SocketAddr>> {
        let addresses = match self.lookup().await {
            Ok(addresses) => addresses,
            Err(error) => match old {
                Some(old) => {
                    tracing::warn!(host = %self.host, %error, "cannot resolve an origin server; its last addresses stay in use");
                    old.addresses.clone()
                }
                None => return Err(error),
            },
        };
        let same = old.is_some_and(|old| old.addresses == addresses);
        if !same {
            self.first.store(0, Ordering::Relaxed);
        }
        self.known.store(Some(Arc::new(Known { at: Instant::now(), addresses: addresses.clone() })));
        Ok(addresses)
    }

    async fn lookup(&self) -> std::io::Result<Vec<SocketAddr>> {
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((self.host.as_str(), self.port)).await?.take(ADDRESSES_MAX).collect();
        if addresses.is_empty() {
            return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(addresses)
    }

    /// `address` could be connected to: it is tried first from now on.
    pub(super) fn worked(&self, address: SocketAddr) {
        if let Some((place, _)) = self.place(address) {
            self.first.store(place, Ordering::Relaxed);
        }
    }

    /// `address` could not be connected to: when it is the first one tried, the next one takes its place.
    pub(super) fn failed(&self, address: SocketAddr) {
        if let Some((place, of)) = self.place(address) {
            let next = (place + 1) % of;
            let _ = self.first.compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The place of `address` in the list, and the length of the list.
    fn place(&self, address: SocketAddr) -> Option<(usize, usize)> {
        let known = self.known.load();
        let addresses = &known.as_ref()?.addresses;
        Some((addresses.iter().position(|known| *known == address)?, addresses.len()))
    }
}
