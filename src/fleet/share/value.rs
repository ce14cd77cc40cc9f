//! What a value in Redis looks like. Pure; bytes that do not fit are no value, never a wrong one.
//!
//! `FBS2`, 16 random bytes that tell it from others, the time by the clock of Redis in 16 digits, which Redis puts in, the
//! checksum (xxh3) of what follows, and that: the key, the lifetime by the clock of the node that wrote it with that clock's
//! time, header and body. A reader takes the time that has passed since by the clock of Redis alone, so that it does not
//! matter how far the clocks of two nodes differ: by its own clock, each time is as long ago, or as far ahead, as it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::super::Watermark;
use crate::coalesce::fill::share::{Mark, Shared, Spot, Stamp};
use crate::playlists::MadeHere;
use crate::store::{Lifetime, Object, persist};

/// What every value begins with; its last letter is the number of this form.
const MAGIC: &[u8; 4] = b"FBS2";

/// Digits of the time.
const TIME_DIGITS: usize = 16;

/// Bytes of the checksum.
const SUM_BYTES: usize = 8;

/// Bytes before the time: what tells a value from another one.
const MARK_BYTES: usize = MAGIC.len() + size_of::<Stamp>();

/// Bytes before what the checksum is of.
pub(super) const HEAD_BYTES: usize = MARK_BYTES + TIME_DIGITS + SUM_BYTES;

/// Why bytes are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// They are no value, or a damaged one.
    Damaged,
    /// They are of another key or other rules.
    OtherKey,
}

/// What the checksum is of. Times are milliseconds.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    key: &'a str,
    rules: u64,
    /// How much of the purges the node had taken in that fetched it.
    place: (u64, u64),
    /// When it was written, by the clock of the node that did.
    at: u64,
    /// How long before that its fetch had begun.
    took: u64,
    /// Whether that node holds reloads and makes delta updates, and how long after it has grown the playlist is due.
    made: Option<(bool, bool, u64)>,
    #[serde(borrow)]
    meta: &'a [u8],
    #[serde(borrow)]
    body: &'a [u8],
}

/// The bytes of an object, those before the time and those after it. None: it has no such form.
pub(super) fn encode(
    spot: Spot<'_>,
    object: &Object,
    made: Option<MadeHere>,
    mark: Mark,
    now: SystemTime,
) -> Option<([u8; MARK_BYTES], Vec<u8>)> {
    let meta = persist::encode(object)?;
    let body = object.body.as_whole()?.chunks()?.concat();
    let written = Written {
        key: spot.key,
        rules: spot.rules,
        place: mark.place,
        at: since_epoch(now),
        took: super::millis(mark.at.elapsed()),
        made: made.map(|made| (made.reload, made.delta, super::millis(made.due_after))),
        meta: &meta,
        body: &body,
    };
    let mut rest = vec![0; SUM_BYTES];
    rest = postcard::to_extend(&written, rest).ok()?;
    let sum = xxh3_64(rest.get(SUM_BYTES..)?).to_le_bytes();
    rest.get_mut(..SUM_BYTES)?.copy_from_slice(&sum);
    let mut stamp = Stamp::default();
    getrandom::fill(&mut stamp).ok()?;
    Some((head_of(stamp), rest))
}

/// What a value with this stamp begins with.
pub(super) fn head_of(stamp: Stamp) -> [u8; MARK_BYTES] {
    let mut head = [0; MARK_BYTES];
    let (magic, rest) = head.split_at_mut(MAGIC.len());
    magic.copy_from_slice(MAGIC);
    rest.copy_from_slice(&stamp);
    head
}

/// What stands where a stamp does.
pub(super) fn stamp_of(bytes: &[u8]) -> Stamp {
    let stamp = bytes.get(MAGIC.len()..MARK_BYTES);
    stamp.and_then(|stamp| stamp.try_into().ok()).unwrap_or_default()
}

