//! `forebay token sign`: makes a token, and hands it out once the policy itself has admitted it.

use std::io::Write;

use anyhow::{Result, bail, ensure};
use clap::Args;

use super::make;
use super::order::OrderArgs;
use super::policy::{Chosen, PolicyArgs};
use super::request::{Request, RequestArgs};
use super::subject::Subject;
use super::target::Target;
use crate::admission::token::Policy;
use crate::config::model::{TokenBind, TokenPolicy};
use crate::config::territory::Territory;

/// What is signed, and by which policy.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  forebay token sign --key-file key https://live.example/live/ch1/index.m3u8\n  \
    forebay token sign --format jwt --private-key-file k1=k1.pem --set claims.path=glob --acl '/live/*'\n  \
    forebay token sign --config /etc/forebay/forebay.toml --policy viewer --expires-in 4h /live/ch1/index.m3u8\n\n\
    What is printed has been verified by the policy before. 64: nothing was signed."
)]
pub(super) struct SignArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    order: OrderArgs,
    /// Sign a session token, as a node of the policy makes it once a playlist has been opened.
    #[arg(long)]
    session: bool,
    /// URL or path to sign; without it the bare token is printed.
    #[arg(value_name = "TARGET")]
    target: Option<String>,
}

/// Signs; gives the exit code.
pub(super) fn sign(args: &SignArgs, now: u64, out: &mut impl Write) -> Result<u8> {
    let is_possible = !args.session || args.policy.is_of_configuration();
    ensure!(is_possible, "--session: session tokens are those of a policy in a configuration: give --config");
    let chosen = args.policy.load()?;
    // What is asked of every client says nothing about a token.
    let open = TokenPolicy { bind: TokenBind::default(), ..chosen.config.clone() };
    let policy = Policy::from_config(&open, 0);
    let target = args.target.as_deref().map(|target| without_token(target, &policy)).transpose()?;
    let target = target.as_ref();
    let printed = if args.session {
        make::session(&chosen, &args.order, target, now)?
    } else {
        make::token(&chosen, &args.order, target, now)?
    };
    check(args, &chosen, &policy, &printed, target, now)?;
    writeln!(out, "{printed}")?;
    Ok(0)
}

/// The target without any token: one that carries a token already gets the new one in its place.
fn without_token(target: &str, policy: &Policy) -> Result<Target> {
    let mut target = Target::parse(target)?;
    target.path = policy.strip_path(&target.path).1.into_owned();
    let query = target.query.take().map(|query| policy.strip_query(&query).into_owned());
    target.query = query.filter(|query| !query.is_empty());
    Ok(target)
}

/// Has the policy verify what was made, for the request that it is made for, a second before its end.
fn check(
    args: &SignArgs,
    chosen: &Chosen,
    policy: &Policy,
    printed: &str,
    target: Option<&Target>,
    now: u64,
) -> Result<()> {
    let order = &args.order;
    let is_session_life = args.session && order.given_end(now).is_none();
    let end = if is_session_life { now.saturating_add(1) } else { order.end(now)? };
    let request = RequestArgs {
        ip: order.ip.map(|network| network.addr()),
        at: Some(end.saturating_sub(1)),
        method: order.method.first().cloned(),
        header: order.header.clone(),
        country: order.country.iter().find_map(|code| Territory::parse(&code.to_ascii_uppercase())),
        ja4: order.ja4.clone(),
        ..RequestArgs::default()
    };
    let path = match target {
        Some(target) => Some(target.with(&target.path, target.query.as_deref())),
        None => order.url.clone(),
    };
    let path = path.filter(|_| !Target::is_meant(printed));
    let subject = Subject::parse(printed, path.as_deref(), &chosen.config, policy)?;
    let request = Request::new(&request, &subject, policy, chosen.geo.as_ref(), now)?;
    let refusals = match policy.examine(&request.presented()) {
        Ok(examined) => {
            examined.into_iter().map(|token| token.refusals).min_by_key(Vec::len).unwrap_or_default()
        }
        Err(reason) => vec![reason],
    };
    match refusals.into_iter().find(|reason| request.unsaid(*reason).is_none()) {
        None => Ok(()),
        Some(reason) => match target {
            Some(target) => bail!("the token would not admit {}: {}", target.path, reason.explanation()),
            None => bail!("the policy would not take the token: {}", reason.explanation()),
        },
    }
}
