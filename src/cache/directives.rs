//! What an origin says of caching: the directives of `Cache-Control` (RFC 9111 section 5.2.2, RFC 5861, RFC 8246), or
//! of a field that is meant for caches like this one (RFC 9213).
//!
//! Reads, and does not judge. What cannot be read counts for the more restrictive reading: a time is zero, a limit to
//! some fields is a limit to the whole answer, and a permission is not given.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION,
    TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderValue};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

/// The field meant for this program alone; viewers do not get it.
pub const FOREBAY_CACHE_CONTROL: HeaderName = HeaderName::from_static("forebay-cache-control");

/// The field meant for every content delivery network (RFC 9213 section 3); viewers get it.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// Milliseconds of freshness that are left, as a node of the next tier tells it ([`super::tier`]); viewers do not get it.
pub const FOREBAY_TTL: HeaderName = HeaderName::from_static("forebay-ttl");

/// The target list (RFC 9213 section 2.2): the first of them that is valid and not empty decides.
pub const TARGETS: [HeaderName; 2] = [FOREBAY_CACHE_CONTROL, CDN_CACHE_CONTROL];

/// Most seconds that a directive or `Age` can name; more counts as this (RFC 9111 section 1.2.2).
pub const DELTA_SECONDS_MAX: u64 = 1 << 31;

/// Fields that a stored answer cannot do without: a `private` or `no-cache` limited to one of them is not limited.
const INDISPENSABLE: [HeaderName; 8] = [
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    LOCATION,
    TRANSFER_ENCODING,
    VARY,
];

/// What `no-cache` or `private` bears on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Nothing: the directive is absent.
    #[default]
    Nothing,
    /// These fields of the answer.
    Fields(Vec<HeaderName>),
    /// The answer.
    Whole,
}

impl Scope {
    /// Whether it bears on the whole answer.
    pub fn is_whole(&self) -> bool {
        *self == Scope::Whole
    }

    /// The fields that it is limited to.
    pub fn fields(&self) -> &[HeaderName] {
        match self {
            Scope::Fields(names) => names,
            Scope::Nothing | Scope::Whole => &[],
        }
    }

    fn add(&mut self, names: Option<Vec<HeaderName>>) {
        match (&mut *self, names) {
            (Scope::Whole, _) => {}
            (_, None) => *self = Scope::Whole,
            (Scope::Nothing, Some(names)) => *self = Scope::Fields(names),
            (Scope::Fields(held), Some(names)) => held.extend(names),
        }
    }
}

/// The directives of an answer. Unknown ones are ignored (RFC 9111 section 5.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// Section 5.2.2.1; zero if it cannot be read, or is there twice with different values (section 4.2.1).
    pub max_age: Option<Duration>,
    /// Section 5.2.2.10; likewise.
    pub s_maxage: Option<Duration>,
    /// Section 5.2.2.2.
    pub must_revalidate: bool,
    /// Section 5.2.2.8.
    pub proxy_revalidate: bool,
    /// Section 5.2.2.3.
    pub must_understand: bool,
    /// Section 5.2.2.4.
    pub no_cache: Scope,
    /// Section 5.2.2.5.
    pub no_store: bool,
    /// Section 5.2.2.6.
    pub no_transform: bool,
    /// Section 5.2.2.7.
    pub private: Scope,
    /// Section 5.2.2.9.
    pub public: bool,
    /// RFC 8246.
    pub immutable: bool,
    /// RFC 5861 section 3; zero if it cannot be read, the shortest if it is there several times.
    pub stale_while_revalidate: Option<Duration>,
    /// RFC 5861 section 4; likewise.
    pub stale_if_error: Option<Duration>,
}

/// The directives that decide about an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deciding {
    /// The directives.
    pub directives: Directives,
    /// Whether they come from a targeted field: then `Cache-Control` and `Expires` do not decide (RFC 9213 section 2.2).
    pub targeted: bool,
}

