//! The origin behind a node: it has one body, whatever it is asked for, and the body holds for a day.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Starts one on a free port, for as long as the process lives.
pub(super) fn start(body: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that breaks off is the node's to notice.
            let _ = answer(&stream, &body);
        }
    });
    address
}

/// Answers what is asked on one connection; each is the only one of its node.
fn answer(mut stream: &TcpStream, body: &[u8]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let mut path = String::new();
    while let Some(line) = lines.next().transpose()? {
        if let Some(target) = line.strip_prefix("GET ") {
            path = target.split([' ', '?']).next().unwrap_or_default().to_owned();
        }
        if !line.is_empty() {
            continue;
        }
        let kind = if path.ends_with(".m3u8") { "application/vnd.apple.mpegurl" } else { "video/mp4" };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             ETag: \"65a4e1d6\"\r\nLast-Modified: Fri, 15 Jan 2016 07:59:50 GMT\r\nCache-Control: max-age=86400\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
    }
    Ok(())
}
