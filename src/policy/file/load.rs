//! Finding and reading policy files.

use std::{
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    check::problems,
    document::Document,
    error::{PolicyError, Problem},
    shipped,
};
use crate::document::{self, MAX_DOCUMENT, Position};

/// Most files that stand on each other by `extends`.
const DEEPEST: usize = 8;

/// What a policy extends that wants no rules of those below it.
pub(super) const NOTHING: &str = "nothing";

/// Where a host keeps policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPlaces {
    /// Files that hold for every run, the lowest first; each may be missing.
    pub files: Vec<PathBuf>,
    /// Directories of policies that are named by `NAME` of `NAME.yml`; the first that has one wins.
    pub named: Vec<PathBuf>,
}

/// One file, read.
#[derive(Clone, Debug)]
pub struct Source {
    /// How it is shown: a path, or `policies/NAME.yml` for one of this program's.
    pub file: Arc<str>,
    /// What it says.
    pub(super) document: Document,
}

impl Source {
    /// Whether the rules of what lies below it are gone.
    pub(super) fn stands_alone(&self) -> bool {
        self.document
            .extends
            .as_ref()
            .is_some_and(|lower| lower.value == NOTHING)
    }

    /// What it is for, in its own words.
    pub fn purpose(&self) -> Option<&str> {
        self.document.purpose.as_deref()
    }
}

/// Reads the policy that `reference` names, and those that it stands on, the lowest first.
/// A reference with a `/`, or one that ends in `.yml`, `.yaml` or `.json`, is a path; any
/// other is a name, of the host's policies first.
///
/// # Errors
/// [`PolicyError`] for a name that nobody knows, a file that cannot be read, one that is
/// malformed or whose examples fail, and for policies that stand on each other in a circle.
pub fn load(reference: &str, host: &HostPlaces) -> Result<Vec<Source>, PolicyError> {
    Loader { host }.load(reference, None, &mut Vec::new())
}

/// Reads the policy in a file, as [`load`].
///
/// # Errors
/// As there.
pub fn load_file(path: &Path, host: &HostPlaces) -> Result<Vec<Source>, PolicyError> {
    Loader { host }.file(path, &mut Vec::new())
}

/// Reads a policy that stands on nothing, in a text; `file` is how it is shown.
///
/// # Errors
/// As [`load`].
pub(super) fn load_text(file: &str, text: &[u8]) -> Result<Vec<Source>, PolicyError> {
    let host = HostPlaces::default();
    Loader { host: &host }.text(file.to_owned(), None, text, &mut Vec::new())
}

/// The files of the host that hold for every run, each with what it stands on.
///
/// # Errors
/// As [`load`], but for files that are not there.
pub fn load_host(host: &HostPlaces) -> Result<Vec<Source>, PolicyError> {
    let mut all = Vec::new();
    for file in host.files.iter().filter(|file| file.exists()) {
        all.extend(load_file(file, host)?);
    }
    Ok(all)
}

/// The names of the policies that a host keeps, with their files.
pub fn host_names(host: &HostPlaces) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for directory in &host.named {
        let listed = std::fs::read_dir(directory).into_iter().flatten().flatten();
        for path in listed.map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.and_then(|name| name.strip_suffix(".yml")) else {
                continue;
            };
            if !found.iter().any(|(known, _)| known == name) {
                found.push((name.to_owned(), path.clone()));
            }
        }
    }
    found.sort();
    found
}

struct Loader<'h> {
    host: &'h HostPlaces,
}

impl Loader<'_> {
    fn load(&self, reference: &str, from: Option<&Path>, above: &mut Vec<String>) -> Result<Vec<Source>, PolicyError> {
        let path = Path::new(reference);
        let is_path = reference.contains('/')
            || path
                .extension()
                .is_some_and(|e| e == "yml" || e == "yaml" || e == "json");
        if is_path {
            let below = from.and_then(Path::parent).map(|directory| directory.join(path));
            return self.file(below.as_deref().unwrap_or(path), above);
        }
        let file = format!("{reference}.yml");
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if reference.chars().all(is_name)
            && let Some(path) = self
                .host
                .named
                .iter()
                .map(|named| named.join(&file))
                .find(|path| path.exists())
        {
            return self.file(&path, above);
        }
        match shipped::text(reference) {
            Some(text) => self.text(shipped::file(reference), None, text.as_bytes(), above),
            None => Err(PolicyError::Unknown {
                name: document::shown(reference),
                known: self.known(),
            }),
        }
    }

    /// The names that could have been meant.
    fn known(&self) -> String {
        let shipped = shipped::NAMES.iter().map(|name| (*name).to_owned());
        let hosts = host_names(self.host).into_iter().map(|(name, _)| name);
        let mut names: Vec<String> = shipped.chain(hosts).collect();
        names.sort();
        names.dedup();
        names.join(", ")
    }

    fn file(&self, path: &Path, above: &mut Vec<String>) -> Result<Vec<Source>, PolicyError> {
        let text = read_file(path).map_err(|why| PolicyError::Unreadable {
            file: path.display().to_string(),
            why: why.to_string(),
        })?;
        self.text(path.display().to_string(), Some(path), &text, above)
    }

    fn text(
        &self,
        file: String,
        path: Option<&Path>,
        text: &[u8],
        above: &mut Vec<String>,
    ) -> Result<Vec<Source>, PolicyError> {
        let one = |at: Position, message: String| PolicyError::Malformed(vec![problem(&file, at.fault(message))]);
        let own = source(file.clone(), text)?;
        let mut all = match &own.document.extends {
            None => Vec::new(),
            Some(lower) if lower.value == NOTHING => Vec::new(),
            Some(lower) => {
                if above.len() + 1 >= DEEPEST || above.contains(&file) {
                    let chain = above.iter().chain([&file]).cloned().collect::<Vec<_>>().join(", ");
                    return Err(one(
                        lower.at,
                        format!("`extends`: more than {DEEPEST} policies stand on each other, or in a circle: {chain}"),
                    ));
                }
                above.push(file.clone());
                let found = self.load(&lower.value, path, above).map_err(|why| match why {
                    PolicyError::Malformed(problems) => PolicyError::Malformed(problems),
                    other => one(lower.at, format!("`extends`: {other}")),
                });
                above.pop();
                found?
            }
        };
        all.push(own);
        Ok(all)
    }
}

/// One file's text, by itself.
///
/// # Errors
/// [`PolicyError::Malformed`] for what is no policy, or one whose examples fail.
pub(super) fn source(file: String, text: &[u8]) -> Result<Source, PolicyError> {
    let named = |fault| problem(&file, fault);
    let document: Document = document::read(text).map_err(|fault| PolicyError::Malformed(vec![named(fault)]))?;
    let found = problems(&document);
    if !found.is_empty() {
        return Err(PolicyError::Malformed(found.into_iter().map(named).collect()));
    }
    Ok(Source {
        file: file.into(),
        document,
    })
}

fn problem(file: &str, fault: document::Fault) -> Problem {
    Problem {
        file: file.to_owned(),
        line: fault.at.line,
        column: fault.at.column,
        message: fault.message,
    }
}

/// A regular file's bytes, as many as a document may have and one more; a pipe cannot
/// hold us up.
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
