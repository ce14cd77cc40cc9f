//! The client's address: the peer's, or, behind trusted proxies, the one they report in `X-Forwarded-For`.
//!
//! Decides whose word is taken. The list is read from the right, since every proxy appends what it saw: the first
//! address that is no trusted proxy is the client, and what stands left of it is that client's own claim. Called once
//! per request, before admission.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// Entries of `X-Forwarded-For` read from the right; beyond them the last one read counts as the client.
pub const HOPS_MAX: usize = 32;

/// The address of the client behind `peer`.
///
/// `x_forwarded_for` holds the values of all such headers in the order received; header values may be passed as they
/// are, text or not. An entry that is no address ends the walk: the last proxy that was believed is the client then.
/// IPv4 addresses mapped into IPv6 come back as IPv4.
pub fn client_address<V: AsRef<[u8]>>(
    peer: IpAddr,
    x_forwarded_for: impl DoubleEndedIterator<Item = V>,
    trusted: &[IpNet],
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| contains(network, address));
    let mut client = peer.to_canonical();
    let mut hops = 0;
    for value in x_forwarded_for.rev() {
        for entry in value.as_ref().rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if !is_trusted(client) || hops == HOPS_MAX {
                return client;
            }
            hops += 1;
            // An empty list element says nothing (RFC 9110 section 5.6.1.2).
            if entry.is_empty() {
                continue;
            }
            match address(entry) {
                Some(address) => client = address,
                None => return client,
            }
        }
    }
    client
}

/// What counts as one client where only addresses tell: an IPv4 address, or an IPv6 network of 64 bits.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

/// Whether a network holds an address; a network of mapped addresses holds the IPv4 addresses it stands for.
pub(crate) fn contains(network: &IpNet, address: IpAddr) -> bool {
    let mapped = |address: IpAddr| match address {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        IpAddr::V6(_) => address,
    };
    network.contains(&address) || (matches!(network, IpNet::V6(_)) && network.contains(&mapped(address)))
}

/// An address, with or without a port, IPv6 with or without brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?;
    let bare = || entry.parse::<IpAddr>().ok();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    bare().or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn client(peer: &str, headers: &[&str]) -> String {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "2001:db8::/32"].iter().map(|network| network.parse().unwrap()).collect();
        client_address(peer.parse().unwrap(), headers.iter(), &trusted).to_string()
    }

    #[test]
    fn a_peer_that_is_not_trusted_speaks_for_itself_only() {
        assert_eq!(client("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_first_untrusted_hop_from_the_right_is_the_client() {
        assert_eq!(client("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 198.51.100.7, 10.9.9.9"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "198.51.100.7", "10.9.9.9"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(client("2001:db8::1", &["198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn an_entry_that_is_no_address_ends_the_walk() {
        assert_eq!(client("10.0.0.1", &["198.51.100.7, unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.7, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &["198.51.100.7", "_hidden"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.7, , "]), "198.51.100.7");
        let not_text: [&[u8]; 2] = [b"6.6.6.6", b"\xff, 10.0.0.2"];
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let found = client_address("10.0.0.1".parse().unwrap(), not_text.iter(), &trusted);
        assert_eq!(found.to_string(), "10.0.0.2");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        for entry in ["198.51.100.7", "198.51.100.7:4711", "::ffff:198.51.100.7", "[::ffff:198.51.100.7]:1"] {
            assert_eq!(client("::ffff:10.0.0.1", &[entry]), "198.51.100.7", "{entry}");
        }
        for entry in ["2001:db9::1", "[2001:db9::1]", "[2001:db9::1]:443"] {
            assert_eq!(client("10.0.0.1", &[entry]), "2001:db9::1", "{entry}");
        }
        let mapped = ["::ffff:10.0.0.0/104".parse().unwrap()];
        let found = client_address("10.0.0.1".parse().unwrap(), ["198.51.100.7"].iter(), &mapped);
        assert_eq!(found.to_string(), "198.51.100.7");
    }

    #[test]
    fn the_walk_is_bounded() {
        let long = vec!["10.0.0.2"; HOPS_MAX].join(",");
        assert_eq!(client("10.0.0.1", &[&format!("6.6.6.6,{}", &long[9..])]), "6.6.6.6");
        assert_eq!(client("10.0.0.1", &[&format!("6.6.6.6,{long}")]), "10.0.0.2");
    }
}
