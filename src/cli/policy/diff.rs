//! `policy diff`: what one policy allows and another does not.

use clap::Args;
use serde_json::json;

use crate::{
    engine::EngineError,
    policy::{Change, Difference, Policy, diff},
    record,
    report::{Reporter, escape},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct DiffArgs {
    /// The first, by its name or path; a run's `policy.json` is one, too.
    before: String,
    /// The second.
    after: String,
}

/// Performs `policy diff`. Both stand on the shipped default, without what the host says.
pub(super) fn perform(args: &DiffArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    let host = record::policy_places();
    let [before, after] = [&args.before, &args.after].map(|reference| Policy::alone(reference, &host));
    let (before, after) = (before?, after?);
    let found = diff(&before, &after);
    let of = |change: Change| -> Vec<&Difference> { found.iter().filter(|one| one.change == change).collect() };
    let (gained, lost, changed) = (of(Change::Gained), of(Change::Lost), of(Change::Changed));
    let mut text = String::new();
    for (title, list) in [("gained", &gained), ("lost", &lost), ("changed", &changed)] {
        if !list.is_empty() {
            text += &format!("{title}\n");
        }
        for one in list {
            text += &format!("  {:<26}  {}\n", one.what, escape(one.words.as_bytes(), 300));
        }
    }
    if found.is_empty() {
        text += "both allow the same\n";
    }
    let value = json!({
        "before": {"policy": args.before, "digest": before.digest()},
        "after": {"policy": args.after, "digest": after.digest()},
        "gained": gained, "lost": lost, "changed": changed,
    });
    reporter.result(&value, text.trim_end());
    Ok(0)
}
