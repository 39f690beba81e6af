//! `audit` and `bundle`: whether evidence holds, what it says, and how it is sent.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::runs::RunsArgs;
use crate::{
    engine::EngineError,
    record::{
        self,
        audit::{self, AuditError, Break, Comparison, Place, PublicKey, State, Verified},
    },
    report::{Face, Reporter, escape},
};

/// Characters of a record's fields in a list.
const FIELDS: usize = 180;

#[derive(Debug, Subcommand)]
pub(super) enum AuditVerb {
    /// Check every record and every file of a run, offline, to the first place that does not hold (exit 9).
    Verify {
        /// A run (`latest`, its id, the beginning of one), a run's directory anywhere, or a bundle.
        #[arg(default_value = "latest")]
        run: String,
        #[command(flatten)]
        key: KeyArgs,
        #[command(flatten)]
        runs: RunsArgs,
    },
    /// Show the records of a run; nothing is checked.
    Show {
        /// As for `verify`.
        #[arg(default_value = "latest")]
        run: String,
        /// Only records of this kind (`event`, `command`, `exec`, `changes`, `turn`, …); may be repeated.
        #[arg(long, value_name = "KIND")]
        kind: Vec<String>,
        /// Only records from this number on.
        #[arg(long, value_name = "RECORD", default_value_t = 0)]
        since: u64,
        #[command(flatten)]
        runs: RunsArgs,
    },
    /// Say in what two runs differ: what they are bound to, and where their courses part (exit 1).
    Diff {
        /// As for `verify`.
        a: String,
        /// As for `verify`.
        b: String,
        #[command(flatten)]
        runs: RunsArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// The public key that must have signed it (PEM, ed25519).
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BundleArgs {
    #[command(subcommand)]
    verb: Option<BundleVerb>,
    /// The run: `latest`, its id, the beginning of one, or a path.
    #[arg(default_value = "latest")]
    run: String,
    /// Where it is written [default: ID.tar].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    runs: RunsArgs,
}

#[derive(Debug, Subcommand)]
enum BundleVerb {
    /// Check a bundle, as `audit verify` does.
    Verify {
        /// It.
        file: PathBuf,
        #[command(flatten)]
        key: KeyArgs,
    },
}

impl KeyArgs {
    fn read(&self) -> Result<Option<PublicKey>, EngineError> {
        let read = self.key.as_deref().map(PublicKey::read).transpose();
        read.map_err(|why| EngineError::Usage(format!("--key {why}")))
    }
}

/// Performs `audit`.
pub(super) fn perform(verb: &AuditVerb, reporter: &Reporter) -> Result<u8, EngineError> {
    match verb {
        AuditVerb::Verify { run, key, runs } => check(&named(run, runs)?, key, reporter),
        AuditVerb::Show { run, kind, since, runs } => show(&named(run, runs)?, kind, *since, reporter),
        AuditVerb::Diff { a, b, runs } => compare(&named(a, runs)?, &named(b, runs)?, reporter),
    }
}

/// Performs `bundle`.
pub(super) fn bundle(args: &BundleArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    if let Some(BundleVerb::Verify { file, key }) = &args.verb {
        return check(file, key, reporter);
    }
    let run = args.runs.find(&args.run)?;
    let id = audit::run_of(&run)?;
    let to = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{id}.tar")));
    let verified = record::bundle(&run, &id, &to, None)?;
    reporter.result(
        &json!({"bundle": to, "run": verified.run, "root": verified.root, "files": verified.files}),
        &format!(
            "{}: run {}, {} files, root {}",
            to.display(),
            id,
            verified.files,
            verified.root
        ),
    );
    Ok(0)
}

/// What `audit` is about: a run of this host, else a path.
fn named(name: &str, runs: &RunsArgs) -> Result<PathBuf, EngineError> {
    match runs.find(name) {
        Err(_) if Path::new(name).exists() => Ok(PathBuf::from(name)),
        found => found,
    }
}

fn check(path: &Path, key: &KeyArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    let key = key.read()?;
    let checked = Place::open(path).and_then(|place| audit::verify(&place, key.as_ref()));
    let shown = path.display();
    match checked {
        Ok(verified) => {
            reporter.result(
                &json!({"path": path, "verdict": verified}),
                &format!("{shown}\n{}", holds(&verified)),
            );
            Ok(match verified.state {
                State::Whole => 0,
                State::CutOff | State::Running => 1,
            })
        }
        Err(AuditError::Broken(found)) => {
            reporter.result(
                &json!({"path": path, "broken": found}),
                &format!("{shown}\n{}", breaks(&found)),
            );
            Ok(9)
        }
        Err(other) => Err(other.into()),
    }
}

fn breaks(found: &Break) -> String {
    format!("BROKEN at {found}")
}

fn holds(verified: &Verified) -> String {
    let Verified {
        records, root, files, ..
    } = verified;
    let run = escape(verified.run.as_bytes(), 80);
    match verified.state {
        State::Whole => {
            let signed = match (verified.signed_by, verified.key_is_expected) {
                (None, _) => "not signed".to_owned(),
                (Some(key), true) => format!("signed by the key {key}, as expected"),
                (Some(key), false) => format!("signed by the key {key}, which it names itself; compare it with --key"),
            };
            let outcome = verified.receipt.as_ref().map_or_else(String::new, |receipt| {
                format!(
                    "\n  outcome  {} (exit {})",
                    escape(receipt.outcome.reason.as_bytes(), 80),
                    receipt.outcome.exit
                )
            });
            let resumed = match verified.resumed {
                0 => String::new(),
                times => format!("\n  resumed  {times} times"),
            };
            format!(
                "holds: run {run}\n  records  {records}\n  files    {files}\n  root     {root}\n  course   {}{outcome}{resumed}\n  {signed}",
                verified.course
            )
        }
        State::CutOff => format!(
            "INCOMPLETE: run {run}: {records} records hold, and the closing one is missing: the run was cut off{}, or \
             its last records were taken away; what is there cannot say which\n  root     {root}",
            match verified.torn {
                0 => String::new(),
                torn => format!(" in the middle of a record ({torn} bytes)"),
            }
        ),
        State::Running => format!("RUNNING: run {run}: {records} records hold so far\n  root     {root}"),
    }
}

fn show(path: &Path, kinds: &[String], since: u64, reporter: &Reporter) -> Result<u8, EngineError> {
    let place = Place::open(path)?;
    let mut records = audit::open(&place)?;
    while let Some(record) = audit::next(&mut records)? {
        if record.seq < since || !(kinds.is_empty() || kinds.iter().any(|kind| kind == record.event)) {
            continue;
        }
        if reporter.face() == Face::Json {
            let fields: Value = serde_json::from_str(record.fields.get()).unwrap_or_default();
            let value = json!({
                "v": record.v, "seq": record.seq, "prev": record.prev, "ts": record.ts,
                "event": record.event, "fields": fields,
            });
            reporter.result(&value, "");
        } else {
            reporter.print(&format!(
                "{:>6}  {}  {:<10}  {}",
                record.seq,
                escape(record.ts.as_bytes(), 40),
                escape(record.event.as_bytes(), 40),
                escape(record.fields.get().as_bytes(), FIELDS),
            ));
        }
    }
    Ok(0)
}

fn compare(a: &Path, b: &Path, reporter: &Reporter) -> Result<u8, EngineError> {
    let (left, right) = (Place::open(a)?, Place::open(b)?);
    let found = audit::diff(&left, &right)?;
    reporter.result(&json!({"a": a, "b": b, "differences": found}), &told(&found));
    Ok(u8::from(!found.bindings.is_empty() || found.course.is_some()))
}

pub(super) fn told(found: &Comparison) -> String {
    let value = |value: &Value| escape(value.to_string().as_bytes(), FIELDS);
    let mut lines: Vec<String> = Vec::new();
    for difference in &found.bindings {
        let what = escape(difference.what.as_bytes(), 120);
        lines.push(format!(
            "{what}\n  a  {}\n  b  {}",
            value(&difference.a),
            value(&difference.b)
        ));
    }
    match &found.course {
        None => lines.push(format!("the same course: {} records", found.same)),
        Some(parting) => {
            let record =
                |number: Option<u64>| number.map_or_else(|| "no further record".to_owned(), |n| format!("record {n}"));
            let difference = &parting.difference;
            lines.push(format!(
                "the courses part after {} records, at {}\n  a  {}: {}\n  b  {}: {}",
                found.same,
                escape(difference.what.as_bytes(), 120),
                record(parting.record_a),
                value(&difference.a),
                record(parting.record_b),
                value(&difference.b),
            ));
        }
    }
    lines.join("\n")
}
