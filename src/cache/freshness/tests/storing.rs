//! What is stored of an answer, and whether it is (RFC 9111 sections 3 and 5.2.2).

use super::*;

#[test]
fn what_is_private_or_varies_or_sets_a_cookie_is_not_kept() {
    for (fields, refusal) in [
        (("cache-control", "no-store"), Refusal::NoStore),
        (("cache-control", "private, max-age=60"), Refusal::Private),
        (("set-cookie", "a=b"), Refusal::SetCookie),
        (("vary", "*"), Refusal::Vary),
    ] {
        let verdict = judged(Kind::Segment, &answer(200, &[fields]), None, &Times::default());
        assert!(matches!(verdict, Verdict::Pass(_, why) if why == refusal), "{fields:?}");
    }
    let verdict = judged(Kind::Key, &answer(200, &[]), None, &Times::default());
    assert!(matches!(verdict, Verdict::Pass(_, Refusal::Kind)));
    kept(Kind::Segment, &answer(200, &[("vary", "Accept-Encoding, Origin")]), None, &Times::default());
}

#[test]
fn a_redirect_is_kept_by_a_rule_that_names_it() {
    let header = answer(302, &[("location", "/x")]);
    let verdict = judged(Kind::Other, &header, None, &Times::default());
    assert!(matches!(verdict, Verdict::Pass(_, Refusal::Status)));
    let times = Times { ttl: Some(seconds(60)), names_status: true, ..Times::default() };
    assert_eq!(kept(Kind::Other, &header, None, &times).fresh_until, now() + seconds(60));
}

#[test]
fn fields_of_one_connection_are_not_kept() {
    let header = answer(
        200,
        &[("connection", "close, x-hop"), ("x-hop", "1"), ("transfer-encoding", "chunked"), ("x-end", "1")],
    );
    let clean = for_viewers(&header, now());
    assert_eq!(clean.headers.len(), 2, "and the date");
    assert_eq!(clean.headers["x-end"], "1");
}

#[test]
fn a_status_is_kept_untold_told_or_by_rule() {
    let none = Times::default();
    let by_rule = |status| Times { names_status: status != 0, ..rule(9) };
    let told = [("cache-control", "max-age=60")];
    for status in [200, 203, 204, 404, 405, 410, 414, 501] {
        assert_eq!(refused(Kind::Other, status, &[], &none), None, "{status}");
    }
    for status in [300, 301, 302, 303, 307, 308, 400, 403, 451, 500, 502, 503, 504, 299, 499, 599] {
        assert_eq!(refused(Kind::Other, status, &[], &none), Some(Refusal::Status), "{status}");
        for field in [told[0], ("cache-control", "public"), ("cache-control", "s-maxage=0"), ("expires", "0")]
        {
            assert_eq!(refused(Kind::Other, status, &[field], &none), None, "{status} {field:?}");
        }
        assert_eq!(refused(Kind::Other, status, &[], &by_rule(status)), None, "{status}");
    }
    for status in [401, 407, 408, 412, 416, 417, 421, 428, 429, 431, 511] {
        assert_eq!(refused(Kind::Other, status, &told, &none), Some(Refusal::Status), "{status}");
        assert_eq!(refused(Kind::Other, status, &told, &by_rule(status)), None, "{status}");
    }
    for status in [100, 103, 304, 600, 999] {
        assert_eq!(refused(Kind::Other, status, &told, &by_rule(status)), Some(Refusal::Status), "{status}");
    }
    assert_eq!(refused(Kind::Other, 206, &told, &by_rule(206)), Some(Refusal::Partial));
}

#[test]
fn a_failing_origin_is_shielded_for_kinds_with_a_default() {
    for status in [500, 502, 503, 504] {
        for kind in [Kind::Segment, Kind::MediaPlaylist, Kind::Manifest] {
            let lifetime = kept(kind, &answer(status, &[]), None, &Times::default());
            assert_eq!(lifetime.fresh_until, now() + NEGATIVE_TTL, "{status} {kind:?}");
        }
    }
}

#[test]
fn must_understand_overrides_no_store_where_the_status_is_understood() {
    let fields = [("cache-control", "must-understand, no-store, max-age=60")];
    assert_eq!(refused(Kind::Other, 200, &fields, &Times::default()), None);
    assert_eq!(refused(Kind::Other, 299, &fields, &Times::default()), Some(Refusal::Status));
    let named = Times { names_status: true, ..Times::default() };
    assert_eq!(refused(Kind::Other, 299, &fields, &named), Some(Refusal::NoStore));
}

#[test]
fn an_answer_to_authorization_is_shared_only_by_leave() {
    let verdict = |control: &str, times: &Times, keyed_by_it| {
        let header = answer(200, &[("cache-control", control)]);
        let fetched =
            Fetched { authorized: true, keyed_by_it, ..fetched(&header, Kind::Segment, None, times) };
        match judge(&fetched) {
            Verdict::Keep(_) => None,
            Verdict::Pass(_, refusal) => Some(refusal),
        }
    };
    let none = Times::default();
    for control in ["", "max-age=60", "proxy-revalidate, max-age=60", "public=x", "immutable"] {
        assert_eq!(verdict(control, &none, false), Some(Refusal::Authorization), "{control}");
        assert_eq!(verdict(control, &rule(60), false), Some(Refusal::Authorization), "{control}");
        assert_eq!(verdict(control, &none, true), Some(Refusal::Authorization), "{control}");
        assert_eq!(verdict(control, &rule(60), true), None, "{control}");
    }
    for control in ["public, max-age=60", "s-maxage=60", "must-revalidate, max-age=60"] {
        assert_eq!(verdict(control, &none, false), None, "{control}");
    }
    assert_eq!(verdict("private, must-revalidate", &none, false), Some(Refusal::Private));
}

