//! MaxMind databases for tests, written from the published format alone
//! (<https://maxmind.github.io/MaxMind-DB/>), so that the library that reads them is not its own judge.
//!
//! A database is a binary tree over the 128 bits of an address, IPv4 below `::/96`, whose leaves point into a section of
//! values; a map of metadata ends the file.

use std::net::IpAddr;

/// A value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number of 32 bits.
    Number(u32),
    /// A map.
    Map(Vec<(&'static str, Value)>),
    /// A list.
    List(Vec<Value>),
}

/// A record of a Country database.
pub fn country(code: &str) -> Value {
    let names = Value::Map(vec![("en", Value::Text(format!("The country {code}")))]);
    let country =
        vec![("geoname_id", Value::Number(1)), ("iso_code", Value::Text(code.to_owned())), ("names", names)];
    Value::Map(vec![
        ("continent", Value::Map(vec![("code", Value::Text("EU".to_owned()))])),
        ("country", Value::Map(country)),
        ("registered_country", Value::Map(vec![("iso_code", Value::Text("ZZ".to_owned()))])),
    ])
}

/// A record of a City database: a country and its subdivisions, the largest first.
pub fn city(code: &str, subdivisions: &[&str]) -> Value {
    let Value::Map(mut members) = country(code) else { unreachable!("a country is a map") };
    let one = |code: &&str| Value::Map(vec![("iso_code", Value::Text((*code).to_owned()))]);
    members.push(("subdivisions", Value::List(subdivisions.iter().map(one).collect())));
    Value::Map(members)
}

/// A record of an ASN database.
pub fn asn(number: u32) -> Value {
    let name = Value::Text("An operator with a name that is longer than a short text".to_owned());
    Value::Map(vec![
        ("autonomous_system_number", Value::Number(number)),
        ("autonomous_system_organization", name),
    ])
}

/// A database of this type with these networks, `ADDRESS/BITS` each, none inside another.
pub fn database(kind: &str, networks: &[(&str, Value)]) -> Vec<u8> {
    let mut tree = vec![[Slot::Empty; 2]];
    let mut values = Vec::new();
    for (network, value) in networks {
        let (bits, length) = prefix(network);
        let at = values.len();
        encode(&mut values, value);
        insert(&mut tree, bits, length, at);
    }
    let nodes = tree.len() as u32;
    let record = |slot: &Slot| match slot {
        Slot::Empty => nodes,
        Slot::Node(place) => *place as u32,
        Slot::Value(at) => nodes + 16 + *at as u32,
    };
    let mut file: Vec<u8> =
        tree.iter().flatten().flat_map(|slot| record(slot).to_be_bytes()[1..].to_vec()).collect();
    file.extend([0; 16]);
    file.extend(values);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    metadata(&mut file, kind, nodes);
    file
}

/// One side of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Empty,
    Node(usize),
    Value(usize),
}

fn insert(tree: &mut Vec<[Slot; 2]>, bits: u128, length: u32, at: usize) {
    assert!(length > 0, "a network of everything has no place in a tree");
    let mut node = 0;
    for depth in 0..length {
        let side = (bits >> (127 - depth) & 1) as usize;
        if depth + 1 == length {
            assert_eq!(tree[node][side], Slot::Empty, "a network inside another");
            tree[node][side] = Slot::Value(at);
            return;
        }
        node = match tree[node][side] {
            Slot::Node(next) => next,
            Slot::Empty => {
                tree.push([Slot::Empty; 2]);
                let next = tree.len() - 1;
                tree[node][side] = Slot::Node(next);
                next
            }
            Slot::Value(_) => panic!("a network inside another"),
        };
    }
}

/// The bits of a network and how many of them count.
fn prefix(network: &str) -> (u128, u32) {
    let (address, length) = network.split_once('/').expect("ADDRESS/BITS");
    let length: u32 = length.parse().expect("a number of bits");
    match address.parse::<IpAddr>().expect("an address") {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 96 + length),
        IpAddr::V6(address) => (u128::from(address), length),
    }
}

fn metadata(file: &mut Vec<u8>, kind: &str, nodes: u32) {
    control(file, 7, 9);
    for (name, number) in [
        ("binary_format_major_version", 2),
        ("binary_format_minor_version", 0),
        ("ip_version", 6),
        ("record_size", 24),
    ] {
        text(file, name);
        control(file, 5, 2);
        file.extend(u16::to_be_bytes(number));
    }
    text(file, "node_count");
    encode(file, &Value::Number(nodes));
    text(file, "build_epoch");
    control(file, 9, 8);
    file.extend(u64::to_be_bytes(1_700_000_000));
    text(file, "database_type");
    text(file, kind);
    text(file, "description");
    encode(file, &Value::Map(vec![("en", Value::Text("Addresses of documents".to_owned()))]));
    text(file, "languages");
    encode(file, &Value::List(vec![Value::Text("en".to_owned())]));
}

fn encode(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Text(value) => text(out, value),
        Value::Number(number) => {
            control(out, 6, 4);
            out.extend(number.to_be_bytes());
        }
        Value::Map(members) => {
            control(out, 7, members.len());
            for (name, value) in members {
                text(out, name);
                encode(out, value);
            }
        }
        Value::List(items) => {
            control(out, 11, items.len());
            items.iter().for_each(|item| encode(out, item));
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    control(out, 2, text.len());
    out.extend(text.as_bytes());
}

/// The control byte of a value, with what follows it for types beyond 7 and for lengths from 29 to 284.
fn control(out: &mut Vec<u8>, kind: u8, length: usize) {
    let (short, rest) = if length < 29 { (length as u8, None) } else { (29, Some((length - 29) as u8)) };
    assert!(length < 29 + 256, "no test needs a longer value");
    if kind > 7 {
        out.extend([short, kind - 7]);
    } else {
        out.push(kind << 5 | short);
    }
    out.extend(rest);
}
