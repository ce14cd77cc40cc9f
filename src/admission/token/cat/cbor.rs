//! CBOR (RFC 8949) as tokens use it, read strictly.
//!
//! Refused: more than [`DEPTH_MAX`] levels, [`ITEMS_MAX`] items or [`ENTRIES_MAX`] entries of a map, indefinite lengths,
//! keys of maps that are neither numbers nor text or that come twice, simple values other than the common four, and
//! whatever follows the item.

/// Levels of arrays, maps and tags within each other.
pub(super) const DEPTH_MAX: usize = 16;

/// Items of a token.
pub(super) const ITEMS_MAX: usize = 1024;

/// Entries of one map, each of which is compared with those before it.
pub(super) const ENTRIES_MAX: usize = 64;

/// An item.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Int(i128),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Value>),
    Map(Map),
    Tag(u64, Box<Value>),
    Bool(bool),
    Null,
    Float(f64),
}

/// The entries of a map, as they stand there.
pub(super) type Map = Vec<(Value, Value)>;

/// How lengths and numbers may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lengths {
    /// In their shortest form only (RFC 8949 section 4.2.1): what is not signed has one spelling.
    Shortest,
    /// In any: libraries for JavaScript write the sizes of maps with two bytes.
    Any,
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    pub(super) fn as_int(&self) -> Option<i128> {
        if let Value::Int(number) = self { Some(*number) } else { None }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn as_array(&self) -> Option<&[Value]> {
        if let Value::Array(items) = self { Some(items) } else { None }
    }

    pub(super) fn as_map(&self) -> Option<&Map> {
        if let Value::Map(entries) = self { Some(entries) } else { None }
    }
}

/// The value of a number in a map.
pub(super) fn get(map: &Map, key: i128) -> Option<&Value> {
    map.iter().find(|(known, _)| *known == Value::Int(key)).map(|(_, value)| value)
}

/// The one item that `bytes` are. None: they are not.
pub(super) fn decode(bytes: &[u8], lengths: Lengths) -> Option<Value> {
    let mut reader = Reader { rest: bytes, items: 0, lengths };
    let value = reader.value(0)?;
    reader.rest.is_empty().then_some(value)
}

struct Reader<'b> {
    rest: &'b [u8],
    items: usize,
    lengths: Lengths,
}

impl<'b> Reader<'b> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.items += 1;
        if depth > DEPTH_MAX || self.items > ITEMS_MAX {
            return None;
        }
        let first = *self.take(1)?.first()?;
        let (major, info) = (first >> 5, first & 31);
        if major == 7 {
            return self.simple(info);
        }
        let argument = self.argument(info)?;
        Some(match major {
            0 => Value::Int(argument.into()),
            1 => Value::Int(-1 - i128::from(argument)),
            2 => Value::Bytes(self.take(usize::try_from(argument).ok()?)?.to_vec()),
            3 => {
                let bytes = self.take(usize::try_from(argument).ok()?)?;
                Value::Text(std::str::from_utf8(bytes).ok()?.to_owned())
            }
            4 => {
                // Nothing is set aside for a length that is only claimed.
                let mut items = Vec::new();
                for _ in 0..argument {
                    items.push(self.value(depth + 1)?);
                }
                Value::Array(items)
            }
            5 => {
                let mut entries = Map::new();
                if argument > ENTRIES_MAX as u64 {
                    return None;
                }
                for _ in 0..argument {
                    let key = self.value(depth + 1)?;
                    let is_key = matches!(key, Value::Int(_) | Value::Text(_));
                    if !is_key || entries.iter().any(|(known, _)| *known == key) {
                        return None;
                    }
                    entries.push((key, self.value(depth + 1)?));
                }
                Value::Map(entries)
            }
            _ => Value::Tag(argument, Box::new(self.value(depth + 1)?)),
        })
    }

    fn simple(&mut self, info: u8) -> Option<Value> {
        Some(match info {
            20 => Value::Bool(false),
            21 => Value::Bool(true),
            22 | 23 => Value::Null,
            25 => Value::Float(half(self.number(2)?)),
            26 => Value::Float(f32::from_bits(u32::try_from(self.number(4)?).ok()?).into()),
            27 => Value::Float(f64::from_bits(self.number(8)?)),
            _ => return None,
        })
    }

    fn argument(&mut self, info: u8) -> Option<u64> {
        let (number, least) = match info {
            0..=23 => return Some(info.into()),
            24 => (self.number(1)?, 24),
            25 => (self.number(2)?, 1 << 8),
            26 => (self.number(4)?, 1 << 16),
            27 => (self.number(8)?, 1 << 32),
            _ => return None,
        };
        (self.lengths == Lengths::Any || number >= least).then_some(number)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, bytes: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }
}

/// A number of half precision (RFC 8949 appendix D).
fn half(bits: u64) -> f64 {
    let (exponent, mantissa) = ((bits >> 10) & 31, (bits & 0x3ff) as f64);
    let size = match exponent {
        0 => mantissa * 2_f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2_f64.powi(exponent as i32 - 25),
    };
    if bits & 0x8000 == 0 { size } else { -size }
}

/// The bytes of an item, every length and number in its shortest form.
pub(super) fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(value, &mut bytes);
    bytes
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Int(number) if *number >= 0 => head(0, clamped(*number), out),
        Value::Int(number) => head(1, clamped(-1 - *number), out),
        Value::Bytes(bytes) => {
            head(2, bytes.len() as u64, out);
            out.extend_from_slice(bytes);
        }
        Value::Text(text) => {
            head(3, text.len() as u64, out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Array(items) => {
            head(4, items.len() as u64, out);
            items.iter().for_each(|item| write(item, out));
        }
        Value::Map(entries) => {
            head(5, entries.len() as u64, out);
            for (key, value) in entries {
                write(key, out);
                write(value, out);
            }
        }
        Value::Tag(tag, value) => {
            head(6, *tag, out);
            write(value, out);
        }
        Value::Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
        Value::Null => out.push(0xf6),
        Value::Float(number) => {
            out.push(0xfb);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Numbers are of 64 bits; what was read always is.
fn clamped(number: i128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let bytes = argument.to_be_bytes();
    let (info, skip) = match argument {
        0..=23 => (argument as u8, 8),
        24..=0xff => (24, 7),
        0x100..=0xffff => (25, 6),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 0),
    };
    out.push(major << 5 | info);
    out.extend(bytes.iter().skip(skip));
}
