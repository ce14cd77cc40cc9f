//! Changes that a rule makes to playlists before they are kept: the origin's session ids out and each viewer's own in,
//! variants by claim, other hosts. One copy is fetched and kept, and what is not changed stays byte for byte.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use forebay::clock::Clock;

use crate::support::client::{Http1, Request, Response};
use crate::support::edge::{Edge, Setup};
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin, Recorded};
use crate::support::signing::{KEY_HEX, now, sign};
use crate::support::wait::{Gate, within};

const HOST: &str = "edge.test";
const MULTIVARIANT: &str = "/live/master.m3u8";
const MEDIA: &str = "/live/v/index.m3u8";
const MANIFEST: &str = "/live/manifest.mpd";

/// Playlists with every sort of URI, lines of no use to anybody between; `{S}` stands where the session's parameter is the
/// first one, `{&S}` where another stands before it, `{A}` and `{S&}` where another stands behind it.
const MULTIVARIANT_TEXT: &str = "#EXTM3U\r\n#EXT-X-VERSION:9\r\n\r\n# sid=of-a-comment\r\n\
    #EXT-X-SESSION-DATA:DATA-ID=\"a,b\",URI=\"data.json{S}\"\r\n\
    #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"sid=1\",URI=\"a/index.m3u8?lang=de{&S}\"\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=1000,AUDIO=\"a\"\r\nv/index.m3u8{S}\r\n\
    #EXT-X-STREAM-INF:BANDWIDTH=2000\r\nhttps://edge.test/live/hi/index.m3u8?q=1{&S}\r\n\
    #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=10,URI=\"/live/i.m3u8{S}\"\r\n";

const MEDIA_TEXT: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:600\n#EXT-X-MAP:URI=\"init.mp4{S}\",BYTERANGE=\"100@0\"\n\
    #EXT-X-KEY:METHOD=AES-128,URI=\"/keys/1.key{S}\",IV=0x1\n# a comment\n#EXTINF:2.0,title, with comma\n1.m4s{S}\n\
    #EXTINF:2.0,\n2.m4s{S}\n#EXT-X-PART:DURATION=1.0,URI=\"3.part1.m4s{S}\"\n\
    #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"3.part2.m4s{S}\"\n\
    #EXT-X-RENDITION-REPORT:URI=\"../a/index.m3u8{S}\",LAST-MSN=3\n";

const MANIFEST_TEXT: &str = "<?xml version=\"1.0\"?>\n<MPD type=\"dynamic\"><Location>manifest.mpd{S}</Location><Period>\n\
    <AdaptationSet><SegmentTemplate media=\"$Number$.m4s?x=1{&S}\" initialization='init.mp4{S}'/></AdaptationSet>\n\
    </Period></MPD>\n";

/// The text for a session; "": for nobody's.
fn of(text: &str, session: &str) -> String {
    let (first, further) = match session {
        "" => (String::new(), String::new()),
        session => (format!("?{session}"), format!("&{session}")),
    };
    let further = if text.starts_with("<?xml") { further.replace('&', "&amp;") } else { further };
    text.replace("{S}", &first).replace("{&S}", &further)
}

/// An origin that mints a session for each fetch.
async fn minting() -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|request, nth| {
        Answer::ok(format!("media of {} {nth}", request.target)).cache_control("max-age=60")
    });
    for (path, text) in [(MULTIVARIANT, MULTIVARIANT_TEXT), (MEDIA, MEDIA_TEXT), (MANIFEST, MANIFEST_TEXT)] {
        origin.script(path, move |_: &Recorded, nth| {
            let answer = Answer::ok(of(text, &format!("sid=minted-{nth}")));
            answer.etag("\"v1\"").cache_control("public, max-age=60").header("repr-digest", "sha-256=:AA==:")
        });
    }
    origin
}

const DROP: &str =
    "[[site.rule]]\npath = \"/live/*\"\nplaylist = { drop_parameters = [\"sid\", \"session\"] }\n";

fn get(target: &str) -> Request {
    Request::get(target).host(HOST)
}

#[track_caller]
fn text_of(response: &Response) -> String {
    assert_eq!(response.status(), 200, "{:?}", response.head);
    let whole = response.whole();
    assert_eq!(response.get("content-length"), Some(whole.len().to_string().as_str()), "{:?}", response.head);
    String::from_utf8(whole.to_vec()).unwrap()
}

