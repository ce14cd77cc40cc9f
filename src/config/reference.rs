//! The manual of the configuration, made from the `raw` structs: the JSON Schema and `conf/forebay.toml`.
//!
//! The schema is also what `super::shape` holds a file against, so that it can never say anything else than the code.

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

/// Takes away what TOML has no word for (null), the machine sizes of numbers, and defaults of whole tables, whose keys
/// have defaults of their own.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Object(members) => {
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
            if members.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
                members.shift_remove("default");
            }
            if members.get("format").is_some_and(Value::is_string) {
                members.shift_remove("format");
            }
            members.values_mut().for_each(simplify);
        }
        _ => {}
    }
}

/// A value as TOML, on one line.
pub(super) fn toml_value(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(", "))
        }
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("{name} = {}", toml_value(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}
