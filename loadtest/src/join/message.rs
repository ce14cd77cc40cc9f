//! What coordinator and worker tell each other, in the order of a run.

use serde::{Deserialize, Serialize};

use crate::measure::Book;
use crate::measure::summary::Usage;
use crate::run::order::Order;

/// Version of these messages. What is in them (a scenario, a book) changes with the program, so that both sides have to be of one
/// version as well.
const PROTOCOL: u32 = 1;

/// Of what the other side says to be shown, so much is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 400;

/// The first message, of a worker. Its form never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Which program speaks.
    program: String,
    protocol: u32,
    version: String,
}

/// What the coordinator says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ToWorker {
    /// Not this one, and why. The last message.
    Refused { why: String },
    /// What is to be done.
    Order(Box<Order>),
    /// The coordinator's clock, in microseconds, as asked for.
    Clock { number: u32, us: u64 },
    /// The run begins then, in microseconds of the coordinator's clock; on the calendar, from 1970 on.
    Start { us: u64, wall_us: u64 },
    /// The run ends now.
    Stop,
}

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ToCoordinator {
    /// What does the clock say?
    Clock { number: u32 },
    /// It can begin. How far its clock may be off, in microseconds.
    Ready { error_us: u64 },
    /// What a second came to, and what its process took in it.
    Second { second: u32, book: Box<Book>, usage: Usage },
    /// Its viewers have left. What keeps its part from being that of the scenario. The last message.
    Ended { spoiled: Vec<String> },
    /// It cannot do what it is told. The last message.
    Failed { why: String },
}

// === impl Hello ===

impl Hello {
    /// This program's.
    pub(crate) fn own() -> Self {
        Self {
            program: env!("CARGO_PKG_NAME").to_owned(),
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Why this one cannot join, if it cannot.
    pub(crate) fn refused(&self) -> Option<String> {
        let own = Self::own();
        (*self != own).then(|| {
            format!(
                "this is {} {} (messages {}), not {} {} (messages {}): both sides have to be the same",
                own.program,
                own.version,
                own.protocol,
                shown(&self.program),
                shown(&self.version),
                self.protocol
            )
        })
    }
}

/// Words of the other side as they can be shown on a terminal: cut, and without control characters.
pub(super) fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    let mut shown = String::with_capacity(end);
    for char in text[..end].chars() {
        if char.is_control() { shown.extend(char.escape_default()) } else { shown.push(char) }
    }
    if end < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn another_version_is_refused_and_both_are_named() {
        assert_eq!(Hello::own().refused(), None);
        let other = Hello { version: "9.9.9".to_owned(), ..Hello::own() };
        let why = other.refused().unwrap();
        assert!(why.contains("9.9.9") && why.contains(env!("CARGO_PKG_VERSION")), "{why}");
        assert!(Hello { protocol: 2, ..Hello::own() }.refused().is_some());
    }

    #[test]
    fn what_the_other_side_says_is_cut_and_does_nothing_to_a_terminal() {
        assert_eq!(shown("it is \u{1b}[2Jgone\nfor ever"), "it is \\u{1b}[2Jgone\\nfor ever");
        let long = shown(&"é".repeat(SHOWN_BYTES_MAX));
        assert_eq!((long.len(), long.ends_with('…')), (SHOWN_BYTES_MAX + '…'.len_utf8(), true));
        let why = Hello { program: "\u{7}bell".to_owned(), ..Hello::own() }.refused().unwrap();
        assert!(!why.contains('\u{7}') && why.contains("bell"), "{why}");
    }
}
