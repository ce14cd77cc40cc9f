//! What the RFCs of HTTP caching require of a shared cache, as it is seen from outside: requests on one side, a scripted
//! origin on the other, and a clock that stands still until the test moves it. Written from the texts alone.
//!
//! | text | section | tests in |
//! |---|---|---|
//! | RFC 9111 | 3, 3.1, 3.2 (storing) | [`storing`], [`update`] |
//! | RFC 9111 | 3.3, 3.4; RFC 9110 14 (parts) | [`partial`] |
//! | RFC 9111 | 3.5 (requests with credentials) | [`authorization`] |
//! | RFC 9111 | 4.1 (variants) | [`vary`] |
//! | RFC 9111 | 4.2, 4.2.1, 4.2.2, 5.3, 5.4 (freshness) | [`freshness`] |
//! | RFC 9111 | 4.2.3, 5.1 (age) | [`age`] |
//! | RFC 9111 | 4.2.4 (stale answers) | [`stale`] |
//! | RFC 9111 | 4.3.1 to 4.3.3; RFC 9110 13 (validation) | [`validation`] |
//! | RFC 9111 | 4.3.4, 4.3.5 (update by 304 and HEAD) | [`update`] |
//! | RFC 9111 | 4.4 (invalidation) | [`invalidation`] |
//! | RFC 9111 | 5.2.1 (directives of requests) | [`request_directives`] |
//! | RFC 9111 | 5.2, 5.2.2, 5.2.3 (directives of answers) | [`response_directives`] |
//! | RFC 5861 | 3, 4 | [`swr`] |
//! | RFC 9211 | 2 | [`status`] |
//! | RFC 9213 | 2 | [`targeted`] |
//!
//! Each file begins with a table of its own: requirement and test.

mod age;
mod authorization;
mod freshness;
mod invalidation;
mod partial;
mod request_directives;
mod response_directives;
mod stale;
mod status;
mod storing;
mod swr;
mod targeted;
mod update;
mod validation;
mod vary;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use forebay::clock::Clock;

use crate::support::client::{self, Request, Response};
use crate::support::edge::Setup;
use crate::support::node::LocalNode;
use crate::support::origin::{Answer, Origin};

/// How a second request for the same target was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// From what was stored, without the origin.
    Reused,
    /// After the origin was asked with a condition.
    Validated,
    /// By a fetch of its own.
    Fetched,
}

use Use::{Fetched, Reused, Validated};

/// A header of an answer and what becomes of the answer: the shape of most requirements.
///
/// In values, `{now}`, `{now+SECONDS}` and `{now-SECONDS}` stand for dates in the preferred form; with `rfc850` or
/// `asctime` in place of `now`, for dates in the obsolete forms (RFC 9110 section 5.6.7).
type Row = (&'static str, &'static [(&'static str, &'static str)], Use);

/// The time at which every test begins, since 1970: far from the time of the machine, which is not to be read.
const START: Duration = Duration::from_secs(1_900_000_000);

/// A node before a scripted origin, at a time that only the test moves.
struct Bench {
    origin: Origin,
    node: LocalNode,
    clock: Clock,
    paths: AtomicUsize,
}

impl Bench {
    async fn start() -> Bench {
        Bench::with(|setup| setup).await
    }

    /// As [`Bench::start`], with more in the configuration.
    async fn with(more: impl FnOnce(Setup) -> Setup) -> Bench {
        let origin = Origin::start().await;
        let clock = Clock::manual(UNIX_EPOCH + START);
        let node = LocalNode::start_at(&more(Setup::before(&origin)), clock.clone());
        Bench { origin, node, clock, paths: AtomicUsize::new(0) }
    }

