//! `[token.NAME]`: what it means.

use std::time::Duration;

use super::super::diagnostic::{Report, join};
use super::super::files;
use super::super::model::{Carry, TokenFormat, TokenKey, TokenPlace, TokenPolicy};
use super::super::raw;
use super::{HOUR, duration, label, no_duplicates};

pub(super) fn policy(report: &mut Report, name: &str, raw: &raw::TokenPolicy) -> TokenPolicy {
    let key = join("token", name);
    label(report, &key, name);
    names(report, &key, &raw.names);
    let salt =
        raw.salt_file.as_ref().map(|file| files::text_secret(report, &format!("{key}.salt_file"), file));
    TokenPolicy {
        name: name.to_owned(),
        format: match raw.format {
            raw::TokenFormat::EdgeAuth => TokenFormat::EdgeAuth,
        },
        keys: keys(report, &key, &raw.keys),
        names: raw.names.clone(),
        places: places(report, &key, raw),
        carry: match raw.carry {
            raw::Carry::Path => Carry::Path,
        },
        leeway: duration(report, &format!("{key}.leeway"), &raw.leeway, Duration::ZERO, HOUR),
        salt,
    }
}

fn keys(report: &mut Report, key: &str, raw: &[raw::TokenKey]) -> Vec<TokenKey> {
    let ids = raw.iter().enumerate().map(|(place, raw)| (format!("{key}.keys[{place}].id"), raw.id.as_str()));
    no_duplicates(report, ids);
    let one = |(place, raw): (usize, &raw::TokenKey)| {
        let key = format!("{key}.keys[{place}]");
        label(report, &format!("{key}.id"), &raw.id);
        let secret = files::hex_secret(report, &format!("{key}.secret_file"), &raw.secret_file);
        TokenKey { id: raw.id.clone(), secret }
    };
    raw.iter().enumerate().map(one).collect()
}

/// A name stands in a path, a query and a cookie, so it is made of characters that mean nothing in any of them.
fn names(report: &mut Report, key: &str, raw: &[String]) {
    for (place, name) in raw.iter().enumerate() {
        label(report, &format!("{key}.names[{place}]"), name);
    }
    let shown = raw.iter().enumerate().map(|(place, name)| (format!("{key}.names[{place}]"), name.as_str()));
    no_duplicates(report, shown);
}

fn places(report: &mut Report, key: &str, raw: &raw::TokenPolicy) -> Vec<TokenPlace> {
    let word = |place: &raw::TokenPlace| match place {
        raw::TokenPlace::Path => "path",
        raw::TokenPlace::Query => "query",
        raw::TokenPlace::Cookie => "cookie",
    };
    let shown =
        raw.places.iter().enumerate().map(|(place, raw)| (format!("{key}.places[{place}]"), word(raw)));
    no_duplicates(report, shown);
    if !raw.places.contains(&raw::TokenPlace::Path) {
        let reason = "lacks \"path\", where carry = \"path\" puts the token of segments";
        report.mistake(&format!("{key}.places"), reason, "add \"path\"");
    }
    let model = |place: &raw::TokenPlace| match place {
        raw::TokenPlace::Path => TokenPlace::Path,
        raw::TokenPlace::Query => TokenPlace::Query,
        raw::TokenPlace::Cookie => TokenPlace::Cookie,
    };
    raw.places.iter().map(model).collect()
}
