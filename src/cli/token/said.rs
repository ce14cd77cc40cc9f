//! What a token says, by the fields of its format and unverified; and how that is printed.
//!
//! Every format is read by its own parser; nothing is looked up and no key is needed.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::admission::token::jws::Jws;
use crate::admission::token::{
    bunny, cat, cloudflare, cloudfront, edgeauth, fastly, media_cdn, secure_link, url_sig,
};
use crate::config::formats::extent::Extent;
use crate::config::formats::secure_link::{Part, SecureLink};
use crate::config::formats::{Word, cloudflare as cloudflare_options};
use crate::config::model::TokenFormat;

/// Seconds since the Unix epoch at the end of the year 9999, the last that a date is printed for.
const DATE_MAX: u64 = 253_402_300_799;

/// Columns of names at least.
const NAME_COLUMNS: usize = 5;

/// A field of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Its name in the format.
    pub(super) name: String,
    /// What it says.
    pub(super) value: Said,
}

/// What a field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Seconds since the Unix epoch.
    Time(u64),
    /// Anything else.
    Text(String),
}

/// A format as it is without any setting.
pub(super) fn plain(word: Word) -> TokenFormat {
    match word {
        Word::EdgeAuth => TokenFormat::EdgeAuth(Default::default()),
        Word::Jwt => TokenFormat::Jwt(Default::default()),
        Word::Cdni => TokenFormat::Cdni(Default::default()),
        Word::Cat => TokenFormat::Cat(Default::default()),
        Word::CloudFront => TokenFormat::CloudFront(Default::default()),
        Word::SecureLink => TokenFormat::SecureLink(Default::default()),
        Word::UrlSig => TokenFormat::UrlSig(Default::default()),
        Word::Bunny => TokenFormat::Bunny(Default::default()),
        Word::Cloudflare => TokenFormat::Cloudflare(cloudflare_options::Cloudflare {
            ttl: Duration::ZERO,
            with_host: false,
            extent: Extent::Path,
            separator: None,
            url_safe: false,
        }),
        Word::Fastly => TokenFormat::Fastly(Default::default()),
        Word::MediaCdn => TokenFormat::MediaCdn(Default::default()),
    }
}

/// The format as it is without any setting, and where a setting changes the shape of its tokens, with it.
pub(super) fn shapes(word: Word) -> Vec<TokenFormat> {
    let plain = plain(word);
    match word {
        Word::SecureLink => vec![plain, TokenFormat::SecureLink(SecureLink::Word)],
        _ => vec![plain],
    }
}

/// The fields of a token: of its text as received or, where that is none, with percent-encoding undone. None: it is no
/// token of this format.
pub(super) fn fields(format: &TokenFormat, token: &str) -> Option<Vec<Field>> {
    let decoded = || percent_decode_str(token).decode_utf8().ok().map(std::borrow::Cow::into_owned);
    read(format, token).or_else(|| read(format, &decoded()?))
}

/// What of a request a token's signature covers without saying it, so that nothing can be said of it without that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Covered {
    /// The path.
    pub(super) path: bool,
    /// The host.
    pub(super) host: bool,
    /// The client's address.
    pub(super) address: bool,
    /// Header fields, or cookies.
    pub(super) headers: bool,
}

/// What the signature of a token covers beside its text.
pub(super) fn covered(format: &TokenFormat, token: &str) -> Covered {
    let fields = fields(format, token).unwrap_or_default();
    let has = |name: &str| fields.iter().any(|field| field.name == name);
    let none = Covered::default();
    match format {
        TokenFormat::EdgeAuth(_) => Covered { path: !has("acl"), ..none },
        TokenFormat::Jwt(_) | TokenFormat::Cdni(_) | TokenFormat::Cat(_) => none,
        TokenFormat::CloudFront(_) => Covered { path: has("Expires"), host: has("Expires"), ..none },
        TokenFormat::SecureLink(SecureLink::Word) => Covered { path: true, ..none },
        TokenFormat::SecureLink(SecureLink::Expression { expression, .. }) => {
            let parts = expression.parts();
            Covered {
                path: parts.contains(&Part::Uri),
                host: parts.contains(&Part::Host),
                address: parts.contains(&Part::RemoteAddr),
                headers: parts.iter().any(|part| matches!(part, Part::Http(_) | Part::Cookie(_))),
            }
        }
        TokenFormat::UrlSig(_) => {
            let is_of_host = |field: &Field| {
                field.name == "P" && matches!(&field.value, Said::Text(parts) if parts.starts_with('1'))
            };
            Covered { path: !token.starts_with('/'), host: fields.iter().any(is_of_host), ..none }
        }
        TokenFormat::Bunny(_) => Covered { path: !has("token_path"), address: has("address"), ..none },
        TokenFormat::Cloudflare(options) => {
            Covered { path: !matches!(options.extent, Extent::Prefix(_)), host: options.with_host, ..none }
        }
        TokenFormat::Fastly(options) => {
            Covered { path: !matches!(options.extent, Extent::Prefix(_)), ..none }
        }
        TokenFormat::MediaCdn(_) => Covered { path: has("FullPath"), headers: has("Headers"), ..none },
    }
}

