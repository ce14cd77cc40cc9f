//! The judge beside another implementation, `http-cache-semantics`, on random headers: they agree, or the case is of a
//! class in which the two differ for a reason.

use std::collections::BTreeMap;

use http::{Request, Response};
use http_cache_semantics::{CacheOptions, CachePolicy};

use super::dice::Dice;
use super::*;

/// Cases that are compared.
const CASES: u64 = 20_000;

/// Why the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// It has a list of understood statuses without 299, 403 and 503, and stores no other; the judge stores any status by
    /// the origin's word (RFC 9111 section 3).
    StatusByWord,
    /// It stores redirects that are cacheable by default; the judge stores none without the origin's word.
    UntoldRedirect,
    /// It does not know `must-understand` (RFC 9111 section 5.2.2.3).
    MustUnderstand,
    /// It takes `private="field"` for `private` (section 5.2.2.7 limits it to the field).
    LimitedPrivate,
    /// It takes `no-cache="field"` for `no-cache` (section 5.2.2.4 limits it to the field).
    LimitedNoCache,
    /// It keeps an answer that sets a cookie, with no freshness; the judge keeps none.
    SetCookie,
    /// It does not read names of directives without regard to case (section 5.2).
    Case,
    /// It takes `max-age` without an argument for absent; the judge for unreadable, and so for stale (section 4.2.1).
    NoArgument,
    /// It counts a lifetime that is named twice with different values as the first of them; the judge as stale. Section
    /// 4.2.1 allows both.
    Twice,
    /// It knows `proxy-revalidate` as no freshness; section 5.2.2.8 forbids to use what is stale, and no more.
    ProxyRevalidate,
    /// It takes a `Pragma` of an answer for `no-cache`; section 5.4 gives it no meaning there.
    Pragma,
    /// It does not count the origin's clock as age (section 4.2.3, `apparent_age`).
    ApparentAge,
    /// It reads dates of one form only (RFC 9110 section 5.6.7 demands three).
    DateForm,
    /// It takes a list in `Age` for invalid; section 5.1 has the first member count.
    AgeList,
    /// It gives `immutable` a day of freshness when nothing else is said; RFC 8246 gives none.
    Immutable,
    /// It caps no guess and guesses for errors; the judge guesses at most a day, and keeps an error of which nothing is
    /// said for a second.
    Guess,
    /// It keeps a server error as any answer; the judge for a second at most.
    ErrorCap,
}

/// A header, and what in it is of a class.
struct Case {
    header: ResponseHeader,
    authorized: bool,
    classes: Vec<Class>,
}

impl Case {
    fn of(seed: u64) -> Case {
        let dice = &mut Dice::new(seed);
        let status = dice.pick(&[200, 200, 200, 200, 204, 301, 302, 404, 410, 501, 299, 403, 503]);
        let mut case = Case { header: answer(status, &[]), authorized: dice.one_in(10), classes: vec![] };
        let directives: &[(&str, Option<Class>)] = &[
            ("max-age=60", None),
            ("max-age=60", None),
            ("max-age=\"90\"", None),
            ("max-age=0", None),
            ("max-age=soon", None),
            ("max-age=-1", None),
            ("s-maxage=30", None),
            ("s-maxage=x", None),
            ("public", None),
            ("no-cache", None),
            ("no-store", None),
            ("private", None),
            ("must-revalidate", None),
            ("x-unknown=1", None),
            ("must-understand", Some(Class::MustUnderstand)),
            ("private=\"x-user\"", Some(Class::LimitedPrivate)),
            ("no-cache=\"x-user\"", Some(Class::LimitedNoCache)),
            ("Max-Age=70", Some(Class::Case)),
            ("NO-STORE", Some(Class::Case)),
            ("max-age", Some(Class::NoArgument)),
            ("max-age=60, max-age=10", Some(Class::Twice)),
            ("proxy-revalidate", Some(Class::ProxyRevalidate)),
            ("immutable", Some(Class::Immutable)),
        ];
        let mut control = Vec::new();
        for _ in 0..dice.roll(4) {
            let (directive, class) = dice.pick(directives);
            control.push(directive);
            case.classes.extend(class);
        }
        if !control.is_empty() {
            case.add("cache-control", &control.join(", "));
        }
        let distinct = |name: &str| {
            let mut values: Vec<&str> =
                control.iter().copied().filter(|word| word.to_ascii_lowercase().starts_with(name)).collect();
            values.sort_unstable();
            values.dedup();
            values.len()
        };
        if distinct("max-age") > 1 || distinct("s-maxage") > 1 || distinct("private") > 1 {
            case.classes.push(Class::Twice);
        }
        case.add_others(dice);
        case.classify_status();
        case
    }

