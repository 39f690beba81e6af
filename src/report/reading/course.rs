//! The journal, read as what the machine did and when.

use serde_json::Value;

use super::{
    episode::StepView,
    fields::{Fields, word},
    folder::Folder,
    text::line,
    view::{Span, SpanKind},
};

/// Bytes of a journal that are read: a million short lines.
const JOURNAL: u64 = 1 << 30;
/// Spans that are kept.
const SPANS: usize = 200_000;
/// Findings of one turn.
const FINDINGS: usize = 20;

/// What the journal says.
#[derive(Default)]
pub(super) struct Course {
    pub id: Option<String>,
    pub target: Option<String>,
    pub tool_version: Option<String>,
    pub backend: Option<String>,
    /// Milliseconds since 1970 of the first and the last line.
    pub began: Option<i64>,
    pub last: Option<i64>,
    pub spans: Vec<Span>,
    /// The step in hand, by iteration, as far as it is known; the last one counts.
    pub steps: Vec<(u64, StepView)>,
    /// What each turn was told about the try before: the turn's number, then the lines.
    pub findings: Vec<(u64, Vec<String>)>,
    /// Guard records: the evidence file, and the iteration and turn they belong to.
    pub guarded: Vec<(String, u64, u64)>,
    /// Accepted states: the number, the turn that led to it, how many paths it changed.
    pub accepted: Vec<(u64, u64, u64)>,
    pub source: Option<String>,
    pub leaked: u64,
    /// The reason and exit code of the last line, where the run ended.
    pub ended: Option<(String, u64)>,
    iteration: u64,
    turns: u64,
    open: Option<usize>,
    cut: u64,
    /// How often the run was taken up again.
    resumed: u64,
    /// Where it can be, the last ones.
    marks: Vec<Mark>,
}

/// What was known before a record that a run can be taken up at.
struct Mark {
    record: u64,
    guarded: usize,
    accepted: usize,
    leaked: u64,
}

/// Places that a run can be taken up at.
const MARKS: usize = 4;

impl Course {
    pub fn read(folder: &Folder) -> Self {
        let mut course = Self::default();
        folder.lines("journal.jsonl", JOURNAL, |value| {
            course.take(&value);
            true
        });
        if course.began.is_none() {
            folder.note("journal.jsonl says nothing: this may be no run's directory".to_owned());
        }
        if course.resumed > 0 {
            let times = course.resumed;
            folder.note(format!("the run was cut off and taken up again {times} times"));
        }
        if course.cut > 0 {
            folder.note(format!(
                "journal.jsonl: {} further steps of the machine are left out",
                course.cut
            ));
        }
        course
    }

    fn take(&mut self, record: &Value) {
        let now = record.moment("ts").or(self.last).unwrap_or(0);
        self.began.get_or_insert(now);
        self.last = Some(now);
        let fields = record.at("fields");
        match record.at("event").as_str().unwrap_or_default() {
            "run" => {
                self.id = fields.line("id", 100);
                self.target = fields
                    .line("target", 400)
                    .or_else(|| fields.at("target").line("location", 400));
                self.tool_version = fields.line("version", 40);
            }
            "sandbox" => self.backend = fields.line("backend", 40),
            "command" => self.command(fields, now),
            "event" => self.happened(fields, now),
            "guard" => {
                if let Some(evidence) = fields.line("evidence", 300) {
                    self.guarded.push((evidence, self.iteration, self.turns));
                }
            }
            "obtained" => self.source = obtained(fields),
            "checkpoint" => {
                let turn = self.open.and_then(|at| self.spans.get(at)?.turn);
                if let (Some(turn), Some(number)) = (turn, fields.count("number")) {
                    self.accepted.push((number, turn, fields.count("changes").unwrap_or(0)));
                }
            }
            "leaked" => self.leaked += fields.count("processes").unwrap_or(0),
            "resumed" | "continued" => {
                self.resumed += u64::from(record.at("event").as_str() == Some("resumed"));
                self.back_to(fields.count("from").unwrap_or(0));
            }
            "ended" => {
                let reason = fields.line("reason", 60).unwrap_or_default();
                self.ended = Some((reason, fields.count("exit").unwrap_or(0)));
            }
            _ => {}
        }
        if matches!(record.at("event").as_str(), Some("event" | "command")) {
            if self.marks.len() == MARKS {
                self.marks.remove(0);
            }
            self.marks.push(Mark {
                record: record.count("seq").unwrap_or(0) + 1,
                guarded: self.guarded.len(),
                accepted: self.accepted.len(),
                leaked: self.leaked,
            });
        }
    }

    /// What comes after this record is done again.
    fn back_to(&mut self, from: u64) {
        self.ended = None;
        self.marks.retain(|mark| mark.record <= from);
        let (guarded, accepted, leaked) = match self.marks.last() {
            Some(mark) => (mark.guarded, mark.accepted, mark.leaked),
            None => (0, 0, 0),
        };
        self.guarded.truncate(guarded);
        self.accepted.truncate(accepted);
        self.leaked = leaked;
    }

