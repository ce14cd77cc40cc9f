//! How an origin is spoken to: `tls`, `headers`, `s3` and `proof` of `[origin.NAME]`.

use http::{HeaderName, HeaderValue, Method};

use super::super::super::diagnostic::{Report, join};
use super::super::super::files::{self, Pem};
use super::super::super::model::{
    ClientCertificate, Credentials, HostPattern, OriginHeaders, OriginServer, OriginTls, Proof, ProofKey, S3,
    S3Style, SecretFile,
};
use super::super::super::raw;
use super::super::{label, no_duplicates};
use super::host_of;
use crate::fields;

/// The least number of bytes of a key that proves.
const PROOF_KEY_BYTES_MIN: usize = 32;

/// The longest names of buckets and regions.
const S3_NAME_BYTES_MAX: usize = 63;

/// Bytes of `s3.prefix`. The name of an object has 1024 at most.
const S3_PREFIX_BYTES_MAX: usize = 512;

/// Fields of requests that the node writes itself, by what is asked for.
const OWN: [&str; 13] = [
    "accept-encoding",
    "content-encoding",
    "content-range",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "range",
    "via",
];

pub(super) fn tls(
    report: &mut Report,
    key: &str,
    raw: Option<&raw::OriginTls>,
    servers: &[OriginServer],
) -> OriginTls {
    let Some(raw) = raw else { return OriginTls::default() };
    if !servers.iter().any(|server| server.tls) {
        let reason = "has no effect: no server of the group is https";
        report.mistake(key, reason, "remove it, or write https:// in servers");
    }
    if raw.ca_only && raw.ca.is_none() {
        let reason = "has no effect without authorities of its own";
        report.mistake(&format!("{key}.ca_only"), reason, "remove it, or add ca");
    }
    let ca = raw.ca.as_ref().map(|file| files::pem(report, &format!("{key}.ca"), file, Pem::Certificates));
    let sni_key = format!("{key}.sni");
    let sni = raw.sni.as_ref().map(|written| {
        // A server name is never empty and never an address (RFC 6066 section 3); an empty one would turn checks off.
        let is_name = host_of(written).is_some_and(|name| name.parse::<std::net::IpAddr>().is_err());
        if !is_name {
            let reason = format!("\"{}\" is not a host name", written.escape_debug());
            report.mistake(&sni_key, reason, "write the name that the certificate is for, without port");
        }
        written.to_ascii_lowercase()
    });
    let client = match (&raw.certificate, &raw.key) {
        (Some(certificate), Some(private)) => Some(ClientCertificate {
            certificate: files::pem(report, &format!("{key}.certificate"), certificate, Pem::Certificates),
            key: files::pem(report, &format!("{key}.key"), private, Pem::PrivateKey),
        }),
        (Some(_), None) => {
            report.mistake(&format!("{key}.certificate"), "has no private key", "add key");
            None
        }
        (None, Some(_)) => {
            report.mistake(&format!("{key}.key"), "has no certificate", "add certificate");
            None
        }
        (None, None) => None,
    };
    OriginTls { ca, ca_only: raw.ca_only, sni, client }
}

pub(super) fn headers(
    report: &mut Report,
    key: &str,
    raw: &raw::OriginHeaders,
    has_s3: bool,
) -> OriginHeaders {
    let mut changes = OriginHeaders::default();
    for (written, value) in &raw.set {
        let key = join(&format!("{key}.set"), written);
        let Some(name) = changeable(report, &key, written, has_s3) else { continue };
        let value = match value {
            raw::FieldValue::Text(text) => field_value(report, &key, text),
            raw::FieldValue::File(file) => field_of_file(report, &join(&key, "file"), &file.file),
        };
        changes.set.extend(value.map(|value| (name, value)));
    }
    let lower: Vec<String> = raw.remove.iter().map(|name| name.to_ascii_lowercase()).collect();
    for (place, written) in raw.remove.iter().enumerate() {
        let key = format!("{key}.remove[{place}]");
        let Some(name) = changeable(report, &key, written, has_s3) else { continue };
        if changes.set.iter().any(|(set, _)| *set == name) {
            let reason = format!("{name} is set, too");
            report.mistake(&key, reason, "remove one of the two; set takes the old value's place");
        }
        changes.remove.push(name);
    }
    let names =
        lower.iter().enumerate().map(|(place, name)| (format!("{key}.remove[{place}]"), name.as_str()));
    no_duplicates(report, names);
    changes
}

