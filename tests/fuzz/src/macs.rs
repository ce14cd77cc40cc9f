//! Formats that are signed with MACs of a text: EdgeAuth, Fastly's, Cloudflare's and Media CDN's.

use std::time::Duration;

use forebay::admission::token::{cloudflare, edgeauth, fastly, media_cdn};
use forebay::config::formats::TokenFormat;
use forebay::config::formats::cloudflare::Cloudflare;
use forebay::config::formats::edgeauth::EdgeAuth;
use forebay::config::formats::extent::Extent;
use forebay::config::formats::fastly::Fastly;
use forebay::config::formats::hash::Hash;
use forebay::config::formats::media_cdn::MediaCdn;
use forebay::config::model::{Secret, TokenPolicy};
use ring::hmac;

use super::request::{Asked, HOST, NOW, input};
use super::tokens::{Bench, END, SECRET, seeds, shared, shown, target};
use super::{Clock, Fuzzed};

const SALT: &[u8] = b"salt";

/// A policy of a format with [`SECRET`].
pub fn config(format: TokenFormat) -> TokenPolicy {
    TokenPolicy::new("viewer", format, vec![shared(SECRET)])
}

/// Tokens with other keys.
pub fn strange() -> Vec<forebay::config::model::TokenKey> {
    vec![shared(b"another key that has signed none")]
}

/// The hexadecimal MAC of a text by [`SECRET`].
pub fn mac(algorithm: hmac::Algorithm, text: &[u8]) -> String {
    hex::encode(hmac::sign(&hmac::Key::new(algorithm, SECRET), text))
}

/// EdgeAuth: the body is all before the MAC, by SHA-256, or by SHA-1 with a salt.
pub fn edgeauth(clock: Clock) -> Fuzzed {
    let bench = |hash, algorithm, salt: Option<&'static [u8]>| {
        let mut config = config(TokenFormat::EdgeAuth(EdgeAuth { hash }));
        config.salt = salt.map(|salt| Secret(salt.to_vec()));
        let sign = move |asked: &Asked| {
            let text = asked.text();
            let url = if text.contains("acl=") { String::new() } else { format!("~url={}", asked.path) };
            let salt = salt.map_or(String::new(), |salt| format!("~salt={}", String::from_utf8_lossy(salt)));
            let mac = mac(algorithm, format!("{text}{url}{salt}").as_bytes());
            Some(format!("{text}~hmac={mac}"))
        };
        Bench::new(&config, strange(), |token| shown(edgeauth::Fields::parse(token)), sign)
    };
    let benches = vec![
        bench(Hash::Sha256, hmac::HMAC_SHA256, None),
        bench(Hash::Sha1, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, Some(SALT)),
    ];
    let bodies = [
        format!("exp={END}~acl=/live/*!/vod/?/*"),
        format!("ip=192.0.2.10~st=1800000000~exp={END}~acl=%2flive%2f*~id=viewer~data=a~b=c"),
        format!("st=1800000000~exp={END}~id=v"),
    ];
    let mut signed = seeds(&bodies.each_ref().map(|body| ("/live/a.ts", "v=1", body.as_str())));
    signed.push(input(1, 0, 2, "/live/%61.ts", "", bodies[0].as_bytes()));
    signed.push(input(1, 0, 1, "/live/a b.ts", "", bodies[2].as_bytes()));
    signed.push(input(1, 1, 0, "/live/a.ts", "", bodies[0].as_bytes()));
    target(benches, signed, clock)
}

/// The time that a body has to say, in ten digits; the usual one where it says none.
fn time(asked: &Asked) -> u64 {
    asked.text().trim().parse().unwrap_or(END)
}

fn extents() -> [Extent; 3] {
    [Extent::Path, Extent::Directories(2), Extent::Prefix("/live/".to_owned())]
}

/// Inputs for a policy of each extent, with bodies that say nothing and a time.
fn of_extents() -> Vec<Vec<u8>> {
    let bodies = [String::new(), END.to_string()];
    let all = (0..3).flat_map(|policy| bodies.iter().map(move |body| (policy, body)));
    all.map(|(policy, body)| input(1, policy, 0, "/live/ch1/a.ts", "v=1", body.as_bytes())).collect()
}

/// Fastly's: the body is the end; path, directories or a prefix are signed.
pub fn fastly(clock: Clock) -> Fuzzed {
    let benches = extents().map(|extent| {
        let options = Fastly { hash: Hash::Sha256, extent };
        let config = config(TokenFormat::Fastly(options.clone()));
        let sign = move |asked: &Asked| fastly::sign(&asked.path, time(asked), SECRET, &options).ok();
        Bench::new(&config, strange(), |token| shown(fastly::Fields::parse(token)), sign)
    });
    target(benches.into(), of_extents(), clock)
}

/// Cloudflare's: the body is the time of issue; of the path as Fastly's, with host and separator in one of them.
pub fn cloudflare(clock: Clock) -> Fuzzed {
    let benches = extents().map(|extent| {
        let is_path = extent == Extent::Path;
        let options = Cloudflare {
            ttl: Duration::from_secs(3600),
            with_host: !is_path,
            extent,
            separator: (!is_path).then_some(3),
            url_safe: is_path,
        };
        let config = config(TokenFormat::Cloudflare(options.clone()));
        let sign = move |asked: &Asked| {
            let link = cloudflare::Link { host: HOST, path: &asked.path, name: "verify" };
            let issued = asked.text().trim().parse().unwrap_or(NOW - 60);
            let token = cloudflare::sign(&link, issued, SECRET, &options).ok()?;
            Some(token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"))
        };
        Bench::new(&config, strange(), |token| shown(cloudflare::Fields::parse(token)), sign)
    });
    let mut signed = of_extents();
    signed.retain(|seed| !seed.ends_with(END.to_string().as_bytes()));
    target(benches.into(), signed, clock)
}

/// Media CDN's: the body is all before the MAC.
pub fn media_cdn(clock: Clock) -> Fuzzed {
    let config = config(TokenFormat::MediaCdn(MediaCdn { hash: Hash::Sha256 }));
    let sign = |asked: &Asked| {
        let text = asked.text();
        let signed = match text.strip_prefix("FullPath~") {
            Some(rest) => format!("FullPath={}~{rest}", asked.path),
            None => text.replace("~Headers=x-app~", "~Headers=x-app=~"),
        };
        Some(format!("{text}~hmac={}", mac(hmac::HMAC_SHA256, signed.as_bytes())))
    };
    let bench = Bench::new(&config, strange(), |token| shown(media_cdn::Fields::parse(token)), sign);
    let bodies = [
        format!("PathGlobs=/live/*,/vod/*~Expires={END}"),
        format!("URLPrefix=aHR0cHM6Ly9saXZlLmV4YW1wbGUuY29tL2xpdmUv~Expires={END}"),
        format!("FullPath~Starts=1800000000~Expires={END}~SessionID=v~Data=d"),
        format!("acl=/live/*~st=1800000000~exp={END}~id=v~data=d"),
        format!("PathGlobs=*~Expires={END}~IPRanges=MTkyLjAuMi4wLzI0"),
    ];
    target(vec![bench], seeds(&bodies.each_ref().map(|body| ("/live/a.ts", "", body.as_str()))), clock)
}
