//! The hashes of signatures, by the words of the configuration. A token never chooses its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A hash of a message authentication code (RFC 2104).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-1.
    Sha1,
    /// MD5.
    Md5,
}

impl Hash {
    /// Bytes of a code.
    pub const fn bytes(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha1 => 20,
            Hash::Md5 => 16,
        }
    }
}

/// `algorithm` of formats that have every hash.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum HashWord {
    #[default]
    Sha256,
    Sha1,
    Md5,
}

/// `algorithm` of formats that have no MD5.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ShaWord {
    #[default]
    Sha256,
    Sha1,
}

impl From<HashWord> for Hash {
    fn from(word: HashWord) -> Hash {
        match word {
            HashWord::Sha256 => Hash::Sha256,
            HashWord::Sha1 => Hash::Sha1,
            HashWord::Md5 => Hash::Md5,
        }
    }
}

impl From<ShaWord> for Hash {
    fn from(word: ShaWord) -> Hash {
        match word {
            ShaWord::Sha256 => Hash::Sha256,
            ShaWord::Sha1 => Hash::Sha1,
        }
    }
}
