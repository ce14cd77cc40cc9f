//! Token carrying: one playlist is fetched and kept, and every viewer gets it with the own token in it, byte for byte.

use std::sync::LazyLock;

use crate::support::client::{Request, Response};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{KEY_HEX, OTHER_KEY_HEX, now, sign};
use crate::support::wait::Gate;

const MULTIVARIANT: &str = "/live/ch1/master.m3u8";
const MEDIA: &str = "/live/ch1/v/index.m3u8";
const MANIFEST: &str = "/live/ch1/manifest.mpd";
const PLAIN: &str = "/live/ch1/plain.m3u8";
const LONG: &str = "/live/ch1/long.m3u8";
const HOST: &str = "edge.test";

/// A playlist with every sort of URI; `{}` stands where a token goes by query, `<>` by path, and `[]` where it goes by
/// path only if it is not inherited.
const MULTIVARIANT_TEXT: &str = "#EXTM3U\r\n#EXT-X-CONTENT-STEERING:SERVER-URI=\"<>/steer?x=1&{}\",PATHWAY-ID=\"a\"\r\n\
    #EXT-X-SESSION-DATA:DATA-ID=\"a,b\",URI=\"[]data.json{?}\"\r\n\
    #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"URI=\",URI=\"[]a/index.m3u8{?}\"\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=1000,AUDIO=\"a\"\r\n[]v/index.m3u8{?}\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=2000\r\nhttps://edge.test<>/live/ch1/hi/index.m3u8?q=1&{}\r\n\
    #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=10,URI=\"https://other.example/i.m3u8\"\r\n";

const MEDIA_TEXT: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:600\n#EXT-X-DEFINE:NAME=\"cdn\",VALUE=\"https://other.example\"\n\
    #EXT-X-MAP:URI=\"[]init.mp4{?}\",BYTERANGE=\"100@0\"\n\
    #EXT-X-KEY:METHOD=AES-128,URI=\"<>/keys/1.key{?}\",IV=0x1\n\
    #EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://key\",KEYFORMAT=\"com.apple.streamingkeydelivery\"\n\
    # a comment about seg.m4s\n#EXTINF:2.0,title, with comma\n[]1.m4s{?}\n#EXTINF:2.0,\n{$cdn}/2.m4s\n\
    #EXT-X-PART:DURATION=1.0,URI=\"[]3.part1.m4s{?}\"\n\
    #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"[]3.part2.m4s{?}\"\n\
    #EXT-X-RENDITION-REPORT:URI=\"[up]a/index.m3u8{?}\",LAST-MSN=3\n";

const MANIFEST_TEXT: &str = "<?xml version=\"1.0\"?>\n<MPD type=\"dynamic\"><base/><Location>[]manifest.mpd{?}</Location><Period>\n\
    <AdaptationSet><SegmentTemplate media=\"$Number$.m4s{?}\" initialization='<>/live/ch1/init.mp4?a=1&amp;{}'/></AdaptationSet>\n\
    <AdaptationSet><BaseURL>https://other.example/</BaseURL><SegmentTemplate media=\"o.m4s\"/></AdaptationSet></Period></MPD>\n";

/// What the origin has.
fn plain(text: &str) -> String {
    let text = text.replace("?x=1&{}", "?x=1").replace("?q=1&{}", "?q=1").replace("?a=1&amp;{}", "?a=1");
    let text = text.replace("{?}", "").replace("[up]", "../").replace("[]", "").replace("<base/>", "");
    // A pair of angle brackets is no mark of XML.
    text.replace("<>", "")
}

fn by_query(text: &str, token: &str) -> String {
    plain(&text.replace("{?}", &format!("?hdnts={token}")).replace("{}", &format!("hdnts={token}")))
}

/// `folder`: that of the playlist, where relative URIs do not inherit the token.
fn by_path(text: &str, name: &str, token: &str, folder: Option<(&str, &str)>) -> String {
    let prefix = format!("/{name}={token}");
    let text = text.replace("<>", &prefix);
    let Some((folder, above)) = folder else { return plain(&text) };
    let text = text.replace("[]", &format!("{prefix}{folder}")).replace("[up]", &format!("{prefix}{above}"));
    plain(&text.replace("<base/>", &format!("<BaseURL>{prefix}{folder}</BaseURL>")))
}