/// Prints fields, names in a column. They are not authenticated yet: no control character of them reaches the terminal.
pub(super) fn print(fields: &[Field], out: &mut impl Write) -> io::Result<()> {
    let width = fields.iter().map(|field| field.name.len()).max().unwrap_or(0).max(NAME_COLUMNS);
    for Field { name, value } in fields {
        let name = format!("{:<width$}", escaped(name));
        match value {
            Said::Time(time @ 0..=DATE_MAX) => {
                let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(*time));
                writeln!(out, "{name} {time} ({date})")?;
            }
            Said::Time(time) => writeln!(out, "{name} {time}")?,
            Said::Text(text) => writeln!(out, "{name} {}", escaped(text))?,
        }
    }
    Ok(())
}

/// A text without control characters; quotes and backslashes stay.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\'' | '\\' => shown.push(letter),
            _ => shown.extend(letter.escape_debug()),
        }
    }
    shown
}

fn time(name: &str, time: u64) -> Option<Field> {
    Some(Field { name: name.to_owned(), value: Said::Time(time) })
}

fn text(name: &str, text: impl Into<String>) -> Option<Field> {
    Some(Field { name: name.to_owned(), value: Said::Text(text.into()) })
}

fn read(format: &TokenFormat, token: &str) -> Option<Vec<Field>> {
    let fields = match format {
        TokenFormat::EdgeAuth(_) => edge_auth(&edgeauth::Fields::parse(token)?),
        TokenFormat::Jwt(_) => json_web(token).filter(|fields| !fields.iter().flatten().any(is_of_cdni))?,
        TokenFormat::Cdni(_) => json_web(token).filter(|fields| fields.iter().flatten().any(is_of_cdni))?,
        TokenFormat::Cat(_) => common_access(&cat::inspect(token).ok()?),
        TokenFormat::CloudFront(_) => cloud_front(&cloudfront::Fields::parse(token).ok()?),
        TokenFormat::SecureLink(options) => {
            let fields = secure_link::Fields::parse(options, token)?;
            let has_end = fields.expires.and_then(|end| time("expires", end));
            vec![
                has_end,
                text("md5", token.split('&').find_map(|part| part.strip_prefix("md5=")).unwrap_or(token)),
            ]
        }
        TokenFormat::UrlSig(_) => parts(&of_parts(token)?),
        TokenFormat::Bunny(_) => of_bunny(token)?,
        TokenFormat::Cloudflare(options) => {
            let fields = cloudflare::Fields::parse(token)?;
            let end = fields.issued.saturating_add(options.ttl.as_secs());
            vec![time("issued", fields.issued), time("end", end).filter(|_| !options.ttl.is_zero())]
        }
        TokenFormat::Fastly(_) => vec![time("expires", fastly::Fields::parse(token)?.expires)],
        TokenFormat::MediaCdn(_) => of_media(&media_cdn::Fields::parse(token)?),
    };
    Some(fields.into_iter().flatten().collect())
}

fn edge_auth(fields: &edgeauth::Fields<'_>) -> Vec<Option<Field>> {
    let texts = [("ip", fields.ip), ("acl", fields.acl), ("id", fields.id), ("data", fields.data)];
    let times = [fields.start.and_then(|start| time("st", start)), time("exp", fields.expires)];
    times.into_iter().chain(texts.map(|(name, value)| value.and_then(|value| text(name, value)))).collect()
}

fn is_of_cdni(field: &Field) -> bool {
    field.name == "cdniuc"
}

fn json_web(token: &str) -> Option<Vec<Option<Field>>> {
    let token = Jws::parse(token).ok()?;
    let claims = serde_json::to_value(&token.claims).ok()?;
    let header = [text("alg", token.alg), token.kid.and_then(|kid| text("kid", kid))];
    // By name, in the order of the token, which a value of JSON does not keep.
    let names = token.claims.iter().map(|(name, _)| name.to_owned());
    let all = names.map(|name| claim(&name, claims.get(&name)?));
    Some(header.into_iter().chain(all).collect())
}

