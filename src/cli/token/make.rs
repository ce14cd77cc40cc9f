//! Makes tokens: turns an order into what each format says, and the token into a URL or a line of a header.
//!
//! Decides which arguments a format can express and where its token stands; the bytes that are signed are the formats'
//! matter ([`crate::admission::token`]). Nothing that is made here is handed out before the policy itself has admitted it.

mod claims;
mod links;
mod patterns;
mod session;

use anyhow::{Context, Result, bail};

use super::order::{OPTIONAL, OrderArgs, Scope};
use super::policy::Chosen;
use super::subject::with_value;
use super::target::Target;
use crate::config::formats::Word;
use crate::config::formats::secure_link::SecureLink;
use crate::config::model::{TokenFormat, TokenKey, TokenPlace};
use crate::key::target;

pub(super) use session::session;

/// Optional arguments that each format can express.
const EXPRESSED: [(Word, &[&str]); 11] = [
    (Word::EdgeAuth, &["--acl", "--url", "--start", "--ip", "--id", "--data"]),
    (
        Word::Jwt,
        &[
            "--acl",
            "--url",
            "--start",
            "--ip",
            "--id",
            "--subject",
            "--streams",
            "--method",
            "--country",
            "--claims",
        ],
    ),
    (Word::Cdni, &["--acl", "--url", "--start", "--subject", "--claims"]),
    (
        Word::Cat,
        &[
            "--acl",
            "--url",
            "--start",
            "--ip",
            "--id",
            "--subject",
            "--method",
            "--country",
            "--header",
            "--claims",
        ],
    ),
    (Word::CloudFront, &["--acl", "--url", "--start", "--ip"]),
    (Word::SecureLink, &["--url", "--ip", "--header"]),
    (Word::UrlSig, &["--acl", "--url", "--ip", "--field"]),
    (Word::Bunny, &["--acl", "--url", "--ip", "--country", "--field"]),
    (Word::Cloudflare, &["--url"]),
    (Word::Fastly, &["--url"]),
    (Word::MediaCdn, &["--acl", "--url", "--start", "--ip", "--id", "--data", "--header"]),
];

/// What is to be signed, and with what.
struct Job<'a> {
    chosen: &'a Chosen,
    key: &'a TokenKey,
    order: &'a OrderArgs,
    /// The URL, without any token.
    target: Option<&'a Target>,
    place: TokenPlace,
    now: u64,
}

/// A token, as its format writes it.
enum Made {
    /// One value under the policy's first name.
    Value(String),
    /// Parameters of a query or, with their prefix, cookies.
    Parameters(String),
    /// All of the URL's query.
    Query(String),
    /// A leading segment of the path, with its slash in front.
    Segment(String),
    /// All of the path.
    Path(String),
}

/// Makes a token, in the URL where there is one: what is printed. `target` has no token.
///
/// # Errors
/// The order is one that the format cannot express, with the argument and what to do.
pub(super) fn token(chosen: &Chosen, order: &OrderArgs, target: Option<&Target>, now: u64) -> Result<String> {
    let format = &chosen.config.format;
    only_expressed(format.word(), order)?;
    let key = chosen.signing_key(order.key_id.as_deref())?;
    let place = place(chosen)?;
    let job = Job { chosen, key, order, target, place, now };
    let made = match format {
        TokenFormat::EdgeAuth(options) => patterns::edge_auth(&job, options)?,
        TokenFormat::MediaCdn(options) => patterns::media_cdn(&job, options)?,
        TokenFormat::Jwt(options) => claims::jwt(&job, options)?,
        TokenFormat::Cdni(options) => claims::cdni(&job, options)?,
        TokenFormat::Cat(options) => claims::cat(&job, options)?,
        TokenFormat::CloudFront(_) => links::cloud_front(&job)?,
        TokenFormat::SecureLink(options) => links::secure_link(&job, options)?,
        TokenFormat::UrlSig(options) => links::url_sig(&job, options)?,
        TokenFormat::Bunny(options) => links::bunny(&job, options)?,
        TokenFormat::Cloudflare(options) => links::cloudflare(&job, options)?,
        TokenFormat::Fastly(options) => links::fastly(&job, options)?,
    };
    Ok(job.written(made))
}

