//! One line of JSON per request, with the documented fields, and nothing in it that is nobody's business.

use serde_json::{Value, json};

use crate::support::client::{self, Http1, Http2, Request};
use crate::support::content::content;
use crate::support::edge::Setup;
use crate::support::origin::{Answer, Origin};
use crate::support::signing::KEY_HEX;

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_else(|| panic!("no text {field:?} in {line}"))
}

fn number(line: &Value, field: &str) -> f64 {
    line[field].as_f64().unwrap_or_else(|| panic!("no number {field:?} in {line}"))
}

/// Every request has one line that says what was asked and what became of it.
#[tokio::test]
async fn every_request_has_one_line() {
    let origin = Origin::start().await;
    origin.on("/a.m4s", Answer::ok(content(1, 1000)).cache_control("max-age=60"));
    let edge = Setup::before(&origin).server("h2c = true").start().await;
    let requests = [
        Request::get("/a.m4s?q=1"),
        Request::get("/a.m4s?q=1").header("user-agent", "player \"1\""),
        Request::get("/a.m4s?q=1").range("bytes=0-9"),
        Request::new("DELETE", "/a.m4s"),
        Request::get("/none.bin"),
    ];
    // One line is awaited before the next request, so that lines stand in the order of the requests.
    for (number, request) in requests.iter().enumerate() {
        edge.ask(request).await;
        edge.await_access_lines(number + 1).await;
    }
    Http2::connect(edge.http()).await.get("/a.m4s?q=1").await;
    let lines = edge.await_access_lines(6).await;
    let said: Vec<(&str, &str, f64, f64)> = lines
        .iter()
        .map(|line| {
            (text(line, "method"), text(line, "outcome"), number(line, "status"), number(line, "bytes"))
        })
        .collect();
    assert_eq!(
        said,
        [
            ("GET", "miss", 200.0, 1000.0),
            ("GET", "hit", 200.0, 1000.0),
            ("GET", "hit", 206.0, 10.0),
            ("DELETE", "denied", 405.0, said[3].3),
            ("GET", "miss", 404.0, said[4].3),
            ("GET", "hit", 200.0, 1000.0),
        ]
    );
    for line in &lines {
        assert_eq!(text(line, "site"), "*");
        assert_eq!(text(line, "host"), "edge.test");
        assert_eq!(text(line, "client_ip"), "127.0.0.1");
        assert!(text(line, "ts").ends_with('Z'), "{line}");
        assert_eq!((&line["tls"], &line["aborted"]), (&Value::Bool(false), &Value::Bool(false)), "{line}");
        assert!(number(line, "total_ms") >= 0.0 && number(line, "ttfb_ms") >= 0.0, "{line}");
    }
    assert_eq!((text(&lines[0], "path"), text(&lines[0], "query")), ("/a.m4s", "q=1"));
    assert_eq!(text(&lines[0], "kind"), "segment");
    assert_eq!(text(&lines[1], "user_agent"), "player \"1\"");
    assert_eq!(text(&lines[2], "range"), "bytes=0-9");
    assert_eq!((text(&lines[0], "proto"), text(&lines[5], "proto")), ("h1", "h2"));
    assert_eq!(edge.access_lines().len(), 6);
}

/// What a player says of itself is told alike of either version of CMCD, in the query or in header fields; what it says that it
/// will ask for next is told where nobody has a token alone.
#[tokio::test]
async fn what_players_say_is_told_of_either_version() {
    let first = [
        ("Request", "bl=2100,mtp=15000,nor=\"2.m4s\",su"),
        ("Object", "br=3000,ot=v"),
        ("Session", "sid=\"s\""),
    ];
    let second = [
        ("Request", "bl=(2100;v 1800;a),mtp=(15000),nor=(\"2.m4s\" \"3.m4s\";r=\"0-9\"),su"),
        ("Object", "br=(128;a 3000;v),ot=v"),
        ("Status", "bs=?0"),
        ("Session", "sid=\"s\",v=2"),
    ];
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media"));
    let policy =
        "[token.viewer]\nformat = \"edgeauth\"\nkeys = [{ id = \"k\", secret_file = \"DIR/k.key\" }]\n";
    let open = Setup::before(&origin).start().await;
    let closed =
        Setup::before(&origin).site("token = \"viewer\"").more(policy).file("k.key", KEY_HEX).start().await;
    for (edge, is_open) in [(&open, true), (&closed, false)] {
        let mut expected_lines = 0;
        for (fields, version) in [(&first[..], 1), (&second[..], 2)] {
            let all = fields.iter().map(|(_, said)| *said).collect::<Vec<_>>().join(",");
            let in_query = percent_encoding::utf8_percent_encode(&all, percent_encoding::NON_ALPHANUMERIC);
            let in_query = Request::get(&format!("/1.m4s?CMCD={in_query}"));
            let in_fields = fields.iter().fold(Request::get("/1.m4s"), |request, (name, said)| {
                request.header(&format!("CMCD-{name}"), said)
            });
            let mut expected =
                json!({ "sid": "s", "ot": "v", "br": 3000, "bl": 2100, "mtp": 15000, "su": true });
            if is_open {
                expected["nor"] = "2.m4s".into();
            }
            if version == 2 {
                expected["br_by"] = json!({ "a": 128, "v": 3000 });
                expected["bl_by"] = json!({ "a": 1800, "v": 2100 });
                expected["bs"] = false.into();
                expected["v"] = 2.into();
            }
            for request in [in_query, in_fields] {
                edge.ask(&request).await;
                expected_lines += 1;
                let lines = edge.await_access_lines(expected_lines).await;
                assert_eq!(lines[expected_lines - 1]["cmcd"], expected, "version {version}, {request:?}");
            }
        }
    }
}

