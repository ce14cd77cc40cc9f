#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

const TOKEN: &str = "exp=1~acl=/media/live/a/*~id=viewer-1~hmac=ab";

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn entry() -> Url {
    url("http://edge.example:81/media/live/a/index.m3u8")
}

/// The fields that go with a request, as lines.
fn sent(purse: &Purse, to: &str) -> Vec<String> {
    let mut fields = Vec::new();
    purse.fields(&url(to), &mut fields);
    fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
}

/// A purse that has been answered from this URL with these lines.
fn given(from: &str, lines: &[&str]) -> Purse {
    let mut purse = Purse::empty();
    give(&mut purse, from, lines);
    purse
}

fn give(purse: &mut Purse, from: &str, lines: &[&str]) {
    let headers = lines.iter().map(|line| (SET_COOKIE, HeaderValue::from_str(line).unwrap())).collect();
    purse.take(&url(from), &headers);
}

#[test]
fn a_token_in_the_path_is_one_segment_and_is_inherited_by_relative_uris() {
    let purse = Purse::with(TOKEN.into(), Carry::Path);
    let entry = purse.entry(&entry());
    let token = "exp=1~acl=%2Fmedia%2Flive%2Fa%2F*~id=viewer-1~hmac=ab";
    assert_eq!(entry.path(), format!("/hdnts={token}/media/live/a/index.m3u8"));
    let segment = entry.join("v0/7.1000.m4s").unwrap();
    assert_eq!(segment.path(), format!("/hdnts={token}/media/live/a/v0/7.1000.m4s"));
    assert!(sent(&purse, segment.as_str()).is_empty());
}

#[test]
fn a_token_in_the_query_stands_at_the_entry_and_then_only_where_the_playlist_has_it() {
    let purse = Purse::with(TOKEN.into(), Carry::Query);
    assert_eq!(purse.entry(&entry()).query(), Some(&*format!("hdnts={TOKEN}")));
    assert_eq!(purse.entry(&url("http://e/a?b=c%7E")).query(), Some(&*format!("b=c%7E&hdnts={TOKEN}")));
    assert_eq!(purse.entry(&entry()).join("v0.m3u8").unwrap().query(), None);
    assert!(sent(&purse, "http://edge.example:81/media/live/a/v0.m3u8").is_empty());
}

#[test]
fn a_token_in_a_header_field_goes_with_every_request() {
    let purse = Purse::with(TOKEN.into(), Carry::Header);
    assert_eq!(purse.entry(&entry()), entry());
    assert_eq!(sent(&purse, "http://edge.example:81/any"), [format!("hdnts: {TOKEN}")]);
}

#[test]
fn an_empty_purse_changes_nothing() {
    assert_eq!(Purse::empty().entry(&entry()), entry());
    assert!(sent(&Purse::empty(), entry().as_str()).is_empty());
}

#[test]
fn where_tokens_go_by_cookie_the_entry_has_it_in_the_query_and_the_rest_has_the_cookie() {
    let mut purse = Purse::with(TOKEN.into(), Carry::Cookie);
    let entry = purse.entry(&entry());
    assert_eq!(entry.query(), Some(&*format!("hdnts={TOKEN}")));
    assert!(sent(&purse, entry.as_str()).is_empty());
    give(
        &mut purse,
        entry.as_str(),
        &["hdntl=exp=9~acl=*~hmac=cd; Path=/media/live/a/; Max-Age=90; HttpOnly"],
    );
    let segment = "http://edge.example:81/media/live/a/v0/7.1000.m4s";
    assert_eq!(sent(&purse, segment), ["cookie: hdntl=exp=9~acl=*~hmac=cd"]);
    assert!(sent(&purse, "http://edge.example:81/media/live/b/v0/7.1000.m4s").is_empty());
}

