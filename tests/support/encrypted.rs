//! An origin with an encrypted Low-Latency stream of real media: the demo origin's, each resource of it under a key
//! (`METHOD=AES-128`), with keys that change as the stream goes on.
//!
//! Decides what is encrypted with which key, and where the playlists say so; what exists when is the demo origin's. The
//! initialization section has a key and an initialization vector of its own, since every playlist shows it; a segment has
//! its media sequence number as the vector (RFC 8216bis section 4.4.4.4). A part is a row of cipher blocks of its own,
//! with the key and the vector of its segment: that is how hls.js and Shaka Player read it. It records every request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aes::Aes128;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Response, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::serve::ListenerExt;
use bytes::Bytes;
use forebay::clock::Clock;
use forebay::demo::origin::DemoOrigin;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::origin::Recorded;

/// Where the stream is.
pub const DIRECTORY: &str = "/secret";

/// Its multivariant playlist.
pub const INDEX: &str = "/secret/index.m3u8";

/// Segments under one key: a player that shows ten seconds needs at least two keys.
pub const SEGMENTS_OF_A_KEY: u64 = 2;

/// Longer than any segment of the demo's media.
const LONGEST_BODY: usize = 16 * 1024 * 1024;

/// The initialization vector of the initialization section.
const INIT_IV: [u8; 16] = [0x5A; 16];

/// An encrypted stream on a free loopback port, until it is dropped.
pub struct EncryptedOrigin {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Recorded>>>,
    server: JoinHandle<std::io::Result<()>>,
}

/// What is under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// The initialization section of any rendition.
    Init,
    /// The segment of this media sequence number, or a part of it.
    Segment(u64),
}

impl EncryptedOrigin {
    /// Starts the origin; its live edge follows the system's clock.
    pub async fn start() -> EncryptedOrigin {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let demo = DemoOrigin::new(Clock::system()).expect("the demo's media");
        let router = demo.router().layer(from_fn_with_state(Arc::clone(&requests), respond));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("an option"));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        EncryptedOrigin { address, requests, server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, as it stands in a configuration.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in the order of their arrival.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.requests.lock().expect("requests").clone()
    }
}

impl Drop for EncryptedOrigin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Sealed {
    /// What a file of the stream is under, by its name; None: it is sent as it is.
    pub fn of(file: &str) -> Option<Sealed> {
        if file == "init.mp4" {
            return Some(Sealed::Init);
        }
        let number = file.strip_prefix("seg-")?.strip_suffix(".m4s")?;
        Some(Sealed::Segment(number.split('.').next()?.parse().ok()?))
    }

    /// The name of its key, which is the file's name without `.key`.
    pub fn key_name(self) -> String {
        match self {
            Sealed::Init => "init".to_owned(),
            Sealed::Segment(number) => (number / SEGMENTS_OF_A_KEY).to_string(),
        }
    }

    /// The tag that announces its key in a media playlist.
    fn tag(self) -> String {
        let iv = match self {
            Sealed::Init => format!(",IV=0x{}", hex::encode(INIT_IV)),
            Sealed::Segment(_) => String::new(),
        };
        format!("#EXT-X-KEY:METHOD=AES-128,URI=\"../keys/{}.key\"{iv}\n", self.key_name())
    }

    fn iv(self) -> [u8; 16] {
        match self {
            Sealed::Init => INIT_IV,
            Sealed::Segment(number) => u128::from(number).to_be_bytes(),
        }
    }

    fn encrypt(self, clear: &[u8]) -> Bytes {
        let cipher = cbc::Encryptor::<Aes128>::new(&key(&self.key_name()).into(), &self.iv().into());
        // Padding fills the last block, or is one more.
        let mut bytes = clear.to_vec();
        bytes.resize(clear.len() + 16, 0);
        let length = cipher.encrypt_padded::<Pkcs7>(&mut bytes, clear.len()).expect("room for padding").len();
        Bytes::from(bytes).slice(..length)
    }

