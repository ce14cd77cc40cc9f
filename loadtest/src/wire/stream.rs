//! A viewer's connection as bytes: plain or TLS, and no faster than the viewer's line. It knows nothing of HTTP. Made by
//! [`super::dial`].

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::client::TlsStream;

use super::line::Line;

/// A connection, over TLS or not.
pub(crate) enum Stream {
    Plain(Limited<TcpStream>),
    Tls(Box<TlsStream<Limited<TcpStream>>>),
}

/// Bytes that are read no faster than a line gives them, if there is one.
#[derive(Debug)]
pub(crate) struct Limited<S> {
    inner: S,
    brake: Option<Box<Brake>>,
}

#[derive(Debug)]
struct Brake {
    line: Arc<Line>,
    /// Until the line is free; kept for the next time.
    sleep: Option<Pin<Box<Sleep>>>,
}

// === impl Stream ===

impl Stream {
    /// Whether both sides have agreed on HTTP/2 (ALPN, RFC 7301).
    pub(crate) fn agreed_on_h2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Whether the connection is still as it was left: open, and without a byte that nobody asked for.
    pub(crate) fn is_fresh(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(self).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Tls(_) => "Tls",
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

// === impl Limited ===

impl<S> Limited<S> {
    /// Reads from `inner` as fast as the line allows; without one, as fast as it comes.
    pub(crate) fn new(inner: S, line: Option<Arc<Line>>) -> Self {
        Self { inner, brake: line.map(|line| Box::new(Brake { line, sleep: None })) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Limited<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(brake) = &mut this.brake else {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        };
        let room = ready!(brake.poll_room(cx)).min(buf.remaining());
        let mut piece = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(Pin::new(&mut this.inner).poll_read(cx, &mut piece))?;
        let count = piece.filled().len();
        brake.line.took(count, Instant::now());
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Limited<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

// === impl Brake ===

impl Brake {
    /// Waits until the line is free, and says how many bytes may be read then.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        loop {
            // Another connection of the viewer may have been first: ask again after each wait.
            let free_at = match self.line.room(Instant::now()) {
                Ok(bytes) => return Poll::Ready(bytes),
                Err(free_at) => free_at,
            };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(free_at)));
            if sleep.deadline() != free_at {
                sleep.as_mut().reset(free_at);
            }
            ready!(sleep.as_mut().poll(cx));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_connections_of_a_viewer_share_its_line_and_hold_their_servers_up() {
        let start = Instant::now();
        let line = Line::new(8_000_000, start);
        let mut readers = Vec::new();
        for _ in 0..2 {
            let (mut server, client) = tokio::io::duplex(16 * 1024);
            let mut client = Limited::new(client, Some(line.clone()));
            readers.push(async move {
                let (mut sent_at, mut room) = (start, vec![0; 64 * 1024]);
                let send = async {
                    server.write_all(&vec![7; 1_000_000]).await.unwrap();
                    sent_at = Instant::now();
                    drop(server);
                };
                let receive = async { while client.read(&mut room).await.unwrap() > 0 {} };
                tokio::join!(send, receive);
                sent_at - start
            });
        }
        let (second, first) = (readers.pop().unwrap(), readers.pop().unwrap());
        let (a, b) = tokio::join!(first, second);
        // Two megabytes at a megabyte per second; a server is done when what is left fits into the buffer.
        let took = start.elapsed();
        assert!((1.9..2.1).contains(&took.as_secs_f64()), "{took:?}");
        assert!(a.max(b) > Duration::from_millis(1_850), "{a:?} {b:?}");
    }
}
