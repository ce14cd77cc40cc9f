//! A scenario's file as it is written: every key by its type, none of them checked. Turned into the model by [`super::build`].

use serde::Deserialize;
use toml::Spanned;

use super::rules::Number;
use super::units::{Rate, Share, Time};
use crate::scenario::{Abr, Carry, CmcdCarry, Protocol, Spread, StreamKind};

/// A value and where it stands, if it is there.
pub(crate) type Maybe<T> = Option<Spanned<T>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Scenario {
    pub(crate) about: Maybe<String>,
    pub(crate) seed: Maybe<Number>,
    pub(crate) duration: Maybe<Time>,
    pub(crate) warm_up: Maybe<Time>,
    #[serde(default)]
    pub(crate) stream: Vec<Spanned<Stream>>,
    pub(crate) audience: Option<Spanned<Audience>>,
    #[serde(default)]
    pub(crate) group: Vec<Spanned<Group>>,
    pub(crate) token: Option<Spanned<Token>>,
    #[serde(default)]
    pub(crate) event: Vec<Spanned<Event>>,
    #[serde(default)]
    pub(crate) fault: Vec<Spanned<Fault>>,
    #[serde(default)]
    pub(crate) targets: Targets,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Stream {
    pub(crate) name: Spanned<String>,
    pub(crate) kind: StreamKind,
    pub(crate) count: Maybe<Number>,
    pub(crate) segment: Maybe<Time>,
    pub(crate) part: Maybe<Time>,
    pub(crate) window: Maybe<Number>,
    pub(crate) length: Maybe<Time>,
    pub(crate) bitrates: Maybe<Vec<Rate>>,
    pub(crate) audio: Maybe<Rate>,
    pub(crate) parts: Maybe<Parts>,
    pub(crate) key_every: Maybe<Number>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Parts {
    Files,
    Ranges,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Audience {
    #[serde(default)]
    pub(crate) arrivals: Vec<Spanned<Arrivals>>,
    pub(crate) stay: Maybe<Time>,
    pub(crate) zipf: Maybe<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Arrivals {
    pub(crate) at: Maybe<Time>,
    pub(crate) over: Maybe<Time>,
    pub(crate) viewers: Spanned<Number>,
    pub(crate) spread: Option<Spread>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Group {
    pub(crate) name: Maybe<String>,
    pub(crate) share: Maybe<f64>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) abr: Option<Abr>,
    pub(crate) start_buffer: Maybe<Time>,
    pub(crate) buffer: Maybe<Time>,
    pub(crate) abandon: Option<bool>,
    pub(crate) keys: Option<bool>,
    pub(crate) line: Maybe<Rate>,
    pub(crate) seek_every: Maybe<Time>,
    pub(crate) zap_every: Maybe<Time>,
    pub(crate) cmcd: Option<Cmcd>,
    #[serde(default)]
    pub(crate) watches: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Cmcd {
    pub(crate) version: Maybe<Number>,
    pub(crate) carry: Option<CmcdCarry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Token {
    pub(crate) carry: Option<Carry>,
    pub(crate) lifetime: Maybe<Time>,
    pub(crate) wave_at: Maybe<Time>,
}

/// One deed, of several that exclude each other.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Event {
    pub(crate) at: Spanned<Time>,
    pub(crate) purge: Maybe<String>,
    pub(crate) hard: Maybe<bool>,
    pub(crate) restart: Maybe<bool>,
    pub(crate) kill: Maybe<bool>,
}

/// One wrong, of several that exclude each other.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Fault {
    pub(crate) at: Spanned<Time>,
    pub(crate) over: Spanned<Time>,
    pub(crate) paths: Maybe<String>,
    pub(crate) share: Maybe<Share>,
    pub(crate) delay: Maybe<Time>,
    pub(crate) status: Maybe<Number>,
    pub(crate) throttle: Maybe<Rate>,
    #[serde(rename = "break")]
    pub(crate) breaks: Maybe<Share>,
    pub(crate) length: Maybe<i64>,
    pub(crate) corrupt: Maybe<Share>,
    pub(crate) stale: Maybe<bool>,
    pub(crate) backward: Maybe<Number>,
    pub(crate) outage: Maybe<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Targets {
    pub(crate) stall_ratio: Maybe<Share>,
    pub(crate) startup_p95: Maybe<Time>,
    pub(crate) error_ratio: Maybe<Share>,
}
