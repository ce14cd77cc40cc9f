//! Formats whose tokens are several parameters of a link: CloudFront's, nginx's, those of Traffic Server and of Bunny.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay::admission::token::{bunny, cloudfront, secure_link, url_sig};
use forebay::config::formats::bunny::{Bunny, Signature};
use forebay::config::formats::cloudfront::CloudFront;
use forebay::config::formats::secure_link::{Expression, SecureLink};
use forebay::config::formats::url_sig::UrlSig;
use forebay::config::formats::{KeyKind, TokenFormat};
use forebay::config::model::{TokenPlace, TokenPolicy};
use http::HeaderMap;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

use super::macs::{config, strange};
use super::request::{Asked, HOST, Sent, input};
use super::tokens::{Bench, END, SECRET, key, shared, shown, target};
use super::{Clock, Fuzzed};

/// CloudFront's base64.
fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes).replace('+', "-").replace('=', "_").replace('/', "~")
}

/// CloudFront's: the body is a custom policy, or the end of a canned one.
pub fn cloudfront(clock: Clock) -> Fuzzed {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pair = || {
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("random bytes");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a new key");
        (document.as_ref().to_vec(), pair)
    };
    let ((document, own), (_, other)) = (pair(), pair());
    let public = |pair: &EcdsaKeyPair| key(KeyKind::Public, pair.public_key().as_ref());
    let format = TokenFormat::CloudFront(CloudFront::default());
    let config = TokenPolicy::new("viewer", format, vec![public(&own)]);
    let sign = move |asked: &Asked| {
        if let Ok(expires) = asked.text().trim().parse() {
            let scheme = if asked.secure { "https" } else { "http" };
            let mut url = format!("{scheme}://{HOST}{}", asked.path);
            if !asked.query.is_empty() {
                url.push_str(&format!("?{}", asked.query));
            }
            return cloudfront::sign(&cloudfront::Claims::Canned { url, expires }, "0", &document).ok();
        }
        let signature = own.sign(&SystemRandom::new(), &asked.body).ok()?;
        let (policy, signature) = (encoded(&asked.body), encoded(signature.as_ref()));
        Some(format!("Policy={policy}&Signature={signature}&Key-Pair-Id=0&Hash-Algorithm=SHA256"))
    };
    let inspect = |token: &str| {
        shown(cloudfront::Fields::parse(token));
        shown(cloudfront::Statement::parse(token));
    };
    let bench = Bench::new(&config, vec![public(&other)], inspect, sign);
    let end = format!("\"DateLessThan\":{{\"AWS:EpochTime\":{END}}}");
    let bodies = [
        END.to_string(),
        format!("{{\"Statement\":[{{\"Resource\":\"https://{HOST}/live/*\",\"Condition\":{{{end}}}}}]}}"),
        format!(
            "{{\"Statement\":[{{\"Resource\":\"http*://*/a?b.ts\",\"Condition\":{{{end},\
             \"DateGreaterThan\":{{\"AWS:EpochTime\":1}},\"IpAddress\":{{\"AWS:SourceIp\":\"192.0.2.0/24\"}}}}}}]}}"
        ),
    ];
    let all = bodies.iter().flat_map(|body| [0, 1].map(|traits| (traits, body)));
    let path = |body: &str| if body.contains("a?b") { "/a/b.ts" } else { "/live/a.ts" };
    let signed = all.map(|(traits, body)| input(1, 0, traits, path(body), "v=1", body.as_bytes())).collect();
    target(vec![bench], signed, clock)
}

/// nginx's: the body is the end, signed with every variable; or nothing, where the path is `/PREFIX/LINK`.
pub fn secure_link(clock: Clock) -> Fuzzed {
    let text = "${secure_link_expires}$uri$remote_addr$args$arg_v$host$scheme$cookie_c$http_x $secret";
    let expression = Expression::parse(text).expect("an expression");
    let options = SecureLink::Expression {
        expression: expression.clone(),
        md5: "md5".to_owned(),
        expires: "expires".to_owned(),
    };
    let by_expression = config(TokenFormat::SecureLink(options));
    let sign = move |asked: &Asked| {
        let query = (!asked.query.is_empty()).then(|| asked.query.clone());
        let sent = Sent { path: asked.path.clone(), query, headers: HeaderMap::new() };
        let expires = asked.text().trim().parse().unwrap_or(END);
        let request = asked.presented(&sent, &sent.path);
        Some(secure_link::sign(&expression, ("md5", "expires"), &request, expires, SECRET))
    };
    let inspect = |token: &str| {
        for options in [SecureLink::default(), SecureLink::Word] {
            shown(secure_link::Fields::parse(&options, token));
        }
    };
    let mut by_word = config(TokenFormat::SecureLink(SecureLink::Word));
    by_word.places = vec![TokenPlace::Path];
    let sign_word = |asked: &Asked| {
        let link = asked.path.trim_start_matches('/');
        Some(format!("/p/{}", secure_link::sign_link(link, SECRET)))
    };
    let benches = vec![
        Bench::new(&by_expression, strange(), inspect, sign),
        Bench::new(&by_word, strange(), inspect, sign_word),
    ];
    let end = END.to_string();
    let signed = vec![
        input(1, 0, 0, "/live/a.ts", "v=1", end.as_bytes()),
        input(1, 0, 16, "/live/%61%20b.ts", "", b""),
        input(1, 1, 0, "/live/a.ts", "", b""),
    ];
    target(benches, signed, clock)
}

