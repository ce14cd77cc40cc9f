//! `forebay explain`: why a request would be answered as it is, by a configuration file, without a node.
//!
//! Decides nothing: [`crate::explain`] does. Called by [`crate::cli`]; [`offline`] is what `forebay check --cases` asks
//! too.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Args;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use prometheus::Registry;

use super::check::EXIT_BAD_CONFIGURATION;
use crate::clock::Clock;
use crate::config::Config;
use crate::explain::question::{self, Question};
use crate::explain::{Explanation, Limits, RuleTold, explain};
use crate::origin::{OriginFamilies, Origins, Own};
use crate::site::Sites;
use crate::tier::Identity;

/// What is asked.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The configuration file.
    #[arg(long, short, env = "FOREBAY_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// The absolute URL that a viewer asks for.
    #[arg(value_name = "URL")]
    url: String,
    /// The method.
    #[arg(long, value_name = "METHOD", default_value = "GET", value_parser = question::method)]
    method: Method,
    /// Field of the request, 'Name: value'. May be repeated.
    #[arg(long, value_name = "FIELD", value_parser = question::field)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// Status that the origin answers with.
    #[arg(long, value_name = "STATUS", default_value = "200", value_parser = status)]
    status: StatusCode,
    /// Field of the origin's answer, 'Name: value'. May be repeated.
    #[arg(long, value_name = "FIELD", value_parser = question::field)]
    response_header: Vec<(HeaderName, HeaderValue)>,
    /// File with the playlist or DASH manifest that the origin answers with.
    #[arg(long, value_name = "FILE")]
    playlist: Option<PathBuf>,
    /// Address of the client, for a token that is bound to one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    client: IpAddr,
    /// Time of request and answer, in seconds since the Unix epoch. Default: now.
    #[arg(long, value_name = "UNIX", value_parser = clap::value_parser!(u64).range(..=TIME_MAX))]
    at: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The latest time that can be asked about, in Unix seconds: the end of the year 9999.
pub(super) const TIME_MAX: u64 = 253_402_300_799;

/// The sites of a configuration that no node runs by, and its text.
pub(super) struct Offline {
    sites: Sites,
    limits: Limits,
    text: String,
}

/// Does what was asked for.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let config = match crate::config::load(&args.config) {
        Ok(config) => config,
        Err(mistakes) => return fail(&mistakes.to_string()),
    };
    let told = offline(&args.config, &config).and_then(|sites| Ok(sites.explain(&args.question()?)));
    match told {
        Ok(told) => {
            // A reader that has gone is no fault of ours.
            let _ = write(args.json, &told, &mut std::io::stdout().lock());
            ExitCode::SUCCESS
        }
        Err(error) => fail(&format!("forebay explain: {error:#}")),
    }
}

/// Makes the sites of a configuration ready to be asked.
///
/// # Errors
/// When an origin group cannot be set up.
pub(super) fn offline(file: &Path, config: &Config) -> Result<Offline> {
    let families = OriginFamilies::new(&Registry::new())?;
    let own = Own {
        told: config.fleet.peers.as_ref().and_then(|peers| peers.own.clone()),
        name: config.fleet.name.clone(),
        listeners: config.server.listeners().collect(),
    };
    let origins = Origins::of(config, (&own, &Arc::new(Identity::default())), &families)?;
    Ok(Offline {
        sites: Sites::new(config, &origins),
        limits: Limits::of(config),
        // Only the lines of rules are looked up in it.
        text: std::fs::read_to_string(file).unwrap_or_default(),
    })
}

impl Offline {
    /// Explains, with the lines of rules.
    pub(super) fn explain(&self, question: &Question) -> Explanation {
        let mut told = explain(&self.sites, &self.limits, question);
        let line = |rule: &mut RuleTold| rule.line = Some(crate::config::line_of(&self.text, &rule.place));
        told.request_rule.as_mut().map(line);
        told.answer.as_mut().and_then(|answer| answer.rule.as_mut()).map(line);
        told
    }
}

impl ExplainArgs {
    fn question(&self) -> Result<Question> {
        let at = self.at.map_or_else(|| Clock::system().now(), |at| UNIX_EPOCH + Duration::from_secs(at));
        let mut question = Question::new(&self.url, at).map_err(anyhow::Error::msg)?;
        question.method = self.method.clone();
        question.headers.extend(self.header.iter().map(|(name, value)| (Some(name.clone()), value.clone())));
        question.status = self.status;
        let fields = self.response_header.iter().map(|(name, value)| (Some(name.clone()), value.clone()));
        question.response_headers.extend(fields);
        question.client = self.client;
        question.playlist = self.playlist.as_deref().map(playlist).transpose()?;
        Ok(question)
    }
}

/// Reads a playlist from a file.
///
/// # Errors
/// When it cannot be read, or is longer than any that a node reads.
pub(super) fn playlist(file: &Path) -> Result<Vec<u8>> {
    let place = || format!("playlist {}", file.display());
    let length = std::fs::metadata(file).with_context(place)?.len();
    ensure!(length <= PLAYLIST_BYTES_MAX, "{}: is longer than 64MiB", place());
    std::fs::read(file).with_context(place)
}

/// Bytes of a playlist: the most that `limits.playlist` may be.
const PLAYLIST_BYTES_MAX: u64 = 64 << 20;

fn status(text: &str) -> Result<StatusCode, String> {
    text.parse().map_err(|_| format!("\"{text}\" is no status")).and_then(question::status)
}

fn write(json: bool, told: &Explanation, out: &mut impl Write) -> std::io::Result<()> {
    if json {
        return writeln!(out, "{}", serde_json::to_string_pretty(told).unwrap_or_default());
    }
    write!(out, "{told}")
}

fn fail(message: &str) -> ExitCode {
    // Where standard error cannot be written to, the exit status still tells.
    let _ = writeln!(std::io::stderr().lock(), "{message}");
    ExitCode::from(EXIT_BAD_CONFIGURATION)
}
