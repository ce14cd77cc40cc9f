//! A node in the test's own process, on disks that the test breaks: real sockets, the whole way of a request, and
//! between the volume and its directory a device with switches.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use forebay::clock::Clock;
use forebay::server::{Node, StartError};
use forebay::store::disk::device::Directory;
use forebay::store::disk::device::faulty::{Faults, Faulty};

use super::client::{self, Request, Response};
use super::edge::{self, Setup};
use super::metrics::Metrics;

/// A running node.
pub struct LocalNode {
    node: Option<Node>,
    http: SocketAddr,
    admin: SocketAddr,
    faults: Vec<Arc<Faults>>,
    directory: tempfile::TempDir,
}

impl LocalNode {
    /// Starts a node. What is random of its disks follows from `seed`.
    pub fn start(setup: &Setup, seed: u64) -> LocalNode {
        LocalNode::start_with(setup, seed, |_| {}).unwrap_or_else(|error| panic!("the node: {error}"))
    }

    /// Starts a node that reads the time of day from this clock.
    pub fn start_at(setup: &Setup, clock: Clock) -> LocalNode {
        LocalNode::start_on(setup, 0, clock, |_| {}).unwrap_or_else(|error| panic!("the node: {error}"))
    }

    /// Starts a node on disks whose switches `prepare` has set before.
    pub fn start_with(setup: &Setup, seed: u64, prepare: impl Fn(&Faults)) -> Result<LocalNode, StartError> {
        LocalNode::start_on(setup, seed, Clock::system(), prepare)
    }

    fn start_on(
        setup: &Setup,
        seed: u64,
        clock: Clock,
        prepare: impl Fn(&Faults),
    ) -> Result<LocalNode, StartError> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        setup.write_files(directory.path());
        let config = setup.clone().access("off").config(directory.path());
        let faults = Mutex::new(Vec::new());
        let node = Node::start_on(&config, clock, &|disk| {
            let mut faults = faults.lock().expect("faults");
            let device = Faulty::new(Arc::new(Directory::new(&disk.path)?), seed + faults.len() as u64);
            prepare(&device.faults());
            faults.push(device.faults());
            Ok(Arc::new(device))
        })?;
        Ok(LocalNode {
            http: node.http_addresses()[0],
            admin: node.admin_address().expect("an admin listener"),
            node: Some(node),
            faults: faults.into_inner().expect("faults"),
            directory,
        })
    }

    /// The plaintext listener.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The switches of a disk, by its place in `store.disk`.
    pub fn faults(&self, disk: usize) -> &Faults {
        &self.faults[disk]
    }

    /// The path of `DIR/name`, as it stands in metrics.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// GET on a connection of its own, read to the end.
    pub async fn get(&self, target: &str) -> Response {
        client::get(self.http, target).await
    }

    /// One request on a connection of its own, read to the end.
    pub async fn ask(&self, request: &Request) -> Response {
        client::ask(self.http, request).await
    }

    /// What `/metrics` says now.
    pub async fn metrics(&self) -> Metrics {
        edge::metrics(self.admin).await
    }

    /// Waits until the sum of these samples is at least `least`, and returns what `/metrics` said then.
    pub async fn await_metric(&self, name: &str, labels: &[(&str, &str)], least: f64) -> Metrics {
        edge::await_metric(self.admin, name, labels, least).await
    }

    /// Ends the node.
    pub async fn stop(mut self) {
        if let Some(node) = self.node.take() {
            node.shutdown().await;
        }
    }
}

impl Drop for LocalNode {
    fn drop(&mut self) {
        // A test that fails leaves its node: it has threads that may not be waited for here.
        std::mem::forget(self.node.take());
    }
}
