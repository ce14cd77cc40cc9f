//! Runs Debian's `wrk` for one round and reads what it prints. Called by the hit benchmark alone.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// How long wrk may take beyond the time it was asked to run.
const OVERTIME_MAX: Duration = Duration::from_secs(15);

/// One run of wrk: what is asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Client threads.
    pub(crate) threads: u32,
    /// Connections over all threads, each with one request in flight.
    pub(crate) connections: u32,
    /// How long requests are sent, in whole seconds.
    pub(crate) seconds: u32,
    /// Processors to run on, in `taskset -c` form; none leaves it to the kernel.
    pub(crate) cpus: Option<String>,
    /// The host that is asked for; none takes the address.
    pub(crate) host: Option<String>,
}

/// What wrk says about one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Requests completed.
    pub(crate) requests: u64,
    /// From the first to the last request, in seconds.
    pub(crate) seconds: f64,
    /// Bytes read, heads included; wrk rounds to three digits or so.
    pub(crate) bytes: f64,
    /// Connect, read, write and timeout errors together, and answers that were not 2xx or 3xx.
    pub(crate) errors: u64,
}

/// The version wrk names, or `None` when it is not installed.
pub(crate) async fn version() -> Option<String> {
    let output = Command::new("wrk").arg("-v").output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(1).map(str::to_owned)
}

/// Sends requests for one URL and waits for the end.
pub(crate) async fn run(load: &Load, url: &str) -> Result<Outcome> {
    let mut command = match &load.cpus {
        Some(cpus) => {
            let mut command = Command::new("taskset");
            command.args(["-c", cpus, "wrk"]);
            command
        }
        None => Command::new("wrk"),
    };
    if let Some(host) = &load.host {
        command.args(["-H", &format!("Host: {host}")]);
    }
    command
        .arg(format!("-t{}", load.threads))
        .arg(format!("-c{}", load.connections))
        .arg(format!("-d{}s", load.seconds))
        .args(["--timeout", "10s", url])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let time_max = Duration::from_secs(u64::from(load.seconds)) + OVERTIME_MAX;
    let output = tokio::time::timeout(time_max, command.output())
        .await
        .with_context(|| format!("wrk {url} did not end within {time_max:?}"))?
        .context("wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("wrk {url} ended with {}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    parse(&text).with_context(|| format!("wrk {url} printed:\n{text}"))
}

fn parse(text: &str) -> Result<Outcome> {
    let mut totals = None;
    let mut errors = 0;
    for line in text.lines().map(str::trim) {
        if let Some(counts) = line.strip_prefix("Socket errors:") {
            for count in counts.split(',') {
                let number = count.split_whitespace().nth(1).context("a socket error count")?;
                errors += number.parse::<u64>().context("a socket error count")?;
            }
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            errors += count.trim().parse::<u64>().context("the count of other responses")?;
        } else if let Some((requests, rest)) = line.split_once(" requests in ") {
            let (time, bytes) = rest.split_once(", ").context("time and bytes")?;
            let bytes = bytes.strip_suffix(" read").context("bytes read")?;
            totals = Some((requests.parse().context("requests")?, parse_time(time)?, parse_bytes(bytes)?));
        }
    }
    let (requests, seconds, bytes) = totals.context("no line with the number of requests")?;
    Ok(Outcome { requests, seconds, bytes, errors })
}

/// A time as wrk prints it, in seconds.
fn parse_time(text: &str) -> Result<f64> {
    // The longer unit first: "ms" also ends in "s".
    for (unit, factor) in [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)] {
        if let Some(Ok(number)) = text.strip_suffix(unit).map(str::parse::<f64>) {
            return Ok(number * factor);
        }
    }
    bail!("not a time: {text:?}")
}

/// A size as wrk prints it (its units are powers of 1024), in bytes.
fn parse_bytes(text: &str) -> Result<f64> {
    for (unit, power) in [("KB", 1), ("MB", 2), ("GB", 3), ("TB", 4), ("PB", 5), ("B", 0)] {
        if let Some(Ok(number)) = text.strip_suffix(unit).map(str::parse::<f64>) {
            return Ok(number * 1024_f64.powi(power));
        }
    }
    bail!("not a size: {text:?}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    const CLEAN: &str = "Running 3s test @ http://127.0.0.1:8080/x
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.02ms    2.00ms  40.00ms   95.00%
    Req/Sec    50.00k     2.00k   55.00k    70.00%
  301234 requests in 3.10s, 1.25GB read
Requests/sec:  97172.26
Transfer/sec:    412.00MB
";

    #[test]
    fn the_totals_are_read() {
        let outcome = parse(CLEAN).unwrap();
        assert_eq!(outcome.requests, 301_234);
        assert!((outcome.seconds - 3.1).abs() < 1e-9);
        assert!((outcome.bytes - 1.25 * 1024_f64.powi(3)).abs() < 1.0);
        assert_eq!(outcome.errors, 0);
    }

    #[test]
    fn errors_of_every_kind_are_counted() {
        let text = format!(
            "{CLEAN}  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 50000\n"
        );
        assert_eq!(parse(&text).unwrap().errors, 54_321);
    }

    #[test]
    fn other_units_are_read() {
        assert!((parse_time("1.50m").unwrap() - 90.0).abs() < 1e-9);
        assert!((parse_time("900.00ms").unwrap() - 0.9).abs() < 1e-9);
        assert!((parse_bytes("0.00B").unwrap()).abs() < 1e-9);
        assert!((parse_bytes("2.00MB").unwrap() - 2_097_152.0).abs() < 1e-9);
    }

    #[test]
    fn a_text_without_totals_is_an_error() {
        assert!(parse("unable to connect to 127.0.0.1:1 Connection refused\n").is_err());
        assert!(parse_time("soon").is_err());
        assert!(parse_bytes("many").is_err());
    }
}
