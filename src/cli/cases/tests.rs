//! Cases against a configuration of two rules.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

const CONFIG: &str = "[server]\nhttp = ['127.0.0.1:0']\n[origin.main]\nservers = ['http://127.0.0.1:1']\n\
                      [[site]]\nhosts = ['a.example']\norigin = 'main'\n\
                      [[site.rule]]\npath = '/api/*'\nbypass = true\n\
                      [[site.rule]]\nkind = 'segment'\nttl = '90s'\n";

/// Exit status, standard output and standard error of a check of these cases.
fn run(cases: &str) -> (String, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (config_file, cases_file) = (folder.path().join("forebay.toml"), folder.path().join("cases.toml"));
    std::fs::write(&config_file, CONFIG).unwrap();
    std::fs::write(&cases_file, cases).unwrap();
    std::fs::write(folder.path().join("live.m3u8"), "#EXTM3U\n#EXT-X-TARGETDURATION:4\n").unwrap();
    let config = crate::config::load(&config_file).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = check(&config_file, &config, &cases_file, &mut out, &mut err).unwrap();
    let shown =
        |bytes| String::from_utf8(bytes).unwrap().replace(&format!("{}/", folder.path().display()), "");
    (format!("{code:?}"), shown(out), shown(err))
}

fn code(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

#[test]
fn cases_that_hold_are_counted() {
    let cases = "
        [[case]]
        url = 'https://a.example/1.m4s'
        expect = { site = 'a.example', kind = 'segment', rule = 'site[0].rule[1]', ttl = '90s', cache = 'store' }
        [[case]]
        url = 'https://a.example/api/x?y=1'
        expect = { cache = 'bypass', rule = 'site[0].rule[0]', target = '/api/x?y=1', ttl = 'none', key = 'none' }
        [[case]]
        url = 'https://a.example/live.m3u8'
        playlist = 'live.m3u8'
        response_headers = { cache-control = 'max-age=60' }
        expect = { ttl = '4000ms', ttl_from = 'max-age', rule = 'none' }
        [[case]]
        url = 'https://a.example/x'
        method = 'POST'
        expect = { cache = 'denied', status = 405, reason = 'method', token = 'none' }
    ";
    assert_eq!(run(cases), (code(0), "cases.toml: 4 cases hold\n".to_owned(), String::new()));
}

#[test]
fn every_difference_is_told_with_the_line_of_its_case() {
    let cases = "[[case]]\nurl = 'https://a.example/1.m4s'\nexpect = { ttl = '1m', cache = 'pass', site = 'a.example' }\n\
                 [[case]]\nurl = 'https://a.example/1.m4s'\nexpect = { ttl = '90s' }\n\n\
                 [[case]]\nurl = 'https://b.example/'\nexpect = { status = 404 }\n";
    let expected = "cases.toml:1: https://a.example/1.m4s: cache: expected \"pass\", found \"store\"\n\
                    cases.toml:1: https://a.example/1.m4s: ttl: expected \"1m\", found \"90s\"\n\
                    cases.toml:8: https://b.example/: status: expected \"404\", found \"421\"\n";
    assert_eq!(run(cases), (code(1), String::new(), expected.to_owned()));
}

#[test]
fn a_file_of_cases_that_cannot_be_used_is_told_with_its_line() {
    for (cases, expected) in [
        ("", "missing field `case`"),
        ("case = []", "there is no case"),
        ("[[case]\n", "cases.toml:1: "),
        ("[[case]]\nurl = 'https://a/'\nurls = 1\nexpect = {}", "cases.toml:3: unknown field `urls`"),
        ("[[case]]\nurl = 'https://a/'\nexpect = { tll = '1s' }", "cases.toml:3: unknown field `tll`"),
        ("\n[[case]]\nurl = 'https://a/'\nexpect = {}", "cases.toml:2: expect: is empty"),
        ("[[case]]\nurl = '/a'\nexpect = { cache = 'store' }", "cases.toml:1: url: "),
        ("[[case]]\nurl = 'https://a.example/'\nexpect = { ttl = '60' }", "cases.toml:1: expect.ttl: "),
        (
            "[[case]]\nurl = 'https://a/'\nplaylist = 'gone'\nexpect = { ttl = '60s' }",
            "cases.toml:1: playlist",
        ),
        ("[[case]]\nurl = 'https://a/'\nat = 999999999999\nexpect = { ttl = '60s' }", "cases.toml:1: at: "),
    ] {
        let (found, out, err) = run(cases);
        assert_eq!((found, out.as_str()), (code(64), ""), "{cases}: {err}");
        assert!(err.contains(expected), "{cases}: {err}");
    }
}
