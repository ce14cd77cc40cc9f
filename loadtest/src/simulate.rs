//! A model of two tiers of nodes: who asks whom for what, while viewers grow a thousandfold. Nothing runs and nothing is
//! measured: requests are counted, one by one.
//!
//! Viewers of live channels reload a playlist and fetch a segment each target duration; others fetch an object of a catalogue
//! in that time. They land on edges at random, as behind a load balancer. An edge asks the object's owner among the edges, that
//! asks the owner among the shields, and that alone asks the origin. Owners are found on the published ketama ring. An edge that
//! is not the owner keeps what it is asked for a second time. Fetches take no time and stores lose nothing: what a fetch under
//! way saves by being joined, and what a small store costs, is measured elsewhere.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::ensure;
use pingora_ketama::{Bucket, Continuum};

#[cfg(test)]
mod tests;

/// Keys that are looked at when a node joins or leaves.
const KEYS: u64 = 100_000;

/// The sizes of a simulation.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Edges.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=1000))]
    edges: u16,
    /// Shields.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    shields: u16,
    /// Live channels.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    channels: u32,
    /// Variants of a channel, one of which a viewer takes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    variants: u32,
    /// Objects of the catalogue.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    catalogue: u32,
    /// Of 100 viewers, those who fetch from the catalogue.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100))]
    on_demand: u32,
    /// Exponent of the popularity of channels and objects (Zipf).
    #[arg(long, default_value_t = 0.9)]
    zipf: f64,
    /// Target duration, in seconds. Playlists are fresh for half of it, all else for the whole time.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=60))]
    target_s: u32,
    /// Target durations that are simulated.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Viewers to begin with; three more rows have ten times as many each.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    viewers: u32,
    /// What the random choices follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What was counted for one number of viewers.
#[derive(Clone, Debug, Default, PartialEq)]
struct Counts {
    viewers: u32,
    /// Requests of viewers, by edge.
    edges: Vec<u64>,
    /// Requests from edge to edge, by the one that is asked.
    owners: Vec<u64>,
    /// Requests from edges to shields, by the owner among these.
    shields: Vec<u64>,
    /// Requests to the origin for live channels, and for the catalogue.
    live: u64,
    on_demand: u64,
    /// Requests to the origin if each edge asked it for itself.
    alone: u64,
}

/// What becomes of keys when the number of nodes changes: shares of them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Moved {
    /// Have another owner.
    all: f64,
    /// Of these, those that neither came to the new node nor were of the one that left.
    needless: f64,
}

/// A repeatable row of random numbers (SplitMix64).
struct Random(u64);

/// What viewers ask for: a playlist of a variant, a segment of one, or an object of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Object {
    Playlist(u32),
    Segment(u32, u32),
    Catalogue(u32),
}

/// Nodes on a ring.
struct Ring {
    ring: Continuum,
    nodes: HashMap<SocketAddr, u16>,
}

/// What an edge or a shield knows of an object.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// When the copy is no longer fresh, in milliseconds; 0: there is none.
    until: u64,
    /// Whether a node that is not the owner was asked for it before.
    asked: bool,
}

/// A viewer: when in each target duration it asks, which edge, for what.
struct Viewer {
    at_ms: u32,
    edge: u16,
    wants: Wants,
}

enum Wants {
    /// A variant of a channel.
    Live(u32),
    /// Something of the catalogue, each time.
    OnDemand,
}

// === impl Random ===

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u32) -> u32 {
        // The upper half of a product: never `bound` itself.
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// A place in a table of shares that add up to one.
    fn pick(&mut self, shares: &[f64]) -> u32 {
        let drawn = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        shares.partition_point(|sum| *sum <= drawn).min(shares.len() - 1) as u32
    }
}

/// The popularity of so many things: sums of their shares.
fn popularity(count: u32, exponent: f64) -> Vec<f64> {
    let weights: Vec<f64> = (1..=count).map(|rank| f64::from(rank).powf(-exponent)).collect();
    let whole: f64 = weights.iter().sum();
    let sums = weights.iter().scan(0.0, |sum, weight| {
        *sum += weight / whole;
        Some(*sum)
    });
    sums.collect()
}

// === impl Object ===

impl Object {
    fn key(self) -> String {
        match self {
            Object::Playlist(variant) => format!("/live/{variant}/index.m3u8"),
            Object::Segment(variant, number) => format!("/live/{variant}/{number}.m4s"),
            Object::Catalogue(number) => format!("/films/{number}.mp4"),
        }
    }

    fn is_live(self) -> bool {
        !matches!(self, Object::Catalogue(_))
    }
}

// === impl Ring ===

