//! What the nearest cache says of its answer: the last member of `Cache-Status` (RFC 9211), or else a word in `X-Cache`, as
//! caches have it that know no `Cache-Status`.

use sfv::{BareItem, Item, List, ListEntry, Parser};

use crate::fetch::Cache;

/// What the fields say; the last field line of each name is the nearest cache's.
pub(crate) fn parse(cache_status: Option<&[u8]>, x_cache: Option<&[u8]>) -> Cache {
    cache_status.and_then(nearest).or_else(|| x_cache.and_then(word)).unwrap_or_default()
}

/// The last member of a `Cache-Status`; none where the field does not parse (RFC 9651 section 4.2), or the member says
/// neither `hit` nor `fwd`.
fn nearest(value: &[u8]) -> Option<Cache> {
    let mut list: List = Parser::new(value).parse().ok()?;
    let ListEntry::Item(item) = list.pop()? else { return None };
    let number = |name| parameter(&item, name).and_then(BareItem::as_integer).map(i64::from);
    let says = |name| parameter(&item, name).and_then(BareItem::as_boolean) == Some(true);
    let expired = number("ttl").is_some_and(|ttl| ttl < 0);
    if says("hit") {
        return Some(if expired { Cache::Stale } else { Cache::Hit });
    }
    let forward = parameter(&item, "fwd")?;
    let status = number("fwd-status");
    Some(match forward.as_token()?.as_str() {
        _ if says("collapsed") => Cache::Collapsed,
        _ if status == Some(304) => Cache::Revalidated,
        // It was asked for in vain, and what had expired was sent in place of an error.
        "stale" | "request" if expired && status.is_none_or(|status| status >= 400) => Cache::Stale,
        "bypass" | "method" => Cache::Bypass,
        _ => Cache::Miss,
    })
}

fn parameter<'a>(item: &'a Item, name: &str) -> Option<&'a BareItem> {
    item.params.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value)
}

/// The first word of the last member: `HIT`, `TCP_MISS`, `Hit from cache`, and nginx's own.
fn word(value: &[u8]) -> Option<Cache> {
    let text = std::str::from_utf8(value).ok()?;
    let word = text.rsplit(',').next()?.split_whitespace().next()?.to_ascii_uppercase();
    Some(match word.strip_prefix("TCP_").unwrap_or(&word) {
        "HIT" | "MEM_HIT" => Cache::Hit,
        "STALE" | "UPDATING" => Cache::Stale,
        "REVALIDATED" | "REFRESHHIT" | "REFRESH_HIT" => Cache::Revalidated,
        "MISS" | "EXPIRED" | "REFRESH_MISS" => Cache::Miss,
        "BYPASS" | "PASS" => Cache::Bypass,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn the_nearest_cache_is_the_last_member_of_cache_status() {
        for (value, cache) in [
            ("a; hit", Cache::Hit),
            ("a;hit;ttl=30", Cache::Hit),
            ("a; hit; ttl=0", Cache::Hit),
            ("a; hit; ttl=-3; detail=hit_stale", Cache::Stale),
            ("a; fwd=uri-miss; fwd-status=200; ttl=4; stored; detail=miss", Cache::Miss),
            ("a; fwd=miss; stored; collapsed", Cache::Collapsed),
            ("a; fwd=stale; fwd-status=304; ttl=4", Cache::Revalidated),
            ("a; fwd=request; fwd-status=304", Cache::Revalidated),
            ("a; fwd=stale; fwd-status=200; ttl=4; stored", Cache::Miss),
            ("a; fwd=stale; fwd-status=503; ttl=-9", Cache::Stale),
            ("a; fwd=stale; ttl=-9", Cache::Stale),
            ("a; fwd=stale", Cache::Miss),
            ("a; fwd=vary-miss", Cache::Miss),
            ("a; fwd=partial", Cache::Miss),
            ("a; fwd=bypass; detail=hit", Cache::Bypass),
            ("a; fwd=method", Cache::Bypass),
            ("a; detail=denied", Cache::Unknown),
            ("a; hit=?0", Cache::Unknown),
            ("a; hit, b; fwd=miss", Cache::Miss),
            ("a; fwd=miss, \"b; fwd=miss, \\\" c\"; key=\"x, y; fwd=miss\"; hit", Cache::Hit),
            ("a; hit, (b c)", Cache::Unknown),
            ("a; hit;; what", Cache::Unknown),
            ("", Cache::Unknown),
        ] {
            assert_eq!(parse(Some(value.as_bytes()), None), cache, "{value}");
        }
    }

    #[test]
    fn x_cache_speaks_where_cache_status_does_not() {
        for (value, cache) in [
            ("HIT", Cache::Hit),
            ("hit", Cache::Hit),
            ("MISS, HIT", Cache::Hit),
            ("HIT, MISS", Cache::Miss),
            ("TCP_MISS", Cache::Miss),
            ("TCP_MEM_HIT", Cache::Hit),
            ("Hit from cache.example", Cache::Hit),
            ("STALE", Cache::Stale),
            ("UPDATING", Cache::Stale),
            ("EXPIRED", Cache::Miss),
            ("REVALIDATED", Cache::Revalidated),
            ("RefreshHit from x", Cache::Revalidated),
            ("BYPASS", Cache::Bypass),
            ("-", Cache::Unknown),
            ("", Cache::Unknown),
        ] {
            assert_eq!(parse(None, Some(value.as_bytes())), cache, "{value}");
        }
        assert_eq!(parse(Some(b"a; fwd=miss"), Some(b"HIT")), Cache::Miss);
        assert_eq!(parse(Some(b"not a; = list"), Some(b"HIT")), Cache::Hit);
        assert_eq!(parse(Some(b"a; detail=denied"), Some(b"\xff")), Cache::Unknown);
    }
}
