//! What a format of tokens has to know: the one trait behind which each stands.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::terms::Answer;
use super::verdict::{Reuse, Verdict};
use super::{Presented, Terms};
use crate::reason::Reason;

/// How the tokens of a format stand in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// One value under one of the policy's names.
    Value,
    /// Several parameters that are the token together: of a query, joined by `&` in the order in which they stand there;
    /// of cookies, the same, the prefix taken off their names.
    Parameters {
        /// Their names in a query.
        names: Vec<String>,
        /// What stands before them in the names of cookies.
        cookie_prefix: &'static str,
        /// The name under which all of them may stand in the path: `/NAME=VALUE&...`.
        path_name: Option<&'static str>,
    },
}

/// A genuine token.
#[derive(Debug)]
pub struct Genuine {
    /// The key that verified it.
    pub key_id: Arc<str>,
    /// What it says.
    pub terms: Terms,
    /// What was signed beside its text.
    pub reuse: Reuse,
}

/// What becomes of an answer whose token is renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It gets these fields.
    Fields(Vec<(HeaderName, HeaderValue)>),
    /// This is sent in its place.
    Instead(Arc<Answer>),
}

/// A token in the middle of a path, as a format finds it there by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InPath<'p> {
    /// The token.
    pub token: &'p str,
    /// The path without it.
    pub rest: Cow<'p, str>,
}

/// The wire format of a token.
pub trait Format: fmt::Debug + Send + Sync {
    /// How its tokens stand in a request.
    fn form(&self) -> Form {
        Form::Value
    }

    /// Authenticates `token`, and says what it says. Its terms are evaluated by the caller, against each request.
    ///
    /// `token` is at most [`super::TOKEN_BYTES_MAX`] long. It is tried as received first and, after
    /// [`Reason::Malformed`] or [`Reason::BadMac`], once more with percent-encoding undone (not where it is several
    /// parameters: those the format decodes itself).
    ///
    /// # Errors
    /// The reason why it is not genuine, or why what it says cannot be held to.
    fn authenticate(&self, token: &str, request: &Presented<'_>) -> Result<Genuine, Reason>;

    /// Where a token that starts a path's leading segment ends: its length in bytes in `text`, which runs to the end
    /// of the path. The default is the segment's end; a format whose tokens hold `/` knows better.
    fn length_in_path(&self, text: &str) -> usize {
        text.find('/').unwrap_or(text.len())
    }

    /// A token that stands in a path without a name. The default finds none.
    fn find_in_path<'p>(&self, _path: &'p str) -> Option<InPath<'p>> {
        None
    }

    /// The token anew, for a request that it has admitted. Called where [`Terms::renews`] says so.
    fn renew(&self, _verdict: &Verdict, _request: &Presented<'_>) -> Option<Renewal> {
        None
    }

    /// Whether tokens may be renewed by cookie, so that a request comes with the token it was given and, in its URL or
    /// header, the one that the stream began with: the cookie is tried first, the other where it is refused.
    fn renews_by_cookie(&self) -> bool {
        false
    }

    /// What the format gets from outside while it runs, to be started once: keys by URL.
    fn source(&self) -> Option<Arc<dyn KeySource>> {
        None
    }
}

/// What came of asking for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// They are others than before.
    Changed,
    /// They are the same.
    Unchanged,
    /// They did not come.
    Failed,
}

impl Refreshed {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refreshed::Changed => "changed",
            Refreshed::Unchanged => "unchanged",
            Refreshed::Failed => "failed",
        }
    }
}

/// Who is told of keys that come from outside.
pub trait KeyEvents: Send + Sync {
    /// Other keys count from now on: what was verified with the old ones has to be forgotten.
    fn changed(&self);

    /// The keys have been asked for.
    fn refreshed(&self, refreshed: Refreshed);
}

/// Keys that come from outside, such as a JWKS by URL.
#[async_trait::async_trait]
pub trait KeySource: fmt::Debug + Send + Sync {
    /// Keeps the keys up to date for as long as the node runs, and tells `events`. Called once, on the control plane's
    /// runtime.
    async fn run(self: Arc<Self>, events: Arc<dyn KeyEvents>);

    /// Asks for the keys anew because a token has named one that is not known, and waits for the answer: one request at a
    /// time for all who wait, and none within a short while of the last. True: the keys have changed, and `events` has
    /// been told.
    async fn refresh(&self) -> bool;
}
