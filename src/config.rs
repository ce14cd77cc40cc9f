//! The configuration: from a TOML file to types that cannot be wrong.

pub mod model;
