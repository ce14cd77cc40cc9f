//! The content of an object: a whole body, or slices that are fetched when they are read.
//!
//! Decides how a reader goes from slice to slice, and when the next one is asked for. Where slices come from is behind
//! [`SliceSource`]; each is an object of its own in the store, found and evicted like any other. A reader holds the
//! slice that it reads and no other.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::body::{Body, BodyError, Reader};
use super::budget::Reservation;
use super::version::Version;
use crate::key::{Key, slice_key};

/// Bytes of a slice; the last one of an object may be shorter.
pub const SLICE_BYTES: u64 = 1024 * 1024;

/// What a reader gives when asked what is there now: None, not yet; else the next bytes, or the end.
type Ready = Option<Option<Bytes>>;

/// The content of an object.
#[derive(Clone, Debug)]
pub enum Content {
    /// One body, growing or complete.
    Whole(Arc<Body>),
    /// Slices.
    Sliced(Arc<Sliced>),
}

/// The content of an object that is kept in slices: no bytes, but what is needed to come by them.
#[derive(Debug)]
pub struct Sliced {
    version: Version,
    source: Arc<dyn SliceSource>,
    /// What the object itself takes of the budget.
    _reservation: Option<Reservation>,
}

/// Where the slices of one version of one object come from.
#[async_trait]
pub trait SliceSource: std::fmt::Debug + Send + Sync {
    /// The slice, if it is in memory.
    fn held(&self, index: u64) -> Option<Arc<Body>>;

    /// Whether the slice is in the store, in memory or on disk.
    fn is_stored(&self, index: u64) -> bool;

    /// Whether the slice is being fetched.
    fn is_coming(&self, index: u64) -> bool;

    /// The slice, from the store or from the origin; its body may still be growing.
    ///
    /// # Errors
    /// [`BodyError::Broken`] when it cannot be had, not in time, or not of this version.
    async fn fetch(&self, index: u64) -> Result<Arc<Body>, BodyError>;

    /// Has the slice fetched, if it is neither in the store nor being fetched; returns at once.
    fn fetch_ahead(&self, index: u64);

    /// The same slices, for a reader for whom the origin is not asked.
    fn held_only(&self) -> Arc<dyn SliceSource>;

    /// The same slices, fetched from the origin and from no other node; None: these are.
    fn direct(&self) -> Option<Arc<dyn SliceSource>>;
}

/// The number of the slice that holds a byte.
pub fn slice_of(offset: u64) -> u64 {
    offset / SLICE_BYTES
}

/// The bytes of a slice in an object of `len` bytes; empty beyond its end.
pub fn slice_range(index: u64, len: u64) -> Range<u64> {
    let start = index.saturating_mul(SLICE_BYTES).min(len);
    start..start.saturating_add(SLICE_BYTES).min(len)
}

impl From<Arc<Body>> for Content {
    fn from(body: Arc<Body>) -> Content {
        Content::Whole(body)
    }
}

