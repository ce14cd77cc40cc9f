#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::{Duration, UNIX_EPOCH};

use pingora::http::ResponseHeader;
use prometheus::Registry;

use super::*;
use crate::key::Key;
use crate::store::{Accounts, Lifetime, StoreMetrics};

fn store(memory: u64) -> &'static Store {
    let metrics = StoreMetrics::new(&Registry::new()).unwrap();
    Box::leak(Box::new(Store::new(memory, 50, Accounts::default(), None, Duration::ZERO, metrics)))
}

fn live() -> String {
    let segments: String = (0..20).map(|n| format!("#EXTINF:2,\n{n}.ts\n")).collect();
    format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=12.0\n{segments}")
}

fn object(text: &str, kind: Kind, fields: &[(&'static str, &str)]) -> Arc<Object> {
    let mut header = ResponseHeader::build_no_case(200, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    let body = Body::growing(None, None);
    body.append(Bytes::copy_from_slice(text.as_bytes()));
    body.finish();
    let key = Key { hash: 1, text: "s /a.m3u8".into() };
    Arc::new(Object::new(key, kind, header, Lifetime::ended(UNIX_EPOCH), body.into()))
}

fn text_of(object: &Object) -> String {
    String::from_utf8(object.body.as_whole().unwrap().chunks().unwrap().concat()).unwrap()
}

#[test]
fn an_update_is_made_once_and_is_another_representation() {
    let fields = [
        ("etag", "W/\"v1\""),
        ("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT"),
        ("content-digest", "sha-256=:AA==:"),
        ("cache-control", "max-age=2"),
    ];
    let full = object(&live(), Kind::MediaPlaylist, &fields);
    let update = select(store(1 << 20), &full, None).unwrap();
    assert_eq!(text_of(&update), delta(&live()).unwrap());
    assert!(Arc::ptr_eq(&update, &select(store(1 << 20), &full, None).unwrap()));
    let get = |name: &str| update.header.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(get("etag").as_deref(), Some("W/\"v1-delta\""));
    assert_eq!(get("content-length"), Some(text_of(&update).len().to_string()));
    assert_eq!(get("cache-control").as_deref(), Some("max-age=2"));
    assert_eq!((get("last-modified"), get("content-digest")), (None, None));
    assert_eq!((&update.key, update.lifetime), (&full.key, full.lifetime));
}

#[test]
fn what_is_no_live_playlist_as_it_is_goes_in_full() {
    let ended = live() + "#EXT-X-ENDLIST\n";
    for object in [
        object(&ended, Kind::MediaPlaylist, &[]),
        object(&live(), Kind::Segment, &[]),
        object(&live(), Kind::MediaPlaylist, &[("content-encoding", "gzip")]),
        object("\u{0}", Kind::MediaPlaylist, &[]),
    ] {
        assert!(select(store(1 << 20), &object, None).is_none(), "{:?}", object.kind);
    }
}

#[test]
fn a_playlist_that_is_still_read_is_looked_at_again() {
    let header = ResponseHeader::build_no_case(200, None).unwrap();
    let body = Body::growing(None, None);
    body.append(Bytes::from(live()));
    let key = Key { hash: 1, text: "s /a.m3u8".into() };
    let lifetime = Lifetime::ended(UNIX_EPOCH);
    let object = Arc::new(Object::new(key, Kind::MediaPlaylist, header, lifetime, Arc::clone(&body).into()));
    assert!(select(store(1 << 20), &object, None).is_none());
    body.finish();
    assert!(select(store(1 << 20), &object, None).is_some());
}

#[test]
fn an_update_takes_room_in_the_store_or_is_not_made() {
    let full = object(&live(), Kind::MediaPlaylist, &[]);
    assert!(select(store(1024), &full, None).is_none(), "no room");
    let full = object(&live(), Kind::MediaPlaylist, &[]);
    let store = store(1 << 20);
    let before = store.take(1 << 20).expect("all of it");
    drop(before);
    let _update = select(store, &full, None).unwrap();
    assert!(store.take(1 << 20).is_none(), "the update counts");
}

#[test]
fn an_update_is_for_those_alone_who_ask_for_what_its_playlist_holds() {
    let (store, full) = (store(1 << 20), object(&live(), Kind::MediaPlaylist, &[]));
    let reload = |msn| Some(Reload { msn, part: None });
    assert!(select(store, &full, reload(19)).is_some());
    assert!(select(store, &full, reload(20)).is_none());
    assert!(select(store, &full, None).is_some());
}
