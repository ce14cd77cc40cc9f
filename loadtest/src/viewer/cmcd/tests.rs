#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use percent_encoding::percent_decode_str;

use super::*;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Integer,
    /// A whole multiple of 100.
    Hundreds,
    Text,
    Token(&'static [&'static str]),
    /// A key without a value.
    Set,
    /// A number, each with a token for its object if it has one; in hundreds or not.
    Numbers {
        hundreds: bool,
    },
    Texts,
}

const OBJECTS: &[&str] = &["m", "a", "v", "av", "i", "k"];

/// Field, and form in version 1 and 2, of each key that is sent (CTA-5004 table 1; CTA-5004-A, request mode).
const KEYS: [(&str, Shard, Option<Form>, Option<Form>); 17] = [
    ("bl", Shard::Request, Some(Form::Hundreds), Some(Form::Numbers { hundreds: true })),
    ("br", Shard::Object, Some(Form::Integer), Some(Form::Numbers { hundreds: false })),
    ("bs", Shard::Status, Some(Form::Set), Some(Form::Set)),
    ("cid", Shard::Session, Some(Form::Text), Some(Form::Text)),
    ("d", Shard::Object, Some(Form::Integer), Some(Form::Integer)),
    ("ltc", Shard::Request, None, Some(Form::Integer)),
    ("mtp", Shard::Request, Some(Form::Hundreds), Some(Form::Numbers { hundreds: true })),
    ("nor", Shard::Request, Some(Form::Text), Some(Form::Texts)),
    ("ot", Shard::Object, Some(Form::Token(OBJECTS)), Some(Form::Token(OBJECTS))),
    ("sf", Shard::Session, Some(Form::Token(&["h"])), Some(Form::Token(&["h"]))),
    ("sid", Shard::Session, Some(Form::Text), Some(Form::Text)),
    ("sn", Shard::Request, None, Some(Form::Integer)),
    ("st", Shard::Session, Some(Form::Token(&["v", "l"])), Some(Form::Token(&["v", "l", "ll"]))),
    ("sta", Shard::Request, None, Some(Form::Token(&["s", "p", "k", "r"]))),
    ("su", Shard::Request, Some(Form::Set), Some(Form::Set)),
    ("tb", Shard::Object, Some(Form::Integer), Some(Form::Numbers { hundreds: false })),
    ("v", Shard::Session, None, Some(Form::Token(&["2"]))),
];

fn url() -> Url {
    Url::parse("http://edge.example/media/live/a/v1/7.1000.m4s?_HLS_msn=7&x=%7e").unwrap()
}

fn session(version: u8, carry: CmcdCarry) -> Session {
    Session::new(Cmcd { version, carry }, 7, "news")
}

fn playing(kind: Kind) -> Told<'static> {
    Told {
        kind,
        bitrate: 2_499_600,
        top_bitrate: 5_000_400,
        throughput: Some(25_449_999),
        duration: Some(Duration::from_millis(4_004)),
        buffer: Duration::from_millis(12_350),
        starved: false,
        startup: false,
        audio: false,
        live: true,
        low_latency: false,
        next: Some("../v1/8.1000.m4s"),
        behind: Some(Duration::from_millis(8_123)),
    }
}

/// What is told in the query, decoded.
fn query(session: &Session, told: &Told<'_>) -> String {
    let mut fields = Vec::new();
    let asked = session.tell(&url(), told, &mut fields);
    assert!(fields.is_empty());
    let (before, text) = asked.query().unwrap().split_once("&CMCD=").unwrap();
    assert_eq!(before, "_HLS_msn=7&x=%7e", "the rest of the query is as it was");
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~%".contains(&c);
    assert!(text.bytes().all(plain), "{text}");
    percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// What is told in header fields.
fn headers(session: &Session, told: &Told<'_>) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    assert_eq!(session.tell(&url(), told, &mut fields), url(), "the URL is as it was");
    fields.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

/// The pairs of a text, split where a comma is in no string.
fn split(text: &str) -> Vec<(&str, Option<&str>)> {
    let mut inside = false;
    let pairs = text.split(|c| {
        inside ^= c == '"';
        c == ',' && !inside
    });
    pairs.map(|pair| pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)))).collect()
}

fn is_text(value: &str) -> bool {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.is_some_and(|inner| {
        !inner.is_empty() && !inner.contains('"') && inner.bytes().all(|c| c.is_ascii_graphic())
    })
}

fn is_number(value: &str, hundreds: bool) -> bool {
    value.parse::<u64>().is_ok_and(|number| !hundreds || number % 100 == 0)
}

