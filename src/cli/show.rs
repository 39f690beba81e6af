//! Results for a person.

use std::fmt::Write as _;

use crate::{
    engine::{Outcome, Summary},
    policy::Tier,
    report::escape,
    sandbox::jail::{Probe, ProbeState},
};

/// Lines of any list that are shown.
pub(super) const LISTED: usize = 50;

/// A run: how it ended, the plan's steps, the metrics, the changes, where everything is.
pub(super) fn run(outcome: &Outcome) -> String {
    let summary = &outcome.summary;
    let mut text = head(summary);
    let _ = writeln!(
        text,
        "  iterations {}, turns {}, guard events {}{}",
        summary.iterations,
        summary.turns,
        summary.guard_events,
        summary
            .usage
            .map(|usage| format!(
                ", model calls {}, tokens {} in and {} out",
                usage.calls, usage.input_tokens, usage.output_tokens
            ))
            .unwrap_or_default()
    );
    text.push_str("plan\n");
    let plan = &summary.plan;
    for (mark, steps) in [("x", &plan.done), (" ", &plan.next), (" ", &plan.backlog)] {
        for step in steps.iter().take(LISTED) {
            let _ = writeln!(text, "  [{mark}] {step}");
        }
    }
    metrics(&mut text, summary);
    text.push_str("changes\n");
    for change in summary.changes.iter().take(LISTED) {
        let _ = writeln!(text, "  {:?} {}", change.kind, change.path);
    }
    refused(&mut text, summary);
    let artifacts = outcome.artifacts.display();
    let _ = writeln!(
        text,
        "artifacts\n  {artifacts}\n  {artifacts}/changes.patch\n  {artifacts}/summary.json"
    );
    text
}

/// A verification.
pub(super) fn verification(outcome: &Outcome) -> String {
    let mut text = head(&outcome.summary);
    metrics(&mut text, &outcome.summary);
    refused(&mut text, &outcome.summary);
    let _ = writeln!(text, "artifacts\n  {}", outcome.artifacts.display());
    text
}

/// The doctor's table.
pub(super) fn probe(probe: &Probe, opencode: &str) -> String {
    let mut text = String::new();
    for row in &probe.rows {
        let state = match row.state {
            ProbeState::Ok => "ok",
            ProbeState::Degraded => "weaker",
            ProbeState::Missing => "MISSING",
        };
        let _ = writeln!(
            text,
            "{:<28} {state:<8} {}",
            row.primitive,
            escape(row.detail.as_bytes(), 200)
        );
        if !row.remedy.is_empty() {
            let _ = writeln!(text, "{:<28} {:<8} remedy: {}", "", "", row.remedy);
        }
    }
    match probe.tier {
        Some(Tier::Landlock) => {
            text.push_str("tier: landlock; taken only where it is accepted with --min-tier landlock\n")
        }
        Some(tier) => {
            let _ = writeln!(text, "tier: {tier}");
        }
        None => text.push_str("tier: none; no sandbox can be built here\n"),
    }
    let _ = write!(text, "OpenCode: {opencode}");
    text
}

fn head(summary: &Summary) -> String {
    let seconds = summary.wall_ms / 1000;
    format!(
        "\n{} (exit {}) after {seconds} s: {}\n",
        summary.exit_reason,
        summary.exit_code,
        escape(summary.detail.as_bytes(), 500)
    )
}

fn metrics(text: &mut String, summary: &Summary) {
    if let Some(metrics) = &summary.metrics {
        let _ = writeln!(text, "metrics\n  {}", escape(metrics.to_string().as_bytes(), 1000));
    }
}

fn refused(text: &mut String, summary: &Summary) {
    for (path, why) in summary.refused.iter().take(LISTED) {
        let _ = writeln!(text, "  not copied out: {path}: {why}");
    }
}