/// What such bytes stand for, at `now` by this node's clock and `redis_now` by that of Redis, in milliseconds, with a moment
/// that was no later than that.
pub(super) fn decode(
    bytes: &[u8],
    spot: Spot<'_>,
    redis_now: (u64, Instant),
    now: SystemTime,
) -> Result<(Watermark, Shared), Unusable> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES).ok_or(Unusable::Damaged)?;
    read(head, rest, spot, redis_now, now).ok_or(Unusable::Damaged)?
}

type Read = Result<(Watermark, Shared), Unusable>;

fn read(
    head: &[u8],
    rest: &[u8],
    spot: Spot<'_>,
    (redis_now, asked): (u64, Instant),
    now: SystemTime,
) -> Option<Read> {
    let (mark, sum) = head.split_at_checked(MARK_BYTES + TIME_DIGITS)?;
    let digits = mark.strip_prefix(MAGIC)?.get(size_of::<Stamp>()..)?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    let put: u64 = digits.parse().ok()?;
    if xxh3_64(rest).to_le_bytes() != sum {
        return None;
    }
    let written: Written<'_> = postcard::from_bytes(rest).ok()?;
    if (written.key, written.rules) != (spot.key, spot.rules) {
        return Some(Err(Unusable::OtherKey));
    }
    let meta =
        persist::decode(written.meta).filter(|meta| meta.version.is_none() && meta.variants.is_none())?;
    let passed = Duration::from_millis(redis_now.saturating_sub(put).min(MILLIS_MAX));
    let lifetime = by_clock(&meta.lifetime, written.at, now.checked_sub(passed)?)?;
    // Milliseconds are cut off on the way.
    let ago = passed + Duration::from_millis(written.took.min(MILLIS_MAX) + 2);
    let made = written.made.map(|(reload, delta, due_after)| MadeHere {
        reload,
        delta,
        due_after: Duration::from_millis(due_after.min(MILLIS_MAX)),
    });
    let shared = Shared {
        stamp: stamp_of(head),
        kind: meta.kind,
        header: meta.header,
        lifetime,
        tags: meta.provenance.tags,
        // Until it is known what the place means here.
        generation: 0,
        began: asked.checked_sub(ago),
        made,
        body: Bytes::copy_from_slice(written.body),
    };
    let (millis, sequence) = written.place;
    Some(Ok((Watermark { millis, sequence }, shared)))
}

/// A lifetime by another clock: what is `at` by the one is `here` by the other.
fn by_clock(lifetime: &Lifetime, at: u64, here: SystemTime) -> Option<Lifetime> {
    let at = UNIX_EPOCH + Duration::from_millis(at.min(MILLIS_MAX));
    let moved = |time: SystemTime| match time.duration_since(at) {
        Ok(ahead) => here.checked_add(ahead),
        Err(error) => here.checked_sub(error.duration()),
    };
    let purged = match lifetime.purged {
        Some(time) => Some(moved(time)?),
        None => None,
    };
    Some(Lifetime {
        created: moved(lifetime.created)?,
        fresh_until: moved(lifetime.fresh_until)?,
        purged,
        ..*lifetime
    })
}

/// The latest time and the longest span that are read: far beyond any lifetime, and far from overflow.
const MILLIS_MAX: u64 = 1 << 50;

