//! Puts a viewer's token into the playlist that it gets, and says so in the header.
//!
//! The playlist is kept once; what is inserted where is found once ([`crate::carry`], [`crate::store::carried`]). Per viewer its
//! slices and the token are gathered into one buffer, whose length is known before. Such an answer is a representation of
//! its own: it has a tag of its own and no dates to compare, is sent whole and in no content coding, and no shared cache
//! may keep it.
//!
//! Parameters that a rule drops from what is kept (`drop_parameters`) are given back in the same way, each viewer's own.
//!
//! Rewritten are playlists and manifests of status 200, up to `limits.playlist`, that their origin has not encoded; one
//! that is not kept is read to its end first. `no-transform` of an origin does not stand against it: the token is the site's own, and
//! nothing the playlist names could be had without.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderName, HeaderValue,
    LAST_MODIFIED, SET_COOKIE,
};
use pingora::http::ResponseHeader;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::fields;
use crate::asset::Kind;
use crate::cache::{CONTENT_DIGESTS, REPRESENTATION_DIGESTS};
use crate::carry::{Form, Syntax, Terms, Viewer, split};
use crate::store::carried::Kept;
use crate::store::{Body, BodyError, Object, Store};

/// Digits in the tag of a rewritten text: those of a 64-bit hash of its token.
const TAG_DIGITS: usize = 16;

/// Bytes of a parameter's value that a viewer gets back in every URI; a longer one is left out.
pub const GIVEN_BYTES_MAX: usize = 512;

/// Cookies that one answer sets.
pub const COOKIES_MAX: usize = 4;

/// Splits playlists, within the store's budget.
#[derive(Debug)]
pub struct Carrier {
    store: &'static Store,
    /// Bytes of the largest text that is split (`limits.playlist`).
    text_bytes_max: u64,
}

/// A request whose token is carried.
#[derive(Clone, Copy)]
pub struct Bearer<'a> {
    /// What texts of its site are split by; syntax is the object's.
    pub terms: Terms<'a>,
    /// What is inserted, as [`token_text`] makes it.
    pub token: &'a str,
    /// The parameter beside a token in the path ([`Form::PathAndQuery`]).
    pub query: &'a str,
    /// Whether relative URIs inherit the token from the URL that was requested.
    pub inherits: bool,
    /// The host that was asked, without port.
    pub host: &'a str,
}

/// A representation with a viewer's token in it.
#[derive(Clone)]
pub struct Rewritten {
    kept: Arc<Kept>,
    form: Form,
    token: String,
    query: String,
    inherits: bool,
    host: String,
}

impl fmt::Debug for Rewritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewritten").field("form", &self.form).finish_non_exhaustive()
    }
}

/// What an object's text is written in; None: it is none that holds URIs of a stream.
pub fn syntax_of(kind: Kind) -> Option<Syntax> {
    match kind {
        Kind::MultivariantPlaylist | Kind::MediaPlaylist => Some(Syntax::Hls),
        Kind::Manifest => Some(Syntax::Dash),
        _ => None,
    }
}

/// `NAME=TOKEN` or `/NAME=TOKEN`, percent-encoded where the token holds what may not stand in every URI of a playlist or
/// manifest as it is. `%` stays in a token that needs no encoding else, since a token is verified as received first.
/// Without a name, the token is several parameters already.
pub fn token_text(form: Form, name: &str, token: &str) -> String {
    if name.is_empty() {
        let mut text = String::with_capacity(token.len());
        push_encoded(&mut text, token, |byte| may_stand(byte) || matches!(byte, b'&' | b'%' | b'+'));
        return text;
    }
    let slash = if form == Form::Path { "/" } else { "" };
    let mut text = String::with_capacity(slash.len() + name.len() + 1 + token.len());
    text.push_str(slash);
    text.push_str(name);
    text.push('=');
    push_encoded(&mut text, token, may_stand);
    text
}

