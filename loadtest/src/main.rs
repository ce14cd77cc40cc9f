//! The forebay load tester.

fn main() {}
