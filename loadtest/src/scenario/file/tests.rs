#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use super::*;
use crate::scenario::{Abr, Carry, CmcdCarry, Deed, Protocol, Spread, StreamKind, Targets, Wrong};

/// What a scenario needs at least.
const LEAST: &str =
    "audience = { arrivals = [{ viewers = 1 }] }\nstream = [{ name = \"a\", kind = \"live\" }]\n";

/// The reference, and where its table of keys begins and ends.
const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/README.md");
const BEGIN: &str = "<!-- keys: written by the test `the_reference_has_every_key` with UPDATE=1 -->\n";
const END: &str = "<!-- end of keys -->\n";

fn good(text: &str) -> Scenario {
    parse("test", text).unwrap_or_else(|error| panic!("{error:#}\n{text}"))
}

fn refused(text: &str) -> String {
    parse("test", text).map_or_else(|error| format!("{error:#}"), |found| panic!("{text}\n{found:?}"))
}

#[test]
fn every_default_is_filled_in() {
    let scenario = good(LEAST);
    assert_eq!((scenario.seed, scenario.duration), (1, Duration::from_secs(60)));
    assert_eq!(scenario.warm_up, Duration::from_secs(10));
    assert_eq!(good(&format!("duration = \"12s\"\n{LEAST}")).warm_up, Duration::from_secs(2));
    let stream = &scenario.streams[0];
    assert_eq!((stream.segment, stream.part), (Duration::from_secs(4), Duration::from_secs(1)));
    assert_eq!(stream.bitrates, [800_000, 2_000_000, 4_000_000]);
    assert_eq!((stream.count, stream.window, stream.audio, stream.parts_are_ranges), (1, 6, None, false));
    let group = &scenario.groups[0];
    assert_eq!((group.name.as_str(), group.share), ("all", 1.0));
    assert_eq!((group.protocol, group.abr), (Protocol::H1, Abr::Throughput));
    assert_eq!(group.buffer, Duration::from_secs(30));
    assert_eq!(scenario.audience.arrivals[0].spread, Spread::Even);
    assert_eq!(scenario.targets, Targets::default());
}

/// Whether there is a value at the path, in any of the tables of a list.
fn has(value: &toml::Value, path: &[&str]) -> bool {
    match (value, path) {
        (_, []) => true,
        (toml::Value::Array(list), _) => list.iter().any(|value| has(value, path)),
        (toml::Value::Table(table), [key, rest @ ..]) => {
            table.get(*key).is_some_and(|value| has(value, rest))
        }
        _ => false,
    }
}

#[test]
fn the_example_of_the_reference_has_every_key_and_means_what_it_says() {
    let text = std::fs::read_to_string(REFERENCE).unwrap();
    let example = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let table: toml::Table = toml::from_str(example).unwrap();
    for rule in rules::ALL {
        let path: Vec<&str> =
            rule.table.split('.').filter(|name| !name.is_empty()).chain([rule.key]).collect();
        assert!(has(&toml::Value::Table(table.clone()), &path), "{} is not in the example", rule.name());
    }
    let scenario = good(example);
    let events: Vec<_> = scenario.events.iter().map(|event| event.what.clone()).collect();
    assert_eq!(events, [Deed::Purge { prefix: "/media/vod/".into(), hard: true }, Deed::Restart, Deed::Kill]);
    let wrongs: Vec<_> = scenario.faults.iter().map(|fault| fault.what.clone()).collect();
    assert_eq!(
        wrongs,
        [
            Wrong::Delay(Duration::from_millis(800)),
            Wrong::Status(503),
            Wrong::Throttle(500_000),
            Wrong::Break(0.5),
            Wrong::Length(-1000),
            Wrong::Corrupt(0.25),
            Wrong::Stale,
            Wrong::Backward(2),
            Wrong::Outage,
        ]
    );
    let token = scenario.token.unwrap();
    assert_eq!((token.carry, token.wave_at), (Carry::Query, Some(Duration::from_secs(45))));
    let [phones, televisions] = &scenario.groups[..] else { panic!("{:?}", scenario.groups) };
    assert_eq!((phones.share, televisions.share), (0.75, 0.25));
    assert_eq!(phones.cmcd.unwrap().carry, CmcdCarry::Headers);
    assert_eq!(phones.watches, ["channel", "studio"]);
    let kinds: Vec<_> = scenario.streams.iter().map(|stream| stream.kind).collect();
    assert_eq!(kinds, [StreamKind::Live, StreamKind::LowLatency, StreamKind::Vod]);
    assert!(scenario.streams[1].parts_are_ranges);
}

