//! What is drawn: bars of time, lines of numbers, differences.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::reading::{Series, Span, SpanKind};
use super::words;

/// Units that a bar is wide.
const WIDTH: f64 = 1_000.0;
/// Rectangles of one bar: what is narrower than its share is drawn with its neighbours.
const RECTANGLES: u64 = 600;
/// Points of one line.
const POINTS: usize = 240;
/// Bytes of a difference that open by themselves.
const OPEN: usize = 6_000;

/// One rectangle of a bar.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Bar {
    pub kind: SpanKind,
    pub x: String,
    pub w: String,
}

/// Spans as rectangles of a bar that stands for the time between two moments. Where many
/// are narrower than can be seen, what took longest stands for them.
pub(super) fn bars(spans: &[Span], from: u64, to: u64) -> Vec<Bar> {
    struct Cell {
        kind: SpanKind,
        begin: u64,
        end: u64,
        longest: u64,
    }
    let whole = to.saturating_sub(from).max(1);
    let narrow = whole / RECTANGLES;
    let mut cells: Vec<Cell> = Vec::new();
    for span in spans {
        let (begin, ms) = (span.at.saturating_sub(from), span.ms.unwrap_or(0));
        let cell = Cell {
            kind: span.kind,
            begin,
            end: begin + ms,
            longest: ms,
        };
        match cells.last_mut() {
            _ if ms == 0 => {}
            Some(last) if last.kind == cell.kind || last.end - last.begin < narrow => {
                if ms > last.longest {
                    (last.kind, last.longest) = (cell.kind, ms);
                }
                last.end = cell.end;
            }
            _ => cells.push(cell),
        }
    }
    let scale = |ms: u64| to_f64(ms) / to_f64(whole) * WIDTH;
    let bar = |cell: Cell| Bar {
        kind: cell.kind,
        x: format!("{:.1}", scale(cell.begin)),
        w: format!("{:.1}", scale(cell.end - cell.begin).max(0.8)),
    };
    cells.into_iter().map(bar).collect()
}

/// One number over the iterations.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub name: String,
    pub last: f64,
    /// The difference between the first and the last one, with its sign; empty where there is none.
    pub change: String,
    /// SVG path data; empty for a single point.
    pub line: String,
    pub area: String,
    pub dot: String,
    pub count: usize,
    pub first_at: u64,
    pub last_at: u64,
    pub least: f64,
    pub most: f64,
}

/// Draws a series into a field of 240 by 52.
pub(super) fn line(series: &Series) -> Option<Line> {
    let (first, last) = (series.points.first()?, series.points.last()?);
    let values = || series.points.iter().map(|(_, value)| *value);
    let (least, most) = (
        values().fold(f64::INFINITY, f64::min),
        values().fold(f64::NEG_INFINITY, f64::max),
    );
    let difference = last.1 - first.1;
    let change = match series.points.len() {
        1 => String::new(),
        _ if difference == 0.0 => "unchanged".to_owned(),
        _ if difference > 0.0 => format!("+{}", words::number(difference)),
        _ => format!("\u{2212}{}", words::number(-difference)),
    };
    let stride = series.points.len().div_ceil(POINTS);
    let mut drawn: Vec<&(u64, f64)> = series.points.iter().step_by(stride).collect();
    if !(series.points.len() - 1).is_multiple_of(stride) {
        drawn.push(last);
    }
    let width = to_f64(last.0.saturating_sub(first.0).max(1));
    let place = |point: &(u64, f64)| {
        let x = 3.0 + to_f64(point.0.saturating_sub(first.0)) / width * 234.0;
        let share = if most > least {
            (point.1 - least) / (most - least)
        } else {
            0.5
        };
        (x, 47.0 - share * 42.0)
    };
    let (mut path, mut area, mut dot) = (String::new(), String::new(), String::new());
    if series.points.len() > 1 {
        for (at, point) in drawn.iter().enumerate() {
            let (x, y) = place(point);
            let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { "M" } else { "L" });
        }
        let (x, y) = place(last);
        area = format!("{path}L{x:.1} 52L3 52Z");
        dot = format!("M{x:.1} {y:.1}h0");
    }
    Some(Line {
        name: series.name.clone(),
        last: last.1,
        change,
        line: path,
        area,
        dot,
        count: series.points.len(),
        first_at: first.0,
        last_at: last.0,
        least,
        most,
    })
}

