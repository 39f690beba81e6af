//! What a contract lacks that an agent wrote: read as strictly as any other, and besides
//! whether it says how a target is deployed, rolled out and evaluated, whether the scripts are
//! there that it runs, and whether they can be read.

use std::{cell::RefCell, collections::BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AuditedTree, Bootstrap, Measurement, Pipeline, Stage};
use crate::{
    names::RelPath,
    policy::shell::{self, Scripts, walk},
};

/// Most of what is told of one contract.
const TOLD: usize = 50;
/// Most scripts that are read.
const SCRIPTS: usize = 500;

/// What is demanded of a contract besides its grammar.
#[derive(Clone, Copy, Debug)]
pub struct Demands {
    /// Metrics with `score` and `ok`.
    pub metrics: bool,
    /// No finding of the audit.
    pub audit: bool,
}

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// There is no contract.
    MissingPipelineYml,
    /// The contract, or the bootstrap, cannot be read.
    ParseError,
    /// The contract leaves out what it has to say.
    MissingField,
    /// A script is not there that the contract runs.
    MissingFile,
    /// A script is none.
    ScriptSyntax,
    /// How a score comes about.
    Audit,
    /// The host, or the contract itself, does not allow it.
    Policy,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Shortcoming {
    /// What kind of thing.
    pub want: Want,
    /// In one line that names the file and, where there is one, line and column.
    pub what: String,
}

impl Shortcoming {
    /// With its line.
    pub fn new(want: Want, what: impl Into<String>) -> Self {
        Self {
            want,
            what: what.into(),
        }
    }
}

impl std::fmt::Display for Shortcoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

/// Reads the contract at `path` as it stands in a tree: what it says, where it can be read,
/// and all that is wrong with it. `below` is where contracts keep their scripts.
pub fn shortcomings(
    path: &RelPath,
    bootstrap: &RelPath,
    below: &RelPath,
    tree: &dyn AuditedTree,
    demands: Demands,
) -> (Option<Pipeline>, Vec<Shortcoming>) {
    let Some(text) = tree.read(path, super::MAX_DOCUMENT) else {
        let what = format!(
            "missing_pipeline_yml: there is no `{path}`, or none that is text of at most {} bytes",
            super::MAX_DOCUMENT
        );
        return (None, vec![Shortcoming::new(Want::MissingPipelineYml, what)]);
    };
    let mut found = Vec::new();
    if let Some(text) = tree.read(bootstrap, super::MAX_DOCUMENT)
        && let Err(why) = Bootstrap::parse(bootstrap, text.as_bytes())
    {
        found.push(Shortcoming::new(Want::ParseError, why.to_string()));
    }
    let pipeline = match Pipeline::parse(path, text.as_bytes()) {
        Ok(pipeline) => pipeline,
        Err(why) => {
            found.insert(0, Shortcoming::new(Want::ParseError, why.to_string()));
            return (None, found);
        }
    };
    fields(&pipeline, demands, &mut found);
    files(&pipeline, below, tree, &mut found);
    scripts(below, tree, &mut found);
    if demands.audit {
        let findings = super::audit(&pipeline, tree);
        found.extend(
            findings
                .iter()
                .map(|finding| Shortcoming::new(Want::Audit, finding.to_string())),
        );
    }
    found.truncate(TOLD);
    (Some(pipeline), found)
}

/// The fields that a contract has to fill in.
fn fields(pipeline: &Pipeline, demands: Demands, found: &mut Vec<Shortcoming>) {
    let path = &pipeline.source;
    let mut lacks = |field: &str, why: &str| {
        found.push(Shortcoming::new(Want::MissingField, format!("{path}: {field}: {why}")));
    };
    if pipeline.security.max_cmd.is_none() {
        lacks("security.max_cmd_seconds", "a positive number of seconds is needed");
    }
    let commands = |stage: Option<&Stage>| stage.is_some_and(|stage| !stage.cmds.is_empty());
    let evaluation = pipeline.evaluation.as_ref();
    let generic = [
        pipeline.generic_rollout.is_some(),
        evaluation.is_some_and(|evaluation| evaluation.generic.is_some()),
    ];
    // Stages that need nothing of the repository need nothing deployed.
    if generic != [true, true] && !commands(pipeline.deploy.as_ref().map(|deploy| &deploy.setup)) {
        lacks("deploy.setup_cmds", "at least one command is needed");
    }
    if !generic[0] && !commands(pipeline.rollout.as_ref()) {
        lacks("rollout.run_cmds", "at least one command is needed, or `generic: true`");
    }
    if !generic[1] && !commands(evaluation.map(|evaluation| &evaluation.stage)) {
        lacks(
            "evaluation.run_cmds",
            "at least one command is needed, or `generic: true`",
        );
    }
    if demands.metrics {
        metrics(evaluation, &mut lacks);
    }
}

