//! What `format = "secure_link"` can be told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::diagnostic::{Report, join};
use super::{KeyError, KeyKind, shared_only};

/// Bytes of an expression; a longer one is a mistake.
const EXPRESSION_BYTES_MAX: usize = 1024;

/// `[token.NAME.secure_link]`
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Raw {
    /// What the MD5 is of, as in nginx's `secure_link_md5`: text and the variables `$secret` (the key file's text),
    /// `$secure_link_expires`, `$uri` (the path, decoded), `$args` (the query without the token), `$arg_NAME`, `$host`,
    /// `$remote_addr`, `$scheme`, `$cookie_NAME` and `$http_NAME`; also as `${NAME}`. By default
    /// `$secure_link_expires$uri$remote_addr $secret`. Up to 1024 bytes. MD5 keeps forgers out only as long as nobody
    /// cares: for links that exist already, not for new ones, and never with `$secret` in front. Put text between
    /// variables where you can: `$uri$remote_addr` takes `/a` and 12.0.0.1 for `/a1` and 2.0.0.1.
    #[schemars(example = &"$secure_link_expires$uri$remote_addr $secret")]
    pub(in crate::config) expression: Option<String>,
    /// The query parameter with the MD5. By default `md5`.
    #[schemars(example = &"md5")]
    pub(in crate::config) md5: Option<String>,
    /// The query parameter with the end. By default `expires`. A token has one where the expression has
    /// `$secure_link_expires`.
    #[schemars(example = &"expires")]
    pub(in crate::config) expires: Option<String>,
    /// Whether links are `/PREFIX/MD5/LINK`, where MD5 is that of LINK and the key, as with nginx's `secure_link_secret`.
    /// They do not end, and are good whatever PREFIX is. Needs `path` among `places`, and excludes the keys above.
    #[serde(default)]
    pub(in crate::config) word: bool,
}

/// What such tokens are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecureLink {
    /// Parameters, the MD5 of an expression among them.
    Expression {
        /// What is hashed.
        expression: Expression,
        /// Name of the parameter with the MD5.
        md5: String,
        /// Name of the parameter with the end.
        expires: String,
    },
    /// `/PREFIX/MD5/LINK`.
    Word,
}

impl Default for SecureLink {
    fn default() -> SecureLink {
        SecureLink::Expression {
            expression: Expression::default(),
            md5: "md5".to_owned(),
            expires: "expires".to_owned(),
        }
    }
}

/// A text with variables, in the order in which it is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression(Vec<Part>);

/// A part of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// The key.
    Secret,
    /// The end, as the token has it.
    Expires,
    /// The path, decoded.
    Uri,
    /// The query without the token's parameters, as received.
    Args,
    /// The value of a query parameter, as received.
    Arg(String),
    /// The host, without port, in lower case.
    Host,
    /// The client's address.
    RemoteAddr,
    /// `http` or `https`.
    Scheme,
    /// The value of a cookie.
    Cookie(String),
    /// The value of a header field; the name in lower case, with `-`.
    Http(String),
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Too long.
    #[error("is longer than {EXPRESSION_BYTES_MAX} bytes")]
    TooLong,
    /// A `$` that begins no variable that is known.
    #[error("has the variable \"${0}\", which is not known")]
    Unknown(String),
    /// A `${` without its `}`.
    #[error("has a \"${{\" without \"}}\"")]
    Open,
    /// Without `$secret`, anybody can make tokens.
    #[error("lacks $secret, so anybody could make tokens")]
    NoSecret,
}

impl Default for Expression {
    fn default() -> Expression {
        let space = Part::Text(" ".to_owned());
        Expression(vec![Part::Expires, Part::Uri, Part::RemoteAddr, space, Part::Secret])
    }
}

impl Expression {
    /// Takes a text apart.
    ///
    /// # Errors
    /// [`ExpressionError`].
    pub fn parse(text: &str) -> Result<Expression, ExpressionError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(ExpressionError::TooLong);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('$') {
            if !literal.is_empty() {
                parts.push(Part::Text(literal.to_owned()));
            }
            let (name, behind) = match after.strip_prefix('{') {
                Some(braced) => braced.split_once('}').ok_or(ExpressionError::Open)?,
                None => {
                    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len()))
                }
            };
            parts.push(Part::named(name).ok_or_else(|| ExpressionError::Unknown(name.to_owned()))?);
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if !parts.contains(&Part::Secret) {
            return Err(ExpressionError::NoSecret);
        }
        Ok(Expression(parts))
    }

    /// Its parts.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Whether tokens have an end.
    pub fn has_end(&self) -> bool {
        self.0.contains(&Part::Expires)
    }
}

impl Part {
    fn named(name: &str) -> Option<Part> {
        let prefixed = |prefix: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        Some(match name {
            "secret" => Part::Secret,
            "secure_link_expires" => Part::Expires,
            "uri" => Part::Uri,
            "args" => Part::Args,
            "host" => Part::Host,
            "remote_addr" => Part::RemoteAddr,
            "scheme" => Part::Scheme,
            _ => {
                let arg = prefixed("arg_").map(|name| Part::Arg(name.to_owned()));
                let cookie = || prefixed("cookie_").map(|name| Part::Cookie(name.to_owned()));
                let http =
                    || prefixed("http_").map(|name| Part::Http(name.to_ascii_lowercase().replace('_', "-")));
                return arg.or_else(cookie).or_else(http);
            }
        })
    }
}

pub(super) const NAMES: &[&str] = &[];

pub(super) fn resolve(report: &mut Report, key: &str, raw: &Raw) -> SecureLink {
    let others = [("expression", &raw.expression), ("md5", &raw.md5), ("expires", &raw.expires)];
    if raw.word {
        for (name, _) in others.into_iter().filter(|(_, value)| value.is_some()) {
            report.mistake(&join(key, name), "has no effect: `word` is true", "remove it, or `word`");
        }
        return SecureLink::Word;
    }
    let expression = raw.expression.as_deref().map_or_else(|| Ok(Expression::default()), Expression::parse);
    let expression = expression.unwrap_or_else(|error| {
        let remedy = match error {
            ExpressionError::TooLong => "write a shorter one",
            ExpressionError::Unknown(_) => {
                "write $secret, $secure_link_expires, $uri, $args, $arg_NAME, $host, $remote_addr, $scheme, \
                 $cookie_NAME or $http_NAME"
            }
            ExpressionError::Open => "close the brace",
            ExpressionError::NoSecret => {
                "put the secret into the key file, and $secret where it stands in the expression"
            }
        };
        report.mistake(&join(key, "expression"), error.to_string(), remedy);
        Expression::default()
    });
    let (md5, expires) = (raw.md5.as_deref().unwrap_or("md5"), raw.expires.as_deref().unwrap_or("expires"));
    for (name, value) in [("md5", md5), ("expires", expires)] {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if value.is_empty() || value.len() > 64 || !value.bytes().all(fits) {
            let reason = format!("\"{}\" is no name of a parameter", value.escape_debug());
            report.mistake(&join(key, name), reason, "write 1 to 64 letters, digits, \"-\" and \"_\"");
        }
    }
    if md5 == expires {
        report.mistake(&join(key, "expires"), "is the name of the MD5 too", "give it another name");
    }
    SecureLink::Expression { expression, md5: md5.to_owned(), expires: expires.to_owned() }
}

/// A key's bytes: the word as it stands there.
pub(super) fn key(kind: KeyKind, text: &str) -> Result<Vec<u8>, KeyError> {
    shared_only(kind)?;
    super::plain(text)
}
