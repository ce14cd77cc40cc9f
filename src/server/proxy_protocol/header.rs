//! The header of the PROXY protocol, versions 1 and 2: whom a load balancer has taken a connection from.
//!
//! Decides what the bytes say and where they end, and nothing about who may say so. Pure: [`read`] is given what has come
//! so far, and says whether that is a header, could become one, or is none. Section numbers are those of the
//! specification, "The PROXY protocol, versions 1 & 2".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of the longest header of version 1, its CRLF included (section 2.1).
pub const V1_BYTES_MAX: usize = 107;

/// Bytes of the longest header of version 2 that is read, what load balancers add behind the addresses included. The
/// specification lets a receiver choose; senders stay below 536.
pub const V2_BYTES_MAX: usize = 4 << 10;

/// How a header of version 1 begins.
const V1_START: &[u8] = b"PROXY ";

/// How a header of version 2 begins (section 2.2).
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a header of version 2 before its addresses.
const V2_FIXED_BYTES: usize = 16;

/// The type of the field that holds a CRC-32C of the whole header (section 2.2.3).
const TLV_CRC32C: u8 = 0x03;

/// What has come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The beginning of a header; the rest is still to come.
    More,
    /// A header.
    Whole {
        /// Its bytes.
        bytes: usize,
        /// The client. None: the load balancer speaks for itself (`LOCAL`), or does not say (`UNKNOWN`, `UNSPEC`, a socket
        /// that is not TCP); the connection's own address stays then.
        client: Option<SocketAddr>,
    },
    /// Something else, which does not begin as a header does.
    Absent,
    /// It begins as a header does, and is none.
    Wrong(Wrong),
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It does not have the form.
    Malformed,
    /// It goes on beyond [`V1_BYTES_MAX`] or [`V2_BYTES_MAX`].
    TooLong,
    /// Its checksum is another.
    Checksum,
}

/// What the bytes received so far are. Says the same of the same header whether it comes at once or byte by byte, and
/// whatever follows it.
pub fn read(received: &[u8]) -> Progress {
    if begins(received, V2_START) {
        v2(received)
    } else if begins(received, V1_START) {
        v1(received)
    } else {
        Progress::Absent
    }
}

/// Whether the bytes begin so, as far as they go.
fn begins(received: &[u8], start: &[u8]) -> bool {
    received.iter().zip(start).all(|(one, other)| one == other)
}

/// Section 2.1: one line of text.
fn v1(received: &[u8]) -> Progress {
    let room = received.get(..V1_BYTES_MAX).unwrap_or(received);
    let Some(end) = room.iter().position(|byte| *byte == b'\n') else {
        return if received.len() < V1_BYTES_MAX { Progress::More } else { Progress::Wrong(Wrong::TooLong) };
    };
    let line = room.get(V1_START.len()..end).and_then(|line| line.strip_suffix(b"\r"));
    let text = line.filter(|line| line.iter().all(|byte| matches!(byte, b' '..=b'~')));
    match text.and_then(|text| std::str::from_utf8(text).ok()).and_then(v1_client) {
        Some(client) => Progress::Whole { bytes: end + 1, client },
        None => Progress::Wrong(Wrong::Malformed),
    }
}

/// The client that the line names; None where it has not the form.
fn v1_client(line: &str) -> Option<Option<SocketAddr>> {
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        // What follows is to be ignored.
        return Some(None);
    }
    let mut words = line.split(' ');
    let is_v4 = match words.next()? {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let mut address = || {
        let word = words.next()?;
        if is_v4 {
            word.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        } else {
            word.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
    };
    let (source, _destination) = (address()?, address()?);
    let (source_port, _destination_port) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then_some(Some(SocketAddr::new(source, source_port)))
}

/// A decimal number without leading zeros.
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| is_plain)
}

