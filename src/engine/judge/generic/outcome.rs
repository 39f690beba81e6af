//! The samples of a generic rollout, and `rollout.json`: in the tree for the stages after it,
//! and in the record, where nothing that runs inside can change them.

use serde_json::{Value, json};

use super::{
    super::{
        outputs::{ROLLOUT, below, path},
        session::Session,
    },
    Undone,
    asked::{Asked, Item},
    calls::{Answer, Answered, completed},
};
use crate::{
    engine::{EngineError, environment::Environment},
    fsm::Blame,
    names::RelPath,
    rollout::judge,
    tree::TreeEdits,
};

/// Most bytes of samples.
const SAMPLES_MAX: usize = 64 << 20;
/// Errors that `rollout.json` lists.
const LISTED: usize = 3;
/// The file of the samples, in the stage's directory.
const SAMPLES: &str = "rollout_samples.jsonl";

impl Session<'_> {
    pub(super) async fn write_rollout(
        &mut self,
        env: &Environment,
        asked: &Asked,
        model: &str,
        answered: Answered,
    ) -> Result<Result<(), Undone>, EngineError> {
        let (mut lines, mut rewards) = (Vec::new(), Vec::new());
        for (index, (item, answer)) in asked.items.iter().zip(&answered.answers).enumerate() {
            let Some(answer) = answer else { continue };
            let (reward, sample) = sample(index, item, answer);
            rewards.push(reward);
            lines.extend(sample.to_string().into_bytes());
            lines.push(b'\n');
            if lines.len() > SAMPLES_MAX {
                let why = format!(
                    "samples_too_large: the samples have more than {SAMPLES_MAX} bytes; lower `limit` or `max_tokens`"
                );
                return Ok(Err(Undone::new(Blame::Verifier, why)));
            }
        }
        let workspace = &self.sandbox.inside().workspace;
        let place = format!(
            "{}/{SAMPLES}",
            below(workspace, &self.artifacts).unwrap_or(&self.artifacts)
        );
        let place = RelPath::new(place).map_err(|why| EngineError::Usage(why.to_string()))?;
        let correct = rewards.iter().filter(|reward| **reward > 0.0).count();
        #[expect(clippy::cast_precision_loss, reason = "there are at most a million")]
        let mean = rewards.iter().sum::<f64>() / rewards.len().max(1) as f64;
        let dataset = asked.dataset.as_ref();
        let rollout = json!({
            "ok": true,
            "generic": true,
            "mode": env.get("AIDER_EVAL_MODE").unwrap_or("smoke"),
            "counts": {
                "samples": rewards.len(), "correct": correct, "errors": answered.failed, "resumed": answered.resumed,
            },
            "mean_reward": mean,
            "dataset": dataset.map(|(id, file)| json!({"id": id, "file": file, "rows": asked.items.len()})),
            "model": model,
            "paths": {"samples_jsonl": place},
            "errors": answered.errors.iter().take(LISTED).collect::<Vec<_>>(),
        });
        let mut text = serde_json::to_vec_pretty(&rollout).unwrap_or_default();
        text.push(b'\n');
        let run = self.judge.run;
        run.write(&format!("{}/samples.jsonl", self.name), &lines)?;
        run.write(&format!("{}/rollout.json", self.name), &text)?;
        for (path, bytes) in [(&place, &lines), (&path(ROLLOUT), &text)] {
            let mut edits = TreeEdits::write_file(path, bytes, 0o644);
            edits.removals.push(path.clone());
            if !self.edit(&edits, "rollout").await? {
                // It has failed by then, and says why.
                let why = self.out.reason.clone().unwrap_or_default();
                return Ok(Err(Undone::new(Blame::Verifier, why)));
            }
        }
        self.handed.rollout = vec![(path(ROLLOUT), text), (place, lines)];
        completed(run)?;
        Ok(Ok(()))
    }
}

/// One sample, and its reward.
fn sample(index: usize, item: &Item, answer: &Answer) -> (f64, Value) {
    let judged = item
        .reference
        .as_ref()
        .map(|reference| judge(&answer.completion, reference));
    let reward = if judged.as_ref().is_some_and(|judged| judged.correct) {
        1.0
    } else {
        0.0
    };
    let rule = match &judged {
        Some(judged) => json!({
            "said": judged.said, "compared": judged.compared, "found": judged.found, "expected": judged.expected,
        }),
        None => json!("none"),
    };
    let meta = json!({
        "index": index, "digest": answer.digest, "rule": rule, "finish": answer.finish, "tokens": answer.tokens,
        "tries": answer.tries,
    });
    let sample = json!({"prompt": item.prompt, "completion": answer.completion, "reward": reward, "meta": meta});
    (reward, sample)
}
