//! The split of a text: its points, each a place where something is inserted, and what.
//!
//! Most points share what they insert, so a point names a piece: a text before the token, one after it, and when it
//! applies. The length of what a viewer gets follows from the pieces alone.

use std::borrow::Cow;
use std::ops::Range;

use crate::dash::{self, Against};
use crate::hls;
use crate::key::reference::{Reference, is_same_host, path_of};
use crate::key::target;

/// Bytes of texts that a split may hold beside as many as the playlist has.
const TEXTS_BYTES_MIN: usize = 64 * 1024;

/// Pieces that a new point is compared with before it gets one of its own.
const PIECES_COMPARED: usize = 32;

/// What a token looks like in a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A parameter, `NAME=TOKEN`.
    Query,
    /// A leading segment of the path, `/NAME=TOKEN`.
    Path,
    /// That, and a parameter that is no token: what a viewer gives for itself.
    PathAndQuery,
}

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// An HLS playlist.
    Hls,
    /// An MPEG-DASH manifest.
    Dash,
}

/// What a text is split by: the same for all its viewers.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// What the token looks like.
    pub form: Form,
    /// What the text is written in.
    pub syntax: Syntax,
    /// The path of the playlist in normal form, without token.
    pub path: &'a str,
    /// Whether a host (no port) is the site's, or listed to be treated so.
    pub is_own: &'a (dyn Fn(&str) -> bool + Sync),
    /// Whether a query parameter, its value included, is a token of the site.
    pub is_token: &'a (dyn Fn(&str) -> bool + Sync),
    /// Whether a path begins with a token of the site.
    pub has_token: &'a (dyn Fn(&str) -> bool + Sync),
}

/// Why a text is not split; it goes as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSplit {
    /// It is not UTF-8, or 4 GiB long.
    #[error("it is no text")]
    NoText,
    /// It is no manifest.
    #[error(transparent)]
    Manifest(#[from] dash::ManifestError),
    /// What would be inserted is longer than the text, and than [`TEXTS_BYTES_MIN`].
    #[error("its URIs hold more dot segments or variables than can be written out")]
    TooLong,
}

/// Where a viewer's token goes, found once. Small: 12 bytes a point, and the texts of its pieces.
#[derive(Debug, PartialEq, Eq)]
pub struct Split {
    len: u32,
    points: Box<[Point]>,
    pieces: Box<[Piece]>,
    texts: Box<str>,
}

/// A viewer, as far as its bytes depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    /// What is inserted: `NAME=TOKEN` or `/NAME=TOKEN`, with nothing in it that is not of a URI.
    pub token: &'a str,
    /// The parameter beside it, by [`Form::PathAndQuery`].
    pub query: &'a str,
    /// Whether relative URIs inherit the token from the URL that was requested.
    pub inherits: bool,
    /// The host that was asked, without port.
    pub host: &'a str,
}

/// One insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit<'s> {
    /// Byte of the text before which it goes.
    pub at: usize,
    /// Bytes of the text that are left out from there.
    pub skip: usize,
    /// What goes before the text.
    pub head: &'s str,
    /// The viewer's text: token or parameter.
    pub text: &'s str,
    /// What goes after it.
    pub tail: &'s str,
    /// The number of the two: edits of one number insert the same.
    pub piece: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    at: u32,
    skip: u32,
    piece: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    when: When,
    text: Text,
    head: Range<u32>,
    tail: Range<u32>,
    /// Points that have it, and the bytes that they leave out.
    points: u32,
    skipped: u32,
}

/// Which of a viewer's texts stands in a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Token,
    Query,
}

/// When a piece applies.
#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    Always,
    /// For viewers whose relative URIs do not inherit the token.
    Relative,
    /// For viewers who asked this host.
    Host(Range<u32>),
}

impl Split {
    /// Whether anything is inserted for a viewer.
    pub fn touches(&self, viewer: &Viewer<'_>) -> bool {
        self.pieces.iter().any(|piece| self.applies(piece, viewer))
    }

