//! A contract that is written before the loop of a run begins.

use std::time::Instant;

use super::{Author, Ledgers, ScaffoldBy, Scaffolding};
use crate::{
    agent::AgentConfig,
    broker::ModelDoor,
    engine::{
        EngineError, RunOptions, Stop, answers,
        site::{self, Site},
        turns::Witnesses,
        workspace::Workspace,
    },
    fsm::Blame,
    report::Reporter,
};

/// What it needs of the run.
pub(in crate::engine) struct OfRun<'a> {
    pub options: &'a RunOptions,
    pub site: &'a Site,
    pub reporter: &'a Reporter,
    pub door: &'a ModelDoor,
    pub config: &'a AgentConfig,
    pub deadline: Instant,
}

/// Writes it, by the agent and the model of the run.
///
/// # Errors
/// As [`Scaffolding::write`]; when a signal came or the run's time is used up.
pub(in crate::engine) async fn of_run(
    run: &OfRun<'_>,
    workspace: &mut Workspace,
    ledgers: &mut Ledgers,
    stop: &mut Stop,
) -> Result<(), EngineError> {
    let witnesses = Witnesses {
        run: &run.site.run,
        reporter: run.reporter,
    };
    let scaffold = &run.options.scaffold;
    let asks = scaffold.by != ScaffoldBy::Generic;
    let scaffolding = Scaffolding {
        options: &run.options.target,
        scaffold,
        backend: &run.site.backend,
        witnesses,
        model: asks.then(|| run.options.model.to_string()),
        hints: site::documented(workspace),
    };
    let config = AgentConfig {
        bash: scaffold.bash,
        ..run.config.clone()
    };
    let (place, door) = ((&run.site.backend, witnesses), (run.door, answers::LEDGER));
    let mut author = Author::new(place, door, run.options.outside.as_ref(), config, ledgers);
    let author = asks.then_some(&mut author);
    let written = tokio::select! {
        biased;
        signal = stop.requested() => Err(EngineError::Interrupted(signal)),
        () = tokio::time::sleep_until(run.deadline.into()) => Err(EngineError::Scaffold {
            attempts: 0,
            why: "the run's wall time is used up".to_owned(),
            blame: Blame::Budget,
        }),
        written = scaffolding.write(author, workspace) => written,
    };
    workspace.close_agent().await?;
    if let Err(why) = written {
        run.site.run.settle()?;
        return Err(why);
    }
    Ok(())
}
