//! What goes with requests: tokens that end, and what a player tells of itself.

use super::model::What;
use super::*;
use crate::scenario::{Carry, Cmcd, CmcdCarry};

fn token(carry: Carry) -> Option<Token> {
    Some(Token { carry, lifetime: Duration::from_secs(3_600), wave_at: None })
}

/// The token in a request, however it goes with it.
fn tokens(watched: &Watched, carry: Carry) -> Vec<String> {
    let of = |seen: &Seen| match carry {
        Carry::Path => seen.path.split('/').find(|segment| segment.contains("exp=")).map(str::to_owned),
        Carry::Query | Carry::Cookie => seen.path.split_once('?').map(|(_, query)| query.to_owned()),
        Carry::Header => seen.fields.lines().next().map(str::to_owned),
    };
    watched.seen.iter().filter_map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn a_viewer_whose_token_is_refused_gets_another_and_enters_again_while_it_plays_on() {
    for (carry, status) in [(Carry::Path, 403), (Carry::Header, 410)] {
        let model = Model::vod(8).wrong("/4.m4s", 0, 1, What::Status(status));
        let world = world(group(), token(carry), model.epoch);
        let watched = watched_in(world, ticket(1), model).await;
        // Segment 4 is due at 8.901 and refused at 9.001.
        assert_eq!(watched.asked("index.m3u8"), [0, 9_001], "{carry:?}");
        assert_eq!(
            watched.asked("/4.m4s"),
            [8_901, if carry == Carry::Path { 9_302 } else { 9_201 }],
            "{carry:?}"
        );
        assert_eq!((watched.stalls(), watched.starts().len()), (vec![], 1), "{carry:?}");
        assert_eq!(watched.played(), Duration::from_secs(32));
        let tokens = tokens(&watched, carry);
        assert_eq!(tokens.len(), watched.seen.len(), "{carry:?}: every request has one");
        let mut unique = tokens.clone();
        unique.dedup();
        assert_eq!(unique.len(), 2, "{carry:?}: {unique:?}");
        assert_eq!(watched.wasted(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_is_refused_whatever_it_has_does_not_hammer_the_entry() {
    let model = Model::vod(5).wrong("/media/", 0, u32::MAX, What::Status(403));
    let world = world(group(), token(Carry::Query), model.epoch);
    let watched = watched_in(world, ticket(1), model).await;
    assert!(watched.mets().ends_with(&[Met::GaveUp, Met::Left]));
    assert!((6..=14).contains(&watched.seen.len()), "{:?}", watched.asked(""));
}

#[tokio::test(start_paused = true)]
async fn without_tokens_a_refusal_is_a_failure_like_others() {
    let model = Model::vod(5).wrong("/3.m4s", 0, 1, What::Status(403));
    let watched = watched(group(), ticket(1), model).await;
    assert_eq!(watched.asked("/3.m4s"), [4_901, 6_001]);
    assert_eq!(watched.asked("index.m3u8"), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_player_tells_of_itself_what_is_so() {
    let group = Group { cmcd: Some(Cmcd { version: 1, carry: CmcdCarry::Query }), ..group() };
    let late = Model::vod(5).wrong("/3.m4s", 0, 1, What::Delay(Duration::from_secs(20)));
    let watched = watched(group, ticket(1), late).await;
    let told = |part: &str| {
        let path = watched.paths().into_iter().find(|path| path.contains(part)).unwrap();
        let url = Url::parse(&format!("http://edge{path}")).unwrap();
        url.query_pairs().find(|(name, _)| name == "CMCD").unwrap().1.into_owned()
    };
    let first = told("/0.m4s");
    for key in ["br=1000", "d=4000", "nor=\"1.m4s\"", "ot=", "su", "sf=h", "st=v", "sid="] {
        assert!(first.split(',').any(|told| told.starts_with(key)), "{key} in {first}");
    }
    let third = told("/3.m4s");
    assert!(third.contains("bl=8000") && !third.contains("su") && !third.contains("bs"), "{third}");
    let after = told("/4.m4s");
    assert!(after.contains("bs") && after.contains("mtp="), "the picture stood still before: {after}");
    let sid = |told: &str| told.split(',').find(|told| told.starts_with("sid=")).unwrap().to_owned();
    assert_eq!(sid(&first), sid(&after));
    assert_eq!(watched.stalls(), [12_600], "and does the same otherwise");
}
