//! Bodies that can be told apart: bytes computed from a seed, the same for origin and expectation.

use std::sync::OnceLock;

use bytes::Bytes;

/// Bytes that [`piece`] cuts from.
const LONG_BYTES: usize = 16 * 1024 * 1024;

/// How far pieces of neighbouring numbers are apart.
const PIECES_APART: usize = 1009;

/// `len` bytes that depend on `seed` and on their place, so that a shifted, mixed or truncated body never compares equal.
pub fn content(seed: u64, len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    while bytes.len() < len {
        // SplitMix64: one step gives eight bytes.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    Bytes::from(bytes)
}

/// `len` bytes that depend on `number` and on their place, as [`content`], cut from one long sequence: made at no cost,
/// where a test takes thousands of bodies.
pub fn piece(number: u64, len: usize) -> Bytes {
    static LONG: OnceLock<Bytes> = OnceLock::new();
    let places = (LONG_BYTES - len) / PIECES_APART;
    let start = usize::try_from(number).expect("a number of objects") % places * PIECES_APART;
    LONG.get_or_init(|| content(0, LONG_BYTES)).slice(start..start + len)
}

/// Panics unless both bodies are equal; says where they part instead of printing them.
#[track_caller]
pub fn assert_same_bytes(got: &[u8], expected: &[u8], who: &str) {
    if got == expected {
        return;
    }
    let first = got.iter().zip(expected).position(|(a, b)| a != b);
    match first {
        Some(place) => panic!("{who}: byte {place} differs ({} of {} bytes came)", got.len(), expected.len()),
        None => {
            panic!("{who}: {} bytes came, {} expected, equal as far as they go", got.len(), expected.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_depends_on_seed_and_not_on_length() {
        assert_eq!(content(1, 100)[..40], content(1, 40)[..]);
        assert_ne!(content(1, 40), content(2, 40));
        assert_eq!(content(3, 0).len(), 0);
        assert_eq!(content(3, 1_000_001).len(), 1_000_001);
    }

    #[test]
    fn pieces_differ_by_their_number() {
        assert_ne!(piece(1, 4096), piece(2, 4096));
        assert_eq!(piece(1, 4096)[..40], piece(1, 40)[..]);
        assert_eq!(piece(1_000_003, 4096).len(), 4096);
    }

    #[test]
    #[should_panic(expected = "byte 3 differs")]
    fn a_difference_is_named_by_its_place() {
        assert_same_bytes(b"abcX", b"abcd", "body");
    }
}
