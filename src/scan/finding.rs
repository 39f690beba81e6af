//! What was found.

use schemars::JsonSchema;
use serde::Serialize;

use crate::policy::shell::{Effect, Ruling};

/// One thing that a repository would do or change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// The file, relative to the repository.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
    /// What kind of thing it is.
    pub kind: Kind,
    /// Who does it, and when.
    pub when: String,
    /// What would be done: a command as it is written, or an act in words.
    pub what: String,
    /// What it comes to, as far as its text tells.
    pub effects: Vec<Effect>,
    /// What the policy says of it.
    pub verdict: Ruling,
    /// The rule that decided.
    pub rule: String,
    /// Its reason.
    pub because: String,
    /// Where the rule stands.
    pub at: String,
    /// What enforces it where this program runs the repository.
    pub enforced_by: String,
}

/// Findings by their verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Refused.
    pub deny: u64,
    /// Cannot be told.
    pub undecided: u64,
    /// Nothing is against it.
    pub allow: u64,
}

impl Counts {
    /// Of these findings.
    pub fn of(found: &[Finding]) -> Self {
        let count = |verdict| found.iter().filter(|one| one.verdict == verdict).count() as u64;
        Self {
            deny: count(Ruling::Deny),
            undecided: count(Ruling::Undecided),
            allow: count(Ruling::Allow),
        }
    }
}

/// What enforces what is said of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// The contract is refused before anything runs.
    Contract,
    /// Commands that this program runs itself.
    Command,
    /// Whoever builds or tests, inside.
    Inside,
    /// What only services elsewhere run.
    Elsewhere,
    /// What agents load.
    Agent,
    /// What editors and shells of people run.
    Person,
    /// git's own files.
    Git,
    /// What measures.
    Evidence,
    /// Links.
    Link,
    /// What was not understood.
    Unread,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $name:literal, $means:ident, $about:literal;)*) => {
        /// Kinds of findings. Each is the program of a command with no more than its name, so
        /// that a rule of a policy can be about it: `when: {argv: [git-hook]}`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $name,)*
                }
            }

            /// In one sentence.
            pub fn about(self) -> &'static str {
                match self {
                    $(Kind::$kind => $about,)*
                }
            }

            /// Its name as one word, for SARIF.
            pub fn word(self) -> &'static str {
                match self {
                    $(Kind::$kind => stringify!($kind),)*
                }
            }

            fn means(self) -> Means {
                match self {
                    $(Kind::$kind => Means::$means,)*
                }
            }
        }
    };
}

kinds! {
    /// A contract, bootstrap or list of actions that cannot be read.
    ContractMalformed, "contract-malformed", Contract, "A contract, a bootstrap or a list of actions cannot be read.";
    /// A contract asks for more than the policy allows.
    ContractWidens, "contract-widens", Contract, "A contract asks for more than the policy allows.";
    /// A command of the contract.
    ContractCommand, "contract-command", Command, "A command of a stage of the contract.";
    /// A command of the bootstrap.
    BootstrapCommand, "bootstrap-command", Command, "A command of the bootstrap.";
    /// A variable of the bootstrap.
    BootstrapVariable, "bootstrap-variable", Command, "A variable that the bootstrap gives to all stages.";
    /// An action that waits to be performed.
    Action, "action", Command, "An action that would be performed after a failure.";
    /// A stage script.
    StageScript, "stage-script", Command, "A script that stages run by habit.";
    /// A command of a CI pipeline.
    CiCommand, "ci-command", Elsewhere, "A command of a pipeline of a CI service.";
    /// Code of others that a CI pipeline runs.
    CiForeign, "ci-foreign", Elsewhere, "A CI pipeline runs what others keep.";
    /// Code that an agent loads.
    AgentCode, "agent-code", Agent, "Code that an agent loads into its own process.";
    /// A command that an agent's configuration starts.
    AgentCommand, "agent-command", Agent, "A command that an agent's configuration starts.";
    /// A setting of an agent.
    AgentSetting, "agent-setting", Agent, "A setting that widens what an agent does, or where it sends things.";
    /// Words to an agent.
    AgentInstructions, "agent-instructions", Agent, "Words that agents take for instructions.";
    /// A command that an editor or a shell runs for a person.
    EditorCommand, "editor-command", Person, "A command that an editor or a shell runs for whoever opens the directory.";
    /// How a container for development is started.
    ContainerStart, "container-start", Person, "How a container for development is started.";
    /// A hook that git runs.
    GitHook, "git-hook", Git, "A hook that git runs.";
    /// A setting that makes git run something.
    GitConfig, "git-config", Git, "A setting by which git runs a program, or talks to somebody else.";
    /// An attribute that names a driver.
    GitAttribute, "git-attribute", Git, "An attribute by which git runs a driver, where one of that name is configured.";
    /// A submodule.
    GitSubmodule, "git-submodule", Git, "A repository that git fetches into this one.";
    /// A hook for commits, kept in the tree.
    CommitHook, "commit-hook", Person, "A hook that is kept in the tree, for whoever installs it.";
    /// A program that a build or an installation runs.
    BuildHook, "build-hook", Inside, "A program that a build, an installation or a test run starts with.";
    /// A command of a build.
    BuildCommand, "build-command", Inside, "A command of a build or an installation.";
    /// What an interpreter runs unasked.
    InterpreterStart, "interpreter-start", Inside, "A file that an interpreter runs unasked whenever it starts.";
    /// A test that writes what is to be measured.
    TestWritesEvidence, "test-writes-evidence", Evidence, "A test, or what it loads, writes rewards, metrics or the contract.";
    /// A link that leads out of the tree.
    LinkOutside, "link-outside", Link, "A link that leads out of the repository.";
    /// Something that was not read.
    NotRead, "not-read", Unread, "A file that matters and could not be read or understood.";
}

impl Kind {
    /// What becomes of a finding with this verdict where this program runs the repository.
    pub(super) fn enforced_by(self, verdict: Ruling) -> &'static str {
        match (self.means(), verdict) {
            (Means::Contract, _) => {
                "the contract is refused before anything runs (exit 2, or 10 where it asks for more)"
            }
            (Means::Command, Ruling::Deny) => "the command is refused before it runs (exit code 126)",
            (Means::Command, _) => "runs inside the sandbox, whose walls bound what it can do",
            (Means::Inside, _) => "runs inside the sandbox alone, where a stage or the agent builds or tests",
            (Means::Elsewhere, _) => "nothing here runs it; `guards.protected` keeps the agent from changing it",
            (Means::Agent, _) => {
                "at the top of the tree OpenCode's own and `.claude`, `.agents` are withheld from the agent; nothing here \
                 starts other agents"
            }
            (Means::Person, _) => "nothing here opens editors, shells or containers with it",
            (Means::Git, _) => {
                "no git of this host ever works in the tree; the guard takes back changes of git's files"
            }
            (Means::Evidence, _) => {
                "outputs are taken from the stage that declares them alone; `guards.protected` keeps the agent from \
                 changing tests, and nothing keeps the repository's own from it"
            }
            (Means::Link, _) => "leads nowhere inside, and is not copied out",
            (Means::Unread, _) => "nothing was decided about it",
        }
    }
}
