//! The agents that write and repair the contract of a target that is open.

use super::OpenTarget;
use crate::{
    agent::{self, AgentConfig},
    broker::{ModelDoor, Usage},
    engine::{
        Authoring, EngineError, Repaired, ScaffoldBy, Scribe, Stop, TargetOptions,
        answers::{self, DoorTo},
        author::{Author, Ledgers, Repair, RepairAsked, Scaffolding},
        bootstrap::{self, Bootstrap},
        site::{self, Site},
        turns::Witnesses,
        workspace::{Mark, Workspace},
    },
    record::Secret,
    report::Reporter,
};

/// The ledger and the answers of an agent that writes, and of one that repairs.
const WRITER: (&str, &str) = ("agent.jsonl", "cassette.jsonl");
const REPAIRER: (&str, &str) = ("repair.jsonl", "repair_cassette.jsonl");

/// What a repair is about.
#[derive(Clone, Debug)]
pub struct RepairOf<'a> {
    /// Which repair, from 1, and the most.
    pub number: u32,
    /// The most.
    pub most: u32,
    /// What failed.
    pub failed_stage: &'a str,
    /// Why, in one line.
    pub reason: &'a str,
    /// What was seen besides what the stages printed, escaped and bounded.
    pub seen: &'a str,
    /// What came of earlier repairs.
    pub findings: Vec<String>,
}

/// The contract as it stands at one time, to return to.
#[derive(Clone)]
pub struct ContractMark(Mark);

/// An agent that repairs, and its door.
pub(super) struct Repairer {
    door: ModelDoor,
    config: AgentConfig,
    model: String,
}

impl Repairer {
    /// Closes its door.
    pub fn close(self) -> Result<Usage, EngineError> {
        Ok(self.door.close()?)
    }
}

/// Sees to it that there is a contract: writes one where there is none, as is asked.
pub(super) async fn scaffold(
    (options, site, reporter): (&TargetOptions, &Site, &Reporter),
    authoring: &Authoring,
    workspace: &mut Workspace,
    ledgers: &mut Ledgers,
    stop: &mut Stop,
) -> Result<(), EngineError> {
    if authoring.scaffold.by == ScaffoldBy::Nobody || !site::lacks_contract(options, workspace) {
        return Ok(());
    }
    let witnesses = Witnesses {
        run: &site.run,
        reporter,
    };
    let asks = authoring.scaffold.by != ScaffoldBy::Generic;
    let writer = authoring.writer.as_ref().filter(|_| asks);
    let scaffolding = Scaffolding {
        options,
        scaffold: &authoring.scaffold,
        backend: &site.backend,
        witnesses,
        model: writer.map(|writer| writer.model.to_string()),
        hints: site::documented(workspace),
    };
    let Some(writer) = writer else {
        return scaffolding.write(None, workspace).await.map(drop);
    };
    let (door, config) = engage(writer, (options, site, reporter), workspace, WRITER)?;
    let written = {
        let mut author = Author::new((&site.backend, witnesses), (&door, WRITER.0), None, config, ledgers);
        tokio::select! {
            written = scaffolding.write(Some(&mut author), workspace) => written,
            signal = stop.requested() => Err(EngineError::Interrupted(signal)),
        }
    };
    workspace.close_agent().await?;
    door.close()?;
    written.map(drop)
}

/// The door and the settings of an agent; its executable shows in its sandboxes from now on.
fn engage(
    scribe: &Scribe,
    (options, site, reporter): (&TargetOptions, &Site, &Reporter),
    workspace: &mut Workspace,
    (ledger, cassette): (&str, &str),
) -> Result<(ModelDoor, AgentConfig), EngineError> {
    answers::is_reached(options, &scribe.model)?;
    let found = agent::find_binary(scribe.opencode_bin.as_deref())?;
    workspace.furnish(agent::mounts(&agent::reachable(&found)?, site.scratch.path())?);
    let door_key = Secret::new(uuid::Uuid::new_v4().simple().to_string());
    let secrets: Vec<Secret> = scribe.api_key.iter().chain([&door_key]).cloned().collect();
    site.run.hide(&secrets);
    reporter.hide(&secrets);
    let door = answers::open_door_to(
        DoorTo {
            model: &scribe.model,
            api_key: scribe.api_key.as_ref(),
            budgets: (scribe.run_budget, scribe.turn_budget),
            ledger,
            cassette,
        },
        door_key.clone(),
        &site.run,
        None,
    )?;
    let config = AgentConfig {
        bash: scribe.bash,
        plan: workspace.sets().plan.clone(),
        pipeline: options.pipeline.clone(),
        contract: workspace.sets().contract.clone(),
        turn_wall: scribe.turn_wall,
        stall: scribe.stall,
        logs: site.run.path().join("agent"),
        env: Vec::new(),
        outside_model: None,
        door_key,
    };
    Ok((door, config))
}

