//! The path patterns of an `acl` field: globs joined by `!`, in which `*` spans `/` and `?` is one character.
//!
//! Decides whether a path is covered. Both sides are percent-decoded first, because some generators encode the field
//! and clients encode paths. The query takes no part. Called after a token has been authenticated, never before.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Whether any pattern of `acl` covers `path`. A path that climbs (`..`) is covered by none: an origin may resolve it
/// to a directory that the pattern was not meant for.
pub(super) fn covers(acl: &str, path: &str) -> bool {
    let path: Cow<'_, [u8]> = percent_decode_str(path).into();
    let acl: Cow<'_, [u8]> = percent_decode_str(acl).into();
    !climbs(&path) && acl.split(|byte| *byte == b'!').any(|pattern| matches(pattern, &path))
}

/// Whether a decoded path has a `..` segment, in any spelling that an origin may take for one (`\` as separator,
/// parameters after `;`).
fn climbs(path: &[u8]) -> bool {
    let mut segments = path.split(|byte| matches!(byte, b'/' | b'\\'));
    segments.any(|segment| segment.split(|byte| *byte == b';').next() == Some(b"..".as_slice()))
}

/// Glob match in at most `pattern.len() * text.len()` steps, without recursion.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where to go on after a mismatch: behind the latest `*`, one byte further into the text than last time.
    let mut resume: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(at_text) {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                at_pattern += 1;
                resume = Some((at_pattern, at_text));
            }
            Some(b'?') => {
                at_pattern += 1;
                at_text += character_length(text, at_text);
            }
            Some(&expected) if expected == byte => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => match resume {
                Some((after_star, from)) => {
                    resume = Some((after_star, from + 1));
                    (at_pattern, at_text) = (after_star, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at_pattern).all(|byte| *byte == b'*')
}

/// Bytes of the UTF-8 character at `start`; 1 for a byte that starts none.
fn character_length(text: &[u8], start: usize) -> usize {
    1 + text.iter().skip(start + 1).take(3).take_while(|byte| **byte & 0xC0 == 0x80).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_spans_slashes_and_a_question_mark_is_one_character() {
        assert!(covers("/*", "/live/ch1/a.ts"));
        assert!(covers("/live/*", "/live/"));
        assert!(!covers("/live/*", "/live"));
        assert!(covers("/live/*/a.ts", "/live/ch1/hd/a.ts"));
        assert!(covers("/a?.ts", "/a1.ts"));
        assert!(covers("/a?.ts", "/a%C3%A9.ts"));
        assert!(!covers("/a?.ts", "/a.ts"));
        assert!(!covers("/a?.ts", "/a12.ts"));
        assert!(!covers("", "/a"));
        assert!(!covers("/live", "/live/a"));
    }

    #[test]
    fn any_of_the_joined_patterns_is_enough() {
        let acl = "/live/ch1/*!/keys/ch1/*";
        assert!(covers(acl, "/live/ch1/a.ts"));
        assert!(covers(acl, "/keys/ch1/k"));
        assert!(!covers(acl, "/live/ch2/a.ts"));
    }

    #[test]
    fn both_sides_are_decoded_once() {
        assert!(covers("%2flive%2f*", "/live/a.ts"));
        assert!(covers("/live/a b", "/live/a%20b"));
        assert!(covers("/live/a%20b", "/live/a%20b"));
        assert!(covers("%2Flive%2F%2A%21%2Fkeys%2F%2A", "/keys/k"));
        assert!(!covers("/live/*", "%252flive%252fa"));
    }

    #[test]
    fn a_path_that_climbs_is_covered_by_no_pattern() {
        for path in [
            "/live/ch1/../ch2/a.ts",
            "/live/ch1/%2e%2e/ch2/a.ts",
            "/live/ch1/..%2fch2/a.ts",
            "/live/ch1/..",
            "/live/ch1/..\\ch2",
            "/live/ch1/..;x/ch2",
        ] {
            assert!(!covers("/live/ch1/*", path), "{path}");
        }
        assert!(covers("/live/ch1/*", "/live/ch1/a..b/...ts"));
    }

    fn reference(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                reference(rest, text) || text.split_first().is_some_and(|(_, tail)| reference(pattern, tail))
            }
            (Some(('?', rest)), Some((_, tail))) => reference(rest, tail),
            (Some((expected, rest)), Some((found, tail))) => expected == found && reference(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn globs_agree_with_their_definition(pattern in "[ab/é*?]{0,8}", text in "[ab/é]{0,12}") {
            let expected =
                reference(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected);
        }
    }
}