async fn node(origin: &Origin, rules: &str) -> Edge {
    Setup::before(origin).hosts(&format!("[\"{HOST}\"]")).more(rules).start().await
}

/// A hundred viewers with ids of their own cost one fetch of each asset; each finds his own id everywhere, and nobody else's
/// or the origin's; one without an id finds none.
#[tokio::test]
async fn every_viewer_finds_the_own_session_everywhere_and_nobody_elses() {
    let origin = minting().await;
    let setup = Setup::before(&origin).hosts(&format!("[\"{HOST}\"]")).more(DROP);
    // What is kept stays fresh, however long the viewers take.
    let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let node = LocalNode::start_at(&setup, clock);
    let mut edge = Http1::connect(node.http()).await;
    for (path, text) in [(MULTIVARIANT, MULTIVARIANT_TEXT), (MEDIA, MEDIA_TEXT), (MANIFEST, MANIFEST_TEXT)] {
        for viewer in 0..100 {
            let session = format!("sid=viewer-{viewer}");
            let response = edge.ask(&get(&format!("{path}?{session}"))).await;
            assert_eq!(text_of(&response), of(text, &session), "{path}");
            let control = response.get("cache-control").unwrap();
            assert!(control.starts_with("private") && !control.contains("public"), "{control}");
            assert_eq!(response.get("repr-digest"), None);
        }
        let plain = edge.ask(&get(path)).await;
        assert_eq!(text_of(&plain), of(text, ""), "{path}");
        assert!(plain.get("cache-control").unwrap().contains("public"), "{:?}", plain.head);
        assert_eq!(origin.requests(path), 1, "{path}");
        assert_eq!(origin.last(path).target, path, "the origin is sent no viewer's id");
    }
    for viewer in 0..100 {
        let response = edge.ask(&get(&format!("/live/v/1.m4s?sid=viewer-{viewer}&session=x"))).await;
        assert_eq!(response.whole().as_ref(), b"media of /live/v/1.m4s 0");
    }
    assert_eq!(origin.requests("/live/v/1.m4s"), 1);
    // Elsewhere the parameter is one like others.
    edge.ask(&get("/vod/1.m4s?sid=1")).await;
    assert_eq!(origin.last("/vod/1.m4s").target, "/vod/1.m4s?sid=1");
}

/// Each has what his request has: several parameters in the order of the rule, spelled as they came; one that is too long or
/// without a value is left out, and a byte that would end a URI is encoded.
#[tokio::test]
async fn what_a_viewer_gives_comes_back_as_it_came_and_does_no_harm() {
    let origin = minting().await;
    let edge = node(&origin, DROP).await;
    let longest = "x".repeat(512);
    for (query, given) in [
        ("session=b&x_&sid=a", "sid=a&session=b"),
        ("sid=a%2Fb%20c+d", "sid=a%2Fb%20c+d"),
        ("sid=1&sid=2", "sid=1"),
        ("sid=", "sid="),
        ("sid", ""),
        ("s%69d=1", "sid=1"),
        ("sid='onload$Number$(x)", "sid=%27onload%24Number%24(x)"),
        ("sid=%22%0a", ""),
        (&format!("sid={longest}"), &format!("sid={longest}")),
        (&format!("sid={longest}x"), ""),
    ] {
        let response = edge.ask(&get(&format!("/live/v/index.m3u8?{}", query.replace("&x_", "")))).await;
        if query.contains("%0a") {
            assert_eq!(response.status(), 400, "{query}");
        } else {
            assert_eq!(text_of(&response), of(MEDIA_TEXT, given), "{query}");
        }
    }
    assert_eq!(origin.requests(MEDIA), 1);
}

