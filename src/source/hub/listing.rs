//! What the hub says of a data set: its commit, its files page by page, and which of them
//! are taken.

use std::collections::BTreeSet;

use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::{MANIFEST, REMEDY};
use crate::{
    names::RelPath,
    source::{Address, Dataset, SourceError, http::Ask, means::Fetching},
};

/// What is read of a data set's description.
#[derive(Deserialize)]
pub(super) struct About {
    pub sha: String,
    #[serde(default)]
    pub private: bool,
    /// `false`, or how one gets in.
    #[serde(default)]
    pub gated: serde_json::Value,
}

/// An entry of a listing.
#[derive(Deserialize)]
pub(super) struct Listed {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    /// The git blob's digest.
    #[serde(default)]
    oid: String,
    lfs: Option<Large>,
}

/// A file that lies elsewhere.
#[derive(Deserialize)]
struct Large {
    /// SHA-256.
    oid: String,
    size: u64,
}

/// What is to be fetched.
pub(super) struct Wanted {
    pub path: RelPath,
    pub segments: Vec<String>,
    pub size: u64,
    pub digest: Digest,
}

pub(super) enum Digest {
    Sha256(String),
    Blob(String),
}

fn api<'a>(fetching: &Fetching<'_>, dataset: &'a Dataset, more: &[&'a str]) -> Address {
    let start = ["api", "datasets"].into_iter().chain(dataset.id.split('/'));
    let hub = &fetching.means.endpoints.hub;
    hub.with_segments(start.chain(more.iter().copied()))
}

pub(super) fn ask(fetching: &Fetching<'_>, address: &Address) -> Ask {
    Ask::get(address).with_token(fetching.means.endpoints.hub_token.as_ref())
}

pub(super) async fn about(
    fetching: &Fetching<'_>,
    dataset: &Dataset,
    revision: &str,
    what: &str,
) -> Result<About, SourceError> {
    let address = api(fetching, dataset, &["revision", revision]);
    let (text, _) = fetching.client.text(&ask(fetching, &address), REMEDY).await?;
    let about: About =
        serde_json::from_slice(&text).map_err(|why| SourceError::fetch(what, format!("hf_api_invalid_json: {why}")))?;
    let closed = about.private || !matches!(about.gated, serde_json::Value::Null | serde_json::Value::Bool(false));
    if closed && fetching.means.endpoints.hub_token.is_none() {
        return Err(SourceError::Denied {
            what: what.to_owned(),
            why: REMEDY.to_owned(),
        });
    }
    let good = matches!(about.sha.len(), 40 | 64) && about.sha.bytes().all(|byte| byte.is_ascii_hexdigit());
    match good {
        true => Ok(about),
        false => Err(SourceError::fetch(what, "hf_api_invalid_json: its commit is none")),
    }
}

/// Every file of a commit, page by page.
pub(super) async fn list(
    fetching: &Fetching<'_>,
    dataset: &Dataset,
    sha: &str,
    what: &str,
) -> Result<Vec<Listed>, SourceError> {
    let most = fetching.means.options.limits.max_entries;
    let mut page = api(fetching, dataset, &["tree", sha]).with_query("recursive=true&expand=false");
    let origin = page.origin();
    let mut files = Vec::new();
    loop {
        let (text, headers) = fetching.client.text(&ask(fetching, &page), REMEDY).await?;
        let listed: Vec<Listed> = serde_json::from_slice(&text)
            .map_err(|why| SourceError::fetch(what, format!("hf_api_invalid_json: {why}")))?;
        let nothing = listed.is_empty();
        files.extend(listed.into_iter().filter(|entry| entry.kind == "file"));
        if files.len() as u64 > most {
            let why = format!("it has more than {most} files");
            return Err(SourceError::Limit {
                what: what.to_owned(),
                why,
            });
        }
        fetching.tell(|| format!("{what}: {} files", files.len()));
        match next_page(&headers) {
            // A page with nothing in it that leads on would do so for ever.
            Some(next) if !nothing => {
                page = page.join(&next).map_err(|why| SourceError::fetch(what, why))?;
                if page.origin() != origin {
                    return Err(SourceError::fetch(
                        what,
                        format!("its listing goes on elsewhere, at {page}"),
                    ));
                }
            }
            _ => return Ok(files),
        }
    }
}

/// The next page (RFC 8288).
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get("link")?.to_str().ok()?;
    links.split(',').find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = |text: &str| matches!(text.trim(), "rel=\"next\"" | "rel=next");
        parameters.split(';').any(is_next).then(|| target.to_owned())
    })
}

/// What is taken of a listing within the bounds, in order; what is left out is an error of
/// the manifest, spelled as the predecessor did.
pub(super) fn choose(listed: Vec<Listed>, total: u64, file: u64, errors: &mut Vec<String>) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut seen = BTreeSet::new();
    let mut sum = 0u64;
    for entry in listed {
        let segments: Vec<String> = entry.path.split('/').map(str::to_owned).collect();
        let path = RelPath::new(&entry.path).ok();
        let plain = path.filter(|path| path.as_bytes() == entry.path.as_bytes() && entry.path != MANIFEST);
        let Some(path) = plain.filter(|path| seen.insert(path.clone())) else {
            let shown = crate::report::escape(entry.path.as_bytes(), 300);
            errors.push(format!("skip_unsafe_path: {shown}"));
            continue;
        };
        let (size, digest) = match entry.lfs {
            Some(large) => (large.size, Digest::Sha256(large.oid)),
            None => (entry.size, Digest::Blob(entry.oid)),
        };
        if size > file {
            errors.push(format!("{path}: max_bytes_exceeded: {file}"));
            continue;
        }
        if sum.saturating_add(size) > total {
            errors.push(format!("{path}: max_total_bytes_exceeded: {total}"));
            break;
        }
        sum += size;
        wanted.push(Wanted {
            path,
            segments,
            size,
            digest,
        });
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(path: &str, size: u64) -> Listed {
        Listed {
            kind: "file".to_owned(),
            path: path.to_owned(),
            size,
            oid: String::new(),
            lfs: None,
        }
    }

    #[test]
    fn caps_and_unsafe_names_are_errors_of_the_manifest() {
        let files = vec![
            listed("a", 10),
            listed("../b", 1),
            listed("/c", 1),
            listed("d//e", 1),
            listed("a", 1),
            listed(MANIFEST, 1),
            listed("large", 51),
            listed("f", 40),
            listed("g", 51),
            listed("h", 1),
        ];
        let mut errors = Vec::new();
        let wanted = choose(files, 50, 50, &mut errors);
        let names: Vec<String> = wanted.iter().map(|wanted| wanted.path.to_string()).collect();
        assert_eq!(names, ["a", "f"]);
        assert_eq!(
            errors
                .iter()
                .filter(|error| error.starts_with("skip_unsafe_path: "))
                .count(),
            5
        );
        assert!(
            errors.contains(&"large: max_bytes_exceeded: 50".to_owned()),
            "{errors:?}"
        );
        assert_eq!(
            errors.last().map(String::as_str),
            Some("h: max_total_bytes_exceeded: 50")
        );
    }

    #[test]
    fn the_next_page_is_the_one_that_says_so() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("link", text.parse().expect("a header"));
            next_page(&headers)
        };
        assert_eq!(
            of("<https://h/a?c=1>; rel=\"next\"").as_deref(),
            Some("https://h/a?c=1")
        );
        assert_eq!(of("</p>; rel=\"prev\", </n>; title=x; rel=next").as_deref(), Some("/n"));
        assert_eq!(of("</p>; rel=\"prev\""), None);
        assert_eq!(of("nonsense"), None);
    }
}