impl OpenTarget {
    /// Whether somebody can repair what the contract runs.
    pub fn can_repair(&self) -> bool {
        self.authoring.repairer.is_some()
    }

    /// Whether the contract runs anything that could be repaired: the generic one does not.
    pub fn runs_scripts(&self) -> bool {
        self.ground.pipeline.stages().any(|stage| !stage.cmds.is_empty())
    }

    /// Whether the contract was written in this run.
    pub fn is_scaffolded(&self) -> bool {
        !self
            .workspace
            .base()
            .manifest
            .contains_key(&self.ground.options.pipeline)
    }

    /// The contract as it stands.
    pub fn mark(&self) -> ContractMark {
        ContractMark(self.workspace.mark())
    }

    /// Returns to a contract as it stood.
    ///
    /// # Errors
    /// When the record cannot be kept.
    pub async fn return_to(&mut self, mark: ContractMark) -> Result<(), EngineError> {
        self.release().await?;
        self.workspace.return_to(mark.0).await?;
        self.ground.bootstrap = Bootstrap::of(&self.workspace, &self.ground.options)?;
        self.ground.site.run.journal(
            "contract-restored",
            &serde_json::json!({"why": "what came after it passed less"}),
        )?;
        Ok(())
    }

    /// Lets the agent repair what the contract runs, once; `None` where nobody can. Whatever
    /// sandbox is held ends before.
    ///
    /// # Errors
    /// When no sandbox can be built, the door cannot be opened, or the record cannot be kept.
    pub async fn repair(&mut self, of: RepairOf<'_>) -> Result<Option<Repaired>, EngineError> {
        let Some(scribe) = &self.authoring.repairer else {
            return Ok(None);
        };
        if let Some(held) = self.held.take() {
            held.end().await?;
        }
        let about = (&self.ground.options, &self.ground.site, &self.ground.reporter);
        if self.repairer.is_none() {
            let (door, config) = engage(scribe, about, &mut self.workspace, REPAIRER)?;
            let model = scribe.model.to_string();
            self.repairer = Some(Repairer { door, config, model });
        }
        // It stays where it is: whoever gives the wait up finds its door open the next time.
        let Some(repairer) = &self.repairer else {
            return Ok(None);
        };
        self.repairs += 1;
        let last = self.last.as_ref().map(|last| last.evidence.text.as_str());
        let evidence = [last.unwrap_or_default(), of.seen].join("\n");
        let asked = RepairAsked {
            number: of.number,
            most: of.most,
            failed_stage: of.failed_stage,
            reason: of.reason,
            evidence: &evidence,
            findings: of.findings,
        };
        let repair = Repair {
            options: &self.ground.options,
            bootstrap: self.ground.bootstrap.as_ref(),
            model: repairer.model.clone(),
            dir: format!("repair_{:02}", self.repairs),
        };
        let prepared = self
            .workspace
            .read(&bootstrap::path(), crate::contract::MAX_DOCUMENT as u64)?;
        let witnesses = Witnesses {
            run: &self.ground.site.run,
            reporter: &self.ground.reporter,
        };
        let (door, config) = ((&repairer.door, REPAIRER.0), repairer.config.clone());
        let mut author = Author::new(
            (&self.ground.site.backend, witnesses),
            door,
            None,
            config,
            &mut self.ledgers,
        );
        let repaired = repair.perform(asked, &mut author, &mut self.workspace).await?;
        if repaired.kept {
            let now = self
                .workspace
                .read(&bootstrap::path(), crate::contract::MAX_DOCUMENT as u64)?;
            if now != prepared {
                self.workspace.leave_bootstrap().await?;
            }
            self.ground.bootstrap = Bootstrap::of(&self.workspace, &self.ground.options)?;
        }
        Ok(Some(repaired))
    }
}
