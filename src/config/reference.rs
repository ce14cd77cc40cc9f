//! The manual of the configuration, made from the `raw` structs: the JSON Schema and `conf/forebay.toml`.
//!
//! The schema is also what `super::shape` holds a file against, so that it can never say anything else than the code.

mod page;

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw;

/// The JSON Schema (draft 2020-12) of a configuration file.
pub fn schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().for_deserialize().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<raw::File>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "forebay.toml".into());
    }
    simplify(&mut schema);
    schema
}

/// `conf/forebay.toml`: every key, explained, and commented out at its default; what is not commented out is the least
/// that runs.
pub fn reference_toml() -> String {
    page::page(&schema())
}

/// Takes away what TOML has no word for (null), the machine sizes of numbers, defaults of whole tables, whose keys have
/// defaults of their own, and line breaks in descriptions.
fn simplify(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            members.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(any)) = members.get_mut("anyOf") {
        any.retain(|alternative| alternative.get("type") != Some(&Value::from("null")));
        if let [Value::Object(one)] = any.as_mut_slice() {
            let one = std::mem::take(one);
            members.shift_remove("anyOf");
            for (name, value) in one {
                members.entry(name).or_insert(value);
            }
        }
    }
    // Words with descriptions of their own are words all the same.
    if let Some(Value::Array(words)) = members.get("oneOf") {
        let words: Vec<Value> = words.iter().filter_map(|word| word.get("const").cloned()).collect();
        members.shift_remove("oneOf");
        members.insert("type".to_owned(), "string".into());
        members.insert("enum".to_owned(), words.into());
    }
    if members.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
        members.shift_remove("default");
    }
    members.shift_remove("format");
    if let Some(Value::String(description)) = members.get_mut("description") {
        *description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if let Some(properties) = members.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(simplify);
    }
    if let Some(any) = members.get_mut("anyOf").and_then(Value::as_array_mut) {
        any.iter_mut().for_each(simplify);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(name) {
            simplify(inner);
        }
    }
}

/// A key as it is written: quoted where it is not of letters, digits, `-` and `_` alone.
fn toml_key(name: &str) -> Cow<'_, str> {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.bytes().all(is_bare) { Cow::Borrowed(name) } else { Cow::Owned(format!("\"{name}\"")) }
}

/// A value as TOML, on one line.
pub(super) fn toml_value(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(", "))
        }
        Value::Object(members) => {
            // What is not given has no value to show.
            let members = members.iter().filter(|(_, value)| !value.is_null());
            let members: Vec<_> =
                members.map(|(name, value)| format!("{} = {}", toml_key(name), toml_value(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}