/// Traffic Server's: the body is the end, and behind a blank the parts that are signed.
pub fn url_sig(clock: Clock) -> Fuzzed {
    let mut config = config(TokenFormat::UrlSig(UrlSig::default()));
    config.places = vec![TokenPlace::Query, TokenPlace::PathParameter];
    let sign = |asked: &Asked| {
        let text = asked.text();
        let (expires, parts) = text.split_once(' ').unwrap_or((&text, "1"));
        let algorithm =
            if expires.ends_with('5') { url_sig::Algorithm::Md5 } else { url_sig::Algorithm::Sha1 };
        let claims = url_sig::Claims {
            client: asked.secure.then_some(asked.client),
            expires: expires.parse().unwrap_or(END),
            algorithm,
            key: 0,
            parts: parts.to_owned(),
        };
        if asked.place == TokenPlace::Path {
            return Some(url_sig::sign_path(&claims, HOST, &asked.path, "urlsig", SECRET));
        }
        let query = (!asked.query.is_empty()).then_some(asked.query.as_str());
        let signed = url_sig::sign(&claims, HOST, &asked.path, query, SECRET);
        Some(match query {
            Some(query) => signed.strip_prefix(query)?.trim_start_matches('&').to_owned(),
            None => signed,
        })
    };
    let inspect = |token: &str| {
        shown((url_sig::Fields::parse(token, '&'), url_sig::Fields::parse(token, ';')));
    };
    let bench = Bench::new(&config, strange(), inspect, sign);
    let bodies = [format!("{END} 1"), format!("{END} 011"), "1900000555 10".to_owned()];
    let all = bodies.iter().flat_map(|body| [0, 4].map(|traits| (traits, body)));
    let signed = all.map(|(traits, body)| input(1, 0, traits, "/live/ch1/a.ts", "v=1", body.as_bytes()));
    let in_path = input(1, 0, 6, "/live/ch1", "", bodies[0].as_bytes());
    target(vec![bench], signed.chain([in_path]).collect(), clock)
}

/// Bunny's: the body is the end, `token_path` and lists of countries, a line each.
pub fn bunny(clock: Clock) -> Fuzzed {
    let signatures = vec![Signature::Hs256, Signature::Sha256, Signature::Md5];
    let config = config(TokenFormat::Bunny(Bunny { signatures, plain_prefix: false }));
    let sign = |asked: &Asked| {
        let text = asked.text();
        let mut lines = text.split('\n');
        let mut list = || -> Vec<String> {
            let line = lines.next().unwrap_or_default();
            line.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let (expires, path) = (list(), list());
        let claims = bunny::Claims {
            path: asked.path.clone(),
            token_path: path.first().cloned(),
            expires: expires.first().and_then(|end| end.parse().ok()).unwrap_or(END),
            ip: (!asked.secure).then_some(asked.client),
            countries: list(),
            countries_blocked: list(),
            limit: None,
            ignore_params: !asked.query.is_empty(),
            parameters: Vec::new(),
        };
        Some(bunny::sign(&claims, SECRET, asked.place))
    };
    let inspect = |token: &str| shown(bunny::Fields::parse(token, std::iter::empty()));
    let bench = Bench::new(&config, vec![shared(b"another")], inspect, sign);
    let signed = vec![
        input(1, 0, 0, "/live/a.ts", "", END.to_string().as_bytes()),
        input(1, 0, 0, "/live/a.ts", "v=1", format!("{END}\n/live/").as_bytes()),
        input(1, 0, 4, "/live/a.ts", "", format!("{END}\n/live").as_bytes()),
        input(1, 0, 2, "/live/a.ts", "", format!("{END}\n/live/").as_bytes()),
    ];
    target(vec![bench], signed, clock)
}
