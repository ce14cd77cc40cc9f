//! `forebay purge`: has a running node expire or remove objects, over its admin listener.
//!
//! Decides nothing about purges: what was typed is made into the request that `POST /purge` takes, and what the node
//! answers is printed. Called by [`crate::cli`].

use std::io::Write;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use super::admin::{Answered, NodeArgs, NodeError};
use super::check::EXIT_BAD_CONFIGURATION;

/// Exit status where the purge is in force on this node and not on all that were waited for.
const EXIT_NOT_EVERYWHERE: u8 = 1;

/// Exit status where the node cannot be reached or could not do it (`EX_IOERR` of sysexits).
const EXIT_FAILED: u8 = 74;

/// What is purged, how, and on which node.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("named").required(true).multiple(true))]
#[command(
    after_help = "When the command ends with exit status 0, the purge is in force on this node: no request \
    that begins afterwards is answered by what was purged. Other nodes of its fleet are told; --wait returns when they \
    have applied it too. 1: nodes that were waited for have not, which are named. 64: the node did not take the request. 74: it could not be \
    reached, or a disk could not note the purge, which a restart may then forget."
)]
pub struct PurgeArgs {
    /// URL to purge, as viewers ask for it; all its variants go. May be repeated.
    #[arg(long, value_name = "URL", group = "named", conflicts_with_all = ["prefix", "tag", "site", "everything"])]
    url: Vec<String>,
    /// Beginning of what to purge: an absolute URL, or a path with --site.
    #[arg(long, value_name = "URL", group = "named", conflicts_with_all = ["tag", "everything"])]
    prefix: Option<String>,
    /// Tag that the origin gave answers (Cache-Tag, Surrogate-Key). May be repeated.
    #[arg(long, value_name = "TAG", group = "named", conflicts_with = "everything")]
    tag: Vec<String>,
    /// Site to purge, by its name or one of its hosts; with --tag or --prefix: the only site to look at.
    #[arg(long, value_name = "SITE", group = "named", conflicts_with = "everything")]
    site: Option<String>,
    /// Purge everything.
    #[arg(long, group = "named")]
    everything: bool,
    /// Never serve it again. Without it objects are expired: asked for again before they are served, and kept for when
    /// the origin fails.
    #[arg(long)]
    hard: bool,
    /// Only tell what would be purged, and how many objects in memory that is.
    #[arg(long)]
    dry_run: bool,
    /// Expire objects: what is done without --hard.
    #[arg(long, conflicts_with = "hard")]
    soft: bool,
    /// Wait until all nodes of the fleet have applied the purge, for as long as is given (10s), at most 30s.
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "10s",
        conflicts_with = "dry_run"
    )]
    wait: Option<String>,
    /// What the order is known by: given again with the same one, it is not done again.
    #[arg(long, value_name = "ID", conflicts_with = "dry_run")]
    id: Option<String>,
    /// Print the node's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

/// Does what was asked for.
pub fn run(args: &PurgeArgs) -> ExitCode {
    let node = match args.node.node() {
        Ok(node) => node,
        Err(NodeError::Configuration(mistakes)) => return fail(EXIT_BAD_CONFIGURATION, &mistakes),
        Err(NodeError::Unusable(error)) => {
            return fail(EXIT_BAD_CONFIGURATION, &format!("forebay purge: {error:#}"));
        }
    };
    let answered = match node.post("/purge", Some(&order(args))) {
        Ok(answered) => answered,
        Err(error) => return fail(EXIT_FAILED, &format!("forebay purge: {error:#}")),
    };
    // Where standard output cannot be written to, the exit status still tells.
    let _ = write_answer(args.json, &answered, &mut std::io::stdout().lock());
    match answered.status {
        200 => ExitCode::SUCCESS,
        202 => ExitCode::from(EXIT_NOT_EVERYWHERE),
        400 | 409 => fail(EXIT_BAD_CONFIGURATION, &format!("forebay purge: {}", answered.refusal())),
        _ => fail(EXIT_FAILED, &format!("forebay purge: {}", answered.refusal())),
    }
}

