//! What a contract may run: the host's rules about commands, and the contract's own patterns.
//!
//! What a command can do is decided by the walls. These rules are for the honest
//! mistake (`sudo` in a contract, `rm -rf /`) and for a contract that narrows
//! itself by patterns; they are not a defence against a command that hides.

use std::fmt;

use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shell::{Judge, Ruling, Scripts, Setting, Verdict, WhenUndecided};

/// Most bytes that one compiled pattern may take.
const PATTERN_BYTES: usize = 256 << 10;

/// `security.mode` of a contract, the narrower first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SecurityMode {
    /// Refuses `sudo`, `dd`, `mkfs`, `shutdown`, `reboot` and their like.
    #[default]
    Safe,
    /// Leaves them to the sandbox, where they have no power.
    System,
}

impl fmt::Display for SecurityMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SecurityMode::Safe => "safe",
            SecurityMode::System => "system",
        })
    }
}

/// Why a command is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `empty_command`, `blocked_by_hard_deny`, `blocked_by_default_safe_deny`,
    /// `blocked_by_denylist`, `blocked_by_allowlist`, `blocked_by_undecided` or
    /// `likely_interactive_command_disallowed_in_strict_mode`.
    pub code: &'static str,
    /// The rule that refused it, why, and where it stands; empty where the code says all.
    pub reason: String,
}

/// Displays as the predecessor's text, `blocked_by_denylist: PATTERN`.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason.as_str() {
            "" => f.write_str(self.code),
            reason => write!(f, "{}: {reason}", self.code),
        }
    }
}

fn refusal<T>(code: &'static str, reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        code,
        reason: reason.into(),
    })
}

/// A pattern that is no regular expression, or one too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no pattern: {why}")]
pub struct PatternError {
    /// The pattern as given: hostile text.
    pub pattern: String,
    /// One line about it.
    pub why: String,
}

/// What may run, by the host's rules and a contract's.
#[derive(Clone, Debug)]
pub struct CommandPolicy {
    judge: Judge,
    mode: SecurityMode,
    allow: Vec<Regex>,
    deny: Vec<Regex>,
}

impl CommandPolicy {
    /// Compiles a contract's patterns. They are searched for anywhere in a
    /// command, ignoring case; an empty `allow` allows all.
    ///
    /// # Errors
    /// The first pattern that does not compile (see [`check_pattern`]).
    pub fn new(judge: Judge, mode: SecurityMode, allow: &[String], deny: &[String]) -> Result<Self, PatternError> {
        let compiled = |patterns: &[String]| {
            patterns
                .iter()
                .map(|pattern| compile(pattern))
                .collect::<Result<_, _>>()
        };
        Ok(Self {
            judge,
            mode,
            allow: compiled(allow)?,
            deny: compiled(deny)?,
        })
    }

    /// Whether `command` may run in the directory `dir` of the workspace; `strict` refuses
    /// what would wait for a person. Refusals win over what is allowed; of an allowlist
    /// *every* simple command has to fit a pattern. Gives the verdict of a command that
    /// nobody can decide, and that the policy lets run.
    ///
    /// # Errors
    /// The first rule that refuses it.
    pub fn check(
        &self,
        command: &str,
        dir: &str,
        strict: bool,
        scripts: &dyn Scripts,
    ) -> Result<Option<Verdict>, Refusal> {
        if command.trim().is_empty() {
            return refusal("empty_command", "");
        }
        let setting = Setting {
            mode: self.mode,
            dir,
            scripts: Some(scripts),
        };
        let judged = self.judge.judge(command, &setting);
        let verdict = &judged.verdict;
        let reason = || format!("{}: {}, {}", verdict.rule, verdict.because, verdict.at);
        let denied = verdict.verdict == Ruling::Deny;
        if denied && !judged.only_safe {
            return refusal("blocked_by_hard_deny", reason());
        }
        let found = |pattern: &&Regex| pattern.is_match(command) || judged.any_fits(pattern);
        if let Some(pattern) = self.deny.iter().find(found) {
            return refusal("blocked_by_denylist", pattern.as_str());
        }
        if denied {
            return refusal("blocked_by_default_safe_deny", reason());
        }
        if !self.allow.is_empty() && !judged.all_fit(&self.allow) {
            return refusal("blocked_by_allowlist", "");
        }
        if strict && judged.waits_for_person() {
            return refusal("likely_interactive_command_disallowed_in_strict_mode", "");
        }
        if verdict.verdict == Ruling::Allow {
            return Ok(None);
        }
        match self.judge.undecided() {
            WhenUndecided::Allow => Ok(Some(judged.verdict)),
            WhenUndecided::Deny => refusal("blocked_by_undecided", reason()),
        }
    }
}

/// Checks one pattern without keeping it, for a reader that knows its place in a file.
///
/// # Errors
/// When it is no regular expression of the `regex` crate's syntax, or one that
/// takes too much memory.
pub fn check_pattern(pattern: &str) -> Result<(), PatternError> {
    compile(pattern).map(|_| ())
}

fn compile(pattern: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(pattern)
        .case_insensitive(true)
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(PATTERN_BYTES)
        .nest_limit(64)
        .build()
        .map_err(|why| PatternError {
            pattern: pattern.to_owned(),
            why: one_line(&why),
        })
}

/// The last line of a syntax error says what it is; those before it draw the pattern.
fn one_line(why: &regex::Error) -> String {
    let text = why.to_string();
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
#[path = "commands_tests.rs"]
mod tests;
