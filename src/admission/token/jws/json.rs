//! JSON as tokens hold it: small, of bounded depth, no name twice.
//!
//! A name that stands twice in an object would let two readers see two tokens (RFC 7515 section 4, RFC 7519 section 4),
//! so it is refused. Order is kept, so that a token can be written again.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Number;

/// Objects and lists within each other.
const DEPTH_MAX: usize = 8;

/// Members of one object or list.
const MEMBERS_MAX: usize = 128;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object.
    Object(Object),
}

/// An object: names and values, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(String, Json)>);

impl Object {
    /// Reads an object. None: it is no object, holds a name twice or is beyond a bound.
    pub fn parse(text: &[u8]) -> Option<Object> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let value = Depth(DEPTH_MAX).deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        match value {
            Json::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Sets the value of a name, where it stands or else at the end.
    pub fn set(&mut self, name: &str, value: Json) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

impl Json {
    /// The text, where it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text, or the texts of a list of nothing else.
    pub fn as_texts(&self) -> Option<Vec<&str>> {
        match self {
            Json::Text(text) => Some(vec![text]),
            Json::List(list) => list.iter().map(Json::as_text).collect(),
            _ => None,
        }
    }

    /// A whole number from 0.
    pub fn as_whole(&self) -> Option<u64> {
        match self {
            Json::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// Seconds, of which fractions are dropped, or rounded up (NumericDate, RFC 7519 section 2).
    pub fn as_seconds(&self, round_up: bool) -> Option<u64> {
        let Json::Number(number) = self else { return None };
        if let Some(whole) = number.as_u64() {
            return Some(whole);
        }
        let seconds = number.as_f64()?;
        let seconds = if round_up { seconds.ceil() } else { seconds.floor() };
        // Beyond 2^53 a float holds no seconds any more.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
        (0.0..9_007_199_254_740_992.0).contains(&seconds).then_some(seconds as u64)
    }

    /// A text, number or truth value as text.
    pub fn scalar(&self) -> Option<String> {
        match self {
            Json::Text(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            Json::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }
}

/// Reads a value with so many levels left.
struct Depth(usize);

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Depth {
    fn below<E: Error>(&self) -> Result<usize, E> {
        self.0.checked_sub(1).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("no finite number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Depth(below))? {
            if values.len() == MEMBERS_MAX {
                return Err(A::Error::custom("too many members"));
            }
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.len() == MEMBERS_MAX || members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom("a name twice, or too many members"));
            }
            members.push((name, map.next_value_seed(Depth(below))?));
        }
        Ok(Json::Object(Object(members)))
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Number(number) => number.serialize(serializer),
            Json::Text(text) => serializer.serialize_str(text),
            Json::List(list) => list.serialize(serializer),
            Json::Object(object) => object.serialize(serializer),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn parse(text: &str) -> Option<Object> {
        Object::parse(text.as_bytes())
    }

    #[test]
    fn what_is_read_is_written_the_same() {
        let text = r#"{"b":1,"a":[true,null,-1,1.5,"é\n"],"o":{"x":{}}}"#;
        assert_eq!(serde_json::to_string(&parse(text).unwrap()).unwrap(), text);
    }

    #[test]
    fn a_name_twice_is_refused_at_every_depth() {
        assert_eq!(parse(r#"{"a":1,"a":1}"#), None);
        assert_eq!(parse(r#"{"a":1,"\u0061":1}"#), None);
        assert_eq!(parse(r#"{"o":[{"a":1,"b":2,"a":3}]}"#), None);
    }

    #[test]
    fn what_is_no_object_or_goes_on_after_it_is_refused() {
        for text in ["", "[]", "1", "\"a\"", "{}x", "{} {}", "{'a':1}", "{\"a\":1,}", "{\"a\":1e999}"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(Object::parse(b"{\"a\":\"\xff\"}"), None);
    }

    #[test]
    fn depth_and_members_are_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(DEPTH_MAX - 1)).is_some());
        assert_eq!(parse(&nested(DEPTH_MAX)), None);
        assert_eq!(parse(&nested(100_000)), None);
        let wide = |count: usize| {
            let members: Vec<String> = (0..count).map(|at| format!("\"{at}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(parse(&wide(MEMBERS_MAX)).is_some());
        assert_eq!(parse(&wide(MEMBERS_MAX + 1)), None);
    }

    #[test]
    fn seconds_are_rounded_to_the_side_that_is_asked_for() {
        let seconds =
            |text: &str, up| parse(&format!("{{\"a\":{text}}}")).unwrap().get("a").unwrap().as_seconds(up);
        assert_eq!(seconds("1.5", false), Some(1));
        assert_eq!(seconds("1.5", true), Some(2));
        assert_eq!(seconds("1e3", true), Some(1000));
        assert_eq!(seconds("18446744073709551615", true), Some(u64::MAX));
        for text in ["-1", "-0.5e1", "1e300", "\"1\"", "null"] {
            assert_eq!(seconds(text, false), None, "{text}");
        }
    }
}
