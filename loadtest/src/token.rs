//! Tokens for viewers, made here: the signing half of what the node verifies, and the site that wants them. It shares no code
//! with the node; the format is an open one (Akamai EdgeAuth 2.0, HMAC-SHA256), and its vectors are in the tests.
//!
//! Decides what a token says and when it ends. How it goes with requests is decided by [`crate::viewer::purse`].

pub(crate) mod proof;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::scenario::{Carry, Token};

/// Name of the token in paths, queries and header fields.
pub(crate) const NAME: &str = "hdnts";

/// What these tokens are, for who is to check them. A test holds that it names the key.
pub(crate) const FORMAT: &str =
    "EdgeAuth 2.0, named hdnts, HMAC-SHA256 with the key 52a152a152a152a152a152a152a1";

/// Name of the cookie that the server sets in its place, where tokens go by cookie.
pub(crate) const SESSION_NAME: &str = "hdntl";

/// The signing key of all runs, in hexadecimal: it protects nothing.
const KEY_HEX: &str = "52a152a152a152a152a152a152a1";

/// The key of the server's own tokens.
const SESSION_KEY_HEX: &str = "9d0c41e57a3b62f8146e0fb7d95a2c83";

/// The files with the keys, which stand beside the server's configuration.
const KEY_FILE: &str = "loadtest.key";
const SESSION_KEY_FILE: &str = "loadtest-session.key";

/// Who gives out the tokens of a run, as a portal does.
#[derive(Clone, Debug)]
pub(crate) struct Mint {
    lifetime: Duration,
    /// When all tokens end that are given out before.
    wave: Option<SystemTime>,
    key: Vec<u8>,
}

// === impl Mint ===

impl Mint {
    pub(crate) fn new(token: &Token, wall_epoch: SystemTime) -> Self {
        let wave = token.wave_at.map(|at| wall_epoch + at);
        // The key is a constant in hexadecimal; a test holds that.
        Self { lifetime: token.lifetime, wave, key: hex::decode(KEY_HEX).unwrap_or_default() }
    }

    /// A token for a viewer, for everything below the folder of the entry. Its end is a whole second of the wall clock:
    /// the first one at or after the time that the scenario says.
    pub(crate) fn issue(&self, viewer: u32, entry: &str, now: SystemTime) -> String {
        self.ending(viewer, entry, self.wave.filter(|wave| now < *wave).unwrap_or(now + self.lifetime))
    }

    /// The same, with this end.
    fn ending(&self, viewer: u32, entry: &str, end: SystemTime) -> String {
        let since = end.duration_since(UNIX_EPOCH).unwrap_or_default();
        let end = since.as_secs() + u64::from(since.subsec_nanos() > 0);
        let folder = entry.rfind('/').map_or("/", |end| &entry[..=end]);
        self.signed(&format!("exp={end}~acl={folder}*~id=viewer-{viewer}"))
    }

    /// The fields and their signature: HMAC-SHA256 over the text before `~hmac=`, in lower-case hexadecimal.
    fn signed(&self, fields: &str) -> String {
        // HMAC takes keys of any length.
        let code = Hmac::<Sha256>::new_from_slice(&self.key)
            .map(|mac| mac.chain_update(fields).finalize().into_bytes());
        format!("{fields}~hmac={}", code.map(hex::encode).unwrap_or_default())
    }
}

