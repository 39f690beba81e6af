//! Archives as targets: a file of this host, a file of a server, what GitHub makes of a repository.

use std::path::Path;

use reqwest::header::{HeaderValue, IF_NONE_MATCH};
use serde::{Deserialize, Serialize};

use super::{
    Address, Packing, Provenance, SourceError,
    archive::{self, Opened},
    download::{Expected, Got, download},
    http::Ask,
    means::{Fetching, Obtained, blocking},
    provenance::Kind,
    shelf::Part,
};

/// What the last fetch of an archive said of it.
#[derive(Serialize, Deserialize)]
struct Seen {
    etag: Option<String>,
    name: String,
}

/// Why a server may refuse.
const REMEDY: &str = "write user and password into the URL if it wants them";

/// An archive of this host.
pub(super) async fn local(fetching: &Fetching<'_>, path: &Path, packing: Packing) -> Result<Obtained, SourceError> {
    let shown = path.display().to_string();
    // A copy of ours, so that nothing changes it while it is looked at.
    let turn = fetching.turn(&shown).await?;
    let mut part = fetching.part(&shown)?;
    let (from, max) = (path.to_path_buf(), fetching.means.options.limits.max_bytes);
    let what = shown.clone();
    let part = blocking(move || {
        let io = || SourceError::io(format!("read {}", from.display()));
        part.begin(None).map_err(io())?;
        let mut file = std::fs::File::open(&from).map_err(io())?;
        let length = file.metadata().map_err(io())?.len();
        if length > max {
            let why = format!("it has {length} bytes; --fetch-max-bytes takes more than {max}");
            return Err(SourceError::Limit { what, why });
        }
        std::io::copy(&mut file, part.file().map_err(io())?).map_err(io())?;
        Ok(part)
    })
    .await?;
    let obtained = of_part(fetching, &shown, part, packing, Provenance::new(Kind::Archive, &shown)).await;
    drop(turn);
    obtained
}

/// An archive of a server.
pub(super) async fn remote(
    fetching: &Fetching<'_>,
    address: &Address,
    packing: Packing,
) -> Result<Obtained, SourceError> {
    let ask = Ask::get(address);
    fetch(fetching, &ask, packing, Provenance::new(Kind::Archive, address), REMEDY).await
}

/// What `ask` gets, for an archive. What it says of its place stays in `provenance`.
pub(super) async fn fetch(
    fetching: &Fetching<'_>,
    ask: &Ask,
    packing: Packing,
    provenance: Provenance,
    remedy: &str,
) -> Result<Obtained, SourceError> {
    let shown = ask.address.to_string();
    // The query may be what tells one archive from another; it is not kept as it is.
    let request = format!("archive\n{}", ask.address.url());
    let last = format!("{request}\nlast");
    if fetching.means.options.offline {
        return fetching.without_asking(&last, &shown);
    }
    let _turn = fetching.turn(&request).await?;
    let seen: Option<Seen> = fetching.note(&request);
    let known = match &seen {
        Some(seen) => fetching.recall(&seen.name)?,
        None => None,
    };
    let mut ask = ask.clone();
    let etag = seen.and_then(|seen| seen.etag).filter(|_| known.is_some());
    if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(&etag).ok()) {
        ask = ask.with_header(IF_NONE_MATCH, etag);
    }
    let limits = &fetching.means.options.limits;
    let expected = Expected {
        size: None,
        max: limits.max_bytes,
        pinned: false,
        lifted_by: "--fetch-max-bytes",
    };
    let mut part = fetching.part(&request)?;
    let tell = |bytes: u64| fetching.tell(|| format!("fetching {shown}: {} MiB", bytes >> 20));
    let (got, headers) = download(&fetching.client, &ask, &mut part, expected, remedy, &tell).await?;
    let came = match (got, known) {
        (Got::All(came), _) => came,
        (Got::Unchanged, Some(known)) => return Ok(known),
        (Got::Unchanged, None) => return Err(SourceError::fetch(&shown, "the server says that nothing has changed")),
    };
    let provenance = Provenance {
        fetched_bytes: came,
        ..provenance
    };
    let etag = headers
        .get("etag")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let obtained = of_part(fetching, &shown, part, packing, provenance).await?;
    let name = name_of(obtained.provenance.sha256.as_deref().unwrap_or_default(), packing);
    fetching.remember(&last, &name)?;
    fetching.remember(&request, &Seen { etag, name })?;
    Ok(obtained)
}

fn name_of(sha256: &str, packing: Packing) -> String {
    format!("archive\n{sha256}\n{packing:?}")
}

/// The tree of an archive that is all there. It is gone afterwards, whatever comes of it.
async fn of_part(
    fetching: &Fetching<'_>,
    shown: &str,
    mut part: Part,
    packing: Packing,
    mut provenance: Provenance,
) -> Result<Obtained, SourceError> {
    let io = || SourceError::io(format!("read {shown}"));
    let (digests, mut part) = blocking(move || {
        let digests = part.digests().map_err(SourceError::io("read an archive"))?;
        Ok((digests, part))
    })
    .await?;
    provenance.sha256 = Some(digests.0.clone());
    let name = name_of(&digests.0, packing);
    if let Some(known) = fetching.recall(&name)? {
        part.remove();
        return Ok(Obtained {
            provenance: Provenance {
                location: provenance.location,
                fetched_bytes: provenance.fetched_bytes,
                ..known.provenance
            },
            ..known
        });
    }
    fetching.tell(|| format!("unpacking {shown}"));
    let dir = fetching
        .means
        .scratch
        .join(format!("unpacked-{}", uuid::Uuid::now_v7()));
    let (what, into, limits) = (shown.to_owned(), dir.clone(), fetching.means.options.limits);
    let (opened, part) = blocking(move || {
        let opened = part
            .file()
            .map_err(SourceError::io("read an archive"))
            .and_then(|file| archive::open(&what, file, packing, &into, &limits));
        Ok((opened, part))
    })
    .await?;
    part.remove();
    let kept = match opened {
        Ok(Opened { root, comment, notes }) => {
            provenance.commit = comment.filter(|text| is_commit(text));
            provenance.notes.extend(notes);
            fetching.keep(&name, root, provenance).await
        }
        Err(why) => Err(why),
    };
    crate::tree::remove_all(&dir).map_err(|why| io()(std::io::Error::other(why)))?;
    kept
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
