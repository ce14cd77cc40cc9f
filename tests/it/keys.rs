//! What a client cannot do: store an answer under another's key, or read another's answer. The origin reflects all that it
//! is sent, so that whatever reaches it shows in what others get.

use crate::support::client::{Http1, Http2, Request, Response};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{KEY_HEX, now, sign, sign_url, valid};

/// An origin that answers with what it was asked, fresh for a minute.
async fn reflecting() -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| Answer::ok(request.text()).cache_control("max-age=60"));
    origin
}

async fn node() -> (Origin, Edge) {
    let origin = reflecting().await;
    let edge = Setup::before(&origin).server("h2c = true").start().await;
    (origin, edge)
}

/// A node whose site asks for tokens.
async fn protected() -> (Origin, Edge) {
    let origin = reflecting().await;
    let policy = r#"
        [token.viewer]
        format = "edgeauth"
        keys = [{ id = "k", secret_file = "DIR/k.key" }]
    "#;
    let setup = Setup::before(&origin).site("token = \"viewer\"").more(policy);
    let edge = setup.file("k.key", &format!("{KEY_HEX}\n")).start().await;
    (origin, edge)
}

/// Sends bytes as they are; gives the answer, if there is one.
async fn raw(edge: &Edge, bytes: &[u8]) -> Option<u16> {
    let mut connection = Http1::connect(edge.http()).await;
    connection.send_bytes(bytes).await;
    connection.try_head("GET").await.map(|head| head.status)
}

fn text(response: &Response) -> String {
    String::from_utf8_lossy(response.whole()).into_owned()
}

/// Targets in this many spellings are one object, and the origin is asked once, for the normal one.
async fn assert_one(spellings: &[&str], normal: &str) {
    let (origin, edge) = node().await;
    for spelling in spellings {
        let response = edge.get(spelling).await;
        assert_eq!(response.status(), 200, "{spelling}");
        assert!(text(&response).starts_with(&format!("GET {normal}\n")), "{spelling}: {}", text(&response));
    }
    assert_eq!(origin.recorded().len(), 1, "{spellings:?}");
}

/// These targets are refused with 400, and the origin hears nothing of them.
async fn assert_refused(targets: &[&str]) {
    let (origin, edge) = node().await;
    for target in targets {
        let status = raw(&edge, format!("GET {target} HTTP/1.1\r\nhost: edge.test\r\n\r\n").as_bytes()).await;
        assert_eq!(status.unwrap_or(400), 400, "{target}");
    }
    assert_eq!(origin.recorded().len(), 0);
}

/// Two requests that differ in one thing that is no part of the key: the second gets what the first brought, and nothing
/// of the difference has reached the origin.
async fn assert_unkeyed_is_unseen(hostile: &[(&str, &str)], marks: &[&str]) {
    let (origin, edge) = node().await;
    let mut request = Request::get("/1.m4s");
    for (name, value) in hostile {
        request = request.header(name, value);
    }
    let poisoned = edge.ask(&request).await;
    let clean = edge.get("/1.m4s").await;
    assert_eq!(clean.outcome(), "hit");
    assert_eq!(poisoned.whole(), clean.whole());
    for mark in marks {
        assert!(!text(&clean).to_ascii_lowercase().contains(mark), "{mark} in {}", text(&clean));
    }
    assert_eq!(origin.recorded().len(), 1);
}

// Spellings of a target.

#[tokio::test]
async fn encoded_letters_are_the_letters() {
    assert_one(&["/live/a.m4s?x=~", "/%6cive/%61%2Em4s?%78=%7e", "/live/a%2em4s?x=%7E"], "/live/a.m4s?x=~")
        .await;
}

#[tokio::test]
async fn hexadecimal_digits_have_no_case() {
    assert_one(&["/a%2fb%c3%a9.m4s?q=%2c", "/a%2Fb%C3%A9.m4s?q=%2C"], "/a%2Fb%C3%A9.m4s?q=%2C").await;
}

