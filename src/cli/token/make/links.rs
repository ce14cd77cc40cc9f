//! Tokens that sign a URL, or part of one, and stand in it as parameters or as one short value: CloudFront, `secure_link`,
//! `url_sig`, Bunny, Cloudflare and Fastly.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, bail, ensure};
use http::HeaderMap;
use percent_encoding::percent_decode_str;

use super::patterns::prefix;
use super::{Job, Made};
use crate::admission::token::{Presented, bunny, cloudflare, cloudfront, fastly, secure_link, url_sig};
use crate::cli::token::order::Scope;
use crate::cli::token::target::Target;
use crate::config::formats;
use crate::config::formats::extent::Extent;
use crate::config::formats::secure_link::{Part, SecureLink};
use crate::config::model::TokenPlace;

/// Ends that formats with ten digits for a time can tell: the years 2001 to 2286.
const ENDS: std::ops::RangeInclusive<u64> = 1_000_000_000..=9_999_999_999;

pub(super) fn cloud_front(job: &Job<'_>) -> Result<Made> {
    let order = job.order;
    let end = job.end()?;
    let is_canned = order.start.is_none() && order.ip.is_none();
    let resource = match job.scope()? {
        Scope::One(_) => {
            let url = job.url()?;
            ensure!(
                !url.site.is_empty(),
                "--url {}: a token of \"cloudfront\" is for a URL: write scheme and host too",
                url.path
            );
            let whole = url.with(&url.path, url.query.as_deref());
            if is_canned {
                let claims = cloudfront::Claims::Canned { url: whole, expires: end };
                return Ok(Made::Parameters(cloudfront::sign(&claims, &job.key.id, job.secret())?));
            }
            whole
        }
        Scope::Patterns(patterns) => match patterns.as_slice() {
            [pattern] => {
                let site = job.target.map(|target| target.site.as_str()).filter(|site| !site.is_empty());
                format!("{}{pattern}", site.unwrap_or("http*://*"))
            }
            _ => bail!("--acl: a token of \"cloudfront\" has one pattern: sign one for each"),
        },
    };
    let moment = |seconds| cloudfront::Moment { seconds };
    let claims = cloudfront::Claims::Custom(cloudfront::Statement {
        resource,
        condition: cloudfront::Condition {
            end: moment(end),
            start: order.start.map(moment),
            address: order.network().map(|network| cloudfront::Source { network }),
        },
    });
    Ok(Made::Parameters(cloudfront::sign(&claims, &job.key.id, job.secret())?))
}

pub(super) fn secure_link(job: &Job<'_>, options: &SecureLink) -> Result<Made> {
    let order = job.order;
    let SecureLink::Expression { expression, md5, expires } = options else {
        ensure!(
            order.given_end(job.now).is_none(),
            "--exp, --expires-in: links with a word do not end: remove it"
        );
        ensure!(order.ip.is_none(), "--ip: links with a word are for everybody: remove it");
        let url = job.url()?;
        let whole = url.path.trim_start_matches('/').split_once('/');
        let (first, link) =
            whole.with_context(|| format!("{}: such links are /PREFIX/LINK: add a directory", url.path))?;
        return Ok(Made::Path(format!("/{first}/{}/{link}", secure_link::sign_link(link, job.secret()))));
    };
    let parts = expression.parts();
    let is_of_address = parts.contains(&Part::RemoteAddr);
    ensure!(
        is_of_address == order.ip.is_some(),
        "--ip: the policy's expression has {} $remote_addr: {}",
        if is_of_address { "a" } else { "no" },
        if is_of_address { "give the client's address" } else { "remove it" }
    );
    ensure!(
        expression.has_end() || order.given_end(job.now).is_none(),
        "--exp, --expires-in: the policy's expression has no $secure_link_expires: remove it"
    );
    let is_of_url =
        parts.iter().any(|part| matches!(part, Part::Uri | Part::Args | Part::Arg(_) | Part::Host));
    let url = if is_of_url { job.url()? } else { job.target.cloned().unwrap_or(Target::root()) };
    let normal = super::normal(&url.path)?;
    let headers: HeaderMap = order.header.iter().cloned().collect();
    let request = Presented {
        secure: url.is_secure(),
        host: url.authority(),
        normal: &normal,
        query: url.query.as_deref(),
        headers: &headers,
        client: order.address()?.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ..Presented::get(&url.path, job.now)
    };
    let end = ten_digits(job.end()?)?;
    Ok(Made::Parameters(secure_link::sign(expression, (md5, expires), &request, end, job.secret())))
}

