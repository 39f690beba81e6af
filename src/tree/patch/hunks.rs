//! Unified hunks over raw bytes; a line ends at `\n` and nowhere else.

use std::time::{Duration, Instant};

use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices_deadline, group_diff_ops};

/// Lines of context around a change.
const CONTEXT: usize = 3;
/// After this long the diff of one file may be larger than it need be, but is still right.
const PATIENCE: Duration = Duration::from_millis(500);

/// Writes the hunks that turn `old` into `new`.
pub(super) fn write(out: &mut Vec<u8>, old: &[u8], new: &[u8]) {
    let old: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
    let new: Vec<&[u8]> = new.split_inclusive(|byte| *byte == b'\n').collect();
    let deadline = Instant::now() + PATIENCE;
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, Some(deadline));
    for hunk in group_diff_ops(ops, CONTEXT) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else {
            continue;
        };
        let before = range(first.old_range().start, last.old_range().end);
        let after = range(first.new_range().start, last.new_range().end);
        out.extend_from_slice(format!("@@ -{before} +{after} @@\n").as_bytes());
        hunk.iter().for_each(|op| write_op(out, op, &old, &new));
    }
}

/// `start,count`, counting from 1; an empty range names the line before it.
fn range(start: usize, end: usize) -> String {
    let shown = if start == end { start } else { start + 1 };
    format!("{shown},{}", end - start)
}

fn write_op(out: &mut Vec<u8>, op: &DiffOp, old: &[&[u8]], new: &[&[u8]]) {
    let mut lines = |sign: u8, lines: &[&[u8]]| {
        for line in lines {
            out.push(sign);
            out.extend_from_slice(line);
            if line.last() != Some(&b'\n') {
                out.extend_from_slice(b"\n\\ No newline at end of file\n");
            }
        }
    };
    if op.tag() == DiffTag::Equal {
        return lines(b' ', &old[op.old_range()]);
    }
    lines(b'-', &old[op.old_range()]);
    lines(b'+', &new[op.new_range()]);
}
