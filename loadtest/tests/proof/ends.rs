//! How a run ends that cannot be done, or not as it should be.

use crate::{How, Trial};

const SCENARIO: &str = r#"
seed     = 7
duration = "4s"
warm-up  = "1s"

[[stream]]
name     = "channel"
kind     = "live"
segment  = "2s"
bitrates = ["200k"]

[[audience.arrivals]]
viewers = 20
over    = "1s"
"#;

#[test]
fn a_run_that_cannot_be_done_ends_with_1_and_says_why() {
    let trial = Trial::of(SCENARIO);
    let output = trial.command("run", &["--forebay=/no/such/binary"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/no/such/binary") && !trial.path("run.json").exists(), "{said}");
}

#[test]
fn a_trace_that_cannot_be_written_whole_spoils_the_run_and_keeps_what_was_measured() {
    let trial = Trial::of(SCENARIO);
    for how in How::BOTH {
        let output = trial.command("run", &[how.argument(), "--trace=/dev/full"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{how:?}: {}", String::from_utf8_lossy(&output.stderr));
        let told = trial.told("run");
        assert!(told.spoiled()[0].contains("the trace is not whole"), "{how:?}: {:?}", told.spoiled());
        assert!(told.count("requests/count") > 0 && told.0["version"] == 1, "{how:?}");
    }
}
