//! Data sets of the Hugging Face hub, by its REST interface.
//!
//! A revision is pinned to a commit first; every file is checked against the digest that
//! the commit has for it. Keys go to the hub alone, and not to where it keeps large files.

use std::collections::BTreeSet;

use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

use super::{
    Address, Dataset, Provenance, SourceError,
    download::{Expected, download},
    http::Ask,
    means::{Fetching, Obtained, blocking},
    provenance::Kind,
};
use crate::names::RelPath;

/// Where the tree says what it is made of.
const MANIFEST: &str = "data/hf_manifest.json";
/// The revision where none is named.
const DEFAULT_REVISION: &str = "main";
/// What gives a key.
const REMEDY: &str = "hf_dataset_requires_token: set HF_TOKEN (or HUGGINGFACE_TOKEN, HUGGINGFACEHUB_API_TOKEN) to a key \
                      that may read it, or check its name";

/// What is read of a data set's description.
#[derive(Deserialize)]
struct About {
    sha: String,
    #[serde(default)]
    private: bool,
    /// `false`, or how one gets in.
    #[serde(default)]
    gated: serde_json::Value,
}

/// An entry of a listing.
#[derive(Deserialize)]
struct Listed {
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

/// `data/hf_manifest.json`.
#[derive(Serialize)]
struct Manifest<'a> {
    source: &'static str,
    dataset_id: &'a str,
    revision: &'a str,
    gated: &'a serde_json::Value,
    private: bool,
    downloaded_files: Vec<Taken>,
    total_bytes: u64,
    errors: Vec<String>,
}

#[derive(Serialize)]
struct Taken {
    path: RelPath,
    bytes: u64,
    sha256: String,
}

/// What is to be fetched.
struct Wanted {
    path: RelPath,
    segments: Vec<String>,
    size: u64,
    digest: Digest,
}

enum Digest {
    Sha256(String),
    Blob(String),
}

/// Fetches a data set.
pub(super) async fn dataset(fetching: &Fetching<'_>, dataset: &Dataset) -> Result<Obtained, SourceError> {
    let options = fetching.means.options;
    let revision = options.revision.as_deref().or(dataset.revision.as_deref());
    let revision = revision.unwrap_or(DEFAULT_REVISION);
    let hub = &fetching.means.endpoints.hub;
    let what = hub
        .with_segments(["datasets"].into_iter().chain(dataset.id.split('/')))
        .to_string();
    let request = format!("dataset\n{what}\n{revision}");
    if options.offline {
        return fetching.without_asking(&request, &what);
    }
    let _turn = fetching.turn(&request).await?;
    let about = about(fetching, dataset, revision, &what).await?;
    let limits = &options.limits;
    let (total, file) = (limits.hub_total, limits.hub_file);
    let name = format!("dataset\n{what}\n{}\n{total}\n{file}", about.sha);
    if let Some(known) = fetching.recall(&name)? {
        fetching.remember(&request, &name)?;
        return Ok(known);
    }
    let mut errors = Vec::new();
    let wanted = choose(
        list(fetching, dataset, &about.sha, &what).await?,
        total,
        file,
        &mut errors,
    );
    let mut taken = Vec::new();
    let (mut came, mut total_bytes) = (0, 0);
    for (number, wanted) in wanted.iter().enumerate() {
        let (bytes, sha256) = one(fetching, dataset, &about.sha, wanted, (number + 1, total_bytes)).await?;
        came += bytes;
        total_bytes += wanted.size;
        taken.push(Taken {
            path: wanted.path.clone(),
            bytes: wanted.size,
            sha256,
        });
    }
    if taken.is_empty() {
        let why = format!("hf_download_failed: none of its files was taken: {}", errors.join("; "));
        return Err(SourceError::fetch(what, why));
    }
    let provenance = Provenance {
        revision: Some(revision.to_owned()),
        commit: Some(about.sha.clone()),
        fetched_bytes: came,
        notes: errors.iter().map(|error| format!("left out: {error}")).collect(),
        ..Provenance::new(Kind::Dataset, &what)
    };
    let manifest = Manifest {
        source: "huggingface_dataset",
        dataset_id: &dataset.id,
        revision: &about.sha,
        gated: &about.gated,
        private: about.private,
        downloaded_files: taken,
        total_bytes,
        errors,
    };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|why| SourceError::io("write a manifest")(why.into()))?;
    let obtained = assemble(fetching, dataset, &about.sha, &wanted, text, &name, provenance).await?;
    fetching.remember(&request, &name)?;
    Ok(obtained)
}

