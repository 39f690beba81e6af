//! The environment of every command that runs for the contract. Nothing of the host's is in it.

use indexmap::IndexMap;

use crate::{names::RunId, policy::Inside};

/// Variables under way to a command: what is set later wins.
#[derive(Clone, Debug)]
pub(super) struct Environment(IndexMap<String, String>);

impl Environment {
    /// What every command finds and a contract may replace.
    pub fn new(inside: &Inside) -> Self {
        let fixed = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", &inside.home),
            ("USER", "agent"),
            ("LOGNAME", "agent"),
            ("SHELL", "/bin/sh"),
            ("TMPDIR", &inside.tmp),
            ("LANG", "C.UTF-8"),
            ("TERM", "dumb"),
            ("CI", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
            ("PYTHONUNBUFFERED", "1"),
        ];
        Self(fixed.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect())
    }

    /// Sets one variable.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Sets all of a map's variables, in order.
    pub fn extend(&mut self, pairs: &[(String, String)]) {
        for (name, value) in pairs {
            self.set(name, value.as_str());
        }
    }

    /// Sets what names the run and cannot be replaced, and gives the whole.
    /// `artifacts` is relative to the workspace.
    pub fn finish(mut self, inside: &Inside, stage: &str, run: &RunId, artifacts: &str) -> Vec<(String, String)> {
        let root = &inside.workspace;
        self.set("AIDER_FSM_STAGE", stage);
        self.set("AIDER_FSM_RUN_ID", run.as_str());
        self.set("AIDER_FSM_REPO_ROOT", root.as_str());
        self.set("AIDER_FSM_ARTIFACTS_DIR", format!("{root}/{artifacts}"));
        self.set("AIDER_FSM_ARTIFACTS_BASE", format!("{root}/.aider_fsm/artifacts"));
        self.0.into_iter().collect()
    }
}
