//! The calls, some at a time, and what of an earlier attempt is taken up.
//!
//! What comes is appended to a file of the run at once, each answer with the digest of what was
//! asked and of whom. An attempt that is cut off, by the provider, the sandbox or the user,
//! leaves it; the next one asks what is missing; one that is complete removes it.

use std::{
    collections::HashMap,
    fs,
    io::ErrorKind,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    super::session::Session,
    Undone,
    asked::{Asked, Item, positive},
    model::Model,
};
use crate::{
    contract::GenericRollout,
    engine::{EngineError, environment::Environment},
    fsm::Blame,
    record::RunDir,
    report::{Happening, Reporter, escape},
    rollout::{Failed, Reply, request},
};

/// What is kept of a rollout that is under way, relative to the run.
const PARTIAL: &str = "rollout_partial.jsonl";
/// Largest file of that kind that is taken up.
const PARTIAL_MAX: u64 = 256 << 20;
/// The wait before a call is made again, doubled each time.
const BACKOFF: Duration = Duration::from_millis(250);
/// The longest one.
const BACKOFF_MAX: Duration = Duration::from_secs(8);
/// Between two words of how far it is.
const WORD: Duration = Duration::from_millis(500);
/// Entries of a model's directory that are looked at.
const ENTRIES: usize = 10_000;

/// An answer that was kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// Of what was asked, and of whom.
    pub digest: String,
    pub completion: String,
    pub finish: Option<String>,
    pub tokens: Option<(u64, u64)>,
    pub tries: u32,
}

/// What all the calls came to.
pub(super) struct Answered {
    /// In the order of the prompts; nothing where a call failed.
    pub answers: Vec<Option<Answer>>,
    /// Why calls failed, as far as they are listed.
    pub errors: Vec<String>,
    pub failed: u64,
    /// Answers of an earlier attempt.
    pub resumed: u64,
}

/// Calls that are to be made.
pub(super) struct Calls<'a> {
    asked: &'a Asked,
    model: &'a Model<'a>,
    generic: &'a GenericRollout,
    max_tokens: u64,
    run: &'a RunDir,
    reporter: &'a Reporter,
    /// Where errors go, relative to the run.
    errors: String,
    digests: Vec<String>,
    kept: HashMap<String, Answer>,
    stopped: AtomicBool,
    failed: AtomicU64,
}

/// What one prompt came to.
enum Came {
    Answer(Answer),
    Failed(Failed, u32),
    /// It was not asked: enough had failed.
    Left,
}