fn metrics(evaluation: Option<&Measurement>, lacks: &mut dyn FnMut(&str, &str)) {
    if evaluation.is_none_or(|evaluation| evaluation.metrics_path.is_none()) {
        lacks("evaluation.metrics_path", "the metrics file is needed");
    }
    let keys = evaluation.map_or(&[][..], |evaluation| &evaluation.required_keys);
    let missing: Vec<&str> = ["score", "ok"]
        .into_iter()
        .filter(|key| !keys.iter().any(|known| known == key))
        .collect();
    if !missing.is_empty() {
        lacks("evaluation.required_keys", &format!("missing: {}", missing.join(", ")));
    }
}

/// Scripts that commands run, and those that are not there.
struct Followed<'t> {
    tree: &'t dyn AuditedTree,
    missing: RefCell<BTreeSet<RelPath>>,
}

impl Scripts for Followed<'_> {
    fn read(&self, path: &[String]) -> Option<String> {
        let path = RelPath::new(path.join("/")).ok()?;
        let text = self.tree.read(&path, shell::SCRIPT_MAX);
        if text.is_none() {
            self.missing.borrow_mut().insert(path);
        }
        text
    }
}

/// The scripts of the contract's own directory that its commands run and that are not there:
/// what lies elsewhere may be made by an earlier stage.
fn files(pipeline: &Pipeline, below: &RelPath, tree: &dyn AuditedTree, found: &mut Vec<Shortcoming>) {
    let followed = Followed {
        tree,
        missing: RefCell::default(),
    };
    let teardown = pipeline.deploy.as_ref().map(|deploy| &deploy.teardown);
    for stage in pipeline.stages().chain(teardown) {
        let dir = stage.workdir.as_ref().map(ToString::to_string).unwrap_or_default();
        for command in &stage.cmds {
            for seen in walk(command, &dir, Some(&followed)) {
                let named = seen.argv.iter().skip(1).find(|word| !word.starts_with('-'));
                let python = seen.argv.first().is_some_and(|program| program.contains("ython"));
                let joined = match (python, named, dir.is_empty()) {
                    (true, Some(named), true) => named.trim_start_matches("./").to_owned(),
                    (true, Some(named), false) => format!("{dir}/{named}"),
                    (false, ..) | (true, None, _) => continue,
                };
                if let Ok(path) = RelPath::new(joined)
                    && tree.read(&path, shell::SCRIPT_MAX).is_none()
                {
                    followed.missing.borrow_mut().insert(path);
                }
            }
        }
    }
    let missing = followed.missing.into_inner();
    for path in missing.iter().filter(|path| path.starts_with(below)) {
        let what = format!("missing_file: {path}: a command of `{}` runs it", pipeline.source);
        found.push(Shortcoming::new(Want::MissingFile, what));
    }
}