/// One file of a patch.
#[derive(Debug, Serialize)]
pub(super) struct FilePatch {
    pub path: String,
    pub plus: usize,
    pub minus: usize,
    pub lines: Vec<(&'static str, String)>,
    pub open: bool,
}

/// A patch (git's format) by files; the paths are as git quotes them.
pub(super) fn files(patch: &str) -> Vec<FilePatch> {
    let mut files: Vec<FilePatch> = Vec::new();
    let mut bytes = 0;
    for text in patch.lines() {
        if let Some(names) = text.strip_prefix("diff --git ") {
            let half = names.len() / 2;
            let path = names.get(half + 1..).unwrap_or(names);
            let path = path
                .strip_prefix("b/")
                .or_else(|| path.strip_prefix("\"b/"))
                .unwrap_or(path);
            files.push(FilePatch {
                path: path.trim_end_matches('"').to_owned(),
                plus: 0,
                minus: 0,
                lines: Vec::new(),
                open: bytes < OPEN,
            });
            continue;
        }
        let Some(file) = files.last_mut() else { continue };
        bytes += text.len();
        let line = diff_line(text);
        file.plus += usize::from(line.0 == "add");
        file.minus += usize::from(line.0 == "del");
        file.lines.push(line);
    }
    for file in &mut files {
        file.open &= file.plus + file.minus > 0;
    }
    files
}

/// The lines of a difference, each with its class.
pub(super) fn diff_lines(text: &str) -> Vec<(&'static str, String)> {
    text.lines().map(diff_line).collect()
}

fn diff_line(text: &str) -> (&'static str, String) {
    let class = match text {
        _ if text.starts_with("+++ ") || text.starts_with("--- ") => "at",
        _ if text.starts_with('+') => "add",
        _ if text.starts_with('-') => "del",
        _ if text.starts_with("@@") || text.starts_with("diff ") || text.starts_with("index ") => "at",
        _ if text.starts_with("Index: ") || text.starts_with("====") => "at",
        _ => "",
    };
    // An empty line has to have a height.
    let text = if text.is_empty() { " " } else { text };
    (class, text.to_owned())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of a run and counts are far below 2^52"
)]
fn to_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(kind: SpanKind, at: u64, ms: u64) -> Span {
        Span {
            kind,
            iteration: 1,
            step: None,
            at,
            ms: Some(ms),
            ok: None,
            note: None,
            turn: None,
        }
    }

    #[test]
    fn a_bar_has_few_rectangles_however_long_the_run() {
        let spans: Vec<Span> = (0..20_000)
            .map(|n| span(if n % 2 == 0 { SpanKind::Step } else { SpanKind::Verify }, n * 10, 10))
            .collect();
        let bars = bars(&spans, 0, 200_000);
        assert!((100..=700).contains(&bars.len()), "{}", bars.len());
        let two = [span(SpanKind::Step, 1_000, 250), span(SpanKind::Verify, 1_250, 750)];
        let drawn: Vec<(String, String)> = super::bars(&two, 1_000, 2_000)
            .into_iter()
            .map(|bar| (bar.x, bar.w))
            .collect();
        let owned = |x: &str, w: &str| (x.to_owned(), w.to_owned());
        assert_eq!(drawn, [owned("0.0", "250.0"), owned("250.0", "750.0")]);
    }

    #[test]
    fn a_line_goes_from_the_first_to_the_last_value() {
        let series = |points: Vec<(u64, f64)>| Series {
            name: "score".to_owned(),
            points,
        };
        let line = |points| super::line(&series(points)).expect("points");
        let few = line(vec![(1, 0.5), (2, 1.0), (3, 0.25)]);
        assert_eq!(few.line, "M3.0 33.0L120.0 5.0L237.0 47.0");
        assert_eq!((few.change.as_str(), few.least, few.most), ("\u{2212}0.25", 0.25, 1.0));
        let many = line((0..5_000).map(|n| (n, 1.0)).collect());
        assert!(
            many.line.len() < 5_000 && many.line.ends_with("L237.0 26.0"),
            "{}",
            many.line
        );
        assert_eq!(line(vec![(7, 1.0)]).line, "");
        assert!(super::line(&series(Vec::new())).is_none());
    }

    #[test]
    fn a_patch_comes_apart_by_files() {
        let patch = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n-a\n+b\n+c\n\ndiff --git \"a/\\303\\244\" \"b/\\303\\244\"\n";
        let files = files(patch);
        let seen: Vec<_> = files
            .iter()
            .map(|file| (file.path.as_str(), file.plus, file.minus))
            .collect();
        assert_eq!(seen, [("x", 2, 1), ("\\303\\244", 0, 0)]);
        assert_eq!(files[0].lines[0], ("at", "--- a/x".to_owned()));
    }
}