pub(super) fn url_sig(job: &Job<'_>, options: &formats::url_sig::UrlSig) -> Result<Made> {
    let order = job.order;
    order.only_fields(&["P", "A"])?;
    let key = job.key.id.parse().ok().filter(|key| *key <= 15).with_context(|| {
        format!("key {}: a key of \"url_sig\" is named by its number, 0 to 15: write 0=FILE", job.key.id)
    })?;
    let algorithm = match order.own("A") {
        None | Some("1") => url_sig::Algorithm::Sha1,
        Some("2") => url_sig::Algorithm::Md5,
        Some(other) => bail!("--field A={other}: write 1 (HMAC-SHA1) or 2 (HMAC-MD5)"),
    };
    let scope = job.scope()?;
    let url = match (&scope, job.target) {
        (Scope::One(_), _) => job.url()?,
        (_, Some(target)) => target.clone(),
        // Only the directories that are signed count.
        (Scope::Patterns(_), None) => Target { path: directory(&scope)?.to_owned(), ..Target::root() },
    };
    let host = if url.site.is_empty() { "0" } else { "1" };
    let parts = match (order.own("P"), &scope) {
        (Some(parts), _) => parts.to_owned(),
        (None, Scope::One(_)) => format!("{host}1"),
        (None, Scope::Patterns(_)) => {
            let directories = directory(&scope)?.split('/').filter(|part| !part.is_empty()).count();
            format!("{host}{}0", "1".repeat(directories))
        }
    };
    let is_mask = parts.bytes().all(|digit| matches!(digit, b'0' | b'1')) && parts.contains('1');
    ensure!(
        is_mask,
        "P={parts} signs nothing of the URL: give --field P=1, a directory, or a URL with its host"
    );
    let expires = ten_digits(job.end()?)?;
    let claims = url_sig::Claims { client: order.address()?, expires, algorithm, key, parts };
    if job.place == TokenPlace::Query {
        let query = url.query.as_deref().filter(|query| !query.is_empty());
        return Ok(Made::Query(url_sig::sign(&claims, url.authority(), &url.path, query, job.secret())));
    }
    let target = job.target.context("a token in the path stands behind a directory: give the URL")?;
    ensure!(
        order.url.is_none(),
        "--url: a token in the path is for a directory: give --acl, or --place query"
    );
    let directory = directory(&scope)?.trim_end_matches('/');
    let rest = target.path.strip_prefix(directory).filter(|rest| rest.starts_with('/'));
    let rest = rest
        .with_context(|| format!("--acl {directory}/*: it does not cover {}: give another", target.path))?;
    let token = url_sig::sign_path(&claims, target.authority(), directory, &options.sig_anchor, job.secret());
    Ok(Made::Path(format!("{directory}{token}{rest}")))
}

