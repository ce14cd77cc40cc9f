//! Assets are what a playlist has named them, whatever their extension says: in what is kept, in the access log and in the
//! metrics.

use std::path::Path;

use serde_json::Value;

use crate::support::client::Request;
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};

/// An origin that has these playlists, for a minute each, and anything else, of which it says nothing.
async fn origin(playlists: &[(&str, &str)]) -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|request, nth| Answer::ok(format!("{nth} {}", request.path())));
    for (path, text) in playlists {
        origin.on(path, Answer::ok((*text).to_owned()).cache_control("max-age=60"));
    }
    origin
}

/// Asks for these one after the other, for host `own.test`. The kind of each as its access line says it, and its outcome.
async fn asked(edge: &Edge, targets: &[&str]) -> Vec<(String, String)> {
    let before = edge.access_lines().len();
    for (place, target) in targets.iter().enumerate() {
        let request = Request::get(target).header("host", "own.test");
        assert_eq!(edge.ask(&request).await.status(), 200, "{target}");
        edge.await_access_lines(before + place + 1).await;
    }
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    edge.access_lines().iter().skip(before).map(|line| (text(line, "kind"), text(line, "outcome"))).collect()
}

/// Asserts that each of these is of this kind, and is asked of the origin once for two requests, or twice.
async fn assert_kinds(edge: &Edge, origin: &Origin, expected: &[(&str, &str, usize)]) {
    for (target, kind, fetches) in expected {
        let said = asked(edge, &[target, target]).await;
        assert!(said.iter().all(|(said, _)| said == kind), "{target}: {said:?} is no {kind}");
        assert_eq!(origin.requests(target), *fetches, "{target}");
    }
}

const MEDIA: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-KEY:METHOD=AES-128,URI=\"secret.bin\"\n\
    #EXT-X-MAP:URI=\"head.dat\"\n#EXTINF:4,\n1.bin\n#EXT-X-KEY:METHOD=AES-128,URI=\"/keys/2.ts?id=2\"\n#EXTINF:4,\n2.html\n\
    #EXTINF:4,\n../three\n#EXTINF:4,\nhttp://own.test:8080/v/./4%2ebin?x#t\n#EXTINF:4,\nhttps://other.test/v/5.bin\n\
    #EXTINF:4,\n6.ts\n#EXT-X-ENDLIST\n";

/// What a playlist names is kept, or not, as what it has been named. What it names elsewhere is nobody's.
#[tokio::test]
async fn segments_are_kept_and_keys_are_not_whatever_their_extension() {
    let main = "#EXTM3U\n#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"all.json\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv/media\n";
    let origin = origin(&[("/index.m3u8", main), ("/v/media", MEDIA)]).await;
    let edge = Setup::before(&origin).hosts("[\"own.test\"]").start().await;
    asked(&edge, &["/index.m3u8"]).await;
    assert_kinds(&edge, &origin, &[("/v/media", "media_playlist", 1)]).await;
    let expected = [
        ("/all.json", "key", 2),
        ("/v/secret.bin", "key", 2),
        ("/keys/2.ts", "key", 2),
        ("/v/head.dat", "init", 1),
        ("/v/1.bin", "segment", 1),
        ("/v/2.html", "segment", 1),
        ("/three", "segment", 1),
        ("/v/4.bin", "segment", 1),
        ("/v/6.ts", "segment", 1),
        // Another host's.
        ("/v/5.bin", "other", 2),
    ];
    assert_kinds(&edge, &origin, &expected).await;
    let metrics = edge.metrics().await;
    let requests = |kind: &str| metrics.sum("forebay_requests_total", &[("kind", kind)]);
    assert_eq!((requests("key"), requests("segment"), requests("init")), (6.0, 10.0, 2.0));
}