/// What a client writes cannot forge a line: tabs and quotes stay inside their field.
#[tokio::test]
async fn a_client_cannot_forge_a_line() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here"));
    let edge = Setup::before(&origin).start().await;
    let forged = "x\",\"outcome\":\"forged\",\"y\":\"\t";
    edge.ask(&Request::get("/%0a%22forged%22?a=%22}").header("user-agent", forged)).await;
    let lines = edge.await_access_lines(1).await;
    assert_eq!(lines.len(), 1);
    assert_ne!(text(&lines[0], "outcome"), "forged");
    assert_eq!(text(&lines[0], "path"), "/%0a%22forged%22");
}

/// A transfer that breaks off is told as such, with what went wrong.
#[tokio::test]
async fn a_broken_transfer_is_told() {
    let origin = Origin::start().await;
    origin.on("/cut.m4s", Answer::ok(content(1, 100_000)).close_after(50_000));
    let edge = Setup::before(&origin).start().await;
    edge.get("/cut.m4s").await;
    let lines = edge.await_access_lines(1).await;
    assert_eq!(lines[0]["aborted"], Value::Bool(true), "{}", lines[0]);
    assert!(lines[0]["reason"].is_string(), "{}", lines[0]);
    assert!(number(&lines[0], "bytes") < 100_000.0);
}

/// `access = "off"` writes no line; a file gets them where one is named.
#[tokio::test]
async fn lines_go_where_the_configuration_says() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("here"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("access.log");
    let edge = Setup::before(&origin).access(&file.display().to_string()).start().await;
    edge.get("/1.m4s").await;
    let (_, written) = edge.stop().await;
    assert!(edge.access_lines().is_empty(), "{written}");
    let lines = std::fs::read_to_string(&file).expect("the access log");
    assert_eq!(lines.lines().count(), 1);
    serde_json::from_str::<Value>(lines.trim()).expect("a line of JSON");

    let edge = Setup::before(&origin).access("off").start().await;
    edge.get("/1.m4s").await;
    edge.stop().await;
    assert!(edge.access_lines().is_empty());
}

/// With `log.tls_fingerprint`, lines tell the JA4 of a client that came over TLS, the same over both versions of HTTP and
/// for every request of a connection; plaintext clients have none. Without it, no line has the field.
#[tokio::test]
async fn a_tls_client_has_its_fingerprint_in_its_lines() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok("media").cache_control("max-age=60"));
    for asked_for in [true, false] {
        let setup = Setup::before(&origin).tls().log(&format!("tls_fingerprint = {asked_for}"));
        let edge = setup.start().await;
        let (address, roots) = edge.https();
        // One fingerprint tells the first protocol on offer; the node chooses HTTP/2 where it may.
        let mut secure =
            Http1::over_tls(client::tls(address, roots, &["http/1.1"]).await.expect("a session"));
        secure.ask(&Request::get("/1.m4s")).await;
        secure.ask(&Request::get("/2.m4s")).await;
        let h2 =
            Http2::over_tls(client::tls(address, roots, &["http/1.1", "h2"]).await.expect("a session")).await;
        h2.get("/3.m4s").await;
        h2.get("/4.m4s").await;
        edge.get("/5.m4s").await;
        let lines = edge.await_access_lines(5).await;
        let told = |path: &str| {
            let line = lines.iter().find(|line| line["path"] == path).expect("a line for each request");
            line.get("tls_fingerprint").map(|value| value.as_str().expect("a text").to_owned())
        };
        if !asked_for {
            assert!((1..=5).all(|number| told(&format!("/{number}.m4s")).is_none()), "{lines:?}");
            continue;
        }
        let first = told("/1.m4s").expect("a fingerprint");
        assert_eq!((&first[..4], &first[8..10], first.len()), ("t13d", "h1", 36), "{first}");
        assert!((2..=4).all(|number| told(&format!("/{number}.m4s")).as_ref() == Some(&first)), "{lines:?}");
        let proto =
            |path: &str| lines.iter().find(|line| line["path"] == path).map(|line| line["proto"].clone());
        assert_eq!((proto("/2.m4s"), proto("/4.m4s")), (Some("h1".into()), Some("h2".into())));
        assert_eq!(told("/5.m4s"), None, "plaintext");
    }
}
