//! What is asked of the reader.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Largest text in a cell, in bytes.
pub const CELL_MAX: usize = 1 << 20;
/// Most values in one cell, lists and structures counted through.
const VALUES_MAX: usize = 10_000;
/// How deep lists and structures may be nested in a cell.
const DEPTH_MAX: usize = 8;

/// The cells of a row that were asked for, by their columns.
pub type Cells = Map<String, Value>;

/// How a file holds its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// An object a line.
    JsonLines,
}

/// Rows of a file that are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowsAsk {
    /// The file, absolute, or relative to the working directory. Its last name is not followed
    /// where it is a link.
    pub file: String,
    /// How it holds its rows.
    pub format: Format,
    /// Columns that are wanted, as far as the file has them.
    pub columns: Vec<String>,
    /// How many rows, from the first one.
    pub most_rows: u64,
    /// Most bytes that are printed.
    pub most_bytes: u64,
}

/// Counts what a cell holds, and refuses what is too much.
#[derive(Default)]
pub(super) struct Bounds {
    values: usize,
    bytes: usize,
}

impl Bounds {
    /// Another value, `depth` below the cell.
    pub fn value(&mut self, depth: usize) -> Result<(), String> {
        self.values += 1;
        if self.values > VALUES_MAX || depth > DEPTH_MAX {
            return Err(format!(
                "a cell holds more than {VALUES_MAX} values, or is nested deeper than {DEPTH_MAX}"
            ));
        }
        Ok(())
    }

    /// Another text.
    pub fn text(&mut self, length: usize) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(length);
        if self.bytes > CELL_MAX {
            return Err(format!("a cell has more than {CELL_MAX} bytes"));
        }
        Ok(())
    }

    /// Everything in a value.
    pub fn all(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        self.value(depth)?;
        match value {
            Value::String(text) => self.text(text.len()),
            Value::Array(items) => items.iter().try_for_each(|item| self.all(item, depth + 1)),
            Value::Object(pairs) => pairs.iter().try_for_each(|(name, item)| {
                self.text(name.len())?;
                self.all(item, depth + 1)
            }),
            _ => Ok(()),
        }
    }
}
