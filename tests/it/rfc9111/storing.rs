//! What is stored, and with which fields (RFC 9111 sections 3 and 3.1).
//!
//! | section | requirement | test |
//! |---|---|---|
//! | 3 | answers with explicit freshness are stored, whatever their final status | `answers_with_explicit_freshness_are_stored` |
//! | 3 | server errors: for a second at most, by the node's own choice | `a_server_error_is_kept_for_a_second_at_most` |
//! | RFC 6585 3 to 6 | 428, 429, 431 and 511 are never stored | `statuses_that_no_cache_may_store_are_not` |
//! | 3 | nor are challenges, and answers to more than the target | `statuses_that_no_cache_may_store_are_not` |
//! | 3, 5.2.2.5, 5.2.2.7 | `no-store` and `private` are not stored | `what_may_not_be_stored_is_not` |
//! | 3 | only answers to methods that are understood | `an_answer_to_another_method_is_no_answer_to_get` |
//! | 3.1 | all fields are stored, also unknown ones, in their order | `all_fields_are_stored` |
//! | 3.1 | fields of one connection are not | `fields_of_a_connection_are_not_stored` |
//! | 2, 4 | the key is method and target | `each_target_has_an_answer_of_its_own` |
//! | RFC 9110 15.2 | interim answers pass, and are not stored | `interim_answers_are_not_stored` |

use super::{Answer, Bench, Fetched, Request, Reused, Row, Validated, Wrong};

#[tokio::test]
async fn answers_with_explicit_freshness_are_stored() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    for status in [
        200, 201, 202, 203, 204, 299, 300, 301, 302, 303, 307, 308, 400, 403, 404, 405, 409, 410, 414, 418,
        451, 499,
    ] {
        for field in
            [("cache-control", "max-age=3600"), ("cache-control", "s-maxage=3600"), ("expires", "{now+3600}")]
        {
            let answer =
                bench.fields(Answer::status(status).body(if status == 204 { "" } else { "b" }), &[field]);
            let found = bench.second_use_after(answer, 60).await;
            wrong.note(found == Reused, || format!("status {status}, {field:?}: {found:?}"));
        }
    }
    wrong.none();
}

#[tokio::test]
async fn a_server_error_is_kept_for_a_second_at_most() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    for status in [500, 502, 503, 504, 599] {
        let answer = bench.fields(Answer::status(status).body("b"), &[("cache-control", "max-age=3600")]);
        let found = bench.second_use_after(answer, 2).await;
        wrong.note(found == Fetched, || format!("status {status}: {found:?}"));
    }
    wrong.none();
}

#[tokio::test]
async fn statuses_that_no_cache_may_store_are_not() {
    let bench = Bench::start().await;
    let mut wrong = Wrong::default();
    for status in [401, 407, 412, 416, 417, 421, 428, 429, 431, 511] {
        let answer =
            bench.fields(Answer::status(status).body("b"), &[("cache-control", "max-age=3600, public")]);
        let found = bench.second_use(answer).await;
        wrong.note(found == Fetched, || format!("status {status}: {found:?}"));
    }
    wrong.none();
}

/// A stored redirect leads where the origin's did.
#[tokio::test]
async fn a_stored_redirect_keeps_its_target() {
    let bench = Bench::start().await;
    for status in [301, 302, 303, 307, 308] {
        let path = bench.path();
        bench
            .origin
            .on(&path, Answer::status(status).header("location", "/there?a=b#c").cache_control("max-age=60"));
        for _ in 0..2 {
            let response = bench.get(&path).await;
            assert_eq!((response.status(), response.get("location")), (status, Some("/there?a=b#c")));
        }
        assert_eq!(bench.origin.requests(&path), 1, "{status}");
    }
}

#[tokio::test]
async fn what_may_not_be_stored_is_not() {
    let rows: &[Row] = &[
        ("no-store", &[("cache-control", "no-store"), ("etag", "\"a\"")], Fetched),
        (
            "no-store beside max-age",
            &[("cache-control", "max-age=3600, no-store"), ("etag", "\"a\"")],
            Fetched,
        ),
        (
            "no-store before max-age",
            &[("cache-control", "no-store, max-age=3600"), ("etag", "\"a\"")],
            Fetched,
        ),
        ("no-store beside Expires", &[("cache-control", "no-store"), ("expires", "{now+3600}")], Fetched),
        ("no-store beside public", &[("cache-control", "public, no-store, s-maxage=60")], Fetched),
        (
            "no-store on a line of its own",
            &[("cache-control", "max-age=60"), ("cache-control", "no-store")],
            Fetched,
        ),
        ("private", &[("cache-control", "private"), ("etag", "\"a\"")], Fetched),
        ("private beside max-age", &[("cache-control", "private, max-age=3600"), ("etag", "\"a\"")], Fetched),
        ("private beside s-maxage", &[("cache-control", "private, s-maxage=3600")], Fetched),
        ("private in capitals", &[("cache-control", "PRIVATE, max-age=3600")], Fetched),
        ("private beside Expires", &[("cache-control", "private"), ("expires", "{now+3600}")], Fetched),
        ("a cookie", &[("cache-control", "max-age=3600"), ("set-cookie", "a=b")], Fetched),
    ];
    Bench::start().await.hold(rows).await;
}

