//! What answers tell players by CMSD (CTA-5006): gathered from the object, the playlists and the viewer's connection. How it is
//! written is [`crate::deliver::cmsd`]'s business.

use std::time::Duration;

use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::lookup::Found;
use super::{Edge, RequestCtx};
use crate::asset::Kind;
use crate::deliver::cmsd::{self, About, Hop};
use crate::hls::Directives;
use crate::outcome::Outcome;
use crate::site::Site;
use crate::store::Object;

impl Edge {
    /// What is known of an object; the same for all its viewers.
    pub(super) fn about(&self, site: &Site, object: &Object) -> About {
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
        About {
            object_type: cmsd::object_type(object.kind, path, &object.header),
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
        cmsd::append_hop(header, &self.cmsd_node, &Hop { throughput, round_trip, delay, hit }, !hit);
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
