//! The run arranged as the page shows it.

use minijinja::Value;
use serde::Serialize;

use super::shapes::{Bar, FilePatch, Line, bars, files, line};
use crate::report::reading::{
    Act, Ending, Episode, GuardView, Iteration, RunView, SpanKind, StepView, TurnView, VerificationView,
};

/// Iterations that stand on one page of the list.
const PAGE: usize = 100;
/// Denials that are listed.
const DENIALS: usize = 150;

/// What the template gets.
#[derive(Serialize)]
pub(super) struct Page<'a> {
    run: &'a RunView,
    /// Names of files lead to them.
    links: bool,
    style: Value,
    csp: &'a str,
    /// The target's last name.
    name: &'a str,
    /// The outcome in a word.
    verdict: &'static str,
    sections: Vec<(&'static str, &'static str)>,
    strip: Vec<Bar>,
    shares: Vec<ShareRow>,
    headline: Option<Line>,
    metrics: Vec<Line>,
    plan: Vec<(bool, &'a str, &'a str)>,
    pages: Vec<Sheet<'a>>,
    /// Iterations that are shown with their details.
    detailed: u64,
    left_out: bool,
    files: Vec<FilePatch>,
    denials: Vec<Denial>,
    more_denials: u64,
    /// Walls that stand as asked.
    standing: u64,
}

#[derive(Serialize)]
struct ShareRow {
    kind: SpanKind,
    ms: u64,
    count: u64,
    percent: u64,
}

/// A hundred iterations.
#[derive(Serialize)]
struct Sheet<'a> {
    first: u64,
    last: u64,
    failed: u64,
    ms: u64,
    rows: Vec<Row<'a>>,
}

/// One iteration.
#[derive(Serialize)]
struct Row<'a> {
    number: u64,
    step: Option<&'a StepView>,
    ms: u64,
    bars: Vec<Bar>,
    verdict: &'static str,
    guard: bool,
    detailed: bool,
    open: bool,
    parts: Vec<Part<'a>>,
}

/// A turn or a verification, in the order in which they came.
#[derive(Clone, Serialize)]
struct Part<'a> {
    kind: SpanKind,
    ok: bool,
    turn: Option<&'a TurnView>,
    acts: Vec<&'a Act>,
    guard: Option<&'a GuardView>,
    verification: Option<&'a VerificationView>,
}

/// Something that was not let through.
#[derive(Serialize)]
struct Denial {
    iteration: u64,
    place: String,
    what: String,
}

impl<'a> Page<'a> {
    pub fn of(run: &'a RunView, style: &'static str, csp: &'a str, links: bool) -> Self {
        let end = run
            .outcome
            .ms
            .unwrap_or(0)
            .max(run.timeline.last().map_or(0, |span| span.at + span.ms.unwrap_or(0)));
        let metrics: Vec<Line> = run.metrics.iter().filter_map(line).collect();
        let all: u64 = run.totals.shares.iter().map(|share| share.ms).sum();
        let share = |share: &crate::report::reading::Share| ShareRow {
            kind: share.kind,
            ms: share.ms,
            count: share.count,
            percent: (share.ms * 200 + all) / (2 * all).max(1),
        };
        let (denials, more_denials) = denials(run);
        let detailed = run.iterations.iter().filter(|one| one.detailed).count();
        let mut page = Self {
            run,
            links,
            style: Value::from_safe_string(style.to_owned()),
            csp,
            name: run.target.rsplit('/').find(|name| !name.is_empty()).unwrap_or("run"),
            verdict: match run.outcome.ending {
                Ending::Open => "Not ended",
                Ending::Passed if run.totals.turns > 0 => "Done",
                Ending::Passed => "Passed",
                Ending::Failed => "Failed",
                Ending::Broken => "No verdict",
            },
            sections: Vec::new(),
            strip: bars(&run.timeline, 0, end),
            shares: run.totals.shares.iter().map(share).collect(),
            headline: run.metrics.iter().find(|series| series.name == "score").and_then(line),
            metrics,
            plan: plan(run),
            pages: sheets(run),
            detailed: detailed as u64,
            left_out: detailed < run.iterations.len(),
            files: run.patch.as_ref().map(|patch| files(&patch.head)).unwrap_or_default(),
            denials,
            more_denials,
            standing: run.walls.iter().filter(|wall| wall.state == "enforced").count() as u64,
        };
        page.sections = page.sections();
        page
    }

