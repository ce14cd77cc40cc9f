//! Messages over a connection: JSON, one a line, of bounded length.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// The longest line, in bytes: a scenario with certificate authorities, or what a worker's viewers met in a second.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The longest first line, before it is known who speaks, in bytes.
pub(crate) const HELLO_BYTES_MAX: usize = 1024;

/// How long the other side may take to take a line.
const SEND_WAIT_MAX: Duration = Duration::from_secs(15);

/// Of these bytes of a line that makes no sense are shown.
const SHOWN_BYTES_MAX: usize = 80;

/// Lines that come in.
#[derive(Debug)]
pub(crate) struct Incoming {
    reader: BufReader<OwnedReadHalf>,
    /// The part of a line that is there. It stays when waiting for the rest is given up.
    line: Vec<u8>,
    bytes_max: usize,
}

/// Lines that go out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    writer: OwnedWriteHalf,
}

/// Both directions of a connection whose other side is not known yet: its first line is to be short.
pub(crate) fn lines(stream: TcpStream) -> Result<(Incoming, Outgoing)> {
    // A question about the time is not to wait for more to say.
    stream.set_nodelay(true).context("TCP_NODELAY")?;
    let (reader, writer) = stream.into_split();
    let incoming = Incoming { reader: BufReader::new(reader), line: Vec::new(), bytes_max: HELLO_BYTES_MAX };
    Ok((incoming, Outgoing { writer }))
}

// === impl Incoming ===

impl Incoming {
    /// Lines may be long from now on.
    pub(crate) fn trust(&mut self) {
        self.bytes_max = LINE_BYTES_MAX;
    }

    /// The next message; none: the other side has closed. Nothing is lost when the future is dropped.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        loop {
            let buffer = self.reader.fill_buf().await.context("the connection")?;
            if buffer.is_empty() {
                ensure!(self.line.is_empty(), "the connection ended within a message");
                return Ok(None);
            }
            let (taken, is_whole) = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (buffer.len(), false),
            };
            let bytes = self.line.len() + taken;
            ensure!(bytes <= self.bytes_max, "a message of over {} bytes", self.bytes_max);
            self.line.extend_from_slice(&buffer[..taken]);
            self.reader.consume(taken);
            if is_whole {
                let line = std::mem::take(&mut self.line);
                return parse(&line).map(Some);
            }
        }
    }

    /// The next message, within this time; that the other side has closed is an error.
    pub(crate) async fn within<T: DeserializeOwned>(&mut self, wait_max: Duration) -> Result<T> {
        match timeout(wait_max, self.next()).await {
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None)) => bail!("the connection was closed"),
            Ok(Err(error)) => Err(error),
            Err(_) => bail!("nothing came for {} s", wait_max.as_secs()),
        }
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T> {
    serde_json::from_slice(line).with_context(|| {
        let shown = String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES_MAX)]);
        format!("not a message of forebay-loadtest {}: {shown:?}", env!("CARGO_PKG_VERSION"))
    })
}

// === impl Outgoing ===

impl Outgoing {
    pub(crate) async fn send<T: Serialize>(&mut self, message: &T) -> Result<()> {
        let mut line = serde_json::to_vec(message).context("a message")?;
        line.push(b'\n');
        ensure!(line.len() <= LINE_BYTES_MAX, "a message of over {LINE_BYTES_MAX} bytes is not sent");
        let sent = timeout(SEND_WAIT_MAX, self.writer.write_all(&line)).await;
        sent.with_context(|| format!("a message was not taken within {SEND_WAIT_MAX:?}"))?
            .context("the connection")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Incoming, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (other, accepted) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (lines(accepted.unwrap().0).unwrap().0, other.unwrap())
    }

    #[tokio::test]
    async fn messages_come_whole_however_they_are_cut() {
        let (mut incoming, mut other) = pair().await;
        other.write_all(b"[1,").await.unwrap();
        // The waiting is given up in the middle of a line.
        let given_up = timeout(Duration::from_millis(20), incoming.next::<Vec<u32>>()).await;
        assert!(given_up.is_err());
        other.write_all(b"2]\n[3]\n[4").await.unwrap();
        assert_eq!(incoming.next::<Vec<u32>>().await.unwrap(), Some(vec![1, 2]));
        assert_eq!(incoming.next::<Vec<u32>>().await.unwrap(), Some(vec![3]));
        drop(other);
        let error = incoming.next::<Vec<u32>>().await.unwrap_err();
        assert!(error.to_string().contains("within a message"), "{error}");
    }

    #[tokio::test]
    async fn a_line_beyond_the_limit_is_refused_before_it_is_kept() {
        let (mut incoming, mut other) = pair().await;
        let sender = tokio::spawn(async move {
            let line = vec![b'1'; 4 * HELLO_BYTES_MAX];
            other.write_all(&line).await.ok();
            other
        });
        let error = incoming.next::<u64>().await.unwrap_err();
        assert!(error.to_string().contains("over 1024 bytes"), "{error}");
        assert!(incoming.line.len() <= HELLO_BYTES_MAX);
        drop(sender.await.unwrap());

        let (mut incoming, mut other) = pair().await;
        incoming.trust();
        let text = "a".repeat(4 * HELLO_BYTES_MAX);
        other.write_all(format!("\"{text}\"\n").as_bytes()).await.unwrap();
        assert_eq!(incoming.next::<String>().await.unwrap(), Some(text));
    }

    #[tokio::test]
    async fn what_is_no_message_is_shown_and_silence_and_an_end_are_named() {
        let (mut incoming, mut other) = pair().await;
        other.write_all(b"GET / HTTP/1.1\r\n\n").await.unwrap();
        let error = incoming.next::<Vec<u32>>().await.unwrap_err();
        assert!(error.to_string().contains("GET / HTTP/1.1"), "{error}");
        let error = loop {
            match incoming.within::<Vec<u32>>(Duration::from_millis(20)).await {
                Err(error) if error.to_string().contains("nothing came") => break error,
                Err(_) => {}
                Ok(message) => panic!("{message:?}"),
            }
        };
        assert!(error.to_string().contains("nothing came"), "{error}");
        drop(other);
        let error = incoming.within::<Vec<u32>>(Duration::from_secs(60)).await.unwrap_err();
        assert!(error.to_string().contains("closed"), "{error}");
    }
}
