//! An origin whose objects carry a tag and a version: `/t17/5.m4s` has the tag `t17`, and its body is the number of times
//! that tag has been changed. It serves many small answers; everything may be kept for a day.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::runtime::Runtime;

use crate::origin::{answer_heads, threads_and_listener};

/// Bytes of a body: the version, padded.
pub(super) const BODY_BYTES: usize = 64;

/// The running origin; dropping it closes its connections.
#[derive(Debug)]
pub(super) struct Origin {
    address: SocketAddr,
    versions: Arc<[AtomicU64]>,
    runtime: Option<Runtime>,
}

impl Origin {
    /// Starts the origin with so many tags on a port of 127.0.0.1 that the kernel chooses.
    pub(super) fn start(tags: u64) -> Result<Origin> {
        let (runtime, listener, address) = threads_and_listener("tagged-origin")?;
        let versions: Arc<[AtomicU64]> = (0..tags).map(|_| AtomicU64::new(0)).collect();
        let told = Arc::clone(&versions);
        runtime.spawn(answer_heads(listener, move |head| answer(head, &told)));
        Ok(Origin { address, versions, runtime: Some(runtime) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes all objects of a tag; gives their version from now on.
    pub(super) fn change(&self, tag: u64) -> u64 {
        self.versions[tag as usize].fetch_add(1, Ordering::SeqCst) + 1
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The path of an object of a tag.
pub(super) fn path_of(tag: u64, number: u64) -> String {
    format!("/t{tag}/{number}.m4s")
}

/// The version that a body tells.
pub(super) fn version_of(body: &[u8]) -> Option<u64> {
    std::str::from_utf8(body).ok()?.trim_end().parse().ok()
}

fn answer(head: &[u8], versions: &[AtomicU64]) -> String {
    let tag = || {
        let path = std::str::from_utf8(head).ok()?.split(' ').nth(1)?;
        path.strip_prefix("/t")?.split('/').next()?.parse::<usize>().ok()
    };
    match tag().and_then(|tag| Some((tag, versions.get(tag)?))) {
        Some((tag, version)) => format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\nCache-Control: max-age=86400\r\nCache-Tag: t{tag}\r\n\r\n\
             {:<BODY_BYTES$}",
            version.load(Ordering::SeqCst)
        ),
        None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn an_answer_tells_its_tag_and_version() {
        let versions = [AtomicU64::new(0), AtomicU64::new(7)];
        let told = answer(b"GET /t1/5.m4s HTTP/1.1\r\n\r\n", &versions);
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Cache-Tag: t1"), "{head}");
        assert_eq!((body.len(), version_of(body.as_bytes())), (BODY_BYTES, Some(7)));
        assert!(answer(b"GET /t2/5.m4s HTTP/1.1\r\n\r\n", &versions).starts_with("HTTP/1.1 404"));
        assert!(answer(b"GET /x HTTP/1.1\r\n\r\n", &versions).starts_with("HTTP/1.1 404"));
    }
}
