//! One answer of HTTP/1.1 as it comes, in pieces of any size: where its head ends, how its body is framed (RFC 9112 section
//! 6), and whether the connection can be used again.

use http::StatusCode;
use httparse::{EMPTY_HEADER, Header, Response, Status};

use super::chunked::Chunked;
use crate::fetch::{Exchange, Failure, Get, Outcome};
use crate::wire::body::{Sink, Wanted};
use crate::wire::head::Head;
use crate::wire::known::Known;

/// The longest head of an answer, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The most fields in a head.
const FIELDS_MAX: usize = 100;

/// The most interim answers (1xx) before the answer.
const INTERIM_MAX: usize = 8;

/// An answer and how far it has come.
#[derive(Debug)]
pub(crate) struct Answer {
    wanted: Wanted,
    /// What has come of a head that is not whole.
    pending: Vec<u8>,
    interim: usize,
    head: Option<Head>,
    body: Option<(Sink, Framing)>,
    keeps_alive: bool,
    heard: bool,
}

/// Where the body ends.
#[derive(Debug)]
enum Framing {
    /// After so many bytes more.
    Length(u64),
    Chunked(Chunked),
    /// With the connection.
    Close,
}

/// What the fields of a head say about the connection.
#[derive(Debug, Default)]
struct Manners {
    close: bool,
    keep_alive: bool,
    /// A transfer coding is named; whether it is `chunked`.
    coding: Option<bool>,
}

// === impl Answer ===

impl Answer {
    pub(crate) fn new(get: &Get<'_>) -> Self {
        Self {
            wanted: Wanted::of(get),
            pending: Vec::new(),
            interim: 0,
            head: None,
            body: None,
            keeps_alive: false,
            heard: false,
        }
    }

    /// Whether a byte has come.
    pub(crate) fn is_heard(&self) -> bool {
        self.heard
    }

    /// Its head, once that is whole.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Bytes of the body that have come.
    pub(crate) fn bytes(&self) -> u64 {
        self.body.as_ref().map_or(0, |(sink, _)| sink.bytes())
    }

