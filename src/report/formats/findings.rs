//! The run as findings: what somebody should look at, with a place where there is one.

use crate::report::reading::{Ending, RunView};

/// Findings of one kind.
const EACH: usize = 200;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Error,
    Warning,
    Note,
}

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub id: &'static str,
    pub name: &'static str,
    pub about: &'static str,
    pub level: Level,
}

const fn rule(id: &'static str, name: &'static str, level: Level, about: &'static str) -> Rule {
    Rule { id, name, about, level }
}

const ENDED: Rule = rule(
    "run-failed",
    "RunFailed",
    Level::Error,
    "The run did not reach its goal.",
);
const VERIFICATION: Rule = rule(
    "verification-failed",
    "VerificationFailed",
    Level::Error,
    "The repository's contract does not hold at the end of the run.",
);
const VIOLATION: Rule = rule(
    "guard-violation",
    "GuardViolation",
    Level::Error,
    "The agent touched what its phase may not; the whole phase was taken back.",
);
const DROPPED: Rule = rule(
    "guard-dropped",
    "GuardDropped",
    Level::Note,
    "A change was taken back and the phase went on.",
);
const REFUSED_COMMAND: Rule = rule(
    "policy-command-refused",
    "PolicyCommandRefused",
    Level::Error,
    "A command of the contract was refused by policy.",
);
const REFUSED_HOST: Rule = rule(
    "policy-host-refused",
    "PolicyHostRefused",
    Level::Warning,
    "Something inside asked for a host that policy does not allow.",
);
const DENIED: Rule = rule(
    "agent-call-denied",
    "AgentCallDenied",
    Level::Note,
    "A tool call of the agent failed or was denied, or a request of it was refused.",
);
const NOT_OUT: Rule = rule(
    "output-refused",
    "OutputRefused",
    Level::Warning,
    "Something was not copied out of the sandbox.",
);

const AUDIT: Rule = rule(
    "audit-finding",
    "AuditFinding",
    Level::Warning,
    "A score may not have come about by a measurement.",
);

/// Every kind.
pub(super) const RULES: [Rule; 9] = [
    ENDED,
    VERIFICATION,
    VIOLATION,
    DROPPED,
    REFUSED_COMMAND,
    REFUSED_HOST,
    DENIED,
    NOT_OUT,
    AUDIT,
];

/// One finding.
pub(super) struct Finding {
    pub rule: Rule,
    pub message: String,
    /// The file that it is about, relative to the target.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// What it is about where that is no file: a host.
    pub subject: Option<String>,
    /// Where the evidence lies, relative to the run's directory.
    pub evidence: Option<String>,
}

/// What the findings of a run are, and how many more there are.
pub(super) fn findings(run: &RunView) -> (Vec<Finding>, u64) {
    let mut all = Collected::default();
    let contract = Some(run.contract.clone()).filter(|path| !path.is_empty());
    let last = run.iterations.iter().rev().find_map(|one| one.verifications.last());
    let last = last.filter(|last| !last.ok);
    // A run without an agent is its verification.
    if run.outcome.ending != Ending::Passed && (run.totals.turns > 0 || last.is_none()) {
        all.push(Finding {
            rule: ENDED,
            message: format!("{}: {}", run.outcome.reason, run.outcome.detail),
            file: contract.clone(),
            line: None,
            subject: None,
            evidence: run.outcome.evidence.clone(),
        });
    }
    if let Some(last) = last {
        let stage = last.failed_stage.as_deref().unwrap_or("verification");
        let reason = last.reason.as_deref().unwrap_or_default();
        all.push(Finding {
            rule: VERIFICATION,
            message: format!("{stage}: {reason}{}", last.metrics_errors.join("; ")),
            file: contract.clone(),
            line: None,
            subject: None,
            evidence: last.evidence.clone(),
        });
    }
    let last = run.iterations.iter().rev().find_map(|one| one.verifications.last());
    for one in last.into_iter().flat_map(|last| &last.audit) {
        all.push(Finding {
            rule: AUDIT,
            message: format!("{}: {}", one.rule, one.text),
            file: Some(one.file.clone()),
            line: usize::try_from(one.line).ok(),
            subject: None,
            evidence: last.map(|last| format!("{}/summary.json", last.directory)),
        });
    }
    for guard in &run.guard {
        for one in &guard.refused {
            let rule = match one.ruling.as_str() {
                "violation" => VIOLATION,
                _ => DROPPED,
            };
            all.push(Finding {
                rule,
                message: format!("{} in {}: {}", one.kind, guard.phase, one.because),
                file: Some(one.path.clone()),
                line: None,
                subject: None,
                evidence: Some(guard.file.clone()),
            });
        }
    }
    for one in run.iterations.iter().flat_map(|one| &one.verifications) {
        for stage in one
            .stages
            .iter()
            .filter(|stage| stage.blame.as_deref() == Some("policy"))
        {
            all.push(Finding {
                rule: REFUSED_COMMAND,
                message: format!("{}: {}", stage.name, stage.reason.as_deref().unwrap_or("refused")),
                file: contract.clone(),
                line: None,
                subject: None,
                evidence: Some(one.directory.clone()),
            });
        }
        for refused in &one.refused {
            all.push(not_out(&refused.path, &refused.why, &one.directory));
        }
    }
    for refused in &run.refused {
        all.push(not_out(&refused.path, &refused.why, "summary.json"));
    }
    let hosts = run.network.iter().flat_map(|network| &network.destinations);
    for host in hosts.filter(|host| host.verdict == "refused") {
        let why = host.why.as_deref().unwrap_or("no rule allows it");
        all.push(Finding {
            rule: REFUSED_HOST,
            message: format!("{} was asked for {} times and refused: {why}", host.host, host.count),
            file: None,
            line: None,
            subject: Some(host.host.clone()),
            evidence: Some("egress.jsonl".to_owned()),
        });
    }
    for turn in run.iterations.iter().flat_map(|one| &one.turns) {
        for text in turn.failed_calls.iter().chain(&turn.refused_asks) {
            all.push(Finding {
                rule: DENIED,
                message: format!("turn {}: {text}", turn.number),
                file: None,
                line: None,
                subject: Some(turn.label.clone()),
                evidence: Some(format!("turns/{:04}-{}.json", turn.number, turn.label)),
            });
        }
    }
    all.found.sort_by_key(|finding| finding.rule.level);
    (all.found, all.more)
}

fn not_out(path: &str, why: &str, evidence: &str) -> Finding {
    Finding {
        rule: NOT_OUT,
        message: why.to_owned(),
        file: Some(path.to_owned()),
        line: None,
        subject: None,
        evidence: Some(evidence.to_owned()),
    }
}

#[derive(Default)]
struct Collected {
    found: Vec<Finding>,
    more: u64,
}

impl Collected {
    fn push(&mut self, finding: Finding) {
        let alike = self.found.iter().filter(|one| one.rule.id == finding.rule.id).count();
        if alike < EACH {
            self.found.push(finding);
        } else {
            self.more += 1;
        }
    }
}
