//! `playlist` of a rule: what is changed in playlists and manifests before they are kept.

/// `playlist` of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaylistChanges {
    /// Query parameters that no URI of a kept text has, in their normal form; no key of the rule's paths has them either.
    pub drop_parameters: Vec<String>,
    /// Hosts that others take the place of.
    pub hosts: Vec<HostChange>,
    /// Which variants there are.
    pub variants: Option<VariantChoice>,
}

/// One of `hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostChange {
    /// The host, in lower case, brackets of an IPv6 address included.
    pub host: String,
    /// Its port. None: the scheme's own.
    pub port: Option<u16>,
    /// The authority that takes its place; empty: none, the URI becomes a path.
    pub to: String,
}

/// `variants` of a rule's `playlist`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VariantChoice {
    /// What holds where `by_claim` says nothing.
    pub bounds: VariantBounds,
    /// Their order. None: as they come.
    pub order: Option<VariantOrder>,
    /// What holds for whom.
    pub by_claim: Option<BoundsByClaim>,
}

/// Bounds of variants, all of them inclusive; one that lacks what a bound is of is within it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VariantBounds {
    /// Smallest and largest height, in pixels.
    pub height: (Option<u64>, Option<u64>),
    /// Smallest and largest bandwidth, in bits a second.
    pub bandwidth: (Option<u64>, Option<u64>),
    /// What every codec begins with one of; empty: anything.
    pub codecs: Vec<String>,
}

/// The order of variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VariantOrder {
    /// What they are compared by.
    pub by: OrderBy,
    /// Whether the largest is first.
    pub down: bool,
}

/// What variants are compared by; one that does not say it counts as the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderBy {
    /// `BANDWIDTH`.
    Bandwidth,
    /// The height of `RESOLUTION`.
    Height,
    /// `FRAME-RATE`.
    FrameRate,
}

/// `by_claim` of `variants`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundsByClaim {
    /// Name of the claim.
    pub claim: String,
    /// Its values, sorted.
    pub values: Vec<ClaimValue>,
}

/// One of `values` of `by_claim`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimValue {
    /// The value.
    pub value: String,
    /// What holds for it.
    pub bounds: VariantBounds,
    /// Stands for the bounds in keys: the same for the same ones.
    pub hash: u64,
}

impl PlaylistChanges {
    /// Whether anything is changed.
    pub fn is_empty(&self) -> bool {
        *self == PlaylistChanges::default()
    }
}

impl VariantBounds {
    /// Whether every variant is within them.
    pub fn is_empty(&self) -> bool {
        *self == VariantBounds::default()
    }
}

impl BoundsByClaim {
    /// What stands in the key for a value, if it is listed.
    pub fn hash(&self, value: &str) -> Option<u64> {
        let place = self.values.binary_search_by(|listed| listed.value.as_str().cmp(value)).ok()?;
        self.values.get(place).map(|listed| listed.hash)
    }

    /// The bounds that this stands for.
    pub fn bounds(&self, hash: u64) -> Option<&VariantBounds> {
        self.values.iter().find(|listed| listed.hash == hash).map(|listed| &listed.bounds)
    }
}
