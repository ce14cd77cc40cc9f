//! An origin in a few lines: one title, live or not, whose every answer follows from the time.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::future::poll_fn;
use std::pin::pin;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::sleep;

use super::*;
use crate::fetch::{Body, Cache, Exchange, Get, GivenUp, Outcome, Progress};

/// The wall clock at the start of the run.
pub(crate) const WALL_EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// Live streams are on for so long before the run: segment 25 is the one that begins with the run.
pub(crate) const ON_AIR: Duration = Duration::from_secs(100);

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) at: Duration,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) range: Option<(u64, Option<u64>)>,
    /// Fields that went with it, one in a line.
    pub(crate) fields: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// So many segments of four seconds.
    Vod(u64),
    /// Segments of four seconds, six of them listed.
    Live,
    /// Segments of two seconds in parts of half a second; in files, or in ranges of the segment.
    LowLatency { ranges: bool },
}

/// What is wrong: all that contain this, from the n-th request on, so often.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    pub(crate) part: &'static str,
    pub(crate) skip: Cell<u32>,
    pub(crate) count: Cell<u32>,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Delay(Duration),
    Status(u16),
    To(&'static str),
    Text(&'static str),
    /// The playlist is that of so long ago, and says so (`Age`), as a cache does.
    Ago(Duration),
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) epoch: Instant,
    pub(crate) seen: Rc<RefCell<Vec<Seen>>>,
    pub(crate) form: Form,
    /// To the first byte.
    pub(crate) latency: Duration,
    /// Bits per second from these times on.
    pub(crate) lines: Vec<(Duration, u64)>,
    /// Bits per second of each variant.
    pub(crate) bitrates: Vec<u64>,
    pub(crate) audio: bool,
    /// Whether each segment has a key of its own.
    pub(crate) keys: bool,
    pub(crate) dated: bool,
    /// Whether parts come under other names than their hints said.
    pub(crate) misleads: bool,
    pub(crate) wrongs: Vec<Wrong>,
    pub(crate) dropped: Rc<RefCell<Vec<GivenUp>>>,
    /// Bytes of segments and parts that came, in transfers that were given up too.
    pub(crate) came: Rc<Cell<u64>>,
}

/// Counts what came of a body that is given up.
struct Coming {
    dropped: Rc<RefCell<Vec<GivenUp>>>,
    all: Rc<Cell<u64>>,
    since: Instant,
    line: u64,
    over: bool,
}

impl Drop for Coming {
    fn drop(&mut self) {
        if !self.over {
            let came = self.since.elapsed().as_millis() as u64 * self.line / 8_000;
            let (due, first_byte) = (self.since, Some(self.since));
            let given_up = GivenUp { due, first_byte, cache: Cache::Unknown, bytes: came, connected: false };
            self.dropped.borrow_mut().push(given_up);
            self.all.set(self.all.get() + came);
        }
    }
}

impl Model {
    pub(crate) fn new(form: Form) -> Self {
        Self {
            epoch: Instant::now(),
            seen: Rc::default(),
            form,
            latency: Duration::from_millis(100),
            lines: vec![(Duration::ZERO, 8_000_000)],
            bitrates: vec![1_000_000],
            audio: false,
            keys: false,
            dated: true,
            misleads: false,
            wrongs: Vec::new(),
            dropped: Rc::default(),
            came: Rc::default(),
        }
    }

    pub(crate) fn vod(segments: u64) -> Self {
        Self::new(Form::Vod(segments))
    }

    pub(crate) fn wrong(mut self, part: &'static str, skip: u32, count: u32, what: What) -> Self {
        self.wrongs.push(Wrong { part, skip: Cell::new(skip), count: Cell::new(count), what });
        self
    }

    fn segment(&self) -> Duration {
        match self.form {
            Form::Vod(_) | Form::Live => Duration::from_secs(4),
            Form::LowLatency { .. } => Duration::from_secs(2),
        }
    }

    fn hit(&self, path: &str) -> Option<&What> {
        let wrong = self.wrongs.iter().find(|wrong| {
            let due = path.contains(wrong.part) && wrong.count.get() > 0;
            let skipped = due && wrong.skip.get() > 0;
            wrong.skip.set(wrong.skip.get() - u32::from(skipped));
            due && !skipped
        })?;
        wrong.count.set(wrong.count.get() - 1);
        Some(&wrong.what)
    }

