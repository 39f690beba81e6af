//! Lines of bounded length.

use serde::Serialize;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
};

use super::protocol::{Answer, Failure, Reply, Said};

/// Longest request.
pub const MAX_REQUEST: usize = 1 << 20;
/// Longest answer.
pub const MAX_ANSWER: usize = 8 << 20;
/// Longest event; longer ones are left out.
const MAX_EVENT: usize = 64 << 10;
/// Lines that wait for a peer that reads slowly. Answers wait for their turn, events that
/// find no place are left out.
const WAITING: usize = 256;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, without its end.
    Whole,
    /// More than [`MAX_REQUEST`] bytes, which are gone.
    TooLong,
    /// There is no more.
    End,
}

/// Reads the next line into `line`, which holds what an abandoned call had read of it.
pub async fn read(input: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> Line {
    loop {
        let Ok(bytes) = input.fill_buf().await else {
            return Line::End;
        };
        if bytes.is_empty() {
            // A last line without its end was cut off, and is none.
            return Line::End;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        // One byte more than fits says that it is too long, however much more comes.
        let room = (MAX_REQUEST + 1).saturating_sub(line.len());
        line.extend_from_slice(&bytes[..end.unwrap_or(taken).min(room)]);
        input.consume(taken);
        if end.is_some() {
            if line.len() <= MAX_REQUEST {
                return Line::Whole;
            }
            line.clear();
            return Line::TooLong;
        }
    }
}

/// Where answers and events go.
#[derive(Clone)]
pub struct Out(mpsc::Sender<Vec<u8>>);

impl Out {
    /// Writes to `output`; what is returned besides resolves when that is closed.
    pub fn open(mut output: impl AsyncWrite + Unpin + Send + 'static) -> (Self, oneshot::Receiver<()>) {
        let (sender, mut waiting) = mpsc::channel::<Vec<u8>>(WAITING);
        let (gone, closed) = oneshot::channel();
        tokio::spawn(async move {
            while let Some(line) = waiting.recv().await {
                if output.write_all(&line).await.is_err() || output.flush().await.is_err() {
                    break;
                }
            }
            let _ = gone.send(());
        });
        (Self(sender), closed)
    }

    /// Answers a request; `None` for one whose number could not be read.
    pub async fn answer(&self, id: Option<u64>, answer: Result<Answer, Failure>) {
        let said = match answer {
            Ok(answer) => Said::Result(Box::new(answer)),
            Err(failure) => Said::Error(failure),
        };
        let mut bytes = encode(&Reply { id, said });
        if bytes.len() > MAX_ANSWER {
            let why = format!("the answer has more than {MAX_ANSWER} bytes; its artifacts hold all of it");
            let said = Said::Error(Failure::protocol("answer_too_long", why));
            bytes = encode(&Reply { id, said });
        }
        // Nobody is there to be told that nobody is there.
        let _ = self.0.send(bytes).await;
    }

    /// Tells of something that happened during a request.
    pub fn event(&self, id: u64, event: serde_json::Value) {
        let bytes = encode(&Reply {
            id: Some(id),
            said: Said::Event(event),
        });
        if bytes.len() <= MAX_EVENT {
            let _ = self.0.try_send(bytes);
        }
    }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    // Of strings, numbers and paths; a path that is no UTF-8 cannot be said in JSON.
    let mut bytes = serde_json::to_vec(value)
        .unwrap_or_else(|_| br#"{"id":null,"error":{"code":"internal","message":"an answer is no JSON"}}"#.to_vec());
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_read_whole_and_long_ones_are_skipped() {
        let long = "x".repeat(MAX_REQUEST + 1);
        let longest = "y".repeat(MAX_REQUEST);
        let text = format!("one\n\n{long}\n{longest}\nafter\ncut off");
        let mut input = tokio::io::BufReader::with_capacity(1000, text.as_bytes());
        let mut line = Vec::new();
        let mut seen = Vec::new();
        loop {
            match read(&mut input, &mut line).await {
                Line::Whole => seen.push(String::from_utf8(std::mem::take(&mut line)).expect("text")),
                Line::TooLong => seen.push("TOO LONG".to_owned()),
                Line::End => break,
            }
            assert!(line.capacity() <= 4 * MAX_REQUEST);
        }
        assert_eq!(seen, ["one", "", "TOO LONG", longest.as_str(), "after"]);
    }
}
