//! One run, put together from its files.

use std::{io, ops::RangeInclusive, path::Path};

use jiff::Timestamp;
use nix::dir::Type;
use serde_json::Value;

use super::{
    allowance::Allowance,
    course::{Course, since},
    episode::{ChangeView, CommandView, StepView, VerificationView},
    fields::Fields,
    folder::Folder,
    judged,
    ledgers::{self, Calls},
    outcome::{goal, host, outcome, steps},
    text::line,
    turns,
    view::{Iteration, RunView, Series, Share, Span, SpanKind, Totals, VERSION, WallView},
};

/// Iterations whose details are read when nobody says which.
const DETAILED: usize = 40;
/// Changes, layers of the policy and walls that are listed.
const LISTED: usize = 500;
/// Numbers of the metrics that are followed.
const SERIES: usize = 24;
/// The longest commands.
const HEAVIEST: usize = 8;

/// Of which iterations the details (commands, output, acts) are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// All of a short run; of a long one the first, the last, and those in which something failed.
    #[default]
    Auto,
    /// These.
    Only(RangeInclusive<u64>),
    /// None.
    Nothing,
}

/// Reads a run's directory.
///
/// # Errors
/// When there is no such directory.
pub fn read_run(path: &Path, detail: &Detail) -> io::Result<RunView> {
    let folder = Folder::open(path)?;
    let mut totals = Totals::default();
    let mut calls = Calls::read(&folder, &mut totals);
    let mut course = Course::read(&folder);
    let mut turns = turns::read(&folder, &course, &mut calls);
    let summary = folder.json("summary.json");
    let state = folder.json("state.json");
    let versions = folder.json("versions.json");
    let mut guard = judged::guard(&folder, &course.guarded);
    for (at, view) in guard.iter().enumerate() {
        if let Some((_, turn)) = turns.iter_mut().find(|(_, turn)| Some(turn.number) == view.turn) {
            turn.guard = Some(at);
        }
    }
    let spans = std::mem::take(&mut course.spans);
    let mut iterations = iterations(&spans, &course, turns);
    let metrics = verifications(&folder, &mut iterations);
    add_up(&mut totals, &iterations, &spans, &summary, &course, guard.len());
    let heaviest = heaviest(&iterations);
    let mut allowance = Allowance::default();
    let patch = allowance
        .file(&folder, "changes.patch", 120_000, 0)
        .filter(|patch| !patch.is_empty());
    for view in &mut guard {
        let name = view.file.replace(".json", ".patch");
        view.patch = allowance.file(&folder, &name, 6_000, 1_000);
    }
    details(&folder, &mut iterations, detail, &mut allowance);
    if allowance.refused > 0 {
        folder.note(format!(
            "{} texts are left out to keep this short; ask for some iterations only (--iterations A-B)",
            allowance.refused
        ));
    }
    let (plan_done, plan_next, plan_backlog) = (
        steps(&summary, "done"),
        steps(&summary, "next"),
        steps(&summary, "backlog"),
    );
    let changes = summary.list("changes");
    let walls = match summary.at("walls") {
        Value::Null => folder.json("walls.json"),
        walls => walls.clone(),
    };
    let network = ledgers::network(&folder);
    let name = path
        .canonicalize()
        .ok()
        .and_then(|whole| Some(whole.file_name()?.to_string_lossy().into_owned()));
    Ok(RunView {
        version: VERSION,
        id: course
            .id
            .clone()
            .or_else(|| summary.line("run_id", 100))
            .or_else(|| Some(line(&name?, 100)))
            .unwrap_or_default(),
        target: summary
            .line("target", 400)
            .or_else(|| course.target.clone())
            .unwrap_or_default(),
        source: course.source.clone(),
        contract: state.line("pipeline_path", 300).unwrap_or_default(),
        goal: goal(&folder, &state),
        model: state.line("model", 200).unwrap_or_default(),
        tool_version: versions
            .at("tool")
            .line("version", 40)
            .or_else(|| course.tool_version.clone()),
        opencode_version: versions.at("opencode").line("version", 40),
        host: host(&versions),
        backend: course.backend.clone(),
        policy_digest: summary.at("policy").line("digest", 100),
        policy_layers: summary
            .at("policy")
            .list("layers")
            .iter()
            .filter_map(|layer| Some(line(layer.as_str()?, 200)))
            .take(LISTED)
            .collect(),
        began: course
            .began
            .and_then(|began| Some(Timestamp::from_millisecond(began).ok()?.to_string())),
        began_ms: course.began,
        outcome: outcome(&summary, &course),
        done: plan_done,
        next: plan_next,
        backlog: plan_backlog,
        totals,
        timeline: spans,
        iterations,
        guard,
        changes: changes
            .iter()
            .take(LISTED)
            .map(|change| ChangeView {
                path: change.line("path", 300).unwrap_or_default(),
                kind: change.line("kind", 20).unwrap_or_default(),
            })
            .collect(),
        more_changes: changes.len().saturating_sub(LISTED) as u64,
        patch,
        refused: judged::refused(&summary, "refused"),
        last_metrics: Some(summary.at("metrics").clone()).filter(|metrics| !metrics.is_null()),
        metrics,
        tier: walls.line("tier", 40),
        walls: walls
            .list("walls")
            .iter()
            .take(LISTED)
            .map(|wall| WallView {
                name: wall.line("name", 200).unwrap_or_default(),
                state: wall.line("state", 20).unwrap_or_default(),
                why: wall.line("why", 400),
            })
            .collect(),
        heaviest,
        network,
        notes: folder.notes(),
    })
}

