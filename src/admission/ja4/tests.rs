#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;

/// Hellos of real clients towards `edge.test`, as they came out of a socket, with the fingerprints that a program of
/// another language, written beside this one, makes of them.
const CAPTURED: [(&str, &str, &str); 5] = [
    (
        "OpenSSL 3.0",
        include_str!("../../../tests/hellos/openssl.hex"),
        "t13d3111h2_e8f1e7e78f70_1f22a2ca17c4",
    ),
    (
        "OpenSSL 3.0, TLS 1.2 without a name",
        include_str!("../../../tests/hellos/openssl-tls12.hex"),
        "t12i280600_d943125447b4_e7e480e5a997",
    ),
    ("curl 7.88", include_str!("../../../tests/hellos/curl.hex"), "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6"),
    ("ffmpeg 5.1", include_str!("../../../tests/hellos/ffmpeg.hex"), "t13d291300_723694b0fccc_2cc26d266019"),
    (
        "Chromium 156",
        include_str!("../../../tests/hellos/chromium.hex"),
        "t13d1517h2_8daaf6152771_cb7bf5808d99",
    ),
];

/// The ciphers of the specification's example, in the order sent.
const CIPHERS: &str = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035";

/// Its extensions, and its signature algorithms.
const EXTENSIONS: &str = "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015";
const ALGORITHMS: &str = "0403,0804,0401,0503,0805,0501,0806,0601";

fn captured(hex: &str) -> Vec<u8> {
    hex::decode(hex.split_whitespace().collect::<String>()).unwrap()
}

fn parse(list: &str) -> Vec<u16> {
    list.split(',')
        .filter(|word| !word.is_empty())
        .map(|word| u16::from_str_radix(word, 16).unwrap())
        .collect()
}

fn vector(length_bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    [&length[4 - length_bytes..], content].concat()
}

fn listed_bytes(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// A hello to be written out.
struct Written {
    legacy_version: u16,
    ciphers: Vec<u16>,
    extensions: Vec<u16>,
    algorithms: Vec<u16>,
    versions: Vec<u16>,
    protocols: Vec<&'static [u8]>,
}

impl Written {
    fn new(ciphers: &str, extensions: &str, algorithms: &str) -> Written {
        Written {
            legacy_version: 0x0303,
            ciphers: parse(ciphers),
            extensions: parse(extensions),
            algorithms: parse(algorithms),
            versions: vec![0x0304, 0x0303],
            protocols: vec![b"h2", b"http/1.1"],
        }
    }

    fn message(&self) -> Vec<u8> {
        let value = |kind: u16| match kind {
            SERVER_NAME => vector(2, &[&[0][..], &vector(2, b"edge.test")].concat()),
            ALPN => vector(2, &self.protocols.iter().flat_map(|name| vector(1, name)).collect::<Vec<_>>()),
            SIGNATURE_ALGORITHMS => vector(2, &listed_bytes(&self.algorithms)),
            SUPPORTED_VERSIONS => vector(1, &listed_bytes(&self.versions)),
            _ => vec![7; 3],
        };
        let extensions: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|kind| [kind.to_be_bytes().to_vec(), vector(2, &value(*kind))].concat())
            .collect();
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend([9; 32]);
        body.extend(vector(1, &[5; 32]));
        body.extend(vector(2, &listed_bytes(&self.ciphers)));
        body.extend(vector(1, &[0]));
        if !extensions.is_empty() {
            body.extend(vector(2, &extensions));
        }
        [&[1][..], &vector(3, &body)].concat()
    }

    fn ja4(&self) -> String {
        match Hello::default().read(&records(&self.message(), 1 << 14)) {
            Progress::Whole(ja4) => ja4.to_string(),
            other => format!("{other:?}"),
        }
    }
}

/// A handshake message in records of so many bytes each.
fn records(message: &[u8], bytes: usize) -> Vec<u8> {
    message.chunks(bytes).flat_map(|part| [&[22, 3, 1][..], &vector(2, part)].concat()).collect()
}

#[test]
fn real_clients_have_the_fingerprints_that_others_compute() {
    for (client, hex, expected) in CAPTURED {
        let sent = captured(hex);
        let Progress::Whole(ja4) = Hello::default().read(&sent) else { panic!("{client}: no fingerprint") };
        assert_eq!(ja4.as_str(), expected, "{client}");
    }
}

