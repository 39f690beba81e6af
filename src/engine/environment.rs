//! The environment of every command that runs for the contract. Nothing of the
//! host's is in it but what the user grants by name.

use indexmap::IndexMap;

use crate::{
    names::RunId,
    policy::{Inside, Proxy},
    record::Secret,
};

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
        let above = inside.above().map(|above| ("GIT_CEILING_DIRECTORIES", above));
        let all = fixed.into_iter().chain(above);
        let door = inside.proxy.iter().flat_map(Proxy::variables);
        Self(all.map(|(k, v)| (k.to_owned(), v.to_owned())).chain(door).collect())
    }

    /// Sets what the user grants.
    pub fn grant(&mut self, grants: &[(String, Secret)]) {
        for (name, value) in grants {
            self.set(name, value.expose());
        }
    }

    /// Sets one variable unless it is set already.
    pub fn set_default(&mut self, name: &str, value: impl Into<String>) {
        self.0.entry(name.to_owned()).or_insert_with(|| value.into());
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets one variable.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Takes variables away.
    pub fn remove(&mut self, names: &[&str]) {
        self.0.retain(|name, _| !names.contains(&name.as_str()));
    }

    /// Sets all of a map's variables, in order.
    pub fn extend(&mut self, pairs: &[(String, String)]) {
        for (name, value) in pairs {
            self.set(name, value.as_str());
        }
    }

    /// All of it, in order.
    pub fn into_pairs(self) -> Vec<(String, String)> {
        self.0.into_iter().collect()
    }

    /// Sets what names the run and cannot be replaced, and gives the whole. `base`, below
    /// which the run's artifacts lie, and `artifacts`, the verification's own, are
    /// absolute.
    pub fn finish(
        mut self,
        inside: &Inside,
        stage: &str,
        run: &RunId,
        base: &str,
        artifacts: &str,
    ) -> Vec<(String, String)> {
        self.set("AIDER_FSM_STAGE", stage);
        self.set("AIDER_FSM_RUN_ID", run.as_str());
        self.set("AIDER_FSM_REPO_ROOT", inside.workspace.as_str());
        self.set("AIDER_FSM_ARTIFACTS_DIR", artifacts);
        self.set("AIDER_FSM_ARTIFACTS_BASE", base);
        self.into_pairs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_later_wins_and_the_run_is_named_last() {
        let mut env = Environment::new(&Inside::private());
        let grant = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
        env.grant(&[
            grant("TERM", "xterm"),
            grant("TOKEN", "t0ken"),
            grant("AIDER_FSM_PYTHON", "mine"),
        ]);
        env.set_default("AIDER_FSM_PYTHON", "/usr/bin/python3");
        env.set_default("AIDER_FSM_OTHER", "default");
        env.extend(&[
            ("TOKEN".to_owned(), "stage".to_owned()),
            ("AIDER_FSM_RUN_ID".to_owned(), "x".to_owned()),
        ]);
        assert_eq!(env.get("TOKEN"), Some("stage"));
        let run = RunId::fresh();
        let env = env.finish(
            &Inside::private(),
            "tests",
            &run,
            "/workspace/out",
            "/workspace/out/run/verify",
        );
        let value = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(value("TERM"), Some("xterm"));
        assert_eq!(value("AIDER_FSM_PYTHON"), Some("mine"));
        assert_eq!(value("AIDER_FSM_OTHER"), Some("default"));
        assert_eq!(value("AIDER_FSM_RUN_ID"), Some(run.as_str()));
        assert_eq!(value("AIDER_FSM_ARTIFACTS_BASE"), Some("/workspace/out"));
        assert_eq!(value("AIDER_FSM_ARTIFACTS_DIR"), Some("/workspace/out/run/verify"));
        assert_eq!(value("CI"), Some("1"));
    }
}