    /// What was encrypted, with a key as a player has fetched it.
    pub fn decrypt(self, key: &[u8], sealed: &[u8]) -> Vec<u8> {
        let key: [u8; 16] = key.try_into().expect("a key of 16 bytes");
        let cipher = cbc::Decryptor::<Aes128>::new(&key.into(), &self.iv().into());
        let mut bytes = sealed.to_vec();
        cipher.decrypt_padded::<Pkcs7>(&mut bytes).expect("whole blocks under this key").to_vec()
    }
}

/// The key of a name: any name has one.
fn key(name: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(format!("a key for tests: {name}"))[..16]);
    key
}

/// Every request to the origin, around the demo origin's own answer. A page that asks without a node between may read it.
async fn respond(
    State(requests): State<Arc<Mutex<Vec<Recorded>>>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    requests.lock().expect("requests").push(recorded(&request));
    let is_of_a_page = request.headers().contains_key(header::ORIGIN);
    let mut answer = encrypted(request, next).await;
    if is_of_a_page {
        answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    answer
}

async fn encrypted(mut request: Request, next: Next) -> Response<Body> {
    let uri = request.uri().clone();
    if uri.path() == "/healthz" {
        return next.run(request).await;
    }
    let Some(inside) = uri.path().strip_prefix(DIRECTORY) else {
        return status(StatusCode::NOT_FOUND);
    };
    let (directory, file) = inside.rsplit_once('/').unwrap_or_default();
    if let Some(name) = file.strip_suffix(".key").filter(|_| directory == "/keys") {
        return answer(Bytes::copy_from_slice(&key(name)), "application/octet-stream", "no-store");
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let Ok(clear) = format!("/ll{inside}{query}").parse::<Uri>() else {
        return status(StatusCode::BAD_REQUEST);
    };
    *request.uri_mut() = clear;
    // The answer is made from a whole one.
    for conditional in [header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
        request.headers_mut().remove(conditional);
    }
    let found = next.run(request).await;
    if found.status() != StatusCode::OK {
        return found;
    }
    let body = to_bytes(found.into_body(), LONGEST_BODY).await.expect("a body of the demo origin");
    match Sealed::of(file) {
        Some(sealed) => answer(sealed.encrypt(&body), "video/mp4", "max-age=3600"),
        None => {
            let text = std::str::from_utf8(&body).expect("a playlist of the demo origin");
            let text = if directory.is_empty() { multivariant(text) } else { media_playlist(text) };
            answer(Bytes::from(text), "application/vnd.apple.mpegurl", "max-age=1")
        }
    }
}

fn recorded(request: &Request) -> Recorded {
    let headers = request.headers().iter();
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    Recorded {
        method: request.method().to_string(),
        target: target.to_owned(),
        headers: headers
            .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
            .collect(),
        body: Vec::new(),
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

fn answer(body: Bytes, content_type: &'static str, cache_control: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::from(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
    answer
}

/// The multivariant playlist, which names a key that players may fetch ahead (RFC 8216bis section 4.4.6.5).
fn multivariant(clear: &str) -> String {
    let session_key = Sealed::Init.tag().replace("#EXT-X-KEY", "#EXT-X-SESSION-KEY").replace("../", "");
    clear.replacen("#EXT-X-STREAM-INF", &format!("{session_key}#EXT-X-STREAM-INF"), 1)
}

/// A media playlist with the keys of the initialization section and of each segment before what they belong to.
fn media_playlist(clear: &str) -> String {
    let mut text = String::with_capacity(2 * clear.len());
    let (mut segment, mut announced) = (0, None);
    for line in clear.lines() {
        if let Some(first) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
            segment = first.parse().expect("a media sequence number");
        }
        // What the line is the first of its kind to need.
        let needed = if line.starts_with("#EXT-X-MAP:") {
            Some(Sealed::Init)
        } else if line.starts_with("#EXT-X-PROGRAM-DATE-TIME:") {
            Some(Sealed::Segment(segment))
        } else {
            None
        };
        if let Some(sealed) = needed
            && announced.replace(sealed.key_name()) != Some(sealed.key_name())
        {
            text.push_str(&sealed.tag());
        }
        if line.starts_with("#EXTINF:") {
            segment += 1;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}
