//! The trace of a run: a line for each request of each viewer, when it is made. Two runs with the same seed are the same when each
//! viewer has the same sequence of lines, apart from their times.
//!
//! A line is `VIEWER DUE_MS KIND METHOD PATH [RANGE]`. Tokens and CMCD are not part of the path: they follow from the clock.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::time::Instant;
use url::Url;

use crate::content::MEDIA;
use crate::fetch::{Exchange, Fetch, Get, GivenUp};

/// The file. Clones write to the same one, a line at a time.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    out: Arc<Mutex<Out>>,
    epoch: Instant,
}

#[derive(Debug)]
struct Out {
    file: BufWriter<File>,
    /// Why not everything is in the file.
    failed: Option<io::Error>,
}

/// What a viewer asks with, and each request in the trace, if there is one.
#[derive(Debug)]
pub(crate) struct Traced<F> {
    fetch: F,
    viewer: u32,
    trace: Option<Trace>,
}

// === impl Trace ===

impl Trace {
    /// A new file; times are from `epoch` on.
    pub(crate) fn create(path: &Path, epoch: Instant) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write the trace {}", path.display()))?;
        let out = Out { file: BufWriter::new(file), failed: None };
        Ok(Self { out: Arc::new(Mutex::new(out)), epoch })
    }

    fn note(&self, viewer: u32, get: &Get<'_>) {
        let due_ms = get.due.saturating_duration_since(self.epoch).as_millis();
        let path = path(get.url);
        let mut line = format!("{viewer} {due_ms} {} GET {path}", kind(&path));
        if let Some((first, last)) = get.range {
            line += &format!(" {first}-{}", last.map_or_else(String::new, |last| last.to_string()));
        }
        line.push('\n');
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // What cannot be written is told when the file is finished.
        if let Err(error) = out.file.write_all(line.as_bytes()) {
            out.failed.get_or_insert(error);
        }
    }

    /// Writes what is held in memory still.
    pub(crate) fn finish(&self) -> Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let flushed = out.file.flush();
        match out.failed.take() {
            Some(error) => Err(error),
            None => flushed,
        }
        .context("the trace is not whole")
    }
}

/// The path below what a token put before it, with the directives of a playlist (RFC 8216bis, section 6.2.5) and no other query.
fn path(url: &Url) -> String {
    let path = url.path();
    let mut path = path[path.rfind(MEDIA).unwrap_or_default()..].to_owned();
    let directives = url.query().unwrap_or_default().split('&').filter(|pair| pair.starts_with("_HLS_"));
    for (at, directive) in directives.enumerate() {
        path.push(if at == 0 { '?' } else { '&' });
        path += directive;
    }
    path
}

/// What is asked for, as its path says it; the word is that of the rows.
fn kind(path: &str) -> &'static str {
    let (path, directives) = path.split_once('?').unwrap_or((path, ""));
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "m3u8" if directives.contains("_HLS_msn=") => "reload",
        "m3u8" if name == "index.m3u8" => "multivariant",
        "m3u8" => "playlist",
        "key" => "key",
        "mp4" => "init",
        // MSN.PART.BYTES.m4s
        "m4s" if name.split('.').count() == 4 => "part",
        _ => "segment",
    }
}

// === impl Traced ===

impl<F> Traced<F> {
    pub(crate) fn new(fetch: F, viewer: u32, trace: Option<Trace>) -> Self {
        Self { fetch, viewer, trace }
    }
}

impl<F: Fetch> Fetch for Traced<F> {
    // The future is the inner one, so that a trace costs no memory for a viewer who waits.
    fn get(&self, get: Get<'_>) -> impl Future<Output = Exchange> {
        if let Some(trace) = &self.trace {
            trace.note(self.viewer, &get);
        }
        self.fetch.get(get)
    }

    fn leave(&self) {
        self.fetch.leave();
    }

    fn take_dropped(&self) -> Vec<GivenUp> {
        self.fetch.take_dropped()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::time::Duration;

    use super::*;
    use crate::fetch::{Body, Cache};

    /// Somebody who has dropped seven bytes.
    struct Dropper;

    impl Fetch for Dropper {
        async fn get(&self, _: Get<'_>) -> Exchange {
            std::future::pending().await
        }

        fn leave(&self) {}

        fn take_dropped(&self) -> Vec<GivenUp> {
            let due = Instant::now();
            vec![GivenUp { due, first_byte: None, cache: Cache::Unknown, bytes: 7, connected: true }]
        }
    }

    #[test]
    fn what_was_dropped_is_passed_on() {
        assert_eq!(Traced::new(Dropper, 1, None).take_dropped()[0].bytes, 7);
    }

    #[test]
    fn a_line_says_who_when_and_what_but_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace");
        let epoch = Instant::now();
        let trace = Trace::create(&file, epoch).unwrap();
        let asks = [
            ("http://a/exp=1~hmac=2/media/live/a/index.m3u8", None),
            ("http://a/media/live/a/v0.m3u8?token=x&_HLS_msn=7&CMCD=y&_HLS_part=2", None),
            ("http://a/media/live/a/v0.m3u8?token=x", None),
            ("http://a/media/live/a/v0/init.700.mp4", Some((0, None))),
            ("http://a/media/live/a/v0/7.1234.m4s", Some((10, Some(19)))),
            ("http://a/media/live/a/v0/7.1.234.m4s", None),
        ];
        for (at, (url, range)) in asks.into_iter().enumerate() {
            let due = epoch + Duration::from_micros(1_500 * at as u64);
            trace.note(
                9,
                &Get {
                    url: &url.parse().unwrap(),
                    range,
                    fields: &[],
                    due,
                    body: Body::Media,
                    progress: None,
                },
            );
        }
        trace.finish().unwrap();
        let expected = "\
            9 0 multivariant GET /media/live/a/index.m3u8\n\
            9 1 reload GET /media/live/a/v0.m3u8?_HLS_msn=7&_HLS_part=2\n\
            9 3 playlist GET /media/live/a/v0.m3u8\n\
            9 4 init GET /media/live/a/v0/init.700.mp4 0-\n\
            9 6 segment GET /media/live/a/v0/7.1234.m4s 10-19\n\
            9 7 part GET /media/live/a/v0/7.1.234.m4s\n";
        assert_eq!(std::fs::read_to_string(file).unwrap(), expected);
    }

    #[test]
    fn a_trace_that_does_not_fit_is_an_error_at_its_end() {
        let epoch = Instant::now();
        let trace = Trace::create(Path::new("/dev/full"), epoch).unwrap();
        let url = "http://a/media/live/a/index.m3u8".parse().unwrap();
        for viewer in 0..1_000 {
            trace.note(
                viewer,
                &Get { url: &url, range: None, fields: &[], due: epoch, body: Body::Media, progress: None },
            );
        }
        assert!(format!("{:#}", trace.finish().unwrap_err()).contains("not whole"));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = Trace::create(Path::new("/no/such/folder/trace"), Instant::now()).unwrap_err();
        assert!(format!("{error:#}").contains("/no/such/folder/trace"), "{error:#}");
    }
}
