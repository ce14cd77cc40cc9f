//! The limit on open descriptors: raised as far as it goes, and named where that is too low for `limits.connections`.
//!
//! Systems give a process a low limit to begin with, for programs that use `select`, and let it raise that to a hard one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that a node needs beside those of connections: listeners, files of disks and logs.
const BESIDE: u64 = 256;

/// Raises the limit of this process. Says so in the log where even the hard limit is too low for so many connections of viewers.
pub(super) fn raise(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|soft| limit.maximum.is_none_or(|hard| soft < hard))
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, "the limit on open descriptors cannot be raised to the hard one");
    }
    let needed = connections as u64 + BESIDE;
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "limits.connections is more than this process may have open: raise the hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
}
