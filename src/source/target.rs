//! What a user names as a target, read once.

use std::{
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
};

use super::{
    address::{Address, SshAddress},
    endpoints::Endpoints,
    error::SourceError,
};
use crate::record::Secret;

/// What a run is about.
#[derive(Clone, Debug)]
pub enum Target {
    /// A directory of this host, absolute. It is copied and never written.
    Directory(PathBuf),
    /// An archive of this host, absolute.
    ArchiveFile(PathBuf, Packing),
    /// An archive somewhere else.
    Archive(Address, Packing),
    /// A git repository.
    Git(Repository),
    /// A data set of the Hugging Face hub.
    Dataset(Dataset),
}

/// How an archive is packed, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// `.zip`
    Zip,
    /// `.tar`
    Tar,
    /// `.tar.gz`, `.tgz`
    TarGz,
}

/// A git repository, and the revision that was named with it.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Where it lies.
    pub place: GitPlace,
    /// Owner and name, where it is one of GitHub's.
    pub github: Option<(String, String)>,
    /// What the URL names beyond the repository.
    pub revision: Option<String>,
}

/// Where a git repository lies.
#[derive(Clone, Debug)]
pub enum GitPlace {
    /// Behind a web server.
    Http(Address),
    /// Behind ssh(1).
    Ssh(SshAddress),
    /// A directory of this host, bare or not, absolute.
    File(PathBuf),
}

/// A data set of the Hugging Face hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// `namespace/name`, or `name` for the oldest ones.
    pub id: String,
    /// What the name or URL says of a revision.
    pub revision: Option<String>,
}

impl Packing {
    fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        match () {
            () if name.ends_with(".zip") => Some(Self::Zip),
            () if name.ends_with(".tar.gz") || name.ends_with(".tgz") => Some(Self::TarGz),
            () if name.ends_with(".tar") => Some(Self::Tar),
            () => None,
        }
    }
}

/// A target and what the user should know of how its name was read.
#[derive(Clone, Debug)]
pub struct Named {
    /// The target.
    pub target: Target,
    /// In one line.
    pub note: Option<String>,
}

impl Target {
    /// Reads what a user wrote. What exists on this host is that; what looks like a path
    /// and does not exist is an error, and never something on a network.
    ///
    /// # Errors
    /// [`SourceError::Name`], which says what was expected.
    pub fn parse(given: &OsStr, endpoints: &Endpoints) -> Result<Named, SourceError> {
        let text = given.to_str();
        let path = text.map_or_else(|| PathBuf::from(given), expanded);
        let fail = |why: &str| {
            Err(SourceError::Name {
                what: redacted(&given.to_string_lossy()),
                why: why.to_owned(),
            })
        };
        let nothing = |note| move |target| Ok(Named { target, note });
        let is_url = text.is_some_and(|text| text.contains("://"));
        if !is_url && let Ok(meta) = std::fs::metadata(&path) {
            let absolute = std::fs::canonicalize(&path).map_err(SourceError::io(format!("find {}", path.display())))?;
            let github = text.and_then(owner_and_name);
            let note = github.map(|(owner, name)| {
                let url = endpoints.github.with_segments([owner, name]);
                format!("{owner}/{name} is a local directory, which is taken; the repository of GitHub is {url}")
            });
            return match (meta.is_dir(), Packing::of(&path.to_string_lossy())) {
                (true, _) => nothing(note)(Self::Directory(absolute)),
                (false, Some(packing)) if meta.is_file() => nothing(note)(Self::ArchiveFile(absolute, packing)),
                (false, _) => fail("it is no directory, and no archive (.zip, .tar.gz, .tgz, .tar)"),
            };
        }
        let Some(text) = text else {
            return fail("there is no such directory");
        };
        if text.is_empty() || text.starts_with('-') {
            return fail("a directory, a URL, OWNER/REPO or hf:NAME is expected");
        }
        if !is_url && is_path(text) {
            return fail(
                "there is no such directory or archive here; a repository elsewhere is named by its URL, or OWNER/REPO \
                 without `./`",
            );
        }
        if let Some(name) = text.strip_prefix("hf:") {
            return match Dataset::parse(name) {
                Some(dataset) => nothing(None)(Self::Dataset(dataset)),
                None => fail("hf:NAME, hf:NAMESPACE/NAME, and either with @REVISION behind it, name a data set"),
            };
        }
        match text.split_once("://") {
            Some(("http" | "https", _)) => match Self::of_web(text, endpoints) {
                Ok(target) => nothing(None)(target),
                Err(why) => fail(&why),
            },
            Some(("ssh", _)) => match SshAddress::parse(text) {
                Ok(place) => nothing(None)(Self::git(GitPlace::Ssh(place), None)),
                Err(why) => fail(&why),
            },
            Some(("file", _)) => Self::of_file(text).map_or_else(|why| fail(&why), nothing(None)),
            Some(("git", _)) => fail("git:// is neither encrypted nor proves who answers; use https:// or ssh://"),
            Some(_) => fail("only https, http, ssh and file URLs are taken"),
            None => match owner_and_name(text) {
                Some((owner, name)) => {
                    let note = format!("there is no directory `{text}` here: it is taken as a repository of GitHub");
                    nothing(Some(note))(Self::github(owner, name, None, endpoints))
                }
                None if text.split('/').next().is_some_and(|first| first.contains(':')) => {
                    match SshAddress::parse(text) {
                        Ok(place) => nothing(None)(Self::git(GitPlace::Ssh(place), None)),
                        Err(why) => fail(&why),
                    }
                }
                None => fail("there is no such directory here, and it is no URL, OWNER/REPO or hf:NAME"),
            },
        }
    }

