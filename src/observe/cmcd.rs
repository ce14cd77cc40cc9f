//! Common Media Client Data, version 1 (CTA-5004): what a player says about itself, read for the log and the viewer count.
//!
//! Decides which keys are kept and what a well-formed value is; a key it does not know or a value out of form is skipped
//! and never an error, since players send all sorts. Works on the decoded value of the `CMCD` query parameter or on the
//! CMCD headers joined by commas. Borrows from its input.

use std::borrow::Cow;

use serde::Serialize;

/// Bytes of CMCD that are read; what is longer is cut after the last complete pair.
pub const CMCD_BYTES_MAX: usize = 2048;
/// Bytes of a session id (CTA-5004: 64 characters); a longer one is not one.
pub const SESSION_ID_BYTES_MAX: usize = 64;

/// The keys that are kept, in the form the access log shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cmcd<'a> {
    /// `sid`: the playback session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<Cow<'a, str>>,
    /// `ot`: the object's type, one of m, a, v, av, i, c, tt, k, o.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ot: Option<&'static str>,
    /// `br`: encoded bitrate, in kbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub br: Option<u64>,
    /// `bl`: buffer length, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bl: Option<u64>,
    /// `mtp`: measured throughput, in kbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtp: Option<u64>,
    /// `bs`: the buffer ran empty since the last request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bs: Option<bool>,
    /// `su`: the object is needed urgently: start, seek, or after an empty buffer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub su: Option<bool>,
    /// `nor`: path of the next object, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nor: Option<Cow<'a, str>>,
}

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
                ("nor", Value::List(list)) if objects.is_empty() => {
                    objects.extend(listed(list).take(NEXT_MAX))
                }
                ("nor", _) if objects.is_empty() => {
                    objects.extend(value.string().map(|path| NextObject { path: Some(path), range: None }));
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
            "br" if self.br.is_none() => self.br = value.number(),
            "bl" if self.bl.is_none() => self.bl = value.number(),
            "mtp" if self.mtp.is_none() => self.mtp = value.number(),
            "bs" if self.bs.is_none() => self.bs = value.boolean(),
            "su" if self.su.is_none() => self.su = value.boolean(),
            "nor" if self.nor.is_none() => self.nor = value.string(),
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
    /// The inside of an inner list (RFC 8941 section 3.1.1).
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

    fn boolean(self) -> Option<bool> {
        match self {
            Value::None | Value::Token("true") => Some(true),
            Value::Token("false") => Some(false),
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
}

fn session_id(value: Value<'_>) -> Option<Cow<'_, str>> {
    value.string().filter(|sid| !sid.is_empty() && sid.len() <= SESSION_ID_BYTES_MAX)
}

fn object_type(token: &str) -> Option<&'static str> {
    ["m", "a", "v", "av", "i", "c", "tt", "k", "o"].into_iter().find(|known| *known == token)
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
    if let Some(inside) = rest.strip_prefix('(') {
        return match outside_quotes(inside, b')') {
            Some(end) => Some((key, Value::List(&inside[..end]), &inside[end + 1..])),
            None => Some((key, Value::Malformed, "")),
        };
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

/// The strings of an inner list, with their range (`;r="0-99"`).
fn listed(list: &str) -> impl Iterator<Item = NextObject<'_>> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let inside = rest.trim_start().strip_prefix('"')?;
        let end = closing_quote(inside)?;
        let path = Value::Quoted(&inside[..end]).string();
        let after = &inside[end + 1..];
        let (parameters, next) = after.split_at(outside_quotes(after, b' ').unwrap_or(after.len()));
        rest = next;
        let range = parameters.split(';').find_map(|parameter| parameter.strip_prefix("r=\""));
        let range = range.and_then(|range| range.strip_suffix('"')).map(Cow::Borrowed);
        Some(NextObject { path, range })
    })
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
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_comes_next_is_left_out_and_all_else_stays() {
        for (raw, expected) in [
            (r#"br=1,nor="..%2Fa.ts%3Ft%3Dsecret",sid="a,nor=b",su"#, r#"br=1,sid="a,nor=b",su"#),
            (r#"nor="a",nor=b, nor = "c""#, ""),
            (r#"br=1,nor=("a,b)" "c";r="0-1"),su"#, r#"br=1,su"#),
            (r#"br=1,nor=("a,t=secret"#, "br=1"),
            (r#"sid="x",nor="cut"#, r#"sid="x""#),
            ("br=1,su", "br=1,su"),
        ] {
            let kept = Cmcd::without_next_object(raw);
            assert_eq!(kept, expected, "{raw}");
            assert_eq!(Cmcd::parse(&kept), Cmcd { nor: None, ..Cmcd::parse(raw) }, "{raw}");
        }
    }

    #[test]
    fn the_next_object_is_read_in_either_version() {
        let next = |path: Option<&'static str>, range: Option<&'static str>| NextObject {
            path: path.map(Cow::Borrowed),
            range: range.map(Cow::Borrowed),
        };
        for (raw, expected) in [
            (r#"br=1,nor="..%2Fa.m4s",su"#, vec![next(Some("..%2Fa.m4s"), None)]),
            (r#"nrr="5-9",nor="a.m4s""#, vec![next(Some("a.m4s"), Some("5-9"))]),
            (r#"nrr="5-9""#, vec![next(None, Some("5-9"))]),
            (r#"nor=("a.m4s")"#, vec![next(Some("a.m4s"), None)]),
            (
                r#"bl=(100),nor=("a,(1).m4s";r="0-9" "b.m4s" "c.m4s"),su"#,
                vec![next(Some("a,(1).m4s"), Some("0-9")), next(Some("b.m4s"), None)],
            ),
            (r#"nor=(a b),su"#, vec![]),
            (r#"nor=("a.m4s""#, vec![]),
            (r#"nor=()"#, vec![]),
            ("nor=a.m4s,nrr=5", vec![]),
            ("br=1", vec![]),
        ] {
            assert_eq!(Cmcd::next_objects(raw), expected, "{raw}");
        }
    }

    #[test]
    fn what_hls_js_sends_is_read() {
        let raw = r#"bl=21300,br=3200,bs,cid="abc",d=4004,dl=5000,mtp=25400,nor="..%2F300kbps%2Fseg35.m4v",ot=v,rtp=15000,sf=h,sid="6e2fb550-c457-11e9-bb97-0800200c9a66",su"#;
        let cmcd = Cmcd::parse(raw);
        assert_eq!(
            cmcd,
            Cmcd {
                sid: Some("6e2fb550-c457-11e9-bb97-0800200c9a66".into()),
                ot: Some("v"),
                br: Some(3200),
                bl: Some(21300),
                mtp: Some(25400),
                bs: Some(true),
                su: Some(true),
                nor: Some("..%2F300kbps%2Fseg35.m4v".into()),
            }
        );
        assert_eq!(Cmcd::session_id(raw), cmcd.sid);
    }

    #[test]
    fn strings_may_hold_commas_equal_signs_and_escaped_quotes() {
        let cmcd = Cmcd::parse(r#"cid="a,b=c",sid="x\"y\\z",br=1"#);
        assert_eq!(cmcd.sid.as_deref(), Some(r#"x"y\z"#));
        assert_eq!(cmcd.br, Some(1));
    }

    #[test]
    fn values_out_of_form_are_skipped_and_the_rest_is_kept() {
        let cmcd = Cmcd::parse("br=fast, bl=-1,ot=video,sid=unquoted,bs=maybe,,=,su=false, mtp = 7 ,x");
        assert_eq!(cmcd, Cmcd { su: Some(false), mtp: Some(7), ..Cmcd::default() });
        assert!(Cmcd::parse("").is_empty());
        assert!(Cmcd::parse(r#"sid="never closed"#).is_empty());
        assert!(Cmcd::parse(r#"sid="","#).is_empty());
    }

    #[test]
    fn the_first_of_two_equal_keys_counts() {
        assert_eq!(Cmcd::parse("br=1,br=2").br, Some(1));
    }

    #[test]
    fn a_session_id_beyond_its_length_is_not_one() {
        let raw = format!("sid=\"{}\"", "s".repeat(SESSION_ID_BYTES_MAX + 1));
        assert_eq!(Cmcd::session_id(&raw), None);
        assert_eq!(Cmcd::parse(&raw).sid, None);
    }

    #[test]
    fn what_is_too_long_is_cut_after_a_complete_pair() {
        let raw = format!("br=1,cid=\"{}\",bl=2,mtp=12345678", "é".repeat(1010));
        assert!(raw.len() > CMCD_BYTES_MAX);
        let cmcd = Cmcd::parse(&raw);
        assert_eq!((cmcd.br, cmcd.bl, cmcd.mtp), (Some(1), Some(2), None));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic_and_the_short_way_agrees(
            raw in prop_oneof![".{0,3000}", "([a-z]{2,3}(=(\"[^\"]{0,9}\\\\?\"?|[0-9]{1,21}|[a-z]{1,5}))?,? ?){0,40}"]
        ) {
            prop_assert_eq!(Cmcd::session_id(&raw), Cmcd::parse(&raw).sid);
            prop_assert!(Cmcd::next_objects(&raw).len() <= NEXT_MAX);
        }

        #[test]
        fn any_list_is_read_without_panic(raw in "nor=\\(([\"a;r= \\\\)(,é-]|0-9){0,40}") {
            prop_assert!(Cmcd::next_objects(&raw).len() <= NEXT_MAX);
            let _ = Cmcd::without_next_object(&raw);
        }

        #[test]
        fn every_session_id_comes_back_as_it_was_written(sid in "[ -~]{1,64}", br in any::<u64>()) {
            let quoted = sid.replace('\\', "\\\\").replace('"', "\\\"");
            let raw = format!("su,sid=\"{quoted}\",br={br}");
            let cmcd = Cmcd::parse(&raw);
            prop_assert_eq!(cmcd.sid.as_deref(), Some(sid.as_str()));
            prop_assert_eq!(cmcd.br, Some(br));
        }
    }
}
