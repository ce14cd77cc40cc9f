//! Session tokens, and what is remembered of tokens.

use std::time::Duration;

use http::header::USER_AGENT;

use super::*;

fn session() -> Session {
    Session {
        keys: vec![key("s1", 3)],
        name: "hdntl".into(),
        life: Duration::from_secs(86_400),
        scope_of_token: false,
        also: vec!["/keys/*".into()],
        bind_address: false,
        bind_tls: false,
        claims: vec!["data".into()],
    }
}

fn with(session: Session) -> Policy {
    Policy::from_config(&TokenPolicy { session: Some(session), ..config() }, 1 << 20)
}

/// The session token that a viewer gets with a playlist.
fn minted(policy: &Policy, request: &Presented<'_>) -> String {
    let admitted = policy.admit(request).unwrap();
    assert!(!admitted.by_session);
    let carried = policy.carried(&admitted, request);
    assert_eq!((carried.name, carried.life, carried.is_admitted), ("hdntl", Some(86_400), false));
    carried.text.to_string()
}

fn short(acl: &str) -> String {
    format!("hdnts={}", sign(&Claims { data: Some("plan=gold&x".into()), ..claims(acl) }, SECRET, None))
}

#[test]
fn a_session_token_opens_the_directory_of_the_playlist_and_what_is_named_beside_it() {
    let policy = with(session());
    let query = short("/*");
    let token =
        minted(&policy, &Presented { query: Some(&query), ..Presented::get("/live/a/index.m3u8", NOW) });
    let opens = |path: &str, now| {
        let target = format!("/hdntl={token}{path}");
        policy.admit(&Presented { normal: path, ..Presented::get(&target, now) })
    };
    for path in ["/live/a/1.m4s", "/live/a/hd/1.m4s", "/keys/1"] {
        let admitted = opens(path, NOW + 86_399).unwrap();
        assert!(admitted.by_session);
        assert_eq!(admitted.terms().session.as_deref(), Some("s1"));
        assert_eq!(admitted.terms().claims.get("data"), Some("plan=gold%26x"));
    }
    assert_eq!(opens("/live/b/1.m4s", NOW).unwrap_err().reason, Reason::Path);
    assert_eq!(opens("/live/a/1.m4s", NOW + 86_400).unwrap_err().reason, Reason::Expired);
}

/// Where a token stands in a URI, `?` has to be encoded, and `%` with it.
#[test]
fn a_session_token_that_is_too_long_once_it_is_encoded_is_not_made() {
    let policy = with(Session { scope_of_token: true, claims: Vec::new(), ..session() });
    let carried = |letters: usize| {
        let id = Some("~".repeat(letters));
        let query = format!("hdnts={}", sign(&Claims { id, ..claims("/live/?/*") }, SECRET, None));
        let request = Presented { query: Some(&query), ..Presented::get("/live/a/index.m3u8", NOW) };
        let admitted = policy.admit(&request).unwrap();
        let carried = policy.carried(&admitted, &request);
        (!carried.is_admitted).then(|| carried.text.replace('%', "%25").replace('?', "%3F"))
    };
    let longest = (1..1300).filter_map(carried).last().unwrap();
    assert!((TOKEN_BYTES_MAX - 8..=TOKEN_BYTES_MAX).contains(&longest.len()), "{}", longest.len());
    let target = format!("/hdntl={longest}/live/a/1.m4s");
    let admitted =
        policy.admit(&Presented { normal: "/live/a/1.m4s", ..Presented::get(&target, NOW) }).unwrap();
    assert!(admitted.by_session);
}

