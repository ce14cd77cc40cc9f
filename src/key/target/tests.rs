#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::*;
use crate::key::{QueryChoice, is_named, target_of};

fn merged(sent: &str) -> String {
    path(sent, true).unwrap().into_owned()
}

#[test]
fn one_path_has_one_spelling() {
    for (sent, normal) in [
        ("/live/a.ts", "/live/a.ts"),
        ("/%6Cive/%7ea%2Ets", "/live/~a.ts"),
        ("/a%2fb%c3%a9", "/a%2Fb%C3%A9"),
        ("/é", "/%C3%A9"),
        ("/a\\b\"<>^`{|}", "/a%5Cb%22%3C%3E%5E%60%7B%7C%7D"),
        ("/a[1]", "/a[1]"),
        ("/a b", "/a%20b"),
        ("/a;v=1,2/b", "/a;v=1,2/b"),
    ] {
        assert_eq!(merged(sent), normal, "{sent}");
    }
}

#[test]
fn dot_segments_are_removed_however_they_are_spelt() {
    for (sent, normal) in [
        ("/a/../b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/./b", "/a/b"),
        ("/a/%2e/b", "/a/b"),
        ("/../../b", "/b"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/..", "/"),
        ("/a/...", "/a/..."),
        ("/a/..b", "/a/..b"),
        ("/a/..%2Fb", "/a/..%2Fb"),
        ("/a/..;x/b", "/a/..;x/b"),
    ] {
        assert_eq!(merged(sent), normal, "{sent}");
    }
}

#[test]
fn slashes_are_merged_where_the_site_says_so() {
    for (sent, whole, kept) in [
        ("//a", "/a", "//a"),
        ("/a//b", "/a/b", "/a//b"),
        ("/a///", "/a/", "/a///"),
        ("//", "/", "//"),
        ("/a//../b", "/b", "/a/b"),
        ("/a/..//b", "/b", "//b"),
    ] {
        assert_eq!(merged(sent), whole, "{sent}");
        assert_eq!(path(sent, false).unwrap(), kept, "{sent}");
    }
}

#[test]
fn what_has_no_meaning_is_refused() {
    for sent in ["/%", "/%4", "/%4g", "/%zz", "/a%00b", "/%0a", "/%1F", "/%7f", "/a\nb", "/a\0", "/a%%20"] {
        assert_eq!(path(sent, true), Err(NotATarget), "{sent:?}");
        assert_eq!(query(&sent[1..]), Err(NotATarget), "{sent:?}");
    }
}

#[test]
fn one_query_has_one_spelling_and_an_empty_one_is_none() {
    for (sent, normal) in [
        ("", None),
        ("&", None),
        ("&&&", None),
        ("a=1", Some("a=1")),
        ("&a=1&&b=2&", Some("a=1&b=2")),
        ("_HLS_msn=007&_HLS_part=00&a=01", Some("_HLS_msn=7&_HLS_part=0&a=01")),
        ("_HLS_msn=0&x_HLS_msn=01&_HLS_part=0x", Some("_HLS_msn=0&x_HLS_msn=01&_HLS_part=0x")),
        ("%5fHLS_msn=%30%31&&_HLS_msn=0", Some("_HLS_msn=1&_HLS_msn=0")),
        ("b=1&a=1", Some("b=1&a=1")),
        ("%61=%7e&b=%2f%3d", Some("a=~&b=%2F%3D")),
        ("a=b?c/d", Some("a=b?c/d")),
        ("a=%26b", Some("a=%26b")),
        ("a=1;b=2", Some("a=1;b=2")),
        ("a=x|y", Some("a=x%7Cy")),
    ] {
        assert_eq!(query(sent).unwrap().as_deref(), normal, "{sent}");
    }
}

#[test]
fn a_target_in_normal_form_is_not_copied() {
    for sent in ["/", "/live/ch1/seg-12.m4s", "/a%20b/%C3%A9", "/a:b@c;d=e,f/(g)!$&'*+"] {
        assert!(matches!(path(sent, true), Ok(Cow::Borrowed(same)) if same == sent), "{sent}");
    }
    for sent in ["a", "a=1&b=2", "_HLS_msn=1&x=%26", "a=?/"] {
        assert!(matches!(query(sent), Ok(Some(Cow::Borrowed(same))) if same == sent), "{sent}");
    }
}

#[test]
fn bytes_that_are_no_text_are_encoded() {
    assert_eq!(text(b"/a\xffb"), "/a%FFb");
    assert!(matches!(text("/é".as_bytes()), Cow::Borrowed("/é")));
}

#[test]
fn what_is_left_keeps_its_encodings_and_nothing_else() {
    let is_left = |parameter: &str| is_named(parameter, "token");
    let left = |sent| query_leaving(sent, is_left).unwrap();
    for sent in ["token=exp=1~acl=%2flive%2f*~%41", "a=1&token=%7e&b=2", "token=&token=%3d"] {
        assert!(matches!(left(sent), Some(Cow::Borrowed(same)) if same == sent), "{sent}");
    }
    for (sent, normal) in [
        ("%61=1&token=%2f&b=%2f", "a=1&token=%2f&b=%2F"),
        ("token=%2f&&b=1&", "token=%2f&b=1"),
        ("&token=%2f", "token=%2f"),
        ("_HLS_msn=07&token=%2f", "_HLS_msn=7&token=%2f"),
        ("%74oken=%2f&token%3d%2f", "token=%2F&token%3D%2F"),
        ("token=%2f|", "token=%2F%7C"),
        ("tokens=%2f", "tokens=%2F"),
    ] {
        assert_eq!(left(sent).as_deref(), Some(normal), "{sent}");
    }
    for sent in ["token=%2", "token=%0a", "token=%zz&a=1", "a=1&token=\n"] {
        assert_eq!(query_leaving(sent, is_left), Err(NotATarget), "{sent:?}");
    }
}

/// The normal form by its definition: all of the text first, and then what says nothing.
fn plainly(sent: &str) -> Result<Option<String>, NotATarget> {
    let mut text = String::new();
    respell(sent.as_bytes(), &mut text)?;
    let plain = |parameter: &str| match parameter.split_once('=') {
        Some((name @ ("_HLS_msn" | "_HLS_part"), digits))
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            let digits = digits.trim_start_matches('0');
            format!("{name}={}", if digits.is_empty() { "0" } else { digits })
        }
        _ => parameter.to_owned(),
    };
    let parameters: Vec<String> =
        text.split('&').filter(|parameter| !parameter.is_empty()).map(plain).collect();
    Ok((!parameters.is_empty()).then(|| parameters.join("&")))
}

