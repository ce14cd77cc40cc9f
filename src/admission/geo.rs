//! Where an address is, by the databases that the operator supplies (`[geo]`).
//!
//! Decides what of a record counts: the country that the address is used in, up to two of its subdivisions, and the number
//! of the autonomous system. What may be done from there is decided by token policies ([`super::token`]). A look-up is a
//! walk through memory: it allocates nothing and waits for nothing.
//!
//! The databases are read whole when the configuration is, and not mapped: a file that is replaced or cut short in place,
//! as updaters do, must not change under a request or end the process.

use std::net::IpAddr;
use std::sync::Arc;

use maxminddb::{LookupResult, PathElement};

use crate::config::model::{self, GeoDatabase};
use crate::config::territory::Territory;

/// Subdivisions of a record that count, the largest first: England, then West Berkshire.
pub const SUBDIVISIONS_MAX: usize = 2;

/// Where an address is. Whatever is not known is None.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The country.
    pub country: Option<Territory>,
    /// Its subdivisions that the address is in, the largest first.
    pub subdivisions: [Option<Territory>; SUBDIVISIONS_MAX],
    /// Number of the autonomous system that announces the address.
    pub asn: Option<u32>,
}

impl Place {
    /// Whether it is in this country or subdivision; None: not even the country is known.
    pub fn is_in(&self, territory: Territory) -> Option<bool> {
        let country = self.country?;
        Some(
            territory.holds(country) || self.subdivisions.iter().flatten().any(|part| territory.holds(*part)),
        )
    }
}

/// The databases.
#[derive(Clone, Debug)]
pub struct Geo {
    country: Option<Arc<GeoDatabase>>,
    asn: Option<Arc<GeoDatabase>>,
    /// Where every address is, whatever the databases say.
    supposed: Option<Place>,
}

impl Geo {
    /// The databases of the configuration. None: there are none.
    pub fn new(config: &model::Geo) -> Option<Geo> {
        let (country, asn) = (config.country.clone(), config.asn.clone());
        (country.is_some() || asn.is_some()).then_some(Geo { country, asn, supposed: None })
    }

    /// Every address is in one place: for tools that are told where a client is.
    pub fn supposed(place: Place) -> Geo {
        Geo { country: None, asn: None, supposed: Some(place) }
    }

    /// Where an address is. An address that a database does not hold, or whose record cannot be read, is nowhere. IPv4
    /// addresses mapped into IPv6 are taken for what they stand for.
    pub fn place(&self, address: IpAddr) -> Place {
        Place { asn: self.asn(address), ..self.territory(address) }
    }

    /// As [`Geo::place`], without the autonomous system.
    pub fn territory(&self, address: IpAddr) -> Place {
        if let Some(place) = self.supposed {
            return Place { asn: None, ..place };
        }
        let mut place = Place::default();
        if let Some(found) = self.country.as_deref().and_then(|database| record(database, address)) {
            place.country = text(&found, &[Key("country"), Key("iso_code")]).and_then(Territory::parse);
            for (index, part) in place.subdivisions.iter_mut().enumerate() {
                let code = text(&found, &[Key("subdivisions"), PathElement::Index(index), Key("iso_code")]);
                *part = place.country.zip(code).and_then(|(country, code)| country.subdivision(code));
            }
        }
        place
    }

    /// Number of the autonomous system that announces an address, as [`Geo::place`] has it.
    pub fn asn(&self, address: IpAddr) -> Option<u32> {
        if let Some(place) = self.supposed {
            return place.asn;
        }
        let found = record(self.asn.as_deref()?, address)?;
        found.decode_path(&[Key("autonomous_system_number")]).ok().flatten()
    }
}

use PathElement::Key;

fn record(database: &GeoDatabase, address: IpAddr) -> Option<LookupResult<'_, Vec<u8>>> {
    // A database of IPv4 alone holds no IPv6 address.
    database.lookup(address.to_canonical()).ok().filter(LookupResult::has_data)
}

