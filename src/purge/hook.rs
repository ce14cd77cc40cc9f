//! The hook's signatures: `Forebay-Signature: t=UNIXSECONDS, id=KEYID, v1=HEX`, with HEX the HMAC-SHA256 (RFC 2104) of
//! `UNIXSECONDS.BODY` under the key, in hexadecimal.
//!
//! Decides who signed, whether the time is near enough, and that no signature is taken twice. A restart forgets which
//! were taken: within the window a caught one could then be sent again, and would purge the same once more.

use std::collections::BTreeSet;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;

use crate::clock::Clock;
use crate::config::model::PurgeHook;

/// The field that carries a signature.
pub const SIGNATURE: &str = "forebay-signature";

/// Signatures remembered at once, about 50 bytes each. Further ones are refused until some leave the window: one that
/// was forgotten could be taken twice.
pub const SIGNATURES_MAX: usize = 10_000;

/// Bytes of the field; a longer one is malformed.
const FIELD_BYTES_MAX: usize = 512;

/// Why a signature is not taken. Nothing has been purged then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookRefusal {
    /// There is none.
    Missing,
    /// It is not of the form, or there are two.
    Malformed,
    /// It names a key that is not configured.
    UnknownKey,
    /// It is another key's, or of another body or time.
    BadMac,
    /// Its time is further from the node's than the window.
    OutsideWindow,
    /// It was taken already.
    Replayed,
    /// Too many were taken within the window ([`SIGNATURES_MAX`]).
    Full,
}

impl HookRefusal {
    /// The word in log and answer.
    pub const fn as_str(self) -> &'static str {
        match self {
            HookRefusal::Missing => "missing",
            HookRefusal::Malformed => "malformed",
            HookRefusal::UnknownKey => "unknown_key",
            HookRefusal::BadMac => "bad_mac",
            HookRefusal::OutsideWindow => "outside_window",
            HookRefusal::Replayed => "replayed",
            HookRefusal::Full => "full",
        }
    }

    /// The status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            HookRefusal::Replayed => 409,
            HookRefusal::Full => 503,
            _ => 401,
        }
    }

    /// The reason as a sentence for people, with the remedy.
    pub const fn explanation(self) -> &'static str {
        match self {
            HookRefusal::Missing => {
                "a signature is needed: Forebay-Signature: t=UNIXSECONDS, id=KEYID, v1=HEX"
            }
            HookRefusal::Malformed => {
                "Forebay-Signature: must be one field of the form t=UNIXSECONDS, id=KEYID, v1=HEX (64 digits)"
            }
            HookRefusal::UnknownKey => "Forebay-Signature: no key of purge.hook.keys has this id",
            HookRefusal::BadMac => {
                "Forebay-Signature: v1 is not HMAC-SHA256(secret, \"UNIXSECONDS.BODY\"): sign the very bytes that are sent"
            }
            HookRefusal::OutsideWindow => {
                "Forebay-Signature: t is further from the node's time than purge.hook.window: set the clock, sign anew"
            }
            HookRefusal::Replayed => "Forebay-Signature: was taken already: sign each request anew",
            HookRefusal::Full => {
                "too many signatures were taken within purge.hook.window: ask again later, or name more in one request"
            }
        }
    }
}

/// Takes signatures.
pub struct Hook {
    keys: Vec<(String, Hmac<Sha256>)>,
    window: Duration,
    clock: Clock,
    seen: Mutex<Seen>,
}

/// Signatures taken, and the time they were compared with.
#[derive(Default)]
struct Seen {
    /// Time and MAC; those with the earliest times come first.
    taken: BTreeSet<(u64, [u8; 32])>,
    /// The latest time that this hook has read, in Unix seconds: a clock that is set back opens no window anew.
    latest: u64,
}

/// A signature, taken apart.
struct Signature<'a> {
    time: &'a str,
    id: &'a str,
    mac: [u8; 32],
}

impl Hook {
    /// Prepares the keys. Signatures are compared with `clock`.
    pub fn new(config: &PurgeHook, clock: Clock) -> Hook {
        let keyed = |secret: &[u8]| {
            // Every length of key is taken, so there is no error to tell.
            Hmac::<Sha256>::new_from_slice(secret).ok()
        };
        let keys =
            config.keys.iter().filter_map(|key| Some((key.id.clone(), keyed(&key.secret.0)?))).collect();
        Hook { keys, window: config.window, clock, seen: Mutex::default() }
    }

