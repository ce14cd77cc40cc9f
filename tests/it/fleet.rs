//! What nodes share through Redis, asked without a node around it: used tokens, streams, revocations, and what becomes of
//! them while Redis is away and when it is back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::admission::replay::Digest;
use forebay::admission::revocation::{Identity, Kind, Record, Revocations};
use forebay::admission::streams::{Name, Stream};
use forebay::config::Config;
use forebay::fleet::message::{Message, PurgeId};
use forebay::fleet::{Away, Fleet, Joining, Keeper, Watermark};
use forebay::store::{Accounts, PurgeMode, PurgeTarget, Store, StoreMetrics};

use crate::support::redis::Redis;
use crate::support::signing::now;
use crate::support::wait::{DEADLINE, eventually, within};

/// One node's part: what it knows, and its link.
struct Member {
    known: Arc<Known>,
    fleet: Arc<Fleet>,
    store: &'static Store,
}

struct Known(Revocations);

impl Keeper for Known {
    fn records(&self) -> Vec<Arc<Record>> {
        self.0.records(now())
    }

    fn merge(&self, records: Vec<Record>) {
        self.0.merge(records, now());
    }
}

impl Member {
    fn join(redis: &Redis) -> Member {
        Member::join_within(redis, "10s")
    }

    fn join_within(redis: &Redis, timeout: &str) -> Member {
        Member::join_knowing(redis, timeout, Vec::new())
    }

    fn join_knowing(redis: &Redis, timeout: &str, records: Vec<Record>) -> Member {
        let known = Arc::new(Known(Revocations::new(20_000, 1)));
        known.merge(records);
        let config = config(&redis.url(), timeout);
        let runtime = tokio::runtime::Handle::current();
        let registry = prometheus::Registry::new();
        let metrics = StoreMetrics::new(&registry).expect("metrics");
        let store = Store::new(16 << 20, 10, Accounts::default(), None, Duration::ZERO, metrics);
        let store: &'static Store = Box::leak(Box::new(store));
        let joining = Joining {
            name: None,
            digest: config.digest.clone(),
            tier: String::new(),
            store,
            has_disks: false,
            keeper: Arc::clone(&known) as _,
        };
        let fleet = Fleet::start(&config.fleet.bus.expect("a bus"), joining, &registry, &runtime);
        Member { known, fleet: fleet.expect("a fleet"), store }
    }

    async fn is_there(&self) {
        eventually("the member to be connected", || self.fleet.away().is_none()).await;
    }

    async fn is_away(&self) {
        eventually("the member to notice", || self.fleet.away().is_some()).await;
    }

    /// Purges here, and tells the others. Gives its place.
    async fn purge(&self, site: &str) -> Watermark {
        let target = PurgeTarget::Site(site.to_owned());
        let (id, mode) = (PurgeId::random(), PurgeMode::Soft);
        self.fleet.begin_purge(id);
        self.store.purge(&target, mode).await.expect("no disks");
        let node = self.fleet.name().to_owned();
        Arc::clone(&self.fleet).tell_purge(Message { id, node, mode, targets: vec![target] }).await;
        self.fleet.follow_purge(id, None).await.at.expect("Redis is there")
    }

    /// Revokes here, and tells the others.
    async fn revoke(&self, session: &str) -> Result<(), Away> {
        let record = self.known.0.revoke(identity(session), now() + 3600, now() * 1000).expect("room");
        self.fleet.tell(&[record]).await
    }

    async fn restore(&self, session: &str) -> Result<(), Away> {
        let record = self.known.0.restore(&identity(session), now() * 1000).expect("a revocation");
        self.fleet.tell(&[record]).await
    }

    fn refuses(&self, session: &str) -> bool {
        self.known.0.record(&identity(session)).is_some_and(|record| record.is_in_force(now()))
    }

    async fn learns(&self, session: &str) {
        eventually(&format!("{session} to be refused"), || self.refuses(session)).await;
    }

    async fn forgets(&self, session: &str) {
        eventually(&format!("{session} to be admitted"), || !self.refuses(session)).await;
    }
}

fn config(url: &str, timeout: &str) -> Config {
    let text = format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[fleet]\nbus = '{url}'\ntimeout = '{timeout}'\n[origin.main]\n\
         servers = ['http://127.0.0.1:1']\n[[site]]\nhosts = ['*']\norigin = 'main'\n"
    );
    forebay::config::parse(&text, std::path::Path::new("forebay.toml")).unwrap()
}

fn identity(session: &str) -> Identity {
    Identity { kind: Kind::Session, value: session.into(), policy: None }
}

