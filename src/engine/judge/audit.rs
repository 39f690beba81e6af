//! What the audit finds about scores that a verification came to, and what becomes of it.

use serde_json::json;

use super::{Judge, session::Session};
use crate::{
    contract::{self, AuditFinding, AuditedTree, StageName},
    engine::{Audit, EngineError, workspace::Workspace},
    fsm::Blame,
    names::RelPath,
    report::Happening,
};

/// Most findings that are told one by one.
const TOLD: usize = 10;

/// The accepted state.
pub(in crate::engine) struct Accepted<'w>(pub &'w Workspace);

impl AuditedTree for Accepted<'_> {
    fn read(&self, path: &RelPath, most: usize) -> Option<String> {
        // What is no file of that length has no text to be looked into.
        let bytes = self.0.read(path, most as u64).ok().flatten()?;
        String::from_utf8(bytes).ok()
    }

    fn files(&self) -> Vec<RelPath> {
        let made = self.0.changes().into_iter().filter(|change| change.after.is_some());
        let mut files: Vec<RelPath> = made.map(|change| change.path).collect();
        let there = self.0.base().manifest.iter();
        files.extend(there.filter(|(_, entry)| !entry.is_dir()).map(|(path, _)| path.clone()));
        files.sort();
        files.dedup();
        files
    }
}

impl Judge<'_> {
    /// Looks into how the measurements among the stages that are `wanted` came to their scores;
    /// only scores that would otherwise count are looked into.
    pub(super) fn audit(
        &self,
        workspace: &Workspace,
        session: &mut Session<'_>,
        wanted: &dyn Fn(StageName) -> bool,
    ) -> Result<(), EngineError> {
        let audit = self.options.audit;
        let measured = self
            .pipeline
            .stages()
            .any(|stage| stage.name.measures() && wanted(stage.name));
        if audit == Audit::Off || !measured || !session.out.ok {
            return Ok(());
        }
        let mut findings = contract::audit(self.pipeline, &Accepted(workspace));
        for finding in &mut findings {
            finding.text = self.run.redact(&finding.text);
        }
        let Some(first) = findings.first() else { return Ok(()) };
        self.run
            .journal("audit", &json!({"verification": session.name, "findings": findings}))?;
        for finding in findings.iter().take(TOLD) {
            let text = format!("audit: {finding}");
            self.reporter.say(Happening::Warning { text });
        }
        if audit == Audit::On {
            let more = match findings.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let reason = format!("{first}{more}");
            let lines: Vec<String> = findings.iter().map(AuditFinding::to_string).collect();
            session.out.evidence.text = lines.join("\n");
            let place = format!("{}/summary.json", session.name);
            session.out.fail("audit", reason, Blame::Verifier, Some(place));
            // Nobody has earned it.
            session.out.metrics = None;
        }
        session.out.audit = findings;
        Ok(())
    }
}
