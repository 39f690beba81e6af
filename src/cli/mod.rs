//! The command line: verbs, signals, exit codes.
#![forbid(unsafe_code)]

mod args;
mod show;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    agent::{self, AgentError},
    engine::{self, EngineError, Outcome, Stop, Stopper},
    policy::Tier,
    record,
    report::{Face, Happening, Reporter},
    sandbox::jail::{Jail, Probe},
    source,
};
use args::{ApplyArgs, Cli, DemoArgs, Verb};

/// Runs the program.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "guest-launcher") {
        return crate::sandbox::jail::launcher_main();
    }
    let cli = Cli::parse();
    log(cli.verbose);
    let reporter = Reporter::new(if cli.json { Face::Json } else { Face::Human }, cli.verbose);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(why) => {
            eprintln!("error: cannot start: {why}");
            return ExitCode::from(7);
        }
    };
    let code = runtime.block_on(async {
        let (stopper, stop) = Stop::pair();
        let done = match watch_signals(stopper) {
            Ok(()) => perform(cli.verb, &reporter, stop).await,
            Err(source) => Err(EngineError::Io {
                what: "watch for signals".to_owned(),
                source,
            }),
        };
        done.unwrap_or_else(|why| {
            reporter.fail(why.exit_code(), &why.to_string());
            why.exit_code()
        })
    });
    // A copy of a large target that nobody waits for any more must not hold us up.
    runtime.shutdown_background();
    ExitCode::from(code)
}

fn log(verbose: u8) {
    let fallback = if verbose > 1 {
        "opencode_fsm=debug"
    } else {
        "opencode_fsm=warn"
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("OPENCODE_FSM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(fallback));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .init();
}

/// The first signal asks for an orderly end; the second ends at once, and the
/// sandboxes with us.
fn watch_signals(stopper: Stopper) -> std::io::Result<()> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind)?;
        let stopper = stopper.clone();
        tokio::spawn(async move {
            let number = kind.as_raw_value();
            signals.recv().await;
            stopper.stop(number);
            signals.recv().await;
            std::process::exit(128 + number);
        });
    }
    Ok(())
}

async fn perform(verb: Verb, reporter: &Reporter, stop: Stop) -> Result<u8, EngineError> {
    match verb {
        Verb::Run(args) => {
            let outcome = engine::run(&args.options()?, reporter, stop).await?;
            reporter.print(&show::run(&outcome));
            Ok(outcome.summary.exit_code)
        }
        Verb::Verify(args) => {
            let outcome = engine::verify(&args.options()?, reporter, stop).await?;
            reporter.print(&show::verification(&outcome));
            Ok(outcome.summary.exit_code)
        }
        Verb::Demo(args) => demo(&args, reporter, stop).await,
        Verb::Apply(args) => apply(&args, reporter),
        Verb::Doctor => doctor(reporter).await,
        Verb::Setup => {
            let binary = opencode(None, reporter).await?;
            reporter.result(&json!({"opencode": binary}), &format!("OpenCode: {}", binary.display()));
            Ok(0)
        }
    }
}

/// Finds OpenCode, and installs it when there is none.
async fn opencode(explicit: Option<&Path>, reporter: &Reporter) -> Result<PathBuf, EngineError> {
    match agent::find_binary(explicit) {
        Err(AgentError::NotFound(_)) if explicit.is_none() && std::env::var_os("OPENCODE_BIN").is_none() => {
            let tell = |text: &str| reporter.say(Happening::Note { text: text.to_owned() });
            Ok(agent::install(&tell).await?)
        }
        found => Ok(found?),
    }
}

async fn demo(args: &DemoArgs, reporter: &Reporter, stop: Stop) -> Result<u8, EngineError> {
    let binary = opencode(args.opencode_bin.as_deref(), reporter).await?;
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => record::default_runs_dir()?
            .with_file_name("demo")
            .join(crate::names::RunId::fresh().as_str()),
    };
    source::write_demo(&dir).map_err(|why| EngineError::Usage(format!("--dir: {why}")))?;
    let outcome = engine::run(&args.options(dir.clone(), binary)?, reporter, stop).await?;
    reporter.print(&show::run(&outcome));
    reporter.print(&demo_ending(&outcome, &dir));
    Ok(outcome.summary.exit_code)
}

fn demo_ending(outcome: &Outcome, dir: &Path) -> String {
    let patch = outcome.artifacts.join("changes.patch");
    let text = std::fs::read(&patch).unwrap_or_default();
    let shown: String = String::from_utf8_lossy(&text)
        .lines()
        .take(200)
        .map(|line| format!("  {}\n", crate::report::escape(line.as_bytes(), 300)))
        .collect();
    format!(
        "patch\n{shown}\nThe repository {} is as it was. To bring the changes there:\n  opencode-fsm apply {}\n",
        dir.display(),
        outcome.artifacts.display()
    )
}

fn apply(args: &ApplyArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    let runs = match &args.artifacts_dir {
        Some(dir) => dir.clone(),
        None => record::default_runs_dir()?,
    };
    let run = record::find_run(&runs, &args.run).map_err(|why| EngineError::Usage(why.to_string()))?;
    let target = match &args.to {
        Some(dir) => dir.clone(),
        None => engine::target_of(&run)?,
    };
    let changes = engine::apply(&run, &target)?;
    let mut text = format!("{} changes brought to {}", changes.len(), target.display());
    for change in changes.iter().take(show::LISTED) {
        text += &format!("\n  {}", change.path);
    }
    reporter.result(&json!({"run": run, "target": target, "changes": changes}), &text);
    Ok(0)
}

async fn doctor(reporter: &Reporter) -> Result<u8, EngineError> {
    let cache = record::default_cache_dir()?;
    let io = |source| EngineError::Io {
        what: format!("make {}", cache.display()),
        source,
    };
    std::fs::create_dir_all(&cache).map_err(io)?;
    let scratch = tempfile::Builder::new()
        .prefix("doctor-")
        .tempdir_in(&cache)
        .map_err(io)?;
    // The probe's jail runs as another user when we are root.
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).map_err(io)?;
    let jail = Jail::new()?;
    let probe = Probe::run(&jail, scratch.path()).await;
    drop(jail);
    let agent = agent::find_binary(None);
    let found = agent
        .as_ref()
        .map_or_else(ToString::to_string, |path| path.display().to_string());
    reporter.result(
        &json!({"probe": probe, "opencode": found}),
        &show::probe(&probe, &found),
    );
    Ok(if probe.tier >= Some(Tier::Namespaces) { 0 } else { 5 })
}
