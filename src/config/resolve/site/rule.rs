//! `[[site.rule]]`: what it means, and whether it can ever apply.

use std::time::Duration;

use http::Method;
use wildmatch::WildMatch;

use crate::asset::Kind;

use super::super::super::diagnostic::Report;
use super::super::super::model::{
    By, DiskAdmission, KeyParts, Late, LowLatency, Prefetch, RequestHeaders, Rule, Steering, SteeringTag,
};
use super::super::super::raw;
use super::super::{DURATION_MAX, duration, no_duplicates, size, steering};
use super::QUOTA_BYTES_MIN;

mod parts;

pub(super) use parts::query_name;
pub(in super::super) use parts::request_headers;

/// What part of `store.memory` the objects of a rule keyed by user may take, where the rule does not say: a tenth.
const QUOTA_SHARE: u64 = 10;

/// What a rule has to go together with.
pub(super) struct OfSite<'a> {
    /// Methods that the site takes.
    pub(super) methods: &'a [Method],
    /// Claims that its tokens have. None: it asks for no token.
    pub(super) claims: Option<&'static [&'static str]>,
    /// `store.memory`, in bytes.
    pub(super) memory: u64,
    /// Its content steering.
    pub(super) steering: Option<&'a Steering>,
}

/// `site` is the key of the site.
pub(super) fn rules(report: &mut Report, site: &str, raw: &[raw::Rule], of_site: &OfSite<'_>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::with_capacity(raw.len());
    for (place, raw_rule) in raw.iter().enumerate() {
        let key = format!("{site}.rule[{place}]");
        let rule = rule(report, &key, raw_rule, of_site);
        if let Some(first) = rules.iter().position(|earlier| covers(earlier, &rule)) {
            let reason = format!(
                "never applies: {site}.rule[{first}] stands before it and matches all that it matches"
            );
            report.mistake(&key, reason, "put it before that rule, or remove it");
        }
        rules.push(rule);
    }
    rules
}

fn rule(report: &mut Report, key: &str, raw: &raw::Rule, of_site: &OfSite<'_>) -> Rule {
    let methods = methods(report, &format!("{key}.methods"), raw, of_site.methods);
    ineffective(report, key, raw, &methods);
    let parts = raw.key.as_ref();
    let parts = parts.map(|raw| parts::key(report, &format!("{key}.key"), raw, of_site.claims));
    let parts = parts.unwrap_or_default();
    let quota = quota(report, key, raw, &parts, of_site.memory);
    let playlist = raw.playlist.as_ref().map(|raw| {
        let query = parts.query.as_deref();
        super::playlist::playlist(report, &format!("{key}.playlist"), raw, of_site.claims, query)
    });
    playlist_conditions(report, key, raw);
    let mut time = |name: &str, written: &Option<raw::Duration>| {
        let key = format!("{key}.{name}");
        written.as_ref().map(|written| duration(report, &key, written, Duration::ZERO, DURATION_MAX))
    };
    let ttl = time("ttl", &raw.ttl);
    let browser_ttl = time("browser_ttl", &raw.browser_ttl);
    let stale_while_revalidate = time("stale_while_revalidate", &raw.stale_while_revalidate);
    let stale_if_error = time("stale_if_error", &raw.stale_if_error);
    let kinds = kinds(report, &format!("{key}.kind"), raw);
    Rule {
        path: raw.path.as_ref().map(|written| path(report, &format!("{key}.path"), written)),
        prefetch: prefetch(report, &format!("{key}.prefetch"), raw, &kinds, &parts),
        kinds,
        status: status(report, &format!("{key}.status"), raw),
        ttl,
        browser_ttl,
        stale_while_revalidate,
        stale_if_error,
        bypass: raw.bypass,
        methods,
        request_headers: raw
            .request_headers
            .as_ref()
            .map(|raw| parts::request_headers(report, &format!("{key}.request_headers"), raw)),
        forward: parts::forward(report, &format!("{key}.forward"), &raw.forward, &parts),
        key: parts,
        obey_client: raw.obey_client,
        headers: raw
            .headers
            .as_ref()
            .map(|raw| parts::changes(report, &format!("{key}.headers"), raw))
            .unwrap_or_default(),
        quota,
        classify: raw.classify.as_ref().and_then(|word| classify(report, key, raw, word)),
        low_latency: raw.low_latency.as_ref().map(low_latency).unwrap_or_default(),
        guard: raw.guard,
        playlist: playlist.unwrap_or_default(),
        cmsd: raw.cmsd,
        steering: steered(report, key, raw, of_site),
        shared: raw.shared && sharing(report, key, quota),
        disk: raw.disk.map(|written| match written {
            raw::DiskAdmission::Second => DiskAdmission::Second,
            raw::DiskAdmission::Always => DiskAdmission::Always,
            raw::DiskAdmission::Never => DiskAdmission::Never,
        }),
    }
}

