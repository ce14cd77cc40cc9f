//! Colours of a terminal, where there is one and nobody asked for none (`NO_COLOR`, <https://no-color.org>).

use std::io::IsTerminal;

/// Whether texts are coloured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    is_on: bool,
}

impl Paint {
    /// As it suits where the text goes.
    pub(crate) fn of(place: &impl IsTerminal) -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_on: place.is_terminal() && !is_unwanted }
    }

    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { is_on: false }
    }

    #[cfg(test)]
    pub(crate) fn coloured() -> Self {
        Self { is_on: true }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.is_on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
