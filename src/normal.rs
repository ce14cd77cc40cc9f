//! What a rule makes of the URIs of a playlist or manifest, once, before it is kept: parameters of the origin's sessions
//! out ([`parameters`]), other hosts in ([`hosts`]). Which variants there are is decided by [`crate::hls::variants`].
//!
//! Pure: a text in, a text out, or nothing where nothing changes. Variables (`EXT-X-DEFINE`) are replaced for a decision; in
//! the text they stay, but in a URI that has to change where its variables stand: that one is written out.

pub mod hosts;
pub mod parameters;

use std::borrow::Cow;
use std::ops::Range;

use crate::carry::Syntax;
use crate::dash::{self, ManifestError};
use crate::hls;

/// Calls `found` with the bytes of every URI and what it says.
fn each_uri(
    text: &str,
    syntax: Syntax,
    mut found: impl FnMut(Range<usize>, &str),
) -> Result<(), ManifestError> {
    match syntax {
        Syntax::Hls => hls::uris::find(text, |place| found(place.at, &place.says)),
        Syntax::Dash => drop(dash::find(text, |place, _| found(place.at, &place.says))?),
    }
    Ok(())
}

/// A URI as it is written in a document.
fn written(uri: &str, syntax: Syntax) -> Cow<'_, str> {
    match syntax {
        Syntax::Hls => Cow::Borrowed(uri),
        Syntax::Dash => quick_xml::escape::escape(uri),
    }
}

#[cfg(test)]
mod tests;
