//! What the node knows of HLS: it reads the playlists that pass through it.

pub mod read;
pub mod uris;

pub use read::{PlaylistError, PlaylistFacts};
