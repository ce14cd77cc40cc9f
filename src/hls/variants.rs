//! Which variants of a multivariant playlist stay, and in which order (RFC 8216bis section 4.4.6).
//!
//! A variant is an `EXT-X-STREAM-INF` line, the URI line that it is for, and the comments between; it goes and moves as
//! one. `EXT-X-I-FRAME-STREAM-INF` and `EXT-X-IMAGE-STREAM-INF` are variants of one line, ordered among their own. Those
//! that stay take the places that were theirs, so that all other lines stay where they are. Renditions (`EXT-X-MEDIA`) of
//! a group go with the last variant that names it. What would leave no variant to play filters nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use super::edit::Edits;
use super::lines::{Attributes, lines};
use super::variables::{Around, Variables};
use crate::config::model::{OrderBy, VariantBounds, VariantOrder};

/// What has become of a playlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Its text; None: as it was.
    pub text: Option<String>,
    /// Whether no variant is within the bounds, so that all of them have stayed.
    pub none_within: bool,
}

/// Tags that are variants; the first has its URI on a line of its own.
const TAGS: [&str; 3] = ["EXT-X-STREAM-INF", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-IMAGE-STREAM-INF"];

/// Types of renditions, which are the names of the attributes that name groups of them too.
const TYPES: [&str; 4] = ["AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS"];

/// A variant.
struct Variant<'t> {
    /// Place of its tag in [`TAGS`].
    tag: usize,
    /// Its bytes, what ends its last line left out.
    at: Range<usize>,
    /// Where the line after it begins.
    next: usize,
    height: Option<u64>,
    bandwidth: Option<u64>,
    /// In thousandths.
    frame_rate: Option<u64>,
    codecs: Option<Cow<'t, str>>,
    /// Types and names of its groups of renditions.
    groups: Vec<(&'static str, Cow<'t, str>)>,
}

/// A line of a rendition.
struct Rendition<'t> {
    at: Range<usize>,
    group: (&'t str, Cow<'t, str>),
}

/// Filters and orders the variants of a playlist.
pub fn choose(text: &str, bounds: &VariantBounds, order: Option<VariantOrder>) -> Chosen {
    let (variants, renditions) = read(text);
    let mut stay: Vec<bool> = variants.iter().map(|variant| variant.is_within(bounds)).collect();
    let plays = variants.iter().zip(&stay).any(|(variant, stay)| variant.tag == 0 && *stay);
    let none_within = !plays && variants.iter().any(|variant| variant.tag == 0);
    if none_within {
        stay.fill(true);
    }
    let mut edits = Edits::default();
    for (variant, _) in variants.iter().zip(&stay).filter(|(_, stay)| !**stay) {
        edits.replace(variant.at.start..variant.next, "");
    }
    let staying = || variants.iter().zip(&stay).filter(|(_, stay)| **stay).map(|(variant, _)| variant);
    let before: BTreeSet<_> = variants.iter().flat_map(|variant| &variant.groups).collect();
    let after: BTreeSet<_> = staying().flat_map(|variant| &variant.groups).collect();
    for rendition in renditions {
        let is_it =
            |(kind, group): &&(&str, Cow<'_, str>)| (*kind, group) == (rendition.group.0, &rendition.group.1);
        if before.iter().any(&is_it) && !after.iter().any(is_it) {
            edits.replace(rendition.at, "");
        }
    }
    for tag in 0..TAGS.len() {
        let Some(order) = order else { break };
        let places: Vec<&Variant<'_>> = staying().filter(|variant| variant.tag == tag).collect();
        let mut sorted = places.clone();
        // Stable: those that are equal stay as they are.
        sorted.sort_by(|one, other| {
            let ordering = one.rank(order.by).cmp(&other.rank(order.by));
            if order.down { ordering.reverse() } else { ordering }
        });
        for (place, variant) in places.iter().zip(sorted) {
            edits.replace(place.at.clone(), text.get(variant.at.clone()).unwrap_or_default());
        }
    }
    Chosen { text: edits.apply(text), none_within }
}

fn read(text: &str) -> (Vec<Variant<'_>>, Vec<Rendition<'_>>) {
    let mut defined = Variables::default();
    let (mut variants, mut renditions) = (Vec::new(), Vec::new());
    // A variant whose URI has not come yet.
    let mut open: Option<Variant<'_>> = None;
    for line in lines(text) {
        if line.is_uri() {
            if let Some(mut variant) = open.take() {
                (variant.at.end, variant.next) = (line.range().end, line.next);
                variants.push(variant);
            }
            continue;
        }
        if line.says.starts_with("#EXT-X-DEFINE:") {
            defined.define(line.says.split_once(':').map_or("", |(_, list)| list), &Around::default());
        } else if let Some(list) = line.attributes_of("EXT-X-MEDIA") {
            if let (Some(kind), Some(group)) = (list.value("TYPE"), list.value("GROUP-ID")) {
                let group = (kind, defined.resolve(group));
                renditions.push(Rendition { at: line.start..line.next, group });
            }
        } else {
            let found =
                TAGS.iter().enumerate().find_map(|(tag, name)| Some((tag, line.attributes_of(name)?)));
            let Some((tag, list)) = found else { continue };
            let variant = Variant::read(tag, &list, &defined, (line.range(), line.next));
            if tag == 0 {
                // One without a URI is left alone, as whatever else is not understood.
                open = Some(variant);
            } else if open.is_none() {
                variants.push(variant);
            }
        }
    }
    (variants, renditions)
}

impl<'t> Variant<'t> {
    fn read(
        tag: usize,
        list: &Attributes<'t>,
        defined: &Variables<'t>,
        (at, next): (Range<usize>, usize),
    ) -> Variant<'t> {
        let resolved = |name: &str| list.value(name).map(|value| defined.resolve(value));
        let number = |name: &str| list.value(name).and_then(|value| value.trim_ascii().parse().ok());
        let height = list.value("RESOLUTION").and_then(|value| value.split_once(['x', 'X']));
        let groups = TYPES.into_iter().filter_map(|kind| Some((kind, resolved(kind)?)));
        Variant {
            tag,
            at,
            next,
            height: height.and_then(|(_, height)| height.trim_ascii().parse().ok()),
            bandwidth: number("BANDWIDTH"),
            frame_rate: list.value("FRAME-RATE").and_then(thousandths),
            codecs: resolved("CODECS"),
            groups: groups.filter(|(_, group)| group != "NONE").collect(),
        }
    }

    fn is_within(&self, bounds: &VariantBounds) -> bool {
        let is_between = |value: Option<u64>, (least, most): (Option<u64>, Option<u64>)| {
            value.is_none_or(|value| {
                least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most)
            })
        };
        let is_listed =
            |codec: &str| bounds.codecs.iter().any(|prefix| codec.trim_ascii().starts_with(prefix.as_str()));
        is_between(self.height, bounds.height)
            && is_between(self.bandwidth, bounds.bandwidth)
            && (bounds.codecs.is_empty()
                || self.codecs.as_ref().is_none_or(|codecs| codecs.split(',').all(is_listed)))
    }

    fn rank(&self, by: OrderBy) -> Option<u64> {
        match by {
            OrderBy::Bandwidth => self.bandwidth,
            OrderBy::Height => self.height,
            OrderBy::FrameRate => self.frame_rate,
        }
    }
}

/// A decimal number in thousandths.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.trim_ascii().split_once('.').unwrap_or((text.trim_ascii(), ""));
    let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(fraction.parse().ok()?)
}

#[cfg(test)]
mod tests;