/// Whether anything of a rule may be shared with other nodes.
fn sharing(report: &mut Report, key: &str, quota: Option<u64>) -> bool {
    let key = format!("{key}.shared");
    if quota.is_some() {
        let reason = "goes against a key by user: one user's objects stay on the node";
        report.mistake(&key, reason, "remove it, or take cookies, claims and authorization out of the key");
    }
    true
}

/// What paths count as is asked before anything else is known of a request.
fn classify(report: &mut Report, key: &str, raw: &raw::Rule, word: &raw::KindWord) -> Option<Kind> {
    let key = format!("{key}.classify");
    if raw.path.is_none() {
        report.mistake(&key, "would make every path of the site the same", "add the path that it is for");
    }
    let conditions = [
        ("kind", raw.kind.is_some()),
        ("status", raw.status.is_some()),
        ("methods", raw.methods.is_some()),
        ("request_headers", raw.request_headers.is_some()),
    ];
    for (name, _) in conditions.iter().filter(|(_, written)| *written) {
        let reason = format!("cannot depend on {name}: what a path is, is asked first");
        report.mistake(&key, reason, "move it to a rule that has a path and no other condition");
    }
    kind(report, &key, word)
}

/// Only what lists variants is told of steering.
fn steered(report: &mut Report, key: &str, raw: &raw::Rule, of_site: &OfSite<'_>) -> Option<SteeringTag> {
    let written = raw.steering.as_ref()?;
    let key = format!("{key}.steering");
    if let Some(kinds) = &raw.kind {
        let tells = |word: &raw::KindWord| {
            [Kind::MultivariantPlaylist, Kind::Manifest].iter().any(|kind| kind.as_str() == word.0)
        };
        if !kinds.places().iter().any(|(_, word)| tells(word)) {
            let reason =
                "has no effect beside kind: only multivariant playlists and manifests are told of steering";
            report.mistake(&key, reason, "add \"multivariant_playlist\" or \"manifest\" to kind");
        }
    }
    steering::tag(report, &key, written, of_site.steering)
}

/// Only playlists and manifests are changed. What is dropped from keys is asked of the path alone: segments are asked for in
/// other ways than what names them.
fn playlist_conditions(report: &mut Report, key: &str, raw: &raw::Rule) {
    let Some(playlist) = &raw.playlist else { return };
    let kinds = [Kind::MultivariantPlaylist, Kind::MediaPlaylist, Kind::Manifest].map(Kind::as_str);
    if let Some(written) = &raw.kind
        && !written.places().iter().any(|(_, word)| kinds.contains(&word.0.as_str()))
    {
        let changes = [("hosts", !playlist.hosts.is_empty()), ("variants", playlist.variants.is_some())];
        for (name, _) in changes.iter().filter(|(_, written)| *written) {
            let reason = "has no effect: the rule is for kinds that are no playlist and no manifest";
            let remedy = format!("add one of {} to kind, or remove it", kinds.join(", "));
            report.mistake(&format!("{key}.playlist.{name}"), reason, remedy);
        }
    }
    if playlist.drop_parameters.is_empty() {
        return;
    }
    let conditions = [("methods", raw.methods.is_some()), ("request_headers", raw.request_headers.is_some())];
    for (name, _) in conditions.iter().filter(|(_, written)| *written) {
        let reason = format!("cannot depend on {name}: it is for all requests of these paths");
        let remedy = "move it to a rule without that condition";
        report.mistake(&format!("{key}.playlist.drop_parameters"), reason, remedy);
    }
}

