//! What is asked for, as JSON: exactly one of `url`, `prefix`, `tag`, `site` and `everything`, and how.
//!
//! Decides on the form alone; whether there is such a site, and what a URL comes to, is [`super::resolve`]'s business.
//! Nothing is passed over: a field that is not known, that stands twice or that does not go with the others is a
//! refusal, since a purge that does less than was meant is found out too late.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::Refusal;
use crate::config::units;
use crate::fleet::nodes::WAIT_MAX;
use crate::store::purges::PurgeMode;

/// URLs or tags that one request may name.
pub const NAMES_MAX: usize = 256;

/// Bytes of a tag.
pub const TAG_BYTES_MAX: usize = 1024;

/// Every field, for messages.
const FIELDS: &str = "url, prefix, tag, site, everything, mode, dry_run, id and wait";

/// Bytes of an `id`.
pub const ID_BYTES_MAX: usize = 200;

/// A purge that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What it names.
    pub named: Named,
    /// `mode`; soft where it is not given.
    pub mode: PurgeMode,
    /// `dry_run`: only tell what would be purged.
    pub dry_run: bool,
    /// `id`, or the field `Idempotency-Key`: an order that comes again with the same one is not carried out again.
    pub id: Option<String>,
    /// `wait`: how long to wait until all nodes of the fleet have applied it.
    pub wait: Option<Duration>,
}

/// What a purge names, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// `url`: one to [`NAMES_MAX`].
    Urls(Vec<String>),
    /// `prefix`, with `site` where it is a path alone.
    Prefix {
        /// An absolute URL, or a path.
        prefix: String,
        /// The site of a path.
        site: Option<String>,
    },
    /// `tag`: one to [`NAMES_MAX`], of one site or of all.
    Tags {
        /// The tags.
        tags: Vec<String>,
        /// The only site.
        site: Option<String>,
    },
    /// `site` alone.
    Site(String),
    /// `everything`.
    Everything,
}

/// Reads a request's body.
///
/// # Errors
/// A [`Refusal`] with the word `body`, `field`, `target`, `too_many`, `tag`, `mode`, `id` or `wait`.
pub fn read(body: &[u8]) -> Result<Order, Refusal> {
    let members: Members = serde_json::from_slice(body).map_err(|error| {
        let example = "{\"url\": \"https://live.example.com/index.m3u8\"}";
        refusal(
            "body",
            format!("the body is not the JSON object that is wanted: {error}; send, for example, {example}"),
        )
    })?;
    let mut fields = Fields::default();
    for (name, value) in members.0 {
        fields.take(&name, value)?;
    }
    fields.order()
}

/// Takes the field `Idempotency-Key` of a request into an order: text, in quotation marks or without.
///
/// # Errors
/// A [`Refusal`] with the word `id`, also where the order has another one.
pub fn take_key(order: &mut Order, key: &[u8]) -> Result<(), Refusal> {
    let text = std::str::from_utf8(key).unwrap_or_default().trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let key = id("Idempotency-Key", Value::from(bare))?;
    if order.id.as_ref().is_some_and(|id| *id != key) {
        return Err(refusal("id", "id: is another one than Idempotency-Key; send one of them"));
    }
    order.id = Some(key);
    Ok(())
}

/// A refusal with this word.
pub(super) fn refusal(word: &'static str, reason: impl Into<String>) -> Refusal {
    Refusal { word, reason: reason.into() }
}

/// The fields, each of the right type.
#[derive(Default)]
struct Fields {
    url: Option<Vec<String>>,
    prefix: Option<String>,
    tag: Option<Vec<String>>,
    site: Option<String>,
    everything: bool,
    mode: PurgeMode,
    dry_run: bool,
    id: Option<String>,
    wait: Option<Duration>,
}

impl Fields {
    fn take(&mut self, name: &str, value: Value) -> Result<(), Refusal> {
        match name {
            "url" => self.url = Some(texts(name, value)?),
            "prefix" => self.prefix = Some(text(name, value)?),
            "tag" => self.tag = Some(tags(texts(name, value)?)?),
            "site" => self.site = Some(text(name, value)?),
            "everything" => self.everything = everything(&value)?,
            "mode" => self.mode = mode(&value)?,
            "dry_run" => self.dry_run = boolean(name, &value)?,
            "id" => self.id = Some(id(name, value)?),
            "wait" => self.wait = Some(wait(&value)?),
            _ => {
                let reason =
                    format!("\"{}\" is not a field here; those there are: {FIELDS}", name.escape_debug());
                return Err(refusal("field", reason));
            }
        }
        Ok(())
    }