pub(super) fn bunny(job: &Job<'_>, options: &formats::bunny::Bunny) -> Result<Made> {
    let order = job.order;
    order.only_fields(&["limit", "token_countries_blocked", "token_ignore_params"])?;
    ensure!(
        options.signatures.contains(&formats::bunny::Signature::Hs256),
        "the policy takes older signatures alone, which are not made: add \"hs256\" to `signatures`"
    );
    let ignore_params = match order.own("token_ignore_params") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => bail!("--field token_ignore_params={other}: write true, or remove it"),
    };
    let mut claims = bunny::Claims {
        expires: ten_digits(job.end()?)?,
        ip: order.address()?,
        countries: order.country.clone(),
        countries_blocked: order
            .own("token_countries_blocked")
            .iter()
            .flat_map(|list| list.split(','))
            .map(str::to_owned)
            .collect(),
        limit: match order.own("limit") {
            Some(limit) => {
                Some(limit.parse().ok().with_context(|| format!("--field limit={limit}: write kB/s"))?)
            }
            None => None,
        },
        ignore_params,
        ..bunny::Claims::default()
    };
    ensure!(
        !ignore_params
            || (claims.countries.is_empty() && claims.countries_blocked.is_empty() && claims.limit.is_none()),
        "--field token_ignore_params=true: countries and limit are not signed then: remove it, or them"
    );
    match job.scope()? {
        Scope::One(_) => claims.path = job.url()?.path,
        Scope::Patterns(patterns) => {
            let begins = match patterns.as_slice() {
                [pattern] => prefix(pattern).filter(|begins| options.plain_prefix || begins.ends_with('/')),
                _ => None,
            };
            let begins = begins.with_context(|| {
                format!(
                    "--acl {}: a token of \"bunny\" is for one directory: write DIRECTORY/*",
                    patterns.join(" ")
                )
            })?;
            claims.token_path = Some(percent_decode_str(begins).decode_utf8_lossy().into_owned());
        }
    }
    let query = job.target.and_then(|target| target.query.as_deref()).filter(|query| !query.is_empty());
    if job.place == TokenPlace::Query && !ignore_params {
        let decoded =
            |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            pair.split_once('=')
                .map_or((decoded(pair), String::new()), |(name, value)| (decoded(name), decoded(value)))
        };
        claims.parameters = pairs.map(pair).collect();
    }
    let token = bunny::sign(&claims, job.secret(), job.place);
    Ok(match (job.place, query) {
        (TokenPlace::Path, _) => Made::Segment(token),
        // The token's text repeats what it signs of the query.
        (_, Some(query)) if ignore_params => Made::Query(format!("{query}&{token}")),
        _ => Made::Query(token),
    })
}

pub(super) fn cloudflare(job: &Job<'_>, options: &formats::cloudflare::Cloudflare) -> Result<Made> {
    let url = of_extent(job, &options.extent)?;
    let ttl = options.ttl.as_secs();
    let issued = match job.order.given_end(job.now) {
        None => job.now,
        Some(end) => {
            let latest = job.now.saturating_add(ttl);
            ensure!(
                (job.now..=latest).contains(&end),
                "--exp, --expires-in: the policy's tokens are good for {ttl} s after their issue: give an end within that time"
            );
            end.saturating_sub(ttl)
        }
    };
    let name = job.chosen.config.names.first().map_or("", String::as_str);
    let host = url.authority().rsplit_once(':').map_or(url.authority(), |(host, _)| host);
    ensure!(!options.with_host || !host.is_empty(), "the policy's tokens are for a host: give a whole URL");
    let options = formats::cloudflare::Cloudflare {
        separator: options.separator.filter(|_| job.place == TokenPlace::Query),
        ..options.clone()
    };
    let link = cloudflare::Link { host, path: &url.path, name };
    let token = cloudflare::sign(&link, issued, job.secret(), &options)?;
    // In a query its letters mean something else.
    let in_query = job.place == TokenPlace::Query && job.target.is_some();
    let encoded = || token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    Ok(Made::Value(if in_query { encoded() } else { token }))
}

pub(super) fn fastly(job: &Job<'_>, options: &formats::fastly::Fastly) -> Result<Made> {
    let url = of_extent(job, &options.extent)?;
    Ok(Made::Value(fastly::sign(&url.path, job.end()?, job.secret(), options)?))
}

/// The URL that is signed; a prefix of the policy's own needs none.
fn of_extent(job: &Job<'_>, extent: &Extent) -> Result<Target> {
    match extent {
        Extent::Prefix(prefix) if job.target.is_none() && job.order.url.is_none() => {
            Ok(Target { path: prefix.clone(), ..Target::root() })
        }
        _ => job.url(),
    }
}

/// The directory that the one pattern of a scope stands for, with its last slash.
fn directory(scope: &Scope) -> Result<&str> {
    let found = match scope {
        Scope::Patterns(patterns) => match patterns.as_slice() {
            [pattern] => prefix(pattern).filter(|directory| directory.ends_with('/')),
            _ => None,
        },
        Scope::One(_) => None,
    };
    found.context("--acl: a token of \"url_sig\" is for one directory: write DIRECTORY/*")
}

fn ten_digits(end: u64) -> Result<u64> {
    ensure!(
        ENDS.contains(&end),
        "--exp {end}: the format has ten digits for it: give one of the years 2001 to 2286"
    );
    Ok(end)
}
