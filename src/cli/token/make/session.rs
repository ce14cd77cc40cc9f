//! Session tokens, as a node of the policy makes them once a playlist has been opened.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::admission::token::session::sign;
use crate::admission::token::terms::{Claims, Terms};
use crate::admission::token::{Presented, TOKEN_BYTES_MAX};
use crate::cli::token::order::{OPTIONAL, OrderArgs};
use crate::cli::token::policy::{Chosen, signing_key};
use crate::cli::token::subject::with_value;
use crate::cli::token::target::Target;
use crate::config::model::TokenPlace;

/// Random bytes of a session that nobody has named.
const ID_BYTES: usize = 12;

/// What a session token can be ordered to say.
const EXPRESSED: [&str; 6] = ["--acl", "--ip", "--id", "--subject", "--streams", "--claims"];

/// Makes a session token for the directory of a path, in the URL.
///
/// # Errors
/// The policy has no session, or the order is not one for it.
pub(in crate::cli::token) fn session(
    chosen: &Chosen,
    order: &OrderArgs,
    target: Option<&Target>,
    now: u64,
) -> Result<String> {
    let known = chosen.config.session.as_ref();
    let mut config =
        known.cloned().context("--session: the policy makes no session tokens: add `session` to it")?;
    if let Some(name) = OPTIONAL.into_iter().find(|name| order.gives(name) && !EXPRESSED.contains(name)) {
        bail!("{name}: a session token cannot say so: remove it");
    }
    ensure!(
        config.scope_of_token || order.acl.is_empty(),
        "--acl: session tokens of the policy open the directory of TARGET: remove it, or set scope = \"token\""
    );
    let target = target.context("--session: give the URL, or path, of the playlist")?;
    ensure!(
        config.bind_address == order.ip.is_some(),
        "--ip: session tokens of the policy are {}",
        if config.bind_address {
            "bound to an address: give it"
        } else {
            "not bound to an address: remove it"
        }
    );
    ensure!(
        config.bind_tls == order.ja4.is_some(),
        "--ja4: session tokens of the policy are {}",
        if config.bind_tls {
            "bound to a fingerprint: give it"
        } else {
            "not bound to a fingerprint: remove it"
        }
    );
    config.keys = vec![signing_key(&config.keys, order.key_id.as_deref())?.clone()];
    if let Some(end) = order.given_end(now) {
        ensure!(end > now, "the token would end ({end}) before now ({now}): give a later end");
        config.life = Duration::from_secs(end - now);
    }
    let claims = order.claims.iter().flat_map(|claims| claims.iter());
    let terms = Terms {
        session: Some(order.id.clone().map_or_else(random, Ok)?),
        subject: order.subject.clone(),
        streams: order.streams,
        acl: Some(order.acl.join("!")).filter(|acl| !acl.is_empty()),
        claims: Claims::new(claims.filter_map(|(name, value)| Some((name, value.scalar()?)))),
        ..Terms::default()
    };
    let normal = super::normal(&target.path)?;
    let request = Presented::get(&normal, now);
    let client = order.address()?.unwrap_or(request.client);
    let request = Presented { client, ja4: order.ja4.as_deref(), ..request };
    let token = sign(&config, terms, &request).with_context(|| {
        format!(
            "there is no session token for {}: its directory holds `*`, `?` or `!`, or the token would be longer than \
             {TOKEN_BYTES_MAX} bytes",
            target.path
        )
    })?;
    Ok(with_value(target, TokenPlace::Path, &config.name, &token))
}

/// A name that nobody else has.
pub(super) fn random() -> Result<String> {
    let mut id = [0; ID_BYTES];
    getrandom::fill(&mut id).context("the system gives no random bytes")?;
    Ok(hex::encode(id))
}