/// A header that is kept leads nobody to a place with the id of the fetch.
#[tokio::test]
async fn headers_lead_nowhere_with_an_id() {
    let origin = Origin::start().await;
    let moved = Answer::status(302).header("location", "https://b.example/a.m3u8?x=1&s%69d=minted#f");
    origin.on("/live/moved.m3u8", moved.cache_control("max-age=60"));
    let located = Answer::ok("#EXTM3U\n#EXT-X-TARGETDURATION:600\n1.ts\n")
        .header("content-location", "/live/a.m3u8?sid=minted");
    origin.on("/live/located.m3u8", located.cache_control("max-age=60"));
    let segment =
        Answer::status(307).header("location", "/live/1.m4s?sid=minted").cache_control("max-age=60");
    origin.on("/live/0.m4s", segment);
    origin.on(
        "/vod/0.m4s",
        Answer::status(307).header("location", "/vod/1.m4s?sid=1").cache_control("max-age=60"),
    );
    let edge = node(&origin, DROP).await;
    for (path, name, expected) in [
        ("/live/moved.m3u8", "location", "https://b.example/a.m3u8?x=1#f"),
        ("/live/located.m3u8", "content-location", "/live/a.m3u8"),
        ("/live/0.m4s", "location", "/live/1.m4s"),
        ("/vod/0.m4s", "location", "/vod/1.m4s?sid=1"),
    ] {
        for _ in 0..2 {
            assert_eq!(edge.ask(&get(path)).await.get(name), Some(expected), "{path}");
        }
    }
}

/// A name that may be spelled in several ways is one parameter in all of them: out of keys, URIs, fetches and the log.
#[tokio::test]
async fn a_parameter_is_known_in_every_spelling() {
    let origin = Origin::start().await;
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:600\n1.ts?a=1{A}\n";
    origin.script(MEDIA, move |_, nth| {
        let spelling = ["sid[]", "sid%5B%5D", "s%69d%5b]"][nth % 3];
        Answer::ok(text.replace("{A}", &format!("&{spelling}=minted"))).cache_control("max-age=60")
    });
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    for name in ["sid[]", "sid%5B%5D"] {
        let rule =
            format!("[[site.rule]]\npath = \"/live/*\"\nplaylist = {{ drop_parameters = [\"{name}\"] }}\n");
        let edge = Setup::before(&origin).more(&rule).start().await;
        let before = (origin.requests(MEDIA), origin.requests("/live/v/1.ts"));
        let spellings = ["sid[]=me", "sid%5B%5D=me", "s%69d%5b]=me"];
        for spelling in spellings {
            let response = edge.get(&format!("{MEDIA}?{spelling}")).await;
            let given = response.whole().to_vec();
            assert_eq!(String::from_utf8(given).unwrap(), text.replace("{A}", "&sid%5B%5D=me"), "{spelling}");
            edge.get(&format!("/live/v/1.ts?b=2&{spelling}&CMCD=nor%3D%22x%3Fsid%255B%255D%3Dme%22")).await;
        }
        let asked = (origin.requests(MEDIA) - before.0, origin.requests("/live/v/1.ts") - before.1);
        assert_eq!(asked, (1, 1), "{name}");
        assert_eq!(origin.last("/live/v/1.ts").target, "/live/v/1.ts?b=2");
        let lines = edge.await_access_lines(6).await;
        assert!(lines.iter().all(|line| !line.to_string().contains("=me")), "{lines:?}");
        assert!(lines.iter().all(|line| !line.to_string().contains("Dme")), "{lines:?}");
        assert!(lines.iter().any(|line| line["query"] == "b=2"), "{lines:?}");
    }
}

/// A viewer's answer is a representation of its own, and is told from the others'.
#[tokio::test]
async fn each_session_has_a_tag_of_its_own() {
    let origin = minting().await;
    let edge = node(&origin, DROP).await;
    let mut tags = Vec::new();
    for query in ["", "?sid=1", "?sid=2", "?session=1", "?sid=1&session=1"] {
        let target = format!("{MEDIA}{query}");
        let tag = edge.ask(&get(&target)).await.get("etag").unwrap().to_owned();
        assert!(tag.starts_with("\"v1-fb") && !tags.contains(&tag), "{tag}");
        let again = edge.ask(&get(&target).header("if-none-match", &tag)).await;
        assert_eq!((again.status(), again.get("etag")), (304, Some(tag.as_str())));
        for other in &tags {
            assert_eq!(edge.ask(&get(&target).header("if-none-match", other)).await.status(), 200);
        }
        tags.push(tag);
    }
}