#[tokio::test]
async fn an_encoded_slash_is_no_slash() {
    let (origin, edge) = node().await;
    edge.get("/a/b.m4s").await;
    assert_eq!(edge.get("/a%2Fb.m4s").await.outcome(), "miss");
    assert_eq!(origin.recorded().len(), 2);
}

#[tokio::test]
async fn dot_segments_lead_nowhere_else() {
    assert_one(&["/a/../b/1.m4s", "/b/./1.m4s", "/../b/1.m4s", "/b/c/../1.m4s"], "/b/1.m4s").await;
}

#[tokio::test]
async fn encoded_dots_are_dots() {
    assert_one(&["/a/%2e%2e/b/1.m4s", "/a/.%2E/b/1.m4s", "/a/%2E./b/1.m4s", "/b/%2e/1.m4s"], "/b/1.m4s")
        .await;
}

#[tokio::test]
async fn dots_that_are_encoded_twice_are_no_dots() {
    let (_origin, edge) = node().await;
    assert!(text(&edge.get("/a/%252e%252e/1.m4s").await).starts_with("GET /a/%252e%252e/1.m4s\n"));
}

#[tokio::test]
async fn slashes_in_a_row_are_one() {
    assert_one(&["/a//1.m4s", "//a/1.m4s", "/a///1.m4s", "/a/1.m4s"], "/a/1.m4s").await;
}

#[tokio::test]
async fn slashes_in_a_row_are_several_where_the_site_says_so() {
    let origin = reflecting().await;
    let edge = Setup::before(&origin).site("merge_slashes = false").start().await;
    assert!(text(&edge.get("/a//1.m4s").await).starts_with("GET /a//1.m4s\n"));
    assert_eq!(edge.get("/a/1.m4s").await.outcome(), "miss");
    assert!(text(&edge.get("//other.test/1.m4s").await).starts_with("GET //other.test/1.m4s\n"));
}

#[tokio::test]
async fn a_backslash_is_no_slash() {
    let (origin, edge) = node().await;
    for target in ["/a\\1.m4s", "/a%5c1.m4s", "/a%5C1.m4s"] {
        let status = raw(&edge, format!("GET {target} HTTP/1.1\r\nhost: edge.test\r\n\r\n").as_bytes()).await;
        assert!(matches!(status, None | Some(200 | 400)), "{target}: {status:?}");
    }
    assert!(origin.recorded().iter().all(|request| request.target == "/a%5C1.m4s"));
}

#[tokio::test]
async fn a_fragment_is_no_part_of_a_target() {
    let (origin, edge) = node().await;
    edge.get("/1.m4s").await;
    let status = raw(&edge, b"GET /1.m4s#0-0 HTTP/1.1\r\nhost: edge.test\r\n\r\n").await;
    assert!(matches!(status, None | Some(200 | 400)), "{status:?}");
    assert!(origin.recorded().iter().all(|request| request.target == "/1.m4s"));
}

#[tokio::test]
async fn a_malformed_encoding_is_refused() {
    assert_refused(&["/%", "/a%2", "/%zz.m4s", "/a%%20", "/1.m4s?a=%", "/1.m4s?a=%g0"]).await;
}

#[tokio::test]
async fn an_encoded_control_character_is_refused() {
    assert_refused(&[
        "/a%00.m4s",
        "/a%0d%0aset-cookie:x",
        "/a%1f",
        "/a%7F",
        "/1.m4s?a=%00",
        "/1.m4s?a=%0d%0ab",
    ])
    .await;
}

