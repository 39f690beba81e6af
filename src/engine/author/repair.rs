//! One repair of what a contract runs.

use std::fmt::Write as _;

use serde_json::json;

use super::{
    Author, RepairProvenance,
    check::check,
    provenance::{Standing, Written},
    scaffold::{keep_files, told},
};
use crate::{
    engine::{EngineError, TargetOptions, bootstrap::Bootstrap, workspace::Workspace},
    fsm::{self, Blame, RepairFacts},
    guard::{self, Phase},
    report::escape,
};

/// Characters of one file that the agent is shown, and of all together.
const SHOWN: (usize, usize) = (4_000, 30_000);

/// What is to be repaired.
pub(in crate::engine) struct RepairAsked<'a> {
    /// Which repair, from 1, and the most.
    pub number: u32,
    /// The most.
    pub most: u32,
    /// What failed.
    pub failed_stage: &'a str,
    /// Why, in one line.
    pub reason: &'a str,
    /// What was seen, escaped and bounded.
    pub evidence: &'a str,
    /// What came of earlier repairs.
    pub findings: Vec<String>,
}

/// What came of a repair.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// What the agent wrote stays; whether it helps is not known.
    pub kept: bool,
    /// Who failed, where the turn did.
    pub failed: Option<Blame>,
    /// What the next repair is told of this one.
    pub findings: Vec<String>,
    /// No further turn is possible.
    pub exhausted: bool,
}

/// Everything that a repair needs besides its agent.
pub(in crate::engine) struct Repair<'a> {
    pub options: &'a TargetOptions,
    pub bootstrap: Option<&'a Bootstrap>,
    /// The agent's model, as it is shown.
    pub model: String,
    /// Its directory in the run: `repair_01`.
    pub dir: String,
}

impl Repair<'_> {
    /// Takes the turn. What does not hold afterwards is taken back whole.
    pub async fn perform(
        &self,
        asked: RepairAsked<'_>,
        author: &mut Author<'_>,
        workspace: &mut Workspace,
    ) -> Result<Repaired, EngineError> {
        let (before, start) = (Standing::of(workspace)?, workspace.mark());
        let facts = RepairFacts {
            contract_path: self.options.pipeline.to_string(),
            attempt: asked.number,
            attempts: asked.most,
            failed_stage: asked.failed_stage.to_owned(),
            reason: escape(asked.reason.as_bytes(), 1_000),
            evidence: asked.evidence.to_owned(),
            files: files(workspace)?,
            findings: asked.findings,
        };
        let label = format!("repair_contract_attempt_{}", asked.number);
        let prompt = fsm::repair_prompt(&facts)?;
        let taken = author
            .turn(workspace, Phase::Repair, &label, prompt, self.bootstrap)
            .await?;
        author.leave(workspace).await?;
        let after = Standing::of(workspace)?;
        let wrong = check(self.options, workspace, false, false)?;
        let changed = workspace.current().digest() != start.digest();
        let kept = wrong.is_empty() && changed;
        let run = author.witnesses.run;
        keep_files(&format!("{}/files", self.dir), author.witnesses, workspace)?;
        if changed && !kept {
            workspace.return_to(start).await?;
        }
        let failed = taken.failed.as_ref();
        let mut findings = told(failed.map(|failed| failed.why.as_str()), &wrong);
        if !wrong.is_empty() {
            findings.push("that repair was rolled back, because what it left does not hold".to_owned());
        } else if !changed {
            findings.push("that repair changed nothing".to_owned());
        }
        findings.extend(taken.taken_back.iter().map(|back| format!("put back: {back}")));
        let repaired = Repaired {
            kept,
            failed: failed.map(|failed| failed.blame),
            findings,
            exhausted: taken.exhausted.is_some(),
        };
        let turn = Written {
            at: taken.base,
            failed: failed.map(|failed| failed.why.clone()),
            shortcomings: wrong,
            taken_back: taken.taken_back,
            trace: taken.trace,
        };
        let about = (asked.failed_stage.to_owned(), self.model.clone(), kept);
        let provenance = RepairProvenance::new(about, before.until(&after), turn);
        run.write_json(&format!("{}/repair_provenance.json", self.dir), &provenance)?;
        run.journal(
            "repair",
            &json!({
                "at": self.dir, "turn": provenance.turn.at, "failed_stage": asked.failed_stage, "kept": kept,
                "failed": provenance.turn.failed, "wrong": provenance.turn.shortcomings, "files": provenance.files,
            }),
        )?;
        Ok(repaired)
    }
}

/// The contract, its bootstrap and its scripts, as they are shown to the agent.
fn files(workspace: &Workspace) -> Result<String, EngineError> {
    let sets = workspace.sets();
    let scripts = super::lines(workspace)?;
    let stages = format!("{}/stages/", guard::contract_dir());
    let wanted = |text: &str| text.starts_with(&stages) || text.ends_with(".sh") || text.ends_with("bootstrap.yml");
    let own = scripts
        .into_iter()
        .map(|line| line.path)
        .filter(|path| *path != sets.pipeline && wanted(&path.to_string()));
    let mut text = String::new();
    for path in std::iter::once(sets.pipeline.clone()).chain(own) {
        let Some(bytes) = workspace.read(&path, SHOWN.1 as u64)? else {
            continue;
        };
        let shown: String = String::from_utf8_lossy(&bytes)
            .lines()
            .map(|line| escape(line.as_bytes(), 1_000) + "\n")
            .collect();
        let head: String = shown.chars().take(SHOWN.0).collect();
        if text.len() + head.len() > SHOWN.1 {
            text.push_str("… and more\n");
            break;
        }
        let _ = writeln!(text, "### {path}\n{head}");
    }
    Ok(text)
}
