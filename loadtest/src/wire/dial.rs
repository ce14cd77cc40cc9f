//! How a connection is made: which address a name stands for, which address of this machine it comes from, TCP, TLS. Names are
//! looked up once for all viewers, for a while.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::line::Line;
use super::stream::{Limited, Stream};
use super::{Network, Site};
use crate::fetch::Failure;

/// How long the addresses of a name are used.
const NAME_AGE_MAX: Duration = Duration::from_secs(60);

/// The most names whose addresses are kept.
const NAMES_MAX: usize = 256;

/// The most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;

/// How many viewers have an address of their own in 127.0.0.0/8; further ones share them.
pub(crate) const SOURCES: u32 = 254 * 256 * 254;

/// What names stand for.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashMap<Box<str>, Found>>);

/// What a name stood for, and when.
#[derive(Debug)]
struct Found {
    at: Instant,
    addresses: Arc<[SocketAddr]>,
}

/// Who connects, and where to.
#[derive(Debug)]
pub(crate) struct Dial<'a> {
    pub(crate) network: &'a Network,
    pub(crate) viewer: u32,
    pub(crate) site: &'a Site,
    pub(crate) line: Option<Arc<Line>>,
    /// What is offered, if it is to be TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// The address that this viewer comes from, on loopback: in 127.1.0.0 to 127.254.255.255, without those that end in 0 or 255.
pub(crate) fn source(viewer: u32) -> Ipv4Addr {
    let index = viewer % SOURCES;
    let (second, third, fourth) = (index / 254 / 256 + 1, index / 254 % 256, index % 254 + 1);
    Ipv4Addr::new(127, second as u8, third as u8, fourth as u8)
}

// === impl Dial ===

impl Dial<'_> {
    /// Makes the connection.
    pub(crate) async fn connect(&self) -> Result<Stream, Failure> {
        let connect_max = self.network.patience.connect_max;
        let tcp = timeout(connect_max, self.tcp()).await.map_err(|_| Failure::Connect)?;
        let tcp = tcp.map_err(|error| {
            self.network.note_shortage(&error);
            Failure::Connect
        })?;
        let stream = Limited::new(tcp, self.line.clone());
        let Some(config) = &self.tls else { return Ok(Stream::Plain(stream)) };
        let name = ServerName::try_from(self.site.bare_name().to_owned()).map_err(|_| Failure::Tls)?;
        // What a handshake takes is large, and needed for a moment.
        let handshake = Box::pin(TlsConnector::from(config.clone()).connect(name, stream));
        let stream = timeout(connect_max, handshake).await.map_err(|_| Failure::Tls)?;
        Ok(Stream::Tls(Box::new(stream.map_err(|_| Failure::Tls)?)))
    }

    async fn tcp(&self) -> io::Result<TcpStream> {
        let addresses = match self.network.connect_to {
            Some(address) => Arc::from([address]),
            None => self.network.names.find(self.site.bare_name(), self.site.port).await?,
        };
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in addresses.iter().take(ADDRESSES_MAX) {
            match self.tcp_to(*address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn tcp_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let IpAddr::V4(ip) = address.ip()
            && ip.is_loopback()
        {
            socket.bind(SocketAddr::new(source(self.viewer).into(), 0))?;
        }
        if let Some(line) = &self.line {
            socket.set_recv_buffer_size(line.receive_buffer_bytes())?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// What is missing on this machine for one more connection, and what to do about it; none: the error is not this machine's.
pub(crate) fn shortage(error: &io::Error, descriptors: u64) -> Option<String> {
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some(format!(
            "this process may open {descriptors} files and sockets, and all are in use: raise the limit \
             (ulimit -Hn, LimitNOFILE=), or divide the viewers among several processes"
        )),
        Errno::NFILE => Some(
            "all files of this machine are in use: raise fs.file-max, or divide the viewers among several machines".into(),
        ),
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => Some(
            "no port is left for a connection from this address: widen net.ipv4.ip_local_port_range, or divide the \
             viewers among several machines"
                .into(),
        ),
        Errno::NOBUFS | Errno::NOMEM => {
            Some("the kernel has no memory for one more socket: divide the viewers among several machines".into())
        }
        _ => None,
    }
}

// === impl Names ===

impl Names {
    /// The addresses of a name, or of an address as it is written in a URL, without brackets.
    async fn find(&self, name: &str, port: u16) -> io::Result<Arc<[SocketAddr]>> {
        if let Ok(ip) = name.parse::<IpAddr>() {
            return Ok(Arc::from([SocketAddr::new(ip, port)]));
        }
        let key = format!("{name}:{port}");
        if let Some(addresses) = self.kept(&key, Instant::now()) {
            return Ok(addresses);
        }
        let addresses: Arc<[SocketAddr]> = tokio::net::lookup_host((name, port)).await?.collect();
        self.keep(&key, addresses.clone(), Instant::now());
        Ok(addresses)
    }

    fn kept(&self, key: &str, now: Instant) -> Option<Arc<[SocketAddr]>> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = names.get(key)?;
        (now.saturating_duration_since(found.at) < NAME_AGE_MAX).then(|| found.addresses.clone())
    }

    fn keep(&self, key: &str, addresses: Arc<[SocketAddr]>, now: Instant) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(key.into(), Found { at: now, addresses });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_viewer_has_an_address_of_its_own_on_the_loopback() {
        let viewers = (0..200_000).chain(SOURCES - 100_000..SOURCES);
        let all: HashSet<_> = viewers.map(source).collect();
        assert_eq!(all.len(), 300_000);
        for address in all {
            let [first, second, _, fourth] = address.octets();
            assert!(first == 127 && (1..=254).contains(&second) && (1..=254).contains(&fourth), "{address}");
        }
        assert_eq!(source(SOURCES), source(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_looked_up_again_after_a_while_and_names_do_not_pile_up() {
        let (names, address) = (Names::default(), Arc::from(["127.0.0.1:1".parse().unwrap()]));
        let now = Instant::now();
        names.keep("a:1", address, now);
        assert!(names.kept("a:1", now + NAME_AGE_MAX - Duration::from_secs(1)).is_some());
        assert!(names.kept("a:1", now + NAME_AGE_MAX).is_none());
        for index in 0..10 * NAMES_MAX {
            names.keep(&format!("{index}:1"), Arc::from([]), now);
        }
        assert!(names.0.lock().unwrap().len() <= NAMES_MAX);
    }

    #[test]
    fn what_this_machine_is_short_of_is_named_with_a_remedy_and_the_servers_fault_is_not() {
        let of = |errno: Errno| shortage(&io::Error::from(errno), 1024);
        assert!(of(Errno::MFILE).unwrap().contains("may open 1024 files"));
        assert!(of(Errno::ADDRNOTAVAIL).unwrap().contains("ip_local_port_range"));
        assert_eq!(of(Errno::CONNREFUSED), None);
        assert_eq!(shortage(&io::Error::from(ErrorKind::TimedOut), 1024), None);
    }
}
