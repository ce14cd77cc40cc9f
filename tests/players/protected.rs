//! A node before the encrypted stream that lets nobody in without a token; and what its log, and its origin's, say of
//! tokens afterwards.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::browser::Page;
use crate::support::edge::{Edge, Setup};
use crate::support::encrypted::{EncryptedOrigin, INDEX};
use crate::support::signing::{KEY_HEX, OTHER_KEY_HEX, valid};

/// Words of which each is in any token, or beside it.
const MARKS: [&str; 3] = ["hdnts", "hdntl", "hmac"];

/// Hexadecimal digits of an HMAC-SHA256.
const MAC_DIGITS: usize = 64;

/// How the session token comes to what the playlists name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carry {
    /// As leading path segment.
    Path,
    /// As query parameter.
    Query,
    /// As a cookie.
    Cookie,
}

/// A node, its origin, and a page whose player may read what the node answers.
pub(crate) struct Protected {
    pub(crate) edge: Edge,
    pub(crate) origin: EncryptedOrigin,
    pub(crate) page: Page,
    /// Path and query that viewers are given.
    pub(crate) target: String,
}

impl Carry {
    fn word(self) -> &'static str {
        match self {
            Carry::Path => "path",
            Carry::Query => "query",
            Carry::Cookie => "cookie",
        }
    }

    /// Whether a player has to be told to keep and send cookies.
    pub(crate) fn needs_cookies(self) -> bool {
        self == Carry::Cookie
    }

    /// Whether an address that a playlist named has the session token as this says.
    fn is_in(self, url: &str) -> bool {
        let target = url.splitn(4, '/').nth(3).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match self {
            Carry::Path => path.starts_with("hdntl=") && MARKS.iter().all(|mark| !query.contains(mark)),
            Carry::Query => {
                query.split('&').filter(|pair| pair.starts_with("hdntl=")).count() == 1
                    && MARKS.iter().all(|mark| !path.contains(mark))
            }
            Carry::Cookie => MARKS.iter().all(|mark| !target.contains(mark)),
        }
    }
}

impl Protected {
    /// Starts all three. The token that viewers are given opens the multivariant playlist and nothing else: for the rest
    /// of the stream they need the session token that the node makes.
    pub(crate) async fn start(carry: Carry) -> Protected {
        let (origin, page) = (EncryptedOrigin::start().await, Page::start().await);
        let policy = format!(
            r#"
            [token.viewer]
            format = "edgeauth"
            keys = [{{ id = "k1", secret_file = "DIR/key" }}]
            carry = "{}"

            [token.viewer.session]
            keys = [{{ id = "s1", secret_file = "DIR/session" }}]
            name = "hdntl"
            "#,
            carry.word()
        );
        let credentials = carry.needs_cookies();
        let cors = format!("cors = {{ origins = [{:?}], credentials = {credentials} }}", page.origin());
        let edge = Setup::with_servers(&[origin.url()])
            .site(&format!("token = \"viewer\"\n{cors}"))
            .more(&policy)
            .file("key", KEY_HEX)
            .file("session", OTHER_KEY_HEX)
            .start()
            .await;
        Protected { edge, origin, page, target: format!("{INDEX}?hdnts={}", valid(INDEX)) }
    }

    /// The address of a path at the node.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.edge.http())
    }

    /// Ends the node. It refused nobody, and players asked it for everything that the stream is made of, with tokens of
    /// which neither its log nor its origin knows anything; `told` is where players have seen them.
    pub(crate) async fn assert_admitted_in_secret(self, told: &[&str]) {
        let (status, written) = self.edge.stop().await;
        assert!(status.success(), "{written}");
        let mut kinds = BTreeSet::new();
        for line in self.edge.access_lines() {
            // A player that ends leaves what it waits for.
            let is_served = line["status"].as_u64().is_some_and(|status| status < 400);
            assert!(is_served || line["aborted"] == Value::Bool(true), "{line}");
            assert_ne!(line["outcome"], "denied", "{line}");
            let text = line.to_string();
            assert!(MARKS.iter().all(|mark| !text.contains(mark)), "{line}");
            kinds.extend(line["kind"].as_str().map(str::to_owned));
        }
        for kind in ["multivariant_playlist", "media_playlist", "key", "init", "part", "segment"] {
            assert!(kinds.contains(kind), "{kind} is not among {kinds:?}");
        }
        let macs: BTreeSet<&str> = told.iter().flat_map(|text| macs(text)).collect();
        assert!(macs.len() > 1, "the given token and that of the session are not in {told:?}");
        for request in self.origin.recorded() {
            let text = request.text();
            let is_free = |mark: &&str| !text.contains(*mark);
            assert!(MARKS.iter().all(is_free) && macs.iter().all(is_free), "the origin was told {text}");
        }
        for mac in macs {
            assert!(!written.contains(mac), "{mac} in\n{written}");
        }
    }
}

/// What stands of tokens in a text that nobody could make without a key.
fn macs(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_hexdigit());
    // The `=` before it may stand as `%3D`.
    words.filter_map(|word| word.get(word.len().checked_sub(MAC_DIGITS)?..))
}

/// Every address but the first was named by a playlist, and has the session token where it is to be carried.
pub(crate) fn assert_carried(carry: Carry, asked: &[&str]) {
    let [_, named @ ..] = asked else { panic!("nothing was asked for") };
    let without: Vec<_> = named.iter().filter(|url| !carry.is_in(url)).collect();
    assert!(without.is_empty() && named.len() > 20, "{without:?} of {} addresses", named.len());
}
