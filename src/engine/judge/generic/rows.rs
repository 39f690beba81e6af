//! Rows of the target's test split. The file is read inside, in a sandbox of the accepted tree
//! where no stage ran, so that nothing but the target itself says what is asked.

use std::time::Instant;

use serde_json::Value;

use super::{super::Judge, Undone};
use crate::{
    contract::{AuditedTree, MAX_DOCUMENT},
    dataset::{Cells, Format, Rows, RowsAsk, read_rows},
    engine::{
        EngineError,
        caps::StageCaps,
        command::{Command, CommandResult},
        judge::audit::Accepted,
        workspace::Workspace,
    },
    fsm::Blame,
    names::RelPath,
    rollout::{ASKED, MANIFEST, asked, candidates, is_manifest},
    wire::{Leftovers, Reach},
};

/// Most questions of a data set that samples are compared with.
const QUESTIONS_MAX: u64 = 200_000;
/// Most bytes of rows that are taken.
const ROWS_BYTES: u64 = 64 << 20;
/// Most files that are tried for one with questions in it.
const TRIED_MAX: usize = 3;
/// Longest time that reading one may take.
const READING: std::time::Duration = std::time::Duration::from_secs(300);

/// The test split of a data set.
pub(super) struct TestSplit {
    /// The data set, as its manifest names it.
    pub id: String,
    /// The file.
    pub file: RelPath,
    /// Its rows, as far as they were wanted.
    pub rows: Vec<Cells>,
    /// It has more.
    pub more: bool,
}

impl Judge<'_> {
    /// At most `most` rows of the target's test split, of its first file in which one is
    /// `usable`, with the columns that it has of `columns`; nothing where the target is no data
    /// set. `prefix` is where the record of the reading goes.
    ///
    /// # Errors
    /// When no sandbox can be built, or it fails; what is wrong with the data set is the inner
    /// error.
    pub(super) async fn test_split(
        &self,
        workspace: &mut Workspace,
        prefix: &str,
        (columns, most): (&[&str], u64),
        usable: fn(&Cells) -> bool,
    ) -> Result<Option<Result<TestSplit, Undone>>, EngineError> {
        let manifest = super::super::outputs::path(MANIFEST);
        // What is no small file is no manifest of the hub's.
        let Some(manifest) = workspace.read(&manifest, MAX_DOCUMENT as u64).ok().flatten() else {
            return Ok(None);
        };
        if !is_manifest(&manifest) {
            return Ok(None);
        }
        let said: Value = serde_json::from_slice(&manifest).unwrap_or_default();
        let id = said["dataset_id"]
            .as_str()
            .unwrap_or_default()
            .chars()
            .take(200)
            .collect();
        let files = Accepted(workspace).files();
        let tried: Vec<(RelPath, Format)> = candidates(files.iter())
            .into_iter()
            .take(TRIED_MAX)
            .map(|(path, format)| (path.clone(), format))
            .collect();
        if tried.is_empty() {
            let reason = "the data set has no test split: no `test-*.parquet`, `test.parquet` or `.jsonl` of that name";
            return Ok(Some(Err(Undone::new(Blame::Verifier, reason))));
        }
        let (sandbox, _) = workspace.open_judge(self.backend, Vec::new()).await?;
        let mut found = None;
        for (number, (file, format)) in tried.into_iter().enumerate() {
            let ask = RowsAsk {
                file: file.to_string(),
                format,
                columns: columns.iter().map(|name| (*name).to_owned()).collect(),
                most_rows: most,
                most_bytes: ROWS_BYTES,
            };
            let prefix = format!("{prefix}_try{:02}", number + 1);
            match self.rows(&sandbox, ask, prefix.clone()).await? {
                Ok(Rows { rows, more }) if rows.iter().any(usable) => {
                    found = Some(Ok(TestSplit { id, file, rows, more }));
                    break;
                }
                Ok(_) => {
                    let reason =
                        format!("{file} has no row with a question and an answer in columns of well-known names");
                    let evidence = Some(format!("{prefix}_stdout.txt"));
                    found.get_or_insert(Err(Undone {
                        evidence,
                        ..Undone::new(Blame::Verifier, reason)
                    }));
                }
                Err(undone) => {
                    found.get_or_insert(Err(undone));
                }
            }
        }
        sandbox.destroy().await?;
        Ok(found)
    }

    /// The questions of the test split, all of them; nothing where the target is no data set.
    ///
    /// # Errors
    /// As there; why they cannot be had is the inner error.
    pub(in crate::engine) async fn test_questions(
        &self,
        workspace: &mut Workspace,
        prefix: &str,
    ) -> Result<Option<Result<Vec<String>, String>>, EngineError> {
        let wanted = (&ASKED[..], QUESTIONS_MAX);
        let split = self
            .test_split(workspace, prefix, wanted, |row| asked(row).is_some())
            .await?;
        Ok(split.map(|split| match split {
            Ok(split) if split.more => Err(format!("{} has more than {QUESTIONS_MAX} rows", split.file)),
            Ok(split) => Ok(split.rows.iter().filter_map(asked).collect()),
            Err(why) => Err(why.reason),
        }))
    }

    async fn rows(
        &self,
        sandbox: &crate::sandbox::Sandbox,
        ask: RowsAsk,
        prefix: String,
    ) -> Result<Result<Rows, Undone>, EngineError> {
        let (options, security) = (self.options, &self.pipeline.security);
        let caps = StageCaps::new(Some(READING), security, &options.caps, self.deadline);
        let (most, file) = (ask.most_rows, ask.file.clone());
        let script = format!("read at most {most} rows of {}", file.escape_debug());
        let command = Command {
            script: &script,
            prefix: prefix.clone(),
            env: Vec::new(),
            cwd: sandbox.inside().workspace.clone(),
            cap: caps.next(Instant::now()),
            silence: options.caps.silence(),
            leftovers: Leftovers::Kill,
            reach: Reach::Own,
            terminal: None,
            author: Blame::Verifier,
            undecided: None,
        };
        let result = command.read(ask, sandbox, self.run).await?;
        let read = match result.rc {
            0 => read_rows(&result.tails[0], most),
            _ => Err(self.why(&result, &script)),
        };
        Ok(read.map_err(|why| Undone {
            cap: result.cap.clone(),
            evidence: Some(format!("{prefix}_result.json")),
            ..Undone::new(result.blame.unwrap_or(Blame::Verifier), format!("{file}: {why}"))
        }))
    }

    fn why(&self, result: &CommandResult, script: &str) -> String {
        match (result.rc, &result.cap) {
            (1, None) => crate::report::escape(result.tails[1].trim_ascii(), 300),
            _ => result.reason(script),
        }
    }
}
