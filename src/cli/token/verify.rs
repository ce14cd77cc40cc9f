//! `forebay token verify`: what a token says, and every reason for which the policy would refuse it.
//!
//! What the command line does not say of the request is not checked, and named. Uses up nothing.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::sync::Notify;

use super::REFUSED;
use super::policy::{Chosen, PolicyArgs};
use super::request::{Request, RequestArgs};
use super::said::{self, plain};
use super::subject::Subject;
use crate::admission::token::format::{KeyEvents, Refreshed};
use crate::admission::token::{Examined, Policy};
use crate::config::formats::Word;
use crate::reason::Reason;

/// What is verified, and by which policy.
#[derive(Args, Debug)]
#[command(
    after_help = "What is not given of the request (address, country, header, ...) is not checked, and a note says so. \
    Whether a token that is good once has been used, or been revoked, is not looked up."
)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    request: RequestArgs,
    /// Path, or URL, to verify a bare token for.
    #[arg(long)]
    path: Option<String>,
    /// URL or path with a token in it, a line `Cookie: ...` or of another header, or a bare token.
    #[arg(value_name = "URL|TOKEN")]
    subject: String,
}

/// Verifies; gives the exit code.
pub(super) fn verify(args: &VerifyArgs, now: u64, out: &mut impl Write) -> Result<u8> {
    let chosen = args.policy.load()?;
    let policy = chosen.policy();
    let subject = Subject::parse(&args.subject, args.path.as_deref(), &chosen.config, &policy)?;
    let request = Request::new(&args.request, &subject, &policy, chosen.geo.as_ref(), now)?;
    fetch_keys(&policy)?;
    let examined = match policy.examine(&request.presented()) {
        Ok(examined) => examined,
        Err(reason) => return refuse(&[reason], out),
    };
    // A path alone says nothing of the scheme: the one that the token is for counts.
    let other = || policy.examine(&request.over_tls());
    let examined = match &subject.target.site {
        site if site.is_empty() => fewest(examined, other().unwrap_or_default()),
        _ => examined,
    };
    let mut code = REFUSED;
    for token in &examined {
        if tell(token, &chosen, &args.request, &subject, &request, out)? == 0 {
            code = 0;
        }
    }
    Ok(code)
}

/// Prints what is to be said of one token.
fn tell(
    token: &Examined<'_>,
    chosen: &Chosen,
    args: &RequestArgs,
    subject: &Subject,
    request: &Request<'_>,
    out: &mut impl Write,
) -> Result<u8> {
    let of_session = token.by_session.then(|| plain(Word::EdgeAuth));
    let format = of_session.as_ref().unwrap_or(&chosen.config.format);
    if let Some(fields) = said::fields(format, &token.text) {
        said::print(&fields, out)?;
        let covered = said::covered(format, &token.text);
        let has_headers = !args.header.is_empty() || !args.cookie.is_empty();
        for (is_missing, what, remedy) in [
            (covered.path && !subject.path_is_given, "the path", "--path, or the URL"),
            (covered.host && subject.target.site.is_empty(), "the host", "a whole URL"),
            (covered.address && args.ip.is_none(), "the client's address", "--ip"),
            (covered.headers && !has_headers, "header fields", "--header, or --cookie"),
        ] {
            ensure!(!is_missing, "its signature covers {what}, which it does not say: give {remedy}");
        }
    }
    if token.by_session {
        writeln!(out, "note  it is a session token")?;
    }
    let (unsaid, refusals): (Vec<Reason>, Vec<Reason>) =
        token.refusals.iter().copied().partition(|reason| request.unsaid(*reason).is_some());
    let unsaid = unsaid.into_iter().filter(|reason| *reason != Reason::Path);
    let path = (!subject.path_is_given && token.verdict.is_ok()).then_some(Reason::Path);
    for (what, remedy) in unsaid.chain(path).filter_map(|reason| request.unsaid(reason)) {
        writeln!(out, "note  {what} was not checked: give {remedy}")?;
    }
    match &token.verdict {
        Ok(verdict) if refusals.is_empty() => {
            if verdict.terms.once || chosen.config.entitlement.once {
                writeln!(out, "note  it is good for one use: whether it has been used was not checked")?;
            }
            writeln!(out, "valid, signed with {}", chosen.key_name(&verdict.key_id))?;
            Ok(0)
        }
        _ => refuse(&refusals, out),
    }
}

/// Of two looks at the same tokens, the one with fewer refusals.
fn fewest<'a>(one: Vec<Examined<'a>>, other: Vec<Examined<'a>>) -> Vec<Examined<'a>> {
    let count = |examined: &[Examined<'_>]| examined.iter().map(|token| token.refusals.len()).sum::<usize>();
    let is_better = |other: &[Examined<'_>]| {
        let by_path = |examined: &[Examined<'_>]| {
            examined.iter().filter(|token| token.refusals.contains(&Reason::Path)).count()
        };
        (by_path(other), count(other)) < (by_path(&one), count(&one))
    };
    if !other.is_empty() && is_better(&other) { other } else { one }
}

fn refuse(reasons: &[Reason], out: &mut impl Write) -> Result<u8> {
    for reason in reasons {
        writeln!(out, "refused: {}: {}", reason.as_str(), reason.explanation())?;
    }
    Ok(REFUSED)
}

/// Fetches the keys of a policy that has some by URL, once. Where they do not come, its tokens are refused as
/// `unavailable`.
fn fetch_keys(policy: &Policy) -> Result<()> {
    let Some(source) = policy.key_source() else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the fetch of the keys")?;
    let fetched = Arc::new(Fetched(Notify::new()));
    runtime.block_on(async {
        let events = Arc::clone(&fetched);
        tokio::select! {
            () = source.run(events) => {}
            () = fetched.0.notified() => {}
        }
    });
    Ok(())
}

/// Told when the first fetch has ended.
struct Fetched(Notify);

impl KeyEvents for Fetched {
    fn changed(&self) {}

    fn refreshed(&self, _: Refreshed) {
        self.0.notify_one();
    }
}