/// Shell scripts of the contract's own directory that cannot be read as such.
fn scripts(below: &RelPath, tree: &dyn AuditedTree, found: &mut Vec<Shortcoming>) {
    let own = tree.files().into_iter().filter(|path| path.starts_with(below));
    for path in own.take(SCRIPTS) {
        let Some(text) = tree.read(&path, shell::SCRIPT_MAX) else {
            continue;
        };
        let first = text.lines().next().unwrap_or_default();
        let shebang = first.starts_with("#!") && (first.ends_with("sh") || first.contains("bash"));
        if !(path.as_bytes().ends_with(b".sh") || shebang) {
            continue;
        }
        if let Err(why) = shell::check(&text) {
            let (line, column) = why.place(&text);
            let what = format!("{path}:{line}:{column}: no shell script: {why}");
            found.push(Shortcoming::new(Want::ScriptSyntax, what));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Files(BTreeMap<RelPath, String>);

    impl AuditedTree for Files {
        fn read(&self, path: &RelPath, most: usize) -> Option<String> {
            self.0.get(path).filter(|text| text.len() <= most).cloned()
        }

        fn files(&self) -> Vec<RelPath> {
            self.0.keys().cloned().collect()
        }
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text).expect("a path")
    }

    fn wrong(files: &[(&str, &str)]) -> Vec<String> {
        let tree = Files(files.iter().map(|(at, text)| (path(at), (*text).to_owned())).collect());
        let demands = Demands {
            metrics: true,
            audit: true,
        };
        let (_, found) = shortcomings(
            &path("pipeline.yml"),
            &path(".aider_fsm/bootstrap.yml"),
            &path(".aider_fsm"),
            &tree,
            demands,
        );
        found.iter().map(ToString::to_string).collect()
    }

    const GOOD: &str = "version: 1\nsecurity: {max_cmd_seconds: 60}\ndeploy: {setup_cmd: bash .aider_fsm/stages/d.sh}\n\
        rollout: {run_cmd: bash .aider_fsm/stages/r.sh}\nevaluation:\n  run_cmd: bash .aider_fsm/stages/e.sh\n  \
        metrics_path: .aider_fsm/metrics.json\n  required_keys: [score, ok]\n";
    const MEASURES: &str = "python3 -m pytest -q > out.txt\npython3 .aider_fsm/stages/score.py out.txt\n";

    fn with<'a>(contract: &'a str, evaluation: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            ("pipeline.yml", contract),
            (".aider_fsm/stages/d.sh", "true\n"),
            (".aider_fsm/stages/r.sh", "echo {} > .aider_fsm/rollout.json\n"),
            (".aider_fsm/stages/e.sh", evaluation),
            (
                ".aider_fsm/stages/score.py",
                "import sys\nprint(open(sys.argv[1]).read())\n",
            ),
        ]
    }

    #[test]
    fn a_whole_contract_lacks_nothing() {
        assert_eq!(wrong(&with(GOOD, MEASURES)), Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        assert!(wrong(&[])[0].starts_with("missing_pipeline_yml: "));
        let found = wrong(&[("pipeline.yml", "version: 1\nstages: {}\n")]);
        assert!(
            found[0].starts_with("pipeline.yml:2:1: unknown key `stages`"),
            "{found:?}"
        );
        let found = wrong(&[("pipeline.yml", "version: 1\ntests: {cmd: 'true'}\n")]);
        let fields = [
            "security.max_cmd_seconds",
            "deploy.setup_cmds",
            "rollout.run_cmds",
            "evaluation.run_cmds",
            "evaluation.metrics_path",
            "evaluation.required_keys: missing: score, ok",
        ];
        for (line, field) in found.iter().zip(fields) {
            assert!(line.starts_with(&format!("pipeline.yml: {field}")), "{found:?}");
        }
        assert_eq!(found.len(), fields.len(), "{found:?}");
        // A script that is not there, called by the shell or by Python.
        let mut files = with(GOOD, MEASURES);
        files.retain(|(at, _)| !at.ends_with("r.sh") && !at.ends_with("score.py"));
        let found = wrong(&files);
        assert!(
            found[0].starts_with("missing_file: .aider_fsm/stages/r.sh"),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("missing_file: .aider_fsm/stages/score.py"),
            "{found:?}"
        );
        // One that is no script, with its place.
        let found = wrong(&with(GOOD, "python3 -m pytest\nif true; then\n  echo x\n"));
        assert!(
            found.iter().any(|line| line.starts_with(".aider_fsm/stages/e.sh:")),
            "{found:?}"
        );
        let found = wrong(&with(
            GOOD,
            "echo '{\"ok\": true, \"score\": 0.9}' > .aider_fsm/metrics.json\n",
        ));
        assert!(
            found
                .iter()
                .any(|line| line.starts_with(".aider_fsm/stages/e.sh:1: hard-coded-score")),
            "{found:?}"
        );
        let mut files = with(GOOD, MEASURES);
        files.push((".aider_fsm/bootstrap.yml", "version: 2\n"));
        assert!(
            wrong(&files)[0].starts_with(".aider_fsm/bootstrap.yml:1:"),
            "{:?}",
            wrong(&files)
        );
    }
}
