//! One request and its answer's header on one connection.
//!
//! Decides what is sent to an origin (never a viewer's own headers, only what the caller names) and whether the header
//! that comes back can be relied on. Retries are the group's decision; the body is [`super::response`]'s.

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::{BError, ErrorType};
use tokio::time::Instant;

use super::FetchRequest;
use super::error::OriginError;
use super::metrics::OriginMetrics;
use super::server::{Connection, Reach, Reuse, Server};
use super::sign::complete;
use crate::admission::token::Claims;
use crate::cache::tier::distrust;
use crate::tier::loops::{self, CDN_LOOP};
use crate::tier::{Asking, HOP};

/// Interim (1xx) answers skipped before the real one; a server that sends more is not answering.
const INTERIM_ANSWERS_MAX: usize = 16;

/// Bytes of an object store's words for an error that are read, so that its connection can be used again.
const ERROR_BYTES_MAX: usize = 16 << 10;

/// What this node calls itself to origins.
const USER_AGENT: &str = concat!("forebay/", env!("CARGO_PKG_VERSION"));

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
    /// When the whole answer must have come.
    pub(super) until: Instant,
}

/// The header of a request that has no body, for `server`: signed last, anew for each attempt.
pub(super) fn request_header(
    server: &Server,
    reach: &Reach,
    request: &FetchRequest<'_>,
) -> Result<Box<RequestHeader>, OriginError> {
    let refuse = |reason: String| OriginError::Request { target: request.path_and_query.to_owned(), reason };
    let target = request.path_and_query;
    if !target.starts_with('/') || target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(refuse("it must begin with a slash and hold no spaces or control characters".to_owned()));
    }
    let build = || -> Result<RequestHeader, BError> {
        let mut out =
            RequestHeader::build(request.method.clone(), target.as_bytes(), Some(request.headers.len() + 6))?;
        out.insert_header(header::HOST, server.host.clone())?;
        out.insert_header(header::USER_AGENT, USER_AGENT)?;
        out.insert_header(header::ACCEPT_ENCODING, "identity")?;
        copy_headers(&request.headers, &mut out)?;
        if let Some(conditions) = request.conditions.filter(|_| reach.role.is_some()) {
            copy_headers(conditions, &mut out)?;
        }
        out.append_header(header::VIA, reach.identity.names.via.clone())?;
        let passed = request.cdn_loop.map(|passed| passed.list.clone());
        for member in passed.into_iter().chain(loops::own(&reach.identity.names)) {
            out.append_header(CDN_LOOP, member)?;
        }
        Ok(out)
    };
    let mut out = build().map(Box::new).map_err(|error| refuse(error.to_string()))?;
    complete(&mut out, reach, request.host, SystemTime::now()).map_err(refuse)?;
    sign(reach, request, &mut out).map_err(|error| refuse(error.to_string()))?;
    Ok(out)
}

/// Says to a node of the next tier who asks, last of all: what is signed is what is sent.
fn sign(reach: &Reach, request: &FetchRequest<'_>, out: &mut RequestHeader) -> Result<(), BError> {
    const NO_CLAIMS: &Claims = &Claims::NONE;
    let Some(role) = reach.role else { return Ok(()) };
    let host = out.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let hop = reach.identity.sign(&Asking {
        role,
        method: request.method.as_str(),
        host,
        target: request.path_and_query.as_bytes(),
        nodes: request.cdn_loop.map_or(0, |passed| passed.nodes),
        hold: request.hold,
        claims: request.claims.unwrap_or(NO_CLAIMS),
    });
    hop.map_or(Ok(()), |hop| out.insert_header(HOP, hop))
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
    let header = request_header(server, reach, request)?;
    let mut connection = server.connect(connector, reach, reuse).await?;
    metrics.request(request.reason);
    let sent = Instant::now();
    let hold = request.hold.unwrap_or_default();
    let total = reach.timeouts.total + hold;
    let first_byte = (reach.timeouts.first_byte + hold).min(total);
    if request.hold.is_some() {
        // Between the bytes of the body, the response looks at the time itself.
        connection.session.set_read_timeout(Some(first_byte.max(reach.timeouts.between_bytes)));
    }
    let read = read_header(&mut connection.session, header);
    let error = match tokio::time::timeout(first_byte, read).await {
        Ok(Ok(())) => {
            metrics.first_byte(sent.elapsed().as_secs_f64());
            match understood(&connection, &request.method, reach) {
                Ok((header, framing)) if reach.hides_errors() => {
                    let told = (framing, sent + total);
                    return Ok(without_words(connection, header, told, server, reach).await);
                }
                Ok((header, framing)) => {
                    return Ok(Answered { connection, header, framing, until: sent + total });
                }
                Err(reason) => OriginError::Malformed { server: Arc::clone(&server.authority), reason },
            }
        }
        Ok(Err(error)) => {
            if *error.etype() == ErrorType::H2Downgrade {
                server.wants_http1(connector, &connection.peer);
            }
            failed(server, connection.reused, error)
        }
        Err(_elapsed) => OriginError::FirstByteTimeout { server: Arc::clone(&server.authority) },
    };
    let suspect = matches!(error, OriginError::FirstByteTimeout { .. });
    connection.give_up(connector, suspect);
    Err(error)
}

