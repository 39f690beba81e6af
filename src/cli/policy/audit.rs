//! `policy audit`: what a repository would do where somebody works with it, and what the
//! policy says of that.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::{
    cli::{fetch::FetchArgs, surroundings::Surroundings},
    engine::{self, EngineError, Stop},
    policy::{Policy, shell::Ruling},
    record,
    report::{Happening, Reporter, escape, formats},
    scan::{self, Counts, Finding, Scanned},
    source::{Endpoints, Obtained, Provenance, Target},
};

/// The exit code where something is found that is not to be there.
const FOUND: u8 = 1;

#[derive(Debug, Args)]
pub(in crate::cli) struct AuditArgs {
    /// A directory, an archive, a URL of either, a git URL, OWNER/REPO of GitHub, or hf:NAME; read, and nothing of it run.
    #[arg(long, value_name = "TARGET", default_value = ".")]
    repo: PathBuf,
    /// The policy on top of the host's own files [default: those alone].
    #[arg(long, value_name = "NAME|FILE")]
    policy: Option<String>,
    /// The mildest verdict for which the exit code is 1.
    #[arg(long, value_enum, value_name = "VERDICT", default_value = "deny")]
    fail_on: FailOn,
    /// SARIF 2.1.0 on stdout.
    #[arg(long, conflicts_with = "json")]
    sarif: bool,
    #[command(flatten)]
    fetch: FetchArgs,
}

/// From which verdict on a finding is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// What is refused.
    Deny,
    /// That, and what cannot be told.
    Undecided,
    /// Anything at all.
    Allow,
    /// Nothing.
    Never,
}

/// What `policy audit --json` prints.
#[derive(Serialize, JsonSchema)]
pub(in crate::cli) struct AuditReport<'a> {
    /// 1; a later version may say more.
    version: u32,
    /// The target, as it was named, without credentials.
    target: &'a str,
    /// The digest of its tree.
    tree: String,
    /// Where it comes from.
    provenance: &'a Provenance,
    /// The digest of the policy.
    policy: String,
    /// The findings by their verdicts.
    counts: Counts,
    /// Findings that are not told, because there are too many.
    left_out: u64,
    /// By file and line.
    findings: &'a [Finding],
}

/// Performs `policy audit`.
pub(super) async fn perform(
    args: &AuditArgs,
    around: &Surroundings,
    reporter: &Reporter,
    mut stop: Stop,
) -> Result<u8, EngineError> {
    let policy = Policy::of_host(&record::policy_places(), args.policy.as_deref())?;
    let endpoints = Endpoints::of(|name| around.bound(name).map(|found| found.value))?;
    let named = Target::parse(args.repo.as_os_str(), &endpoints)?;
    reporter.hide(
        &named
            .target
            .secrets()
            .into_iter()
            .chain(endpoints.secrets())
            .collect::<Vec<_>>(),
    );
    if let Some(text) = named.note {
        reporter.say(Happening::Warning { text });
    }
    let options = args.fetch.options()?;
    let obtained = engine::fetch(&named.target, &endpoints, &options, reporter, &mut stop).await?;
    let target = named.target.to_string();
    // Reading many files is no work for a thread that others wait on.
    let looked = tokio::task::spawn_blocking(move || {
        let scanned = scan::scan(&obtained.pristine, &policy);
        (scanned, obtained, policy)
    });
    let (scanned, obtained, policy) = tokio::select! {
        looked = looked => looked.map_err(|why| EngineError::Usage(why.to_string()))?,
        signal = stop.requested() => return Err(EngineError::Interrupted(signal)),
    };
    let Obtained { pristine, provenance } = obtained;
    let tree = pristine.digest.to_string();
    if args.sarif {
        let document = formats::audit_sarif(&scanned, &target, &tree);
        // A JSON value always has a text.
        reporter.print(&serde_json::to_string_pretty(&document).unwrap_or_default());
    } else {
        let report = AuditReport {
            version: 1,
            target: &target,
            tree,
            provenance: &provenance,
            policy: policy.digest(),
            counts: Counts::of(&scanned.findings),
            left_out: scanned.left_out,
            findings: &scanned.findings,
        };
        reporter.result(&json!(report), &table(&scanned, &target));
    }
    let fails = scanned.findings.iter().any(|one| match args.fail_on {
        FailOn::Deny => one.verdict == Ruling::Deny,
        FailOn::Undecided => one.verdict >= Ruling::Undecided,
        FailOn::Allow => true,
        FailOn::Never => false,
    });
    Ok(if fails { FOUND } else { 0 })
}

/// For a person: file by file, what is refused with its reason.
fn table(scanned: &Scanned, target: &str) -> String {
    let mut text = String::new();
    let mut file = "";
    for one in &scanned.findings {
        if one.file != file {
            file = &one.file;
            text += &format!("{}{file}\n", if text.is_empty() { "" } else { "\n" });
        }
        let what = escape(one.what.as_bytes(), 100);
        text += &format!(
            "  {:>5}  {:<9}  {:<19}  {what}\n",
            one.line,
            one.verdict.name(),
            one.kind.name()
        );
        if one.verdict != Ruling::Allow {
            let because = escape(one.because.as_bytes(), 200);
            text += &format!("{:18}by {}: {because} ({})\n", "", one.when, one.at);
            text += &format!("{:18}here: {}\n", "", one.enforced_by);
        }
    }
    let Counts { deny, undecided, allow } = Counts::of(&scanned.findings);
    if !text.is_empty() {
        text.push('\n');
    }
    text += &format!(
        "{}: {deny} denied, {undecided} undecided, {allow} allowed",
        escape(target.as_bytes(), 200)
    );
    if scanned.left_out > 0 {
        text += &format!("; {} more are not told", scanned.left_out);
    }
    text
}
