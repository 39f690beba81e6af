//! Many questions on one pair of streams: a JSON string a line in, a JSON object a line
//! out, in order. Whoever waits for an answer before the next question gets it at once;
//! whoever sends many is answered on all processors.

use std::{
    io::{self, Read, Write},
    num::NonZero,
    thread,
};

use serde::Serialize;

use crate::{
    policy::shell::{Judge, Verdict},
    report::{Face, escape},
};

/// Longest line, in bytes.
const LINE_MAX: usize = 1 << 20;
/// Bytes that are read at once.
const READ: usize = 256 << 10;
/// Lines below which one thread answers.
const FEW: usize = 64;

#[derive(Serialize)]
struct Answer<'a> {
    command: &'a str,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

/// What stands where an answer would, for a line that is no question.
#[derive(Serialize)]
struct Fault {
    error: FaultKind,
    /// The line, from 1.
    line: u64,
    message: String,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum FaultKind {
    TooLong,
    NotAString,
}

/// One line of the input.
enum Line {
    Whole(Vec<u8>),
    /// Longer than [`LINE_MAX`]; its bytes are gone.
    TooLong,
}

/// Answers until the input ends.
pub(super) fn answer(judge: &Judge, mut from: impl Read, mut to: impl Write, face: Face) -> io::Result<()> {
    let mut block = vec![0; READ];
    let mut lines = Lines::default();
    let mut first = 1;
    loop {
        let read = match from.read(&mut block) {
            Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let ready = if read == 0 {
            lines.end()
        } else {
            lines.take(&block[..read])
        };
        to.write_all(&all(judge, &ready, first, face))?;
        to.flush()?;
        first += ready.len() as u64;
        if read == 0 {
            return Ok(());
        }
    }
}

/// The answers to `lines`, of which the first is the input's line number `first`.
fn all(judge: &Judge, lines: &[Line], first: u64, face: Face) -> Vec<u8> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(8);
    let share = lines.len().div_ceil(threads).max(FEW);
    let one = |lines: &[Line], first: u64| {
        let mut out = Vec::with_capacity(lines.len() * 256);
        for (line, number) in lines.iter().zip(first..) {
            each(judge, line, number, face, &mut out);
        }
        out
    };
    let mut shares = lines.chunks(share).zip((first..).step_by(share));
    let Some((own, own_first)) = shares.next() else {
        return Vec::new();
    };
    thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|(lines, first)| scope.spawn(move || one(lines, first)))
            .collect();
        let mut out = one(own, own_first);
        for other in others {
            match other.join() {
                Ok(more) => out.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        out
    })
}

fn each(judge: &Judge, line: &Line, number: u64, face: Face, out: &mut Vec<u8>) {
    let fault = |error, message: String| Fault {
        error,
        line: number,
        message,
    };
    let question = match line {
        Line::TooLong => Err(fault(
            FaultKind::TooLong,
            format!("a line has at most {LINE_MAX} bytes"),
        )),
        Line::Whole(bytes) => serde_json::from_slice::<String>(bytes).map_err(|why| {
            let why = escape(why.to_string().as_bytes(), 200);
            fault(FaultKind::NotAString, format!("a line is one JSON string: {why}"))
        }),
    };
    match (question, face) {
        (Ok(command), Face::Json) => {
            let verdict = judge.verdict(&command);
            json(
                &Answer {
                    command: &command,
                    verdict: &verdict,
                },
                out,
            );
        }
        (Ok(command), Face::Human) => {
            let verdict = judge.verdict(&command);
            let shown = escape(command.as_bytes(), 500);
            out.extend(format!("{}\t{}\t{shown}\n", verdict.verdict.name(), verdict.rule).into_bytes());
        }
        (Err(fault), Face::Json) => json(&fault, out),
        (Err(fault), Face::Human) => out.extend(format!("error\tline {number}\t{}\n", fault.message).into_bytes()),
    }
}

fn json(value: &impl Serialize, out: &mut Vec<u8>) {
    // Strings and numbers alone; a vector takes every byte.
    let _ = serde_json::to_writer(&mut *out, value);
    out.push(b'\n');
}

/// Cuts a stream into lines, none of them longer than [`LINE_MAX`].
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
    too_long: bool,
}

impl Lines {
    /// The lines that `bytes` complete.
    fn take(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut ready = Vec::new();
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.too_long |= self.begun.len() + piece.len() > LINE_MAX;
            if self.too_long {
                self.begun = Vec::new();
            } else {
                self.begun.extend_from_slice(piece);
            }
            if pieces.peek().is_some() {
                ready.push(self.cut());
            }
        }
        ready
    }

    /// The last line, when it was not ended.
    fn end(&mut self) -> Vec<Line> {
        match self.too_long || !self.begun.is_empty() {
            true => vec![self.cut()],
            false => Vec::new(),
        }
    }

    fn cut(&mut self) -> Line {
        match std::mem::take(&mut self.too_long) {
            true => Line::TooLong,
            false => Line::Whole(std::mem::take(&mut self.begun)),
        }
    }
}
