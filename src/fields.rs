//! Header fields that the node treats by name: which of a viewer's never reach an origin, and which no rule may touch.
//!
//! The one list of each. The configuration refuses what is named here where it would have no effect or do harm; `proxy`
//! keeps it from the origin.

/// Fields of one connection (RFC 9110 section 7.6.1), and of a message's framing.
const CONNECTION: [&str; 12] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Beginnings of names by which a client could make an origin answer for another target, host, method or client than the
/// one that was admitted and keyed, or speak as the node itself.
const WITHHELD_FAMILIES: [&str; 19] = [
    // What proxies say of the request they forward. The node writes For and Proto itself.
    "x-forwarded-",
    "x-original-",
    "x-rewrite-",
    "x-http-method",
    "x-http-host-override",
    "x-http-destinationurl",
    "x-http-path-override",
    "x-override-",
    "x-envoy-",
    "x-arr-",
    "x-ms-original-",
    "x-sendfile-",
    // Clients' addresses, as other networks write them.
    "cf-",
    "fastly-",
    "x-akamai-",
    "x-azure-",
    "x-remote-",
    // The node's own.
    "forebay-",
    "x-forebay-",
];

/// The same for whole names.
const WITHHELD: [&str; 32] = [
    "base-url",
    "client-ip",
    "destination",
    "fly-client-ip",
    "forwarded",
    "front-end-https",
    "host-override",
    "http-host",
    "http-url",
    "proxy",
    "proxy-host",
    "proxy-url",
    "remote-addr",
    "remote-user",
    "request-uri",
    "true-client-ip",
    "uri",
    "url",
    "x-accel-mapping",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forward-for",
    "x-forwarded",
    "x-host",
    "x-method-override",
    "x-originating-ip",
    "x-proxy-url",
    "x-real-ip",
    "x-request-uri",
    "x-scheme",
    "x-true-client-ip",
    "x-url-scheme",
];

/// Fields that say how a body is cut, coded or checked, or how an answer came about: the node's own to write.
const OWN: [&str; 10] = [
    "accept-ranges",
    "age",
    "cache-status",
    "content-encoding",
    "content-range",
    "date",
    "etag",
    "server-timing",
    "vary",
    "via",
];

/// Fields of a request that choose between forms of one answer, or that the node sets itself: no part of a key, and no more are
/// those of [`EXCHANGE`].
const UNKEYED: [&str; 5] = ["accept-encoding", "cookie", "date", "origin", "via"];

/// Fields of a request that steer one exchange between two parties: which part is sent, whether it is sent at all, from where.
const EXCHANGE: [&str; 12] = [
    "cache-control",
    "cdn-loop",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "pragma",
    "range",
];

/// Whether a field of this name (any case) belongs to one connection or to framing.
pub fn is_of_connection(name: &str) -> bool {
    CONNECTION.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a viewer's field of this name never reaches an origin. `_` counts as `-`: many frameworks cannot tell them
/// apart (RFC 3875 section 4.1.18).
pub fn is_withheld(name: &str) -> bool {
    let same = |known: &str, name: &str| {
        known
            .bytes()
            .zip(name.bytes())
            .all(|(known, found)| known == if found == b'_' { b'-' } else { found.to_ascii_lowercase() })
    };
    WITHHELD_FAMILIES.iter().any(|family| name.len() >= family.len() && same(family, name))
        || WITHHELD.iter().any(|known| known.len() == name.len() && same(known, name))
}

/// Whether a request's field of this name (any case) says how the next one on the way is to answer, and not what for.
pub fn is_of_exchange(name: &str) -> bool {
    is_of_connection(name) || EXCHANGE.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether rules may set or remove an answer's field of this name.
pub fn may_be_set(name: &str) -> bool {
    !is_of_connection(name) && !OWN.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a request's field of this name may be part of a key.
pub fn may_be_keyed(name: &str) -> bool {
    !is_of_connection(name)
        && !is_withheld(name)
        && !UNKEYED.iter().chain(&EXCHANGE).any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether answers under one key may differ by a request's field of this name (any case): the node neither sets it
/// itself nor leaves it out.
pub fn may_vary(name: &str) -> bool {
    may_be_keyed(name)
        || ["accept-encoding", "cookie", "origin"].iter().any(|open| open.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_frameworks_answer_for_something_else_is_withheld_in_every_spelling() {
        for name in [
            "X-Forwarded-Host",
            "x-forwarded-anything",
            "X_Forwarded_Host",
            "x-forwarded_proto",
            "X-Original-URL",
            "X-Rewrite-Url",
            "X-HTTP-Method-Override",
            "x-http-method",
            "X-Method-Override",
            "Forwarded",
            "X-Host",
            "Forebay-Claim-id",
            "X-Forebay-Anything",
            "True-Client-IP",
            "Proxy",
        ] {
            assert!(is_withheld(name), "{name}");
        }
        for name in
            ["x-forward", "accept", "x-hosted", "cookie", "authorization", "x-device", "referer", "range"]
        {
            assert!(!is_withheld(name), "{name}");
        }
    }

    #[test]
    fn what_a_rule_may_touch_leaves_framing_and_the_nodes_own_alone() {
        for name in
            ["Content-Length", "connection", "Age", "Via", "Date", "Cache-Status", "Transfer-Encoding"]
        {
            assert!(!may_be_set(name), "{name}");
        }
        assert!(may_be_set("x-robots-tag") && may_be_set("cache-control") && may_be_set("set-cookie"));
        for name in ["host", "Range", "if-none-match", "Cookie", "te", "X-Forwarded-For", "forebay-claim-id"]
        {
            assert!(!may_be_keyed(name), "{name}");
        }
        assert!(may_be_keyed("Authorization") && may_be_keyed("accept-language"));
    }
}
