//! Tiers: edge, then shield, then origin, all of them nodes of the same program. What one node says to the next, and what
//! it believes.
//!
//! Decides how a request to a node of the next tier is signed and whether one that comes in is another node's
//! ([`Identity`], [`Hop`]), what this node is called in fields that every hop adds itself to ([`Names`]), and whether a
//! request has been here before ([`loops`]). Does not decide what a node's request is spared: that is the proxy's business.
//! What tiers tell each other of freshness is in [`crate::cache::tier`]. Called by `origin` and `proxy`.

mod hop;
mod identity;
pub mod loops;
mod metrics;
mod names;
mod signature;

use std::future::Future;
use std::pin::Pin;

use http::HeaderName;

use crate::watermark::Watermark;

pub use hop::{CLAIM_BYTES_MAX, CLAIMS_MAX, FIELD_BYTES_MAX, Hop, Role};
pub use identity::{Asking, Identity};
pub use metrics::TierMetrics;
pub use names::Names;
pub use signature::{LEEWAY, Refusal};

/// The field by which a node says who it is to a node of the next tier. No viewer's reaches anybody, and no node's goes
/// further than the node that it is for.
pub const HOP: HeaderName = HeaderName::from_static("forebay-hop");

/// What brings a node up to date with what its fleet was told: purges, above all.
pub trait CatchUp: Send + Sync {
    /// How much of it this node has applied; None: nothing yet.
    fn watermark(&self) -> Option<Watermark>;

    /// Waits until it has applied as much as this. False: it will not, or not soon. Called with a time limit around it.
    fn reach(&self, watermark: Watermark) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}
