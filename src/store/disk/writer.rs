//! The thread that writes one disk, and the one that finds out at the start what the disk holds.
//!
//! The writer takes batches from the queue until it is told to end: first what removes, so that nothing removed comes
//! back, then objects, then newer metadata. What a failed write means for the disk is decided by the drive.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::drive::Drive;
use super::health::{Operation, Pause};
use super::metrics::Reason;
use super::queue::{Answer, Item, Job, Queued};
use super::quota::Room;
use super::tier::DiskError;
use super::volume::{Append, AppendError};

/// Writes what comes into the drive's queue; returns when the queue is stopped.
pub(super) fn run(drive: &Drive) {
    loop {
        let batch = drive.queue.take();
        clear(drive, batch.clear);
        if batch.removals || !batch.persist.is_empty() {
            let written = drive.write_removals(|volume| volume.flush_tombstones(), io_error);
            answer_all(drive, batch.persist, written);
        }
        write_items(drive, batch.items);
        if let Some(answer) = batch.close {
            close(drive, answer);
            return;
        }
    }
}

/// Finds out what the disk holds.
pub(super) fn recover(drive: &Drive) {
    let start = Instant::now();
    if let Some(reason) = drive.volume.discarded() {
        tracing::warn!(path = %drive.path.display(), reason, "what stood in a disk's directory is discarded");
    }
    let recovered = drive.volume.recover(&drive.stop);
    if let Some(error) = recovered.error {
        drive.metrics.failed(Operation::Read);
        if recovered.regions == 0 {
            drive.health.take_out(&error);
            drive.draw_consequences();
        }
        tracing::warn!(
            path = %drive.path.display(), regions = recovered.unreadable_regions, %error,
            "regions of a disk cannot be read, and what they hold is fetched anew; check the device (dmesg, smartctl)"
        );
    }
    if !recovered.stopped {
        tracing::info!(
            path = %drive.path.display(), objects = recovered.objects, bytes = recovered.bytes, torn = recovered.torn,
            seconds = start.elapsed().as_secs_f64(), "disk is recovered"
        );
    }
    for (site, _quota) in drive.quotas.sites() {
        if let Room::Evict(bytes) = drive.quotas.room(site, drive.volume.bytes_of_site(site), 0) {
            drive.volume.evict_oldest_of_site(site, bytes);
        }
    }
    drive.recovering.store(false, Ordering::Release);
}

fn clear(drive: &Drive, answers: Vec<Answer>) {
    if answers.is_empty() {
        return;
    }
    let cleared = drive.write(|volume| volume.clear(), io_error);
    drive.queue.cleared(answers.len());
    answer_all(drive, answers, cleared.is_ok());
}

fn answer_all(drive: &Drive, answers: Vec<Answer>, done: bool) {
    for answer in answers {
        let result = if done { Ok(()) } else { Err(DiskError::NotDurable { path: drive.path.clone() }) };
        // Whoever asked may have given up.
        let _ = answer.send(result);
    }
}

fn write_items(drive: &Drive, items: Vec<Item>) {
    if items.is_empty() {
        return;
    }
    match drive.health.pause(Instant::now()) {
        // A slow disk is spared new writes; what waits holds memory, and is written.
        None | Some(Pause::Slow) => {
            write_objects(drive, &items);
            write_metas(drive, &items);
        }
        Some(pause) => items.iter().for_each(|item| give_up(drive, item, pause.into())),
    }
    drive.queue.done(items, |key| {
        drive.volume.remove(key);
    });
}

fn write_objects(drive: &Drive, items: &[Item]) {
    let mut of_sites = HashMap::new();
    let objects: Vec<&Arc<Queued>> = items
        .iter()
        .filter_map(|item| match &item.job {
            Job::Write(object) => Some(object),
            Job::Refresh(_) => None,
        })
        .filter(|object| {
            let room = has_room(drive, object, &mut of_sites);
            if !room {
                drive.shared.shed(Reason::Quota, 1);
                drive.volume.remove(&object.key);
            }
            room
        })
        .collect();
    if objects.is_empty() {
        return;
    }
    let appends: Vec<Append<'_>> = objects
        .iter()
        .map(|object| Append {
            key: &object.key,
            site: object.site,
            meta: &object.meta,
            body: &object.body.chunks,
        })
        .collect();
    let first_error = |results: &Vec<Result<u64, AppendError>>| {
        results.iter().find_map(|result| result.as_ref().err().and_then(of_device).map(copy))
    };
    let results = drive.write(|volume| volume.append(&appends), first_error);
    for (object, result) in objects.iter().zip(results) {
        let reason = match result {
            Ok(_) => continue,
            Err(AppendError::Io(_)) => reason_of_failure(drive),
            Err(AppendError::Closed) => Reason::Closing,
            Err(_) => Reason::TooLarge,
        };
        drive.shared.shed(reason, 1);
        drive.volume.remove(&object.key);
    }
}

/// Counts a job that is not done. What a write was to replace is older than what the store has, and goes.
fn give_up(drive: &Drive, item: &Item, reason: Reason) {
    drive.shared.shed(reason, 1);
    if let Job::Write(object) = &item.job {
        drive.volume.remove(&object.key);
    }
}

/// Makes room in the quota of an object's site. `of_sites` has the bytes of the batch until here.
fn has_room(drive: &Drive, object: &Queued, of_sites: &mut HashMap<u16, u64>) -> bool {
    let batch = of_sites.entry(object.site).or_default();
    let bytes = drive.record_bytes(&object.key, &object.meta, object.body.len);
    match drive.quotas.room(object.site, drive.volume.bytes_of_site(object.site) + *batch, bytes) {
        Room::Fits => {}
        Room::Evict(excess) => {
            drive.volume.evict_oldest_of_site(object.site, excess);
            // What the batch has of the site itself cannot be evicted.
            let used = drive.volume.bytes_of_site(object.site) + *batch;
            if drive.quotas.room(object.site, used, bytes) != Room::Fits {
                return false;
            }
        }
        Room::Never => return false,
    }
    *batch += bytes;
    true
}

fn write_metas(drive: &Drive, items: &[Item]) {
    for item in items {
        let Job::Refresh(meta) = &item.job else { continue };
        let written = drive.write(|volume| volume.append_meta(&item.key, meta), io_error);
        if written.is_err() {
            drive.shared.shed(reason_of_failure(drive), 1);
        }
    }
}

fn close(drive: &Drive, answer: Option<Answer>) {
    drive.shed(Reason::Closing);
    let Some(answer) = answer else { return };
    let usable = !drive.health.is_out() && !drive.health.is_read_only();
    let closed = if usable { drive.write(|volume| volume.seal_and_close(), io_error) } else { Ok(()) };
    // Whoever asked may have given up.
    let _ = answer.send(closed.map_err(|source| DiskError::Close { path: drive.path.clone(), source }));
}

/// The word for a write that the disk refused.
fn reason_of_failure(drive: &Drive) -> Reason {
    match drive.health.pause(Instant::now()) {
        None | Some(Pause::Slow) => Reason::Error,
        Some(pause) => pause.into(),
    }
}

fn io_error<T>(result: &Result<T, AppendError>) -> Option<io::Error> {
    result.as_ref().err().and_then(of_device).map(copy)
}

fn of_device(error: &AppendError) -> Option<&io::Error> {
    match error {
        AppendError::Io(error) => Some(error),
        _ => None,
    }
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