fn text<'a>(found: &LookupResult<'a, Vec<u8>>, path: &[PathElement<'_>]) -> Option<&'a str> {
    found.decode_path(path).ok().flatten()
}

#[cfg(test)]
#[path = "../../tests/support/mmdb.rs"]
#[allow(unreachable_pub, clippy::expect_used, clippy::panic, reason = "tests share it")]
mod mmdb;

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::mmdb::{self, Value};
    use super::*;

    fn database(kind: &str, networks: &[(&str, Value)]) -> Option<Arc<GeoDatabase>> {
        let database = GeoDatabase::from_source(mmdb::database(kind, networks)).unwrap();
        database.verify().unwrap();
        Some(Arc::new(database))
    }

    /// Databases of addresses from documents.
    pub(in crate::admission) fn geo() -> Geo {
        let asn = database(
            "GeoLite2-ASN",
            &[("192.0.2.0/24", mmdb::asn(64496)), ("2001:db8::/32", mmdb::asn(4_200_000_001))],
        );
        Geo { country: cities(), asn, supposed: None }
    }

    fn cities() -> Option<Arc<GeoDatabase>> {
        let nowhere =
            Value::Map(vec![("continent", Value::Map(vec![("code", Value::Text("EU".to_owned()))]))]);
        let odd = Value::Map(vec![("country", Value::Text("SE".to_owned()))]);
        database(
            "GeoLite2-City",
            &[
                ("192.0.2.0/26", mmdb::country("SE")),
                ("192.0.2.64/26", mmdb::city("US", &["CA"])),
                ("192.0.2.128/26", mmdb::city("GB", &["ENG", "WBK", "RDG"])),
                ("198.51.100.0/25", nowhere),
                ("198.51.100.128/25", odd),
                ("2001:db8::/33", mmdb::country("NO")),
                ("203.0.113.0/24", mmdb::country("sweden")),
            ],
        )
    }

    fn place(geo: &Geo, address: &str) -> Place {
        geo.place(address.parse().unwrap())
    }

    fn territory(code: &str) -> Territory {
        Territory::parse(code).unwrap()
    }

    #[test]
    fn an_address_has_its_country_subdivisions_and_system() {
        let geo = geo();
        let cases = [
            ("192.0.2.1", "SE", vec![], Some(64496)),
            ("192.0.2.63", "SE", vec![], Some(64496)),
            ("192.0.2.64", "US", vec!["US-CA"], Some(64496)),
            ("::ffff:192.0.2.65", "US", vec!["US-CA"], Some(64496)),
            ("192.0.2.130", "GB", vec!["GB-ENG", "GB-WBK"], Some(64496)),
            ("2001:db8::7", "NO", vec![], Some(4_200_000_001)),
        ];
        for (address, country, subdivisions, asn) in cases {
            let place = place(&geo, address);
            let found: Vec<Territory> = place.subdivisions.into_iter().flatten().collect();
            let expected: Vec<Territory> = subdivisions.into_iter().map(territory).collect();
            assert_eq!(
                (place.country, found, place.asn),
                (Some(territory(country)), expected, asn),
                "{address}"
            );
        }
    }

    #[test]
    fn what_the_databases_do_not_say_is_not_known() {
        let geo = Geo { country: cities(), asn: None, supposed: None };
        for address in
            ["127.0.0.1", "::1", "192.0.2.200", "2001:db8:8000::1", "198.51.100.1", "198.51.100.200"]
        {
            assert_eq!(place(&geo, address), Place::default(), "{address}");
        }
        assert_eq!(place(&geo, "203.0.113.1"), Place::default(), "a code that is none");
        assert!(Geo::new(&model::Geo::default()).is_none());
    }

    #[test]
    fn a_place_is_in_its_country_and_in_each_of_its_subdivisions() {
        let geo = Geo { country: cities(), asn: None, supposed: None };
        let is_in = |address, code| place(&geo, address).is_in(territory(code));
        for (address, code, expected) in [
            ("192.0.2.64", "US", true),
            ("192.0.2.64", "US-CA", true),
            ("192.0.2.64", "US-NY", false),
            ("192.0.2.64", "CA", false),
            ("192.0.2.1", "SE", true),
            ("192.0.2.1", "SE-AB", false),
            ("192.0.2.130", "GB-WBK", true),
            ("192.0.2.130", "GB-ENG", true),
            ("192.0.2.130", "GB-SCT", false),
        ] {
            assert_eq!(is_in(address, code), Some(expected), "{address} in {code}");
        }
        assert_eq!(is_in("127.0.0.1", "US"), None);
    }

    /// Whatever byte of a database is changed, it is refused or looked into without harm.
    #[test]
    fn a_damaged_database_harms_nobody() {
        let whole = mmdb::database("GeoLite2-City", &[("192.0.2.0/24", mmdb::city("US", &["CA"]))]);
        for at in 0..whole.len() {
            for value in [0, 0x1f, 0x20, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                if let Ok(database) = GeoDatabase::from_source(damaged) {
                    let geo = Geo { country: Some(Arc::new(database)), asn: None, supposed: None };
                    place(&geo, "192.0.2.9");
                    place(&geo, "2001:db8::1");
                }
            }
        }
    }
}