/// The origin is asked by its own tag whether what is kept still holds; its 304 keeps the changed text.
#[tokio::test]
async fn the_origin_sees_its_own_tag_and_its_304_keeps_the_changed_text() {
    let origin = Origin::start().await;
    origin.script(MEDIA, |request, nth| {
        let answer = match request.header("if-none-match") {
            Some("\"v1\"") => Answer::status(304),
            _ => Answer::ok(of(MEDIA_TEXT, &format!("sid=minted-{nth}"))),
        };
        answer
            .header("etag", "\"v1\"")
            .header("cache-control", "max-age=0")
            .header("repr-digest", "sha-256=:BB==:")
    });
    let edge = node(&origin, DROP).await;
    let mut tags = Vec::new();
    for nth in 0..3 {
        let plain = edge.ask(&get(MEDIA)).await;
        assert_eq!(text_of(&plain), of(MEDIA_TEXT, ""), "{nth}");
        assert_eq!((plain.get("repr-digest"), plain.get("last-modified")), (None, None));
        tags.push(plain.get("etag").unwrap().to_owned());
        let own = edge.ask(&get(&format!("{MEDIA}?sid=me"))).await;
        assert_eq!(text_of(&own), of(MEDIA_TEXT, "sid=me"), "{nth}");
    }
    tags.dedup();
    assert_eq!(tags.len(), 1, "{tags:?}");
    // What is stale may be sent while it is confirmed.
    origin.await_requests(MEDIA, 2).await;
    let asked = origin.recorded();
    let named: Vec<_> = asked.iter().map(|request| request.header("if-none-match")).collect();
    assert_eq!(named[0], None);
    assert!(named[1..].iter().all(|named| *named == Some("\"v1\"")), "{named:?}");
}

/// A text that was kept under other rules is not confirmed: it is had anew, also from a disk.
#[tokio::test]
async fn a_changed_rule_has_the_text_anew() {
    let disk = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:9\nhttps://a.example/1.ts\n#EXT-X-ENDLIST\n";
    origin.on(MEDIA, Answer::ok(text).etag("\"v1\"").cache_control("max-age=3600"));
    let with = |to: &str| {
        let rules = format!(
            "[[site.rule]]\npath = \"/live/*\"\ndisk = \"always\"\nobey_client = true\n\
             playlist = {{ hosts = {{ \"a.example\" = \"{to}\" }} }}\n"
        );
        let disk = format!("disk = [{{ path = \"{}\", size = \"64MiB\" }}]", disk.path().display());
        Setup::before(&origin).store(&disk).more(&rules)
    };
    let validated = get(MEDIA).header("cache-control", "no-cache");
    let edge = with("b.example").start().await;
    edge.await_recovered().await;
    assert!(text_of(&edge.ask(&get(MEDIA)).await).contains("https://b.example/1.ts"));
    // The same rule: the origin confirms it.
    assert!(text_of(&edge.ask(&validated).await).contains("https://b.example/1.ts"));
    assert_eq!(origin.last(MEDIA).header("if-none-match"), Some("\"v1\""));
    edge.stop().await;
    let edge = with("c.example").start().await;
    edge.await_recovered().await;
    assert!(text_of(&edge.ask(&get(MEDIA)).await).contains("https://b.example/1.ts"), "it was on the disk");
    assert!(text_of(&edge.ask(&validated).await).contains("https://c.example/1.ts"));
    assert_eq!(origin.last(MEDIA).header("if-none-match"), None);
    assert_eq!(origin.requests(MEDIA), 3);
}

