//! Content codings: playlists, manifests and JSON are sent in the coding that a client takes, media never is.

use std::io::Read;

use crate::support::client::{Http2, Request, Response};
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::wait::{LOOK_EVERY, within};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

const PLAYLIST: &str = "/vod/index.m3u8";
const MANIFEST: &str = "/vod/manifest.mpd";
const JSON: &str = "/api/home.json";
/// Its path says nothing of what it is, its type does.
const TYPED: &str = "/api/home";

fn playlist() -> String {
    let segments: String = (0..300).map(|n| format!("#EXTINF:4.000,\nseg-{n}.m4s\n")).collect();
    format!("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n{segments}#EXT-X-ENDLIST\n")
}

fn manifest() -> String {
    let segments: String = (0..300).map(|n| format!("<S t=\"{n}\" d=\"4\"/>\n")).collect();
    format!("<?xml version=\"1.0\"?>\n<MPD><Period>{segments}</Period></MPD>\n")
}

fn json() -> String {
    let items: Vec<String> = (0..300).map(|n| format!("{{\"id\":{n},\"title\":\"Episode {n}\"}}")).collect();
    format!("[{}]", items.join(","))
}

fn text(body: String) -> Answer {
    Answer::ok(body).cache_control("max-age=600").etag("\"v1\"")
}

/// An origin with text of each sort, and a node before it.
async fn node(setup: impl Fn(Setup) -> Setup) -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.on(PLAYLIST, text(playlist()));
    origin.on(MANIFEST, text(manifest()));
    origin.on(JSON, text(json()));
    origin.on(TYPED, text(json()).header("content-type", "application/json; charset=utf-8"));
    let edge = setup(Setup::before(&origin)).start().await;
    (origin, edge)
}

fn accepting(path: &str, codings: &str) -> Request {
    Request::get(path).header("accept-encoding", codings)
}

