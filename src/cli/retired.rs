//! Flags of the predecessor that this program does not take: each is known, and refused with its reason.

use clap::Args;

use crate::engine::EngineError;

/// What stands in for `--ensure-kind` and its like.
const NO_TOOLS: &str = "the runner installs nothing on the host; \
                        what stages need comes from `.aider_fsm/bootstrap.yml`, what a failure asks for from \
                        `.aider_fsm/actions.yml`, both inside the sandbox (docs/bootstrap_spec.md)";
/// Removed flags of the main loop.
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
}

impl RetiredArgs {
    /// # Errors
    /// The first such flag that was given, with its reason and what to do instead.
    pub fn refuse(&self) -> Result<(), EngineError> {
        let flags = [
            ("--ensure-tools", self.ensure_tools, NO_TOOLS),
            ("--ensure-kind", self.ensure_kind, NO_TOOLS),
            ("--kind-name", self.kind_name.is_some(), NO_TOOLS),
            ("--kind-config", self.kind_config.is_some(), NO_TOOLS),
            ("--full-quickstart", self.full_quickstart, NO_TOOLS),
        ];
        match flags.iter().find(|(_, given, _)| *given) {
            Some((flag, _, why)) => Err(EngineError::Usage(format!("{flag} is not taken: {why}"))),
            None => Ok(()),
        }
    }
}
