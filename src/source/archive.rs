//! From an archive to a directory, strictly.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use super::{FetchLimits, Packing, SourceError};
use crate::{
    report::escape,
    tree::{ArchiveLimits, EntryKind, TreeError, Unpacked, tar_reader, zip_reader},
};

/// Below this, bytes, an archive may be packed however well.
const RATIO_FROM: u64 = 64 << 20;

/// What an archive held.
#[derive(Debug)]
pub(super) struct Opened {
    /// The tree: the one directory that holds everything, where there is one.
    pub root: PathBuf,
    /// What the archive says of itself; a commit, where git made it.
    pub comment: Option<String>,
    /// What was written otherwise than it says.
    pub notes: Vec<String>,
}

/// Unpacks an archive into the new directory `dir`; blocks.
pub(super) fn open(
    what: &str,
    file: &mut File,
    packing: Packing,
    dir: &Path,
    limits: &FetchLimits,
) -> Result<Opened, SourceError> {
    std::fs::create_dir_all(dir).map_err(SourceError::io(format!("make {}", dir.display())))?;
    let length = file.metadata().map_err(SourceError::io(format!("read {what}")))?.len();
    let packed_well = length.saturating_mul(limits.max_ratio).max(RATIO_FROM);
    let bounds = ArchiveLimits {
        max_entries: limits.max_entries,
        max_bytes: limits.max_unpacked.min(packed_well),
        case_matters: true,
    };
    let unpacked = match packing {
        Packing::Zip => zip_reader::unpack(file, &bounds, dir),
        Packing::Tar => tar_reader::unpack(&mut *file, &bounds, dir),
        Packing::TarGz => gunzip(file, &bounds, dir),
    };
    let unpacked = unpacked.map_err(|why| told(what, why, bounds.max_bytes, limits))?;
    whole(what, dir, unpacked)
}

/// The stream is read to its end, where its checksum stands.
fn gunzip(file: &mut File, bounds: &ArchiveLimits, dir: &Path) -> Result<Unpacked, TreeError> {
    let mut stream = MultiGzDecoder::new(io::BufReader::with_capacity(64 << 10, file));
    let unpacked = tar_reader::unpack(&mut stream, bounds, dir)?;
    let rest = io::copy(&mut stream.take(bounds.max_bytes), &mut io::sink());
    match rest {
        Ok(rest) if rest < bounds.max_bytes => Ok(unpacked),
        Ok(_) => Err(TreeError::Limit("the archive does not end".to_owned())),
        Err(why) => Err(TreeError::Refused(format!(
            "the archive is damaged: {}",
            escape(why.to_string().as_bytes(), 200)
        ))),
    }
}

fn told(what: &str, why: TreeError, max_bytes: u64, limits: &FetchLimits) -> SourceError {
    let what = what.to_owned();
    match why {
        TreeError::Limit(why) => SourceError::Limit {
            what,
            why: format!(
                "{why} ({max_bytes} bytes and {} entries here: --fetch-max-unpacked, at most {} times the archive)",
                limits.max_entries, limits.max_ratio
            ),
        },
        TreeError::Refused(why) => SourceError::Damaged { what, why },
        // A stream that ends or breaks within a file is the archive's fault, not the disk's.
        TreeError::Io { source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
            ) =>
        {
            let why = format!("the archive is damaged: {}", escape(source.to_string().as_bytes(), 200));
            SourceError::Damaged { what, why }
        }
        other => SourceError::Tree(other),
    }
}

fn whole(what: &str, dir: &Path, unpacked: Unpacked) -> Result<Opened, SourceError> {
    let what = what.to_owned();
    if let Some((name, why)) = unpacked.refused.first() {
        return Err(SourceError::Archive {
            what,
            count: unpacked.refused.len(),
            first: format!("`{name}`: {why}"),
        });
    }
    let mut tops = unpacked.manifest.iter().filter(|(path, _)| path.parent().is_none());
    let root = match (tops.next(), tops.next()) {
        (None, _) => {
            let why = "there is nothing in it".to_owned();
            return Err(SourceError::Damaged { what, why });
        }
        (Some((path, entry)), None) if entry.kind == EntryKind::Dir => path.under(dir),
        _ => dir.to_path_buf(),
    };
    Ok(Opened {
        root,
        comment: unpacked.comment,
        notes: unpacked
            .notes
            .iter()
            .map(|(name, why)| format!("`{name}`: {why}"))
            .collect(),
    })
}
