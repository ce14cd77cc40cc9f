//! Which of a group's servers is this node itself.
//!
//! Decides by what the configuration says, else by where the node listens and what it is called. A node that does not know
//! itself is no danger: it asks itself once, as it would ask another.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::config::model::OriginServer;

/// What this node knows itself by.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// What the configuration says: `HOST` or `HOST:PORT`. It alone decides, where it is there.
    pub told: Option<String>,
    /// The node's name.
    pub name: Option<String>,
    /// Where viewers reach it, with the ports really bound.
    pub listeners: Vec<SocketAddr>,
}

impl Own {
    /// Whether a server of this name, place and these addresses is this node. `addresses` are empty where they are not known.
    pub(super) fn is(&self, authority: &str, place: &OriginServer, addresses: &[SocketAddr]) -> bool {
        if let Some(told) = &self.told {
            let with_port = format!("{}:{}", place.host, place.port);
            return told.eq_ignore_ascii_case(authority) || told.eq_ignore_ascii_case(&with_port);
        }
        let literal = place.host.parse().ok().map(|address: IpAddr| SocketAddr::new(address, place.port));
        if literal.iter().chain(addresses).any(|address| self.is_listened_on(*address)) {
            return true;
        }
        let is_named = |name: &String| {
            let host = authority.split(':').next().unwrap_or_default();
            let (first, rest) = host.split_at_checked(name.len()).unwrap_or(("", host));
            first.eq_ignore_ascii_case(name) && (rest.is_empty() || rest.starts_with('.'))
        };
        let has_port = self.listeners.iter().any(|listener| listener.port() == place.port);
        has_port && self.name.as_ref().is_some_and(is_named)
    }

    fn is_listened_on(&self, address: SocketAddr) -> bool {
        self.listeners.iter().filter(|listener| listener.port() == address.port()).any(|listener| {
            listener.ip() == address.ip() || (listener.ip().is_unspecified() && is_of_machine(address.ip()))
        })
    }
}

/// Whether an address is one of this machine's: only to those does the system send from the address itself. Nothing is
/// sent.
fn is_of_machine(address: IpAddr) -> bool {
    let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let source = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind(any)?;
        socket.connect((address, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    source().is_ok_and(|source| source == address)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn place(host: &str, port: u16) -> OriginServer {
        OriginServer { tls: false, host: host.to_owned(), port }
    }

    fn is(own: &Own, host: &str, port: u16) -> bool {
        let place = place(host, port);
        own.is(&place.authority(), &place, &[])
    }

    #[test]
    fn a_node_is_where_it_listens() {
        let own = Own { listeners: vec!["127.0.0.2:8080".parse().unwrap()], ..Own::default() };
        assert!(is(&own, "127.0.0.2", 8080));
        assert!(!is(&own, "127.0.0.2", 8081));
        assert!(!is(&own, "127.0.0.1", 8080));
        // A listener for all addresses is reached at those of the machine alone.
        let own = Own { listeners: vec!["0.0.0.0:8080".parse().unwrap()], ..Own::default() };
        assert!(is(&own, "127.0.0.1", 8080));
        assert!(!is(&own, "192.0.2.7", 8080));
        let found = ["127.0.0.1:8080".parse().unwrap()];
        assert!(own.is("pod-0.example:8080", &place("pod-0.example", 8080), &found));
    }

    #[test]
    fn a_node_is_what_it_is_called_or_told() {
        let listeners = vec!["127.0.0.1:8080".parse().unwrap()];
        let own = Own { name: Some("edge-1".to_owned()), listeners, told: None };
        assert!(is(&own, "edge-1", 8080));
        assert!(is(&own, "edge-1.cdn.example", 8080));
        assert!(!is(&own, "edge-10.cdn.example", 8080));
        assert!(!is(&own, "edge-1", 9090));
        let own = Own { told: Some("edge-2:80".to_owned()), ..own };
        assert!(is(&own, "edge-2", 80));
        assert!(!is(&own, "edge-1", 8080));
    }
}
