//! Common Media Client Data, versions 1 and 2 (CTA-5004, CTA-5004-B): what a player says about itself, read for the log, the
//! viewer count and whoever fetches ahead.
//!
//! Decides which keys are kept and what a well-formed value is; a key it does not know or a value out of form is skipped
//! and never an error, since players send all sorts. Where the two versions differ, either form is taken, whatever `v` says: a
//! number is an inner list of them in version 2, each with the types of object that it is of, as in `br=(3000;v 128;a)`.
//! Works on the decoded value of the `CMCD` query parameter or on the CMCD headers joined by commas.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use sfv::{BareItem, Item, List, ListEntry, Parser};

/// Bytes of CMCD that are read; what is longer is cut after the last complete pair.
pub const CMCD_BYTES_MAX: usize = 2048;
/// Bytes of a session id (CTA-5004: 64 characters); a longer one is not one.
pub const SESSION_ID_BYTES_MAX: usize = 64;
/// Types of object (`ot`): manifest, audio, video, both, init segment, caption, timed text, key, other.
const OBJECT_TYPES: [&str; 9] = ["m", "a", "v", "av", "i", "c", "tt", "k", "o"];
/// Members of an inner list that are looked at: more than one for each type of object says nothing.
const MEMBERS_MAX: usize = 16;

/// The keys that are kept, in the form the access log shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cmcd<'a> {
    /// `sid`: the playback session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<Cow<'a, str>>,
    /// `ot`: the object's type, one of m, a, v, av, i, c, tt, k, o.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ot: Option<&'static str>,
    /// `br`: encoded bitrate, in kbit/s; of several the one of this type of object, else the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub br: Option<u64>,
    /// `br` by type of object, where it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub br_by: Option<ByType>,
    /// `bl`: buffer length, in ms; of several as `br`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bl: Option<u64>,
    /// `bl` by type of object, where it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bl_by: Option<ByType>,
    /// `mtp`: measured throughput, in kbit/s; of several as `br`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtp: Option<u64>,
    /// `mtp` by type of object, where it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtp_by: Option<ByType>,
    /// `bs`: the buffer ran empty since the last request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bs: Option<bool>,
    /// `su`: the object is needed urgently: start, seek, or after an empty buffer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub su: Option<bool>,
    /// `nor`: path of the next object, as sent; of several the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nor: Option<Cow<'a, str>>,
    /// `v`: the version of CMCD; absent in version 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v: Option<u64>,
}

/// A number for each of some types of object, in the order of `OBJECT_TYPES`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByType([Option<u64>; OBJECT_TYPES.len()]);

/// Next objects that one request may announce (CTA-5004-A names several); further ones are left out.
const NEXT_MAX: usize = 2;

/// What a player will ask for next, as sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NextObject<'a> {
    /// `nor`: the object's path, percent-encoded; None: that of the request.
    pub path: Option<Cow<'a, str>>,
    /// `nrr`, or the range that stands with the path: the bytes of it.
    pub range: Option<Cow<'a, str>>,
}

