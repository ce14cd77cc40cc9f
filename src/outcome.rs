//! What became of a request: the closed list that metrics, the access log and `Cache-Status` share.

/// How a request was answered. The word is the same in the access log, metric labels and the `detail` of Cache-Status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// From a fresh stored object.
    Hit,
    /// From a stored object past its freshness: while it is fetched anew, or because the origin fails.
    HitStale,
    /// From a stored object that the origin has just confirmed (304).
    HitRevalidated,
    /// From a fetch that another request had started.
    Coalesced,
    /// From a fetch that this request started.
    Miss,
    /// Passed through: by method, by rule, or because the answer may not be kept.
    Bypass,
    /// Refused by admission: token, method, address, or form of the request.
    Denied,
    /// The node could not answer: origin down, time out, own fault.
    Error,
}

impl Outcome {
    /// Every outcome, in the order of the discriminants, so that `ALL[outcome as usize] == outcome`.
    pub const ALL: [Outcome; 8] = [
        Outcome::Hit,
        Outcome::HitStale,
        Outcome::HitRevalidated,
        Outcome::Coalesced,
        Outcome::Miss,
        Outcome::Bypass,
        Outcome::Denied,
        Outcome::Error,
    ];

    /// The word for this outcome.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Hit => "hit",
            Outcome::HitStale => "hit_stale",
            Outcome::HitRevalidated => "hit_revalidated",
            Outcome::Coalesced => "coalesced",
            Outcome::Miss => "miss",
            Outcome::Bypass => "bypass",
            Outcome::Denied => "denied",
            Outcome::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discriminants_and_places_agree() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }
}