    fn git(place: GitPlace, revision: Option<String>) -> Self {
        Self::Git(Repository {
            place,
            github: None,
            revision,
        })
    }

    fn github(owner: &str, name: &str, revision: Option<String>, endpoints: &Endpoints) -> Self {
        let file = format!("{name}.git");
        Self::Git(Repository {
            place: GitPlace::Http(endpoints.github.with_segments([owner, file.as_str()])),
            github: Some((owner.to_owned(), name.to_owned())),
            revision,
        })
    }

    fn of_web(text: &str, endpoints: &Endpoints) -> Result<Self, String> {
        let address = Address::parse(text)?;
        let segments: Vec<String> = address
            .url()
            .path_segments()
            .into_iter()
            .flatten()
            .filter(|segment| !segment.is_empty())
            .map(str::to_owned)
            .collect();
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        if let Some(("datasets", rest)) = parts.split_first().map(|(first, rest)| (*first, rest))
            && endpoints.is_hub(&address)
        {
            let why =
                "a data set's URL is …/datasets/NAME or …/datasets/NAMESPACE/NAME, with /tree/REVISION or without";
            return Dataset::of_segments(rest)
                .map(Self::Dataset)
                .ok_or_else(|| why.to_owned());
        }
        let git_name = parts.last().is_some_and(|last| last.ends_with(".git"));
        let archive = Packing::of(address.url().path()).filter(|_| !git_name);
        if let Some(packing) = archive {
            return Ok(Self::Archive(address, packing));
        }
        if endpoints.is_github(&address) && address.authorization().is_none() {
            let pair = |owner, name| owner_and_name(&format!("{owner}/{name}")).is_some();
            match parts.as_slice() {
                [owner, name] if pair(owner, name) => {
                    let name = name.strip_suffix(".git").unwrap_or(name);
                    return Ok(Self::github(owner, name, None, endpoints));
                }
                [owner, name, "tree" | "commit", revision] if pair(owner, name) => {
                    return Ok(Self::github(owner, name, Some((*revision).to_owned()), endpoints));
                }
                [_, _, "tree", ..] => {
                    return Err(
                        "a directory of a repository cannot be named by its URL; name the repository, and the \
                                branch with --ref"
                            .to_owned(),
                    );
                }
                _ => {}
            }
        }
        match parts.is_empty() {
            true => Err("it names a host and no repository".to_owned()),
            false => Ok(Self::git(GitPlace::Http(address), None)),
        }
    }

    fn of_file(text: &str) -> Result<Self, String> {
        let url = reqwest::Url::parse(text).map_err(|why| format!("it is no URL: {why}"))?;
        let path = url
            .to_file_path()
            .map_err(|()| "a file URL is file:///PATH".to_owned())?;
        let absolute = std::fs::canonicalize(&path).map_err(|why| format!("{}: {why}", path.display()))?;
        match (absolute.is_dir(), Packing::of(&absolute.to_string_lossy())) {
            (true, _) => Ok(Self::git(GitPlace::File(absolute), None)),
            (false, Some(packing)) => Ok(Self::ArchiveFile(absolute, packing)),
            (false, None) => Err("it is no directory and no archive".to_owned()),
        }
    }

