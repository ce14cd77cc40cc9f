//! Encodes bodies for viewers: once for each object and coding, on a thread that serves nobody.
//!
//! The first request that takes a coding has the copy made; whoever comes meanwhile waits for it, up to [`ENCODE_WAIT`],
//! and gets the identity representation after that. A copy counts in the store's budget, and hangs on its object. One
//! that saves next to nothing, or finds no memory, is not kept: the object is sent as it is.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderValue, RANGE};
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::Semaphore;

use super::carry::Rewritten;
use super::encoding;
use crate::config::model::Coding;
use crate::store::encoded::Filling;
use crate::store::object::charge;
use crate::store::{Body, Content, Object, Store};

/// Bytes of the smallest body that is encoded: a smaller one fits into a packet as it is.
pub const ENCODED_BYTES_MIN: u64 = 256;

/// A copy has at most this share of the body's bytes, in percent.
const COPY_PERCENT_MAX: u64 = 95;

/// How long a request waits for the copy that it would like.
pub const ENCODE_WAIT: Duration = Duration::from_millis(500);

/// Bodies encoded at once.
const ENCODINGS_AT_ONCE: usize = 2;

/// Bodies that wait to be encoded, or are; a further one is sent as it is, and tried again with its next request.
const ENCODINGS_MAX: usize = 64;

/// Level of gzip, of 9.
const GZIP_LEVEL: u32 = 6;

/// Quality of Brotli, of 11, and its window: 2^22 bytes.
const BROTLI_QUALITY: u32 = 5;
const BROTLI_WINDOW_BITS: u32 = 22;

/// Level of zstd, of 22. Its window is 2 MiB, of 8 that every client takes (RFC 9659).
const ZSTD_LEVEL: i32 = 3;

/// Bytes of a compressor's buffer.
const BUFFER_BYTES: usize = 16 * 1024;

/// Makes encoded copies.
pub struct Encoder {
    store: &'static Store,
    /// Bytes of the largest body that is encoded.
    body_bytes_max: u64,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    metrics: Families,
}

#[derive(Clone)]
struct Families {
    encodings: IntCounterVec,
    bytes: IntCounterVec,
}

/// The representation of an object that a request gets.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    /// Whether another request might get another one, by its `Accept-Encoding`.
    pub varies: bool,
    /// The encoded copy; None: the object as it is.
    pub coded: Option<Coded>,
    /// The text with the viewer's token in it; None: the object as it is, or encoded.
    pub rewritten: Option<Rewritten>,
}

/// An encoded copy.
#[derive(Clone, Debug)]
pub struct Coded {
    /// How it is encoded.
    pub coding: Coding,
    /// Its bytes.
    pub content: Content,
}

impl Selected {
    /// A text with the viewer's token in it.
    pub fn rewritten(rewritten: Rewritten) -> Selected {
        Selected { rewritten: Some(rewritten), ..Selected::default() }
    }

    /// Whether it is the object as it is: that alone is sent in parts.
    pub fn is_identity(&self) -> bool {
        self.coded.is_none() && self.rewritten.is_none()
    }

    /// The tag of the representation, where that of the object is `tag`.
    pub fn tag<'t>(&self, tag: &'t HeaderValue) -> Cow<'t, HeaderValue> {
        match &self.rewritten {
            Some(rewritten) => rewritten.tag(tag),
            None => encoding::tag(tag, self.coding()),
        }
    }

    /// The coding, if it is encoded.
    pub fn coding(&self) -> Option<Coding> {
        self.coded.as_ref().map(|coded| coded.coding)
    }

    /// The bytes of the representation.
    pub fn content<'a>(&'a self, object: &'a Object) -> &'a Content {
        self.coded.as_ref().map_or(&object.body, |coded| &coded.content)
    }
}

