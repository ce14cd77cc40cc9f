//! The body of an object, growing or complete: one writer, any number of readers, no copy for any of them.
//!
//! Bytes are readable as they arrive. They are kept in chunks of [`CHUNK_BYTES`]; what has arrived since the last full
//! chunk stands in the pieces it came in. A complete body is read without a lock; its chunks may be exchanged for others
//! with the same bytes ([`super::hot`]). A body with a *window* is not kept: its writer waits while its foremost reader
//! is a window behind, and a reader that is a window behind the foremost one has lost its place.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::budget::Reservation;
use super::hot::{HOT_SENDS, HotBodies, MOVED_BYTES_MIN};
use crate::wake::Bell;

/// Bytes of a full chunk: what a reader is handed at most at once.
pub const CHUNK_BYTES: usize = 512 * 1024;

/// Why a body cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The fetch that fills it ended before its end.
    #[error("the fetch broke off")]
    Broken,
    /// The reader is further behind than the window of a body that is not kept.
    #[error("the reader fell behind the window")]
    FellBehind,
}

/// A body. See the module's documentation.
#[derive(Debug)]
pub struct Body {
    growing: Mutex<Growing>,
    complete: OnceLock<Complete>,
    /// Wakes readers: more bytes, or the end.
    arrived: Bell,
    /// Wakes the writer of a windowed body: the foremost reader moved.
    moved: Bell,
    /// Highest offset any reader has got to.
    foremost: AtomicU64,
    /// Bytes kept behind the foremost reader; [`KEPT`]: all are.
    window: AtomicU64,
    /// Where the body says that it is hot, if that is of interest.
    hot: OnceLock<HotBodies>,
}

/// The window of a body that is kept whole.
const KEPT: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Growing {
    /// Offset of the first byte still held.
    base: u64,
    /// Bytes arrived in all.
    len: u64,
    chunks: Vec<Bytes>,
    /// What has arrived since the last full chunk.
    pieces: Vec<Bytes>,
    pieces_len: usize,
    broken: bool,
    ended: bool,
    reservation: Option<Reservation>,
    /// What the chunks hold, where the body is large enough to move.
    old_copy: Option<Arc<OldCopy>>,
}

#[derive(Debug)]
struct Complete {
    chunks: ArcSwap<Box<[Bytes]>>,
    len: u64,
    /// Whether the chunks have been exchanged; they are once at most.
    moved: AtomicBool,
    /// Times that a body which has not moved was sent as [`Body::sent_plain`] says.
    sends: AtomicU32,
    /// What the first chunks hold.
    old_copy: Weak<OldCopy>,
    /// Held until the last reader has gone.
    _reservation: Option<Reservation>,
}

/// What the first copy of a body takes beside the second one: held by each chunk of the first.
type OldCopy = OnceLock<[Reservation; 2]>;

/// A chunk on the heap.
struct HeapChunk {
    data: BytesMut,
    _old_copy: Arc<OldCopy>,
}

impl AsRef<[u8]> for HeapChunk {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Body {
    /// An empty body to be written; `reservation` is held as long as the body lives.
    pub fn growing(window: Option<u64>, reservation: Option<Reservation>) -> Arc<Body> {
        Arc::new(Body {
            growing: Mutex::new(Growing { reservation, ..Growing::default() }),
            complete: OnceLock::new(),
            arrived: Bell::new(),
            moved: Bell::new(),
            foremost: AtomicU64::new(0),
            window: AtomicU64::new(window.unwrap_or(KEPT)),
            hot: OnceLock::new(),
        })
    }

    /// A complete body that claims `len` bytes and has none: something to weigh, never to read.
    pub(super) fn of_weight(len: u64) -> Arc<Body> {
        let body = Body::growing(None, None);
        let _ = body.complete.set(Complete::new(Vec::new(), len, Weak::new(), None));
        body
    }

    /// Bytes there are so far, and whether that is all.
    pub fn progress(&self) -> (u64, bool) {
        if let Some(complete) = self.complete.get() {
            return (complete.len, true);
        }
        let growing = self.growing.lock();
        (growing.len, growing.ended)
    }

