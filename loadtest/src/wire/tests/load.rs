//! What an idle viewer weighs, and what two processors of viewers carry, against nginx with files of known content. They measure
//! and hold nobody up: run them one by one, in release, as
//! `taskset -c 0,1 cargo test --release -p forebay-loadtest what_an_idle_viewer_weighs -- --ignored --nocapture`.

use std::io::Write;
use std::path::Path;
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::child::Guarded;
use crate::fetch::Outcome;
use crate::proc::{resident_bytes, tree_cpu};

/// Processors of nginx.
const SERVER_CPUS: &str = "2,3";

/// Threads of viewers.
const THREADS: u32 = 2;

/// How long a rate is measured, and how long before that nothing counts.
const MEASURED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

/// nginx with files of the synthetic origin's content.
struct Files {
    process: Guarded,
    plain: SocketAddr,
    h2c: SocketAddr,
    tls: SocketAddr,
    network: Arc<Network>,
    _folder: TempDir,
}

/// Which way viewers ask.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    H1,
    H2c,
    H1Tls,
    H2Tls,
}

// === impl Files ===

impl Files {
    fn start(sizes: &[usize]) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let media = folder.path().join("media");
        std::fs::create_dir(&media).unwrap();
        for size in sizes {
            std::fs::write(media.join(format!("1.{size}.m4s")), content(&object(*size), 0, *size)).unwrap();
        }
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let listeners = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [plain, h2c, tls] = listeners.map(|listener| listener.local_addr().unwrap());
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, configuration(folder.path(), plain, h2c, tls)).unwrap();
        let args = ["-c".as_ref(), config.as_os_str(), "-e".as_ref(), "stderr".as_ref()];
        let process = Guarded::start(Path::new("nginx"), &args, Some(SERVER_CPUS)).unwrap();
        let reach = Reach { authorities: Some(made.cert.pem().into_bytes()), ..Reach::default() };
        let network = Network::new(reach).unwrap();
        let deadline = std::time::Instant::now() + LONG;
        while std::net::TcpStream::connect(tls).is_err() {
            assert!(std::time::Instant::now() < deadline, "nginx does not start");
            thread::yield_now();
        }
        Self { process, plain, h2c, tls, network, _folder: folder }
    }

    fn url(&self, way: Way, path: &str) -> Url {
        let text = match way {
            Way::H1 => format!("http://{}{path}", self.plain),
            Way::H2c => format!("http://{}{path}", self.h2c),
            Way::H1Tls | Way::H2Tls => format!("https://{}{path}", self.tls),
        };
        Url::parse(&text).unwrap()
    }

    fn browser(&self, viewer: u32, way: Way) -> Browser {
        let protocol = if matches!(way, Way::H1 | Way::H1Tls) { Protocol::H1 } else { Protocol::H2 };
        self.network.browser(viewer, protocol, None)
    }

    /// CPU time of this process without nginx.
    fn own_cpu(&self) -> Duration {
        tree_cpu(std::process::id()).unwrap() - tree_cpu(self.process.id()).unwrap()
    }
}

fn object(size: usize) -> String {
    format!("/media/1.{size}.m4s")
}

/// Over HTTP/2 without TLS nginx sends a file behind its head with Nagle's algorithm on, so that each answer would wait for the
/// viewer's delayed acknowledgement, 40 ms: there `sendfile` is off.
fn configuration(folder: &Path, plain: SocketAddr, h2c: SocketAddr, tls: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "user root; daemon off; worker_processes 2; worker_rlimit_nofile 20000; pid {folder}/pid;
        events {{ worker_connections 19000; multi_accept on; }}
        http {{ default_type video/mp4; access_log off; sendfile on; tcp_nodelay on;
        keepalive_timeout 600s; keepalive_requests 1000000000; root {folder};
        open_file_cache max=100; open_file_cache_valid 10m; http2_max_concurrent_streams 1000;
        add_header Cache-Status 'nginx; hit; ttl=10'; add_header Cache-Control 'max-age=10';
        ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
        server {{ listen {plain} reuseport backlog=4096; tcp_nopush on; location /slow/ {{ alias {folder}/; limit_rate 1; }} }}
        server {{ listen {h2c} http2 reuseport backlog=4096; sendfile off; }}
        server {{ listen {tls} ssl http2 reuseport backlog=4096; }} }}"
    )
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}

