//! One viewer of the live edge, at as little cost as may be: a socket, a task that waits for it, and what is left of the
//! answer that comes. Ten thousand of them share the machine with the node that they measure.
//!
//! When an answer came is what the kernel says of it, so that viewers who have to wait for a processor of this machine do not
//! count as viewers who were woken late.
//!
//! A body is not kept: a playlist is known by its digest, a part is compared as it comes.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream};

use super::stream::{PLAYLIST, part_path, reload_target};
use crate::content::{Content, Digest};

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How long one exchange may take, the hold included.
const EXCHANGE_MAX: Duration = Duration::from_secs(40);

/// Room for one read, in bytes; a thread has it once.
const READ_BYTES: usize = 64 * 1024;

/// The longest response head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The most viewers that have an address each.
pub(crate) const VIEWERS_MAX: u32 = 60_000;

thread_local! {
    static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A connection that asks one thing after the other.
#[derive(Debug)]
pub(crate) struct Viewer {
    stream: TcpStream,
}

/// When an answer was asked for and when it began, and what its body is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Got {
    pub(crate) asked_at: SystemTime,
    /// When the first bytes of the answer, its head included, came to the socket.
    pub(crate) first_byte_at: SystemTime,
    pub(crate) digest: Digest,
}

/// An answer that is being received.
#[derive(Debug)]
struct Incoming<'a> {
    first_byte_at: Option<SystemTime>,
    head: Vec<u8>,
    /// Bytes of the body that are still to come, once the head is there.
    left: Option<usize>,
    received: usize,
    digest: Digest,
    /// What the body has to be; none keeps its digest.
    content: Option<(&'a Content, usize)>,
}

/// An address of its own for each viewer, in 127.0.0.0/8.
pub(crate) fn address(index: u32) -> SocketAddr {
    // From 127.1.0.1 on, without the addresses that end in 0 or 255.
    let (third, fourth) = (index / 254, index % 254 + 1);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 1, third as u8, fourth as u8)), 0)
}

// === impl Viewer ===

impl Viewer {
    /// Connects from an address of its own.
    pub(crate) async fn connect(index: u32, host: SocketAddr) -> Result<Self> {
        let socket = TcpSocket::new_v4().context("a socket")?;
        let own = address(index);
        socket.bind(own).with_context(|| format!("the address {}", own.ip()))?;
        let stream = tokio::time::timeout(CONNECT_MAX, socket.connect(host))
            .await
            .with_context(|| format!("no connection to {host} within {CONNECT_MAX:?}"))?
            .with_context(|| format!("no connection to {host}"))?;
        stream.set_nodelay(true)?;
        setsockopt(&stream, sockopt::ReceiveTimestampns, &true).context("the kernel's time of arrival")?;
        Ok(Self { stream })
    }

    /// The playlist as it is.
    pub(crate) async fn playlist(&mut self) -> Result<Got> {
        self.ask(PLAYLIST, None).await
    }

    /// The playlist that has this part.
    pub(crate) async fn reload(&mut self, part: u64) -> Result<Got> {
        self.ask(&reload_target(part), None).await
    }

    /// A part of so many bytes, each of which is looked at.
    pub(crate) async fn part(&mut self, part: u64, bytes: usize) -> Result<()> {
        let path = part_path(part);
        self.ask(&path, Some((&Content::of(&path), bytes))).await.map(drop)
    }

    async fn ask(&mut self, target: &str, content: Option<(&Content, usize)>) -> Result<Got> {
        tokio::time::timeout(EXCHANGE_MAX, self.exchange(target, content))
            .await
            .with_context(|| format!("{target}: not complete within {EXCHANGE_MAX:?}"))?
            .with_context(|| target.to_owned())
    }

    async fn exchange(&mut self, target: &str, content: Option<(&Content, usize)>) -> Result<Got> {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: live.test\r\nUser-Agent: forebay-loadtest\r\n\r\n");
        let asked_at = SystemTime::now();
        self.stream.write_all(request.as_bytes()).await.context("sending the request")?;
        drop(request);
        let mut incoming = Incoming {
            first_byte_at: None,
            head: Vec::new(),
            left: None,
            received: 0,
            digest: Digest::default(),
            content,
        };
        loop {
            self.stream.readable().await?;
            if self.receive(&mut incoming)? {
                let first_byte_at = incoming.first_byte_at.context("an answer of no bytes")?;
                return Ok(Got { asked_at, first_byte_at, digest: incoming.digest });
            }
        }
    }