fn low_latency(raw: &raw::LowLatency) -> LowLatency {
    let by = |raw: raw::By| match raw {
        raw::By::Origin => By::Origin,
        raw::By::Edge => By::Edge,
    };
    let late = match raw.late {
        raw::Late::Error => Late::Error,
        raw::Late::Stale => Late::Stale,
    };
    LowLatency { reload: by(raw.reload), delta: by(raw.delta), late }
}

fn prefetch(report: &mut Report, key: &str, raw: &raw::Rule, kinds: &[Kind], parts: &KeyParts) -> Prefetch {
    let word = |raw: &raw::Prefetch| match raw {
        raw::Prefetch::Segments => "segments",
        raw::Prefetch::Hints => "hints",
        raw::Prefetch::Cmcd => "cmcd",
    };
    let words: Vec<&str> = raw.prefetch.iter().map(word).collect();
    no_duplicates(report, words.iter().enumerate().map(|(place, word)| (format!("{key}[{place}]"), *word)));
    let has = |word| words.contains(&word);
    if (has("segments") || has("hints")) && !kinds.is_empty() && !kinds.contains(&Kind::MediaPlaylist) {
        let reason = "has no effect: the rule is not for the playlists that name what comes next";
        report.mistake(key, reason, "add \"media_playlist\" to kind, or move it to the rule for playlists");
    }
    if !words.is_empty() && (parts.is_of_request() || raw.request_headers.is_some()) {
        let reason =
            "has no effect beside what depends on a request's fields: nobody knows those of the next one";
        report.mistake(key, reason, "remove it, or move it to a rule without them");
    }
    Prefetch { segments: has("segments"), hints: has("hints"), cmcd: has("cmcd") }
}

/// Settings that cannot do anything beside others of the rule.
fn ineffective(report: &mut Report, key: &str, raw: &raw::Rule, methods: &[Method]) {
    let caching = [
        ("ttl", raw.ttl.is_some()),
        ("stale_while_revalidate", raw.stale_while_revalidate.is_some()),
        ("stale_if_error", raw.stale_if_error.is_some()),
        ("browser_ttl", raw.browser_ttl.is_some()),
        ("key", raw.key.is_some()),
        ("disk", raw.disk.is_some()),
        ("forward", !raw.forward.is_empty()),
        ("obey_client", raw.obey_client),
        ("low_latency", raw.low_latency.is_some()),
        ("prefetch", !raw.prefetch.is_empty()),
        ("guard", !raw.guard),
        ("playlist", raw.playlist.is_some()),
        ("cmsd", raw.cmsd),
        ("steering", raw.steering.is_some()),
        ("shared", raw.shared),
    ];
    let mut written = |names: &[(&str, bool)], reason: &str, remedy: &str| {
        for (name, _) in names.iter().filter(|(_, written)| *written) {
            report.mistake(&format!("{key}.{name}"), reason, remedy);
        }
    };
    if !methods.is_empty() && !methods.contains(&Method::GET) {
        let reason =
            "has no effect beside methods without GET: other methods pass through and are never cached";
        written(&caching, reason, "add \"GET\" to methods, or remove one of the two");
        written(&[("bypass", raw.bypass)], reason, "remove it");
    }
    let kinds = raw.kind.as_ref().map(raw::OneOrMany::places).unwrap_or_default();
    let of_keys = !kinds.is_empty() && kinds.iter().all(|(_, word)| word.0 == Kind::Key.as_str());
    if of_keys || raw.classify.as_ref().is_some_and(|word| word.0 == Kind::Key.as_str()) {
        let reason = "has no effect: keys and licences pass through and are never kept";
        written(&caching, reason, "remove it");
    }
    if raw.bypass {
        let reason = "has no effect beside bypass = true";
        written(&[("status", raw.status.is_some())], reason, "remove one of the two");
        written(&caching, reason, "remove one of the two");
    } else if raw.status.is_some() {
        let remedy = "move it to a rule without status";
        let key = [("key", raw.key.is_some())];
        written(&key, "has no effect beside status: the key is made before there is an answer", remedy);
        let obey = [
            ("obey_client", raw.obey_client),
            ("forward", !raw.forward.is_empty()),
            ("prefetch", !raw.prefetch.is_empty()),
        ];
        written(&obey, "has no effect beside status: requests come before there is an answer", remedy);
        let playlist = [("playlist", raw.playlist.is_some())];
        written(&playlist, "has no effect beside status: only answers of 200 are changed", remedy);
    }
}

