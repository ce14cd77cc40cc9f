//! `forebay demo`: an origin with real media, the node in front of it, and a page where a player shows both at work.

pub mod audience;
pub mod client;
pub mod links;
pub mod media;
pub mod origin;
pub mod page;
pub mod stats;