/// Appends `NAME=VALUE`, behind `&` where something stands there: what a viewer gives for itself, as it was received but for
/// bytes that may not stand in every URI as they are. Nothing for a value of more than [`GIVEN_BYTES_MAX`].
pub fn push_given(text: &mut String, name: &str, value: &str) {
    if value.len() > GIVEN_BYTES_MAX {
        return;
    }
    let stays = |byte| may_stand(byte) || matches!(byte, b'%' | b'+');
    if !text.is_empty() {
        text.push('&');
    }
    push_encoded(text, name, stays);
    text.push('=');
    push_encoded(text, value, stays);
}

/// Whether a byte may stand in a path, in a query, in a quoted string of HLS and in an XML attribute as it is, and in
/// none of them means what it does not elsewhere. `$` does in templates of DASH.
fn may_stand(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!*(),;=:@/".contains(&byte)
}

/// What is inserted, as it is written in a document.
fn in_syntax(token: &str, syntax: Syntax) -> String {
    match syntax {
        Syntax::Dash if token.contains('&') => token.replace('&', "&amp;"),
        Syntax::Hls | Syntax::Dash => token.to_owned(),
    }
}

fn push_encoded(text: &mut String, token: &str, stays: fn(u8) -> bool) {
    if token.bytes().all(|byte| byte == b'%' || stays(byte)) {
        return text.push_str(token);
    }
    for byte in token.bytes() {
        if stays(byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(percent_encoding::percent_encode_byte(byte));
        }
    }
}

impl Carrier {
    /// Splits texts up to `text_bytes_max` bytes.
    pub fn new(store: &'static Store, text_bytes_max: u64) -> Carrier {
        Carrier { store, text_bytes_max }
    }

    /// The representation of an object for a bearer; None: the object as it is. Waits for the end of a text that is
    /// coming.
    ///
    /// # Errors
    /// [`BodyError`] when the text breaks off.
    pub async fn select(
        &self,
        object: &Arc<Object>,
        bearer: &Bearer<'_>,
    ) -> Result<Option<Rewritten>, BodyError> {
        let Some(syntax) = syntax_of(object.kind).filter(|_| self.takes(object)) else { return Ok(None) };
        if !object.body.is_kept() {
            return Ok(None);
        }
        let kept = match object.carried.split(bearer.terms.form) {
            Some(kept) => kept.clone(),
            None => {
                if !object.body.is_complete() {
                    // Boxed, so that hits do not carry the state of a wait.
                    Box::pin(object.body.whole_length()).await?;
                }
                self.split(object, &Terms { syntax, ..bearer.terms })
            }
        };
        Ok(kept.and_then(|kept| {
            let viewer = Viewer { token: "", query: "", inherits: bearer.inherits, host: bearer.host };
            let host = if kept.split.asks_host() { bearer.host.to_owned() } else { String::new() };
            kept.split.touches(&viewer).then(|| Rewritten {
                form: bearer.terms.form,
                token: in_syntax(bearer.token, syntax),
                query: in_syntax(bearer.query, syntax),
                inherits: bearer.inherits,
                host,
                kept,
            })
        }))
    }

    /// A text that nobody keeps, read to its end for one answer: an object of its own with the same header. None: it is
    /// kept, or no text to rewrite, or there is no room. One that turns out longer than it may be breaks off.
    ///
    /// # Errors
    /// [`BodyError`] when the text breaks off.
    pub async fn read(&self, object: &Object) -> Result<Option<Arc<Object>>, BodyError> {
        let unkept = object.body.as_whole().filter(|body| !body.is_kept() && body.is_readable_from_start());
        if unkept.is_none() || syntax_of(object.kind).is_none() || !self.takes(object) {
            return Ok(None);
        }
        let most = object.length().unwrap_or(self.text_bytes_max);
        let Some(mut reservation) = self.store.take(most) else { return Ok(None) };
        let (mut reader, mut chunks, mut len) = (object.body.reader(), Vec::new(), 0);
        while let Some(data) = reader.next().await? {
            len += data.len() as u64;
            if len > most {
                tracing::warn!(key = %object.key.text, "a playlist longer than limits.playlist breaks off");
                return Err(BodyError::Broken);
            }
            chunks.push(data);
        }
        reservation.shrink_to(len);
        let body = Body::growing(None, Some(reservation));
        chunks.into_iter().for_each(|data| body.append(data));
        body.finish();
        let (key, header) = (object.key.clone(), object.header.clone());
        let read = Object::new(key, object.kind, header, object.lifetime, body.into());
        let provenance = object.provenance.clone();
        Ok(Some(Arc::new(Object { shared: false, provenance, ..read })))
    }