/// The path's bytes with all encodings undone, dots and slashes removed by their plain definition.
fn meaning(path: &str, merge_slashes: bool) -> Vec<Vec<u8>> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (place, segment) in segments.iter().enumerate() {
        let last = place + 1 == segments.len();
        let plain: Vec<u8> = percent_decode_str(segment).collect();
        match plain.as_slice() {
            b"." if last => kept.push(Vec::new()),
            b"." => {}
            b".." => {
                kept.pop();
                if last {
                    kept.push(Vec::new());
                }
            }
            b"" if merge_slashes && !last => {}
            _ => kept.push(plain),
        }
    }
    kept
}

proptest! {
    #[test]
    fn the_normal_form_is_its_own_normal_form(
        sent in "/(/|\\.|%2e|%2E|%2f|%7e|%41|%c3|[ab]|é|\\\\|\\||\\?|%25){0,20}", merge in any::<bool>(),
    ) {
        let sent = sent.replace('?', "");
        let once = path(&sent, merge).unwrap().into_owned();
        prop_assert!(matches!(path(&once, merge), Ok(Cow::Borrowed(_))), "{} {}", sent, once);
        prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."), "{} {}", sent, once);
        prop_assert!(!merge || !once.contains("//"), "{} {}", sent, once);
        prop_assert!(once.is_ascii() && once.starts_with('/'));
        prop_assert_eq!(meaning(&once, merge), meaning(&sent, merge), "{} {}", sent, once);
    }

    #[test]
    fn a_query_keeps_its_meaning(sent in "(&|=|%26|%3d|%7e|a|é|\\+|;|\\?|/|\"){0,16}") {
        let parts = |text: &str| -> Vec<Vec<u8>> {
            let parts = text.split('&').filter(|part| !part.is_empty());
            parts.map(|part| percent_decode_str(part).collect()).collect()
        };
        let normal = query(&sent).unwrap();
        let normal = normal.as_deref().unwrap_or_default();
        prop_assert_eq!(parts(normal), parts(&sent));
        let again = query(normal).unwrap();
        prop_assert_eq!(again.as_deref().unwrap_or_default(), normal);
    }

    #[test]
    fn what_is_left_changes_no_key_and_refuses_the_same(
        sent in "((&|hdnts=|hdnts|%68dnts%3D|_HLS_msn=0|_HLS_part=|CMCD=|b=|a)\
                 (exp=1~|%2f|%2F|%41|%7e|%26|%3d|%C3%A9|=|\\?|/|\\*|\\[|\\||é|#|0|%|%0a|%4){0,4}&?){0,6}",
        listed in proptest::option::of(Just(vec!["a".to_owned()])),
    ) {
        let is_token = |parameter: &str| is_named(parameter, "hdnts");
        let choice = QueryChoice { listed: listed.as_deref(), is_ignored: &is_token };
        let key = |query: Option<&str>| target_of("/v.m3u8", query, &choice);
        let old = plainly(&sent).map(|query| key(query.as_deref()));
        let new = query_leaving(&sent, is_token).map(|query| key(query.as_deref()));
        prop_assert_eq!(&old, &new);
        let without = query(&sent).map(|query| key(query.as_deref()));
        prop_assert_eq!(&old, &without);
        prop_assert_eq!(plainly(&sent), query(&sent).map(|query| query.map(Cow::into_owned)));
        // What goes on is a target, also where the token in it is as it was sent.
        if let Ok(Some(query)) = query_leaving(&sent, is_token) {
            prop_assert!(query.bytes().all(|byte| byte == b'%' || stays(byte)), "{}", query);
        }
    }

    #[test]
    fn no_text_makes_it_panic(sent in "\\PC{0,24}|(%|[0-9a-f]|\\x00|/){0,24}") {
        let _ = query(&sent);
        if let Ok(normal) = path(&format!("/{sent}"), true) {
            prop_assert!(normal.bytes().all(|byte| byte == b'%' || stays(byte)));
        }
    }
}
