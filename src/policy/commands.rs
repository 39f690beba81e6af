//! Verdicts on shell commands: a word of warning before the sandbox, never instead of it.
//!
//! What a command can do is decided by the walls. These rules are for the honest
//! mistake (`sudo` in a contract, `rm -rf /`) and for a contract that narrows
//! itself by patterns; they are not a defence against a command that hides.

use std::fmt;

use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words::{self, Simple};

/// Most bytes that one compiled pattern may take.
const PATTERN_BYTES: usize = 256 << 10;

/// Recursive-force removal of one of these is never run.
const ROOTS: [&str; 4] = ["/", "/*", "~", "$HOME"];
/// The classic fork bomb, without blanks.
const FORK_BOMB: &str = ":(){:|:&};:";
/// Programs, each with its leading arguments, that [`SecurityMode::Safe`] refuses.
const UNSAFE: [&[&str]; 8] = [
    &["sudo"],
    &["brew", "uninstall"],
    &["docker", "system", "prune"],
    &["docker", "volume", "prune"],
    &["mkfs"],
    &["dd"],
    &["shutdown"],
    &["reboot"],
];

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
    /// `blocked_by_denylist`, `blocked_by_allowlist` or
    /// `likely_interactive_command_disallowed_in_strict_mode`.
    pub code: &'static str,
    /// The rule that refused it; empty where the code says all.
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

/// What may run, by the command's text.
#[derive(Clone, Debug)]
pub struct CommandPolicy {
    mode: SecurityMode,
    allow: Vec<Regex>,
    deny: Vec<Regex>,
}

impl CommandPolicy {
    /// Compiles a contract's rules. Patterns are searched for anywhere in a
    /// command, ignoring case; an empty `allow` allows all.
    ///
    /// # Errors
    /// The first pattern that does not compile (see [`check_pattern`]).
    pub fn new(mode: SecurityMode, allow: &[String], deny: &[String]) -> Result<Self, PatternError> {
        let compiled = |patterns: &[String]| {
            patterns
                .iter()
                .map(|pattern| compile(pattern))
                .collect::<Result<_, _>>()
        };
        Ok(Self {
            mode,
            allow: compiled(allow)?,
            deny: compiled(deny)?,
        })
    }

    /// Whether `command` may run. Refusals win over what is allowed.
    ///
    /// # Errors
    /// The first rule that refuses it.
    pub fn check(&self, command: &str) -> Result<(), Refusal> {
        if command.trim().is_empty() {
            return refusal("empty_command", "");
        }
        let script = words::split(command);
        if let Some(rule) = hard_deny(&script) {
            return refusal("blocked_by_hard_deny", rule);
        }
        if let Some(pattern) = self.deny.iter().find(|pattern| pattern.is_match(command)) {
            return refusal("blocked_by_denylist", pattern.as_str());
        }
        if self.mode == SecurityMode::Safe
            && let Some(rule) = UNSAFE
                .iter()
                .find(|rule| script.commands.iter().any(|command| runs(command, rule)))
        {
            return refusal("blocked_by_default_safe_deny", rule.join(" "));
        }
        if !self.allow.is_empty() && !self.allow.iter().any(|pattern| pattern.is_match(command)) {
            return refusal("blocked_by_allowlist", "");
        }
        Ok(())
    }

    /// Whether `command` would wait for a person: refused in strict unattended mode.
    pub fn interactive(&self, command: &str) -> Option<Refusal> {
        let asks = |command: &Simple| {
            let has = |options: &[&str]| {
                let named = |word: &str| options.contains(&word.split('=').next().unwrap_or_default());
                command.words.iter().any(|word| named(word))
            };
            (runs(command, &["docker", "login"]) && !has(&["-p", "--password", "--password-stdin"]))
                || (runs(command, &["gh", "auth", "login"]) && !has(&["--with-token"]))
        };
        words::split(command).commands.iter().any(asks).then(|| Refusal {
            code: "likely_interactive_command_disallowed_in_strict_mode",
            reason: String::new(),
        })
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

fn hard_deny(script: &words::Script) -> Option<String> {
    if script.bare.contains(FORK_BOMB) {
        return Some("fork bomb".to_owned());
    }
    script.commands.iter().find_map(|command| {
        let [program, rest @ ..] = command.words.as_slice() else {
            return None;
        };
        if name_of(program) != "rm" {
            return None;
        }
        let option = |letters: &[char], long: &str| {
            rest.iter()
                .any(|word| word == long || (is_short(word) && word.contains(letters)))
        };
        let target = rest.iter().find_map(|word| root_of(word))?;
        (option(&['r', 'R'], "--recursive") && option(&['f'], "--force")).then(|| format!("rm -rf {target}"))
    })
}

/// The root that `word` is another spelling of: `//`, `/./`, `~/`, `${HOME}`.
fn root_of(word: &str) -> Option<&'static str> {
    let plain = word.replace("${HOME}", "$HOME").replace("/.", "/");
    let trimmed = plain.trim_end_matches('/');
    ROOTS.into_iter().find(|root| match *root {
        "/" => trimmed.is_empty() && plain.starts_with('/'),
        "/*" => trimmed.trim_start_matches('/') == "*" && plain.starts_with('/'),
        root => trimmed == root,
    })
}

fn is_short(word: &str) -> bool {
    word.starts_with('-') && !word.starts_with("--")
}

/// Whether a simple command is `rule`: its program by its last name, then its
/// first arguments that are no options. `mkfs` stands for `mkfs.ext4` too.
fn runs(command: &Simple, rule: &[&str]) -> bool {
    let Some((program, arguments)) = command.words.split_first() else {
        return false;
    };
    let Some((wanted, rest)) = rule.split_first() else {
        return false;
    };
    let name = name_of(program);
    let same = name == *wanted || (*wanted == "mkfs" && name.starts_with("mkfs."));
    let mut given = arguments.iter().filter(|word| !word.starts_with('-'));
    same && rest.iter().all(|word| given.next().is_some_and(|given| given == word))
}

fn name_of(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

#[cfg(test)]
#[path = "commands_tests.rs"]
mod tests;
