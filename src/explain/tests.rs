//! What is told of requests, by the sites of a configuration.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::UNIX_EPOCH;

use prometheus::Registry;

use super::*;
use crate::admission::token::edgeauth::{self, Claims, Scope};
use crate::origin::{OriginFamilies, Origins};

const NOW: u64 = 1_700_000_000;

const CONFIG: &str = "
    [server]
    http = ['127.0.0.1:0']
    [origin.main]
    servers = ['http://127.0.0.1:8000']
    [token.viewer]
    format = 'edgeauth'
    keys = [{ id = 'k', secret_file = 'key' }]
    [[site]]
    hosts = ['live.example.com']
    origin = 'main'
    cors = { origins = ['*'] }
    [[site.rule]]
    path = '/api/*'
    bypass = true
    [[site.rule]]
    kind = ['segment', 'part']
    status = [404]
    ttl = '3s'
    [[site.rule]]
    kind = 'segment'
    ttl = '1d'
    browser_ttl = '1h'
    [[site]]
    hosts = ['vod.example.com']
    origin = 'main'
    token = 'viewer'
";

fn question(url: &str) -> Question {
    Question::new(url, UNIX_EPOCH + Duration::from_secs(NOW)).unwrap()
}

fn answered(url: &str, status: u16, fields: &[(&'static str, &str)]) -> Question {
    let mut question = question(url);
    question.status = question::status(status).unwrap();
    for (name, value) in fields {
        question.response_headers.append(*name, value.parse().unwrap());
    }
    question
}

fn told(question: &Question) -> Explanation {
    told_by(CONFIG, question)
}

fn told_by(config: &str, question: &Question) -> Explanation {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "00112233").unwrap();
    let config = crate::config::parse(config, &folder.path().join(Path::new("forebay.toml"))).unwrap();
    let families = OriginFamilies::new(&Registry::new()).unwrap();
    let origins = Origins::new(&config.origins, &families).unwrap();
    explain(&Sites::new(&config, &origins), &Limits::of(&config), question)
}

fn answer(told: &Explanation) -> &AnswerTold {
    told.answer.as_ref().unwrap_or_else(|| panic!("{told:?}"))
}

#[test]
fn a_segment_is_told_with_site_key_rule_and_times() {
    let told = told(&question("http://live.example.com/a/1.m4s?utm_source=x&b=2&a=1"));
    assert_eq!((told.cache, told.kind), ("store", Some("segment")));
    assert_eq!(told.site.as_deref(), Some("live.example.com"));
    assert_eq!(told.key.as_deref(), Some("live.example.com /a/1.m4s?a=1&b=2"));
    assert_eq!(told.origin.as_ref().unwrap().target, "/a/1.m4s?a=1&b=2");
    assert_eq!(told.request_rule.as_ref().unwrap().place, "site[0].rule[2]");
    let answer = answer(&told);
    assert_eq!(answer.rule.as_ref().unwrap().matched, ["the kind is segment"]);
    assert_eq!((answer.ttl_seconds, answer.ttl_from), (Some(86_400.0), Some("rule")));
    assert!(answer.viewer_cache_control.as_ref().unwrap().contains("max-age=3600"), "{answer:?}");
}

#[test]
fn the_source_of_a_lifetime_is_told() {
    let url = "http://live.example.com/a.json";
    let date = ("date", "Tue, 14 Nov 2023 22:13:20 GMT");
    for (status, fields, seconds, from) in [
        (200, &[("cache-control", "max-age=60, s-maxage=30")][..], 30.0, "s-maxage"),
        (200, &[("cache-control", "max-age=60")][..], 60.0, "max-age"),
        (200, &[("cache-control", "no-cache, max-age=60")][..], 0.0, "no-cache"),
        (200, &[date, ("expires", "Tue, 14 Nov 2023 22:14:20 GMT")][..], 60.0, "expires"),
        (200, &[date, ("last-modified", "Tue, 14 Nov 2023 22:03:20 GMT")][..], 60.0, "last-modified"),
        (200, &[][..], 0.0, "kind"),
        (404, &[][..], 1.0, "error"),
        (200, &[("cache-control", "max-age=60"), ("cdn-cache-control", "max-age=5")][..], 5.0, "max-age"),
    ] {
        let told = told(&answered(url, status, fields));
        let answer = answer(&told);
        assert_eq!((answer.ttl_seconds, answer.ttl_from), (Some(seconds), Some(from)), "{status} {fields:?}");
        let targeted = answer.ttl_explanation.as_ref().unwrap().contains("targeted");
        assert_eq!(targeted, fields.iter().any(|(name, _)| *name == "cdn-cache-control"), "{fields:?}");
    }
}

#[test]
fn an_error_that_is_cut_and_one_that_a_rule_keeps_are_told_apart() {
    let field = [("cache-control", "max-age=60")];
    let cut = told(&answered("http://live.example.com/a.m3u8", 404, &field));
    assert_eq!((answer(&cut).ttl_seconds, answer(&cut).ttl_cap), (Some(1.0), Some("error")));
    let ruled = told(&answered("http://live.example.com/a.m4s", 404, &field));
    assert_eq!((answer(&ruled).ttl_seconds, answer(&ruled).ttl_cap), (Some(3.0), None));
    assert_eq!(answer(&ruled).rule.as_ref().unwrap().place, "site[0].rule[1]");
}

#[test]
fn a_playlist_is_told_by_its_text() {
    let url = "http://live.example.com/a.m3u8";
    let unknown = told(&question(url));
    assert_eq!((unknown.cache, unknown.reason), ("unknown", Some("playlist")));
    let with = |text: &str, control: &str| {
        let mut question = answered(url, 200, &[("cache-control", control)]);
        question.playlist = Some(text.as_bytes().to_vec());
        told(&question)
    };
    let live = with("#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n1.ts\n", "max-age=60");
    assert_eq!((answer(&live).ttl_seconds, answer(&live).ttl_cap), (Some(6.0), Some("live_playlist")));
    let multivariant = with("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow.m3u8\n", "max-age=60");
    assert_eq!((multivariant.kind, answer(&multivariant).ttl_cap), (Some("multivariant_playlist"), None));
    let broken = with("<html>", "max-age=60");
    assert_eq!((broken.cache, broken.reason), ("pass", Some("broken_playlist")));
}

#[test]
fn a_reload_that_is_not_satisfied_and_a_manifest_are_told_as_the_node_keeps_them() {
    let with = |url: &str, status: u16, text: &str| {
        let mut question = answered(url, status, &[]);
        question.playlist = Some(text.as_bytes().to_vec());
        answer(&told(&question)).ttl_seconds
    };
    let reload = |msn: u64| format!("http://live.example.com/a.m3u8?_HLS_msn={msn}");
    let live = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:6,\n1.ts\n";
    assert_eq!(with(&reload(7), 200, live), Some(36.0));
    assert_eq!(with(&reload(8), 200, live), Some(3.0));
    let manifest = "http://live.example.com/a.mpd";
    assert_eq!(with(manifest, 200, "<MPD type='dynamic' minimumUpdatePeriod='PT3S'/>"), Some(1.5));
    assert_eq!(with(manifest, 200, "<MPD/>"), Some(3600.0));
    assert_eq!(with(manifest, 200, "<html/>"), Some(5.0));
}

#[test]
fn what_is_not_kept_is_told_with_the_reason() {
    let told_of = |url: &str, fields: &[(&'static str, &str)]| {
        let told = told(&answered(url, 200, fields));
        (told.cache, told.reason.unwrap_or_default())
    };
    let url = "http://live.example.com/a.json";
    assert_eq!(told_of(url, &[("cache-control", "no-store")]), ("pass", "no_store"));
    assert_eq!(told_of(url, &[("set-cookie", "a=1")]), ("pass", "set_cookie"));
    assert_eq!(told_of("http://live.example.com/a.key", &[]), ("bypass", "kind"));
    assert_eq!(told_of("http://live.example.com/api/me?x=1", &[]), ("bypass", "rule"));
}

#[test]
fn refusals_are_those_of_the_node() {
    let told_of = |question: &Question| {
        let told = told(question);
        (told.cache, told.status.unwrap_or_default(), told.reason.unwrap_or_default())
    };
    assert_eq!(told_of(&question("http://other.example/a")), ("denied", 421, "host"));
    let long = format!("http://live.example.com/{}", "x".repeat(9000));
    assert_eq!(told_of(&question(&long)), ("denied", 414, "target_length"));
    let mut post = question("http://live.example.com/a");
    post.method = Method::POST;
    assert_eq!(told_of(&post), ("denied", 405, "method"));
    let mut preflight = question("http://live.example.com/a");
    preflight.method = Method::OPTIONS;
    preflight.headers.append("origin", "https://player.example".parse().unwrap());
    preflight.headers.append("access-control-request-method", "GET".parse().unwrap());
    assert_eq!(told_of(&preflight), ("preflight", 0, ""));
}

#[test]
fn a_steering_manifest_is_the_nodes_own() {
    let config = "
        [server]
        http = ['127.0.0.1:0']
        [origin.main]
        servers = ['http://127.0.0.1:8000']
        [steering.cdns]
        path = '/live/steering.json'
        pathways = [{ id = 'edge', node = true }, { id = 'other', host = 'other.example' }]
        [[site]]
        hosts = ['*']
        origin = 'main'
        methods = ['GET', 'POST']
        steering = 'cdns'
    ";
    let mut asked = question("http://live.example.com/live/steering.json?_HLS_pathway=edge");
    let manifest = told_by(config, &asked);
    assert_eq!((manifest.cache, manifest.kind), ("steering", Some("api")));
    assert_eq!((manifest.origin, manifest.key), (None, None));
    asked.method = Method::POST;
    let refused = told_by(config, &asked);
    assert_eq!((refused.cache, refused.status, refused.reason), ("denied", Some(405), Some("method")));
    let other = told_by(config, &question("http://live.example.com/steering.json"));
    assert_eq!(other.cache, "store");
}

#[test]
fn directives_that_cannot_be_understood_are_refused_but_for_an_ended_playlist() {
    let url = |query: &str| format!("http://live.example.com/live.m3u8?{query}");
    for (query, reason) in
        [("_HLS_msn=x", "hls_number"), ("_HLS_part=1", "hls_part_alone"), ("_HLS_skip=no", "hls_skip")]
    {
        let told = told(&question(&url(query)));
        assert_eq!((told.cache, told.status, told.reason), ("denied", Some(400), Some(reason)), "{query}");
    }
    assert_eq!(told(&question(&url("_HLS_msn=7&_HLS_skip=YES"))).cache, "unknown");
    let mut ended = question(&url("_HLS_msn=x"));
    ended.playlist = Some(b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n#EXT-X-ENDLIST\n"[..].into());
    assert_eq!(told(&ended).cache, "store");
}

#[test]
fn a_token_is_told_with_its_key_or_the_reason() {
    let claims = |expires| Claims {
        scope: Scope::Acl(vec!["/a/*".to_owned()]),
        ip: None,
        start: None,
        expires,
        id: None,
        data: None,
    };
    let key = [0x00, 0x11, 0x22, 0x33];
    let url = |expires| {
        let token = edgeauth::sign(&claims(expires), &key, None);
        format!("http://vod.example.com/hdnts={token}/a/1.m4s")
    };
    let valid = told(&question(&url(NOW + 60)));
    assert_eq!((valid.cache, valid.key.as_deref()), ("store", Some("vod.example.com /a/1.m4s")));
    assert_eq!(valid.token.as_ref().map(|token| (token.valid, token.word.as_str())), Some((true, "k")));
    let expired = told(&question(&url(NOW - 60)));
    assert_eq!((expired.cache, expired.status, expired.reason), ("denied", Some(403), Some("expired")));
    let missing = told(&question("http://vod.example.com/a/1.m4s"));
    assert_eq!(missing.token.map(|token| (token.valid, token.word)), Some((false, "missing".to_owned())));
    let text = told(&question(&url(NOW + 60))).to_string();
    assert!(!text.contains("hmac"), "a token is shown:\n{text}");
}

#[test]
fn people_read_a_line_for_each_thing() {
    let told = told(&answered("http://live.example.com/a.json", 200, &[("cache-control", "max-age=90")]));
    assert_eq!(
        told.to_string(),
        "cache     store: the answer is kept\n\
         site      live.example.com\n\
         kind      api\n\
         rule      none matches the request\n\
         key       live.example.com /a.json\n\
         origin    main (127.0.0.1:8000): GET /a.json\n\
         answer    200\n  rule    none matches the answer\n  ttl     90s: max-age of the origin\n  \
         stale   0s while it is fetched anew, 0s when the origin fails\n  viewers Cache-Control: max-age=90\n"
    );
}

/// A token for a URL with a port is explained as it is served.
#[test]
fn the_host_that_a_token_is_for_has_its_port() {
    use crate::admission::token::media_cdn::{Claims, Signer, Target, sign};
    use crate::config::formats::hash::Hash;
    let config = CONFIG.replace("'edgeauth'", "'media_cdn'");
    let claims = Claims {
        target: Target::Prefix("http://vod.example.com:8080/a/".into()),
        starts: None,
        expires: NOW + 60,
        session_id: None,
        data: None,
        headers: Vec::new(),
        ip_ranges: Vec::new(),
    };
    let token = sign(&claims, &Signer::shared(Hash::Sha256, &[0xd3, 0x4d, 0x75, 0xdb, 0x6d, 0xf7]));
    for (host, valid) in [("vod.example.com:8080", true), ("vod.example.com", false)] {
        let question = question(&format!("http://{host}/a/1.m4s?edge-cache-token={token}"));
        let told = told_by(&config, &question);
        assert_eq!(told.token.as_ref().map(|token| token.valid), Some(valid), "{host} {:?}", told.token);
    }
}
