//! What is measured: for each format a policy with its defaults, and requests of viewers who each have a token of the kind
//! that issuers make, in the place where players bring it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, bail};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::keys::{self, Pair, Pairs};
use crate::admission::token::{
    Policy, Presented, bunny, cat, cloudflare, cloudfront, edgeauth, fastly, jwt, media_cdn, path_segment,
    secure_link, url_sig,
};
use crate::config::formats::extent::Extent;
use crate::config::formats::hash::Hash;
use crate::config::formats::jwt::{Alg, Rule};
use crate::config::formats::{self, Word};
use crate::config::model::{Session, TokenFormat, TokenKey, TokenPlace, TokenPolicy};

/// Viewers, each with a token.
const VIEWERS: u64 = 64;

/// Bytes of verdicts, as by default.
const VERDICT_BYTES: u64 = 16 << 20;

/// Seconds since the Unix epoch, during the measurement.
pub(super) const NOW: u64 = 1_800_000_000;

pub(super) const HOST: &str = "live.example.com";
pub(super) const DIRECTORY: &str = "/live/channel-12/";
const PATH: &str = "/live/channel-12/1080p/segment-0001234567.m4s";

/// A policy and requests that it admits.
pub(super) struct Case {
    pub(super) place: String,
    pub(super) token_bytes: usize,
    config: TokenPolicy,
    pub(super) policy: Policy,
    pub(super) requests: Vec<Request>,
}

/// A request, and how many bytes of it are its token.
pub(super) struct Request {
    pub(super) path: String,
    pub(super) normal: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
}

type Maker = fn(&Pairs) -> Result<Case>;

/// Format, signature, and what makes the case.
pub(super) const MAKERS: [(&str, &str, Maker); 22] = [
    ("edgeauth", "sha256", |_| edgeauth(Hash::Sha256)),
    ("edgeauth", "sha1", |_| edgeauth(Hash::Sha1)),
    ("edgeauth", "md5", |_| edgeauth(Hash::Md5)),
    ("jwt", "HS256", |_| {
        let key = keys::shared(Word::Jwt, "k1", 64)?;
        jwt(Alg::HS256, key.clone(), &key)
    }),
    ("jwt", "RS256", |pairs| jwt_pair(Alg::RS256, &pairs.rsa)),
    ("jwt", "PS256", |pairs| jwt_pair(Alg::PS256, &pairs.rsa)),
    ("jwt", "ES256", |pairs| jwt_pair(Alg::ES256, &pairs.p256)),
    ("jwt", "EdDSA", |pairs| jwt_pair(Alg::EdDSA, &pairs.ed25519)),
    ("cdni", "ES256", |pairs| cdni(&pairs.p256)),
    ("cat", "HS256", |_| {
        let key = keys::shared(Word::Cat, "k1", 64)?;
        cat(key.clone(), &key)
    }),
    ("cat", "ES256", |pairs| cat_pair(&pairs.p256)),
    ("cat", "PS256", |pairs| cat_pair(&pairs.rsa)),
    ("cloudfront", "RSA", |pairs| cloudfront(&pairs.rsa, TokenPlace::Cookie)),
    ("cloudfront", "ECDSA", |pairs| cloudfront(&pairs.p256, TokenPlace::Query)),
    ("secure_link", "md5", |_| secure_link()),
    ("url_sig", "sha1", |_| url_sig()),
    ("bunny", "hs256", |_| bunny()),
    ("cloudflare", "sha256", |_| cloudflare()),
    ("fastly", "sha256", |_| fastly()),
    ("media_cdn", "sha256", |_| {
        let key = keys::shared(Word::MediaCdn, "k1", 64)?;
        let signer = media_cdn::Signer::shared(Hash::Sha256, &key.bytes.0);
        media_cdn(key, &signer, TokenPlace::Cookie)
    }),
    ("media_cdn", "Ed25519", |_| {
        let key = keys::seed(Word::MediaCdn, "k1")?;
        let signer = media_cdn::Signer::private(&key.bytes.0).context("no key")?;
        media_cdn(key, &signer, TokenPlace::Query)
    }),
    ("session", "sha256", |_| session()),
];

/// Names for `--format`.
pub(super) fn formats() -> Vec<&'static str> {
    let mut names: Vec<_> = MAKERS.iter().map(|(name, _, _)| *name).collect();
    names.dedup();
    names
}

