//! The reference of a scenario's keys: what is written for each, its default and its range, in the words of the rules. For
//! `forebay-loadtest scenarios --keys`, and for the tables in `loadtest/scenarios/README.md`, which a test holds to it.

use super::rules::{self, Form, Rule, Without};

/// Columns between which a text is broken.
const COLUMNS: usize = 100;

/// How far what is said of a key is set in.
const INDENT: &str = "      ";

/// A key, in words; empty where there is nothing to say.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) key: &'static str,
    /// What is written.
    pub(crate) form: String,
    /// As it would be written, or what holds without the key.
    pub(crate) default: String,
    pub(crate) range: String,
    pub(crate) says: &'static str,
}

/// All keys, table by table: what a table is called, and its lines.
pub(crate) fn tables() -> Vec<(String, Vec<Line>)> {
    let mut tables: Vec<(&str, Vec<Line>)> = Vec::new();
    for rule in rules::ALL {
        match tables.last_mut().filter(|(table, _)| *table == rule.table) {
            Some((_, lines)) => lines.push(line(rule)),
            None => tables.push((rule.table, vec![line(rule)])),
        }
    }
    tables.into_iter().map(|(table, lines)| (title(table), lines)).collect()
}

/// The reference for a terminal.
pub(crate) fn text() -> String {
    let mut text = String::from(
        "Times have a unit (\"500ms\", \"4s\", \"2m\", \"1h\", \"1d\"), bit rates are bits per second (\"800k\", \"2.5M\", \"1G\"), \
         shares\nare from 0 to 1 or percent (\"0.1%\").\n",
    );
    for (title, lines) in tables() {
        text += &format!("\n{}\n", title.replace('`', ""));
        for line in lines {
            let told = [
                ("", &line.form),
                (if line.default == "required" { "" } else { "default " }, &line.default),
                ("", &line.range),
            ];
            let told = told.into_iter().filter(|(_, value)| !value.is_empty());
            let told: Vec<String> = told.map(|(what, value)| format!("{what}{value}")).collect();
            text += &format!("  {} = {}\n", line.key, told.join("; ").replace('`', ""));
            text += &broken(&line.says.trim().replace('`', ""));
        }
    }
    text
}

fn title(table: &str) -> String {
    match table {
        "" => "The top of the file".to_owned(),
        "audience" | "token" | "targets" => format!("`[{table}]`"),
        "group.cmcd" => "`cmcd = { ... }` of a group".to_owned(),
        _ => format!("`[[{table}]]`"),
    }
}

fn line(rule: &Rule) -> Line {
    let default = match rule.without {
        Without::Required => "required".to_owned(),
        Without::Is(value) => written(rule, value),
        Without::Means("-") => String::new(),
        Without::Means(words) => words.to_owned(),
    };
    let (least, most) = rule.range;
    let range = match least {
        "" => String::new(),
        _ => format!("{} to {}", written(rule, least), written(rule, most)),
    };
    Line { key: rule.key, form: rule.form.told(), default, range, says: rule.says }
}

/// A value as it is written in a file.
fn written(rule: &Rule, value: &str) -> String {
    let is_quoted = match rule.form {
        Form::Time | Form::Rate | Form::Word(_) => true,
        Form::Share => value.ends_with('%'),
        Form::Number | Form::Flag => false,
        // Numbers and lists are no strings; the bit rates in a list are.
        Form::Text(_) => value.parse::<f64>().is_err() && !value.starts_with('['),
    };
    if is_quoted { format!("`\"{value}\"`") } else { format!("`{value}`") }
}

/// Lines of a text, set in and broken between words.
fn broken(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), INDENT.to_owned());
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS && line.len() > INDENT.len() {
            lines += &format!("{}\n", line.trim_end());
            INDENT.clone_into(&mut line);
        }
        line += word;
        line.push(' ');
    }
    lines + line.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn the_reference_for_a_terminal_has_every_key_with_its_default_and_range() {
        let text = text();
        for rule in rules::ALL {
            assert!(text.contains(&format!("\n  {} = ", rule.key)), "{}", rule.name());
        }
        assert!(text.contains("\n[[fault]]\n"), "{text}");
        assert!(text.contains("  status = whole number; 200 to 599\n"), "{text}");
        assert!(text.contains("  segment = time; default \"4s\"; \"500ms\" to \"20s\"\n"), "{text}");
        assert!(text.contains("  viewers = whole number; required; 1 to 2000000\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 160), "{text}");
    }
}