    /// Since the stream is on.
    fn air(&self) -> Duration {
        ON_AIR + self.epoch.elapsed()
    }

    fn line(&self) -> u64 {
        let now = self.epoch.elapsed();
        self.lines.iter().rev().find(|(from, _)| *from <= now).unwrap().1
    }

    fn multivariant(&self) -> String {
        let mut text = String::from("#EXTM3U\n");
        if self.audio {
            text += "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",DEFAULT=YES,URI=\"audio.m3u8\"\n";
        }
        for (index, bits) in self.bitrates.iter().enumerate() {
            let group = if self.audio { ",AUDIO=\"a\"" } else { "" };
            write!(text, "#EXT-X-STREAM-INF:BANDWIDTH={bits}{group}\nv{index}.m3u8\n").unwrap();
        }
        text
    }

    fn media(&self, name: &str, air: Duration) -> String {
        let length = self.segment();
        let mut text = format!("#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:{}\n", length.as_secs());
        let (first, end) = match self.form {
            Form::Vod(segments) => (0, segments),
            _ => ((air.as_secs() / length.as_secs()).saturating_sub(6), air.as_secs() / length.as_secs()),
        };
        writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{first}").unwrap();
        if let Form::LowLatency { .. } = self.form {
            text += "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-PART-INF:PART-TARGET=0.5\n";
        }
        writeln!(text, "#EXT-X-MAP:URI=\"{name}/init.1000.mp4\"").unwrap();
        for msn in first..end {
            if self.dated && !matches!(self.form, Form::Vod(_)) {
                let wall = (WALL_EPOCH - ON_AIR + length * msn as u32).as_millis() as i64;
                let date = jiff::Timestamp::from_millisecond(wall).unwrap();
                writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{date}").unwrap();
            }
            if matches!(self.form, Form::LowLatency { .. }) && msn + 3 > end {
                (0..4).for_each(|part| self.part(&mut text, name, msn, part, "#EXT-X-PART:DURATION=0.5"));
            }
            if self.keys {
                writeln!(text, "#EXT-X-KEY:METHOD=AES-128,URI=\"keys/{msn}.key\"").unwrap();
            }
            writeln!(text, "#EXTINF:{},\n{name}/{msn}.m4s", length.as_secs()).unwrap();
        }
        if let Form::LowLatency { .. } = self.form {
            let parts = (air.as_millis() / 500 % 4) as u64;
            (0..parts).for_each(|part| self.part(&mut text, name, end, part, "#EXT-X-PART:DURATION=0.5"));
            self.part(&mut text, name, end, parts, "#EXT-X-PRELOAD-HINT:TYPE=PART");
        }
        if matches!(self.form, Form::Vod(_)) {
            text += "#EXT-X-ENDLIST\n";
        }
        text
    }

    fn part(&self, text: &mut String, name: &str, msn: u64, part: u64, tag: &str) {
        let ranges = self.form == Form::LowLatency { ranges: true };
        let independent = if part == 0 && !tag.contains("HINT") { ",INDEPENDENT=YES" } else { "" };
        match (ranges, tag.contains("HINT")) {
            (false, true) if self.misleads => writeln!(text, "{tag},URI=\"{name}/{msn}.{part}.hint.m4s\""),
            (false, _) => writeln!(text, "{tag},URI=\"{name}/{msn}.{part}.m4s\"{independent}"),
            (true, true) => {
                writeln!(text, "{tag},URI=\"{name}/{msn}.m4s\",BYTERANGE-START={}", part * 62_500)
            }
            (true, false) => {
                writeln!(
                    text,
                    "{tag},URI=\"{name}/{msn}.m4s\",BYTERANGE=\"62500@{}\"{independent}",
                    part * 62_500
                )
            }
        }
        .unwrap();
    }

