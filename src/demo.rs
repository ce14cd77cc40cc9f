//! `forebay demo`: an origin with real media, the node in front of it, and a page where a player shows both at work.

pub mod media;
pub mod origin;