    /// Whether it depends on the host that was asked.
    pub fn asks_host(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece.when, When::Host(_)))
    }

    /// Bytes of what a viewer gets.
    pub fn len_for(&self, viewer: &Viewer<'_>) -> u64 {
        let applying = self.pieces.iter().filter(|piece| self.applies(piece, viewer));
        applying.fold(u64::from(self.len), |len, piece| {
            let inserted = (piece.head.len() + piece.tail.len() + viewer.text(piece.text).len()) as u64;
            len + u64::from(piece.points) * inserted - u64::from(piece.skipped)
        })
    }

    /// The insertions for a viewer, in the order of the text.
    pub fn edits<'s>(&'s self, viewer: &'s Viewer<'s>) -> impl Iterator<Item = Edit<'s>> {
        self.points.iter().filter_map(move |point| {
            let piece = self.pieces.get(point.piece as usize)?;
            self.applies(piece, viewer).then(|| Edit {
                at: point.at as usize,
                skip: point.skip as usize,
                head: self.text(&piece.head),
                text: viewer.text(piece.text),
                tail: self.text(&piece.tail),
                piece: point.piece,
            })
        })
    }

    /// Bytes that it takes in memory.
    pub fn held_bytes(&self) -> u64 {
        (size_of::<Split>() + size_of_val(&*self.points) + size_of_val(&*self.pieces) + self.texts.len())
            as u64
    }

    fn applies(&self, piece: &Piece, viewer: &Viewer<'_>) -> bool {
        match &piece.when {
            When::Always => true,
            When::Relative => !viewer.inherits,
            When::Host(host) => is_same_host(self.text(host), viewer.host),
        }
    }

    fn text(&self, range: &Range<u32>) -> &str {
        self.texts.get(range.start as usize..range.end as usize).unwrap_or_default()
    }
}

impl<'a> Viewer<'a> {
    fn text(&self, text: Text) -> &'a str {
        match text {
            Text::Token => self.token,
            Text::Query => self.query,
        }
    }
}

/// Splits a text. One pass; holds at most as many bytes as the text has, [`TEXTS_BYTES_MIN`], and 12 for each URI.
///
/// # Errors
/// [`NotSplit`]: the text goes as it is.
pub fn split(text: &[u8], terms: &Terms<'_>) -> Result<Split, NotSplit> {
    let text = std::str::from_utf8(text).map_err(|_| NotSplit::NoText)?;
    let len = u32::try_from(text.len()).map_err(|_| NotSplit::NoText)?;
    let mut splitter = Splitter {
        text,
        terms: *terms,
        points: Vec::new(),
        pieces: Vec::new(),
        texts: String::new(),
        overflowed: false,
    };
    match terms.syntax {
        Syntax::Hls => hls::uris::find(text, |place| splitter.take(place.at, &place.says, true, Around::Own)),
        Syntax::Dash => splitter.split_manifest()?,
    }
    if splitter.overflowed {
        return Err(NotSplit::TooLong);
    }
    Ok(Split {
        len,
        points: splitter.points.into(),
        pieces: splitter.pieces.into(),
        texts: splitter.texts.into(),
    })
}

/// Whose URLs those are that a place's relative URIs become.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Around {
    /// The site's.
    Own,
    /// Those of a host that may be the one asked.
    Host(String),
    /// Another host's, or nobody knows.
    Foreign,
}

/// A URI that is being looked at.
struct Uri<'a> {
    at: Range<usize>,
    /// Its bytes in the text.
    raw: &'a str,
    /// What it says.
    says: &'a str,
}

struct Splitter<'a> {
    text: &'a str,
    terms: Terms<'a>,
    points: Vec<Point>,
    pieces: Vec<Piece>,
    texts: String,
    overflowed: bool,
}

// === impl Splitter: which URIs ===

