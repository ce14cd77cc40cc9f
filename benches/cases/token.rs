//! What it takes to admit a request by its token: for the first time, when the signature is verified, and again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use forebay::admission::token::{Policy, Presented, edgeauth, jwt, path_segment};
use forebay::config::formats::Word;
use forebay::config::formats::jwt::Alg;
use forebay::config::model::{KeyKind, Secret, TokenKey};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::case::Case;
use super::site::{DIRECTORY, HOST, NOW_UNIX, Setting};

/// Viewers, each with a token.
pub const VIEWERS: u64 = 64;

/// Bytes of verdicts, as by default.
const VERDICT_BYTES: u64 = 16 << 20;

/// Seconds that tokens last.
const LIFE: u64 = 3600;

const PATH: &str = "/live/channel-12/1080p/segment-0001234567.m4s";

/// A policy, and requests that it admits.
pub struct Admitted {
    policy: Policy,
    /// Paths and queries as they are sent.
    targets: Vec<(String, Option<String>)>,
    headers: HeaderMap,
}

/// The same where no token is known: each turn verifies one.
pub struct Cold(Admitted);

/// The signature of EdgeAuth (HMAC-SHA256).
pub fn edgeauth_cold() -> Cold {
    Cold(edgeauth_warm())
}

/// An EdgeAuth token that is known.
pub fn edgeauth_warm() -> Admitted {
    let setting = setting();
    let secret = &setting.policy("edgeauth").keys.first().expect("a key").bytes.0;
    let target = |viewer| {
        (format!("{}{PATH}", path_segment("hdnts", &edgeauth_token(viewer, secret, NOW_UNIX))), None)
    };
    Admitted::new(&setting, "edgeauth", target)
}

/// The signature of a JWT with a shared key.
pub fn jwt_hs256_cold() -> Cold {
    let setting = setting();
    let key = setting.policy("hs256").keys.first().expect("a key");
    let signer = jwt::Signer::new(key, Alg::HS256, Some("k1")).expect("a key that signs");
    Cold(Admitted::new(&setting, "hs256", jwt_target(&signer)))
}

/// The signature of a JWT with a pair of keys.
pub fn jwt_es256_cold() -> Cold {
    Cold(jwt_es256_warm())
}

/// A JWT that is known.
pub fn jwt_es256_warm() -> Admitted {
    let setting = setting();
    // No private key verifies such tokens: the one that signs is read as CDNI's are.
    let bytes = Word::Cdni.key(KeyKind::Private, &setting.es256_private).expect("a private key");
    let key = TokenKey { id: "k1".to_owned(), kind: KeyKind::Private, bytes: Secret(bytes) };
    let signer = jwt::Signer::new(&key, Alg::ES256, Some("k1")).expect("a key that signs");
    Admitted::new(&setting, "es256", jwt_target(&signer))
}

/// An EdgeAuth token for the folder, of this time.
pub fn edgeauth_token(viewer: u64, secret: &[u8], now_unix: u64) -> String {
    let claims = edgeauth::Claims {
        ip: None,
        start: Some(now_unix - 60),
        expires: now_unix + LIFE,
        scope: edgeauth::Scope::Acl(vec![format!("{DIRECTORY}*")]),
        id: Some(format!("session-{viewer:08}")),
        data: None,
    };
    edgeauth::sign(&claims, secret, None)
}

fn setting() -> Setting {
    Setting::new(SocketAddr::from(([127, 0, 0, 1], 9)))
}

/// As long as those of real issuers.
fn jwt_target(signer: &jwt::Signer) -> impl Fn(u64) -> (String, Option<String>) {
    |viewer| {
        let claims = json!({
            "iss": "https://id.example.com/realms/viewers",
            "sub": format!("9f1c2d3e-4a5b-6c7d-8e9f-{viewer:012}"),
            "sid": format!("session-{viewer:08}"),
            "iat": NOW_UNIX - 60, "nbf": NOW_UNIX - 60, "exp": NOW_UNIX + LIFE,
            "path": DIRECTORY,
            "entitlements": "sports-basic sports-premium news-regional films-classic kids concurrency-2",
            "device": "a81bc81b-dead-4e5d-abff-90865d1e13b1", "tier": "gold", "country": "SE",
        });
        (PATH.to_owned(), Some(format!("token={}", signer.sign(&claims).expect("a token"))))
    }
}

impl Admitted {
    fn new(setting: &Setting, policy: &str, target: impl Fn(u64) -> (String, Option<String>)) -> Admitted {
        let headers = [
            ("accept", "*/*"),
            ("accept-encoding", "gzip, deflate, br"),
            ("origin", "https://player.example.com"),
            ("referer", "https://player.example.com/"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
        ];
        let headers = headers
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Admitted {
            policy: Policy::from_config(setting.policy(policy), VERDICT_BYTES),
            targets: (0..VIEWERS).map(target).collect(),
            headers: headers.collect(),
        }
    }
}

impl Case for Admitted {
    fn run(&self, turn: u64) -> u64 {
        let Some((path, query)) = self.targets.get((turn % VIEWERS) as usize) else { return 0 };
        let presented = Presented {
            secure: true,
            host: HOST,
            normal: PATH,
            query: query.as_deref(),
            headers: &self.headers,
            client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
            ..Presented::get(path, NOW_UNIX)
        };
        self.policy.admit(&presented).map_or(0, |admission| admission.terms().expires.unwrap_or_default())
    }

    fn expected(&self) -> u64 {
        NOW_UNIX + LIFE
    }
}

impl Case for Cold {
    const TURNS_MAX: u64 = VIEWERS;

    fn run(&self, turn: u64) -> u64 {
        self.0.run(turn)
    }

    fn expected(&self) -> u64 {
        self.0.expected()
    }

    fn forget(&self) {
        self.0.policy.forget();
    }
}
