//! Delivery directives of a live playlist (RFC 8216bis, 6.2.5): what they ask for, whether that is refused, and when it is there.
//! Pure; called by [`super::Stage`].

use super::timeline::{Edge, Program};

/// What the query of a playlist's URL asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) msn: Option<u64>,
    pub(super) part: Option<u64>,
    /// A delta update is welcome.
    pub(super) skip: bool,
}

impl Directives {
    /// Reads the directives of a query; other parameters are nothing to the origin. The error is the reason of the 400.
    pub(super) fn parse(query: &str) -> Result<Self, &'static str> {
        let mut found = Self::default();
        for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            let number = match name {
                "_HLS_msn" => &mut found.msn,
                "_HLS_part" => &mut found.part,
                "_HLS_skip" => {
                    found.skip = matches!(value, "YES" | "v2");
                    continue;
                }
                _ => continue,
            };
            if number.is_some() {
                return Err("a directive is there twice\n");
            }
            // A decimal integer and nothing else: no sign.
            let digits = value.bytes().all(|byte| byte.is_ascii_digit());
            *number = Some(value.parse().ok().filter(|_| digits).ok_or("a directive is not a number\n")?);
        }
        if found.part.is_some() && found.msn.is_none() {
            return Err("_HLS_part without _HLS_msn\n");
        }
        Ok(found)
    }

    /// When, in the stream's time, the playlist is there that is waited for; none: the one that there is will do.
    pub(super) fn waits_for_ns(self, program: &Program, edge: Edge) -> Result<Option<u64>, &'static str> {
        let Some(msn) = self.msn else { return Ok(None) };
        // One beyond the last part is the first one of the next segment.
        let (msn, part) = match self.part {
            Some(part) if part >= program.parts => (msn.saturating_add(1), Some(0)),
            part => (msn, part),
        };
        if msn > edge.segments.saturating_sub(1) + 2 {
            return Err("_HLS_msn is too far ahead\n");
        }
        let Some(part) = part else { return Ok(Some(program.segment_published_ns(msn))) };
        let asked = msn * program.parts + part;
        if asked + 1 > edge.part_count(program) + advance_part_limit(program) {
            return Err("_HLS_part is too far ahead\n");
        }
        Ok(Some(program.part_published_ns(msn, part)))
    }
}

/// How many parts beyond the last one may be asked for (6.2.5.2).
fn advance_part_limit(program: &Program) -> u64 {
    if program.part_ns < 1_000_000_000 { 3_000_000_000_u64.div_ceil(program.part_ns) } else { 3 }
}
