//! `escape-test`: what a hostile program would try, tried on this host.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use serde_json::json;

use crate::{
    engine::EngineError,
    escape::{self, Attempt, Controls, Field, Outcome, Tried, Verdict},
    image::{self, Variant},
    report::Reporter,
    sandbox::{
        Backend, SandboxError,
        bare::Bare,
        docker::{Docker, Engine, Start},
        jail::Jail,
    },
};

/// Exit code where something escaped or a control failed.
const NOT_PROVEN: u8 = 1;

#[derive(Debug, Args)]
pub(super) struct EscapeArgs {
    /// What is tried: jail, docker or landlock.
    #[arg(long, value_name = "SANDBOX", default_value = "jail")]
    sandbox: Tried,
    /// The image that containers start from [default: the runner image].
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// List the attempts; try none.
    #[arg(long)]
    list: bool,
    /// Only the attempts whose name has this in it; may be repeated.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
}

/// Performs `escape-test`.
///
/// # Errors
/// What kept it from being tried.
pub(super) async fn escape_test(args: &EscapeArgs, json: bool, reporter: &Reporter) -> Result<u8, EngineError> {
    let chosen = |attempt: &Attempt| args.only.is_empty() || args.only.iter().any(|text| attempt.name.contains(text));
    let attempts: Vec<Attempt> = escape::attempts().into_iter().filter(chosen).collect();
    if args.list {
        let list: Vec<_> = attempts
            .iter()
            .map(|a| json!({"attempt": a.name, "number": a.number, "section": a.section}))
            .collect();
        reporter.result(&json!({"attempts": list}), &listed(&attempts));
        return Ok(0);
    }
    if attempts.is_empty() {
        return Err(EngineError::Usage("no attempt has that in its name".to_owned()));
    }
    let field = Field::new(args.sandbox, backend(args).await?, &program()?, &ground(args.sandbox)?).await?;
    let mut controls = Controls::default();
    let mut counts = [0; 4];
    for attempt in &attempts {
        let verdict = escape::make(&field, &mut controls, attempt).await?;
        counts[verdict.outcome as usize] += 1;
        match json {
            // Serialising plain words never fails.
            true => println!("{}", serde_json::to_string(&verdict).unwrap_or_default()),
            false => reporter.print(&line(&verdict)),
        }
    }
    field.leave().await?;
    let [blocked, escaped, unsupported, failed] = counts;
    if !json {
        reporter.print(&format!(
            "{} attempts on {}: {blocked} blocked, {escaped} escaped, {unsupported} unsupported, {failed} controls failed",
            attempts.len(),
            args.sandbox
        ));
    }
    Ok(if escaped + failed == 0 { 0 } else { NOT_PROVEN })
}

async fn backend(args: &EscapeArgs) -> Result<Backend, EngineError> {
    Ok(match args.sandbox {
        Tried::Jail => Backend::Jail(Jail::new()?),
        Tried::Landlock => Backend::Bare(Bare::new("asked for by --sandbox landlock")),
        Tried::Docker => {
            let engine = Engine::reach().await.map_err(SandboxError::from)?;
            let image = match &args.image {
                Some(image) => image.clone(),
                None => {
                    let ready = image::ready(&engine.client, Variant::Full).await?;
                    let missing =
                        || EngineError::Usage("the runner image is not built: opencode-fsm image build".to_owned());
                    ready.ok_or_else(missing)?.reference
                }
            };
            let start = Start {
                program: program()?,
                image,
                runtime: None,
            };
            Backend::Docker(Box::new(Docker::new(engine, start).await?))
        }
    })
}

fn program() -> Result<PathBuf, EngineError> {
    std::env::current_exe().map_err(|source| EngineError::Io {
        what: "find this program".to_owned(),
        source,
    })
}

/// Where sandboxes are made: in the cache, as those of runs; commands that are another user
/// and share the host's files have to get to theirs.
fn ground(tried: Tried) -> Result<PathBuf, EngineError> {
    let dir = match tried {
        Tried::Landlock => std::env::temp_dir(),
        Tried::Jail | Tried::Docker => crate::record::default_cache_dir()?,
    };
    std::fs::create_dir_all(&dir).map_err(|source| EngineError::Io {
        what: format!("make {}", dir.display()),
        source,
    })?;
    Ok(dir)
}

fn listed(attempts: &[Attempt]) -> String {
    let mut text = String::new();
    for attempt in attempts {
        let _ = writeln!(
            text,
            "{:<10} {:>3}  {}",
            attempt.section.to_string(),
            attempt.number,
            attempt.name
        );
    }
    let _ = write!(text, "{} attempts", attempts.len());
    text
}

fn line(verdict: &Verdict) -> String {
    let layer = match verdict.layer {
        Some(crate::sandbox::Attribution::Layer(layer)) => layer.to_string(),
        Some(crate::sandbox::Attribution::Unattributed) => "unattributed".to_owned(),
        None => String::new(),
    };
    let why = match verdict.outcome {
        Outcome::ControlFailed => format!("{}; control: {}", verdict.detail, verdict.control),
        Outcome::Escaped => match escape::known_gap(verdict.sandbox, verdict.attempt) {
            Some(gap) => format!("{} (known: {gap})", verdict.detail),
            None => verdict.detail.clone(),
        },
        Outcome::Blocked | Outcome::Unsupported => verdict.detail.clone(),
    };
    format!(
        "{:<10} {:>3}  {:<34} {:<14} {layer:<18} {why}",
        verdict.section.to_string(),
        verdict.number,
        verdict.attempt,
        verdict.outcome.to_string()
    )
}
