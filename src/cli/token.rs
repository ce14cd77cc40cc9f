//! `forebay token`: makes signed tokens and keys, and says what a token holds and whether it is good.
//!
//! Works on files and arguments alone; needs no configuration and no running node, and verifies with the very code
//! that admits requests. Exit codes: 0 done or valid, 1 refused, 64 arguments or files that cannot be used.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use percent_encoding::percent_decode_str;

use crate::admission::token::edgeauth::{self, Claims, Fields, Scope};
use crate::admission::token::{Policy, Reason, path_segment};
use crate::clock::Clock;
use crate::config::model::{Carry, Secret, TokenFormat, TokenKey, TokenPlace, TokenPolicy};

/// Exit code for arguments or files that cannot be used (`EX_USAGE`).
const UNUSABLE: u8 = 64;

/// Exit code for a token that is refused.
const REFUSED: u8 = 1;

/// Bytes of a new key; 16 are what EdgeAuth implementations take at most.
const NEW_KEY_BYTES: usize = 16;

/// Seconds since the Unix epoch at the end of the year 9999, the last that a date is printed for.
const DATE_MAX: u64 = 253_402_300_799;

/// Arguments of `forebay token`.
#[derive(Args, Debug)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand, Debug)]
enum TokenCommand {
    /// Print a signed token, or a URL that carries one as its leading path segment.
    Sign(SignArgs),
    /// Print what a token says and whether it is valid. Exit 0: valid, 1: refused.
    Verify(VerifyArgs),
    /// Print a new random key.
    Keygen,
}

#[derive(Args, Debug)]
struct SignArgs {
    /// File with the key, hexadecimal.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Path pattern it is for: `*` spans `/`, `?` is one character. May be repeated. Default: everything in the
    /// directory of TARGET.
    #[arg(long, value_name = "GLOB", conflicts_with = "url")]
    acl: Vec<String>,
    /// The one path it is for (a URL token).
    #[arg(long, value_name = "PATH")]
    url: Option<String>,
    /// Its life from now on, as in 90s, 30m, 1h, 7d.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    expires_in: Duration,
    /// Its end, in seconds since the Unix epoch.
    #[arg(long, value_name = "UNIX", conflicts_with = "expires_in")]
    exp: Option<u64>,
    /// Its start, in seconds since the Unix epoch.
    #[arg(long, value_name = "UNIX")]
    start: Option<u64>,
    /// The only client address it is for.
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// Session.
    #[arg(long)]
    id: Option<String>,
    /// Anything.
    #[arg(long)]
    data: Option<String>,
    /// Name of the token in the printed URL.
    #[arg(long, default_value = "hdnts", value_parser = token_name)]
    name: String,
    /// File with the salt of the policy.
    #[arg(long, value_name = "FILE")]
    salt_file: Option<PathBuf>,
    /// URL or path to sign; without it the bare token is printed.
    #[arg(value_name = "TARGET")]
    target: Option<String>,
}

#[derive(Args, Debug)]
struct VerifyArgs {
    /// File with a key, hexadecimal. May be repeated.
    #[arg(long, value_name = "FILE", required = true)]
    key_file: Vec<PathBuf>,
    /// Address of the client. Default: the one that the token names.
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// Time to verify for, in seconds since the Unix epoch. Default: now.
    #[arg(long, value_name = "UNIX")]
    at: Option<u64>,
    /// Clock difference tolerated, as in 30s.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    leeway: Duration,
    /// Path to verify a bare token for.
    #[arg(long)]
    path: Option<String>,
    /// Name that the token may have. May be repeated.
    #[arg(long, default_values = ["hdnts", "hdnea", "__hdnea__", "__token__"], value_parser = token_name)]
    name: Vec<String>,
    /// File with the salt of the policy.
    #[arg(long, value_name = "FILE")]
    salt_file: Option<PathBuf>,
    /// URL or path with a token in its path or query, or a bare token.
    #[arg(value_name = "URL|TOKEN")]
    subject: String,
}

/// Runs `forebay token`: results to standard output, one line on standard error for what cannot be used.
pub fn run(args: TokenArgs) -> ExitCode {
    let now = Clock::system().unix_seconds();
    let done = execute(args.command, now, &mut io::stdout().lock());
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "forebay token: {error:#}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn execute(command: TokenCommand, now: u64, out: &mut impl Write) -> Result<u8> {
    match command {
        TokenCommand::Sign(args) => sign(args, now, out),
        TokenCommand::Verify(args) => verify(&args, now, out),
        TokenCommand::Keygen => keygen(out),
    }
}

fn keygen(out: &mut impl Write) -> Result<u8> {
    let mut key = [0; NEW_KEY_BYTES];
    getrandom::fill(&mut key).context("the system gives no random bytes")?;
    writeln!(out, "{}", hex::encode(key))?;
    Ok(0)
}

