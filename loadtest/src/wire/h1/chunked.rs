//! The chunked transfer coding (RFC 9112 section 7.1), in pieces of any size. Extensions and trailers are read over.

use httparse::{Status, parse_chunk_size};

use crate::fetch::Failure;

/// The longest line of a size with its extensions, or of a trailer, in bytes.
const LINE_BYTES_MAX: usize = 1024;

/// The most trailers.
const TRAILERS_MAX: usize = 64;

/// How far a body has come.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    state: State,
    /// The line that is not whole yet.
    line: Vec<u8>,
    trailers: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// So many bytes of a chunk are to come.
    Data(u64),
    /// The end of line behind a chunk.
    Behind,
    Trailers,
    Done,
}

// === impl Chunked ===

impl Chunked {
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The next bytes of the body out of `input`, which is cut by what was read; none: `input` is used up, or the body is
    /// done and what is left of `input` is not its.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Failure> {
        loop {
            match self.state {
                State::Done => return Ok(None),
                State::Data(left) if !input.is_empty() => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let (data, rest) = input.split_at(count);
                    *input = rest;
                    let left = left - count as u64;
                    self.state = if left == 0 { State::Behind } else { State::Data(left) };
                    return Ok(Some(data));
                }
                State::Data(_) => return Ok(None),
                State::Size | State::Behind | State::Trailers => {
                    if !self.read_line(input)? {
                        return Ok(None);
                    }
                    self.state = self.after_line()?;
                    self.line.clear();
                }
            }
        }
    }

    /// Whether a line is there, with its end.
    fn read_line(&mut self, input: &mut &[u8]) -> Result<bool, Failure> {
        let end = input.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let (line, rest) = input.split_at(end.unwrap_or(input.len()));
        *input = rest;
        self.line.extend_from_slice(line);
        if self.line.len() > LINE_BYTES_MAX { Err(Failure::Protocol) } else { Ok(end.is_some()) }
    }

    fn after_line(&mut self) -> Result<State, Failure> {
        let is_empty = matches!(&self.line[..], b"\r\n" | b"\n");
        match self.state {
            // An empty line would count as zero.
            State::Size if is_empty => Err(Failure::Protocol),
            State::Size => match parse_chunk_size(&self.line) {
                Ok(Status::Complete((_, 0))) => Ok(State::Trailers),
                Ok(Status::Complete((_, size))) => Ok(State::Data(size)),
                _ => Err(Failure::Protocol),
            },
            State::Behind if is_empty => Ok(State::Size),
            State::Trailers if is_empty => Ok(State::Done),
            State::Trailers if self.trailers < TRAILERS_MAX => {
                self.trailers += 1;
                Ok(State::Trailers)
            }
            State::Behind | State::Trailers | State::Data(_) | State::Done => Err(Failure::Protocol),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    /// The body in these bytes, given in pieces, and what was left of the last piece; none: it is not whole.
    fn decode(bytes: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, Failure> {
        let (mut chunked, mut body) = (Chunked::default(), Vec::new());
        for mut input in bytes.chunks(piece) {
            while let Some(data) = chunked.next(&mut input)? {
                body.extend_from_slice(data);
            }
            if chunked.is_done() {
                return Ok(Some((body, input.len())));
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_in_pieces_of_any_size_are_the_same_body() {
        let bytes = b"5\r\nhello\r\n1;a=\"b\"\r\n \r\n00a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n";
        for piece in 1..=bytes.len() {
            assert_eq!(decode(bytes, piece).unwrap(), Some((b"hello 0123456789".to_vec(), 0)), "{piece}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut], 4).unwrap(), None, "{cut}");
        }
        assert_eq!(decode(b"0\r\n\r\nHTTP", 99).unwrap(), Some((Vec::new(), 4)));
    }

    #[test]
    fn what_are_no_chunks_is_no_http() {
        let long = format!("1;{}\r\na\r\n", "x".repeat(LINE_BYTES_MAX));
        let trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(TRAILERS_MAX + 1));
        for bytes in ["x\r\n", "-1\r\n", "\r\n", "5\r\nhelloo\r\n", "fffffffffffffffff\r\n", &long, &trailers]
        {
            assert_eq!(decode(bytes.as_bytes(), 7).unwrap_err(), Failure::Protocol, "{bytes:.20}");
        }
    }
}