/// Tokens and sessions are carried side by side, in every mode.
#[tokio::test]
async fn sessions_go_with_tokens_in_every_mode() {
    let token = sign(KEY_HEX, &format!("exp={}~acl=/*", now() + 3600));
    for carry in ["query", "path", "cookie", "none"] {
        let origin = minting().await;
        let policy = format!(
            "[token.viewer]\nformat = \"edgeauth\"\ncarry = \"{carry}\"\n{}keys = [{{ id = \"k\", secret_file = \"DIR/k.key\" }}]\n",
            if carry == "cookie" {
                "session = { keys = [{ id = \"s\", secret_file = \"DIR/k.key\" }] }\n"
            } else {
                ""
            }
        );
        let edge = Setup::before(&origin)
            .hosts(&format!("[\"{HOST}\"]"))
            .site("token = \"viewer\"")
            .more(&format!("{DROP}\n{policy}"))
            .file("k.key", KEY_HEX)
            .start()
            .await;
        for viewer in ["a", "b"] {
            let session = format!("sid={viewer}");
            let target = match carry {
                "path" => format!("/hdnts={token}{MEDIA}?{session}"),
                _ => format!("{MEDIA}?{session}&hdnts={token}"),
            };
            let response = edge.ask(&get(&target)).await;
            let expected = match carry {
                "query" => of(MEDIA_TEXT, &format!("hdnts={token}&{session}")),
                // What is relative has the token of the path.
                "path" => of(MEDIA_TEXT, &session).replace("\"/keys", &format!("\"/hdnts={token}/keys")),
                _ => of(MEDIA_TEXT, &session),
            };
            assert_eq!(text_of(&response), expected, "{carry}");
            assert_eq!(response.get("set-cookie").is_some(), carry == "cookie");
            assert!(response.get("cache-control").unwrap().starts_with("private"));
        }
        // Asked for otherwise, both have to be written.
        if carry == "path" {
            let response = edge.ask(&get(&format!("{MULTIVARIANT}?hdnts={token}&sid=c"))).await;
            let mut expected = of(MULTIVARIANT_TEXT, "sid=c");
            for (uri, path) in [
                ("\"data.json", "\"/live/data.json"),
                ("\"a/index", "\"/live/a/index"),
                ("\r\nv/index", "\r\n/live/v/index"),
                ("https://edge.test/", "https://edge.test/"),
                ("\"/live/i.m", "\"/live/i.m"),
            ] {
                let at = path.find("/live").unwrap_or(path.len() - 1);
                let with_token = format!("{}/hdnts={token}{}", &path[..at], &path[at..]);
                expected = expected.replace(uri, &with_token);
            }
            assert_eq!(text_of(&response), expected);
        }
        assert_eq!(origin.requests(MEDIA), 1, "{carry}");
        let told: String = origin.recorded().iter().map(Recorded::text).collect();
        assert!(!told.contains("sid=") && !told.contains("hmac"), "{told}");
    }
}

/// A purge by URL removes what is kept, with the parameter and without; so does one by prefix.
#[tokio::test]
async fn a_purge_finds_it_with_and_without_the_parameter() {
    let origin = minting().await;
    let edge = Setup::before(&origin)
        .hosts(&format!("[\"{HOST}\"]"))
        .more(&format!("[purge]\nmethod_from = [\"127.0.0.1/32\"]\n{DROP}"))
        .start()
        .await;
    for (nth, purged) in
        [MEDIA.to_owned(), format!("{MEDIA}?sid=of-nobody"), format!("{MEDIA}?session=1&sid=2")]
            .iter()
            .enumerate()
    {
        assert_eq!(text_of(&edge.ask(&get(&format!("{MEDIA}?sid=a"))).await), of(MEDIA_TEXT, "sid=a"));
        assert_eq!(origin.requests(MEDIA), nth + 1);
        let answer = edge.ask(&Request::new("PURGE", purged).host(HOST)).await;
        assert_eq!(answer.status(), 200, "{:?}", answer.head);
    }
    assert_eq!(text_of(&edge.ask(&get(MEDIA)).await), of(MEDIA_TEXT, ""));
    assert_eq!(origin.requests(MEDIA), 4);
}

/// The shared copy is compressed and sent in ranges as any other text, in its changed form.
#[tokio::test]
async fn the_shared_copy_is_compressed_and_sent_in_ranges() {
    let origin = minting().await;
    let edge = node(&origin, DROP).await;
    let plain = of(MEDIA_TEXT, "");
    edge.ask(&get(MEDIA)).await;
    let part = edge.ask(&get(MEDIA).range("bytes=100-149")).await;
    assert_eq!(part.status(), 206);
    assert_eq!(part.get("content-range"), Some(format!("bytes 100-149/{}", plain.len()).as_str()));
    assert_eq!(part.whole().as_ref(), &plain.as_bytes()[100..150]);
    let encoded = within("an encoded answer", async {
        loop {
            let response = edge.ask(&get(MEDIA).header("accept-encoding", "gzip")).await;
            if response.get("content-encoding") == Some("gzip") {
                return response;
            }
        }
    });
    let mut text = String::new();
    let encoded = encoded.await;
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(encoded.whole().as_ref()), &mut text)
        .unwrap();
    assert_eq!(text, plain);
    assert_eq!(origin.requests(MEDIA), 1);
}