    /// Whether an object is a text to rewrite, as far as can be told before all of it is here.
    fn takes(&self, object: &Object) -> bool {
        object.status() == StatusCode::OK
            && object.body.as_whole().is_some()
            && !object.header.headers.contains_key(CONTENT_ENCODING)
            && object.length().is_none_or(|len| len <= self.text_bytes_max)
    }

    /// Splits a text that is here, and keeps the split where there is room.
    fn split(&self, object: &Object, terms: &Terms<'_>) -> Option<Arc<Kept>> {
        let chunks = object.body.as_whole().and_then(|body| body.chunks())?;
        let len: usize = chunks.iter().map(Bytes::len).sum();
        if len as u64 > self.text_bytes_max {
            tracing::warn!(key = %object.key.text, "a playlist longer than limits.playlist goes without the viewers' tokens");
            object.carried.keep(terms.form, None);
            return None;
        }
        let text: Cow<'_, [u8]> = match chunks.as_slice() {
            [text] => Cow::Borrowed(text),
            several => Cow::Owned(several.concat()),
        };
        match split(&text, terms) {
            Ok(split) => {
                let reservation = self.store.take(split.held_bytes());
                let kept = Arc::new(Kept { split, reservation });
                if kept.reservation.is_some() {
                    object.carried.keep(terms.form, Some(Arc::clone(&kept)));
                }
                Some(kept)
            }
            Err(error) => {
                tracing::warn!(key = %object.key.text, %error, "a playlist goes without the viewers' tokens");
                object.carried.keep(terms.form, None);
                None
            }
        }
    }
}

impl Rewritten {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.kept.split.len_for(&self.viewer())
    }

    /// Whether it has no byte, which never is: it has a token in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes: the object's, with the token between. One buffer of the length that it needs.
    ///
    /// # Errors
    /// [`BodyError::Broken`] for an object that is not whole.
    pub fn gather(&self, object: &Object) -> Result<Bytes, BodyError> {
        let chunks = object.body.as_whole().and_then(|body| body.chunks()).ok_or(BodyError::Broken)?;
        let viewer = self.viewer();
        let mut out = Vec::with_capacity(usize::try_from(self.len()).map_err(|_| BodyError::Broken)?);
        let mut text = Walk { chunks: &chunks, at: 0 };
        let mut from = 0;
        // Where in the buffer the insertion of this piece stands: most places have the same as the one before.
        let mut last: Option<(u32, std::ops::Range<usize>)> = None;
        for edit in self.kept.split.edits(&viewer) {
            text.advance(edit.at - from, Some(&mut out));
            match &last {
                Some((piece, stands)) if *piece == edit.piece => out.extend_from_within(stands.clone()),
                _ => {
                    let start = out.len();
                    out.extend_from_slice(edit.head.as_bytes());
                    out.extend_from_slice(edit.text.as_bytes());
                    out.extend_from_slice(edit.tail.as_bytes());
                    last = Some((edit.piece, start..out.len()));
                }
            }
            text.advance(edit.skip, None);
            from = edit.at + edit.skip;
        }
        text.advance(usize::MAX, Some(&mut out));
        Ok(Bytes::from(out))
    }

    /// The entity tag of the representation: another one for each token and form, since the bytes differ.
    pub fn tag<'t>(&self, tag: &'t HeaderValue) -> Cow<'t, HeaderValue> {
        let how = u64::from(self.form as u8) << 1 | u64::from(self.inherits);
        let how = if self.query.is_empty() { how } else { xxh3_64_with_seed(self.query.as_bytes(), how) };
        let mut digits = [0; TAG_DIGITS];
        // So many digits are what eight bytes take.
        let _ =
            hex::encode_to_slice(xxh3_64_with_seed(self.token.as_bytes(), how).to_be_bytes(), &mut digits);
        super::encoding::tag_with(tag, std::str::from_utf8(&digits).unwrap_or_default())
    }

    fn viewer(&self) -> Viewer<'_> {
        Viewer { token: &self.token, query: &self.query, inherits: self.inherits, host: &self.host }
    }
}