#[test]
fn a_session_that_is_refused_leaves_the_word_to_the_policys_own_token() {
    let policy = with(session());
    let query = short("/*");
    let request = Presented { query: Some(&query), ..Presented::get("/live/a/index.m3u8", NOW) };
    let token = minted(&policy, &request);
    let both = format!("{query}&hdntl={token}");
    let elsewhere = Presented { query: Some(&both), ..Presented::get("/live/b/index.m3u8", NOW) };
    assert!(!policy.admit(&elsewhere).unwrap().by_session);
    let here = Presented { query: Some(&both), ..request };
    assert!(policy.admit(&here).unwrap().by_session);
    let twice = format!("hdntl={token}&hdntl={token}&{query}");
    let twice = Presented { query: Some(&twice), ..request };
    assert_eq!(policy.admit(&twice).unwrap_err().reason, Reason::Malformed);
}

/// A viewer who watched `/live/a/hd/index.m3u8` by itself, then `/live/a/index.m3u8`.
#[test]
fn cookies_of_a_folder_and_of_one_in_it_do_not_lock_a_viewer_out() {
    let policy = with(session());
    let query = short("/*");
    let opened = |path| Presented { query: Some(&query), ..Presented::get(path, NOW) };
    let (nearer, outer) =
        (minted(&policy, &opened("/live/a/hd/index.m3u8")), minted(&policy, &opened("/live/a/index.m3u8")));
    let both = HeaderMap::from_iter([(COOKIE, format!("hdntl={nearer}; hdntl={outer}").parse().unwrap())]);
    let target = format!("/hdntl={outer}/live/a/hd/1.m4s");
    for path in ["/live/a/hd/1.m4s", target.as_str()] {
        let request = Presented { headers: &both, normal: "/live/a/hd/1.m4s", ..Presented::get(path, NOW) };
        assert!(policy.admit(&request).unwrap().by_session, "{path}");
    }
}

#[test]
fn who_opens_another_link_is_the_viewer_of_that_link() {
    let policy = with(session());
    let link = |id: Option<&str>, data: &str| {
        let id = id.map(str::to_owned);
        let claims = Claims { id, data: Some(data.into()), ..claims("/*") };
        format!("hdnts={}", sign(&claims, SECRET, None))
    };
    for (mine, other) in [
        (link(Some("me"), "x"), link(Some("other"), "x")),
        (link(None, "x"), link(None, "y")),
        (link(None, "x"), link(Some("other"), "x")),
    ] {
        let opened = Presented { query: Some(&mine), ..Presented::get("/live/a/index.m3u8", NOW) };
        let cookie = format!("hdntl={}", minted(&policy, &opened));
        let headers = HeaderMap::from_iter([(COOKIE, cookie.parse().unwrap())]);
        let again = Presented { headers: &headers, ..opened };
        assert!(policy.admit(&again).unwrap().by_session, "the same link");
        let another = Presented { query: Some(&other), ..again };
        assert!(!policy.admit(&another).unwrap().by_session, "another link");
        let spoilt = format!("{other}0");
        let spoilt = Presented { query: Some(&spoilt), ..again };
        assert!(policy.admit(&spoilt).unwrap().by_session, "a link that is no good");
    }
}

#[test]
fn a_session_is_bound_to_what_the_policy_says() {
    let policy = with(Session { bind_address: true, bind_tls: true, ..session() });
    let query = short("/*");
    let of = |client: &str, ja4| Presented {
        client: client.parse().unwrap(),
        ja4,
        ..Presented::get("/live/a/index.m3u8", NOW)
    };
    let first = Presented { query: Some(&query), ..of("192.0.2.1", Some("t13d")) };
    let token = format!("hdntl={}", minted(&policy, &first));
    let later = |request| policy.admit(&Presented { query: Some(&token), ..request }).map_err(|it| it.reason);
    assert!(later(of("192.0.2.1", Some("t13d"))).is_ok());
    assert_eq!(later(of("192.0.2.2", Some("t13d"))).unwrap_err(), Reason::Ip);
    assert_eq!(later(of("192.0.2.1", Some("t12d"))).unwrap_err(), Reason::TlsFingerprint);
    assert_eq!(later(of("192.0.2.1", None)).unwrap_err(), Reason::TlsFingerprint);
}

