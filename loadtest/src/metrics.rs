//! Reads single figures from the metrics that the node tells (Prometheus text format) on its admin listener.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How often a figure is read while it is waited for.
const INTERVAL: Duration = Duration::from_millis(20);

/// The value of a sample, given as it stands in the text: `name{label="value"}`. `None` when there is none.
pub(crate) async fn sample(admin: SocketAddr, name: &str) -> Result<Option<f64>> {
    let text = tokio::time::timeout(ANSWER_MAX, scrape(admin))
        .await
        .with_context(|| format!("{admin}: no metrics within {ANSWER_MAX:?}"))?
        .with_context(|| format!("the metrics of {admin}"))?;
    Ok(find(&text, name))
}

/// Waits until a sample is at least `least`, or has not grown for `settled`; returns the last value. A missing sample
/// counts as zero.
pub(crate) async fn settle(admin: SocketAddr, name: &str, least: f64, settled: Duration) -> Result<f64> {
    let (mut last, mut grown_at) = (0.0, Instant::now());
    loop {
        let value = sample(admin, name).await?.unwrap_or_default();
        if value > last {
            (last, grown_at) = (value, Instant::now());
        }
        if value >= least || grown_at.elapsed() >= settled {
            return Ok(value);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn scrape(admin: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{}", head.lines().next().unwrap_or_default());
    let chunked = head.to_ascii_lowercase().contains("\r\ntransfer-encoding:");
    ensure!(!chunked, "an answer in chunks, which is not understood here");
    Ok(body.to_owned())
}

fn find(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn a_sample_is_found_by_its_whole_name() {
        let text =
            "# HELP a_b x\n# TYPE a_b gauge\na_b{tier=\"disk\"} 12\na_b{tier=\"disk2\"} 13\na_bc 1.5e3 99\n";
        assert_eq!(find(text, "a_b{tier=\"disk\"}"), Some(12.0));
        assert_eq!(find(text, "a_bc"), Some(1500.0));
        assert_eq!(find(text, "a_b"), None);
        assert_eq!(find(text, "a"), None);
    }
}
