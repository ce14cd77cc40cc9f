//! The node's own messages: JSON lines on standard error.
//!
//! Decides what is shown and how a line looks. Messages of the libraries below are capped: the engine reports each client
//! that goes away as an error of its own, and some libraries print whole request lines, tokens included, so what they say
//! is held at `warn`, and the proxy engine's target is off (the access log tells what became of each request).
//! [`listening`] and [`ready`] are shown at every level: other programs wait for them. So are lines of the target
//! [`AUDIT`]: who purged what is told whatever else is not.

use std::fmt;
use std::io::{self, Write};
use std::time::SystemTime;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::timestamp::Timestamp;

/// Target of the lines that tell who purged what; shown at every level.
pub const AUDIT: &str = "forebay::audit";
/// Target of [`listening`] and [`ready`].
const LIFECYCLE: &str = "forebay::lifecycle";
/// Bytes of one text in a line; a longer one is cut.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// What the engine reports as an error when a client, not the node, is at fault; shown from `debug` on.
const CLIENT_FAULTS: [&str; 2] = ["Downstream handshake", "H2 handshake error"];
/// What it reports as an error and is none, shown from `debug` on: an idle connection to an origin is still being watched at the
/// moment in which it is wanted, and another one is opened.
const NO_FAULTS: [&str; 1] = ["failed to acquire reusable stream"];
/// As [`CLIENT_FAULTS`], but with the client's request in it: never shown.
const CLIENT_REQUESTS: [&str; 1] = ["HTTP server fails to"];

/// Starts the log. `level` is the least severe one shown. Only the first call has an effect.
pub fn init(level: LevelFilter) {
    // The error says that a log was started before, which is what this function allows.
    let _ = subscriber(level, io::stderr).try_init();
}

/// Logs that a listener is bound: `listener` is its kind (`http`, `https`, `admin`), `address` has the real port.
pub fn listening(listener: &str, address: std::net::SocketAddr) {
    tracing::info!(target: LIFECYCLE, listener, %address, "listening");
}

/// Logs that the node serves.
pub fn ready() {
    tracing::info!(target: LIFECYCLE, "ready");
}

fn subscriber<W>(level: LevelFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("forebay", level)
        .with_target(LIFECYCLE, LevelFilter::INFO)
        .with_target(AUDIT, LevelFilter::INFO)
        .with_target("pingora_proxy", LevelFilter::OFF)
        .with_target("pingora_core", level.min(LevelFilter::ERROR));
    tracing_subscriber::registry().with(targets).with(Faults { level }).with(JsonLines { writer })
}

// === Faults ===

/// Keeps out of the log what clients do wrong, and what is not wrong.
struct Faults {
    level: LevelFilter,
}

impl<S: Subscriber> Layer<S> for Faults {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let normalized = event.normalized_metadata();
        let target = normalized.as_ref().map_or(event.metadata().target(), Metadata::target);
        if !target.starts_with("pingora_core") {
            return true;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let starts = |known: &[&str]| known.iter().any(|start| fields.message.starts_with(start));
        let debug = self.level >= LevelFilter::DEBUG;
        !starts(&CLIENT_REQUESTS) && (debug || !starts(&CLIENT_FAULTS) && !starts(&NO_FAULTS))
    }
}

// === JsonLines ===

/// Writes each event as one JSON line, in one write.
struct JsonLines<W> {
    writer: W,
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = Line { time: SystemTime::now(), metadata, fields: &fields };
        if let Ok(mut text) = serde_json::to_vec(&line) {
            text.push(b'\n');
            // Where standard error is gone there is nobody left to tell.
            let _ = self.writer.make_writer_for(metadata).write_all(&text);
        }
    }
}

/// The line of one event: `ts`, `level`, `message`, the event's own fields, and `target` but for the lifecycle.
struct Line<'a> {
    time: SystemTime,
    metadata: &'a Metadata<'a>,
    fields: &'a Fields,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ts", &Timestamp(self.time).to_string())?;
        map.serialize_entry("level", &self.metadata.level().as_str().to_ascii_lowercase())?;
        map.serialize_entry("message", &self.fields.message)?;
        for (name, value) in &self.fields.others {
            map.serialize_entry(name, value)?;
        }
        if self.metadata.target() != LIFECYCLE {
            map.serialize_entry("target", self.metadata.target())?;
        }
        map.end()
    }
}