/// That every pair is of its version and form, and that keys are in order, each once.
fn check(version: u8, text: &str) {
    let pairs = split(text);
    assert!(pairs.is_sorted_by(|a, b| a.0 < b.0), "{text}");
    for (key, value) in pairs {
        let rate = ("pr", Shard::Status, Some(Form::Token(&["0"])), Some(Form::Token(&["0"])));
        let row =
            KEYS.iter().chain([&rate]).find(|row| row.0 == key).unwrap_or_else(|| panic!("{key} in {text}"));
        let form = if version == 1 { row.2 } else { row.3 };
        let form = form.unwrap_or_else(|| panic!("{key} is not of version {version}: {text}"));
        let inner = value.and_then(|value| value.strip_prefix('(')?.strip_suffix(')'));
        let good = match (form, value) {
            (Form::Set, value) => value.is_none(),
            (_, None) => false,
            (Form::Integer, Some(value)) => is_number(value, false),
            (Form::Hundreds, Some(value)) => is_number(value, true),
            (Form::Text, Some(value)) => is_text(value),
            (Form::Token(words), Some(value)) => words.contains(&value),
            (Form::Texts, _) => inner.is_some_and(is_text),
            (Form::Numbers { hundreds }, _) => inner.is_some_and(|inner| {
                let (number, object) = inner.split_once(';').unwrap_or((inner, "v"));
                is_number(number, hundreds) && ["a", "v", "av"].contains(&object)
            }),
        };
        assert!(good, "{key}={value:?} is not {form:?} in {text}");
    }
}

#[test]
fn version_1_of_a_segment_is_as_the_specification_writes_it() {
    let text = query(&session(1, CmcdCarry::Query), &playing(Kind::Segment));
    let sid = session(1, CmcdCarry::Query).id;
    assert_eq!(
        text,
        format!(
            "bl=12400,br=2500,cid=\"news\",d=4004,mtp=25400,nor=\"..%2Fv1%2F8.1000.m4s\",ot=av,sf=h,sid=\"{sid}\",st=l,tb=5000"
        )
    );
}

#[test]
fn version_2_of_a_segment_is_as_the_specification_writes_it() {
    let session = session(2, CmcdCarry::Query);
    session.audio_is_apart(true);
    let text = query(&session, &playing(Kind::Segment));
    let sid = &session.id;
    assert_eq!(
        text,
        format!(
            "bl=(12400;v),br=(2500;v),cid=\"news\",d=4004,ltc=8123,mtp=(25400),nor=(\"../v1/8.1000.m4s\"),ot=v,sf=h,\
             sid=\"{sid}\",sn=0,st=l,sta=p,tb=(5000;v),v=2"
        )
    );
}

#[test]
fn header_fields_hold_their_own_keys_in_order_and_together_all_of_them() {
    for version in [1, 2] {
        let told = Told { starved: true, startup: true, ..playing(Kind::Segment) };
        let fields = headers(&session(version, CmcdCarry::Headers), &told);
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status"]);
        let mut all: Vec<String> = Vec::new();
        for ((_, text), (shard, _)) in fields.iter().zip(Shard::ALL) {
            check(version, text);
            for (key, value) in split(text) {
                let rate = if version == 1 { Shard::Session } else { Shard::Status };
                let expected = KEYS.iter().find(|row| row.0 == key).map_or(rate, |row| row.1);
                assert_eq!(shard, expected, "{key} of version {version}");
                all.push(value.map_or(key.to_owned(), |value| format!("{key}={value}")));
            }
        }
        all.sort_by(|a, b| a.split('=').next().cmp(&b.split('=').next()));
        assert_eq!(all.join(","), query(&session(version, CmcdCarry::Query), &told));
    }
    let quiet = headers(&session(1, CmcdCarry::Headers), &playing(Kind::Segment));
    assert!(quiet.iter().all(|(name, _)| name != "cmcd-status"), "an empty field is not sent");
}

#[test]
fn whatever_is_told_is_well_formed_in_either_version() {
    for version in [1, 2] {
        let session = session(version, CmcdCarry::Query);
        for kind in Kind::ALL {
            for bits in 0..64_u32 {
                let is = |bit: u32| bits & (1 << bit) != 0;
                let told = Told {
                    starved: is(0),
                    startup: is(1),
                    audio: is(2),
                    live: is(3),
                    low_latency: is(4),
                    throughput: is(5).then_some(u64::MAX),
                    duration: is(5).then_some(Duration::from_micros(333_333)),
                    bitrate: u64::from(bits) * 12_345,
                    buffer: Duration::from_millis(u64::from(bits) * 777),
                    ..playing(kind)
                };
                check(version, &query(&session, &told));
            }
        }
    }
}