    /// A path that no other case of the test has; of no kind that has a default freshness.
    fn path(&self) -> String {
        format!("/page-{}", self.paths.fetch_add(1, Ordering::Relaxed))
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// A date, so many seconds from now, in the preferred form.
    fn date(&self, offset: i64) -> String {
        let span = Duration::from_secs(offset.unsigned_abs());
        let now = self.clock.now();
        httpdate::fmt_http_date(if offset < 0 { now - span } else { now + span })
    }

    /// A value with its dates filled in.
    fn fill(&self, value: &str) -> String {
        let Some((before, rest)) = value.split_once('{') else { return value.to_owned() };
        let (name, after) = rest.split_once('}').expect("a closing brace");
        let digit = name.find(['+', '-']).unwrap_or(name.len());
        let offset = if digit == name.len() { 0 } else { name[digit..].parse().expect("seconds") };
        let date = self.date(offset);
        let date = match &name[..digit] {
            "now" => date,
            "rfc850" => rfc850(&date),
            "asctime" => asctime(&date),
            other => panic!("no such date: {other}"),
        };
        format!("{before}{date}{}", self.fill(after))
    }

    /// An answer of 200 with these fields; one with a validator confirms it.
    fn answer(&self, fields: &[(&str, &str)]) -> Answer {
        self.fields(Answer::ok("the body"), fields)
    }

    fn fields(&self, answer: Answer, fields: &[(&str, &str)]) -> Answer {
        fields.iter().fold(answer, |answer, (name, value)| {
            let value = self.fill(value);
            match *name {
                "etag" => answer.etag(&value),
                "last-modified" => answer.last_modified(&value),
                name => answer.header(name, &value),
            }
        })
    }

    async fn get(&self, path: &str) -> Response {
        self.node.get(path).await
    }

    async fn ask(&self, request: &Request) -> Response {
        client::ask(self.node.http(), request).await
    }

    /// Asks twice, and says how the second request was answered.
    async fn second_use(&self, answer: Answer) -> Use {
        self.second_use_after(answer, 0).await
    }

    /// As [`Bench::second_use`], after so many seconds.
    async fn second_use_after(&self, answer: Answer, seconds: u64) -> Use {
        let path = self.path();
        self.origin.on(&path, answer);
        self.get(&path).await;
        self.advance(seconds);
        self.get(&path).await;
        self.last_use(&path, 2)
    }

    /// How the last of `asked` requests for a path was answered, where all before it but the first were not forwarded.
    fn last_use(&self, path: &str, asked: usize) -> Use {
        assert!(asked > 1, "the first request cannot be answered from what is stored");
        match self.origin.requests(path) {
            0 | 1 => Reused,
            _ => {
                let last = self.origin.last(path);
                let conditional =
                    ["if-none-match", "if-modified-since"].iter().any(|n| last.header(n).is_some());
                if conditional { Validated } else { Fetched }
            }
        }
    }

    /// Holds a table to its word, and tells every row that is not as it says.
    async fn hold(&self, rows: &[Row]) {
        let mut wrong = Wrong::default();
        for (requirement, fields, expected) in rows {
            let found = self.second_use(self.answer(fields)).await;
            wrong.note(found == *expected, || {
                format!("{requirement}: {found:?}, not {expected:?}: {fields:?}")
            });
        }
        wrong.none();
    }
}

/// What a table found wrong.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn note(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.0.push(what());
        }
    }

    #[track_caller]
    fn none(self) {
        assert!(self.0.is_empty(), "{} wrong:\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// `Sunday, 06-Nov-94 08:49:37 GMT` of `Sun, 06 Nov 1994 08:49:37 GMT`.
fn rfc850(date: &str) -> String {
    let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let day = days.iter().find(|day| day.starts_with(&date[..3])).expect("a day");
    format!("{day}, {}-{}-{} {} GMT", &date[5..7], &date[8..11], &date[14..16], &date[17..25])
}

/// `Sun Nov  6 08:49:37 1994` of the same.
fn asctime(date: &str) -> String {
    let day: u32 = date[5..7].parse().expect("a day");
    format!("{} {} {day:2} {} {}", &date[..3], &date[8..11], &date[17..25], &date[12..16])
}

/// The age that an answer tells.
#[track_caller]
fn age_of(response: &Response) -> u64 {
    assert_eq!(response.head.count("age"), 1, "one Age: {:?}", response.head);
    response.get("age").and_then(|age| age.parse().ok()).expect("a number of seconds")
}

#[test]
fn dates_in_obsolete_forms_are_as_the_text_shows_them() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(rfc850(date), "Sunday, 06-Nov-94 08:49:37 GMT");
    assert_eq!(asctime(date), "Sun Nov  6 08:49:37 1994");
}
