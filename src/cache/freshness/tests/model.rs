//! Storing, freshness and age as RFC 9111 words them, computed from numbers instead of fields, against the judge.
//!
//! The model knows no parser and none of the judge's types: a case is made of numbers, written out as fields for the
//! judge, and reckoned in milliseconds by the text of sections 3, 3.5, 4.2.1, 4.2.2 and 4.2.3.

use super::dice::Dice;
use super::*;

/// Milliseconds of the model's clock when the answer comes: a second of its own plus a part of one.
const CAME: i64 = 1_700_000_000_000;

/// A number of seconds in a field.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Absent,
    Unreadable,
    Is(i64),
    /// Two members or lines with different numbers.
    Two(i64, i64),
}

/// An answer, in numbers. Dates are seconds relative to the second in which it comes.
#[derive(Debug)]
struct Case {
    status: u16,
    part_of_second: i64,
    delay: i64,
    authorized: bool,
    max_age: Number,
    s_maxage: Number,
    expires: Number,
    date: Number,
    age: Number,
    last_modified: Number,
    no_store: bool,
    no_cache: bool,
    private: bool,
    public: bool,
    must_revalidate: bool,
    must_understand: bool,
}

impl Case {
    fn of(seed: u64) -> Case {
        let dice = &mut Dice::new(seed);
        let mut number = |present: u64, low: i64, high: i64| {
            let within =
                |dice: &mut Dice| low + i64::try_from(dice.roll((high - low).unsigned_abs())).unwrap();
            match dice.roll(10) {
                roll if roll >= present => Number::Absent,
                0 if dice.one_in(2) => Number::Unreadable,
                1 if dice.one_in(3) => Number::Two(within(dice), within(dice)),
                _ => Number::Is(within(dice)),
            }
        };
        let (max_age, s_maxage) = (number(5, 0, 120), number(2, 0, 120));
        let (expires, date) = (number(4, -60, 200), number(7, -90, 40));
        let (age, last_modified) = (number(3, 0, 90), number(5, -3_000_000, 60));
        Case {
            status: dice.pick(&[200, 200, 200, 203, 204, 301, 302, 404, 410, 429, 501, 503, 299]),
            part_of_second: i64::try_from(dice.roll(1000)).unwrap(),
            delay: i64::try_from(dice.roll(20_000)).unwrap(),
            authorized: dice.one_in(8),
            max_age,
            s_maxage,
            expires,
            date,
            age,
            last_modified,
            no_store: dice.one_in(10),
            no_cache: dice.one_in(10),
            private: dice.one_in(10),
            public: dice.one_in(6),
            must_revalidate: dice.one_in(6),
            must_understand: dice.one_in(10),
        }
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(u64::try_from(CAME + self.part_of_second).unwrap())
    }

    /// The answer as it would come.
    fn header(&self) -> ResponseHeader {
        let mut header = answer(self.status, &[]);
        let mut control = Vec::new();
        for (name, number) in [("max-age", self.max_age), ("s-maxage", self.s_maxage)] {
            match number {
                Number::Absent => {}
                Number::Unreadable => control.push(format!("{name}=some")),
                Number::Is(seconds) => control.push(format!("{name}={seconds}")),
                Number::Two(one, two) => {
                    control.extend([one, two].map(|seconds| format!("{name}={seconds}")))
                }
            }
        }
        for (told, word) in [
            (self.no_store, "no-store"),
            (self.no_cache, "no-cache"),
            (self.private, "private"),
            (self.public, "public"),
            (self.must_revalidate, "must-revalidate"),
            (self.must_understand, "must-understand"),
        ] {
            control.extend(told.then(|| word.to_owned()));
        }
        if !control.is_empty() {
            header.append_header("cache-control", control.join(", ")).unwrap();
        }
        let date = |offset: i64| {
            let seconds = u64::try_from(CAME / 1000 + offset).unwrap();
            httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
        };
        let dates = [("expires", self.expires), ("date", self.date), ("last-modified", self.last_modified)];
        for (name, number) in dates {
            let lines = match number {
                Number::Absent => vec![],
                Number::Unreadable => vec!["0".to_owned()],
                Number::Is(offset) => vec![date(offset)],
                Number::Two(one, two) => vec![date(one), date(two)],
            };
            lines.into_iter().for_each(|line| {
                header.append_header(name, line).unwrap();
            });
        }
        match self.age {
            Number::Absent => {}
            Number::Unreadable => drop(header.append_header("age", "-3").unwrap()),
            Number::Is(seconds) => drop(header.append_header("age", seconds.to_string()).unwrap()),
            Number::Two(one, two) => drop(header.append_header("age", format!("{one}, {two}")).unwrap()),
        }
        header
    }