/// The values that public documents print for these lists.
#[test]
fn published_examples_come_out_as_published() {
    let specification = Written::new(CIPHERS, EXTENSIONS, ALGORITHMS);
    assert_eq!(specification.ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    // A Chrome whose fingerprint several tools print.
    let extensions = "0000,0005,000a,000b,000d,0010,0012,0017,001b,0023,002b,002d,0033,44cd,fe0d,ff01";
    assert_eq!(Written::new(CIPHERS, extensions, ALGORITHMS).ja4(), "t13d1516h2_8daaf6152771_d8a2da3f94cd");
    let ciphers = "00ff,1301,1302,1303,c02b,c02c,c02f,c030,cca8,cca9";
    let extensions = "0000,0005,000a,000b,000d,0010,0017,0023,002b,002d,0033";
    let algorithms = "0503,0403,0807,0806,0805,0804,0601,0501,0401";
    assert_eq!(Written::new(ciphers, extensions, algorithms).ja4(), "t13d1011h2_61a7ad8aa9b6_3fcd1a44f3e3");
    // The specification's list of extensions without signature algorithms ends without an underscore.
    assert_eq!(
        hash(&sorted(parse("0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01")), &[]),
        *b"6d807ffa2a79"
    );
}

#[test]
fn grease_counts_nowhere() {
    let plain = Written::new(CIPHERS, EXTENSIONS, ALGORITHMS);
    let mut greased = Written::new(
        &format!("1a1a,{CIPHERS},fafa"),
        &format!("0a0a,{EXTENSIONS},baba"),
        &format!("{ALGORITHMS},3a3a"),
    );
    greased.versions = vec![0xfafa, 0x0304, 0x0303];
    assert_eq!(greased.ja4(), plain.ja4());
    assert!(is_grease(0x0a0a) && is_grease(0xfafa));
    assert!(!is_grease(0x0a1a) && !is_grease(0x1301) && !is_grease(0x0b0b));
}

#[test]
fn the_order_of_ciphers_and_extensions_does_not_matter_but_that_of_algorithms_does() {
    let turned = |list: &str| list.split(',').rev().collect::<Vec<_>>().join(",");
    let (ciphers, extensions) = (turned(CIPHERS), turned(EXTENSIONS));
    let plain = Written::new(CIPHERS, EXTENSIONS, ALGORITHMS).ja4();
    assert_eq!(Written::new(&ciphers, &extensions, ALGORITHMS).ja4(), plain);
    assert_ne!(Written::new(CIPHERS, EXTENSIONS, &turned(ALGORITHMS)).ja4(), plain);
}

#[test]
fn the_first_protocol_gives_two_characters() {
    let cases: [(&[u8], &str); 9] = [
        (b"h2", "h2"),
        (b"http/1.1", "h1"),
        (b"x", "xx"),
        (&[0xab], "ab"),
        (&[0xab, 0xcd], "ad"),
        (&[0x30, 0xab], "3b"),
        (&[0x30, 0x31, 0xab, 0xcd], "3d"),
        (&[0x30, 0xab, 0xcd, 0x31], "01"),
        (b"", "00"),
    ];
    for (protocol, expected) in cases {
        let mut hello = Written::new(CIPHERS, EXTENSIONS, ALGORITHMS);
        hello.protocols = vec![protocol, b"h3"];
        assert_eq!(&hello.ja4()[8..10], expected, "{protocol:?}");
    }
    let mut hello = Written::new(CIPHERS, EXTENSIONS, ALGORITHMS);
    hello.protocols.clear();
    assert_eq!(&hello.ja4()[8..10], "00", "a list without protocols");
}

#[test]
fn the_version_is_the_highest_offered_or_that_of_the_hello() {
    let versions = [
        (vec![0x0302, 0x0303], "12"),
        (vec![0x0301], "10"),
        (vec![0x0300], "s3"),
        (vec![0x7f1c], "00"),
        (vec![], "00"),
    ];
    for (versions, expected) in versions {
        let mut hello = Written::new(CIPHERS, EXTENSIONS, ALGORITHMS);
        hello.versions = versions;
        assert_eq!(&hello.ja4()[1..3], expected, "{:?}", hello.versions);
    }
    let mut old = Written::new(CIPHERS, "", "");
    old.legacy_version = 0x0302;
    assert_eq!(old.ja4(), "t11i150000_8daaf6152771_000000000000");
    old.ciphers.clear();
    assert_eq!(old.ja4(), "t11i000000_000000000000_000000000000");
}

#[test]
fn more_than_ninety_nine_count_as_ninety_nine() {
    let ciphers: Vec<String> = (0x2000..0x2080).map(|number| format!("{number:04x}")).collect();
    assert_eq!(&Written::new(&ciphers.join(","), EXTENSIONS, ALGORITHMS).ja4()[4..6], "99");
}

/// However the bytes are cut into records and packets, the fingerprint is there with the last byte and not before.
#[test]
fn a_hello_is_read_however_it_arrives() {
    let message = Written::new(CIPHERS, EXTENSIONS, ALGORITHMS).message();
    for bytes in [1, 2, 3, 7, 100, 1 << 14] {
        let sent = records(&message, bytes);
        let mut hello = Hello::default();
        for end in 0..sent.len() {
            assert_eq!(hello.read(&sent[..end]), Progress::More, "{end} bytes, records of {bytes}");
        }
        let whole = hello.read(&sent);
        assert!(matches!(whole, Progress::Whole(_)), "{whole:?}");
        let mut beyond = sent.clone();
        beyond.extend(b"\x14\x03\x03\x00\x01\x01");
        assert_eq!(Hello::default().read(&beyond), whole, "what follows does not matter");
    }
}

/// What cannot become a hello is told at once, so that the TLS library can say so to the client.
#[test]
fn what_is_no_hello_is_given_up_at_its_first_byte_that_says_so() {
    let cases: [(&str, &[u8]); 9] = [
        ("plaintext", b"G"),
        ("an alert", &[21]),
        ("another protocol", &[22, 2]),
        ("SSL 2", &[0x80]),
        ("an empty record", &[22, 3, 1, 0, 0]),
        ("a record beyond the bound", &[22, 3, 1, 0x40, 0x00]),
        ("another message", &[22, 3, 1, 0, 1, 2]),
        ("a hello beyond the bound", &[22, 3, 1, 0, 4, 1, 0, 0x40, 0]),
        ("a hello without a content", &[22, 3, 1, 0, 4, 1, 0, 0, 0]),
    ];
    for (what, sent) in cases {
        let mut hello = Hello::default();
        for end in 0..sent.len() {
            assert_eq!(hello.read(&sent[..end]), Progress::More, "{what}: {end}");
        }
        assert_eq!(hello.read(sent), Progress::Unknown, "{what}");
    }
}

#[test]
fn a_hello_beyond_the_bound_is_given_up_when_it_is_seen() {
    let message = [&[1][..], &vector(3, &[0; HELLO_BYTES_MAX - 100])].concat();
    let sent = records(&message, 100);
    let mut hello = Hello::default();
    let given_up = (0..sent.len()).find(|end| hello.read(&sent[..*end]) == Progress::Unknown);
    assert!(given_up.is_some_and(|end| end <= HELLO_BYTES_MAX + RECORD_HEADER_BYTES), "{given_up:?}");
}

/// Every hello with a byte cut off or changed has some fingerprint or none, and breaks nothing.
#[test]
fn a_broken_hello_has_no_fingerprint_or_another() {
    let message = Written::new(CIPHERS, EXTENSIONS, ALGORITHMS).message();
    for at in 4..message.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = message.clone();
            changed[at] = value;
            assert_ne!(Hello::default().read(&records(&changed, 512)), Progress::More, "{at} {value}");
        }
        let cut = [&[1][..], &vector(3, &message[4..at])].concat();
        let unknown = Hello::default().read(&records(&cut, 512));
        // A hello may end before its extensions.
        let without_extensions = 4 + 2 + 32 + 33 + 2 + 30 + 2;
        assert_eq!(unknown == Progress::Unknown, at != without_extensions, "cut at {at}: {unknown:?}");
    }
}
