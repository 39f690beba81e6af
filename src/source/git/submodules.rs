//! Repositories in a repository, fetched because the user asked for them: the same ways
//! out, the same settings, and only to where a user could have named them.

use super::{
    Upstream,
    checkout::fetch,
    key,
    refs::is_id,
    workshop::{TREE, Workshop},
};
use crate::{
    names::RelPath,
    report::escape,
    source::{Address, GitPlace, SourceError, SshAddress, means::Fetching},
};

/// Most of them, all levels together.
const MAX_COUNT: usize = 64;
/// Deepest nesting.
const MAX_DEPTH: usize = 4;

/// One that is to be fetched.
struct Wanted {
    /// Its directory in the workspace.
    dir: String,
    commit: String,
    place: GitPlace,
    depth: usize,
}

/// Fetches the submodules of the tree, and theirs; what to note of them.
pub(super) async fn take(
    fetching: &Fetching<'_>,
    workshop: &Workshop<'_>,
    place: &GitPlace,
) -> Result<Vec<String>, SourceError> {
    let mut left = of(fetching, workshop, TREE, place, 1).await?;
    let mut count = 0;
    while let Some(wanted) = left.pop() {
        count += 1;
        let what = wanted.place.to_string();
        if count > MAX_COUNT || wanted.depth > MAX_DEPTH {
            let why = format!("more than {MAX_COUNT} submodules, or deeper than {MAX_DEPTH}, are not fetched");
            return Err(SourceError::Limit { what, why });
        }
        let url = match &wanted.place {
            GitPlace::Http(address) => workshop
                .relay
                .route(Upstream::Http(address.clone(), key(fetching, address))),
            GitPlace::Ssh(address) => workshop.relay.route(Upstream::Ssh(address.clone())),
            GitPlace::File(_) => {
                return Err(SourceError::fetch(
                    what,
                    "a submodule cannot be a directory of this host",
                ));
            }
        };
        let dir = wanted.dir.as_str();
        workshop.must(&workshop.git_in(".", &["init", "--quiet", "--", dir]).await?)?;
        let spec = format!("+{}:refs/fetched/tip", wanted.commit);
        match fetch(workshop, dir, &url, &[&spec], 1).await {
            // A server need not give a commit that no name of its own means.
            Err(why) if why.leaves_hope() => {
                let all = ["+refs/heads/*:refs/fetched/heads/*", "+refs/tags/*:refs/fetched/tags/*"];
                fetch(workshop, dir, &url, &all, 0).await?;
            }
            fetched => fetched?,
        }
        let head = ["update-ref", "--no-deref", "HEAD", &wanted.commit];
        workshop.must(&workshop.git_in(dir, &head).await?)?;
        let said = workshop
            .git_in(dir, &["for-each-ref", "--format=%(refname)", "refs/fetched"])
            .await?;
        for name in said.text().lines() {
            workshop.must(&workshop.git_in(dir, &["update-ref", "-d", name]).await?)?;
        }
        workshop.must(&workshop.git_in(dir, &["reset", "--quiet", "--hard", "HEAD"]).await?)?;
        left.extend(of(fetching, workshop, dir, &wanted.place, wanted.depth + 1).await?);
    }
    Ok(match count {
        0 => Vec::new(),
        count => vec![format!("{count} submodules came along")],
    })
}

/// The submodules of one repository of the workspace, whose own place is `parent`.
async fn of(
    fetching: &Fetching<'_>,
    workshop: &Workshop<'_>,
    dir: &str,
    parent: &GitPlace,
    depth: usize,
) -> Result<Vec<Wanted>, SourceError> {
    let staged = workshop.git_in(dir, &["ls-files", "--stage", "-z"]).await?;
    workshop.must(&staged)?;
    let commits: Vec<(String, String)> = staged.out.split(|byte| *byte == 0).filter_map(gitlink).collect();
    if commits.is_empty() {
        return Ok(Vec::new());
    }
    let words = [
        "config",
        "--file",
        ".gitmodules",
        "-z",
        "--get-regexp",
        r"^submodule\..*\.(path|url)$",
    ];
    let settings = workshop.git_in(dir, &words).await?;
    let text = String::from_utf8_lossy(&settings.out).into_owned();
    let named = |wanted: &str, value: Option<&str>| {
        text.split('\0').find_map(|line| {
            let (key, found) = line.split_once('\n')?;
            let name = key.strip_prefix("submodule.")?.strip_suffix(wanted)?;
            value
                .is_none_or(|value| value == found)
                .then(|| (name.to_owned(), found.to_owned()))
        })
    };
    let mut wanted = Vec::new();
    for (path, commit) in commits {
        let shown = escape(path.as_bytes(), 200);
        let Some((name, _)) = named(".path", Some(&path)) else {
            return Err(SourceError::fetch(
                parent,
                format!("`.gitmodules` does not say where `{shown}` comes from"),
            ));
        };
        let url = text
            .split('\0')
            .find_map(|line| line.strip_prefix(&format!("submodule.{name}.url\n")));
        let place = url
            .ok_or("it has no URL".to_owned())
            .and_then(|url| place_of(url, parent));
        let place = place.map_err(|why| SourceError::fetch(parent, format!("submodule `{shown}`: {why}")))?;
        if let GitPlace::Http(address) = &place
            && address.is_exposed()
            && !fetching.means.options.allow_http
        {
            let why = format!("submodule `{shown}` comes over plain http; --allow-http accepts that");
            return Err(SourceError::fetch(parent, why));
        }
        wanted.push(Wanted {
            dir: format!("{dir}/{path}"),
            commit,
            place,
            depth,
        });
    }
    Ok(wanted)
}