#[test]
fn what_does_not_play_has_no_duration_bit_rate_or_buffer() {
    let kinds = [
        (Kind::Multivariant, "ot=m"),
        (Kind::Playlist, "ot=m"),
        (Kind::Reload, "ot=m"),
        (Kind::Key, "ot=k"),
        (Kind::Init, "ot=i"),
    ];
    for (kind, object) in kinds {
        let text = query(&session(1, CmcdCarry::Query), &playing(kind));
        for (key, _) in split(&text) {
            assert!(!["bl", "br", "d", "tb"].contains(&key), "{text}");
        }
        assert!(text.contains(object), "{text}");
    }
}

#[test]
fn an_audio_rendition_is_audio_and_has_no_bit_rate() {
    let text = query(&session(2, CmcdCarry::Query), &Told { audio: true, ..playing(Kind::Segment) });
    assert!(text.contains("ot=a,") && text.starts_with("bl=(12400;a),cid="), "{text}");
}

#[test]
fn numbers_are_rounded_to_the_nearest_and_booleans_are_said_only_when_true() {
    assert_eq!([0, 49, 50, 149, 150].map(|value| nearest(value, 100)), [0, 0, 1, 1, 2]);
    let told = Told { starved: true, startup: true, ..playing(Kind::Segment) };
    let text = query(&session(1, CmcdCarry::Query), &told);
    assert!(text.contains(",bs,") && text.contains(",su,") && text.contains(",pr=0,"), "{text}");
    let text = query(&session(1, CmcdCarry::Query), &playing(Kind::Segment));
    assert!(!text.contains("bs") && !text.contains("su") && !text.contains("pr="), "{text}");
}

#[test]
fn what_kind_of_stream_it_is_is_said_once_it_is_known() {
    let st = |version, told: Told<'_>| {
        let text = query(&session(version, CmcdCarry::Query), &told);
        split(&text).iter().find(|(key, _)| *key == "st").and_then(|(_, value)| value.map(str::to_owned))
    };
    let low = Told { low_latency: true, ..playing(Kind::Part) };
    assert_eq!((st(1, low).as_deref(), st(2, low).as_deref()), (Some("l"), Some("ll")));
    assert_eq!(st(1, Told { live: false, ..playing(Kind::Segment) }).as_deref(), Some("v"));
    assert_eq!(st(1, Told { live: false, ..playing(Kind::Playlist) }), None);
    assert_eq!(st(1, Told { live: false, ..playing(Kind::Multivariant) }), None);
}

#[test]
fn requests_are_numbered_and_the_state_follows_the_picture() {
    let session = session(2, CmcdCarry::Query);
    let start = Told { startup: true, ..playing(Kind::Segment) };
    let stall = Told { startup: true, starved: true, ..playing(Kind::Segment) };
    let mut states = String::new();
    for (number, told) in
        [start, start, playing(Kind::Segment), stall, start, playing(Kind::Segment), start].iter().enumerate()
    {
        let text = query(&session, told);
        assert!(text.contains(&format!(",sn={number},")), "{text}");
        states.push_str(split(&text).iter().find(|(key, _)| *key == "sta").unwrap().1.unwrap());
    }
    assert_eq!(states, "ssprrpk");
}

#[test]
fn a_session_is_a_uuid_that_follows_from_seed_and_content() {
    let id = |seed, content| Session::new(Cmcd { version: 1, carry: CmcdCarry::Query }, seed, content).id;
    assert_eq!(id(7, "news"), id(7, "news"));
    assert_ne!(id(7, "news"), id(8, "news"));
    assert_ne!(id(7, "news"), id(7, "film"));
    let lengths: Vec<usize> = id(7, "news").split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12]);
    assert_eq!(&id(7, "news")[14..15], "4");
    assert!("89ab".contains(&id(7, "news")[19..20]));
}

#[test]
fn names_and_uris_are_quoted_and_bounded() {
    let long = "x".repeat(1_000);
    for (version, limit) in [(1, 64), (2, 128)] {
        let session = Session::new(Cmcd { version, carry: CmcdCarry::Query }, 1, &long);
        assert_eq!(session.content.len(), limit);
        let text = query(&session, &Told { next: Some(&long), ..playing(Kind::Segment) });
        assert!(!text.contains("nor="), "{text}");
        assert!(!query(&session, &Told { next: Some("a\r\nb"), ..playing(Kind::Segment) }).contains("nor="));
    }
    assert_eq!(quoted("a\"b\\c"), r#""a\"b\\c""#);
    let odd = Session::new(Cmcd { version: 1, carry: CmcdCarry::Query }, 1, "a b\u{e9}\r\nc");
    assert_eq!(&*odd.content, "abc");
}