/// A playlist that names another one, or itself, as its key takes that from nobody.
#[tokio::test]
async fn a_playlist_that_is_named_a_key_is_still_a_playlist() {
    let odd = "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"live.m3u8\"\n#EXT-X-KEY:METHOD=AES-128,URI=\"odd.m3u8\"\n\
        #EXT-X-KEY:METHOD=AES-128,URI=\"v.mpd\"\n#EXTINF:4,\n1.ts\n";
    let origin = origin(&[("/odd.m3u8", odd), ("/live.m3u8", "#EXTM3U\n#EXTINF:4,\n1.ts\n")]).await;
    origin.on("/v.mpd", Answer::ok("<MPD type=\"static\"/>"));
    let edge = Setup::before(&origin).hosts("[\"own.test\"]").start().await;
    asked(&edge, &["/odd.m3u8"]).await;
    let expected = [("/live.m3u8", "media_playlist", 1), ("/v.mpd", "manifest", 1)];
    assert_kinds(&edge, &origin, &expected).await;
    assert_eq!(asked(&edge, &["/odd.m3u8"]).await, [("media_playlist".to_owned(), "hit".to_owned())]);
}

/// A key stays one, though a later playlist lists it as a segment, or its extension is that of one.
#[tokio::test]
async fn what_was_named_a_key_is_never_shared_again() {
    let first = "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"k.ts\"\n#EXTINF:4,\n1.ts\n";
    let second = "#EXTM3U\n#EXTINF:4,\nk.ts\n#EXTINF:4,\nk.bin\n";
    let origin = origin(&[("/a.m3u8", first), ("/b.m3u8", second)]).await;
    let edge = Setup::before(&origin).hosts("[\"own.test\"]").start().await;
    asked(&edge, &["/a.m3u8", "/b.m3u8"]).await;
    assert_kinds(&edge, &origin, &[("/k.ts", "key", 2), ("/k.bin", "segment", 1)]).await;
}

/// Parts are parts though they are called like segments, and one hinted is too; parts that are byte ranges are a segment.
#[tokio::test]
async fn parts_of_low_latency_playlists_are_parts() {
    let live = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PART-INF:PART-TARGET=1\n#EXT-X-MEDIA-SEQUENCE:7\n\
        #EXT-X-PART:DURATION=1,URI=\"7.0.m4s\"\n#EXTINF:4,\n7.m4s\n#EXT-X-PART:DURATION=1,URI=\"8.0.bin\"\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"8.1.m4s\"\n#EXT-X-RENDITION-REPORT:URI=\"audio?x=1\",LAST-MSN=8\n";
    let ranges = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PART-INF:PART-TARGET=1\n\
        #EXT-X-PART:DURATION=1,URI=\"9.cmf\",BYTERANGE=\"100@0\"\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"9.cmf\",BYTERANGE-START=100\n";
    let origin = origin(&[("/l/live.m3u8", live), ("/l/ranges.m3u8", ranges)]).await;
    origin.on("/l/audio", Answer::ok("#EXTM3U\n#EXTINF:4,\na\n").cache_control("max-age=60"));
    let edge = Setup::before(&origin).hosts("[\"own.test\"]").start().await;
    asked(&edge, &["/l/live.m3u8", "/l/ranges.m3u8"]).await;
    let expected = [
        ("/l/7.0.m4s", "part", 1),
        ("/l/8.0.bin", "part", 1),
        ("/l/8.1.m4s", "part", 1),
        ("/l/7.m4s", "segment", 1),
        ("/l/9.cmf", "segment", 1),
        ("/l/audio", "media_playlist", 1),
    ];
    assert_kinds(&edge, &origin, &expected).await;
}