/// The spans by iterations, with the turns that belong there.
fn iterations(spans: &[Span], course: &Course, turns: Vec<(u64, super::episode::TurnView)>) -> Vec<Iteration> {
    let mut all: Vec<Iteration> = Vec::new();
    for (at, span) in spans.iter().enumerate() {
        match all.last_mut() {
            Some(last) if last.number == span.iteration => last.spans.1 += 1,
            _ => all.push(Iteration {
                number: span.iteration,
                at: span.at,
                spans: (at, 1),
                ..Iteration::default()
            }),
        }
    }
    let end = since(course.began, course.last.unwrap_or(0));
    let starts: Vec<u64> = all.iter().skip(1).map(|next| next.at).chain([end]).collect();
    for (iteration, next) in all.iter_mut().zip(starts) {
        iteration.ms = next.saturating_sub(iteration.at);
    }
    for (number, step) in &course.steps {
        if let Ok(at) = all.binary_search_by_key(number, |iteration| iteration.number) {
            all[at].step = Some(StepView::clone(step));
        }
    }
    for (number, turn) in turns {
        match all.binary_search_by_key(&number, |iteration| iteration.number) {
            Ok(at) => all[at].turns.push(turn),
            Err(at) => all.insert(
                at,
                Iteration {
                    number,
                    turns: vec![turn],
                    ..Iteration::default()
                },
            ),
        }
    }
    all
}

/// Reads every verification into its iteration; gives the metrics over them.
fn verifications(folder: &Folder, iterations: &mut Vec<Iteration>) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    // Those without an iteration's number come first: a run begins with them.
    let mut directories: Vec<(u64, String)> = folder
        .names("", Type::Directory)
        .into_iter()
        .filter_map(|name| match name.as_str() {
            "verify" | "preflight" | "bootstrap" => Some((0, name)),
            other => Some((other.strip_prefix("iter_")?.parse().ok()?, name)),
        })
        .collect();
    directories.sort_unstable();
    for (number, directory) in directories {
        let Some((mut view, metrics)) = judged::verification(folder, &directory) else {
            continue;
        };
        judged::commands(folder, &mut view);
        follow(&mut series, number, "", &metrics, 0);
        match iterations.binary_search_by_key(&number, |iteration| iteration.number) {
            Ok(at) => iterations[at].verifications.push(view),
            Err(at) => iterations.insert(
                at,
                Iteration {
                    number,
                    ms: view.ms,
                    verifications: vec![view],
                    ..Iteration::default()
                },
            ),
        }
    }
    series.sort_by(|a, b| (a.name != "score", &a.name).cmp(&(b.name != "score", &b.name)));
    series
}

/// Takes the numbers of a metrics document in.
fn follow(series: &mut Vec<Series>, number: u64, name: &str, value: &Value, depth: usize) {
    match value {
        Value::Number(found) => {
            let Some(found) = found.as_f64().filter(|found| found.is_finite()) else {
                return;
            };
            if let Some(known) = series.iter_mut().find(|known| known.name == name) {
                known.points.push((number, found));
            } else if series.len() < SERIES {
                series.push(Series {
                    name: name.to_owned(),
                    points: vec![(number, found)],
                });
            }
        }
        Value::Object(fields) if depth < 4 => {
            for (key, value) in fields.iter().take(100) {
                let key = line(key, 60);
                let name = if name.is_empty() { key } else { format!("{name}.{key}") };
                follow(series, number, &name, value, depth + 1);
            }
        }
        _ => {}
    }
}

