//! From a root file system to an image of the engine.
//!
//! The archive is written here (the format of `docker save`, which every engine loads)
//! with a configuration that holds no time of making: an image's id is then a function
//! of its files and its recipe.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use bollard::{Docker, query_parameters::ImportImageOptionsBuilder};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ring::digest::{Context, SHA256};
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::{
    ImageError, ImageRef,
    recipe::{CREATED, EPOCH, PACKAGES_FILE, Recipe, architecture},
};

/// What is read at a time, bytes.
const CHUNK: usize = 1 << 20;
/// An engine unpacks some hundred megabytes before it says a word.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1800);
/// The longest package list, bytes.
const MAX_LIST: u64 = 4 << 20;

/// What a root file system is, measured.
pub(super) struct Measured {
    /// SHA-256 of the archive, hex.
    pub sha256: String,
    /// The archive's size.
    pub bytes: u64,
    /// `blake3:` and the digest of its package list.
    pub packages: String,
    /// How many packages that are.
    pub count: usize,
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads a root file system's archive once through.
pub(super) fn measure(rootfs: &Path) -> Result<Measured, ImageError> {
    let io = || ImageError::io("read", rootfs);
    let mut file = File::open(rootfs).map_err(io())?;
    let mut digest = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        match file.read(&mut chunk).map_err(io())? {
            0 => break,
            count => {
                digest.update(&chunk[..count]);
                bytes += count as u64;
            }
        }
    }
    let list = package_list(rootfs)
        .map_err(io())?
        .ok_or_else(|| ImageError::Malformed(format!("there is no {PACKAGES_FILE}")))?;
    Ok(Measured {
        sha256: hex(digest.finish().as_ref()),
        bytes,
        packages: format!("blake3:{}", blake3::hash(&list).to_hex()),
        count: list.iter().filter(|byte| **byte == b'\n').count(),
    })
}

fn package_list(rootfs: &Path) -> io::Result<Option<Vec<u8>>> {
    let wanted = PACKAGES_FILE.trim_start_matches('/');
    let mut archive = tar::Archive::new(BufReader::new(File::open(rootfs)?));
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = entry.path()?;
        if path.strip_prefix("./").unwrap_or(&path) == Path::new(wanted) && entry.header().entry_type().is_file() {
            let mut list = Vec::new();
            entry.take(MAX_LIST).read_to_end(&mut list)?;
            return Ok(Some(list));
        }
    }
    Ok(None)
}

/// Gives the engine the image, under its own tag and as the latest.
pub(super) async fn load(
    docker: &Docker,
    recipe: &Recipe,
    rootfs: &Path,
    measured: &Measured,
) -> Result<ImageRef, ImageError> {
    let config = json!({
        "architecture": architecture(),
        "config": {
            "Cmd": ["/bin/bash"],
            "Env": recipe.environment(),
            "Labels": recipe.labels(&measured.packages),
            "WorkingDir": "/workspace",
        },
        "created": CREATED,
        "history": [{"created": CREATED, "created_by": format!("opencode-fsm image build ({})", recipe.base)}],
        "os": "linux",
        "rootfs": {"diff_ids": [format!("sha256:{}", measured.sha256)], "type": "layers"},
    })
    .to_string();
    let id = hex(ring::digest::digest(&SHA256, config.as_bytes()).as_ref());
    let reference = recipe.reference();
    let manifest = json!([{
        "Config": format!("{id}.json"),
        "Layers": ["layer.tar"],
        "RepoTags": [reference, format!("{}:latest", recipe.variant.repository())],
    }])
    .to_string();

    let mut head = member(&format!("{id}.json"), config.as_bytes());
    head.extend(member("manifest.json", manifest.as_bytes()));
    head.extend(header("layer.tar", measured.bytes));
    // Padding of the last member, and tar's two empty blocks.
    let tail = vec![0; padding(measured.bytes) + 1024];
    let file = tokio::fs::File::open(rootfs)
        .await
        .map_err(ImageError::io("open", rootfs))?;
    let body = stream::iter([Ok(Bytes::from(head))])
        .chain(chunks(file.take(measured.bytes)))
        .chain(stream::iter([Ok(Bytes::from(tail))]));

    let docker = docker.clone().with_timeout(PATIENCE);
    let options = ImportImageOptionsBuilder::default().quiet(true).build();
    let mut answers = docker.import_image_stream(options, body, None);
    while let Some(answer) = answers.next().await {
        answer.map_err(ImageError::engine("load the image"))?;
    }
    let found = docker
        .inspect_image(&reference)
        .await
        .map_err(ImageError::engine("show the image that it has just loaded"))?;
    Ok(ImageRef {
        reference,
        id: found.id.unwrap_or_default(),
    })
}

/// A file's bytes, piece by piece.
fn chunks(file: tokio::io::Take<tokio::fs::File>) -> impl stream::Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(Some(file), |file| async {
        let mut file = file?;
        let mut chunk = Vec::with_capacity(CHUNK);
        match (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(Bytes::from(chunk)), Some(file))),
            Err(why) => Some((Err(why), None)),
        }
    })
}

/// Bytes from a member's end to the next block.
fn padding(size: u64) -> usize {
    // Below 512.
    usize::try_from((512 - size % 512) % 512).unwrap_or(0)
}

/// A plain file's header in a tar archive; `name` is short.
pub(super) fn header(name: &str, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    // Ours are shorter than the 100 bytes that it takes.
    let _ = header.set_path(name);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(EPOCH);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// A plain file in a tar archive.
pub(super) fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut whole = header(name, bytes.len() as u64);
    whole.extend(bytes);
    whole.resize(whole.len() + padding(bytes.len() as u64), 0);
    whole
}
