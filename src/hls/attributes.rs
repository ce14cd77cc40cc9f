//! Attribute lists (RFC 8216bis section 4.2), read as they come: white space around names, attributes without a value.

/// An attribute of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'t> {
    /// Its name.
    pub name: &'t str,
    /// Its value, without quotes.
    pub value: &'t str,
    /// Whether the value is a quoted string.
    pub quoted: bool,
    /// Where the value begins in the list, in bytes.
    pub at: usize,
}

/// The attributes of a list that have a value, in their order. A quote that is not closed ends it.
#[derive(Clone, Debug)]
pub struct Attributes<'t> {
    list: &'t str,
    at: usize,
}

impl<'t> Attributes<'t> {
    /// Reads a list: what follows the colon of a tag.
    pub fn of(list: &'t str) -> Attributes<'t> {
        Attributes { list, at: 0 }
    }
}

impl<'t> Iterator for Attributes<'t> {
    type Item = Attribute<'t>;

    fn next(&mut self) -> Option<Attribute<'t>> {
        loop {
            let rest = self.list.get(self.at..)?;
            let stop = memchr::memchr2(b'=', b',', rest.as_bytes())?;
            let after = self.at + stop + 1;
            let value = self.list.get(after..)?;
            if rest.as_bytes().get(stop) == Some(&b',') {
                self.at = after;
                continue;
            }
            let name = rest.get(..stop)?.trim_ascii();
            if let Some(quoted) = value.strip_prefix('"') {
                let len = memchr::memchr(b'"', quoted.as_bytes())?;
                self.at = after + len + 2;
                return Some(Attribute { name, value: quoted.get(..len)?, quoted: true, at: after + 1 });
            }
            // A value without quotes ends at the comma, whatever it holds.
            let len = memchr::memchr(b',', value.as_bytes()).unwrap_or(value.len());
            self.at = after + len + 1;
            return Some(Attribute { name, value: value.get(..len)?.trim_ascii(), quoted: false, at: after });
        }
    }
}

/// The value of the first attribute of this name.
pub fn value<'t>(list: &'t str, name: &str) -> Option<&'t str> {
    Attributes::of(list).find(|attribute| attribute.name == name).map(|attribute| attribute.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_with_a_value_is_read_as_it_stands() {
        let list = "TYPE=PART, URI=\"a,b=c\",GAP, X=1=2 ,E=\"\",LAST=YES\r";
        let read: Vec<_> = Attributes::of(list).map(|a| (a.name, a.value, a.quoted)).collect();
        let expected = [
            ("TYPE", "PART", false),
            ("URI", "a,b=c", true),
            ("X", "1=2", false),
            ("E", "", true),
            ("LAST", "YES", false),
        ];
        assert_eq!(read, expected);
        assert!(
            Attributes::of(list)
                .filter(|a| a.quoted)
                .all(|a| list.get(a.at..a.at + a.value.len()) == Some(a.value))
        );
        assert_eq!((value(list, "LAST"), value(list, "GAP")), (Some("YES"), None));
    }

    #[test]
    fn a_quote_that_is_not_closed_ends_a_list() {
        let read: Vec<_> = Attributes::of("A=1,B=\"never,C=2").map(|a| a.name).collect();
        assert_eq!(read, ["A"]);
    }
}
