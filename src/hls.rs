//! What the node knows of HLS: it reads the playlists that pass through it.

pub mod announce;
pub mod attributes;
pub mod delta;
pub mod directives;
pub mod edit;
pub mod lines;
pub mod names;
pub mod order;
pub mod read;
pub mod steering;
mod text;
pub mod uris;
pub mod variables;
pub mod variants;

#[cfg(test)]
mod corpus;
#[cfg(test)]
pub(crate) mod generated;

pub use directives::{Directives, Reload, Skip};
pub use names::{ByteRange, Named, names};
pub use read::{PlaylistError, PlaylistFacts, Reach};