/// The keys that are read in a table: serde names them when it meets one that it does not know.
fn keys_read(table: &str) -> Option<BTreeSet<String>> {
    let text = match table {
        "" => "no-such = 1".to_owned(),
        "audience" | "token" | "targets" => format!("[{table}]\nno-such = 1"),
        "audience.arrivals" | "stream" | "group" | "event" | "fault" => format!("[[{table}]]\nno-such = 1"),
        "group.cmcd" => "[[group]]\ncmcd = { no-such = 1 }".to_owned(),
        _ => return None,
    };
    let error = toml::from_str::<raw::Scenario>(&text).unwrap_err();
    let names = error.message().split('`').skip(3).step_by(2).map(str::to_owned);
    Some(names.collect())
}

#[test]
fn the_rules_are_of_the_keys_that_are_read_and_of_no_others() {
    let tables: BTreeSet<&str> = rules::ALL.iter().map(|rule| rule.table).collect();
    for table in &tables {
        let mut read = keys_read(table).unwrap_or_else(|| panic!("{table}: unknown table"));
        // Tables are not keys of the one above, but for that which is written inline.
        read.retain(|key| {
            let below = if table.is_empty() { key.clone() } else { format!("{table}.{key}") };
            !tables.contains(below.as_str()) || rules::ALL.iter().any(|rule| rule.name() == below)
        });
        let ruled: BTreeSet<String> =
            rules::ALL.iter().filter(|rule| rule.table == *table).map(|rule| rule.key.to_owned()).collect();
        assert_eq!(read, ruled, "[{table}]");
    }
}

/// The table of keys, as it stands in the reference.
fn reference() -> String {
    let mut text = String::new();
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    for (title, lines) in reference::tables() {
        let head = "| key | what is written | default | range | what it says |\n|---|---|---|---|---|\n";
        write!(text, "\n### {title}\n\n{head}").unwrap();
        for line in lines {
            let (default, range) = (or_dash(&line.default), or_dash(&line.range));
            writeln!(text, "| `{}` | {} | {default} | {range} | {} |", line.key, line.form, line.says.trim())
                .unwrap();
        }
    }
    text + "\n"
}

#[test]
fn the_reference_has_every_key() {
    let text = std::fs::read_to_string(REFERENCE).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the line before the keys");
    let (keys, after) = rest.split_once(END).expect("the line after the keys");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(REFERENCE, format!("{before}{BEGIN}{}{END}{after}", reference())).unwrap();
        return;
    }
    assert!(keys == reference(), "{REFERENCE} is not as the keys are: run this test with UPDATE=1");
}

#[test]
fn every_range_and_every_default_of_the_rules_can_be_read_and_defaults_are_in_range() {
    fn check<T: Measure>(rule: &Rule) {
        for text in [rule.range.0, rule.range.1] {
            assert!(text.is_empty() || T::parse(text).is_ok(), "{}: {text}", rule.name());
        }
        if let Some(default) = rule.default::<T>().unwrap_or_else(|error| panic!("{}: {error}", rule.name()))
        {
            rule.check(default).unwrap_or_else(|error| panic!("{}: {error}", rule.name()));
        }
    }
    for rule in rules::ALL {
        match rule.form {
            rules::Form::Time => check::<units::Time>(rule),
            rules::Form::Rate => check::<units::Rate>(rule),
            rules::Form::Share => check::<units::Share>(rule),
            rules::Form::Number => check::<rules::Number>(rule),
            rules::Form::Text("number") => check::<f64>(rule),
            rules::Form::Text(_) | rules::Form::Word(_) | rules::Form::Flag => {}
        }
    }
    let of = |rule: &Rule| rule.range.1.to_owned();
    assert_eq!(of(&rules::ARRIVALS_VIEWERS), rules::VIEWERS_MAX.to_string());
    assert_eq!(of(&rules::STREAM_COUNT), rules::TITLES_MAX.to_string());
}

