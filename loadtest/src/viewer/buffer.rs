//! What one track has received and not played yet, on the title's timeline. It knows no clock: the deck says up to where was played.

use std::collections::VecDeque;

/// Pieces that begin so close to the end of the one before, in microseconds, follow it: playlists round.
pub(crate) const JOINT_US: i64 = 100_000;

/// The most pieces a track holds; a piece beyond is joined to the last one. Reached by parts of a few milliseconds alone.
const PIECES_MAX: usize = 4_096;

/// Received media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Where it begins and ends, in microseconds on the title's timeline.
    pub(crate) start_us: i64,
    pub(crate) end_us: i64,
    pub(crate) bytes: u64,
    /// Of its rendition, in bits per second.
    pub(crate) bitrate: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Buffer {
    pieces: VecDeque<Held>,
    /// Nothing comes after what is held: the title's end has been received.
    pub(crate) sealed: bool,
}

// === impl Buffer ===

impl Buffer {
    /// Adds what was received; returns the bytes of it that the buffer had already.
    pub(crate) fn push(&mut self, mut piece: Held) -> u64 {
        let mut wasted = 0;
        if let Some(last) = self.pieces.back_mut() {
            if piece.start_us < last.end_us - JOINT_US {
                wasted = share(piece.bytes, last.end_us - piece.start_us, piece.end_us - piece.start_us);
                piece.bytes -= wasted;
            }
            if piece.start_us <= last.end_us + JOINT_US {
                piece.start_us = last.end_us;
            }
            if piece.end_us <= piece.start_us {
                return wasted + piece.bytes;
            }
            if self.pieces.len() >= PIECES_MAX
                && let Some(last) = self.pieces.back_mut()
            {
                last.end_us = piece.end_us;
                last.bytes += piece.bytes;
                return wasted;
            }
        }
        self.pieces.push_back(piece);
        wasted
    }

    /// Where the last piece ends.
    pub(crate) fn end_us(&self) -> Option<i64> {
        self.pieces.back().map(|piece| piece.end_us)
    }

    /// Up to where can be played from here without a gap; `from_us` itself if nothing is there.
    pub(crate) fn reach_us(&self, from_us: i64) -> i64 {
        let mut reach_us = from_us;
        for piece in &self.pieces {
            if piece.start_us > reach_us {
                break;
            }
            reach_us = reach_us.max(piece.end_us);
        }
        reach_us
    }

    /// Where the first piece after a gap at this place begins.
    pub(crate) fn beyond_us(&self, from_us: i64) -> Option<i64> {
        self.pieces.iter().map(|piece| piece.start_us).find(|start_us| *start_us > from_us)
    }

    /// Takes out what ends before `to_us`, and the share of the piece that it is in; `taken` is told of each with its bytes, the
    /// length in microseconds, and the bitrate.
    pub(crate) fn take_to(&mut self, to_us: i64, mut taken: impl FnMut(u64, i64, u64)) {
        while let Some(piece) = self.pieces.front_mut().filter(|piece| piece.start_us < to_us) {
            let span_us = piece.end_us.min(to_us) - piece.start_us;
            let bytes = share(piece.bytes, span_us, piece.end_us - piece.start_us);
            taken(bytes, span_us, piece.bitrate);
            piece.start_us += span_us;
            piece.bytes -= bytes;
            if piece.start_us >= piece.end_us {
                self.pieces.pop_front();
            }
        }
    }

    /// Drops everything; returns its bytes.
    pub(crate) fn clear(&mut self) -> u64 {
        self.sealed = false;
        self.pieces.drain(..).map(|piece| piece.bytes).sum()
    }
}

/// The part of `bytes` that belongs to `part` of `whole`.
fn share(bytes: u64, part: i64, whole: i64) -> u64 {
    let (part, whole) = (u128::from(part.max(0).unsigned_abs()), u128::from(whole.max(1).unsigned_abs()));
    u64::try_from(u128::from(bytes) * part.min(whole) / whole).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn held(start_us: i64, end_us: i64) -> Held {
        Held { start_us, end_us, bytes: (end_us - start_us).unsigned_abs() / 1000, bitrate: 8 }
    }

    #[test]
    fn pieces_that_follow_each_other_are_played_in_one_go() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.reach_us(5), 5);
        assert_eq!(buffer.push(held(0, 4_000_000)), 0);
        assert_eq!(buffer.push(held(4_030_000, 8_000_000)), 0, "rounded, not a gap");
        assert_eq!(buffer.reach_us(1), 8_000_000);
        assert_eq!(buffer.end_us(), Some(8_000_000));
    }

    #[test]
    fn a_gap_ends_the_reach_and_what_is_beyond_it_is_found() {
        let mut buffer = Buffer::default();
        buffer.push(held(0, 4_000_000));
        buffer.push(held(8_000_000, 12_000_000));
        assert_eq!(buffer.reach_us(0), 4_000_000);
        assert_eq!(buffer.beyond_us(4_000_000), Some(8_000_000));
        assert_eq!(buffer.beyond_us(8_000_000), None);
    }

    #[test]
    fn what_is_received_twice_is_counted_as_wasted() {
        let mut buffer = Buffer::default();
        buffer.push(held(0, 4_000_000));
        assert_eq!(buffer.push(held(2_000_000, 6_000_000)), 2_000);
        assert_eq!(buffer.push(held(1_000_000, 5_000_000)), 4_000, "nothing new in it");
        assert_eq!(buffer.end_us(), Some(6_000_000));
        assert_eq!(buffer.clear(), 6_000);
    }

    #[test]
    fn every_byte_is_taken_once_whatever_the_steps() {
        for step in [1, 7, 1_000, 333_333, 5_000_000] {
            let mut buffer = Buffer::default();
            buffer.push(Held { bytes: 1_000_003, ..held(0, 4_000_000) });
            buffer.push(Held { bytes: 999, ..held(4_000_000, 5_000_000) });
            let (mut bytes, mut span, mut at) = (0, 0, if step < 1_000 { 4_990_000 } else { 0 });
            while at < 5_000_000 {
                at += step;
                buffer.take_to(at, |taken, us, _| (bytes, span) = (bytes + taken, span + us));
            }
            assert_eq!((bytes, span), (1_001_002, 5_000_000), "steps of {step}");
        }
    }

    #[test]
    fn the_number_of_pieces_has_a_limit_and_no_media_is_lost_by_it() {
        let mut buffer = Buffer::default();
        let count = PIECES_MAX as i64 + 100;
        (0..count).for_each(|n| assert_eq!(buffer.push(held(n * 200_000, (n + 1) * 200_000)), 0));
        assert_eq!(buffer.pieces.len(), PIECES_MAX);
        assert_eq!(buffer.reach_us(0), count * 200_000);
        assert_eq!(buffer.clear(), count as u64 * 200);
    }
}
