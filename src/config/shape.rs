//! The shape of a configuration file: known keys, right types, numbers in range, nothing required left out.
//!
//! Walks the TOML document along the JSON Schema of the `raw` structs, so that every mistake is found and each has its
//! line. What is wrong is left out of the result, and an empty value takes its place where one is required; so the walk
//! goes on, and `super::resolve` can look at the rest.

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Report, join, nearest};
use super::{raw, reference};

/// Reads a file as far as it has the right shape. None after a syntax error; what is wrong is in the report.
pub(super) fn read(text: &str, report: &mut Report) -> Option<raw::File> {
    let lines = Lines::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or_default();
        let line = lines.at(span.start);
        let mut reason = format!("is not TOML: {}", error.message().replace('\n', ", "));
        if let ("duplicate key", Some(name)) = (error.message(), text.get(span)) {
            reason.push_str(&format!(" \"{}\"", name.escape_debug()));
        }
        report.mistake_at(line, "", reason, "correct the syntax (https://toml.io/en/v1.0.0)");
    }
    if !errors.is_empty() {
        return None;
    }
    let schema = reference::schema();
    let value = Walk { lines, report }.table(document.get_ref(), &schema, "");
    match serde_json::from_value(value) {
        Ok(file) => Some(file),
        Err(error) => {
            let remedy = "compare it with conf/forebay.toml";
            report.mistake_at(1, "", format!("cannot be read: {error}"), remedy);
            None
        }
    }
}

/// Line numbers of a text, by byte.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Lines {
        Lines(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(place, _)| place).collect())
    }

    fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|end| *end < byte) + 1
    }
}

/// A walk through the document.
struct Walk<'a> {
    lines: Lines,
    report: &'a mut Report,
}

