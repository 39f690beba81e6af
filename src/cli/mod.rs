//! The command line: verbs, signals, exit codes.
#![forbid(unsafe_code)]

mod args;
mod audit;
mod containers;
mod environment;
mod escape_test;
mod fetch;
mod invocation;
mod model;
mod options;
mod paper;
mod policy;
mod replay;
mod reports;
mod resume;
mod retired;
mod runs;
mod scaffold;
mod schema;
mod settings;
mod show;
mod suite;
mod surroundings;
mod target;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    agent::{self, AgentError},
    engine::{self, EngineError, ModelChoice, Outcome, Stop, Stopper},
    policy::{Policy, Tier},
    record::{self, Secret},
    report::{Face, Happening, Reporter, escape},
    sandbox::jail::{Jail, Probe},
    source,
};
use args::{ApplyArgs, Cli, DemoArgs, InitArgs, RunArgs, SchemaArgs, Verb};
use invocation::Invocation;
use surroundings::{Setting, Surroundings};
use target::TargetArgs;

/// The demonstration's recorded answers.
const DEMO: &str = include_str!("../../examples/demo.cassette.jsonl");

/// Plays the part of a sandbox's other side where this process was started for that, and
/// gives its exit code. A program that uses this library to build sandboxes is started
/// again by itself: its `main` has to begin with this, before any thread.
pub fn inner_role() -> Option<ExitCode> {
    match std::env::args_os().nth(1)?.to_str()? {
        "guest-launcher" => Some(crate::sandbox::jail::launcher_main()),
        "guest-bare" => Some(crate::sandbox::bare::guest_main()),
        "engine-reaper" => Some(crate::sandbox::docker::reaper_main()),
        "guest" => Some(crate::guest::guest_main()),
        "escape-probe" => Some(crate::probe::main()),
        _ => None,
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    if let Some(code) = inner_role() {
        return code;
    }
    let argv: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&argv) {
        Ok(cli) => cli,
        Err(why) if why.use_stderr() && argv.iter().any(|word| word == "--json") => {
            Reporter::new(Face::Json, 0).fail(2, &invocation::one_line(&why));
            return ExitCode::from(2);
        }
        Err(why) => why.exit(),
    };
    log(cli.verbose);
    let reporter = Reporter::new(if cli.json { Face::Json } else { Face::Human }, cli.verbose);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(why) => {
            eprintln!("error: cannot start: {why}");
            return ExitCode::from(7);
        }
    };
    // On a worker: this thread has no part in the runtime's events, and would be woken by
    // another one for each.
    let code = runtime.block_on(async move {
        let work = tokio::spawn(async move {
            let (stopper, stop) = Stop::pair();
            let done = match watch_signals(stopper) {
                Ok(()) => perform(&argv, &cli, &reporter, stop).await,
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
        // A panic has been printed already.
        work.await.unwrap_or(101)
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

async fn perform(argv: &[OsString], cli: &Cli, reporter: &Reporter, stop: Stop) -> Result<u8, EngineError> {
    let around = Surroundings::read(&cli.verb)?;
    warn(&around.warnings, reporter);
    let invocation = Invocation::complete(argv, around)?;
    match &invocation.cli.verb {
        Verb::Run(args) => run(args, &invocation, reporter, stop).await,
        Verb::Resume(args) => resume::perform(args, &invocation.around, reporter, stop).await,
        Verb::Replay(args) => replay::perform(args, &invocation.around, reporter, stop).await,
        Verb::Verify(args) => verify(args, "verify", &invocation, reporter, stop).await,
        Verb::Evaluate(args) => environment::evaluate(args, &invocation, reporter, stop).await,
        Verb::Suite(args) => suite::perform(args, &invocation, reporter, stop).await,
        Verb::Env(verb) => environment::perform(verb, &invocation, stop).await,
        Verb::Demo(args) => demo(args, &invocation.around, reporter, stop).await,
        Verb::Apply(args) => apply(args, reporter),
        Verb::Audit(verb) => audit::perform(verb, reporter),
        Verb::Bundle(args) => audit::bundle(args, reporter),
        Verb::Runs(verb) => runs::perform(verb, reporter),
        Verb::Diff(args) => runs::diff(args, reporter),
        Verb::Checkout(args) => runs::checkout(args, reporter),
        Verb::Report(args) => reports::report(args, reporter),
        Verb::Export(args) => reports::export(args, reporter),
        Verb::View(args) => reports::view(args, reporter, stop).await,
        Verb::Init(args) => init(args, reporter),
        Verb::Doctor => doctor(reporter).await,
        Verb::Schema(args) => print_schema(args, reporter),
        Verb::Policy(verb) => policy::perform(verb, &invocation.around, reporter, stop).await,
        Verb::Image(verb) => containers::image(verb, reporter, stop).await,
        Verb::Gc(args) => containers::gc(args, reporter).await,
        Verb::EscapeTest(args) => escape_test::escape_test(args, cli.json, reporter).await,
        Verb::Completions(args) => paper::completions(args, reporter),
        Verb::Man(args) => paper::man(args, reporter),
        Verb::Setup => {
            let binary = opencode(None, reporter).await?;
            reporter.result(&json!({"opencode": binary}), &format!("OpenCode: {}", binary.display()));
            Ok(0)
        }
    }
}

fn warn(texts: &[String], reporter: &Reporter) {
    for text in texts {
        reporter.say(Happening::Warning { text: text.clone() });
    }
}

async fn run(args: &RunArgs, invocation: &Invocation, reporter: &Reporter, stop: Stop) -> Result<u8, EngineError> {
    args.retired.refuse()?;
    if args.preflight_only && args.scaffold.asks() {
        return Err(EngineError::Usage(
            "--preflight-only asks no agent and writes nothing: leave --scaffold-contract out".to_owned(),
        ));
    }
    if args.preflight_only && !args.target.print_config {
        return verify(&args.target, "preflight", invocation, reporter, stop).await;
    }
    let model = model::resolve(args, &invocation.around).await;
    warn(&model.warnings, reporter);
    let grants = invocation.around.grants(&args.target.env)?;
    if args.target.print_config {
        let (value, table) = settings::shown(invocation, &grants, Some(&model))?;
        reporter.result(&value, &table);
        return Ok(0);
    }
    let policy = invocation.policy(&args.target, Some(args))?;
    let target = target_options(&args.target, grants, policy, &invocation.around, reporter)?;
    let options = args.options(target, model, &invocation.around)?;
    let outcome = engine::run(&options, reporter, stop).await?;
    reporter.print(&show::run(&outcome));
    reports::tell_ci(args.target.ci, &outcome.artifacts, reporter);
    Ok(outcome.summary.exit_code)
}

/// One verification; `name` is its directory in the run.
async fn verify(
    args: &TargetArgs,
    name: &str,
    invocation: &Invocation,
    reporter: &Reporter,
    stop: Stop,
) -> Result<u8, EngineError> {
    let grants = invocation.around.grants(&args.env)?;
    if args.print_config {
        let (value, table) = settings::shown(invocation, &grants, None)?;
        reporter.result(&value, &table);
        return Ok(0);
    }
    let policy = invocation.policy(args, None)?;
    let options = target_options(args, grants, policy, &invocation.around, reporter)?;
    let outcome = engine::verify(&options, name, reporter, stop).await?;
    reporter.print(&show::verification(&outcome));
    reports::tell_ci(args.ci, &outcome.artifacts, reporter);
    Ok(outcome.summary.exit_code)
}

/// What is asked for about a target; what is a secret is not shown from here on.
fn target_options(
    args: &TargetArgs,
    grants: Vec<(Setting<String>, Secret)>,
    policy: Policy,
    around: &Surroundings,
    reporter: &Reporter,
) -> Result<engine::TargetOptions, EngineError> {
    let (named, endpoints) = args.named(around)?;
    let own = named.target.secrets().into_iter().chain(endpoints.secrets());
    let grants = granted(grants, own.chain(around.secrets()).collect(), reporter);
    warn(&Vec::from_iter(named.note), reporter);
    args.options(grants, named.target, endpoints, policy, around)
}

/// The grants without their origins; from here on nothing shows their values, nor the host's own secrets.
fn granted(grants: Vec<(Setting<String>, Secret)>, secrets: Vec<Secret>, reporter: &Reporter) -> Vec<(String, Secret)> {
    let secrets: Vec<Secret> = grants.iter().map(|(_, value)| value.clone()).chain(secrets).collect();
    reporter.hide(&secrets);
    for (name, _) in grants.iter().filter(|(_, value)| !value.is_redacted()) {
        let text = format!(
            "the value of {} is too short to be redacted; what prints it shows it",
            name.value
        );
        reporter.say(Happening::Warning { text });
    }
    grants.into_iter().map(|(name, value)| (name.value, value)).collect()
}

fn init(args: &InitArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    let usage = |text: String| EngineError::Usage(text);
    let shown = args.target.display();
    if !args.target.is_dir() {
        return Err(usage(format!("target {shown} is no directory")));
    }
    let given = args
        .test_cmd
        .as_deref()
        .map(str::trim)
        .filter(|command| !command.is_empty());
    let proposal = source::propose(&args.target, given).ok_or_else(|| {
        usage(format!(
            "nothing in {shown} says how it is tested; give the command with --test-cmd"
        ))
    })?;
    let path = args.pipeline.under(&args.target);
    source::write_new(&path, &proposal.text).map_err(|why| match why.kind() {
        std::io::ErrorKind::AlreadyExists => usage(format!("{} is there already; nothing was written", path.display())),
        _ => usage(format!("cannot write {}: {why}", path.display())),
    })?;
    let recognised: Vec<&str> = proposal.findings.iter().map(|finding| finding.because).collect();
    let commands: String = proposal
        .commands
        .iter()
        .map(|command| format!("\n  {}", escape(command.as_bytes(), 200)))
        .collect();
    reporter.result(
        &json!({"contract": path, "commands": proposal.commands, "recognised": recognised}),
        &format!(
            "{}: the tests are{commands}\nnext: opencode-fsm verify {shown}",
            path.display()
        ),
    );
    Ok(0)
}

fn print_schema(args: &SchemaArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    let all = schema::all();
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let (value, text) = match &args.name {
        None => (json!({"schemas": names}), names.join("\n")),
        Some(wanted) => {
            let (_, value) = all.iter().find(|(name, _)| name == wanted).ok_or_else(|| {
                let wanted = escape(wanted.as_bytes(), 60);
                EngineError::Usage(format!("there is no schema `{wanted}`; there are {}", names.join(", ")))
            })?;
            // Serialising a JSON value to a string never fails.
            (value.clone(), serde_json::to_string_pretty(value).unwrap_or_default())
        }
    };
    reporter.result(&value, &text);
    Ok(0)
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

async fn demo(args: &DemoArgs, around: &Surroundings, reporter: &Reporter, stop: Stop) -> Result<u8, EngineError> {
    let binary = opencode(args.opencode_bin.as_deref(), reporter).await?;
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => record::default_runs_dir()?
            .with_file_name("demo")
            .join(crate::names::RunId::fresh().as_str()),
    };
    source::write_demo(&dir).map_err(|why| EngineError::Usage(format!("--dir: {why}")))?;
    let options = demo_options(args, &dir, binary, around)?;
    let outcome = engine::run(&options, reporter, stop).await?;
    reporter.print(&show::run(&outcome));
    reporter.print(&demo_ending(&outcome, &dir));
    Ok(outcome.summary.exit_code)
}

/// The demonstration's run: as a user would start it on this host, with the bundled answers.
fn demo_options(
    args: &DemoArgs,
    dir: &Path,
    opencode: PathBuf,
    around: &Surroundings,
) -> Result<engine::RunOptions, EngineError> {
    let goal = "Make the word counter count words, whatever stands between them.";
    let argv = ["opencode-fsm", "run", "--require-pipeline", "--goal", goal, "--"];
    let argv: Vec<OsString> = argv.map(OsString::from).into_iter().chain([dir.into()]).collect();
    let invocation = Invocation::complete(&argv, around.only_hosts())?;
    let Verb::Run(run) = &invocation.cli.verb else {
        return Err(EngineError::Usage("the demonstration is a run".to_owned()));
    };
    let model = model::Resolved::of(ModelChoice::Bundled(DEMO));
    let policy = invocation.policy(&run.target, Some(run))?;
    let (named, endpoints) = run.target.named(&invocation.around)?;
    let target = run
        .target
        .options(Vec::new(), named.target, endpoints, policy, &invocation.around)?;
    let mut options = run.options(target, model, &invocation.around)?;
    options.target.artifacts_dir.clone_from(&args.artifacts_dir);
    options.opencode_bin = Some(opencode);
    options.target.walls = args.walls.options();
    Ok(options)
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
    let run = args.runs.find(&args.run)?;
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
    let engine = containers::seen().await;
    reporter.result(
        &json!({"probe": probe, "opencode": found, "docker": engine}),
        &format!("{}\nDocker: {}", show::probe(&probe, &found), engine.text()),
    );
    Ok(if probe.tier >= Some(Tier::Namespaces) { 0 } else { 5 })
}