    fn sections(&self) -> Vec<(&'static str, &'static str)> {
        let run = self.run;
        [
            (!self.strip.is_empty(), "time", "Time"),
            (!run.metrics.is_empty(), "metrics", "Metrics"),
            (!self.plan.is_empty(), "plan", "Plan"),
            (
                !self.pages.is_empty(),
                "iterations",
                if run.totals.iterations > 0 {
                    "Iterations"
                } else {
                    "What ran"
                },
            ),
            (!run.changes.is_empty() || !run.refused.is_empty(), "changes", "Changes"),
            (!run.guard.is_empty() || !self.denials.is_empty(), "guard", "Guard"),
            (run.totals.turns > 0, "model", "Model"),
            (true, "network", "Network"),
            (
                run.totals.cpu_ms > 0 || !run.heaviest.is_empty(),
                "resources",
                "Resources",
            ),
            (!run.walls.is_empty(), "walls", "Walls"),
            (true, "record", "Record"),
        ]
        .into_iter()
        .filter_map(|(there, id, name)| there.then_some((id, name)))
        .collect()
    }
}

/// The steps: whether done, id, text.
fn plan(run: &RunView) -> Vec<(bool, &str, &str)> {
    let done = run.done.iter().map(|step| (true, step));
    let open = run.next.iter().chain(&run.backlog).map(|step| (false, step));
    done.chain(open)
        .map(|(done, step)| {
            let (id, text) = step.split_once(' ').unwrap_or((step, ""));
            (done, id, text)
        })
        .collect()
}

fn sheets(run: &RunView) -> Vec<Sheet<'_>> {
    let chunk = if run.iterations.len() <= PAGE + PAGE / 2 {
        PAGE + PAGE / 2
    } else {
        PAGE
    };
    // What a reader came for stands open: the last one, or where it failed.
    let last = run.iterations.last().map(|one| one.number);
    run.iterations
        .chunks(chunk)
        .map(|chunk| {
            let rows: Vec<Row> = chunk.iter().map(|one| row(run, one, last)).collect();
            Sheet {
                first: chunk.first().map_or(0, |one| one.number),
                last: chunk.last().map_or(0, |one| one.number),
                failed: rows.iter().filter(|row| row.verdict == "failed").count() as u64,
                ms: chunk.iter().map(|one| one.ms).sum(),
                rows,
            }
        })
        .collect()
}

fn row<'a>(run: &'a RunView, one: &'a Iteration, last: Option<u64>) -> Row<'a> {
    let spans = &run.timeline[one.spans.0..one.spans.0 + one.spans.1];
    let nothing = Part {
        kind: SpanKind::Verify,
        ok: true,
        turn: None,
        acts: Vec::new(),
        guard: None,
        verification: None,
    };
    let part = |episode| match episode {
        Episode::Turn(kind, turn) => Part {
            kind,
            ok: turn.ok,
            turn: Some(turn),
            acts: turn
                .acts
                .iter()
                .filter(|act| !act.body.is_empty() || !act.tool.is_empty())
                .collect(),
            guard: turn.guard.and_then(|at| run.guard.get(at)),
            ..nothing.clone()
        },
        Episode::Verification(verification) => Part {
            ok: verification.ok,
            verification: Some(verification),
            ..nothing.clone()
        },
    };
    let parts = if one.detailed {
        run.episodes(one).into_iter().map(part).collect()
    } else {
        Vec::new()
    };
    let verdict = match one.verifications.iter().all(|verification| verification.ok) {
        _ if one.verifications.is_empty() => "",
        true => "passed",
        false => "failed",
    };
    let few = run.iterations.len() == 1;
    Row {
        number: one.number,
        step: one.step.as_ref(),
        ms: one.ms,
        bars: bars(spans, one.at, one.at + one.ms),
        verdict,
        guard: one.turns.iter().any(|turn| turn.guard.is_some()),
        detailed: one.detailed,
        open: few || (last == Some(one.number) && verdict == "failed"),
        parts,
    }
}

/// What was denied or failed, apart from the guard's own records.
fn denials(run: &RunView) -> (Vec<Denial>, u64) {
    let mut all = Vec::new();
    let mut more = 0;
    let mut push = |iteration, place: &str, what: String| {
        if all.len() == DENIALS {
            more += 1;
            return;
        }
        all.push(Denial {
            iteration,
            place: place.to_owned(),
            what,
        });
    };
    for one in &run.iterations {
        for turn in &one.turns {
            let place = format!("turn {}, {}", turn.number, turn.label);
            for text in turn.failed_calls.iter().chain(&turn.refused_asks) {
                push(one.number, &place, text.clone());
            }
        }
        for verification in &one.verifications {
            let refused = verification
                .stages
                .iter()
                .filter(|stage| stage.blame.as_deref() == Some("policy"));
            for stage in refused {
                let place = format!("{}, stage {}", verification.directory, stage.name);
                push(one.number, &place, stage.reason.clone().unwrap_or_default());
            }
        }
    }
    (all, more)
}
