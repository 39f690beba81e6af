//! VII: archives that nobody trusts, for the reader of what comes out.

use std::{
    fs,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use futures_util::FutureExt;
use tar::{EntryType, Header};

use super::{
    Field,
    attempt::{Attempt, Section::Copies},
    copies::{ground, io_error, refused},
};
use crate::{
    probe::Answer,
    sandbox::SandboxError,
    tree::{ArchiveLimits, tar_reader},
};

const BOUNDS: ArchiveLimits = ArchiveLimits {
    max_entries: 100,
    max_bytes: 1 << 20,
    case_matters: false,
};

pub(super) fn attempts() -> Vec<Attempt> {
    macro_rules! archive {
        ($number:literal, $name:literal, $make:expr) => {
            Attempt::host(
                $number,
                Copies,
                $name,
                |f| carelessly(f, $make).boxed(),
                |f| unpacked(f, $make).boxed(),
            )
        };
    }
    vec![
        archive!(113, "archive-climbs", |_| vec![file("../outside/planted", b"x")]),
        archive!(113, "archive-absolute-name", |outside| vec![file(
            &format!("{}/planted", outside.display()),
            b"x"
        )]),
        archive!(114, "archive-long-name-climbs", |_| {
            let up = format!("{}../outside/planted", "./".repeat(80));
            vec![long_name(&up), file("harmless", b"x")]
        }),
        archive!(115, "archive-writes-through-link", |outside| vec![
            link("door", &outside.to_string_lossy()),
            file("door/planted", b"x"),
        ]),
        archive!(116, "archive-hard-link-out", |outside| vec![hard_link(
            "taken",
            &outside.join("there").to_string_lossy()
        )]),
        archive!(117, "archive-devices", |_| vec![special("pipe", EntryType::Fifo)]),
        archive!(118, "archive-set-id", |_| vec![mode("set-id", 0o6755)]),
        archive!(119, "archive-cut-short", |_| vec![lying("short", 1 << 16)]),
        archive!(121, "archive-colliding-names", |_| vec![
            file("Name", b"one"),
            file("name", b"two")
        ]),
    ]
}

/// One entry as it stands in an archive.
type Block = Vec<u8>;

fn entry(name: &str, kind: EntryType, mode: u32, target: &str, bytes: &[u8]) -> Block {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    // Past the crate's own checks of names.
    let raw = header.as_mut_bytes();
    let put = |raw: &mut [u8], at: usize, text: &str| {
        let length = text.len().min(100);
        raw[at..at + length].copy_from_slice(&text.as_bytes()[..length]);
    };
    put(raw, 0, name);
    put(raw, 157, target);
    header.set_cksum();
    let mut block = header.as_bytes().to_vec();
    block.extend(bytes);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

fn file(name: &str, bytes: &[u8]) -> Block {
    entry(name, EntryType::Regular, 0o644, "", bytes)
}

fn mode(name: &str, mode: u32) -> Block {
    entry(name, EntryType::Regular, mode, "", b"x")
}

fn link(name: &str, target: &str) -> Block {
    entry(name, EntryType::Symlink, 0o777, target, b"")
}

fn hard_link(name: &str, target: &str) -> Block {
    entry(name, EntryType::Link, 0o644, target, b"")
}

fn special(name: &str, kind: EntryType) -> Block {
    entry(name, kind, 0o666, "", b"")
}

fn long_name(name: &str) -> Block {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    entry("././@LongLink", EntryType::GNULongName, 0o644, "", &bytes)
}

/// An entry that has fewer bytes than it says.
fn lying(name: &str, size: u64) -> Block {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    // A plain name that fits.
    let _ = header.set_path(name);
    header.set_cksum();
    let mut block = header.as_bytes().to_vec();
    block.extend([b'x'; 512]);
    block
}

/// What an archive brought about that it should not.
fn harm(into: &Path, outside: &Path, whole: bool) -> Option<String> {
    if outside.join("planted").exists() {
        return Some("a file outside was written".to_owned());
    }
    if fs::metadata(outside.join("there")).is_ok_and(|meta| meta.nlink() > 1) {
        return Some("a file outside was linked".to_owned());
    }
    for name in ["pipe", "set-id", "short"] {
        let Ok(meta) = fs::symlink_metadata(into.join(name)) else {
            continue;
        };
        if !meta.is_file() {
            return Some(format!("`{name}` is a special file"));
        }
        if meta.mode() & 0o6000 != 0 {
            return Some(format!("`{name}` is set-id"));
        }
        if name == "short" && whole {
            return Some("an archive that was cut short passed".to_owned());
        }
    }
    let names = fs::read_dir(into).into_iter().flatten().flatten();
    let mut folded: Vec<String> = names
        .map(|entry| entry.file_name().to_string_lossy().to_lowercase())
        .collect();
    let before = folded.len();
    folded.sort_unstable();
    folded.dedup();
    (folded.len() < before).then(|| "two names that are one elsewhere".to_owned())
}

fn whole(blocks: Vec<Block>) -> Vec<u8> {
    let cut_short = blocks.iter().any(|block| block.windows(5).next() == Some(b"short"));
    let mut bytes = blocks.concat();
    if !cut_short {
        bytes.extend([0; 1024]);
    }
    bytes
}

async fn unpacked(field: &Field, make: fn(&Path) -> Vec<Block>) -> Result<Answer, SandboxError> {
    let (into, outside) = ground(field)?;
    let bytes = whole(make(&outside));
    let done = tar_reader::unpack(bytes.as_slice(), &BOUNDS, &into);
    Ok(match harm(&into, &outside, done.is_ok()) {
        Some(how) => Answer::Done(how),
        None => refused(),
    })
}

/// As a reader does that trusts an archive: names are joined, links are followed, kinds and
/// modes are made as they are told.
async fn carelessly(field: &Field, make: fn(&Path) -> Vec<Block>) -> Result<Answer, SandboxError> {
    let (into, outside) = ground(field)?;
    let bytes = whole(make(&outside));
    let mut archive = tar::Archive::new(bytes.as_slice());
    for entry in archive.entries().map_err(io_error)? {
        // Whoever does not look at it takes what there is.
        let Ok(mut entry) = entry else { break };
        let name = entry.path().map_err(io_error)?.into_owned();
        let path = into.join(&name);
        let target = entry.link_name().ok().flatten().map(|target| target.into_owned());
        match (entry.header().entry_type(), target) {
            (EntryType::Symlink, Some(target)) => symlink(target, &path).map_err(io_error)?,
            (EntryType::Link, Some(target)) => fs::hard_link(target, &path).map_err(io_error)?,
            (EntryType::Fifo, _) => {
                nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).map_err(|errno| io_error(errno.into()))?
            }
            _ => {
                let mut content = Vec::new();
                let _ = entry.read_to_end(&mut content);
                fs::write(&path, content).map_err(io_error)?;
                let mode = entry.header().mode().unwrap_or(0o644);
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(io_error)?;
            }
        }
    }
    Ok(match harm(&into, &outside, true) {
        Some(how) => Answer::Done(how),
        None => Answer::Refused { errno: 0, by: None },
    })
}
