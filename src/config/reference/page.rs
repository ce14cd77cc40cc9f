//! Prints the JSON Schema as a configuration file with explanations.
//!
//! Three kinds of lines carry settings: plain ones are those of `conf/examples/minimal.toml`, `#key = value` is a default,
//! and an indented `#     key = value` is an example of what has no default.

use serde_json::{Map, Value};

use super::toml_value;

/// The least that runs; its settings are the ones that are not commented out.
const MINIMAL: &str = include_str!("../../../conf/examples/minimal.toml");

/// Columns of a line of text.
const COLUMNS: usize = 110;

const HEAD: &str = "\
# forebay.toml: every key of the configuration, explained.
#
# This file is generated from the code, and tested against it. As it stands it is the least that runs.
#
#key = value          is a default: remove the \"#\" to change it.
#     key = value     is an example of a setting that has no default, or an empty one.
#
# Sizes are whole numbers with B, KiB, MiB, GiB or TiB; durations with ms, s, m, h or d. A key that is not known, and a
# setting that has no effect, is an error. `forebay check FILE` tells every mistake of a file.
";

/// The whole file.
pub(super) fn page(schema: &Value) -> String {
    let minimal: Value = toml::from_str(MINIMAL).unwrap_or_default();
    let mut page = Page { text: HEAD.to_owned() };
    for (name, section) in properties(schema).into_iter().flatten() {
        let set = &minimal[name.as_str()];
        if let Some(group) = section.get("additionalProperties").filter(|group| group.is_object()) {
            match set.as_object().and_then(|groups| groups.iter().next()) {
                Some((group_name, set)) => {
                    page.section(&format!("[{name}.{group_name}]"), section, group, Some(set))
                }
                None => page.section(&format!("[{name}.viewer]"), section, group, None),
            }
        } else if let Some(item) = section.get("items") {
            page.section(&format!("[[{name}]]"), section, item, Some(&set[0]));
            for (inner, list) in tables(item) {
                page.section(&format!("[[{name}.{inner}]]"), list, &list["items"], None);
            }
        } else {
            page.section(&format!("[{name}]"), section, section, Some(set));
        }
    }
    page.text
}

struct Page {
    text: String,
}

impl Page {
    /// A section with its header. `set` holds the settings that are not commented out; without it the whole section is
    /// an example.
    fn section(&mut self, header: &str, about: &Value, schema: &Value, set: Option<&Value>) {
        self.text.push('\n');
        self.comment("", &sentence(about));
        self.line(if set.is_some() { "" } else { EXAMPLE }, header);
        let lists: Vec<&String> = tables(schema).map(|(name, _)| name).collect();
        for (name, key) in properties(schema).into_iter().flatten().filter(|(name, _)| !lists.contains(name))
        {
            self.text.push('\n');
            self.key(name, key, is_required(schema, name), set);
        }
    }

    fn key(&mut self, name: &str, schema: &Value, required: bool, set: Option<&Value>) {
        let mut about = sentence(schema);
        if required {
            about.push_str(" Required.");
        }
        self.comment("", &about);
        self.members("", schema);
        let default = default(schema);
        let setting = |value: &Value| format!("{name} = {}", toml_value(value));
        match (set, set.and_then(|set| set.get(name))) {
            (Some(_), Some(value)) => self.line("", &setting(value)),
            (Some(_), None) => {
                if let Some(default) = &default {
                    self.line("#", &setting(default));
                }
                if default.is_none_or(|default| default.as_array().is_some_and(Vec::is_empty)) {
                    self.line(EXAMPLE, &setting(&example(schema)));
                }
            }
            (None, _) => {
                let empty = default.as_ref().is_none_or(|value| value.as_array().is_some_and(Vec::is_empty));
                let shown = Some(example(schema)).filter(|value| empty && !value.is_null()).or(default);
                shown.iter().for_each(|value| self.line(EXAMPLE, &setting(value)));
            }
        }
    }

    /// What the members of a table are for, and those of the tables among them; `path` stands before their names.
    fn members(&mut self, path: &str, schema: &Value) {
        let table = schema.get("items").filter(|items| items.get("properties").is_some()).unwrap_or(schema);
        for (name, inner) in properties(table).into_iter().flatten() {
            let required = if is_required(table, name) { " Required." } else { "" };
            self.comment("  ", &format!("- `{path}{name}`: {}{required}", sentence(inner)));
            self.members(&format!("{path}{name}."), inner);
        }
    }

    fn line(&mut self, before: &str, text: &str) {
        self.text.push_str(before);
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Text as comment, broken at [`COLUMNS`]; lines after the first are indented.
    fn comment(&mut self, indent: &str, text: &str) {
        let mut line = "#".to_owned();
        for word in text.split_whitespace() {
            if line.len() + 1 + word.len() > COLUMNS {
                self.line("", &line);
                line = format!("#{indent}");
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line("", &line);
    }
}

/// What stands before the lines of an example.
const EXAMPLE: &str = "#     ";

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

/// Members that are lists of tables with a header of their own (`[[site.rule]]`): those whose tables require nothing, and
/// so are too varied for one line.
fn tables(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let is_section =
        |key: &Value| key["items"]["required"].is_null() && key["items"]["properties"].is_object();
    properties(schema).into_iter().flatten().filter(move |(_, key)| is_section(key))
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|required| required.iter().any(|key| key == name))
}

/// What a key is for, with the range of a number.
fn sentence(schema: &Value) -> String {
    let about = schema["description"].as_str().unwrap_or_default();
    match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        (Some(min), Some(max)) => format!("{about} {min} to {max}."),
        _ => about.to_owned(),
    }
}

/// The default of a key; that of a table is made of its keys' defaults, if nothing in it is required.
fn default(schema: &Value) -> Option<Value> {
    match properties(schema) {
        None => schema.get("default").cloned(),
        Some(_) if schema.get("required").is_some() => None,
        Some(keys) => {
            let defaults = keys.iter().map(|(name, key)| default(key).map(|value| (name.clone(), value)));
            defaults.collect::<Option<Map<_, _>>>().map(Value::Object)
        }
    }
}

/// The example of a key; that of a table is made of its keys' defaults and examples.
fn example(schema: &Value) -> Value {
    match (schema.pointer("/examples/0"), properties(schema)) {
        (Some(example), _) => example.clone(),
        (None, Some(keys)) => {
            let value = |key| default(key).unwrap_or_else(|| example(key));
            Value::Object(keys.iter().map(|(name, key)| (name.clone(), value(key))).collect())
        }
        (None, None) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key has a sentence, and a default or an example, at every depth.
    #[test]
    fn every_key_is_explained() {
        fn walk(path: &str, schema: &Value, keys: &mut usize) {
            for (name, key) in properties(schema).into_iter().flatten() {
                let path = format!("{path}.{name}");
                *keys += 1;
                let about = key["description"].as_str().unwrap_or_default();
                assert!(about.ends_with('.'), "{path} has no doc line");
                let is_table = key["type"] == "object" || key["items"]["properties"].is_object();
                let shown = default(key).unwrap_or_else(|| example(key));
                assert!(is_table || !shown.is_null(), "{path} has neither default nor example");
                walk(&path, key, keys);
                walk(&path, &key["items"], keys);
                walk(&path, &key["additionalProperties"], keys);
            }
        }
        let mut keys = 0;
        walk("", &super::super::schema(), &mut keys);
        assert!(keys > 70, "only {keys} keys were walked");
    }
}
