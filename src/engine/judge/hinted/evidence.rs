//! What a generic evaluation leaves: metrics and hints, made of what was executed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    super::{
        outputs::{HINTS_RUN, HINTS_USED, path},
        session::Session,
    },
    Measured, Tried,
};
use crate::{
    contract::StageName,
    engine::EngineError,
    hints::{self, Hint},
    tree::TreeEdits,
};

/// What a generic evaluation came to, as bytes that nobody else writes.
pub(in crate::engine::judge) struct Evidence {
    /// `hints_run.json`
    pub run: Vec<u8>,
    /// `hints_used.json`
    pub used: Vec<u8>,
    /// The metrics.
    pub metrics: Vec<u8>,
}

impl Session<'_> {
    /// Leaves what the evaluation came to in the tree and for whoever judges it; `false` where
    /// the tree does not let us.
    pub(super) async fn conclude(&mut self, tried: &Tried, came: &Result<Value, String>) -> Result<bool, EngineError> {
        let chosen = tried.chosen.as_ref();
        let used: Vec<String> = chosen
            .map(|chosen| matched(&chosen.hint, &chosen.command))
            .unwrap_or_default();
        let mut run = json!({
            "ok": chosen.is_some(),
            "used_anchors": used,
            "executed_attempts": tried.executed,
            "attempts": tried.attempts,
            "reason": match came {
                Ok(metrics) => metrics["reason"].clone(),
                Err(why) => json!(why),
            },
        });
        if let Some(chosen) = chosen {
            run["score"] = json!(chosen.score.score);
            run["chosen_command"] = json!(chosen.command);
        }
        let used = json!({"ok": chosen.is_some(), "used_anchors": used, "commands": tried.commands});
        let mut texts = BTreeMap::new();
        let bytes = |value: &Value| -> Vec<u8> {
            let text = serde_json::to_string_pretty(value).unwrap_or_default();
            format!("{}\n", self.judge.run.redact(&text)).into_bytes()
        };
        texts.insert(path(HINTS_RUN), bytes(&run));
        texts.insert(path(HINTS_USED), bytes(&used));
        let evaluation = self.judge.pipeline.evaluation.as_ref();
        let metrics_path = evaluation.and_then(|it| it.metrics_path.clone());
        let metrics = came.as_ref().map(&bytes).unwrap_or_default();
        if let (Some(path), false) = (metrics_path, metrics.is_empty()) {
            texts.insert(path, metrics.clone());
        }
        self.judge
            .run
            .write(&format!("{}/hints_run.json", self.name), &texts[&path(HINTS_RUN)])?;
        let evidence = Evidence {
            run: texts[&path(HINTS_RUN)].clone(),
            used: texts[&path(HINTS_USED)].clone(),
            metrics,
        };
        for (path, text) in &texts {
            let mut edits = TreeEdits::write_file(path, text, 0o644);
            edits.removals.push(path.clone());
            if !self.edit(&edits, StageName::Evaluation.as_str()).await? {
                return Ok(false);
            }
        }
        self.measured = came.is_ok().then_some(evidence);
        Ok(true)
    }
}

/// Anchors of a hint that occur in what was run.
fn matched(hint: &Hint, command: &str) -> Vec<String> {
    let mut anchors = hints::anchors(&hint.command);
    anchors.retain(|anchor| command.contains(anchor.as_str()));
    anchors
}

pub(super) fn hinted_metrics(chosen: &Measured) -> Value {
    json!({
        "ok": chosen.ok,
        "score": chosen.score.score,
        "reason": "hint",
        "passed": chosen.score.counts.passed,
        "failed": chosen.score.counts.failed,
        "errors": chosen.score.counts.errors,
        "skipped": chosen.score.counts.skipped,
        "source": {
            "command": chosen.command,
            "file": chosen.hint.file,
            "line": chosen.hint.line,
            "result": chosen.result,
            "rc": chosen.rc,
            "format": chosen.score.format,
            "unit": chosen.score.unit,
            "place": chosen.score.place,
            "summary": chosen.score.summary,
        },
    })
}