    /// The window, where the body is not kept whole.
    fn window(&self) -> Option<u64> {
        let window = self.window.load(Ordering::Acquire);
        (window != KEPT).then_some(window)
    }

    /// From now on no more than `window` bytes behind the foremost reader are kept.
    pub fn limit_to(&self, window: u64) {
        self.window.store(window, Ordering::Release);
    }

    /// Whether the body is kept whole, as far as it has come.
    pub fn is_kept(&self) -> bool {
        self.window().is_none()
    }

    /// Whether its first byte can still be read.
    pub fn is_readable_from_start(&self) -> bool {
        self.is_complete() || self.growing.lock().base == 0
    }

    /// Whether all of it is there.
    pub fn is_complete(&self) -> bool {
        self.complete.get().is_some()
    }

    /// The whole of a complete body, in its chunks.
    pub fn chunks(&self) -> Option<Vec<Bytes>> {
        self.complete.get().map(|complete| complete.chunks.load().to_vec())
    }

    /// Counts that the body is read for plaintext HTTP/1.1, in whole or in part: a complete body that is watched says,
    /// once it has been [`HOT_SENDS`] times, that it is hot. One that has moved is not counted.
    pub fn sent_plain(self: &Arc<Self>) {
        let (Some(hot), Some(complete)) = (self.hot.get(), self.complete.get()) else { return };
        if complete.moved.load(Ordering::Acquire) {
            return;
        }
        if complete.sends.fetch_add(1, Ordering::Relaxed) + 1 == HOT_SENDS && !hot.offer(self) {
            self.count_anew();
        }
    }

    /// From now on the body says when it is hot.
    pub(super) fn watch(&self, hot: &HotBodies) {
        self.hot.get_or_init(|| hot.clone());
    }

    /// Begins to count sends from 0.
    pub(super) fn count_anew(&self) {
        if let Some(complete) = self.complete.get() {
            complete.sends.store(0, Ordering::Relaxed);
        }
    }

    /// Whether its chunks have been exchanged.
    pub(super) fn is_moved(&self) -> bool {
        self.complete.get().is_some_and(|complete| complete.moved.load(Ordering::Acquire))
    }

    /// Exchanges the chunks of a complete body for copies, which take what the body held of the budget. `room` is held
    /// for the old ones, until the last of their readers has gone. Called by one thread at a time; the first exchange is
    /// the last. False: nothing has changed.
    pub(super) fn move_chunks(
        &self,
        copy: impl Fn(&[u8]) -> std::io::Result<Bytes>,
        room: [Reservation; 2],
    ) -> bool {
        let Some(complete) = self.complete.get().filter(|_| !self.is_moved()) else { return false };
        let copies: std::io::Result<Box<[Bytes]>> =
            complete.chunks.load().iter().map(|chunk| copy(chunk)).collect();
        let copies = match copies {
            Ok(copies) => copies,
            Err(error) => {
                tracing::debug!(%error, "a body was not copied");
                return false;
            }
        };
        if let Some(old_copy) = complete.old_copy.upgrade() {
            let _ = old_copy.set(room);
        }
        complete.chunks.store(Arc::new(copies));
        complete.moved.store(true, Ordering::Release);
        true
    }

    /// Adds bytes to what the body holds in the budget.
    pub fn hold(&self, more: Reservation) {
        let mut growing = self.growing.lock();
        match &mut growing.reservation {
            Some(held) => held.absorb(more),
            none => *none = Some(more),
        }
    }

    /// Appends bytes and wakes the readers.
    pub fn append(&self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        {
            let mut growing = self.growing.lock();
            growing.len += data.len() as u64;
            growing.push(data);
            if let Some(window) = self.window() {
                growing.forget_before(self.foremost.load(Ordering::Acquire).saturating_sub(window));
            }
        }
        self.arrived.ring();
    }