impl Deciding {
    /// The directives that decide about an answer with these fields.
    pub fn of(headers: &HeaderMap) -> Deciding {
        match TARGETS.iter().find_map(|name| targeted(headers, name)) {
            Some(directives) => Deciding { directives, targeted: true },
            None => Deciding { directives: Directives::of_cache_control(headers), targeted: false },
        }
    }
}

impl Directives {
    /// The directives of `Cache-Control`, of all field lines together.
    pub fn of_cache_control(headers: &HeaderMap) -> Directives {
        let mut directives = Directives::default();
        for member in headers.get_all(CACHE_CONTROL).iter().flat_map(Members::of) {
            directives.add(&member);
        }
        directives
    }

    /// Whether the answer must not be used once it is stale (sections 4.2.4 and 5.2.2), but by the answer's own leave.
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate
            || self.proxy_revalidate
            || self.no_cache.is_whole()
            || self.no_store
            || self.s_maxage.is_some()
    }

    fn add(&mut self, member: &Member<'_>) {
        let bare = member.is_clean && matches!(member.argument, Argument::Absent);
        match member.name.to_ascii_lowercase().as_slice() {
            b"max-age" => add_lifetime(&mut self.max_age, member.seconds()),
            b"s-maxage" => add_lifetime(&mut self.s_maxage, member.seconds()),
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand |= bare,
            b"no-cache" => self.no_cache.add(member.field_names()),
            b"no-store" => self.no_store = true,
            b"no-transform" => self.no_transform = true,
            b"private" => self.private.add(member.field_names()),
            b"public" => self.public |= bare,
            // Its arguments have no meaning (RFC 8246 section 2).
            b"immutable" => self.immutable |= member.is_clean,
            b"stale-while-revalidate" => add_window(&mut self.stale_while_revalidate, member.seconds()),
            b"stale-if-error" => add_window(&mut self.stale_if_error, member.seconds()),
            _ => {}
        }
    }
}

fn add_lifetime(held: &mut Option<Duration>, read: Option<Duration>) {
    let agreed = held.is_none() || *held == read;
    *held = Some(read.filter(|_| agreed).unwrap_or_default());
}

fn add_window(held: &mut Option<Duration>, read: Option<Duration>) {
    let read = read.unwrap_or_default();
    *held = Some(held.map_or(read, |held| held.min(read)));
}

/// The directives of a targeted field; None: it is absent, empty or cannot be parsed.
pub(super) fn targeted(headers: &HeaderMap, name: &HeaderName) -> Option<Directives> {
    let lines = joined(headers, name)?;
    let dictionary = Parser::new(&lines).parse::<Dictionary>().ok().filter(|members| !members.is_empty())?;
    let mut directives = Directives::default();
    for (key, entry) in &dictionary {
        let argument = match entry {
            ListEntry::Item(item) => match &item.bare_item {
                BareItem::Boolean(true) => Argument::Absent,
                BareItem::Integer(number) => Argument::Number(i64::from(*number)),
                BareItem::String(text) => Argument::Names(text.as_str().as_bytes()),
                BareItem::Token(text) => Argument::Names(text.as_str().as_bytes()),
                _ => Argument::Other,
            },
            ListEntry::InnerList(_) => Argument::Other,
        };
        directives.add(&Member { name: key.as_str().as_bytes(), argument, is_clean: true });
    }
    Some(directives)
}

/// All lines of a field as one (RFC 9110 section 5.2); None: there are none.
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

/// A number of seconds (RFC 9111 section 1.2.2), at most [`DELTA_SECONDS_MAX`]; None: it is none.
pub(super) fn delta_seconds(text: &[u8]) -> Option<Duration> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| (sum * 10 + u64::from(digit - b'0')).min(DELTA_SECONDS_MAX);
    Some(Duration::from_secs(text.iter().fold(0, add)))
}