    /// Whether the connection may be used again after the end of the answer.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.keeps_alive
    }

    /// The next bytes; true: the answer is whole.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        self.heard = true;
        if self.body.is_some() {
            return self.take_body(bytes);
        }
        let mut held = std::mem::take(&mut self.pending);
        let mut rest = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        loop {
            let Some(count) = self.take_head(rest)? else {
                self.pending = rest.to_vec();
                return Ok(false);
            };
            rest = &rest[count..];
            if self.body.is_some() {
                return self.take_body(rest);
            }
        }
    }

    /// The connection has ended. That may be the end of the answer as well.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        match self.body {
            Some((_, Framing::Close)) => Ok(()),
            _ => Err(Failure::Short),
        }
    }

    /// What has come of it so far, for the exchange.
    pub(crate) fn tell(&mut self, exchange: &mut Exchange) {
        if let Some(head) = self.head.take() {
            exchange.status = Some(head.status);
            exchange.cache = head.cache;
            exchange.headers = head.fields;
        }
        if let Some((sink, _)) = &mut self.body {
            exchange.bytes = sink.bytes();
            exchange.text = sink.take_text();
        }
    }

    /// What the whole answer was.
    pub(crate) fn verdict(&self, known: &Known) -> Outcome {
        self.body.as_ref().map_or(Outcome::Failed(Failure::Short), |(sink, _)| sink.verdict(known))
    }

    /// How long the head is that `bytes` begin with; none: not all of it is there.
    fn take_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let mut fields = [EMPTY_HEADER; FIELDS_MAX];
        let mut response = Response::new(&mut fields);
        let count = match response.parse(bytes).map_err(|_| Failure::Protocol)? {
            Status::Complete(count) if count <= HEAD_BYTES_MAX => count,
            Status::Partial if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
            _ => return Err(Failure::Protocol),
        };
        let status =
            response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Failure::Protocol)?;
        if status.is_informational() {
            self.interim += 1;
            // Nobody asked for another protocol.
            let known = self.interim <= INTERIM_MAX && status != StatusCode::SWITCHING_PROTOCOLS;
            return if known { Ok(Some(count)) } else { Err(Failure::Protocol) };
        }
        self.open(status, response.version == Some(1), response.headers)?;
        Ok(Some(count))
    }

    fn open(&mut self, status: StatusCode, is_11: bool, fields: &[Header<'_>]) -> Result<(), Failure> {
        let manners = Manners::read(fields);
        let fields = fields.iter().map(|field| (field.name, field.value));
        let mut head = Head::read(status, fields, self.wanted.reads_fields())?;
        let framing = match manners.coding {
            _ if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => {
                head.length = Some(0);
                Framing::Length(0)
            }
            Some(true) => {
                // The coding says where the end is (RFC 9112 section 6.3).
                head.length = None;
                Framing::Chunked(Chunked::default())
            }
            Some(false) => return Err(Failure::Protocol),
            None => head.length.map_or(Framing::Close, Framing::Length),
        };
        self.keeps_alive =
            !manners.close && (is_11 || manners.keep_alive) && !matches!(framing, Framing::Close);
        let sink = self.wanted.sink(&head);
        self.head = Some(head);
        self.body = Some((sink?, framing));
        Ok(())
    }

    fn take_body(&mut self, mut bytes: &[u8]) -> Result<bool, Failure> {
        let Some((sink, framing)) = &mut self.body else { return Ok(false) };
        let done = match framing {
            Framing::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                let (own, rest) = bytes.split_at(count);
                sink.push(own)?;
                *left -= count as u64;
                bytes = rest;
                *left == 0
            }
            Framing::Chunked(chunked) => {
                while let Some(data) = chunked.next(&mut bytes)? {
                    sink.push(data)?;
                }
                chunked.is_done()
            }
            Framing::Close => {
                sink.push(std::mem::take(&mut bytes))?;
                false
            }
        };
        // Bytes behind the answer are nobody's: the two sides do not agree on where it ends.
        self.keeps_alive &= bytes.is_empty();
        Ok(done)
    }
}

// === impl Manners ===