/// Path and commit of an entry of `git ls-files --stage -z` that stands for a repository.
fn gitlink(entry: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(entry).ok()?;
    let (head, path) = text.split_once('\t')?;
    let mut words = head.split(' ');
    let commit = (words.next()? == "160000").then(|| words.next())??;
    let plain = RelPath::new(path).ok()?.as_bytes() == path.as_bytes();
    (plain && is_id(commit)).then(|| (path.to_owned(), commit.to_owned()))
}

/// Where a submodule lies, as gitmodules(5) has it; relative to its parent, or a URL.
fn place_of(url: &str, parent: &GitPlace) -> Result<GitPlace, String> {
    if url.starts_with("./") || url.starts_with("../") {
        return match parent {
            GitPlace::Http(address) => {
                let base = format!("{}/", address.url().path().trim_end_matches('/'));
                let base = address.join(&base)?;
                Ok(GitPlace::Http(base.join(url)?))
            }
            GitPlace::Ssh(address) => {
                let mut path = address.path.trim_end_matches('/');
                let mut rest = url;
                loop {
                    if let Some(after) = rest.strip_prefix("./") {
                        rest = after;
                    } else if let Some(after) = rest.strip_prefix("../") {
                        path = path.rsplit_once('/').map_or("", |(above, _)| above);
                        rest = after;
                    } else {
                        break;
                    }
                }
                let slash = if path.is_empty() { "" } else { "/" };
                address.with_path(format!("{path}{slash}{rest}")).map(GitPlace::Ssh)
            }
            GitPlace::File(_) => Err("it lies beside a directory of this host, which is not looked at".to_owned()),
        };
    }
    match url.split_once("://") {
        Some(("https" | "http", _)) => Address::parse(url).map(GitPlace::Http),
        Some(("ssh", _)) => SshAddress::parse(url).map(GitPlace::Ssh),
        None if url.split('/').next().is_some_and(|first| first.contains(':')) => {
            SshAddress::parse(url).map(GitPlace::Ssh)
        }
        _ => Err("only https, http and ssh are taken".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_that_a_user_could_have_named() {
        let parent = GitPlace::Http(Address::parse("https://me:key@h/o/r.git").expect("parses"));
        let of = |url: &str| place_of(url, &parent).map(|place| place.to_string());
        assert_eq!(of("../x.git").as_deref(), Ok("https://h/o/x.git"));
        assert_eq!(of("./x").as_deref(), Ok("https://h/o/r.git/x"));
        assert_eq!(of("git@h:o/x").as_deref(), Ok("ssh://git@h/o/x"));
        for bad in [
            "/etc",
            "file:///etc",
            "-u",
            "--upload-pack=x",
            "ext::sh -c id",
            "git://h/x",
            "-oProxyCommand=x:y",
            "",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
        let Ok(GitPlace::Http(same)) = place_of("../x", &parent) else {
            panic!("a place")
        };
        let Ok(GitPlace::Http(other)) = place_of("https://other/x", &parent) else {
            panic!("a place")
        };
        assert!(same.authorization().is_some() && other.authorization().is_none());
        let ssh = GitPlace::Ssh(SshAddress::parse("git@h:o/r.git").expect("parses"));
        let beside = |url: &str| match place_of(url, &ssh) {
            Ok(GitPlace::Ssh(found)) => found.path,
            other => panic!("{other:?}"),
        };
        assert_eq!((beside("../x"), beside("../../x")), ("o/x".to_owned(), "x".to_owned()));
    }

    #[test]
    fn an_entry_is_a_repository_by_its_mode() {
        let id = "a".repeat(40);
        let of = |mode: &str, path: &str| gitlink(format!("{mode} {id} 0\t{path}").as_bytes());
        assert_eq!(of("160000", "lib/x"), Some(("lib/x".to_owned(), id.clone())));
        for (mode, path) in [
            ("100644", "x"),
            ("160000", "../x"),
            ("160000", "/x"),
            ("160000", "a//b"),
        ] {
            assert_eq!(of(mode, path), None, "{path}");
        }
    }
}
