//! The threads that read one disk for the network threads.
//!
//! Decides how many reads run and wait at once. A read that nobody waits for any more is not begun. What is read and
//! what an error means is decided by those who submit.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// Reads of one disk that run at once.
pub const READ_THREADS: usize = 8;

/// Reads of one disk that wait for a thread, at most.
pub const READ_QUEUE_MAX: usize = 256;

type Job = Box<dyn FnOnce() + Send>;

/// A pool of reading threads. They end when it is stopped or dropped, each after the read it is at.
pub(super) struct Readers(Arc<Pool>);

struct Pool {
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    waiting: VecDeque<Job>,
    running: usize,
    /// Reads ended.
    ended: u64,
    /// When a read last ended, or the first of those that run began.
    moved: Instant,
    stopped: bool,
}

/// An answer to come, and what had been read when it was asked for.
pub(super) struct Pending<T> {
    pub(super) answer: oneshot::Receiver<T>,
    ended: u64,
}

impl Readers {
    /// Starts `threads` threads that bear `name`.
    pub(super) fn start(name: &str, threads: usize) -> io::Result<Readers> {
        let readers = Readers(Arc::new(Pool::new()));
        for _ in 0..threads {
            let pool = Arc::clone(&readers.0);
            thread::Builder::new().name(name.to_string()).spawn(move || pool.run())?;
        }
        Ok(readers)
    }

    /// Has a thread do `work`; None: too much waits already. The answer never comes if the pool is stopped before.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<Pending<T>> {
        let (answer, receiver) = oneshot::channel();
        let job = move || {
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        };
        let mut state = self.0.state.lock();
        if state.stopped || state.waiting.len() >= READ_QUEUE_MAX {
            return None;
        }
        state.waiting.push_back(Box::new(job));
        let ended = state.ended;
        drop(state);
        self.0.work.notify_one();
        Some(Pending { answer: receiver, ended })
    }

    /// Whether no read at all has ended since `pending` was submitted: not the queue is long, but the disk is silent.
    pub(super) fn is_silent_since<T>(&self, pending: &Pending<T>) -> bool {
        self.0.state.lock().ended == pending.ended
    }

    /// Whether reads run and none of them has ended for `limit`.
    pub(super) fn is_silent_for(&self, limit: Duration) -> bool {
        let state = self.0.state.lock();
        state.running > 0 && state.moved.elapsed() > limit
    }

    /// Ends the threads, each after the read it is at. What waits is dropped.
    pub(super) fn stop(&self) {
        let mut state = self.0.state.lock();
        state.stopped = true;
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        self.0.work.notify_all();
        drop(dropped);
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Pool {
    fn new() -> Pool {
        let state =
            State { waiting: VecDeque::new(), running: 0, ended: 0, moved: Instant::now(), stopped: false };
        Pool { state: Mutex::new(state), work: Condvar::new() }
    }

    fn run(&self) {
        let mut ended = false;
        while let Some(job) = self.next(ended) {
            job();
            ended = true;
        }
    }

    /// The next job; notes the end of the one before.
    fn next(&self, ended: bool) -> Option<Job> {
        let mut state = self.state.lock();
        if ended {
            state.running -= 1;
            state.ended += 1;
            state.moved = Instant::now();
        }
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                if state.running == 0 {
                    state.moved = Instant::now();
                }
                state.running += 1;
                return Some(job);
            }
            self.work.wait(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::sync::mpsc::sync_channel;

    use super::*;

    #[tokio::test]
    async fn work_is_answered_and_what_nobody_waits_for_is_not_begun() {
        let readers = Readers::start("test-read", 1).unwrap();
        let (release, gate) = sync_channel::<()>(1);
        let blocked = readers.submit(move || gate.recv().is_ok()).unwrap();
        let (told, begun) = sync_channel::<()>(1);
        drop(readers.submit(move || told.send(())).unwrap());
        let last = readers.submit(|| 7).unwrap();
        release.send(()).unwrap();
        assert!(blocked.answer.await.unwrap());
        assert_eq!(last.answer.await.unwrap(), 7);
        assert!(begun.recv().is_err(), "the abandoned read was dropped, not run");
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_a_stopped_pool_lets_go_of_all_who_wait() {
        let readers = Readers::start("test-read", 1).unwrap();
        let (release, gate) = sync_channel::<()>(1);
        let (begun, running) = sync_channel::<()>(1);
        let first = readers
            .submit(move || {
                begun.send(()).unwrap();
                gate.recv().is_ok()
            })
            .unwrap();
        running.recv().unwrap();
        let waiting: Vec<_> = (0..READ_QUEUE_MAX).map(|_| readers.submit(|| ()).unwrap()).collect();
        assert!(readers.submit(|| ()).is_none(), "one more than the bound");
        readers.stop();
        for receiver in waiting {
            assert!(receiver.answer.await.is_err());
        }
        assert!(readers.is_silent_since(&first) && readers.is_silent_for(Duration::ZERO));
        release.send(()).unwrap();
        assert!(first.answer.await.unwrap(), "a read that runs is finished");
    }
}
