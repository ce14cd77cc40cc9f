//! What a token is ordered to say, whatever its format: the arguments of `forebay token sign`.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::request::field;
use super::target::Target;
use crate::admission::token::jws::json::Object;

/// How long a token is good where nothing is said.
const LIFE: Duration = Duration::from_secs(3600);

/// What a token says.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What the token says")]
pub(super) struct OrderArgs {
    /// Path pattern it is for: `*` spans `/`, `?` is one character. May be repeated. Default: everything in the
    /// directory of TARGET, where the format can say so.
    #[arg(long, value_name = "GLOB", conflicts_with = "url")]
    pub(super) acl: Vec<String>,
    /// The one path, or URL, it is for.
    #[arg(long, value_name = "PATH")]
    pub(super) url: Option<String>,
    /// Its life from now on, as in 90s, 30m, 1h, 7d. Default: 1h.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) expires_in: Option<Duration>,
    /// Its end, in seconds since the Unix epoch.
    #[arg(long, value_name = "UNIX", conflicts_with = "expires_in")]
    pub(super) exp: Option<u64>,
    /// Its start, in seconds since the Unix epoch.
    #[arg(long, value_name = "UNIX")]
    pub(super) start: Option<u64>,
    /// The only client address, or network, it is for.
    #[arg(long, value_name = "ADDRESS", value_parser = network)]
    pub(super) ip: Option<IpNet>,
    /// Session.
    #[arg(long)]
    pub(super) id: Option<String>,
    /// Whom it is for.
    #[arg(long)]
    pub(super) subject: Option<String>,
    /// Anything.
    #[arg(long)]
    pub(super) data: Option<String>,
    /// Streams that its subject may have at once.
    #[arg(long, value_name = "N")]
    pub(super) streams: Option<u32>,
    /// Method it is for. May be repeated.
    #[arg(long, value_name = "METHOD")]
    pub(super) method: Vec<String>,
    /// Country it is for, such as SE. May be repeated.
    #[arg(long, value_name = "CODE")]
    pub(super) country: Vec<String>,
    /// Header field that requests have to have. May be repeated.
    #[arg(long, value_name = "NAME: VALUE", value_parser = field)]
    pub(super) header: Vec<(HeaderName, HeaderValue)>,
    /// Further claims of jwt, cdni and cat, as a JSON object; they go before those that other arguments make.
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub(super) claims: Option<Object>,
    /// Field of the format's own. url_sig: `P=110` (parts that are signed), `A=2` (HMAC-MD5). bunny: `limit=KBPS`,
    /// `token_countries_blocked=RU,BY`, `token_ignore_params=true`. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) field: Vec<(String, String)>,
    /// JA4 fingerprint of the viewer's TLS client, for session tokens that are bound to it.
    #[arg(long, value_name = "FINGERPRINT", requires = "session")]
    pub(super) ja4: Option<String>,
    /// The key to sign with, by its name. Default: the first that signs.
    #[arg(long, value_name = "ID")]
    pub(super) key_id: Option<String>,
}

/// Arguments that not every format can express, by name.
pub(super) const OPTIONAL: [&str; 13] = [
    "--acl",
    "--url",
    "--start",
    "--ip",
    "--id",
    "--subject",
    "--data",
    "--streams",
    "--method",
    "--country",
    "--header",
    "--claims",
    "--field",
];

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Path patterns: `*` spans `/`, `?` is one character.
    Patterns(Vec<String>),
    /// One path or URL, as it was written.
    One(String),
}

impl OrderArgs {
    /// Whether an argument of [`OPTIONAL`] was given.
    pub(super) fn gives(&self, name: &str) -> bool {
        match name {
            "--acl" => !self.acl.is_empty(),
            "--url" => self.url.is_some(),
            "--start" => self.start.is_some(),
            "--ip" => self.ip.is_some(),
            "--id" => self.id.is_some(),
            "--subject" => self.subject.is_some(),
            "--data" => self.data.is_some(),
            "--streams" => self.streams.is_some(),
            "--method" => !self.method.is_empty(),
            "--country" => !self.country.is_empty(),
            "--header" => !self.header.is_empty(),
            "--claims" => self.claims.is_some(),
            "--field" => !self.field.is_empty(),
            _ => false,
        }
    }