fn stream(subject: &str, session: &str, limit: u32, window: Duration) -> Stream {
    Stream {
        subject: Name::of(&[subject.as_bytes()]),
        session: Name::of(&[session.as_bytes()]),
        limit,
        window,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identifier_is_good_once_for_all_nodes_until_its_token_ends() {
    let redis = Redis::start().await;
    let (one, other) = (Member::join(&redis), Member::join(&redis));
    one.is_there().await;
    other.is_there().await;
    let life = Duration::from_secs(3600);
    let digest = Digest::of("p", b"id");
    assert_eq!(one.fleet.use_once(digest, life, one.fleet.deadline()).await, Ok(true));
    assert_eq!(other.fleet.use_once(digest, life, other.fleet.deadline()).await, Ok(false));
    assert_eq!(one.fleet.use_once(digest, life, one.fleet.deadline()).await, Ok(false));
    assert_eq!(other.fleet.use_once(Digest::of("q", b"id"), life, other.fleet.deadline()).await, Ok(true));
    let key = format!("forebay:replay:{}", digest.to_hex());
    let left: i64 = redis.ask(&["PTTL", &key]);
    assert!((1..=3_600_000).contains(&left), "it ends with its token: {left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_a_subject_are_counted_over_all_nodes() {
    let redis = Redis::start().await;
    let (one, other) = (Member::join(&redis), Member::join(&redis));
    one.is_there().await;
    other.is_there().await;
    let hour = Duration::from_secs(3600);
    let ask = async |member: &Member, session: &str| {
        member.fleet.admit_stream(&stream("u", session, 2, hour), member.fleet.deadline()).await.unwrap()
    };
    assert!(ask(&one, "a").await && ask(&other, "b").await);
    assert!(!ask(&one, "c").await && !ask(&other, "c").await);
    assert!(ask(&other, "a").await, "a session goes on wherever it comes to");
    let key = format!("forebay:streams:{}", Name::of(&[b"u"]).to_hex());
    assert_eq!(redis.ask::<i64>(&["ZCARD", &key]), 2, "who was refused takes no place");
    assert!(redis.ask::<i64>(&["PTTL", &key]) > 0);
    // The place of one that has not been seen for the window is free.
    let brief = Duration::from_millis(1);
    within("the window to pass", async {
        while !other.fleet.admit_stream(&stream("u", "d", 2, brief), other.fleet.deadline()).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_is_told_every_node_knows() {
    let redis = Redis::start().await;
    let (one, other) = (Member::join(&redis), Member::join(&redis));
    one.is_there().await;
    other.is_there().await;
    one.revoke("a").await.unwrap();
    other.learns("a").await;
    other.restore("a").await.unwrap();
    one.forgets("a").await;
    one.revoke("a").await.unwrap();
    other.learns("a").await;
    // One that comes later reads what is in force.
    let late = Member::join(&redis);
    late.is_there().await;
    assert!(late.refuses("a"), "known before it is connected");
    assert!(!late.refuses("b"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_while_redis_was_away_is_told_when_it_is_back() {
    let mut redis = Redis::start().await;
    let (one, other) = (Member::join(&redis), Member::join(&redis));
    one.is_there().await;
    other.is_there().await;
    one.revoke("before").await.unwrap();
    one.revoke("restored").await.unwrap();
    other.learns("restored").await;
    redis.kill();
    one.is_away().await;
    other.is_away().await;
    assert_eq!(one.revoke("meanwhile").await, Err(Away));
    assert_eq!(other.restore("restored").await, Err(Away));
    assert_eq!(
        one.fleet.use_once(Digest::of("p", b"id"), Duration::from_secs(60), one.fleet.deadline()).await,
        Err(Away)
    );
    // The server comes back without anything: the nodes put back what they know.
    redis.start_again().await;
    other.learns("meanwhile").await;
    one.forgets("restored").await;
    let late = Member::join(&redis);
    late.is_there().await;
    assert!(late.refuses("before") && late.refuses("meanwhile") && !late.refuses("restored"));
}

/// Enough for several steps of reading and of telling the whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_revocations_reach_nodes_that_were_there_before_and_that_come_later() {
    let redis = Redis::start().await;
    let before = Member::join(&redis);
    before.is_there().await;
    let record = |n: u32| {
        let (until, at) = (now() + 3600, now() * 1000);
        Record { identity: identity(&n.to_string()), until, at, restored: false }
    };
    let knowing = Member::join_knowing(&redis, "10s", (0..10_000).map(record).collect());
    knowing.is_there().await;
    assert_eq!(redis.ask::<i64>(&["HLEN", "forebay:revocations"]), 10_000, "told before it is connected");
    eventually("all to be known", || before.known.0.len() == 10_000).await;
    let late = Member::join(&redis);
    late.is_there().await;
    assert_eq!(late.known.0.len(), 10_000);
    assert!(redis.ask::<i64>(&["XLEN", "forebay:bus"]) <= 11_000, "the bus keeps about so many");
    // Nothing is told again that is known.
    let last: i64 = redis.ask(&["XLEN", "forebay:bus"]);
    Member::join_knowing(&redis, "10s", vec![record(1)]).is_there().await;
    assert!(redis.ask::<i64>(&["XLEN", "forebay:bus"]) <= last + 1);
}

/// A server that takes what it is sent and says nothing holds a request for `fleet.timeout`, and soon nobody any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_found_and_waited_for_no_more() {
    let redis = Redis::start().await;
    let one = Member::join_within(&redis, "20ms");
    one.is_there().await;
    redis.pause();
    let digest = Digest::of("p", b"id");
    let asked = one.fleet.use_once(digest, Duration::from_secs(60), one.fleet.deadline());
    assert_eq!(within("an answer", asked).await, Err(Away));
    one.is_away().await;
    // From here on the answer is made without waiting: a thousand of them in less than one would have waited for each.
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_eq!(
            one.fleet.use_once(digest, Duration::from_secs(60), one.fleet.deadline()).await,
            Err(Away)
        );
    }
    assert!(begun.elapsed() < Duration::from_millis(20) * 1000, "{:?}", begun.elapsed());
    redis.resume();
    one.is_there().await;
    within("an answer", async {
        while one
            .fleet
            .use_once(Digest::of("p", b"another"), Duration::from_secs(60), one.fleet.deadline())
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// What a request asks for last does not wait anew: the server answers nothing, and what is left of the time is nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_questions_of_one_request_wait_no_longer_than_one() {
    let redis = Redis::start().await;
    let one = Member::join_within(&redis, "10s");
    one.is_there().await;
    redis.pause();
    let by = one.fleet.deadline() - Duration::from_secs(10);
    let begun = Instant::now();
    let digest = Digest::of("p", b"id");
    assert_eq!(one.fleet.use_once(digest, Duration::from_secs(60), by).await, Err(Away));
    let stream = stream("u", "s", 1, Duration::from_secs(60));
    assert_eq!(one.fleet.admit_stream(&stream, by).await, Err(Away));
    assert!(begun.elapsed() < Duration::from_secs(10), "one has waited: {:?}", begun.elapsed());
    redis.resume();
}

/// What has ended is taken out of Redis, and what is there and is no record does no harm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_leaves_redis() {
    let redis = Redis::start().await;
    let (ended, living) = (r#"["session","ended",null]"#, r#"["session","living",null]"#);
    let field = |field: &str, value: String| {
        redis.ask::<i64>(&["HSET", "forebay:revocations", field, &value]);
    };
    field(ended, format!("1 1 {}", now() - 3600));
    field(living, format!("1 1 {}", now() + 3600));
    field("rubbish", "rubbish".to_owned());
    redis.ask::<String>(&["XADD", "forebay:bus", "*", "kind", "something later"]);
    let one = Member::join(&redis);
    one.is_there().await;
    assert!(one.refuses("living") && !one.refuses("ended"));
    let mut left: Vec<String> = redis.ask(&["HKEYS", "forebay:revocations"]);
    left.sort();
    assert_eq!(left, [living, "rubbish"]);
    redis.ask::<String>(&["XADD", "forebay:bus", "*", "kind", "something later", "what", "x"]);
    one.revoke("after").await.unwrap();
    let other = Member::join(&redis);
    other.is_there().await;
    assert!(other.refuses("after"));
}

/// A place in the stream is reached on every node, and each knows which of its own generations it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_in_the_stream_is_a_generation_on_every_node() {
    let redis = Redis::start().await;
    let (one, other) = (Member::join(&redis), Member::join(&redis));
    one.is_there().await;
    other.is_there().await;
    let soon = || tokio::time::Instant::now() + DEADLINE;
    let begin = one.fleet.watermark().expect("it is there");
    let before = (one.store.generation(), other.store.generation());
    assert_eq!(one.fleet.generation_at(begin), Some(before.0));
    let first = one.purge("a").await;
    assert!(first > begin, "{first}");
    for member in [&one, &other] {
        assert!(member.fleet.reach(first, soon()).await);
        assert!(member.fleet.watermark() >= Some(first));
    }
    let between = (one.store.generation(), other.store.generation());
    assert_eq!(between, (before.0 + 1, before.1 + 1), "once on each");
    let second = other.purge("b").await;
    assert!(one.fleet.reach(second, soon()).await && other.fleet.reach(second, soon()).await);
    for (member, before, between) in [(&one, before.0, between.0), (&other, before.1, between.1)] {
        let found = [begin, first, second].map(|place| member.fleet.generation_at(place));
        assert_eq!(found, [Some(before), Some(between), Some(between + 1)]);
    }
    let never = Watermark { millis: u64::MAX, sequence: 0 };
    let at_once = tokio::time::Instant::now();
    assert!(!one.fleet.reach(never, at_once).await);
    // One that comes later knows nothing of what was before it.
    let late = Member::join(&redis);
    late.is_there().await;
    assert_eq!(late.fleet.watermark(), Some(second));
    assert_eq!(late.fleet.generation_at(first), None);
    assert_eq!(late.fleet.generation_at(second), Some(late.store.generation()));
    // What waits for Redis counts as behind every place.
    redis.pause();
    let before = one.store.generation();
    let id = PurgeId::random();
    one.fleet.begin_purge(id);
    one.store.purge(&PurgeTarget::Everything, PurgeMode::Soft).await.expect("no disks");
    assert_eq!(one.fleet.generation_at(second), Some(before));
    redis.resume();
}