/// The name of a field that may be set in requests, and removed from them.
fn changeable(report: &mut Report, key: &str, written: &str, has_s3: bool) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(written.as_bytes()) else {
        let reason = format!("\"{}\" is not the name of a header field", written.escape_debug());
        report.mistake(key, reason, "write the name alone, such as \"x-cdn\"");
        return None;
    };
    let word = name.as_str();
    if fields::is_of_connection(word) || OWN.contains(&word) || word.starts_with("forebay-") {
        let reason = format!("{word} says what is asked for or how it is sent, and is the node's to write");
        let remedy = if word == "host" { "use host, or forward_host" } else { "remove it" };
        report.mistake(key, reason, remedy);
    }
    if has_s3 && (word == "authorization" || word.starts_with("x-amz-")) {
        let reason = format!("{word} is part of the signature for the object store");
        report.mistake(key, reason, "remove it");
    }
    Some(name)
}

fn field_value(report: &mut Report, key: &str, text: &str) -> Option<HeaderValue> {
    let value = HeaderValue::from_str(text).ok().filter(|value| value.to_str().is_ok() && !text.is_empty());
    if value.is_none() {
        report.mistake(key, "is not the value of a header field", "write printable ASCII characters");
    }
    value
}

fn field_of_file(report: &mut Report, key: &str, file: &str) -> Option<HeaderValue> {
    let text = files::secret_text(report, key, file)?;
    let value = HeaderValue::from_str(&text).ok().filter(|value| value.to_str().is_ok());
    if value.is_none() {
        let reason = format!("file \"{file}\" does not hold the value of a header field");
        report.mistake(key, reason, "write printable ASCII characters on one line into it");
    }
    value.map(|mut value| {
        value.set_sensitive(true);
        value
    })
}

pub(super) fn s3(report: &mut Report, key: &str, raw: &raw::S3, servers: &[OriginServer]) -> S3 {
    let region = !raw.region.is_empty() && raw.region.len() <= S3_NAME_BYTES_MAX;
    let of = |text: &str, more: &[u8]| {
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.contains(&byte))
    };
    if !region || !of(&raw.region, b"-") {
        let reason = format!("\"{}\" is not a region", raw.region.escape_debug());
        report.mistake(&format!("{key}.region"), reason, "write a name such as \"eu-central-1\"");
    }
    let (first, last) = (raw.bucket.bytes().next(), raw.bucket.bytes().last());
    let bounded = [first, last].iter().all(|byte| byte.is_some_and(|byte| byte.is_ascii_alphanumeric()));
    let long = (3..=S3_NAME_BYTES_MAX).contains(&raw.bucket.len());
    if !long || !bounded || !of(&raw.bucket, b"-.") || raw.bucket.contains("..") {
        let reason = format!("\"{}\" is not the name of a bucket", raw.bucket.escape_debug());
        let remedy =
            "use 3 to 63 lower-case letters, digits, \"-\" and \".\", a letter or digit at both ends";
        report.mistake(&format!("{key}.bucket"), reason, remedy);
    }
    let style = match raw.style {
        raw::S3Style::Path => S3Style::Path,
        raw::S3Style::Virtual => S3Style::Virtual,
    };
    if style == S3Style::Virtual && raw.bucket.contains('.') && servers.iter().any(|server| server.tls) {
        let reason = "puts a bucket with a dot before the host, where no wildcard certificate covers it";
        report.mistake(&format!("{key}.style"), reason, "write \"path\"");
    }
    let prefix = raw.prefix.as_deref().unwrap_or_default();
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..") && segment.bytes().all(|byte| (b' '..0x7f).contains(&byte))
    };
    if raw.prefix.is_some() && !(prefix.len() <= S3_PREFIX_BYTES_MAX && prefix.split('/').all(segment)) {
        let reason = format!("\"{}\" is not the beginning of names", prefix.escape_debug());
        let remedy =
            "write segments of printable ASCII characters with \"/\" between them, such as \"films/2026\"";
        report.mistake(&format!("{key}.prefix"), reason, remedy);
    }
    let query = |place: usize| format!("{key}.query[{place}]");
    for (place, name) in raw.query.iter().enumerate() {
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        // These sign, or make the store answer with something else than an object.
        let signs = name.to_ascii_lowercase().starts_with("x-amz-");
        if name.is_empty() || !name.bytes().all(usable) || signs || !is_of_objects(name) {
            let reason = format!("\"{}\" is not a parameter that viewers may give", name.escape_debug());
            report.mistake(&query(place), reason, "write \"versionId\" or \"response-...\"");
        }
    }
    no_duplicates(report, raw.query.iter().enumerate().map(|(place, name)| (query(place), name.as_str())));
    let mut file = |name: &str, written: &str| SecretFile {
        path: files::path(report, written),
        secret: files::text_secret(report, &format!("{key}.{name}"), written),
    };
    let credentials = Credentials {
        access_key: file("access_key_file", &raw.access_key_file),
        secret_key: file("secret_key_file", &raw.secret_key_file),
        session_token: raw.session_token_file.as_ref().map(|written| file("session_token_file", written)),
    };
    S3 {
        region: raw.region.clone(),
        bucket: raw.bucket.clone(),
        style,
        prefix: prefix.to_owned(),
        query: raw.query.clone(),
        credentials,
    }
}

