//! Rows of data files, read where their bytes can do no harm.
//!
//! A file of a data set is somebody else's bytes, and a reader of Parquet is a large parser.
//! It never runs on the host: the guest runs it in a process of its own, behind the walls of
//! any command ([`print_rows`]). What it prints is bounded JSON lines, which the host reads
//! strictly ([`read_rows`]).
//!
//! - `ask`: what is asked of the reader;
//! - `print`: the reader's side: rows as lines;
//! - `parquet`, `jsonl`: rows of either format;
//! - `lines`: the host's side.
#![forbid(unsafe_code)]

mod ask;
mod jsonl;
mod lines;
mod parquet;
mod print;

pub use ask::{CELL_MAX, Cells, Format, RowsAsk};
pub use lines::{Rows, read_rows};
pub use print::print_rows;