    /// Its end, in seconds since the Unix epoch, where one was given; one among the claims goes before the others.
    pub(super) fn given_end(&self, now: u64) -> Option<u64> {
        let claimed = self.claims.as_ref().and_then(|claims| claims.get("exp")?.as_seconds(false));
        let given = self.exp.or_else(|| self.expires_in.map(|life| now.saturating_add(life.as_secs())));
        claimed.or(given)
    }

    /// Its end, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// It is not after the start.
    pub(super) fn end(&self, now: u64) -> Result<u64> {
        let end = self.given_end(now).unwrap_or(now.saturating_add(LIFE.as_secs()));
        let start = self.start.unwrap_or(0);
        ensure!(end > start, "the token would end ({end}) before it starts ({start}): give a later end");
        Ok(end)
    }

    /// What it is for: what was asked for, else the directory of the target.
    ///
    /// # Errors
    /// Nothing was, or what was is no path.
    pub(super) fn scope(&self, target: Option<&Target>) -> Result<Scope> {
        if let Some(url) = &self.url {
            ensure!(Target::is_meant(url), "--url {url}: a path begins with `/`");
            return Ok(Scope::One(url.clone()));
        }
        if let Some(pattern) = self.acl.iter().find(|pattern| !pattern.starts_with(['/', '*', '?'])) {
            bail!("--acl {pattern}: no path matches it, since paths begin with `/`");
        }
        if !self.acl.is_empty() {
            return Ok(Scope::Patterns(self.acl.clone()));
        }
        let target = target.context("nothing to sign: give --acl, --url, or a URL")?;
        Ok(Scope::Patterns(vec![format!("{}*", target.directory())]))
    }

    /// The one address it is for.
    ///
    /// # Errors
    /// It is a network.
    pub(super) fn address(&self) -> Result<Option<IpAddr>> {
        let Some(network) = self.ip else { return Ok(None) };
        let is_one = network.prefix_len() == network.max_prefix_len();
        ensure!(is_one, "--ip {network}: a token of this format is for one address: give an address");
        Ok(Some(network.addr()))
    }

    /// The network it is for, an address alone without its length.
    pub(super) fn network(&self) -> Option<String> {
        self.ip.map(|network| match network.prefix_len() == network.max_prefix_len() {
            true => network.addr().to_string(),
            false => network.to_string(),
        })
    }

    /// The value of a field of the format's own.
    pub(super) fn own(&self, name: &str) -> Option<&str> {
        self.field.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// That all fields of the format's own are among those that it has.
    ///
    /// # Errors
    /// One is not.
    pub(super) fn only_fields(&self, known: &[&str]) -> Result<()> {
        match self.field.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => {
                bail!("--field {name}: the format has no such field; it has: {}", known.join(", "))
            }
            None => Ok(()),
        }
    }
}

/// A whole number with its unit: `s`, `m`, `h` or `d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let remedy = || format!("`{text}` is no duration: write a whole number and s, m, h or d, as in 30m");
    let number = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let unit = match text.get(number.len()..) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3_600,
        Some("d") => 86_400,
        _ => return Err(remedy()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    seconds.map(Duration::from_secs).ok_or_else(remedy)
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().ok().map(IpNet::from);
    address.or_else(|| text.parse().ok()).ok_or_else(|| {
        format!("`{text}` is no address: write one such as 192.0.2.1, or a network such as 192.0.2.0/24")
    })
}

fn object(text: &str) -> Result<Object, String> {
    let remedy = "it is no JSON object, or holds a name twice: write {\"name\": \"value\", ...}";
    Object::parse(text.as_bytes()).ok_or_else(|| remedy.to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}`: write NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}