    /// Section 3, for a shared cache that keeps redirects and unlisted statuses by the origin's word.
    fn may_be_stored(&self) -> bool {
        let explicit = self.public
            || self.max_age != Number::Absent
            || self.s_maxage != Number::Absent
            || self.expires != Number::Absent;
        let heuristically_cacheable = [200, 203, 204, 404, 410, 501].contains(&self.status);
        let understood = self.status != 299;
        let no_store = self.no_store && !(self.must_understand && understood);
        let authorization_allows =
            !self.authorized || self.public || self.must_revalidate || self.s_maxage != Number::Absent;
        self.status != 429
            && (understood || !self.must_understand)
            && !no_store
            && !self.private
            && authorization_allows
            && (explicit || heuristically_cacheable)
    }

    /// A date that names one time.
    fn at(number: Number) -> Option<i64> {
        match number {
            Number::Is(offset) => Some(CAME + offset * 1000),
            Number::Two(one, two) if one == two => Some(CAME + one * 1000),
            _ => None,
        }
    }

    /// Section 4.2.3.
    fn corrected_initial_age(&self) -> i64 {
        let response_time = CAME + self.part_of_second;
        let age_value = match self.age {
            Number::Is(seconds) | Number::Two(seconds, _) => seconds * 1000,
            Number::Absent | Number::Unreadable => 0,
        };
        // Dates are whole seconds, and so is what is computed from them.
        let apparent_age =
            Case::at(self.date).map_or(0, |date_value| (response_time - date_value).max(0) / 1000 * 1000);
        let corrected_age_value = age_value + self.delay;
        apparent_age.max(corrected_age_value)
    }

    /// Sections 4.2.1 and 4.2.2, the node's caps for errors included.
    fn freshness_lifetime(&self) -> i64 {
        let seconds = |number| match number {
            Number::Absent => None,
            Number::Unreadable => Some(0),
            Number::Is(seconds) => Some(seconds * 1000),
            Number::Two(one, two) => Some(if one == two { one * 1000 } else { 0 }),
        };
        let date_value = Case::at(self.date).unwrap_or(CAME + self.part_of_second);
        if self.no_cache {
            return 0;
        }
        if let Some(told) = seconds(self.s_maxage).or(seconds(self.max_age)) {
            return told;
        }
        if self.expires != Number::Absent {
            return Case::at(self.expires).map_or(0, |expires| (expires - date_value).max(0));
        }
        let guessable = [200, 203, 204].contains(&self.status) || (self.public && self.status < 400);
        match Case::at(self.last_modified) {
            Some(changed) if guessable => ((date_value - changed).max(0) / 10).min(24 * 3600 * 1000),
            _ => 0,
        }
    }

    /// How long it is fresh after it has come, in milliseconds.
    fn fresh_for(&self) -> i64 {
        let untold = !self.no_cache
            && [self.max_age, self.s_maxage, self.expires].iter().all(|number| *number == Number::Absent);
        let age_value = match self.age {
            Number::Is(seconds) | Number::Two(seconds, _) => seconds * 1000,
            Number::Absent | Number::Unreadable => 0,
        };
        let a_second = (1000 - age_value).max(0);
        let by_word = (self.freshness_lifetime() - self.corrected_initial_age()).max(0);
        match self.status {
            400.. if untold => a_second,
            500.. => by_word.min(a_second),
            _ => by_word,
        }
    }
}

/// Sub-millisecond parts come from a tenth of a whole number of milliseconds.
fn close(one: SystemTime, other: SystemTime) -> bool {
    let apart = one.duration_since(other).or_else(|error| Ok::<_, ()>(error.duration())).unwrap();
    apart < Duration::from_millis(1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    #[test]
    fn judge_and_model_agree(seed: u64) {
        let case = Case::of(seed);
        let (header, times) = (case.header(), Times::default());
        let fetched = Fetched {
            asked: case.now() - Duration::from_millis(case.delay.unsigned_abs()),
            now: case.now(),
            authorized: case.authorized,
            ..fetched(&header, Kind::Other, None, &times)
        };
        match judge(&fetched) {
            Verdict::Pass(_, refusal) => prop_assert!(!case.may_be_stored(), "{:?} {:?}", refusal, case),
            Verdict::Keep(kept) => {
                prop_assert!(case.may_be_stored(), "kept: {:?}", case);
                let after = |millis: i64| Duration::from_millis(millis.unsigned_abs());
                let expected = case.now() + after(case.fresh_for());
                prop_assert!(
                    close(kept.lifetime.fresh_until, expected),
                    "fresh for {:?}, expected {} ms: {:?}",
                    kept.lifetime.fresh_until.duration_since(case.now()), case.fresh_for(), case
                );
                let made = case.now() - after(case.corrected_initial_age());
                prop_assert!(close(kept.lifetime.created, made), "age: {:?}", case);
            }
        }
    }
}