/// What an event carries.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn text(&mut self, field: &Field, mut text: String) {
        if text.len() > TEXT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
            text.push('\u{2026}');
        }
        if field.name() == "message" {
            self.message = text;
        } else {
            self.value(field, text.into());
        }
    }

    fn value(&mut self, field: &Field, value: Value) {
        // `log.*` repeats the metadata of messages that come through the `log` crate.
        if !field.name().starts_with("log.") {
            self.others.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::json;
    use tracing_log::log::{Level, Record};

    use super::*;

    /// The lines that `act` logs at `level`.
    fn logged(level: LevelFilter, act: impl FnOnce()) -> Vec<Value> {
        #[derive(Clone, Default)]
        struct Sink(Arc<Mutex<Vec<u8>>>);
        impl Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::default();
        let writer = sink.clone();
        tracing::subscriber::with_default(subscriber(level, move || writer.clone()), act);
        let text = String::from_utf8(sink.0.lock().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A message as libraries send it that use the `log` crate.
    fn library(target: &str, level: Level, message: &str) {
        let mut record = Record::builder();
        record.target(target).level(level);
        tracing_log::format_trace(&record.args(format_args!("{message}")).build()).unwrap();
    }

    fn messages(lines: &[Value]) -> Vec<&str> {
        lines.iter().map(|line| line["message"].as_str().unwrap()).collect()
    }

    #[test]
    fn listening_and_ready_are_told_at_every_level_with_the_real_address() {
        for level in [LevelFilter::OFF, LevelFilter::ERROR, LevelFilter::TRACE] {
            let mut lines = logged(level, || {
                listening("http", "127.0.0.1:1234".parse().unwrap());
                ready();
            });
            for line in &mut lines {
                let ts = line.as_object_mut().unwrap().remove("ts").unwrap();
                assert_eq!(ts.as_str().unwrap().len(), "2023-11-14T22:13:20.123Z".len());
            }
            assert_eq!(
                lines,
                [
                    json!({"level": "info", "message": "listening", "listener": "http", "address": "127.0.0.1:1234"}),
                    json!({"level": "info", "message": "ready"}),
                ]
            );
        }
    }

    #[test]
    fn the_lines_of_the_audit_are_shown_at_every_level() {
        for level in [LevelFilter::OFF, LevelFilter::ERROR, LevelFilter::TRACE] {
            let lines = logged(level, || tracing::info!(target: AUDIT, by = "admin", "purge"));
            assert_eq!(messages(&lines), ["purge"], "{level}");
            assert_eq!(lines[0]["target"], AUDIT);
        }
    }

    #[test]
    fn a_message_has_its_fields_with_their_types_and_its_target() {
        let error = io::Error::other("no \"route\"\n");
        let lines = logged(LevelFilter::INFO, || {
            tracing::warn!(origin = "main", attempts = 2, up = false, %error, "the origin {} fails", "a");
            tracing::debug!("not shown");
        });
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(line["level"], "warn");
        assert_eq!(line["message"], "the origin a fails");
        assert_eq!(
            (&line["origin"], &line["attempts"], &line["up"]),
            (&json!("main"), &json!(2), &json!(false))
        );
        assert_eq!(line["error"], "no \"route\"\n");
        assert_eq!(line["target"], "forebay::observe::log::tests");
    }

    #[test]
    fn what_clients_do_is_not_in_the_log_and_what_the_engine_fails_at_is() {
        let act = || {
            library("pingora_proxy", Level::Error, "Fail to proxy: GET /hdnts=secret/a.ts");
            library("pingora_proxy::proxy_h1", Level::Error, "Error finish sending body to downstream");
            library("pingora_core::services::listening", Level::Error, "Downstream handshake timeout");
            library("pingora_core::apps", Level::Error, "H2 handshake error reset");
            library("pingora_core::connectors", Level::Error, "failed to acquire reusable stream");
            library("pingora_core::apps::http_app", Level::Error, "HTTP server fails to read: /hdnts=secret");
            library("pingora_core::services::listening", Level::Error, "Accept() failed too many open files");
            library("pingora_core::server", Level::Warn, "a warning of the engine");
        };
        let lines = logged(LevelFilter::INFO, act);
        assert_eq!(messages(&lines), ["Accept() failed too many open files"]);
        assert_eq!(lines[0]["target"], "pingora_core::services::listening");
        assert_eq!(lines[0].as_object().unwrap().len(), 4, "{lines:?}");
        assert_eq!(
            messages(&logged(LevelFilter::DEBUG, act)),
            [
                "Downstream handshake timeout",
                "H2 handshake error reset",
                "failed to acquire reusable stream",
                "Accept() failed too many open files"
            ]
        );
        assert!(logged(LevelFilter::OFF, act).is_empty());
    }

    #[test]
    fn libraries_are_held_at_warn_whatever_the_level() {
        let lines = logged(LevelFilter::TRACE, || {
            library("h2::codec", Level::Debug, "GET /hdnts=secret/a.ts");
            library("rustls::server", Level::Info, "session resumed");
            library("hyper", Level::Warn, "a warning");
            tracing::trace!("ours");
        });
        assert_eq!(messages(&lines), ["a warning", "ours"]);
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = "é".repeat(TEXT_BYTES_MAX);
        let lines = logged(LevelFilter::INFO, || tracing::info!("{long}"));
        assert_eq!(lines[0]["message"].as_str().unwrap().chars().count(), TEXT_BYTES_MAX / 2 + 1);
    }

    #[test]
    fn a_second_start_changes_nothing_and_does_not_fail() {
        init(LevelFilter::OFF);
        init(LevelFilter::TRACE);
    }
}
