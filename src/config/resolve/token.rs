//! `[token.NAME]`: what it means.

pub(super) mod bind;

use std::time::Duration;

use super::super::diagnostic::{Report, join, nearest};
use super::super::files;
use super::super::formats::{self, KeyKind, Word};
use super::super::model::{
    Carry, Entitlement, FleetAway, Secret, Session, Statuses, TOKEN_KEYS_MAX, TOKEN_NAMES_MAX, TokenFormat,
    TokenKey, TokenPlace, TokenPolicy,
};
use super::super::raw;
use super::{DAY, HOUR, duration, label, no_duplicates};
use crate::reason::Reason;

/// Statuses whose answers must tell what to do instead (RFC 9110 sections 15.5.6, 15.5.8 and 15.5.22), which refusals of
/// tokens have nothing to say of.
const DEMANDING_STATUSES: [u16; 3] = [405, 407, 426];

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn policy(
    report: &mut Report,
    name: &str,
    raw: &raw::TokenPolicy,
    around: &bind::Places<'_>,
) -> TokenPolicy {
    let key = join("token", name);
    label(report, &key, name);
    let format = formats::resolve(report, &key, raw);
    let salt =
        raw.salt_file.as_ref().map(|file| files::text_secret(report, &format!("{key}.salt_file"), file));
    if salt.is_some() && !matches!(format, TokenFormat::EdgeAuth(_)) {
        let reason = format!("has no effect: the format is \"{}\"", raw.format.as_str());
        report.mistake(&format!("{key}.salt_file"), reason, "remove it");
    }
    let places = places(report, &key, raw);
    let session = raw.session.as_ref().map(|raw| session(report, &join(&key, "session"), raw));
    let bind = raw.bind.as_ref().map(|raw| bind::bind(report, &join(&key, "bind"), raw, around));
    TokenPolicy {
        bind: bind.unwrap_or_default(),
        name: name.to_owned(),
        keys: policy_keys(report, &key, raw, &format),
        names: names(report, &key, raw),
        carry: carry(report, &key, raw, &places),
        carry_hosts: raw.carry_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        leeway: duration(report, &format!("{key}.leeway"), &raw.leeway, Duration::ZERO, HOUR),
        status: statuses(report, &key, raw),
        subject: subject(report, &key, raw, &format),
        entitlement: entitlement(report, &key, raw),
        format,
        places,
        session,
        salt,
    }
}

fn policy_keys(
    report: &mut Report,
    key: &str,
    raw: &raw::TokenPolicy,
    format: &TokenFormat,
) -> Vec<TokenKey> {
    let place = format!("{key}.keys");
    let written = raw.keys.as_deref().unwrap_or_default();
    if written.is_empty() && format.needs_keys() {
        let reason = if raw.keys.is_some() { "is empty" } else { "is missing" };
        let remedy =
            "name at least one, such as keys = [{ id = \"k1\", secret_file = \"/etc/forebay/keys/k1\" }]";
        report.mistake(&place, reason, remedy);
    }
    let keys = keys(report, &place, written, raw.format);
    if let TokenFormat::Cdni(options) = format
        && let Some(renewal) = &options.renewal
        && !written.iter().any(|key| key.id == *renewal && key.public_key_file.is_none())
    {
        let reason = format!("\"{}\" is no key that signs", renewal.escape_debug());
        let remedy = "name one of keys with private_key_file or secret_file";
        report.mistake(&format!("{key}.cdni.renewal"), reason, remedy);
    }
    keys
}

fn keys(report: &mut Report, key: &str, raw: &[raw::TokenKey], word: Word) -> Vec<TokenKey> {
    let ids = raw.iter().enumerate().map(|(place, raw)| (format!("{key}[{place}].id"), raw.id.as_str()));
    no_duplicates(report, ids);
    if raw.len() > TOKEN_KEYS_MAX {
        let reason = format!("has {} keys, and each may be tried on a token", raw.len());
        report.mistake(key, reason, format!("keep at most {TOKEN_KEYS_MAX}"));
    }
    let one =
        |(place, raw): (usize, &raw::TokenKey)| token_key(report, &format!("{key}[{place}]"), raw, word);
    raw.iter().enumerate().filter_map(one).collect()
}

