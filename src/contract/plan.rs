//! `PLAN.md`: the one document that the agent and the runner both write.

use std::{collections::HashMap, fmt};

use super::{
    MAX_DOCUMENT, Pipeline, StageName,
    plan_lines::{Kind, Line, Section, scan},
};

/// A plan that keeps its text byte for byte.
///
/// A level-two heading whose first word is `Next`, `Backlog`, `Done` or `Notes`
/// opens that section; any level-two heading closes the one before. Fenced code
/// is never read. In Next, Backlog and Done a line that begins with `-` and `[`
/// is a step, `- [ ] (STEP_ID=007) text`; everything else is free text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    text: String,
    pub(super) lines: Vec<Line>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The digits of `STEP_ID=`, as written.
    pub id: String,
    /// What to do; may be empty.
    pub text: String,
}

/// One thing that is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// `plan_too_large`, `plan_not_utf8`, `plan_has_nul`, `unclosed_fence`,
    /// `missing_next_section`, `missing_backlog_section`, `duplicate_section`,
    /// `bad_next_line`, `bad_backlog_line`, `next_count_not_one`,
    /// `next_is_checked` or `duplicate_step_id`.
    pub code: &'static str,
    /// Line, counted from 1; the last line when something is missing.
    pub line: usize,
    /// What is wrong and how to mend it; one line.
    pub message: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {} ({})", self.line, self.message, self.code)
    }
}

/// Everything that is wrong with a plan, in line order; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanErrors(pub Vec<PlanError>);

impl PlanErrors {
    /// One line of text for each finding, for the agent's next prompt.
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(PlanError::to_string).collect()
    }
}

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("; "))
    }
}

impl std::error::Error for PlanErrors {}

/// Most findings reported at once; a hostile plan could hold a hundred thousand.
const ERRORS_MAX: usize = 20;

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// Up to twenty findings; see [`PlanError::code`].
    pub fn parse(text: &[u8]) -> Result<Plan, PlanErrors> {
        let one = |code, line, message: String| Err(PlanErrors(vec![PlanError { code, line, message }]));
        if text.len() > MAX_DOCUMENT {
            return one(
                "plan_too_large",
                1,
                format!("{} bytes; at most {MAX_DOCUMENT} are read", text.len()),
            );
        }
        let line_of = |offset: usize| text[..offset].iter().filter(|b| **b == b'\n').count() + 1;
        let text = match std::str::from_utf8(text) {
            Ok(text) => text,
            Err(error) => {
                return one(
                    "plan_not_utf8",
                    line_of(error.valid_up_to()),
                    "not UTF-8 text".to_owned(),
                );
            }
        };
        if let Some(offset) = text.find('\0') {
            return one("plan_has_nul", line_of(offset), "a NUL character".to_owned());
        }
        let (lines, unclosed) = scan(text);
        let mut errors = check(&lines);
        if let Some(line) = unclosed {
            let message = "this code fence is never closed and hides the rest of the plan".to_owned();
            errors.push(PlanError {
                code: "unclosed_fence",
                line,
                message,
            });
        }
        if !errors.is_empty() {
            errors.sort_by_key(|error| error.line);
            errors.truncate(ERRORS_MAX);
            return Err(PlanErrors(errors));
        }
        Ok(Plan {
            text: text.to_owned(),
            lines,
        })
    }

    /// The first plan of a repository that has none. Its one step asks for a real plan.
    pub fn template(goal: &str, test_cmd: &str, pipeline: Option<&Pipeline>) -> String {
        let goal = one_line(goal);
        let goal = if goal.is_empty() {
            "Make the acceptance commands pass."
        } else {
            &goal
        };
        let mut accept = format!("- [ ] TEST_CMD passes: `{}`\n", one_line(test_cmd));
        for stage in pipeline.iter().flat_map(|pipeline| pipeline.stages()) {
            let name = match stage.name {
                StageName::DeploySetup => "Deploy",
                StageName::Rollout => "Rollout",
                StageName::Evaluation => "Evaluation",
                StageName::Benchmark => "Benchmark",
                _ => continue,
            };
            if !stage.cmds.is_empty() {
                accept.push_str(&format!("- [ ] {name} stage passes\n"));
            }
        }
        let measured = pipeline.map(|pipeline| [&pipeline.evaluation, &pipeline.benchmark]);
        for path in measured
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|m| m.metrics_path.as_ref())
        {
            accept.push_str(&format!("- [ ] Metrics in `{path}` are valid\n"));
        }
        format!(
            "# PLAN\n\n## Goal\n- {goal}\n\n## Acceptance\n{accept}\n## Next (exactly ONE item)\n\
             - [ ] (STEP_ID=001) Read the repository and replace this item by the first real step, \
             with the rest in the backlog\n\n## Backlog\n\n## Done\n- [x] (STEP_ID=000) Write the first plan\n\n\
             ## Notes\n-\n"
        )
    }

    /// The one open step, or `None` when Next is empty.
    pub fn next_step(&self) -> Option<Step> {
        self.open_steps(Section::Next).next()
    }

    /// How many open steps the backlog holds.
    pub fn backlog_open(&self) -> usize {
        self.open_steps(Section::Backlog).count()
    }

    /// The steps as `(next, backlog, done)`: open ones in Next and Backlog, and
    /// all of Done together with what is ticked in the backlog.
    pub fn steps(&self) -> (Vec<Step>, Vec<Step>, Vec<Step>) {
        let finished = |line: &&Line| match line.kind {
            Kind::Step { ticked, .. } => line.section == Section::Done || (ticked && line.section == Section::Backlog),
            _ => false,
        };
        let done = self.lines.iter().filter(finished).filter_map(step_of).collect();
        (
            self.open_steps(Section::Next).collect(),
            self.open_steps(Section::Backlog).collect(),
            done,
        )
    }

    /// The text as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn open_steps(&self, section: Section) -> impl Iterator<Item = Step> {
        self.lines
            .iter()
            .filter(move |line| is_open_step(line, section))
            .filter_map(step_of)
    }
}

