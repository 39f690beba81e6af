//! A tree as the difference from another: arithmetic on manifests, no I/O.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, ChangeKind, Entry, Manifest};
use crate::names::RelPath;

/// Every path that differs from the pristine tree, fully expanded: `None` is
/// gone, and a deleted directory lists each path that was below it.
pub(super) type Diff = BTreeMap<RelPath, Option<Entry>>;

/// A pristine manifest with a difference laid over it.
pub(super) struct State<'a> {
    pub pristine: &'a Manifest,
    pub diff: Diff,
}

/// What `diff` over `pristine` holds at `path`.
pub(super) fn get<'a>(pristine: &'a Manifest, diff: &'a Diff, path: &RelPath) -> Option<&'a Entry> {
    match diff.get(path) {
        Some(entry) => entry.as_ref(),
        None => pristine.get(path),
    }
}

/// `path` and everything below it that a map names.
pub(super) fn below<'a, V>(
    map: &'a BTreeMap<RelPath, V>,
    path: &'a RelPath,
) -> impl Iterator<Item = (&'a RelPath, &'a V)> {
    map.range(path..).take_while(move |(at, _)| at.starts_with(path))
}

impl State<'_> {
    /// What is at `path`.
    pub(super) fn get(&self, path: &RelPath) -> Option<&Entry> {
        get(self.pristine, &self.diff, path)
    }

    /// Puts one entry, or takes it away; nothing is done below it.
    pub(super) fn set(&mut self, path: RelPath, entry: Option<Entry>) {
        if self.pristine.get(&path) == entry.as_ref() {
            self.diff.remove(&path);
        } else {
            self.diff.insert(path, entry);
        }
    }

    /// Takes away `path` and all below it.
    pub(super) fn remove(&mut self, path: &RelPath) {
        let added: Vec<RelPath> = below(&self.diff, path).map(|(at, _)| at.clone()).collect();
        for at in added {
            self.diff.remove(&at);
        }
        let gone: Vec<RelPath> = below(self.pristine, path).map(|(at, _)| at.clone()).collect();
        self.diff.extend(gone.into_iter().map(|at| (at, None)));
    }

    /// Puts an entry where anything may be: what is in its way goes, contents included.
    pub(super) fn replace(&mut self, path: RelPath, entry: Entry) {
        if !(entry.is_dir() && self.get(&path).is_some_and(Entry::is_dir)) {
            self.remove(&path);
        }
        self.set(path, Some(entry));
    }

    /// Makes the directories above `path` that are missing, as `model` has them.
    pub(super) fn parents(&mut self, path: &RelPath, model: impl Fn(&RelPath) -> Option<Entry>) {
        let mut up = path.parent();
        while let Some(parent) = up.filter(|parent| !self.get(parent).is_some_and(Entry::is_dir)) {
            up = parent.parent();
            self.set(parent.clone(), model(&parent));
        }
    }

    /// Makes `path` and all below it as `earlier` has them, parents included where they are missing.
    pub(super) fn revert(&mut self, earlier: &Diff, path: &RelPath) {
        self.remove(path);
        let old: Vec<(RelPath, Entry)> = paths_below(self.pristine, earlier, path)
            .into_iter()
            .filter_map(|at| Some((at.clone(), get(self.pristine, earlier, at)?.clone())))
            .collect();
        if old.is_empty() {
            return;
        }
        self.parents(path, |parent| get(self.pristine, earlier, parent).cloned());
        for (at, entry) in old {
            self.set(at, Some(entry));
        }
    }
}

/// `path` and everything below it that either map names.
pub(super) fn paths_below<'a>(pristine: &'a Manifest, diff: &'a Diff, path: &'a RelPath) -> BTreeSet<&'a RelPath> {
    let changed = below(diff, path).map(|(at, _)| at);
    below(pristine, path).map(|(at, _)| at).chain(changed).collect()
}

/// Every path at which two differences from the same pristine tree disagree.
pub(super) fn changes(pristine: &Manifest, old: &Diff, new: &Diff) -> Vec<Change> {
    let paths: BTreeSet<&RelPath> = old.keys().chain(new.keys()).collect();
    let compare = |path: &RelPath| {
        let before = get(pristine, old, path).cloned();
        let after = get(pristine, new, path).cloned();
        let kind = match (&before, &after) {
            (None, Some(_)) => ChangeKind::Added,
            (Some(_), None) => ChangeKind::Deleted,
            (before, after) if before == after => return None,
            _ => ChangeKind::Modified,
        };
        let path = path.clone();
        Some(Change {
            path,
            kind,
            before,
            after,
        })
    };
    paths.into_iter().filter_map(compare).collect()
}

/// The shallowest paths to revert so that `paths` come out as in `earlier`:
/// where a directory on the way became something else, that is what must be
/// reverted. Sorted, none inside another.
pub(super) fn cover(pristine: &Manifest, earlier: &Diff, now: &Diff, paths: &[RelPath]) -> Vec<RelPath> {
    let is_dir = |diff: &Diff, path: &RelPath| get(pristine, diff, path).is_some_and(Entry::is_dir);
    let mut tops: Vec<RelPath> = paths
        .iter()
        .map(|path| {
            let mut top = path.clone();
            let mut up = path.parent();
            while let Some(parent) = up {
                let blocked = get(pristine, now, &parent).is_some_and(|entry| !entry.is_dir());
                if blocked && is_dir(earlier, &parent) {
                    top = parent.clone();
                }
                up = parent.parent();
            }
            top
        })
        .collect();
    tops.sort_unstable();
    let mut kept: Vec<RelPath> = Vec::new();
    for top in tops {
        if !kept.last().is_some_and(|last| top.starts_with(last)) {
            kept.push(top);
        }
    }
    kept
}