fn token_key(report: &mut Report, key: &str, raw: &raw::TokenKey, word: Word) -> Option<TokenKey> {
    label(report, &format!("{key}.id"), &raw.id);
    let files = [
        (KeyKind::Shared, "secret_file", &raw.secret_file),
        (KeyKind::Public, "public_key_file", &raw.public_key_file),
        (KeyKind::Private, "private_key_file", &raw.private_key_file),
    ];
    let mut given = files.into_iter().filter_map(|(kind, name, file)| Some((kind, name, file.as_ref()?)));
    let (Some((kind, name, file)), None) = (given.next(), given.next()) else {
        let remedy = "give one of secret_file, public_key_file and private_key_file";
        report.mistake(key, "has no file, or several", remedy);
        return None;
    };
    let place = format!("{key}.{name}");
    let text = files::secret_text(report, &place, file)?;
    match word.key(kind, &text) {
        Ok(bytes) => Some(TokenKey { id: raw.id.clone(), kind, bytes: Secret(bytes) }),
        Err(error) => {
            report.mistake(&place, format!("file \"{file}\" {}", error.reason), error.remedy);
            None
        }
    }
}

fn session(report: &mut Report, key: &str, raw: &raw::Session) -> Session {
    label(report, &format!("{key}.name"), &raw.name);
    for (place, pattern) in raw.also.iter().enumerate().filter(|(_, pattern)| !pattern.starts_with('/')) {
        let reason = format!("\"{}\" covers no path", pattern.escape_debug());
        report.mistake(&format!("{key}.also[{place}]"), reason, "begin it with \"/\"");
    }
    Session {
        keys: keys(report, &format!("{key}.keys"), &raw.keys, Word::EdgeAuth),
        name: raw.name.clone(),
        life: duration(report, &format!("{key}.life"), &raw.life, MINUTE, 30 * DAY),
        scope_of_token: raw.scope == raw::SessionScope::Token,
        also: raw.also.clone(),
        bind_address: raw.bind.contains(&raw::SessionBinding::Address),
        bind_tls: raw.bind.contains(&raw::SessionBinding::Tls),
        claims: raw.claims.clone(),
    }
}

/// The claim that is the subject. Streams are counted by subject: without any, there is nothing to count.
fn subject(report: &mut Report, key: &str, raw: &raw::TokenPolicy, format: &TokenFormat) -> Option<String> {
    let claims = format.claims();
    if let Some(name) = raw.subject.as_deref().filter(|name| !claims.is_empty() && !claims.contains(name)) {
        let reason =
            format!("tokens of \"{}\" have no claim \"{}\"", raw.format.as_str(), name.escape_debug());
        report.mistake(&format!("{key}.subject"), reason, format!("write one of {}", claims.join(", ")));
    }
    // Tokens under the keys of `session` that others make may say one.
    let may_say = format.has_subject() || raw.session.is_some();
    if raw.streams.is_some() && raw.subject.is_none() && !may_say {
        let reason = format!("has no effect: tokens of \"{}\" say no subject", raw.format.as_str());
        let remedy = "name the claim that is the subject, such as subject = \"data\", or remove it";
        report.mistake(&format!("{key}.streams"), reason, remedy);
    }
    raw.subject.clone()
}

fn entitlement(report: &mut Report, key: &str, raw: &raw::TokenPolicy) -> Entitlement {
    let window = (Duration::from_secs(1), HOUR);
    let place = format!("{key}.stream_window");
    Entitlement {
        streams: raw.streams,
        stream_window: duration(report, &place, &raw.stream_window, window.0, window.1),
        once: raw.replay == raw::Replay::Once,
        fleet_away: match raw.fleet_away {
            raw::FleetAway::Open => FleetAway::Open,
            raw::FleetAway::Closed => FleetAway::Closed,
        },
    }
}