    /// Checks the signature of a body, and takes it; gives the name of the key. `fields` are the values of all
    /// [`SIGNATURE`] fields.
    ///
    /// # Errors
    /// The refusal, with the name of the key where one of the configured was named.
    pub fn take<'a>(
        &'a self,
        mut fields: impl Iterator<Item = &'a [u8]>,
        body: &[u8],
    ) -> Result<&'a str, (HookRefusal, Option<&'a str>)> {
        let field = fields.next().ok_or((HookRefusal::Missing, None))?;
        let signature = Signature::parse(field).filter(|_| fields.next().is_none());
        let signature = signature.ok_or((HookRefusal::Malformed, None))?;
        let time = signature.time.parse().map_err(|_| (HookRefusal::Malformed, None))?;
        let (id, key) =
            self.keys.iter().find(|(id, _)| id == signature.id).ok_or((HookRefusal::UnknownKey, None))?;
        let mut mac = key.clone();
        mac.update(signature.time.as_bytes());
        mac.update(b".");
        mac.update(body);
        // Compared in constant time.
        mac.verify_slice(&signature.mac).map_err(|_| (HookRefusal::BadMac, Some(id.as_str())))?;
        self.note(time, signature.mac).map_err(|refusal| (refusal, Some(id.as_str())))?;
        Ok(id)
    }

    /// Notes a genuine signature, unless its time is too far away or it was noted already.
    fn note(&self, time: u64, mac: [u8; 32]) -> Result<(), HookRefusal> {
        let now = self.clock.unix_seconds();
        let window = self.window.as_secs();
        let mut seen = self.seen.lock();
        seen.latest = seen.latest.max(now);
        let first = seen.latest.saturating_sub(window);
        seen.taken = seen.taken.split_off(&(first, [0; 32]));
        if time < first || time > now.saturating_add(window) {
            Err(HookRefusal::OutsideWindow)
        } else if seen.taken.contains(&(time, mac)) {
            Err(HookRefusal::Replayed)
        } else if seen.taken.len() >= SIGNATURES_MAX {
            Err(HookRefusal::Full)
        } else {
            seen.taken.insert((time, mac));
            Ok(())
        }
    }
}