impl Walk<'_> {
    fn table(&mut self, table: &DeTable<'_>, schema: &Value, key: &str) -> Value {
        let mut found = Map::new();
        let mut members: Vec<_> = table.iter().collect();
        members.sort_by_key(|(name, _)| name.span().start);
        for (name, node) in members {
            let word = name.get_ref().as_ref();
            let line = self.lines.at(name.span().start);
            let place = join(key, word);
            self.report.place(&place, line);
            let known = schema.get("properties").and_then(|known| known.get(word));
            match known.or_else(|| schema.get("additionalProperties").filter(|rest| rest.is_object())) {
                Some(schema) => {
                    if let Some(value) = self.node(node.get_ref(), schema, &place) {
                        found.insert(word.to_owned(), value);
                    }
                }
                None => self.unknown(schema, key, word),
            }
        }
        for name in
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            if !found.contains_key(name) {
                let member = schema.pointer(&format!("/properties/{name}")).unwrap_or(&Value::Null);
                let remedy = format!("add {name}{}", such_as(name, member));
                self.report.mistake(&join(key, name), "is missing", remedy);
                found.insert(name.to_owned(), empty(member));
            }
        }
        Value::Object(found)
    }

    fn unknown(&mut self, schema: &Value, key: &str, word: &str) {
        let known = schema.get("properties").and_then(Value::as_object);
        let known = || known.into_iter().flatten().map(|(name, _)| name.as_str());
        let remedy = match nearest(word, known()) {
            Some(name) => {
                self.report.meant(join(key, name));
                format!("did you mean \"{name}\"?")
            }
            None => format!("known here: {}", known().collect::<Vec<_>>().join(", ")),
        };
        self.report.mistake(&join(key, word), "is not a known key", remedy);
    }

    /// The value of a node; None when it is a mistake.
    fn node(&mut self, node: &DeValue<'_>, schema: &Value, key: &str) -> Option<Value> {
        let alternatives = schema.get("anyOf").and_then(Value::as_array);
        let mut fitting = alternatives.map_or_else(|| vec![schema], |any| any.iter().collect());
        fitting.retain(|schema| schema.get("type").and_then(Value::as_str) == Some(json_type(node)));
        let Some(fitting) = fitting.first() else {
            self.wrong_type(node, schema, key);
            return None;
        };
        match node {
            DeValue::Table(table) => Some(self.table(table, fitting, key)),
            DeValue::Array(array) => self.array(array, fitting, schema, key),
            DeValue::Integer(number) => {
                let number = i128::from_str_radix(number.as_str(), number.radix()).ok();
                self.integer(number, fitting, key)
            }
            DeValue::String(text) => self.text(text, fitting, key),
            DeValue::Boolean(yes) => Some(Value::Bool(*yes)),
            DeValue::Float(_) | DeValue::Datetime(_) => None,
        }
    }

    fn array(
        &mut self,
        array: &[Spanned<DeValue<'_>>],
        schema: &Value,
        whole: &Value,
        key: &str,
    ) -> Option<Value> {
        let items = schema.get("items").unwrap_or(&Value::Null);
        let mut found = Vec::with_capacity(array.len());
        for (place, node) in array.iter().enumerate() {
            let item = format!("{key}[{place}]");
            let line = self.lines.at(node.span().start);
            self.report.place(&item, line);
            // An item that is wrong keeps its place, so that the ones after it keep theirs.
            found.push(self.node(node.get_ref(), items, &item).unwrap_or_else(|| empty(items)));
        }
        if (array.len() as u64) < schema.get("minItems").and_then(Value::as_u64).unwrap_or(0) {
            let name = key.rsplit('.').next().unwrap_or(key);
            self.report.mistake(key, "is empty", format!("name at least one{}", such_as(name, whole)));
        }
        Some(Value::Array(found))
    }

    fn integer(&mut self, number: Option<i128>, schema: &Value, key: &str) -> Option<Value> {
        let bound = |name, or: i64| i128::from(schema.get(name).and_then(Value::as_i64).unwrap_or(or));
        let (min, max) = (bound("minimum", i64::MIN), bound("maximum", i64::MAX));
        let in_range = number.filter(|number| (min..=max).contains(number));
        if in_range.is_none() {
            let shown = number.map_or("the number".to_owned(), |number| number.to_string());
            let remedy = format!("write a number from {min} to {max}");
            self.report.mistake(key, format!("{shown} is out of range"), remedy);
        }
        in_range.and_then(|number| i64::try_from(number).ok()).map(Value::from)
    }

    fn text(&mut self, text: &str, schema: &Value, key: &str) -> Option<Value> {
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            if !words.contains(&text) {
                let remedy = match nearest(text, words.iter().copied()) {
                    Some(word) => format!("did you mean \"{word}\"?"),
                    None => format!("write {}", alternatives(&words)),
                };
                self.report.mistake(key, format!("\"{}\" is not known here", text.escape_debug()), remedy);
                return None;
            }
        }
        Some(Value::String(text.to_owned()))
    }

    fn wrong_type(&mut self, node: &DeValue<'_>, schema: &Value, key: &str) {
        let alternatives = schema.get("anyOf").and_then(Value::as_array);
        let wanted = match alternatives {
            Some(any) => any.iter().map(wanted_type).collect::<Vec<_>>().join(" or "),
            None => wanted_type(schema).to_owned(),
        };
        let reason = format!("must be {wanted}, but is {}", found_type(node));
        let name = key.rsplit('.').next().unwrap_or(key);
        let name = name.split('[').next().unwrap_or(name);
        let remedy = match node {
            DeValue::String(text) if wanted == "a list" => {
                format!("write {name} = [\"{}\"]", text.escape_debug())
            }
            DeValue::Table(_)
                if wanted == "a list" && schema.pointer("/items/type") == Some(&"object".into()) =>
            {
                format!("write it as list of tables, [[{}]]", key.replace("[0]", ""))
            }
            DeValue::Integer(number) if wanted == "text" && schema.get("pattern").is_some() => {
                let written = schema.to_string();
                let unit = match () {
                    () if written.contains("KiB") => "MiB",
                    () if written.contains("%$") => "%",
                    () => "s",
                };
                format!("add a unit, such as \"{}{unit}\"", number.as_str())
            }
            _ => format!("write {wanted}{}", such_as(name, schema)),
        };
        self.report.mistake(key, reason, remedy);
    }
}

/// The value that stands for a required one that is missing or wrong.
fn empty(schema: &Value) -> Value {
    let schema = schema.pointer("/anyOf/0").unwrap_or(schema);
    if let Some(word) = schema.pointer("/enum/0") {
        return word.clone();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => Value::String(String::new()),
        Some("array") => Value::Array(Vec::new()),
        Some("integer") => schema.get("minimum").cloned().unwrap_or_else(|| Value::from(0)),
        Some("boolean") => Value::Bool(false),
        Some("object") => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let member =
                |name: &str| schema.pointer(&format!("/properties/{name}")).map_or(Value::Null, empty);
            let members = required.filter_map(Value::as_str).map(|name| (name.to_owned(), member(name)));
            Value::Object(members.collect())
        }
        _ => Value::Null,
    }
}

/// `, such as NAME = VALUE` from the schema's example or default, where it has one.
fn such_as(name: &str, schema: &Value) -> String {
    let shown = schema.pointer("/examples/0").or_else(|| schema.get("default"));
    shown.map_or_else(String::new, |value| format!(", such as {name} = {}", reference::toml_value(value)))
}

fn alternatives(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

fn json_type(node: &DeValue<'_>) -> &'static str {
    match node {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Boolean(_) => "boolean",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
        DeValue::Float(_) => "number",
        DeValue::Datetime(_) => "date",
    }
}

fn found_type(node: &DeValue<'_>) -> &'static str {
    match node {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Datetime(_) => "a date",
    }
}

fn wanted_type(schema: &Value) -> &'static str {
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => "text",
        Some("integer") => "a whole number",
        Some("boolean") => "true or false",
        Some("array") => "a list",
        _ => "a table",
    }
}