fn answer(text: &str) -> Answer {
    let answer = Answer::ok(plain(text)).etag("\"v1\"").last_modified("Tue, 14 Nov 2023 22:13:20 GMT");
    answer.cache_control("public, max-age=60, s-maxage=100").header("content-digest", "sha-256=:AA==:")
}

fn long() -> String {
    (0..300).fold("#EXTM3U\n#EXT-X-TARGETDURATION:600\n".to_owned(), |text, n| {
        format!("{text}#EXTINF:4,\n[]segment-{n}.m4s{{?}}\n")
    })
}

/// A node whose policy carries tokens so, with further lines for the policy and the site.
async fn node(carry: &str, policy: &str, site: &str) -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    origin.on(MULTIVARIANT, answer(MULTIVARIANT_TEXT));
    origin.on(MEDIA, answer(MEDIA_TEXT));
    origin.on(MANIFEST, answer(MANIFEST_TEXT));
    origin.on(PLAIN, answer("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-ENDLIST\n"));
    origin.on(LONG, answer(&long()));
    let policy = format!(
        "[token.viewer]\nformat = \"edgeauth\"\ncarry = \"{carry}\"\n\
         keys = [{{ id = \"k\", secret_file = \"DIR/k.key\" }}]\n{policy}"
    );
    let setup = Setup::before(&origin)
        .site(&format!("token = \"viewer\"\n{site}"))
        .more(&policy)
        .file("k.key", KEY_HEX)
        .file("s.key", OTHER_KEY_HEX)
        .tls();
    (origin, setup.start().await)
}

const SESSION: &str = "session = { keys = [{ id = \"s\", secret_file = \"DIR/s.key\" }] }";

/// A viewer's token, the same each time.
fn token(viewer: &str) -> String {
    static EXPIRES: LazyLock<u64> = LazyLock::new(|| now() + 3600);
    sign(KEY_HEX, &format!("exp={}~acl=/*~id={viewer}", *EXPIRES))
}

fn get(target: &str) -> Request {
    Request::get(target).host(HOST)
}

#[track_caller]
fn assert_text(response: &Response, expected: &str) {
    assert_eq!(response.status(), 200, "{:?}", response.head);
    assert_eq!(String::from_utf8_lossy(response.whole()), expected);
    assert_eq!(response.get("content-length"), Some(expected.len().to_string().as_str()));
}

#[track_caller]
fn assert_private(response: &Response) {
    let control = response.get("cache-control").expect("a Cache-Control");
    assert!(control.starts_with("private") && control.contains("max-age="), "{control}");
    assert!(!control.contains("public") && !control.contains("s-maxage"), "{control}");
    assert_eq!(response.get("content-digest"), None);
}

/// By query, each viewer has the own token at each URI of the site and nowhere else, of one fetch.
#[tokio::test]
async fn every_viewer_gets_the_own_token_by_query() {
    let (origin, edge) = node("query", "", "").await;
    for (path, text) in [(MULTIVARIANT, MULTIVARIANT_TEXT), (MEDIA, MEDIA_TEXT)] {
        for viewer in ["one", "two", "one"] {
            let token = token(viewer);
            let response = edge.ask(&get(&format!("{path}?hdnts={token}"))).await;
            assert_text(&response, &by_query(text, &token));
            assert_private(&response);
            assert_eq!(response.get("accept-ranges"), Some("none"));
            assert_eq!(response.get("last-modified"), None);
        }
        assert_eq!(origin.requests(path), 1, "{path}");
    }
}

/// Below the token, relative URIs have it already: only the others are written anew.
#[tokio::test]
async fn what_is_relative_inherits_the_token_of_the_path() {
    let (origin, edge) = node("path", "", "").await;
    for (path, text) in [(MULTIVARIANT, MULTIVARIANT_TEXT), (MEDIA, MEDIA_TEXT)] {
        for viewer in ["one", "two"] {
            let token = token(viewer);
            let response = edge.ask(&get(&format!("/hdnts={token}{path}"))).await;
            assert_text(&response, &by_path(text, "hdnts", &token, None));
            assert_private(&response);
        }
        assert_eq!(origin.requests(path), 1, "{path}");
    }
    let token = token("one");
    let response = edge.ask(&get(&format!("/hdnts={token}{PLAIN}"))).await;
    assert_text(&response, "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-ENDLIST\n");
    assert_eq!(response.get("etag"), Some("\"v1\""), "nothing to rewrite: the shared answer");
    assert!(response.get("cache-control").unwrap().contains("public"), "{:?}", response.head);
}