/// Whether a query parameter chooses among forms of an object, and does not name another resource of it.
fn is_of_objects(name: &str) -> bool {
    name == "versionId" || name.starts_with("response-")
}

pub(super) fn proof(report: &mut Report, key: &str, raw: &raw::Proof, has_s3: bool) -> Proof {
    let header = changeable(report, &format!("{key}.header"), &raw.header, has_s3);
    let place = |place: usize| format!("{key}.keys[{place}]");
    let keys = raw.keys.iter().enumerate().map(|(number, raw)| {
        label(report, &format!("{}.id", place(number)), &raw.id);
        let file = format!("{}.secret_file", place(number));
        let secret = files::text_secret(report, &file, &raw.secret_file);
        if (1..PROOF_KEY_BYTES_MIN).contains(&secret.0.len()) {
            let reason =
                format!("file \"{}\" holds fewer than {PROOF_KEY_BYTES_MIN} characters", raw.secret_file);
            report.mistake(&file, reason, "make one with: openssl rand -hex 32");
        }
        ProofKey { id: raw.id.clone(), secret }
    });
    let keys = keys.collect();
    let ids = raw.keys.iter().enumerate();
    no_duplicates(report, ids.map(|(number, raw)| (format!("{}.id", place(number)), raw.id.as_str())));
    Proof { header: header.unwrap_or(HeaderName::from_static("x-forebay-proof")), keys }
}

/// What a site may not be with the origin that it names: one that takes writes before an object store, which would be
/// signed, or one of several hosts before servers that answer by host, where all share what is kept.
pub(in super::super) fn site(
    report: &mut Report,
    key: &str,
    origin: &raw::Origin,
    methods: &[Method],
    hosts: &[HostPattern],
) {
    let reads = |method: &&Method| matches!(**method, Method::GET | Method::HEAD | Method::OPTIONS);
    if origin.s3.is_some()
        && let Some(method) = methods.iter().find(|method| !reads(method))
    {
        let reason = format!("names {method}, and the origin is an object store, which is only read");
        report.mistake(&format!("{key}.methods"), reason, "leave GET, HEAD and OPTIONS");
    }
    let one = matches!(hosts, [HostPattern::Exact(_)]);
    if origin.forward_host && !one {
        let reason = "names more than one host, and the origin is told the host of each request (forward_host), while \
                      the hosts of a site share what is kept";
        report.mistake(&format!("{key}.hosts"), reason, "write one site with one host name for each host");
    }
}
