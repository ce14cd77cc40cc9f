//! What load balancers put before a connection: read at once and byte by byte it says the same, and what follows it changes
//! nothing.

use forebay::server::proxy_protocol::header::{Progress, V1_BYTES_MAX, V2_BYTES_MAX, read};

use super::{Clock, Fuzzed};

/// The target.
pub fn proxy_protocol(_: Clock) -> Fuzzed {
    let run = |data: &[u8]| {
        let whole = read(data);
        let mut last = Progress::More;
        for end in 0..=data.len() {
            last = read(&data[..end]);
            if last != Progress::More {
                break;
            }
        }
        assert_eq!(last, whole, "something else when it comes byte by byte");
        match whole {
            Progress::Whole { bytes, .. } => {
                let bound = if data.starts_with(b"PROXY") { V1_BYTES_MAX } else { V2_BYTES_MAX };
                assert!(bytes <= bound && bytes <= data.len(), "{bytes} bytes");
                assert_eq!(read(&data[..bytes]), whole, "what follows counts");
            }
            Progress::More => assert!(data.len() < V2_BYTES_MAX, "more than {} bytes", data.len()),
            Progress::Absent | Progress::Wrong(_) => {}
        }
    };
    let binary = |command: u8, family: u8, body: &[u8]| {
        let length = u16::try_from(body.len()).unwrap_or_default().to_be_bytes();
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, body].concat()
    };
    let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];
    let fields = [4, 0, 2, 0, 0, 3, 0, 4, 1, 2, 3, 4];
    let seeds = vec![
        b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\nGET / HTTP/1.1\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n".to_vec(),
        b"PROXY UNKNOWN ffff:f\r\n".to_vec(),
        binary(0x20, 0, &[]),
        binary(0x21, 0x11, &v4),
        binary(0x21, 0x11, &[&v4[..], &fields].concat()),
        binary(0x21, 0x21, &[7; 40]),
        binary(0x21, 0x31, &[0; 216]),
    ];
    Fuzzed { run: Box::new(run), seeds }
}