/// Those of a rule are among the site's; GET stands for HEAD too, which is answered by the same objects.
fn methods(report: &mut Report, key: &str, raw: &raw::Rule, of_site: &[Method]) -> Vec<Method> {
    let Some(written) = &raw.methods else { return Vec::new() };
    let methods = super::methods(report, key, written);
    for (place, word) in written.iter().enumerate() {
        let key = format!("{key}[{place}]");
        if word == "HEAD" {
            let reason = "HEAD is answered by what GET has brought";
            report.mistake(&key, reason, "write \"GET\", which stands for both");
        } else if methods.iter().any(|method| method.as_str() == word)
            && !of_site.iter().any(|method| method.as_str() == word)
        {
            let reason = format!("{word} is refused: the site's methods do not name it");
            report.mistake(&key, reason, "add it to the site's methods, or remove it");
        }
    }
    methods
}

/// Objects of users never go to disk, and may not push out what everybody asks for.
fn quota(report: &mut Report, key: &str, raw: &raw::Rule, parts: &KeyParts, memory: u64) -> Option<u64> {
    let by_user = parts.is_by_user();
    let quota_key = format!("{key}.quota");
    if by_user && raw.disk.is_some() {
        let reason = "has no effect on a rule keyed by user: its objects stay in memory";
        report.mistake(&format!("{key}.disk"), reason, "remove it");
    }
    if !by_user && raw.quota.is_some() {
        let reason = "has no effect on a rule that is not keyed by user";
        let remedy = "remove it, or name cookies, claims or \"authorization\" in the rule's key";
        report.mistake(&quota_key, reason, remedy);
    }
    let written = raw.quota.as_ref();
    let written =
        written.map(|written| size(report, &quota_key, written, QUOTA_BYTES_MIN.min(memory), memory));
    by_user.then(|| written.unwrap_or(memory / QUOTA_SHARE))
}

fn path(report: &mut Report, key: &str, written: &str) -> WildMatch {
    let reason = |why: &str| format!("\"{}\" {why}", written.escape_debug());
    if !written.starts_with(['/', '*']) {
        let remedy = format!("write \"/{}\" or \"*{}\"", written.escape_debug(), written.escape_debug());
        report.mistake(key, reason("matches no path: every path begins with \"/\""), remedy);
    } else if written.contains('#') || written.contains("://") {
        report.mistake(key, reason("matches no path"), "write the path alone, such as \"/live/*\"");
    } else if !written.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte)) {
        let remedy = "encode what is no ASCII letter or digit as it is sent, such as \"%C3%A9\"";
        report.mistake(key, reason("matches no path in normal form"), remedy);
    }
    WildMatch::new(written)
}

fn kinds(report: &mut Report, key: &str, raw: &raw::Rule) -> Vec<Kind> {
    let Some(written) = &raw.kind else { return Vec::new() };
    let places = written.places();
    let mut kinds = Vec::with_capacity(places.len());
    for (place, word) in &places {
        kinds.extend(kind(report, &format!("{key}{place}"), word));
    }
    no_duplicates(report, places.iter().map(|(place, word)| (format!("{key}{place}"), word.0.as_str())));
    kinds
}

fn kind(report: &mut Report, key: &str, word: &raw::KindWord) -> Option<Kind> {
    let kind = Kind::from_word(&word.0);
    if kind.is_none() {
        let words = Kind::ALL.map(Kind::as_str).join(", ");
        let reason = format!("\"{}\" is not a kind", word.0.escape_debug());
        report.mistake(key, reason, format!("write one of {words}"));
    }
    kind
}