fn api<'a>(fetching: &Fetching<'_>, dataset: &'a Dataset, more: &[&'a str]) -> Address {
    let start = ["api", "datasets"].into_iter().chain(dataset.id.split('/'));
    let hub = &fetching.means.endpoints.hub;
    hub.with_segments(start.chain(more.iter().copied()))
}

fn ask(fetching: &Fetching<'_>, address: &Address) -> Ask {
    Ask::get(address).with_token(fetching.means.endpoints.hub_token.as_ref())
}

async fn about(fetching: &Fetching<'_>, dataset: &Dataset, revision: &str, what: &str) -> Result<About, SourceError> {
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
async fn list(fetching: &Fetching<'_>, dataset: &Dataset, sha: &str, what: &str) -> Result<Vec<Listed>, SourceError> {
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
fn choose(listed: Vec<Listed>, total: u64, file: u64, errors: &mut Vec<String>) -> Vec<Wanted> {
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

fn part_name(dataset: &Dataset, sha: &str, path: &RelPath) -> String {
    format!("dataset file\n{}\n{sha}\n{path}", dataset.id)
}

/// Fetches one file to the shelf, where it stays until all are there; what came over the
/// network, and its SHA-256.
async fn one(
    fetching: &Fetching<'_>,
    dataset: &Dataset,
    sha: &str,
    wanted: &Wanted,
    (number, before): (usize, u64),
) -> Result<(u64, String), SourceError> {
    let start = ["datasets"]
        .into_iter()
        .chain(dataset.id.split('/'))
        .chain(["resolve", sha]);
    let segments = wanted.segments.iter().map(String::as_str);
    let address = fetching.means.endpoints.hub.with_segments(start.chain(segments));
    let mut part = fetching.part(&part_name(dataset, sha, &wanted.path))?;
    let expected = Expected {
        size: Some(wanted.size),
        max: wanted.size,
        pinned: true,
        lifted_by: "nothing",
    };
    let tell = |bytes: u64| {
        fetching.tell(|| format!("{}: file {number}, {} MiB", dataset.id, (before + bytes) >> 20));
    };
    let (came, _) = download(
        &fetching.client,
        &ask(fetching, &address),
        &mut part,
        expected,
        REMEDY,
        &tell,
    )
    .await?;
    let (digests, part) = blocking(move || {
        let digests = part
            .digests()
            .map_err(SourceError::io("read a file that was fetched"))?;
        Ok((digests, part))
    })
    .await?;
    let right = match &wanted.digest {
        Digest::Sha256(oid) => digests.0.eq_ignore_ascii_case(oid),
        Digest::Blob(oid) => digests.1.eq_ignore_ascii_case(oid),
    };
    if !right {
        part.remove();
        return Err(SourceError::Damaged {
            what: address.to_string(),
            why: "its digest is not the one that the commit has for it".to_owned(),
        });
    }
    Ok((came.bytes(), digests.0))
}

/// Moves all files from the shelf into one tree, and that into the cache.
async fn assemble(
    fetching: &Fetching<'_>,
    dataset: &Dataset,
    sha: &str,
    wanted: &[Wanted],
    manifest: Vec<u8>,
    name: &str,
    provenance: Provenance,
) -> Result<Obtained, SourceError> {
    let dir = fetching.means.scratch.join(format!("dataset-{}", uuid::Uuid::now_v7()));
    let io = |path: &RelPath| SourceError::io(format!("put {path} into its place"));
    let put = |path: &RelPath| {
        let place = path.under(&dir);
        std::fs::create_dir_all(place.parent().unwrap_or(&dir)).map_err(io(path))?;
        Ok::<_, SourceError>(place)
    };
    for wanted in wanted {
        let part = fetching.part(&part_name(dataset, sha, &wanted.path))?;
        if part.length() != wanted.size {
            let gone = std::io::Error::other("it was removed meanwhile; run again");
            return Err(io(&wanted.path)(gone));
        }
        part.move_to(&put(&wanted.path)?).map_err(io(&wanted.path))?;
    }
    let path =
        RelPath::new(MANIFEST).map_err(|why| SourceError::io("name the manifest")(std::io::Error::other(why)))?;
    std::fs::write(put(&path)?, manifest).map_err(io(&path))?;
    let kept = fetching.keep(name, dir.clone(), provenance).await;
    crate::tree::remove_all(&dir)?;
    kept
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