impl Content {
    /// Whether both are the very same bytes: one body, or slices of one head.
    pub fn is_same(&self, other: &Content) -> bool {
        match (self, other) {
            (Content::Whole(one), Content::Whole(other)) => Arc::ptr_eq(one, other),
            (Content::Sliced(one), Content::Sliced(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The body, where there is one.
    pub fn as_whole(&self) -> Option<&Arc<Body>> {
        match self {
            Content::Whole(body) => Some(body),
            Content::Sliced(_) => None,
        }
    }

    /// The slices, where there are any.
    pub fn as_sliced(&self) -> Option<&Arc<Sliced>> {
        match self {
            Content::Whole(_) => None,
            Content::Sliced(sliced) => Some(sliced),
        }
    }

    /// Bytes that can be read so far, and whether that is all. Every byte of an object in slices can be.
    pub fn progress(&self) -> (u64, bool) {
        match self {
            Content::Whole(body) => body.progress(),
            Content::Sliced(sliced) => (sliced.len(), true),
        }
    }

    /// Bytes of the content that are in memory on this object's account.
    pub fn held_bytes(&self) -> u64 {
        self.as_whole().map_or(0, |body| body.progress().0)
    }

    /// Whether it is kept, as far as it has come.
    pub fn is_kept(&self) -> bool {
        self.as_whole().is_none_or(|body| body.is_kept())
    }

    /// Whether all of it is there, or can be fetched.
    pub fn is_complete(&self) -> bool {
        self.as_whole().is_none_or(|body| body.is_complete())
    }

    /// Whether its first byte can still be read.
    pub fn is_readable_from_start(&self) -> bool {
        self.as_whole().is_none_or(|body| body.is_readable_from_start())
    }

    /// Waits until its length is known; gives it.
    ///
    /// # Errors
    /// [`BodyError`] when it never will be.
    pub async fn whole_length(&self) -> Result<u64, BodyError> {
        match self {
            Content::Whole(body) => body.whole().await,
            Content::Sliced(sliced) => Ok(sliced.len()),
        }
    }

    /// A reader of all of it.
    pub fn reader(&self) -> ContentReader {
        ContentReader(match self {
            Content::Whole(body) => Inner::Whole(Reader::new(Arc::clone(body))),
            Content::Sliced(sliced) => Inner::Sliced(SlicedReader::new(Arc::clone(sliced))),
        })
    }
}

impl Sliced {
    /// The content of `version`, whose slices come from `source`. `reservation` is held as long as it lives.
    pub fn new(
        version: Version,
        source: Arc<dyn SliceSource>,
        reservation: Option<Reservation>,
    ) -> Arc<Sliced> {
        Arc::new(Sliced { version, source, _reservation: reservation })
    }

    /// Length of the whole, in bytes; not 0.
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> u64 {
        self.version.len
    }

    /// Which version it is.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The keys of all slices of the object under a key of this text.
    pub fn keys(&self, text: &str) -> impl Iterator<Item = Key> {
        let hash = self.version.hash();
        (0..=slice_of(self.len() - 1)).map(move |index| slice_key(text, hash, index))
    }

    /// Whether the slice that holds a byte is in the store, in memory or on disk.
    pub fn is_held(&self, offset: u64) -> bool {
        self.source.is_stored(slice_of(offset))
    }

    /// Whether all slices that hold bytes of a range are in the store.
    pub fn holds(&self, range: Range<u64>) -> bool {
        let last = slice_of(range.end.saturating_sub(1));
        (slice_of(range.start)..=last).all(|index| self.source.is_stored(index))
    }

    /// The same content, for a reader for whom the origin is not asked.
    pub fn held_only(&self) -> Arc<Sliced> {
        Sliced::new(self.version.clone(), self.source.held_only(), None)
    }

    /// The same content, fetched from the origin and from no other node; None: this is.
    pub fn direct(&self) -> Option<Arc<Sliced>> {
        Some(Sliced::new(self.version.clone(), self.source.direct()?, None))
    }

    /// Whether the slice that holds a byte is being fetched.
    pub fn is_coming(&self, offset: u64) -> bool {
        self.source.is_coming(slice_of(offset))
    }
}

/// A place in a content.
#[derive(Debug)]
pub struct ContentReader(Inner);

#[derive(Debug)]
enum Inner {
    Whole(Reader),
    Sliced(SlicedReader),
}

impl ContentReader {
    /// Moves to the bytes from `start` to before `end` (None: to the end).
    pub fn seek(&mut self, start: u64, end: Option<u64>) {
        match &mut self.0 {
            Inner::Whole(reader) => reader.seek(start, end),
            Inner::Sliced(reader) => reader.seek(start, end),
        }
    }

    /// Says that what is read goes out over plaintext HTTP/1.1: each body counts it ([`Body::sent_plain`]).
    pub fn count_plain(&mut self) {
        match &mut self.0 {
            Inner::Whole(reader) => reader.body().sent_plain(),
            Inner::Sliced(reader) => reader.plain = true,
        }
    }

    /// The next bytes, at most a chunk; None at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`BodyError`] when what comes next will never come.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        match &mut self.0 {
            Inner::Whole(reader) => reader.next().await,
            Inner::Sliced(reader) => reader.next().await,
        }
    }

    /// What [`ContentReader::next`] gives, if it is there now.
    ///
    /// # Errors
    /// As [`ContentReader::next`].
    pub fn try_next(&mut self) -> Result<Ready, BodyError> {
        match &mut self.0 {
            Inner::Whole(reader) => reader.try_next(),
            Inner::Sliced(reader) => reader.try_next(),
        }
    }
}

/// A place in slices.
///
/// The slice that was read last is held until the next one is waited for: what a viewer is being sent is always part of
/// the slice that is held, and so of the budget.
#[derive(Debug)]
struct SlicedReader {
    sliced: Arc<Sliced>,
    offset: u64,
    end: u64,
    /// The slice held, and its number.
    open: Option<(u64, Reader)>,
    /// The last slice that was asked for ahead.
    ahead: Option<u64>,
    /// Whether slices count that they are sent over plaintext HTTP/1.1.
    plain: bool,
}

impl SlicedReader {
    fn new(sliced: Arc<Sliced>) -> SlicedReader {
        let end = sliced.len();
        SlicedReader { sliced, offset: 0, end, open: None, ahead: None, plain: false }
    }

    fn seek(&mut self, start: u64, end: Option<u64>) {
        self.offset = start;
        self.end = end.unwrap_or(u64::MAX).min(self.sliced.len());
        self.open = None;
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let index = slice_of(self.offset);
        if self.open.as_ref().is_none_or(|(held, _)| *held != index) {
            self.open = None;
            let body = self.sliced.source.fetch(index).await?;
            self.enter(index, body);
        }
        let Some((_, slice)) = &mut self.open else { return Err(BodyError::Broken) };
        let data = slice.next().await?;
        self.advance(data).map(Some)
    }

    fn try_next(&mut self) -> Result<Ready, BodyError> {
        if self.offset >= self.end {
            return Ok(Some(None));
        }
        let index = slice_of(self.offset);
        if self.open.is_none()
            && let Some(body) = self.sliced.source.held(index)
        {
            self.enter(index, body);
        }
        match &mut self.open {
            Some((held, slice)) if *held == index => match slice.try_next()? {
                Some(data) => self.advance(data).map(|data| Some(Some(data))),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Begins to read the slice that holds `offset`.
    fn enter(&mut self, index: u64, body: Arc<Body>) {
        let within = slice_range(index, self.end);
        if self.plain {
            body.sent_plain();
        }
        let mut slice = Reader::new(body);
        slice.seek(self.offset - within.start, Some(within.end - within.start));
        self.open = Some((index, slice));
    }

    /// Moves behind what has been read. Once half of a slice has been read, the next one is asked for, unless it lies
    /// beyond what is wanted. A slice that ends early breaks the content off.
    fn advance(&mut self, data: Option<Bytes>) -> Result<Bytes, BodyError> {
        let data = data.ok_or(BodyError::Broken)?;
        let next = slice_of(self.offset) + 1;
        self.offset += data.len() as u64;
        let half = slice_range(next, self.end).start.saturating_sub(SLICE_BYTES / 2);
        if self.offset >= half && self.ahead != Some(next) && !slice_range(next, self.end).is_empty() {
            self.ahead = Some(next);
            self.sliced.source.fetch_ahead(next);
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests;
