//! Why a token does not admit a request: the closed list that admission, configuration, log and metrics share.

/// Why a request was refused. The word is the same in the access log, metric labels, the answer and the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// No token in any place where one may stand.
    Missing,
    /// Not a token of the policy's format, beyond a bound, or named twice.
    Malformed,
    /// Signed with none of the policy's keys, or altered.
    BadMac,
    /// It names a key, or a key's owner, that the policy does not have.
    UnknownKey,
    /// Its end has passed.
    Expired,
    /// Its start has not come.
    NotYet,
    /// Genuine, but for other paths or URLs.
    Path,
    /// Genuine, but for another client address.
    Ip,
    /// For another country or subdivision.
    Geo,
    /// For another network (autonomous system).
    Asn,
    /// For another method.
    Method,
    /// For another host.
    Host,
    /// A header field that it asks for is not there, or has another value.
    Header,
    /// For another application protocol (ALPN).
    Alpn,
    /// For another TLS client (JA4), or for TLS at all.
    TlsFingerprint,
    /// Made by somebody whose tokens are not taken.
    Issuer,
    /// Made for somebody else.
    Audience,
    /// It says something that the node does not know how to hold it to.
    UnsupportedClaim,
    /// It was good for one use, and has been used.
    Replayed,
    /// Its subject has as many streams as it may.
    TooManyStreams,
    /// It, its subject or its key has been revoked.
    Revoked,
    /// Whether it is good cannot be told now: keys or the fleet are out of reach, and the policy says to refuse then.
    Unavailable,
}

impl Reason {
    /// Every reason, in the order of the discriminants, so that `ALL[reason as usize] == reason`.
    pub const ALL: [Reason; 22] = [
        Reason::Missing,
        Reason::Malformed,
        Reason::BadMac,
        Reason::UnknownKey,
        Reason::Expired,
        Reason::NotYet,
        Reason::Path,
        Reason::Ip,
        Reason::Geo,
        Reason::Asn,
        Reason::Method,
        Reason::Host,
        Reason::Header,
        Reason::Alpn,
        Reason::TlsFingerprint,
        Reason::Issuer,
        Reason::Audience,
        Reason::UnsupportedClaim,
        Reason::Replayed,
        Reason::TooManyStreams,
        Reason::Revoked,
        Reason::Unavailable,
    ];

    /// The word for this reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Missing => "missing",
            Reason::Malformed => "malformed",
            Reason::BadMac => "bad_mac",
            Reason::UnknownKey => "unknown_key",
            Reason::Expired => "expired",
            Reason::NotYet => "not_yet",
            Reason::Path => "path",
            Reason::Ip => "ip",
            Reason::Geo => "geo",
            Reason::Asn => "asn",
            Reason::Method => "method",
            Reason::Host => "host",
            Reason::Header => "header",
            Reason::Alpn => "alpn",
            Reason::TlsFingerprint => "tls_fingerprint",
            Reason::Issuer => "issuer",
            Reason::Audience => "audience",
            Reason::UnsupportedClaim => "unsupported_claim",
            Reason::Replayed => "replayed",
            Reason::TooManyStreams => "too_many_streams",
            Reason::Revoked => "revoked",
            Reason::Unavailable => "unavailable",
        }
    }

    /// The reason of this word.
    pub fn named(word: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// The reason as a sentence for people.
    pub const fn explanation(self) -> &'static str {
        match self {
            Reason::Missing => "no token where one may stand",
            Reason::Malformed => "not a token of this format, too long, or more than one",
            Reason::BadMac => "signed with another key or salt, for another URL, or altered",
            Reason::UnknownKey => "it names a key that the policy does not have",
            Reason::Expired => "its end has passed",
            Reason::NotYet => "its start has not come",
            Reason::Path => "it does not cover the path",
            Reason::Ip => "it is bound to another client address",
            Reason::Geo => "it is bound to another country or subdivision",
            Reason::Asn => "it is bound to another network",
            Reason::Method => "it is bound to another method",
            Reason::Host => "it is bound to another host",
            Reason::Header => "a header field that it asks for is missing or differs",
            Reason::Alpn => "it is bound to another application protocol",
            Reason::TlsFingerprint => "it is bound to another TLS client",
            Reason::Issuer => "its issuer is not one of the policy's",
            Reason::Audience => "it is made for another audience",
            Reason::UnsupportedClaim => "it says something that is not supported, and may not be ignored",
            Reason::Replayed => "it was good for one use, and has been used",
            Reason::TooManyStreams => "its subject has as many streams as it may",
            Reason::Revoked => "it, its subject or its key has been revoked",
            Reason::Unavailable => "what it has to be checked against is out of reach",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discriminants_places_and_words_agree() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert_eq!(Reason::named(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::named("expiry"), None);
    }
}
