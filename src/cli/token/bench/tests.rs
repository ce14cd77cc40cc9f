#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
use super::*;

const SHORT: Effort = Effort { cold: 1, passes: 1 };

/// Every case makes keys and tokens anew, and checks that they are admitted where they are said to stand.
#[test]
fn every_format_has_a_row_and_the_verdict_comes_last() {
    let mut out = Vec::new();
    assert_eq!(measure(None, false, SHORT, &mut out).unwrap(), 0);
    let text = String::from_utf8(out).unwrap();
    let rows: Vec<_> = text.lines().collect();
    assert_eq!(rows.len(), cases::MAKERS.len() + 2, "{text}");
    for word in crate::config::formats::Word::ALL {
        assert!(rows.iter().any(|row| row.starts_with(word.as_str())), "{}", word.as_str());
    }
    assert!(rows.iter().any(|row| row.starts_with("session ")));
    assert!(rows.last().unwrap().starts_with("warm, median: "), "{text}");
}

#[test]
fn one_format_alone_is_measured_and_told_as_json() {
    let mut out = Vec::new();
    measure(Some("cat"), true, SHORT, &mut out).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let rows = told["rows"].as_array().unwrap();
    assert_eq!(
        rows.iter().map(|row| row["signature"].as_str().unwrap()).collect::<Vec<_>>(),
        ["HS256", "ES256", "PS256"]
    );
    assert!(rows.iter().all(|row| row["cold_ns"]["median"].as_f64().unwrap() > 0.0), "{told}");
    assert!(told["warm_below_1_us"].is_boolean());
}

#[test]
fn costs_are_the_middle_and_the_upper_end() {
    let cost = Cost::of((0..100).rev().map(f64::from).collect());
    assert!((cost.median - 50.0).abs() < f64::EPSILON && (cost.p99 - 99.0).abs() < f64::EPSILON);
    assert!(Cost::of(Vec::new()).median.abs() < f64::EPSILON);
}

/// Requests that are made to be expensive get as far as they are meant to. One that was refused for something else would
/// measure nothing.
#[test]
fn expensive_requests_are_refused_for_what_is_expensive() {
    let answers = worst::answers(&keys::Pairs::make().unwrap()).unwrap();
    assert!(answers.len() > 25);
    for (name, answer) in answers {
        let expected: &[&str] = match name {
            name if name.contains("forged") => &["bad_mac"],
            name if name.contains("almost matches") => &["path"],
            name if name.contains("patterns") || name.contains("stars") => &["path"],
            name if name.contains("expression") => &["path", "header", "unsupported_claim"],
            name if name.contains("leading tokens") || name.contains("within each other") => &["malformed"],
            name if name.contains("tildes") => &["malformed"],
            name if name.contains("cookies") || name.contains("parameters") => &["missing", "bad_mac"],
            _ => &["bad_mac", "path"],
        };
        assert!(expected.contains(&answer), "{name}: {answer}");
    }
}