#[test]
fn a_request_with_no_store_has_nothing_stored() {
    let (header, times) = (answer(200, &[("cache-control", "public, max-age=60")]), rule(60));
    let fetched = Fetched { no_store: true, ..fetched(&header, Kind::Segment, None, &times) };
    assert!(matches!(judge(&fetched), Verdict::Pass(_, Refusal::RequestNoStore)));
}

#[test]
fn fields_for_one_user_or_use_are_not_stored() {
    let header = answer(
        200,
        &[
            ("cache-control", "max-age=60, private=\"x-user, Set-Cookie\", no-cache=\"x-once\""),
            ("x-user", "me"),
            ("x-once", "1"),
            ("set-cookie", "a=b"),
            ("x-all", "1"),
        ],
    );
    let Verdict::Keep(kept) = judged(Kind::Other, &header, None, &Times::default()) else { panic!("kept") };
    for name in ["x-user", "x-once", "set-cookie"] {
        assert!(!kept.header.headers.contains_key(name), "{name}");
    }
    assert_eq!(kept.header.headers["x-all"], "1");
    assert_eq!(kept.lifetime.fresh_until, now() + seconds(60));
    let header = answer(200, &[("cache-control", "private=\"x\", no-store"), ("x", "1")]);
    let Verdict::Pass(passed, _) = judged(Kind::Other, &header, None, &Times::default()) else {
        panic!("not kept")
    };
    assert_eq!(passed.headers["x"], "1", "the one who asked gets it");
}

#[test]
fn fields_for_the_node_are_not_for_viewers() {
    let fields = [
        ("forebay-cache-control", "max-age=60"),
        ("surrogate-key", "a"),
        ("surrogate-control", "max-age=9"),
        ("cache-tag", "b"),
        ("cdn-cache-control", "max-age=5"),
        ("cache-groups", "\"g\""),
    ];
    let told = told(Kind::Other, &answer(200, &fields), None, &Times::default());
    let names: Vec<_> = told.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["cdn-cache-control", "cache-groups", "date"]);
    let header = answer(200, &[("forebay-cache-control", "no-store"), ("surrogate-key", "a")]);
    let Verdict::Pass(passed, Refusal::NoStore) = judged(Kind::Other, &header, None, &Times::default())
    else {
        panic!("not kept")
    };
    assert_eq!(passed.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["date"]);
}

#[test]
fn an_answer_without_a_readable_date_gets_one() {
    for fields in [&[][..], &[("date", "today")], &[("date", &date_at(-5)), ("date", &date_at(-6))]] {
        let told = told(Kind::Segment, &answer(200, fields), None, &Times::default());
        assert_eq!(told.headers.get_all("date").iter().collect::<Vec<_>>(), [&date_at(0)], "{fields:?}");
    }
    let told = told(Kind::Segment, &answer(200, &[("date", &date_at(-5))]), None, &Times::default());
    assert_eq!(told.headers["date"], date_at(-5));
}

#[test]
fn the_fields_that_an_answer_varies_by_are_told() {
    let vary = |values: &[&str]| {
        let fields: Vec<_> = values.iter().map(|value| ("vary", *value)).collect();
        match judged(Kind::Segment, &answer(200, &fields), None, &rule(60)) {
            Verdict::Keep(kept) => {
                Some(kept.vary.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>())
            }
            Verdict::Pass(_, refusal) => {
                assert_eq!(refusal, Refusal::Vary);
                None
            }
        }
    };
    assert_eq!(vary(&[]).unwrap(), Vec::<String>::new());
    assert_eq!(vary(&[" , "]).unwrap(), Vec::<String>::new());
    let both = ["Origin, accept-encoding,,origin", "X-B"];
    assert_eq!(vary(&both).unwrap(), ["accept-encoding", "origin", "x-b"]);
    for values in [&["*"][..], &["origin, *"], &["origin", "*"], &["a b"], &["\"a\""], &["\u{e9}"]] {
        assert_eq!(vary(values), None, "{values:?}");
    }
}

#[test]
fn an_answer_with_too_many_tags_is_not_kept() {
    let many = (0..=tags::TAGS_MAX).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let fields = [("surrogate-key", many.as_str()), ("cache-control", "max-age=60")];
    assert_eq!(refused(Kind::Segment, 200, &fields, &rule(60)), Some(Refusal::Tags));
    let header = answer(200, &[("cache-tag", "a")]);
    let Verdict::Keep(kept) = judged(Kind::Segment, &header, None, &Times::default()) else { panic!("kept") };
    assert_eq!(kept.tags.as_deref(), Some(&[tags::tag_hash("a")][..]));
}
