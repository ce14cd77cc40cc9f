//! Bodies that can be told apart: bytes computed from a seed, the same for origin and expectation.

use bytes::Bytes;

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
    #[should_panic(expected = "byte 3 differs")]
    fn a_difference_is_named_by_its_place() {
        assert_same_bytes(b"abcX", b"abcd", "body");
    }
}
