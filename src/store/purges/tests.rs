//! What purges promise, against a naive model and one by one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::time::Duration;

use pingora::http::ResponseHeader;
use prometheus::Registry;
use proptest::prelude::*;

use super::*;
use crate::asset::Kind;
use crate::key::Key;
use crate::store::{Accounts, Body, Lifetime, Provenance, StoreMetrics};

const MIB: u64 = 1024 * 1024;

/// The generation before any purge of a store without disks.
const FIRST: u64 = 1 << START_SHIFT;

fn store() -> (Store, Clock) {
    let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let metrics = StoreMetrics::new(&Registry::new()).unwrap();
    let mut store = Store::new(4 * MIB, 10, Accounts::default(), None, Duration::ZERO, metrics);
    store.use_clock(clock.clone());
    (store, clock)
}

fn lifetime(now: SystemTime) -> Lifetime {
    Lifetime {
        created: now,
        fresh_until: now + Duration::from_secs(3600),
        span: Duration::from_secs(3600),
        from_coming: false,
        stale_while_revalidate: Duration::from_secs(600),
        stale_if_error: Duration::from_secs(900),
        strict: false,
        immutable: true,
        purged: None,
    }
}

fn object(text: &str, generation: u64, tags: &[&str], id: usize, now: SystemTime) -> Arc<Object> {
    let mut header = ResponseHeader::build_no_case(200, None).unwrap();
    header.insert_header("etag", id.to_string()).unwrap();
    let body = Body::growing(None, None);
    body.finish();
    let key = Key { hash: hash(text), text: text.into() };
    let provenance =
        Provenance { generation, tags: tags.iter().map(|tag| tag_hash(tag)).collect(), ahead: None };
    let object = Object::new(key, Kind::Segment, header, lifetime(now), body.into());
    Arc::new(Object { provenance, ..object })
}

fn hash(text: &str) -> u128 {
    xxhash_rust::xxh3::xxh3_128(text.as_bytes())
}

fn id(object: &Object) -> usize {
    object.etag().unwrap().to_str().unwrap().parse().unwrap()
}

fn get(store: &Store, text: &str) -> Option<Arc<Object>> {
    store.get(hash(text), text)
}

/// Without a disk nothing is waited for.
fn purge(store: &Store, target: &PurgeTarget, mode: PurgeMode) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.purge(target, mode)).unwrap()
}

fn url(site: &str, target: &str) -> PurgeTarget {
    PurgeTarget::Url { site: site.into(), target: target.into() }
}

fn prefix(site: &str, path: &str) -> PurgeTarget {
    PurgeTarget::Prefix { site: site.into(), path: path.into() }
}

fn tag(site: Option<&str>, tag: &str) -> PurgeTarget {
    PurgeTarget::Tag { site: site.map(Into::into), tag: tag.into() }
}

// === The model ===

const TEXTS: [&str; 9] = [
    "a /x/1",
    "a /x/1?q=1",
    "a /x/1?q=1 ~5-9",
    "a /x/12",
    "a /y @en",
    "a /",
    "b /x/1",
    "b /x/1 ~3-4",
    "ab /x/1",
];
const TAGS: [&str; 4] = ["t0", "t1", "t2", "x/1"];

