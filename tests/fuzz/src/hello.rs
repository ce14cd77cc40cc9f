//! What TLS clients send first: read at once and byte by byte, it has one fingerprint.

use forebay::admission::ja4::{Hello, Progress};

use super::{Clock, Fuzzed};

/// Hellos of real clients, in hexadecimal.
const HELLOS: [&str; 5] = [
    include_str!("../../hellos/chromium.hex"),
    include_str!("../../hellos/curl.hex"),
    include_str!("../../hellos/ffmpeg.hex"),
    include_str!("../../hellos/openssl-tls12.hex"),
    include_str!("../../hellos/openssl.hex"),
];

/// The target.
pub fn hello(_: Clock) -> Fuzzed {
    let run = |data: &[u8]| {
        let whole = Hello::default().read(data);
        let mut hello = Hello::default();
        let mut last = Progress::More;
        for end in 0..=data.len() {
            last = hello.read(&data[..end]);
            if last != Progress::More {
                break;
            }
        }
        assert_eq!(last, whole, "another fingerprint when it comes byte by byte");
        if let Progress::Whole(fingerprint) = whole {
            assert!(fingerprint.as_str().is_ascii(), "{fingerprint:?}");
        }
    };
    let bytes = |text: &str| {
        let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
        hex::decode(digits.split_whitespace().collect::<String>()).expect("hexadecimal")
    };
    Fuzzed { run: Box::new(run), seeds: HELLOS.map(bytes).into() }
}
