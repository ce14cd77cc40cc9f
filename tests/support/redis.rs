//! A real Redis server for a test, on a socket in a folder of its own. It is ended by its own id when the value is dropped.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::wait::eventually;

/// A Redis server.
pub struct Redis {
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Redis {
    /// Starts a server without data, and waits until it answers.
    pub async fn start() -> Redis {
        let mut redis = Redis { folder: tempfile::tempdir().expect("a temporary directory"), process: None };
        redis.start_again().await;
        redis
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Ends it at once; all that it held is lost.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a child of ours");
            process.wait().expect("a child of ours");
        }
    }

    /// Starts a server without data at the same place.
    pub async fn start_again(&mut self) {
        self.start_with(false).await;
    }

    async fn start_with(&mut self, saved: bool) {
        self.kill();
        if !saved {
            // There may be none.
            let _ = std::fs::remove_file(self.folder.path().join("dump.rdb"));
        }
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(self.folder.path())
            .arg("--unixsocket")
            .arg(self.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server, which `make setup` installs");
        self.process = Some(process);
        let client = redis::Client::open(self.url()).expect("a URL");
        eventually("Redis to answer", || {
            client
                .get_connection()
                .is_ok_and(|mut connection| redis::cmd("PING").exec(&mut connection).is_ok())
        })
        .await;
    }

    /// Has it write what it holds to its folder.
    pub fn save(&self) {
        let said: String = self.ask(&["SAVE"]);
        assert_eq!(said, "OK");
    }

    /// Starts a server at the same place with what was saved last.
    pub async fn start_saved(&mut self) {
        self.start_with(true).await;
    }

    /// Has it stand still, as a machine does that is out of reach: nothing is refused, nothing is answered.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Has it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// What a command answers.
    pub fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_connection().expect("Redis to answer");
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query(&mut connection).expect("an answer")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    fn signal(&self, name: &str) {
        let id = self.process.as_ref().expect("a running server").id();
        let sent = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status();
        assert!(sent.expect("the `kill` command").success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
