//! The server's event stream (server-sent events, WHATWG HTML section 9.2), read with bounds.

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

/// Largest event; a larger one is skipped.
const EVENT_BYTES: usize = 4 << 20;
/// Most events between two turns: a sign of life every few seconds, of hours of stages.
const BETWEEN_TURNS: usize = 20_000;

/// Events as they come.
pub(super) struct Events {
    body: Incoming,
    lines: Lines,
}

impl Events {
    pub fn new(body: Incoming) -> Self {
        Self {
            body,
            lines: Lines::default(),
        }
    }

    /// Without what came between two turns; `None` when the stream is over, or says too much
    /// to be caught up with.
    pub fn caught_up(mut self) -> Option<Self> {
        for _ in 0..BETWEEN_TURNS {
            match self.next().now_or_never() {
                Some(Some(_)) => {}
                Some(None) => return None,
                None => return Some(self),
            }
        }
        None
    }

    /// The next event; `None` when the stream is over. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some(line) = self.lines.next() {
                // OpenCode sends each event as one `data:` line; others are comments or ids.
                if let Some(text) = line.strip_prefix(b"data:")
                    && let Ok(event) = serde_json::from_slice(text)
                {
                    return Some(event);
                }
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(bytes) = frame.into_data() {
                self.lines.push(&bytes);
            }
        }
    }
}

/// Splits bytes into lines; a line that is too long is dropped whole.
#[derive(Default)]
struct Lines {
    buffer: Vec<u8>,
    searched: usize,
    skipping: bool,
}

impl Lines {
    fn push(&mut self, bytes: &Bytes) {
        self.buffer.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
                Some(at) => {
                    let mut line: Vec<u8> = self.buffer.drain(..=self.searched + at).collect();
                    self.searched = 0;
                    if !std::mem::take(&mut self.skipping) && line.len() <= EVENT_BYTES {
                        line.pop();
                        return Some(line);
                    }
                }
                None if self.buffer.len() > EVENT_BYTES => {
                    self.buffer.clear();
                    self.searched = 0;
                    self.skipping = true;
                    return None;
                }
                None => {
                    self.searched = self.buffer.len();
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for piece in pieces {
            lines.push(&Bytes::copy_from_slice(piece));
            while let Some(line) = lines.next() {
                out.push(line);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_arrive(text in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200), cut in 1_usize..20) {
            let whole: Vec<Vec<u8>> = split(std::slice::from_ref(&text));
            let pieces: Vec<Vec<u8>> = text.chunks(cut).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(&whole, &split(&pieces));
            let expected: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
            prop_assert_eq!(whole.len(), expected.len() - 1);
        }
    }

    #[test]
    fn a_line_without_end_costs_bounded_memory_and_the_next_one_comes() {
        let mut pieces = vec![vec![b'x'; 1 << 20]; 10];
        pieces.push(b"tail\ndata: 1\n".to_vec());
        assert_eq!(split(&pieces), [b"data: 1".to_vec()]);
    }
}
