//! The numbers of claims and of what they hold, with their names, and claims as JSON by name.
//!
//! Bytes are written as text where they are visible characters, else as `h'0a1b'` (RFC 8949 section 8); what has no name
//! keeps its number. Networks of `catnip` are written as `192.0.2.0/24`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map as Object, Number, Value as Json};

use super::cbor::{Map, Value};
use super::matching::label;

/// Claims.
pub(super) mod claim {
    pub(in super::super) const ISS: i128 = 1;
    pub(in super::super) const SUB: i128 = 2;
    pub(in super::super) const AUD: i128 = 3;
    pub(in super::super) const EXP: i128 = 4;
    pub(in super::super) const NBF: i128 = 5;
    pub(in super::super) const IAT: i128 = 6;
    pub(in super::super) const CTI: i128 = 7;
    pub(in super::super) const OR: i128 = 41;
    pub(in super::super) const NOR: i128 = 42;
    pub(in super::super) const AND: i128 = 43;
    pub(in super::super) const CRIT: i128 = 45;
    pub(in super::super) const CATREPLAY: i128 = 308;
    pub(in super::super) const CATPOR: i128 = 309;
    pub(in super::super) const CATV: i128 = 310;
    pub(in super::super) const CATNIP: i128 = 311;
    pub(in super::super) const CATU: i128 = 312;
    pub(in super::super) const CATM: i128 = 313;
    pub(in super::super) const CATALPN: i128 = 314;
    pub(in super::super) const CATH: i128 = 315;
    pub(in super::super) const CATGEOISO3166: i128 = 316;
    pub(in super::super) const CATIFDATA: i128 = 320;
    pub(in super::super) const CATIF: i128 = 322;
    pub(in super::super) const CATR: i128 = 323;
    pub(in super::super) const CATTPRINT: i128 = 324;
}

/// Parts of a URI.
pub(super) mod part {
    pub(in super::super) const SCHEME: i128 = 0;
    pub(in super::super) const HOST: i128 = 1;
    pub(in super::super) const PORT: i128 = 2;
    pub(in super::super) const PATH: i128 = 3;
    pub(in super::super) const QUERY: i128 = 4;
    pub(in super::super) const PARENT_PATH: i128 = 5;
    pub(in super::super) const FILENAME: i128 = 6;
    pub(in super::super) const STEM: i128 = 7;
    pub(in super::super) const EXTENSION: i128 = 8;
}

/// Of `cattprint`.
pub(super) mod tls {
    pub(in super::super) const TYPE: i128 = 0;
    pub(in super::super) const VALUE: i128 = 1;
    /// The type of JA4 fingerprints.
    pub(in super::super) const JA4: i128 = 2;
}

/// What a value holds, as far as names and forms of JSON go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// What JSON and CBOR have in common, and bytes.
    Plain,
    /// Bytes, even where they are written as text.
    Bytes,
    /// Claims.
    Claims,
    /// Sets of claims.
    Sets,
    /// Names of claims.
    ClaimNames,
    /// Networks.
    Networks,
    /// Match maps by part of a URI.
    Parts,
    /// A match map.
    Match,
    /// Match maps by header field.
    Fields,
    /// `catif`.
    Answers,
    /// What is answered when a claim fails.
    Answer,
    /// Header fields of such an answer.
    AnswerFields,
    /// Text of such a field, then claims.
    AnswerField,
    /// `catr`.
    Renewal,
    /// How a token is renewed.
    RenewalType,
    /// `cattprint`.
    Print,
}

type Table = &'static [(i128, &'static str, Holds)];

const CLAIMS: Table = &[
    (claim::ISS, "iss", Holds::Plain),
    (claim::SUB, "sub", Holds::Plain),
    (claim::AUD, "aud", Holds::Plain),
    (claim::EXP, "exp", Holds::Plain),
    (claim::NBF, "nbf", Holds::Plain),
    (claim::IAT, "iat", Holds::Plain),
    (claim::CTI, "cti", Holds::Bytes),
    (8, "cnf", Holds::Plain),
    (claim::OR, "or", Holds::Sets),
    (claim::NOR, "nor", Holds::Sets),
    (claim::AND, "and", Holds::Sets),
    (44, "enc", Holds::Plain),
    (claim::CRIT, "crit", Holds::ClaimNames),
    (282, "geohash", Holds::Plain),
    (claim::CATREPLAY, "catreplay", Holds::Plain),
    (claim::CATPOR, "catpor", Holds::Plain),
    (claim::CATV, "catv", Holds::Plain),
    (claim::CATNIP, "catnip", Holds::Networks),
    (claim::CATU, "catu", Holds::Parts),
    (claim::CATM, "catm", Holds::Plain),
    (claim::CATALPN, "catalpn", Holds::Plain),
    (claim::CATH, "cath", Holds::Fields),
    (claim::CATGEOISO3166, "catgeoiso3166", Holds::Plain),
    (317, "catgeocoord", Holds::Plain),
    (318, "catgeoalt", Holds::Plain),
    (319, "cattpk", Holds::Bytes),
    (claim::CATIFDATA, "catifdata", Holds::Plain),
    (321, "catdpop", Holds::Plain),
    (claim::CATIF, "catif", Holds::Answers),
    (claim::CATR, "catr", Holds::Renewal),
    (claim::CATTPRINT, "cattprint", Holds::Print),
];