#[test]
fn a_cookie_goes_to_its_path_and_below_and_to_nothing_that_only_begins_alike() {
    for (path, to, goes) in [
        ("; Path=/a", "/a", true),
        ("; Path=/a", "/a/b", true),
        ("; Path=/a", "/ab", false),
        ("; Path=/a/", "/a", false),
        ("; Path=/", "/x", true),
        // Without a path, or with none: the folder of what was asked for.
        ("", "/live/x", true),
        ("", "/live", true),
        ("", "/lively", false),
        ("; Path=live", "/live/x", true),
    ] {
        let purse = given("http://edge.example/live/index.m3u8", &[&format!("t=1{path}")]);
        assert_eq!(!sent(&purse, &format!("http://edge.example{to}")).is_empty(), goes, "{path} {to}");
    }
    assert!(!sent(&given("http://edge.example/x", &["t=1"]), "http://edge.example/y").is_empty());
}

#[test]
fn a_cookie_goes_to_its_host_or_to_the_domain_that_it_names_and_never_to_another() {
    for (domain, to, goes) in [
        ("", "edge.example", true),
        ("", "a.edge.example", false),
        ("", "example", false),
        ("; Domain=edge.example", "a.edge.example", true),
        ("; Domain=.Edge.Example", "a.edge.example", true),
        ("; Domain=edge.example", "wedge.example", false),
        ("; Domain=example", "other.example", true),
        // Not its own to set.
        ("; Domain=other.example", "other.example", false),
        ("; Domain=a.edge.example", "a.edge.example", false),
    ] {
        let purse = given("http://edge.example/", &[&format!("t=1{domain}")]);
        assert_eq!(!sent(&purse, &format!("http://{to}/")).is_empty(), goes, "{domain} {to}");
    }
    let address = given("http://127.0.0.1:81/", &["t=1; Domain=0.0.1"]);
    assert!(sent(&address, "http://127.0.0.1:81/").is_empty());
    // Ports do not matter (RFC 6265 section 8.5).
    assert!(!sent(&given("http://127.0.0.1:81/", &["t=1"]), "http://127.0.0.1:82/").is_empty());
}

#[test]
fn a_secure_cookie_is_set_and_sent_over_tls_alone() {
    assert!(sent(&given("http://e.example/", &["t=1; Secure"]), "https://e.example/").is_empty());
    let purse = given("https://e.example/", &["t=1; Secure"]);
    assert_eq!(sent(&purse, "https://e.example/"), ["cookie: t=1"]);
    assert!(sent(&purse, "http://e.example/").is_empty());
}

#[test]
fn the_same_cookie_is_replaced_and_one_that_has_ended_is_taken_away() {
    let mut purse = given("http://e.example/", &["t=1", "u=2"]);
    give(&mut purse, "http://e.example/", &["t=3"]);
    assert_eq!(sent(&purse, "http://e.example/"), ["cookie: u=2; t=3"]);
    give(&mut purse, "http://e.example/", &["t=; Max-Age=0", "u=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]);
    assert!(purse.cookies.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cookie_is_forgotten_when_its_age_is_reached() {
    let purse = given("http://e.example/", &["t=1; Max-Age=90"]);
    tokio::time::advance(Duration::from_millis(89_999)).await;
    assert!(!sent(&purse, "http://e.example/").is_empty());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(sent(&purse, "http://e.example/").is_empty());
}

#[test]
fn cookies_of_longer_paths_go_first() {
    let purse = given("http://e.example/a/b/c", &["x=1; Path=/", "y=2; Path=/a/b", "z=3; Path=/a"]);
    assert_eq!(sent(&purse, "http://e.example/a/b/c"), ["cookie: y=2; z=3; x=1"]);
}

#[test]
fn cookies_have_a_limit_in_number_and_length_and_what_is_none_is_not_kept() {
    let mut purse = Purse::empty();
    for n in 0..=COOKIES_MAX {
        give(&mut purse, "http://e.example/", &[&format!("c{n}=1")]);
    }
    assert_eq!(purse.cookies.len(), COOKIES_MAX);
    assert_eq!(&*purse.cookies[0].name, "c1");
    let long = format!("t={}", "x".repeat(COOKIE_BYTES_MAX));
    assert!(given("http://e.example/", &[&long, "", "novalue", "=1"]).cookies.is_empty());
}