impl Request {
    /// One without a token.
    pub(super) fn plain() -> Request {
        let headers = [
            ("accept", "*/*"),
            ("accept-encoding", "gzip, deflate, br"),
            ("accept-language", "en-GB,en;q=0.9"),
            ("origin", "https://player.example.com"),
            ("referer", "https://player.example.com/"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
        ];
        let headers = headers
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Request { path: PATH.to_owned(), normal: PATH.to_owned(), query: None, headers: headers.collect() }
    }

    fn below(segment: &str) -> Request {
        Request { path: format!("{segment}{PATH}"), ..Request::plain() }
    }

    fn query(query: String) -> Request {
        Request { query: Some(query), ..Request::plain() }
    }

    fn header(name: HeaderName, value: &str) -> Result<Request> {
        let mut request = Request::plain();
        request.headers.insert(name, value.parse()?);
        Ok(request)
    }

    /// What a policy is asked.
    pub(super) fn presented(&self) -> Presented<'_> {
        Presented {
            secure: true,
            host: HOST,
            normal: &self.normal,
            query: self.query.as_deref(),
            headers: &self.headers,
            client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
            ..Presented::get(&self.path, NOW)
        }
    }
}

impl Case {
    /// A case whose requests are made one for each viewer: the token's length, and the request.
    ///
    /// # Errors
    /// One of them is not admitted.
    fn new(
        config: &TokenPolicy,
        place: TokenPlace,
        make: impl Fn(u64) -> Result<(usize, Request)>,
    ) -> Result<Case> {
        let policy = Policy::from_config(config, VERDICT_BYTES);
        let made = (0..VIEWERS).map(make).collect::<Result<Vec<_>>>()?;
        let token_bytes = made.first().map_or(0, |(bytes, _)| *bytes);
        let requests: Vec<_> = made.into_iter().map(|(_, request)| request).collect();
        for request in &requests {
            match policy.admit(&request.presented()) {
                Ok(admitted) if admitted.place == place => {}
                Ok(admitted) => bail!("its token was found in another place ({})", admitted.place.as_str()),
                Err(denied) => bail!("its token is refused: {}", denied.reason.explanation()),
            }
        }
        let place = place.as_str().replace('_', " ");
        Ok(Case { place, token_bytes, config: config.clone(), policy, requests })
    }

    /// The policy anew, without any verdict.
    pub(super) fn cold_policy(&self) -> Policy {
        Policy::from_config(&self.config, VERDICT_BYTES)
    }
}

/// A policy of this name with one key and every default.
fn config(format: TokenFormat, key: TokenKey) -> TokenPolicy {
    TokenPolicy::new("bench", format, vec![key])
}

fn edgeauth_claims(viewer: u64) -> edgeauth::Claims {
    edgeauth::Claims {
        ip: None,
        start: Some(NOW - 60),
        expires: NOW + 3600,
        scope: edgeauth::Scope::Acl(vec![format!("{DIRECTORY}*")]),
        id: Some(format!("session-{viewer:08}")),
        data: None,
    }
}

fn edgeauth(hash: Hash) -> Result<Case> {
    let key = keys::shared(Word::EdgeAuth, "k1", 32)?;
    let secret = key.bytes.clone();
    let config = config(TokenFormat::EdgeAuth(formats::edgeauth::EdgeAuth { hash }), key);
    let signing = edgeauth::Signing { hash, salt: None };
    Case::new(&config, TokenPlace::Path, |viewer| {
        let token = edgeauth::sign_with(&edgeauth_claims(viewer), &secret.0, &signing);
        Ok((token.len(), Request::below(&path_segment("hdnts", &token))))
    })
}

fn jwt_pair(alg: Alg, pair: &Pair) -> Result<Case> {
    // No private key verifies such tokens: the one that signs is read as CDNI's are.
    jwt(alg, pair.public(Word::Jwt, "k1")?, &pair.private(Word::Cdni, "k1")?)
}

fn jwt(alg: Alg, key: TokenKey, signing: &TokenKey) -> Result<Case> {
    let options = formats::jwt::Jwt {
        algorithms: vec![alg],
        claims: BTreeMap::from([
            ("path".to_owned(), Rule::Prefix),
            ("sid".to_owned(), Rule::Session),
            ("sub".to_owned(), Rule::Subject),
        ]),
        ..Default::default()
    };
    let signer = jwt::Signer::new(signing, alg, Some("k1"))?;
    Case::new(&config(TokenFormat::Jwt(options), key), TokenPlace::Query, |viewer| {
        let token = signer.sign(&jwt_claims(viewer))?;
        Ok((token.len(), Request::query(format!("token={token}"))))
    })
}