/// What revocations and limits name is what the first token said, whatever the wire form makes of its characters.
#[test]
fn a_session_token_names_the_session_of_the_first_token() {
    let policy = with(session());
    for id in ["auth0|4711", "a/b+c=d", "caf\u{e9} 1", "100%", "a%20b", "x~exp=9", "plain"] {
        let opened = opened_by(Terms { session: Some(id.to_owned()), ..Terms::default() });
        let request = Presented::get("/live/a/index.m3u8", NOW);
        let token = format!("hdntl={}", policy.carried(&opened, &request).text);
        let later = policy.admit(&Presented { query: Some(&token), ..request }).unwrap();
        assert!(later.by_session);
        assert_eq!(policy.session_of(&later, &request), policy.session_of(&opened, &request), "{id}");
        assert_eq!(later.terms().session.as_deref(), Some(id));
    }
}

fn opened_by(terms: Terms) -> Admission {
    let verdict = Arc::new(Verdict::new("t", "t", "k".into(), terms));
    Admission { verdict, place: TokenPlace::Query, by_session: false, name: 0 }
}

#[test]
fn a_subject_says_nothing_but_who_it_is() {
    let policy = with(session());
    let subject = "alice&n=1000&c.data=gold&net=0.0.0.0/0%26~data=x";
    let opened = opened_by(Terms { subject: Some(subject.into()), streams: Some(1), ..Terms::default() });
    let request = Presented::get("/live/a/index.m3u8", NOW);
    let token = format!("hdntl={}", policy.carried(&opened, &request).text);
    let later = policy.admit(&Presented { query: Some(&token), ..request }).unwrap();
    let terms = later.terms();
    assert_eq!((terms.subject.as_deref(), terms.streams), (Some(subject), Some(1)));
    assert_eq!(terms.claims.iter().count(), 0);
}

#[test]
fn a_subject_that_does_not_fit_makes_no_session_token_that_leaves_it_out() {
    let policy = with(session());
    let request = Presented::get("/live/a/index.m3u8", NOW);
    let is_minted = |length: usize| {
        let opened = opened_by(Terms { subject: Some("s".repeat(length)), ..Terms::default() });
        !policy.carried(&opened, &request).is_admitted
    };
    assert!(is_minted(1000) && !is_minted(1024));
}

#[test]
fn a_path_that_climbs_opens_no_session() {
    let policy = with(session());
    let opened = opened_by(Terms::default());
    for path in
        ["/live/..%2Fvod/i.m3u8", "/live/..%5Cvod/i.m3u8", "/live/..;x/i.m3u8", "/live/a/..%2F..%2Fi.m3u8"]
    {
        assert!(policy.carried(&opened, &Presented::get(path, NOW)).is_admitted, "{path}");
    }
}

/// What the first token is bound to, its session token is bound to as well.
#[test]
fn a_session_token_repeats_whom_and_where_the_first_token_is_for() {
    use super::checks::{Addresses, Countries, Fingerprint, Hosts};
    let policy = with(session());
    let request = Presented {
        client: "192.0.2.1".parse().unwrap(),
        host: "a.example:8443",
        ja4: Some("t13d"),
        ..Presented::get("/live/a/index.m3u8", NOW)
    };
    let networks = ["192.0.2.0/24", "2001:db8::/32"].map(|text| text.parse().unwrap());
    let later = |check: Box<dyn Check>, request: &Presented<'_>, other: Presented<'_>| {
        let opened = opened_by(Terms { checks: vec![check], ..Terms::default() });
        let token = format!("hdntl={}", policy.carried(&opened, request).text);
        let admits = |request: &Presented<'_>| {
            let admitted = policy.admit(&Presented { query: Some(&token), ..*request });
            admitted.map(|it| it.by_session).map_err(|it| it.reason)
        };
        (admits(request), admits(&other))
    };
    let elsewhere = Presented { client: "198.51.100.1".parse().unwrap(), ..request };
    assert_eq!(
        later(Box::new(Addresses(networks.to_vec())), &request, elsewhere),
        (Ok(true), Err(Reason::Ip))
    );
    let elsewhere = Presented { host: "b.example", ..request };
    let hosts = || Box::new(Hosts(vec!["a.example".into(), "b,b.example".into()]));
    assert_eq!(later(hosts(), &request, elsewhere), (Ok(true), Err(Reason::Host)));
    let nameless = Presented { host: "", ..request };
    assert_eq!(later(Box::new(Hosts(Vec::new())), &nameless, nameless).0, Err(Reason::Host));
    let elsewhere = Presented { ja4: None, ..request };
    let prints = Box::new(Fingerprint(vec!["t13d".into()]));
    assert_eq!(later(prints, &request, elsewhere), (Ok(true), Err(Reason::TlsFingerprint)));
    let countries = Box::new(Countries(vec!["SE".into()]));
    assert_eq!(later(countries, &request, request).0, Err(Reason::Geo), "the node does not know where");
}