/// A manifest is read whole, also when only a part of it is asked for first.
#[tokio::test]
async fn a_range_of_a_cold_manifest_is_of_the_changed_text() {
    let origin = Origin::start().await;
    let text = of(MANIFEST_TEXT, "sid=minted");
    origin.on(MANIFEST, Answer::ok(text).etag("\"v1\"").cache_control("max-age=60").ranges());
    let edge = node(&origin, DROP).await;
    let plain = of(MANIFEST_TEXT, "");
    let part = edge.ask(&get(MANIFEST).range("bytes=50-149")).await;
    assert_eq!(part.status(), 206);
    assert_eq!(part.whole().as_ref(), &plain.as_bytes()[50..150]);
    assert_eq!(text_of(&edge.ask(&get(&format!("{MANIFEST}?sid=me"))).await), of(MANIFEST_TEXT, "sid=me"));
    assert_eq!(origin.requests(MANIFEST), 1);
}

/// What may not be kept is changed all the same, since those who come together share it.
#[tokio::test]
async fn what_is_not_kept_is_changed_too() {
    let origin = Origin::start().await;
    let held = Gate::closed();
    let gate = held.clone();
    origin.script(MEDIA, move |_, nth| {
        let answer = Answer::ok(of(MEDIA_TEXT, &format!("sid=minted-{nth}")));
        answer.cache_control("no-store").etag("\"v1\"").hold(&gate)
    });
    let edge = node(&origin, DROP).await;
    let targets = [format!("{MEDIA}?sid=a"), format!("{MEDIA}?sid=b"), MEDIA.to_owned()];
    let requests = targets.each_ref().map(|target| get(target));
    let [a, b, none] = &requests;
    let open = async {
        origin.await_requests(MEDIA, 1).await;
        held.open();
    };
    let (a, b, none, ()) = tokio::join!(edge.ask(a), edge.ask(b), edge.ask(none), open);
    for (response, session) in [(a, "sid=a"), (b, "sid=b"), (none, "")] {
        assert_eq!(String::from_utf8_lossy(response.whole()), of(MEDIA_TEXT, session));
    }
}

/// What cannot be read cannot be made anybody's: it is not sent.
#[tokio::test]
async fn a_text_that_cannot_be_changed_is_not_sent() {
    let origin = Origin::start().await;
    origin.on(MEDIA, Answer::ok("1.ts?sid=minted\n"));
    origin.on(MANIFEST, Answer::ok("<MPD><Location>a?sid=minted</Locat"));
    let long: String = (0..100_000).fold("#EXTM3U\n".to_owned(), |mut text, n| {
        writeln!(text, "{n}.ts?sid=minted").unwrap();
        text
    });
    origin.on(MULTIVARIANT, Answer::ok(long));
    let edge = Setup::before(&origin).limits("playlist = \"1MiB\"").more(DROP).start().await;
    for path in [MEDIA, MANIFEST, MULTIVARIANT] {
        let response = edge.get(path).await;
        assert_eq!(response.status(), 502, "{path}");
        assert!(!String::from_utf8_lossy(response.whole()).contains("minted"));
    }
    // Players take any status of success for one, and others could get it.
    for status in [203, 206] {
        let path = format!("/live/{status}.m3u8");
        let answer = Answer::status(status).body("#EXTM3U\n#EXT-X-TARGETDURATION:600\n1.ts?sid=minted\n");
        origin.on(&path, answer.cache_control("max-age=60"));
        let response = edge.get(&path).await;
        assert_eq!(response.status(), 502, "{status}");
    }
    // Errors hold no URIs that players go by.
    origin.on("/live/none.m3u8", Answer::status(404).body("none"));
    assert_eq!(edge.get("/live/none.m3u8").await.status(), 404);
}

const LADDER: &str = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"hi\",NAME=\"a\",URI=\"a-hi.m3u8\"\n\
    #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"lo\",NAME=\"a\",URI=\"a-lo.m3u8\"\n\
    #EXT-X-STREAM-INF:BANDWIDTH=1000,RESOLUTION=640x360,AUDIO=\"lo\"\n360.m3u8\n\
    #EXT-X-STREAM-INF:BANDWIDTH=2000,RESOLUTION=854x480,AUDIO=\"lo\"\n480.m3u8\n\
    #EXT-X-STREAM-INF:BANDWIDTH=5000,RESOLUTION=1920x1080,AUDIO=\"hi\"\n1080.m3u8\n";

