//! Writes an answer to the connection: header, then body chunk by chunk as it is there.
//!
//! A body that breaks off ends the transfer broken: over HTTP/1.1 the connection closes short of the announced length
//! or without the last chunk, over HTTP/2 the stream is reset. That is the engine's doing on an error; this module only
//! never ends such a body.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::{Error, ErrorType, Result};

use super::encode::Selected;
use super::multipart::Multipart;
use super::plan::Plan;
use crate::steering::egress::Egress;
use crate::store::body::CHUNK_BYTES;
use crate::store::{BodyError, ContentReader, Object};

/// Sends what was selected of an object, by its plan. Its bytes are counted in `egress`, if anybody asks for them.
///
/// # Errors
/// When the client or the body breaks off; bytes may have been sent.
pub async fn object(
    session: &mut ServerSession,
    object: &Arc<Object>,
    selected: &Selected,
    plan: &Plan,
    mut header: ResponseHeader,
    egress: Option<&Egress>,
) -> Result<()> {
    let request = session.req_header();
    let headless = request.method == Method::HEAD
        || matches!(plan, Plan::NotModified | Plan::Failed | Plan::Unsatisfiable(_))
        || object.status() == StatusCode::NO_CONTENT;
    if !headless && !header.headers.contains_key(CONTENT_LENGTH) && request.version == Version::HTTP_11 {
        // Without it the engine would let the end of the connection end the body.
        super::fields::set(&mut header, TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if headless {
        return head(session, header).await;
    }
    if !header.headers.contains_key(CONTENT_LENGTH) && session.req_header().version == Version::HTTP_10 {
        // HTTP/1.0 could not tell a broken body from a whole one: it is sent once its length is known.
        let start = if let Plan::Onward { start } = plan { *start } else { 0 };
        let len = whole_length(object).await?.saturating_sub(start);
        super::fields::set(&mut header, CONTENT_LENGTH, HeaderValue::from(len));
    }
    if let Some(rewritten) = &selected.rewritten {
        let text = rewritten.gather(object).map_err(broken)?;
        session.write_response_header(Box::new(header)).await?;
        egress.into_iter().for_each(|egress| egress.add(text.len()));
        return whole_text(session, text).await;
    }
    let mut reader = selected.content(object).reader();
    match plan {
        Plan::Part { start, end, .. } => reader.seek(*start, Some(*end)),
        Plan::Onward { start } => reader.seek(*start, None),
        _ => {}
    }
    if session.as_http1().is_some_and(|http1| http1.digest().ssl_digest.is_none()) {
        reader.count_plain();
    }
    session.write_response_header(Box::new(header)).await?;
    let mut reader = Counting { reader, egress };
    match plan {
        Plan::Parts(multipart) => parts(session, &mut reader, multipart).await,
        _ => body(session, &mut reader, Then::End).await,
    }
}

/// Sends a body that is here, a chunk at a time.
async fn whole_text(session: &mut ServerSession, mut text: Bytes) -> Result<()> {
    while text.len() > CHUNK_BYTES {
        session.write_response_body(text.split_to(CHUNK_BYTES), false).await?;
    }
    session.write_response_body(text, true).await
}

/// Sends several parts of a body.
async fn parts(session: &mut ServerSession, reader: &mut Counting<'_>, multipart: &Multipart) -> Result<()> {
    for (place, part) in multipart.parts().iter().enumerate() {
        session.write_response_body(multipart.head(place), false).await?;
        reader.reader.seek(part.start, Some(part.end));
        body(session, reader, Then::More).await?;
    }
    session.write_response_body(multipart.tail(), true).await
}

/// Waits until all of a body is there; gives its length.
async fn whole_length(object: &Object) -> Result<u64> {
    if !object.body.is_kept() {
        return Error::e_explain(ErrorType::HTTPStatus(502), "HTTP/1.0 and a length that will not be known");
    }
    object.body.whole_length().await.map_err(broken)
}

fn broken(error: BodyError) -> Box<Error> {
    Error::because(ErrorType::ReadError, "the body broke off", error)
}

/// Sends a header and nothing more.
///
/// # Errors
/// When the client has gone.
pub async fn head(session: &mut ServerSession, header: ResponseHeader) -> Result<()> {
    session.write_response_header(Box::new(header)).await?;
    session.write_response_body(Bytes::new(), true).await
}

/// Sends a header and a small body.
///
/// # Errors
/// When the client has gone.
pub async fn text(session: &mut ServerSession, header: ResponseHeader, body: Bytes) -> Result<()> {
    if session.req_header().method == Method::HEAD || body.is_empty() {
        return head(session, header).await;
    }
    session.write_response_header(Box::new(header)).await?;
    session.write_response_body(body, true).await
}

/// A reader of what is sent, which is counted.
struct Counting<'e> {
    reader: ContentReader,
    egress: Option<&'e Egress>,
}

impl Counting<'_> {
    fn try_next(&mut self) -> Result<Option<Option<Bytes>>, BodyError> {
        let next = self.reader.try_next()?;
        self.count(next.as_ref().and_then(Option::as_ref));
        Ok(next)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let next = self.reader.next().await?;
        self.count(next.as_ref());
        Ok(next)
    }

    fn count(&self, next: Option<&Bytes>) {
        if let Some((egress, data)) = self.egress.zip(next) {
            egress.add(data.len());
        }
    }
}

/// What follows on what a reader gives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Nothing: the answer ends.
    End,
    /// More of the answer.
    More,
}

/// Sends what a reader gives; the last chunk carries the end of the answer where it is known to be the last.
async fn body(session: &mut ServerSession, reader: &mut Counting<'_>, then: Then) -> Result<()> {
    let mut next = match reader.try_next().map_err(broken)? {
        Some(first) => first,
        None => {
            // The header need not wait for the body.
            flush(session).await?;
            reader.next().await.map_err(broken)?
        }
    };
    while let Some(data) = next {
        match reader.try_next().map_err(broken) {
            Ok(Some(after)) => {
                session.write_response_body(data, after.is_none() && then == Then::End).await?;
                if after.is_none() {
                    return Ok(());
                }
                next = after;
            }
            Ok(None) => {
                session.write_response_body(data, false).await?;
                flush(session).await?;
                next = reader.next().await.map_err(broken)?;
            }
            Err(error) => {
                session.write_response_body(data, false).await?;
                return Err(error);
            }
        }
    }
    if then == Then::More {
        return Ok(());
    }
    session.write_response_body(Bytes::new(), true).await
}

/// Sends what the connection still buffers. Over HTTP/1.1 the engine does so at the end of a body only; but it does
/// before it reports a failure that it is handed, so it is handed one. HTTP/2 buffers nothing.
async fn flush(session: &mut ServerSession) -> Result<()> {
    if session.as_http1().is_none() {
        return Ok(());
    }
    let limit = session.get_write_timeout();
    let handed = Error::new(FLUSHED);
    let flushed = session.response_duplex_vec(vec![HttpTask::Body(None, false), HttpTask::Failed(handed)]);
    let flushed = match limit {
        Some(limit) => match tokio::time::timeout(limit, flushed).await {
            Ok(flushed) => flushed,
            Err(_) => return Error::e_explain(ErrorType::WriteTimedout, "the client stopped reading"),
        },
        None => flushed.await,
    };
    match flushed {
        Err(error) if *error.etype() != FLUSHED => Err(error),
        _ => Ok(()),
    }
}

/// The failure that means that nothing failed.
const FLUSHED: ErrorType = ErrorType::Custom("flushed");
