//! The run as test cases. Only the last verification counts: what failed on the way there
//! was repaired, and the run as a whole is a case of its own.

use crate::report::reading::{CommandView, Ending, Preview, RunView, StageView, SuiteView, VerificationView};

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    /// The repository or the agent failed.
    Failed,
    /// Something else did: there is no verdict about the repository.
    Broken,
}

/// Cases that belong together.
pub(super) struct Suite {
    pub name: String,
    pub ms: u64,
    pub cases: Vec<Case>,
}

/// One case.
pub(super) struct Case {
    pub name: String,
    pub ms: u64,
    pub verdict: Verdict,
    /// Why it did not pass, in one line.
    pub message: String,
    /// Who failed.
    pub blame: String,
    /// Tries before the last one, which failed.
    pub retries: u64,
    pub stdout: Option<Preview>,
    pub stderr: Option<Preview>,
}

impl Suite {
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|case| case.verdict == verdict).count()
    }
}

/// The suites of a run.
pub(super) fn suites(run: &RunView) -> Vec<Suite> {
    let last = run.iterations.iter().rev().find_map(|one| one.verifications.last());
    let mut suites: Vec<Suite> = last.map(verification).into_iter().collect();
    // A run without an agent is its verification, unless that never came to its end.
    let told = last.is_some_and(|last| last.ok == (run.outcome.ending == Ending::Passed));
    if run.totals.turns > 0 || !told {
        suites.insert(0, whole(run));
    }
    suites
}

fn whole(run: &RunView) -> Suite {
    let ms = run.outcome.ms.unwrap_or(0);
    let verdict = match run.outcome.ending {
        Ending::Passed => Verdict::Passed,
        Ending::Failed => Verdict::Failed,
        Ending::Broken | Ending::Open => Verdict::Broken,
    };
    let case = Case {
        name: "the run reaches its goal".to_owned(),
        ms,
        verdict,
        message: format!("{}: {}", run.outcome.reason, run.outcome.detail),
        blame: run.outcome.blame.clone().unwrap_or_default(),
        retries: 0,
        stdout: None,
        stderr: None,
    };
    Suite {
        name: "run".to_owned(),
        ms,
        cases: vec![case],
    }
}

fn verification(one: &VerificationView) -> Suite {
    let mut cases: Vec<Case> = one.stages.iter().flat_map(stage).collect();
    // Metrics, outputs, the sandbox: what fails and is no command.
    if !one.ok && cases.iter().all(|case| case.verdict == Verdict::Passed) {
        let errors = one.metrics_errors.join("; ");
        let message = one.reason.clone().filter(|reason| !reason.is_empty()).unwrap_or(errors);
        let blame = one.blame.clone().unwrap_or_default();
        cases.push(Case {
            name: one.failed_stage.clone().unwrap_or_else(|| "verification".to_owned()),
            ms: 0,
            verdict: verdict(&blame),
            message,
            blame,
            retries: 0,
            stdout: None,
            stderr: None,
        });
    }
    Suite {
        name: one.directory.clone(),
        ms: one.ms,
        cases,
    }
}

/// The last try of each command.
fn stage(stage: &StageView) -> Vec<Case> {
    let mut last: Vec<&CommandView> = Vec::new();
    for command in &stage.commands {
        match last.last_mut() {
            Some(earlier) if earlier.index == command.index => *earlier = command,
            _ => last.push(command),
        }
    }
    let blame = |command: &CommandView| {
        command
            .blame
            .clone()
            .or_else(|| stage.blame.clone())
            .unwrap_or_default()
    };
    last.into_iter()
        .map(|command| {
            let passed = command.rc == Some(0);
            let rc = command
                .rc
                .map_or_else(|| "an unknown code".to_owned(), |rc| rc.to_string());
            let cap = command
                .cap
                .as_ref()
                .map(|cap| format!(" (cap: {cap})"))
                .unwrap_or_default();
            Case {
                name: format!("{} {}: {}", stage.name, command.index, command.command),
                ms: command.ms,
                verdict: if passed {
                    Verdict::Passed
                } else {
                    verdict(&blame(command))
                },
                message: if passed {
                    String::new()
                } else {
                    format!("exited {rc}{cap}")
                },
                blame: if passed { String::new() } else { blame(command) },
                retries: command.attempt.saturating_sub(1),
                stdout: command.stdout.clone(),
                stderr: command.stderr.clone(),
            }
        })
        .collect()
}

/// The targets of a suite as cases.
pub(super) fn targets(suite: &SuiteView) -> Suite {
    let cases = suite.targets.iter().map(|target| Case {
        name: target.target.clone(),
        ms: target.ms,
        verdict: match target.outcome.as_str() {
            "passed" => Verdict::Passed,
            "failed" => Verdict::Failed,
            _ => Verdict::Broken,
        },
        message: target.error.clone().unwrap_or_default(),
        blame: target.attribution.clone().unwrap_or_default(),
        retries: target.retried,
        stdout: None,
        stderr: None,
    });
    Suite {
        name: "suite".to_owned(),
        ms: suite.targets.iter().map(|target| target.ms).sum(),
        cases: cases.collect(),
    }
}

fn verdict(blame: &str) -> Verdict {
    match blame {
        "" | "verifier" | "agent" => Verdict::Failed,
        _ => Verdict::Broken,
    }
}

/// A preview as one text.
pub(super) fn whole_text(text: &Preview) -> String {
    if text.more == 0 {
        return text.head.clone();
    }
    let file = text.file.as_deref().unwrap_or_default();
    format!("{}\n[{} bytes more in {file}]\n{}", text.head, text.more, text.tail)
}