/// Lists of channels, and players' own queries: a playlist stays a playlist.
#[tokio::test]
async fn a_playlist_is_no_segment_of_another_nor_of_itself() {
    let channels = "#EXTM3U\n#EXTINF:-1,One\none.m3u8\n#EXTINF:-1,Two\ntwo.mpd\n";
    let one = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nget?n=1\n";
    let get = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nplay?v=1\n";
    let play = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n?segment=1\n";
    let lists = [("/list.m3u8", channels), ("/one.m3u8", one), ("/main.m3u8", get), ("/play", play)];
    let origin = origin(&lists).await;
    let edge = Setup::before(&origin).hosts("[\"own.test\"]").start().await;
    asked(&edge, &["/list.m3u8", "/one.m3u8", "/main.m3u8", "/play?v=1"]).await;
    let said = asked(&edge, &["/one.m3u8", "/two.mpd", "/get?n=1", "/play?v=1"]).await;
    let kinds: Vec<_> = said.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["media_playlist", "manifest", "segment", "media_playlist"]);
}

/// Variables are those of the playlist, of the multivariant playlist and of the playlist's own query; without a value a
/// URI names nothing.
#[tokio::test]
async fn variables_have_the_values_that_are_known() {
    let main =
        "#EXTM3U\n#EXT-X-DEFINE:NAME=\"base\",VALUE=\"/media/a\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv/1.m3u8\n";
    let media = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-DEFINE:IMPORT=\"base\"\n\
        #EXT-X-DEFINE:QUERYPARAM=\"q\"\n#EXT-X-DEFINE:NAME=\"n\",VALUE=\"own\"\n#EXTINF:4,\n{$base}/1.bin\n\
        #EXTINF:4,\n{$q}/2.bin\n#EXTINF:4,\n{$n}/3.bin\n";
    let origin = origin(&[("/main.m3u8", main), ("/v/1.m3u8", media), ("/v/2.m3u8", media)]).await;
    let edge = Setup::before(&origin).hosts("[\"own.test\"]").start().await;
    // A playlist whose multivariant playlist is not known.
    asked(&edge, &["/v/2.m3u8"]).await;
    assert_kinds(&edge, &origin, &[("/v/own/3.bin", "segment", 1)]).await;
    asked(&edge, &["/main.m3u8", "/v/1.m3u8?q=x%2Fy"]).await;
    let expected =
        [("/media/a/1.bin", "segment", 1), ("/v/x/y/2.bin", "segment", 1), ("/v/q/2.bin", "other", 2)];
    assert_kinds(&edge, &origin, &expected).await;
}

/// A rule that classifies comes before any playlist.
#[tokio::test]
async fn a_rule_says_more_than_a_playlist() {
    let origin = origin(&[("/v/media.m3u8", MEDIA)]).await;
    let rule = "[[site.rule]]\npath = \"/v/*.bin\"\nclassify = \"image\"\n";
    let edge = Setup::before(&origin).hosts("[\"own.test\"]").more(rule).start().await;
    asked(&edge, &["/v/media.m3u8"]).await;
    let said = asked(&edge, &["/v/1.bin", "/v/2.html"]).await;
    let kinds: Vec<_> = said.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["image", "segment"]);
}

/// A playlist that comes from disk names its assets again.
#[tokio::test]
async fn names_are_known_again_after_a_restart() {
    let origin = origin(&[("/v/media.m3u8", MEDIA)]).await;
    let disk = tempfile::tempdir().expect("a directory");
    let start = async |disk: &Path| {
        let disk = format!(
            "disk = [{{ path = \"{}\", size = \"256MiB\" }}]\ndisk_admit_within = \"0s\"\ndisk_ttl_min = \"0s\"",
            disk.display()
        );
        Setup::before(&origin).hosts("[\"own.test\"]").store(&disk).start().await
    };
    let edge = start(disk.path()).await;
    asked(&edge, &["/v/media.m3u8"]).await;
    edge.await_metric("forebay_cache_objects", &[("tier", "disk")], 1.0).await;
    edge.stop().await;
    let edge = start(disk.path()).await;
    edge.await_recovered().await;
    asked(&edge, &["/v/media.m3u8"]).await;
    assert_eq!(origin.requests("/v/media.m3u8"), 1);
    assert_kinds(&edge, &origin, &[("/v/1.bin", "segment", 1), ("/v/secret.bin", "key", 2)]).await;
}
