//! The two edits that the runner makes to a plan: a step was done, a step is blocked.

use super::{
    plan::{Plan, is_open_step, one_line},
    plan_lines::{Kind, Line, Section},
};

/// Longest reason written into Notes, in characters.
const WHY_MAX: usize = 500;

impl Plan {
    /// The text after the step in Next was done: ticked and moved to the end of
    /// the steps in Done (which is added where it is missing), and the first open
    /// backlog item promoted to Next. Lines that belong to a step move with it;
    /// no other line changes. With an empty Next only the promotion happens.
    pub fn mark_done(&self) -> String {
        let mut draft = Draft::of(self);
        if let Some(mut step) = draft.advance() {
            tick(&mut step[0]);
            draft.append_step(Section::Done, "Done", step);
        }
        draft.text()
    }

    /// The text after the step in Next turned out to be blocked: a line in Notes
    /// (added where it is missing) says which, `why` and what it was, and the
    /// first open backlog item is promoted. With an empty Next only the promotion
    /// happens.
    pub fn block(&self, why: &str) -> String {
        let mut draft = Draft::of(self);
        if let Some(mut step) = draft.advance() {
            if let Kind::Step { id, text, .. } = &step[0].kind {
                let why: String = one_line(why).chars().take(WHY_MAX).collect();
                let about = if text.is_empty() {
                    String::new()
                } else {
                    format!(" (step: {text})")
                };
                step[0].raw = format!("- Blocked (STEP_ID={id}): {why}{about}{}", draft.ending);
            }
            draft.append_note(step);
        }
        draft.text()
    }
}

/// Lines on their way to a new text.
struct Draft {
    lines: Vec<Line>,
    /// The line ending of the document.
    ending: &'static str,
    /// Whether the document ended with a line ending.
    ended: bool,
}

impl Draft {
    fn of(plan: &Plan) -> Self {
        let ending = if plan.lines.first().is_some_and(|line| line.raw.ends_with("\r\n")) {
            "\r\n"
        } else {
            "\n"
        };
        let mut lines = plan.lines.clone();
        let mut ended = true;
        if let Some(last) = lines.last_mut()
            && !last.raw.ends_with('\n')
        {
            ended = false;
            last.raw.push_str(ending);
        }
        Self { lines, ending, ended }
    }

    /// Takes the step out of Next and puts the first open backlog item in its
    /// place, or under the heading where Next was empty.
    fn advance(&mut self) -> Option<Vec<Line>> {
        let former = self.take_open(Section::Next);
        if let Some((from, step)) = self.take_open(Section::Backlog) {
            let at = match &former {
                // The lines taken from the backlog shift what stands below them.
                Some((place, _)) if from < *place => place - step.len(),
                Some((place, _)) => *place,
                None => self.heading(Section::Next, "Next") + 1,
            };
            self.insert(at, Section::Next, step);
        }
        former.map(|(_, step)| step)
    }

    /// Takes the first open step of a section out, with its continuation lines and the index where it stood.
    fn take_open(&mut self, section: Section) -> Option<(usize, Vec<Line>)> {
        let start = self.lines.iter().position(|line| is_open_step(line, section))?;
        let end = self.end_of_step(start);
        Some((start, self.lines.drain(start..end).collect()))
    }

    /// The index behind the step at `start` and what belongs to it.
    fn end_of_step(&self, start: usize) -> usize {
        let rest = &self.lines[start + 1..];
        start + 1 + rest.iter().take_while(|line| line.kind == Kind::Continuation).count()
    }

    /// Puts a step behind the last step of a section, or directly under its heading.
    fn append_step(&mut self, section: Section, name: &str, step: Vec<Line>) {
        let heading = self.heading(section, name);
        let last = self
            .lines
            .iter()
            .rposition(|line| line.section == section && matches!(line.kind, Kind::Step { .. }));
        let at = last.map_or(heading + 1, |last| self.end_of_step(last));
        self.insert(at, section, step);
    }

    /// Puts lines behind the last line of Notes that is not blank.
    fn append_note(&mut self, note: Vec<Line>) {
        let heading = self.heading(Section::Notes, "Notes");
        let filled = |line: &Line| line.section == Section::Notes && !line.raw.trim().is_empty();
        let at = self.lines.iter().rposition(filled).unwrap_or(heading) + 1;
        self.insert(at, Section::Notes, note);
    }

    /// The index of a section's heading, added at the end of the document where it is missing.
    fn heading(&mut self, section: Section, name: &str) -> usize {
        let found = self
            .lines
            .iter()
            .position(|line| line.section == section && line.kind == Kind::Heading);
        found.unwrap_or_else(|| {
            let blank = Line {
                raw: self.ending.to_owned(),
                section: Section::Other,
                kind: Kind::Text,
            };
            let raw = format!("## {name}{}", self.ending);
            self.lines.extend([
                blank,
                Line {
                    raw,
                    section,
                    kind: Kind::Heading,
                },
            ]);
            self.lines.len() - 1
        })
    }

    fn insert(&mut self, at: usize, section: Section, mut lines: Vec<Line>) {
        for line in &mut lines {
            line.section = section;
        }
        self.lines.splice(at..at, lines);
    }

    fn text(self) -> String {
        let mut text: String = self.lines.into_iter().map(|line| line.raw).collect();
        if !self.ended && text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        text
    }
}

/// Ticks a step's box and leaves the rest of its line alone.
fn tick(line: &mut Line) {
    if let Kind::Step { ticked, tick_at, .. } = &mut line.kind {
        line.raw.replace_range(tick_at.clone(), "x");
        *ticked = true;
    }
}