impl<'a> Signature<'a> {
    /// Each of the three parameters once, in any order, and no others; `t` is digits without a sign.
    fn parse(field: &'a [u8]) -> Option<Signature<'a>> {
        let text = std::str::from_utf8(field).ok().filter(|text| text.len() <= FIELD_BYTES_MAX)?;
        let (mut time, mut id, mut hex) = (None, None, None);
        for parameter in text.split(',') {
            let (name, value) = parameter.trim().split_once('=')?;
            let place = match name {
                "t" => &mut time,
                "id" => &mut id,
                "v1" => &mut hex,
                _ => return None,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        let time = time.filter(|time: &&str| time.bytes().all(|byte| byte.is_ascii_digit()))?;
        let mut mac = [0; 32];
        hex::decode_to_slice(hex?, &mut mac).ok()?;
        Some(Signature { time, id: id?, mac })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::config::model::{HookKey, Secret};

    const NOW: u64 = 1_700_000_000;
    const BODY: &[u8] = br#"{"everything": true}"#;

    fn hook() -> (Hook, Clock) {
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(NOW));
        let key = |id: &str| HookKey { id: id.to_owned(), secret: Secret(format!("secret of {id}").into()) };
        let config = PurgeHook { keys: vec![key("old"), key("new")], window: Duration::from_secs(300) };
        (Hook::new(&config, clock.clone()), clock)
    }

    fn hex_of(id: &str, time: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(format!("secret of {id}").as_bytes()).unwrap();
        mac.update(format!("{time}.").as_bytes());
        mac.update(body);
        hex::encode(mac.finalize().into_bytes())
    }

    fn signed(id: &str, time: u64, body: &[u8]) -> String {
        format!("t={time}, id={id}, v1={}", hex_of(id, time, body))
    }

    fn take(hook: &Hook, field: &str, body: &[u8]) -> Result<String, HookRefusal> {
        let fields = [field.as_bytes().to_vec()];
        let taken = hook.take(fields.iter().map(Vec::as_slice), body);
        taken.map(str::to_owned).map_err(|(refusal, _)| refusal)
    }

    #[test]
    fn a_known_signature_of_the_published_form_is_taken() {
        // `printf '%s' '1700000000.{"everything": true}' | openssl dgst -sha256 -hmac 'secret of old'`
        let (hook, _) = hook();
        let field =
            "t=1700000000, id=old, v1=9db5a771774e94ae08b41be2279240256f4d27b02f6b441d6c8ea8757df979d2";
        assert_eq!(take(&hook, field, BODY), Ok("old".to_owned()));
    }

    #[test]
    fn every_configured_key_may_sign_and_no_other() {
        let (hook, _) = hook();
        assert_eq!(take(&hook, &signed("old", NOW, BODY), BODY), Ok("old".to_owned()));
        assert_eq!(take(&hook, &signed("new", NOW, BODY), BODY), Ok("new".to_owned()));
        assert_eq!(take(&hook, &signed("other", NOW, BODY), BODY), Err(HookRefusal::UnknownKey));
        let crossed = format!("t={NOW}, id=new, v1={}", hex_of("old", NOW, BODY));
        assert_eq!(take(&hook, &crossed, BODY), Err(HookRefusal::BadMac));
    }

    #[test]
    fn a_signature_is_of_one_body_and_one_time() {
        let (hook, _) = hook();
        let field = signed("old", NOW, BODY);
        assert_eq!(take(&hook, &field, b"{}"), Err(HookRefusal::BadMac));
        let moved = field.replace(&NOW.to_string(), &(NOW + 1).to_string());
        assert_eq!(take(&hook, &moved, BODY), Err(HookRefusal::BadMac));
        assert_eq!(take(&hook, &field, BODY), Ok("old".to_owned()));
    }

    #[test]
    fn outside_the_window_nothing_is_taken_and_inside_nothing_twice() {
        let (hook, clock) = hook();
        for time in [NOW - 301, NOW + 301] {
            assert_eq!(
                take(&hook, &signed("old", time, BODY), BODY),
                Err(HookRefusal::OutsideWindow),
                "{time}"
            );
        }
        let (early, late) = (signed("old", NOW - 300, BODY), signed("old", NOW + 300, BODY));
        for field in [&early, &late] {
            assert_eq!(take(&hook, field, BODY), Ok("old".to_owned()), "{field}");
            assert_eq!(take(&hook, field, BODY), Err(HookRefusal::Replayed), "{field}");
        }
        clock.advance(Duration::from_secs(600));
        assert_eq!(take(&hook, &early, BODY), Err(HookRefusal::OutsideWindow));
        assert_eq!(take(&hook, &late, BODY), Err(HookRefusal::Replayed));
        clock.advance(Duration::from_secs(1));
        assert_eq!(take(&hook, &late, BODY), Err(HookRefusal::OutsideWindow));
    }

    #[test]
    fn a_refused_signature_is_not_used_up() {
        let (hook, clock) = hook();
        let field = signed("old", NOW + 400, BODY);
        assert_eq!(take(&hook, &field, BODY), Err(HookRefusal::OutsideWindow));
        clock.advance(Duration::from_secs(200));
        assert_eq!(take(&hook, &field, BODY), Ok("old".to_owned()));
    }

    #[test]
    fn when_the_memory_is_full_new_signatures_are_refused_and_none_is_forgotten() {
        let (hook, clock) = hook();
        let body = |number: usize| number.to_string().into_bytes();
        for number in 0..SIGNATURES_MAX {
            take(&hook, &signed("old", NOW, &body(number)), &body(number)).unwrap();
        }
        let further = body(SIGNATURES_MAX);
        assert_eq!(take(&hook, &signed("old", NOW, &further), &further), Err(HookRefusal::Full));
        assert_eq!(take(&hook, &signed("old", NOW, &body(0)), &body(0)), Err(HookRefusal::Replayed));
        clock.advance(Duration::from_secs(301));
        assert_eq!(take(&hook, &signed("old", NOW + 301, &further), &further), Ok("old".to_owned()));
        assert_eq!(hook.seen.lock().taken.len(), 1);
    }

    #[test]
    fn a_clock_that_is_set_back_opens_no_window_anew() {
        let (hook, clock) = hook();
        let field = signed("old", NOW, BODY);
        assert_eq!(take(&hook, &field, BODY), Ok("old".to_owned()));
        clock.advance(Duration::from_secs(301));
        assert_eq!(take(&hook, &field, BODY), Err(HookRefusal::OutsideWindow));
        let back = Hook { clock: Clock::manual(UNIX_EPOCH + Duration::from_secs(NOW)), ..hook };
        assert_eq!(take(&back, &field, BODY), Err(HookRefusal::OutsideWindow));
    }

    #[test]
    fn what_is_not_of_the_form_is_malformed() {
        let (hook, _) = hook();
        let hex = hex_of("old", NOW, BODY);
        for field in [
            String::new(),
            format!("t={NOW}, id=old"),
            format!("t={NOW}, id=old, v1={}", &hex[2..]),
            format!("t={NOW}, id=old, v1={hex}00"),
            format!("t=+{NOW}, id=old, v1={hex}"),
            format!("t=, id=old, v1={hex}"),
            format!("t={NOW}, t={NOW}, id=old, v1={hex}"),
            format!("t={NOW}, id=old, v1={hex}, v2=1"),
            format!("t={NOW}; id=old; v1={hex}"),
            format!("t=99999999999999999999, id=old, v1={hex}"),
            format!("t={NOW}, id=old, v1={hex}{}", " ".repeat(FIELD_BYTES_MAX)),
        ] {
            assert_eq!(take(&hook, &field, BODY), Err(HookRefusal::Malformed), "{field}");
        }
        let field = signed("old", NOW, BODY);
        let two = hook.take([field.as_bytes(), field.as_bytes()].into_iter(), BODY);
        assert_eq!(two, Err((HookRefusal::Malformed, None)));
        assert_eq!(hook.take(std::iter::empty(), BODY), Err((HookRefusal::Missing, None)));
        assert_eq!(take(&hook, &format!("v1={hex},id=old,t={NOW}"), BODY), Ok("old".to_owned()));
    }
}
