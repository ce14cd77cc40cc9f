#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::playlists::media::Next;
use proptest::prelude::*;
use sfv::{BareItem, FieldType, ListEntry};

fn header(fields: &[(HeaderName, &str)]) -> ResponseHeader {
    let mut header = ResponseHeader::build(200, None).unwrap();
    for (name, value) in fields {
        header.append_header(name.clone(), *value).unwrap();
    }
    header
}

fn text(header: &ResponseHeader, name: &HeaderName) -> String {
    assert!(header.headers.get_all(name).iter().count() <= 1, "one line");
    header.headers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
}

const PLAYLIST: About =
    About { bitrate: None, media: None, object_type: Some("m"), format: Some("h"), stream_type: Some("l") };

#[test]
fn what_the_origin_did_not_say_is_added() {
    for (said, expected) in [
        (&[][..], "ot=m,sf=h,st=l,v=1"),
        (&["d=4000,n=\"o\""], "d=4000,n=\"o\",ot=m,sf=h,st=l,v=1"),
        (&["ot=v, st=v", "com.example-x=?0;a"], "ot=v, st=v,com.example-x=?0;a,sf=h,v=1"),
        (&[" ", ""], "ot=m,sf=h,st=l,v=1"),
        (&["ot=v,sf=d,st=v,v=2"], "ot=v,sf=d,st=v,v=2"),
    ] {
        let said: Vec<_> = said.iter().map(|line| (STATIC, *line)).collect();
        let mut header = header(&said);
        describe(&mut header, &PLAYLIST);
        assert_eq!(text(&header, &STATIC), expected);
    }
}

#[test]
fn a_segment_tells_how_long_it_plays_and_what_comes_next() {
    let range = |start, len| Some(ByteRange { start, len });
    let next = |path: Option<&str>, range| Some(Next { path: path.map(Into::into), range });
    for (next, expected) in [
        (None, "d=4004,br=812,v=1"),
        (next(Some("..%2F8.m4s"), None), "d=4004,br=812,nor=\"..%2F8.m4s\",v=1"),
        (next(None, range(5, Some(2))), "d=4004,br=812,nrr=\"5-6\",v=1"),
        (next(Some("8"), range(0, None)), "d=4004,br=812,nor=\"8\",nrr=\"0-\",v=1"),
    ] {
        let told = Told { duration: Some(Duration::from_millis(4004)), next };
        let about = About { bitrate: Some(812), media: Some(Arc::new(told)), ..About::default() };
        let mut ours = header(&[]);
        describe(&mut ours, &about);
        assert_eq!(text(&ours, &STATIC), expected);
        let mut theirs = header(&[(STATIC, "d=1,br=2,nor=\"3\",nrr=\"4-\"")]);
        describe(&mut theirs, &about);
        assert_eq!(text(&theirs, &STATIC), "d=1,br=2,nor=\"3\",nrr=\"4-\",v=1");
    }
}

#[test]
fn a_bitrate_is_that_of_the_whole_duration() {
    let of = |bytes, ms| bitrate(bytes, Duration::from_millis(ms));
    assert_eq!(of(500_000, 4000), Some(1000));
    assert_eq!(of(1, 3), Some(3));
    assert_eq!(of(100, 0), None);
    assert_eq!(of(u64::MAX, 1), None);
}

#[test]
fn what_cannot_be_read_is_left_as_it_came() {
    for said in ["ot=", "OT=v", "a=1,,b", "é"] {
        let mut header = header(&[]);
        header.append_header(STATIC, HeaderValue::from_bytes(said.as_bytes()).unwrap()).unwrap();
        describe(&mut header, &PLAYLIST);
        tell_held(&mut header, 5);
        assert_eq!(header.headers[STATIC].as_bytes(), said.as_bytes());
    }
}

#[test]
fn the_time_a_reload_was_held_is_static_and_the_origins_word_stands() {
    let mut ours = header(&[]);
    describe(&mut ours, &About::default());
    tell_held(&mut ours, 812);
    assert_eq!(text(&ours, &STATIC), "v=1,ht=812");
    let mut theirs = header(&[(STATIC, "ht=7")]);
    tell_held(&mut theirs, 812);
    assert_eq!(text(&theirs, &STATIC), "ht=7");
}

