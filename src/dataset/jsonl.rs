//! Rows of a file with a JSON object a line.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
};

use serde_json::Value;

use super::ask::{Bounds, Cells};

/// Longest line, in bytes.
const LINE_MAX: u64 = 4 << 20;

/// The lines of a file, in order; blank ones are none.
pub(super) struct Lines {
    reader: BufReader<File>,
    wanted: Vec<String>,
    number: u64,
}

impl Lines {
    pub fn new(file: File, wanted: &[String]) -> Self {
        Self {
            reader: BufReader::new(file),
            wanted: wanted.to_vec(),
            number: 0,
        }
    }

    fn read(&mut self) -> Result<Option<Cells>, String> {
        loop {
            let mut line = Vec::new();
            let read = (&mut self.reader).take(LINE_MAX + 1).read_until(b'\n', &mut line);
            if read.map_err(|why| why.to_string())? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if line.len() as u64 > LINE_MAX {
                return Err(format!("it is longer than {LINE_MAX} bytes"));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let row: Value = serde_json::from_slice(&line).map_err(|why| format!("no JSON: {why}"))?;
            let Value::Object(row) = row else {
                return Err("no object".to_owned());
            };
            let cells = row.into_iter().filter(|(name, _)| self.wanted.contains(name));
            let checked = cells.map(|(name, cell)| {
                Bounds::default().all(&cell, 0)?;
                Ok((name, cell))
            });
            return checked.collect::<Result<Cells, String>>().map(Some);
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Cells, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read().map_err(|why| format!("line {}: {why}", self.number));
        read.transpose()
    }
}
