//! The scenario as a run's file has it, read for people: lengths of time as such, and no braces.

use std::fmt::Write as _;

use serde_json::Value;

use super::unit::Unit;

/// A length of time of the scenario, in seconds; 0 when it has none of that name.
pub(crate) fn seconds(scenario: &Value, name: &str) -> f64 {
    scenario.get(name).and_then(duration).unwrap_or(0.0)
}

/// A text of the scenario; empty when it has none of that name.
pub(crate) fn text<'a>(scenario: &'a Value, name: &str) -> &'a str {
    scenario.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The whole of it: a line for each value, indented.
pub(crate) fn outline(value: &Value) -> String {
    let mut text = String::new();
    put(value, 0, &mut text);
    text
}

/// A length of time, as the model is written in JSON.
fn duration(value: &Value) -> Option<f64> {
    let object = value.as_object().filter(|object| object.len() == 2)?;
    Some(object.get("secs")?.as_f64()? + object.get("nanos")?.as_f64()? / 1e9)
}

/// A value that stands on one line.
fn short(value: &Value) -> Option<String> {
    if let Some(seconds) = duration(value) {
        return Some(Unit::Seconds.write(seconds));
    }
    match value {
        Value::Null => Some("none".to_owned()),
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(values) if values.iter().all(|value| !value.is_object() && !value.is_array()) => {
            let values: Vec<String> = values.iter().filter_map(short).collect();
            Some(if values.is_empty() { "none".to_owned() } else { values.join(", ") })
        }
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn put(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                if let Some(short) = short(value) {
                    writeln!(text, "{indent}{name}: {short}").ok();
                } else {
                    writeln!(text, "{indent}{name}:").ok();
                    put(value, depth + 1, text);
                }
            }
        }
        Value::Array(values) => {
            for value in values {
                let mut item = String::new();
                put(value, depth + 1, &mut item);
                // The first line of an item has a dash in its indent.
                writeln!(text, "{indent}- {}", item.trim()).ok();
            }
        }
        other => {
            writeln!(text, "{indent}{}", short(other).unwrap_or_default()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_scenario_reads_as_indented_lines() {
        let value = json!({
            "name": "a", "duration": Duration::from_millis(90_500), "token": null, "targets": {"x": 0.5},
            "streams": [{"name": "s", "bitrates": [1, 2]}, {"name": "t", "bitrates": []}],
        });
        let outline = outline(&value);
        for line in
            ["name: a", "duration: 90.5 s", "token: none", "targets:\n  x: 0.5", "- ", "  bitrates: 1, 2"]
        {
            assert!(outline.contains(line), "{line:?} is not in\n{outline}");
        }
        assert_eq!(seconds(&value, "duration"), 90.5);
        assert_eq!(seconds(&value, "warm_up"), 0.0);
    }
}
