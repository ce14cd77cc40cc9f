//! Low-Latency HLS: blocking reloads, parts, hints, and the distance to the live edge.

use super::model::{Form, What};
use super::*;

/// On a line that is fast, and near.
fn low(ranges: bool) -> Model {
    Model { latency: Duration::from_millis(20), ..Model::new(Form::LowLatency { ranges }) }
}

#[tokio::test(start_paused = true)]
async fn parts_are_followed_at_the_part_hold_back() {
    for ranges in [false, true] {
        let watched = watched(group(), stays(60), low(ranges)).await;
        assert_eq!(watched.stalls(), [], "ranges: {ranges}");
        let behind = watched.behind();
        // 1.5 s, the age of the last part at the start (at most half a second), and the start itself.
        assert!(behind.iter().all(|behind| (1_500..2_200).contains(behind)), "ranges: {ranges}: {behind:?}");
        assert!(behind.len() >= 58, "ranges: {ranges}");
        assert!(watched.starts()[0].0 < 700, "ranges: {ranges}: {:?}", watched.starts());
    }
}

/// The first playlist is what a cache has kept for two seconds.
#[tokio::test(start_paused = true)]
async fn playing_does_not_begin_where_a_kept_playlist_ends() {
    let kept = low(false).wrong("v0.m3u8", 0, 1, What::Ago(Duration::from_secs(2)));
    let watched = watched(group(), stays(30), kept).await;
    let lists = watched.paths().into_iter().filter(|path| path.contains("v0.m3u8"));
    let lists: Vec<String> = lists.take(3).collect();
    // The one that was kept ends before 49.0; two seconds are four parts.
    let expected = ["", "?_HLS_msn=49&_HLS_part=3", "?_HLS_msn=50&_HLS_part=0"];
    assert_eq!(lists, expected.map(|query| format!("/media/x/v0.m3u8{query}")));
    let behind = watched.behind();
    assert!(behind.iter().all(|behind| (1_500..2_200).contains(behind)), "{behind:?}");
    assert_eq!(watched.stalls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_playlist_that_is_always_old_is_played_all_the_same() {
    let kept = low(false).wrong("v0.m3u8", 0, u32::MAX, What::Ago(Duration::from_secs(2)));
    let watched = watched(group(), stays(30), kept).await;
    let asked = watched.asked("v0.m3u8");
    assert!(asked.iter().filter(|at| **at < 500).count() <= 5, "it is not asked in a loop: {asked:?}");
    let behind = watched.behind();
    assert!(behind.iter().all(|behind| *behind >= 3_500) && behind.len() >= 25, "{behind:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_to_say_more_is_played_from_what_it_has() {
    let kept = low(false).wrong("v0.m3u8?", 0, 1, What::Status(400));
    let kept = kept.wrong("v0.m3u8", 0, 2, What::Ago(Duration::from_secs(2)));
    let watched = watched(group(), stays(30), kept).await;
    let paths: Vec<String> = watched.paths().into_iter().filter(|path| path.contains("v0.m3u8")).collect();
    assert_eq!([&paths[0], &paths[2]], ["/media/x/v0.m3u8"; 2], "{paths:?}");
    assert!(watched.starts()[0].0 < 700, "{:?}", watched.starts());
}

#[tokio::test(start_paused = true)]
async fn reloads_wait_for_the_next_part_and_skip_none() {
    let watched = watched(group(), stays(20), low(false)).await;
    let reloads: Vec<String> = watched.paths().into_iter().filter(|path| path.contains("v0.m3u8")).collect();
    assert_eq!(reloads[0], "/media/x/v0.m3u8", "the first one finds out what there is");
    let expected = (0..reloads.len() - 1)
        .map(|n| format!("/media/x/v0.m3u8?_HLS_msn={}&_HLS_part={}", 50 + n / 4, n % 4));
    assert_eq!(reloads[1..], expected.collect::<Vec<_>>());
    assert!(reloads.len() >= 39, "two each second: {}", reloads.len());
}

#[tokio::test(start_paused = true)]
async fn parts_are_asked_for_by_their_hint_before_they_are_there_and_once() {
    let watched = watched(group(), stays(20), low(false)).await;
    let parts: Vec<&Seen> = watched.seen.iter().filter(|seen| seen.path.ends_with("m4s")).collect();
    let mut paths: Vec<&str> = parts.iter().map(|seen| seen.path.as_str()).collect();
    let count = paths.len();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), count, "{paths:?}");
    let early = parts.iter().filter(|seen| {
        let name = seen.path.rsplit('/').next().unwrap();
        let mut numbers = name.split('.').map_while(|number| number.parse::<u64>().ok());
        let (Some(msn), Some(part)) = (numbers.next(), numbers.next()) else { return false };
        model::ON_AIR + seen.at < Duration::from_millis(msn * 2_000 + (part + 1) * 500)
    });
    let early = early.count();
    assert!(early >= 35, "{early} of {count} before they were there");
}

#[tokio::test(start_paused = true)]
async fn parts_that_are_ranges_are_asked_for_as_ranges_and_make_up_their_segment() {
    let watched = watched(group(), stays(20), low(true)).await;
    let ranges: Vec<(&str, (u64, Option<u64>))> =
        watched.seen.iter().filter_map(|seen| Some((seen.path.as_str(), seen.range?))).collect();
    let of = |name: &str| -> Vec<(u64, Option<u64>)> {
        ranges.iter().filter(|(path, _)| path.ends_with(name)).map(|(_, range)| *range).collect()
    };
    let whole: Vec<(u64, Option<u64>)> = (0..4).map(|n| (n * 62_500, Some((n + 1) * 62_500 - 1))).collect();
    assert_eq!(of("v0/52.m4s"), whole);
    assert_eq!(of("v0/57.m4s"), whole);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_late_by_more_than_is_held_is_a_stall_of_that_length() {
    let late = low(false).wrong("v0/55.2.m4s", 0, 1, What::Delay(Duration::from_secs(5)));
    let watched = watched(group(), stays(40), late).await;
    assert_eq!(watched.stalls().len(), 1);
    let stall = watched.stalls()[0];
    assert!((3_000..5_000).contains(&stall), "{stall}");
    assert!(!watched.mets().contains(&Met::GaveUp));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_too_early_is_not_asked_in_a_loop() {
    let early = low(false).wrong("v0.m3u8?", 0, u32::MAX, What::Ago(Duration::from_millis(1_000)));
    let watched = watched(group(), stays(20), early).await;
    let lists: Vec<_> = watched
        .seen
        .iter()
        .filter(|s| s.path.contains("m3u8"))
        .map(|s| (s.at.as_millis(), &s.path))
        .collect();
    // Half a target duration after an answer without news: two each second here, not fifty.
    assert!(lists.len() <= 42, "{lists:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_the_server_does_not_have_is_left_to_the_playlist() {
    let refused = low(false).wrong("v0/54.1.m4s", 0, 1, What::Status(404));
    let watched = watched(group(), stays(20), refused).await;
    assert_eq!(watched.asked("v0/54.1.m4s").len(), 2, "by its hint, and when it was listed");
    assert_eq!(watched.stalls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_misleads_is_wasted_and_the_listed_part_is_fetched() {
    let model = Model { misleads: true, ..low(false) };
    let came = Rc::clone(&model.came);
    let watched = watched(group(), stays(20), model).await;
    assert_eq!(watched.asked("v0/54.1.hint.m4s").len(), 1);
    assert_eq!(watched.asked("v0/54.1.m4s").len(), 1);
    assert_eq!(watched.stalls(), []);
    let (played, wasted) = (watched.played().as_millis() as u64 * 125, watched.wasted());
    // All but what was needed to decode the first picture.
    let rest = came.get() - played - wasted;
    assert!(rest <= 4 * 62_500, "{played} and {wasted} of {}", came.get());
    assert!(wasted >= 36 * 62_500, "{wasted}");
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_fails_is_tried_again_without_waiting() {
    let broken = low(false).wrong("_HLS_msn=53", 0, 1, What::Status(503));
    let watched = watched(group(), stays(20), broken).await;
    let reloads: Vec<String> = watched.paths().into_iter().filter(|path| path.contains("v0.m3u8")).collect();
    let at = reloads.iter().position(|path| path.contains("_HLS_msn=53&_HLS_part=0")).unwrap();
    assert_eq!(reloads[at + 1], "/media/x/v0.m3u8");
    assert!(reloads[at + 2].contains("_HLS_msn="), "and then as before: {:?}", &reloads[at..at + 3]);
}

#[tokio::test(start_paused = true)]
async fn sound_is_followed_by_its_own_reloads_and_parts() {
    let watched = watched(group(), stays(30), Model { audio: true, ..low(false) }).await;
    assert_eq!(watched.stalls(), []);
    assert!(watched.asked("audio.m3u8?").len() >= 55);
    let behind = watched.behind();
    assert!(behind.iter().all(|behind| (1_500..2_700).contains(behind)), "{behind:?}");
}
