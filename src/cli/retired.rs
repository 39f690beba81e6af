//! Flags of the predecessor that this program does not take, or not yet: each is known, and refused with its reason.

use clap::Args;

use crate::engine::EngineError;

/// What stands in for `--ensure-kind` and its like.
const NO_TOOLS: &str = "the runner installs nothing on the host; \
                        what stages need comes from `.aider_fsm/bootstrap.yml`, what a failure asks for from \
                        `.aider_fsm/actions.yml`, both inside the sandbox (docs/bootstrap_spec.md)";
/// What stands in for `--scaffold-contract` and its like.
const NO_SCAFFOLD: &str = "contracts written by the agent come with a later version; \
                           write one with `opencode-fsm init`";

/// Removed and future flags of the main loop.
#[derive(Debug, Args)]
pub(super) struct RetiredArgs {
    #[arg(long, hide = true)]
    ensure_tools: bool,
    #[arg(long, hide = true)]
    ensure_kind: bool,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    kind_name: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    kind_config: Option<String>,
    #[arg(long, hide = true)]
    full_quickstart: bool,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    scaffold_contract: Option<String>,
    #[arg(long, hide = true)]
    scaffold_require_metrics: bool,
    #[arg(long, hide = true)]
    no_scaffold_require_metrics: bool,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    scaffold_opencode_bash: Option<String>,
}

impl RetiredArgs {
    /// # Errors
    /// The first such flag that was given, with its reason and what to do instead.
    /// `--scaffold-contract off` asks for nothing and is taken.
    pub fn refuse(&self) -> Result<(), EngineError> {
        let scaffold = self.scaffold_contract.as_deref().is_some_and(|mode| mode != "off");
        let flags = [
            ("--ensure-tools", self.ensure_tools, NO_TOOLS),
            ("--ensure-kind", self.ensure_kind, NO_TOOLS),
            ("--kind-name", self.kind_name.is_some(), NO_TOOLS),
            ("--kind-config", self.kind_config.is_some(), NO_TOOLS),
            ("--full-quickstart", self.full_quickstart, NO_TOOLS),
            ("--scaffold-contract", scaffold, NO_SCAFFOLD),
            ("--scaffold-require-metrics", self.scaffold_require_metrics, NO_SCAFFOLD),
            (
                "--no-scaffold-require-metrics",
                self.no_scaffold_require_metrics,
                NO_SCAFFOLD,
            ),
            (
                "--scaffold-opencode-bash",
                self.scaffold_opencode_bash.is_some(),
                NO_SCAFFOLD,
            ),
        ];
        match flags.iter().find(|(_, given, _)| *given) {
            Some((flag, _, why)) => Err(EngineError::Usage(format!("{flag} is not taken: {why}"))),
            None => Ok(()),
        }
    }
}