/// Whoever's claim is listed gets the variants of that value, all others those of the rule; each value has one copy.
#[tokio::test]
async fn variants_are_those_of_the_claim() {
    let origin = Origin::start().await;
    origin.on(MULTIVARIANT, Answer::ok(LADDER).cache_control("max-age=60"));
    let rules = "[[site.rule]]\npath = \"*/master.m3u8\"\nkind = \"multivariant_playlist\"\n\
        playlist = { variants = { height_max = 480, order = \"-height\", by_claim = { claim = \"data\", values = { \
        basic = { height_max = 360 }, premium = {} } } } }\n\
        [token.viewer]\nformat = \"edgeauth\"\ncarry = \"none\"\nkeys = [{ id = \"k\", secret_file = \"DIR/k.key\" }]\n";
    let edge =
        Setup::before(&origin).site("token = \"viewer\"").more(rules).file("k.key", KEY_HEX).start().await;
    let variants = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    for _ in 0..2 {
        for (data, expected, audio) in [
            ("~data=basic", &["360.m3u8"][..], "lo"),
            ("~data=premium", &["1080.m3u8", "480.m3u8", "360.m3u8"], "hi"),
            ("~data=other", &["480.m3u8", "360.m3u8"], "lo"),
            ("~data=another", &["480.m3u8", "360.m3u8"], "lo"),
            ("", &["480.m3u8", "360.m3u8"], "lo"),
        ] {
            let token = sign(KEY_HEX, &format!("exp={}~acl=/*{data}", now() + 3600));
            let text = text_of(&edge.get(&format!("{MULTIVARIANT}?hdnts={token}")).await);
            assert_eq!(variants(&text), expected, "{data}");
            assert!(text.contains(&format!("GROUP-ID=\"{audio}\"")), "{text}");
            assert_eq!(text.contains("GROUP-ID=\"hi\""), audio == "hi", "{text}");
        }
    }
    assert_eq!(
        origin.requests(MULTIVARIANT),
        3,
        "one copy for each value that is listed, and one for all others"
    );
    assert!(origin.recorded().iter().all(|request| !request.text().contains("basic")));
}

/// Bounds that no variant is within filter nothing, which is counted.
#[tokio::test]
async fn a_filter_that_would_leave_nothing_leaves_all() {
    let origin = Origin::start().await;
    origin.on(MULTIVARIANT, Answer::ok(LADDER).cache_control("max-age=60"));
    let edge = node(&origin, "[[site.rule]]\nplaylist = { variants = { height_max = 100 } }\n").await;
    assert_eq!(text_of(&edge.ask(&get(MULTIVARIANT)).await), LADDER);
    let metrics = edge.metrics().await;
    assert!((metrics.sum("forebay_playlist_variants_unfiltered_total", &[]) - 1.0).abs() < 0.1);
}

/// Hosts of the origin become others, or none, and what names other hosts stays.
#[tokio::test]
async fn hosts_are_changed() {
    let origin = Origin::start().await;
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:600\n#EXT-X-MAP:URI=\"https://origin.example/i.mp4\"\n\
        https://origin.example:443/1.ts\n//origin.example/2.ts\nhttps://origin.example:8443/3.ts\nhttps://a.origin.example/4.ts\n5.ts\n\
        http://other.example:8443/6.ts?u=https://origin.example/\n";
    origin.on(MEDIA, Answer::ok(text).cache_control("max-age=60"));
    let rules = "[[site.rule]]\nplaylist = { hosts = { \"origin.example\" = \"cdn.example\", \"other.example:8443\" = \"\" } }\n";
    let edge = node(&origin, rules).await;
    let expected = "#EXTM3U\n#EXT-X-TARGETDURATION:600\n#EXT-X-MAP:URI=\"https://cdn.example/i.mp4\"\n\
        https://cdn.example/1.ts\n//cdn.example/2.ts\nhttps://origin.example:8443/3.ts\nhttps://a.origin.example/4.ts\n5.ts\n\
        /6.ts?u=https://origin.example/\n";
    assert_eq!(text_of(&edge.ask(&get(MEDIA)).await), expected);
}
