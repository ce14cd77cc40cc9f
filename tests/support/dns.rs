//! A DNS server on the loopback that says what a test tells it to: addresses of hosts, services, or nothing at all. It
//! speaks as much of RFC 1035 as a stub resolver asks for.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

/// A target of a service: priority, weight, port, host.
pub type Service = (u16, u16, u16, &'static str);

#[derive(Default)]
struct Records {
    hosts: HashMap<String, Vec<Ipv4Addr>>,
    services: HashMap<String, Vec<Service>>,
    fails: bool,
    asked: usize,
}

/// The server; it ends when dropped.
pub struct Dns {
    address: SocketAddr,
    records: Arc<Mutex<Records>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Dns {
    /// Starts on a free port. It knows no names.
    pub async fn start() -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("an address");
        let records = Arc::new(Mutex::new(Records::default()));
        let known = Arc::clone(&records);
        let serving = tokio::spawn(async move {
            let mut packet = [0; 2048];
            while let Ok((len, client)) = socket.recv_from(&mut packet).await {
                let answer = answer(&packet[..len], &mut known.lock().expect("records"));
                if let Some(answer) = answer {
                    let _ = socket.send_to(&answer, client).await;
                }
            }
        });
        Dns { address, records, serving }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A host has these addresses from now on.
    pub fn host(&self, name: &str, addresses: &[[u8; 4]]) {
        let addresses = addresses.iter().map(|octets| Ipv4Addr::from(*octets)).collect();
        self.records.lock().expect("records").hosts.insert(name.to_owned(), addresses);
    }

    /// A service has these targets from now on.
    pub fn service(&self, name: &str, targets: &[Service]) {
        self.records.lock().expect("records").services.insert(name.to_owned(), targets.to_vec());
    }

    /// Whether every question is answered with an error.
    pub fn fail(&self, fails: bool) {
        self.records.lock().expect("records").fails = fails;
    }

    /// Questions so far.
    pub fn asked(&self) -> usize {
        self.records.lock().expect("records").asked
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

const A: u16 = 1;
const SRV: u16 = 33;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// The answer to a question; None: it is none.
fn answer(packet: &[u8], records: &mut Records) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut at = 12;
    loop {
        let len = usize::from(*packet.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        name.push(String::from_utf8_lossy(packet.get(at..at + len)?).to_ascii_lowercase());
        at += len;
    }
    let kind = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
    let question = packet.get(12..at + 4)?;
    records.asked += 1;
    let name = name.join(".");
    let hosts = records.hosts.get(&name);
    let services = records.services.get(&name);
    let data: Vec<Vec<u8>> = match kind {
        A => hosts.into_iter().flatten().map(|address| address.octets().to_vec()).collect(),
        SRV => services.into_iter().flatten().map(service_data).collect(),
        _ => Vec::new(),
    };
    let code = match () {
        () if records.fails => SERVER_FAILURE,
        () if hosts.is_none() && services.is_none() => NO_SUCH_NAME,
        () => 0,
    };
    let data = if code == 0 { data } else { Vec::new() };
    let mut answer = packet[..2].to_vec();
    answer.extend([0x85, 0x80 | code, 0, 1]);
    answer.extend(u16::try_from(data.len()).expect("few records").to_be_bytes());
    answer.extend([0, 0, 0, 0]);
    answer.extend(question);
    for data in data {
        // The name of the question, class IN, good for no time.
        answer.extend([0xC0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 0]);
        answer.extend(u16::try_from(data.len()).expect("a short record").to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

fn service_data((priority, weight, port, host): &Service) -> Vec<u8> {
    let mut data = Vec::new();
    for number in [priority, weight, port] {
        data.extend(number.to_be_bytes());
    }
    for label in host.split('.') {
        data.push(u8::try_from(label.len()).expect("a short label"));
        data.extend(label.as_bytes());
    }
    data.push(0);
    data
}