const PARTS: Table = &[
    (part::SCHEME, "scheme", Holds::Match),
    (part::HOST, "host", Holds::Match),
    (part::PORT, "port", Holds::Match),
    (part::PATH, "path", Holds::Match),
    (part::QUERY, "query", Holds::Match),
    (part::PARENT_PATH, "parent-path", Holds::Match),
    (part::FILENAME, "filename", Holds::Match),
    (part::STEM, "stem", Holds::Match),
    (part::EXTENSION, "extension", Holds::Match),
];

const MATCHES: Table = &[
    (label::EXACT, "exact", Holds::Plain),
    (label::PREFIX, "prefix", Holds::Plain),
    (label::SUFFIX, "suffix", Holds::Plain),
    (label::CONTAINS, "contains", Holds::Plain),
    (label::REGEX, "regex", Holds::Plain),
    (label::SHA256, "sha256", Holds::Bytes),
    (label::SHA512_256, "sha512-256", Holds::Bytes),
];

const RENEWAL: Table = &[
    (0, "type", Holds::RenewalType),
    (1, "expadd", Holds::Plain),
    (2, "deadline", Holds::Plain),
    (3, "cookie-name", Holds::Plain),
    (4, "header-name", Holds::Plain),
    (5, "cookie-params", Holds::Plain),
    (6, "header-params", Holds::Plain),
    (7, "code", Holds::Plain),
];

const PRINT: Table = &[(tls::TYPE, "type", Holds::Plain), (tls::VALUE, "value", Holds::Plain)];

const RENEWAL_TYPES: [&str; 4] = ["automatic", "cookie", "header", "redirect"];

/// Whether a claim has a name.
pub(super) fn is_known(label: i128) -> bool {
    CLAIMS.iter().any(|(known, ..)| *known == label)
}

impl Holds {
    /// The names within a map that is held so.
    fn table(self) -> Table {
        match self {
            Holds::Claims | Holds::Answers => CLAIMS,
            Holds::Parts => PARTS,
            Holds::Match => MATCHES,
            Holds::Renewal => RENEWAL,
            Holds::Print => PRINT,
            _ => &[],
        }
    }

    /// What the members of an array hold, by place.
    fn member(self, place: usize) -> Holds {
        match (self, place) {
            (Holds::Sets, _) => Holds::Claims,
            (Holds::Networks | Holds::ClaimNames, _) => self,
            (Holds::Answer, 1) => Holds::AnswerFields,
            (Holds::Answer, 2) => Holds::Bytes,
            (Holds::AnswerField, 1) => Holds::Claims,
            _ => Holds::Plain,
        }
    }

    /// What the entries of a map hold.
    fn entry(self, key: &Value) -> Holds {
        match self {
            Holds::Answers => Holds::Answer,
            Holds::Fields => Holds::Match,
            Holds::AnswerFields => Holds::AnswerField,
            _ => self
                .table()
                .iter()
                .find(|(known, ..)| Value::Int(*known) == *key)
                .map_or(Holds::Plain, |row| row.2),
        }
    }

    /// A number or name of a map as its key.
    fn key(self, name: &str) -> Value {
        let table = self.table();
        // Some write `prefix-match`.
        let name = if self == Holds::Match { name.strip_suffix("-match").unwrap_or(name) } else { name };
        match table.iter().find(|(_, known, _)| *known == name) {
            Some((number, ..)) => Value::Int(*number),
            None if matches!(self, Holds::Fields | Holds::AnswerFields) => Value::text(name),
            None => name.parse::<i64>().map_or(Value::text(name), |number| Value::Int(number.into())),
        }
    }

    fn name(self, key: &Value) -> String {
        let known = self.table().iter().find(|(known, ..)| Value::Int(*known) == *key);
        match (known, key) {
            (Some((_, name, _)), _) => (*name).to_owned(),
            (None, Value::Int(number)) => number.to_string(),
            (None, Value::Text(text)) => text.clone(),
            (None, _) => String::new(),
        }
    }
}

