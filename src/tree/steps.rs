//! Accepted states of a run, kept with it: what changed from each to the next, and the bytes.
//!
//! ```text
//! <run>/checkpoints/NNNN.json   a step: what differs from the one before
//!      /objects/ab/<BLAKE3>     the bytes of a file, each once
//! ```
//! A step costs what it changed. The bytes of what was changed are kept as well, so that two
//! steps can be compared where the tree that they stand on is gone.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Change, ChangeKind, Checkpoint, Content, Entry, EntryKind, Pristine, TreeError, at, content,
    content::shown,
    layer::{self, Source},
    manifest, open_record,
    patch::patch_of,
    state::{Diff, State},
};
use crate::names::RelPath;

/// Version of [`Step`].
const STEP_VERSION: u32 = 1;
/// Largest step that is read.
const MAX_STEP: u64 = 256 << 20;
/// Bytes of files that one run keeps.
const MAX_KEPT: u64 = 8 << 30;
/// Largest file that is put into a patch.
const MAX_PATCHED: u64 = 128 << 20;

/// One accepted state, as it differs from the one before.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// 1; it rises when a field changes its meaning.
    pub version: u32,
    /// Counts the steps from 0, the tree as it was copied.
    pub number: u64,
    /// What led to it: a turn's label, or what the machine did.
    pub label: String,
    /// BLAKE3 digest of the target's manifest.
    pub target: Content,
    /// BLAKE3 digest of all that differs from the tree as it was copied.
    pub state: Content,
    /// What differs from the step before.
    pub changes: Vec<Change>,
}

/// Every path that differs from the first state: what was there, and what is.
#[derive(Default)]
struct Differences(BTreeMap<RelPath, (Option<Entry>, Option<Entry>)>);

impl Differences {
    fn take(&mut self, changes: &[Change]) {
        for change in changes {
            let now = self
                .0
                .entry(change.path.clone())
                .or_insert((change.before.clone(), None));
            now.1.clone_from(&change.after);
            if now.0 == now.1 {
                self.0.remove(&change.path);
            }
        }
    }

    fn diff(&self) -> Diff {
        let now = self.0.iter().map(|(path, (_, now))| (path.clone(), now.clone()));
        now.collect()
    }

    fn digest(&self) -> Content {
        Content::of(&manifest::encode_diff(&self.diff()))
    }
}

/// Keeps the steps of one run.
pub struct StepWriter {
    run: PathBuf,
    target: Content,
    next: u64,
    all: Differences,
    kept: BTreeSet<Content>,
    left: u64,
}

/// A step that was kept.
#[derive(Debug)]
pub struct Kept {
    /// It.
    pub step: Step,
    /// Its own file, relative to the run.
    pub file: String,
    /// The new files of the store, absolute; none of them is synced.
    pub objects: Vec<PathBuf>,
    /// Files whose bytes are not kept any more, because the run has kept too many.
    pub without: u64,
}

impl StepWriter {
    /// Steps of a run on a target of this digest.
    pub fn new(run: &Path, target: Content) -> Self {
        Self {
            run: run.to_path_buf(),
            target,
            next: 0,
            all: Differences::default(),
            kept: BTreeSet::new(),
            left: MAX_KEPT,
        }
    }

    /// Goes on after a step of a run that was cut off.
    pub fn after(steps: &Steps, number: u64) -> Self {
        let upto = usize::try_from(number).unwrap_or(usize::MAX).saturating_add(1);
        let mut kept = BTreeSet::new();
        let mut left = MAX_KEPT;
        let changes = steps.steps.iter().take(upto).flat_map(|step| &step.changes);
        for entry in changes.flat_map(|change| change.before.iter().chain(&change.after)) {
            if let EntryKind::File { content, size } = &entry.kind
                && !kept.contains(content)
                && steps.run.join(object_file(*content)).exists()
            {
                left = left.saturating_sub(*size);
                kept.insert(*content);
            }
        }
        Self {
            run: steps.run.clone(),
            target: steps
                .steps
                .first()
                .map_or_else(|| Content::of(&[]), |first| first.target),
            next: number + 1,
            all: steps.differences(number),
            kept,
            left,
        }
    }