fn statuses(report: &mut Report, key: &str, raw: &raw::TokenPolicy) -> Statuses {
    let mut statuses = Statuses::default();
    for (word, status) in &raw.status {
        let place = format!("{key}.status.{word}");
        match Reason::named(word) {
            None => {
                let known = Reason::ALL.map(Reason::as_str);
                let remedy = match nearest(word, known) {
                    Some(known) => format!("did you mean \"{known}\"?"),
                    None => format!("write one of {}", known.join(", ")),
                };
                report.mistake(&place, "is not a reason for which tokens are refused", remedy);
            }
            Some(_) if !(400..=499).contains(status) => {
                report.mistake(&place, format!("{status} is no refusal"), "write a status from 400 to 499");
            }
            Some(_) if DEMANDING_STATUSES.contains(status) => {
                let reason = format!("{status} asks a client for something else than a token");
                report.mistake(&place, reason, "write another status, such as 401 or 403");
            }
            Some(reason) => statuses.set(reason, *status),
        }
    }
    statuses
}

/// A name stands in a path, a query and a cookie, so it is made of characters that mean nothing in any of them.
fn names(report: &mut Report, key: &str, raw: &raw::TokenPolicy) -> Vec<String> {
    let default = raw.format.names();
    let Some(names) = &raw.names else {
        return default.iter().map(|name| (*name).to_owned()).collect();
    };
    let place = format!("{key}.names");
    if default.is_empty() {
        let reason = format!("has no effect: a token of \"{}\" is several parameters", raw.format.as_str());
        report.mistake(&place, reason, "remove it");
    }
    if names.is_empty() {
        report.mistake(&place, "is empty", "write a name, or remove it");
    }
    if names.len() > TOKEN_NAMES_MAX {
        let reason = format!("has {} names, and each is looked for", names.len());
        report.mistake(&place, reason, format!("keep at most {TOKEN_NAMES_MAX}"));
    }
    for (at, name) in names.iter().enumerate() {
        label(report, &format!("{place}[{at}]"), name);
    }
    no_duplicates(
        report,
        names.iter().enumerate().map(|(at, name)| (format!("{place}[{at}]"), name.as_str())),
    );
    names.clone()
}

fn places(report: &mut Report, key: &str, raw: &raw::TokenPolicy) -> Vec<TokenPlace> {
    let Some(written) = &raw.places else { return raw.format.places().to_vec() };
    let model = |place: &raw::TokenPlace| match place {
        raw::TokenPlace::Path => TokenPlace::Path,
        raw::TokenPlace::PathParameter => TokenPlace::PathParameter,
        raw::TokenPlace::Query => TokenPlace::Query,
        raw::TokenPlace::Cookie => TokenPlace::Cookie,
        raw::TokenPlace::Header => TokenPlace::Header,
    };
    let places: Vec<TokenPlace> = written.iter().map(model).collect();
    if places.is_empty() {
        report.mistake(&format!("{key}.places"), "is empty", "write a place, or remove it");
    }
    let shown = places.iter().enumerate();
    no_duplicates(report, shown.map(|(at, place)| (format!("{key}.places[{at}]"), place.as_str())));
    places
}

/// How the token is carried; it must be able to stand where it is put.
fn carry(report: &mut Report, key: &str, raw: &raw::TokenPolicy, places: &[TokenPlace]) -> Carry {
    let has_name = !raw.format.names().is_empty();
    let fits = |place: TokenPlace| raw.session.is_some() || places.contains(&place);
    let path_fits = fits(TokenPlace::Path) && (has_name || raw.session.is_some());
    let (carry, word, ok) = match raw.carry {
        None if path_fits => return Carry::Path,
        None | Some(raw::Carry::None) => return Carry::None,
        Some(raw::Carry::Path) => (Carry::Path, "path", path_fits),
        Some(raw::Carry::Query) => (Carry::Query, "query", fits(TokenPlace::Query)),
        Some(raw::Carry::Cookie) => {
            if raw.session.is_none() {
                let reason =
                    "puts the token of a link into a cookie, and who opens the link again has it twice";
                report.mistake(&format!("{key}.carry"), reason, "add a session");
            }
            return Carry::Cookie;
        }
    };
    if !ok && places.iter().any(|place| place.as_str() == word) {
        let reason =
            format!("a token of \"{}\" is several parameters: it cannot be carried so", raw.format.as_str());
        report.mistake(&format!("{key}.carry"), reason, "add a session, or write \"query\"");
    } else if !ok {
        let reason = format!("lacks \"{word}\", where carry = \"{word}\" puts the token of segments");
        report.mistake(&format!("{key}.places"), reason, format!("add \"{word}\""));
    }
    carry
}
