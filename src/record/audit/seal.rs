//! The end of a chain: every file by its hash, the closing record, the receipt.

use std::{fmt, io, num::NonZero, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    AuditError, Break, Digest, JOURNAL, Next, Place, RECEIPT, Receipt, Record, Signer,
    receipt::{self, RECEIPT_VERSION},
    sign::ENVELOPE,
    verify::Closed,
};
use crate::{
    names::RelPath,
    record::{RecordError, RunDir, run_dir::LOCK},
    tree::{self, Item},
};

/// Files that no record lists: the chain itself, what is made of it, and the run's lock.
pub(super) const UNLISTED: [&str; 4] = [LOCK, JOURNAL, RECEIPT, ENVELOPE];
/// Files of one record.
const FILES_A_RECORD: usize = 500;
/// Files that are worth a thread of their own.
const FILES_A_THREAD: usize = 64;
/// Files that the receipt names itself, where they are there.
const NAMED: [&str; 8] = [
    "lock.json",
    "policy.json",
    "pipeline.yml",
    "versions.json",
    "summary.json",
    "changes.json",
    "changes.patch",
    "walls.json",
];

/// One file of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Artifact {
    /// Where it lies in the run's directory.
    pub path: RelPath,
    /// Bytes; nothing for a symbolic link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of its bytes; of a link, of its target.
    pub sha256: Digest,
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            Some(size) => write!(f, "{} over {size} bytes", self.sha256),
            None => write!(f, "a link, its target {}", self.sha256),
        }
    }
}

/// Writes what is made of the closing record where a run was cut off behind it: the receipt,
/// and its signature. A chain that has its receipt, or no end, stays as it is; says whether
/// it was completed.
///
/// # Errors
/// [`AuditError::Broken`] for a closing record that is none; when a file cannot be read or
/// written, or the key is not given that the record names.
pub fn finish(dir: &Path, signer: Option<&Signer>) -> Result<bool, AuditError> {
    let path = dir.join(RECEIPT);
    if path.exists() {
        return Ok(false);
    }
    let place = Place::Directory(dir.to_path_buf());
    let mut records = super::open(&place)?;
    let journal = dir.join(JOURNAL);
    let mut last = None;
    while records.advance().map_err(|why| AuditError::io("read", &journal, why))? == Next::Line {
        let record = Record::parse(records.line())
            .ok()
            .filter(|record| record.event == "closed");
        last = record.map(|record| (record.seq, Digest::of(records.line()), record.fields.get().to_owned()));
    }
    let Some((number, root, fields)) = last else {
        return Ok(false);
    };
    let malformed = |why: serde_json::Error| {
        AuditError::broken(Break {
            record: Some(number),
            found: why.to_string(),
            ..Break::at(JOURNAL, "the fields of `closed`")
        })
    };
    let closed: Closed = serde_json::from_str(&fields).map_err(malformed)?;
    let parsed: Receipt = serde_json::from_value(closed.receipt.clone()).map_err(malformed)?;
    let document = receipt::document(&closed.receipt, number + 1, root);
    let write = |path: &Path, bytes: &[u8]| {
        super::super::durable_write(path, bytes).map_err(|why| AuditError::io("write", path, io::Error::other(why)))
    };
    match (&parsed.signer, signer) {
        (None, _) => {}
        (Some(wanted), Some(signer)) if signer.line().keyid == wanted.keyid => {
            let envelope = signer.envelope(&receipt::statement(&parsed, &document));
            write(&dir.join(ENVELOPE), &envelope)?;
        }
        (Some(wanted), _) => {
            let why = format!(
                "the run was cut off before it was signed by the key {}; give it with --sign-key",
                wanted.keyid
            );
            return Err(AuditError::io("write", &dir.join(ENVELOPE), io::Error::other(why)));
        }
    }
    write(&path, &document)?;
    Ok(true)
}

impl RunDir {
    /// Ends the chain: lists every file of the run with its hash, writes the closing record
    /// and, from it, `receipt.json` and its signature. Nothing may be written after it.
    ///
    /// # Errors
    /// When a file cannot be read, or the record cannot be written.
    pub fn seal(&self, mut receipt: Receipt, signer: Option<&Signer>) -> Result<Digest, RecordError> {
        self.sync()?;
        let items = tree::inventory(self.path())?;
        let unlisted = |path: &RelPath| UNLISTED.iter().any(|name| name.as_bytes() == path.as_bytes());
        let items: Vec<(RelPath, Item)> = items.into_iter().filter(|(path, _)| !unlisted(path)).collect();
        for some in items.chunks(FILES_A_RECORD) {
            let files = self.artifacts(some)?;
            for artifact in &files {
                if let Some(name) = NAMED.iter().find(|name| name.as_bytes() == artifact.path.as_bytes()) {
                    receipt.files.insert((*name).to_owned(), artifact.sha256);
                }
            }
            self.bind(&files)?;
        }
        receipt.version = RECEIPT_VERSION;
        receipt.signer = signer.map(Signer::line);
        let value = serde_json::to_value(&receipt).map_err(|source| RecordError::Encode {
            what: RECEIPT.to_owned(),
            source,
        })?;
        let mut journal = self.writer();
        let course = journal.chain().course();
        journal.append(
            "closed",
            &json!({"files": items.len(), "course": course, "receipt": value}),
        )?;
        journal.sync()?;
        let root = journal.chain().root();
        let document = receipt::document(&value, journal.chain().records(), root);
        super::super::durable_write(&self.path().join(RECEIPT), &document)?;
        if let Some(signer) = signer {
            let envelope = signer.envelope(&receipt::statement(&receipt, &document));
            super::super::durable_write(&self.path().join(ENVELOPE), &envelope)?;
        }
        Ok(root)
    }

    /// Names are not redacted here: they are the files' own, which lie beside.
    fn bind(&self, files: &[Artifact]) -> Result<(), RecordError> {
        self.writer().append("artifacts", &json!({"files": files}))
    }

    /// The same in the same order, looked at by as many threads as there are processors: most are
    /// small, and opening them is what takes time.
    fn artifacts(&self, items: &[(RelPath, Item)]) -> Result<Vec<Artifact>, RecordError> {
        let each = |items: &[(RelPath, Item)]| -> Vec<_> {
            let items = items.iter();
            items.map(|(path, item)| self.artifact(path.clone(), item)).collect()
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let mut shares = items.chunks(items.len().div_ceil(threads).max(FILES_A_THREAD));
        let own = shares.next().unwrap_or_default();
        std::thread::scope(|scope| {
            let others: Vec<_> = shares
                .map(|share| {
                    (
                        share,
                        std::thread::Builder::new().spawn_scoped(scope, move || each(share)),
                    )
                })
                .collect();
            let mut all = each(own);
            for (share, thread) in others {
                all.extend(match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    // A host without a thread to spare makes it slower, no more.
                    Err(_) => each(share),
                });
            }
            all.into_iter().collect()
        })
    }

    fn artifact(&self, path: RelPath, item: &Item) -> Result<Artifact, RecordError> {
        let (size, sha256) = match item {
            Item::Link(target) => (None, Digest::of(target)),
            Item::File(_) => {
                let file = tree::open_record(self.path(), &path)?;
                let read = Digest::of_stream(file).map_err(RecordError::io("read", &path.under(self.path())))?;
                (Some(read.1), read.0)
            }
            Item::Other => {
                let source = std::io::Error::other("it is neither a file nor a link");
                return Err(RecordError::io("seal", &path.under(self.path()))(source));
            }
        };
        Ok(Artifact { path, size, sha256 })
    }
}