/// As long as those of real issuers: with the signature, about 800 bytes of token.
fn jwt_claims(viewer: u64) -> Value {
    json!({
        "iss": "https://id.example.com/realms/viewers",
        "sub": format!("9f1c2d3e-4a5b-6c7d-8e9f-{viewer:012}"),
        "sid": format!("session-{viewer:08}"),
        "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 3600,
        "path": DIRECTORY,
        "entitlements": "sports-basic sports-premium news-regional films-classic kids concurrency-2",
        "device": "a81bc81b-dead-4e5d-abff-90865d1e13b1", "tier": "gold", "country": "SE",
    })
}

fn cdni(pair: &Pair) -> Result<Case> {
    let options = formats::cdni::Cdni {
        issuers: BTreeMap::from([("uCDN".to_owned(), Vec::new())]),
        ..Default::default()
    };
    let signer = jwt::Signer::new(&pair.private(Word::Cdni, "k1")?, Alg::ES256, Some("k1"))?;
    let config = config(TokenFormat::Cdni(options), pair.public(Word::Cdni, "k1")?);
    Case::new(&config, TokenPlace::PathParameter, |viewer| {
        let token = signer.sign(&json!({
            "iss": "uCDN", "exp": NOW + 3600 + viewer,
            "cdniuc": r"regex:https://live\.example\.com/live/channel-12/.*",
        }))?;
        let path = format!("{PATH};URISigningPackage={token}");
        Ok((token.len(), Request { path, ..Request::plain() }))
    })
}

fn cat_pair(pair: &Pair) -> Result<Case> {
    cat(pair.public(Word::Cat, "k1")?, &pair.private(Word::Cat, "k1")?)
}

fn cat(key: TokenKey, signing: &TokenKey) -> Result<Case> {
    let options = formats::cat::Cat::default();
    let config = config(TokenFormat::Cat(options.clone()), key);
    let name = HeaderName::from_static("cta-common-access-token");
    Case::new(&config, TokenPlace::Header, |viewer| {
        let claims = json!({
            "iss": "auth.example.com", "sub": format!("viewer-{viewer:08}"), "exp": NOW + 3600,
            "nbf": NOW - 60, "catv": 1, "catm": ["GET", "HEAD"],
            "catu": { "path": { "prefix": DIRECTORY } },
        });
        let token = cat::sign(&claims, signing, None, &options)?;
        Ok((token.len(), Request::header(name.clone(), &token)?))
    })
}

fn cloudfront(pair: &Pair, place: TokenPlace) -> Result<Case> {
    let config =
        config(TokenFormat::CloudFront(Default::default()), pair.public(Word::CloudFront, "K2JCJMDEHXQW5F")?);
    let private = pair.private(Word::CloudFront, "K2JCJMDEHXQW5F")?.bytes;
    Case::new(&config, place, |viewer| {
        let claims = cloudfront::Claims::Custom(cloudfront::Statement {
            resource: format!("https://{HOST}{DIRECTORY}*"),
            condition: cloudfront::Condition {
                end: cloudfront::Moment { seconds: NOW + 3600 + viewer },
                start: None,
                address: None,
            },
        });
        let token = cloudfront::sign(&claims, "K2JCJMDEHXQW5F", &private.0)?;
        let request = match place {
            TokenPlace::Cookie => {
                let cookies = token.split('&').map(|pair| format!("CloudFront-{pair}"));
                Request::header(http::header::COOKIE, &cookies.collect::<Vec<_>>().join("; "))?
            }
            _ => Request::query(token.clone()),
        };
        Ok((token.len(), request))
    })
}

fn secure_link() -> Result<Case> {
    let key = keys::shared(Word::SecureLink, "k1", 32)?;
    let secret = key.bytes.clone();
    let config = config(TokenFormat::SecureLink(Default::default()), key);
    Case::new(&config, TokenPlace::Query, |viewer| {
        let request = Request::plain();
        let expires = NOW + 3600 + viewer;
        let token = secure_link::sign(
            &Default::default(),
            ("md5", "expires"),
            &request.presented(),
            expires,
            &secret.0,
        );
        Ok((token.len(), Request::query(token)))
    })
}

fn url_sig() -> Result<Case> {
    let key = keys::shared(Word::UrlSig, "0", 32)?;
    let secret = key.bytes.clone();
    let config = config(TokenFormat::UrlSig(Default::default()), key);
    Case::new(&config, TokenPlace::Query, |viewer| {
        let claims = url_sig::Claims {
            client: None,
            expires: NOW + 3600 + viewer,
            algorithm: url_sig::Algorithm::Sha1,
            key: 0,
            parts: "1".to_owned(),
        };
        let token = url_sig::sign(&claims, HOST, PATH, None, &secret.0);
        Ok((token.len(), Request::query(token)))
    })
}