#[test]
fn a_link_that_is_shared_makes_a_session_for_each_viewer_and_one_for_each() {
    let policy = with(session());
    let query = format!("hdnts={}", sign(&Claims { id: None, ..claims("/*") }, SECRET, None));
    let named = |client: &str, agent: &'static str| {
        let headers: HeaderMap = [(USER_AGENT, HeaderValue::from_static(agent))].into_iter().collect();
        let client = client.parse().unwrap();
        let request =
            Presented { query: Some(&query), headers: &headers, client, ..Presented::get("/a/i.m3u8", NOW) };
        let token = format!("hdntl={}", minted(&policy, &request));
        let later = Presented { query: Some(&token), ..request };
        policy.admit(&later).unwrap().terms().session.clone().unwrap()
    };
    let one = named("192.0.2.1", "player");
    assert_eq!(named("192.0.2.1", "player"), one);
    assert_ne!(named("192.0.2.2", "player"), one);
    assert_ne!(named("192.0.2.1", "other"), one);
    assert_ne!(
        named("192.0.2.1", "2player"),
        named("192.0.2.12", "player"),
        "address and agent run together"
    );
}

#[test]
fn a_directory_that_a_pattern_would_widen_opens_no_session() {
    let policy = with(session());
    let query = short("/*");
    for path in ["/live/*/index.m3u8", "/live/%2A/index.m3u8", "/live/a!/index.m3u8", "/live/%3f/i.m3u8"] {
        let request = Presented { query: Some(&query), ..Presented::get(path, NOW) };
        let admitted = policy.admit(&request).unwrap();
        assert!(policy.carried(&admitted, &request).is_admitted, "{path}");
    }
}

#[test]
fn the_scope_of_the_first_token_is_repeated_where_the_policy_says_so() {
    let policy = with(Session { scope_of_token: true, also: Vec::new(), ..session() });
    let query = short("/live/*!/vod/*");
    let token = minted(&policy, &Presented { query: Some(&query), ..Presented::get("/live/a/i.m3u8", NOW) });
    let token = format!("hdntl={token}");
    let opens = |path| policy.admit(&Presented { query: Some(&token), ..Presented::get(path, NOW) }).is_ok();
    assert!(opens("/live/b/1.ts") && opens("/vod/1.ts") && !opens("/keys/1"));
}

#[test]
fn a_token_is_verified_once_and_evaluated_each_time() {
    let policy = policy();
    let query = format!("hdnts={}", token("/live/*"));
    let at = |path, now| policy.admit(&Presented { query: Some(&query), ..Presented::get(path, now) });
    let first = at("/live/a.ts", NOW).unwrap();
    let second = at("/live/b.ts", NOW + 1).unwrap();
    assert!(Arc::ptr_eq(&first.verdict, &second.verdict), "one verdict");
    assert_eq!(at("/vod/a.ts", NOW).unwrap_err().reason, Reason::Path);
    assert_eq!(at("/live/a.ts", NOW + 600).unwrap_err().reason, Reason::Expired);
    policy.forget();
    assert!(!Arc::ptr_eq(&first.verdict, &at("/live/a.ts", NOW).unwrap().verdict), "forgotten");
}

