//! What is to be explained: a request and, if told, the origin's answer to it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use pingora::http::RequestHeader;

/// A request, and the answer that is assumed.
#[derive(Clone, Debug)]
pub struct Question {
    /// The method.
    pub method: Method,
    /// An absolute `http` or `https` URL.
    pub url: Uri,
    /// Fields of the request.
    pub headers: HeaderMap,
    /// The client's address, for tokens that are bound to one.
    pub client: IpAddr,
    /// When it is asked and answered.
    pub at: SystemTime,
    /// Status of the answer.
    pub status: StatusCode,
    /// Fields of the answer.
    pub response_headers: HeaderMap,
    /// Body of the answer, where it is a playlist or a DASH manifest.
    pub playlist: Option<Vec<u8>>,
}

impl Question {
    /// GET of a URL by a client on this machine, answered 200 without a field.
    ///
    /// # Errors
    /// A sentence, when it is no absolute URL.
    pub fn new(url: &str, at: SystemTime) -> Result<Question, String> {
        let uri: Uri = url.parse().map_err(|_| {
            format!("\"{}\" is no URL; percent-encode what a URL cannot hold", url.escape_debug())
        })?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            let example = "such as https://live.example.com/index.m3u8";
            return Err(format!("\"{}\" is no absolute URL; write one {example}", url.escape_debug()));
        }
        Ok(Question {
            method: Method::GET,
            url: uri,
            headers: HeaderMap::new(),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            at,
            status: StatusCode::OK,
            response_headers: HeaderMap::new(),
            playlist: None,
        })
    }

    /// The request as a client sends it: the target without scheme and host, and `Host`. None: it cannot be sent.
    pub(super) fn header(&self) -> Option<RequestHeader> {
        let target = self.url.path_and_query().map_or("/", PathAndQuery::as_str);
        let target = if target.starts_with('?') { format!("/{target}") } else { target.to_owned() };
        let mut header = RequestHeader::build(self.method.clone(), target.as_bytes(), None).ok()?;
        for (name, value) in &self.headers {
            header.append_header(name.clone(), value.clone()).ok()?;
        }
        header.insert_header(HOST, self.url.authority()?.as_str()).ok()?;
        Some(header)
    }
}

/// Reads a method.
///
/// # Errors
/// A sentence.
pub fn method(text: &str) -> Result<Method, String> {
    text.parse().map_err(|_| format!("\"{}\" is no method; write one such as GET", text.escape_debug()))
}

/// Reads the status of an answer.
///
/// # Errors
/// A sentence.
pub fn status(number: u16) -> Result<StatusCode, String> {
    let status = StatusCode::from_u16(number).ok().filter(|status| (200..600).contains(&status.as_u16()));
    status.ok_or_else(|| format!("{number} is not the status of an answer; write one from 200 to 599"))
}

/// Reads `Name: value`.
///
/// # Errors
/// A sentence.
pub fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("\"{}\" is no header field; write it as 'Name: value'", text.escape_debug());
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    named_field(name, value).map_err(|_| wrong())
}

/// Reads a field of which name and value are apart.
///
/// # Errors
/// A sentence.
pub fn named_field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let field = (name.trim().parse(), value.trim().parse());
    match field {
        (Ok(name), Ok(value)) => Ok((name, value)),
        _ => Err(format!("\"{}\" is no header field, or its value cannot be sent", name.escape_debug())),
    }
}
