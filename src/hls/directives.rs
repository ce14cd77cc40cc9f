//! Delivery directives: what a client asks of a playlist beyond its path (`_HLS_msn`, `_HLS_part`, `_HLS_skip`, RFC 8216bis
//! section 6.2.5).
//!
//! Reads a query in normal form. A name that begins with `_HLS_` and is not one of these is kept in keys and means
//! nothing here.

/// What begins the name of every directive.
pub const PREFIX: &str = "_HLS_";

/// The directives of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// What the playlist has to hold before it is sent (section 6.2.5.2). None: it is sent as it is.
    pub reload: Option<Reload>,
    /// Which delta update is asked for (section 6.2.5.1).
    pub skip: Skip,
    /// Whether there is a directive beside these: what it asks for is not known here.
    pub other: bool,
}

/// A blocking reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// `_HLS_msn`: a media sequence number.
    pub msn: u64,
    /// `_HLS_part`: a part of that segment, from 0. None: the whole segment.
    pub part: Option<u64>,
}

/// `_HLS_skip`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Skip {
    /// The playlist in full.
    #[default]
    None,
    /// `YES`: older segments are left out.
    Segments,
    /// `v2`: older segments and date ranges are.
    SegmentsAndDateRanges,
}

/// Directives that cannot be understood; answered 400 (section 6.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectiveError {
    /// `_HLS_msn` or `_HLS_part` is not a number, or stands twice.
    #[error("_HLS_msn and _HLS_part are decimal numbers, each once")]
    Number,
    /// `_HLS_part` without `_HLS_msn`.
    #[error("_HLS_part needs _HLS_msn")]
    PartAlone,
    /// `_HLS_skip` is neither `YES` nor `v2`.
    #[error("_HLS_skip is YES or v2")]
    Skip,
}

impl DirectiveError {
    /// The word for this error.
    pub const fn as_str(self) -> &'static str {
        match self {
            DirectiveError::Number => "hls_number",
            DirectiveError::PartAlone => "hls_part_alone",
            DirectiveError::Skip => "hls_skip",
        }
    }
}

/// A query without its directives; None: nothing else stands there.
pub fn without_directives(query: Option<&str>) -> Option<String> {
    let others = query?.split('&').filter(|parameter| !parameter.starts_with(PREFIX));
    Some(others.collect::<Vec<_>>().join("&")).filter(|query| !query.is_empty())
}

impl Directives {
    /// Reads a query. One without directives asks for nothing.
    ///
    /// # Errors
    /// [`DirectiveError`].
    pub fn of(query: Option<&str>) -> Result<Directives, DirectiveError> {
        let Some(query) = query.filter(|query| query.contains(PREFIX)) else {
            return Ok(Directives::default());
        };
        let (mut msn, mut part, mut skip, mut other) = (None, None, None, false);
        for parameter in query.split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "_HLS_msn" => number(&mut msn, value)?,
                "_HLS_part" => number(&mut part, value)?,
                "_HLS_skip" => {
                    let asked = match value {
                        "YES" => Skip::Segments,
                        "v2" => Skip::SegmentsAndDateRanges,
                        _ => return Err(DirectiveError::Skip),
                    };
                    if skip.replace(asked).is_some() {
                        return Err(DirectiveError::Skip);
                    }
                }
                name => other |= name.starts_with(PREFIX),
            }
        }
        let reload = match (msn, part) {
            (Some(msn), part) => Some(Reload { msn, part }),
            (None, Some(_)) => return Err(DirectiveError::PartAlone),
            (None, None) => None,
        };
        Ok(Directives { reload, skip: skip.unwrap_or_default(), other })
    }
}

fn number(place: &mut Option<u64>, value: &str) -> Result<(), DirectiveError> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let read = value.parse().ok().filter(|_| digits).ok_or(DirectiveError::Number)?;
    if place.replace(read).is_some() { Err(DirectiveError::Number) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn directives_are_read_wherever_they_stand() {
        let of = |query: &str| Directives::of(Some(query)).unwrap();
        assert_eq!(Directives::of(None), Ok(Directives::default()));
        assert_eq!(of("a=1"), Directives::default());
        assert_eq!(
            of("_HLS_msn=5"),
            Directives { reload: Some(Reload { msn: 5, part: None }), ..Directives::default() }
        );
        assert_eq!(
            of("_HLS_skip=YES&x=1&_HLS_part=0&_HLS_msn=18446744073709551615&_HLS_new=1"),
            Directives {
                reload: Some(Reload { msn: u64::MAX, part: Some(0) }),
                skip: Skip::Segments,
                other: true
            }
        );
        assert_eq!(of("_HLS_skip=v2").skip, Skip::SegmentsAndDateRanges);
    }

    #[test]
    fn a_query_without_its_directives_keeps_the_rest() {
        assert_eq!(without_directives(None), None);
        assert_eq!(without_directives(Some("_HLS_msn=1&_HLS_x")), None);
        assert_eq!(without_directives(Some("b=2&_HLS_msn=1&a=1")).as_deref(), Some("b=2&a=1"));
    }

    #[test]
    fn what_cannot_be_understood_is_an_error() {
        for (query, error) in [
            ("_HLS_msn=", DirectiveError::Number),
            ("_HLS_msn=-1", DirectiveError::Number),
            ("_HLS_msn=+1", DirectiveError::Number),
            ("_HLS_msn=1&_HLS_msn=1", DirectiveError::Number),
            ("_HLS_msn=18446744073709551616", DirectiveError::Number),
            ("_HLS_part=1", DirectiveError::PartAlone),
            ("_HLS_msn=1&_HLS_part=x", DirectiveError::Number),
            ("_HLS_skip=NO", DirectiveError::Skip),
            ("_HLS_skip", DirectiveError::Skip),
        ] {
            assert_eq!(Directives::of(Some(query)), Err(error), "{query}");
        }
    }
}