fn bunny() -> Result<Case> {
    let key = keys::shared(Word::Bunny, "k1", 36)?;
    let secret = key.bytes.clone();
    let config = config(TokenFormat::Bunny(Default::default()), key);
    Case::new(&config, TokenPlace::Path, |viewer| {
        let claims = bunny::Claims {
            path: PATH.to_owned(),
            token_path: Some(DIRECTORY.to_owned()),
            expires: NOW + 3600 + viewer,
            ip: None,
            countries: Vec::new(),
            countries_blocked: Vec::new(),
            limit: None,
            ignore_params: false,
            parameters: Vec::new(),
        };
        let segment = bunny::sign(&claims, &secret.0, TokenPlace::Path);
        Ok((segment.len(), Request::below(&segment)))
    })
}

fn cloudflare() -> Result<Case> {
    let options = formats::cloudflare::Cloudflare {
        ttl: std::time::Duration::from_secs(10_800),
        with_host: false,
        extent: Extent::Path,
        separator: None,
        url_safe: false,
    };
    let key = keys::shared(Word::Cloudflare, "k1", 32)?;
    let secret = key.bytes.clone();
    let config = config(TokenFormat::Cloudflare(options.clone()), key);
    Case::new(&config, TokenPlace::Query, |viewer| {
        let link = cloudflare::Link { host: HOST, path: PATH, name: "verify" };
        let token = cloudflare::sign(&link, NOW - 60 - viewer, &secret.0, &options)?;
        let token = token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        Ok((token.len(), Request::query(format!("verify={token}"))))
    })
}

fn fastly() -> Result<Case> {
    let options = formats::fastly::Fastly::default();
    let key = keys::shared(Word::Fastly, "k1", 64)?;
    let secret = key.bytes.clone();
    let config = config(TokenFormat::Fastly(options.clone()), key);
    Case::new(&config, TokenPlace::Query, |viewer| {
        let token = fastly::sign(PATH, NOW + 3600 + viewer, &secret.0, &options)?;
        Ok((token.len(), Request::query(format!("token={token}"))))
    })
}

fn media_cdn(key: TokenKey, signer: &media_cdn::Signer, place: TokenPlace) -> Result<Case> {
    let config = config(TokenFormat::MediaCdn(Default::default()), key);
    Case::new(&config, place, |viewer| {
        let claims = media_cdn::Claims {
            target: media_cdn::Target::Prefix(format!("https://{HOST}{DIRECTORY}")),
            starts: Some(NOW - 60),
            expires: NOW + 3600,
            session_id: Some(format!("session-{viewer:08}")),
            data: None,
            headers: Vec::new(),
            ip_ranges: Vec::new(),
        };
        let token = media_cdn::sign(&claims, signer);
        let request = match place {
            TokenPlace::Cookie => {
                Request::header(http::header::COOKIE, &format!("Edge-Cache-Cookie={token}"))?
            }
            _ => Request::query(format!("edge-cache-token={token}")),
        };
        Ok((token.len(), request))
    })
}

/// Tokens of the node's own, made from EdgeAuth tokens.
fn session() -> Result<Case> {
    let key = keys::shared(Word::EdgeAuth, "k1", 32)?;
    let secret = key.bytes.clone();
    let session = Session {
        keys: vec![keys::shared(Word::EdgeAuth, "s1", 32)?],
        name: "hdntl".to_owned(),
        life: std::time::Duration::from_secs(86_400),
        scope_of_token: false,
        also: Vec::new(),
        bind_address: false,
        bind_tls: false,
        claims: Vec::new(),
    };
    let config =
        TokenPolicy { session: Some(session), ..config(TokenFormat::EdgeAuth(Default::default()), key) };
    let issuer = Policy::from_config(&config, 0);
    Case::new(&config, TokenPlace::Path, |viewer| {
        let token = edgeauth::sign(&edgeauth_claims(viewer), &secret.0, None);
        let normal = format!("{DIRECTORY}index.m3u8");
        let path = format!("{}{normal}", path_segment("hdnts", &token));
        let request = Request { path, normal, ..Request::plain() };
        let presented = request.presented();
        let admission = match issuer.admit(&presented) {
            Ok(admission) => admission,
            Err(denied) => bail!("the first token is refused: {}", denied.reason.explanation()),
        };
        let carried = issuer.carried(&admission, &presented);
        Ok((carried.text.len(), Request::below(&path_segment(carried.name, &carried.text))))
    })
}