impl Splitter<'_> {
    fn split_manifest(&mut self) -> Result<(), NotSplit> {
        let opening = dash::find(self.text, |place, against| {
            let (of_document, around) = match against {
                Against::Document => (true, Around::Own),
                Against::Bases(bases) => (false, around(bases, self.terms.is_own)),
            };
            self.take(place.at, &place.says, of_document, around);
        })?;
        if let Some(opening) = opening.filter(|_| self.terms.form != Form::Query) {
            let (head, tail) =
                (format!("<{}BaseURL>", opening.prefix), format!("</{}BaseURL>", opening.prefix));
            let folder = self.escape(folder(self.terms.path));
            let piece = self.piece(&Around::Own, (true, Text::Token), &head, &format!("{folder}{tail}"));
            let place = self.points.partition_point(|point| (point.at as usize) < opening.at);
            self.insert(place, opening.at, 0, piece);
        }
        Ok(())
    }

    /// Takes a URI. `of_document`: what is relative is so to the document's own URL.
    fn take(&mut self, at: Range<usize>, says: &str, of_document: bool, around: Around) {
        let raw = self.text.get(at.clone()).unwrap_or_default();
        let uri = Uri { at, raw, says };
        let reference = Reference::of(says);
        let around = match reference {
            Reference::Url { host, .. } if (self.terms.is_own)(host) => Around::Own,
            Reference::Url { host, .. } => Around::Host(host.to_owned()),
            _ => around,
        };
        // A variable that nobody knows may be a scheme and a host.
        if reference == Reference::Other || around == Around::Foreign || says.starts_with("{$") {
            return;
        }
        match (self.terms.form, reference) {
            (Form::Query, _) => return self.by_query(&uri, &around, Text::Token),
            (_, Reference::Relative) if of_document => self.relative_by_path(&uri),
            (_, Reference::Rooted) => self.by_path(&uri, 0, &around),
            (_, Reference::Url { path_at, .. }) => self.by_path(&uri, path_at, &around),
            _ => {}
        }
        if self.terms.form == Form::PathAndQuery {
            self.by_query(&uri, &around, Text::Query);
        }
    }

    fn by_query(&mut self, uri: &Uri<'_>, around: &Around, text: Text) {
        let end = uri.says.find('#').unwrap_or(uri.says.len());
        let (before, fragment) = uri.says.split_at(end);
        let query = before.split_once('?').map(|(_, query)| query);
        if query.is_some_and(|query| query.split('&').any(self.terms.is_token)) {
            return;
        }
        let joint = match query {
            None => "?",
            Some("") => "",
            Some(query) if query.ends_with('&') => "",
            Some(_) => "&",
        };
        let joint = self.escape(joint);
        if uri.raw.ends_with(fragment) {
            let at = uri.at.end - fragment.len();
            // Where the path takes the place of the fragment too, the parameter has none.
            if self.points.last().is_none_or(|last| last.at as usize + last.skip as usize <= at) {
                let piece = self.piece(around, (false, text), &joint, "");
                self.push(at, 0, piece);
            }
        } else if text == Text::Token {
            let head = format!("{}{joint}", self.escape(before));
            let piece = self.piece(around, (false, text), &head, &self.escape(fragment));
            self.push(uri.at.start, uri.raw.len(), piece);
        }
    }

    /// A URI whose path begins at `path_at`, from the root.
    fn by_path(&mut self, uri: &Uri<'_>, path_at: usize, around: &Around) {
        let (before, path) = uri.says.split_at_checked(path_at).unwrap_or((uri.says, ""));
        if (self.terms.has_token)(path_of(path)) {
            return;
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        if leaves_root(path_of(path), 0) {
            let (dotted, after) = path.split_at(path_of(path).len());
            let plain = target::without_dots(dotted, false);
            if uri.raw == uri.says {
                let piece =
                    self.piece(around, (false, Text::Token), &self.escape(before), &self.escape(&plain));
                return self.push(uri.at.start, uri.raw.len() - after.len(), piece);
            }
            let tail = format!("{plain}{after}");
            let piece = self.piece(around, (false, Text::Token), &self.escape(before), &self.escape(&tail));
            return self.push(uri.at.start, uri.raw.len(), piece);
        }
        if uri.raw.starts_with(before) {
            let piece = self.piece(around, (false, Text::Token), "", slash);
            self.push(uri.at.start + before.len(), 0, piece);
        } else {
            let tail = format!("{slash}{}", self.escape(path));
            let piece = self.piece(around, (false, Text::Token), &self.escape(before), &tail);
            self.push(uri.at.start, uri.raw.len(), piece);
        }
    }

    /// A URI relative to the document, written out from the root where it does not inherit the token.
    fn relative_by_path(&mut self, uri: &Uri<'_>) {
        let found = Resolved::of(uri.says, self.terms.path);
        let from_root = self.escape(&found.from_root);
        let when_relative = !found.leaves_root;
        match uri.says.split_at_checked(found.skip) {
            Some((skipped, _)) if uri.raw.starts_with(skipped) => {
                let piece = self.piece(&Around::Own, (when_relative, Text::Token), "", &from_root);
                self.push(uri.at.start, found.skip, piece);
            }
            Some((_, rest)) => {
                let tail = format!("{from_root}{}", self.escape(rest));
                let piece = self.piece(&Around::Own, (when_relative, Text::Token), "", &tail);
                self.push(uri.at.start, uri.raw.len(), piece);
            }
            None => {}
        }
    }

    /// A text as it is written in the document.
    fn escape<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.terms.syntax {
            Syntax::Hls => Cow::Borrowed(text),
            Syntax::Dash => quick_xml::escape::escape(text),
        }
    }
}

// === impl Splitter: points and pieces ===

