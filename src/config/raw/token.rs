//! `[token.NAME]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Duration;

/// `[token.NAME]`
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TokenPolicy {
    /// The wire format. `edgeauth`: Akamai EdgeAuth 2.0 with HMAC-SHA256.
    #[schemars(example = &"edgeauth")]
    pub(in crate::config) format: TokenFormat,
    /// Keys in the order they are tried; the first one signs. To rotate, put the new key first and take the old one away
    /// once its tokens have ended. A secret file holds one key in hexadecimal, surrounding white space ignored; relative
    /// paths start at the folder of this file.
    #[schemars(length(min = 1), example = [TokenKey::example()])]
    pub(in crate::config) keys: Vec<TokenKey>,
    /// Names the token may have, in the order they are looked for.
    #[serde(default = "TokenPolicy::names")]
    #[schemars(length(min = 1))]
    pub(in crate::config) names: Vec<String>,
    /// Places the token may stand in, in the order they are looked at: `path` (leading segment, `/NAME=TOKEN/...`),
    /// `query`, `cookie`.
    #[serde(default = "TokenPolicy::places")]
    #[schemars(length(min = 1))]
    pub(in crate::config) places: Vec<TokenPlace>,
    /// How the token reaches the segments of a playlist. `path`: as leading path segment, which relative URIs inherit;
    /// `places` must hold `path`.
    #[serde(default = "TokenPolicy::carry")]
    pub(in crate::config) carry: Carry,
    /// Clock difference tolerated when start and end of a token are compared. Up to 1h.
    #[serde(default = "TokenPolicy::leeway")]
    pub(in crate::config) leeway: Duration,
    /// File with the `salt` that is hashed with every token and never sent: text, surrounding white space ignored.
    #[schemars(example = "/etc/forebay/keys/salt")]
    pub(in crate::config) salt_file: Option<String>,
}

impl TokenPolicy {
    fn names() -> Vec<String> {
        ["hdnts", "hdnea", "__hdnea__", "__token__"].map(str::to_owned).to_vec()
    }

    fn places() -> Vec<TokenPlace> {
        vec![TokenPlace::Path, TokenPlace::Query, TokenPlace::Cookie]
    }

    fn carry() -> Carry {
        Carry::Path
    }

    fn leeway() -> Duration {
        Duration::new("0s")
    }
}

/// One entry of `keys`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TokenKey {
    /// The key's name in logs and metrics: letters, digits, `-` and `_`.
    #[schemars(example = &"k1")]
    pub(in crate::config) id: String,
    /// File with the key in hexadecimal.
    #[schemars(example = "/etc/forebay/keys/k1")]
    pub(in crate::config) secret_file: String,
}

impl TokenKey {
    fn example() -> TokenKey {
        TokenKey { id: "k1".to_owned(), secret_file: "/etc/forebay/keys/k1".to_owned() }
    }
}

/// `format`
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum TokenFormat {
    EdgeAuth,
}

/// One entry of `places`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum TokenPlace {
    Path,
    Query,
    Cookie,
}

/// `carry`
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Carry {
    Path,
}
