//! Data sets of the Hugging Face hub, by its REST interface.
//!
//! A revision is pinned to a commit first; every file is checked against the digest that
//! the commit has for it. Keys go to the hub alone, and not to where it keeps large files.

mod listing;

use serde::Serialize;

use listing::{Digest, Wanted, about, ask, choose, list};

use super::{
    Dataset, Provenance, SourceError,
    download::{Expected, download},
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
