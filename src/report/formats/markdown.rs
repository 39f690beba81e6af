//! A summary in Markdown (GitHub's), for a job's page or a comment.

use std::fmt::Write as _;

use super::findings::{Level, findings};
use crate::report::{
    html::words,
    reading::{Ending, RunView},
};

/// Findings that are listed.
const LISTED: usize = 30;

/// The run as Markdown.
pub fn markdown(run: &RunView) -> String {
    let mut out = String::new();
    let mark = match run.outcome.ending {
        Ending::Passed => "✅",
        Ending::Failed => "❌",
        Ending::Broken | Ending::Open => "⚠️",
    };
    let reason = if run.outcome.reason.is_empty() {
        "not ended"
    } else {
        &run.outcome.reason
    };
    let _ = writeln!(out, "## {mark} opencode-fsm: {}\n", escaped(reason));
    let _ = writeln!(out, "{}\n", escaped(&run.outcome.detail));
    if !run.goal.is_empty() {
        let _ = writeln!(out, "> {}\n", escaped(&run.goal.join(" ")));
    }
    out.push_str("| | |\n|---|---|\n");
    let mut fact = |name: &str, value: String| {
        let _ = writeln!(out, "| {name} | {value} |");
    };
    fact("Target", escaped(&run.target));
    fact("Duration", run.outcome.ms.map_or_else(|| "–".to_owned(), words::dur));
    if run.totals.turns > 0 {
        let steps = run.done.len() + run.next.len() + run.backlog.len();
        fact("Steps", format!("{} of {steps} done", run.done.len()));
        fact(
            "Iterations, turns",
            format!("{}, {}", run.totals.iterations, run.totals.turns),
        );
        fact(
            "Tokens",
            format!(
                "{} in, {} out",
                words::count(run.totals.input_tokens),
                words::count(run.totals.output_tokens)
            ),
        );
        if let Some(cost) = run.totals.cost {
            fact("Cost, as the agent reports it", words::number(cost));
        }
        fact("Phases taken back by the guard", run.totals.guard.to_string());
    }
    if let Some(tier) = &run.tier {
        fact("Walls", escaped(tier));
    }
    fact("Run", escaped(&run.id));
    stages(&mut out, run);
    numbers(&mut out, run);
    let (found, more) = findings(run);
    if !found.is_empty() {
        out.push_str("\n### Findings\n\n| | where | what |\n|---|---|---|\n");
        for finding in found.iter().take(LISTED) {
            let level = match finding.rule.level {
                Level::Error => "❌",
                Level::Warning => "⚠️",
                Level::Note => "ℹ️",
            };
            let place = finding
                .file
                .as_deref()
                .or(finding.subject.as_deref())
                .unwrap_or_default();
            let _ = writeln!(
                out,
                "| {level} {} | {} | {} |",
                finding.rule.id,
                escaped(place),
                escaped(&finding.message)
            );
        }
        let more = more + found.len().saturating_sub(LISTED) as u64;
        if more > 0 {
            let _ = writeln!(out, "\n{more} more");
        }
    }
    out
}

fn stages(out: &mut String, run: &RunView) {
    let Some(last) = run.iterations.iter().rev().find_map(|one| one.verifications.last()) else {
        return;
    };
    let _ = writeln!(
        out,
        "\n### Last verification\n\n| stage | | took | |\n|---|---|---|---|"
    );
    for stage in &last.stages {
        let mark = if stage.ok { "✅" } else { "❌" };
        let reason = stage.reason.as_deref().unwrap_or_default();
        let _ = writeln!(
            out,
            "| {} | {mark} | {} | {} |",
            escaped(&stage.name),
            words::dur(stage.ms),
            escaped(reason)
        );
    }
}

fn numbers(out: &mut String, run: &RunView) {
    if run.metrics.is_empty() {
        return;
    }
    out.push_str("\n### Metrics\n\n| | first | last |\n|---|---|---|\n");
    for series in &run.metrics {
        if let (Some(first), Some(last)) = (series.points.first(), series.points.last()) {
            let _ = writeln!(
                out,
                "| {} | {} | {} |",
                escaped(&series.name),
                words::number(first.1),
                words::number(last.1)
            );
        }
    }
}

/// A text that is nothing but text: every mark of ASCII is escaped (CommonMark 0.31, 2.4),
/// and what HTML could take for its own is named.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\n' | '\r' | '\t' => out.push(' '),
            // The id of a run stays readable, and no single one of these means anything.
            '-' | ',' => out.push(c),
            c if c.is_ascii_punctuation() => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_text_stays_a_text() {
        assert_eq!(
            escaped("<img src=x> | [a](http://b) `c` @d\n# e"),
            "&lt;img src\\=x&gt; \\| \\[a\\]\\(http\\:\\/\\/b\\) \\`c\\` \\@d \\# e"
        );
    }
}
