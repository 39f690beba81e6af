//! How a target that was open ends.

use super::{OpenTarget, ground::Ground};
use crate::engine::{EngineError, Outcome, Summary, bring::bring_out};

/// How a target that was open ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// For `exit_reason`.
    pub reason: &'static str,
    /// In one line.
    pub detail: String,
    /// The exit code that goes with it.
    pub exit_code: u8,
}

impl OpenTarget {
    /// Ends it: the sandbox goes, `summary.json` is written, the scratch directory removed.
    ///
    /// # Errors
    /// When any of that fails.
    pub async fn close(self, ending: Ending) -> Result<Outcome, EngineError> {
        let Self {
            mut evidence,
            ground,
            workspace,
            held,
            door,
            last,
            began,
            ledgers,
            repairer,
            ..
        } = self;
        let Ground {
            options,
            reporter,
            site,
            ..
        } = ground;
        let ended = async {
            if let Some(held) = held {
                held.end().await?;
            }
            let usage = door.map(|door| door.door.close()).transpose()?;
            let mut summary = Summary::new(&site);
            summary.exit_reason = ending.reason.to_owned();
            summary.detail = ending.detail;
            summary.exit_code = ending.exit_code;
            summary.usage = usage;
            if let Some(last) = last {
                summary.blame = last.blame;
                summary.judged(last);
            }
            summary.wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            summary.turns = ledgers.turns;
            summary.guard_events = ledgers.guard_events;
            if let Some(repairer) = repairer {
                repairer.close()?;
            }
            if !workspace.changes().is_empty() {
                // A contract that was written or repaired: `apply` brings it to a tree.
                bring_out(&workspace, &site.run, &reporter, options.changes_caps(), &mut summary)?;
            }
            evidence.take(&workspace)?;
            drop(workspace);
            site.close_egress(&reporter).await?;
            let outcome = summary.conclude(&site.run, &reporter)?;
            site.scratch.remove()?;
            Ok(outcome)
        }
        .await;
        evidence.close(ended)
    }
}