/// Asked for in another way, every URI of the site is written out below the token.
#[tokio::test]
async fn a_playlist_asked_for_otherwise_leads_below_the_token() {
    let (_origin, edge) = node("path", "", "").await;
    for (path, text, folder) in [
        (MULTIVARIANT, MULTIVARIANT_TEXT, ("/live/ch1/", "/live/")),
        (MEDIA, MEDIA_TEXT, ("/live/ch1/v/", "/live/ch1/")),
    ] {
        let token = token("one");
        let expected = by_path(text, "hdnts", &token, Some(folder));
        assert_text(&edge.ask(&get(&format!("{path}?hdnts={token}"))).await, &expected);
        let cookie = get(path).header("cookie", &format!("hdnts={token}"));
        assert_text(&edge.ask(&cookie).await, &expected);
    }
}

/// What the node writes into a playlist opens what it names, and stays between viewer and node.
#[tokio::test]
async fn the_uris_of_a_rewritten_playlist_open_what_they_name() {
    for (carry, session) in [("query", ""), ("path", ""), ("query", SESSION), ("path", SESSION)] {
        let (origin, edge) = node(carry, session, "").await;
        let token = token("one");
        let response = edge.ask(&get(&format!("{LONG}?hdnts={token}"))).await;
        let text = String::from_utf8(response.whole().to_vec()).unwrap();
        let uris: Vec<&str> = text.lines().filter(|line| line.contains("segment-")).take(3).collect();
        for (n, uri) in uris.iter().enumerate() {
            assert_eq!(uri.contains("hdntl="), !session.is_empty(), "{uri}");
            let target = if carry == "path" { (*uri).to_owned() } else { format!("/live/ch1/{uri}") };
            assert_eq!(edge.ask(&get(&target)).await.status(), 200, "{carry} {session}: {uri}");
            assert_eq!(origin.requests(&format!("/live/ch1/segment-{n}.m4s")), 1);
        }
        let lines = edge.await_access_lines(4).await;
        let told =
            format!("{:?}", origin.recorded().iter().map(|request| request.text()).collect::<Vec<_>>());
        let told = format!("{told}{lines:?}{}", edge.everything_written());
        assert!(!told.contains("hmac") && !told.contains("hdnt"), "{told}");
    }
}

/// A rewritten text is a representation of its own: its tag holds for its viewer alone.
#[tokio::test]
async fn a_rewritten_text_is_validated_for_its_viewer_alone() {
    let (_origin, edge) = node("query", "", "").await;
    let (one, two) = (format!("{MEDIA}?hdnts={}", token("one")), format!("{MEDIA}?hdnts={}", token("two")));
    let response = edge.ask(&get(&one)).await;
    let tag = response.get("etag").unwrap().to_owned();
    assert!(tag.starts_with("\"v1-") && tag.len() == "\"v1-0123456789abcdef\"".len(), "{tag}");
    let again = edge.ask(&get(&one).header("if-none-match", &tag)).await;
    assert_eq!(again.status(), 304);
    assert_eq!(again.get("etag"), Some(tag.as_str()));
    assert!(again.get("cache-control").unwrap().starts_with("private"));
    let other = edge.ask(&get(&two).header("if-none-match", &tag)).await;
    assert_eq!(other.status(), 200);
    assert_ne!(other.get("etag"), Some(tag.as_str()));
    for (name, value) in [
        ("if-none-match", "\"v1\""),
        ("if-modified-since", "Tue, 14 Nov 2023 22:13:20 GMT"),
        ("range", "bytes=0-9"),
    ] {
        let response = edge.ask(&get(&one).header(name, value)).await;
        assert_eq!(response.status(), 200, "{name}");
        assert_eq!(response.whole(), edge.ask(&get(&one)).await.whole(), "{name}");
    }
}

