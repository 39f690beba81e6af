//! Attempts at a contract where there is none.

use serde_json::json;

use super::{
    Author, By, Provenance, Scaffold, ScaffoldBy,
    check::check,
    generic,
    pen::Taken,
    provenance::{Standing, Written},
};
use crate::{
    contract::Shortcoming,
    engine::{EngineError, TargetOptions, facts, turns::Witnesses, workspace::Workspace},
    fsm::{self, Attempts, ScaffoldFacts, Then, Tried},
    guard::Phase,
    report::{Happening, escape},
    sandbox::Backend,
};

/// Where the evidence lies in the run.
const DIR: &str = "scaffold";
/// Characters of a failure that the next attempt is told, all lines together.
const TOLD: usize = 3_000;
/// Most files, and the largest, that are kept of an attempt.
const KEPT: (usize, u64) = (200, 256 << 10);

/// A contract that is to be written.
pub(in crate::engine) struct Scaffolding<'a> {
    pub options: &'a TargetOptions,
    pub scaffold: &'a Scaffold,
    pub backend: &'a Backend,
    pub witnesses: Witnesses<'a>,
    /// The agent's model, as it is shown.
    pub model: Option<String>,
    /// Commands that the repository's own texts name.
    pub hints: Vec<String>,
}

/// What came of the agent's attempts.
struct Tries {
    then: Then,
    turns: Vec<Written>,
    last: String,
}