impl<'a> Cmcd<'a> {
    /// What is announced by `nor` and `nrr`: of version 1 one object, of version 2 (CTA-5004-A) a list of some.
    pub fn next_objects(raw: &'a str) -> Vec<NextObject<'a>> {
        let (mut objects, mut range) = (Vec::new(), None);
        let mut rest = bounded(raw);
        while let Some((key, value, after)) = next_pair(rest) {
            match (key, value) {
                ("nor", _) if objects.is_empty() => {
                    let next = value.strings().map(|(path, range)| NextObject { path: Some(path), range });
                    objects.extend(next.take(NEXT_MAX));
                }
                ("nrr", _) if range.is_none() => range = value.string(),
                _ => {}
            }
            rest = after;
        }
        match &mut *objects {
            [] if range.is_some() => objects.push(NextObject { path: None, range }),
            [one] if one.range.is_none() => one.range = range,
            _ => {}
        }
        objects
    }

    /// Reads the pairs of `raw`; of a key that comes twice, the first counts.
    pub fn parse(raw: &'a str) -> Cmcd<'a> {
        let mut cmcd = Cmcd::default();
        let mut rest = bounded(raw);
        while let Some((key, value, after)) = next_pair(rest) {
            cmcd.take(key, value);
            rest = after;
        }
        // What the object is may stand behind its numbers.
        let place = cmcd.ot.and_then(type_place);
        for (number, by) in [
            (&mut cmcd.br, &mut cmcd.br_by),
            (&mut cmcd.bl, &mut cmcd.bl_by),
            (&mut cmcd.mtp, &mut cmcd.mtp_by),
        ] {
            let Some(ByType(numbers)) = *by else { continue };
            *number = place.and_then(|place| numbers[place]).or(*number);
            *by = by.filter(|_| numbers.iter().flatten().count() > 1);
        }
        cmcd
    }

    /// The session id alone.
    pub fn session_id(raw: &'a str) -> Option<Cow<'a, str>> {
        let mut rest = bounded(raw);
        while let Some((key, value, after)) = next_pair(rest) {
            if key == "sid"
                && let Some(sid) = session_id(value)
            {
                return Some(sid);
            }
            rest = after;
        }
        None
    }

    /// The pairs of `raw` without `nor`, which repeats a URL, with all that its query says.
    pub fn without_next_object(raw: &str) -> Cow<'_, str> {
        if !raw.contains("nor") {
            return Cow::Borrowed(raw);
        }
        let mut kept = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((key, _, after)) = next_pair(rest) {
            let pair = rest.strip_suffix(after).unwrap_or_default();
            if key != "nor" {
                kept.push_str(if kept.is_empty() { "" } else { "," });
                kept.push_str(pair.trim_start_matches([',', ' ']));
            }
            rest = after;
        }
        Cow::Owned(kept)
    }

    /// Whether nothing was kept.
    pub fn is_empty(&self) -> bool {
        *self == Cmcd::default()
    }

    fn take(&mut self, key: &str, value: Value<'a>) {
        match key {
            "sid" if self.sid.is_none() => self.sid = session_id(value),
            "ot" if self.ot.is_none() => self.ot = value.token().and_then(object_type),
            "br" if self.br.is_none() => (self.br, self.br_by) = value.numbers(),
            "bl" if self.bl.is_none() => (self.bl, self.bl_by) = value.numbers(),
            "mtp" if self.mtp.is_none() => (self.mtp, self.mtp_by) = value.numbers(),
            "bs" if self.bs.is_none() => self.bs = value.boolean(),
            "su" if self.su.is_none() => self.su = value.boolean(),
            "nor" if self.nor.is_none() => self.nor = value.strings().next().map(|(path, _)| path),
            "v" if self.v.is_none() => self.v = value.number(),
            _ => {}
        }
    }
}

/// A value as it stands after `=`, or `None` where there is no `=`.
#[derive(Clone, Copy)]
enum Value<'a> {
    /// The key stands alone, which means true.
    None,
    /// A number, a token or a boolean.
    Token(&'a str),
    /// The inside of a quoted string, escapes not yet undone.
    Quoted(&'a str),
    /// An inner list (RFC 9651 section 3.1.1), with its parentheses and parameters.
    List(&'a str),
    /// Neither.
    Malformed,
}

impl<'a> Value<'a> {
    fn token(self) -> Option<&'a str> {
        if let Value::Token(token) = self { Some(token) } else { None }
    }

    fn number(self) -> Option<u64> {
        self.token()?.parse().ok()
    }

    /// A number, or the first of a list; and those of the list that say what they are of.
    fn numbers(self) -> (Option<u64>, Option<ByType>) {
        let Value::List(list) = self else { return (self.number(), None) };
        let (mut first, mut by) = (None, ByType::default());
        for Item { bare_item, params } in members(list) {
            let BareItem::Integer(number) = bare_item else { continue };
            let Ok(number) = u64::try_from(number) else { continue };
            first.get_or_insert(number);
            for (place, name) in OBJECT_TYPES.iter().enumerate() {
                if params.get(*name) == Some(&BareItem::Boolean(true)) {
                    by.0[place].get_or_insert(number);
                }
            }
        }
        (first, first.map(|_| by))
    }

    fn boolean(self) -> Option<bool> {
        match self {
            Value::None | Value::Token("true" | "?1") => Some(true),
            Value::Token("false" | "?0") => Some(false),
            _ => None,
        }
    }

    fn string(self) -> Option<Cow<'a, str>> {
        match self {
            Value::Quoted(text) if text.contains('\\') => Some(Cow::Owned(unescape(text))),
            Value::Quoted(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    /// A string, or those of a list with their ranges (`;r="0-99"`).
    fn strings(self) -> impl Iterator<Item = (Cow<'a, str>, Option<Cow<'a, str>>)> {
        let text = |item: BareItem| match item {
            BareItem::String(text) => Some(Cow::Owned(String::from(text))),
            _ => None,
        };
        let list = if let Value::List(list) = self { list } else { "" };
        let of_list = members(list).filter_map(move |Item { bare_item, mut params }| {
            Some((text(bare_item)?, params.swap_remove("r").and_then(text)))
        });
        self.string().map(|path| (path, None)).into_iter().chain(of_list)
    }
}

/// The first members of an inner list; none of one that is out of form.
fn members(list: &str) -> impl Iterator<Item = Item> + use<> {
    let mut list = Parser::new(list).parse::<List>().unwrap_or_default();
    let members = match list.pop() {
        Some(ListEntry::InnerList(inner)) => inner.items,
        _ => Vec::new(),
    };
    members.into_iter().take(MEMBERS_MAX)
}

impl ByType {
    /// The types of object that have a number, and that.
    fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OBJECT_TYPES.iter().zip(self.0).filter_map(|(name, number)| Some((*name, number?)))
    }
}

impl Serialize for ByType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries())
    }
}

fn session_id(value: Value<'_>) -> Option<Cow<'_, str>> {
    value.string().filter(|sid| !sid.is_empty() && sid.len() <= SESSION_ID_BYTES_MAX)
}

fn object_type(token: &str) -> Option<&'static str> {
    OBJECT_TYPES.into_iter().find(|known| *known == token)
}

fn type_place(object_type: &str) -> Option<usize> {
    OBJECT_TYPES.iter().position(|known| *known == object_type)
}

/// At most [`CMCD_BYTES_MAX`] bytes of `raw`, without the pair that was cut.
fn bounded(raw: &str) -> &str {
    if raw.len() <= CMCD_BYTES_MAX {
        return raw;
    }
    let cut = &raw[..raw.floor_char_boundary(CMCD_BYTES_MAX)];
    cut.rsplit_once(',').map_or("", |(whole, _)| whole)
}

/// The next key, its value, and what follows; `None` at the end.
fn next_pair(text: &str) -> Option<(&str, Value<'_>, &str)> {
    let text = text.trim_start_matches([',', ' ']);
    if text.is_empty() {
        return None;
    }
    let end = text.find(['=', ',']).unwrap_or(text.len());
    let (key, rest) = (text[..end].trim_end(), &text[end..]);
    let Some(rest) = rest.strip_prefix('=') else {
        return Some((key, Value::None, rest));
    };
    if rest.starts_with('(') {
        let Some(end) = outside_quotes(rest, b')') else { return Some((key, Value::Malformed, "")) };
        // Parameters of the list are part of it.
        let end = end + outside_quotes(&rest[end..], b',').unwrap_or(rest.len() - end);
        return Some((key, Value::List(&rest[..end]), &rest[end..]));
    }
    let Some(inside) = rest.strip_prefix('"') else {
        let end = rest.find(',').unwrap_or(rest.len());
        return Some((key, Value::Token(rest[..end].trim()), &rest[end..]));
    };
    match closing_quote(inside) {
        Some(end) => Some((key, Value::Quoted(&inside[..end]), &inside[end + 1..])),
        None => Some((key, Value::Malformed, "")),
    }
}

/// Place of the first such byte that is in no string.
fn outside_quotes(text: &str, wanted: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let found = rest.bytes().position(|byte| byte == wanted || byte == b'"')?;
        if rest.as_bytes()[found] == wanted {
            return Some(at + found);
        }
        at += found + 1;
        at += closing_quote(&text[at..])? + 1;
    }
}

/// Place of the quote that ends the string, escaped ones passed over.
fn closing_quote(inside: &str) -> Option<usize> {
    let mut escaped = false;
    for (place, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(place),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests;