#[test]
fn the_words_of_the_rules_are_those_that_are_read() {
    for (rule, table) in [
        (&rules::STREAM_KIND, "[[stream]]\nname = \"a\"\nkind = \"?\""),
        (&rules::STREAM_PARTS, "[[stream]]\nname = \"a\"\nkind = \"live\"\nparts = \"?\""),
        (&rules::ARRIVALS_SPREAD, "[[audience.arrivals]]\nviewers = 1\nspread = \"?\""),
        (&rules::GROUP_PROTOCOL, "[[group]]\nprotocol = \"?\""),
        (&rules::GROUP_ABR, "[[group]]\nabr = \"?\""),
        (&rules::CMCD_CARRY, "[[group]]\ncmcd = { carry = \"?\" }"),
        (&rules::TOKEN_CARRY, "[token]\ncarry = \"?\""),
    ] {
        let error = toml::from_str::<raw::Scenario>(table).unwrap_err();
        let read: Vec<&str> = error.message().split('`').skip(3).step_by(2).collect();
        let rules::Form::Word(words) = rule.form else { panic!("{}", rule.name()) };
        assert_eq!(read, words, "{}", rule.name());
    }
}

#[test]
fn what_is_out_of_range_is_told_with_its_place_and_with_what_to_write() {
    let error = refused(&format!("# a comment\nduration = \"10ms\"\n{LEAST}"));
    assert_eq!(error, "test:2: duration: 10ms is out of range; write 1s to 1d\n    2 | duration = \"10ms\"");
    let error = refused(&format!("{LEAST}\n[[group]]\nshare = nan\n"));
    assert_eq!(error.lines().next(), Some("test:5: group.share: NaN is out of range; write 0.001 to 1000"));
    for (tables, key) in [
        ("[[fault]]\nat = \"1s\"\nover = \"1s\"\nstatus = 199", "fault.status"),
        ("[[fault]]\nat = \"1s\"\nover = \"1s\"\nstatus = 600", "fault.status"),
        ("[[fault]]\nat = \"1s\"\nover = \"1s\"\nbreak = 1.0", "fault.break"),
        ("[[fault]]\nat = \"1s\"\nover = \"1s\"\nlength = 0", "fault.length"),
        ("[[fault]]\nat = \"1s\"\nover = \"1s\"\nlength = 99999999", "fault.length"),
        ("[[fault]]\nat = \"1s\"\nover = \"1s\"\nshare = \"101%\"\nstale = true", "fault.share"),
        ("[[group]]\nline = \"1k\"", "group.line"),
        ("[[group]]\ncmcd = { version = 3 }", "group.cmcd.version"),
        ("[token]\nlifetime = \"0s\"", "token.lifetime"),
        ("[targets]\nstall-ratio = 1.5", "targets.stall-ratio"),
    ] {
        let error = refused(&format!("{LEAST}{tables}"));
        assert!(error.contains(&format!(": {key}: ")) && error.contains("; write "), "{error}");
    }
}