    /// When the thing of this path is there, on the air's clock, and its bytes.
    fn published(&self, path: &str, range: Option<(u64, Option<u64>)>) -> (Duration, u64) {
        let mut numbers =
            path.rsplit('/').next().unwrap().split('.').map_while(|number| number.parse::<u32>().ok());
        let (Some(msn), part) = (numbers.next(), numbers.next()) else { return (Duration::ZERO, 1_000) };
        let bits = path
            .split("/v")
            .nth(1)
            .map_or(64_000, |index| self.bitrates[index[..1].parse::<usize>().unwrap()]);
        let part = part.or(range.map(|(first, _)| (first / 62_500) as u32));
        match (self.form, part) {
            (Form::Vod(_), _) => (Duration::ZERO, bits * 4 / 8),
            (_, Some(part)) => (self.segment() * msn + Duration::from_millis(500) * (part + 1), bits / 16),
            (_, None) => (self.segment() * (msn + 1), bits * self.segment().as_secs() / 8),
        }
    }

    /// Waits until a blocking reload can be answered.
    async fn hold(&self, query: &str) {
        let number = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name))
                .map(|value| value.parse::<u32>().unwrap())
        };
        if let (Some(msn), part) = (number("_HLS_msn="), number("_HLS_part=").unwrap_or(3)) {
            let there = self.segment() * msn + Duration::from_millis(500) * (part + 1);
            sleep(there.saturating_sub(self.air())).await;
        }
    }
}

impl Fetch for Model {
    async fn get(&self, get: Get<'_>) -> Exchange {
        let sent = Instant::now();
        let path = get.url[url::Position::BeforePath..].to_owned();
        let fields = get.fields.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
        let seen =
            Seen { at: self.epoch.elapsed(), path: path.clone(), range: get.range, fields: fields.collect() };
        self.seen.borrow_mut().push(seen);
        let wrong = self.hit(&path).cloned();
        let is_text = matches!(get.body, Body::Text { .. });
        sleep(self.latency).await;
        if let Some(What::Delay(delay)) = wrong {
            sleep(delay).await;
        }
        let mut status = 200;
        let (mut text, mut bytes, mut headers) = (String::new(), 0, HeaderMap::new());
        match &wrong {
            Some(What::Status(code)) => status = *code,
            Some(What::To(to)) => {
                status = 302;
                headers.insert(http::header::LOCATION, HeaderValue::from_static(to));
            }
            Some(What::Text(other)) => text = (*other).to_owned(),
            _ if get.url.path().ends_with("index.m3u8") => text = self.multivariant(),
            _ if is_text => {
                self.hold(get.url.query().unwrap_or("")).await;
                let name = get.url.path().rsplit('/').next().unwrap().trim_end_matches(".m3u8");
                let ago = if let Some(What::Ago(ago)) = wrong { ago } else { Duration::ZERO };
                headers.insert(http::header::AGE, HeaderValue::from(ago.as_secs()));
                text = self.media(name, self.air() - ago);
            }
            _ => {
                let (there, size) = self.published(get.url.path(), get.range);
                sleep(there.saturating_sub(self.air())).await;
                bytes = size;
            }
        }
        let first_byte = Instant::now();
        let line = self.line();
        let mut coming = Coming {
            dropped: Rc::clone(&self.dropped),
            all: Rc::clone(&self.came),
            since: first_byte,
            line,
            over: false,
        };
        let mut body = pin!(sleep(Duration::from_micros(bytes * 8_000_000 / line)));
        poll_fn(|context| {
            let came = first_byte.elapsed().as_millis() as u64 * line / 8_000;
            let (first_byte, length) = (Some(first_byte), Some(bytes));
            get.tell(Progress { sent: Some(sent), first_byte, bytes: came.min(bytes), length });
            body.as_mut().poll(context)
        })
        .await;
        coming.over = true;
        if path.contains(".m4s") {
            self.came.set(self.came.get() + bytes);
        }
        Exchange {
            due: get.due,
            sent,
            first_byte: Some(first_byte),
            end: Instant::now(),
            status: StatusCode::from_u16(status).ok(),
            headers,
            cache: Cache::Unknown,
            bytes: bytes.max(text.len() as u64),
            text: Bytes::from(text),
            connected: false,
            outcome: Outcome::Whole,
        }
    }

    fn leave(&self) {}

    fn take_dropped(&self) -> Vec<GivenUp> {
        self.dropped.take()
    }
}
