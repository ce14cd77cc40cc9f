//! Live titles: where playing begins, when playlists are loaded again, and what a broken stream does.

use super::model::{Form, What};
use super::*;

fn live() -> Model {
    Model::new(Form::Live)
}

#[tokio::test(start_paused = true)]
async fn playing_begins_three_target_durations_before_the_end() {
    let watched = watched(group(), stays(60), live()).await;
    // At 0.2 s the list ends with segment 24, so that 22, 23 and 24 are the last three.
    assert!(watched.paths()[3].ends_with("v0/22.m4s"), "{:?}", watched.paths());
    assert_eq!(watched.starts(), [(901, false)]);
    assert_eq!(watched.stalls(), []);
    let behind = watched.behind();
    assert_eq!(behind.len(), 59);
    assert!(
        behind.iter().all(|behind| *behind == 12_901),
        "twelve seconds, and those until the picture came: {behind:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_distance_to_the_edge_is_known_without_dates_too() {
    let behind = watched(group(), stays(30), Model { dated: false, ..live() }).await.behind();
    // The end of the list is taken to move with time from when its loading began; it was 0.1 s old then.
    assert!(behind.iter().all(|behind| (12_000..=16_901).contains(behind)), "{behind:?}");
    assert!(behind.len() > 25);
}

#[tokio::test(start_paused = true)]
async fn a_playlist_that_changed_is_loaded_again_after_a_target_duration() {
    let watched = watched(group(), stays(40), live()).await;
    let asked: Vec<u128> = (0..10).map(|n| 100 + n * 4_000).collect();
    assert_eq!(watched.asked("v0.m3u8"), asked, "from the time at which loading began");
}

#[tokio::test(start_paused = true)]
async fn a_playlist_that_did_not_change_is_loaded_again_after_half_a_target_duration() {
    // The second and the third answer are those of 4 and of 6 seconds ago.
    let stale = live().wrong("v0.m3u8", 1, 1, What::Ago(Duration::from_secs(4)));
    let stale = stale.wrong("v0.m3u8", 1, 1, What::Ago(Duration::from_secs(6)));
    let watched = watched(group(), stays(25), stale).await;
    assert_eq!(watched.asked("v0.m3u8"), [100, 4_100, 6_100, 8_100, 12_100, 16_100, 20_100, 24_100]);
    assert_eq!(watched.stalls(), []);
}

#[tokio::test(start_paused = true)]
async fn each_segment_of_a_live_stream_is_fetched_once_and_in_order() {
    let watched = watched(group(), stays(60), live()).await;
    let segments: Vec<String> = watched.paths().into_iter().filter(|path| path.ends_with("m4s")).collect();
    let expected: Vec<String> = (22..22 + segments.len()).map(|n| format!("/media/x/v0/{n}.m4s")).collect();
    assert_eq!(segments, expected);
    assert!(segments.len() >= 16);
    // Held and not played: at most three target durations of 1 Mbit/s.
    assert!(watched.wasted() <= 12 * 125_000, "{}", watched.wasted());
}

#[tokio::test(start_paused = true)]
async fn a_playlist_that_goes_back_is_told_and_not_taken() {
    let back = live().wrong("v0.m3u8", 2, 2, What::Ago(Duration::from_secs(16)));
    let watched = watched(group(), stays(40), back).await;
    let told = watched.mets().iter().filter(|met| **met == Met::BadPlaylist).count();
    assert_eq!(told, 2);
    let segments = watched.paths().iter().filter(|path| path.ends_with("m4s")).count();
    let mut unique = watched.paths();
    unique.retain(|path| path.ends_with("m4s"));
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), segments, "nothing is fetched again");
    assert_eq!(watched.stalls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_starts_anew_is_followed_once_the_buffer_is_dry() {
    let back = live().wrong("v0.m3u8", 2, u32::MAX, What::Ago(Duration::from_secs(60)));
    let watched = watched(group(), stays(100), back).await;
    let told = watched.mets().iter().filter(|met| **met == Met::BadPlaylist).count();
    assert!(told >= 3, "{told}");
    assert_eq!(watched.stalls().len(), 1);
    assert!(!watched.mets().contains(&Met::GaveUp));
    assert!(watched.played() > Duration::from_secs(80), "{:?}", watched.played());
}

#[tokio::test(start_paused = true)]
async fn a_viewer_whose_place_is_no_longer_listed_goes_to_where_it_would_begin() {
    // Segments fail for 28 s: the window of 24 s has gone on by then.
    let model = live().wrong("v0/25.m4s", 0, 1, What::Delay(Duration::from_secs(28)));
    let watched = watched(group(), stays(100), model.wrong("v0/26.m4s", 0, 1, What::Status(404))).await;
    assert!(!watched.mets().contains(&Met::GaveUp));
    assert!(!watched.stalls().is_empty());
    assert!(watched.played() > Duration::from_secs(60), "{:?}", watched.played());
    let behind = watched.behind();
    assert!(*behind.last().unwrap() < 40_000, "{behind:?}");
}

#[tokio::test(start_paused = true)]
async fn a_live_viewer_that_changes_the_rendition_goes_on_where_it_was() {
    let bitrates = vec![500_000, 3_000_000];
    let group = Group { abr: Abr::Throughput, ..group() };
    let watched = watched(group, stays(60), Model { bitrates, ..live() }).await;
    let mut numbers: Vec<u32> = Vec::new();
    for path in watched.paths().iter().filter(|path| path.ends_with("m4s")) {
        numbers.push(path.rsplit('/').next().unwrap().trim_end_matches(".m4s").parse().unwrap());
    }
    let expected: Vec<u32> = (22..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "each once, whatever the rendition: {:?}", watched.paths());
    assert!(watched.asked("v1/").len() > 10);
    assert_eq!((watched.stalls(), watched.wasted() < 12 * 375_000), (vec![], true));
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_a_media_playlist_is_played_as_it_is() {
    const ONLY: &str =
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nv0/0.m4s\n#EXTINF:4,\nv0/1.m4s\n#EXT-X-ENDLIST\n";
    let model = Model::vod(2).wrong("index.m3u8", 0, 1, What::Text(ONLY));
    let watched = watched(group(), ticket(1), model).await;
    assert_eq!(watched.played(), Duration::from_secs(8));
    assert_eq!(watched.paths().len(), 3);
    let bitrate = |met: &Met| matches!(met, Met::Played { bitrate, .. } if *bitrate == 1_000_000);
    assert!(watched.mets().iter().any(bitrate), "measured, since nobody says");
}
