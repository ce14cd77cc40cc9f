//! The shapes of values that several sections share, and what the JSON Schema says of them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::asset::Kind;

/// A size as it is written, such as `64MiB`; read by [`crate::config::units::size`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(in crate::config) struct Size(pub(in crate::config) String);

impl Size {
    pub(super) fn new(text: &str) -> Size {
        Size(text.to_owned())
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB)$" })
    }
}

/// A duration as it is written, such as `500ms`; read by [`crate::config::units::duration`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(in crate::config) struct Duration(pub(in crate::config) String);

impl Duration {
    pub(in crate::config) fn new(text: &str) -> Duration {
        Duration(text.to_owned())
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
    }
}

/// A bit rate as it is written, such as `8Gbit/s`; read by [`crate::config::units::bit_rate`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(in crate::config) struct BitRate(pub(in crate::config) String);

impl BitRate {
    pub(super) fn new(text: &str) -> BitRate {
        BitRate(text.to_owned())
    }
}

impl JsonSchema for BitRate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "BitRate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(bit|kbit|Mbit|Gbit|Tbit)/s$" })
    }
}

/// A share as it is written, such as `20%`; read by [`crate::config::units::percent`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(in crate::config) struct Share(pub(in crate::config) String);

impl Share {
    pub(super) fn new(text: &str) -> Share {
        Share(text.to_owned())
    }
}

impl JsonSchema for Share {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+%$" })
    }
}

/// The word of an asset kind.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(in crate::config) struct KindWord(pub(in crate::config) String);

impl JsonSchema for KindWord {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Kind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Kind::ALL.map(Kind::as_str) })
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(in crate::config) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// The values with the suffix of the key each stands at: none for a single value, `[n]` in a list.
    pub(in crate::config) fn places(&self) -> Vec<(String, &T)> {
        match self {
            OneOrMany::One(one) => vec![(String::new(), one)],
            OneOrMany::Many(many) => {
                many.iter().enumerate().map(|(place, value)| (format!("[{place}]"), value)).collect()
            }
        }
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = T::json_schema(generator);
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}