#[test]
fn a_verdict_on_a_url_token_is_for_that_url_alone() {
    let policy = policy();
    let scope = Scope::Url("/live/a.ts".into());
    let query = format!("hdnts={}", sign(&Claims { scope, ..claims("/") }, SECRET, None));
    let at = |path| policy.admit(&Presented { query: Some(&query), ..Presented::get(path, NOW) });
    let first = at("/live/a.ts").unwrap();
    assert!(Arc::ptr_eq(&first.verdict, &at("/live/a.ts").unwrap().verdict));
    assert_eq!(at("/live/b.ts").unwrap_err().reason, Reason::BadMac);
    let other = format!("{query}&x=1");
    let request = Presented { query: Some(&other), ..Presented::get("/live/a.ts", NOW) };
    assert!(!Arc::ptr_eq(&first.verdict, &policy.admit(&request).unwrap().verdict));
}

#[test]
fn verdicts_stay_within_their_bytes() {
    let policy = Policy::from_config(&config(), 64 << 10);
    for viewer in 0..2_000 {
        let id = Some(format!("v{viewer}"));
        let query = format!("hdnts={}", sign(&Claims { id, ..claims("/*") }, SECRET, None));
        assert!(policy.admit(&Presented { query: Some(&query), ..Presented::get("/a", NOW) }).is_ok());
    }
    assert!(policy.verdicts.weight() <= 64 << 10, "{}", policy.verdicts.weight());
    assert!(policy.verdicts.weight() > 0);
}

#[test]
fn a_token_in_a_header_field_is_found_there_and_named_twice_is_refused() {
    let config = TokenPolicy {
        names: vec!["authorization".into(), "x-token".into()],
        places: vec![TokenPlace::Header],
        ..config()
    };
    let policy = Policy::from_config(&config, 0);
    let admit = |fields: &[(&'static str, String)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let admitted = policy.admit(&Presented { headers: &headers, ..Presented::get("/a", NOW) });
        admitted.map(|it| it.place).map_err(|it| it.reason)
    };
    let good = token("/*");
    assert_eq!(admit(&[("authorization", format!("Bearer {good}"))]), Ok(TokenPlace::Header));
    assert_eq!(admit(&[("x-token", good.clone())]), Ok(TokenPlace::Header));
    assert_eq!(admit(&[("x-token", good.clone()), ("x-token", good)]), Err(Reason::Malformed));
    assert_eq!(admit(&[]), Err(Reason::Missing));
    assert_eq!(admit(&[("authorization", "Basic eDp5".to_owned())]), Err(Reason::Missing), "not a token");
    let beside = [("authorization", "Basic eDp5".to_owned()), ("x-token", token("/*"))];
    assert_eq!(admit(&beside), Ok(TokenPlace::Header));
    assert_eq!(policy.token_fields(), ["authorization", "x-token"]);
}

#[test]
fn a_token_in_a_path_parameter_is_found_in_any_segment() {
    let policy = policy_with(&[TokenPlace::PathParameter]);
    let token = sign(&claims("*"), SECRET, None);
    for path in [format!("/live;hdnts={token}/a.ts"), format!("/live/a.ts;hdnts={token}")] {
        assert_eq!(policy.strip_path(&path), ("", Cow::Borrowed("/live/a.ts")));
        assert_eq!(admit(&policy, &path, None, &[]).unwrap().place, TokenPlace::PathParameter);
    }
    let twice = format!("/live;hdnts={token};hdnea={token}/a.ts");
    assert_eq!(reason(&policy, &twice, None, &[]), Reason::Malformed);
}