/// HEAD has the header of GET, and HTTP/1.0 is told the length.
#[tokio::test]
async fn head_and_old_clients_are_told_the_same() {
    let (_origin, edge) = node("query", "", "").await;
    let target = format!("{MEDIA}?hdnts={}", token("one"));
    edge.ask(&get(&target)).await;
    let whole = edge.ask(&get(&target)).await;
    let head = edge.ask(&Request::head(&target).host(HOST)).await;
    for name in ["content-length", "etag", "cache-control", "content-type", "accept-ranges"] {
        assert_eq!(head.get(name), whole.get(name), "{name}");
    }
    assert!(head.whole().is_empty());
    let old = edge.ask(&get(&target).http_1_0()).await;
    assert_eq!(old.whole(), whole.whole());
    assert_eq!(old.get("content-length"), whole.get("content-length"));
}

/// Where nothing is rewritten the shared encoded copy goes out; a rewritten text is not encoded.
#[tokio::test]
async fn codings_are_used_where_nothing_is_rewritten() {
    let (_origin, edge) = node("path", "", "").await;
    let token = token("one");
    let inherits = get(&format!("/hdnts={token}{LONG}")).header("accept-encoding", "gzip");
    let encoded = crate::support::wait::within("an encoded answer", async {
        loop {
            let response = edge.ask(&inherits).await;
            if response.get("content-encoding") == Some("gzip") {
                return response;
            }
        }
    });
    assert_eq!(encoded.await.get("etag"), Some("\"v1-gzip\""));
    let otherwise = get(&format!("{LONG}?hdnts={token}")).header("accept-encoding", "gzip");
    let response = edge.ask(&otherwise).await;
    assert_eq!(response.get("content-encoding"), None);
    assert_text(&response, &by_path(&long(), "hdnts", &token, Some(("/live/ch1/", ""))));
}

/// By cookie, the text stays and the viewer gets the token once.
#[tokio::test]
async fn a_cookie_is_set_once_for_the_folder_of_the_stream() {
    let site = "cors = { origins = [\"https://player.example\"], credentials = true }";
    let (_origin, edge) = node("cookie", SESSION, site).await;
    let target = format!("{MULTIVARIANT}?hdnts={}", token("one"));
    let first = edge.ask(&get(&target).header("origin", "https://player.example")).await;
    assert_text(&first, &plain(MULTIVARIANT_TEXT));
    let control = first.get("cache-control").unwrap();
    assert!(control.starts_with("private") && !control.contains("public"), "{control}");
    let cookie = first.get("set-cookie").unwrap();
    let (pair, attributes) = cookie.split_once(';').unwrap();
    assert!(pair.starts_with("hdntl=exp="), "{cookie}");
    assert_eq!(attributes, " Path=/live/ch1/; Max-Age=86400; HttpOnly; SameSite=Lax");
    assert_eq!(first.get("access-control-allow-credentials"), Some("true"));
    assert_eq!(first.get("etag"), Some("\"v1\""));

    let segment = edge.ask(&get("/live/ch1/v/1.m4s").header("cookie", pair)).await;
    assert_eq!(segment.status(), 200);
    assert_eq!(segment.get("set-cookie"), None);
    let again = edge.ask(&get(MEDIA).header("cookie", pair)).await;
    assert_text(&again, &plain(MEDIA_TEXT));
    assert_eq!(again.get("set-cookie"), None, "it has come with it");
    assert!(again.get("cache-control").unwrap().contains("public"));
    let denied = edge.ask(&get(MEDIA).header("origin", "https://player.example")).await;
    assert_eq!((denied.status(), denied.get("access-control-allow-credentials")), (403, Some("true")));
    assert_eq!(denied.get("set-cookie"), None);
}

/// Over TLS the cookie may go along with pages of other sites, and never over plain HTTP.
#[tokio::test]
async fn a_cookie_over_tls_is_secure() {
    let (_origin, edge) = node("cookie", SESSION, "").await;
    let (address, roots) = edge.https();
    let stream = crate::support::client::tls(address, roots, &["http/1.1"]).await;
    let mut client = crate::support::client::Http1::over_tls(stream.unwrap());
    let response = client.ask(&get(&format!("{PLAIN}?hdnts={}", token("one")))).await;
    let cookie = response.get("set-cookie").unwrap();
    assert!(cookie.ends_with("; HttpOnly; Secure; SameSite=None"), "{cookie}");
}

