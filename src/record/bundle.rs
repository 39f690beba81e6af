//! Bundles: a finished run as one file, the same bytes every time.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use super::{
    audit::{AuditError, Place, PublicKey, Verified, verify},
    run_dir::LOCK,
};
use crate::{
    names::RelPath,
    tree::{self, ArchiveWriter, Item},
};

/// Writes the run at `dir` to `to` and verifies what was written, with `key` against that
/// key. Nothing is left at `to` where that fails, and what was there before stays.
///
/// # Errors
/// [`AuditError::Broken`] for a run that is not finished, or whose evidence does not hold;
/// when a file cannot be read or written.
pub fn bundle(dir: &Path, id: &str, to: &Path, key: Option<&PublicKey>) -> Result<Verified, AuditError> {
    let home = to
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let io = |source| AuditError::io("write", to, source);
    let mut file = tempfile::Builder::new()
        .prefix(".bundle-")
        .tempfile_in(home)
        .map_err(io)?;
    write(dir, id, file.as_file_mut())?;
    let verified = verify(&Place::open(file.path())?, key)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(to).map_err(|why| io(why.error))?;
    Ok(verified)
}

fn write(dir: &Path, id: &str, to: &mut File) -> Result<(), AuditError> {
    let fail = |path: &RelPath| {
        let path = path.under(dir);
        move |source| AuditError::io("pack", &path, source)
    };
    let top = RelPath::new(id).map_err(|why| AuditError::io("pack", dir, std::io::Error::other(why)))?;
    let mut archive = ArchiveWriter::new(BufWriter::with_capacity(1 << 20, to));
    for (path, item) in tree::inventory(dir)? {
        if path.as_bytes() == LOCK.as_bytes() {
            continue;
        }
        let name = top
            .join(path.as_bytes())
            .map_err(std::io::Error::other)
            .map_err(fail(&path))?;
        let written = match &item {
            Item::File(size) => archive.file(&name, *size, tree::open_record(dir, &path)?),
            Item::Link(target) => archive.link(&name, target),
            Item::Other => Err(std::io::Error::other("it is neither a file nor a link")),
        };
        written.map_err(fail(&path))?;
    }
    let written = archive.finish().and_then(|mut out| out.flush());
    written.map_err(|source| AuditError::io("pack", dir, source))
}
