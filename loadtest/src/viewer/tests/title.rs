//! Titles on demand: start, stalls, end, whims and failures.

use super::model::What;
use super::*;

/// Entry, playlist, init and first segment, one after another: 100 ms each to the first byte; 1 ms and 500 ms of media.
const START_MS: u128 = 100 + 100 + 101 + 600;

#[tokio::test(start_paused = true)]
async fn the_picture_comes_when_the_first_segment_is_there_and_the_viewer_leaves_at_the_end() {
    let watched = watched(group(), ticket(1), Model::vod(5)).await;
    assert_eq!(watched.starts(), [(START_MS, false)]);
    assert_eq!(watched.stalls(), []);
    assert_eq!(watched.played(), Duration::from_secs(20));
    assert_eq!(watched.left.as_millis(), START_MS + 20_000);
    assert_eq!(watched.wasted(), 0);
    let paths = watched.paths();
    assert_eq!(
        paths[..4].join(" "),
        "/media/x/index.m3u8 /media/x/v0.m3u8 /media/x/v0/init.1000.mp4 /media/x/v0/0.m4s"
    );
    assert_eq!(paths.len(), 8, "nothing is asked for twice: {paths:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_is_left_to_drain_to_its_limit_before_the_next_segment_is_asked_for() {
    let watched = watched(group(), ticket(1), Model::vod(8)).await;
    // Three segments at once; then one whenever 8 s are left.
    assert_eq!(watched.asked("m4s"), [301, 901, 1_501, 4_901, 8_901, 12_901, 16_901, 20_901]);
    let timers = watched.mets().iter().filter(|met| matches!(met, Met::Late { .. })).count();
    assert_eq!(timers, 5, "a timer was for each of the later ones");
}

#[tokio::test(start_paused = true)]
async fn a_late_segment_stalls_the_picture_for_exactly_what_the_buffer_does_not_cover() {
    // Segment 3 is asked for at 4.901 and is there 20.6 s later; what is held ends at 12.901.
    let late = Model::vod(5).wrong("/3.m4s", 0, 1, What::Delay(Duration::from_secs(20)));
    let watched = watched(group(), ticket(1), late).await;
    assert_eq!(watched.stalls(), [12_600]);
    assert_eq!(watched.played(), Duration::from_secs(20));
    assert_eq!(watched.left.as_millis(), START_MS + 20_000 + 12_600);
}

#[tokio::test(start_paused = true)]
async fn a_late_segment_that_the_buffer_covers_is_not_seen() {
    for delay in [5_000, 7_399, 7_400] {
        let late = Model::vod(5).wrong("/3.m4s", 0, 1, What::Delay(Duration::from_millis(delay)));
        let watched = watched(group(), ticket(1), late).await;
        assert_eq!(watched.stalls(), [], "{delay} ms");
    }
    let late = Model::vod(5).wrong("/3.m4s", 0, 1, What::Delay(Duration::from_millis(7_402)));
    assert_eq!(watched(group(), ticket(1), late).await.stalls(), [2], "two milliseconds beyond it are");
}

#[tokio::test(start_paused = true)]
async fn sound_that_is_late_stalls_the_picture() {
    let late = Model { audio: true, ..Model::vod(5) };
    let late = late.wrong("audio/3.m4s", 0, 1, What::Delay(Duration::from_secs(20)));
    let watched = watched(group(), ticket(1), late).await;
    assert_eq!(watched.stalls().len(), 1);
    let asked = watched.asked("audio/3.m4s")[0];
    // Sound of 64 kbit/s takes 4 ms on the line after the delay and the 100 ms.
    let dry = watched.starts()[0].0 + 12_000;
    assert_eq!(watched.stalls(), [asked + 20_104 + 28 - dry]);
    assert_eq!(watched.played(), Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn picture_and_sound_are_fetched_at_the_same_time() {
    let watched = watched(group(), ticket(1), Model { audio: true, ..Model::vod(5) }).await;
    assert_eq!(watched.asked("v0.m3u8"), watched.asked("audio.m3u8"));
    assert_eq!(watched.asked("v0/init"), watched.asked("audio/init"));
    assert_eq!((watched.asked("v0/").len(), watched.asked("audio/").len()), (6, 6));
    assert_eq!(watched.starts(), [(START_MS, false)]);
}

#[tokio::test(start_paused = true)]
async fn the_rendition_follows_the_line_down_and_up() {
    let bitrates = vec![500_000, 2_000_000, 6_000_000];
    let s = Duration::from_secs;
    let lines = vec![(s(0), 20_000_000), (s(30), 1_000_000), (s(60), 20_000_000)];
    // What it is chosen by is the same without what is given up, and easier to follow.
    let group = Group { abr: Abr::Throughput, abandon: false, buffer: s(20), ..group() };
    let watched = watched(group, ticket(1), Model { lines, bitrates, ..Model::vod(26) }).await;
    let at = |from: u64, to: u64| -> Vec<String> {
        let span = s(from)..s(to);
        let seen = watched.seen.iter().filter(|seen| span.contains(&seen.at) && seen.path.ends_with("m4s"));
        let mut variants: Vec<String> = seen.map(|seen| seen.path[9..11].to_owned()).collect();
        variants.dedup();
        variants
    };
    assert_eq!(at(0, 29), ["v0", "v2"], "it begins low, and sees that there is more");
    assert_eq!(at(48, 60).last().unwrap(), "v0", "it goes down");
    assert_ne!(at(80, 105).last().unwrap(), "v0", "and up again, not as fast");
    let switched = watched.mets().iter().filter(|met| matches!(met, Met::Switched { .. })).count();
    assert!((3..=8).contains(&switched), "{switched} switches");
    assert_eq!(watched.asked("v2.m3u8").len(), 1, "the playlist of a title on demand is loaded once");
    assert_eq!(watched.wasted(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_buffer_rule_goes_up_as_the_buffer_fills() {
    let bitrates = vec![500_000, 2_000_000, 6_000_000];
    let group = Group { abr: Abr::Buffer, buffer: Duration::from_secs(20), ..group() };
    let watched = watched(group, ticket(1), Model { bitrates, ..Model::vod(20) }).await;
    let variants: Vec<&str> =
        watched.seen.iter().filter(|seen| seen.path.ends_with("m4s")).map(|s| &s.path[9..11]).collect();
    assert_eq!(variants[0], "v0");
    assert_eq!(*variants.last().unwrap(), "v2", "{variants:?}");
    assert_eq!(watched.stalls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_zap_gives_up_what_is_under_way_and_counts_it_as_wasted() {
    let seed = 3;
    let group = Group { zap_every: Some(Duration::from_secs(10)), ..group() };
    let slow = Model { lines: vec![(Duration::ZERO, 1_500_000)], ..Model::vod(200) };
    let came = Rc::clone(&slow.came);
    let watched = watched(group, ticket(seed), slow).await;
    let zaps = watched.asked("index.m3u8").len() - 1;
    assert!(zaps >= 5, "seed {seed}: {zaps} zaps in two minutes");
    let zapped = watched.starts().iter().filter(|(_, zapped)| *zapped).count();
    assert!(zapped > 0 && zapped <= zaps, "seed {seed}: {zapped} of {zaps}");
    // All that came is played, at 1 Mbit/s, or wasted; nothing comes that nobody waits for any more.
    let (played, wasted) = (watched.played().as_millis() as u64 * 125, watched.wasted());
    let came = came.get();
    assert!((played + wasted).abs_diff(came) < 1_000, "seed {seed}: {played} and {wasted} of {came}");
    assert!(wasted > 0, "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn who_zaps_from_one_dark_picture_to_another_gives_up_thirty_seconds_after_the_arrival() {
    let seed = 3;
    let group = Group { zap_every: Some(Duration::from_secs(6)), ..group() };
    let dark = Model::vod(5).wrong("m4s", 0, 1_000, What::Delay(Duration::from_secs(1_000)));
    let watched = watched(group, ticket(seed), dark).await;
    assert!(watched.asked("index.m3u8").len() > 1, "seed {seed}: it zapped");
    assert_eq!(watched.starts(), []);
    assert!(watched.mets().contains(&Met::GaveUp), "seed {seed}: {:?}", watched.mets());
    assert_eq!(watched.left.as_secs(), 30, "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_asks_for_the_same_and_another_one_for_something_else() {
    let run = async |seed| {
        let whims = Some(Duration::from_secs(9));
        let group = Group {
            seek_every: whims,
            zap_every: Some(Duration::from_secs(25)),
            abr: Abr::Throughput,
            ..group()
        };
        let bitrates = vec![500_000, 3_000_000];
        watched(group, ticket(seed), Model { bitrates, audio: true, ..Model::vod(300) }).await.seen
    };
    let first = run(11).await;
    assert!(first.len() > 50);
    assert_eq!(first, run(11).await);
    assert_ne!(first, run(12).await);
}

#[tokio::test(start_paused = true)]
async fn a_seek_fetches_from_where_it_goes_and_is_a_start_of_its_own() {
    let seed = 5;
    let group = Group { seek_every: Some(Duration::from_secs(20)), ..group() };
    let watched = watched(group, ticket(seed), Model::vod(300)).await;
    let starts = watched.starts();
    assert!(starts.len() > 3, "seed {seed}: {starts:?}");
    assert_eq!(starts[0], (START_MS, false));
    // From a place within a segment a second one may be needed for the start buffer.
    let sought = starts[1..].iter().all(|(after, zapped)| *zapped && [0, 600, 1_200].contains(after));
    assert!(sought, "seed {seed}: {starts:?}");
    assert!(watched.wasted() > 0);
    assert_eq!(watched.asked("v0.m3u8").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_stays_longer_than_the_title_watches_the_next() {
    let ticket = Ticket { stays: Some(Duration::from_secs(50)), ..ticket(1) };
    let watched = watched(group(), ticket, Model::vod(5)).await;
    assert_eq!(watched.asked("index.m3u8"), [0, START_MS + 20_000, 2 * (START_MS + 20_000)]);
    assert_eq!(watched.left.as_millis(), 50_000);
    assert_eq!(watched.starts().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_after_a_second_and_then_after_twice_as_long() {
    let broken = Model::vod(5).wrong("/3.m4s", 0, 3, What::Status(500));
    let watched = watched(group(), ticket(1), broken).await;
    assert_eq!(watched.asked("/3.m4s"), [4_901, 6_001, 8_101, 12_201]);
    assert_eq!(watched.played(), Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn what_never_comes_is_left_out_after_six_tries() {
    let broken = Model::vod(8).wrong("/3.m4s", 0, u32::MAX, What::Status(404));
    let watched = watched(group(), ticket(1), broken).await;
    assert_eq!(watched.asked("/3.m4s").len(), 6);
    assert_eq!(watched.played(), Duration::from_secs(28), "the rest is played");
    assert_eq!(watched.stalls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn somebody_without_a_picture_for_half_a_minute_gives_up() {
    for (broken, asked) in [("index.m3u8", 6), ("v0.m3u8", 6), (".m4s", 9)] {
        let model = Model::vod(5).wrong(broken, 0, u32::MAX, What::Status(503));
        let watched = watched(group(), ticket(1), model).await;
        assert_eq!(watched.left.as_millis(), 30_000, "{broken}");
        assert!(watched.mets().ends_with(&[Met::GaveUp, Met::Left]), "{broken}");
        assert!(watched.asked(broken).len().abs_diff(asked) <= 1, "{broken}: {:?}", watched.asked(broken));
        assert_eq!(watched.starts(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_that_lasts_is_given_up_and_has_an_end() {
    let model = Model::vod(5).wrong("/1.m4s", 0, 1, What::Delay(Duration::from_secs(100)));
    let watched = watched(group(), ticket(1), model).await;
    assert_eq!(watched.stalls(), [30_000]);
    assert_eq!(watched.left.as_millis(), START_MS + 4_000 + 30_000);
}

#[tokio::test(start_paused = true)]
async fn redirects_are_followed_and_playlists_are_relative_to_where_they_end() {
    let model = Model::vod(2).wrong("/x/index.m3u8", 0, 1, What::To("/elsewhere/index.m3u8"));
    let model = model.wrong("elsewhere/v0/1.m4s", 0, 1, What::To("http://other/moved/v0/1.m4s"));
    let watched = watched(group(), ticket(1), model).await;
    assert_eq!(watched.asked("/elsewhere/v0.m3u8"), [200]);
    assert_eq!(watched.asked("/moved/v0/1.m4s").len(), 1);
    assert_eq!(watched.played(), Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn a_circle_of_redirects_is_left_after_five() {
    let model = Model::vod(2).wrong("/index.m3u8", 0, 6, What::To("/media/x/index.m3u8"));
    let watched = watched(group(), ticket(1), model).await;
    assert_eq!(watched.asked("index.m3u8"), [0, 100, 200, 300, 400, 500, 1_600], "and tried again later");
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_no_playlist_is_told_and_asked_for_again() {
    let model = Model::vod(2).wrong("v0.m3u8", 0, 1, What::Text("<html>"));
    let watched = watched(group(), ticket(1), model).await;
    assert_eq!(watched.mets().iter().filter(|met| **met == Met::BadPlaylist).count(), 1);
    assert_eq!(watched.asked("v0.m3u8"), [100, 1_200]);
}

#[tokio::test(start_paused = true)]
async fn many_keys_push_out_no_init_segment_and_each_is_fetched_once() {
    let model = Model { keys: true, audio: true, ..Model::vod(70) };
    let watched = watched(Group { buffer: Duration::from_secs(300), ..group() }, ticket(1), model).await;
    for name in ["v0", "audio"] {
        assert_eq!(watched.asked(&format!("{name}/init")).len(), 1, "{name}");
        assert_eq!(watched.asked(&format!("{name}/69.m4s")).len(), 1, "{name} came to its end");
    }
    for msn in 0..70 {
        assert_eq!(watched.asked(&format!("/keys/{msn}.key")).len(), 1, "key {msn}");
    }
}

#[tokio::test(start_paused = true)]
async fn played_is_told_second_by_second() {
    let watched = watched(group(), ticket(1), Model::vod(3)).await;
    let told = watched.met.iter().filter(|(_, met)| matches!(met, Met::Played { .. }));
    let told: Vec<u128> = told.map(|(at, _)| (*at - watched.epoch).as_millis()).collect();
    let expected: Vec<u128> = (1..=12).map(|n| START_MS + n * 1_000).collect();
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_would_come_too_late_is_given_up_for_a_lower_rendition_unless_the_viewer_does_not() {
    let s = Duration::from_secs;
    let by = async |abr, abandon, audio| {
        // From ten seconds on a segment of the higher rendition takes more than ten, and of the lower one not two.
        let lines = vec![(s(0), 40_000_000), (s(10), 1_500_000)];
        let model = Model { bitrates: vec![500_000, 4_000_000], lines, audio, ..Model::vod(12) };
        let watched = watched(Group { abr, abandon, ..group() }, ticket(1), model).await;
        let given_up = watched.mets().iter().filter(|met| **met == Met::Abandoned).count();
        (given_up, watched)
    };
    // Sound of its own is asked for while the picture is under way, and changes nothing.
    for audio in [false, true] {
        let (given_up, watched) = by(Abr::Throughput, true, audio).await;
        assert!((1..=4).contains(&given_up), "{given_up}");
        assert_eq!(watched.stalls(), []);
        assert_eq!(watched.played(), s(48), "the lower rendition took the place of what was given up");
        // At 2 s and 1.5 Mbit/s, less the way to the first byte; each of them.
        assert_eq!(watched.wasted(), given_up as u64 * 1_900 * 1_500 / 8);
    }
    for (abr, abandon) in [(Abr::Throughput, false), (Abr::Highest, true)] {
        let (given_up, watched) = by(abr, abandon, false).await;
        assert_eq!((given_up, watched.wasted()), (0, 0), "{abr:?}");
        assert!(!watched.stalls().is_empty(), "{abr:?}");
    }
}
