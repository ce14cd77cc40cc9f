#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use clap::Parser;
use tempfile::TempDir;

use super::keygen::EDGEAUTH_BYTES;
use super::*;
use crate::admission::token::edgeauth;

mod formats;
mod keys;

const NOW: u64 = 1_700_001_000;

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    args: TokenArgs,
}

/// A folder with a key, another key and a salt in it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("key", "52a152a152a152a152a152a152a1\n"),
        ("other", "00112233445566778899aabbccddeeff"),
        ("salt", "pepper\n"),
        ("bad", "not hexadecimal"),
        ("empty", "\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Runs a command line in which `@NAME` stands for a file of the folder: `(exit code, output)`, or the message.
fn run_in(folder: &TempDir, words: &[&str]) -> Result<(u8, String), String> {
    let place = |word: &&str| match word.strip_prefix('@') {
        Some(name) => folder.path().join(name).display().to_string(),
        None => (*word).to_owned(),
    };
    let words = std::iter::once("token".to_owned()).chain(words.iter().map(place));
    let line = CommandLine::try_parse_from(words).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    let code = execute(&line.args.command, NOW, &mut out).map_err(|error| format!("{error:#}"))?;
    Ok((code, String::from_utf8(out).unwrap()))
}

fn printed(folder: &TempDir, words: &[&str]) -> String {
    let (code, text) = run_in(folder, words).unwrap();
    assert_eq!(code, 0, "{text}");
    text.trim_end().to_owned()
}

#[test]
fn signing_prints_the_published_tokens() {
    let folder = folder();
    let window = ["--start", "1700000000", "--exp", "1700003600"];
    let sign =
        |more: &[&str]| printed(&folder, &[&["sign", "--key-file", "@key"][..], &window[..], more].concat());
    assert_eq!(
        sign(&["--acl", "/*"]),
        "st=1700000000~exp=1700003600~acl=/*\
         ~hmac=cb48ba343c1783ea520789ffa7b9f87bab56a6ee64fbf10e222af079375df216"
    );
    assert_eq!(
        sign(&["--acl", "/vod/*", "--ip", "192.0.2.10", "--salt-file", "@salt"]),
        "ip=192.0.2.10~st=1700000000~exp=1700003600~acl=/vod/*\
         ~hmac=e4388f1208c65571ce7b173ce07c617f12c68a0d16e92bb627eb29bc61e133d3"
    );
}

#[test]
fn a_signed_url_carries_its_token_and_is_valid() {
    let folder = folder();
    let url = printed(
        &folder,
        &["sign", "--key-file", "@key", "--id", "s 1", "https://live.example:8443/live/ch1/main.m3u8?x=1"],
    );
    assert!(url.starts_with("https://live.example:8443/hdnts=exp=1700004600~acl=/live/ch1/*~id=s%201~hmac="));
    assert!(url.ends_with("/live/ch1/main.m3u8?x=1"));
    let shown = printed(&folder, &["verify", "--key-file", "@other", "--key-file", "@key", &url]);
    assert!(
        shown.contains(
            "exp   1700004600 (Tue, 14 Nov 2023 23:30:00 GMT)\nacl   /live/ch1/*\nid    s%201\nvalid"
        )
    );
    assert!(shown.ends_with("key"), "{shown}");
    let again = printed(&folder, &["sign", "--key-file", "@key", "--id", "s 1", &url]);
    assert_eq!(again, url, "a token is replaced, not put before another");
}

#[test]
fn a_path_is_signed_without_a_host_and_a_url_token_for_one_path() {
    let folder = folder();
    let path = printed(&folder, &["sign", "--key-file", "@key", "--name", "hdnea", "/a.ts"]);
    assert!(path.starts_with("/hdnea=exp=1700004600~acl=/*~hmac="), "{path}");
    let token = printed(&folder, &["sign", "--key-file", "@key", "--url", "/vod/a.ts"]);
    assert!(token.starts_with("exp=1700004600~hmac="), "{token}");
    let verify = |path| run_in(&folder, &["verify", "--key-file", "@key", "--path", path, &token]).unwrap();
    assert_eq!(verify("/vod/a.ts").0, 0);
    assert_eq!(verify("/vod/b.ts").0, 1);
    let message = run_in(&folder, &["verify", "--key-file", "@key", &token]).unwrap_err();
    assert!(message.contains("give --path"), "{message}");
}

#[test]
fn a_bare_token_is_verified_and_says_what_was_not_checked() {
    let folder = folder();
    for acl in ["/live/*", "/live/%3f*?", "*.ts"] {
        let sign = ["sign", "--key-file", "@key", "--acl", acl, "--ip", "2001:db8::1"];
        let token = printed(&folder, &sign);
        for subject in
            [token.clone(), format!("__token__={token}"), token.replace('%', "%25").replace('~', "%7E")]
        {
            let shown = printed(&folder, &["verify", "--key-file", "@key", &subject]);
            assert!(
                shown.contains("address was not checked") && shown.contains("path was not checked"),
                "{shown}"
            );
        }
        let elsewhere = ["verify", "--key-file", "@key", "--ip", "192.0.2.1", &token];
        let (code, shown) = run_in(&folder, &elsewhere).unwrap();
        assert_eq!(code, 1);
        assert!(shown.contains("refused: ip: it is bound to another client address"), "{shown}");
    }
}

#[test]
fn a_refused_token_exits_1_with_its_reason() {
    let folder = folder();
    let token = printed(&folder, &["sign", "--key-file", "@key", "--acl", "/live/*"]);
    let url = format!("http://host/hdnts={token}/live/a.ts");
    let spoilt = url.replace("exp=", "expp=");
    let twice = format!("{url}?hdnts={token}");
    let elsewhere = url.replace("/live/a.ts", "/vod/a.ts");
    for (words, reason) in [
        (vec!["@other", &url], "bad_mac"),
        (vec!["@key", "--salt-file", "@salt", &url], "bad_mac"),
        (vec!["@key", "--at", "1700004600", &url], "expired"),
        (vec!["@key", &elsewhere], "path"),
        (vec!["@key", &spoilt], "malformed"),
        (vec!["@key", &twice], "malformed"),
        (vec!["@key", "http://host/live/a.ts"], "missing"),
        (vec!["@key", "abc"], "malformed"),
    ] {
        let (code, shown) = run_in(&folder, &[&["verify", "--key-file"], words.as_slice()].concat()).unwrap();
        assert_eq!(code, 1, "{shown}");
        assert!(shown.contains(&format!("refused: {reason}: ")), "{reason}: {shown}");
    }
    let late = ["verify", "--key-file", "@key", "--at", "1700004629", "--leeway", "30s", &url];
    assert_eq!(run_in(&folder, &late).unwrap().0, 0);
}

#[test]
fn what_cannot_be_used_is_named_with_its_remedy() {
    let folder = folder();
    for (words, part) in [
        (vec!["sign", "--key-file", "@none", "--acl", "/*"], "none\" cannot be read: No such file"),
        (vec!["sign", "--key-file", "@bad", "--acl", "/*"], "hexadecimal digits; write two"),
        (vec!["sign", "--key-file", "@empty", "--acl", "/*"], "empty\" is empty; write the secret"),
        (vec!["sign", "--key-file", "@key", "--salt-file", "@empty", "--acl", "/*"], "salt_file: "),
        (vec!["sign", "--key-file", "@key"], "give --acl, --url, or a URL"),
        (vec!["sign", "--key-file", "@key", "--acl", "live/*"], "paths begin with `/`"),
        (vec!["sign", "--key-file", "@key", "--url", "a.ts"], "a path begins with `/`"),
        (vec!["sign", "--key-file", "@key", "--acl", "/*", "--url", "/a"], "cannot be used with"),
        (vec!["sign", "--key-file", "@key", "--acl", "/*", "--expires-in", "1"], "write a whole number and"),
        (
            vec!["sign", "--key-file", "@key", "--acl", "/*", "--expires-in", "99999999999999999d"],
            "no duration",
        ),
        (vec!["sign", "--key-file", "@key", "--acl", "/*", "--exp", "5", "--start", "5"], "give a later end"),
        (vec!["sign", "--key-file", "@key", "--name", "a=b", "/a"], "no token name"),
        (vec!["sign", "--key-file", "@key", "ftp://host/a"], "neither an http or https URL nor a path"),
        (vec!["sign", "--key-file", "@key", "/a b"], "percent-encode"),
        (vec!["sign", "--key-file", "@key", "--acl", "/vod/*", "/live/a.ts"], "would not admit /live/a.ts"),
        (vec!["sign", "--key-file", "@key", "/live/a!b/a.ts"], "would not admit /live/a!b/a.ts"),
        (vec!["verify", "--key-file", "@key", "--path", "/a", "/hdnts=x/a"], "the URL has a path already"),
        (vec!["verify", "--key-file", "@key", "--path", "a", "x"], "a path begins with `/`"),
        (vec!["verify", "x"], "--key-file"),
    ] {
        let message = run_in(&folder, &words).unwrap_err();
        assert!(message.contains(part), "{words:?}: {message}");
        assert!(!message.contains("not hexadecimal\n"), "the file's text is not repeated: {message}");
    }
}

#[test]
fn a_token_that_is_shown_sends_no_control_character_to_the_terminal() {
    let folder = folder();
    let token = "exp=1700003600~acl=/*~id=\u{1b}[2J~hmac=".to_owned() + &"0".repeat(64);
    let (code, shown) = run_in(&folder, &["verify", "--key-file", "@key", &token]).unwrap();
    assert_eq!(code, 1);
    assert!(shown.contains("id    \\u{1b}[2J") && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn new_keys_are_usable_and_differ() {
    let folder = folder();
    let (one, two) = (printed(&folder, &["keygen"]), printed(&folder, &["keygen"]));
    assert_ne!(one, two);
    assert_eq!(one.len(), 2 * EDGEAUTH_BYTES);
    assert_eq!(edgeauth::key_from_text(&one).unwrap().len(), EDGEAUTH_BYTES);
}