impl<'a> Calls<'a> {
    pub fn new(
        session: &Session<'a>,
        env: &Environment,
        asked: &'a Asked,
        model: &'a Model<'a>,
    ) -> Result<Self, Undone> {
        let judge = session.judge;
        let Some(generic) = &judge.pipeline.generic_rollout else {
            return Err(Undone::new(Blame::Verifier, "the contract has no generic rollout"));
        };
        let max_tokens = positive(
            "AIDER_FSM_MAX_TOKENS",
            env.get("AIDER_FSM_MAX_TOKENS"),
            generic.max_tokens,
        );
        let max_tokens = max_tokens.map_err(|why| Undone::new(Blame::User, why))?;
        let served = session.fittings.model_dir.map(fingerprint);
        let whom = json!([
            model.way(),
            model.name,
            served,
            generic.temperature,
            max_tokens,
            generic.seed
        ]);
        let mut seen: HashMap<&str, u64> = HashMap::new();
        let digest = |item: &'a Item| {
            // The same prompt twice is asked twice.
            let number = seen.entry(&item.prompt).or_default();
            *number += 1;
            let text = json!([whom, item.prompt, *number]).to_string();
            blake3::hash(text.as_bytes()).to_hex().to_string()
        };
        let digests: Vec<String> = asked.items.iter().map(digest).collect();
        Ok(Self {
            asked,
            model,
            generic,
            max_tokens,
            run: judge.run,
            reporter: judge.reporter,
            errors: format!("{}/rollout_errors.jsonl", session.name),
            kept: kept(&judge.run.path().join(PARTIAL)),
            digests,
            stopped: AtomicBool::new(false),
            failed: AtomicU64::new(0),
        })
    }

    /// Makes them all, and waits for all answers.
    pub async fn all(&self) -> Result<Result<Answered, Undone>, EngineError> {
        let of = self.asked.items.len();
        let mut answers: Vec<Option<Answer>> = self
            .digests
            .iter()
            .map(|digest| self.kept.get(digest).cloned())
            .collect();
        let resumed = answers.iter().flatten().count() as u64;
        let missing: Vec<usize> = (0..of).filter(|index| answers[*index].is_none()).collect();
        let calls = missing
            .into_iter()
            .map(|index| async move { (index, self.one(index).await) });
        let mut calls = futures_util::stream::iter(calls).buffer_unordered(self.generic.concurrency);
        let (mut errors, mut spent, mut done, mut told) = (Vec::new(), None, resumed, Instant::now());
        while let Some((index, came)) = calls.next().await {
            match came {
                Came::Answer(answer) => {
                    self.run.append(PARTIAL, &answer)?;
                    answers[index] = Some(answer);
                    done += 1;
                }
                Came::Failed(failed, tries) => {
                    let why = escape(failed.why.as_bytes(), 300);
                    let line = json!({"index": index, "digest": self.digests[index], "why": why, "tries": tries});
                    self.run.append(&self.errors, &line)?;
                    if failed.spent {
                        spent.get_or_insert_with(|| why.clone());
                    }
                    errors.push(why);
                    let count = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
                    if failed.spent || count > self.generic.max_errors {
                        self.stopped.store(true, Ordering::Relaxed);
                    }
                }
                Came::Left => {}
            }
            if told.elapsed() >= WORD {
                told = Instant::now();
                let text = format!("rollout: {done} of {of} prompts, {} errors", errors.len());
                self.reporter.say(Happening::Working { text });
            }
        }
        let failed = errors.len() as u64;
        let evidence = Some(self.errors.clone());
        let first = errors.first().cloned().unwrap_or_default();
        if let Some(why) = spent {
            let reason = format!("the model's budget was used up after {done} of {of} prompts: {why}");
            let cap = Some("agent.calls or agent.tokens".to_owned());
            return Ok(Err(Undone {
                cap,
                evidence,
                ..Undone::new(Blame::Budget, reason)
            }));
        }
        if failed > self.generic.max_errors || (failed > 0 && failed >= done) {
            let reason = format!("{failed} model calls failed for good, {done} of {of} prompts were answered: {first}");
            return Ok(Err(Undone {
                evidence,
                ..Undone::new(Blame::Provider, reason)
            }));
        }
        Ok(Ok(Answered {
            answers,
            errors,
            failed,
            resumed,
        }))
    }

    async fn one(&self, index: usize) -> Came {
        let (item, digest) = (&self.asked.items[index], &self.digests[index]);
        let temperature = f64::from(self.generic.temperature) / 1000.0;
        let body = request(
            &self.model.name,
            &item.prompt,
            temperature,
            self.max_tokens,
            self.generic.seed,
        );
        let mut tries = 0;
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return Came::Left;
            }
            tries += 1;
            match self.model.ask(&digest[..16], &body, self.generic.call).await {
                Ok(Reply { text, finish, tokens }) => {
                    return Came::Answer(Answer {
                        digest: digest.clone(),
                        completion: text,
                        finish,
                        tokens,
                        tries,
                    });
                }
                Err(failed) if !failed.again || tries > self.generic.retries => return Came::Failed(failed, tries),
                Err(_) => tokio::time::sleep((BACKOFF * (1 << (tries - 1).min(8))).min(BACKOFF_MAX)).await,
            }
        }
    }
}

/// A rollout is complete: the next one begins from nothing.
pub(super) fn completed(run: &RunDir) -> Result<(), EngineError> {
    let path = run.path().join(PARTIAL);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(EngineError::Io {
            what: format!("remove {}", path.display()),
            source,
        }),
        _ => Ok(()),
    }
}

/// Answers that an earlier attempt kept. A line that was being written is none.
fn kept(path: &Path) -> HashMap<String, Answer> {
    let small = fs::metadata(path).is_ok_and(|meta| meta.len() <= PARTIAL_MAX);
    let bytes = small.then(|| fs::read(path).ok()).flatten().unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n');
    let answers = lines.filter_map(|line| serde_json::from_slice::<Answer>(line).ok());
    answers.map(|answer| (answer.digest.clone(), answer)).collect()
}

/// A model's directory as it is now: names, sizes and times.
fn fingerprint(dir: &Path) -> String {
    let mut hash = blake3::Hasher::new();
    let (mut left, mut seen) = (vec![dir.to_path_buf()], 0_usize);
    while let Some(dir) = left.pop() {
        let mut entries: Vec<_> = fs::read_dir(&dir).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            seen += 1;
            let Some(meta) = entry.metadata().ok().filter(|_| seen <= ENTRIES) else {
                continue;
            };
            let modified = meta
                .modified()
                .ok()
                .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            hash.update(entry.path().as_os_str().as_encoded_bytes())
                .update(&meta.len().to_le_bytes());
            hash.update(&modified.unwrap_or_default().as_nanos().to_le_bytes());
            if meta.is_dir() {
                left.push(entry.path());
            }
        }
    }
    hash.finalize().to_hex().to_string()
}
