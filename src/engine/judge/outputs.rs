//! What the stages produced, read from the dead judge's layer.

use std::path::Path;

use super::{Judge, Verification, rollout_path};
use crate::{
    contract::{self, StageName},
    engine::{EngineError, workspace::Workspace},
    tree,
};

/// Largest metrics or rollout document.
const OUTPUT_DOCUMENT_BYTES: u64 = 4 << 20;
/// Bytes of stage outputs copied out of one verification.
const EXPORT_BYTES: u64 = 256 << 20;

impl Judge<'_> {
    /// Reads what the stages produced from the dead judge's layer.
    pub(super) fn outputs(
        &self,
        workspace: &mut Workspace,
        upper: &Path,
        name: &str,
        out: &mut Verification,
    ) -> Result<(), EngineError> {
        let after = workspace.judge_outputs(upper)?;
        let pristine = workspace.pristine();
        if out.ok && self.pipeline.rollout.is_some() {
            let bytes = after.read(pristine, &rollout_path(), OUTPUT_DOCUMENT_BYTES)?;
            if let Some(bytes) = bytes {
                self.run.write(&format!("{name}/rollout.json"), &bytes)?;
                if let Err(errors) = contract::validate_rollout(&bytes) {
                    out.evidence.text = errors.join("\n");
                    out.fail("rollout", errors.join("; "));
                }
            }
        }
        if let Some(evaluation) = self.pipeline.evaluation.as_ref().filter(|_| out.ok)
            && let Some(path) = &evaluation.metrics_path
        {
            let bytes = after.read(pristine, path, OUTPUT_DOCUMENT_BYTES)?;
            if let Some(bytes) = &bytes {
                self.run.write(&format!("{name}/metrics_evaluation.json"), bytes)?;
            }
            match contract::validate_metrics(StageName::Evaluation, path, bytes.as_deref(), &evaluation.required_keys) {
                Ok(metrics) => {
                    let value = serde_json::Value::Object(metrics.value);
                    self.run.write_json(&format!("{name}/metrics.json"), &value)?;
                    out.metrics = Some(value);
                }
                Err(errors) => {
                    out.metrics_errors = errors.clone();
                    out.evidence.text = errors.join("\n");
                    out.fail("metrics", errors.join("; "));
                }
            }
        }
        let written: Vec<_> = after
            .changes_since(pristine, workspace.current())
            .into_iter()
            .filter(|change| change.after.is_some() && change.path.as_bytes().starts_with(b".aider_fsm/"))
            .collect();
        let files = self.run.path().join(name).join("outputs");
        out.refused_outputs = tree::export(pristine, &after, &written, &files, EXPORT_BYTES)?;
        Ok(())
    }
}
