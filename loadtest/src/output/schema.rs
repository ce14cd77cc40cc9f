//! The published schema of `run.json`: held to the types that are written. `UPDATE=1` writes it anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;

use schemars::schema_for;
use serde_json::Value;

use super::sample;
use crate::run::Finished;

fn published() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/run.json")
}

fn of_the_types() -> Value {
    let mut schema = serde_json::to_value(schema_for!(Finished)).unwrap();
    schema["title"] = Value::from("A finished run of forebay-loadtest");
    schema
}

#[test]
fn the_published_schema_is_that_of_the_types() {
    let text = serde_json::to_string_pretty(&of_the_types()).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(published().parent().unwrap()).unwrap();
        std::fs::write(published(), &text).unwrap();
    }
    let found = std::fs::read_to_string(published()).unwrap_or_default();
    assert!(
        found == text,
        "loadtest/schema/run.json is out of date: UPDATE=1 cargo test -p forebay-loadtest schema"
    );
}

/// A run has exactly what the schema says: every name in it is described, and all that is required is there.
#[test]
fn what_is_written_is_what_the_schema_describes() {
    // Not the file, which another test may be writing just now.
    let schema = of_the_types();
    let run = serde_json::to_value(sample::run(1, "forebay")).unwrap();
    hold(&run, &schema, &schema, "run");
}

fn hold(value: &Value, schema: &Value, root: &Value, place: &str) {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(reference.trim_start_matches('#')).expect(reference);
        return hold(value, target, root, place);
    }
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        let is_null = |choice: &&Value| choice.get("type").and_then(Value::as_str) == Some("null");
        let choice = choices.iter().find(|choice| is_null(choice) == value.is_null()).expect(place);
        return hold(value, choice, root, place);
    }
    match value {
        Value::Object(object) => {
            if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
                for required in schema["required"].as_array().into_iter().flatten() {
                    assert!(object.contains_key(required.as_str().unwrap()), "{place} has no {required}");
                }
                for (name, value) in object {
                    let schema =
                        properties.get(name).unwrap_or_else(|| panic!("{place}.{name} is not described"));
                    hold(value, schema, root, &format!("{place}.{name}"));
                }
            } else if let Some(each) = schema.get("additionalProperties").filter(|each| each.is_object()) {
                object.iter().for_each(|(name, value)| hold(value, each, root, &format!("{place}.{name}")));
            }
        }
        Value::Array(values) => {
            if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
                values.iter().for_each(|value| hold(value, items, root, place));
            }
        }
        Value::Number(number) => {
            let kind = schema.get("type").and_then(Value::as_str).unwrap_or("number");
            assert!(kind == "number" || number.is_u64(), "{place} is {number}, not {kind}");
        }
        _ => {}
    }
}
