//! `[geo]`: its databases, read and found to be of the right kind.

use std::sync::Arc;

use super::super::diagnostic::Report;
use super::super::files;
use super::super::model::{Geo, GeoDatabase};
use super::super::raw;

/// Bytes of a database: the largest that are sold have half of that.
const DATABASE_BYTES_MAX: u64 = 512 << 20;

/// What the type of a database that tells countries has in it.
const COUNTRY_TYPES: &[&str] = &["Country", "City", "Enterprise", "Insights"];

/// The same for those that tell autonomous systems.
const ASN_TYPES: &[&str] = &["ASN", "ISP", "Enterprise"];

pub(super) fn geo(report: &mut Report, raw: &raw::Geo) -> Geo {
    let mut read = |key, written: &Option<String>, types, example| {
        written.as_ref().and_then(|written| database(report, key, written, types, example))
    };
    Geo {
        country: read("geo.country", &raw.country, COUNTRY_TYPES, "GeoLite2-Country"),
        asn: read("geo.asn", &raw.asn, ASN_TYPES, "GeoLite2-ASN"),
    }
}

fn database(
    report: &mut Report,
    key: &str,
    written: &str,
    types: &[&str],
    example: &str,
) -> Option<Arc<GeoDatabase>> {
    if written.is_empty() {
        report.mistake(key, "is empty", format!("name a MaxMind database, such as {example}.mmdb"));
        return None;
    }
    let bytes = match files::read_bounded(&files::path(report, written), DATABASE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(reason) => {
            let remedy = "name a MaxMind database that the node may read";
            report.mistake(key, format!("file \"{written}\" {reason}"), remedy);
            return None;
        }
    };
    match GeoDatabase::from_source(bytes) {
        Ok(database) => {
            let kind = &database.metadata().database_type;
            if !types.iter().any(|known| kind.contains(known)) {
                let reason = format!("file \"{written}\" is a database of type \"{}\"", kind.escape_debug());
                report.mistake(key, reason, format!("name one of a type such as {example}"));
            }
            Some(Arc::new(database))
        }
        Err(error) => {
            let error = error.to_string();
            let reason = format!("file \"{written}\" is no MaxMind database: {}", error.escape_debug());
            report.mistake(key, reason, "name a file in MaxMind DB format (.mmdb), unpacked and whole");
            None
        }
    }
}
