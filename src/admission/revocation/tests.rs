#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

const NOW: u64 = 1_700_000_000;
const AT: u64 = NOW * 1000;

fn identity(kind: Kind, value: &str, policy: Option<&str>) -> Identity {
    Identity { kind, value: value.into(), policy: policy.map(Into::into) }
}

fn bearer<'r>(session: &'r str, subject: &'r str, key: &'r str) -> Bearer<'r> {
    Bearer { policy: "p", session: Some(session), subject: Some(subject), key: Some(key) }
}

#[test]
fn what_is_named_is_refused_until_it_ends_and_nothing_else_is() {
    for kind in Kind::ALL {
        let table = Revocations::new(10, 1);
        let tokens = bearer("a", "b", "c");
        assert_eq!(table.revoked(&tokens, NOW), None);
        let value = ["a", "b", "c"][kind as usize];
        table.revoke(identity(kind, value, None), NOW + 10, AT).unwrap();
        assert_eq!(table.revoked(&tokens, NOW), Some(kind));
        assert_eq!(table.revoked(&tokens, NOW + 9), Some(kind));
        assert_eq!(table.revoked(&tokens, NOW + 10), None, "it has ended");
        assert_eq!(table.revoked(&bearer("x", "y", "z"), NOW), None);
        assert_eq!(table.revoked(&bearer("c", "a", "b"), NOW), None, "the same text as another kind");
        assert_eq!(table.revoked(&Bearer { policy: "p", ..Bearer::default() }, NOW), None);
    }
}

#[test]
fn a_revocation_of_one_policy_says_nothing_of_others() {
    let table = Revocations::new(10, 2);
    table.revoke(identity(Kind::Subject, "u", Some("p")), NOW + 10, AT).unwrap();
    assert_eq!(table.revoked(&bearer("", "u", ""), NOW), Some(Kind::Subject));
    assert_eq!(table.revoked(&Bearer { policy: "q", ..bearer("", "u", "") }, NOW), None);
    table.revoke(identity(Kind::Subject, "u", None), NOW + 5, AT).unwrap();
    assert_eq!(table.revoked(&Bearer { policy: "q", ..bearer("", "u", "") }, NOW), Some(Kind::Subject));
    assert_eq!(table.revoked(&bearer("", "u", ""), NOW + 7), Some(Kind::Subject), "the longer one stands");
    table.restore(&identity(Kind::Subject, "u", Some("p")), AT).unwrap();
    assert_eq!(table.revoked(&bearer("", "u", ""), NOW), Some(Kind::Subject), "the general one stands");
}

#[test]
fn what_is_taken_back_is_admitted_and_can_be_revoked_again() {
    let table = Revocations::new(10, 3);
    let who = identity(Kind::Session, "s", None);
    assert!(table.restore(&who, AT).is_none());
    for _ in 0..3 {
        // The clock stands still, or goes back: what is said last holds.
        table.revoke(who.clone(), NOW + 10, AT - 5).unwrap();
        assert!(table.revoked(&bearer("s", "", ""), NOW).is_some());
        table.restore(&who, AT - 5).unwrap();
        assert!(table.revoked(&bearer("s", "", ""), NOW).is_none());
        assert!(table.restore(&who, AT).is_none(), "nothing is in force");
    }
    assert_eq!(table.len(), 1);
}

#[test]
fn beyond_the_limit_a_further_one_is_refused_and_those_there_still_hold() {
    let table = Revocations::new(2, 4);
    table.revoke(identity(Kind::Key, "a", None), NOW + 10, AT).unwrap();
    table.revoke(identity(Kind::Key, "b", None), NOW + 20, AT).unwrap();
    let third = identity(Kind::Key, "c", None);
    assert_eq!(table.revoke(third.clone(), NOW + 20, AT).unwrap_err(), Full(2));
    assert!(table.revoked(&bearer("", "", "c"), NOW).is_none());
    table.revoke(identity(Kind::Key, "a", None), NOW + 11, AT).unwrap();
    // One that has ended gives its place.
    table.revoke(third, NOW + 30, (NOW + 11) * 1000).unwrap();
    let later = NOW + 12;
    assert!(table.revoked(&bearer("", "", "b"), later).is_some());
    assert!(table.revoked(&bearer("", "", "c"), later).is_some());
    assert_eq!(table.records(later).len(), 2);
    table.sweep(NOW + 25);
    assert_eq!(table.len(), 1);
}

/// Nodes hear of the same records in different orders, and come to the same.
#[test]
fn records_come_to_the_same_in_whatever_order_they_arrive() {
    let seed = rand::random::<u64>();
    let mut random = StdRng::seed_from_u64(seed);
    let mut records: Vec<Record> = (0..400)
        .map(|_| Record {
            identity: identity(
                Kind::ALL[random.random_range(0..3)],
                &random.random_range(0..20).to_string(),
                None,
            ),
            until: NOW + random.random_range(1..50),
            at: AT + random.random_range(0..8),
            restored: random.random_bool(0.4),
        })
        .collect();
    let state = |table: &Revocations| -> HashMap<Identity, (u64, u64, bool)> {
        let tell =
            |record: Arc<Record>| (record.identity.clone(), (record.until, record.at, record.restored));
        table.records(NOW).into_iter().map(tell).collect()
    };
    let first = Revocations::new(1000, 5);
    first.merge(records.clone(), NOW);
    for round in 0..20 {
        records.shuffle(&mut random);
        let other = Revocations::new(1000, round);
        for part in records.chunks(random.random_range(1..50)) {
            other.merge(part.to_vec(), NOW);
        }
        assert_eq!(state(&other), state(&first), "seed {seed}, round {round}");
        assert!(other.merge(records.clone(), NOW).changed.is_empty(), "all of it is known");
    }
}

#[test]
fn what_has_ended_is_not_taken_in() {
    let table = Revocations::new(10, 6);
    let record = Record { identity: identity(Kind::Key, "k", None), until: NOW, at: AT, restored: false };
    assert!(table.merge([record], NOW).changed.is_empty());
    assert!(table.is_empty());
}

#[test]
fn every_kind_is_found_by_its_word() {
    for kind in Kind::ALL {
        assert_eq!(Kind::of(kind.as_str()), Some(kind));
    }
    assert_eq!(Kind::of("token"), None);
}
