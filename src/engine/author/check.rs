//! What is wrong with a contract that an agent wrote, by its grammar and by what the host allows.

use crate::{
    contract::{self, AuditedTree, Demands, Pipeline, Shortcoming, Want, shortcomings},
    engine::{Audit, EngineError, TargetOptions, Unattended, bootstrap, judge::Accepted, permit, workspace::Workspace},
    guard,
    names::RelPath,
    policy::{
        Isolation,
        shell::{self, SCRIPT_MAX, Scripts},
    },
};

/// Scripts of the accepted state.
struct Own<'w>(Accepted<'w>);

impl Scripts for Own<'_> {
    fn read(&self, path: &[String]) -> Option<String> {
        self.0.read(&RelPath::new(path.join("/")).ok()?, SCRIPT_MAX)
    }
}

/// All that is wrong with the contract of the accepted state. `whole` demands what one that
/// is written anew has to say.
pub(super) fn check(
    options: &TargetOptions,
    workspace: &Workspace,
    metrics: bool,
    whole: bool,
) -> Result<Vec<Shortcoming>, EngineError> {
    let demands = Demands {
        metrics,
        audit: options.audit == Audit::On,
    };
    let tree = Accepted(workspace);
    let (pipeline, mut found) = shortcomings(
        &options.pipeline,
        &bootstrap::path(),
        &guard::contract_dir(),
        &tree,
        demands,
    );
    if !whole {
        // A contract of a person's need not say what one that is written has to.
        found.retain(|wrong| wrong.want != Want::MissingField);
    }
    let Some(pipeline) = pipeline else { return Ok(found) };
    match permit::contract(options, &pipeline) {
        Ok(()) => {}
        Err(EngineError::NotAllowed(widened)) => {
            found.extend(
                widened
                    .iter()
                    .map(|one| Shortcoming::new(Want::Policy, one.to_string())),
            );
        }
        Err(other) => return Err(other),
    }
    if pipeline.verify.isolation.max(options.isolation) == Isolation::Sealed
        && let Some(why) = pipeline.unsealable()
    {
        found.push(Shortcoming::new(Want::Policy, format!("{}: {why}", options.pipeline)));
    }
    commands(options, &pipeline, tree, &mut found)?;
    Ok(found)
}

/// Commands that would be refused.
fn commands(
    options: &TargetOptions,
    pipeline: &Pipeline,
    tree: Accepted<'_>,
    found: &mut Vec<Shortcoming>,
) -> Result<(), EngineError> {
    let judge = shell::Judge::new(&options.policy);
    let policy = pipeline.security.policy(judge);
    let policy = policy.map_err(|why| EngineError::Contract(format!("{}: {why}", pipeline.source)))?;
    let strict = options.unattended == Unattended::Strict;
    let text = tree.read(&pipeline.source, contract::MAX_DOCUMENT).unwrap_or_default();
    let scripts = Own(tree);
    let teardown = pipeline.deploy.as_ref().map(|deploy| &deploy.teardown);
    for stage in pipeline.stages().chain(teardown) {
        let dir = stage.workdir.as_ref().map(ToString::to_string).unwrap_or_default();
        for command in &stage.cmds {
            if let Err(refused) = policy.check(command, &dir, strict, &scripts) {
                let line = contract::line_of(&text, command);
                let what = format!(
                    "{}:{line}: `{}` would be refused: {refused}",
                    pipeline.source, stage.name
                );
                found.push(Shortcoming::new(Want::Policy, what));
            }
        }
    }
    Ok(())
}