/// The bytes of a text in chunks, front to back.
struct Walk<'c> {
    chunks: &'c [Bytes],
    /// Where in the first of them.
    at: usize,
}

impl Walk<'_> {
    /// Goes on by `len` bytes, or to the end; what is passed goes `to` there.
    fn advance(&mut self, mut len: usize, mut to: Option<&mut Vec<u8>>) {
        while let Some((chunk, others)) = self.chunks.split_first() {
            let rest = chunk.get(self.at..).unwrap_or_default();
            let passed = rest.get(..len.min(rest.len())).unwrap_or_default();
            if let Some(out) = &mut to {
                out.extend_from_slice(passed);
            }
            len -= passed.len();
            self.at += passed.len();
            if passed.len() < rest.len() || len == 0 {
                return;
            }
            (self.chunks, self.at) = (others, 0);
        }
    }
}

// === Headers ===

/// Makes a header that of rewritten texts, but for what is one viewer's: [`tell_viewer`] adds that.
pub fn tell_rewritten(header: &mut ResponseHeader) {
    for name in CONTENT_DIGESTS.iter().chain(&REPRESENTATION_DIGESTS) {
        header.remove_header(name);
    }
    // A date would call another token's text the same.
    header.remove_header(&LAST_MODIFIED);
    make_private(header);
    if header.headers.contains_key(ACCEPT_RANGES) {
        fields::set(header, ACCEPT_RANGES, HeaderValue::from_static("none"));
    }
}

/// Tag, length and lifetime of a rewritten text. It is fresh no longer than its token is valid, which is `left`.
pub fn tell_viewer(header: &mut ResponseHeader, rewritten: &Rewritten, left: Option<Duration>) {
    let tag = header.headers.get(ETAG).map(|tag| rewritten.tag(tag).into_owned());
    if let Some(tag) = tag {
        fields::set(header, ETAG, tag);
    }
    if header.status == StatusCode::OK {
        fields::set(header, CONTENT_LENGTH, HeaderValue::from(rewritten.len()));
    }
    if let Some(left) = left {
        limit_freshness(header, left.as_secs());
    }
}

/// Keeps an answer out of shared caches: `private` in the place of what is said to these. Times for the viewer stay.
/// Fields that only shared caches read go, for these would go by them instead (RFC 9213 section 2.1).
pub fn make_private(header: &mut ResponseHeader) {
    let is_targeted = |name: &HeaderName| {
        let name = name.as_str();
        name.ends_with("-cache-control") || matches!(name, "surrogate-control" | "x-accel-expires")
    };
    let targeted: Vec<HeaderName> = header.headers.keys().filter(|name| is_targeted(name)).cloned().collect();
    for name in &targeted {
        header.remove_header(name);
    }
    let mut text = String::from("private");
    for value in header.headers.get_all(CACHE_CONTROL) {
        // What is no text is nothing that a cache could go by.
        let members = value.to_str().unwrap_or_default().split(',').map(str::trim);
        for member in members.filter(|member| !member.is_empty()) {
            let name = member.split('=').next().unwrap_or_default().trim();
            let is = |known: &&str| name.eq_ignore_ascii_case(known);
            if !["public", "private", "s-maxage", "proxy-revalidate"].iter().any(is) {
                let _ = write!(text, ", {member}");
            }
        }
    }
    if let Ok(value) = HeaderValue::from_str(&text) {
        fields::set(header, CACHE_CONTROL, value);
    }
}

