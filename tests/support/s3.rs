//! An object store: a scripted origin that answers for the objects of one bucket, by path, after it has checked the
//! signature (AWS Signature Version 4) by an implementation of its own, written from the published description.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::origin::{Answer, Origin, Recorded};

/// The region that it is in.
pub const REGION: &str = "eu-central-1";

/// How far a request's time may be from its own.
const SKEW_MAX: u64 = 900;

/// Who may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

impl Key {
    pub fn new(id: &str, secret: &str) -> Key {
        Key { id: id.to_owned(), secret: secret.to_owned(), token: None }
    }
}

/// The key that the store takes unless told otherwise.
pub fn key() -> Key {
    Key::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
}

/// A running store.
pub struct Store {
    pub origin: Origin,
    state: Arc<Mutex<State>>,
}

struct State {
    bucket: String,
    key: Key,
    objects: BTreeMap<String, Bytes>,
    refused: Vec<&'static str>,
}

impl Store {
    /// A store with an empty bucket.
    pub async fn start(bucket: &str) -> Store {
        let origin = Origin::start().await;
        let state =
            State { bucket: bucket.to_owned(), key: key(), objects: BTreeMap::new(), refused: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        origin.otherwise(move |request, _| shared.lock().expect("state").answer(request));
        Store { origin, state }
    }

    /// Puts an object into the bucket, by its decoded name.
    pub fn put(&self, name: &str, body: impl Into<Bytes>) {
        self.state.lock().expect("state").objects.insert(name.to_owned(), body.into());
    }

    /// Takes this key from now on, and no other.
    pub fn take(&self, key: &Key) {
        self.state.lock().expect("state").key = key.clone();
    }

    /// Why requests were refused so far.
    pub fn refused(&self) -> Vec<&'static str> {
        self.state.lock().expect("state").refused.clone()
    }
}

impl State {
    fn answer(&mut self, request: &Recorded) -> Answer {
        let error = |status: u16, code: &str| {
            let key = &self.key.id;
            let words = format!("<Error><Code>{code}</Code><AWSAccessKeyId>{key}</AWSAccessKeyId></Error>");
            Answer::status(status).header("content-type", "application/xml").body(words)
        };
        if let Err(code) = verify(request, &self.key, now()) {
            self.refused.push(code);
            return error(403, code);
        }
        let decoded = decode(request.path());
        let host = request.header("host").unwrap_or_default();
        let name = match host.strip_prefix(&format!("{}.", self.bucket)) {
            Some(_) => decoded.strip_prefix('/'),
            None => decoded.strip_prefix(&format!("/{}/", self.bucket)),
        };
        let Some(name) = name else { return error(404, "NoSuchBucket") };
        let Some(body) = self.objects.get(name) else {
            // A key that may not list the bucket is not told that there is none.
            return error(403, "AccessDenied");
        };
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(body)[..8]));
        Answer::ok(body.clone()).etag(&tag).ranges().header("x-amz-request-id", "R1")
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

/// Whether a request is signed by `key` for this store at `now`; else the word that a store has for it.
pub fn verify(request: &Recorded, key: &Key, now: u64) -> Result<(), &'static str> {
    let authorization = request.header("authorization").ok_or("MissingSecurityHeader")?;
    let parts = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("InvalidRequest")?;
    let part = |name: &str| {
        parts.split(',').find_map(|part| part.trim().strip_prefix(name)).ok_or("AuthorizationHeaderMalformed")
    };
    let scope: Vec<&str> = part("Credential=")?.split('/').collect();
    let [id, date, region, "s3", "aws4_request"] = scope[..] else {
        return Err("AuthorizationHeaderMalformed");
    };
    if id != key.id {
        return Err("InvalidAccessKeyId");
    }
    if request.header("x-amz-security-token") != key.token.as_deref() {
        return Err("InvalidToken");
    }
    let time = request.header("x-amz-date").ok_or("AccessDenied")?;
    if seconds(time).abs_diff(now) > SKEW_MAX {
        return Err("RequestTimeTooSkewed");
    }
    let signed: Vec<&str> = part("SignedHeaders=")?.split(';').collect();
    let must = |name: &str| name == "host" || name == "content-type" || name.starts_with("x-amz-");
    let unsigned = request.headers.iter().any(|(name, _)| must(name) && !signed.contains(&name.as_str()));
    let ordered = signed.is_sorted() && signed.contains(&"host");
    if unsigned || !ordered || !time.starts_with(date) {
        return Err("AccessDenied");
    }
    let body = hex::encode(Sha256::digest(&request.body));
    if request.header("x-amz-content-sha256") != Some(body.as_str()) {
        return Err("XAmzContentSHA256Mismatch");
    }
    let canonical = canonical(request, &signed, &body);
    let scope = format!("{date}/{region}/s3/aws4_request");
    let hashed = hex::encode(Sha256::digest(canonical.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}");
    let mut secret = format!("AWS4{}", key.secret).into_bytes();
    for step in [date, region, "s3", "aws4_request"] {
        secret = mac(&secret, step);
    }
    match hex::encode(mac(&secret, &text)) == part("Signature=")? {
        true => Ok(()),
        false => Err("SignatureDoesNotMatch"),
    }
}

