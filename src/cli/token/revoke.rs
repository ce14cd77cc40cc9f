//! `forebay token revoke`, `restore` and `revocations`: has a running node refuse tokens although they are good.
//!
//! Decides nothing about revocations: what was typed is made into the request that the admin listener takes, and what the
//! node answers is printed. Exit codes: 0 done, 64 the node did not take the request, 74 it could not be reached or could
//! not do it.

use std::io::Write;

use anyhow::{Result, anyhow, bail};
use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use crate::cli::admin::{Answered, Node, NodeArgs, NodeError};

/// Exit status where the node cannot be reached or could not do it (`EX_IOERR` of sysexits).
const EXIT_FAILED: u8 = 74;

/// Whose tokens are refused, until when, and on which node.
#[derive(Args, Debug)]
#[command(
    after_help = "When the command ends with exit status 0, the node admits no request that begins afterwards by such \
    a token; other nodes of its fleet follow at once, or when they have reached Redis again. 64: the node did not take \
    the request. 74: it could not be reached, has no place for a further revocation, or could not note this one in its \
    file."
)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    named: Named,
    /// How long, as in 90s, 30m, 2h, 7d; at most 90d. Default: a day.
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "until")]
    life: Option<String>,
    /// Until when, in seconds since the Unix epoch.
    #[arg(long, value_name = "UNIX")]
    until: Option<u64>,
    #[command(flatten)]
    asked: Asked,
}

/// Which revocation is taken back.
#[derive(Args, Debug)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    asked: Asked,
}

/// Which node is asked for what it refuses.
#[derive(Args, Debug)]
pub(super) struct RevocationsArgs {
    /// Revocations printed at most, the latest first. 1 to 10000.
    #[arg(long, value_name = "N", default_value_t = crate::revoke::LISTED_DEFAULT)]
    limit: usize,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("named").required(true))]
struct Named {
    /// Session that tokens were made for.
    #[arg(long, value_name = "ID", group = "named")]
    session: Option<String>,
    /// Whom tokens were made for.
    #[arg(long, value_name = "ID", group = "named")]
    subject: Option<String>,
    /// Key that tokens are signed with, by its name.
    #[arg(long, value_name = "ID", group = "named")]
    key: Option<String>,
    /// The only token policy that this is about. Default: every one.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
}

#[derive(Args, Debug)]
struct Asked {
    /// Print the node's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

/// Revokes; gives the exit code.
pub(super) fn revoke(args: &RevokeArgs, out: &mut impl Write) -> Result<u8> {
    let mut order = args.named.order();
    if let Some(life) = &args.life {
        order["for"] = json!(life);
    }
    if let Some(until) = args.until {
        order["until"] = json!(until);
    }
    ask(&args.asked, out, |node| node.post("/tokens/revoke", Some(&order)))
}

/// Takes a revocation back; gives the exit code.
pub(super) fn restore(args: &RestoreArgs, out: &mut impl Write) -> Result<u8> {
    ask(&args.asked, out, |node| node.post("/tokens/restore", Some(&args.named.order())))
}

/// Lists revocations; gives the exit code.
pub(super) fn list(args: &RevocationsArgs, out: &mut impl Write) -> Result<u8> {
    ask(&args.asked, out, |node| node.get(&format!("/tokens/revocations?limit={}", args.limit)))
}

impl Named {
    /// The request's body.
    fn order(&self) -> Value {
        let fields = [
            ("session", &self.session),
            ("subject", &self.subject),
            ("key", &self.key),
            ("policy", &self.policy),
        ];
        let given =
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))));
        Value::Object(given.collect())
    }
}

fn ask(asked: &Asked, out: &mut impl Write, question: impl FnOnce(&Node) -> Result<Answered>) -> Result<u8> {
    let node = asked.node.node().map_err(|error| match error {
        NodeError::Configuration(mistakes) => anyhow!(mistakes),
        NodeError::Unusable(error) => error,
    })?;
    let failed = match question(&node) {
        Ok(answered) => {
            write_answer(asked.json, &answered.body, out)?;
            match answered.status {
                200 => return Ok(0),
                400 | 404 => bail!("{}", answered.refusal()),
                _ => answered.refusal(),
            }
        }
        Err(error) => format!("{error:#}"),
    };
    // Where standard error cannot be written to, the exit status still tells.
    let _ = writeln!(std::io::stderr().lock(), "forebay token: {failed}");
    Ok(EXIT_FAILED)
}

/// The whole document, or a line for each revocation.
fn write_answer(json: bool, body: &Value, out: &mut impl Write) -> std::io::Result<()> {
    if json && !body.is_null() {
        return writeln!(out, "{body}");
    }
    if body["status"].is_string() {
        return writeln!(out, "{}", line(body));
    }
    let Some(revocations) = body["revocations"].as_array() else {
        return Ok(());
    };
    for revocation in revocations {
        writeln!(out, "{}", line(revocation))?;
    }
    match body["total"].as_u64() {
        Some(total) if total > revocations.len() as u64 => {
            writeln!(out, "{} of {total} revocations", revocations.len())
        }
        _ => Ok(()),
    }
}

/// One revocation, and what became of it.
fn line(told: &Value) -> String {
    let field = |name: &str| Some(format!("{name} {}", told[name].as_str()?.escape_debug()));
    let named: Vec<String> = ["session", "subject", "key", "policy"].into_iter().filter_map(field).collect();
    let named = named.join(", ");
    let fleet = match told["fleet"].as_str() {
        Some("away") => "; the fleet is told when its Redis server is there again",
        _ => "",
    };
    match told["status"].as_str() {
        Some("restored") => format!("restored {named}{fleet}"),
        _ => format!("revoked {named}, until {}{fleet}", told["until"]),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn a_line_tells_what_a_revocation_came_to() {
        let written = |body: Value| {
            let mut out = Vec::new();
            write_answer(false, &body, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(json!({ "status": "revoked", "session": "s\n", "policy": "p", "until": 7 })),
            "revoked session s\\n, policy p, until 7\n"
        );
        assert_eq!(
            written(json!({ "status": "restored", "key": "k", "until": 7, "fleet": "away" })),
            "restored key k; the fleet is told when its Redis server is there again\n"
        );
        assert_eq!(
            written(json!({ "total": 2, "revocations": [{ "subject": "u", "until": 7 }] })),
            "revoked subject u, until 7\n1 of 2 revocations\n"
        );
        assert_eq!(written(Value::Null), "");
    }
}
