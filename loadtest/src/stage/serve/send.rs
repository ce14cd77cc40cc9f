//! Answers on a connection: the head, and the body piece by piece as it is computed, grows, is throttled, is broken off. A peer that
//! does not read is waited for so long and no longer. Called by [`super::Server`].

use std::cell::RefCell;
use std::io::{ErrorKind, IoSlice};
use std::time::Duration;

use anyhow::{Context, Result};
use http::StatusCode;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Scene;
use crate::content;
use crate::stage::{Answer, Content};

/// The largest piece of a body, in bytes; each thread has one buffer of this size.
const PIECE_BYTES: u64 = 64 * 1024;

/// How long one piece may take to be written: a peer reads a kilobyte per second at the least.
const PIECE_TIME_MAX: Duration = Duration::from_secs(60);

/// Pieces per second of a throttled body.
const THROTTLED_PIECES_PER_SECOND: u64 = 20;

thread_local! {
    static PIECE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Sending<'a> {
    pub(super) stream: &'a TcpStream,
    pub(super) answer: &'a Answer,
    pub(super) path: &'a str,
    pub(super) scene: &'a Scene,
}

/// Sends a short answer that is all there.
pub(super) async fn whole(stream: &TcpStream, answer: &Answer, closes: bool) -> Result<()> {
    let mut out = head(answer, closes);
    if let Content::Text(text) = &answer.body {
        out.extend_from_slice(text);
    }
    write(stream, &mut out.as_slice(), 0..0, |_, _| {}).await?;
    Ok(())
}

/// The head of an answer.
fn head(answer: &Answer, closes: bool) -> Vec<u8> {
    let status = answer.status.unwrap_or(500);
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("");
    let mut out = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
    for (name, value) in &answer.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if answer.chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    } else if status >= 200 && !matches!(status, 204 | 304) {
        out.extend_from_slice(format!("content-length: {}\r\n", answer.length).as_bytes());
    }
    out.extend_from_slice(if closes { b"connection: close\r\n\r\n" } else { b"\r\n" });
    out
}

/// Writes some bytes, and a range of a body after them. `fill` computes the body from a position on.
async fn write(
    stream: &TcpStream,
    before: &mut &[u8],
    body: std::ops::Range<u64>,
    fill: impl Fn(u64, &mut [u8]),
) -> Result<()> {
    let mut at = body.start;
    let writing = async {
        while !before.is_empty() || at < body.end {
            stream.writable().await?;
            let written = PIECE.with_borrow_mut(|piece| {
                // Not more than a piece, which is an usize.
                piece.resize(usize::try_from((body.end - at).min(PIECE_BYTES)).unwrap_or(0), 0);
                fill(at, piece);
                stream.try_write_vectored(&[IoSlice::new(before), IoSlice::new(piece)])
            });
            match written {
                Ok(bytes) => {
                    let of_before = bytes.min(before.len());
                    *before = &before[of_before..];
                    at += (bytes - of_before) as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    tokio::time::timeout(PIECE_TIME_MAX, writing).await.context("a peer that does not read")??;
    Ok(())
}

// === impl Sending ===

impl Sending<'_> {
    /// Sends it; false when the connection is to be closed after it.
    pub(super) async fn all(&self, is_head: bool, closes: bool) -> Result<bool> {
        let answer = self.answer;
        let end = if is_head { 0 } else { answer.breaks_after.unwrap_or(u64::MAX).min(answer.body.bytes()) };
        let began = Instant::now();
        // What goes before the next piece: the head, the frame of a chunk.
        let mut before = head(answer, closes);
        let mut at = 0;
        while at < end {
            let (upto, when) = self.next(at, end, began);
            if Instant::now() < when {
                write(self.stream, &mut before.as_slice(), 0..0, |_, _| {}).await?;
                before.clear();
                tokio::select! {
                    () = tokio::time::sleep_until(when) => {}
                    () = super::closed(self.stream) => anyhow::bail!("the peer has gone"),
                }
            }
            if answer.chunked {
                before.extend_from_slice(format!("{:x}\r\n", upto - at).as_bytes());
            }
            write(self.stream, &mut before.as_slice(), at..upto, |at, out| self.fill(at, out)).await?;
            self.scene.book.sent(upto - at);
            before.clear();
            if answer.chunked {
                before.extend_from_slice(b"\r\n");
            }
            at = upto;
        }
        let breaks = answer.breaks_after.is_some() && !is_head;
        if answer.chunked && !breaks && !is_head {
            before.extend_from_slice(b"0\r\n\r\n");
        }
        if !(breaks && answer.chunked) || at == 0 {
            write(self.stream, &mut before.as_slice(), 0..0, |_, _| {}).await?;
        }
        Ok(!breaks)
    }

    /// Up to where the next piece goes, and when.
    fn next(&self, at: u64, end: u64, began: Instant) -> (u64, Instant) {
        let (mut upto, mut when) = (end.min(at + PIECE_BYTES), began);
        if let Some((there, from)) = self.answer.grows.iter().find(|(there, _)| at < *there) {
            upto = upto.min(*there);
            let from = self.scene.epoch.and_then(|epoch| epoch.checked_add(*from));
            when = when.max(from.unwrap_or(began));
        }
        if let Some(bits) = self.answer.throttle {
            upto = upto.min(at + (bits / 8 / THROTTLED_PIECES_PER_SECOND).max(1));
            let taken = Duration::try_from_secs_f64(upto as f64 * 8.0 / bits as f64);
            when = when.max(began + taken.unwrap_or(PIECE_TIME_MAX));
        }
        (upto, when)
    }

    /// The body's bytes from a position on.
    fn fill(&self, at: u64, out: &mut [u8]) {
        match &self.answer.body {
            Content::Text(text) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX).min(text.len());
                let bytes = out.len().min(text.len() - from);
                out[..bytes].copy_from_slice(&text[from..from + bytes]);
            }
            Content::Media { offset, .. } => content::Content::of(self.path).fill(offset + at, out),
        }
        let corrupt =
            self.answer.corrupt.and_then(|position| usize::try_from(position.checked_sub(at)?).ok());
        if let Some(byte) = corrupt.and_then(|position| out.get_mut(position)) {
            *byte ^= 1;
        }
    }
}
