//! A plaintext connection that has the kernel send what stands in the arena, instead of copying it into the socket.
//!
//! Decides per write: bytes of the arena go by `sendfile`, everything else by the engine's own stream, in its order.
//! Readiness stays the engine's: where the socket takes nothing, the engine's stream is asked to write a little, which
//! either does so or waits. A call that fails is left to it too, so that errors are its own.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::store::arena::Arena;

/// Bytes of the smallest write that the kernel is handed; also what is copied at most while the socket is full.
const SENT_BYTES_MIN: usize = 16 * 1024;

/// The connection. Its inner stream is the engine's over TCP.
#[derive(Debug)]
struct ZeroCopy {
    inner: Stream,
    arena: Arc<Arena>,
    /// The last call was not taken whole: the next one would find the socket full.
    full: bool,
}

/// The stream, sending what is in the arena without a copy if it is plaintext.
pub(super) fn wrap(stream: Stream, arena: &Arc<Arena>) -> Stream {
    if stream.as_any().is::<TcpStream>() {
        Box::new(ZeroCopy { inner: stream, arena: Arc::clone(arena), full: false })
    } else {
        stream
    }
}

impl ZeroCopy {
    /// Sends bytes that stand in the arena at `offset`.
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8], offset: u64) -> Poll<io::Result<usize>> {
        // What was written before them may still be buffered.
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        let mut copied = bytes.get(..SENT_BYTES_MIN).unwrap_or(bytes);
        if !std::mem::take(&mut self.full)
            && let Some(socket) = self.inner.as_any().downcast_ref::<TcpStream>()
        {
            match self.arena.send(socket, offset, bytes.len()) {
                Ok(sent) if sent > 0 => {
                    self.full = sent < bytes.len();
                    return Poll::Ready(Ok(sent));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => copied = bytes,
            }
        }
        Pin::new(&mut self.inner).poll_write(cx, copied)
    }
}

impl AsyncWrite for ZeroCopy {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() >= SENT_BYTES_MIN
            && let Some(offset) = self.arena.offset_of(bytes)
        {
            return self.poll_send(cx, bytes, offset);
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

impl AsyncRead for ZeroCopy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

/// Plaintext has no TLS to tell of.
impl Ssl for ZeroCopy {}

impl UniqueID for ZeroCopy {
    fn id(&self) -> i32 {
        self.inner.id()
    }
}

#[async_trait]
impl Peek for ZeroCopy {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buffer).await
    }
}

#[async_trait]
impl Shutdown for ZeroCopy {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl GetTimingDigest for ZeroCopy {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for ZeroCopy {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.inner.set_proxy_digest(digest);
    }
}

impl GetSocketDigest for ZeroCopy {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.inner.set_socket_digest(digest);
    }
}
