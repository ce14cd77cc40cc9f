//! `forebay check FILE --cases CASES`: a table of requests, and what is expected to become of each by a configuration.
//!
//! A case is a `[[case]]`: `url`, and where they matter `method`, `headers`, `client` and `at` (Unix seconds) of the
//! request, `status`, `response_headers` and `playlist` (a file beside the cases, or the text itself) of the origin's
//! answer, and `expect`. What is expected is compared with what `forebay explain` tells; what is not there is `none`.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use http::HeaderMap;
use serde::Deserialize;
use toml::Spanned;

use super::check::EXIT_BAD_CONFIGURATION;
use super::explain::{self, Offline, TIME_MAX};
use crate::clock::Clock;
use crate::config::{Config, units};
use crate::explain::Explanation;
use crate::explain::question::{self, Question};

/// Bytes of a file with cases.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Exit status where not every case holds.
const EXIT_DIFFERENT: u8 = 1;

/// What stands for what is not there.
const NONE: &str = "none";

/// A file with cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Spanned<Case>>,
}

/// One case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    client: Option<IpAddr>,
    at: Option<u64>,
    status: Option<u16>,
    #[serde(default)]
    response_headers: BTreeMap<String, String>,
    playlist: Option<String>,
    expect: Expect,
}

/// What is expected of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// `store`, `pass`, `bypass`, `denied`, `preflight`, `steering` or `unknown`.
    cache: Option<String>,
    /// Why: a word.
    reason: Option<String>,
    /// Status of a refusal.
    status: Option<u16>,
    /// The site's name.
    site: Option<String>,
    /// `valid`, or the word of the reason.
    token: Option<String>,
    /// The asset's kind.
    kind: Option<String>,
    /// The rule that decides about the answer; where there is none to decide about, that of the request.
    rule: Option<String>,
    /// The text of the key.
    key: Option<String>,
    /// What the origin is asked for.
    target: Option<String>,
    /// Freshness left when the answer comes.
    ttl: Option<String>,
    /// What names it: a word.
    ttl_from: Option<String>,
    /// RFC 5861 section 3.
    stale_while_revalidate: Option<String>,
    /// RFC 5861 section 4.
    stale_if_error: Option<String>,
    /// `Cache-Control` as viewers get it.
    viewer_cache_control: Option<String>,
}

/// A difference.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    line: usize,
    url: String,
    what: &'static str,
    expected: String,
    found: String,
}

/// Compares every case with a configuration. All hold: a line on standard output, and status 0. Not all: a line for each
/// difference on standard error, and status 1. A file that cannot be used: status 64.
pub(super) fn check(
    config_file: &Path,
    config: &Config,
    cases_file: &Path,
    out: &mut impl Write,
    err: &mut impl Write,
) -> std::io::Result<ExitCode> {
    let name = cases_file.display();
    let compared = explain::offline(config_file, config).and_then(|sites| compare(&sites, cases_file));
    let (count, differences) = match compared {
        Ok(compared) => compared,
        Err(error) => {
            writeln!(err, "{error:#}")?;
            return Ok(ExitCode::from(EXIT_BAD_CONFIGURATION));
        }
    };
    if differences.is_empty() {
        writeln!(out, "{name}: {count} case{} hold{}", plural(count, "s", ""), plural(count, "", "s"))?;
        return Ok(ExitCode::SUCCESS);
    }
    for Difference { line, url, what, expected, found } in &differences {
        writeln!(err, "{name}:{line}: {url}: {what}: expected \"{expected}\", found \"{found}\"")?;
    }
    Ok(ExitCode::from(EXIT_DIFFERENT))
}

fn plural(count: usize, many: &'static str, one: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// The number of cases, and every difference.
fn compare(sites: &Offline, file: &Path) -> Result<(usize, Vec<Difference>)> {
    let place = || file.display().to_string();
    let length = std::fs::metadata(file).with_context(place)?.len();
    ensure!(length <= FILE_BYTES_MAX, "{}: is longer than 4MiB", place());
    let text = std::fs::read_to_string(file).with_context(place)?;
    let line_at = |byte: usize| text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1;
    let cases: File = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(span.start));
        anyhow::anyhow!("{}:{line}: {}", place(), error.message().replace('\n', ", "))
    })?;
    ensure!(!cases.case.is_empty(), "{}: there is no case; add [[case]] with url and expect", place());
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut differences = Vec::new();
    for case in &cases.case {
        let line = line_at(case.span().start);
        let case = case.get_ref();
        let at = || format!("{}:{line}", place());
        let told = sites.explain(&case.question(folder).with_context(at)?);
        let found = case.expect.differences(&told).with_context(at)?;
        let difference = |(what, expected, found)| {
            let url = case.url.escape_debug().to_string();
            Difference { line, url, what, expected, found }
        };
        differences.extend(found.into_iter().map(difference));
    }
    Ok((cases.case.len(), differences))
}