impl Scaffolding<'_> {
    /// Writes a contract into the accepted state: the agent's, or the generic one. From then
    /// on it is the contract, and no agent's to change.
    ///
    /// # Errors
    /// [`EngineError::Scaffold`] where no contract holds.
    pub async fn write(&self, author: Option<&mut Author<'_>>, workspace: &mut Workspace) -> Result<By, EngineError> {
        let before = Standing::of(workspace)?;
        let by = self.scaffold.by;
        let begin = json!({"asked": by, "attempts": self.scaffold.attempts, "model": self.model});
        self.witnesses.run.journal("scaffold", &begin)?;
        let start = workspace.mark();
        let tries = match (by, author) {
            (ScaffoldBy::Nobody, _) => return Err(EngineError::NoContract(self.options.pipeline.clone())),
            (ScaffoldBy::Agent | ScaffoldBy::AgentOrGeneric, Some(author)) => {
                let tries = self.attempts(author, workspace).await;
                author.leave(workspace).await?;
                Some(tries?)
            }
            (ScaffoldBy::Agent, None) => return Err(EngineError::Usage(no_agent())),
            (ScaffoldBy::Generic | ScaffoldBy::AgentOrGeneric, _) => None,
        };
        let whose = match &tries {
            Some(tries) if tries.then == Then::Accept => Some(By::Agent),
            Some(Tries {
                then: Then::Infra(_), ..
            }) => None,
            Some(_) if by == ScaffoldBy::Agent => None,
            _ => {
                workspace.return_to(start).await?;
                self.fall_back(workspace, tries.as_ref()).await?;
                Some(By::Fallback)
            }
        };
        let (turns, failure) = match tries {
            Some(tries) => (tries.turns, (tries.then, tries.last)),
            None => (Vec::new(), (Then::Accept, String::new())),
        };
        let (then, last) = failure;
        let attempts = turns.len();
        let files = before.until(&Standing::of(workspace)?);
        let provenance = Provenance::new((by, whose, self.model.clone()), files, turns);
        let run = self.witnesses.run;
        run.write_json(&format!("{DIR}/scaffold_provenance.json"), &provenance)?;
        run.journal(
            "scaffolded",
            &json!({"by": whose, "attempts": attempts, "files": provenance.files, "summary": provenance.summary}),
        )?;
        let Some(whose) = whose else {
            let blame = match then {
                Then::Infra(blame) => blame,
                _ => fsm::Blame::Agent,
            };
            let text = format!("attempts: {attempts}\nlast_failure: {last}\n");
            run.write(&format!("{DIR}/scaffold_error.txt"), text.as_bytes())?;
            return Err(EngineError::Scaffold {
                attempts,
                why: last,
                blame,
            });
        };
        workspace.contract_stands();
        let text = match whose {
            By::Fallback => "the contract is the generic one, which this program wrote".to_owned(),
            _ => format!("the contract was written by the agent, in {attempts} turns"),
        };
        self.witnesses.reporter.say(Happening::Warning { text });
        Ok(whose)
    }

    async fn fall_back(&self, workspace: &mut Workspace, tries: Option<&Tries>) -> Result<(), EngineError> {
        if let Some(tries) = tries {
            let text = format!(
                "wrote_fallback_pipeline_yml: the agent's contract does not hold: {}\n",
                tries.last
            );
            let path = format!("{DIR}/scaffold_fallback.txt");
            self.witnesses.run.write(&path, text.as_bytes())?;
        }
        let path = &self.options.pipeline;
        workspace.write(self.backend, path, generic::CONTRACT.as_bytes()).await
    }

    async fn attempts(&self, author: &mut Author<'_>, workspace: &mut Workspace) -> Result<Tries, EngineError> {
        let mut attempts = Attempts::new(self.scaffold.attempts);
        let outline = facts::outline(workspace);
        let (mut findings, mut taken_back) = (Vec::new(), Vec::new());
        let mut turns = Vec::new();
        loop {
            let number = attempts.number();
            let facts = ScaffoldFacts {
                contract_path: self.options.pipeline.to_string(),
                require_metrics: self.scaffold.require_metrics,
                attempt: number,
                attempts: attempts.most(),
                hints: self.hints.clone(),
                outline: outline.clone(),
                findings: std::mem::take(&mut findings),
                taken_back: std::mem::take(&mut taken_back),
            };
            let label = format!("scaffold_contract_attempt_{number}");
            let prompt = fsm::scaffold_prompt(&facts)?;
            let taken = author.turn(workspace, Phase::Scaffold, &label, prompt, None).await?;
            let wrong = check(self.options, workspace, self.scaffold.require_metrics, true)?;
            let file = turns.len() + 1;
            self.keep(file, &taken, &wrong, workspace)?;
            let tried = match (&taken.failed, wrong.is_empty()) {
                (_, true) => Tried::Holds,
                (Some(failed), false) => Tried::Failed(failed.blame),
                (None, false) => Tried::Wanting,
            };
            let failed = taken.failed.as_ref().map(|failed| failed.why.clone());
            let last = match (&failed, wrong.first()) {
                (Some(why), _) => format!("agent_error: {why}"),
                (None, Some(first)) if wrong.len() > 1 => format!("{first} (and {} more)", wrong.len() - 1),
                (None, first) => first.map(ToString::to_string).unwrap_or_default(),
            };
            author.note(
                "scaffold-attempt",
                &json!({"attempt": number, "turn": taken.base, "failed": failed, "wrong": wrong}),
            )?;
            let last = escape(last.as_bytes(), TOLD);
            findings = told(failed.as_deref(), &wrong);
            taken_back.clone_from(&taken.taken_back);
            turns.push(Written {
                at: taken.base,
                failed,
                shortcomings: wrong,
                taken_back: taken.taken_back,
                trace: taken.trace,
            });
            let mut then = attempts.tried(tried);
            if let (Then::Again, Some(_)) = (then, taken.exhausted) {
                then = Then::GiveUp;
            }
            if then != Then::Again {
                return Ok(Tries { then, turns, last });
            }
            let text = format!("scaffold attempt {number} does not hold: {last}");
            self.witnesses.reporter.say(Happening::Warning { text });
        }
    }

    /// Keeps what an attempt came to, under the predecessor's names.
    fn keep(
        &self,
        file: usize,
        taken: &Taken,
        wrong: &[Shortcoming],
        workspace: &Workspace,
    ) -> Result<(), EngineError> {
        let run = self.witnesses.run;
        let write = |name: &str, text: String| {
            let path = format!("{DIR}/scaffold_{name}_attempt_{file:02}.txt");
            run.write(&path, text.as_bytes()).map(drop)
        };
        write("agent_result", format!("{}\n", taken.text))?;
        if let Some(failed) = &taken.failed {
            write("agent_error", format!("{}: {}\n", failed.blame, failed.why))?;
        }
        if !wrong.is_empty() {
            let lines: String = wrong.iter().map(|one| format!("{one}\n")).collect();
            write("pipeline_validation_error", lines)?;
        }
        keep_files(&format!("{DIR}/attempt_{file:02}"), self.witnesses, workspace)
    }
}

/// Keeps the contract's files as they are now.
pub(super) fn keep_files(dir: &str, witnesses: Witnesses<'_>, workspace: &Workspace) -> Result<(), EngineError> {
    let changed = workspace.changes().into_iter().filter(|change| change.after.is_some());
    for change in changed.take(KEPT.0) {
        // What is no file of that size is in the record of the turn.
        if let Ok(Some(bytes)) = workspace.read(&change.path, KEPT.1) {
            witnesses.run.write(&format!("{dir}/{}", change.path), &bytes)?;
        }
    }
    Ok(())
}

/// What the next attempt is told of this one, bounded.
pub(super) fn told(failed: Option<&str>, wrong: &[Shortcoming]) -> Vec<String> {
    let failed = failed.map(|why| format!("the turn itself failed: {why}"));
    let mut left = TOLD;
    let mut lines = Vec::new();
    for line in failed.into_iter().chain(wrong.iter().map(ToString::to_string)) {
        let line = escape(line.as_bytes(), 600);
        if line.len() > left {
            lines.push("… and more".to_owned());
            break;
        }
        left -= line.len();
        lines.push(line);
    }
    lines
}

/// Why nobody writes.
fn no_agent() -> String {
    "a contract is to be written by the agent, and no model is named for it: give --model (opencode_model), or take \
     the generic contract (--scaffold-contract generic)"
        .to_owned()
}
