//! Session tokens, which the node makes itself: the body is a token that is admitted first, or a session token as it is.

use std::time::Duration;

use forebay::admission::token::{Policy, Presented};
use forebay::config::formats::TokenFormat;
use forebay::config::formats::edgeauth::EdgeAuth;
use forebay::config::model::{Session, TokenPolicy};
use forebay::key::target;

use super::macs::{config, mac};
use super::request::{Asked, Mode, input};
use super::tokens::{END, shared};
use super::{Clock, Fuzzed};

const NAME: &str = "fbs";

/// A session token is admitted for the request that it was made for, and none that was not made here is.
pub fn session(_: Clock) -> Fuzzed {
    let session = Session {
        keys: vec![shared(b"the key of sessions, 32 bytes ..")],
        name: NAME.to_owned(),
        life: Duration::from_secs(3600),
        scope_of_token: true,
        also: vec!["/keys/*".to_owned()],
        bind_address: true,
        bind_tls: false,
        claims: vec!["id".to_owned(), "data".to_owned()],
    };
    let config = TokenPolicy { session: Some(session), ..config(TokenFormat::EdgeAuth(EdgeAuth::default())) };
    let policy = Policy::from_config(&config, 1 << 20);
    let run = move |data: &[u8]| {
        let Some(asked) = Asked::of(data) else { return };
        match asked.mode {
            Mode::Raw => {
                let admitted = with(&policy, &asked, NAME, &asked.text(), |request| {
                    policy.admit(request).is_ok_and(|admission| admission.by_session)
                });
                assert_ne!(admitted, Some(true), "a session token that was not made here");
            }
            Mode::Signed => {
                let text = asked.text();
                let token = format!("{text}~hmac={}", mac(ring::hmac::HMAC_SHA256, text.as_bytes()));
                let made = with(&policy, &asked, "hdnts", &token, |request| {
                    let admission = policy.admit(request).ok()?;
                    let carried = policy.carried(&admission, request);
                    (!carried.is_admitted).then(|| carried.text.to_string())
                });
                let Some(made) = made.flatten() else { return };
                let again = with(&policy, &asked, NAME, &made, |request| policy.admit(request).map(drop));
                assert!(matches!(again, None | Some(Ok(()))), "{again:?} for the session token {made}");
            }
        }
    };
    let bodies = [format!("exp={END}~acl=/live/*"), format!("exp={END}~acl=/*~id=v%7e~data=a~b")];
    let traits = [0, 1, 2];
    let all = bodies.iter().flat_map(|body| traits.map(|traits| (traits, body)));
    let mut seeds: Vec<Vec<u8>> =
        all.map(|(traits, body)| input(1, 0, traits, "/live/a.m3u8", "v=1", body.as_bytes())).collect();
    seeds.push(input(0, 0, 0, "/live/a.m3u8", "", b"exp=1900000600~acl=/live/*~hmac=00"));
    Fuzzed { run: Box::new(run), seeds }
}

/// What comes of a request with this token; None: it cannot be one.
fn with<T>(
    policy: &Policy,
    asked: &Asked,
    name: &str,
    token: &str,
    then: impl FnOnce(&Presented<'_>) -> T,
) -> Option<T> {
    let sent = asked.with_token(token, Some(name))?;
    let stripped = policy.strip_path(&sent.path).1;
    let normal = target::path(&stripped, true).ok()?;
    Some(then(&asked.presented(&sent, &normal)))
}
