//! What a node is called in the fields that every hop adds itself to.

use http::HeaderValue;

/// The name of a node that has none of its own.
const UNNAMED: &str = "forebay";

/// A node's names.
#[derive(Clone, Debug)]
pub struct Names {
    /// Its member of `Cache-Status`: a token, or a string where the name is none (RFC 9211 section 2).
    pub cache_status: Box<str>,
    /// Its member of `Via` (RFC 9110 section 7.6.3).
    pub via: HeaderValue,
    /// Its member of `CDN-Loop` (RFC 8586 section 2), which is also what other nodes know it by. Of a node without a name it
    /// is another one at each start, so that two of them are not taken for one.
    pub node: Box<str>,
}

impl Names {
    /// The names of a node with this `fleet.name`.
    pub fn new(name: Option<&str>) -> Names {
        let shown = name.unwrap_or(UNNAMED);
        let is_token = shown.starts_with(|first: char| first.is_ascii_alphabetic());
        let node = match name {
            Some(name) => name.to_owned(),
            None => format!("{UNNAMED}-{:016x}", getrandom::u64().unwrap_or_else(|_| by_process())),
        };
        Names {
            cache_status: if is_token { shown.into() } else { format!("\"{shown}\"").into() },
            via: HeaderValue::from_str(&format!("1.1 {shown}"))
                .unwrap_or(HeaderValue::from_static("1.1 forebay")),
            node: node.into(),
        }
    }
}

impl Default for Names {
    fn default() -> Names {
        Names::new(None)
    }
}

/// Where the system has no random numbers.
fn by_process() -> u64 {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::from(std::process::id()) << 32 ^ u64::from(nanos.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_called_by_its_name_and_one_without_is_nobody_else() {
        let names = Names::new(Some("edge-1"));
        assert_eq!(
            (&*names.cache_status, &names.via, &*names.node),
            ("edge-1", &HeaderValue::from_static("1.1 edge-1"), "edge-1")
        );
        assert_eq!(&*Names::new(Some("1.edge")).cache_status, "\"1.edge\"", "no token begins with a digit");
        let (one, other) = (Names::default(), Names::default());
        assert_eq!((&*one.cache_status, one.via.as_bytes()), ("forebay", &b"1.1 forebay"[..]));
        assert_ne!(one.node, other.node);
    }
}