/// The site and the policy that want these tokens, for the node's configuration (in front of an origin `main`), and files that
/// stand beside it by name. A token that has ended is answered 410, any other refusal 403.
pub(crate) fn site(token: &Token) -> (String, Vec<(String, String)>) {
    let mut files = vec![(KEY_FILE.to_owned(), KEY_HEX.to_owned())];
    let (place, carry) = match token.carry {
        Carry::Path => ("path", "path"),
        Carry::Query => ("query", "query"),
        Carry::Cookie => ("query", "cookie"),
        Carry::Header => ("header", "none"),
    };
    let session = if token.carry == Carry::Cookie {
        files.push((SESSION_KEY_FILE.to_owned(), SESSION_KEY_HEX.to_owned()));
        let life = token.lifetime.as_secs();
        format!(
            "\n[token.viewer.session]\nkeys = [{{ id = \"session\", secret_file = \"{SESSION_KEY_FILE}\" }}]\n\
             name = \"{SESSION_NAME}\"\nlife = \"{life}s\"\n"
        )
    } else {
        String::new()
    };
    let site = format!(
        r#"[token.viewer]
format = "edgeauth"
keys   = [{{ id = "loadtest", secret_file = "{KEY_FILE}" }}]
names  = ["{NAME}"]
places = ["{place}"]
carry  = "{carry}"
status = {{ expired = 410 }}
{session}
[[site]]
hosts  = ["*"]
origin = "main"
token  = "viewer"
"#
    );
    (site, files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    const EPOCH: SystemTime = UNIX_EPOCH;

    fn mint(lifetime_s: u64, wave_s: Option<u64>) -> Mint {
        let token = Token {
            carry: Carry::Path,
            lifetime: Duration::from_secs(lifetime_s),
            wave_at: wave_s.map(Duration::from_secs),
        };
        Mint::new(&token, EPOCH + Duration::from_secs(1_000))
    }

    fn end(token: &str) -> u64 {
        token.strip_prefix("exp=").unwrap().split('~').next().unwrap().parse().unwrap()
    }

    /// Vectors that the format's own public library makes, with the sample key of its ports.
    #[test]
    fn tokens_are_signed_as_the_formats_own_library_signs_them() {
        let mint = mint(60, None);
        for vector in [
            "st=1700000000~exp=1700003600~acl=/*~hmac=cb48ba343c1783ea520789ffa7b9f87bab56a6ee64fbf10e222af079375df216",
            "exp=1700003600~acl=/live/ch1/*!/keys/ch1/*~hmac=f390ea4ceb5710e999dd4f637c7caa885838e28677a8a8a721f5cef260a52b67",
            "st=1700000000~exp=1700003600~acl=/vod/*~id=sess-42~data=plan=gold~hmac=9a7076bebdaef1cb9c21b07329005c9a1c6575635eb03dede52aef25f00d7551",
        ] {
            let (fields, _) = vector.split_once("~hmac=").unwrap();
            assert_eq!(mint.signed(fields), vector);
        }
    }

    #[test]
    fn who_is_to_check_tokens_is_told_their_name_and_the_key() {
        assert!(FORMAT.contains(&format!("named {NAME},")) && FORMAT.contains(&format!("the key {KEY_HEX}")));
        assert_eq!(hex::decode(KEY_HEX).unwrap().len(), 14);
    }

    #[test]
    fn a_token_opens_the_folder_of_its_entry_for_one_viewer() {
        let token =
            mint(60, None).issue(17, "/media/live/news/index.m3u8", EPOCH + Duration::from_secs(5_000));
        assert!(token.starts_with("exp=5060~acl=/media/live/news/*~id=viewer-17~hmac="), "{token}");
        assert_eq!(token.rsplit('=').next().unwrap().len(), 64);
    }

    #[test]
    fn a_token_ends_with_its_lifetime_and_never_before_it() {
        assert_eq!(end(&mint(60, None).issue(0, "/a", EPOCH + Duration::from_millis(5_000_001))), 5_061);
    }

    #[test]
    fn what_is_given_out_before_a_wave_ends_with_it_and_what_comes_after_does_not() {
        let mint = mint(600, Some(45));
        let at = |second| end(&mint.issue(0, "/a", EPOCH + Duration::from_secs(second)));
        assert_eq!((at(1_000), at(1_044)), (1_045, 1_045));
        assert_eq!((at(1_045), at(1_050)), (1_645, 1_650));
    }

    #[test]
    fn the_site_asks_for_the_token_where_viewers_have_it_and_its_files_are_there() {
        for (carry, place, by) in [
            (Carry::Path, "path", "path"),
            (Carry::Query, "query", "query"),
            (Carry::Cookie, "query", "cookie"),
            (Carry::Header, "header", "none"),
        ] {
            let token = Token { carry, lifetime: Duration::from_secs(90), wave_at: None };
            let (site, files) = site(&token);
            let table: toml::Table = toml::from_str(&site).unwrap();
            let policy = &table["token"]["viewer"];
            assert_eq!((policy["places"][0].as_str(), policy["carry"].as_str()), (Some(place), Some(by)));
            assert_eq!(table["site"][0]["token"].as_str(), Some("viewer"));
            for (name, key) in &files {
                assert!(site.contains(&format!("\"{name}\"")) && hex::decode(key).is_ok());
            }
            assert_eq!(policy.get("session").is_some(), carry == Carry::Cookie);
            assert_eq!(files.len(), 1 + usize::from(carry == Carry::Cookie));
        }
    }
}
