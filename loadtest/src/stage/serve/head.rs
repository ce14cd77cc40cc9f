//! Request heads: read without a buffer while a connection is idle, parsed, and bounded. Called by [`super::Server`].

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::net::TcpStream;

/// The longest request head, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The most header fields of a request.
const FIELDS_MAX: usize = 96;

/// What is read at once, in bytes.
const READ_BYTES: usize = 4096;

/// A request without a body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    /// The connection ends after the answer.
    pub(super) closes: bool,
}

/// The next request head; none at a clean end of the connection. What follows it stays in the buffer.
pub(super) async fn read(stream: &TcpStream, buffer: &mut BytesMut) -> Result<Option<Head>> {
    loop {
        if let Some((head, bytes)) = parse(buffer)? {
            buffer.advance(bytes);
            if buffer.is_empty() {
                // An idle connection has no buffer.
                *buffer = BytesMut::new();
            }
            return Ok(Some(head));
        }
        ensure!(buffer.len() < HEAD_BYTES_MAX, "a request head over {HEAD_BYTES_MAX} bytes");
        stream.readable().await?;
        buffer.reserve(READ_BYTES);
        match stream.try_read_buf(buffer) {
            Ok(0) if buffer.is_empty() => return Ok(None),
            Ok(0) => bail!("the connection ended within a request head"),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The head at the beginning of these bytes, and its length; none: it is not whole yet.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(length) = request.parse(bytes).context("no HTTP request")? else {
        return Ok(None);
    };
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for field in request.headers.iter() {
        headers.append(HeaderName::from_bytes(field.name.as_bytes())?, HeaderValue::from_bytes(field.value)?);
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    ensure!(!has_body, "a request with a body");
    let is_old = request.version == Some(0);
    let names_close = headers.get_all(CONNECTION).iter().any(|value| {
        let options = value.to_str().unwrap_or("").split(',');
        options.map(str::trim).any(|option| option.eq_ignore_ascii_case("close"))
    });
    let target = request.path.context("no target")?;
    // A proxy may ask by the whole URL.
    let target = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let method = Method::from_bytes(request.method.context("no method")?.as_bytes())?;
    Ok(Some((Head { method, path: path.to_owned(), query, headers, closes: is_old || names_close }, length)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn a_request_is_understood_with_its_query_and_what_follows_is_left() {
        let bytes = b"GET /a/b?c=d?e HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\nGET /next";
        let (head, length) = parse(bytes).unwrap().unwrap();
        assert_eq!((head.path.as_str(), head.query.as_deref()), ("/a/b", Some("c=d?e")));
        assert_eq!(head.headers["range"], "bytes=0-1");
        assert_eq!(&bytes[length..], b"GET /next");
        assert!(!head.closes);
        for length in 0..length {
            assert!(parse(&bytes[..length]).unwrap().is_none(), "{length}");
        }
    }

    #[test]
    fn a_connection_ends_after_a_request_that_says_so_or_is_of_http_1_0() {
        for head in ["GET / HTTP/1.1\r\nConnection: keep-alive, Close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"] {
            assert!(parse(head.as_bytes()).unwrap().unwrap().0.closes, "{head}");
        }
        let whole = "GET http://origin:80/a?b HTTP/1.1\r\n\r\n";
        assert_eq!(parse(whole.as_bytes()).unwrap().unwrap().0.path, "/a");
    }

    #[test]
    fn a_request_with_a_body_or_too_many_fields_or_no_http_is_refused() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX + 1));
        for head in [
            "GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
            "\0\r\n\r\n",
            "GET / HTTP/2\r\n\r\n",
            many.as_str(),
        ] {
            assert!(parse(head.as_bytes()).is_err(), "{head}");
        }
    }
}