    /// Keeps the bytes that lead from `before` to `now`, both over `base`. The step's own
    /// file is the caller's to write.
    ///
    /// # Errors
    /// When a file cannot be read or kept.
    pub fn keep(
        &mut self,
        base: &Pristine,
        before: &Checkpoint,
        now: &Checkpoint,
        label: &str,
    ) -> Result<Kept, TreeError> {
        let changes = now.changes_since(base, before);
        let (mut objects, mut without) = (Vec::new(), 0);
        for change in &changes {
            for (entry, state) in [(&change.before, before), (&change.after, now)] {
                if let Some(EntryKind::File { content, size }) = entry.as_ref().map(|entry| &entry.kind)
                    && !self.kept.contains(content)
                {
                    if *size > self.left {
                        without += 1;
                        continue;
                    }
                    let own = state.diff.contains_key(&change.path);
                    objects.extend(self.object(base, state, &change.path, (content, *size), own)?);
                    self.left -= size;
                    self.kept.insert(*content);
                }
            }
        }
        self.all.take(&changes);
        let step = Step {
            version: STEP_VERSION,
            number: self.next,
            label: label.to_owned(),
            target: self.target,
            state: self.all.digest(),
            changes,
        };
        self.next += 1;
        Ok(Kept {
            file: step_file(step.number),
            step,
            objects,
            without,
        })
    }

    /// Keeps one file's bytes: a link to those of a frozen layer, which never change, or a copy.
    fn object(
        &self,
        base: &Pristine,
        state: &Checkpoint,
        path: &RelPath,
        (content, size): (&Content, u64),
        own: bool,
    ) -> Result<Option<PathBuf>, TreeError> {
        let to = self.run.join(object_file(*content));
        let fail = |error: io::Error| TreeError::io("keep", shown(&to))(error);
        fs::create_dir_all(to.parent().unwrap_or(&self.run)).map_err(fail)?;
        // Another run's copy of the base is nobody's to link to: its times would change.
        if own && fs::hard_link(path.under(&state.layer), &to).is_ok() {
            return Ok(Some(to));
        }
        let mut from = state.open(base, path)?;
        let mut file = tempfile::NamedTempFile::new_in(to.parent().unwrap_or(&self.run)).map_err(fail)?;
        let copied = content::copy(&mut from, size, true, Some(file.as_file_mut()), &mut content::buffer());
        if copied.map_err(fail)? != *content {
            return Err(TreeError::Refused(format!("{path} changed while it was kept")));
        }
        file.persist(&to).map_err(|error| fail(error.error))?;
        Ok(Some(to))
    }
}

/// The steps that a run has kept.
pub struct Steps {
    run: PathBuf,
    steps: Vec<Step>,
}