/// Asks until the answer is encoded: while a copy is being made, a slow machine is sent the object as it is.
async fn encoded(edge: &Edge, request: &Request, coding: &str) -> Response {
    within(&format!("an answer in {coding} to {request:?}"), async {
        loop {
            let response = edge.ask(request).await;
            if response.get("content-encoding") == Some(coding) {
                return response;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await
}

fn decoded(response: &Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    let body: &[u8] = response.whole();
    match response.get("content-encoding").expect("a Content-Encoding") {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut bytes),
        "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut bytes),
        "zstd" => zstd::stream::read::Decoder::new(body).unwrap().read_to_end(&mut bytes),
        other => panic!("{other}"),
    }
    .unwrap_or_else(|error| panic!("{error} in {:?}", response.head));
    bytes
}

/// Text of each sort comes back byte for byte in each coding, smaller, over each version of HTTP, as a plain hit; HEAD
/// has the same fields.
#[tokio::test]
async fn text_comes_back_byte_for_byte() {
    let (origin, edge) = node(|setup| setup.server("h2c = true")).await;
    let connection = Http2::connect(edge.http()).await;
    for (path, body) in [(PLAYLIST, playlist()), (MANIFEST, manifest()), (JSON, json()), (TYPED, json())] {
        for coding in CODINGS {
            let request = accepting(path, coding);
            let first = encoded(&edge, &request, coding).await;
            assert_same_bytes(&decoded(&first), body.as_bytes(), path);
            assert!(first.whole().len() < body.len() / 2, "{coding} of {path}");
            let hit = edge.ask(&request).await;
            let h2 = connection.ask(&request).await;
            let head = edge.ask(&Request { method: "HEAD".to_owned(), ..request }).await;
            assert!(head.whole().is_empty());
            for response in [&hit, &h2, &head] {
                assert_eq!((response.status(), response.outcome()), (200, "hit"), "{coding} of {path}");
                assert_eq!(response.get("content-encoding"), Some(coding));
                assert_eq!(response.get("content-length"), Some(first.whole().len().to_string().as_str()));
                assert_eq!(response.get("etag"), Some(format!("\"v1-{coding}\"").as_str()));
                assert_eq!(response.get("vary"), Some("Accept-Encoding"));
            }
            assert_eq!((hit.whole(), h2.whole()), (first.whole(), first.whole()));
        }
        let plain = edge.get(path).await;
        assert_same_bytes(plain.whole(), body.as_bytes(), path);
        assert_eq!((plain.get("content-encoding"), plain.get("etag")), (None, Some("\"v1\"")));
        assert_eq!(plain.get("vary"), Some("Accept-Encoding"), "whatever was chosen");
        assert_eq!(origin.requests(path), 1);
        assert_eq!(origin.last(path).header("accept-encoding"), Some("identity"));
    }
}

/// Media, keys and pictures are sent as they came, whatever their type says.
#[tokio::test]
async fn media_is_never_encoded() {
    let origin = Origin::start().await;
    let body = json();
    origin.otherwise(move |_, _| text(json()).header("content-type", "application/json"));
    let edge = Setup::before(&origin).start().await;
    for path in ["/seg-1.m4s", "/seg-1.part2.m4s", "/init.mp4", "/k/1.key", "/a.jpg", "/1.ts"] {
        for _ in 0..2 {
            let response = edge.ask(&accepting(path, "gzip, br, zstd")).await;
            assert_eq!((response.get("content-encoding"), response.get("vary")), (None, None), "{path}");
            assert_eq!(response.get("etag"), Some("\"v1\""));
            assert_same_bytes(response.whole(), body.as_bytes(), path);
        }
    }
    assert_eq!(edge.metrics().await.sum("forebay_encodings_total", &[]), 0.0);
}

/// The coding is the one that the client weighs most, else the one that the site prefers.
#[tokio::test]
async fn the_clients_weights_come_first_and_then_the_sites_order() {
    let (_origin, edge) =
        node(|setup| setup.hosts("[\"edge.test\"]").site("encodings = [\"br\", \"gzip\"]")).await;
    for coding in ["br", "gzip"] {
        encoded(&edge, &accepting(PLAYLIST, coding), coding).await;
    }
    for (field, expected) in [
        ("gzip, deflate, br, zstd", Some("br")),
        ("gzip;q=1.0, br;q=0.5", Some("gzip")),
        ("zstd", None),
        ("zstd;q=1, gzip;q=0.1", Some("gzip")),
        ("*", Some("br")),
        ("br;q=0, *", Some("gzip")),
        ("identity;q=0, gzip", Some("gzip")),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0", None),
        ("*;q=0", None),
        ("", None),
    ] {
        let response = edge.ask(&accepting(PLAYLIST, field)).await;
        assert_eq!((response.status(), response.get("content-encoding")), (200, expected), "{field}");
        assert_eq!(response.get("vary"), Some("Accept-Encoding"), "{field}");
    }
}

/// Each representation is told apart by its tag, and confirmed by no other's; a weak tag stays weak.
#[tokio::test]
async fn each_coding_is_confirmed_by_its_own_tag() {
    let (origin, edge) = node(|setup| setup).await;
    let weak =
        Answer::ok(json()).cache_control("max-age=600").header("etag", "W/\"v1\"").header("vary", "Origin");
    origin.on("/weak.json", weak);
    for (path, opening, vary) in
        [(JSON, "\"v1", "Accept-Encoding"), ("/weak.json", "W/\"v1", "Origin, Accept-Encoding")]
    {
        for coding in CODINGS {
            let request = accepting(path, coding);
            let tag = format!("{opening}-{coding}\"");
            assert_eq!(encoded(&edge, &request, coding).await.get("etag"), Some(tag.as_str()));
            let same = edge.ask(&request.clone().header("if-none-match", &tag)).await;
            assert_eq!((same.status(), same.get("etag")), (304, Some(tag.as_str())), "{tag}");
            assert_eq!((same.get("vary"), same.get("content-encoding")), (Some(vary), None));
            for other in [format!("{opening}\""), format!("{opening}-x\"")] {
                let other = edge.ask(&request.clone().header("if-none-match", &other)).await;
                assert_eq!((other.status(), other.get("content-encoding")), (200, Some(coding)));
            }
        }
        let plain = Request::get(path).header("if-none-match", &format!("{opening}\""));
        assert_eq!(edge.ask(&plain).await.status(), 304);
        let coded = Request::get(path).header("if-none-match", &format!("{opening}-br\""));
        assert_eq!(edge.ask(&coded).await.status(), 200);
    }
    let matching = |tag: &str| accepting(JSON, "br").header("if-match", tag);
    assert_eq!(edge.ask(&matching("\"v1-br\"")).await.status(), 200);
    assert_eq!(edge.ask(&matching("\"v1\"")).await.status(), 412);
    assert_eq!(origin.requests(JSON), 1);
}

/// A range is one of the object as it is, by its own tag.
#[tokio::test]
async fn a_range_is_of_the_identity_representation() {
    let (_origin, edge) = node(|setup| setup).await;
    encoded(&edge, &accepting(JSON, "br"), "br").await;
    for (condition, status) in [(None, 206), (Some("\"v1\""), 206), (Some("\"v1-br\""), 200)] {
        let mut request = accepting(JSON, "br").range("bytes=10-19");
        if let Some(condition) = condition {
            request = request.header("if-range", condition);
        }
        let response = edge.ask(&request).await;
        assert_eq!((response.status(), response.get("etag")), (status, Some("\"v1\"")), "{condition:?}");
        assert_eq!(response.get("content-encoding"), None);
        assert_eq!(response.get("vary"), Some("Accept-Encoding"));
        let expected = if status == 206 { json()[10..20].to_owned() } else { json() };
        assert_same_bytes(response.whole(), expected.as_bytes(), "identity");
    }
}

/// A hundred clients who come at once have one copy made.
#[tokio::test]
async fn a_herd_has_one_copy_made() {
    let (_origin, edge) = node(|setup| setup).await;
    edge.get(PLAYLIST).await.whole();
    let address = edge.http();
    let mut herd = tokio::task::JoinSet::new();
    for _ in 0..100 {
        herd.spawn(async move { crate::support::client::ask(address, &accepting(PLAYLIST, "gzip")).await });
    }
    while let Some(response) = herd.join_next().await {
        let response = response.expect("an answer");
        match response.get("content-encoding") {
            Some(_) => assert_same_bytes(&decoded(&response), playlist().as_bytes(), "encoded"),
            None => assert_same_bytes(response.whole(), playlist().as_bytes(), "as it is"),
        }
    }
    let copy = encoded(&edge, &accepting(PLAYLIST, "gzip"), "gzip").await;
    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("forebay_encodings_total", &[]), 1.0);
    assert_eq!(metrics.sum("forebay_encoded_bytes_total", &[("coding", "gzip")]), copy.whole().len() as f64);
}

/// What forbids it is sent as it is: `no-transform` of the origin, also where the node sets the rest of `Cache-Control`,
/// or of the client; a coding of the origin's own; a body too small, or that does not shrink; a site without codings.
#[tokio::test]
async fn what_is_not_to_be_encoded_is_sent_as_it_is() {
    let origin = Origin::start().await;
    let live = playlist().replace("#EXT-X-ENDLIST\n", "");
    let noise = content(1, 5000);
    let all = "zstd, br, gzip";
    origin.on("/live.m3u8", Answer::ok(live).cache_control("no-transform, max-age=60"));
    origin.on("/a.json", Answer::ok(json()).cache_control("max-age=60, no-transform"));
    origin.on("/b.json", Answer::ok(json()).cache_control("max-age=60, x=\"\u{e9}\", no-transform"));
    origin.on("/c.json", Answer::ok(json()).cache_control("max-age=60, no-transform=1"));
    origin.on(
        "/gz.json",
        Answer::ok("not really gzip").cache_control("max-age=60").header("content-encoding", "gzip"),
    );
    origin.on("/small.json", Answer::ok("x".repeat(255)).cache_control("max-age=60"));
    origin.on("/noise.json", Answer::ok(noise.clone()).cache_control("max-age=60"));
    origin.on("/plain.json", Answer::ok(json()).cache_control("max-age=60"));
    let edge = Setup::before(&origin).start().await;
    for (path, vary) in [
        ("/live.m3u8", None),
        ("/a.json", None),
        ("/b.json", None),
        ("/c.json", None),
        ("/gz.json", None),
        ("/small.json", Some("Accept-Encoding")),
        ("/noise.json", Some("Accept-Encoding")),
    ] {
        for _ in 0..3 {
            let response = edge.ask(&accepting(path, all)).await;
            let coding = (path == "/gz.json").then_some("gzip");
            assert_eq!(response.get("content-encoding"), coding, "{path}");
            assert_eq!(response.get("vary"), vary, "{path}");
        }
    }
    assert_same_bytes(edge.ask(&accepting("/noise.json", all)).await.whole(), &noise, "noise");
    assert_eq!(edge.get("/live.m3u8").await.get("cache-control"), Some("max-age=4, no-transform"));
    encoded(&edge, &accepting("/plain.json", "br"), "br").await;
    let untouched = accepting("/plain.json", "br").header("cache-control", "no-transform");
    assert_eq!(edge.ask(&untouched).await.get("content-encoding"), None);

    let off = Setup::before(&origin).site("encodings = []").start().await;
    for _ in 0..3 {
        let response = off.ask(&accepting("/plain.json", all)).await;
        assert_eq!((response.get("content-encoding"), response.get("vary")), (None, None));
    }
}

/// A copy outlives a confirmation by the origin, and goes with its object: its bytes count in the budget until then.
#[tokio::test]
async fn a_copy_lives_as_long_as_its_object() {
    let origin = Origin::start().await;
    origin.on(JSON, Answer::ok(json()).cache_control("max-age=0").etag("\"v1\""));
    let edge =
        Setup::before(&origin).site("methods = [\"GET\", \"HEAD\", \"OPTIONS\", \"POST\"]").start().await;
    edge.get(JSON).await.whole();
    let bytes = || async { edge.metrics().await.sum("forebay_cache_bytes", &[("tier", "memory")]) };
    let before = bytes().await;
    let copy = encoded(&edge, &accepting(JSON, "gzip"), "gzip").await;
    let held = bytes().await;
    assert!(held >= before + copy.whole().len() as f64, "{held} after {before}");
    for _ in 0..5 {
        let confirmed = edge.ask(&accepting(JSON, "gzip")).await;
        assert_eq!(confirmed.get("content-encoding"), Some("gzip"));
        assert_eq!(confirmed.whole(), copy.whole());
        assert_eq!(confirmed.outcome(), "hit_revalidated");
    }
    assert_eq!(edge.metrics().await.sum("forebay_encodings_total", &[]), 1.0);

    assert_eq!(edge.ask(&Request::new("POST", JSON).body("x")).await.status(), 200);
    within("the bytes of the object and its copy, given back", async {
        while bytes().await >= before {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await;
}

/// A digest is of the bytes that it comes with (RFC 9530): an encoded copy has none of its origin's, a part has that of
/// the representation alone, and an object in slices is not told that of the part that its first fetch brought.
#[tokio::test]
async fn digests_are_of_what_they_come_with() {
    const NAMES: [&str; 4] = ["content-digest", "content-md5", "repr-digest", "digest"];
    let origin = Origin::start().await;
    let with =
        |answer: Answer| NAMES.iter().fold(answer, |answer, name| answer.header(name, "sha-256=:YQ==:"));
    let answer = |body: bytes::Bytes| with(Answer::ok(body)).cache_control("max-age=3600").etag("\"v1\"");
    origin.on("/a.json", answer(json().into()));
    origin.on("/film.mp4", answer(content(1, 3 << 20)).ranges());
    let edge = Setup::before(&origin).limits("slice_above = \"2MiB\"").start().await;
    let told = |response: &Response| -> Vec<&str> {
        NAMES.into_iter().filter(|name| response.get(name).is_some()).collect()
    };
    for _ in 0..2 {
        assert_eq!(told(&edge.get("/a.json").await), NAMES);
        assert_eq!(told(&encoded(&edge, &accepting("/a.json", "br"), "br").await), [""; 0]);
        let part = edge.ask(&Request::get("/a.json").range("bytes=0-9")).await;
        assert_eq!((part.status(), told(&part)), (206, vec!["repr-digest", "digest"]));
        let parts = edge.ask(&Request::get("/a.json").range("bytes=0-9, 30-39")).await;
        assert_eq!((parts.status(), told(&parts)), (206, vec!["repr-digest", "digest"]));
        let none = edge.ask(&Request::get("/a.json").header("if-none-match", "\"v1\"")).await;
        assert_eq!((none.status(), told(&none)), (304, vec![]));
        let slice = edge.ask(&Request::get("/film.mp4").range("bytes=0-9")).await;
        assert_eq!((slice.status(), told(&slice)), (206, vec!["repr-digest", "digest"]));
    }
    assert_eq!(told(&edge.get("/film.mp4").await), ["repr-digest", "digest"]);
}