/// A session token is made where a playlist is opened, and a shared link makes one for each viewer.
#[tokio::test]
async fn a_session_token_takes_the_place_of_the_first_one() {
    let (_origin, edge) = node("path", SESSION, "").await;
    let first = format!("{MEDIA}?hdnts={}", sign(KEY_HEX, &format!("exp={}~acl=/*", now() + 60)));
    let response = edge.ask(&get(&first)).await;
    let text = String::from_utf8(response.whole().to_vec()).unwrap();
    let map = text.lines().find(|line| line.starts_with("#EXT-X-MAP")).unwrap();
    let session = map.split_once("/hdntl=").unwrap().1.split_once("/live/ch1/v/init.mp4").unwrap().0;
    assert_eq!(text, by_path(MEDIA_TEXT, "hdntl", session, Some(("/live/ch1/v/", "/live/ch1/"))));
    // Below the session, what is relative inherits it.
    let below = edge.ask(&get(&format!("/hdntl={session}{MEDIA}"))).await;
    assert_text(&below, &by_path(MEDIA_TEXT, "hdntl", session, None));
}

/// An MPD is given a base below the token, or the token at each URI.
#[tokio::test]
async fn a_manifest_carries_the_token_too() {
    let token = token("one");
    let (origin, edge) = node("query", "", "").await;
    assert_text(
        &edge.ask(&get(&format!("{MANIFEST}?hdnts={token}"))).await,
        &by_query(MANIFEST_TEXT, &token),
    );
    assert_eq!(origin.requests(MANIFEST), 1);
    let (_origin, edge) = node("path", "", "").await;
    let inherited = edge.ask(&get(&format!("/hdnts={token}{MANIFEST}"))).await;
    assert_text(&inherited, &by_path(MANIFEST_TEXT, "hdnts", &token, None));
    let otherwise = edge.ask(&get(&format!("{MANIFEST}?hdnts={token}"))).await;
    assert_text(&otherwise, &by_path(MANIFEST_TEXT, "hdnts", &token, Some(("/live/ch1/", ""))));
}

/// Other hosts get the token where they are listed, and the site's own names always do.
#[tokio::test]
async fn listed_hosts_are_the_sites_own() {
    let (_origin, edge) = node("query", "carry_hosts = [\"Other.example\"]", "").await;
    let token = token("one");
    let response = edge.ask(&get(&format!("{MULTIVARIANT}?hdnts={token}"))).await;
    let expected = by_query(MULTIVARIANT_TEXT, &token).replace("/i.m3u8", &format!("/i.m3u8?hdnts={token}"));
    assert_text(&response, &expected);
    // Asked under another name, that name is the site's, and the one in the text is another host's.
    let response = edge.ask(&Request::get(&format!("{MULTIVARIANT}?hdnts={token}")).host("x.test")).await;
    let expected = expected.replace(&format!("?q=1&hdnts={token}"), "?q=1");
    assert_text(&response, &expected);
}

/// A rule's fields do not make an answer with a token public, and what is no text of a stream is never touched.
#[tokio::test]
async fn no_rule_makes_an_answer_with_a_token_public() {
    let rule =
        "[[site.rule]]\npath = \"/live/*\"\nheaders = { set = { cache-control = \"public, max-age=9\" } }";
    let (origin, edge) = node("query", "", rule).await;
    let token = token("one");
    for _ in 0..2 {
        let response = edge.ask(&get(&format!("{MEDIA}?hdnts={token}"))).await;
        assert_eq!(response.get("cache-control"), Some("private, max-age=9"));
    }
    origin.on("/live/a.json", Answer::ok("a.ts\n").cache_control("max-age=60"));
    assert_text(&edge.ask(&get(&format!("/live/a.json?hdnts={token}"))).await, "a.ts\n");
    origin.on("/live/gone.m3u8", Answer::status(404).body("a.ts\n"));
    let gone = edge.ask(&get(&format!("/live/gone.m3u8?hdnts={token}"))).await;
    assert_eq!((gone.status(), &gone.whole()[..]), (404, &b"a.ts\n"[..]));
    let encoded = Answer::ok("<MPD><Location>a</Location></MPD>").header("content-encoding", "gzip");
    origin.on("/live/encoded.mpd", encoded.cache_control("max-age=60"));
    let response = edge.ask(&get(&format!("/live/encoded.mpd?hdnts={token}"))).await;
    assert_text(&response, "<MPD><Location>a</Location></MPD>");
}