#[tokio::test]
async fn a_control_character_is_refused() {
    let (origin, edge) = node().await;
    for target in [&b"/a\x01b"[..], b"/a\x00b", b"/a\rb", b"/a\x7fb"] {
        let bytes = [b"GET ", target, b" HTTP/1.1\r\nhost: edge.test\r\n\r\n"].concat();
        assert!(matches!(raw(&edge, &bytes).await, None | Some(400)), "{target:?}");
    }
    assert_eq!(origin.recorded().len(), 0);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_encoded() {
    let (origin, edge) = node().await;
    let status = raw(&edge, b"GET /\xc3\xa9\xff.m4s HTTP/1.1\r\nhost: edge.test\r\n\r\n").await;
    assert!(matches!(status, None | Some(200 | 400)), "{status:?}");
    assert!(origin.recorded().iter().all(|request| request.target == "/%C3%A9%FF.m4s"));
}

#[tokio::test]
async fn a_space_in_a_target_is_no_end_of_it() {
    let (origin, edge) = node().await;
    for target in ["/1.m4s #0-0", "/1.m4s ~0-0", "/1.m4s @c.x=1"] {
        let status = raw(&edge, format!("GET {target} HTTP/1.1\r\nhost: edge.test\r\n\r\n").as_bytes()).await;
        assert!(matches!(status, None | Some(200 | 400)), "{target}: {status:?}");
    }
    assert!(origin.recorded().iter().all(|request| request.target != "/1.m4s"));
    assert_eq!(edge.get("/1.m4s").await.outcome(), "miss");
}

// Queries.

#[tokio::test]
async fn an_empty_query_is_none() {
    assert_one(&["/1.m4s", "/1.m4s?", "/1.m4s?&", "/1.m4s?&&"], "/1.m4s").await;
}

#[tokio::test]
async fn parameters_are_sorted_by_name_and_those_of_one_name_stay_in_order() {
    assert_one(&["/1.m4s?b=1&a=2&a=1", "/1.m4s?a=2&b=1&a=1", "/1.m4s?a=2&&a=1&b=1&"], "/1.m4s?a=2&a=1&b=1")
        .await;
    let (origin, edge) = node().await;
    edge.get("/1.m4s?a=2&a=1").await;
    assert_eq!(edge.get("/1.m4s?a=1&a=2").await.outcome(), "miss");
    assert_eq!(origin.recorded().len(), 2);
}

#[tokio::test]
async fn a_tracking_parameter_hides_nothing() {
    let (origin, edge) = node().await;
    for target in
        ["/1.m4s?utm_x=1;a=evil", "/1.m4s?utm_x=1%26a=evil", "/1.m4s?%75tm_x=evil", "/1.m4s?&utm_x=evil&"]
    {
        assert!(!text(&edge.get(target).await).contains("evil"), "{target}");
    }
    assert_eq!(origin.recorded().len(), 1);
}

#[tokio::test]
async fn a_semicolon_and_an_encoded_ampersand_part_nothing() {
    let origin = reflecting().await;
    let rule = "[[site.rule]]\nkey = { query = [\"lang\"] }";
    let edge = Setup::before(&origin).more(rule).start().await;
    edge.get("/1.m4s?lang=de").await;
    for target in ["/1.m4s?lang=de;lang=evil", "/1.m4s?lang=de%26lang=evil", "/1.m4s?lang=de&lang=evil"] {
        assert_eq!(edge.get(target).await.outcome(), "miss", "{target}");
    }
    for target in ["/1.m4s?x=1;lang=evil&lang=de", "/1.m4s?lang=de&x=%26lang=evil"] {
        assert_eq!(edge.get(target).await.outcome(), "hit", "{target}");
    }
    assert_eq!(text(&edge.get("/1.m4s?lang=de").await).lines().next(), Some("GET /1.m4s?lang=de"));
}

#[tokio::test]
async fn a_body_of_a_get_decides_nothing() {
    let (origin, edge) = node().await;
    assert_eq!(edge.ask(&Request::get("/1.m4s").body("lang=evil")).await.status(), 400);
    assert_eq!(origin.recorded().len(), 0);
}

// Hosts.

/// A node with two sites before origins that say their names.
async fn two_sites() -> (Origin, Origin, Edge) {
    let (one, other) = (Origin::start().await, Origin::start().await);
    one.otherwise(|_, _| Answer::ok("one").cache_control("max-age=60"));
    other.otherwise(|_, _| Answer::ok("other").cache_control("max-age=60"));
    let more = format!(
        "[origin.other]\nservers = [{:?}]\n[[site]]\nhosts = [\"other.test\"]\norigin = \"other\"\n",
        other.url()
    );
    let edge = Setup::before(&one).server("h2c = true").hosts("[\"one.test\"]").more(&more).start().await;
    (one, other, edge)
}

#[tokio::test]
async fn case_port_and_final_dot_make_no_other_host() {
    let (one, _other, edge) = two_sites().await;
    for host in
        ["one.test", "ONE.test", "one.test.", "one.test:80", "one.test:443", "One.Test.:8080", "one.test:"]
    {
        let response = edge.ask(&Request::get("/1.m4s").host(host)).await;
        assert_eq!((response.status(), response.whole()), (200, &"one".into()), "{host}");
    }
    assert_eq!(one.requests("/1.m4s"), 1);
}

#[tokio::test]
async fn a_host_that_is_none_is_refused() {
    let (one, other, edge) = two_sites().await;
    for host in [
        "one.test:80:80",
        "one.test:evil",
        "one.test:99999",
        "one.test/other.test",
        "one.test@other.test",
        "one.test other.test",
        "[one.test]",
        "one.test..",
        "one.test,other.test",
    ] {
        let status = edge.ask(&Request::get("/1.m4s").host(host)).await.status();
        assert!(matches!(status, 400 | 421), "{host}: {status}");
    }
    assert_eq!(one.recorded().len() + other.recorded().len(), 0);
}

#[tokio::test]
async fn two_hosts_are_refused() {
    let (one, other, edge) = two_sites().await;
    for hosts in ["host: one.test\r\nhost: other.test", "host: one.test\r\nHost: one.test"] {
        let status = raw(&edge, format!("GET /1.m4s HTTP/1.1\r\n{hosts}\r\n\r\n").as_bytes()).await;
        assert!(matches!(status, None | Some(400)), "{status:?}");
    }
    assert_eq!(one.recorded().len() + other.recorded().len(), 0);
}

#[tokio::test]
async fn an_absolute_target_names_the_host_and_another_field_is_refused() {
    let (one, other, edge) = two_sites().await;
    let same = Request::get("http://other.test/1.m4s").host("other.test");
    assert_eq!(edge.ask(&same).await.whole(), "other");
    assert_eq!(edge.ask(&Request::get("/1.m4s").host("other.test")).await.outcome(), "hit");
    let status = raw(&edge, b"GET http://other.test/1.m4s HTTP/1.1\r\nhost: one.test\r\n\r\n").await;
    assert!(matches!(status, None | Some(400)), "{status:?}");
    let status = raw(&edge, b"GET http://other.test/1.m4s HTTP/1.0\r\n\r\n").await;
    assert_eq!(status, Some(200));
    assert_eq!((one.recorded().len(), other.recorded().len()), (0, 1));
}

#[tokio::test]
async fn a_target_of_another_form_is_refused() {
    let (origin, edge) = node().await;
    for target in ["1.m4s", "?a", "ftp://edge.test/1.m4s", "edge.test:80", "*", "http:1.m4s", "http:///1.m4s"]
    {
        let status = raw(&edge, format!("GET {target} HTTP/1.1\r\nhost: edge.test\r\n\r\n").as_bytes()).await;
        assert!(matches!(status, None | Some(400)), "{target}: {status:?}");
    }
    assert_eq!(origin.recorded().len(), 0);
}

#[tokio::test]
async fn an_absolute_target_and_a_path_are_one_object() {
    let (origin, edge) = node().await;
    edge.get("/1.m4s").await;
    for target in ["http://edge.test/1.m4s", "http://edge.test/%31.m4s", "HTTP://edge.test/x/../1.m4s?"] {
        assert_eq!(edge.get(target).await.outcome(), "hit", "{target}");
    }
    assert_eq!(origin.recorded().len(), 1);
}

#[tokio::test]
async fn an_authority_that_differs_from_the_host_is_refused_over_http2() {
    let (one, other, edge) = two_sites().await;
    let stream = tokio::net::TcpStream::connect(edge.http()).await.expect("a node");
    let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let request =
        http::Request::get("http://one.test/1.m4s").header("host", "other.test").body(()).expect("one");
    let (response, _) = send.send_request(request, true).expect("a stream");
    match response.await {
        Ok(response) => assert_eq!(response.status(), 400),
        Err(error) => assert!(error.is_reset(), "{error}"),
    }
    assert_eq!(one.recorded().len() + other.recorded().len(), 0);
}

#[tokio::test]
async fn one_object_is_one_over_http2_too() {
    let (origin, edge) = node().await;
    edge.get("/a/1.m4s?x=~").await;
    let connection = Http2::connect(edge.http()).await;
    for target in ["/a/1.m4s?x=~", "/a/%31.m4s?x=%7e", "/b/../a//1.m4s?&x=~"] {
        assert_eq!(connection.get(target).await.outcome(), "hit", "{target}");
    }
    assert_eq!(connection.get("/a%00").await.status(), 400);
    assert_eq!(origin.recorded().len(), 1);
}

#[tokio::test]
async fn http_1_0_without_a_host_is_nobodys_but_the_site_for_any() {
    let (one, other, edge) = two_sites().await;
    assert_eq!(raw(&edge, b"GET /1.m4s HTTP/1.0\r\naccept: */*\r\n\r\n").await, Some(421));
    assert_eq!(one.recorded().len() + other.recorded().len(), 0);
    let (_origin, edge) = node().await;
    assert_eq!(raw(&edge, b"GET /1.m4s HTTP/1.0\r\naccept: */*\r\n\r\n").await, Some(200));
}

#[tokio::test]
async fn the_host_is_in_nothing_that_others_get() {
    let (origin, edge) = node().await;
    let evil = edge.ask(&Request::get("/1.m4s").host("evil.test")).await;
    assert!(!text(&evil).contains("evil"), "{}", text(&evil));
    assert_eq!(edge.get("/1.m4s").await.outcome(), "hit");
    assert_eq!(origin.recorded().len(), 1);
}

// Fields that are no part of the key.

#[tokio::test]
async fn fields_of_proxies_are_unseen() {
    let fields = [
        ("x-forwarded-host", "evil.test"),
        ("x_forwarded_host", "evil.test"),
        ("x-forwarded-proto", "evil"),
        ("x-forwarded-port", "666"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "host=evil.test"),
        ("x-host", "evil.test"),
    ];
    assert_unkeyed_is_unseen(&fields, &["evil", "666"]).await;
}

#[tokio::test]
async fn fields_that_name_another_target_are_unseen() {
    let fields = [("x-original-url", "/evil"), ("x-rewrite-url", "/evil"), ("x-original-uri", "/evil")];
    assert_unkeyed_is_unseen(&fields, &["evil"]).await;
}

#[tokio::test]
async fn fields_that_name_another_method_are_unseen() {
    let fields =
        [("x-http-method-override", "POST"), ("x-http-method", "PURGE"), ("x-method-override", "DELETE")];
    assert_unkeyed_is_unseen(&fields, &["post", "purge", "delete"]).await;
}

#[tokio::test]
async fn cookies_are_unseen() {
    let fields = [("cookie", "sid=secret"), ("x-api-key", "secret")];
    assert_unkeyed_is_unseen(&fields, &["secret"]).await;
}

/// `Authorization` reaches the origin with the request that has it, and the answer reaches that request alone.
#[tokio::test]
async fn an_answer_to_credentials_is_nobody_elses() {
    let (origin, edge) = node().await;
    let with = |credentials: &str| Request::get("/1.m4s").header("authorization", credentials);
    for credentials in ["Bearer secret", "Bearer other"] {
        assert!(text(&edge.ask(&with(credentials)).await).contains(credentials));
    }
    for _ in 0..2 {
        assert!(!text(&edge.get("/1.m4s").await).contains("Bearer"));
    }
    assert_eq!(edge.ask(&with("Bearer third")).await.outcome(), "hit", "what is shared is shared with all");
    assert_eq!(origin.recorded().len(), 3);
}

#[tokio::test]
async fn claims_that_a_client_makes_up_are_unseen() {
    let fields = [("forebay-claim-id", "root"), ("x-forebay-claim-id", "root"), ("forebay_claim_id", "root")];
    assert_unkeyed_is_unseen(&fields, &["root"]).await;
}

#[tokio::test]
async fn no_field_is_seen_that_the_key_does_not_name() {
    let fields = [
        ("accept", "evil/evil"),
        ("accept-language", "evil"),
        ("origin", "https://evil.test"),
        ("referer", "https://evil.test"),
        ("user-agent", "evil"),
        ("x-anything", "evil"),
        ("cache-control", "no-cache, evil"),
    ];
    assert_unkeyed_is_unseen(&fields, &["evil"]).await;
}

#[tokio::test]
async fn what_passes_through_is_free_of_what_could_mislead_the_origin() {
    let origin = reflecting().await;
    let rule = "[[site.rule]]\npath = \"/api/*\"\nbypass = true";
    let edge = Setup::before(&origin).site("methods = [\"GET\", \"POST\"]").more(rule).start().await;
    let hostile = [
        "x-forwarded-host",
        "x-forwarded-server",
        "x-forwarded-prefix",
        "x_forwarded_host",
        "x-original-url",
        "x-original-host",
        "x-rewrite-url",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-host",
        "forwarded",
        "x-real-ip",
        "true-client-ip",
        "client-ip",
        "proxy",
        "forebay-claim-id",
        "x-forebay-anything",
        "keep-alive",
        "proxy-authorization",
        "x-mine",
    ];
    for target in ["/api/a", "/posted"] {
        let mut request = Request::new(if target == "/api/a" { "GET" } else { "POST" }, target);
        for name in hostile {
            request = request.header(name, "evil");
        }
        let request = request
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-forwarded-proto", "evil")
            .header("connection", "x-mine")
            .header("cookie", "mine=1")
            .header("x-app", "mine");
        let seen = edge.ask(&request).await;
        assert_eq!((seen.status(), seen.outcome()), (200, "bypass"));
        let seen = text(&seen);
        assert!(!seen.contains("evil") && !seen.contains("6.6.6.6"), "{seen}");
        for kept in
            ["x-forwarded-for: 127.0.0.1\n", "x-forwarded-proto: http\n", "cookie: mine=1\n", "x-app: mine\n"]
        {
            assert!(seen.contains(kept), "{kept:?} in {seen}");
        }
    }
}

#[tokio::test]
async fn what_passes_through_is_asked_for_in_normal_form() {
    let origin = reflecting().await;
    let rule = "[[site.rule]]\npath = \"/api/*\"\nbypass = true";
    let edge = Setup::before(&origin).more(rule).start().await;
    for target in ["/x/../api//%61?b=1&&a=%7e", "http://edge.test/%61pi/./a?b=1&a=~"] {
        let seen = edge.get(target).await;
        assert_eq!(seen.outcome(), "bypass", "{target}");
        assert!(text(&seen).starts_with("GET /api/a?b=1&a=~\n"), "{target}: {}", text(&seen));
    }
}

// What the key is made of.

#[tokio::test]
async fn a_value_cannot_pass_for_another_part_of_the_key() {
    let origin = reflecting().await;
    let rule = "[[site.rule]]\nkey = { headers = [\"x-a\", \"x-b\"] }";
    let edge = Setup::before(&origin).more(rule).start().await;
    let ask = async |a: Option<&str>, b: Option<&str>| {
        let mut request = Request::get("/1.m4s");
        for (name, value) in [("x-a", a), ("x-b", b)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        edge.ask(&request).await
    };
    let tricks = [
        (Some("1"), Some("2")),
        (Some("1&h.x-b=2"), None),
        (Some("1%26h.x-b%3D2"), None),
        (Some("1"), None),
        (None, Some("1")),
        (Some(""), None),
        (None, None),
        (Some("1,2"), None),
        (Some("1 #00000000000000000000000000000000-0"), None),
        (Some("1 ~0-0"), None),
        (Some("1 @c.x=1"), None),
    ];
    for (place, (a, b)) in tricks.into_iter().enumerate() {
        assert_eq!(ask(a, b).await.outcome(), "miss", "{a:?} {b:?}");
        assert_eq!(origin.recorded().len(), place + 1);
    }
    for (a, b) in tricks {
        let hit = ask(a, b).await;
        assert_eq!(hit.outcome(), "hit", "{a:?} {b:?}");
        if let Some(a) = a.filter(|a| !a.is_empty()) {
            assert!(text(&hit).contains(&format!("x-a: {a}\n")), "{a}: {}", text(&hit));
        }
    }
}

#[tokio::test]
async fn lines_of_a_field_are_not_one_line() {
    let origin = reflecting().await;
    let edge = Setup::before(&origin).more("[[site.rule]]\nkey = { headers = [\"x-a\"] }").start().await;
    let two = Request::get("/1.m4s").header("x-a", "1").header("x-a", "2");
    assert_eq!(edge.ask(&two).await.outcome(), "miss");
    assert_eq!(edge.ask(&Request::get("/1.m4s").header("x-a", "1,2")).await.outcome(), "miss");
    assert_eq!(edge.ask(&two).await.outcome(), "hit");
    assert_eq!(edge.ask(&Request::get("/1.m4s").header("x-a", "1")).await.outcome(), "miss");
}

#[tokio::test]
async fn a_value_that_is_too_long_passes_through() {
    let origin = reflecting().await;
    let rule = "[[site.rule]]\nkey = { headers = [\"x-a\"] }";
    let edge = Setup::before(&origin).limits("key_value = \"16B\"").more(rule).start().await;
    let ask = async |length: usize| {
        edge.ask(&Request::get("/1.m4s").header("x-a", &"a".repeat(length))).await.outcome().to_owned()
    };
    assert_eq!([ask(16).await, ask(16).await], ["miss", "hit"]);
    assert_eq!([ask(17).await, ask(17).await], ["bypass", "bypass"]);
}

#[tokio::test]
async fn one_user_never_gets_anothers_answer() {
    let origin = reflecting().await;
    let rule = "[[site.rule]]\nkey = { cookies = [\"sid\"], headers = [\"authorization\"] }\nttl = \"60s\"";
    let edge = Setup::before(&origin).more(rule).start().await;
    let ask = async |cookie: &str, authorization: &str| {
        let request = Request::get("/1.m4s").header("cookie", cookie).header("authorization", authorization);
        edge.ask(&request).await
    };
    let users = [
        ("sid=ann", "Bearer a"),
        ("sid=bob", "Bearer a"),
        ("sid=ann", "Bearer b"),
        ("other=ann", "Bearer a"),
    ];
    for (cookie, authorization) in users {
        assert_eq!(ask(cookie, authorization).await.outcome(), "miss", "{cookie} {authorization}");
    }
    for (cookie, authorization) in users {
        let own = ask(&format!("x=evil; {cookie}"), authorization).await;
        assert_eq!(own.outcome(), "hit", "{cookie} {authorization}");
        let seen = text(&own);
        assert!(
            seen.contains(&format!("authorization: {authorization}\n")) && !seen.contains("evil"),
            "{seen}"
        );
        assert_eq!(seen.contains("cookie: "), cookie.starts_with("sid"), "{seen}");
    }
    assert_eq!(edge.get("/1.m4s").await.outcome(), "miss");
    for secret in ["Bearer", "sid=", "ann"] {
        assert!(!edge.everything_written().contains(secret), "{secret} in a log");
    }
}

#[tokio::test]
async fn a_claim_is_of_the_verified_token_alone() {
    let origin = reflecting().await;
    let more = r#"
        [[site.rule]]
        key = { claims = ["id"] }
        [token.viewer]
        format = "edgeauth"
        keys = [{ id = "k", secret_file = "DIR/k.key" }]
    "#;
    let setup = Setup::before(&origin).site("token = \"viewer\"").more(more);
    let edge = setup.file("k.key", &format!("{KEY_HEX}\n")).start().await;
    let token = |id: &str| sign(KEY_HEX, &format!("exp={}~acl=/*~id={id}", now() + 3600));
    let ask = async |token: &str| {
        edge.ask(&Request::get(&format!("/1.m4s?hdnts={token}")).header("forebay-claim-id", "evil")).await
    };
    for id in ["ann", "bob"] {
        let own = ask(&token(id)).await;
        assert_eq!(own.outcome(), "miss", "{id}");
        assert!(text(&own).contains(&format!("forebay-claim-id: {id}\n")), "{}", text(&own));
        assert!(!text(&own).contains("evil"), "{}", text(&own));
    }
    let again = ask(&token("ann")).await;
    assert_eq!(again.outcome(), "hit");
    assert!(text(&again).contains("forebay-claim-id: ann\n"));
    // Without the claim there is no telling whose it is.
    for _ in 0..2 {
        let none = ask(&valid("/*")).await;
        assert_eq!(none.outcome(), "bypass");
        assert!(!text(&none).contains("claim"), "{}", text(&none));
    }
}

// Tokens.

#[tokio::test]
async fn a_scope_covers_what_a_path_means() {
    let (origin, edge) = protected().await;
    let token = valid("/live/*");
    for path in [
        "/live/../secret/1.m4s",
        "/live/%2e%2e/secret/1.m4s",
        "/live/.%2E/secret/1.m4s",
        "/live//../../secret/1.m4s",
        "/live/..%2fsecret/1.m4s",
        "/live/..%5csecret/1.m4s",
    ] {
        assert_eq!(edge.get(&format!("{path}?hdnts={token}")).await.status(), 403, "{path}");
        assert_eq!(edge.get(&format!("/hdnts={token}{path}")).await.status(), 403, "{path}");
    }
    assert_eq!(origin.recorded().len(), 0);
    for path in ["/other/../live/1.m4s", "/%6cive/1.m4s", "//live/1.m4s"] {
        assert_eq!(edge.get(&format!("{path}?hdnts={token}")).await.status(), 200, "{path}");
    }
    assert_eq!(origin.requests("/live/1.m4s"), 1);
}

#[tokio::test]
async fn a_url_token_is_good_for_the_link_that_was_signed() {
    let (origin, edge) = protected().await;
    for path in ["/live/%7e1.m4s", "/live/a%2fb.m4s", "/live//1.m4s"] {
        let token = sign_url(KEY_HEX, &format!("exp={}", now() + 3600), path);
        assert_eq!(edge.get(&format!("{path}?hdnts={token}")).await.status(), 200, "{path}");
        assert_eq!(edge.get(&format!("/live/2.m4s?hdnts={token}")).await.status(), 403, "{path}");
    }
    let token = sign_url(KEY_HEX, &format!("exp={}", now() + 3600), "/live/3.m4s");
    assert_eq!(edge.get(&format!("/live/x/../%33.m4s?hdnts={token}")).await.status(), 200);
    let targets: Vec<String> = origin.recorded().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/live/~1.m4s", "/live/a%2Fb.m4s", "/live/1.m4s", "/live/3.m4s"]);
}

#[tokio::test]
async fn a_token_reaches_neither_key_nor_origin_nor_log_in_any_spelling() {
    let (origin, edge) = protected().await;
    let token = valid("/live/*");
    let mac = token.rsplit('=').next().expect("a MAC").to_owned();
    for target in [
        format!("/hdnts={token}/live/1.m4s"),
        format!("/%68dnts={token}/live/1.m4s"),
        format!("/hdnts%3D{token}/live/1.m4s"),
        format!("//hdnts={token}/live/1.m4s"),
        format!("/./hdnts={token}/live/1.m4s"),
        format!("/x/../hdnts={token}/live/1.m4s"),
        format!("/x/%2e%2e/%68dnts={token}/live/1.m4s"),
        format!("/live/1.m4s?%68dnts={token}"),
        format!("/live/1.m4s?hdnts%3d{token}"),
        format!("/live/1.m4s?&&hdnts={token}&"),
        format!("/hdnts={token}/x/../hdnts={token}/live/1.m4s"),
    ] {
        let status = edge.get(&target).await.status();
        assert!(matches!(status, 200 | 403), "{target}: {status}");
    }
    assert_eq!(origin.recorded().len(), 1, "one object, whatever the token");
    assert!(origin.recorded().iter().all(|request| !request.text().contains(&mac)));
    edge.await_access_lines(11).await;
    assert!(!edge.everything_written().contains(&mac), "a token in the log");
}
