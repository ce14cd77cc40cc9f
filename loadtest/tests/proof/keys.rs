//! Streams that are encrypted, as far as a server sees it: who fetches keys, which, and how often.

use std::collections::BTreeSet;

use crate::{How, Trial};

/// Films of ten segments, three of which have a key in common, in two renditions and with sound of its own; everybody has all of
/// them in the first seconds.
const SCENARIO: &str = r#"
seed     = 71
duration = "10s"
warm-up  = "0s"

[[stream]]
name      = "film"
kind      = "vod"
count     = 2
segment   = "1s"
length    = "10s"
bitrates  = ["50k", "100k"]
audio     = "16k"
key-every = 3

[[audience.arrivals]]
viewers = 20
over    = "500ms"

[[group]]
name         = "players"
abr          = "highest"
start-buffer = "1s"

[[group]]
name         = "without"
abr          = "lowest"
start-buffer = "1s"
keys         = false
"#;

#[test]
fn a_player_fetches_each_key_once_before_the_first_segment_that_wants_it_and_another_none() {
    let trial = Trial::of(SCENARIO);
    for how in How::BOTH {
        let (told, sequences) = trial.traced("run", &[how.argument()]);
        assert_eq!((told.count("requests/errors"), told.count("requests/mismatches")), (0, 0), "{how:?}");
        let mut players = 0;
        for (viewer, asked) in &sequences {
            let is_player = asked.iter().any(|line| line.contains("/v1/"));
            players += u64::from(is_player);
            let keys: Vec<_> = asked.iter().filter(|line| line.starts_with("key ")).collect();
            let different: BTreeSet<_> = keys.iter().collect();
            assert_eq!(different.len(), keys.len(), "{how:?}, viewer {viewer}: {asked:?}");
            assert_eq!(keys.len(), if is_player { 4 } else { 0 }, "{how:?}, viewer {viewer}: {asked:?}");
            for (number, key) in keys.iter().enumerate() {
                assert!(
                    key.ends_with(&format!("/keys/{number}.16.key")),
                    "{how:?}, viewer {viewer}: {keys:?}"
                );
                let place = |found: &dyn Fn(&String) -> bool| asked.iter().position(found).unwrap();
                let at = place(&|line| line == *key);
                for rendition in ["v1", "audio"] {
                    let wants = format!("/{rendition}/{}.", 3 * number);
                    let wanted = place(&|line| line.contains(&wants));
                    assert!(at < wanted, "{how:?}, viewer {viewer}, {rendition}: {asked:?}");
                }
            }
        }
        assert!((5..=15).contains(&players), "{how:?}: {players} of 20");
        let keys = told.summary()["kinds"].as_array().unwrap().iter().filter(|kind| kind["kind"] == "key");
        assert_eq!(keys.map(|kind| kind["requests"].as_u64().unwrap()).sum::<u64>(), 4 * players, "{how:?}");
        assert_eq!(told.count("origin/per_object/key/objects"), 8, "{how:?}");
    }
}
