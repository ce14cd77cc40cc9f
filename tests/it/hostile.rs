//! What a hostile client cannot do, where several parts of the node meet: a fetch that others wait for, an answer that
//! holds fields for one alone, a parameter that is in no key, places that are few.

use crate::support::client::{Http1, Request, Response};
use crate::support::edge::Setup;
use crate::support::origin::{Answer, Origin};
use crate::support::wait::{Gate, within};

const LIVE: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n1.ts\n";

fn text(response: &Response) -> String {
    String::from_utf8_lossy(response.whole()).into_owned()
}

/// The key of a rule tells users apart by a cookie, and a request has other credentials beside it: these are in no key,
/// so that what they have brought is nobody else's, whatever the rule's time.
#[tokio::test]
async fn a_key_by_one_credential_keeps_nothing_that_another_has_brought() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        Answer::ok(format!("of {}", request.header("authorization").unwrap_or("nobody")))
    });
    let rule = "[[site.rule]]\npath = \"/me/**\"\nttl = \"60s\"\nkey = { cookies = [\"sid\"] }\n\
                [[site.rule]]\npath = \"/app/**\"\nttl = \"60s\"\nkey = { headers = [\"authorization\"] }";
    let edge = Setup::before(&origin).more(rule).start().await;

    for cookie in ["", "sid=1"] {
        let asked = || Request::get("/me/a").header("cookie", cookie);
        assert_eq!(text(&edge.ask(&asked().header("authorization", "Bearer a")).await), "of Bearer a");
        assert_eq!(text(&edge.ask(&asked().header("authorization", "Bearer b")).await), "of Bearer b");
        assert_eq!(text(&edge.ask(&asked()).await), "of nobody");
    }
    // What the key names is kept for it.
    let asked = || Request::get("/app/a").header("authorization", "Bearer a");
    assert_eq!(edge.ask(&asked()).await.outcome(), "miss");
    assert_eq!(edge.ask(&asked()).await.outcome(), "hit");
    assert_eq!(text(&edge.get("/app/a").await), "of nobody");
}

/// A parameter that is left out of the key says nothing of how long the answer may be kept.
#[tokio::test]
async fn a_parameter_outside_the_key_makes_no_playlist_live_longer() {
    let origin = Origin::start().await;
    origin.otherwise(|_, _| Answer::ok(LIVE));
    let rule = "[[site.rule]]\npath = \"/listed/**\"\nkey = { query = [\"lang\"] }";
    let edge = Setup::before(&origin).more(rule).start().await;
    let control = async |target: &str| edge.get(target).await.get("cache-control").map(str::to_owned);

    let told = control("/plain.m3u8").await;
    assert_eq!(told.as_deref(), Some("max-age=6"));
    for (hostile, plain) in [
        ("/1.m3u8?utm_source=_HLS_msn=1", "/1.m3u8"),
        ("/2.m3u8?CMCD=_HLS_msn=1", "/2.m3u8"),
        ("/listed/3.m3u8?x=_HLS_msn=1", "/listed/3.m3u8"),
        ("/listed/4.m3u8?x_HLS_msn=1&lang=de", "/listed/4.m3u8?lang=de"),
        ("/5.m3u8?x=_HLS_msn=1", "/5.m3u8?x=_HLS_msn=1"),
    ] {
        assert_eq!(control(hostile).await, told, "{hostile}");
        assert_eq!(control(plain).await, told, "{plain}");
    }
    assert_eq!(control("/6.m3u8?utm_x=1&_HLS_msn=0").await.as_deref(), Some("max-age=36"));
}

/// A fetch that turns out to vary goes on under another key. Its fields for one alone are for the one who began it, not
/// for the first of those who have waited for it.
#[tokio::test]
async fn fields_for_one_alone_are_not_had_by_those_who_waited() {
    const RIVALS: usize = 24;
    let origin = Origin::start().await;
    let gates: Vec<Gate> = (0..4).map(|_| Gate::closed()).collect();
    let held = gates.clone();
    let rest = Gate::closed();
    let kept_back = rest.clone();
    origin.otherwise(move |request, _| {
        let round: usize = request.path()[1..2].parse().unwrap();
        let who = request.header("authorization").unwrap_or("nobody").to_owned();
        // In every other round the body is still on its way when those who have waited go on.
        let answer = Answer::ok("shared");
        let answer = if round.is_multiple_of(2) { answer.gate_at(3, &kept_back) } else { answer };
        answer
            .header("vary", "x-device")
            .header("set-cookie", &format!("session={who}"))
            .cache_control("public, max-age=600, private=\"set-cookie\"")
            .hold(&held[round])
    });
    let edge = Setup::before(&origin).start().await;
    for (round, gate) in gates.iter().enumerate() {
        let path = format!("/{round}.html");
        let mut viewers = vec![("starter".to_owned(), edge.open(&credentialed(&path, "starter")).await)];
        origin.await_requests(&path, 1).await;
        for rival in 0..RIVALS {
            let who = format!("rival{rival}");
            let connection = edge.open(&credentialed(&path, &who)).await;
            viewers.push((who, connection));
        }
        gate.open();
        let mut given = Vec::new();
        for (who, mut viewer) in viewers {
            let head = within("an answer", viewer.head("GET")).await;
            assert_eq!(head.status, 200);
            if let Some(cookie) = head.get("set-cookie") {
                assert_eq!(cookie, format!("session={who}"), "round {round}");
                given.push(who);
            }
        }
        assert!(given.contains(&"starter".to_owned()), "round {round}: {given:?}");
    }
}

