//! Has a manifest tell players of content steering (ETSI TS 103 998 section 5): inserts `ContentSteering`, and says of the one
//! `BaseURL` of the MPD which service location it is.
//!
//! Several `BaseURL` of the MPD are several networks: those that do not say which they are stay so, for nobody here knows.
//! All other bytes stay as they are.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::ManifestError;
use crate::config::model::SteeringTag;

/// What of an MPD steering is about.
#[derive(Default)]
struct Seen<'t> {
    depth: usize,
    /// The prefix of the MPD's namespace with its colon, or nothing.
    prefix: Option<&'t str>,
    /// Where the content of the MPD begins that is not `ProgramInformation`.
    opening: Option<usize>,
    /// For each `BaseURL` of the MPD: where its name ends, and whether it says its service location.
    bases: Vec<(usize, bool)>,
    /// Where the last of them ends.
    after_bases: Option<usize>,
    /// Where `ContentSteering` begins and ends.
    steering: Option<(usize, usize)>,
}

/// The manifest with `ContentSteering` in it. None: it stays as it is, for it has the element and that is not to be replaced, or
/// has no content.
///
/// # Errors
/// [`ManifestError::Malformed`].
pub fn insert(text: &str, tag: &SteeringTag) -> Result<Option<String>, ManifestError> {
    let seen = look(text)?;
    let Some(opening) = seen.opening.filter(|_| tag.replace || seen.steering.is_none()) else {
        return Ok(None);
    };
    let (prefix, SteeringTag { server_uri, pathway, .. }) = (seen.prefix.unwrap_or_default(), tag);
    let mut edits: Vec<(usize, usize, String)> = Vec::new();
    let mut element = String::new();
    match seen.bases.as_slice() {
        [] => {
            // It says what is so without it: URIs are relative to the folder of the MPD.
            let _ = write!(element, "<{prefix}BaseURL serviceLocation=\"{pathway}\">./</{prefix}BaseURL>");
        }
        [(at, false)] => edits.push((*at, *at, format!(" serviceLocation=\"{pathway}\""))),
        _ => {}
    }
    let _ = write!(
        element,
        "<{prefix}ContentSteering defaultServiceLocation=\"{pathway}\" queryBeforeStart=\"true\">{server_uri}</{prefix}ContentSteering>"
    );
    let at = seen.after_bases.unwrap_or(opening);
    edits.push((at, at, element));
    edits.extend(seen.steering.map(|(start, end)| (start, end, String::new())));
    edits.sort_by_key(|(start, ..)| *start);
    let mut out = String::with_capacity(text.len() + 256);
    let mut done = 0;
    for (start, end, new) in &edits {
        out.push_str(text.get(done..*start).ok_or(ManifestError::Malformed)?);
        out.push_str(new);
        done = *end;
    }
    out.push_str(text.get(done..).ok_or(ManifestError::Malformed)?);
    Ok((out != text).then_some(out))
}