    fn order(self) -> Result<Order, Refusal> {
        let Fields { url, prefix, tag, site, everything, mode, dry_run, id, wait } = self;
        let named = match (url, prefix, tag, site, everything) {
            (Some(urls), None, None, None, false) => Named::Urls(urls),
            (None, Some(prefix), None, site, false) => Named::Prefix { prefix, site },
            (None, None, Some(tags), site, false) => Named::Tags { tags, site },
            (None, None, None, Some(site), false) => Named::Site(site),
            (None, None, None, None, true) => Named::Everything,
            (None, None, None, None, false) => {
                let reason = "nothing is named; give one of url, prefix, tag, site, or everything: true";
                return Err(refusal("target", reason));
            }
            _ => {
                let reason = "more than one thing is named; give one of url, prefix, tag, site and everything, \
                              where site may also stand beside prefix or tag";
                return Err(refusal("target", reason));
            }
        };
        Ok(Order { named, mode, dry_run, id, wait })
    }
}

/// Reads a mode.
///
/// # Errors
/// A [`Refusal`] with the word `mode`.
pub fn mode_of(text: &str) -> Result<PurgeMode, Refusal> {
    match text {
        "soft" => Ok(PurgeMode::Soft),
        "hard" => Ok(PurgeMode::Hard),
        _ => {
            let reason = format!(
                "mode: \"{}\" is not known; write \"soft\" (asked for again before it is served, kept for when the \
                 origin fails) or \"hard\" (not served again)",
                text.escape_debug()
            );
            Err(refusal("mode", reason))
        }
    }
}

fn mode(value: &Value) -> Result<PurgeMode, Refusal> {
    value
        .as_str()
        .map_or_else(|| Err(refusal("mode", "mode: must be text; write \"soft\" or \"hard\"")), mode_of)
}

/// `false` would name nothing, and may be meant as anything.
fn everything(value: &Value) -> Result<bool, Refusal> {
    if *value == Value::Bool(true) {
        return Ok(true);
    }
    Err(refusal("field", "everything: can be true and nothing else; write true, or leave it out"))
}

fn id(name: &str, value: Value) -> Result<String, Refusal> {
    let is_id = |text: &str| {
        (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match value {
        Value::String(text) if is_id(&text) => Ok(text),
        _ => {
            let reason = format!("{name}: write 1 to {ID_BYTES_MAX} bytes of visible ASCII without spaces");
            Err(refusal("id", reason))
        }
    }
}

fn wait(value: &Value) -> Result<Duration, Refusal> {
    let read = value.as_str().and_then(|text| units::duration(text).ok());
    read.filter(|wait| !wait.is_zero() && *wait <= WAIT_MAX).ok_or_else(|| {
        let most = units::show_duration(WAIT_MAX);
        refusal("wait", format!("wait: write a duration up to {most}, such as \"10s\""))
    })
}

fn boolean(name: &str, value: &Value) -> Result<bool, Refusal> {
    value.as_bool().ok_or_else(|| refusal("field", format!("{name}: must be true or false")))
}

fn text(name: &str, value: Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text),
        _ => Err(refusal("field", format!("{name}: must be text that is not empty"))),
    }
}

fn texts(name: &str, value: Value) -> Result<Vec<String>, Refusal> {
    let Value::Array(values) = value else {
        return Ok(vec![text(name, value)?]);
    };
    if values.is_empty() {
        return Err(refusal("target", format!("{name}: the list is empty; name at least one")));
    }
    if values.len() > NAMES_MAX {
        let reason = format!("{name}: {} are named; send at most {NAMES_MAX} at a time", values.len());
        return Err(refusal("too_many", reason));
    }
    values.into_iter().enumerate().map(|(place, value)| text(&format!("{name}[{place}]"), value)).collect()
}

/// A tag is what a field that lists tags can hold: visible ASCII, no comma, no white space.
fn tags(tags: Vec<String>) -> Result<Vec<String>, Refusal> {
    let is_tag = |tag: &String| {
        tag.len() <= TAG_BYTES_MAX && tag.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
    };
    match tags.iter().position(|tag| !is_tag(tag)) {
        None => Ok(tags),
        Some(place) => {
            let reason = format!(
                "tag[{place}]: no answer can carry such a tag; write visible ASCII without commas and spaces, at most \
                 {TAG_BYTES_MAX} bytes"
            );
            Err(refusal("tag", reason))
        }
    }
}