#[derive(Clone, Debug)]
enum Step {
    /// A fetch begins; its answer will have these tags.
    Begin {
        text: usize,
        tags: Vec<usize>,
    },
    /// The fetch of this number, of those that have not landed, lands.
    Land(prop::sample::Index),
    Purge(PurgeTarget, PurgeMode),
    Get(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let text = 0..TEXTS.len();
    let site = prop::sample::select(vec!["a", "b", "ab"]);
    let target = prop_oneof![
        (site.clone(), prop::sample::select(vec!["/x/1", "/x/1?q=1", "/y", "/"]))
            .prop_map(|(s, t)| url(s, t)),
        (site.clone(), prop::sample::select(vec!["", "/", "/x", "/x/", "/x/1", "/x/12", "/x/1?q"]))
            .prop_map(|(s, p)| prefix(s, p)),
        (prop::option::of(site.clone()), prop::sample::select(TAGS.to_vec())).prop_map(|(s, t)| tag(s, t)),
        site.prop_map(|site| PurgeTarget::Site(site.into())),
        Just(PurgeTarget::Everything),
    ];
    let mode = prop_oneof![Just(PurgeMode::Soft), Just(PurgeMode::Hard)];
    let step = prop_oneof![
        3 => (text.clone(), prop::collection::vec(0..TAGS.len(), 0..3)).prop_map(|(text, tags)| Step::Begin { text, tags }),
        3 => any::<prop::sample::Index>().prop_map(Step::Land),
        2 => (target, mode).prop_map(|(target, mode)| Step::Purge(target, mode)),
        4 => text.prop_map(Step::Get),
    ];
    prop::collection::vec(step, 1..40)
}

/// A fetch, as the model knows it. Time is the number of purges before.
#[derive(Clone, Debug)]
struct Fetch {
    text: &'static str,
    tags: Vec<&'static str>,
    begun: usize,
    landed: bool,
    object: Arc<Object>,
}

fn names(target: &PurgeTarget, fetch: &Fetch) -> bool {
    let words: Vec<&str> = fetch.text.split(' ').collect();
    let (site, path) = (words[0], words[1].split('?').next().unwrap());
    match target {
        PurgeTarget::Url { site: of, target } => of == site && target == words[1],
        PurgeTarget::Prefix { site: of, path: begin } => of == site && path.starts_with(begin.as_str()),
        PurgeTarget::Tag { site: of, tag } => {
            of.as_ref().is_none_or(|of| of == site) && fetch.tags.contains(&tag.as_str())
        }
        PurgeTarget::Site(of) => of == site,
        PurgeTarget::Everything => true,
    }
}

/// Whether a purge of this mode has named a fetch since it began.
fn is_purged(fetch: &Fetch, purges: &[(PurgeTarget, PurgeMode)], mode: PurgeMode) -> bool {
    purges[fetch.begun..].iter().any(|(target, of)| *of == mode && names(target, fetch))
}

fn check(
    text: &str,
    got: Option<Arc<Object>>,
    fetches: &[Fetch],
    purges: &[(PurgeTarget, PurgeMode)],
    now: SystemTime,
) {
    if let Some(got) = &got {
        let fetch = &fetches[id(got)];
        assert_eq!(fetch.text, text);
        assert!(!is_purged(fetch, purges, PurgeMode::Hard), "{text}: served after a hard purge");
        let soft = is_purged(fetch, purges, PurgeMode::Soft);
        assert_eq!(got.lifetime.is_fresh(now), !soft, "{text}: soft {soft}");
        assert_eq!(got.lifetime.bridges_revalidation(now), !soft, "{text}");
        assert!(got.lifetime.bridges_error(now), "{text}");
    }
    // Of what has landed, that of the latest generation: it is there, unless it was purged hard.
    let landed = || fetches.iter().filter(|fetch| fetch.landed && fetch.text == text);
    let latest = landed().map(|fetch| fetch.begun).max();
    let mut candidates = landed().filter(|fetch| Some(fetch.begun) == latest);
    let may_be_absent = latest.is_none() || candidates.any(|fetch| is_purged(fetch, purges, PurgeMode::Hard));
    assert!(got.is_some() || may_be_absent, "{text}: lost");
    if let Some(got) = got.filter(|_| !may_be_absent) {
        assert_eq!(Some(fetches[id(&got)].begun), latest, "{text}: an earlier one is served");
    }
}

fn run(steps: Vec<Step>) {
    let (store, clock) = store();
    let (mut fetches, mut purges) = (Vec::<Fetch>::new(), Vec::new());
    for step in steps {
        match step {
            Step::Begin { text, tags } => {
                let (text, tags): (_, Vec<_>) =
                    (TEXTS[text], tags.into_iter().map(|tag| TAGS[tag]).collect());
                assert_eq!(store.generation(), FIRST + purges.len() as u64);
                let object = object(text, store.generation(), &tags, fetches.len(), clock.now());
                fetches.push(Fetch { text, tags, begun: purges.len(), landed: false, object });
            }
            Step::Land(which) => {
                let mut under_way: Vec<_> = fetches.iter_mut().filter(|fetch| !fetch.landed).collect();
                if !under_way.is_empty() {
                    let place = which.index(under_way.len());
                    let fetch = &mut under_way[place];
                    fetch.landed = true;
                    store.keep(&fetch.object);
                }
            }
            Step::Purge(target, mode) => {
                clock.advance(Duration::from_millis(10));
                purges.push((target.clone(), mode));
                assert_eq!(purge(&store, &target, mode), FIRST + purges.len() as u64);
            }
            Step::Get(text) => {
                check(TEXTS[text], get(&store, TEXTS[text]), &fetches, &purges, clock.now());
            }
        }
    }
    for text in TEXTS {
        check(text, get(&store, text), &fetches, &purges, clock.now());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn what_is_found_is_what_a_naive_store_would_find(steps in steps()) {
        run(steps);
    }
}

// === One by one ===

#[test]
fn a_soft_purge_ends_a_lifetime_and_keeps_what_bridges_an_error() {
    let (store, clock) = store();
    let begun = clock.now();
    store.keep(&object("a /x", store.generation(), &[], 0, begun));
    clock.advance(Duration::from_secs(10));
    purge(&store, &url("a", "/x"), PurgeMode::Soft);
    clock.advance(Duration::from_secs(100));
    let found = get(&store, "a /x").unwrap();
    assert_eq!(found.lifetime, lifetime(begun).purged(begun + Duration::from_secs(10)));
    assert!(found.is_purged() && !found.lifetime.is_fresh(clock.now()));
    assert!(!found.lifetime.bridges_revalidation(clock.now()) && found.lifetime.bridges_error(clock.now()));
    clock.advance(Duration::from_secs(800));
    assert!(!get(&store, "a /x").unwrap().lifetime.bridges_error(clock.now()), "counted from the purge");
    assert!(Arc::ptr_eq(&get(&store, "a /x").unwrap(), &get(&store, "a /x").unwrap()), "replaced once");
}

#[test]
fn what_was_stale_before_a_soft_purge_does_not_live_longer_by_it() {
    let (store, clock) = store();
    let begun = clock.now();
    store.keep(&object("a /x", store.generation(), &[], 0, begun));
    clock.advance(Duration::from_secs(4000));
    purge(&store, &PurgeTarget::Everything, PurgeMode::Soft);
    let found = get(&store, "a /x").unwrap();
    assert_eq!(found.lifetime.fresh_until, lifetime(begun).fresh_until);
}

#[test]
fn what_was_purged_softly_is_not_fresh_again_when_the_clock_is_set_back() {
    let (store, clock) = store();
    let begun = clock.now();
    store.keep(&object("a /x", store.generation(), &[], 0, begun));
    clock.advance(Duration::from_secs(1000));
    purge(&store, &url("a", "/x"), PurgeMode::Soft);
    let found = get(&store, "a /x").unwrap().lifetime;
    for now in [begun - Duration::from_secs(3600), begun + Duration::from_secs(5)] {
        assert!(!found.is_fresh(now) && !found.bridges_revalidation(now) && found.bridges_error(now));
        assert!(found.ttl_seconds(now) <= 0);
    }
}

/// Between its last byte and its place in the index, an object is found among those that grow.
#[test]
fn what_grows_is_not_found_after_a_purge_that_names_it() {
    for mode in [PurgeMode::Soft, PurgeMode::Hard] {
        let (store, clock) = store();
        let object = object("a /x", store.generation(), &[], 0, clock.now());
        store.growing.lock().insert(1, Arc::clone(&object));
        assert!(store.look_up(hash("a /x")).is_some());
        purge(&store, &url("a", "/x"), mode);
        assert!(store.look_up(hash("a /x")).is_none(), "{mode:?}");
    }
}

#[test]
fn a_hard_purge_takes_all_variants_of_a_target_and_no_other_target() {
    let (store, clock) = store();
    let texts =
        ["a /x?q=1", "a /x?q=1 @de", "a /x?q=1 ~7-1", "a /x?q=1 @de ~7-2", "a /x", "a /x?q=12", "b /x?q=1"];
    for (number, text) in texts.into_iter().enumerate() {
        store.keep(&object(text, store.generation(), &[], number, clock.now()));
    }
    assert_eq!(store.count_named(&url("a", "/x?q=1")), 4);
    purge(&store, &url("a", "/x?q=1"), PurgeMode::Hard);
    assert_eq!(store.count_named(&url("a", "/x?q=1")), 0);
    let left: Vec<bool> = texts.iter().map(|text| get(&store, text).is_some()).collect();
    assert_eq!(left, [false, false, false, false, true, true, true]);
}

#[test]
fn a_purge_of_a_playlist_names_what_was_asked_of_it_with_directives() {
    let (store, clock) = store();
    let texts = [
        "a /x.m3u8?q=1",
        "a /x.m3u8?_HLS_msn=7&_HLS_part=1&q=1",
        "a /x.m3u8?_HLS_skip=YES&q=1 @h.a=1 ~7-1",
        "a /x.m3u8?_HLS_msn=7",
        "a /x.m3u8",
        "b /x.m3u8?_HLS_msn=7&q=1",
    ];
    let left = || texts.map(|text| get(&store, text).is_some());
    for (target, named) in [
        ("/x.m3u8?q=1", [true, true, true, false, false, false]),
        ("/x.m3u8", [false, false, false, true, true, false]),
        ("/x.m3u8?_HLS_msn=7", [false, false, false, true, false, false]),
    ] {
        for (number, text) in texts.into_iter().enumerate() {
            store.keep(&object(text, store.generation(), &[], number, clock.now()));
        }
        let target = url("a", target);
        assert_eq!(store.count_named(&target), named.iter().filter(|named| **named).count() as u64);
        purge(&store, &target, PurgeMode::Hard);
        assert_eq!(left(), named.map(|named| !named), "{target:?}");
    }
}

#[test]
fn slices_are_not_counted_and_go_with_their_head() {
    let (store, clock) = store();
    store.keep(&object("a /x", store.generation(), &[], 0, clock.now()));
    store.keep(&object("a /x #00-1", store.generation(), &[], 1, clock.now()));
    assert_eq!(store.count_named(&PurgeTarget::Everything), 1);
    purge(&store, &url("a", "/x"), PurgeMode::Soft);
    assert!(
        get(&store, "a /x #00-1").unwrap().lifetime.is_fresh(clock.now()),
        "the head says whether it is usable"
    );
}

#[test]
fn a_fetch_that_a_purge_overtakes_is_purged_when_it_lands_and_a_later_one_is_not_replaced() {
    let (store, clock) = store();
    let early = object("a /x", store.generation(), &["t"], 0, clock.now());
    purge(&store, &tag(Some("a"), "t"), PurgeMode::Soft);
    let late = object("a /x", store.generation(), &["t"], 1, clock.now());
    assert!(store.is_purged(&early) && !store.is_gone(&early) && !store.is_purged(&late));
    store.keep(&early);
    assert!(!get(&store, "a /x").unwrap().lifetime.is_fresh(clock.now()));
    store.keep(&late);
    store.keep(&early);
    assert_eq!(id(&get(&store, "a /x").unwrap()), 1);
    purge(&store, &tag(None, "t"), PurgeMode::Hard);
    assert!(store.is_gone(&early) && store.is_gone(&late) && get(&store, "a /x").is_none());
    store.keep(&late);
    assert_eq!(store.index.len(), 0);
}

#[test]
fn a_look_up_without_a_purge_since_the_last_one_does_not_look_at_the_table() {
    let (store, clock) = store();
    store.keep(&object("a /x", store.generation(), &[], 0, clock.now()));
    purge(&store, &url("a", "/other"), PurgeMode::Hard);
    assert!(get(&store, "a /x").is_some());
    let _locked = store.purges.table.write();
    assert!(get(&store, "a /x").is_some());
}

#[test]
fn beyond_its_bound_the_oldest_purges_count_for_everything_fetched_before_them() {
    let at = UNIX_EPOCH + Duration::from_secs(5);
    let judge = |table: &Table, text: &str, since| table.judge(&Known::of_parts(text, &[]), since);
    let expired = |generation| Verdict::Expired { generation, at };
    for (mode, old) in [(PurgeMode::Soft, expired(1)), (PurgeMode::Hard, Verdict::Gone)] {
        let mut table = Table::new(100);
        for generation in 1..=100 {
            table.note(Name::of(&url("a", &format!("/{generation}"))), mode, generation, at);
        }
        assert_eq!((table.len(), judge(&table, "a /other", 0)), (100, Verdict::Stands));
        table.note(Name::of(&url("a", "/101")), mode, 101, at);
        assert_eq!(table.len(), 100);
        assert_eq!((judge(&table, "a /other", 0), judge(&table, "a /other", 1)), (old, Verdict::Stands));
        assert_ne!(judge(&table, "a /2", 1), Verdict::Stands);
        // What is purged again is not old.
        table.note(Name::of(&url("a", "/2")), mode, 102, at);
        table.note(Name::of(&url("a", "/103")), mode, 103, at);
        assert_ne!(judge(&table, "a /2", 101), Verdict::Stands);
        assert_ne!(judge(&table, "b /other", 2), Verdict::Stands, "/3 was the oldest");
        assert_eq!(judge(&table, "b /other", 3), Verdict::Stands);
    }
    assert_eq!(PURGES_MAX, 65_536);
}

#[test]
fn everything_purged_hard_leaves_no_entry() {
    let mut table = Table::new(100);
    for generation in 1..50 {
        table.note(
            Name::of(&prefix("a", &format!("/{generation}"))),
            PurgeMode::Hard,
            generation,
            UNIX_EPOCH,
        );
    }
    table.note(None, PurgeMode::Soft, 50, UNIX_EPOCH);
    assert_eq!(table.len(), 49, "hard ones say more than a soft one");
    table.note(None, PurgeMode::Hard, 51, UNIX_EPOCH);
    assert_eq!(table.len(), 0);
    assert_eq!(table.judge(&Known::of_parts("a /", &[]), 50), Verdict::Gone);
    assert_eq!(table.judge(&Known::of_parts("a /", &[]), 51), Verdict::Stands);
}

proptest! {
    /// A table that was written down and read says the same, whole or note by note, in any order.
    #[test]
    fn what_is_remembered_says_the_same_after_a_restart(
        purges in prop::collection::vec((0..6_usize, any::<bool>(), 0..4_usize), 0..40),
        order in any::<u64>(),
    ) {
        let (mut table, mut single) = (Table::new(1000), Vec::new());
        for (generation, (what, hard, place)) in purges.iter().enumerate() {
            let target = match what {
                0 => url("a", &format!("/{place}")),
                1 => prefix("a", &"/12"[..*place.min(&3)]),
                2 => tag(None, TAGS[*place]),
                3 => tag(Some("a"), TAGS[*place]),
                4 => PurgeTarget::Site("a".into()),
                _ => PurgeTarget::Everything,
            };
            let mode = if *hard { PurgeMode::Hard } else { PurgeMode::Soft };
            let at = UNIX_EPOCH + Duration::from_secs(generation as u64);
            single.push(table.note(Name::of(&target), mode, generation as u64 + (7 << START_SHIFT), at));
        }
        let mut read = Table::new(1000);
        let boots: Vec<_> = table.notes(9).iter().map(|note| read.take_in(note).unwrap()).collect();
        prop_assert_eq!(boots.into_iter().max(), Some(9));
        let mut shuffled = Table::new(1000);
        let rotated = if single.is_empty() { 0 } else { order as usize % single.len() };
        single.rotate_left(rotated);
        single.iter().for_each(|note| assert!(shuffled.take_in(note).is_some_and(|boot| boot <= 7)));
        let tags: Vec<u64> = TAGS.iter().take(2).map(|tag| tag_hash(tag)).collect();
        for text in ["a /0", "a /1", "a /12", "b /0", "b /1"] {
            for since in (0..42).map(|since| since + (7 << START_SHIFT) - 1) {
                let known = Known::of_parts(text, &tags);
                let says = table.judge(&known, since);
                prop_assert_eq!(read.judge(&known, since), says);
                let kind = |verdict| std::mem::discriminant::<Verdict>(&verdict);
                prop_assert_eq!(kind(shuffled.judge(&known, since)), kind(says));
            }
        }
    }
}

/// The number of a start goes on from the latest purge that was noted, also where that has counted beyond its own.
#[test]
fn a_start_is_later_than_every_purge_that_was_noted() {
    let mut table = Table::new(10);
    for generation in [7 << START_SHIFT, (9 << START_SHIFT) - 1, 9 << START_SHIFT] {
        let note = table.note(Name::of(&url("a", "/x")), PurgeMode::Hard, generation, UNIX_EPOCH);
        let last = Table::new(10).take_in(&note).unwrap();
        assert!(last << START_SHIFT <= generation && (last + 1) << START_SHIFT > generation);
    }
    let in_2036 = UNIX_EPOCH + Duration::from_secs(2_100_000_000);
    assert!(millis(in_2036).min(START_MAX) << START_SHIFT < 1 << 53);
}

/// Distinct things have distinct names, also where their texts run together.
#[test]
fn names_do_not_run_together() {
    let targets = [
        url("a", "/x"),
        url("ab", "/x"),
        prefix("a", "/x"),
        prefix("a", ""),
        PurgeTarget::Site("a".into()),
        tag(None, "/x"),
        tag(Some("a"), "/x"),
        tag(Some(""), "/x"),
        tag(None, "a"),
        PurgeTarget::Site("".into()),
    ];
    let mut seen = HashMap::new();
    for target in targets {
        let name = Name::of(&target).unwrap();
        assert_eq!(seen.insert(name.hash, target.clone()), None, "{target:?}");
    }
}