    /// Waits until a windowed body has room for more; any other body always has.
    pub async fn room(&self) {
        let Some(window) = self.window() else { return };
        loop {
            let moved = self.moved.rung();
            let len = self.growing.lock().len;
            if len.saturating_sub(self.foremost.load(Ordering::Acquire)) < window {
                return;
            }
            moved.await;
        }
    }

    /// Gives back what the body holds of the budget beyond `bytes`.
    pub fn settle(&self, bytes: u64) {
        if let Some(held) = &mut self.growing.lock().reservation {
            held.shrink_to(bytes);
        }
    }

    /// Waits until all of it is there; gives its length.
    ///
    /// # Errors
    /// [`BodyError`] when it never will be.
    pub async fn whole(&self) -> Result<u64, BodyError> {
        loop {
            let arrived = self.arrived.rung();
            match self.progress() {
                (len, true) => return Ok(len),
                _ if self.growing.lock().broken => return Err(BodyError::Broken),
                _ => arrived.await,
            }
        }
    }

    /// Waits until the bytes up to before `until` are there, or all there are; ends, too, when the body is not kept, which
    /// nobody may wait for without reading.
    ///
    /// # Errors
    /// [`BodyError`] when it breaks off before.
    pub async fn arrival(&self, until: u64) -> Result<(), BodyError> {
        loop {
            let arrived = self.arrived.rung();
            let (here, ended) = self.progress();
            if ended || here >= until || !self.is_kept() {
                return Ok(());
            }
            if self.growing.lock().broken {
                return Err(BodyError::Broken);
            }
            arrived.await;
        }
    }

    /// Ends the body: it is complete.
    pub fn finish(&self) {
        {
            let mut growing = self.growing.lock();
            growing.ended = true;
            if self.window().is_none() {
                growing.seal_pieces();
                let chunks = std::mem::take(&mut growing.chunks);
                // From here on the chunks alone hold it.
                let old_copy = growing.old_copy.take().as_ref().map(Arc::downgrade).unwrap_or_default();
                let complete = Complete::new(chunks, growing.len, old_copy, growing.reservation.take());
                // The one writer finishes once; a second call changes nothing.
                let _ = self.complete.set(complete);
            }
        }
        self.arrived.ring();
    }

    /// Ends the body: it broke off. Each reader gets [`BodyError::Broken`] after the bytes that did arrive.
    pub fn fail(&self) {
        self.growing.lock().broken = true;
        self.arrived.ring();
    }

    /// Bytes from `offset` on, at most up to `end`: some (at most a chunk), none (the end), or not yet.
    fn read_at(&self, offset: u64, end: u64) -> Result<Read, BodyError> {
        if let Some(complete) = self.complete.get() {
            let end = end.min(complete.len);
            return Ok(if offset >= end {
                Read::End
            } else {
                Read::Data(slice(&complete.chunks.load(), offset, end))
            });
        }
        let growing = self.growing.lock();
        if offset >= end {
            Ok(Read::End)
        } else if offset < growing.base {
            Err(BodyError::FellBehind)
        } else if offset < growing.len {
            Ok(Read::Data(growing.slice(offset, end.min(growing.len))))
        } else if growing.broken {
            Err(BodyError::Broken)
        } else if growing.ended {
            Ok(Read::End)
        } else {
            Ok(Read::Wait)
        }
    }
}

enum Read {
    Data(Bytes),
    End,
    Wait,
}

impl Complete {
    fn new(
        chunks: Vec<Bytes>,
        len: u64,
        old_copy: Weak<OldCopy>,
        reservation: Option<Reservation>,
    ) -> Complete {
        Complete {
            chunks: ArcSwap::from_pointee(chunks.into_boxed_slice()),
            len,
            moved: AtomicBool::new(false),
            sends: AtomicU32::new(0),
            old_copy,
            _reservation: reservation,
        }
    }
}

impl Growing {
    fn push(&mut self, mut data: Bytes) {
        while self.pieces_len + data.len() >= CHUNK_BYTES {
            let head = data.split_to(CHUNK_BYTES - self.pieces_len);
            self.pieces_len += head.len();
            self.pieces.push(head);
            self.seal_pieces();
        }
        if !data.is_empty() {
            self.pieces_len += data.len();
            self.pieces.push(data);
        }
    }

