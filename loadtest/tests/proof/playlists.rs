//! Live playlists that stand still or go back.

use crate::{How, Told, Trial, timely};

/// Viewers of a channel with segments of a second, three of which they keep from its end.
const SCENARIO: &str = r#"
seed     = 31
duration = "DURATION"
warm-up  = "0s"

[[stream]]
name     = "channel"
kind     = "live"
segment  = "1s"
window   = 8
bitrates = ["100k"]

[[audience.arrivals]]
viewers = 20
over    = "500ms"

[[group]]
abr          = "lowest"
start-buffer = "1s"
"#;

fn scenario(duration: &str, fault: &str) -> Trial {
    Trial::of(&format!("{}\n[[fault]]\n{fault}\n", SCENARIO.replace("DURATION", duration)))
}

/// Each of the faults, of which there are some, was told as a bad playlist, and nothing else was wrong.
fn each_fault_is_a_bad_playlist(trial: &Trial, how: How) -> Result<Told, String> {
    let told = trial.run(how, 0);
    assert_eq!((told.count("requests/errors"), told.count("requests/mismatches")), (0, 0), "{how:?}");
    let (faults, bad) = (told.faults()[0], told.count("requests/bad_playlists"));
    timely(faults >= 20 && bad == faults, format!("{bad} bad playlists of {faults} faults"))?;
    Ok(told)
}

#[test]
fn each_backward_playlist_is_told_and_nothing_else() {
    // Who has not looked for three seconds sees nothing go back. Nobody has played what it had before the playlists are right again,
    // and nobody starts meanwhile.
    let trial = scenario("7s", "at = \"3s\"\nover = \"1500ms\"\nbackward = 3");
    How::each(|how| {
        let told = each_fault_is_a_bad_playlist(&trial, how)?;
        timely(told.count("viewers/stalls") == 0, &told.summary()["viewers"])
    });
}

#[test]
fn a_stale_playlist_is_no_bad_one_and_stalls_everybody_when_the_buffers_are_empty() {
    // Nothing new from 3 to 10 s: three segments are ahead then, and one that began before.
    let trial = scenario("12s", "at = \"3s\"\nover = \"7s\"\nstale = true");
    How::each(|how| {
        let told = trial.run(how, 0);
        assert_eq!((told.count("requests/bad_playlists"), told.count("requests/errors")), (0, 0), "{how:?}");
        let mean = told.figure("viewers/stalled_seconds") / 20.0;
        if how == How::Rehearsal {
            assert_eq!(told.count("viewers/stalls"), 20);
            assert!((3.0..5.0).contains(&mean), "{mean} s each");
        }
        timely(told.faults()[0] > 20 * 7, format!("{:?} stale playlists", told.faults()))?;
        timely(told.count("viewers/stalled") == 20, &told.summary()["viewers"])?;
        // Who began late is as far behind the live edge, and has as much more ahead.
        timely((1.5..7.0).contains(&mean), format!("{mean} s each"))
    });
}

#[test]
fn a_text_that_is_broken_off_is_an_error_and_one_with_a_wrong_byte_may_be_a_bad_playlist() {
    // The first byte of `#EXTM3U` makes it none.
    let trial = scenario("6s", "at = \"2s\"\nover = \"1500ms\"\npaths = \"**/v0.m3u8\"\ncorrupt = 0.0");
    How::each(|how| each_fault_is_a_bad_playlist(&trial, how).map(drop));
    let trial = scenario("6s", "at = \"2s\"\nover = \"1500ms\"\npaths = \"**/v0.m3u8\"\nbreak = 0.5");
    How::each(|how| {
        let told = trial.run(how, 0);
        assert_eq!(told.count("requests/bad_playlists"), 0, "{how:?}");
        let faults = told.faults()[0];
        timely(faults >= 20, format!("{faults} texts were broken off"))?;
        assert_eq!(told.errors(), [("short".to_owned(), faults)].into(), "{how:?}");
        Ok(())
    });
}
