//! The least that a client can do: a request that is always the same, and an answer that is read to its end.

/// Bytes that are read of an answer before they are written over: more than any answer here has.
const BUFFER_BYTES: usize = 1 << 20;

/// A request of the header that a browser's player sends.
pub(super) fn request(host: &str, target: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nAccept-Language: en-GB,en;q=0.9\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
         Origin: https://player.example.com\r\nReferer: https://player.example.com/\r\n\r\n"
    )
    .into_bytes()
}

/// An answer that is being read.
pub struct Answer {
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes of the header and of the body, when the header has come.
    head: Option<(usize, usize)>,
}

impl Default for Answer {
    fn default() -> Answer {
        Answer { buffer: vec![0; BUFFER_BYTES], filled: 0, head: None }
    }
}

impl Answer {
    /// Where the next bytes go.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    /// Takes so many bytes that have come. Some: the answer is whole, its body has so many bytes, and the next one may begin.
    pub(super) fn take(&mut self, read: usize) -> Option<u64> {
        assert!(read > 0, "the node has closed the connection");
        self.filled += read;
        if self.head.is_none() {
            let come = self.buffer.get(..self.filled).unwrap_or_default();
            let end = memchr::memmem::find(come, b"\r\n\r\n")?;
            let head = std::str::from_utf8(come.get(..end).unwrap_or_default()).expect("a header");
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then_some(value)
            });
            self.head = Some((end + 4, length.and_then(|text| text.parse().ok()).expect("a length")));
        }
        let (head, body) = self.head.filter(|(head, body)| self.filled == head + body)?;
        debug_assert!(head < self.buffer.len());
        (self.filled, self.head) = (0, None);
        Some(body as u64)
    }

    /// The last answer says that it was a hit.
    pub(super) fn assert_hit(&self) {
        let end = memchr::memmem::find(&self.buffer, b"\r\n\r\n").expect("an answer");
        let head = String::from_utf8_lossy(self.buffer.get(..end).unwrap_or_default()).to_ascii_lowercase();
        let status = head.lines().find(|line| line.starts_with("cache-status: ")).unwrap_or_default();
        assert!(status.contains("; hit"), "no hit: {head}");
    }
}
