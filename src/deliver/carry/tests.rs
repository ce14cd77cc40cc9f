#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::UNIX_EPOCH;

use http::header::{HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE};
use http::{HeaderName, Method};
use prometheus::Registry;

use super::*;
use crate::deliver::encode::Selected;
use crate::deliver::multipart::Boundary;
use crate::deliver::plan::{self, Plan, plan};
use crate::key::Key;
use crate::store::body::CHUNK_BYTES;
use crate::store::{Accounts, Body, Lifetime, StoreMetrics};

const MIB: u64 = 1024 * 1024;
const MODIFIED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

fn store(memory: u64) -> &'static Store {
    let metrics = StoreMetrics::new(&Registry::new()).unwrap();
    Box::leak(Box::new(Store::new(memory, 50, Accounts::default(), None, Duration::ZERO, metrics)))
}

fn header(fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut header = ResponseHeader::build_no_case(200, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    header
}

fn object_of(kind: Kind, text: &str, fields: &[(&'static str, &str)]) -> Arc<Object> {
    let body = Body::growing(None, None);
    body.append(Bytes::copy_from_slice(text.as_bytes()));
    body.finish();
    let key = Key { hash: 1, text: "0 /live/a.m3u8".into() };
    Arc::new(Object::new(key, kind, header(fields), Lifetime::ended(UNIX_EPOCH), body.into()))
}

fn playlist(text: &str) -> Arc<Object> {
    object_of(Kind::MediaPlaylist, text, &[("etag", "\"v1\""), ("last-modified", MODIFIED)])
}

fn bearer(form: Form, token: &str) -> Bearer<'_> {
    let terms = Terms {
        form,
        syntax: Syntax::Hls,
        path: "/live/a.m3u8",
        is_own: &|_| false,
        is_token: &|_| false,
        has_token: &|_| false,
    };
    Bearer { terms, token, query: "", inherits: false, host: "h.example" }
}

async fn given(object: &Arc<Object>, bearer: &Bearer<'_>) -> Option<String> {
    let carrier = Carrier::new(store(MIB), 4 * MIB);
    let rewritten = carrier.select(object, bearer).await.unwrap()?;
    let bytes = rewritten.gather(object).unwrap();
    assert_eq!(rewritten.len(), bytes.len() as u64);
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn each_viewer_gets_its_own_token_in_the_one_text() {
    let object = playlist("#EXTM3U\n#EXT-X-MAP:URI=\"i.mp4\"\na.ts\nhttps://h.example/b.ts\n");
    for token in ["t=one", "t=another"] {
        let expected = format!(
            "#EXTM3U\n#EXT-X-MAP:URI=\"i.mp4?{token}\"\na.ts?{token}\nhttps://h.example/b.ts?{token}\n"
        );
        assert_eq!(given(&object, &bearer(Form::Query, token)).await.unwrap(), expected);
    }
    let expected =
        "#EXTM3U\n#EXT-X-MAP:URI=\"/t=1/live/i.mp4\"\n/t=1/live/a.ts\nhttps://h.example/t=1/b.ts\n";
    assert_eq!(given(&object, &bearer(Form::Path, "/t=1")).await.unwrap(), expected);
    let inherits = Bearer { inherits: true, host: "other.example", ..bearer(Form::Path, "/t=1") };
    assert_eq!(given(&object, &inherits).await, None);
}

#[tokio::test]
async fn a_text_in_several_chunks_is_one_text() {
    let text: String = (0..40_000).map(|i| format!("#EXTINF:4,\nsegment-{i}.m4s\n")).collect();
    assert!(text.len() > 2 * CHUNK_BYTES);
    let expected = text.replace(".m4s", ".m4s?t=1");
    assert!(given(&playlist(&text), &bearer(Form::Query, "t=1")).await.unwrap() == expected);
    let expected = text.replace("segment-", "/t=1/live/segment-");
    assert!(given(&playlist(&text), &bearer(Form::Path, "/t=1")).await.unwrap() == expected);
}

#[tokio::test]
async fn what_is_no_text_of_a_stream_goes_as_it_is() {
    let bearer = bearer(Form::Query, "t=1");
    let text = "#EXTM3U\na.ts\n";
    assert_eq!(given(&object_of(Kind::Api, text, &[]), &bearer).await, None);
    assert_eq!(given(&object_of(Kind::Other, text, &[]), &bearer).await, None);
    let encoded = object_of(Kind::MediaPlaylist, text, &[("content-encoding", "gzip")]);
    assert_eq!(given(&encoded, &bearer).await, None);
    assert_eq!(given(&object_of(Kind::Manifest, text, &[]), &bearer).await, None, "no XML");
    let long = playlist(&"a.ts\n".repeat(200));
    let carrier = Carrier::new(store(MIB), 999);
    assert!(carrier.select(&long, &bearer).await.unwrap().is_none());
}

#[tokio::test]
async fn a_manifest_that_is_coming_is_waited_for() {
    let body = Body::growing(None, None);
    let key = Key { hash: 1, text: "0 /live/a.mpd".into() };
    let lifetime = Lifetime::ended(UNIX_EPOCH);
    let object = Arc::new(Object::new(key, Kind::Manifest, header(&[]), lifetime, Arc::clone(&body).into()));
    let waiting = {
        let object = Arc::clone(&object);
        tokio::spawn(async move { given(&object, &bearer(Form::Query, "t=1")).await })
    };
    body.append(Bytes::from_static(b"<MPD><Location>a"));
    tokio::task::yield_now().await;
    body.append(Bytes::from_static(b".mpd</Location></MPD>"));
    body.finish();
    assert_eq!(waiting.await.unwrap().unwrap(), "<MPD><Location>a.mpd?t=1</Location></MPD>");
}

#[tokio::test]
async fn a_split_counts_in_the_budget_and_is_made_once() {
    let store = store(MIB);
    let carrier = Carrier::new(store, 4 * MIB);
    let before = store.budget().used();
    let object = playlist(&"a.ts\n".repeat(1000));
    let bearer = bearer(Form::Query, "t=1");
    carrier.select(&object, &bearer).await.unwrap().unwrap();
    let taken = store.budget().used() - before;
    assert!((12_000..13_000).contains(&taken), "{taken}");
    carrier.select(&object, &bearer).await.unwrap().unwrap();
    carrier.select(&Arc::new(object.expired(1, UNIX_EPOCH)), &bearer).await.unwrap().unwrap();
    assert_eq!(store.budget().used() - before, taken);
    drop(object);
    assert_eq!(store.budget().used(), before);
}

#[tokio::test]
async fn without_room_for_a_split_the_viewer_is_answered_all_the_same() {
    let carrier = Carrier::new(store(1024), 4 * MIB);
    let object = playlist(&"a.ts\n".repeat(1000));
    assert!(carrier.select(&object, &bearer(Form::Query, "t=1")).await.unwrap().is_some());
    assert!(object.carried.split(Form::Query).is_none());
}

#[tokio::test]
async fn a_rewritten_text_is_compared_by_a_tag_of_its_own_and_sent_whole() {
    let object = playlist("#EXTM3U\na.ts\n");
    let carrier = Carrier::new(store(MIB), MIB);
    let select =
        async |token: &str| carrier.select(&object, &bearer(Form::Query, token)).await.unwrap().unwrap();
    let (one, another) = (select("t=1").await, select("t=2").await);
    let tag = |rewritten: &Rewritten| rewritten.tag(object.etag().unwrap()).into_owned();
    assert_eq!(tag(&one).len(), "\"v1-0123456789abcdef\"".len());
    assert_ne!(tag(&one), tag(&another));
    assert_eq!(tag(&one), tag(&select("t=1").await));
    let selected = Selected::rewritten(one.clone());
    let planned = |name: HeaderName, value: HeaderValue| {
        let terms = plan::Terms { ranges_max: 3, named: 0, boundary: Boundary::random };
        plan(&Method::GET, &HeaderMap::from_iter([(name, value)]), &object, &selected, &terms).unwrap()
    };
    assert_eq!(planned(IF_NONE_MATCH, tag(&one)), Plan::NotModified);
    assert_eq!(planned(IF_NONE_MATCH, tag(&another)), Plan::Whole);
    assert_eq!(planned(IF_NONE_MATCH, HeaderValue::from_static("\"v1\"")), Plan::Whole);
    assert_eq!(planned(IF_MODIFIED_SINCE, HeaderValue::from_static(MODIFIED)), Plan::Whole);
    assert_eq!(planned(RANGE, HeaderValue::from_static("bytes=0-1")), Plan::Whole);
    assert!(!format!("{selected:?}").contains("t=1"), "no token in what is printed");
}

#[tokio::test]
async fn the_header_is_that_of_the_viewers_own_text() {
    let object = playlist("#EXTM3U\na.ts\n");
    let carrier = Carrier::new(store(MIB), MIB);
    let rewritten = carrier.select(&object, &bearer(Form::Query, "t=1")).await.unwrap().unwrap();
    let mut header = header(&[
        ("etag", "\"v1\""),
        ("last-modified", MODIFIED),
        ("content-length", "13"),
        ("accept-ranges", "bytes"),
        ("content-digest", "x"),
        ("repr-digest", "x"),
        ("content-md5", "x"),
        ("cache-control", "public, max-age=60, s-maxage=100"),
    ]);
    tell_rewritten(&mut header);
    tell_viewer(&mut header, &rewritten, Some(Duration::from_secs(5)));
    let told: Vec<_> =
        header.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let tag = rewritten.tag(object.etag().unwrap()).into_owned();
    let mut expected = vec![
        ("etag", tag.to_str().unwrap()),
        ("content-length", "17"),
        ("accept-ranges", "none"),
        ("cache-control", "private, max-age=5"),
    ];
    expected.sort_unstable();
    let mut told = told;
    told.sort_unstable();
    assert_eq!(told, expected);
}

#[test]
fn what_is_said_to_shared_caches_goes_and_times_for_viewers_stay() {
    let private = |values: &[&str]| {
        let fields: Vec<_> = values.iter().map(|value| ("cache-control", *value)).collect();
        let mut header = header(&fields);
        make_private(&mut header);
        header.headers.get(CACHE_CONTROL).unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(private(&[]), "private");
    assert_eq!(private(&["Public,max-age=1,S-MAXAGE=9", "immutable"]), "private, max-age=1, immutable");
    assert_eq!(private(&["no-store"]), "private, no-store");
    assert_eq!(
        private(&["private=\"x\", max-age=3, stale-if-error=9"]),
        "private, max-age=3, stale-if-error=9"
    );
    let targeted = ["cdn-cache-control", "x-cdn-cache-control", "surrogate-control", "x-accel-expires"];
    let mut header = header(&targeted.map(|name| (name, "max-age=60")));
    make_private(&mut header);
    assert!(targeted.iter().all(|name| !header.headers.contains_key(*name)), "{header:?}");
}

#[test]
fn freshness_ends_with_the_token() {
    let limited = |value: &str, seconds| {
        let mut header = header(&[("cache-control", value)]);
        limit_freshness(&mut header, seconds);
        header.headers.get(CACHE_CONTROL).unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(limited("private, max-age=60, immutable", 5), "private, max-age=5, immutable");
    assert_eq!(limited("private, max-age=60", 60), "private, max-age=60");
    assert_eq!(limited("private, max-age=99999999999999999999999", 60), "private, max-age=60");
    assert_eq!(limited("private", 60), "private");
}

#[test]
fn a_token_is_encoded_where_a_uri_of_some_document_cannot_hold_it() {
    let plain = "exp=1~acl=/live/*!/x~id=a%20b~hmac=00";
    assert_eq!(token_text(Form::Query, "hdnts", plain), format!("hdnts={plain}"));
    assert_eq!(token_text(Form::Path, "hdnts", plain), format!("/hdnts={plain}"));
    assert_eq!(token_text(Form::Query, "t", "a b%20"), "t=a%20b%2520");
    let marks = token_text(Form::Query, "t", "a&b\"c'd$e#f?g+h<i");
    assert_eq!(marks, "t=a%26b%22c%27d%24e%23f%3Fg%2Bh%3Ci");
}

fn set(cookie: &Cookie<'_>) -> Vec<String> {
    let mut header = header(&[("cache-control", "public, max-age=9")]);
    cookie.set(&mut header);
    assert_eq!(header.headers.get(CACHE_CONTROL).unwrap(), "private, max-age=9");
    header.headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

const COOKIE: Cookie<'_> = Cookie {
    name: "t",
    token: "a=b~c",
    path: "/live/ch1/a.m3u8",
    opens: &[],
    left: Some(Duration::from_secs(60)),
    over_tls: false,
};

#[test]
fn a_cookie_is_for_the_folder_of_the_playlist() {
    assert_eq!(set(&COOKIE), ["t=a=b~c; Path=/live/ch1/; Max-Age=60; HttpOnly; SameSite=Lax"]);
    let over_tls = Cookie { over_tls: true, path: "/a.m3u8", token: "a;b\"c %41", ..COOKIE };
    let expected = "t=a%3Bb%22c%20%2541; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=None";
    assert_eq!(set(&over_tls), [expected]);
    assert!(set(&Cookie { path: "/live/a;b/c/d.m3u8", ..COOKIE })[0].contains("Path=/live/; "));
}

#[test]
fn a_cookie_is_sent_wherever_its_session_opens_something() {
    let paths = |opens: &[&str]| -> Vec<String> {
        let opens: Vec<String> = opens.iter().map(|pattern| (*pattern).to_owned()).collect();
        let path = |cookie: &String| cookie.split("; ").nth(1).unwrap().replace("Path=", "");
        set(&Cookie { opens: &opens, ..COOKIE }).iter().map(path).collect()
    };
    assert_eq!(paths(&["/live/ch1/*", "/keys/*"]), ["/keys/", "/live/ch1/"]);
    assert_eq!(paths(&["/live/ch1/*", "/live/*", "/keys/a?.key"]), ["/keys/", "/live/"]);
    assert_eq!(paths(&["/live/ch1/*", "/*"]), ["/"]);
    assert_eq!(paths(&["/live*"]), ["/"]);
    let many = ["/a/*", "/b/*", "/c/*", "/d/*", "/e/*"];
    assert_eq!(paths(&many[..COOKIES_MAX]).len(), COOKIES_MAX);
    assert_eq!(paths(&many), ["/"]);
}