impl Case {
    fn question(&self, folder: &Path) -> Result<Question> {
        ensure!(self.at.is_none_or(|at| at <= TIME_MAX), "at: is past the year 9999");
        let at = self.at.map_or_else(|| Clock::system().now(), |at| UNIX_EPOCH + Duration::from_secs(at));
        let named = |what: &'static str| move |reason: String| anyhow::anyhow!("{what}: {reason}");
        let mut question = Question::new(&self.url, at).map_err(named("url"))?;
        if let Some(method) = &self.method {
            question.method = question::method(method).map_err(named("method"))?;
        }
        if let Some(status) = self.status {
            question.status = question::status(status).map_err(named("status"))?;
        }
        question.headers = fields(&self.headers).map_err(named("headers"))?;
        question.response_headers = fields(&self.response_headers).map_err(named("response_headers"))?;
        question.client = self.client.unwrap_or(question.client);
        question.playlist = match self.playlist.as_deref() {
            Some(text) if text.starts_with("#EXTM3U") => Some(text.as_bytes().to_vec()),
            Some(file) => Some(explain::playlist(&folder.join(file))?),
            None => None,
        };
        Ok(question)
    }
}

fn fields(written: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    written.iter().map(|(name, value)| question::named_field(name, value)).collect()
}

impl Expect {
    /// What is expected otherwise: the name, what was expected, what was found.
    fn differences(&self, told: &Explanation) -> Result<Vec<(&'static str, String, String)>> {
        let answer = told.answer.as_ref();
        let rule = answer.map_or(told.request_rule.as_ref(), |answer| answer.rule.as_ref());
        let text = |text: Option<&str>| text.map(str::to_owned);
        let token = told.token.as_ref().map(|token| if token.valid { "valid" } else { &token.word });
        let told_texts = [
            ("cache", &self.cache, text(Some(told.cache))),
            ("reason", &self.reason, text(told.reason)),
            ("site", &self.site, told.site.clone()),
            ("token", &self.token, text(token)),
            ("kind", &self.kind, text(told.kind)),
            ("rule", &self.rule, rule.map(|rule| rule.place.clone())),
            ("key", &self.key, told.key.clone()),
            ("target", &self.target, told.origin.as_ref().map(|origin| origin.target.clone())),
            ("ttl_from", &self.ttl_from, text(answer.and_then(|answer| answer.ttl_from))),
            (
                "viewer_cache_control",
                &self.viewer_cache_control,
                answer.and_then(|answer| answer.viewer_cache_control.clone()),
            ),
        ];
        let told_times = [
            ("ttl", &self.ttl, answer.and_then(|answer| answer.ttl_seconds)),
            (
                "stale_while_revalidate",
                &self.stale_while_revalidate,
                answer.and_then(|answer| answer.stale_while_revalidate_seconds),
            ),
            ("stale_if_error", &self.stale_if_error, answer.and_then(|answer| answer.stale_if_error_seconds)),
        ];
        let expected = told_texts.iter().any(|(_, expected, _)| expected.is_some())
            || told_times.iter().any(|(_, expected, _)| expected.is_some());
        ensure!(
            expected || self.status.is_some(),
            "expect: is empty; expect something, such as cache = \"store\""
        );
        let mut differences = Vec::new();
        let mut differ = |what, expected: &str, found: Option<String>| {
            let found = found.unwrap_or_else(|| NONE.to_owned());
            if expected != found {
                differences.push((what, expected.to_owned(), found));
            }
        };
        for (what, expected, found) in told_texts {
            if let Some(expected) = expected {
                differ(what, expected, found);
            }
        }
        for (what, expected, seconds) in told_times {
            if let Some(expected) = expected {
                differ(what, &as_shown(what, expected)?, seconds.map(shown));
            }
        }
        if let Some(status) = self.status {
            differ("status", &status.to_string(), told.status.map(|status| status.to_string()));
        }
        Ok(differences)
    }
}

/// A duration in the form in which it is shown, so that `60s` is `1m`.
fn as_shown(what: &str, written: &str) -> Result<String> {
    if written == NONE {
        return Ok(NONE.to_owned());
    }
    let duration = units::duration(written).with_context(|| format!("expect.{what}"))?;
    Ok(units::show_duration(duration))
}

fn shown(seconds: f64) -> String {
    units::show_duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests;
