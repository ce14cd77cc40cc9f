//! Looks at the ClientHello of a TLS connection before the TLS library does, for its JA4.
//!
//! Decides nothing about the connection: what has been read is put back, whatever it was, so that the library finds every
//! byte where it was and says itself what is wrong with one. The fingerprint goes with the connection as the engine's
//! proxy digest, which each request of it shows, over HTTP/1.1 and HTTP/2 alike. Set up only where somebody asks for
//! fingerprints; plaintext connections never come here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::listeners::{PreTlsCallback, PreTlsProcess};
use pingora::protocols::GetProxyDigest;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora_timeout::timeout;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::admission::ja4::{HELLO_BYTES_MAX, Hello, Ja4, Progress};

/// Bytes that are made room for at once: most hellos come whole in one read.
const READ_BYTES: usize = 2 << 10;

/// Reads hellos, each for so long and no longer.
struct Hellos {
    limit: Duration,
}

/// What looks at each TLS connection before its handshake, for at most `limit`. The handshake goes on after that, and the
/// client is without a fingerprint.
pub(super) fn fingerprints(limit: Duration) -> PreTlsCallback {
    Arc::new(Hellos { limit })
}

#[async_trait]
impl PreTlsProcess for Hellos {
    async fn process(&self, stream: &mut Stream) -> Result<()> {
        let mut sent = Vec::new();
        // What was read before the time was up is in `sent`.
        let ja4 = timeout(self.limit, read(stream, &mut sent)).await.ok().flatten();
        stream.rewind(&sent);
        if let Some(ja4) = ja4 {
            // The engine asks for the answer of a proxy; nothing reads it.
            let answer = ResponseHeader::build(200, Some(0))?;
            stream.set_proxy_digest(ProxyDigest::new(Box::new(answer), Some(Box::new(ja4))));
        }
        Ok(())
    }
}

/// The fingerprint of the hello that a client sends, and what it has sent so far. A connection that ends or fails, or sends
/// something else, has none.
async fn read(stream: &mut (impl AsyncRead + Unpin), sent: &mut Vec<u8>) -> Option<Ja4> {
    let mut hello = Hello::default();
    while sent.len() <= HELLO_BYTES_MAX {
        sent.reserve(READ_BYTES);
        if stream.read_buf(sent).await.ok()? == 0 {
            return None;
        }
        match hello.read(sent) {
            Progress::More => {}
            Progress::Whole(ja4) => return Some(ja4),
            Progress::Unknown => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const HELLO: &str = include_str!("../../tests/hellos/chromium.hex");
    const HOUR: Duration = Duration::from_secs(3600);

    fn hello() -> Vec<u8> {
        hex::decode(HELLO.split_whitespace().collect::<String>()).unwrap()
    }

    async fn connected() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        (client, listener.accept().await.unwrap().0.into())
    }

    fn ja4(stream: &Stream) -> Option<String> {
        let digest = stream.get_proxy_digest()?;
        digest.user_data.as_ref()?.downcast_ref::<Ja4>().map(Ja4::to_string)
    }

    /// What the TLS library finds after the client has closed its side.
    async fn rest(stream: &mut Stream) -> Vec<u8> {
        let mut found = Vec::new();
        stream.read_to_end(&mut found).await.unwrap();
        found
    }

    #[tokio::test]
    async fn a_hello_in_pieces_is_known_and_put_back_whole() {
        for piece in [100, 600, 5000] {
            let (mut client, mut stream) = connected().await;
            let sent = hello();
            let pieces = sent.clone();
            let writer = tokio::spawn(async move {
                for part in pieces.chunks(piece) {
                    client.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
                client.write_all(b"and more").await.unwrap();
            });
            fingerprints(HOUR).process(&mut stream).await.unwrap();
            writer.await.unwrap();
            assert_eq!(ja4(&stream).as_deref(), Some("t13d1517h2_8daaf6152771_cb7bf5808d99"));
            assert_eq!(rest(&mut stream).await, [&sent[..], b"and more"].concat(), "pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn what_is_no_hello_is_put_back_and_has_no_fingerprint() {
        let cut = &hello()[..700];
        let cases: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n\r\n", &[], cut, &[22; 40_000]];
        for sent in cases {
            let (mut client, mut stream) = connected().await;
            let (own, sent) = (sent.to_vec(), sent);
            let writer = tokio::spawn(async move { client.write_all(&own).await });
            fingerprints(HOUR).process(&mut stream).await.unwrap();
            assert_eq!(ja4(&stream), None);
            assert_eq!(rest(&mut stream).await, sent);
            writer.await.unwrap().unwrap();
        }
    }

    /// Nobody waits for the rest of what cannot be a hello: the client has not closed.
    #[tokio::test]
    async fn plaintext_is_not_waited_for() {
        let (mut client, mut stream) = connected().await;
        client.write_all(b"GET").await.unwrap();
        fingerprints(HOUR).process(&mut stream).await.unwrap();
        drop(client);
        assert_eq!(rest(&mut stream).await, b"GET");
    }

    #[tokio::test]
    async fn a_client_that_stalls_is_let_go_on_without_a_fingerprint() {
        let (mut client, mut stream) = connected().await;
        client.write_all(&hello()[..300]).await.unwrap();
        fingerprints(Duration::from_millis(30)).process(&mut stream).await.unwrap();
        assert_eq!(ja4(&stream), None);
        client.write_all(&hello()[300..]).await.unwrap();
        drop(client);
        assert_eq!(rest(&mut stream).await, hello());
    }
}