fn sign(args: SignArgs, now: u64, out: &mut impl Write) -> Result<u8> {
    let key = read_key(&args.key_file)?;
    let salt = read_salt(args.salt_file.as_deref())?;
    let target = args.target.as_deref().map(Target::parse).transpose()?;
    let policy = policy(std::slice::from_ref(&key), salt.as_ref(), vec![args.name.clone()], Duration::ZERO);
    // A target that carries a token already gets the new one in its place.
    let path = target.as_ref().map(|target| policy.strip_path(&target.path).1);
    let expires = args.exp.unwrap_or(now.saturating_add(args.expires_in.as_secs()));
    let claims = Claims {
        scope: scope(args.acl, args.url, path)?,
        ip: args.ip,
        start: args.start,
        expires,
        id: args.id,
        data: args.data,
    };
    let start = claims.start.unwrap_or(0);
    ensure!(expires > start, "the token would end ({expires}) before it starts ({start}): give a later end");
    let token = edgeauth::sign(&claims, &key.secret.0, salt.as_ref().map(|salt| salt.0.as_slice()));
    let (Some(target), Some(path)) = (&target, path) else {
        writeln!(out, "{token}")?;
        return Ok(0);
    };
    let segment = path_segment(&args.name, &token);
    let signed = format!("{segment}{path}");
    let client = claims.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    if let Err(denied) = policy.admit(&signed, None, std::iter::empty(), client, expires.saturating_sub(1)) {
        bail!("the token would not admit {path}: {}", denied.reason.explanation());
    }
    let query = target.query.as_deref().map(|query| policy.strip_query(query));
    let query = query.filter(|query| !query.is_empty()).map_or(String::new(), |query| format!("?{query}"));
    writeln!(out, "{}{signed}{query}", target.site)?;
    Ok(0)
}

/// What the token is for: what was asked for, else the directory of the target.
fn scope(acl: Vec<String>, url: Option<String>, path: Option<&str>) -> Result<Scope> {
    if let Some(url) = url {
        ensure!(url.starts_with('/'), "--url {url}: a path begins with `/`");
        return Ok(Scope::Url(url));
    }
    if let Some(pattern) = acl.iter().find(|pattern| !pattern.starts_with(['/', '*', '?'])) {
        bail!("--acl {pattern}: no path matches it, since paths begin with `/`");
    }
    if !acl.is_empty() {
        return Ok(Scope::Acl(acl));
    }
    let path = path.context("nothing to sign: give --acl, --url, or a URL")?;
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    Ok(Scope::Acl(vec![format!("{directory}/*")]))
}

fn verify(args: &VerifyArgs, now: u64, out: &mut impl Write) -> Result<u8> {
    let keys = args.key_file.iter().map(|file| read_key(file)).collect::<Result<Vec<_>>>()?;
    let salt = read_salt(args.salt_file.as_deref())?;
    let policy = policy(&keys, salt.as_ref(), args.name.clone(), args.leeway);
    let subject = Subject::parse(args, &policy)?;
    let query = subject.target.query.as_deref();
    let text = match policy.token_text(&subject.target.path, query, std::iter::empty()) {
        Ok(text) => text,
        Err(reason) => return refuse(reason, out),
    };
    let text = readable(text);
    let fields = Fields::parse(&text);
    if let Some(fields) = &fields {
        print_claims(fields, out)?;
    }
    let claimed_ip = fields.as_ref().and_then(|fields| address(fields.ip?));
    let client = args.ip.or(claimed_ip).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    if args.ip.is_none() && claimed_ip.is_some() {
        writeln!(out, "note  the address was not checked: give --ip")?;
    }
    if !subject.path_is_given {
        writeln!(out, "note  the path was not checked: give --path")?;
    }
    let at = args.at.unwrap_or(now);
    match policy.admit(&subject.target.path, query, std::iter::empty(), client, at) {
        Ok(admitted) => {
            writeln!(out, "valid, signed with {}", admitted.key_id)?;
            Ok(0)
        }
        Err(denied) => refuse(denied.reason, out),
    }
}

fn refuse(reason: Reason, out: &mut impl Write) -> Result<u8> {
    writeln!(out, "refused: {}: {}", reason.as_str(), reason.explanation())?;
    Ok(REFUSED)
}

fn print_claims(fields: &Fields<'_>, out: &mut impl Write) -> io::Result<()> {
    let texts = [("ip", fields.ip), ("acl", fields.acl), ("id", fields.id), ("data", fields.data)];
    let times = [("st", fields.start), ("exp", Some(fields.expires))];
    for (name, time) in times.into_iter().filter_map(|(name, time)| Some((name, time?))) {
        match time {
            0..=DATE_MAX => {
                let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(time));
                writeln!(out, "{name:<5} {time} ({date})")?;
            }
            _ => writeln!(out, "{name:<5} {time}")?,
        }
    }
    for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text?))) {
        // The text is not authenticated yet: no control character of it reaches the terminal.
        writeln!(out, "{name:<5} {}", text.escape_debug())?;
    }
    Ok(())
}