fn claim(name: &str, value: &Value) -> Option<Field> {
    match value {
        Value::Number(number) if ["exp", "nbf", "iat"].contains(&name) && number.is_u64() => {
            time(name, number.as_u64()?)
        }
        Value::String(value) => text(name, value),
        other => text(name, other.to_string()),
    }
}

fn common_access(token: &cat::Inspected) -> Vec<Option<Field>> {
    let header = [text("alg", token.algorithm.as_str()), token.kid.as_ref().and_then(|kid| text("kid", kid))];
    let claims = token.claims.as_object().into_iter().flatten().map(|(name, value)| claim(name, value));
    header.into_iter().chain(claims).collect()
}

fn cloud_front(fields: &cloudfront::Fields) -> Vec<Option<Field>> {
    let mut all = match &fields.policy {
        cloudfront::Sent::Expires(end) => vec![time("Expires", *end)],
        cloudfront::Sent::Policy(policy) => match cloudfront::Statement::parse(policy) {
            Ok(cloudfront::Statement { resource, condition }) => vec![
                text("Resource", resource),
                condition.start.and_then(|start| time("DateGreaterThan", start.seconds)),
                time("DateLessThan", condition.end.seconds),
                condition.address.and_then(|source| text("IpAddress", source.network)),
            ],
            Err(_) => vec![text("Policy", policy)],
        },
    };
    all.push(text("Key-Pair-Id", &fields.key_id));
    all.push(text(
        "Hash-Algorithm",
        match fields.hash {
            cloudfront::Hash::Sha1 => "SHA1",
            cloudfront::Hash::Sha256 => "SHA256",
        },
    ));
    all
}

/// Of parameters, of `/a/b;NAME=BASE64` or of `;NAME=BASE64`.
fn of_parts(token: &str) -> Option<url_sig::Fields> {
    if !token.starts_with(['/', ';']) {
        return url_sig::Fields::parse(token, '&');
    }
    let (_, base64) = token.rsplit_once(';')?.1.split_once('=')?;
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(base64).ok()?).ok()?;
    url_sig::Fields::parse(text.strip_prefix(';')?, ';')
}

fn parts(fields: &url_sig::Fields) -> Vec<Option<Field>> {
    let algorithm = match fields.algorithm {
        url_sig::Algorithm::Sha1 => "1 (HMAC-SHA1)",
        url_sig::Algorithm::Md5 => "2 (HMAC-MD5)",
    };
    vec![
        fields.client.and_then(|client| text("C", client.to_string())),
        time("E", fields.expires),
        text("A", algorithm),
        text("K", &fields.key),
        text("P", &fields.parts),
    ]
}

fn of_bunny(token: &str) -> Option<Vec<Option<Field>>> {
    let token = token.strip_prefix("bcdn_token=").unwrap_or(token);
    let fields = bunny::Fields::parse(token, std::iter::empty())?;
    Some(vec![
        time("expires", fields.expires),
        fields.token_path.and_then(|path| text("token_path", path)),
        fields.countries.and_then(|countries| text("token_countries", countries)),
        fields.countries_blocked.and_then(|countries| text("token_countries_blocked", countries)),
        fields.limit.and_then(|limit| text("limit", limit.to_string())),
        fields.is_of_address.filter(|bound| *bound).and_then(|_| text("address", "is signed, and not told")),
    ])
}

fn of_media(fields: &media_cdn::Fields<'_>) -> Vec<Option<Field>> {
    vec![
        match &fields.scope {
            media_cdn::Scope::Globs(globs) => text("PathGlobs", *globs),
            media_cdn::Scope::Prefix(prefix) => text("URLPrefix", prefix.to_string()),
            media_cdn::Scope::Path => text("FullPath", "is signed, and not told"),
        },
        fields.starts.and_then(|starts| time("Starts", starts)),
        time("Expires", fields.expires),
        fields.session_id.and_then(|id| text("SessionID", id)),
        fields.data.and_then(|data| text("Data", data)),
        Some(&fields.headers)
            .filter(|names| !names.is_empty())
            .and_then(|names| text("Headers", names.join(","))),
        fields.ip_ranges.as_ref().and_then(|ranges| text("IPRanges", ranges)),
    ]
}
