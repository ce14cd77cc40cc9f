//! What answers tell players by CMSD (CTA-5006): gathered from the object, the playlists and the viewer's connection. How it is
//! written is [`crate::deliver::cmsd`]'s business.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_ENCODING;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::lookup::Found;
use super::{Edge, RequestCtx};
use crate::asset::Kind;
use crate::deliver::cmsd::{self, About, Hop};
use crate::deliver::plan::Plan;
use crate::hls::{ByteRange, Directives};
use crate::outcome::Outcome;
use crate::playlists::media::Told;
use crate::site::Site;
use crate::store::Object;

impl Edge {
    /// What is known of an object, or of the sub-range of it that is sent; the same for all its viewers.
    pub(super) fn about(&self, site: &Site, object: &Object, chosen: &Plan) -> About {
        let target = object.key.target();
        let path = target.split('?').next().unwrap_or(target);
        let live = || {
            let facts = self.sites.playlists().get(&object.key.text)?.latest()?.facts;
            Some(if facts.is_live() { "l" } else { "v" })
        };
        let format = match object.kind {
            Kind::MultivariantPlaylist | Kind::MediaPlaylist => Some("h"),
            Kind::Manifest => Some("d"),
            _ => site.is_named_by_playlist(path).then_some("h"),
        };
        let object_type = cmsd::object_type(object.kind, path, &object.header);
        let media = media(site, object, chosen);
        // Text has none, and of what a content coding has made smaller it is not known.
        let is_coded = object.header.headers.contains_key(CONTENT_ENCODING);
        let plays = media.is_some() && !is_coded && !matches!(object_type, Some("c" | "tt"));
        let bitrate = || cmsd::bitrate(bytes(object, chosen)?, media.as_ref()?.duration?);
        About {
            object_type,
            bitrate: plays.then(bitrate).flatten(),
            media,
            format,
            stream_type: if object.kind == Kind::MediaPlaylist { live() } else { None },
        }
    }

    /// Adds what is told of this answer alone. Reads the kernel's figures of the connection, once.
    pub(super) fn tell_cmsd(
        &self,
        header: &mut ResponseHeader,
        session: &Session,
        ctx: &RequestCtx,
        found: &Found,
    ) {
        if header.status.as_u16() >= 400 {
            return;
        }
        let hit = matches!(found.outcome, Outcome::Hit | Outcome::HitStale);
        let delay = ctx.begun.elapsed();
        let reload =
            || Directives::of(session.req_header().uri.query()).is_ok_and(|asked| asked.reload.is_some());
        if found.object.kind == Kind::MediaPlaylist && !hit && reload() {
            cmsd::tell_held(header, milliseconds(found.waited.unwrap_or(delay)));
        }
        let (throughput, round_trip) = connection(session);
        let delay = (!hit).then(|| milliseconds(delay));
        let steering = ctx.site.as_ref().and_then(|site| site.steering.as_ref());
        let duress = steering.is_some_and(|steering| steering.is_overloaded());
        cmsd::append_hop(header, &self.cmsd_node, &Hop { duress, throughput, round_trip, delay, hit }, !hit);
    }
}

/// What playlists say of a segment or part, or of the sub-range of one that is sent. Nothing of what they name by a query: that may be one
/// of several behind a path.
fn media(site: &Site, object: &Object, chosen: &Plan) -> Option<Arc<Told>> {
    let path = object.key.target();
    if !matches!(object.kind, Kind::Segment | Kind::Part)
        || object.status() != StatusCode::OK
        || path.contains('?')
    {
        return None;
    }
    let range = match sent(object, chosen)? {
        Sent::Whole => None,
        Sent::Range(range) => Some(range),
    };
    site.playlists().media.get(&site.name, (path, range))
}

/// The bytes of what is sent. None: not known yet.
fn bytes(object: &Object, chosen: &Plan) -> Option<u64> {
    match sent(object, chosen)? {
        Sent::Whole => object.length(),
        Sent::Range(range) => range.len,
    }
}

/// What is sent of an object.
enum Sent {
    Whole,
    Range(ByteRange),
}

/// None: something that no playlist names.
fn sent(object: &Object, chosen: &Plan) -> Option<Sent> {
    match chosen {
        Plan::Whole | Plan::NotModified => Some(Sent::Whole),
        Plan::Part { start: 0, end, .. } if object.length() == Some(*end) => Some(Sent::Whole),
        Plan::Part { start, end, .. } => {
            Some(Sent::Range(ByteRange { start: *start, len: Some(end.checked_sub(*start)?) }))
        }
        Plan::Onward { .. } | Plan::Parts(_) | Plan::Failed | Plan::Unsatisfiable(_) => None,
    }
}

/// The throughput in kbit/s and the round-trip time in ms that the kernel estimates towards the client, both rounded up. Of HTTP/2
/// they are the connection's, whatever its streams do.
#[cfg(target_os = "linux")]
fn connection(session: &Session) -> (Option<u64>, Option<u64>) {
    let info = session
        .digest()
        .and_then(|digest| digest.socket_digest.as_ref())
        .and_then(|socket| socket.tcp_info());
    let Some(info) = info else { return (None, None) };
    let rtt_us = Some(u64::from(info.tcpi_rtt)).filter(|rtt| *rtt > 0);
    // Without a delivery to go by, a window each round trip.
    let window_rate = || {
        let window = u64::from(info.tcpi_snd_cwnd) * u64::from(info.tcpi_snd_mss);
        Some(window.saturating_mul(1_000_000) / rtt_us?)
    };
    let bytes_per_second = Some(info.tcpi_delivery_rate).filter(|rate| *rate > 0).or_else(window_rate);
    let kilobits = bytes_per_second.map(|rate| rate.saturating_mul(8).div_ceil(1000));
    (kilobits, rtt_us.map(|rtt| rtt.div_ceil(1000)))
}

/// Other kernels are not asked.
#[cfg(not(target_os = "linux"))]
fn connection(_session: &Session) -> (Option<u64>, Option<u64>) {
    (None, None)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