/// A URL, taken apart: `site` is scheme and authority, empty for a path alone.
struct Target {
    site: String,
    path: String,
    query: Option<String>,
}

impl Target {
    fn parse(text: &str) -> Result<Self> {
        let uri: http::Uri = text
            .parse()
            .with_context(|| format!("`{text}` is no URL: percent-encode what a URL cannot hold"))?;
        let site = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme @ ("http" | "https")), Some(authority)) => format!("{scheme}://{authority}"),
            (None, None) => String::new(),
            _ => bail!("`{text}` is neither an http or https URL nor a path"),
        };
        ensure!(uri.path().starts_with('/'), "`{text}` is neither an http or https URL nor a path");
        Ok(Target { site, path: uri.path().to_owned(), query: uri.query().map(str::to_owned) })
    }
}

/// What is to be verified, brought into the form of a request.
struct Subject {
    target: Target,
    path_is_given: bool,
}

impl Subject {
    fn parse(args: &VerifyArgs, policy: &Policy) -> Result<Self> {
        let text = args.subject.trim();
        if text.starts_with('/') || text.starts_with("http://") || text.starts_with("https://") {
            ensure!(args.path.is_none(), "--path is for a bare token: the URL has a path already");
            return Ok(Subject { target: Target::parse(text)?, path_is_given: true });
        }
        let segment = if policy.is_token_name(text) {
            format!("/{text}")
        } else {
            format!("/{}={text}", args.name.first().map_or("hdnts", String::as_str))
        };
        let path = match &args.path {
            Some(path) => Cow::Borrowed(path.as_str()),
            None => Cow::Owned(some_path_for(&segment, policy)?),
        };
        ensure!(path.starts_with('/'), "--path {path}: a path begins with `/`");
        let target = Target { site: String::new(), path: format!("{segment}{path}"), query: None };
        Ok(Subject { target, path_is_given: args.path.is_some() })
    }
}

/// A path that the token's own pattern covers, for a token that is verified for no path in particular.
fn some_path_for(segment: &str, policy: &Policy) -> Result<String> {
    let text = policy.token_text(segment, None, std::iter::empty()).unwrap_or_default();
    let text = readable(text);
    let Some(fields) = Fields::parse(&text) else {
        return Ok("/".to_owned());
    };
    let acl = fields.acl.context("a URL token says nothing without its path: give --path")?;
    let acl = percent_decode_str(acl).decode_utf8_lossy();
    let pattern = acl.split('!').next().unwrap_or_default();
    // A literal `%` of the decoded pattern has to be encoded, since paths are decoded before they are matched.
    let path = pattern.replace('%', "%25").replace('*', "").replace('?', "x");
    Ok(if path.starts_with('/') { path } else { format!("/{path}") })
}

/// The text that holds the fields: as received, or with percent-encoding undone.
fn readable(text: &str) -> Cow<'_, str> {
    if Fields::parse(text).is_some() {
        return Cow::Borrowed(text);
    }
    percent_decode_str(text).decode_utf8_lossy()
}

fn address(claim: &str) -> Option<IpAddr> {
    percent_decode_str(claim).decode_utf8_lossy().parse().ok()
}

fn policy(keys: &[TokenKey], salt: Option<&Secret>, names: Vec<String>, leeway: Duration) -> Policy {
    Policy::from_config(&TokenPolicy {
        name: "command line".to_owned(),
        format: TokenFormat::EdgeAuth,
        keys: keys.to_vec(),
        names,
        places: vec![TokenPlace::Path, TokenPlace::Query],
        carry: Carry::Path,
        leeway,
        salt: salt.cloned(),
    })
}

fn read_key(file: &Path) -> Result<TokenKey> {
    let text = std::fs::read_to_string(file).with_context(|| format!("key file {}", file.display()))?;
    let secret = edgeauth::key_from_text(&text).with_context(|| format!("key file {}", file.display()))?;
    Ok(TokenKey { id: file.display().to_string(), secret: Secret(secret) })
}

fn read_salt(file: Option<&Path>) -> Result<Option<Secret>> {
    let Some(file) = file else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(file).with_context(|| format!("salt file {}", file.display()))?;
    ensure!(!text.trim().is_empty(), "salt file {}: it is empty", file.display());
    Ok(Some(Secret(text.trim().as_bytes().to_vec())))
}

/// A whole number with its unit: `s`, `m`, `h` or `d`.
fn duration(text: &str) -> Result<Duration, String> {
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

/// A name that can stand in a path, a query and a cookie as it is.
fn token_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_plain) {
        return Err(format!("`{text}` is no token name: use letters, digits, `-`, `_` and `.`"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