/// The answer's header and framing.
fn understood(
    connection: &Connection,
    method: &Method,
    reach: &Reach,
) -> Result<(ResponseHeader, Framing), String> {
    let mut header = connection.session.response_header().cloned().ok_or("no header")?;
    if reach.role.is_none() {
        distrust(&mut header);
    }
    if !(200..=599).contains(&header.status.as_u16()) {
        return Err(format!("status {}", header.status.as_u16()));
    }
    let framing = match framing(method, &header)? {
        // A stream of HTTP/2 has an end of its own.
        Framing::Close if connection.is_http2() => Framing::Chunked,
        framing => framing,
    };
    // What is kept and passed on is the same whatever it came over.
    header.set_version(Version::HTTP_11);
    Ok((header, framing))
}

/// An answer whose words for an error are read and left out, with fields that name places of the store.
async fn without_words(
    mut connection: Connection,
    mut header: ResponseHeader,
    (framing, until): (Framing, Instant),
    server: &Server,
    reach: &Reach,
) -> Answered {
    if !hide_words(&mut header) {
        return Answered { connection, header, framing, until };
    }
    let mut words = Vec::new();
    if !matches!(framing, Framing::NoBody | Framing::Length(0)) {
        let session = &mut connection.session;
        let read = async {
            while words.len() <= ERROR_BYTES_MAX && !session.response_done() {
                match session.read_response_body().await {
                    Ok(Some(bytes)) => words.extend_from_slice(&bytes),
                    Ok(None) => return,
                    Err(_) => return,
                }
            }
        };
        let in_time = tokio::time::timeout(reach.timeouts.between_bytes, read).await.is_ok();
        if !connection.is_http2() {
            connection.keeps &= in_time && connection.session.response_done();
        }
    }
    let (code, status) = (error_code(&words), header.status.as_u16());
    match code {
        // What a viewer can bring about by asking for something else.
        None | Some("NoSuchKey" | "AccessDenied" | "NoSuchVersion" | "InvalidRange") => {
            tracing::debug!(server = %server.authority, status, code, "the object store has no answer");
        }
        Some(_) => {
            tracing::warn!(server = %server.authority, status, code, "the object store refuses requests")
        }
    }
    Answered { connection, header, framing: Framing::NoBody, until }
}

/// Takes the place of what an object store says of an error: it has no body, and names no place. False: it is no error.
pub(super) fn hide_words(header: &mut ResponseHeader) -> bool {
    let status = header.status;
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return false;
    }
    let gone = [header::CONTENT_TYPE, header::TRANSFER_ENCODING, header::LOCATION, header::CONTENT_LENGTH];
    for name in gone.iter().chain(&[HeaderName::from_static("x-amz-bucket-region")]) {
        header.remove_header(name);
    }
    // A name and a value that are constant fit into a header.
    let _ = header.insert_header(header::CONTENT_LENGTH, "0");
    true
}

/// The code in an object store's words for an error: letters.
fn error_code(words: &[u8]) -> Option<&str> {
    let (_, after) = std::str::from_utf8(words).ok()?.split_once("<Code>")?;
    let (code, _) = after.split_once("</Code>")?;
    (code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(code)
}

async fn read_header(session: &mut HttpSession, request: Box<RequestHeader>) -> Result<(), BError> {
    if let HttpSession::H2(session) = session {
        session.write_request_header(request, true)?;
        // The engine skips interim answers itself, and must not be asked for a second header.
        return session.read_response_header().await;
    }
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
    if let Some(error) = source.root_cause().downcast_ref::<h2::Error>() {
        return match http2_fault(error) {
            Http2Fault::Unread => OriginError::Closed { server, reused: true, source },
            Http2Fault::Closed => OriginError::Closed { server, reused, source },
            Http2Fault::Reset => OriginError::Closed { server, reused: false, source },
            Http2Fault::Malformed => {
                OriginError::Malformed { server, reason: source.etype().as_str().to_owned() }
            }
        };
    }
    match source.etype() {
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => {
            OriginError::Closed { server, reused, source }
        }
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => OriginError::FirstByteTimeout { server },
        // The engine's text quotes the bytes received; the log needs no more than the kind of the fault.
        _ => OriginError::Malformed { server, reason: source.etype().as_str().to_owned() },
    }
}

/// What a fault of HTTP/2 before an answer means.
enum Http2Fault {
    /// The server has not looked at the request, and says so (RFC 9113 sections 6.8, 7 and 8.7).
    Unread,
    /// The connection has ended.
    Closed,
    /// The server has given the request up.
    Reset,
    /// What came is not HTTP/2.
    Malformed,
}

fn http2_fault(error: &h2::Error) -> Http2Fault {
    let unread = match error.reason() {
        Some(h2::Reason::NO_ERROR) => error.is_go_away(),
        Some(h2::Reason::REFUSED_STREAM | h2::Reason::HTTP_1_1_REQUIRED) => true,
        _ => false,
    };
    if error.is_remote() {
        if unread { Http2Fault::Unread } else { Http2Fault::Reset }
    } else if error.is_io() {
        Http2Fault::Closed
    } else {
        Http2Fault::Malformed
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
