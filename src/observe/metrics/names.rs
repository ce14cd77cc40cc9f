//! The table of metrics: name, labels, unit and help text, in one place for registration and for documents.
//!
//! It lists what this module registers. Origins and the store register their own families in the same registry.

/// The documented face of one metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Full name.
    pub name: &'static str,
    /// Label names, in the order of the values.
    pub labels: &'static [&'static str],
    /// Base unit of the value.
    pub unit: &'static str,
    /// Help text, one sentence.
    pub help: &'static str,
}

/// `forebay_requests_total`
pub const REQUESTS: Family = Family {
    name: "forebay_requests_total",
    labels: &["site", "kind", "outcome", "code"],
    unit: "requests",
    help: "Requests answered, by site, asset kind, outcome and status code.",
};
/// `forebay_response_bytes_total`
pub const RESPONSE_BYTES: Family = Family {
    name: "forebay_response_bytes_total",
    labels: &["site", "kind", "outcome"],
    unit: "bytes",
    help: "Body bytes sent to clients.",
};
/// `forebay_time_to_first_byte_seconds`
pub const FIRST_BYTE: Family = Family {
    name: "forebay_time_to_first_byte_seconds",
    labels: &["site", "kind", "outcome"],
    unit: "seconds",
    help: "Time from a request's first byte to its answer's first byte.",
};
/// `forebay_request_duration_seconds`
pub const DURATION: Family = Family {
    name: "forebay_request_duration_seconds",
    labels: &["site", "kind", "outcome"],
    unit: "seconds",
    help: "Time from a request's first byte to its answer's last byte.",
};
/// `forebay_coalesced_requests_total`
pub const COALESCED: Family = Family {
    name: "forebay_coalesced_requests_total",
    labels: &["site"],
    unit: "requests",
    help: "Requests that joined a fetch another request had started.",
};
/// `forebay_coalesce_wait_seconds`
pub const COALESCE_WAIT: Family = Family {
    name: "forebay_coalesce_wait_seconds",
    labels: &["site"],
    unit: "seconds",
    help: "Time requests waited for another request's fetch to answer.",
};
/// `forebay_coalesce_timeouts_total`
pub const COALESCE_TIMEOUTS: Family = Family {
    name: "forebay_coalesce_timeouts_total",
    labels: &["site"],
    unit: "requests",
    help: "Requests that gave up waiting for another request's fetch.",
};
/// `forebay_parked_requests`
pub const PARKED: Family = Family {
    name: "forebay_parked_requests",
    labels: &["site"],
    unit: "requests",
    help: "Playlist requests held now until the playlist has grown (blocking reload).",
};
/// `forebay_parking_refused_total`
pub const PARKING_REFUSED: Family = Family {
    name: "forebay_parking_refused_total",
    labels: &["site", "reason"],
    unit: "requests",
    help: "Playlist requests not held, by reason: parked (of all clients), parked_per_client.",
};
/// `forebay_late_holds_total`
pub const LATE_HOLDS: Family = Family {
    name: "forebay_late_holds_total",
    labels: &["site"],
    unit: "requests",
    help: "Playlist requests held for three target durations without the playlist growing.",
};
/// `forebay_token_denied_total`
pub const TOKEN_DENIED: Family = Family {
    name: "forebay_token_denied_total",
    labels: &["site", "reason"],
    unit: "requests",
    help: "Requests refused for their token, by reason.",
};
/// `forebay_jwks_refreshes_total`
pub const JWKS_REFRESHES: Family = Family {
    name: "forebay_jwks_refreshes_total",
    labels: &["policy", "result"],
    unit: "fetches",
    help: "Fetches of key sets by URL, by token policy and result: changed, unchanged, failed.",
};
/// `forebay_viewers`
pub const VIEWERS: Family = Family {
    name: "forebay_viewers",
    labels: &["site", "stream"],
    unit: "viewers",
    help: "Distinct viewers in the last 30 seconds, estimated, by directory of the multivariant playlist.",
};
/// `forebay_playlist_staleness_seconds`
pub const STALENESS: Family = Family {
    name: "forebay_playlist_staleness_seconds",
    labels: &["site", "stream"],
    unit: "seconds",
    help: "Time since the live playlist of a stream that has stood still longest has grown, while viewers ask for it.",
};
/// `forebay_playlist_target_duration_seconds`
pub const TARGET_DURATION: Family = Family {
    name: "forebay_playlist_target_duration_seconds",
    labels: &["site", "stream"],
    unit: "seconds",
    help: "Target duration of the playlist that forebay_playlist_staleness_seconds tells of.",
};
/// `forebay_connections`
pub const CONNECTIONS: Family = Family {
    name: "forebay_connections",
    labels: &[],
    unit: "connections",
    help: "Client connections open now.",
};
/// `forebay_connections_refused_total`
pub const CONNECTIONS_REFUSED: Family = Family {
    name: "forebay_connections_refused_total",
    labels: &[],
    unit: "connections",
    help: "Client connections closed at accept because the limit was reached.",
};
/// `forebay_proxy_protocol_refused_total`
pub const PROXY_PROTOCOL_REFUSED: Family = Family {
    name: "forebay_proxy_protocol_refused_total",
    labels: &["reason"],
    unit: "connections",
    help: "Connections of load balancers closed for their PROXY protocol header, by reason: missing, malformed, too_long, checksum, timeout, cut (ended within it).",
};
/// `forebay_health_checks_total`
pub const HEALTH_CHECKS: Family = Family {
    name: "forebay_health_checks_total",
    labels: &["code"],
    unit: "requests",
    help: "Requests for server.health_path, by status code.",
};
/// `forebay_access_log_dropped_total`
pub const ACCESS_LOG_DROPPED: Family = Family {
    name: "forebay_access_log_dropped_total",
    labels: &[],
    unit: "lines",
    help: "Access log lines lost because the queue was full or the destination could not be written.",
};
/// `forebay_config_last_reload_successful`
pub const CONFIG_LAST_RELOAD_SUCCESSFUL: Family = Family {
    name: "forebay_config_last_reload_successful",
    labels: &[],
    unit: "boolean",
    help: "Whether the last attempt to load the configuration succeeded (1) or failed (0).",
};
/// `forebay_build_info`
pub const BUILD_INFO: Family = Family {
    name: "forebay_build_info",
    labels: &["version"],
    unit: "info",
    help: "Always 1; the labels tell what is running.",
};