fn status(report: &mut Report, key: &str, raw: &raw::Rule) -> Vec<u16> {
    let Some(written) = &raw.status else { return Vec::new() };
    let places = written.places();
    let words: Vec<String> = places.iter().map(|(_, status)| status.0.to_string()).collect();
    no_duplicates(
        report,
        places.iter().zip(&words).map(|((place, _), word)| (format!("{key}{place}"), word.as_str())),
    );
    places.iter().map(|(_, status)| status.0).collect()
}

/// Whether an earlier rule matches everything that a later one does. Says no where it is not certain.
fn covers(earlier: &Rule, later: &Rule) -> bool {
    covers_path(earlier.path.as_ref(), later.path.as_ref())
        && covers_list(&earlier.kinds, &later.kinds)
        && covers_status(earlier, later)
        && covers_methods(&earlier.methods, &later.methods)
        && covers_fields(earlier.request_headers.as_ref(), later.request_headers.as_ref())
}

/// Methods beside GET and HEAD pass through whatever a rule says, but their answers' headers are changed by it.
fn covers_methods(earlier: &[Method], later: &[Method]) -> bool {
    covers_list(earlier, later)
}

/// Each field that the earlier rule asks for is asked for by the later one, in a way that the earlier one takes too.
fn covers_fields(earlier: Option<&RequestHeaders>, later: Option<&RequestHeaders>) -> bool {
    let Some(earlier) = earlier else { return true };
    let Some(later) = later else { return false };
    earlier.fields.iter().all(|(name, glob)| {
        let same = later.fields.iter().filter(|(other, _)| other == name);
        same.into_iter().any(|(_, other)| covers_glob(glob, other))
    })
}

/// A glob matches all that another one matches if it matches the other's text, its wildcards taken as characters: a
/// `*` of the text can only be met by a `*`. A `?` would meet it too, though it stands for any length: then the answer
/// is not certain.
fn covers_path(earlier: Option<&WildMatch>, later: Option<&WildMatch>) -> bool {
    let Some(earlier) = earlier else { return true };
    // Every path begins with a slash.
    *earlier == "/*" || covers_glob(earlier, later.unwrap_or(&WildMatch::new("*")))
}

fn covers_glob(earlier: &WildMatch, later: &WildMatch) -> bool {
    let (pattern, text) = (earlier.to_string(), later.to_string());
    if pattern == text || pattern == "*" {
        return true;
    }
    let certain = !pattern.contains('?') || !text.contains('*');
    certain && earlier.matches(&text)
}

fn covers_list<T: PartialEq>(earlier: &[T], later: &[T]) -> bool {
    earlier.is_empty() || (!later.is_empty() && later.iter().all(|value| earlier.contains(value)))
}

/// Without statuses a rule applies to those that are kept by default: 200 is one, the others depend on the asset.
/// A bypass does not ask for the status.
fn covers_status(earlier: &Rule, later: &Rule) -> bool {
    if earlier.status.is_empty() {
        earlier.bypass || later.status.is_empty() || later.status == [200]
    } else {
        !later.status.is_empty() && later.status.iter().all(|status| earlier.status.contains(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_covers_another_only_where_that_is_certain() {
        let covers = |earlier: &str, later: &str| {
            covers_path(Some(&WildMatch::new(earlier)), Some(&WildMatch::new(later)))
        };
        for (earlier, later) in [
            ("*", "/a"),
            ("/*", "*.m3u8"),
            ("/live/*", "/live/*.ts"),
            ("/live/*", "/live/?.ts"),
            ("*.ts", "/live/*.ts"),
            ("/a/?.ts", "/a/b.ts"),
            ("/a/?.ts", "/a/?.ts"),
            ("/*/seg*.ts", "/live/*/seg-?.ts"),
        ] {
            assert!(covers(earlier, later), "{earlier} {later}");
        }
        for (earlier, later) in
            [("/live/*.ts", "/live/*"), ("/a/?.ts", "/a/*.ts"), ("/a/b.ts", "/a/?.ts"), ("/live/*", "*")]
        {
            assert!(!covers(earlier, later), "{earlier} {later}");
        }
    }
}