/// The canonical request: a store takes the path decoded, and encodes it again by its own rule.
fn canonical(request: &Recorded, signed: &[&str], body: &str) -> String {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let mut parameters: Vec<(String, String)> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .map(|(name, value)| (encode(&decode(name), false), encode(&decode(value), false)))
        .collect();
    parameters.sort();
    let query: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut fields = String::new();
    for name in signed {
        let values: Vec<&str> = request
            .headers
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.trim())
            .collect();
        fields.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    let path = encode(&decode(request.path()), true);
    format!("{}\n{path}\n{}\n{fields}\n{}\n{body}", request.method, query.join("&"), signed.join(";"))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let digits = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).expect("names are text")
}

fn encode(text: &str, is_path: bool) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Seconds since the Unix epoch of a time such as `20130524T000000Z`.
fn seconds(time: &str) -> u64 {
    let number = |from: usize, to: usize| time.get(from..to).and_then(|digits| digits.parse::<i64>().ok());
    let parts = [(0, 4), (4, 6), (6, 8), (9, 11), (11, 13), (13, 15)].map(|(from, to)| number(from, to));
    let [Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second)] = parts else {
        return 0;
    };
    // Days since 1970 of a date of the Gregorian calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    u64::try_from(days * 86_400 + hour * 3600 + minute * 60 + second).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example requests of the published description (Amazon S3 API reference, "Examples: Signature Calculations").
    #[test]
    fn published_vectors_verify_and_nothing_near_them_does() {
        let host = ("host", "examplebucket.s3.amazonaws.com");
        let empty =
            ("x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let date = ("x-amz-date", "20130524T000000Z");
        let with = |signed: &str, signature: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                 SignedHeaders={signed},Signature={signature}"
            )
        };
        let plain = "host;x-amz-content-sha256;x-amz-date";
        let ranged = "host;range;x-amz-content-sha256;x-amz-date";
        let vectors = [
            ("/test.txt", ranged, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            ("/?lifecycle", plain, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            (
                "/?max-keys=2&prefix=J",
                plain,
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ];
        let key = Key::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        for (target, signed, signature) in vectors {
            let mut fields = vec![host, empty, date];
            if signed == ranged {
                fields.push(("range", "bytes=0-9"));
            }
            let authorization = with(signed, signature);
            fields.push(("authorization", &authorization));
            let headers = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let request = Recorded {
                method: "GET".to_owned(),
                target: target.to_owned(),
                headers: headers.collect(),
                body: Vec::new(),
            };
            assert_eq!(verify(&request, &key, 1_369_353_600), Ok(()), "{target}");
            assert_eq!(verify(&request, &key, 1_369_353_600 + 901), Err("RequestTimeTooSkewed"));
            let other = Recorded { method: "HEAD".to_owned(), ..request.clone() };
            assert_eq!(verify(&other, &key, 1_369_353_600), Err("SignatureDoesNotMatch"));
            let other = Key { secret: "another".to_owned(), ..key.clone() };
            assert_eq!(verify(&request, &other, 1_369_353_600), Err("SignatureDoesNotMatch"));
        }
    }
}
