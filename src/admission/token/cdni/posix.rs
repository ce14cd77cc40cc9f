//! POSIX extended regular expressions (POSIX.1-2017 section 9.4), written in the syntax of the engine that runs them.
//!
//! Differences lie in bracket expressions, where POSIX takes a backslash and set operators as they are, and in what POSIX
//! leaves undefined: `(?`, and a backslash before a letter or digit, of which only the classes `\d \D \s \S \w \W`, which
//! many issuers write, are taken. Collating symbols and equivalence classes are not.

use std::iter::Peekable;
use std::str::Chars;

/// The classes that a bracket expression may name.
const CLASSES: [&str; 12] = [
    "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
    "xdigit",
];

/// The expression in the engine's syntax. None: it is none, or says what is undefined. It must be ASCII.
pub(super) fn translated(pattern: &str) -> Option<String> {
    if !pattern.is_ascii() {
        return None;
    }
    let mut written = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => {
                let escaped = rest.next()?;
                if escaped.is_ascii_alphanumeric() && !"dDsSwW".contains(escaped) {
                    return None;
                }
                written.push('\\');
                if escaped.is_ascii_alphanumeric() {
                    written.push(escaped);
                } else {
                    written.pop();
                    literal(&mut written, escaped);
                }
            }
            '[' => bracket(&mut written, &mut rest)?,
            '(' if rest.peek() == Some(&'?') => return None,
            c => written.push(c),
        }
    }
    Some(written)
}

/// A bracket expression, its opening bracket read.
fn bracket(written: &mut String, rest: &mut Peekable<Chars<'_>>) -> Option<()> {
    written.push('[');
    if rest.next_if_eq(&'^').is_some() {
        written.push('^');
    }
    let mut is_first = true;
    loop {
        let c = rest.next()?;
        match c {
            ']' if !is_first => break,
            '[' if matches!(rest.peek(), Some('.' | '=')) => return None,
            '[' if rest.next_if_eq(&':').is_some() => class(written, rest)?,
            c => {
                let starts_range = {
                    literal(written, c);
                    let mut ahead = rest.clone();
                    ahead.next() == Some('-') && ahead.next().is_some_and(|end| end != ']')
                };
                if starts_range {
                    rest.next();
                    let end = rest.next()?;
                    if end == '[' || end < c {
                        return None;
                    }
                    written.push('-');
                    literal(written, end);
                }
            }
        }
        is_first = false;
    }
    written.push(']');
    Some(())
}

/// A class, `[:` read.
fn class(written: &mut String, rest: &mut Peekable<Chars<'_>>) -> Option<()> {
    let mut name = String::new();
    while let Some(c) = rest.next_if(char::is_ascii_lowercase) {
        name.push(c);
    }
    let is_closed = rest.next() == Some(':') && rest.next() == Some(']');
    if !is_closed || !CLASSES.contains(&name.as_str()) {
        return None;
    }
    written.push_str("[:");
    written.push_str(&name);
    written.push_str(":]");
    Some(())
}

/// A character that stands for itself.
fn literal(written: &mut String, c: char) {
    if c.is_ascii_punctuation() && !matches!(c, '<' | '>' | '_') {
        written.push('\\');
    }
    written.push(c);
}