#[test]
fn the_nodes_member_comes_after_those_of_earlier_hops() {
    let full =
        Hop { throughput: Some(48_000), round_trip: Some(23), delay: Some(140), duress: false, hit: false };
    let ours = "\"forebay-a\";etp=48000;rtt=23;rd=140;com.forebay-hit=?0";
    let hit = Hop { delay: None, hit: true, ..full };
    let told = |said: &[&str], hop: &Hop, passes| {
        let said: Vec<_> = said.iter().map(|line| (DYNAMIC, *line)).collect();
        let mut header = header(&said);
        append_hop(&mut header, "forebay-a", hop, passes);
        text(&header, &DYNAMIC)
    };
    assert_eq!(told(&[], &full, true), ours);
    assert_eq!(told(&["\"o\";etp=9", "\"s\";du"], &full, true), format!("\"o\";etp=9,\"s\";du,{ours}"));
    assert_eq!(told(&["\"o\";etp=9"], &hit, false), "\"forebay-a\";etp=48000;rtt=23;com.forebay-hit");
    assert_eq!(told(&["\"o;etp=9"], &full, true), ours, "what cannot be read would spoil the rest");
    assert_eq!(told(&[], &Hop::default(), true), "\"forebay-a\";com.forebay-hit=?0");
    let laden = Hop { duress: true, ..Hop::default() };
    assert_eq!(told(&[], &laden, true), "\"forebay-a\";du;com.forebay-hit=?0");
}

#[test]
fn object_types_are_told_only_where_they_are_known() {
    let type_of = |kind, path: &str, content_type: &str| {
        object_type(kind, path, &header(&[(CONTENT_TYPE, content_type)]))
    };
    for (kind, path, content_type, expected) in [
        (Kind::MultivariantPlaylist, "/a.m3u8", "", Some("m")),
        (Kind::MediaPlaylist, "/a.m3u8", "", Some("m")),
        (Kind::Manifest, "/a.mpd", "", Some("m")),
        (Kind::Init, "/a.mp4", "video/mp4", Some("i")),
        (Kind::Key, "/a.key", "", Some("k")),
        (Kind::Segment, "/a.M4A", "", Some("a")),
        (Kind::Segment, "/a.m4s", "Audio/mp4", Some("a")),
        (Kind::Part, "/a.cmfv", "", Some("v")),
        (Kind::Segment, "/a.vtt", "", Some("c")),
        (Kind::Segment, "/a", "text/vtt; charset=utf-8", Some("c")),
        (Kind::Segment, "/a.cmft", "", Some("tt")),
        (Kind::Segment, "/a.ts", "video/mp2t", None),
        (Kind::Segment, "/a.m4s", "video/mp4", None),
        (Kind::Image, "/a.jpg", "image/jpeg", None),
        (Kind::Other, "/a", "", None),
    ] {
        assert_eq!(type_of(kind, path, content_type), expected, "{path} {content_type}");
    }
}

proptest! {
    /// Whatever came before, what is sent can be read, ends with the node's own word, and has all that could be read before.
    #[test]
    fn what_is_sent_can_always_be_read(
        before in prop::option::of("[ -~]{0,40}|\"[a-z]{1,5}\";etp=[0-9]{1,9}(, \"b\";du)?"),
        throughput: Option<u64>,
        round_trip: Option<u64>,
        delay: Option<u64>,
        duress: bool,
        hit: bool,
    ) {
        let hop = Hop { throughput, round_trip, delay, duress, hit };
        let before = before.as_deref().unwrap_or_default();
        let mut header = header(&[(DYNAMIC, before)]);
        append_hop(&mut header, "forebay", &hop, true);
        let list: List = Parser::new(&text(&header, &DYNAMIC)).parse().unwrap();
        let earlier = Parser::new(before).parse::<List>().unwrap_or_default();
        prop_assert_eq!(&list[..list.len() - 1], earlier.as_slice());
        let ListEntry::Item(own) = list.last().unwrap() else { panic!("an item") };
        prop_assert_eq!(own.bare_item.as_string().map(|name| name.as_str()), Some("forebay"));
        prop_assert_eq!(own.params.get("com.forebay-hit"), Some(&BareItem::Boolean(hit)));
        prop_assert_eq!(own.params.contains_key("etp"), throughput.is_some());
        prop_assert_eq!(own.params.get("du"), duress.then_some(&BareItem::Boolean(true)));
        prop_assert!(list.serialize().is_some());
    }

    #[test]
    fn static_members_can_always_be_read_and_none_comes_twice(said in "[a-z=,; 0-9\"?.-]{0,40}", held: u32) {
        let mut header = header(&[(STATIC, said.as_str())]);
        describe(&mut header, &PLAYLIST);
        tell_held(&mut header, u64::from(held));
        let told = text(&header, &STATIC);
        match Parser::new(&said).parse::<Dictionary>() {
            Ok(before) => {
                let after: Dictionary = Parser::new(&told).parse().unwrap();
                prop_assert!(before.iter().all(|(key, value)| after.get(key) == Some(value)));
                prop_assert!(["ot", "sf", "st", "v", "ht"].iter().all(|key| after.contains_key(*key)));
            }
            Err(_) => prop_assert_eq!(told.trim(), said.trim()),
        }
    }
}