/// Section 2.2: a binary header that says its own length.
fn v2(received: &[u8]) -> Progress {
    let wrong = Progress::Wrong;
    let mut after = received.iter().skip(V2_START.len()).copied();
    let Some(command) = after.next() else { return Progress::More };
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return wrong(Wrong::Malformed),
    };
    let Some(family) = after.next() else { return Progress::More };
    // What a load balancer says of itself does not matter, its family included.
    let addresses = match family {
        _ if is_local => 0,
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return wrong(Wrong::Malformed),
    };
    let (Some(high), Some(low)) = (after.next(), after.next()) else { return Progress::More };
    let told = usize::from(u16::from_be_bytes([high, low]));
    let bytes = V2_FIXED_BYTES + told;
    if bytes > V2_BYTES_MAX {
        return wrong(Wrong::TooLong);
    }
    if told < addresses {
        return wrong(Wrong::Malformed);
    }
    let Some(header) = received.get(..bytes) else { return Progress::More };
    if addresses == 0 {
        return Progress::Whole { bytes, client: None };
    }
    if let Err(fault) = fields(header, V2_FIXED_BYTES + addresses) {
        return wrong(fault);
    }
    let body = header.get(V2_FIXED_BYTES..).unwrap_or_default();
    let client = match family {
        0x11 => client_of::<4>(body, 8),
        0x21 => client_of::<16>(body, 32),
        _ => None,
    };
    Progress::Whole { bytes, client }
}

/// The address at the beginning of a body, and the port at a place of it.
fn client_of<const BYTES: usize>(body: &[u8], port: usize) -> Option<SocketAddr>
where
    IpAddr: From<[u8; BYTES]>,
{
    let address = IpAddr::from(*body.first_chunk::<BYTES>()?);
    let port = body.get(port..)?.first_chunk::<2>()?;
    Some(SocketAddr::new(address, u16::from_be_bytes(*port)))
}

/// Goes through the fields that stand from `begin` to the end of a header (section 2.2): they fill it, and a checksum
/// among them is that of the header.
fn fields(header: &[u8], begin: usize) -> Result<(), Wrong> {
    let mut place = begin;
    while place < header.len() {
        let (Some(kind), Some(length)) = (header.get(place), header.get(place + 1..place + 3)) else {
            return Err(Wrong::Malformed);
        };
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let value = place + 3..place + 3 + length;
        let Some(said) = header.get(value.clone()) else { return Err(Wrong::Malformed) };
        if *kind == TLV_CRC32C {
            let said: [u8; 4] = said.try_into().map_err(|_| Wrong::Malformed)?;
            if u32::from_be_bytes(said) != crc32c(header, &value) {
                return Err(Wrong::Checksum);
            }
        }
        place = value.end;
    }
    Ok(())
}

