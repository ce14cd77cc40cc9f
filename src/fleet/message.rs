//! A purge as it is told to other nodes, and as it is noted in files. Pure.
//!
//! What of a message does not read is never passed over: nodes of different versions share one fleet, and a purge that is
//! forgotten serves what was removed. Whoever meets one purges everything in its place.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::store::purges::{PurgeMode, PurgeTarget};

/// What a purge is known by in the whole fleet: 128 random bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PurgeId(u128);

/// A purge, as one node tells it to the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Message {
    /// What it is known by.
    pub id: PurgeId,
    /// The node that was asked for it.
    pub node: String,
    /// What becomes of objects.
    pub mode: PurgeMode,
    /// What is purged.
    pub targets: Vec<PurgeTarget>,
}

/// Not the identifier of a purge, or not a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a purge of this version")]
pub struct NoMessage;

/// [`Message`] as JSON.
#[derive(Serialize, Deserialize)]
struct Written {
    id: PurgeId,
    node: String,
    mode: String,
    targets: Vec<Named>,
}

/// [`PurgeTarget`] as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Named {
    Url { site: String, target: String },
    Prefix { site: String, path: String },
    Tag { site: Option<String>, tag: String },
    Site(String),
    Everything,
}

impl PurgeId {
    /// A new one.
    pub fn random() -> PurgeId {
        let mut bits = [0; 16];
        // A process without random bytes gets no further than its keys.
        let _ = getrandom::fill(&mut bits);
        PurgeId(u128::from_le_bytes(bits))
    }
}

impl fmt::Display for PurgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for PurgeId {
    type Err = NoMessage;

    fn from_str(text: &str) -> Result<PurgeId, NoMessage> {
        let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| is_id).map(PurgeId).ok_or(NoMessage)
    }
}

impl From<PurgeId> for String {
    fn from(id: PurgeId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for PurgeId {
    type Error = NoMessage;

    fn try_from(text: String) -> Result<PurgeId, NoMessage> {
        text.parse()
    }
}

impl Message {
    /// One that names everything.
    pub fn everything(node: &str, mode: PurgeMode) -> Message {
        Message { id: PurgeId::random(), node: node.to_owned(), mode, targets: vec![PurgeTarget::Everything] }
    }

    /// Whether it names everything.
    pub fn is_everything(&self) -> bool {
        self.targets.contains(&PurgeTarget::Everything)
    }

    /// Its text.
    pub fn to_text(&self) -> String {
        // Text and lists always make JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What a text says.
    ///
    /// # Errors
    /// When it says something that this version does not know.
    pub fn of_text(text: &str) -> Result<Message, NoMessage> {
        serde_json::from_str(text).map_err(|_| NoMessage)
    }
}

impl From<Message> for Written {
    fn from(message: Message) -> Written {
        let named = |target| match target {
            PurgeTarget::Url { site, target } => Named::Url { site, target },
            PurgeTarget::Prefix { site, path } => Named::Prefix { site, path },
            PurgeTarget::Tag { site, tag } => Named::Tag { site, tag },
            PurgeTarget::Site(site) => Named::Site(site),
            PurgeTarget::Everything => Named::Everything,
        };
        let Message { id, node, mode, targets } = message;
        let targets = targets.into_iter().map(named).collect();
        Written { id, node, mode: mode.as_str().to_owned(), targets }
    }
}

impl TryFrom<Written> for Message {
    type Error = NoMessage;

    fn try_from(written: Written) -> Result<Message, NoMessage> {
        let Written { id, node, mode, targets } = written;
        let modes = [PurgeMode::Soft, PurgeMode::Hard];
        let mode = modes.into_iter().find(|known| known.as_str() == mode).ok_or(NoMessage)?;
        let target = |named| match named {
            Named::Url { site, target } => PurgeTarget::Url { site, target },
            Named::Prefix { site, path } => PurgeTarget::Prefix { site, path },
            Named::Tag { site, tag } => PurgeTarget::Tag { site, tag },
            Named::Site(site) => PurgeTarget::Site(site),
            Named::Everything => PurgeTarget::Everything,
        };
        Ok(Message { id, node, mode, targets: targets.into_iter().map(target).collect() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    #[test]
    fn a_purge_reads_as_it_is_written() {
        let text = |text: &str| text.to_owned();
        let targets = vec![
            PurgeTarget::Url { site: text("a"), target: text("/x?y=\"1\"") },
            PurgeTarget::Prefix { site: text("*"), path: text("/live/") },
            PurgeTarget::Tag { site: None, tag: text("t") },
            PurgeTarget::Tag { site: Some(text("a")), tag: text("t") },
            PurgeTarget::Site(text("a")),
            PurgeTarget::Everything,
        ];
        for mode in [PurgeMode::Soft, PurgeMode::Hard] {
            let id = PurgeId::random();
            let message = Message { id, node: text("n"), mode, targets: targets.clone() };
            assert_eq!(Message::of_text(&message.to_text()), Ok(message));
        }
        assert_ne!(PurgeId::random(), PurgeId::random());
    }

    #[test]
    fn what_this_version_does_not_know_is_no_purge() {
        let good = Message::everything("n", PurgeMode::Soft).to_text();
        for (part, other) in [
            ("\"soft\"", "\"later\""),
            ("\"everything\"", "\"something\""),
            ("\"everything\"", "{\"url\":{\"site\":\"a\",\"target\":\"/\",\"more\":1}}"),
            ("\"targets\"", "\"target\""),
            ("\"id\":\"", "\"id\":\"+"),
        ] {
            assert!(good.contains(part), "{good}");
            assert_eq!(Message::of_text(&good.replacen(part, other, 1)), Err(NoMessage), "{part} {other}");
        }
        assert_eq!(Message::of_text(""), Err(NoMessage));
    }
}
