//! `[geo]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[geo]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Geo {
    /// Database that says which country an address is in: GeoLite2-Country, GeoIP2-Country or another of that form. One
    /// with cities, such as GeoLite2-City, knows subdivisions too. A relative path starts at the folder of this file.
    #[schemars(example = "/var/lib/GeoIP/GeoLite2-City.mmdb")]
    pub(in crate::config) country: Option<String>,
    /// Database that says which autonomous system announces an address: GeoLite2-ASN, GeoIP2-ISP or another of that form.
    #[schemars(example = "/var/lib/GeoIP/GeoLite2-ASN.mmdb")]
    pub(in crate::config) asn: Option<String>,
}
