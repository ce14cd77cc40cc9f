//! The signature of a hop: HMAC-SHA256 over the field itself, and the method, host and target that it is for.
//!
//! The first key signs, and all of them verify, so that keys change one node after the other. A field is good for its own
//! request alone, and for [`LEEWAY`] around the time in it: whoever reads one off the wire can ask for the same again, and
//! for nothing else, for so long.

use std::time::Duration;

use super::hop::{Hop, Read};
use crate::admission::token::mac::Code;
use crate::config::formats::hash::Hash;
use crate::config::model::NodeKey;

/// How far the time of a field may be from this node's own, before and after.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// Why a field is not believed. The word is a metric label; nobody else is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum Refusal {
    /// It is not of the form, or stands there twice.
    Malformed,
    /// It is of another version.
    Version,
    /// It is not signed, and the connection has no certificate of a node.
    Unsigned,
    /// It is signed with a key that this node does not have.
    UnknownKey,
    /// Its time is too long ago, or to come.
    Expired,
    /// The signature is not the one of this request.
    Signature,
}

impl Refusal {
    /// Every reason, in the order of the discriminants.
    pub const ALL: [Refusal; 6] = [
        Refusal::Malformed,
        Refusal::Version,
        Refusal::Unsigned,
        Refusal::UnknownKey,
        Refusal::Expired,
        Refusal::Signature,
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::Version => "version",
            Refusal::Unsigned => "unsigned",
            Refusal::UnknownKey => "unknown_key",
            Refusal::Expired => "expired",
            Refusal::Signature => "signature",
        }
    }
}

/// What a field is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// The host as it is sent, with its port where it has one; case does not count.
    pub(super) host: &'a str,
    /// Path and query as they are sent.
    pub(super) target: &'a [u8],
}

/// The keys of a node, ready for use.
pub(super) struct Keys(Vec<(Box<str>, Code)>);

impl Keys {
    pub(super) fn new(keys: &[NodeKey]) -> Keys {
        let ready = |key: &NodeKey| (key.id.as_str().into(), Code::new(Hash::Sha256, &key.secret.0));
        Keys(keys.iter().map(ready).collect())
    }

    /// The field of a request, signed where there is a key.
    pub(super) fn sign(&self, hop: &Hop, request: &Request<'_>, now_unix: u64) -> String {
        let Some((id, code)) = self.0.first() else { return hop.text(None, now_unix) };
        let mut text = hop.text(Some(id), now_unix);
        let signature = of(code, &text, request).bytes();
        text.push_str(";s=");
        text.push_str(&hex::encode(signature));
        text
    }

    /// What a request's field says, if it is to be believed. `trusted`: the connection vouches for who is at its other end.
    pub(super) fn verify(
        &self,
        field: &[u8],
        request: &Request<'_>,
        now_unix: u64,
        trusted: bool,
    ) -> Result<Hop, Refusal> {
        let Read { signed, time, hop } = Read::of(field)?;
        let Some((id, signature, text)) = signed else {
            return if trusted { Ok(hop) } else { Err(Refusal::Unsigned) };
        };
        let known = self.0.iter().find(|(known, _)| **known == *id);
        let (_, code) = known.ok_or(Refusal::UnknownKey)?;
        let signature = hex::decode(signature).map_err(|_| Refusal::Malformed)?;
        if !of(code, text, request).is(&signature) {
            return Err(Refusal::Signature);
        }
        if now_unix.abs_diff(time) > LEEWAY.as_secs() {
            return Err(Refusal::Expired);
        }
        Ok(hop)
    }
}

