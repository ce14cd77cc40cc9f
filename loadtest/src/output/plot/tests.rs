#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
use super::*;

fn plot(points: Vec<(f64, Option<f64>)>) -> Plot {
    let series = Series { name: "one".to_owned(), tone: "a", is_area: false, gather: Gather::Most, points };
    Plot {
        id: "x".to_owned(),
        title: "X".to_owned(),
        unit: Unit::Milliseconds,
        series: vec![series],
        limit: None,
        reach: 0.0,
        may_be_log: true,
    }
}

fn frame(seconds: f64) -> Frame {
    Frame { seconds, ..Frame::default() }
}

#[test]
fn a_line_is_broken_where_there_is_no_value_and_a_lonely_one_is_a_dot() {
    let points = [Some(10.0), Some(5.0), None, Some(10.0)];
    let points = (1..).map(f64::from).zip(points).collect();
    let page = plot(points).render(&frame(4.0)).into_string();
    assert!(page.contains(r#"d="M250 0L500 84M1000 0h0""#), "{page}");
}

#[test]
fn the_worst_of_several_seconds_is_not_lost() {
    let mut points: Vec<_> = (1..=10_000).map(|at| (f64::from(at), Some(1.0))).collect();
    points[4_321].1 = Some(20.0);
    let series = &plot(points).series[0];
    let gathered = series.gathered(POINTS_MAX);
    assert!(gathered.len() <= POINTS_MAX);
    assert_eq!(gathered.iter().filter(|(_, value)| *value == Some(20.0)).count(), 1);
    assert_eq!(gathered.last().unwrap().0, 10_000.0);
}

#[test]
fn an_axis_becomes_logarithmic_where_one_value_would_flatten_all_others() {
    let of = |values: [f64; 3]| {
        plot((1..).map(f64::from).zip(values.map(Some)).collect()).render(&frame(3.0)).into_string()
    };
    assert!(of([1.0, 2.0, 900.0]).contains("logarithmic"));
    assert!(!of([1.0, 2.0, 9.0]).contains("logarithmic"));
    assert!(!of([0.0, 0.0, 9.0]).contains("logarithmic"));
}

#[test]
fn marks_near_each_other_stand_below_each_other() {
    let mut frame = frame(100.0);
    frame.marks = [(10.0, "A"), (11.0, "B"), (50.0, "C")]
        .map(|(at, sign)| (at, sign.to_owned(), "text".to_owned()))
        .to_vec();
    let page = plot(vec![(1.0, Some(1.0))]).render(&frame).into_string();
    let tops: Vec<&str> = page.split(" cy=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(tops, ["-10", "8", "-10"]);
}

#[test]
fn what_a_plot_shows_is_told_in_a_sentence_too() {
    let page = plot(vec![(1.0, Some(3.0)), (2.0, Some(1.0))]).render(&frame(2.0)).into_string();
    assert!(page.contains("one: at most 3 ms at 1 s, 1 ms at the end."), "{page}");
}