/// The request's body.
fn order(args: &PurgeArgs) -> Value {
    let mut order = json!({ "mode": if args.hard { "hard" } else { "soft" }, "dry_run": args.dry_run });
    if !args.url.is_empty() {
        order["url"] = json!(args.url);
    }
    if let Some(prefix) = &args.prefix {
        order["prefix"] = json!(prefix);
    }
    if !args.tag.is_empty() {
        order["tag"] = json!(args.tag);
    }
    if let Some(site) = &args.site {
        order["site"] = json!(site);
    }
    if args.everything {
        order["everything"] = json!(true);
    }
    if let Some(wait) = &args.wait {
        order["wait"] = json!(wait);
    }
    if let Some(id) = &args.id {
        order["id"] = json!(id);
    }
    order
}

/// The whole document, or a line for each target.
fn write_answer(json: bool, answered: &Answered, out: &mut impl Write) -> std::io::Result<()> {
    if json && !answered.body.is_null() {
        return writeln!(out, "{}", answered.body);
    }
    let mode = answered.body["mode"].as_str().unwrap_or_default();
    for target in answered.body["targets"].as_array().into_iter().flatten() {
        writeln!(out, "{}", line(target, mode))?;
    }
    for line in fleet_lines(&answered.body["fleet"]) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// What became of it on other nodes.
fn fleet_lines(fleet: &Value) -> Vec<String> {
    let names = |field: &str| {
        let names = fleet[field].as_array()?.iter().filter_map(Value::as_str).collect::<Vec<_>>();
        (!names.is_empty()).then(|| names.join(", ").escape_debug().to_string())
    };
    let text = |field: &str| fleet[field].as_str().unwrap_or_default().escape_debug().to_string();
    let mut lines = match fleet["told"].as_bool() {
        Some(true) => vec![format!("told to the fleet at {}", text("at"))],
        Some(false) => vec![format!("not told to the fleet yet: {}", text("reason"))],
        None => Vec::new(),
    };
    lines.extend(names("applied").map(|names| format!("applied by {names}")));
    lines.extend(names("missing").map(|names| format!("not applied by {names}")));
    lines
}

/// One target: what it came to, and what became of it.
fn line(target: &Value, mode: &str) -> String {
    let field = |name: &str| Some(format!("{name} {}", target[name].as_str()?.escape_debug()));
    let named: Vec<String> = ["url", "prefix", "tag", "site"].into_iter().filter_map(field).collect();
    let named = if named.is_empty() { "everything".to_owned() } else { named.join(", ") };
    if let Some(objects) = target["objects_in_memory"].as_u64() {
        return format!("would purge ({mode}) {named}: {objects} objects in memory, and those on disks");
    }
    if let Some(error) = target["disk_error"].as_str() {
        return format!("purged ({mode}) {named}, but a restart may forget it: {}", error.escape_debug());
    }
    format!("purged ({mode}) {named}, generation {}", target["generation"])
}

fn fail(code: u8, message: &str) -> ExitCode {
    // Where standard error cannot be written to, the exit status still tells.
    let _ = writeln!(std::io::stderr().lock(), "{message}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_what_became_of_it_on_other_nodes() {
        for (fleet, told) in [
            (json!(null), &[][..]),
            (json!({ "told": true, "at": "5-0" }), &["told to the fleet at 5-0"][..]),
            (
                json!({ "told": true, "at": "5-0", "applied": ["a", "b"], "missing": ["c"] }),
                &["told to the fleet at 5-0", "applied by a, b", "not applied by c"][..],
            ),
            (json!({ "told": false, "reason": "away" }), &["not told to the fleet yet: away"][..]),
        ] {
            assert_eq!(fleet_lines(&fleet), told);
        }
    }

    #[test]
    fn a_line_tells_what_a_target_came_to() {
        for (target, told) in [
            (
                json!({ "site": "a", "url": "/x", "generation": 3 }),
                "purged (soft) url /x, site a, generation 3",
            ),
            (json!({ "everything": true, "generation": 4 }), "purged (soft) everything, generation 4"),
            (
                json!({ "tag": "t", "objects_in_memory": 2 }),
                "would purge (soft) tag t: 2 objects in memory, and those on disks",
            ),
            (
                json!({ "site": "a", "disk_error": "/d: full" }),
                "purged (soft) site a, but a restart may forget it: /d: full",
            ),
        ] {
            assert_eq!(line(&target, "soft"), told);
        }
    }
}