impl Ring {
    /// The nodes with these numbers.
    fn new(numbers: impl Iterator<Item = u16>) -> Ring {
        let address = |number: u16| SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 80));
        let nodes: HashMap<_, _> = numbers.map(|number| (address(number), number)).collect();
        let mut buckets: Vec<_> = nodes.keys().map(|address| Bucket::new(*address, 1)).collect();
        buckets.sort();
        Ring { ring: Continuum::new(&buckets), nodes }
    }

    fn owner(&self, key: &str) -> u16 {
        self.ring
            .node(key.as_bytes())
            .and_then(|address| self.nodes.get(&address).copied())
            .unwrap_or_default()
    }
}

// === impl Arguments ===

impl Arguments {
    fn target_ms(&self) -> u64 {
        u64::from(self.target_s) * 1000
    }

    /// The most that the origin can be asked for live channels: each segment once, each playlist once in its time of life.
    fn live_most(&self) -> u64 {
        let variants = u64::from(self.channels) * u64::from(self.variants);
        variants * u64::from(self.rounds) * 3
    }

    /// The viewers, in the order in which they ask within a target duration.
    fn audience(&self, count: u32, random: &mut Random) -> Vec<Viewer> {
        let channels = popularity(self.channels, self.zipf);
        let mut viewers: Vec<_> = (0..count)
            .map(|_| {
                let live = random.below(100) >= self.on_demand;
                Viewer {
                    at_ms: random.below(self.target_s * 1000),
                    edge: random.below(u32::from(self.edges)) as u16,
                    wants: if live {
                        Wants::Live(random.pick(&channels) * self.variants + random.below(self.variants))
                    } else {
                        Wants::OnDemand
                    },
                }
            })
            .collect();
        viewers.sort_by_key(|viewer| viewer.at_ms);
        viewers
    }
}

/// The tiers while they are asked.
struct Tiers<'a> {
    sizes: &'a Arguments,
    edges: Ring,
    shields: Ring,
    owners: HashMap<Object, (u16, u16)>,
    /// By edge and object.
    held: HashMap<(u16, Object), Held>,
    /// The same, if each edge were alone.
    alone: HashMap<(u16, Object), u64>,
    /// What shields hold, by object.
    shielded: HashMap<Object, u64>,
    counts: Counts,
}

impl Tiers<'_> {
    fn new(sizes: &Arguments, viewers: u32) -> Tiers<'_> {
        let none = |nodes: u16| vec![0; usize::from(nodes)];
        Tiers {
            sizes,
            edges: Ring::new(0..sizes.edges),
            shields: Ring::new(0..sizes.shields),
            owners: HashMap::new(),
            held: HashMap::new(),
            alone: HashMap::new(),
            shielded: HashMap::new(),
            counts: Counts {
                viewers,
                edges: none(sizes.edges),
                owners: none(sizes.edges),
                shields: none(sizes.shields),
                ..Counts::default()
            },
        }
    }

    /// When a copy that is fetched now is no longer fresh. A copy ages on its way: all tiers go by the same clock.
    fn fresh_until(&self, object: Object, now: u64) -> u64 {
        match object {
            Object::Playlist(_) => now + self.sizes.target_ms() / 2,
            Object::Segment(..) | Object::Catalogue(_) => u64::MAX,
        }
    }

    /// A viewer asks an edge.
    fn ask(&mut self, edge: u16, object: Object, now: u64) {
        count(&mut self.counts.edges, edge);
        let fresh_until = self.fresh_until(object, now);
        let alone = self.alone.entry((edge, object)).or_default();
        if *alone <= now {
            *alone = fresh_until;
            self.counts.alone += 1;
        }
        let owners = self.owners_of(object);
        let held = self.held.entry((edge, object)).or_default();
        if held.until > now {
            return;
        }
        if edge == owners.0 {
            self.ask_owner(owners, object, now);
            return;
        }
        let hot = std::mem::replace(&mut held.asked, true);
        count(&mut self.counts.owners, owners.0);
        let until = self.ask_owner(owners, object, now);
        if hot {
            self.held.insert((edge, object), Held { until, asked: true });
        }
    }

    /// An owner among the edges is asked; returns how long its copy is fresh.
    fn ask_owner(&mut self, (owner, shield): (u16, u16), object: Object, now: u64) -> u64 {
        let held = self.held.get(&(owner, object)).copied().unwrap_or_default();
        if held.until > now {
            return held.until;
        }
        count(&mut self.counts.shields, shield);
        let shielded = self.shielded.get(&object).copied().unwrap_or_default();
        let until = if shielded > now {
            shielded
        } else {
            match object.is_live() {
                true => self.counts.live += 1,
                false => self.counts.on_demand += 1,
            }
            let until = self.fresh_until(object, now);
            self.shielded.insert(object, until);
            until
        };
        self.held.insert((owner, object), Held { until, asked: true });
        until
    }

    fn owners_of(&mut self, object: Object) -> (u16, u16) {
        let (edges, shields) = (&self.edges, &self.shields);
        *self.owners.entry(object).or_insert_with(|| {
            let key = object.key();
            (edges.owner(&key), shields.owner(&key))
        })
    }
}