fn only_expressed(word: Word, order: &OrderArgs) -> Result<()> {
    let expresses = |known: Word, name: &str| {
        EXPRESSED.iter().any(|(other, names)| *other == known && names.contains(&name))
    };
    let Some(name) = OPTIONAL.into_iter().find(|name| order.gives(name) && !expresses(word, name)) else {
        return Ok(());
    };
    let why = match (word, name) {
        (Word::Cloudflare | Word::Fastly, "--acl") => {
            ": what of a path it covers is the policy's (--set directories=N, --set prefix=/live/)"
        }
        (Word::SecureLink, "--acl") => ": it covers what the policy's expression does",
        (Word::Cdni, "--ip") => ": the address of `cdniip` is encrypted; give it so, with --claims",
        _ => "",
    };
    let others = EXPRESSED.iter().filter(|(_, names)| names.contains(&name)).map(|(word, _)| word.as_str());
    let others = others.collect::<Vec<_>>().join(", ");
    bail!("{name}: a token of \"{}\" cannot say so{why}; remove it, or use one of: {others}", word.as_str())
}

/// The first of the policy's places in which the format can put a token.
fn place(chosen: &Chosen) -> Result<TokenPlace> {
    use TokenPlace::{Cookie, Path, PathParameter, Query};
    let format = &chosen.config.format;
    let fits = |place: TokenPlace| match format {
        TokenFormat::SecureLink(SecureLink::Word) => matches!(place, Path | PathParameter),
        TokenFormat::SecureLink(_) => place == Query,
        TokenFormat::UrlSig(_) => matches!(place, Query | Path | PathParameter),
        TokenFormat::Bunny(_) => matches!(place, Query | Path),
        TokenFormat::CloudFront(_) => matches!(place, Query | Cookie),
        _ => true,
    };
    chosen.config.places.iter().copied().find(|place| fits(*place)).with_context(|| {
        format!(
            "no token of \"{}\" can stand where the policy takes one: give --place",
            format.word().as_str()
        )
    })
}

/// A path with a path parameter behind its directory.
pub(super) fn behind(path: &str, parameter: &str) -> String {
    let (directory, rest) = path.rsplit_once('/').unwrap_or(("", path));
    format!("{directory}{parameter}/{rest}")
}

/// The normal form of a path.
///
/// # Errors
/// It has none.
fn normal(path: &str) -> Result<String> {
    let normal = target::path(path, true).ok();
    normal
        .map(std::borrow::Cow::into_owned)
        .with_context(|| format!("`{path}` is no path: percent-encode it"))
}

impl Job<'_> {
    fn scope(&self) -> Result<Scope> {
        self.order.scope(self.target)
    }

    fn end(&self) -> Result<u64> {
        self.order.end(self.now)
    }

    fn secret(&self) -> &[u8] {
        &self.key.bytes.0
    }

    /// The one URL that it is for: that of `--url`, else the target. A path alone is one of the target's site.
    fn url(&self) -> Result<Target> {
        let Some(url) = &self.order.url else {
            return self.target.cloned().context("nothing to sign: give --url, or a URL");
        };
        let Scope::One(url) = self.scope()? else { bail!("--url {url}: a path begins with `/`") };
        let mut url = Target::parse(&url)?;
        if let Some(target) = self.target {
            if url.site.is_empty() {
                url.site.clone_from(&target.site);
            }
            if url.query.is_none() && url.path == target.path {
                url.query.clone_from(&target.query);
            }
        }
        Ok(url)
    }

    /// Token and URL as they are printed.
    fn written(&self, made: Made) -> String {
        let name = self.chosen.config.names.first().map_or("", String::as_str);
        let cookies = |parameters: &str| {
            let pairs = parameters.split('&').map(|pair| format!("CloudFront-{pair}")).collect::<Vec<_>>();
            format!("Cookie: {}", pairs.join("; "))
        };
        let is_line = matches!(self.place, TokenPlace::Cookie | TokenPlace::Header);
        match (made, self.target) {
            (Made::Parameters(text), _) if is_line => cookies(&text),
            (Made::Value(token), None) if is_line => with_value(&Target::root(), self.place, name, &token),
            (Made::Value(token), Some(target)) => with_value(target, self.place, name, &token),
            (Made::Parameters(text), Some(target)) => {
                let mut target = target.clone();
                target.add_query(&text);
                target.with(&target.path, target.query.as_deref())
            }
            (Made::Query(text), Some(target)) => target.with(&target.path, Some(&text)),
            (Made::Segment(text), Some(target)) => {
                target.with(&format!("{text}{}", target.path), target.query.as_deref())
            }
            (Made::Path(text), Some(target)) => target.with(&text, target.query.as_deref()),
            (Made::Segment(text), None) => text.trim_start_matches('/').to_owned(),
            (Made::Value(text) | Made::Parameters(text) | Made::Query(text) | Made::Path(text), None) => text,
        }
    }
}