impl Encoder {
    /// An encoder of bodies up to `body_bytes_max` bytes, with its metrics registered.
    ///
    /// # Errors
    /// When they are registered already.
    pub fn new(
        store: &'static Store,
        body_bytes_max: u64,
        registry: &Registry,
    ) -> Result<Encoder, prometheus::Error> {
        let family = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["coding"]);
        let metrics = Families {
            encodings: family("forebay_encodings_total", "Bodies encoded, those not kept included.")?,
            bytes: family("forebay_encoded_bytes_total", "Bytes of the encoded copies that were kept.")?,
        };
        registry.register(Box::new(metrics.encodings.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        for coding in Coding::ALL {
            metrics.encodings.with_label_values(&[coding.as_str()]);
            metrics.bytes.with_label_values(&[coding.as_str()]);
        }
        let (places, turns) = (Semaphore::new(ENCODINGS_MAX), Semaphore::new(ENCODINGS_AT_ONCE));
        Ok(Encoder { store, body_bytes_max, places: places.into(), turns: turns.into(), metrics })
    }

    /// The representation of an object for a request. One that asks for a range gets the object as it is.
    pub async fn select(
        &self,
        method: &Method,
        request: &HeaderMap,
        object: &Arc<Object>,
        codings: &[Coding],
    ) -> Selected {
        if codings.is_empty() || !object.encoded.is_eligible(|| encoding::is_eligible(object)) {
            return Selected::default();
        }
        let identity = Selected { varies: true, ..Selected::default() };
        let wants_range = *method == Method::GET && request.contains_key(RANGE);
        let Some(coding) = encoding::choose(request, codings).filter(|_| !wants_range) else {
            return identity;
        };
        if !self.takes(object) || encoding::forbids_transform(request) {
            return identity;
        }
        let place = object.encoded.place(coding);
        if place.made().is_none() && self.begin(object, coding) {
            // Boxed, so that hits do not carry the state of a wait. Without the copy the object goes as it is.
            let _ = Box::pin(tokio::time::timeout(ENCODE_WAIT, place.wait())).await;
        }
        let coded = place.made().cloned().flatten().map(|content| Coded { coding, content });
        Selected { varies: true, coded, rewritten: None }
    }

    /// Whether a body is here as a whole, and of a size to be encoded.
    fn takes(&self, object: &Object) -> bool {
        let whole = object.body.as_whole().filter(|body| body.is_complete());
        whole.is_some_and(|body| (ENCODED_BYTES_MIN..=self.body_bytes_max).contains(&body.progress().0))
    }

    /// Has the copy made, unless it is being made, or too many are. The work belongs to no request: it goes on when
    /// those who wait have gone. False: there is nothing to wait for.
    fn begin(&self, object: &Arc<Object>, coding: Coding) -> bool {
        if object.encoded.place(coding).is_begun() {
            return true;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return false };
        let Some(chunks) = object.body.as_whole().and_then(|body| body.chunks()) else { return false };
        let Some(filling) = object.encoded.begin(coding) else { return true };
        let header_bytes = charge(&object.key, &object.header, 0);
        let (store, turns, metrics) = (self.store, Arc::clone(&self.turns), self.metrics.clone());
        tokio::spawn(async move {
            let (_place, _turn) = (place, turns.acquire_owned().await);
            let work = move || fill(filling, store, &chunks, header_bytes, coding, &metrics);
            if let Err(error) = tokio::task::spawn_blocking(work).await {
                tracing::error!(%error, "a body was not encoded");
            }
        });
        true
    }
}

/// Makes a copy within the store's budget, and puts it in its place.
fn fill(
    filling: Filling,
    store: &'static Store,
    chunks: &[Bytes],
    header_bytes: u64,
    coding: Coding,
    metrics: &Families,
) {
    let len: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    let most = len * COPY_PERCENT_MAX / 100;
    // Dropped, the filling says that there is no copy.
    let Some(mut reservation) = store.take(most + header_bytes) else { return };
    metrics.encodings.with_label_values(&[coding.as_str()]).inc();
    let Ok(copy) = encode(chunks, coding, usize::try_from(most).unwrap_or(usize::MAX)) else { return };
    let copied = copy.len() as u64;
    reservation.shrink_to(copied + header_bytes);
    metrics.bytes.with_label_values(&[coding.as_str()]).inc_by(copied);
    let body = Body::growing(None, Some(reservation));
    body.append(Bytes::from(copy));
    body.finish();
    filling.finish(Some(body.into()));
}

/// The bytes of a body in a coding.
///
/// # Errors
/// When they are more than `most`.
fn encode(chunks: &[Bytes], coding: Coding, most: usize) -> io::Result<Vec<u8>> {
    let copy = Bounded { bytes: Vec::new(), most, refused: false };
    let copy = match coding {
        Coding::Gzip => {
            let level = flate2::Compression::new(GZIP_LEVEL);
            write_all(flate2::write::GzEncoder::new(copy, level), chunks)?.finish()?
        }
        Coding::Brotli => {
            let writer =
                brotli::CompressorWriter::new(copy, BUFFER_BYTES, BROTLI_QUALITY, BROTLI_WINDOW_BITS);
            // Writes the end, and swallows what goes wrong there.
            write_all(writer, chunks)?.into_inner()
        }
        Coding::Zstd => write_all(zstd::stream::write::Encoder::new(copy, ZSTD_LEVEL)?, chunks)?.finish()?,
    };
    if copy.refused { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(copy.bytes) }
}

fn write_all<W: Write>(mut writer: W, chunks: &[Bytes]) -> io::Result<W> {
    chunks.iter().try_for_each(|chunk| writer.write_all(chunk))?;
    Ok(writer)
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
    /// Whether it has been given more.
    refused: bool,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.refused || self.bytes.len() + data.len() > self.most {
            self.refused = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
