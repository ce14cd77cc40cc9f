//! The path patterns of an `acl` field: globs joined by `!`, in which `*` spans `/` and `?` is one character.
//!
//! Decides whether a path is covered. Both sides are percent-decoded first, because some generators encode the field
//! and clients encode paths. The query takes no part. Called after a token has been authenticated, never before.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Steps that a comparison of a request's path with the patterns of its token takes at most, one for a character of either;
/// what would take more covers nothing. A pattern that has a star in front takes as many as the path has characters.
pub(super) const STEPS_MAX: usize = 1 << 18;

/// Whether any pattern of `acl` covers `path`. A path that climbs (`..`) is covered by none: an origin may resolve it
/// to a directory that the pattern was not meant for.
pub(super) fn covers(acl: &str, path: &str) -> bool {
    let path: Cow<'_, [u8]> = percent_decode_str(path).into();
    let acl: Cow<'_, [u8]> = percent_decode_str(acl).into();
    let mut steps = STEPS_MAX;
    !climbs(&path)
        && acl.split(|byte| *byte == b'!').any(|pattern| matches_within(pattern, &path, &mut steps))
}

/// Whether `path` begins with `prefix`, which need not end with a segment. A path that climbs begins with none.
pub(super) fn begins(prefix: &str, path: &str) -> bool {
    let path: Cow<'_, [u8]> = percent_decode_str(path).into();
    let prefix: Cow<'_, [u8]> = percent_decode_str(prefix).into();
    !climbs(&path) && path.starts_with(&prefix)
}

/// The pattern of every path that begins with `prefix`. None: it holds what a pattern takes for something else.
pub(super) fn from_prefix(prefix: &str) -> Option<String> {
    let plain = !percent_decode_str(prefix).any(|byte| matches!(byte, b'*' | b'?' | b'!'));
    plain.then(|| format!("{prefix}*"))
}

/// Whether a decoded path has a `..` segment, in any spelling that an origin may take for one (`\` as separator,
/// parameters after `;`).
pub(super) fn climbs(path: &[u8]) -> bool {
    if memchr::memmem::find(path, b"..").is_none() {
        return false;
    }
    let mut segments = path.split(|byte| matches!(byte, b'/' | b'\\'));
    segments.any(|segment| segment.split(|byte| *byte == b';').next() == Some(b"..".as_slice()))
}

/// Glob match without recursion; what would take more than [`STEPS_MAX`] steps is none.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_within(pattern, text, &mut { STEPS_MAX })
}

/// Glob match in at most so many steps, which are counted down. It takes at most `pattern.len() * text.len()`.
fn matches_within(pattern: &[u8], text: &[u8], steps: &mut usize) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where to go on after a mismatch: behind the latest `*`, one byte further into the text than last time.
    let mut resume: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(at_text) {
        let Some(left) = steps.checked_sub(1) else { return false };
        *steps = left;
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

    #[test]
    fn a_prefix_is_compared_decoded_and_its_pattern_covers_the_same() {
        for (prefix, path, expected) in [
            ("/live/", "/live/a.ts", true),
            ("/live/", "/live/", true),
            ("/live/", "/live", false),
            ("/li", "/live/a.ts", true),
            ("/a b/", "/a%20b/c", true),
            ("/a%20b/", "/a%20b/c", true),
            ("/live/", "/live/../vod/a.ts", false),
            ("/live/", "/live/%2e%2e/vod/a.ts", false),
            ("/live/", "%252flive%252fa", false),
        ] {
            assert_eq!(begins(prefix, path), expected, "{prefix} {path}");
            assert_eq!(covers(&from_prefix(prefix).unwrap(), path), expected, "{prefix} {path}");
        }
        for prefix in ["/a*/", "/a%2a/", "/a?", "/a!b/"] {
            assert_eq!(from_prefix(prefix), None, "{prefix}");
        }
    }

    #[test]
    fn a_comparison_ends_after_so_many_steps_and_covers_nothing() {
        let path = format!("/{}", "a".repeat(8000));
        let stars = |count| vec!["*b"; count].join("!");
        let within = format!("{}!/a*", stars(STEPS_MAX / path.len() - 1));
        assert!(covers(&within, &path));
        let beyond = format!("{}!/a*", stars(STEPS_MAX / path.len() + 1));
        assert!(!covers(&beyond, &path), "the last pattern is not reached");
        assert!(matches(b"*a", path.as_bytes()));
        assert!(!matches(format!("*{}b*", "a".repeat(1000)).as_bytes(), path.as_bytes()));
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