/// Claims by name as CBOR.
pub(super) fn from_json(json: &Json, holds: Holds) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => number
            .as_i64()
            .map(i128::from)
            .or(number.as_u64().map(i128::from))
            .map_or_else(|| Value::Float(number.as_f64().unwrap_or_default()), Value::Int),
        Json::String(text) => from_text(text, holds),
        Json::Array(items) => {
            let items = items.iter().enumerate().map(|(place, item)| from_json(item, holds.member(place)));
            Value::Array(items.collect())
        }
        Json::Object(entries) => {
            let entry = |(name, value): (&String, &Json)| {
                let key = holds.key(name);
                let value = from_json(value, holds.entry(&key));
                (key, value)
            };
            Value::Map(entries.iter().map(entry).collect())
        }
    }
}

fn from_text(text: &str, holds: Holds) -> Value {
    let quoted = text.strip_prefix("h'").and_then(|rest| rest.strip_suffix('\''));
    if let Some(bytes) = quoted.and_then(|digits| hex::decode(digits).ok()) {
        return Value::Bytes(bytes);
    }
    match holds {
        Holds::Bytes => Value::Bytes(text.as_bytes().to_vec()),
        Holds::ClaimNames => Holds::Claims.key(text),
        Holds::Networks => tagged(text).unwrap_or(Value::text(text)),
        Holds::RenewalType => match RENEWAL_TYPES.iter().position(|known| *known == text) {
            Some(number) => Value::Int(number as i128),
            None => Value::text(text),
        },
        _ => Value::text(text),
    }
}

/// A network as RFC 9164 has it.
fn tagged(text: &str) -> Option<Value> {
    let (address, length) = match text.parse::<IpAddr>() {
        Ok(address) => (address, None),
        Err(_) => text.parse::<IpNet>().ok().map(|net| (net.network(), Some(net.prefix_len())))?,
    };
    let (tag, mut bytes) = match address {
        IpAddr::V4(address) => (52, address.octets().to_vec()),
        IpAddr::V6(address) => (54, address.octets().to_vec()),
    };
    let inner = match length {
        None => Value::Bytes(bytes),
        Some(length) => {
            while bytes.last() == Some(&0) {
                bytes.pop();
            }
            Value::Array(vec![Value::Int(length.into()), Value::Bytes(bytes)])
        }
    };
    Some(Value::Tag(tag, Box::new(inner)))
}

/// CBOR as claims by name.
pub(super) fn to_json(value: &Value, holds: Holds) -> Json {
    match value {
        Value::Int(number) => match holds {
            Holds::ClaimNames => Json::String(Holds::Claims.name(value)),
            Holds::RenewalType => match usize::try_from(*number).ok().and_then(|at| RENEWAL_TYPES.get(at)) {
                Some(name) => Json::String((*name).to_owned()),
                None => int(*number),
            },
            _ => int(*number),
        },
        Value::Bytes(bytes) => Json::String(shown(bytes)),
        Value::Text(text) => Json::String(text.clone()),
        Value::Bool(value) => Json::Bool(*value),
        Value::Null => Json::Null,
        Value::Float(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Value::Array(items) => {
            let items = items.iter().enumerate().map(|(place, item)| to_json(item, holds.member(place)));
            Json::Array(items.collect())
        }
        Value::Map(entries) => object(entries, holds),
        Value::Tag(tag, inner) => match (holds, super::conditions::network(value)) {
            (Holds::Networks, Some(network)) if network.prefix_len() == network.max_prefix_len() => {
                Json::String(network.addr().to_string())
            }
            (Holds::Networks, Some(network)) => Json::String(network.to_string()),
            _ => Json::Array(vec![Json::from(*tag), to_json(inner, Holds::Plain)]),
        },
    }
}

fn object(entries: &Map, holds: Holds) -> Json {
    let entry = |(key, value): &(Value, Value)| (holds.name(key), to_json(value, holds.entry(key)));
    Json::Object(entries.iter().map(entry).collect::<Object<String, Json>>())
}

fn int(number: i128) -> Json {
    let number = i64::try_from(number).map(Number::from).or_else(|_| u64::try_from(number).map(Number::from));
    number.map_or(Json::Null, Json::Number)
}

/// Bytes: visible characters as they are, else in hexadecimal.
pub(super) fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text)
            if !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_graphic())
                && !text.starts_with("h'") =>
        {
            text.to_owned()
        }
        _ => format!("h'{}'", hex::encode(bytes)),
    }
}
