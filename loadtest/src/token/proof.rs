//! Proof that a server holds viewers to their tokens: it opens a stream to its first segment with one, and nothing without.
//!
//! A run asks before its viewers come: a scenario with tokens against a server that does not look at them would
//! measure something else. It asks for at most a dozen objects, of one stream. What a player does with playlists is
//! the viewer's; here the first URI of each is enough.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use http::StatusCode;
use tokio::time::Instant;
use url::Url;

use super::{Mint, NAME};
use crate::fetch::{Body, Exchange, Fetch, Get, Outcome};
use crate::scenario::{Carry, Token};
use crate::viewer::purse::Purse;

/// The longest playlist that is read, in bytes.
const PLAYLIST_BYTES_MAX: usize = 1 << 20;

/// How many playlists lie one below the other at most: multivariant and media, and one to spare.
const DEPTH_MAX: usize = 3;

/// How long before now a token of the proof has ended, that is to be refused.
const ENDED_BEFORE: Duration = Duration::from_secs(3600);

/// The number of a viewer that there is not: whoever asks before the first one comes, and has the tokens of the proof.
pub(crate) const NOBODY: u32 = u32::MAX;

/// Asks a server that runs; `plain` is a title's entry without a token, and `now` the time of the wall clock.
pub(crate) async fn prove<F: Fetch>(
    fetch: &F,
    plain: &Url,
    (token, mint): (&Token, &Mint),
    now: SystemTime,
) -> Result<()> {
    let entry = plain.path();
    let without = ask(fetch, &Purse::empty(), plain, true).await;
    refused(&without, plain, "without a token")?;

    let other = entry.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned() + "-other/index.m3u8";
    for (text, what) in [
        (mint.ending(NOBODY, entry, now - ENDED_BEFORE), "with a token that has ended"),
        (mint.issue(NOBODY, &other, now), "with a token for another stream"),
        (forged(&mint.issue(NOBODY, entry, now)), "with a token whose signature is wrong"),
    ] {
        let purse = Purse::with(text, token.carry);
        let url = purse.entry(plain);
        refused(&ask(fetch, &purse, &url, true).await, &url, what)?;
    }

    let mut purse = Purse::with(mint.issue(NOBODY, entry, now), token.carry);
    let segment = follow(fetch, &mut purse, plain).await?;
    let bare = bare(&segment, token.carry);
    refused(&ask(fetch, &Purse::empty(), &bare, false).await, &bare, "without a token")?;
    fetch.leave();
    Ok(())
}

/// The token with another last digit of its signature.
fn forged(token: &str) -> String {
    let last = if token.ends_with('0') { "1" } else { "0" };
    token.get(..token.len().saturating_sub(1)).unwrap_or_default().to_owned() + last
}

/// Goes from the entry to the first segment, which comes whole; returns its URL.
async fn follow<F: Fetch>(fetch: &F, purse: &mut Purse, entry: &Url) -> Result<Url> {
    let mut url = purse.entry(entry);
    for _ in 0..DEPTH_MAX {
        let exchange = ask(fetch, purse, &url, true).await;
        granted(&exchange, &url)?;
        purse.take(&url, &exchange.headers);
        let text = std::str::from_utf8(&exchange.text).ok().filter(|text| text.starts_with("#EXTM3U"));
        let text = text.with_context(|| format!("{url}: is no playlist"))?;
        let uri = text.lines().find(|line| !line.is_empty() && !line.starts_with('#'));
        let uri = uri.with_context(|| format!("{url}: a playlist without anything in it"))?;
        url = url.join(uri.trim_end()).with_context(|| format!("{url}: names {uri}, which is no URI"))?;
        if !url.path().ends_with(".m3u8") {
            granted(&ask(fetch, purse, &url, false).await, &url)?;
            return Ok(url);
        }
    }
    bail!("{url}: more than {DEPTH_MAX} playlists one below the other")
}

async fn ask<F: Fetch>(fetch: &F, purse: &Purse, url: &Url, text: bool) -> Exchange {
    let mut fields = Vec::new();
    purse.fields(url, &mut fields);
    let body = if text { Body::Text { bytes_max: PLAYLIST_BYTES_MAX } } else { Body::Media };
    fetch.get(Get { url, range: None, fields: &fields, due: Instant::now(), body, progress: None }).await
}

fn granted(exchange: &Exchange, url: &Url) -> Result<()> {
    let good = exchange.outcome == Outcome::Whole && exchange.status == Some(StatusCode::OK);
    ensure!(good, "{url}: with a good token: {}, not a whole 200", told(exchange));
    Ok(())
}

fn refused(exchange: &Exchange, url: &Url, what: &str) -> Result<()> {
    let statuses = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::GONE];
    let refused = exchange.status.is_some_and(|status| statuses.contains(&status));
    ensure!(refused, "{url}: {what}: {}, not a refusal; does the server's site want tokens?", told(exchange));
    Ok(())
}

fn told(exchange: &Exchange) -> String {
    let status = exchange.status.map_or("no answer".to_owned(), |status| status.to_string());
    match exchange.outcome {
        Outcome::Whole => status,
        Outcome::Mismatch => format!("{status} with wrong bytes"),
        Outcome::Failed(failure) => format!("{status}, failed ({})", failure.as_str()),
    }
}

/// The URL without the token that is in it.
fn bare(url: &Url, carry: Carry) -> Url {
    let mut bare = url.clone();
    match carry {
        Carry::Path => {
            let path = url.path().trim_start_matches('/');
            if let Some((_, rest)) = path.split_once('/').filter(|_| path.starts_with(&format!("{NAME}="))) {
                bare.set_path(&format!("/{rest}"));
            }
        }
        Carry::Query => {
            let is_other = |pair: &&str| pair.split('=').next() != Some(NAME);
            let others: Vec<&str> = url.query().unwrap_or_default().split('&').filter(is_other).collect();
            bare.set_query(Some(&*others.join("&")).filter(|others| !others.is_empty()));
        }
        Carry::Cookie | Carry::Header => {}
    }
    bare
}

#[cfg(test)]
mod tests;