impl Manners {
    fn read(fields: &[Header<'_>]) -> Self {
        let mut manners = Self::default();
        for field in fields {
            let is_connection = field.name.eq_ignore_ascii_case("connection");
            if !is_connection && !field.name.eq_ignore_ascii_case("transfer-encoding") {
                continue;
            }
            for word in field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if is_connection {
                    manners.close |= word.eq_ignore_ascii_case(b"close");
                    manners.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
                } else {
                    // No other coding was asked for (TE), so that one besides is not understood.
                    let chunked = word.eq_ignore_ascii_case(b"chunked");
                    manners.coding = Some(chunked && manners.coding.is_none());
                }
            }
        }
        manners
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use tokio::time::Instant;
    use url::Url;

    use super::*;
    use crate::content::expected;
    use crate::fetch::{Body, Cache};

    const PATH: &str = "/media/vod/a/v0/1.300.m4s";

    fn content() -> Vec<u8> {
        let mut out = vec![0; 300];
        expected(PATH).unwrap().content.fill(0, &mut out);
        out
    }

    fn answer(body: Body) -> Answer {
        let url = Url::parse(&format!("http://a.test{PATH}")).unwrap();
        Answer::new(&Get { url: &url, range: None, fields: &[], due: Instant::now(), body, progress: None })
    }

    /// What comes of these bytes in pieces of so many, when the connection ends behind them, and whether it is kept.
    fn outcome(bytes: &[u8], piece: usize, body: Body) -> (Outcome, bool) {
        let mut answer = answer(body);
        for bytes in bytes.chunks(piece) {
            match answer.take(bytes) {
                Ok(true) => return (answer.verdict(&Known::new(2)), answer.keeps_alive()),
                Ok(false) => {}
                Err(failure) => return (Outcome::Failed(failure), false),
            }
        }
        match answer.end() {
            Ok(()) => (answer.verdict(&Known::new(2)), false),
            Err(failure) => (Outcome::Failed(failure), false),
        }
    }

    #[test]
    fn an_answer_in_pieces_of_any_size_is_the_same_answer() {
        let content = content();
        let chunks: Vec<u8> = content
            .chunks(77)
            .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
            .chain(*b"0\r\n\r\n")
            .collect();
        for (head, body, keeps) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n", &content, true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n", &chunks, true),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n",
                &content,
                true,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 300\r\nConnection: x, Close\r\n\r\n", &content, false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 300\r\n\r\n", &content, false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 300\r\nConnection: keep-alive\r\n\r\n", &content, true),
            ("HTTP/1.1 200 OK\r\n\r\n", &content, false),
        ] {
            let bytes = [head.as_bytes(), body].concat();
            for piece in 1..=bytes.len() {
                assert_eq!(outcome(&bytes, piece, Body::Media), (Outcome::Whole, keeps), "{head} {piece}");
            }
        }
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_is_short() {
        let bytes = [&b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n"[..], &content()].concat();
        for cut in 0..bytes.len() {
            let (outcome, _) = outcome(&bytes[..cut], 50, Body::Media);
            assert_eq!(outcome, Outcome::Failed(Failure::Short), "{cut}");
        }
    }

    #[test]
    fn what_is_no_http_is_told_from_what_is_wrong() {
        let media = |text: &str| outcome(text.as_bytes(), 1000, Body::Media).0;
        let many = "A: b\r\n".repeat(FIELDS_MAX + 1);
        let long = "x".repeat(HEAD_BYTES_MAX);
        for text in [
            "what?\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 300\r\nContent-Length: 301\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            &format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
            &format!("HTTP/1.1 200 OK\r\nA: {long}\r\n\r\n"),
            &format!("HTTP/1.1 200 OK\r\nA: {long}{long}"),
            &"HTTP/1.1 100 Continue\r\n\r\n".repeat(INTERIM_MAX + 1),
        ] {
            assert_eq!(media(text), Outcome::Failed(Failure::Protocol), "{text:.60}");
        }
        assert_eq!(media("HTTP/1.1 204 No Content\r\n\r\n"), Outcome::Whole);
        assert_eq!(media("HTTP/1.1 304 Not Modified\r\nContent-Length: 300\r\n\r\n"), Outcome::Whole);
        assert_eq!(media("HTTP/1.1 200 OK\r\nContent-Length: 299\r\n\r\n"), Outcome::Failed(Failure::Length));
    }

    #[test]
    fn bytes_behind_the_answer_end_the_connection() {
        let bytes = [&b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n"[..], &content(), b"H"].concat();
        assert_eq!(outcome(&bytes, 4096, Body::Media), (Outcome::Whole, false));
    }

    #[test]
    fn a_text_and_its_fields_are_told_and_of_media_only_what_the_cache_says() {
        let now = Instant::now();
        let text =
            b"HTTP/1.1 200 OK\r\nCache-Status: a; hit\r\nSet-Cookie: b=c\r\nContent-Length: 3\r\n\r\nabc";
        let told = |body| {
            let (mut answer, mut exchange) = (answer(body), crate::wire::nothing_yet(now));
            answer.take(text).ok();
            answer.tell(&mut exchange);
            exchange
        };
        let exchange = told(Body::Text { bytes_max: 3 });
        assert_eq!((&exchange.text[..], exchange.bytes), (&b"abc"[..], 3));
        assert_eq!((exchange.headers.len(), exchange.cache), (3, Cache::Hit));
        let exchange = told(Body::Media);
        assert_eq!((exchange.status, exchange.cache), (Some(StatusCode::OK), Cache::Hit));
        assert!(exchange.headers.is_empty() && exchange.text.is_empty());
    }
}
