//! Other hosts in the place of those that absolute URIs name.

use super::{each_uri, written};
use crate::carry::Syntax;
use crate::config::model::HostChange;
use crate::dash::ManifestError;
use crate::hls::edit::Edits;
use crate::key::reference::Reference;

/// Changes the hosts of absolute URIs; None: there is none to change. The scheme stays; where no host takes the place, the
/// URI is a path from the root.
///
/// # Errors
/// [`ManifestError`]: it is no manifest.
pub fn change(text: &str, syntax: Syntax, changes: &[HostChange]) -> Result<Option<String>, ManifestError> {
    let mut edits = Edits::default();
    each_uri(text, syntax, |at, says| {
        let Reference::Url { path_at, .. } = Reference::of(says) else { return };
        let (before, rest) = says.split_at_checked(path_at).unwrap_or((says, ""));
        let Some(start) = before.find("//").map(|slashes| slashes + 2) else { return };
        let (scheme, authority) = before.split_at_checked(start).unwrap_or((before, ""));
        let Some(change) = changes.iter().find(|change| names(change, scheme, authority)) else { return };
        let instead = match (change.to.as_str(), rest) {
            // A path that begins so would be taken for a host.
            ("", rest) if rest.starts_with("//") => "/.".to_owned(),
            ("", rest) if rest.starts_with('/') => String::new(),
            ("", _) => "/".to_owned(),
            (to, _) => format!("{scheme}{to}"),
        };
        let raw = text.get(at.clone()).unwrap_or_default();
        if raw.starts_with(before) {
            edits.replace(at.start..at.start + before.len(), instead);
        } else {
            edits.replace(at, written(&format!("{instead}{rest}"), syntax));
        }
    })?;
    Ok(edits.apply(text))
}

/// Whether an authority is the one that is changed. A port that is the scheme's own is none.
fn names(change: &HostChange, scheme: &str, authority: &str) -> bool {
    let split = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let (host, port) = split.unwrap_or((authority, ""));
    if !host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case(&change.host) {
        return false;
    }
    let own = match scheme.len() {
        len if len == "http://".len() => Some(80),
        len if len == "https://".len() => Some(443),
        _ => None,
    };
    let port = if port.is_empty() { None } else { port.parse::<u16>().ok().or(Some(0)) };
    match (change.port, port) {
        (None, None) => true,
        (None, Some(port)) => own.is_none_or(|own| own == port) && matches!(port, 80 | 443),
        (Some(asked), port) => port.or(own) == Some(asked),
    }
}
