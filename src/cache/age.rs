//! How old an answer is when it comes (RFC 9111 section 4.2.3).

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{AGE, DATE};

use super::date::Dated;
use super::directives::delta_seconds;

/// The age of an answer that has just come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age {
    /// What the caches before this one say (`age_value`): `Age`, or zero.
    pub(super) told: Duration,
    /// What it is at the most (`corrected_initial_age`): the longer of what the caches say, the time the request took
    /// added, and what the origin's clock says.
    pub(super) initial: Duration,
}

impl Age {
    /// The age of an answer with these fields, asked for and come at these times.
    ///
    /// `Date` has a resolution of a second, and so has the age that is computed from it. An answer without a readable
    /// `Date` was made when it came (RFC 9110 section 6.6.1).
    pub(super) fn of(headers: &HeaderMap, asked: SystemTime, now: SystemTime) -> Age {
        let told = told(headers);
        let delay = now.duration_since(asked).unwrap_or_default();
        let date = Dated::of(headers, &DATE, now).time().unwrap_or(now);
        let apparent = Duration::from_secs(now.duration_since(date).unwrap_or_default().as_secs());
        Age { told, initial: apparent.max(told + delay) }
    }
}

/// What `Age` says: its first member; one that is no number of seconds is ignored (section 5.1).
pub(super) fn told(headers: &HeaderMap) -> Duration {
    let first = headers.get(AGE).and_then(|value| value.as_bytes().split(|byte| *byte == b',').next());
    first.and_then(|member| delta_seconds(member.trim_ascii())).unwrap_or_default()
}
