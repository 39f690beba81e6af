//! What the rules about commands say of one, and what comes of that.

use std::path::PathBuf;

use serde::Serialize;

use super::{Enforcement, in_each};
use crate::policy::{
    Policy,
    shell::{Judge, Ruling, SCRIPT_MAX, Scripts, Setting, Verdict, WhenUndecided},
};

/// The answer about a command.
#[derive(Clone, Debug, Serialize)]
pub struct CommandAnswer {
    /// The command.
    pub command: String,
    /// The verdict, the rule, why and where.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What comes of it in each back end.
    pub enforced_by: Vec<Enforcement>,
}

/// A repository on this host, whose scripts are read where a command runs them.
struct Repository(PathBuf);

impl Scripts for Repository {
    fn read(&self, path: &[String]) -> Option<String> {
        let root = self.0.canonicalize().ok()?;
        // No link leads out, and nothing but a file of a bounded length is opened.
        let file = root.join(path.join("/")).canonicalize().ok()?;
        let about = file.metadata().ok()?;
        let fits = about.is_file() && usize::try_from(about.len()).is_ok_and(|length| length <= SCRIPT_MAX);
        (file.starts_with(&root) && fits).then(|| std::fs::read_to_string(file).ok())?
    }
}

/// What a policy says of a command line that runs in the root of a repository.
pub fn explain_command(policy: &Policy, command: &str, repository: Option<PathBuf>) -> CommandAnswer {
    let judge = Judge::new(policy);
    let repository = repository.map(Repository);
    let setting = Setting {
        scripts: repository.as_ref().map(|repository| repository as &dyn Scripts),
        ..Setting::default()
    };
    let verdict = judge.judge(command, &setting).verdict;
    let (comes, mechanism) = match (verdict.verdict, judge.undecided()) {
        (Ruling::Allow, _) => ("runs", "the walls of the sandbox bound what it can do"),
        (Ruling::Undecided, WhenUndecided::Allow) => (
            "runs, and is recorded as undecided",
            "the walls of the sandbox bound what it can do",
        ),
        (Ruling::Undecided, WhenUndecided::Deny) | (Ruling::Deny, _) => (
            "is refused (exit code 126)",
            "the rules about commands, before it is given to the sandbox",
        ),
    };
    CommandAnswer {
        command: command.to_owned(),
        verdict,
        enforced_by: in_each(|_| (comes.to_owned(), mechanism.to_owned())),
    }
}
