//! Variables of a playlist (RFC 8216bis section 4.3): what `EXT-X-DEFINE` defines, and where they are replaced.
//!
//! Decides which value a variable has: the first one given to its name. `IMPORT` takes it from the multivariant playlist
//! and `QUERYPARAM` from the playlist's own query, as far as these are known ([`Around`]); a variable of a value that is
//! not known is not defined. All is bounded: what is beyond a bound counts as not defined.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::attributes::Attributes;

/// Variables of a playlist whose values are taken; further ones count as not defined.
pub const VARIABLES_MAX: usize = 64;

/// Bytes of a variable's value; a variable with a longer one counts as not defined.
pub const VALUE_BYTES_MAX: usize = 4096;

/// Bytes of a URI whose variables are replaced; a longer one is taken as it stands.
pub const RESOLVED_BYTES_MAX: usize = 16 * 1024;

/// Where values come from that are not in the playlist.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// The query of the playlist's URL, for `QUERYPARAM`.
    pub query: Option<&'a str>,
    /// Names and values of the variables of its multivariant playlist, for `IMPORT`.
    pub imported: &'a [(Box<str>, Box<str>)],
}

/// The variables defined so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables<'t>(Vec<(&'t str, Cow<'t, str>)>);

impl<'t> Variables<'t> {
    /// Names and values, in the order of their definition.
    pub fn iter(&self) -> impl Iterator<Item = (&'t str, &str)> {
        self.0.iter().map(|(name, value)| (*name, &**value))
    }

    /// Takes an `EXT-X-DEFINE` (section 4.4.2.3), by its attributes.
    pub(super) fn define(&mut self, list: &'t str, around: &Around<'_>) {
        let (mut name, mut value) = (None, None);
        for attribute in Attributes::of(list).filter(|attribute| attribute.quoted) {
            match attribute.name {
                "NAME" => name = Some(attribute.value),
                "VALUE" => value = Some(Cow::Borrowed(attribute.value)),
                "IMPORT" => {
                    name = Some(attribute.value);
                    value = around.import(attribute.value).map(Cow::Owned);
                }
                "QUERYPARAM" => {
                    name = Some(attribute.value);
                    value = around.parameter(attribute.value).map(Cow::Owned);
                }
                _ => {}
            }
        }
        let (Some(name), Some(value)) = (name, value) else { return };
        if self.0.len() < VARIABLES_MAX && value.len() <= VALUE_BYTES_MAX && self.get(name).is_none() {
            self.0.push((name, value));
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// A text with its variables replaced, once: a value is taken as it stands.
    pub(super) fn resolve(&self, text: &'t str) -> Cow<'t, str> {
        if self.0.is_empty() || !text.contains("{$") {
            return Cow::Borrowed(text);
        }
        let mut says = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{$") {
            says.push_str(before);
            let value = after.split_once('}').and_then(|(name, tail)| Some((self.get(name)?, tail)));
            match value {
                Some((value, tail)) => {
                    says.push_str(value);
                    rest = tail;
                }
                None => {
                    says.push_str("{$");
                    rest = after;
                }
            }
            if says.len() > RESOLVED_BYTES_MAX {
                return Cow::Borrowed(text);
            }
        }
        says.push_str(rest);
        Cow::Owned(says)
    }
}

impl Around<'_> {
    fn import(&self, name: &str) -> Option<String> {
        self.imported.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.to_string())
    }

    /// The value of a query parameter, percent-decoded; one that is not UTF-8 then is none.
    fn parameter(&self, name: &str) -> Option<String> {
        let parameters = self.query?.split('&').map(|parameter| parameter.split_once('='));
        let (_, value) = parameters.flatten().find(|(known, _)| *known == name)?;
        percent_decode_str(value).decode_utf8().ok().map(Cow::into_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(lists: &[&str], text: &str, around: &Around<'_>) -> String {
        let mut variables = Variables::default();
        lists.iter().for_each(|list| variables.define(list, around));
        variables.resolve(text).into_owned()
    }

    #[test]
    fn values_come_from_the_playlist_its_query_and_the_multivariant_playlist() {
        let imported = [("base".into(), "https://x.example/v".into())];
        let around = Around { query: Some("a=1&q=x%2Fy&e"), imported: &imported };
        let lists = ["NAME=\"n\",VALUE=\"{$base}\"", "IMPORT=\"base\"", "QUERYPARAM=\"q\""];
        assert_eq!(resolved(&lists, "{$base}/{$q}/{$n}", &around), "https://x.example/v/x/y/{$base}");
        assert_eq!(resolved(&lists, "{$base}/{$q}", &Around::default()), "{$base}/{$q}");
        let unknown = ["IMPORT=\"n\"", "QUERYPARAM=\"e\"", "QUERYPARAM=\"none\"", "NAME=\"alone\""];
        assert_eq!(resolved(&unknown, "{$n}{$e}{$none}{$alone}", &around), "{$n}{$e}{$none}{$alone}");
    }

    #[test]
    fn the_first_definition_of_a_name_stands() {
        let lists = ["NAME=\"n\",VALUE=\"1\"", "NAME=\"n\",VALUE=\"2\"", "QUERYPARAM=\"n\""];
        assert_eq!(resolved(&lists, "{$n}", &Around { query: Some("n=3"), imported: &[] }), "1");
    }
}
