//! What the sandbox has of what hints ask for, and what their output says.

use serde_json::{Value, json};

use super::super::session::Session;
use crate::{
    contract::Stage,
    engine::{EngineError, command::CommandResult},
    hints::{
        self, Hint, Surroundings,
        score::{self, NoScore, Score, Stream},
    },
    names::RelPath,
    record::audit::Digest,
    sandbox::Found,
};

/// Says which of its arguments are programs that the shell finds.
const FIND: &str = r#"for name; do command -v -- "$name" >/dev/null 2>&1 && printf '%s\n' "$name"; done; :"#;
/// Says the interpreter's version, and which of its arguments are modules that it finds.
const ASK: &str = "import sys, importlib.util\nprint('%d.%d' % sys.version_info[:2])\nfor name in sys.argv[1:]:\n    try:\n        found = importlib.util.find_spec(name)\n    except Exception:\n        found = None\n    if found:\n        print(name)\n";
/// Bytes of a report that are read.
const REPORT_MAX: u64 = score::OUTPUT_MAX as u64;

impl Session<'_> {
    pub(super) async fn read_score(
        &self,
        command: &str,
        prefix: &str,
        result: &CommandResult,
        reports: &[RelPath],
        said: &mut Value,
    ) -> Result<Result<Score, NoScore>, EngineError> {
        let truncated = [result.stdout_truncated, result.stderr_truncated];
        let mut outputs: Vec<Vec<u8>> = Vec::new();
        for (at, name) in ["stdout", "stderr"].into_iter().enumerate() {
            // The record is what was printed, redacted; of more than it takes there is the end.
            let kept = std::fs::read(self.judge.run.path().join(format!("{prefix}_{name}.txt"))).unwrap_or_default();
            said[format!("{name}_sha256")] = json!(Digest::of(&kept));
            outputs.push(match truncated[at] {
                true => self
                    .judge
                    .run
                    .redact(&String::from_utf8_lossy(&result.tails[at]))
                    .into_bytes(),
                false => kept,
            });
        }
        let streams: Vec<Stream<'_>> = ["stdout", "stderr"]
            .into_iter()
            .enumerate()
            .map(|(at, name)| Stream {
                name,
                bytes: &outputs[at],
                whole: !truncated[at],
            })
            .collect();
        let printed = score::of_output(&streams, &score::formats(command));
        let mut reported: Option<Result<Score, NoScore>> = None;
        for path in reports {
            let Found::File(bytes) = self.sandbox.read(path, REPORT_MAX).await? else {
                continue;
            };
            let bytes = self.judge.run.redact(&String::from_utf8_lossy(&bytes)).into_bytes();
            let ending = if path.as_bytes().ends_with(b".xml") {
                "xml"
            } else {
                "json"
            };
            self.judge.run.write(&format!("{prefix}_report.{ending}"), &bytes)?;
            reported.get_or_insert(score::of_report(&path.to_string(), &bytes));
        }
        Ok(match (printed, reported) {
            (Ok(printed), Some(Ok(reported)))
                if reported.unit != score::Unit::None && printed.score.to_bits() != reported.score.to_bits() =>
            {
                Err(NoScore::Ambiguous(vec![
                    format!("{}: {}", printed.place, printed.summary),
                    format!("{}: {}", reported.place, reported.summary),
                ]))
            }
            (Err(NoScore::NoSummary), Some(reported)) => reported,
            (printed, _) => printed,
        })
    }

    /// What the sandbox has of what hints ask for, with the stage's own variables.
    pub(super) async fn surroundings(&self, stage: &Stage, hints: &[Hint]) -> Result<Surroundings, EngineError> {
        let wanted = hints::wanted(hints);
        let env = self.environment(stage);
        let value = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| env.get(name))
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
        };
        let mut around = Surroundings {
            model: value(&["AIDER_LLM_MODEL", "OPENAI_MODEL"]),
            base_url: value(&["OPENAI_BASE_URL", "OPENAI_API_BASE"]),
            ..Surroundings::default()
        };
        let env = env.finish(
            self.sandbox.inside(),
            stage.name.as_str(),
            self.judge.run.id(),
            &self.base,
            &self.artifacts,
        );
        let ask = ["/bin/sh", "-c", FIND, "sh"];
        let names = wanted.programs.iter().map(String::as_str);
        let found = self
            .ask(&ask.into_iter().chain(names).collect::<Vec<_>>(), env.clone())
            .await?;
        around.programs = found.unwrap_or_default().lines().map(str::to_owned).collect();
        let python = ["python3", "python"]
            .into_iter()
            .find(|name| around.programs.contains(*name));
        if let Some(python) = python {
            let ask = ["/bin/sh", "-c", r#"exec "$@""#, "sh", python, "-c", ASK];
            let names = wanted.modules.iter().map(String::as_str);
            let found = self
                .ask(&ask.into_iter().chain(names).collect::<Vec<_>>(), env)
                .await?
                .unwrap_or_default();
            let mut lines = found.lines().map(str::to_owned);
            around.python_version = lines.next();
            around.modules = lines.collect();
            around.python = Some(python.to_owned());
        }
        Ok(around)
    }
}