/// Viewers who wait for one fetch get each the own token, and so does one for whom a text that nobody may keep is fetched.
#[tokio::test]
async fn viewers_who_wait_for_one_fetch_get_the_own_token_each() {
    for control in ["max-age=60", "no-store"] {
        for length in [true, false] {
            let (origin, edge) = node("query", "", "").await;
            let gate = Gate::closed();
            let text = answer(MEDIA_TEXT).cache_control(control).gate_at(100, &gate);
            origin.on(MEDIA, if length { text } else { text.chunked() });
            let asked = ["one", "two", "three"].map(|viewer| {
                let token = token(viewer);
                let request = get(&format!("{MEDIA}?hdnts={token}"));
                let edge = &edge;
                async move { (edge.ask(&request).await, token) }
            });
            let opened = async {
                origin.await_requests(MEDIA, 1).await;
                gate.open();
            };
            let [one, two, three] = asked;
            let (one, two, three, ()) = tokio::join!(one, two, three, opened);
            for (response, token) in [one, two, three] {
                assert_text(&response, &by_query(MEDIA_TEXT, &token));
                let control = response.get("cache-control").unwrap();
                assert!(control.starts_with("private") && !control.contains("public"), "{control}");
            }
            if control != "no-store" {
                assert_eq!(origin.requests(MEDIA), 1);
            }
        }
    }
}

/// A text that nobody may keep has the same header for HEAD, and over HTTP/2; one that is too long goes as it is.
#[tokio::test]
async fn a_text_that_nobody_may_keep_is_a_text_like_others() {
    let (origin, edge) = node("query", "", "").await;
    origin.on(MEDIA, answer(MEDIA_TEXT).cache_control("no-store"));
    let target = format!("{MEDIA}?hdnts={}", token("one"));
    let whole = edge.ask(&get(&target).header("accept-encoding", "gzip")).await;
    assert_text(&whole, &by_query(MEDIA_TEXT, &token("one")));
    assert_eq!(whole.get("content-encoding"), None);
    assert!(!whole.get("cache-status").unwrap().contains("stored"), "{:?}", whole.head);
    let head = edge.ask(&Request::head(&target).host(HOST)).await;
    for name in ["content-length", "etag", "cache-control"] {
        assert_eq!(head.get(name), whole.get(name), "{name}");
    }
    let tag = whole.get("etag").unwrap();
    assert_eq!(edge.ask(&get(&target).header("if-none-match", tag)).await.status(), 304);
    let (address, roots) = edge.https();
    let stream = crate::support::client::tls(address, roots, &["h2"]).await.unwrap();
    let client = crate::support::client::Http2::over_tls(stream).await;
    let second = client.ask(&get(&target)).await;
    assert_eq!((second.status(), second.whole()), (200, whole.whole()));
    let long = format!("{}#{}", plain(MEDIA_TEXT), "x".repeat(5 << 20));
    origin.on(LONG, Answer::ok(long.clone()).cache_control("no-store"));
    assert_text(&edge.ask(&get(&format!("{LONG}?hdnts={}", token("one")))).await, &long);
}

/// A token of several parameters stands before a path as it was sent.
#[tokio::test]
async fn parameters_in_the_path_stay_as_they_were_sent() {
    use forebay::admission::token::bunny::{Claims, sign};
    use forebay::config::model::TokenPlace;
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    origin.on(MEDIA, answer(MEDIA_TEXT));
    let policy = "[token.viewer]\nformat = \"bunny\"\nplaces = [\"path\", \"query\"]\ncarry = \"query\"\n\
                  keys = [{ id = \"k\", secret_file = \"DIR/k.key\" }]";
    let setup = Setup::before(&origin).site("token = \"viewer\"").more(policy).file("k.key", "secret");
    let edge = setup.start().await;
    let (path, expires) = (MEDIA.to_owned(), now() + 3600);
    let claims = Claims { path, expires, token_path: Some("/".to_owned()), ..Claims::default() };
    let segment = sign(&claims, b"secret", TokenPlace::Path);
    let token = segment.strip_prefix("/bcdn_token=").expect("a segment");
    assert!(token.contains("&token_path=%2F"), "{token}");
    let response = edge.ask(&get(&format!("/bcdn_token={token}{MEDIA}"))).await;
    assert_text(&response, &by_path(MEDIA_TEXT, "bcdn_token", token, None));
    let key = edge.ask(&get(&format!("/bcdn_token={token}/keys/1.key"))).await;
    assert_eq!(key.status(), 200);
}
