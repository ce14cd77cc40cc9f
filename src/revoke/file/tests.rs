#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

const NOW: u64 = 1_700_000_000;

fn revoked(value: &str, until: u64) -> Record {
    let identity =
        Identity { kind: Kind::Session, value: value.into(), policy: Some("p \"quoted\"\n".into()) };
    Record { identity, until, at: NOW * 1000, restored: false }
}

fn open(path: &Path) -> Result<(RevocationFile, Revocations), FileError> {
    let table = Revocations::new(5000, 1);
    Ok((RevocationFile::open(path, &table, NOW)?, table))
}

fn note(path: &Path, records: &[Record]) {
    let (mut file, table) = open(path).unwrap();
    for record in records {
        let merged = table.merge([record.clone()], NOW);
        file.note(&merged.changed, || table.records(NOW)).unwrap();
    }
}

fn values(table: &Revocations) -> Vec<String> {
    let mut values: Vec<_> =
        table.records(NOW).iter().map(|record| record.identity.value.to_string()).collect();
    values.sort();
    values
}

#[test]
fn what_is_noted_is_there_after_a_start_and_what_has_ended_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revocations");
    let records = [revoked("a", NOW + 5), revoked("ü\u{0}\n", NOW + 500)];
    note(&path, &records);
    let (_, table) = open(&path).unwrap();
    for record in &records {
        assert_eq!(*table.record(&record.identity).unwrap(), *record);
    }
    let later = Revocations::new(5000, 1);
    RevocationFile::open(&path, &later, NOW + 5).unwrap();
    assert_eq!(later.len(), 1);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2, "the file was written anew");
}

/// A kill can leave any part of the last line, and nothing of what was noted before is lost.
#[test]
fn a_torn_last_line_is_left_out_wherever_it_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revocations");
    note(&path, &[revoked("a", NOW + 5), revoked("b", NOW + 5)]);
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in last..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let (_, table) = open(&path).unwrap();
        assert_eq!(values(&table), ["a"], "torn at {end}");
        note(&path, &[revoked("c", NOW + 5)]);
        assert_eq!(values(&open(&path).unwrap().1), ["a", "c"], "what is noted afterwards reads");
    }
}

/// A whole line was answered, the last one too.
#[test]
fn damage_is_told_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revocations");
    note(&path, &[revoked("a", NOW + 5), revoked("b", NOW + 5), revoked("c", NOW + 5)]);
    let whole = fs::read(&path).unwrap();
    let starts: Vec<usize> = std::iter::once(0)
        .chain(whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1))
        .collect();
    for at in starts[1]..starts[4] - 1 {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let error = open(&path).map(drop).unwrap_err();
        let line = starts.partition_point(|start| *start <= at);
        let told = error.to_string();
        // A line feed that became something else makes one line of two.
        let expected = format!("{}:{line}: is damaged; put a copy", path.display());
        assert!(told.starts_with(&expected), "byte {at}: {told}");
    }
    fs::write(&path, "something else\n").unwrap();
    assert!(matches!(open(&path), Err(FileError::Foreign { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "something else\n", "it is left as it is");
}

#[test]
fn history_does_not_grow_the_file_without_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revocations");
    let (mut file, table) = open(&path).unwrap();
    let who = revoked("a", NOW + 5).identity;
    for _ in 0..2 * HISTORY_LINES_MAX {
        let record = table.revoke(who.clone(), NOW + 50, NOW * 1000).unwrap();
        file.note(&[record], || table.records(NOW)).unwrap();
        assert!(file.lines <= HISTORY_LINES_MAX);
    }
    assert!(fs::read_to_string(&path).unwrap().lines().count() <= HISTORY_LINES_MAX + 1);
    let known = table.record(&who).unwrap();
    assert_eq!(open(&path).unwrap().1.record(&who).unwrap(), known);
}

#[test]
fn a_write_that_failed_is_made_good_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revocations");
    let (mut file, table) = open(&path).unwrap();
    let one = table.merge([revoked("a", NOW + 5)], NOW).changed;
    file.file = File::open(&path).unwrap(); // for reading: a write fails
    assert!(matches!(file.note(&one, Vec::new), Err(FileError::Io { .. })));
    let two = table.merge([revoked("b", NOW + 5)], NOW).changed;
    file.note(&two, || table.records(NOW)).unwrap();
    assert_eq!(values(&open(&path).unwrap().1), ["a", "b"]);
}

/// What rotates logs, and who restores a copy, moves files away under the node.
#[test]
fn what_is_noted_after_the_file_was_moved_is_in_its_place_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("there/revocations");
    fs::create_dir(path.parent().unwrap()).unwrap();
    let (mut file, table) = open(&path).unwrap();
    let mut noted = |value: &str| {
        let merged = table.merge([revoked(value, NOW + 5)], NOW);
        file.note(&merged.changed, || table.records(NOW))
    };
    noted("a").unwrap();
    fs::rename(&path, path.with_extension("1")).unwrap();
    noted("b").unwrap();
    assert_eq!(values(&open(&path).unwrap().1), ["a", "b"]);
    let mut noted = |value: &str| {
        let merged = table.merge([revoked(value, NOW + 5)], NOW);
        file.note(&merged.changed, || table.records(NOW))
    };
    fs::rename(path.parent().unwrap(), folder.path().join("gone")).unwrap();
    assert!(matches!(noted("c"), Err(FileError::Io { .. })));
    fs::create_dir(path.parent().unwrap()).unwrap();
    noted("d").unwrap();
    assert_eq!(values(&open(&path).unwrap().1), ["a", "b", "c", "d"]);
}

#[test]
fn the_file_is_for_nobody_else_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revocations");
    note(&path, &[revoked("a", NOW + 5)]);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn more_than_the_table_may_hold_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revocations");
    note(&path, &[revoked("a", NOW + 5), revoked("b", NOW + 5)]);
    let error = RevocationFile::open(&path, &Revocations::new(1, 1), NOW).unwrap_err();
    assert!(error.to_string().contains("holds 1 revocations more than limits.revocations allows"));
    let nowhere = folder.path().join("nowhere/revocations");
    assert!(matches!(open(&nowhere), Err(FileError::Io { .. })));
}