fn credentialed(path: &str, who: &str) -> Request {
    Request::get(path).header("authorization", who)
}

/// The site's list of pages that may read its answers holds whatever the origin would allow, for what is kept and for
/// what passes through.
#[tokio::test]
async fn an_origin_that_reflects_pages_opens_no_site_that_names_its_own() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        Answer::ok("secret")
            .header("access-control-allow-origin", request.header("origin").unwrap_or("*"))
            .header("access-control-allow-credentials", "true")
            .cache_control("max-age=60")
    });
    let rule = "[[site.rule]]\npath = \"/pass/**\"\nbypass = true";
    let site = "cors = { origins = [\"https://good.test\"] }";
    let edge = Setup::before(&origin).site(site).more(rule).start().await;
    for path in ["/a.json", "/a.json", "/pass/a.json"] {
        for (page, expected) in
            [("https://evil.test", None), ("https://good.test", Some("https://good.test")), ("null", None)]
        {
            let response = edge.ask(&Request::get(path).header("origin", page)).await;
            assert_eq!(response.get("access-control-allow-origin"), expected, "{path} {page}");
        }
    }
}

/// Values that a client makes up take the places of no others for good: what many ask for is kept again.
#[tokio::test]
async fn made_up_variants_do_not_keep_others_out() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        let value = request.header("accept-language").unwrap_or("none").to_owned();
        Answer::ok(value).header("vary", "accept-language").cache_control("max-age=600")
    });
    let edge = Setup::before(&origin).limits("variants = 4").start().await;
    let ask = async |language: &str| {
        let request = Request::get("/a.html").header("accept-language", language);
        edge.ask(&request).await.outcome().to_owned()
    };
    for junk in 0..40 {
        ask(&format!("x-{junk}")).await;
    }
    ask("de").await;
    assert_eq!(ask("de").await, "hit");
}

/// What stands behind a request that is refused before its body was read is never taken for a request.
#[tokio::test]
async fn the_body_of_a_refused_request_is_no_request() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| Answer::ok(request.path().to_owned()).cache_control("max-age=60"));
    let edge = Setup::before(&origin).start().await;
    let smuggled = "GET /smuggled.m4s HTTP/1.1\r\nhost: edge.test\r\n\r\n";
    for method in ["POST", "PURGE", "OPTIONS", "PUT", "BREW"] {
        for framing in [
            format!("content-length: {}\r\n\r\n{smuggled}", smuggled.len()),
            format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len()),
        ] {
            let mut connection = Http1::connect(edge.http()).await;
            let preflight = "origin: https://a.test\r\naccess-control-request-method: GET\r\n";
            let head = format!("{method} /x HTTP/1.1\r\nhost: edge.test\r\n{preflight}");
            connection.send_bytes(format!("{head}{framing}").as_bytes()).await;
            connection.response(method).await;
            connection
                .send_bytes(b"GET /next.m4s HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\n\r\n")
                .await;
            if connection.try_head("GET").await.is_some() {
                assert_eq!(connection.rest().await.0, "/next.m4s", "{method} {framing}");
            }
        }
    }
    assert_eq!(origin.requests("/smuggled.m4s"), 0);
}

/// No client passes for another, by whatever name a network in front of some other origin would write its address or user.
#[tokio::test]
async fn what_passes_through_names_no_other_client() {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| Answer::ok(request.text()));
    let edge = Setup::before(&origin).more("[[site.rule]]\nbypass = true").start().await;
    let mut request = Request::get("/a.json");
    for name in [
        "X-Azure-ClientIP",
        "X-Remote-Addr",
        "X_Remote_User",
        "Fly-Client-IP",
        "Remote-Addr",
        "Remote_User",
        "X-Forward-For",
        "X-Originating-IP",
        "X-True-Client-IP",
    ] {
        request = request.header(name, "6.6.6.6");
    }
    let seen = text(&edge.ask(&request).await);
    assert!(seen.contains("x-forwarded-for: 127.0.0.1\n") && !seen.contains("6.6.6.6"), "{seen}");
}
