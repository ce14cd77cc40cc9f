//! Where the freshness of an answer comes from, in words.

/// What names the freshness of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlSource {
    /// A node of the next tier ([`super::tier`]).
    Tier,
    /// `ttl` of a rule.
    Rule,
    /// `s-maxage` (RFC 9111 section 5.2.2.10).
    SMaxage,
    /// `max-age` (section 5.2.2.1).
    MaxAge,
    /// `no-cache` (section 5.2.2.4): it is asked again before each use.
    NoCache,
    /// `Expires` (section 5.3).
    Expires,
    /// `Last-Modified`: a tenth of the time since (section 4.2.2).
    LastModified,
    /// The default of the asset's kind.
    Kind,
    /// The default of errors.
    Error,
}

/// Where the freshness of an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlFrom {
    /// What names it.
    pub source: TtlSource,
    /// Whether a directive stands in `CDN-Cache-Control` (RFC 9213).
    pub targeted: bool,
    /// What shortens it.
    pub cap: Option<TtlCap>,
}

/// What shortens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlCap {
    /// A live playlist: its target duration, six of them for a held request. Or a live manifest: its update period.
    LivePlaylist,
    /// An error that no rule keeps longer.
    Error,
}

impl TtlSource {
    /// Whether the origin means it, so that it counts from the making of the answer (RFC 9111 section 4.2.3).
    pub(super) const fn is_of_origin(self) -> bool {
        self.is_directive() || matches!(self, TtlSource::Expires | TtlSource::LastModified)
    }

    /// Whether it is a directive.
    pub(super) const fn is_directive(self) -> bool {
        matches!(self, TtlSource::SMaxage | TtlSource::MaxAge | TtlSource::NoCache)
    }

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            TtlSource::Tier => "tier",
            TtlSource::Rule => "rule",
            TtlSource::SMaxage => "s-maxage",
            TtlSource::MaxAge => "max-age",
            TtlSource::NoCache => "no-cache",
            TtlSource::Expires => "expires",
            TtlSource::LastModified => "last-modified",
            TtlSource::Kind => "kind",
            TtlSource::Error => "error",
        }
    }

    /// For people.
    pub const fn explanation(self) -> &'static str {
        match self {
            TtlSource::Tier => "what is left at a node of the next tier",
            TtlSource::Rule => "ttl of the rule",
            TtlSource::SMaxage => "s-maxage of the origin",
            TtlSource::MaxAge => "max-age of the origin",
            TtlSource::NoCache => "no-cache of the origin",
            TtlSource::Expires => "Expires of the origin",
            TtlSource::LastModified => "a tenth of the time since Last-Modified",
            TtlSource::Kind => "the default of the kind",
            TtlSource::Error => "the default of errors",
        }
    }
}

impl TtlCap {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            TtlCap::LivePlaylist => "live_playlist",
            TtlCap::Error => "error",
        }
    }

    /// For people.
    pub const fn explanation(self) -> &'static str {
        match self {
            TtlCap::LivePlaylist => "cut to what a live playlist or manifest may be old",
            TtlCap::Error => "cut to what an error is kept without a rule",
        }
    }
}