    fn command(&mut self, fields: &Value, now: i64) {
        self.close(now, None, None);
        let (machine, command) = (fields.at("machine"), fields.at("command"));
        self.iteration = machine.count("iteration").unwrap_or(self.iteration);
        let step = machine.at("step");
        let what = command.at("what");
        let kind = match command.at("do").as_str() {
            Some("snapshot") => SpanKind::Snapshot,
            Some("turn") => match word(what.at("purpose")) {
                Some("execute-step") => SpanKind::Step,
                Some("fix-or-replan") => SpanKind::Fix,
                _ => SpanKind::Plan,
            },
            Some("verify") => SpanKind::Verify,
            Some("rewrite-plan") => SpanKind::Decide,
            _ => return,
        };
        // The plan phase comes before its step is known; until then the machine has the last one.
        let concerned = !matches!(kind, SpanKind::Snapshot | SpanKind::Plan);
        if let (true, Some(id), Some(text)) = (concerned, step.line("id", 40), step.line("text", 400)) {
            let step = StepView { id, text };
            match self.steps.last_mut() {
                Some(last) if last.0 == self.iteration => last.1 = step,
                _ => self.steps.push((self.iteration, step)),
            }
        }
        let turn = matches!(kind, SpanKind::Step | SpanKind::Fix | SpanKind::Plan).then(|| {
            self.turns += 1;
            self.turns
        });
        if let Some(turn) = turn {
            let told: Vec<String> = what
                .list("findings")
                .iter()
                .take(FINDINGS)
                .filter_map(|finding| Some(line(finding.as_str()?, 400)))
                .collect();
            if !told.is_empty() {
                self.findings.push((turn, told));
            }
        }
        let note = match kind {
            SpanKind::Decide => Some(match word(what) {
                Some("block") => format!("blocked: {}", what.at("block").line("why", 300).unwrap_or_default()),
                _ => "ticked".to_owned(),
            }),
            SpanKind::Plan | SpanKind::Step => what
                .count("try_number")
                .filter(|number| *number > 1)
                .map(|number| format!("try {number}")),
            SpanKind::Fix => what
                .at("purpose")
                .at("fix-or-replan")
                .count("fix")
                .map(|number| format!("fix {number}")),
            _ => None,
        };
        if self.spans.len() == SPANS {
            self.cut += 1;
            return;
        }
        self.open = Some(self.spans.len());
        self.spans.push(Span {
            kind,
            iteration: self.iteration,
            step: concerned.then(|| step.line("id", 40)).flatten(),
            at: since(self.began, now),
            ms: None,
            ok: None,
            note,
            turn,
        });
    }

    fn happened(&mut self, fields: &Value, now: i64) {
        let what = fields.at("what");
        let (ok, note) = match fields.at("happened").as_str().unwrap_or_default() {
            "turn-over" => {
                let failed = what.at("result").at("failed").line("why", 300);
                let violations = what.list("violations").len();
                let refused = (violations > 0).then(|| format!("taken back: {violations} findings"));
                let ok = failed.is_none() && violations == 0;
                (Some(ok), failed.or(refused))
            }
            "verified" => (what.at("ok").as_bool(), what.line("reason", 300)),
            "sandbox-failed" | "budget-exhausted" => (Some(false), fields.line("what", 300)),
            "interrupted" => (
                Some(false),
                what.at("signal").as_i64().map(|number| format!("signal {number}")),
            ),
            _ => (None, None),
        };
        self.close(now, ok, note);
    }

    fn close(&mut self, now: i64, ok: Option<bool>, note: Option<String>) {
        let began = self.began;
        if let Some(span) = self.open.take().and_then(|at| self.spans.get_mut(at)) {
            span.ms = Some(since(began, now).saturating_sub(span.at));
            span.ok = ok;
            span.note = match (span.note.take(), note) {
                (Some(first), Some(second)) => Some(format!("{first}; {second}")),
                (first, second) => first.or(second),
            };
        }
    }
}

/// Where a target comes from, where that is no directory of the host.
fn obtained(fields: &Value) -> Option<String> {
    let kind = fields.line("kind", 40).filter(|kind| kind != "directory")?;
    let location = fields.line("location", 400).unwrap_or_default();
    let exact = fields.line("commit", 80).map(|commit| format!(" at {commit}"));
    let exact = exact.or_else(|| fields.line("sha256", 80).map(|digest| format!(", sha256 {digest}")));
    Some(format!("{kind} {location}{}", exact.unwrap_or_default()))
}

/// Milliseconds between two moments; none where the clock was set back.
pub(super) fn since(began: Option<i64>, now: i64) -> u64 {
    u64::try_from(now.saturating_sub(began.unwrap_or(now))).unwrap_or(0)
}