fn count(counts: &mut [u64], node: u16) {
    if let Some(count) = counts.get_mut(usize::from(node)) {
        *count += 1;
    }
}

/// Counts the requests of so many viewers.
fn simulate(sizes: &Arguments, viewers: u32) -> Counts {
    let mut random = Random(sizes.seed ^ u64::from(viewers));
    let audience = sizes.audience(viewers, &mut random);
    let catalogue = popularity(sizes.catalogue, sizes.zipf);
    let mut tiers = Tiers::new(sizes, viewers);
    for round in 0..sizes.rounds {
        for viewer in &audience {
            // From 1 on: at 0 nothing would be fresh.
            let now = 1 + u64::from(round) * sizes.target_ms() + u64::from(viewer.at_ms);
            match viewer.wants {
                Wants::Live(variant) => {
                    tiers.ask(viewer.edge, Object::Playlist(variant), now);
                    tiers.ask(viewer.edge, Object::Segment(variant, round), now);
                }
                Wants::OnDemand => {
                    tiers.ask(viewer.edge, Object::Catalogue(random.pick(&catalogue)), now);
                }
            }
        }
    }
    tiers.counts
}

/// What becomes of keys when one node more, `more`, or less than `nodes` is on the ring.
fn moved(nodes: u16, more: bool) -> Moved {
    let before = Ring::new(0..nodes);
    let after = if more { Ring::new(0..nodes + 1) } else { Ring::new(0..nodes - 1) };
    let changed = if more { nodes } else { nodes - 1 };
    let (mut all, mut needless) = (0_u64, 0_u64);
    for number in 0..KEYS {
        let key = format!("/films/{number}.mp4");
        let (from, to) = (before.owner(&key), after.owner(&key));
        if from != to {
            all += 1;
            needless += u64::from(if more { to != changed } else { from != changed });
        }
    }
    Moved { all: all as f64 / KEYS as f64, needless: needless as f64 / all.max(1) as f64 }
}

/// The largest and the smallest count, by the mean.
fn spread(counts: &[u64]) -> (f64, f64) {
    let mean = counts.iter().sum::<u64>() as f64 / counts.len().max(1) as f64;
    let of_mean = |count: Option<&u64>| count.map_or(0.0, |count| *count as f64 / mean.max(1.0));
    (of_mean(counts.iter().max()), of_mean(counts.iter().min()))
}

/// Prints what tiers of these sizes ask of each other.
pub(crate) fn run(sizes: &Arguments) -> anyhow::Result<ExitCode> {
    ensure!((0.0..=5.0).contains(&sizes.zipf), "--zipf: {} is not between 0 and 5", sizes.zipf);
    let rows: Vec<_> = (0..4).map(|power| simulate(sizes, sizes.viewers * 10_u32.pow(power))).collect();
    writeln!(io::stdout(), "{}", tables(sizes, &rows))?;
    Ok(ExitCode::SUCCESS)
}

/// The tables, as they stand in docs/capacity.md.
fn tables(sizes: &Arguments, rows: &[Counts]) -> String {
    let mut text = String::from(
        "| viewers | their requests | edge to edge | edges to shields | to the origin, live | to the origin, catalogue | if each edge asked the origin |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let [asked, peers, shields] =
            [&row.edges, &row.owners, &row.shields].map(|counts| counts.iter().sum());
        let cells = [u64::from(row.viewers), asked, peers, shields, row.live, row.on_demand, row.alone];
        text += &format!("| {} |\n", cells.map(grouped).join(" | "));
    }
    let (live, catalogue) = (grouped(sizes.live_most()), grouped(u64::from(sizes.catalogue)));
    text += &format!("| no more than | | | | {live} | {catalogue} | |\n\n");
    text += "| of the last row | most, by the mean | least, by the mean |\n|---|---|---|\n";
    if let Some(last) = rows.last() {
        for (what, counts) in [
            ("viewers' requests to an edge", &last.edges),
            ("other edges' requests to an edge", &last.owners),
            ("edges' requests to a shield", &last.shields),
        ] {
            let (most, least) = spread(counts);
            text += &format!("| {what} | {most:.2} | {least:.2} |\n");
        }
    }
    text += "\n| nodes | keys with another owner | of these, between nodes that stayed |\n|---|---|---|\n";
    let edges = sizes.edges;
    for (after, more) in [(edges + 1, true), (edges - 1, false)] {
        if after > 0 {
            let Moved { all, needless } = moved(edges, more);
            text += &format!("| {edges} to {after} | {:.1} % | {:.1} % |\n", all * 100.0, needless * 100.0);
        }
    }
    text.pop();
    text
}

/// A number with commas.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
