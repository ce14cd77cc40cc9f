//! The configuration once it is known to be right: types that cannot be wrong, with every default filled in.
//!
//! Made by [`super::load`] from a file; read by every station. Nothing here is validated again at run time.

mod fleet;
mod geo;
mod origin;
mod playlist;
mod purge;
mod reach;
mod server;
mod site;
mod steering;
mod store;
mod token;

pub use fleet::{Bus, Fleet, NodeKey, PEERS, Peers, Share};
pub use geo::{Geo, GeoDatabase};
pub use origin::{
    Balance, Breaker, Discovered, Eject, Health, Hedge, HedgeAfter, Origin, OriginLimits, OriginServer,
    OriginTimeouts, Rate, Records, Retry,
};
pub use playlist::{
    BoundsByClaim, ClaimValue, HostChange, OrderBy, PlaylistChanges, VariantBounds, VariantChoice,
    VariantOrder,
};
pub use purge::{Forward, HookKey, Purge, PurgeHook, Revocation};
pub use reach::{
    ClientCertificate, Credentials, OriginHeaders, OriginTls, Proof, ProofKey, S3, S3Style, SecretFile,
};
pub use server::{AccessLog, Log, ProxyProtocol, Secret, Server, TlsListener};
pub use site::{
    By, Claim, Coding, Cors, DiskAdmission, HeaderChanges, HostPattern, KeyParts, Late, LowLatency, Prefetch,
    Quota, RequestHeaders, Rule, Site,
};
pub use steering::{Overload, Pathway, Replacement, Steering, SteeringTag};
pub use store::{Disk, Limits, Store};
pub use token::{
    Carry, Entitlement, FleetAway, KeyKind, SESSION_NAME_DEFAULT, Session, Statuses, TOKEN_KEYS_MAX,
    TOKEN_NAMES_MAX, TokenBind, TokenFormat, TokenKey, TokenPlace, TokenPolicy,
};

/// A complete, checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listeners, threads and timeouts towards viewers.
    pub server: Server,
    /// The cache's budgets.
    pub store: Store,
    /// Bounds on everything that outside input can grow.
    pub limits: Limits,
    /// What is logged, and where.
    pub log: Log,
    /// Who may purge, beside the operators' listener.
    pub purge: Purge,
    /// Where revocations are noted.
    pub revocation: Revocation,
    /// What nodes share.
    pub fleet: Fleet,
    /// Where addresses are.
    pub geo: Geo,
    /// Origin groups; sites refer to them by place.
    pub origins: Vec<Origin>,
    /// Token policies; sites refer to them by place.
    pub tokens: Vec<TokenPolicy>,
    /// Content steering; sites refer to it by place.
    pub steering: Vec<Steering>,
    /// Sites, in the order of the file.
    pub sites: Vec<Site>,
    /// A digest of what nodes of a fleet have in common: all but `server`, `store`, `log`, `revocation` and `fleet`, without what is in
    /// other files.
    pub digest: String,
}

impl Config {
    /// The tier that this node belongs to, as nodes of a fleet tell it: the names of the groups of nodes that it asks. Empty:
    /// it asks origins alone.
    pub fn tier(&self) -> String {
        let names: Vec<&str> =
            self.origins.iter().filter(|origin| origin.tier).map(|origin| &*origin.name).collect();
        names.join(" ")
    }

    /// Whether something asks for the fingerprints of TLS clients: they are computed only then.
    pub fn asks_for_fingerprints(&self) -> bool {
        self.log.tls_fingerprint || self.tokens.iter().any(TokenPolicy::asks_for_fingerprints)
    }
}
