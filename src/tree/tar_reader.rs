//! Unpacking a tar stream that nobody trusts.
//!
//! What may come of it is for [`super::unpack`] to say. Extension headers (GNU long
//! names, pax) are read here and not by the tar crate, which would take any length
//! into memory.

use std::{
    io::{self, Read},
    path::Path,
};

use tar::EntryType;

use super::{
    ArchiveLimits, TreeError, Unpacked,
    unpack::{MAX_COMMENT, Unpacker, Wanted},
};

/// Longest extension header that is read: a name of `PATH_MAX` bytes and some keys.
const MAX_EXTENSION: u64 = 16 << 10;

/// Unpacks a tar stream into the empty directory `dir`. Entries that climb, lead
/// out, collide, or are no files, directories or links are refused and listed.
///
/// # Errors
/// [`TreeError::Limit`] when a bound is hit; [`TreeError::Refused`] when the
/// stream is no tar; what was unpacked before stays for the caller to remove.
pub fn unpack(stream: impl Read, limits: &ArchiveLimits, dir: &Path) -> Result<Unpacked, TreeError> {
    let mut reader = Reader {
        unpacker: Unpacker::new(dir, limits)?,
        long: Extension::default(),
    };
    // Each entry may add a header, padding and an extension.
    let overhead = limits
        .max_entries
        .saturating_mul(1024 + MAX_EXTENSION)
        .saturating_add(1 << 20);
    let mut archive = tar::Archive::new(stream.take(limits.max_bytes.saturating_add(overhead)));
    let damaged =
        |error: io::Error| TreeError::Refused(format!("the archive is damaged: {}", error.to_string().escape_debug()));
    let entries = archive.entries().map_err(damaged)?.raw(true);
    for (count, entry) in (1u64..).zip(entries) {
        if count > limits.max_entries {
            return Err(TreeError::Limit(format!(
                "the archive has more than {} entries",
                limits.max_entries
            )));
        }
        reader.entry(&mut entry.map_err(damaged)?)?;
    }
    Ok(reader.unpacker.out)
}

/// Name and link target from extension headers, for the entry that follows them.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    why_not: Option<&'static str>,
}

struct Reader {
    unpacker: Unpacker,
    long: Extension,
}

impl Reader {
    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), TreeError> {
        let kind = entry.header().entry_type();
        if matches!(
            kind,
            EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
        ) {
            return self.extension(kind, entry);
        }
        let long = std::mem::take(&mut self.long);
        let name = long.name.unwrap_or_else(|| entry.header().path_bytes().into_owned());
        let target = long
            .target
            .or_else(|| entry.header().link_name_bytes().map(|name| name.into_owned()));
        if let Some(why) = long.why_not {
            return self.unpacker.refuse(&name, why.into());
        }
        let mode = entry.header().mode().unwrap_or(0o644);
        let wanted = match kind {
            EntryType::Regular | EntryType::Continuous => Wanted::File(entry.size()),
            EntryType::Directory => Wanted::Dir,
            EntryType::Symlink => Wanted::Symlink(target.unwrap_or_default()),
            EntryType::Link => Wanted::HardLink(target.unwrap_or_default()),
            _ => Wanted::Other,
        };
        self.unpacker.place(&name, wanted, mode, entry)
    }

    fn extension(&mut self, kind: EntryType, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), TreeError> {
        if entry.size() > MAX_EXTENSION {
            // What a global header says holds for all that follows, and none of it is taken.
            self.long.why_not = (kind != EntryType::XGlobalHeader).then_some("its extended header is too long");
            return Ok(());
        }
        let mut bytes = Vec::new();
        let read = entry.take(MAX_EXTENSION).read_to_end(&mut bytes);
        read.map_err(|error| TreeError::Refused(format!("the archive is damaged: {error}")))?;
        match kind {
            EntryType::GNULongName => self.long.name = Some(until_nul(&bytes)),
            EntryType::GNULongLink => self.long.target = Some(until_nul(&bytes)),
            EntryType::XGlobalHeader => {
                // git archive(1) puts the commit there.
                let comment = tar::PaxExtensions::new(&bytes)
                    .flatten()
                    .find(|pair| pair.key_bytes() == b"comment" && pair.value_bytes().len() <= MAX_COMMENT);
                let text = comment.and_then(|pair| pair.value().ok().map(str::to_owned));
                self.unpacker.out.comment = text.or(self.unpacker.out.comment.take());
            }
            _ => {
                for pair in tar::PaxExtensions::new(&bytes) {
                    let Ok(pair) = pair else {
                        self.long.why_not = Some("its extended header is damaged");
                        break;
                    };
                    match pair.key_bytes() {
                        b"path" => self.long.name = Some(pair.value_bytes().to_vec()),
                        b"linkpath" => self.long.target = Some(pair.value_bytes().to_vec()),
                        b"size" => self.long.why_not = Some("its size is in an extended header"),
                        key if key.starts_with(b"GNU.sparse") => self.long.why_not = Some("it is a sparse file"),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}