/// Whether a line is a step of `section` that is not ticked.
pub(super) fn is_open_step(line: &Line, section: Section) -> bool {
    line.section == section && matches!(line.kind, Kind::Step { ticked: false, .. })
}

fn step_of(line: &Line) -> Option<Step> {
    match &line.kind {
        Kind::Step { id, text, .. } => Some(Step {
            id: id.clone(),
            text: text.clone(),
        }),
        _ => None,
    }
}

/// Text on one line: control characters and runs of space become one space.
pub(super) fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Finds what is wrong with the lines of a plan.
fn check(lines: &[Line]) -> Vec<PlanError> {
    let mut errors = Vec::new();
    let mut report = |code, line, message: String| errors.push(PlanError { code, line, message });
    let mut headings: HashMap<&str, usize> = HashMap::new();
    let mut ids: HashMap<&str, usize> = HashMap::new();
    let mut next_steps = 0;
    for (index, line) in lines.iter().enumerate() {
        let number = index + 1;
        let name = match line.section {
            Section::Next => "Next",
            Section::Backlog => "Backlog",
            Section::Done => "Done",
            Section::Notes | Section::Other => continue,
        };
        match &line.kind {
            Kind::Heading => {
                if let Some(first) = headings.insert(name, number) {
                    report(
                        "duplicate_section",
                        number,
                        format!("`## {name}` stands in line {first} already; join them"),
                    );
                }
            }
            Kind::BadStep if line.section != Section::Done => {
                let code = if line.section == Section::Next {
                    "bad_next_line"
                } else {
                    "bad_backlog_line"
                };
                report(
                    code,
                    number,
                    format!("a step in {name} must read `- [ ] (STEP_ID=<digits>) <text>`"),
                );
            }
            Kind::Step { id, ticked, .. } => {
                if line.section == Section::Next {
                    next_steps += 1;
                    if next_steps > 1 {
                        report(
                            "next_count_not_one",
                            number,
                            "Next holds more than one step; keep one".to_owned(),
                        );
                    } else if *ticked {
                        report(
                            "next_is_checked",
                            number,
                            "the step in Next is ticked; only the runner ticks".to_owned(),
                        );
                    }
                }
                // `7` and `007` are the same step.
                let significant = id.trim_start_matches('0');
                if let Some(first) = ids.insert(significant, number) {
                    let shown = if id.len() > 20 { &id[..20] } else { id };
                    let message =
                        format!("STEP_ID={shown} stands in line {first} already; give this step its own number");
                    report("duplicate_step_id", number, message);
                }
            }
            _ => {}
        }
    }
    for (name, code) in [("Next", "missing_next_section"), ("Backlog", "missing_backlog_section")] {
        if !headings.contains_key(name) {
            report(code, lines.len().max(1), format!("there is no `## {name}` heading"));
        }
    }
    errors
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