#[test]
fn what_is_misspelt_is_told_with_what_was_meant() {
    for (text, expected) in [
        ("durration = \"1m\"", "test:1: unknown field `durration`"),
        ("[[group]]\nprotocoll = \"h2\"", "did you mean `protocol`?"),
        ("[[group]]\nprotocol = \"http2\"", "unknown variant `http2`, expected `h1` or `h2`"),
        ("[[group]]\nabr = \"troughput\"", "did you mean `throughput`?"),
        ("[[group]]\nwatches = [\"b\", \"chanel\"]", "test:4: group.watches: no such stream"),
        ("duration = 90", "test:1: duration: 90 is a time without a unit; write a number and its unit"),
        ("duration = \"90 sec\"", "test:1: duration: \"90 sec\" is no time; write a number and its unit"),
        ("[[group]]\nline = \"2.5Mbit\"", "test:4: line: \"2.5Mbit\" is no bit rate"),
        ("seed = -1", "test:1: "),
        ("seed = ", "test:1: "),
        ("[[stream]]\nkind = \"live\"", "missing field `name`; add it"),
        ("[[stream]\n", "test:3: "),
    ] {
        let top = !text.starts_with('[');
        let least = LEAST.replace("stream = [{ name = \"a\", kind = \"live\" }]\n", "");
        let text = match (top, text.contains("[[stream]")) {
            (true, _) => format!("{text}\n{LEAST}"),
            (false, true) => format!("\n{least}{text}"),
            (false, false) => format!("{LEAST}{text}"),
        };
        let error = refused(&text);
        assert!(error.contains(expected), "{error}\nhas no \"{expected}\"");
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let stream = |rest: &str| {
        format!("audience = {{ arrivals = [{{ viewers = 1 }}] }}\n[[stream]]\nname = \"a\"\n{rest}")
    };
    let arrivals = |rest: &str| {
        format!("stream = [{{ name = \"a\", kind = \"live\" }}]\naudience = {{ arrivals = [{rest}] }}")
    };
    let least = |rest: &str| format!("{LEAST}{rest}");
    for (text, expected) in [
        ("stream = [{ name = \"a\", kind = \"live\" }]".to_owned(), "nobody comes"),
        (arrivals(""), "nobody comes"),
        ("audience = { arrivals = [{ viewers = 1 }] }".to_owned(), "nothing to watch"),
        (format!("warm-up = \"1m\"\n{LEAST}"), "warm-up: does not end before the run; write less than 1m"),
        (arrivals("{ viewers = 1, at = \"50s\", over = \"11s\" }"), "ends after the run"),
        (arrivals("{ viewers = 2000000 }, { viewers = 1 }"), "more than 2000000 viewers in all"),
        (stream("kind = \"live\"\npart = \"1s\""), "stream.part: has no meaning for a stream of this kind"),
        (stream("kind = \"vod\"\nwindow = 5"), "stream.window: has no meaning"),
        (stream("kind = \"low-latency\"\nsegment = \"2s\"\npart = \"3s\""), "write at most 2s"),
        (stream("kind = \"live\"\nbitrates = [\"2M\", \"1M\"]"), "is not ascending"),
        (stream("kind = \"live\"\nbitrates = []"), "has 0 bit rates"),
        (stream("kind = \"live\"\nbitrates = [\"1k\"]"), "out of range; write 16k to 200M"),
        (
            stream("kind = \"live\"\n[[stream]]\nname = \"a\"\nkind = \"low-latency\""),
            "is taken by another stream",
        ),
        (
            stream("kind = \"live\"\ncount = 3\n[[stream]]\nname = \"a-2\"\nkind = \"live\""),
            "is taken by another",
        ),
        (
            stream(
                "kind = \"live\"\ncount = 150000\n[[stream]]\nname = \"b\"\nkind = \"vod\"\ncount = 60000",
            ),
            "titles in all",
        ),
        (stream("kind = \"live\"").replace("\"a\"", "\"A b\""), "is no name"),
        (least("[[group]]\n[[group]]\n"), "two groups \"all\""),
        (
            least("[[group]]\nbuffer = \"3s\"\nstart-buffer = \"4s\""),
            "more than `buffer` can hold; write at most 3s",
        ),
        (least("[[event]]\nat = \"60s\"\nkill = true"), "event.at: is after the end of the run"),
        (
            least("[[event]]\nat = \"1s\""),
            "test:3: says not what is done; write one of `purge`, `restart`, `kill`",
        ),
        (least("[[event]]\nat = \"1s\"\nkill = false"), "says not what is done"),
        (least("[[event]]\nat = \"1s\"\nkill = true\nrestart = true"), "says two things at once"),
        (least("[[event]]\nat = \"1s\"\nkill = true\nhard = true"), "has no meaning without `purge`"),
        (least("[[event]]\nat = \"1s\"\npurge = \"media\""), "begin it with \"/\""),
        (
            least("[[fault]]\nat = \"1s\"\nover = \"1s\"\npaths = \"a[\"\noutage = true"),
            "test:6: fault.paths: is no glob (",
        ),
        (
            least("[[fault]]\nat = \"1s\"\nover = \"1s\"\nstale = true\nbackward = 1"),
            "says two things at once",
        ),
        (least("[token]\ncarry = \"cookie\"\nlifetime = \"30s\""), "write at least 1m"),
        (least("[token]\ncarry = \"cookie\"\nwave-at = \"30s\""), "has no meaning with `cookie`"),
        (least("[token]\nwave-at = \"2m\""), "token.wave-at: is after the end of the run"),
    ] {
        let error = refused(&text);
        assert!(error.contains(expected), "{error}\nhas no \"{expected}\"");
    }
}

#[test]
fn tables_and_texts_have_a_limit() {
    let groups: String = (0..=rules::TABLES_MAX).map(|n| format!("[[group]]\nname = \"g{n}\"\n")).collect();
    assert!(refused(&format!("{LEAST}{groups}")).contains("more than 1000 tables [[group]]"));
    let about = format!("about = \"{}\"\n{LEAST}", "a".repeat(rules::ABOUT_BYTES_MAX + 1));
    assert!(refused(&about).contains("about: is longer than 400 bytes"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.toml");
    std::fs::write(&path, " ".repeat(FILE_BYTES_MAX as usize + 1)).unwrap();
    assert!(format!("{:#}", load(&path).unwrap_err()).contains("is longer than 1048576 bytes"));
}

#[test]
fn a_scenario_is_found_by_its_name_or_in_a_file() {
    assert_eq!(load(Path::new("kick-off")).unwrap().name, "kick-off");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, LEAST).unwrap();
    assert_eq!(load(&path).unwrap().name, "mine");
    let error = format!("{:#}", load(Path::new("stedy")).unwrap_err());
    assert!(error.ends_with("did you mean \"steady\"?"), "{error}");
    let error = format!("{:#}", load(&folder.path().join("none.toml")).unwrap_err());
    assert!(error.contains("none.toml: cannot be read"), "{error}");
}

#[test]
fn a_scenario_goes_through_json_unchanged() {
    for preset in presets::ALL {
        let scenario = good(preset.text);
        let text = serde_json::to_string(&scenario).unwrap();
        assert_eq!(serde_json::from_str::<Scenario>(&text).unwrap(), scenario, "{}", preset.name);
    }
}

#[test]
fn whatever_is_written_is_read_or_refused_with_its_place() {
    use rand::{RngExt, SeedableRng};

    let pieces = [
        "\"",
        "[",
        "]",
        "{",
        "=",
        "\n",
        "-",
        "9",
        "9999999999999999999",
        "s\"",
        "nan",
        "\u{e9}",
        "true",
        "#",
        "'''",
    ];
    for seed in 0..1_500 {
        let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(seed);
        let mut text = presets::ALL[random.random_range(0..presets::ALL.len())].text.to_owned();
        for _ in 0..random.random_range(1..4) {
            let at = text.floor_char_boundary(random.random_range(0..text.len()));
            let to = text.ceil_char_boundary((at + random.random_range(0..6)).min(text.len()));
            text.replace_range(at..to, pieces[random.random_range(0..pieces.len())]);
        }
        match parse("test", &text) {
            // What was read can be run: it has viewers, and a title for each of them.
            Ok(scenario) if scenario.viewers() < 10_000 => {
                let titles = crate::scenario::catalogue::Catalogue::of(&scenario).titles.len();
                let tickets = crate::scenario::audience::tickets(&scenario);
                assert!(!tickets.is_empty(), "seed {seed}:\n{text}");
                for ticket in tickets {
                    assert!(
                        ticket.title < titles && ticket.group < scenario.groups.len(),
                        "seed {seed}:\n{text}"
                    );
                    assert!(ticket.arrives <= scenario.duration, "seed {seed}:\n{text}");
                }
            }
            Ok(_) => {}
            Err(error) => {
                assert!(format!("{error:#}").starts_with("test:"), "seed {seed}: {error:#}\n{text}")
            }
        }
    }
}
