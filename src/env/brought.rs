//! What a rollout leaves, brought out for a training program.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::EnvError;
use crate::{
    contract,
    engine::{OpenTarget, Overrides},
    rollout::{Anchors, check_counts, check_prompts},
};

/// A rollout on the host.
#[derive(Default)]
pub(super) struct Brought {
    /// `rollout.json` whose paths are the host's.
    pub path: Option<PathBuf>,
    /// What is wrong with it or its samples.
    pub errors: Vec<String>,
}

/// Brings out the rollout that the call `name` left in the sandbox that is still held;
/// `demanded`: its samples have to be there and hold, and of a data set be as many as this.
pub(super) async fn rollout(
    target: &mut OpenTarget,
    name: &str,
    demanded: Option<&Overrides>,
) -> Result<Brought, EnvError> {
    let mut brought = Brought::default();
    let found = target.artifacts().join(name).join("rollout.json");
    // Absent where the stage left none; it was judged where it is there.
    let Some(Value::Object(mut rollout)) = fs::read(&found)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
    else {
        if demanded.is_some() {
            brought
                .errors
                .push("missing_rollout_json: .aider_fsm/rollout.json".to_owned());
        }
        return Ok(brought);
    };
    if demanded.is_some() {
        brought.errors.extend(check_counts(&Value::Object(rollout.clone())));
    }
    let paths = rollout.get_mut("paths").and_then(Value::as_object_mut);
    let place = paths.and_then(|paths| paths.get_mut("samples_jsonl"));
    match place.as_ref().and_then(|place| place.as_str()).map(str::to_owned) {
        None if demanded.is_some() => brought
            .errors
            .push("rollout_json_missing_paths.samples_jsonl".to_owned()),
        None => {}
        Some(path) => match samples(target, name, &path).await? {
            Ok((kept, bytes)) => {
                if let Some(place) = place {
                    *place = Value::from(kept.display().to_string());
                }
                if let Some(overrides) = demanded {
                    brought.errors.extend(judged(target, name, &bytes, overrides).await?);
                }
            }
            Err(why) => brought
                .errors
                .push(format!("samples_jsonl_not_found: {}: {why}", path.escape_debug())),
        },
    }
    let text = serde_json::to_vec_pretty(&rollout).unwrap_or_default();
    brought.path = Some(target.keep(&format!("{name}/host/rollout.json"), &text)?);
    Ok(brought)
}

/// The samples that a rollout names, and where they are on the host. What a generic rollout
/// wrote is in the record, where nobody inside could change it since.
async fn samples(target: &OpenTarget, name: &str, path: &str) -> Result<Result<(PathBuf, Vec<u8>), String>, EnvError> {
    let place = format!("{name}/samples.jsonl");
    if target.pipeline().generic_rollout.is_some() {
        let kept = target.artifacts().join(place);
        return Ok(fs::read(&kept)
            .map(|bytes| (kept, bytes))
            .map_err(|why| why.to_string()));
    }
    Ok(match target.read(path).await? {
        Ok(bytes) => Ok((target.keep(&place, &bytes)?, bytes)),
        Err(why) => Err(why),
    })
}

/// What is wrong with samples that are demanded.
async fn judged(
    target: &mut OpenTarget,
    name: &str,
    bytes: &[u8],
    overrides: &Overrides,
) -> Result<Vec<String>, EnvError> {
    let samples = match contract::validate_samples(bytes) {
        Ok(samples) => samples,
        Err(findings) => return Ok(findings),
    };
    let questions = match target.test_questions(name).await? {
        None => return Ok(Vec::new()),
        Some(Ok(questions)) => questions,
        Some(Err(why)) => {
            target.warn(format!("samples are not compared with the data set's questions: {why}"));
            return Ok(Vec::new());
        }
    };
    let limit = target.rollout_limit(overrides).map_err(EnvError::InvalidEnv)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let rows = questions.len();
    let anchors = Anchors::new(questions.into_iter());
    Ok(check_prompts(&samples.prompts, rows, limit, Some(&anchors)))
}

/// Copies the artifacts of a call to a directory of the caller's, and says where they are
/// there. A name that is taken gets a number.
pub(super) fn copy(from: &Path, to: &Path) -> std::io::Result<PathBuf> {
    let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
    fs::create_dir_all(to)?;
    let mut place = to.join(&name);
    let mut number = 2;
    loop {
        match fs::create_dir(&place) {
            Ok(()) => break,
            Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => {
                place = to.join(format!("{name}.{number}"));
                number += 1;
            }
            Err(why) => return Err(why),
        }
    }
    let mut left = vec![(from.to_path_buf(), place.clone())];
    while let Some((from, to)) = left.pop() {
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
            if kind.is_dir() {
                fs::create_dir(&to)?;
                left.push((entry.path(), to));
            } else if kind.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(entry.path())?, &to)?;
            } else if kind.is_file() {
                fs::copy(entry.path(), &to)?;
            }
        }
    }
    Ok(place)
}
