//! The chain as it is read: one bounded record at a time, whoever wrote it.

use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest record that is read, bytes.
pub const MAX_RECORD: usize = 64 << 20;
/// Bytes read ahead.
const BUFFER: usize = 256 << 10;

/// One record, its fields as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record<'a> {
    /// Version.
    pub v: u32,
    /// Its number, from 0.
    pub seq: u64,
    /// The hash of the record before, as it is written.
    pub prev: &'a str,
    /// When.
    pub ts: &'a str,
    /// What happened.
    pub event: &'a str,
    /// What belongs to it.
    #[serde(borrow)]
    pub fields: &'a RawValue,
}

impl<'a> Record<'a> {
    /// Reads one line.
    ///
    /// # Errors
    /// Why it is no record, in one line.
    pub fn parse(line: &'a [u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|why| why.to_string())
    }
}

/// What comes next in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A line, newline included: [`Records::line`].
    Line,
    /// Bytes without a newline at the very end: a writer was cut off in the middle.
    Torn,
    /// A line that is longer than any record.
    TooLong,
    /// Nothing.
    End,
}

/// A reader of lines.
pub struct Records<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: Read> Records<R> {
    /// Reads from the beginning.
    pub fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(BUFFER, reader),
            line: Vec::new(),
        }
    }

    /// Goes on to the next line.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn advance(&mut self) -> std::io::Result<Next> {
        self.line.clear();
        let most = MAX_RECORD as u64 + 1;
        let got = (&mut self.reader).take(most).read_until(b'\n', &mut self.line)?;
        Ok(match self.line.last() {
            None => Next::End,
            Some(b'\n') => Next::Line,
            Some(_) if got > MAX_RECORD => Next::TooLong,
            Some(_) => Next::Torn,
        })
    }

    /// The line gone on to.
    pub fn line(&self) -> &[u8] {
        &self.line
    }
}
