//! Names in a repository: what a server has, and which of it is meant.

use crate::source::SourceError;

/// A reference of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ref {
    pub name: String,
    pub id: String,
}

/// What a server has of what was asked for.
#[derive(Debug, Default)]
pub(super) struct Refs {
    /// The branch that its HEAD is, where it says so.
    head: Option<String>,
    pub all: Vec<Ref>,
}

/// The one that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    /// What is asked of the server: a full name, or a commit.
    pub source: String,
    /// The branch that HEAD becomes; a detached one where there is none.
    pub branch: Option<String>,
    /// The commit, as far as it is known.
    pub commit: Option<String>,
    /// For the record.
    pub shown: String,
}

/// The patterns of git-ls-remote(1) that tell all that is needed for a revision.
pub(super) fn patterns(revision: Option<&str>) -> Vec<String> {
    match revision {
        None => ["HEAD", "refs/heads/main", "refs/heads/master"]
            .map(str::to_owned)
            .to_vec(),
        Some(name) if name.starts_with("refs/") => vec![name.to_owned(), format!("{name}^{{}}")],
        Some(name) => vec![
            format!("refs/heads/{name}"),
            format!("refs/tags/{name}"),
            format!("refs/tags/{name}^{{}}"),
        ],
    }
}

impl Refs {
    /// Reads what `git ls-remote --symref` prints.
    pub fn read(text: &str) -> Self {
        let mut refs = Self::default();
        for line in text.lines() {
            let Some((left, name)) = line.split_once('\t') else {
                continue;
            };
            if let Some(branch) = left.strip_prefix("ref: refs/heads/") {
                if name == "HEAD" && is_ref_name(branch) {
                    refs.head = Some(branch.to_owned());
                }
            } else if is_id(left) {
                refs.all.push(Ref {
                    name: name.to_owned(),
                    id: left.to_owned(),
                });
            }
        }
        refs
    }

    fn id(&self, name: &str) -> Option<&str> {
        let found = self.all.iter().find(|found| found.name == name);
        found.map(|found| found.id.as_str())
    }

    /// The commit of a name: what a tag stands for.
    fn commit(&self, name: &str) -> Option<String> {
        let peeled = self.id(&format!("{name}^{{}}"));
        peeled.or_else(|| self.id(name)).map(str::to_owned)
    }

    /// What a revision means; without one the server's HEAD.
    pub fn tip(&self, revision: Option<&str>, what: &str) -> Result<Tip, SourceError> {
        let Some(revision) = revision else {
            return self.head(what);
        };
        if is_id(revision) {
            return Ok(Tip {
                source: revision.to_owned(),
                branch: None,
                commit: Some(revision.to_owned()),
                shown: revision.to_owned(),
            });
        }
        let names = match revision.starts_with("refs/") {
            true => vec![revision.to_owned()],
            false => vec![format!("refs/heads/{revision}"), format!("refs/tags/{revision}")],
        };
        let found = names.into_iter().find_map(|name| Some((self.commit(&name)?, name)));
        let Some((commit, name)) = found else {
            let short = revision.len() >= 7 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
            let hint = if short {
                "; a commit is named by its whole id"
            } else {
                ""
            };
            return Err(SourceError::Name {
                what: what.to_owned(),
                why: format!("it has no branch or tag `{revision}`{hint}"),
            });
        };
        Ok(Tip {
            branch: name.strip_prefix("refs/heads/").map(str::to_owned),
            source: name,
            commit: Some(commit),
            shown: revision.to_owned(),
        })
    }

    fn head(&self, what: &str) -> Result<Tip, SourceError> {
        let Some(commit) = self.id("HEAD") else {
            return Err(SourceError::fetch(
                what,
                "it has no commit yet, or its HEAD leads nowhere",
            ));
        };
        // A server that does not say which branch it is: one that is the same.
        let same = || {
            let usual = ["main", "master"].into_iter();
            usual
                .map(str::to_owned)
                .find(|name| self.id(&format!("refs/heads/{name}")) == Some(commit))
        };
        let branch = self.head.clone().or_else(same);
        Ok(Tip {
            source: "HEAD".to_owned(),
            commit: Some(commit.to_owned()),
            shown: branch.clone().unwrap_or_else(|| "HEAD".to_owned()),
            branch,
        })
    }
}

/// A whole object id.
pub(super) fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether git takes a name (git-check-ref-format(1)), and nothing reads more into it.
pub(in crate::source) fn is_ref_name(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let plain = |c: char| !c.is_control() && !" ~^:?*[\\".contains(c);
    (1..=250).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && name.chars().all(plain)
        && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn head_is_a_branch_where_the_server_says_or_shows_so() {
        let tip = |text: String| Refs::read(&text).tip(None, "x").expect("a tip");
        let told = tip(format!("ref: refs/heads/dev\tHEAD\n{A}\tHEAD\n"));
        assert_eq!((told.branch.as_deref(), told.commit.as_deref()), (Some("dev"), Some(A)));
        let shown = tip(format!("{A}\tHEAD\n{B}\trefs/heads/main\n{A}\trefs/heads/master\n"));
        assert_eq!(shown.branch.as_deref(), Some("master"));
        assert_eq!(tip(format!("{A}\tHEAD\n")).branch, None);
        let evil = tip(format!("ref: refs/heads/--upload-pack=x y\tHEAD\n{A}\tHEAD\n"));
        assert_eq!(evil.branch, None);
        assert!(Refs::read("").tip(None, "x").is_err());
    }

    #[test]
    fn a_branch_comes_before_a_tag_and_a_tag_is_its_commit() {
        let text = format!(
            "{A}\trefs/heads/v1\n{B}\trefs/tags/v1\n{B}\trefs/tags/v2\n{A}\trefs/tags/v2^{{}}\n{B}\trefs/x/refs/heads/v3\n"
        );
        let refs = Refs::read(&text);
        let of = |name| refs.tip(Some(name), "x");
        assert_eq!(of("v1").expect("there").source, "refs/heads/v1");
        let tag = of("v2").expect("there");
        assert_eq!((tag.branch, tag.commit.as_deref()), (None, Some(A)));
        assert_eq!(of(B).expect("an id").source, B);
        let why = |name| of(name).expect_err("none").to_string();
        assert!(why("v3").contains("no branch or tag") && why("abcdef0").contains("whole id"));
    }

    #[test]
    fn names_are_gits_and_nothing_else() {
        for good in ["main", "feature/x", "v1.0", "a-b_c", "refs/pull/1/head", "ünicode"] {
            assert!(is_ref_name(good), "{good}");
        }
        for bad in [
            "", "-x", "a..b", "a b", "a~1", "a^{}", "a:b", "*", "a/", "/a", "a//b", ".a", "a.lock", "@", "a@{1}",
            "a\\b", "a\n", "a.",
        ] {
            assert!(!is_ref_name(bad), "{bad:?}");
        }
    }
}