/// The CRC-32C of a header whose own checksum, in `zeroed`, counts as zeros (section 2.2.3).
fn crc32c(header: &[u8], zeroed: &std::ops::Range<usize>) -> u32 {
    let bytes = header.iter().enumerate();
    !bytes.fold(u32::MAX, |sum, (place, byte)| {
        let byte = if zeroed.contains(&place) { 0 } else { *byte };
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0x82F6_3B78 & (sum & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn whole(header: &[u8], client: Option<&str>) {
        let said =
            Progress::Whole { bytes: header.len(), client: client.map(|client| client.parse().unwrap()) };
        assert_eq!(read(header), said, "{}", header.escape_ascii());
        let followed = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(read(&followed), said, "{}", header.escape_ascii());
        for end in 0..header.len() {
            assert_eq!(read(&header[..end]), Progress::More, "{} bytes of {}", end, header.escape_ascii());
        }
    }

    fn wrong(header: &[u8], fault: Wrong) {
        assert_eq!(read(header), Progress::Wrong(fault), "{}", header.escape_ascii());
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_START, &[command, family], &length, body].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];

    #[test]
    fn a_line_names_the_client() {
        whole(b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n", Some("192.0.2.7:12345"));
        whole(b"PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n", Some("[2001:db8::7]:0"));
        whole(b"PROXY UNKNOWN\r\n", None);
        whole(b"PROXY UNKNOWN and what follows is ignored\r\n", None);
        let longest = [&b"PROXY UNKNOWN "[..], &[b'f'; V1_BYTES_MAX - 16], b"\r\n"].concat();
        whole(&longest, None);
    }

    #[test]
    fn a_line_that_has_not_the_form_is_refused() {
        for line in [
            "PROXY TCP4 192.0.2.7 10.0.0.1 12345\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 12345 443 \r\n",
            "PROXY TCP4  192.0.2.7 10.0.0.1 12345 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 12345 443\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.1 12345 443\r\n",
            "PROXY TCP4 192.0.2.07 10.0.0.1 12345 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 012345 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +1234 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 -1 443\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 12345 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY UNKNOWN \x07\r\n",
            "PROXY \r\n",
        ] {
            wrong(line.as_bytes(), Wrong::Malformed);
        }
        let long = [&b"PROXY UNKNOWN "[..], &[b'f'; V1_BYTES_MAX]].concat();
        wrong(&long, Wrong::TooLong);
        assert_eq!(read(&long[..V1_BYTES_MAX - 1]), Progress::More);
    }

    #[test]
    fn a_binary_header_names_the_client() {
        whole(&binary(0x21, 0x11, &V4), Some("192.0.2.7:12345"));
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        v6[32..34].copy_from_slice(&443_u16.to_be_bytes());
        whole(&binary(0x21, 0x21, &v6), Some("[2001:db8::7]:443"));
        // A field of a cloud's own behind the addresses.
        whole(&binary(0x21, 0x11, &[&V4[..], &[0xEA, 0, 3, 1, 2, 3]].concat()), Some("192.0.2.7:12345"));
    }

    #[test]
    fn a_binary_header_that_names_nobody_leaves_the_address_alone() {
        whole(&binary(0x20, 0x00, &[]), None);
        whole(&binary(0x20, 0xFF, &V4), None);
        whole(&binary(0x21, 0x00, &[1, 2, 3]), None);
        whole(&binary(0x21, 0x12, &V4), None);
        whole(&binary(0x21, 0x31, &[0; 216]), None);
    }

    #[test]
    fn a_binary_header_that_has_not_the_form_is_refused() {
        wrong(&binary(0x11, 0x11, &V4), Wrong::Malformed);
        wrong(&binary(0x22, 0x11, &V4), Wrong::Malformed);
        wrong(&binary(0x21, 0x41, &V4), Wrong::Malformed);
        wrong(&binary(0x21, 0x13, &V4), Wrong::Malformed);
        wrong(&binary(0x21, 0x11, &V4[..11]), Wrong::Malformed);
        wrong(&binary(0x21, 0x11, &[&V4[..], &[4, 0]].concat()), Wrong::Malformed);
        wrong(&binary(0x21, 0x11, &[&V4[..], &[4, 0, 2, 0]].concat()), Wrong::Malformed);
        wrong(&binary(0x21, 0x11, &vec![0; V2_BYTES_MAX - 15]), Wrong::TooLong);
        let fill = V2_BYTES_MAX - V2_FIXED_BYTES - V4.len() - 3;
        let length = u16::try_from(fill).unwrap().to_be_bytes();
        let largest = [&V4[..], &[4], &length, &vec![0; fill]].concat();
        whole(&binary(0x21, 0x11, &largest), Some("192.0.2.7:12345"));
    }

    /// The value is that of another implementation.
    #[test]
    fn a_checksum_is_checked() {
        assert_eq!(crc32c(b"123456789", &(0..0)), 0xE306_9283);
        let with = |sum: u32| binary(0x21, 0x11, &[&V4[..], &[3, 0, 4], &sum.to_be_bytes()].concat());
        let sum = crc32c(&with(0), &(31..35));
        whole(&with(sum), Some("192.0.2.7:12345"));
        wrong(&with(sum ^ 1), Wrong::Checksum);
        wrong(&binary(0x21, 0x11, &[&V4[..], &[3, 0, 2, 0, 0]].concat()), Wrong::Malformed);
    }

    #[test]
    fn what_begins_otherwise_is_no_header() {
        for other in
            [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/2.0", b"\r\nGET", b"\x16\x03\x01", b"proxy TCP4"]
        {
            assert_eq!(read(other), Progress::Absent, "{}", other.escape_ascii());
        }
    }
}
