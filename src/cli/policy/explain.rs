//! `policy explain`: the verdict, the rule and the reason.

use std::io;

use clap::Args;
use serde_json::json;

use super::{
    batch,
    questions::{self, Questions},
};
use crate::{
    engine::{CommandAnswer, EngineError, Stop, explain_command},
    policy::{Policy, shell::Judge},
    record,
    report::{Reporter, escape},
};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("question").required(true))]
pub(in crate::cli) struct ExplainArgs {
    /// A command: one word is a line for the shell, several are a program and its arguments.
    #[arg(last = true, value_name = "CMD", group = "question")]
    command: Vec<String>,
    /// Read one command a line from stdin, each a JSON string, and answer each with one line.
    #[arg(long, group = "question")]
    stdin: bool,
    #[command(flatten)]
    questions: Questions,
    /// The policy on top of the host's own files [default: those alone].
    #[arg(long, value_name = "NAME|FILE")]
    policy: Option<String>,
}

/// Performs `policy explain`.
pub(super) async fn perform(args: &ExplainArgs, reporter: &Reporter, mut stop: Stop) -> Result<u8, EngineError> {
    let policy = Policy::of_host(&record::policy_places(), args.policy.as_deref())?;
    if let Some(answer) = args.questions.answer(&policy)? {
        questions::tell(&answer, reporter);
        return Ok(0);
    }
    if args.stdin {
        let judge = Judge::new(&policy);
        let face = reporter.face();
        let answering = tokio::task::spawn_blocking(move || batch::answer(&judge, io::stdin(), io::stdout(), face));
        // Reading a terminal cannot be interrupted: a signal leaves the reader behind.
        return tokio::select! {
            done = answering => match done {
                Ok(Ok(())) => Ok(0),
                Ok(Err(source)) => Err(EngineError::Io { what: "answer on stdout".to_owned(), source }),
                Err(why) => Err(EngineError::Usage(why.to_string())),
            },
            signal = stop.requested() => Err(EngineError::Interrupted(signal)),
        };
    }
    let answer = explain_command(&policy, &line(&args.command), args.questions.repo.clone());
    reporter.result(&json!(answer), &shown(&answer));
    Ok(0)
}

fn shown(answer: &CommandAnswer) -> String {
    let verdict = &answer.verdict;
    let mut text = format!(
        "{}: {}\n  rule     {}\n  because  {}\n  at       {}",
        verdict.verdict.name(),
        escape(answer.command.as_bytes(), 500),
        verdict.rule,
        escape(verdict.because.as_bytes(), 1000),
        verdict.at,
    );
    if let Some(enforcement) = answer.enforced_by.first() {
        // The same in every back end.
        text.push_str(&format!(
            "\n  so       it {}: {}",
            enforcement.verdict, enforcement.mechanism
        ));
    }
    text
}

/// The command as the shell would be given it.
fn line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_arguments_is_quoted_and_a_line_is_not() {
        let words = |words: &[&str]| line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["a; b"]), "a; b");
        assert_eq!(
            words(&["echo", "a; b", "", "it's", "x=y"]),
            "echo 'a; b' '' 'it'\\''s' x=y"
        );
    }
}
