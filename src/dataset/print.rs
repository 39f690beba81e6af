//! The reader's side: rows as lines.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
};

use super::{
    ask::{Cells, Format, RowsAsk},
    jsonl::Lines,
    lines::Line,
    parquet::Table,
};

/// Prints the rows that are asked for. It runs behind walls, over bytes of anybody's.
///
/// # Errors
/// In one line, what is wrong with the file; what was printed by then lacks its end.
pub fn print_rows(ask: &RowsAsk, out: impl Write) -> Result<(), String> {
    let file = open(&ask.file)?;
    let mut printer = Printer {
        out: BufWriter::new(out),
        left: ask.most_bytes,
    };
    match ask.format {
        Format::Parquet => {
            let table = Table::open(file, &ask.columns)?;
            printer.line(&Line::Columns(Some(table.columns())))?;
            printer.rows(table.rows()?, ask.most_rows)
        }
        Format::JsonLines => {
            printer.line(&Line::Columns(None))?;
            printer.rows(Lines::new(file, &ask.columns), ask.most_rows)
        }
    }
}

/// A regular file, reached through no link at its end. A fifo does not hold us up.
fn open(path: &str) -> Result<File, String> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|why| why.to_string())?;
    match file.metadata() {
        Ok(meta) if meta.is_file() => Ok(file),
        Ok(_) => Err("it is no regular file".to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

struct Printer<W: Write> {
    out: BufWriter<W>,
    left: u64,
}

impl<W: Write> Printer<W> {
    fn rows(&mut self, rows: impl Iterator<Item = Result<Cells, String>>, most: u64) -> Result<(), String> {
        let (mut count, mut more) = (0, false);
        for row in rows {
            if count == most {
                more = true;
                break;
            }
            let row = row.map_err(|why| format!("row {}: {why}", count + 1))?;
            self.line(&Line::Row(row))?;
            count += 1;
        }
        self.line(&Line::End { rows: count, more })?;
        self.out.flush().map_err(|why| why.to_string())
    }

    fn line(&mut self, line: &Line) -> Result<(), String> {
        let mut text = serde_json::to_vec(line).map_err(|why| why.to_string())?;
        text.push(b'\n');
        self.left = self
            .left
            .checked_sub(text.len() as u64)
            .ok_or_else(|| "its rows have more bytes than are taken".to_owned())?;
        self.out.write_all(&text).map_err(|why| why.to_string())
    }
}

#[cfg(test)]
#[path = "print_tests.rs"]
mod tests;
