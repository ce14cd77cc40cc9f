#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::SystemTime;

use super::*;
use crate::admission::revocation::Identity;

const NOW: u64 = 1_700_000_000;

fn node(limits: &str) -> (Entitlements, Clock, Registry) {
    let text = format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[limits]\n{limits}\n[origin.main]\nservers = ['http://127.0.0.1:1']\n\
         [[site]]\nhosts = ['*']\norigin = 'main'\n"
    );
    let limits = crate::config::parse(&text, Path::new("forebay.toml")).unwrap().limits;
    let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
    let registry = Registry::new();
    let ledger = Arc::new(Ledger::open(None, limits.revocations, clock.clone(), &registry).unwrap());
    let node = Entitlements::new(&limits, ledger, None, clock.clone(), &registry).unwrap();
    (node, clock, registry)
}

fn token<'r>(subject: &'r str, session: Option<&'r str>) -> Entitled<'r> {
    Entitled {
        bearer: Bearer { policy: "p", session, subject: Some(subject), key: Some("k") },
        once: false,
        id: None,
        ends: NOW + 100,
        streams: None,
        window: Duration::from_secs(30),
        away: FleetAway::Open,
    }
}

fn decide(node: &Entitlements, token: &Entitled<'_>) -> Decided {
    node.decide(token, || Name::of(&[token.bearer.session.unwrap_or_default().as_bytes()]))
}

#[track_caller]
fn refusal(decided: &Decided) -> Option<Reason> {
    match decided {
        Decided::Holds => None,
        Decided::Refused(reason) => Some(*reason),
        Decided::Ask(question) => panic!("{question:?} without a fleet"),
    }
}

fn value(registry: &Registry, name: &str) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name).unwrap();
    let of = |metric: &prometheus::proto::Metric| {
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    };
    family.get_metric().iter().map(of).sum()
}

#[test]
fn a_revocation_goes_before_everything_else_and_uses_nothing() {
    let (node, clock, registry) = node("");
    let once = Entitled { once: true, id: Some("id"), streams: Some(1), ..token("u", Some("s")) };
    let identity = Identity { kind: Kind::Key, value: "k".into(), policy: None };
    node.ledger.table().revoke(identity, NOW + 10, NOW * 1000).unwrap();
    assert_eq!(refusal(&decide(&node, &once)), Some(Reason::Revoked));
    assert_eq!(value(&registry, "forebay_token_revoked_total"), 1.0);
    node.update_gauges();
    assert_eq!(value(&registry, "forebay_token_revocations"), 1.0);
    clock.advance(Duration::from_secs(10));
    assert_eq!(refusal(&decide(&node, &once)), None, "it was not used up");
    node.sweep();
    node.update_gauges();
    assert_eq!(value(&registry, "forebay_token_revocations"), 0.0);
}

#[test]
fn a_token_that_is_good_once_is_refused_from_the_second_request_on() {
    let (node, clock, registry) = node("replays = 2");
    let once = Entitled { once: true, id: Some("id"), ..token("u", None) };
    assert_eq!(refusal(&decide(&node, &once)), None);
    assert_eq!(refusal(&decide(&node, &once)), Some(Reason::Replayed));
    assert_eq!(refusal(&decide(&node, &Entitled { id: Some("other"), ..once })), None);
    let third = Entitled { id: Some("third"), ..once };
    assert_eq!(refusal(&decide(&node, &third)), Some(Reason::Unavailable), "it cannot be remembered");
    assert_eq!(value(&registry, "forebay_token_replays_full_total"), 1.0);
    clock.advance(Duration::from_secs(100));
    node.sweep();
    assert_eq!(refusal(&decide(&node, &Entitled { ends: NOW + 200, ..third })), None);
    node.update_gauges();
    assert_eq!(value(&registry, "forebay_token_replays"), 1.0);
}

#[test]
fn a_token_that_is_good_once_and_cannot_be_told_from_others_is_refused() {
    let (node, _, _) = node("");
    let nameless = Entitled { once: true, ..token("u", None) };
    assert_eq!(refusal(&decide(&node, &nameless)), Some(Reason::Malformed));
    let endless = Entitled { id: Some("id"), ends: u64::MAX, ..nameless };
    assert_eq!(refusal(&decide(&node, &endless)), None);
    assert_eq!(refusal(&decide(&node, &endless)), Some(Reason::Replayed));
}

#[test]
fn a_subject_has_so_many_streams_of_a_policy_at_once() {
    let (node, clock, _) = node("");
    let one = Entitled { streams: Some(1), ..token("u", Some("s")) };
    assert_eq!(refusal(&decide(&node, &one)), None);
    assert_eq!(refusal(&decide(&node, &one)), None);
    let second = Entitled { bearer: Bearer { session: Some("t"), ..one.bearer }, ..one };
    assert_eq!(refusal(&decide(&node, &second)), Some(Reason::TooManyStreams));
    let elsewhere = Entitled { bearer: Bearer { policy: "q", ..second.bearer }, ..one };
    assert_eq!(refusal(&decide(&node, &elsewhere)), None, "another policy's subject");
    clock.advance(Duration::from_secs(31));
    assert_eq!(refusal(&decide(&node, &second)), None);
}

#[test]
fn who_has_no_session_is_known_by_address_and_software() {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let agent = HeaderValue::from_static("player");
    let one = viewer(address("192.0.2.1"), Some(&agent));
    assert_eq!(one, viewer(address("::ffff:192.0.2.1"), Some(&agent)), "the same address");
    assert_ne!(one, viewer(address("192.0.2.2"), Some(&agent)));
    assert_ne!(one, viewer(address("192.0.2.1"), None));
}

#[test]
fn who_has_no_subject_or_no_limit_is_not_counted() {
    let (node, _, registry) = node("stream_subjects = 1");
    let nobody = token("u", Some("s"));
    let nobody = Entitled { bearer: Bearer { subject: None, ..nobody.bearer }, streams: Some(1), ..nobody };
    assert_eq!(refusal(&decide(&node, &nobody)), None);
    assert_eq!(refusal(&decide(&node, &token("u", Some("s")))), None);
    node.update_gauges();
    assert_eq!(value(&registry, "forebay_token_stream_subjects"), 0.0);
    for session in ["s", "t"] {
        let limited = Entitled { streams: Some(1), ..token("u", Some(session)) };
        assert_eq!(refusal(&decide(&node, &limited)).is_some(), session == "t");
        let beyond = Entitled { streams: Some(1), ..token("w", Some(session)) };
        assert_eq!(refusal(&decide(&node, &beyond)), None);
    }
    assert_eq!(value(&registry, "forebay_token_streams_uncounted_total"), 2.0);
}
