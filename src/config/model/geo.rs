//! `[geo]`, checked: where addresses are.

use std::sync::Arc;

/// `[geo]`
#[derive(Clone, Debug, Default)]
pub struct Geo {
    /// Says which country, and perhaps which subdivisions, an address is in.
    pub country: Option<Arc<GeoDatabase>>,
    /// Says which autonomous system announces an address.
    pub asn: Option<Arc<GeoDatabase>>,
}

/// A MaxMind database, read whole.
pub type GeoDatabase = maxminddb::Reader<Vec<u8>>;

impl Geo {
    /// Whether the database of countries knows subdivisions.
    pub fn knows_subdivisions(&self) -> bool {
        let kind = self.country.as_ref().map(|database| database.metadata().database_type.as_str());
        kind.is_some_and(|kind| !kind.contains("Country"))
    }
}