    /// The directory of this host that it is, where it is one.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            _ => None,
        }
    }

    /// What was written into its name and must not be shown.
    pub fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::Archive(address, _)
            | Self::Git(Repository {
                place: GitPlace::Http(address),
                ..
            }) => address.secrets(),
            _ => Vec::new(),
        }
    }

    /// The address that must not be used unless the user accepts that anybody on the way
    /// can read and change what travels.
    pub fn exposed(&self) -> Option<&Address> {
        match self {
            Self::Archive(address, _)
            | Self::Git(Repository {
                place: GitPlace::Http(address),
                ..
            }) => Some(address).filter(|address| address.is_exposed()),
            _ => None,
        }
    }
}

/// As it may be shown, and read again.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) | Self::ArchiveFile(path, _) => path.display().fmt(f),
            Self::Archive(address, _) => address.fmt(f),
            Self::Git(repository) => repository.place.fmt(f),
            Self::Dataset(dataset) => write!(f, "hf:{}", dataset.id),
        }
    }
}

impl fmt::Display for GitPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(address) => address.fmt(f),
            Self::Ssh(address) => address.fmt(f),
            Self::File(path) => write!(f, "file://{}", path.display()),
        }
    }
}

impl Dataset {
    /// `name`, `namespace/name`, either with `@revision`.
    fn parse(text: &str) -> Option<Self> {
        let (id, revision) = match text.split_once('@') {
            Some((id, revision)) if !revision.is_empty() => (id, Some(revision.to_owned())),
            Some(_) => return None,
            None => (text, None),
        };
        let parts: Vec<&str> = id.split('/').collect();
        let named = matches!(parts.as_slice(), [_] | [_, _]) && parts.iter().all(|part| is_hub_name(part));
        named.then(|| Self {
            id: id.to_owned(),
            revision,
        })
    }

    /// What stands behind `/datasets/`. Pages of a data set have names of their own there.
    fn of_segments(parts: &[&str]) -> Option<Self> {
        const PAGES: [&str; 6] = ["tree", "blob", "resolve", "raw", "viewer", "discussions"];
        let length = match parts {
            [] => return None,
            [_] => 1,
            [_, second, ..] if PAGES.contains(second) => 1,
            _ => 2,
        };
        let (id, rest) = parts.split_at(length);
        let revision = match rest {
            ["tree" | "blob" | "resolve" | "raw", revision, ..] => Some(revision.replace("%2F", "/")),
            _ => None,
        };
        let dataset = Self::parse(&id.join("/"))?;
        Some(Self { revision, ..dataset })
    }
}

/// A part of a data set's name, as the hub has them.
fn is_hub_name(text: &str) -> bool {
    (1..=96).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && !text.contains("..")
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// `owner/name`, as GitHub has them; `.git` is no part of a name.
fn owner_and_name(text: &str) -> Option<(&str, &str)> {
    let (owner, name) = text.split_once('/')?;
    let name = name.strip_suffix(".git").unwrap_or(name);
    let fits = |text: &str, also: &str| {
        (1..=100).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    };
    let good = fits(owner, "-_") && !owner.starts_with(['-', '_']) && fits(name, "._-") && !name.starts_with('-');
    (good && !matches!(name, "." | "..")).then_some((owner, name))
}

/// Whether somebody who writes this means a place of this host.
fn is_path(text: &str) -> bool {
    matches!(text, "." | ".." | "~")
        || ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start))
        || text.ends_with('/')
        || (!text.contains(':') && Packing::of(text).is_some())
}

fn expanded(text: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").filter(|home| !home.is_empty());
    match (text, text.strip_prefix("~/")) {
        ("~", _) => home().map_or_else(|| text.into(), PathBuf::from),
        (_, Some(rest)) => home().map_or_else(|| text.into(), |home| Path::new(&home).join(rest)),
        _ => text.into(),
    }
}

/// A text in which a URL's user, password and query are not shown.
pub fn redacted(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return crate::report::escape(text.as_bytes(), 300);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rfind('@').map_or(&rest[..end], |at| &rest[at + 1..end]);
    let path = rest[end..].split(['?', '#']).next().unwrap_or_default();
    let user = if host.len() < end && scheme != "ssh" {
        "***@"
    } else {
        ""
    };
    crate::report::escape(format!("{scheme}://{user}{host}{path}").as_bytes(), 300)
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