impl Steps {
    /// Reads them; each must follow from those before it.
    ///
    /// # Errors
    /// [`TreeError::Refused`] for one that does not; when one cannot be read.
    pub fn read(run: &Path) -> Result<Self, TreeError> {
        let mut steps: Vec<Step> = Vec::new();
        let mut all = Differences::default();
        loop {
            let number = steps.len() as u64;
            let name = step_file(number);
            let path = RelPath::new(&name).map_err(|why| TreeError::Refused(why.to_string()))?;
            let file = match open_record(run, &path) {
                Err(TreeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => break,
                file => file?,
            };
            let mut bytes = Vec::new();
            file.take(MAX_STEP)
                .read_to_end(&mut bytes)
                .map_err(TreeError::io("read", &name))?;
            let step: Step =
                serde_json::from_slice(&bytes).map_err(|why| TreeError::Refused(format!("{name}: {why}")))?;
            all.take(&step.changes);
            let follows = step.version == STEP_VERSION && step.number == number && step.state == all.digest();
            if !follows || steps.first().is_some_and(|first| first.target != step.target) {
                return Err(TreeError::Refused(format!(
                    "{name} does not follow from the steps before it; see `opencode-fsm audit verify`"
                )));
            }
            steps.push(step);
        }
        Ok(Self {
            run: run.to_path_buf(),
            steps,
        })
    }

    /// All of them.
    pub fn all(&self) -> &[Step] {
        &self.steps
    }

    /// What differs from one step to another, whichever came first.
    pub fn changes(&self, from: u64, to: u64) -> Vec<Change> {
        let (old, new) = (self.differences(from), self.differences(to));
        let paths: BTreeSet<&RelPath> = old.0.keys().chain(new.0.keys()).collect();
        let changed = paths.into_iter().filter_map(|path| {
            let at = |one: &Differences, other: &Differences| match (one.0.get(path), other.0.get(path)) {
                (Some((_, now)), _) => now.clone(),
                // As at the start, which the other knows.
                (None, start) => start.and_then(|(start, _)| start.clone()),
            };
            let (before, after) = (at(&old, &new), at(&new, &old));
            let kind = match (&before, &after) {
                (None, Some(_)) => ChangeKind::Added,
                (Some(_), None) => ChangeKind::Deleted,
                (before, after) if before == after => return None,
                _ => ChangeKind::Modified,
            };
            Some(Change {
                path: path.clone(),
                kind,
                before,
                after,
            })
        });
        changed.collect()
    }

    /// The git patch that leads from one step to another.
    ///
    /// # Errors
    /// When bytes are not kept, or are not what they were.
    pub fn patch(&self, from: u64, to: u64) -> Result<Vec<u8>, TreeError> {
        let read = |path: &RelPath, content: &Content| {
            let mut file = self.object(path, content)?;
            let size = file.metadata().map_err(TreeError::io("stat", path))?.len();
            let bytes = content::read_bounded(&mut file, size, MAX_PATCHED, path)?;
            match Content::of(&bytes) == *content {
                true => Ok(bytes),
                false => Err(TreeError::Refused(format!("the kept bytes of {path} are damaged"))),
            }
        };
        patch_of(&self.changes(from, to), &read, &read)
    }

    /// The state of a step as a checkpoint over `base`, which is the target as it was copied,
    /// its layer at `dir`.
    ///
    /// # Errors
    /// [`TreeError::Refused`] for another base, and where bytes are not kept or damaged;
    /// when the layer cannot be written.
    pub fn checkpoint(&self, base: &Pristine, number: u64, dir: &Path) -> Result<Checkpoint, TreeError> {
        if self.steps.first().is_some_and(|first| first.target != base.digest) {
            return Err(TreeError::Refused("the steps stand on another tree".to_owned()));
        }
        let mut state = State {
            pristine: &base.manifest,
            diff: Diff::new(),
        };
        for (path, entry) in self.differences(number).diff() {
            match entry {
                Some(entry) => {
                    // What only a bootstrap had made above it.
                    state.parents(&path, |_| Some(Entry::dir(0o755)));
                    state.replace(path, entry);
                }
                None => state.remove(&path),
            }
        }
        layer::write(
            base,
            &state.diff,
            dir,
            &|path| match state.get(path).map(|entry| &entry.kind) {
                Some(EntryKind::File { content, .. }) => Source::Object(self.object(path, content)),
                // Only files have bytes.
                _ => Source::Bytes(&[]),
            },
        )?;
        Ok(Checkpoint::new(dir, state.diff, Vec::new()))
    }

    fn differences(&self, number: u64) -> Differences {
        let mut all = Differences::default();
        let upto = usize::try_from(number).unwrap_or(usize::MAX).saturating_add(1);
        self.steps.iter().take(upto).for_each(|step| all.take(&step.changes));
        all
    }

    fn object(&self, path: &RelPath, content: &Content) -> Result<File, TreeError> {
        let name = RelPath::new(object_file(*content)).map_err(|why| TreeError::Refused(why.to_string()))?;
        let root = at::open_root(&self.run).map_err(TreeError::io("open", shown(&self.run)))?;
        let opened = at::open_beneath(&root, &name, nix::fcntl::OFlag::O_RDONLY).and_then(at::regular);
        opened.map(|(file, _)| file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => TreeError::Refused(format!(
                "the run did not keep the bytes of {path}: it keeps {} GiB at the most",
                MAX_KEPT >> 30
            )),
            _ => TreeError::io("read the kept bytes of", path)(error),
        })
    }
}

fn step_file(number: u64) -> String {
    format!("checkpoints/{number:04}.json")
}

fn object_file(content: Content) -> String {
    let name = content.to_string();
    format!("objects/{}/{name}", &name[..2])
}
