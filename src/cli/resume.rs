//! `resume`: a run that was cut off goes on.

use std::{path::PathBuf, sync::Arc};

use clap::Args;

use super::{
    DEMO, reports,
    runs::RunsArgs,
    show,
    surroundings::{Surroundings, read_env_file},
};
use crate::{
    contract,
    engine::{self, EngineError, Given, Stop},
    record::{Secret, audit::Signer},
    report::Reporter,
    source::Endpoints,
};

/// What a run was given and is never kept, and what may lie elsewhere now.
#[derive(Debug, Args)]
pub(super) struct AgainArgs {
    /// A secret that the run was given, which is never kept; without =VALUE as the environment has it; may be repeated.
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// The same of a file, one NAME=VALUE a line; nothing else of it is used.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Sign the receipt with this key.
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    /// The OpenCode executable, where it lies elsewhere now.
    #[arg(long, value_name = "FILE")]
    opencode_bin: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// The run: `latest`, its id, the beginning of one, or a path.
    #[arg(default_value = "latest")]
    run: String,
    #[command(flatten)]
    again: AgainArgs,
    /// Whether a job of a CI service is told at the end: annotations on standard error, a summary in its file.
    #[arg(long, value_enum, default_value = "auto")]
    ci: reports::Ci,
    #[command(flatten)]
    runs: RunsArgs,
}

impl AgainArgs {
    /// All of that; from here on nothing shows it.
    pub fn given(&self, around: &Surroundings, reporter: &Reporter) -> Result<Given, EngineError> {
        let file = self.env_file.as_deref().map(read_env_file).transpose()?;
        let of_file = file.unwrap_or_default().variables;
        let shown: Vec<Secret> = self
            .env
            .iter()
            .filter_map(|text| Some(Secret::new(text.split_once('=')?.1)))
            .chain(of_file.iter().map(|(_, value)| Secret::new(value.as_str())))
            .chain(around.secrets())
            .collect();
        reporter.hide(&shown);
        let mut variables = Vec::new();
        for (index, text) in self.env.iter().enumerate() {
            // What is malformed may be a secret: it is named by its place.
            let fail = |why: String| EngineError::Usage(format!("--env, number {}: {why}", index + 1));
            let (name, value) = contract::parse_assignment(text).map_err(fail)?;
            if let Some(value) = value.or_else(|| around.variable(&name).map(|found| found.value)) {
                variables.push((name, value));
            }
        }
        // What is given comes first.
        variables.extend(of_file);
        variables.extend(around.of_process());
        let signer = self.sign_key.as_deref().map(Signer::read).transpose();
        let signer = signer.map_err(|why| EngineError::Usage(format!("--sign-key {why}")))?;
        Ok(Given {
            variables,
            signer: signer.map(Arc::new),
            opencode_bin: self.opencode_bin.clone(),
            bundled: &[DEMO],
        })
    }
}

/// Performs `resume`.
pub(super) async fn perform(
    args: &ResumeArgs,
    around: &Surroundings,
    reporter: &Reporter,
    stop: Stop,
) -> Result<u8, EngineError> {
    let run = args.runs.find(&args.run)?;
    let endpoints = Endpoints::of(|name| around.variable(name).map(|setting| setting.value))?;
    let given = args.again.given(around, reporter)?;
    let outcome = engine::resume(&run, endpoints, &given, reporter, stop).await?;
    reporter.print(&show::run(&outcome));
    reports::tell_ci(args.ci, &outcome.artifacts, reporter);
    Ok(outcome.summary.exit_code)
}
