//! What a reader printed, on the host's side: bytes of a process that may have been taken over.

use serde::{Deserialize, Serialize};

use super::ask::Cells;

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Line {
    /// The first: which of the columns there are; nothing where each row has its own.
    Columns(Option<Vec<String>>),
    /// A row.
    Row(Cells),
    /// The last: how many rows there were, and whether the file has more.
    End { rows: u64, more: bool },
}

/// Rows of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Each row's cells.
    pub rows: Vec<Cells>,
    /// The file has more than were wanted.
    pub more: bool,
}

/// Reads all that a reader printed.
///
/// # Errors
/// In one line, where it is not what a reader prints from its first to its last line.
pub fn read_rows(printed: &[u8], most_rows: u64) -> Result<Rows, String> {
    let mut lines = printed.split(|byte| *byte == b'\n').enumerate();
    let mut next = || {
        let (at, line) = lines
            .next()
            .ok_or_else(|| "the reader of the data set ended early".to_owned())?;
        let read = serde_json::from_slice::<Line>(line);
        read.map_err(|why| format!("line {} of the reader of the data set: {why}", at + 1))
    };
    let Line::Columns(_) = next()? else {
        return Err("the reader of the data set does not begin with its columns".to_owned());
    };
    let mut found = Vec::new();
    loop {
        match next()? {
            Line::Row(cells) if (found.len() as u64) < most_rows => found.push(cells),
            Line::End { rows, more } if rows == found.len() as u64 => {
                let rest = lines.next().is_none_or(|(_, rest)| rest.is_empty()) && lines.next().is_none();
                return match rest {
                    true => Ok(Rows { rows: found, more }),
                    false => Err("the reader of the data set goes on behind its end".to_owned()),
                };
            }
            _ => return Err("the reader of the data set says what none says".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "{\"columns\":[\"q\"]}\n{\"row\":{\"q\":\"a\"}}\n{\"end\":{\"rows\":1,\"more\":true}}\n";

    #[test]
    fn what_a_reader_prints_is_read_and_nothing_else() {
        let read = read_rows(GOOD.as_bytes(), 1).expect("rows");
        assert_eq!((read.rows.len(), read.more), (1, true));
        assert_eq!(read.rows[0]["q"], "a");
        for (text, most, why) in [
            ("", 1, "line 1"),
            ("{\"row\":{}}\n", 1, "does not begin"),
            ("{\"columns\":null}\n", 1, "line 2"),
            (
                "{\"columns\":null}\n{\"end\":{\"rows\":1,\"more\":false}}\n",
                1,
                "says what none says",
            ),
            (GOOD, 0, "says what none says"),
            (
                "{\"columns\":null}\n{\"end\":{\"rows\":0,\"more\":false}}\nx",
                1,
                "behind its end",
            ),
            ("{\"columns\":null}\n{\"row\":[]}\n", 1, "line 2"),
            ("{\"columns\":null,\"x\":1}\n", 1, "line 1"),
        ] {
            let found = read_rows(text.as_bytes(), most).expect_err(text);
            assert!(found.contains(why), "{text}: {found}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_rows(&bytes, 10);
        }
    }
}