/// Every family this module registers. Beside them stand the `process_*` families of the Prometheus client.
pub const METRICS: &[Family] = &[
    REQUESTS,
    RESPONSE_BYTES,
    FIRST_BYTE,
    DURATION,
    COALESCED,
    COALESCE_WAIT,
    COALESCE_TIMEOUTS,
    PARKED,
    PARKING_REFUSED,
    LATE_HOLDS,
    TOKEN_DENIED,
    JWKS_REFRESHES,
    VIEWERS,
    STALENESS,
    TARGET_DURATION,
    CONNECTIONS,
    CONNECTIONS_REFUSED,
    PROXY_PROTOCOL_REFUSED,
    HEALTH_CHECKS,
    ACCESS_LOG_DROPPED,
    CONFIG_LAST_RELOAD_SUCCESSFUL,
    BUILD_INFO,
];

/// What the label `site` says of requests that matched no site.
pub const NO_SITE: &str = "none";
/// What the labels `code`, `reason` and `stream` say of everything beyond their bounds.
pub const OTHER: &str = "other";

/// Upper bounds of the latency histograms, in seconds: 50 µs to 30 s.
pub const LATENCY_BUCKETS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// Status codes with a label of their own; all others are `other`.
pub const CODES: [u16; 38] = [
    200, 204, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411, 412,
    413, 414, 415, 416, 417, 421, 422, 425, 429, 431, 451, 499, 500, 501, 502, 503, 504,
];
