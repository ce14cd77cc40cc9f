//! Configuration files of the servers: texts with words in braces, which are filled in here, and sizes with their units. Called
//! by each kind of server when it is started.

use anyhow::{Context, Result, bail, ensure};

/// The text with each `{name}` replaced by its value. A name that the text does not have, and one that is left over, is an
/// error: templates and code change together.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut text = String::with_capacity(template.len());
    let mut used = vec![false; values.len()];
    let mut rest = template;
    while let Some((before, name, after)) = next_placeholder(rest) {
        let Some(index) = values.iter().position(|(known, _)| *known == name) else {
            bail!("nothing is known for {{{name}}} of the template");
        };
        used[index] = true;
        text.push_str(before);
        text.push_str(values[index].1);
        rest = after;
    }
    text.push_str(rest);
    if let Some(index) = used.iter().position(|used| !used) {
        bail!("the template has no {{{}}}", values[index].0);
    }
    Ok(text)
}

/// What is before the next `{name}`, its name, and what is behind it. A name is of lower-case letters, digits and `_`, so that blocks
/// in braces are none.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(open) = text[from..].find('{').map(|at| from + at) {
        let inner = &text[open + 1..];
        let length = inner
            .find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
            .unwrap_or(inner.len());
        // `${name}` is a variable of the server's own.
        if length > 0 && inner[length..].starts_with('}') && !text[..open].ends_with('$') {
            return Some((&text[..open], &inner[..length], &inner[length + 1..]));
        }
        from = open + 1;
    }
    None
}

/// A size with its unit (`B`, `KiB`, `MiB`, `GiB`, `TiB`), as the node's configuration has it, in bytes.
pub(crate) fn bytes(text: &str) -> Result<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..split].parse().with_context(|| format!("{text:?}: a size, such as 1GiB"))?;
    let shift = match &text[split..] {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        unit => bail!("{text:?}: {unit:?} is no unit: B, KiB, MiB, GiB or TiB"),
    };
    ensure!(number <= u64::MAX >> shift, "{text:?}: too much");
    Ok(number << shift)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn words_in_braces_are_filled_in_and_blocks_stay() {
        let text = "server { listen {http}; { } {A} ${host} {\"text\"} }{http}{";
        assert_eq!(
            fill(text, &[("http", "127.0.0.1:80")]).unwrap(),
            "server { listen 127.0.0.1:80; { } {A} ${host} {\"text\"} }127.0.0.1:80{"
        );
    }

    #[test]
    fn a_value_is_not_looked_through_for_further_words() {
        assert_eq!(fill("{a}{b}", &[("a", "{b}"), ("b", "c")]).unwrap(), "{b}c");
    }

    #[test]
    fn a_word_without_a_value_and_a_value_without_a_word_are_errors() {
        assert!(fill("{http}", &[]).unwrap_err().to_string().contains("{http}"));
        assert!(fill("text", &[("http", "x")]).unwrap_err().to_string().contains("{http}"));
    }

    #[test]
    fn sizes_are_read_with_their_units_alone() {
        assert_eq!(bytes("0B").unwrap(), 0);
        assert_eq!(bytes("64MiB").unwrap(), 64 << 20);
        assert_eq!(bytes("2TiB").unwrap(), 2 << 40);
        for bad in ["", "1", "1G", "GiB", "-1GiB", "1.5GiB", "99999999999TiB", "1 GiB"] {
            assert!(bytes(bad).is_err(), "{bad:?}");
        }
    }
}