    /// Takes what is there; true when the answer is whole.
    fn receive(&self, incoming: &mut Incoming<'_>) -> Result<bool> {
        ROOM.with_borrow_mut(|room| {
            let received = self.stream.try_io(Interest::READABLE, || read_stamped(&self.stream, room));
            match received {
                Ok((0, _)) => bail!("the connection ended after {} bytes of the body", incoming.received),
                Ok((count, at)) => incoming.take(&room[..count], at),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// How many bytes are there, and when the last of them came.
fn read_stamped(stream: &TcpStream, room: &mut [u8]) -> io::Result<(usize, SystemTime)> {
    let mut pieces = [IoSliceMut::new(room)];
    let mut control = nix::cmsg_space!(TimeSpec);
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut pieces, Some(&mut control), MsgFlags::empty())?;
    let stamp = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(SystemTime::UNIX_EPOCH + Duration::from(stamp)),
        _ => None,
    });
    Ok((message.bytes, stamp.unwrap_or_else(SystemTime::now)))
}

// === impl Incoming ===

impl Incoming<'_> {
    /// The next bytes of the answer, and when they came; true when it is whole.
    fn take(&mut self, bytes: &[u8], at: SystemTime) -> Result<bool> {
        self.first_byte_at.get_or_insert(at);
        let Some(left) = self.left else {
            let seen = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n") else {
                ensure!(self.head.len() < HEAD_BYTES_MAX, "a response head over {HEAD_BYTES_MAX} bytes");
                return Ok(false);
            };
            let length = body_length(&self.head[..end])?;
            if let Some((_, expected)) = self.content {
                ensure!(length == expected, "Content-Length {length} instead of {expected}");
            }
            self.left = Some(length);
            self.head = Vec::new();
            return self.take_body(&bytes[end + 4 - seen..], length);
        };
        self.take_body(bytes, left)
    }

    fn take_body(&mut self, bytes: &[u8], left: usize) -> Result<bool> {
        ensure!(bytes.len() <= left, "more bytes than its Content-Length");
        match self.content {
            Some((content, _)) => {
                if let Some(at) = content.first_difference(self.received as u64, bytes) {
                    bail!("wrong byte at {at}");
                }
            }
            None => self.digest.update(bytes),
        }
        self.received += bytes.len();
        self.left = Some(left - bytes.len());
        Ok(left == bytes.len())
    }
}

/// The length that the head of a 200 announces.
fn body_length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head).context("the response head is not UTF-8")?;
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    ensure!(first.starts_with("HTTP/1.1 200 "), "{first}");
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = length.context("a response without Content-Length")?;
    length.trim().parse().with_context(|| format!("Content-Length {length}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::collections::HashSet;

    use super::*;

    fn incoming<'a>(content: Option<(&'a Content, usize)>) -> Incoming<'a> {
        let digest = Digest::default();
        Incoming { first_byte_at: None, head: Vec::new(), left: None, received: 0, digest, content }
    }

    #[test]
    fn an_answer_in_pieces_of_any_size_is_the_same_answer() {
        let mut body = vec![0; 40];
        let content = Content::of("/a");
        content.fill(0, &mut body);
        let answer = [b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n", &body[..]].concat();
        for piece in 1..=answer.len() {
            let (mut plain, mut checked) = (incoming(None), incoming(Some((&content, 40))));
            let pieces = answer.chunks(piece);
            let last = pieces.len() - 1;
            for (at, bytes) in pieces.enumerate() {
                assert_eq!(plain.take(bytes, SystemTime::now()).unwrap(), at == last, "{piece}");
                assert_eq!(checked.take(bytes, SystemTime::now()).unwrap(), at == last, "{piece}");
            }
            assert_eq!(plain.digest, Digest::of(&body), "{piece}");
        }
    }

    #[test]
    fn what_is_not_whole_and_exact_is_an_error() {
        let content = Content::of("/a");
        let error = |answer: &[u8]| {
            incoming(Some((&content, 2))).take(answer, SystemTime::now()).unwrap_err().to_string()
        };
        assert!(error(b"HTTP/1.1 503 Full\r\n\r\n").contains("503"));
        assert!(error(b"HTTP/1.1 200 OK\r\n\r\n").contains("without Content-Length"));
        assert!(error(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").contains("instead of 2"));
        assert!(error(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc").contains("more bytes"));
        assert!(error(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\x00\x00").contains("wrong byte"));
    }

    #[test]
    fn every_viewer_has_an_address_of_its_own_on_the_loopback() {
        let all: HashSet<_> = (0..VIEWERS_MAX).map(address).collect();
        assert_eq!(all.len(), VIEWERS_MAX as usize);
        assert!(all.iter().all(|address| address.ip().is_loopback()));
    }
}
