//! What the origin itself cannot be asked: a run that would measure nothing but refusals is not begun.

use crate::Trial;

#[test]
fn viewers_that_the_origin_cannot_answer_are_refused_before_the_run_with_a_remedy() {
    let scenario = |more: &str| {
        format!(
            "duration = \"5s\"\nwarm-up = \"0s\"\n[[stream]]\nname = \"film\"\nkind = \"vod\"\n\
             [[audience.arrivals]]\nviewers = 3\n[[group]]\nname = \"phones\"\n{more}\n"
        )
    };
    for (more, why) in
        [("protocol = \"h2\"", ["phones", "h1"]), ("[token]\ncarry = \"path\"", ["carry", "query"])]
    {
        let trial = Trial::of(&scenario(more));
        let output = trial.command("run", &["--server=direct"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(why.iter().all(|word| said.contains(word)) && !trial.path("run.json").exists(), "{said}");
        // Nobody is asked in a rehearsal.
        let output = trial.command("run", &["--rehearse"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