fn look(text: &str) -> Result<Seen<'_>, ManifestError> {
    let mut reader = Reader::from_str(text);
    let mut seen = Seen::default();
    let mut steering_from = None;
    let mut in_base = false;
    loop {
        let before = position(&reader)?;
        match reader.read_event().map_err(|_| ManifestError::Malformed)? {
            Event::Start(element) => {
                match (seen.depth, element.local_name().as_ref()) {
                    (0, _) => open_root(text, &mut seen, &element, before)?,
                    (1, "ContentSteering") => steering_from = Some(before),
                    (1, "BaseURL") => {
                        seen.base(&element, before)?;
                        in_base = true;
                    }
                    _ => {}
                }
                seen.open(&element, before);
                seen.depth += 1;
            }
            Event::Empty(element) => {
                match (seen.depth, element.local_name().as_ref()) {
                    (0, _) => open_root(text, &mut seen, &element, before)?,
                    (1, "ContentSteering") => seen.steering = Some((before, position(&reader)?)),
                    _ => {}
                }
                seen.open(&element, before);
            }
            Event::End(_) => {
                seen.depth = seen.depth.saturating_sub(1);
                if seen.depth == 1 {
                    let end = position(&reader)?;
                    if let Some(start) = steering_from.take() {
                        seen.steering = Some((start, end));
                    }
                    if std::mem::take(&mut in_base) {
                        seen.after_bases = Some(end);
                    }
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if seen.depth != 0 || seen.prefix.is_none() {
        return Err(ManifestError::Malformed);
    }
    Ok(seen)
}

fn position(reader: &Reader<&[u8]>) -> Result<usize, ManifestError> {
    usize::try_from(reader.buffer_position()).map_err(|_| ManifestError::Malformed)
}

/// Only an MPD is changed, and a text has one.
fn open_root<'t>(
    text: &'t str,
    seen: &mut Seen<'t>,
    element: &BytesStart<'_>,
    at: usize,
) -> Result<(), ManifestError> {
    let len = element.name().as_ref().len();
    let name = text.get(at + 1..at + 1 + len).ok_or(ManifestError::Malformed)?;
    let prefix = name.strip_suffix("MPD").filter(|prefix| prefix.is_empty() || prefix.ends_with(':'));
    seen.prefix = Some(prefix.filter(|_| seen.prefix.is_none()).ok_or(ManifestError::Malformed)?);
    Ok(())
}

impl Seen<'_> {
    fn open(&mut self, element: &BytesStart<'_>, at: usize) {
        if self.depth == 1 && self.opening.is_none() && element.local_name().as_ref() != "ProgramInformation"
        {
            self.opening = Some(at);
        }
    }

    fn base(&mut self, element: &BytesStart<'_>, at: usize) -> Result<(), ManifestError> {
        let mut says = false;
        for attribute in element.attributes().with_checks(false) {
            let attribute = attribute.map_err(|_| ManifestError::Malformed)?;
            says |= attribute.key.into_inner() == "serviceLocation";
        }
        self.bases.push((at + 1 + element.name().as_ref().len(), says));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn tag(replace: bool) -> SteeringTag {
        SteeringTag { server_uri: "/steer.json".to_owned(), pathway: "edge".to_owned(), replace }
    }

    const OURS: &str = "<ContentSteering defaultServiceLocation=\"edge\" queryBeforeStart=\"true\">/steer.json</ContentSteering>";

    #[test]
    fn a_manifest_without_base_is_told_of_the_node_and_of_steering() {
        let text = "<?xml version=\"1.0\"?>\n<!-- a --><MPD type=\"static\">\n <ProgramInformation><Title>BaseURL</Title></ProgramInformation>\n <Period><BaseURL>a/</BaseURL></Period>\n</MPD>\n";
        let ours = format!("<BaseURL serviceLocation=\"edge\">./</BaseURL>{OURS}<Period>");
        let expected = text.replace("<Period>", &ours);
        assert_eq!(insert(text, &tag(false)).unwrap().unwrap(), expected);
        assert_eq!(insert(&expected, &tag(false)).unwrap(), None, "it has one");
        assert_eq!(insert(&expected, &tag(true)).unwrap(), None, "and would get the same");
        let namespaced = "<d:MPD xmlns:d=\"urn:mpeg:dash:schema:mpd:2011\"><d:Period/></d:MPD>";
        let made = insert(namespaced, &tag(false)).unwrap().unwrap();
        assert!(
            made.contains("<d:BaseURL serviceLocation=\"edge\">./</d:BaseURL><d:ContentSteering "),
            "{made}"
        );
    }

    #[test]
    fn a_base_is_told_its_service_location_where_there_is_one() {
        let text = "<MPD><BaseURL availabilityTimeOffset=\"1\">https://a/</BaseURL>\n<Location>x</Location><Period/></MPD>";
        let expected = text
            .replace("<BaseURL ", "<BaseURL serviceLocation=\"edge\" ")
            .replace("</BaseURL>", &format!("</BaseURL>{OURS}"));
        assert_eq!(insert(text, &tag(false)).unwrap().unwrap(), expected);
        let text = "<MPD><BaseURL serviceLocation='a'>https://a/</BaseURL><BaseURL>https://b/</BaseURL><Period/></MPD>";
        let expected = text.replace("<Period/>", &format!("{OURS}<Period/>"));
        assert_eq!(insert(text, &tag(false)).unwrap().unwrap(), expected);
    }

    #[test]
    fn an_origins_steering_stays_unless_it_is_to_be_replaced() {
        let text = "<MPD><BaseURL serviceLocation=\"o\">./</BaseURL><ContentSteering>https://o/s</ContentSteering><Period/></MPD>";
        assert_eq!(insert(text, &tag(false)).unwrap(), None);
        let expected = text.replace("<ContentSteering>https://o/s</ContentSteering>", OURS);
        assert_eq!(insert(text, &tag(true)).unwrap().unwrap(), expected);
        let empty = text.replace("<ContentSteering>https://o/s</ContentSteering>", "<ContentSteering/>");
        assert_eq!(insert(&empty, &tag(true)).unwrap().unwrap(), expected);
    }

    #[test]
    fn what_is_no_manifest_is_told_apart() {
        for text in ["", "<html/>", "<MPD>", "<MPD></MPD><MPD></MPD>", "<MPD><Period></MPD>", "#EXTM3U\n"] {
            assert!(insert(text, &tag(false)).is_err(), "{text}");
        }
        assert_eq!(insert("<MPD></MPD>", &tag(false)).unwrap(), None, "nothing to play");
    }
}