/// Lowers `max-age` to so many seconds.
fn limit_freshness(header: &mut ResponseHeader, seconds: u64) {
    const NAME: &str = "max-age=";
    let Some(text) = header.headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()) else { return };
    let Some((before, after)) = text.split_once(NAME) else { return };
    let len = after.bytes().take_while(u8::is_ascii_digit).count();
    let (told, rest) = after.split_at(len);
    // More digits than a number has are more than any token is valid for.
    if told.parse::<u64>().is_ok_and(|told| told <= seconds) {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(&format!("{before}{NAME}{seconds}{rest}")) {
        fields::set(header, CACHE_CONTROL, value);
    }
}

/// A cookie that carries a token to what a playlist names.
#[derive(Clone, Copy)]
pub struct Cookie<'a> {
    /// Its name.
    pub name: &'a str,
    /// The token.
    pub token: &'a str,
    /// The path of the playlist in normal form, without token: the cookie is for its folder, where nothing more is known.
    pub path: &'a str,
    /// Patterns of the paths that the token opens, `*` and `?` in them: the cookie is for their folders.
    pub opens: &'a [String],
    /// How long the token is valid; None: without end, and the cookie ends with the browser.
    pub left: Option<Duration>,
    /// Whether the viewer is connected over TLS: then pages of other sites may send it, too.
    pub over_tls: bool,
}

impl Cookie<'_> {
    /// Sets it with an answer, which no shared cache may keep then: once for each folder, and for the root where these
    /// are more than [`COOKIES_MAX`].
    pub fn set(&self, header: &mut ResponseHeader) {
        for folder in self.folders() {
            if let Ok(value) = HeaderValue::from_str(&self.text(folder)) {
                fields::append(header, SET_COOKIE, value);
                make_private(header);
            }
        }
    }

    /// The folders that it is for, none below another.
    fn folders(&self) -> Vec<&str> {
        let plain = |pattern: &'_ String| pattern.find(['*', '?']).unwrap_or(pattern.len());
        let opened =
            self.opens.iter().map(|pattern| folder(pattern.get(..plain(pattern)).unwrap_or_default()));
        let mut folders: Vec<&str> = opened.collect();
        if folders.is_empty() {
            folders.push(folder(self.path));
        }
        // What a folder is below comes before it.
        folders.sort_unstable();
        let mut outer: Vec<&str> = Vec::new();
        for folder in folders {
            if !outer.iter().any(|known| folder.starts_with(known)) {
                outer.push(folder);
            }
        }
        if outer.len() > COOKIES_MAX { vec!["/"] } else { outer }
    }

    /// The value of `Set-Cookie` (RFC 6265 section 4.1.1).
    fn text(&self, folder: &str) -> String {
        let mut text = format!("{}=", self.name);
        push_encoded(&mut text, self.token, |byte| byte.is_ascii_graphic() && !b"\",;\\%".contains(&byte));
        // Writing to a string cannot fail.
        let _ = write!(text, "; Path={folder}");
        if let Some(left) = self.left {
            let _ = write!(text, "; Max-Age={}", left.as_secs());
        }
        text.push_str("; HttpOnly");
        text.push_str(if self.over_tls { "; Secure; SameSite=None" } else { "; SameSite=Lax" });
        text
    }
}

/// The folder of a path, with the slash that ends it. One with a semicolon cannot be named in a cookie: then the folder
/// above.
fn folder(path: &str) -> &str {
    let named = path.split(';').next().unwrap_or_default();
    named.rfind('/').and_then(|last| named.get(..=last)).unwrap_or("/")
}

#[cfg(test)]
mod tests;