/// What stands behind the name of a directive.
enum Argument<'a> {
    Absent,
    /// A token or quoted-string of `Cache-Control`.
    Text(Cow<'a, [u8]>),
    /// An Integer of a structured field.
    Number(i64),
    /// A String or Token of a structured field.
    Names(&'a [u8]),
    /// Anything else.
    Other,
}

/// A directive as it stands in a field.
pub(super) struct Member<'a> {
    pub(super) name: &'a [u8],
    argument: Argument<'a>,
    /// Whether it follows the grammar to its end.
    pub(super) is_clean: bool,
}

impl Member<'_> {
    /// The seconds that its argument names; None: it has none, or it is invalid.
    pub(super) fn seconds(&self) -> Option<Duration> {
        match &self.argument {
            Argument::Text(text) if self.is_clean => delta_seconds(text),
            Argument::Number(number) => {
                u64::try_from(*number).ok().map(|number| Duration::from_secs(number.min(DELTA_SECONDS_MAX)))
            }
            _ => None,
        }
    }

    /// Whether it has an argument.
    pub(super) fn has_argument(&self) -> bool {
        !matches!(self.argument, Argument::Absent)
    }

    /// The fields that its argument names; None: the whole answer.
    fn field_names(&self) -> Option<Vec<HeaderName>> {
        let text: &[u8] = match &self.argument {
            Argument::Text(text) if self.is_clean => text,
            Argument::Names(text) => text,
            _ => return None,
        };
        let names = text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
        let names: Option<Vec<HeaderName>> = names.map(|name| HeaderName::from_bytes(name).ok()).collect();
        names.filter(|names| !names.is_empty() && !names.iter().any(|name| INDISPENSABLE.contains(name)))
    }
}

/// The directives of one line of `Cache-Control`, of an answer or of a request.
pub(super) struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    pub(super) fn of(value: &'a HeaderValue) -> Members<'a> {
        Members { rest: value.as_bytes() }
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !wanted(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Skips blanks; says whether there were any.
    fn skip_blanks(&mut self) -> bool {
        !self.take_while(is_blank).is_empty()
    }

    /// Takes a quoted-string, the quotation marks and backslashes left out; None: it has no end.
    fn take_quoted(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        let mut at = 1;
        while let Some(byte) = self.rest.get(at) {
            match byte {
                b'"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                b'\\' => {
                    at += 1;
                    text.extend(self.rest.get(at));
                }
                byte => text.push(*byte),
            }
            at += 1;
        }
        self.rest = &[];
        None
    }

    /// Skips what is left of a member; says whether there was anything.
    fn skip_to_comma(&mut self) -> bool {
        let mut skipped = false;
        while let Some(byte) = self.rest.first().filter(|byte| **byte != b',') {
            skipped |= !is_blank(*byte);
            if *byte == b'"' {
                self.take_quoted();
            } else {
                self.rest = &self.rest[1..];
            }
        }
        skipped
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        self.take_while(|byte| is_blank(byte) || byte == b',');
        if self.rest.is_empty() {
            return None;
        }
        let name = self.take_while(|byte| !is_blank(byte) && !b",=\"".contains(&byte));
        let mut is_clean = !name.is_empty();
        let gap = self.skip_blanks();
        let mut argument = Argument::Absent;
        if self.rest.first() == Some(&b'=') {
            self.rest = &self.rest[1..];
            is_clean &= !gap & !self.skip_blanks();
            argument = Argument::Text(if self.rest.first() == Some(&b'"') {
                let quoted = self.take_quoted();
                is_clean &= quoted.is_some();
                Cow::Owned(quoted.unwrap_or_default())
            } else {
                Cow::Borrowed(self.take_while(|byte| !is_blank(byte) && byte != b','))
            });
        }
        is_clean &= !self.skip_to_comma();
        Some(Member { name, argument, is_clean })
    }
}

#[cfg(test)]
mod tests;
