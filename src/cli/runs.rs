//! `runs`: the runs of this host; `diff`, `checkout`: their steps.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::show::LISTED;
use crate::{
    engine::{self, EngineError, StepOf},
    policy::parse_size,
    record::{self, Listed, RecordError, Retention, RunState},
    report::{Face, Reporter, escape},
    tree::{ChangeKind, Step, Steps},
};

/// Where runs lie.
#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    /// Directory that holds run directories [default: the XDG state directory].
    #[arg(long, value_name = "DIR")]
    artifacts_dir: Option<PathBuf>,
}

impl RunsArgs {
    /// Those of a directory, or of the host.
    pub fn at(artifacts_dir: Option<PathBuf>) -> Self {
        Self { artifacts_dir }
    }

    /// What the user says of where they lie.
    pub fn artifacts_dir(&self) -> Option<PathBuf> {
        self.artifacts_dir.clone()
    }

    fn dir(&self) -> Result<PathBuf, EngineError> {
        match &self.artifacts_dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(record::default_runs_dir()?),
        }
    }

    /// The directory of a run.
    pub fn find(&self, name: &str) -> Result<PathBuf, EngineError> {
        record::find_run(&self.dir()?, name).map_err(|why| EngineError::Usage(why.to_string()))
    }

    /// `RUN[:STEP]`.
    pub fn step(&self, name: &str) -> Result<StepOf, EngineError> {
        if let Some((run, number)) = name.rsplit_once(':')
            && let Ok(number) = number.parse()
        {
            let run = self.find(run)?;
            return Ok(StepOf {
                run,
                number: Some(number),
            });
        }
        let run = self.find(name)?;
        Ok(StepOf { run, number: None })
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum RunsVerb {
    /// List the runs of this host, the newest first.
    List {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        runs: RunsArgs,
    },
    /// Show one run: how it stands, and its steps.
    Show {
        /// `latest`, its id, the beginning of one, or a path.
        #[arg(default_value = "latest")]
        run: String,
        #[command(flatten)]
        runs: RunsArgs,
    },
    /// Remove runs that do not live.
    Rm {
        /// As for `show`.
        #[arg(required = true)]
        run: Vec<String>,
        #[command(flatten)]
        runs: RunsArgs,
    },
    /// Remove what is old or too much; runs that live stay.
    Prune {
        /// The newest so many stay.
        #[arg(long, value_name = "N", required_unless_present_any = ["older_than", "max_size"])]
        keep: Option<usize>,
        /// Those go that are older: 90s, 30m, 12h, 7d.
        #[arg(long, value_name = "TIME", value_parser = age)]
        older_than: Option<Duration>,
        /// The oldest go until all together take no more.
        #[arg(long, value_name = "BYTES", value_parser = size)]
        max_size: Option<u64>,
        /// Say what would go; remove nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        runs: RunsArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Only those that stand so; may be repeated.
    #[arg(long, value_enum)]
    state: Vec<RunState>,
    /// Only those about a target with this text in its name.
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
    /// Only those that began longer ago.
    #[arg(long, value_name = "TIME", value_parser = age)]
    older_than: Option<Duration>,
    /// Only those that began since.
    #[arg(long, value_name = "TIME", value_parser = age)]
    newer_than: Option<Duration>,
}

impl FilterArgs {
    fn takes(&self, run: &Listed) -> bool {
        let target = run.target.as_deref().unwrap_or_default();
        (self.state.is_empty() || self.state.contains(&run.state))
            && self.target.as_deref().is_none_or(|text| target.contains(text))
            && self.older_than.is_none_or(|most| run.age > most.as_secs())
            && self.newer_than.is_none_or(|most| run.age <= most.as_secs())
    }
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// The run: `latest`, its id, the beginning of one, or a path.
    run: String,
    /// A step's number (`runs show`).
    from: u64,
    /// Another's.
    to: u64,
    #[command(flatten)]
    runs: RunsArgs,
}

#[derive(Debug, Args)]
pub(super) struct CheckoutArgs {
    /// The run: `latest`, its id, the beginning of one, or a path.
    run: String,
    /// A step's number (`runs show`).
    step: u64,
    /// Where the tree is laid out: a directory that is empty or not there.
    to: PathBuf,
    /// A copy of the run's target as it was, where the target has changed since.
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    #[command(flatten)]
    runs: RunsArgs,
}

/// Performs `runs`.
pub(super) fn perform(verb: &RunsVerb, reporter: &Reporter) -> Result<u8, EngineError> {
    match verb {
        RunsVerb::List { filter, runs } => {
            let found = record::list(&runs.dir()?)?;
            let found: Vec<Listed> = found.into_iter().filter(|run| filter.takes(run)).collect();
            reporter.result(&json!({"runs": found}), &lines(&found.iter().collect::<Vec<_>>()));
            Ok(0)
        }
        RunsVerb::Show { run, runs } => show(&runs.find(run)?, reporter),
        RunsVerb::Rm { run, runs } => {
            let found = run.iter().map(|run| runs.find(run)).collect::<Result<Vec<_>, _>>()?;
            for path in &found {
                remove(path)?;
            }
            reporter.result(&json!({"removed": found}), &format!("{} removed", found.len()));
            Ok(0)
        }
        RunsVerb::Prune {
            keep,
            older_than,
            max_size,
            dry_run,
            runs,
        } => {
            let retention = Retention {
                keep: keep.unwrap_or(0),
                older_than: *older_than,
                max_bytes: *max_size,
            };
            prune(&record::list(&runs.dir()?)?, &retention, *dry_run, reporter)
        }
    }
}

fn remove(path: &Path) -> Result<(), EngineError> {
    record::remove(path).map_err(|why| match why {
        RecordError::Alive(_) => EngineError::Usage(why.to_string()),
        other => other.into(),
    })
}

fn prune(all: &[Listed], retention: &Retention, dry_run: bool, reporter: &Reporter) -> Result<u8, EngineError> {
    let mut gone = Vec::new();
    for run in retention.surplus(all) {
        let removed = if dry_run { Ok(()) } else { record::remove(&run.path) };
        match removed {
            Ok(()) => gone.push(run),
            // One that another process took up meanwhile.
            Err(RecordError::Alive(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    let bytes: u64 = gone.iter().map(|run| run.bytes).sum();
    let what = if dry_run { "would be removed" } else { "removed" };
    let mut text = lines(&gone);
    let _ = write!(
        text,
        "{} of {} runs {what}, {}",
        gone.len(),
        all.len(),
        mebibytes(bytes)
    );
    let key = if dry_run { "would_remove" } else { "removed" };
    reporter.result(&json!({key: gone, "bytes": bytes}), &text);
    Ok(0)
}

fn lines(runs: &[&Listed]) -> String {
    let mut text = String::new();
    for run in runs {
        let reason = match run.resumable {
            true => "resumable",
            false => run.reason.as_deref().unwrap_or("-"),
        };
        let _ = writeln!(
            text,
            "{}  {:<8}  {:<20}  {:>9}  {:>8}  {:<6}  {}",
            run.id,
            run.state,
            escape(reason.as_bytes(), 40),
            span(run.age),
            mebibytes(run.bytes),
            escape(run.verb.as_deref().unwrap_or("-").as_bytes(), 10),
            escape(run.target.as_deref().unwrap_or("-").as_bytes(), 120),
        );
    }
    text
}

fn show(path: &Path, reporter: &Reporter) -> Result<u8, EngineError> {
    let home = path.parent().unwrap_or(Path::new("."));
    let listed = record::list(home)?
        .into_iter()
        .find(|run| run.path.file_name() == path.file_name());
    let listed = listed.ok_or_else(|| EngineError::Usage(format!("{} is no run", path.display())))?;
    let steps = Steps::read(path)?;
    let rows: Vec<_> = steps
        .all()
        .iter()
        .map(|step| json!({"number": step.number, "label": step.label, "state": step.state, "changes": step.changes.len()}))
        .collect();
    let mut text = lines(&[&listed]);
    let _ = writeln!(text, "  {}", path.display());
    for step in steps.all() {
        let _ = writeln!(
            text,
            "  step {:>4}  {:>4} changes  {}",
            step.number,
            step.changes.len(),
            label(step)
        );
    }
    reporter.result(&json!({"run": listed, "steps": rows}), text.trim_end());
    Ok(0)
}

fn label(step: &Step) -> String {
    escape(step.label.as_bytes(), 120)
}

/// Performs `diff`.
pub(super) fn diff(args: &DiffArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    let run = args.runs.find(&args.run)?;
    let steps = Steps::read(&run)?;
    let kept = steps.all().len() as u64;
    if let Some(missing) = [args.from, args.to].into_iter().find(|number| *number >= kept) {
        return Err(EngineError::Usage(format!(
            "the run has no step {missing}; it has kept {kept}, from 0 on"
        )));
    }
    let changes = steps.changes(args.from, args.to);
    match reporter.face() {
        Face::Json => reporter.result(
            &json!({"run": run, "from": args.from, "to": args.to, "changes": changes}),
            "",
        ),
        Face::Human => {
            let patch = steps.patch(args.from, args.to)?;
            let stdout = std::io::stdout();
            // A file or a program gets the patch as it is; a terminal nothing that it would obey.
            if std::io::IsTerminal::is_terminal(&stdout) {
                for line in patch.split(|byte| *byte == b'\n') {
                    reporter.print(&escape(line, 2_000));
                }
            } else if let Err(source) = stdout.lock().write_all(&patch) {
                let what = "write the patch".to_owned();
                return Err(EngineError::Io { what, source });
            }
        }
    }
    Ok(0)
}

/// Performs `checkout`.
pub(super) fn checkout(args: &CheckoutArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    let of = StepOf {
        run: args.runs.find(&args.run)?,
        number: Some(args.step),
    };
    let step = engine::checkout(&of, &args.to, args.base.as_deref())?;
    let mut text = format!("step {} ({}) at {}", step.number, label(&step), args.to.display());
    for change in step.changes.iter().take(LISTED) {
        let letter = match change.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'M',
            ChangeKind::Deleted => 'D',
        };
        let _ = write!(text, "\n  {letter} {}", change.path);
    }
    reporter.result(
        &json!({"run": of.run, "step": step.number, "state": step.state, "to": args.to}),
        &text,
    );
    Ok(0)
}

/// A time as a person says it: `90s`, `30m`, `12h`, `7d`.
fn age(text: &str) -> Result<Duration, String> {
    let unit = |unit: char| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        _ => None,
    };
    let mut rest = text.chars();
    let seconds = rest
        .next_back()
        .and_then(unit)
        .and_then(|unit: u64| rest.as_str().parse::<u64>().ok()?.checked_mul(unit));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "a number and s, m, h or d are expected, for instance 7d".to_owned())
}

/// A size, or nothing at all.
fn size(text: &str) -> Result<u64, String> {
    match text {
        "0" => Ok(0),
        text => parse_size(text),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
