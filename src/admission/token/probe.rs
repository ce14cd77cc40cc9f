//! What the tests of formats share: policies with keys, and the proof that no bit of a token can be flipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{Admission, Denied, Policy, Presented, Reason};
use crate::config::model::{KeyKind, Secret, TokenFormat, TokenKey, TokenPlace, TokenPolicy};

/// Bytes of verdicts.
const VERDICT_BYTES: u64 = 1 << 20;

/// Keys `k1`, `k2`, ... of one kind.
pub(super) fn keys(kind: KeyKind, secrets: &[&[u8]]) -> Vec<TokenKey> {
    let key = |(place, bytes): (usize, &&[u8])| TokenKey {
        id: format!("k{}", place + 1),
        kind,
        bytes: Secret(bytes.to_vec()),
    };
    secrets.iter().enumerate().map(key).collect()
}

/// Shared keys `k1`, `k2`, ...
pub(super) fn shared(secrets: &[&[u8]]) -> Vec<TokenKey> {
    keys(KeyKind::Shared, secrets)
}

/// A policy with every default.
pub(super) fn policy(format: TokenFormat, keys: Vec<TokenKey>) -> Policy {
    policy_with_salt(format, keys, None)
}

/// A policy with every default, and a salt.
pub(super) fn policy_with_salt(format: TokenFormat, keys: Vec<TokenKey>, salt: Option<&[u8]>) -> Policy {
    let salt = salt.map(|salt| Secret(salt.to_vec()));
    Policy::from_config(&TokenPolicy { salt, ..TokenPolicy::new("viewer", format, keys) }, VERDICT_BYTES)
}

/// What a policy says of a token in the query.
pub(super) fn admit(
    policy: &Policy,
    name: &str,
    token: &str,
    request: &Presented<'_>,
) -> Result<Admission, Denied> {
    let query = match request.query {
        Some(query) => format!("{query}&{name}={token}"),
        None => format!("{name}={token}"),
    };
    policy.admit(&Presented { query: Some(&query), place: TokenPlace::Query, ..*request })
}

/// The reason for which a policy refuses a token in the query.
pub(super) fn refusal(policy: &Policy, name: &str, token: &str, request: &Presented<'_>) -> Option<Reason> {
    admit(policy, name, token, request).err().map(|denied| denied.reason)
}

/// Flips each bit of a token that is admitted, one at a time: none of the others is, neither before nor after the
/// right one has been verified.
pub(super) fn no_bit_can_be_flipped(policy: &Policy, name: &str, token: &str, request: &Presented<'_>) {
    for _ in 0..2 {
        for place in 0..token.len() {
            for bit in 0..8 {
                let mut flipped = token.as_bytes().to_vec();
                flipped[place] ^= 1 << bit;
                // A token that is no text never arrives here: header values and targets are checked before.
                let Ok(flipped) = String::from_utf8(flipped) else { continue };
                let reason = refusal(policy, name, &flipped, request);
                assert!(
                    matches!(reason, Some(Reason::Malformed | Reason::BadMac)),
                    "{flipped} for {token}: {reason:?}"
                );
            }
        }
        assert_eq!(refusal(policy, name, token, request), None, "{token}");
    }
}