    fn add(&mut self, name: &'static str, value: &str) {
        self.header.append_header(name, value).unwrap();
    }

    fn add_others(&mut self, dice: &mut Dice) {
        match dice.roll(8) {
            0 => self.add("expires", "0"),
            1 => self.add("expires", &date_at(45)),
            2 => self.add("expires", &date_at(-45)),
            3 if dice.one_in(2) => {
                self.add("expires", "Tue Nov 14 22:13:50 2023");
                self.classes.push(Class::DateForm);
            }
            _ => {}
        }
        match dice.roll(6) {
            0..=2 => self.add("date", &date_at(0)),
            3 => {
                self.add("date", &date_at(-20));
                self.classes.push(Class::ApparentAge);
            }
            4 => self.add("date", "yesterday"),
            _ => {}
        }
        match dice.roll(8) {
            0 => self.add("age", "7"),
            1 => self.add("age", "-7"),
            2 => {
                self.add("age", "7, 9");
                self.classes.push(Class::AgeList);
            }
            _ => {}
        }
        match dice.roll(5) {
            0 => self.add("last-modified", &date_at(-1000)),
            1 => {
                self.add("last-modified", &date_at(-100 * 24 * 3600));
                self.classes.push(Class::Guess);
            }
            _ => {}
        }
        if dice.one_in(12) {
            self.add("set-cookie", "a=b");
            self.classes.push(Class::SetCookie);
        }
        if dice.one_in(12) {
            self.add("pragma", "no-cache");
            self.classes.push(Class::Pragma);
        }
        if dice.one_in(12) {
            self.add("x-user", "me");
        }
    }

    fn classify_status(&mut self) {
        let status = self.header.status.as_u16();
        match status {
            301 => self.classes.push(Class::UntoldRedirect),
            299 | 403 | 503 => self.classes.push(Class::StatusByWord),
            _ => {}
        }
        match status {
            400..500 => self.classes.push(Class::Guess),
            500.. => self.classes.push(Class::ErrorCap),
            _ => {}
        }
    }

    /// How long the judge and the other keep it fresh, in seconds; None: not stored.
    fn compared(&self) -> (Option<u64>, Option<u64>) {
        let times = Times::default();
        let fetched =
            Fetched { authorized: self.authorized, ..fetched(&self.header, Kind::Other, None, &times) };
        let ours = match judge(&fetched) {
            Verdict::Keep(kept) => Some(kept.lifetime.fresh_until.duration_since(now()).unwrap().as_secs()),
            Verdict::Pass(..) => None,
        };
        let mut request = Request::builder().uri("http://a.test/a");
        if self.authorized {
            request = request.header("authorization", "Basic x");
        }
        let mut response = Response::builder().status(self.header.status);
        for (name, value) in &self.header.headers {
            response = response.header(name, value);
        }
        let (request, response) = (request.body(()).unwrap(), response.body(()).unwrap());
        let policy = CachePolicy::new_options(&request, &response, now(), CacheOptions::default());
        let theirs = policy.is_storable().then(|| policy.time_to_live(now()).as_secs());
        (ours, theirs)
    }
}

#[test]
fn the_judge_differs_from_another_implementation_only_for_a_reason() {
    let mut differing: BTreeMap<Class, u64> = BTreeMap::new();
    let mut agreed = 0;
    for seed in 0..CASES {
        let case = Case::of(seed);
        let (ours, theirs) = case.compared();
        if ours == theirs {
            agreed += 1;
            continue;
        }
        let fields: Vec<_> = case.header.headers.iter().collect();
        let status = case.header.status;
        assert!(!case.classes.is_empty(), "{status} {fields:?}: {ours:?}, not {theirs:?}");
        // A class shows in a case that is of no other.
        if let [class] = case.classes[..] {
            *differing.entry(class).or_default() += 1;
        }
    }
    assert!(agreed > CASES / 3, "{agreed} agree");
    for class in [
        Class::StatusByWord,
        Class::UntoldRedirect,
        Class::MustUnderstand,
        Class::LimitedPrivate,
        Class::LimitedNoCache,
        Class::SetCookie,
        Class::Case,
        Class::NoArgument,
        Class::Twice,
        Class::ProxyRevalidate,
        Class::Pragma,
        Class::ApparentAge,
        Class::DateForm,
        Class::AgeList,
        Class::Immutable,
        Class::Guess,
        Class::ErrorCap,
    ] {
        assert!(differing.contains_key(&class), "{class:?} is no difference: {differing:?}");
    }
}
