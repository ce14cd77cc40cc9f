//! A viewer that does what neither player does: it fetches the part that a playlist hints at before that part exists, and
//! everything else that playlists name. It resolves addresses as RFC 3986 has it, and keeps cookies.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use forebay::demo::media::Media;
use forebay::demo::origin::timeline::loop_place;

use crate::support::client::{self, Request};
use crate::support::content::assert_same_bytes;
use crate::support::encrypted::Sealed;

/// The viewer, with the cookies it has got.
pub(crate) struct Viewer {
    node: SocketAddr,
    cookies: BTreeMap<String, String>,
    /// Everything it has asked for or was sent that may hold a token.
    pub(crate) told: Vec<String>,
}

impl Viewer {
    /// A viewer of this node.
    pub(crate) fn of(node: SocketAddr) -> Viewer {
        Viewer { node, cookies: BTreeMap::new(), told: Vec::new() }
    }

    /// Fetches the part that the last rendition hints at, which is the clear media under the key that is announced for it,
    /// and then everything else that the playlists name.
    pub(crate) async fn watch(&mut self, index: &str) {
        let multivariant = self.text(index).await;
        let rendition = multivariant.lines().rfind(|line| !line.starts_with('#')).expect("a rendition");
        let playlist = join(index, rendition);
        let text = self.text(&playlist).await;
        let hint = text.lines().find(|line| line.starts_with("#EXT-X-PRELOAD-HINT:")).expect("a hint");
        let hint = join(&playlist, uri(hint).expect("its address"));
        let part = self.get(&hint).await;
        self.assert_is_clear_media(&playlist, &hint, &part).await;
        for address in named(&multivariant).map(|uri| join(index, uri)) {
            self.get(&address).await;
        }
        for address in named(&text).map(|uri| join(&playlist, uri)) {
            self.get(&address).await;
        }
    }

    /// The part is what the demo has there, under the key that the playlist tells once it lists the part.
    async fn assert_is_clear_media(&mut self, playlist: &str, hint: &str, part: &[u8]) {
        let name = file(hint);
        let (segment, number) = numbers(name).expect("a part's name");
        let joint = if playlist.contains('?') { '&' } else { '?' };
        let reload = format!("{playlist}{joint}_HLS_msn={segment}&_HLS_part={number}");
        let text = self.text(&reload).await;
        let until = text.lines().position(|line| uri(line).is_some_and(|uri| file(uri) == name));
        let before = text.lines().take(until.expect("the part is listed")).collect::<Vec<_>>();
        let key = before.iter().rev().find(|line| line.starts_with("#EXT-X-KEY:")).expect("its key");
        let key = self.get(&join(playlist, uri(key).expect("its address"))).await;
        let media = Media::load().expect("the demo's media");
        let rendition = playlist.split('?').next().and_then(|path| path.rsplit('/').nth(1));
        let rendition = media.rendition(rendition.expect("a folder")).expect("a rendition");
        let clear = &rendition.segments[loop_place(segment)].parts[number].bytes;
        assert_same_bytes(&Sealed::Segment(segment).decrypt(&key, part), clear, name);
    }

    /// The text of a playlist.
    async fn text(&mut self, target: &str) -> String {
        String::from_utf8(self.get(target).await.to_vec()).expect("a playlist in UTF-8")
    }

    /// An answer's body; it is answered 200.
    async fn get(&mut self, target: &str) -> Bytes {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = Request::get(target).host(&self.node.to_string());
        if !cookies.is_empty() {
            request = request.header("cookie", &cookies.join("; "));
        }
        let answer = client::ask(self.node, &request).await;
        assert_eq!(answer.status(), 200, "{target}: {:?}", answer.head);
        self.told.push(target.to_owned());
        for (_, cookie) in answer.head.headers.iter().filter(|(name, _)| name == "set-cookie") {
            self.told.push(cookie.clone());
            let pair = cookie.split(';').next().and_then(|pair| pair.split_once('='));
            let (name, value) = pair.expect("a cookie with a name");
            self.cookies.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        answer.body
    }
}

/// Every address that a playlist names.
fn named(playlist: &str) -> impl Iterator<Item = &str> {
    playlist.lines().filter_map(uri)
}

/// The address in a line of a playlist.
fn uri(line: &str) -> Option<&str> {
    if line.starts_with('#') {
        return line.split_once("URI=\"")?.1.split('"').next();
    }
    (!line.is_empty()).then_some(line)
}

/// The last segment of an address's path.
fn file(address: &str) -> &str {
    let path = address.split('?').next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

/// Segment and place of the part with this name.
fn numbers(name: &str) -> Option<(u64, usize)> {
    let (segment, part) = name.strip_prefix("seg-")?.strip_suffix(".m4s")?.split_once(".part")?;
    Some((segment.parse().ok()?, part.parse().ok()?))
}

/// A reference as path and query, seen from a target (RFC 3986 section 5.2; of the node's own addresses only).
fn join(base: &str, reference: &str) -> String {
    if let Some((_, rest)) = reference.split_once("://") {
        return rest.find('/').map_or("/", |path| &rest[path..]).to_owned();
    }
    if reference.starts_with('/') {
        return reference.to_owned();
    }
    let base = base.split('?').next().unwrap_or_default();
    let mut folder = &base[..base.rfind('/').unwrap_or_default()];
    let mut rest = reference;
    while let Some(above) = rest.strip_prefix("../") {
        (folder, rest) = (&folder[..folder.rfind('/').unwrap_or_default()], above);
    }
    format!("{folder}/{}", rest.strip_prefix("./").unwrap_or(rest))
}