/// The code of a field's text together with what it is for. None of the parts holds a line end, so that no two sets of
/// parts are one text.
fn of(code: &Code, text: &str, request: &Request<'_>) -> Code {
    let mut code = code.clone();
    let host = request.host.to_ascii_lowercase();
    let parts = [b"forebay hop", request.method.as_bytes(), host.as_bytes(), request.target, text.as_bytes()];
    for part in parts {
        code.update(part);
        code.update(b"\n");
    }
    code
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::Role;
    use super::*;
    use crate::admission::token::Claims;
    use crate::config::model::Secret;

    const NOW: u64 = 1_900_000_000;

    const REQUEST: Request<'static> =
        Request { method: "GET", host: "live.example.com", target: b"/a/b.m3u8?_HLS_msn=3" };

    fn keys(ids: &[&str]) -> Keys {
        let key =
            |id: &&str| NodeKey { id: (*id).to_owned(), secret: Secret(format!("secret of {id}").into()) };
        Keys::new(&ids.iter().map(key).collect::<Vec<_>>())
    }

    fn hop() -> Hop {
        let claims = Claims::new([("id", "42".to_owned())]);
        Hop { role: Role::Edge, name: "edge-1".into(), nodes: 1, watermark: None, hold: None, claims }
    }

    #[test]
    fn a_field_is_believed_for_its_own_request_for_a_minute() {
        let keys = keys(&["new", "old"]);
        let field = keys.sign(&hop(), &REQUEST, NOW);
        let verify = |request: &Request<'_>, now| keys.verify(field.as_bytes(), request, now, false);
        assert_eq!(verify(&REQUEST, NOW), Ok(hop()));
        assert_eq!(verify(&Request { host: "LIVE.example.com", ..REQUEST }, NOW), Ok(hop()));
        for now in [NOW - 60, NOW + 60] {
            assert_eq!(verify(&REQUEST, now), Ok(hop()));
        }
        for now in [NOW - 61, NOW + 61, 0] {
            assert_eq!(verify(&REQUEST, now), Err(Refusal::Expired));
        }
        for other in [
            Request { method: "HEAD", ..REQUEST },
            Request { host: "live.example.org", ..REQUEST },
            Request { host: "live.example.com:80", ..REQUEST },
            Request { target: b"/a/b.m3u8?_HLS_msn=4", ..REQUEST },
            Request { target: b"/a/b.m3u8", ..REQUEST },
        ] {
            assert_eq!(verify(&other, NOW), Err(Refusal::Signature), "{other:?}");
        }
    }

    #[test]
    fn every_word_of_a_field_is_signed() {
        let keys = keys(&["new"]);
        let field = keys.sign(&hop(), &REQUEST, NOW);
        for (from, to) in [
            ("r=edge", "r=peer"),
            ("n=edge-1", "n=edge-2"),
            ("c.id=42", "c.id=43"),
            ("d=1", "d=2"),
            ("d=1", "d=1;h=5"),
        ] {
            let forged = field.replace(from, to);
            assert_ne!(forged, field);
            assert_eq!(
                keys.verify(forged.as_bytes(), &REQUEST, NOW, false),
                Err(Refusal::Signature),
                "{forged}"
            );
        }
        let cut = &field.as_bytes()[..field.len() - 2];
        assert_eq!(keys.verify(cut, &REQUEST, NOW, false), Err(Refusal::Signature));
        let cut = &field.as_bytes()[..field.len() - 1];
        assert_eq!(keys.verify(cut, &REQUEST, NOW, false), Err(Refusal::Malformed));
    }

    #[test]
    fn the_first_key_signs_and_every_key_verifies() {
        let (before, during, after) = (keys(&["old"]), keys(&["new", "old"]), keys(&["new"]));
        let verify = |signer: &Keys, verifier: &Keys| {
            let field = signer.sign(&hop(), &REQUEST, NOW);
            verifier.verify(field.as_bytes(), &REQUEST, NOW, false).map(|_| ())
        };
        assert_eq!(verify(&before, &during), Ok(()));
        assert_eq!(verify(&during, &after), Ok(()));
        assert_eq!(verify(&during, &before), Err(Refusal::UnknownKey));
        assert_eq!(verify(&before, &after), Err(Refusal::UnknownKey));
        assert_eq!(verify(&before, &keys(&[])), Err(Refusal::UnknownKey));
    }

    #[test]
    fn what_is_not_signed_is_believed_only_where_the_connection_vouches_for_it() {
        let none = keys(&[]);
        let field = none.sign(&hop(), &REQUEST, NOW);
        assert!(!field.contains(";s="));
        for verifier in [&none, &keys(&["new"])] {
            assert_eq!(verifier.verify(field.as_bytes(), &REQUEST, NOW, false), Err(Refusal::Unsigned));
            assert_eq!(verifier.verify(field.as_bytes(), &REQUEST, NOW, true), Ok(hop()));
        }
    }
}
