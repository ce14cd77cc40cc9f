//! Edits of a text: ranges of bytes and what takes their place. What no edit names stays byte for byte.

use std::ops::Range;

/// Edits that are to be made, in any order.
#[derive(Debug, Default)]
pub struct Edits(Vec<(Range<usize>, String)>);

impl Edits {
    /// Puts `with` in the place of these bytes of the text. Of edits that overlap, the one that begins first is made.
    pub fn replace(&mut self, at: Range<usize>, with: impl Into<String>) {
        self.0.push((at, with.into()));
    }

    /// The text with the edits made; None: there are none that change it.
    pub fn apply(mut self, text: &str) -> Option<String> {
        self.0.retain(|(at, with)| text.get(at.clone()).is_some_and(|old| old != with));
        if self.0.is_empty() {
            return None;
        }
        self.0.sort_by_key(|(at, _)| at.start);
        let added: usize = self.0.iter().map(|(_, with)| with.len()).sum();
        let mut out = String::with_capacity(text.len() + added);
        let mut from = 0;
        for (at, with) in &self.0 {
            // One that begins inside another is left out.
            let Some(before) = text.get(from..at.start) else { continue };
            out.push_str(before);
            out.push_str(with);
            from = at.end;
        }
        out.push_str(text.get(from..).unwrap_or_default());
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_touch_exactly_what_they_name() {
        let mut edits = Edits::default();
        edits.replace(8..9, "");
        edits.replace(0..2, "XYZ");
        edits.replace(4..4, "+");
        assert_eq!(edits.apply("0123456789").as_deref(), Some("XYZ23+45679"));
    }

    #[test]
    fn what_changes_nothing_is_no_edit() {
        let mut edits = Edits::default();
        edits.replace(1..2, "1");
        edits.replace(5..5, "");
        edits.replace(50..51, "beyond the text");
        assert_eq!(edits.apply("0123456789"), None);
        assert_eq!(Edits::default().apply("a"), None);
    }

    #[test]
    fn of_edits_that_overlap_the_first_is_made() {
        let mut edits = Edits::default();
        edits.replace(3..5, "b");
        edits.replace(2..4, "a");
        assert_eq!(edits.apply("0123456789").as_deref(), Some("01a456789"));
    }
}
