//! The rows of a run as a table of comma-separated values (RFC 4180): a line for each second, for whoever wants plots of
//! their own. The columns are those of the published schema, with a dot where a value has parts.

use serde_json::Value;

use crate::measure::summary::{Row, Usage};

/// Written before the first row, too, when there are none.
pub(crate) fn csv(rows: &[Row]) -> String {
    // A row in which nothing is left out has all columns.
    let usage = Some(Usage::default());
    let full = Row { server: usage, origin: usage, tester: usage, ..Row::default() };
    let columns: Vec<String> = cells(&full).into_iter().map(|(name, _)| name).collect();
    let mut text = columns.join(",") + "\r\n";
    for row in rows {
        let cells = cells(row);
        let value = |column: &String| {
            cells.iter().find(|(name, _)| name == column).map_or("", |(_, value)| value.as_str())
        };
        let line: Vec<&str> = columns.iter().map(value).collect();
        text.push_str(&line.join(","));
        text.push_str("\r\n");
    }
    text
}

/// Name and value of each number of a row; nothing for what was not there.
fn cells(row: &Row) -> Vec<(String, String)> {
    let mut cells = Vec::new();
    put("", &serde_json::to_value(row).unwrap_or_default(), &mut cells);
    cells
}

fn put(name: &str, value: &Value, cells: &mut Vec<(String, String)>) {
    match value {
        Value::Object(object) => {
            for (part, value) in object {
                let name = if name.is_empty() { part.clone() } else { format!("{name}.{part}") };
                put(&name, value, cells);
            }
        }
        Value::Null => {}
        number => cells.push((name.to_owned(), number.to_string())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn every_row_has_every_column_and_what_is_not_there_is_empty() {
        let with = Row {
            second: 2,
            viewers: 7,
            server: Some(Usage { cpu_seconds: 0.5, resident_bytes: 9 }),
            ..Row::default()
        };
        let text = csv(&[Row { second: 1, ..Row::default() }, with]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        let cell =
            |row: usize, name: &str| lines[row][lines[0].iter().position(|column| *column == name).unwrap()];
        assert_eq!((cell(1, "second"), cell(2, "second"), cell(2, "viewers")), ("1", "2", "7"));
        assert_eq!((cell(1, "server.cpu_seconds"), cell(2, "server.cpu_seconds")), ("", "0.5"));
        assert_eq!(cell(1, "ttfb_ms.p99"), "0.0");
    }
}