    /// Makes one chunk of the pieces.
    fn seal_pieces(&mut self) {
        if self.pieces_len == 0 {
            return;
        }
        let mut chunk = BytesMut::with_capacity(self.pieces_len);
        for piece in self.pieces.drain(..) {
            chunk.extend_from_slice(&piece);
        }
        self.pieces_len = 0;
        let never_moves = self.chunks.is_empty() && (chunk.len() as u64) < MOVED_BYTES_MIN;
        self.chunks.push(if never_moves {
            chunk.freeze()
        } else {
            let old_copy = self.old_copy.get_or_insert_default();
            Bytes::from_owner(HeapChunk { data: chunk, _old_copy: Arc::clone(old_copy) })
        });
    }

    /// Drops full chunks that end at or before `offset`.
    fn forget_before(&mut self, offset: u64) {
        while let Some(first) = self.chunks.first() {
            let chunk_end = self.base + first.len() as u64;
            if chunk_end > offset {
                return;
            }
            self.base = chunk_end;
            self.chunks.remove(0);
        }
    }

    fn slice(&self, offset: u64, end: u64) -> Bytes {
        let sealed_end = self.len - self.pieces_len as u64;
        if offset < sealed_end {
            return slice(&self.chunks, offset - self.base, end.min(sealed_end) - self.base);
        }
        let mut start = sealed_end;
        for piece in &self.pieces {
            let piece_end = start + piece.len() as u64;
            if offset < piece_end {
                return piece.slice(to_usize(offset - start)..to_usize(end.min(piece_end) - start));
            }
            start = piece_end;
        }
        Bytes::new()
    }
}

/// The part of the chunk that holds `offset`, up to `end`. All chunks but the last are full.
fn slice(chunks: &[Bytes], offset: u64, end: u64) -> Bytes {
    let place = to_usize(offset / CHUNK_BYTES as u64);
    let within = to_usize(offset % CHUNK_BYTES as u64);
    let Some(chunk) = chunks.get(place) else { return Bytes::new() };
    let until = chunk.len().min(within + to_usize(end - offset));
    if within == 0 && until == chunk.len() { chunk.clone() } else { chunk.slice(within..until) }
}

/// Offsets inside a chunk or a list of chunks in memory always fit.
fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// A place in a body.
#[derive(Debug)]
pub struct Reader {
    body: Arc<Body>,
    offset: u64,
    end: u64,
}

impl Reader {
    /// A reader of the whole body.
    pub fn new(body: Arc<Body>) -> Reader {
        Reader { body, offset: 0, end: u64::MAX }
    }

    /// What it reads.
    pub(super) fn body(&self) -> &Arc<Body> {
        &self.body
    }

    /// Moves to the bytes from `start` to before `end` (None: to the end).
    pub fn seek(&mut self, start: u64, end: Option<u64>) {
        self.end = end.unwrap_or(u64::MAX);
        self.move_to(start);
    }

    /// The next bytes, at most a chunk; None at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`BodyError`] when what comes next will never come.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            if let Some(read) = self.try_next()? {
                return Ok(read);
            }
            let arrived = self.body.arrived.rung();
            if let Read::Wait = self.body.read_at(self.offset, self.end)? {
                arrived.await;
            }
        }
    }

    /// What [`Reader::next`] gives, if it is there now.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub fn try_next(&mut self) -> Result<Option<Option<Bytes>>, BodyError> {
        match self.body.read_at(self.offset, self.end)? {
            Read::Data(data) => {
                self.move_to(self.offset + data.len() as u64);
                Ok(Some(Some(data)))
            }
            Read::End => Ok(Some(None)),
            Read::Wait => Ok(None),
        }
    }

    fn move_to(&mut self, offset: u64) {
        self.offset = offset;
        if !self.body.is_complete() && self.body.foremost.fetch_max(offset, Ordering::AcqRel) < offset {
            self.body.moved.ring();
        }
    }
}

#[cfg(test)]
mod tests;