/// Reads the details of the iterations that were asked for.
fn details(folder: &Folder, iterations: &mut [Iteration], detail: &Detail, allowance: &mut Allowance) {
    for at in chosen(iterations, detail) {
        let iteration = &mut iterations[at];
        iteration.detailed = true;
        for verification in &mut iteration.verifications {
            judged::outputs(folder, verification, allowance);
        }
        for turn in &mut iteration.turns {
            turns::details(folder, turn, allowance);
        }
    }
    // What nobody sees need not be kept.
    for iteration in iterations.iter_mut().filter(|iteration| !iteration.detailed) {
        for verification in &mut iteration.verifications {
            for stage in &mut verification.stages {
                stage.commands = Vec::new();
            }
        }
    }
}

/// Which iterations get details, the most telling first.
fn chosen(iterations: &[Iteration], detail: &Detail) -> Vec<usize> {
    let all = 0..iterations.len();
    match detail {
        Detail::Nothing => Vec::new(),
        Detail::Only(range) => all.filter(|at| range.contains(&iterations[*at].number)).collect(),
        Detail::Auto if iterations.len() <= DETAILED => all.rev().collect(),
        Detail::Auto => {
            let telling = |one: &Iteration| {
                one.turns.iter().any(|turn| !turn.ok || turn.guard.is_some())
                    || one.verifications.iter().any(|verification| !verification.ok)
            };
            let last = all.clone().rev().take(10);
            let first = all.clone().take(4);
            let failed = all.filter(|at| telling(&iterations[*at])).rev();
            let mut chosen: Vec<usize> = Vec::new();
            for at in last.chain(first).chain(failed) {
                if chosen.len() < DETAILED && !chosen.contains(&at) {
                    chosen.push(at);
                }
            }
            chosen
        }
    }
}

fn add_up(
    totals: &mut Totals,
    iterations: &[Iteration],
    spans: &[Span],
    summary: &Value,
    course: &Course,
    guard: usize,
) {
    let counted = iterations.iter().filter(|iteration| iteration.number > 0).count() as u64;
    totals.iterations = summary.count("iterations").unwrap_or(counted);
    totals.guard = guard as u64;
    totals.leaked = course.leaked;
    for turn in iterations.iter().flat_map(|iteration| &iteration.turns) {
        totals.turns += 1;
        totals.failed_turns += u64::from(!turn.ok);
        totals.tool_calls += turn.tool_calls;
        totals.failed_calls += turn.failed_calls.len() as u64;
        if let Some(cost) = turn.cost {
            *totals.cost.get_or_insert(0.0) += cost;
        }
        if totals.calls == 0 {
            totals.input_tokens = totals.input_tokens.saturating_add(turn.input_tokens);
            totals.output_tokens = totals.output_tokens.saturating_add(turn.output_tokens);
        }
    }
    let judged: Vec<&VerificationView> = iterations
        .iter()
        .flat_map(|iteration| &iteration.verifications)
        .collect();
    totals.verifications = judged.len() as u64;
    totals.failed_verifications = judged.iter().filter(|one| !one.ok).count() as u64;
    for stage in judged.iter().flat_map(|one| &one.stages) {
        totals.leaked += stage.leaked;
        for command in &stage.commands {
            totals.cpu_ms = totals.cpu_ms.saturating_add(command.cpu_ms);
            totals.peak_rss_bytes = totals.peak_rss_bytes.max(command.rss_bytes);
        }
    }
    let mut share = |kind, ms| match totals.shares.iter_mut().find(|share| share.kind == kind) {
        Some(share) => (share.ms, share.count) = (share.ms + ms, share.count + 1),
        None => totals.shares.push(Share { kind, ms, count: 1 }),
    };
    let first = spans.first().map_or(0, |span| span.at);
    if first > 0 {
        share(SpanKind::Prepare, first);
    }
    for span in spans {
        share(span.kind, span.ms.unwrap_or(0));
    }
    if spans.is_empty() {
        for one in &judged {
            let kind = if one.directory == "bootstrap" {
                SpanKind::Prepare
            } else {
                SpanKind::Verify
            };
            share(kind, one.ms);
        }
    }
    totals.shares.sort_by_key(|share| share.kind);
}

/// The longest commands of all.
fn heaviest(iterations: &[Iteration]) -> Vec<CommandView> {
    let judged = iterations.iter().flat_map(|iteration| &iteration.verifications);
    let mut all: Vec<&CommandView> = judged
        .flat_map(|one| &one.stages)
        .flat_map(|stage| &stage.commands)
        .collect();
    all.sort_by_key(|command| std::cmp::Reverse(command.ms));
    all.into_iter().take(HEAVIEST).cloned().collect()
}