/// Milliseconds since 1970.
pub(super) fn since_epoch(time: SystemTime) -> u64 {
    super::millis(time.duration_since(UNIX_EPOCH).unwrap_or_default()).min(MILLIS_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::asset::Kind;
    use crate::key::Key;
    use crate::store::{Body, Provenance};
    use pingora::http::ResponseHeader;
    use proptest::prelude::*;

    const SPOT: Spot<'static> = Spot { key: "s /api?x=1", rules: 7 };
    const NOW: u64 = 1_700_000_000_000;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn object() -> Object {
        let mut header = ResponseHeader::build(200, None).unwrap();
        header.insert_header("etag", "\"v1\"").unwrap();
        let lifetime = Lifetime {
            stale_while_revalidate: Duration::from_secs(5),
            ..Lifetime::lasting(at(NOW - 3000), Duration::from_secs(10))
        };
        let body = Body::growing(None, None);
        body.append(Bytes::from_static(b"{\"a\":"));
        body.append(Bytes::from_static(b"1}"));
        body.finish();
        let provenance = Provenance { generation: 99, tags: [4, 5].into(), ahead: None };
        let key = Key { hash: 1, text: SPOT.key.into() };
        Object { provenance, ..Object::new(key, Kind::Other, header, lifetime, body.into()) }
    }

    fn value(put: u64) -> Vec<u8> {
        let made = MadeHere { reload: true, delta: false, due_after: Duration::from_millis(1500) };
        let mark = Mark { place: (5, 6), at: Instant::now() };
        let (head, rest) = encode(SPOT, &object(), Some(made), mark, at(NOW)).unwrap();
        [&head[..], format!("{put:016}").as_bytes(), &rest].concat()
    }

    #[test]
    fn what_is_written_reads_as_it_was() {
        let bytes = value(1000);
        let (place, shared) = decode(&bytes, SPOT, (1000, Instant::now()), at(NOW)).unwrap();
        let object = object();
        assert_eq!(place, Watermark { millis: 5, sequence: 6 });
        assert_eq!((shared.kind, &shared.body[..]), (object.kind, &b"{\"a\":1}"[..]));
        assert_eq!((shared.header.status, &shared.header.headers), (object.status(), &object.header.headers));
        assert_eq!((shared.lifetime, &shared.tags), (object.lifetime, &object.provenance.tags));
        let made = shared.made.unwrap();
        assert_eq!((made.reload, made.delta, made.due_after.as_millis()), (true, false, 1500));
        assert_eq!(head_of(stamp_of(&bytes))[..], bytes[..MARK_BYTES]);
    }

    /// The reader's clock is an hour ahead, and four seconds have passed by that of Redis.
    #[test]
    fn age_and_freshness_are_the_same_by_clocks_that_differ() {
        let hour = 3_600_000;
        let (_, shared) = decode(&value(1000), SPOT, (5000, Instant::now()), at(NOW + hour + 4000)).unwrap();
        assert_eq!(shared.lifetime.created, at(NOW + hour - 3000));
        assert_eq!(shared.lifetime.fresh_until, at(NOW + hour + 7000));
        assert_eq!(shared.lifetime.age_seconds(at(NOW + hour + 4000)), 7);
        // A clock of Redis that was set back takes no time away from it.
        let (_, shared) = decode(&value(9000), SPOT, (5000, Instant::now()), at(NOW)).unwrap();
        assert_eq!(shared.lifetime.fresh_until, at(NOW + 7000));
    }

    #[test]
    fn a_fetch_began_no_later_than_it_is_told() {
        let asked = Instant::now();
        let (_, shared) = decode(&value(1000), SPOT, (5000, asked), at(NOW + 4000)).unwrap();
        let ago = asked.duration_since(shared.began.unwrap());
        assert!((Duration::from_secs(4)..Duration::from_secs(60)).contains(&ago), "{ago:?}");
    }

    #[test]
    fn what_is_of_another_key_or_other_rules_is_not_taken() {
        for spot in [Spot { key: "s /api?x=2", ..SPOT }, Spot { rules: 8, ..SPOT }] {
            assert_eq!(
                decode(&value(0), spot, (0, Instant::now()), at(NOW)).unwrap_err(),
                Unusable::OtherKey
            );
        }
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_no_value(place in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<prop::sample::Index>()) {
            let whole = value(1000);
            prop_assert!(decode(&whole[..cut.index(whole.len())], SPOT, (1000, Instant::now()), at(NOW)).is_err());
            let mut bytes = whole;
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
            // Of another stamp and another time nothing else depends.
            let told_apart = (MAGIC.len()..MARK_BYTES + TIME_DIGITS).contains(&place);
            prop_assert!(told_apart || decode(&bytes, SPOT, (1000, Instant::now()), at(NOW)).is_err());
        }

        #[test]
        fn noise_is_no_value(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&noise, SPOT, (0, Instant::now()), at(NOW)).is_err());
        }
    }
}
