//! What was found in a repository, as SARIF.

use serde_json::{Map, Value, json};

use super::{
    findings::{Finding, Level, Rule},
    sarif::{About, log},
};
use crate::{
    policy::shell::Ruling,
    scan::{Kind, Scanned},
};

/// The findings of `policy audit`; `target` and `digest` say of what.
pub fn audit_sarif(scanned: &Scanned, target: &str, digest: &str) -> Value {
    let rules: Vec<Rule> = Kind::ALL.iter().map(|kind| rule(*kind, Level::Note)).collect();
    let found: Vec<Finding> = scanned
        .findings
        .iter()
        .map(|one| Finding {
            rule: rule(one.kind, level(one.verdict)),
            message: format!(
                "{} ({}): {}; {}, {}. {}.",
                one.what,
                one.when,
                one.verdict.name(),
                one.because,
                one.at,
                one.enforced_by
            ),
            file: Some(one.file.clone()),
            line: Some(one.line),
            subject: None,
            evidence: None,
        })
        .collect();
    let mut invocation = Map::new();
    invocation.insert("executionSuccessful".to_owned(), json!(true));
    let about = About {
        version: env!("CARGO_PKG_VERSION"),
        target,
        id: format!("opencode-fsm/policy-audit/{digest}"),
        invocation,
        left_out: scanned.left_out,
    };
    log(&about, &rules, &found)
}

fn rule(kind: Kind, level: Level) -> Rule {
    Rule {
        id: kind.name(),
        name: kind.word(),
        about: kind.about(),
        level,
    }
}

fn level(verdict: Ruling) -> Level {
    match verdict {
        Ruling::Deny => Level::Error,
        Ruling::Undecided => Level::Warning,
        Ruling::Allow => Level::Note,
    }
}