impl Splitter<'_> {
    /// The piece with these texts, made if need be.
    fn piece(&mut self, around: &Around, (when_relative, text): (bool, Text), head: &str, tail: &str) -> u32 {
        let host = match around {
            Around::Host(host) => Some(host.as_str()),
            Around::Own | Around::Foreign => None,
        };
        let is_it = |piece: &Piece| {
            let when = match &piece.when {
                When::Always => host.is_none() && !when_relative,
                When::Relative => when_relative,
                When::Host(known) => host == Some(range_of(&self.texts, known)),
            };
            when && piece.text == text
                && range_of(&self.texts, &piece.head) == head
                && range_of(&self.texts, &piece.tail) == tail
        };
        let known = self.pieces.iter().take(PIECES_COMPARED).position(is_it);
        if let Some(place) = known.and_then(|place| u32::try_from(place).ok()) {
            return place;
        }
        let when = match host {
            Some(host) => When::Host(self.keep(host)),
            None if when_relative => When::Relative,
            None => When::Always,
        };
        let (head, tail) = (self.keep(head), self.keep(tail));
        self.pieces.push(Piece { when, text, head, tail, points: 0, skipped: 0 });
        u32::try_from(self.pieces.len() - 1).unwrap_or(u32::MAX)
    }

    fn keep(&mut self, text: &str) -> Range<u32> {
        if self.texts.len() + text.len() > self.text.len() + TEXTS_BYTES_MIN {
            self.overflowed = true;
            return 0..0;
        }
        let start = self.texts.len();
        self.texts.push_str(text);
        let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        at(start)..at(self.texts.len())
    }

    fn push(&mut self, at: usize, skip: usize, piece: u32) {
        self.insert(self.points.len(), at, skip, piece);
    }

    fn insert(&mut self, place: usize, at: usize, skip: usize, piece: u32) {
        // All of them are offsets into a text of less than 4 GiB.
        let (Ok(at), Ok(skip)) = (u32::try_from(at), u32::try_from(skip)) else { return };
        let Some(of_piece) = self.pieces.get_mut(piece as usize) else { return };
        of_piece.points += 1;
        of_piece.skipped += skip;
        self.points.insert(place, Point { at, skip, piece });
    }
}

fn range_of<'t>(texts: &'t str, range: &Range<u32>) -> &'t str {
    texts.get(range.start as usize..range.end as usize).unwrap_or_default()
}

/// Whose the nearest absolute bases are. Without any, what is relative is so to the document.
fn around(bases: &[(usize, String)], is_own: &(dyn Fn(&str) -> bool + Sync)) -> Around {
    let host = |(depth, base): &(usize, String)| match Reference::of(base) {
        Reference::Url { host, .. } => Some((*depth, host.to_owned())),
        _ => None,
    };
    let mut nearest = bases.iter().rev().filter_map(host).peekable();
    let Some((depth, first)) = nearest.peek().cloned() else { return Around::Own };
    let (mut all_own, mut all_same) = (true, true);
    for (_, host) in nearest.take_while(|(of, _)| *of == depth) {
        all_own &= is_own(&host);
        all_same &= is_same_host(&host, &first);
    }
    match (all_own, all_same && !is_own(&first)) {
        (true, _) => Around::Own,
        (_, true) => Around::Host(first),
        _ => Around::Foreign,
    }
}

/// The folder of a path, with the slash that ends it.
fn folder(path: &str) -> &str {
    path.rfind('/').and_then(|last| path.get(..=last)).unwrap_or("/")
}

/// A relative reference, resolved by a path (RFC 3986 section 5.2).
#[derive(Debug, PartialEq, Eq)]
struct Resolved<'a> {
    /// Bytes at its beginning that [`Resolved::from_root`] stands for.
    skip: usize,
    /// What stands in their place.
    from_root: Cow<'a, str>,
    /// Whether it climbs above the root, and so out of any prefix before it.
    leaves_root: bool,
}

impl<'a> Resolved<'a> {
    fn of(says: &str, base: &'a str) -> Resolved<'a> {
        let path = path_of(says);
        if path.is_empty() {
            // A query alone keeps the whole path.
            return Resolved { skip: 0, from_root: Cow::Borrowed(base), leaves_root: false };
        }
        let folder = folder(base);
        if !path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Resolved { skip: 0, from_root: Cow::Borrowed(folder), leaves_root: false };
        }
        let leaves_root = leaves_root(path, folder.matches('/').count().saturating_sub(1));
        let leading = path.len() - after_dots(path).len();
        let (dots, rest) = path.split_at(leading);
        if !rest.split('/').any(|segment| matches!(segment, "." | "..")) {
            let from_root =
                dots.split('/').filter(|segment| *segment == "..").fold(folder, |folder, _| parent(folder));
            return Resolved { skip: leading, from_root: Cow::Borrowed(from_root), leaves_root };
        }
        let from_root = Cow::Owned(target::without_dots(&format!("{folder}{path}"), false));
        Resolved { skip: path.len(), from_root, leaves_root }
    }
}

/// Whether a path that begins `depth` segments below the root climbs above it, and so out of any prefix before it.
fn leaves_root(path: &str, mut depth: usize) -> bool {
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        match segment {
            "." => {}
            ".." if depth == 0 => return true,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

/// What follows leading `./` and `../`.
fn after_dots(path: &str) -> &str {
    let mut rest = path;
    while let Some(after) = rest.strip_prefix("./").or_else(|| rest.strip_prefix("../")) {
        rest = after;
    }
    rest
}

/// The folder around a folder; that of the root is the root.
fn parent(inner: &str) -> &str {
    inner.strip_suffix('/').map_or("/", folder)
}

#[cfg(test)]
mod tests;
