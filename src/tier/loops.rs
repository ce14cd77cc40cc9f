//! Loops: whether a request has been here before (`CDN-Loop`, RFC 8586).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Names;

/// `CDN-Loop` (RFC 8586 section 2). A viewer's is never taken away; this node's name is added to it.
pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Networks that a request may have passed; one with more of them counts as a loop.
pub const MEMBERS_MAX: usize = 64;

/// Bytes of the field, all lines of it together; a longer one counts as a loop.
pub const FIELD_BYTES_MAX: usize = 4096;

/// Whether a request with these fields has passed this node before, or more nodes than any chain has.
pub fn is_loop(headers: &HeaderMap, names: &Names) -> bool {
    let lines = || headers.get_all(CDN_LOOP).iter().map(HeaderValue::as_bytes);
    let bytes: usize = lines().map(<[u8]>::len).sum();
    let members = || lines().flat_map(members);
    bytes > FIELD_BYTES_MAX
        || members().count() > MEMBERS_MAX
        || members().any(|member| id_of(member).eq_ignore_ascii_case(names.node.as_bytes()))
}

/// The list of a request, and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// All lines as one.
    pub list: HeaderValue,
    /// Members at its end that are nodes', which have vouched for each other.
    pub nodes: u32,
    /// The members before them, which anybody may have written; empty where there are none.
    pub foreign: Box<[u8]>,
}

/// The list of a request that has come through so many nodes; None: it has none.
pub fn received(headers: &HeaderMap, nodes: u32) -> Option<Passed> {
    if !headers.contains_key(CDN_LOOP) {
        return None;
    }
    let lines: Vec<&[u8]> = headers.get_all(CDN_LOOP).iter().map(HeaderValue::as_bytes).collect();
    let list = lines.join(&b", "[..]);
    let members: Vec<&[u8]> = members(&list).collect();
    let foreign = members.len().saturating_sub(usize::try_from(nodes).unwrap_or(usize::MAX));
    let foreign = members.get(..foreign).unwrap_or_default().join(&b", "[..]);
    Some(Passed { list: HeaderValue::from_bytes(&list).ok()?, nodes, foreign: foreign.into() })
}

/// This node's own member.
pub fn own(names: &Names) -> Option<HeaderValue> {
    HeaderValue::from_str(&names.node).ok()
}

/// The members of one line. A comma within a quoted string separates none.
fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let members = line.split(move |byte| {
        let separates = *byte == b',' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        separates
    });
    members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// The name of a member, without its parameters.
fn id_of(member: &[u8]) -> &[u8] {
    member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CDN_LOOP, line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_node_finds_its_own_name_and_no_other() {
        let names = Names::new(Some("edge-1"));
        for lines in [
            &["edge-1"][..],
            &["EDGE-1"],
            &["a, edge-1"],
            &["a", "b;x=1, edge-1 ; y=\"a, b\""],
            &["a;x=\"\\\",\", edge-1"],
        ] {
            assert!(is_loop(&headers(lines), &names), "{lines:?}");
        }
        for lines in
            [&[][..], &[""], &["edge-2, edge-11"], &["a;x=\"b, edge-1, c\""], &["a;edge-1"], &["edge-1:80"]]
        {
            assert!(!is_loop(&headers(lines), &names), "{lines:?}");
        }
    }

    #[test]
    fn a_chain_that_no_request_has_is_a_loop() {
        let names = Names::new(Some("edge-1"));
        let chain = |count: usize| vec!["a"; count].join(",");
        assert!(!is_loop(&headers(&[&chain(MEMBERS_MAX)]), &names));
        assert!(is_loop(&headers(&[&chain(MEMBERS_MAX), "a"]), &names));
        assert!(is_loop(&headers(&[&"a".repeat(FIELD_BYTES_MAX + 1)]), &names));
    }

    #[test]
    fn what_came_is_kept_as_one_line() {
        assert_eq!(received(&headers(&["a", "b;x=1"]), 0).unwrap().list, "a, b;x=1");
        assert_eq!(received(&HeaderMap::new(), 0), None);
    }

    #[test]
    fn what_nodes_have_added_is_told_from_what_anybody_may_have_written() {
        let foreign = |lines: &[&str], nodes| received(&headers(lines), nodes).unwrap().foreign;
        for (lines, nodes, expected) in [
            (&["a, b;x=1"][..], 0, "a, b;x=1"),
            (&["a", "edge"], 1, "a"),
            (&["a;x=\"1, 2\", edge", "middle"], 2, "a;x=\"1, 2\""),
            (&["edge"], 1, ""),
            (&["edge"], 9, ""),
            (&[""], 0, ""),
        ] {
            assert_eq!(*foreign(lines, nodes), *expected.as_bytes(), "{lines:?}");
        }
    }
}
