//! One request and its answer's header on one connection.
//!
//! Decides what is sent to an origin (never a viewer's own headers, only what the caller names) and whether the header
//! that comes back can be relied on. Retries are the group's decision; the body is [`super::response`]'s.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::{BError, ErrorType};

use super::FetchRequest;
use super::error::OriginError;
use super::metrics::OriginMetrics;
use super::server::{Connection, Reach, Reuse, Server};

/// Interim (1xx) answers skipped before the real one; a server that sends more is not answering.
const INTERIM_ANSWERS_MAX: usize = 16;

/// What this node calls itself to origins.
const USER_AGENT: &str = concat!("forebay/", env!("CARGO_PKG_VERSION"));

/// The member this node adds to `Via` (RFC 9110 section 7.6.3).
const VIA: &str = "1.1 forebay";

/// Fields that belong to one connection, or that this module sets itself: never taken over from a caller.
const NOT_FORWARDED: [HeaderName; 9] = [
    header::HOST,
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
];

/// How the end of a body is told (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By `Content-Length`, in bytes.
    Length(u64),
    /// By the last chunk.
    Chunked,
    /// By the end of the connection: nothing tells a complete body from one that broke off.
    Close,
    /// There is none: an answer to HEAD, 204 or 304.
    NoBody,
}

/// A connection whose answer's header has been read.
pub(super) struct Answered {
    pub(super) connection: Connection,
    pub(super) header: ResponseHeader,
    pub(super) framing: Framing,
}

/// The header of a request that has no body, for `server`.
pub(super) fn request_header(
    server: &Server,
    request: &FetchRequest<'_>,
) -> Result<Box<RequestHeader>, OriginError> {
    let refuse = |reason: String| OriginError::Request { target: request.path_and_query.to_owned(), reason };
    let target = request.path_and_query;
    if !target.starts_with('/') || target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(refuse("it must begin with a slash and hold no spaces or control characters".to_owned()));
    }
    let build = || -> Result<RequestHeader, BError> {
        let mut out =
            RequestHeader::build(request.method.clone(), target.as_bytes(), Some(request.headers.len() + 4))?;
        out.insert_header(header::HOST, server.host.clone())?;
        out.insert_header(header::USER_AGENT, USER_AGENT)?;
        out.insert_header(header::ACCEPT_ENCODING, "identity")?;
        copy_headers(&request.headers, &mut out)?;
        out.append_header(header::VIA, VIA)?;
        Ok(out)
    };
    build().map(Box::new).map_err(|error| refuse(error.to_string()))
}

/// The caller's fields take the place of the defaults; several lines of one field stay several lines.
fn copy_headers(from: &HeaderMap, out: &mut RequestHeader) -> Result<(), BError> {
    for name in from.keys() {
        if NOT_FORWARDED.contains(name) || name.as_str() == "keep-alive" {
            continue;
        }
        out.remove_header(name);
        for value in from.get_all(name) {
            out.append_header(name.clone(), value.clone())?;
        }
    }
    Ok(())
}

/// Connects to `server`, sends `request`, reads the answer's header.
pub(super) async fn exchange(
    server: &Server,
    connector: &Connector,
    reach: &Reach,
    metrics: &OriginMetrics,
    request: &FetchRequest<'_>,
    reuse: Reuse,
) -> Result<Answered, OriginError> {
    let header = request_header(server, request)?;
    let mut connection = server.connect(connector, reach, reuse).await?;
    metrics.request(request.reason);
    let sent = Instant::now();
    let first_byte = reach.timeouts.first_byte + request.hold.unwrap_or_default();
    if request.hold.is_some() {
        // Between the bytes of the body, the response looks at the time itself.
        connection.session.set_read_timeout(Some(first_byte.max(reach.timeouts.between_bytes)));
    }
    let read = read_header(&mut connection.session, header);
    match tokio::time::timeout(first_byte, read).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(failed(server, connection.reused, error)),
        Err(_elapsed) => return Err(OriginError::FirstByteTimeout { server: Arc::clone(&server.authority) }),
    }
    metrics.first_byte(sent.elapsed().as_secs_f64());
    let malformed = |reason: String| OriginError::Malformed { server: Arc::clone(&server.authority), reason };
    let header = connection.session.response_header().cloned();
    let header = header.ok_or_else(|| malformed("no header".to_owned()))?;
    if !(200..=599).contains(&header.status.as_u16()) {
        return Err(malformed(format!("status {}", header.status.as_u16())));
    }
    let framing = framing(&request.method, &header).map_err(malformed)?;
    Ok(Answered { connection, header, framing })
}

async fn read_header(session: &mut HttpSession, request: Box<RequestHeader>) -> Result<(), BError> {
    session.write_request_header(request).await?;
    session.finish_request_body().await?;
    for _ in 0..=INTERIM_ANSWERS_MAX {
        session.read_response_header().await?;
        let status = session.response_header().map(|header| header.status);
        if status
            .is_some_and(|status| !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS)
        {
            return Ok(());
        }
    }
    pingora::Error::e_explain(ErrorType::InvalidHTTPHeader, "too many interim answers")
}

fn failed(server: &Server, reused: bool, source: BError) -> OriginError {
    let server = Arc::clone(&server.authority);
    match source.etype() {
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => {
            OriginError::Closed { server, reused, source }
        }
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => OriginError::FirstByteTimeout { server },
        // The engine's text quotes the bytes received; the log needs no more than the kind of the fault.
        _ => OriginError::Malformed { server, reason: source.etype().as_str().to_owned() },
    }
}

/// How the body that follows `header` ends. The engine reads the body by the same rules.
///
/// A transfer coding other than `chunked` was not asked for (no `TE` is sent) and cannot be undone here: an error.
fn framing(method: &Method, header: &ResponseHeader) -> Result<Framing, String> {
    if *method == Method::HEAD || matches!(header.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Framing::NoBody);
    }
    let mut codings = header.headers.get_all(header::TRANSFER_ENCODING).into_iter();
    if let Some(coding) = codings.next() {
        let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        return match (chunked, codings.next()) {
            (true, None) => Ok(Framing::Chunked),
            _ => Err("a transfer coding other than chunked".to_owned()),
        };
    }
    let Some(length) = header.headers.get(header::CONTENT_LENGTH) else { return Ok(Framing::Close) };
    // Equal values in a list count as one (RFC 9110 section 8.6); the engine has refused unequal ones.
    let length = length.to_str().ok().and_then(|list| list.split(',').next()).map(str::trim);
    match length.and_then(|length| length.parse().ok()) {
        Some(length) => Ok(Framing::Length(length)),
        None => Err("an invalid Content-Length".to_owned()),
    }
}
