//! The model that a target's stages work with: a directory of the host, or an id that an
//! endpoint knows.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::EnvError;
use crate::{engine::StageModel, record::Secret, sandbox};

/// Entries of a model's directory that are looked at.
const ENTRIES: usize = 100_000;

/// Where remote models are.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// An OpenAI-compatible base URL.
    pub base_url: String,
    /// Its key; it stays outside.
    pub key: Option<Secret>,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Llm {
    /// A directory of the host, absolute: `AIDER_LLM_KIND=local_hf`.
    Directory(PathBuf),
    /// An id of an endpoint's: `AIDER_LLM_KIND=remote`.
    Remote(String),
    /// None: the target brings its own, or needs none.
    None,
}

impl Llm {
    /// A text is a directory where it begins with `/`, `./`, `../` or `~`, or names one that
    /// is there; else it is the id of a remote model.
    ///
    /// # Errors
    /// `empty_llm`, and those of [`Llm::directory`].
    pub fn parse(text: &str) -> Result<Self, EnvError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EnvError::EmptyLlm);
        }
        let is_path = ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start));
        if is_path || Path::new(text).is_dir() {
            return Self::directory(Path::new(&expanded(text)));
        }
        Ok(Self::Remote(text.to_owned()))
    }

    /// A directory of the host.
    ///
    /// # Errors
    /// `llm_path_not_found`, `llm_not_directory`; `llm_not_usable` for one that the inside
    /// could not read: links that lead out of it, or files that are their owner's alone.
    pub fn directory(path: &Path) -> Result<Self, EnvError> {
        let shown = path.to_path_buf();
        let real = fs::canonicalize(path).map_err(|_| EnvError::LlmPathNotFound(shown.clone()))?;
        if !real.is_dir() {
            return Err(EnvError::LlmNotDirectory(shown));
        }
        check(&real)?;
        Ok(Self::Directory(real))
    }

    /// What the engine makes of it; nothing for a remote one that has no endpoint.
    pub(super) fn stage_model(&self, endpoint: Option<&Endpoint>) -> Option<StageModel> {
        match self {
            Self::None => None,
            Self::Directory(dir) => Some(StageModel::Directory(dir.clone())),
            Self::Remote(id) => endpoint.map(|endpoint| StageModel::Endpoint {
                base_url: endpoint.base_url.clone(),
                model: id.clone(),
                key: endpoint.key.clone(),
            }),
        }
    }
}

/// A leading `~` is the home.
fn expanded(text: &str) -> String {
    let home = std::env::var("HOME").unwrap_or_default();
    match text.strip_prefix('~') {
        Some(rest) if (rest.is_empty() || rest.starts_with('/')) && !home.is_empty() => format!("{home}{rest}"),
        _ => text.to_owned(),
    }
}

/// Whether the inside, which is another user where this program is root, can read all of it.
fn check(root: &Path) -> Result<(), EnvError> {
    let refuse = |path: &Path, why: &str| {
        Err(EnvError::LlmNotUsable {
            path: path.to_path_buf(),
            why: why.to_owned(),
        })
    };
    let failed = |path: &Path, why: io::Error| EnvError::LlmNotUsable {
        path: path.to_path_buf(),
        why: why.to_string(),
    };
    let reader = sandbox::owner();
    let (mut left, mut seen) = (vec![root.to_path_buf()], 0_usize);
    while let Some(path) = left.pop() {
        seen += 1;
        if seen > ENTRIES {
            return refuse(root, &format!("it has more than {ENTRIES} entries; is it a model?"));
        }
        let meta = fs::symlink_metadata(&path).map_err(|why| failed(&path, why))?;
        if meta.is_symlink() {
            match fs::canonicalize(&path) {
                Ok(real) if real.starts_with(root) => {}
                _ => {
                    return refuse(
                        &path,
                        "this link leads out of the directory, which is all that is shown inside; save the model with \
                         its files in it (`save_pretrained`, or `snapshot_download(local_dir=…)`)",
                    );
                }
            }
            continue;
        }
        let needs = if meta.is_dir() { 0o5 } else { 0o4 };
        let readable = match reader {
            None => true,
            Some(id) => meta.mode() & needs == needs || (meta.uid() == id && meta.mode() >> 6 & needs == needs),
        };
        if !readable {
            return refuse(
                &path,
                "the inside is an unprivileged user, who may not read this; `chmod -R a+rX` the model",
            );
        }
        if meta.is_dir() {
            for entry in fs::read_dir(&path).map_err(|why| failed(&path, why))? {
                left.push(entry.map_err(|why| failed(&path, why))?.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_text_is_a_directory_by_its_look_or_because_it_is_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let real = fs::canonicalize(dir.path()).expect("real");
        let text = dir.path().display().to_string();
        assert_eq!(Llm::parse(&text).expect("a directory"), Llm::Directory(real));
        assert!(matches!(Llm::parse("src").expect("here"), Llm::Directory(_)));
        for id in ["gpt-4o-mini", "org/model", "no-such-directory", ".hidden"] {
            assert_eq!(Llm::parse(id).expect("an id"), Llm::Remote(id.to_owned()));
        }
        for (text, code) in [
            ("", "empty_llm"),
            (" \n", "empty_llm"),
            ("/no/such", "llm_path_not_found"),
            ("./no-such", "llm_path_not_found"),
            ("~/no-such-model", "llm_path_not_found"),
            ("./Cargo.toml", "llm_not_directory"),
        ] {
            let why = Llm::parse(text).expect_err(text);
            assert_eq!(why.code(), code, "{text}");
            assert!(why.to_string().starts_with(code), "{why}");
        }
    }

    #[test]
    fn what_the_inside_could_not_read_is_named() {
        let dir = tempfile::tempdir().expect("tempdir");
        let model = dir.path().join("model");
        fs::create_dir(&model).expect("mkdir");
        fs::set_permissions(&model, fs::Permissions::from_mode(0o755)).expect("chmod");
        fs::write(model.join("config.json"), "{}").expect("write");
        symlink("config.json", model.join("inward")).expect("link");
        assert!(Llm::directory(&model).is_ok());
        symlink("../blob", model.join("weights")).expect("link");
        let why = Llm::directory(&model).expect_err("a link out");
        assert!(
            why.code() == "llm_not_usable" && why.to_string().contains("weights"),
            "{why}"
        );
        fs::remove_file(model.join("weights")).expect("rm");
        fs::write(model.join("secret"), "x").expect("write");
        fs::set_permissions(model.join("secret"), fs::Permissions::from_mode(0o600)).expect("chmod");
        assert_eq!(
            Llm::directory(&model).is_err(),
            sandbox::owner().is_some(),
            "only where the inside is another user"
        );
    }
}