/// The members of a JSON object, in order, none of them twice.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("\"{}\" stands twice", name.escape_debug())));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn named(body: &str) -> Named {
        read(body.as_bytes()).unwrap().named
    }

    fn refused(body: &str) -> (&'static str, String) {
        let refusal = read(body.as_bytes()).unwrap_err();
        (refusal.word, refusal.reason)
    }

    #[test]
    fn each_target_is_read_alone_and_in_lists() {
        assert_eq!(named(r#"{"url": "http://a/b"}"#), Named::Urls(vec!["http://a/b".to_owned()]));
        assert_eq!(named(r#"{"url": ["x", "y"]}"#), Named::Urls(vec!["x".to_owned(), "y".to_owned()]));
        let (prefix, site) = ("/live/".to_owned(), Some("a".to_owned()));
        assert_eq!(named(r#"{"prefix": "/live/", "site": "a"}"#), Named::Prefix { prefix, site });
        assert_eq!(named(r#"{"tag": "t"}"#), Named::Tags { tags: vec!["t".to_owned()], site: None });
        assert_eq!(named(r#"{"site": "a"}"#), Named::Site("a".to_owned()));
        assert_eq!(named(r#"{"everything": true}"#), Named::Everything);
    }

    #[test]
    fn a_purge_is_soft_and_real_unless_told() {
        let order = read(br#"{"everything": true}"#).unwrap();
        assert_eq!((order.mode, order.dry_run), (PurgeMode::Soft, false));
        let order = read(br#"{"everything": true, "mode": "hard", "dry_run": true}"#).unwrap();
        assert_eq!((order.mode, order.dry_run), (PurgeMode::Hard, true));
    }

    #[test]
    fn what_is_not_exactly_one_purge_is_refused_with_the_field_and_the_remedy() {
        for (body, word, part) in [
            ("", "body", "JSON"),
            ("[]", "body", "expected an object"),
            (r#"{"url": "a", "url": "b"}"#, "body", "\"url\" stands twice"),
            (r#"{"everything": true} {}"#, "body", "trailing"),
            ("{}", "target", "give one of url"),
            (r#"{"dry_run": true}"#, "target", "give one of url"),
            (r#"{"url": "a", "prefix": "b"}"#, "target", "more than one"),
            (r#"{"url": "a", "site": "b"}"#, "target", "more than one"),
            (r#"{"site": "a", "everything": true}"#, "target", "more than one"),
            (r#"{"url": []}"#, "target", "url: the list is empty"),
            (r#"{"urls": "a"}"#, "field", "\"urls\" is not a field"),
            (r#"{"url": ["a", 1]}"#, "field", "url[1]: must be text"),
            (r#"{"site": ""}"#, "field", "site: must be text"),
            (r#"{"everything": false}"#, "field", "everything: can be true"),
            (r#"{"everything": true, "dry_run": "yes"}"#, "field", "dry_run: must be true or false"),
            (r#"{"everything": true, "mode": "Hard"}"#, "mode", "\"Hard\" is not known"),
            (r#"{"everything": true, "mode": true}"#, "mode", "must be text"),
            (r#"{"everything": true, "wait": 10}"#, "wait", "such as \"10s\""),
            (r#"{"everything": true, "wait": "31s"}"#, "wait", "up to 30s"),
            (r#"{"everything": true, "wait": "0s"}"#, "wait", "up to 30s"),
            (r#"{"everything": true, "id": ""}"#, "id", "1 to 200 bytes"),
            (r#"{"everything": true, "id": "a b"}"#, "id", "visible ASCII"),
            (r#"{"everything": true, "id": 7}"#, "id", "visible ASCII"),
            (r#"{"tag": ["ok", "a b"]}"#, "tag", "tag[1]"),
            (r#"{"tag": "a,b"}"#, "tag", "commas"),
        ] {
            let (found, reason) = refused(body);
            assert_eq!(found, word, "{body}: {reason}");
            assert!(reason.contains(part), "{body}: {reason}");
        }
    }

    #[test]
    fn a_key_in_the_header_and_in_the_document_are_one() {
        let body = br#"{"everything": true, "id": "k1", "wait": "10s"}"#;
        let mut order = read(body).unwrap();
        assert_eq!((order.id.as_deref(), order.wait), (Some("k1"), Some(Duration::from_secs(10))));
        for key in ["k1", "\"k1\"", " k1 "] {
            assert_eq!(take_key(&mut order, key.as_bytes()), Ok(()), "{key}");
        }
        for key in [&b"k2"[..], b"", b"\"\"", b"k1 k1", b"\xff", &[b'a'; ID_BYTES_MAX + 1]] {
            assert_eq!(take_key(&mut order, key).unwrap_err().word, "id", "{key:?}");
        }
        let mut order = read(br#"{"everything": true}"#).unwrap();
        take_key(&mut order, b"\"k2\"").unwrap();
        assert_eq!(order.id.as_deref(), Some("k2"));
    }

    #[test]
    fn lists_and_tags_are_bounded() {
        let list = |count: usize| serde_json::json!({ "url": vec!["http://a/"; count] }).to_string();
        assert!(read(list(NAMES_MAX).as_bytes()).is_ok());
        assert_eq!(refused(&list(NAMES_MAX + 1)).0, "too_many");
        let tag = |bytes: usize| serde_json::json!({ "tag": "t".repeat(bytes) }).to_string();
        assert!(read(tag(TAG_BYTES_MAX).as_bytes()).is_ok());
        assert_eq!(refused(&tag(TAG_BYTES_MAX + 1)).0, "tag");
    }
}