/// Viewers who have asked once, and stay: what each of them weighs more than the ones before.
fn weigh(way: Way, slow: bool, counts: &[usize]) {
    const SIZE: usize = 4096;
    let files = Files::start(&[SIZE]);
    run(async {
        let path = if slow { format!("/slow{}", object(SIZE)) } else { object(SIZE) };
        let url = Rc::new(files.url(way, &path));
        let (asked, mut tasks, mut before) = (counter(), Vec::new(), (0, 0));
        for count in counts {
            while tasks.len() < *count {
                let (browser, url, done) =
                    (files.browser(tasks.len() as u32, way), url.clone(), asked.clone());
                tasks.push(tokio::task::spawn_local(async move {
                    if slow {
                        done.set(done.get() + 1);
                    }
                    let exchange = get_with(&browser, &url, Body::Media, None, &[]).await;
                    assert_eq!(exchange.outcome, Outcome::Whole);
                    done.set(done.get() + 1);
                    std::future::pending::<()>().await;
                }));
                if tasks.len() % 100 == 0 {
                    until(|| asked.get() == tasks.len()).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = (tasks.len(), resident_bytes(std::process::id()).unwrap());
            let each = (now.1 as f64 - before.1 as f64) / (now.0 - before.0) as f64 / 1024.0;
            let what = if slow { "waits for a body" } else { "idle" };
            let whole = now.1 as f64 / 1e6;
            say(&format!("{way:?}, {what}: {count} viewers, RSS {whole:.1} MB, {each:.2} KB each more"));
            before = now;
        }
        tasks.iter().for_each(|task| task.abort());
    });
}

// Each in a process of its own: memory that was used before does not count again.

#[test]
#[ignore = "measures: alone, in release"]
fn what_an_idle_viewer_weighs() {
    weigh(Way::H1, false, &[1_000, 6_000, 12_000]);
}

#[test]
#[ignore = "measures: alone, in release"]
fn what_a_viewer_weighs_who_waits_for_a_body() {
    weigh(Way::H1, true, &[1_000, 6_000, 12_000]);
}

#[test]
#[ignore = "measures: alone, in release"]
fn what_an_idle_viewer_of_h2_weighs() {
    weigh(Way::H2c, false, &[1_000, 6_000, 12_000]);
}

#[test]
#[ignore = "measures: alone, in release"]
fn what_an_idle_viewer_over_tls_weighs() {
    weigh(Way::H1Tls, false, &[500, 3_000]);
}

#[test]
#[ignore = "measures: alone, in release"]
fn what_an_idle_viewer_of_h2_over_tls_weighs() {
    weigh(Way::H2Tls, false, &[500, 3_000]);
}

/// Viewers of one thread who ask as fast as they are answered; requests and bytes of the measured time.
fn ask_for(files: &Files, thread: u32, way: Way, viewers: u32, size: usize) -> (u64, u64) {
    let total = Rc::new(Cell::new((0, 0)));
    let sum = total.clone();
    run(async move {
        let url = Rc::new(files.url(way, &object(size)));
        let start = Instant::now() + MEASURED.0;
        let end = start + MEASURED.1;
        let mut tasks = Vec::new();
        for viewer in 0..viewers {
            let browser = files.browser(viewer * THREADS + thread, way);
            let (url, sum) = (url.clone(), sum.clone());
            tasks.push(tokio::task::spawn_local(async move {
                while Instant::now() < end {
                    let exchange = get_with(&browser, &url, Body::Media, None, &[]).await;
                    assert_eq!((exchange.outcome, exchange.cache.is_hit()), (Outcome::Whole, true));
                    if (start..end).contains(&exchange.end) {
                        sum.set((sum.get().0 + 1, sum.get().1 + exchange.bytes));
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    total.get()
}

#[test]
#[ignore = "measures: alone, in release"]
fn what_two_processors_of_viewers_carry() {
    let files = Files::start(&[4_096, 524_288, 2_500_000]);
    for (way, viewers, size) in [
        (Way::H1, 64, 4_096),
        (Way::H1, 3_000, 4_096),
        (Way::H1, 16, 524_288),
        (Way::H1, 16, 2_500_000),
        (Way::H1, 500, 2_500_000),
        (Way::H2c, 64, 4_096),
        (Way::H2c, 16, 2_500_000),
        (Way::H1Tls, 64, 4_096),
        (Way::H1Tls, 16, 2_500_000),
    ] {
        let cpu = files.own_cpu();
        let (requests, bytes) = thread::scope(|scope| {
            let threads = [0, 1].map(|thread| {
                let files = &files;
                scope.spawn(move || ask_for(files, thread, way, viewers, size))
            });
            let sums = threads.map(|thread| thread.join().unwrap());
            (sums[0].0 + sums[1].0, sums[0].1 + sums[1].1)
        });
        let whole = (MEASURED.0 + MEASURED.1).as_secs_f64();
        let cpu = (files.own_cpu() - cpu).as_secs_f64() / whole;
        let seconds = MEASURED.1.as_secs_f64();
        let (rate, gigabits) = (requests as f64 / seconds, bytes as f64 * 8e-9 / seconds);
        say(&format!(
            "{way:?}, {} viewers, {size} bytes: {rate:.0} requests/s, {gigabits:.1} Gbit/s, {cpu:.2} processors, \
             {:.1} us/request, {:.1} Gbit/s per processor",
            THREADS * viewers,
            cpu / rate * 1e6,
            gigabits / cpu
        ));
    }
}

#[test]
#[ignore = "measures: alone, in release"]
fn what_a_slow_line_carries() {
    const SIZE: usize = 2_500_000;
    let files = Files::start(&[SIZE]);
    for (way, bits_per_s) in [
        (Way::H1, 2_000_000),
        (Way::H1, 8_000_000),
        (Way::H1, 50_000_000),
        (Way::H1, 200_000_000),
        (Way::H2c, 8_000_000),
        (Way::H2c, 50_000_000),
        (Way::H1Tls, 8_000_000),
    ] {
        run(async {
            let url = files.url(way, &object(SIZE));
            let protocol = if way == Way::H2c { Protocol::H2 } else { Protocol::H1 };
            let browser = files.network.browser(0, protocol, Some(bits_per_s));
            let start = Instant::now();
            let mut bytes = 0;
            while start.elapsed() < Duration::from_secs(3) {
                let exchange = get_with(&browser, &url, Body::Media, None, &[]).await;
                assert_eq!(exchange.outcome, Outcome::Whole);
                bytes += exchange.bytes;
            }
            let rate = bytes as f64 * 8.0 / start.elapsed().as_secs_f64();
            let percent = 100.0 * rate / bits_per_s as f64;
            say(&format!("{way:?}, a line of {bits_per_s} bit/s: {rate:.0}, {percent:.1} %"));
        });
    }
}

#[test]
#[ignore = "measures: alone, in release"]
fn how_fast_content_is_made_and_checked() {
    const BYTES: usize = 64 * 1024;
    const ROUNDS: usize = 40_000;
    let object = crate::content::expected(PATH).unwrap().content;
    let mut room = vec![0; BYTES];
    let speed = |name: &str, start: std::time::Instant| {
        let rate = (BYTES * ROUNDS) as f64 / start.elapsed().as_secs_f64() / 1e9;
        say(&format!("{name}: {rate:.1} GB/s"));
    };
    let start = std::time::Instant::now();
    for round in 0..ROUNDS {
        object.fill((round * BYTES) as u64, std::hint::black_box(&mut room));
    }
    speed("made", start);
    object.fill(0, &mut room);
    let start = std::time::Instant::now();
    for _ in 0..ROUNDS {
        assert_eq!(object.first_difference(0, std::hint::black_box(&room)), None);
    }
    speed("compared", start);
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    let start = std::time::Instant::now();
    for _ in 0..ROUNDS {
        hasher.update(std::hint::black_box(&room));
    }
    std::hint::black_box(hasher.digest());
    speed("hashed", start);
}