/// `no-cache` and `max-age=0` allow to store: what is asked the second time is whether it still holds.
#[tokio::test]
async fn what_has_to_be_validated_is_stored() {
    let rows: &[Row] = &[
        ("no-cache", &[("cache-control", "no-cache"), ("etag", "\"a\"")], Validated),
        (
            "no-cache beside max-age",
            &[("cache-control", "no-cache, max-age=3600"), ("etag", "\"a\"")],
            Validated,
        ),
        ("max-age=0", &[("cache-control", "max-age=0"), ("etag", "\"a\"")], Validated),
        ("only a tag", &[("etag", "\"a\"")], Validated),
        ("only a last change, now", &[("last-modified", "{now}"), ("date", "{now}")], Validated),
    ];
    Bench::start().await.hold(rows).await;
}

#[tokio::test]
async fn an_answer_to_another_method_is_no_answer_to_get() {
    let bench = Bench::with(|setup| {
        setup.site("methods = [\"GET\", \"HEAD\", \"OPTIONS\", \"POST\", \"PUT\", \"DELETE\"]")
    })
    .await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let path = bench.path();
        bench.origin.on(&path, bench.answer(&[("cache-control", "max-age=3600")]));
        for _ in 0..2 {
            assert_eq!(bench.ask(&Request::new(method, &path).body("b")).await.status(), 200);
        }
        assert_eq!(bench.origin.requests(&path), 2, "{method} is answered from what is stored");
        bench.get(&path).await;
        assert_eq!(bench.origin.requests(&path), 3, "{method} answers GET");
    }
}

#[tokio::test]
async fn each_target_has_an_answer_of_its_own() {
    let bench = Bench::start().await;
    bench.origin.otherwise(|request, _| Answer::ok(request.target.clone()).cache_control("max-age=3600"));
    let targets = ["/a", "/b", "/A", "/a?x", "/a?x=1", "/a?x=2", "/a/"];
    for _ in 0..2 {
        for target in targets {
            assert_eq!(bench.get(target).await.whole(), target);
        }
    }
    assert_eq!(bench.origin.recorded().len(), targets.len());
}

#[tokio::test]
async fn all_fields_are_stored() {
    let bench = Bench::start().await;
    let fields = [
        ("cache-control", "max-age=3600"),
        ("etag", "\"a\""),
        ("content-type", "text/x-of-the-test; charset=utf-8"),
        ("content-language", "fr"),
        ("content-location", "/elsewhere"),
        ("content-disposition", "inline"),
        ("last-modified", "{now-100}"),
        ("link", "</a>; rel=next"),
        ("x-unknown", "1"),
        ("x-twice", "one"),
        ("x-twice", "two"),
        ("x-list", "a, \"b, c\""),
        ("x-empty", ""),
        ("x-latin", "\u{e4}"),
    ];
    bench.origin.on("/page", bench.answer(&fields));
    bench.get("/page").await;
    bench.advance(10);
    let hit = bench.get("/page").await;
    assert_eq!(bench.origin.requests("/page"), 1);
    let stored = |name: &str| -> Vec<String> {
        hit.head.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
    };
    for (name, _) in fields.iter().filter(|(name, _)| *name != "last-modified") {
        let sent: Vec<String> =
            fields.iter().filter(|(n, _)| n == name).map(|(_, value)| (*value).to_owned()).collect();
        assert_eq!(stored(name), sent, "{name}");
    }
    assert_eq!(stored("last-modified"), [bench.date(-110)]);
    assert_eq!(hit.get("content-length"), Some("8"));
}

#[tokio::test]
async fn fields_of_a_connection_are_not_stored() {
    let bench = Bench::start().await;
    let answer = bench.answer(&[
        ("cache-control", "max-age=3600"),
        ("connection", "x-hop, X-Other-Hop"),
        ("connection", "x-third"),
        ("x-hop", "1"),
        ("x-other-hop", "1"),
        ("x-third", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authenticate", "Basic"),
        ("te", "trailers"),
        ("upgrade", "foo"),
        ("x-end", "1"),
    ]);
    bench.origin.on("/page", answer);
    for request in ["the first", "the second"] {
        let response = bench.get("/page").await;
        for name in
            ["x-hop", "x-other-hop", "x-third", "proxy-connection", "proxy-authenticate", "te", "upgrade"]
        {
            assert_eq!(response.get(name), None, "{name} of {request}");
        }
        assert_ne!(response.get("keep-alive"), Some("timeout=5"), "{request}");
        assert_eq!(response.get("x-end"), Some("1"));
    }
    assert_eq!(bench.origin.requests("/page"), 1);
}

/// A field that `Connection` names by mistake takes its own meaning with it: what is left decides.
#[tokio::test]
async fn a_nominated_field_is_dropped_also_if_its_name_is_well_known() {
    let bench = Bench::start().await;
    let fields = [
        ("cache-control", "max-age=3600"),
        ("connection", "x-hop, content-language"),
        ("content-language", "fr"),
    ];
    bench.origin.on("/page", bench.answer(&fields));
    for _ in 0..2 {
        assert_eq!(bench.get("/page").await.get("content-language"), None);
    }
}

#[tokio::test]
async fn interim_answers_are_not_stored() {
    let bench = Bench::start().await;
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </s>\r\n\r\n",
    ] {
        let path = bench.path();
        let last = "HTTP/1.1 200 OK\r\ncache-control: max-age=3600\r\ncontent-length: 4\r\n\r\nlast";
        bench.origin.on(&path, Answer::raw(format!("{interim}{last}")));
        for _ in 0..2 {
            let response = bench.get(&path).await;
            assert_eq!((response.status(), response.whole()), (200, &"last".into()), "{interim}");
        }
        assert_eq!(bench.origin.requests(&path), 1, "{interim}");
    }
}
