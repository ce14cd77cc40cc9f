//! What players say when they ask for a steering manifest: the pathways they have used and the throughput they had there
//! (`_HLS_pathway` and `_HLS_throughput`, RFC 8216bis section 7.1; `_DASH_pathway` and `_DASH_throughput`, TS 103 998).
//!
//! Anybody can write anything there: what is malformed, unknown or beyond a bound is passed over.

use percent_encoding::percent_decode_str;

use crate::config::model::Pathway;

/// Pathways of one request that are taken in; DASH players send a list.
pub const REPORTS_MAX: usize = 16;

/// Bits per second that a player may say; more is taken for a mistake.
pub const THROUGHPUT_MAX: u64 = 1_000_000_000_000;

/// Bytes of a directive's value, as it was sent; a longer one is passed over.
const VALUE_BYTES_MAX: usize = 4096;

/// What the directives of this query say, as places in `pathways` and bits per second.
pub fn reports(query: &str, pathways: &[Pathway]) -> Vec<(usize, u64)> {
    let value = |hls: &str, dash: &str| {
        let mut parameters = query.split('&').filter_map(|parameter| parameter.split_once('='));
        let (_, value) = parameters.find(|(name, _)| *name == hls || *name == dash)?;
        let value = Some(value).filter(|value| value.len() <= VALUE_BYTES_MAX)?;
        let value = percent_decode_str(value).decode_utf8().ok()?;
        Some(value.trim_matches('"').to_owned())
    };
    let Some(used) = value("_HLS_pathway", "_DASH_pathway") else { return Vec::new() };
    let Some(had) = value("_HLS_throughput", "_DASH_throughput") else { return Vec::new() };
    let report = |(id, throughput): (&str, &str)| {
        let place = pathways.iter().position(|pathway| pathway.id == id)?;
        let digits = !throughput.is_empty() && throughput.bytes().all(|byte| byte.is_ascii_digit());
        let throughput = throughput.parse().ok().filter(|bits| digits && *bits <= THROUGHPUT_MAX)?;
        Some((place, throughput))
    };
    used.split(',').zip(had.split(',')).take(REPORTS_MAX).filter_map(report).collect()
}

/// A query without the directives of steering.
pub fn without_directives(query: &str) -> String {
    let is_directive = |parameter: &&str| parameter.starts_with("_HLS_") || parameter.starts_with("_DASH_");
    query.split('&').filter(|parameter| !is_directive(parameter)).collect::<Vec<_>>().join("&")
}
