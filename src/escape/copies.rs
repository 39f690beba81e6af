//! VII: what goes in and comes out.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use futures_util::FutureExt;
use tar::{EntryType, Header};

use super::{
    Field,
    attempt::{Attempt, Lack, Place, Section::Copies},
    field,
};
use crate::{
    names::RelPath,
    probe::{Answer, Layer, Marks},
    sandbox::{Found, SandboxError},
    tree::{self, Checkpoint, tar_reader, tar_reader::TarLimits},
};

const BOUNDS: TarLimits = TarLimits {
    max_entries: 100,
    max_bytes: 1 << 20,
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
    macro_rules! host {
        ($number:literal, $name:literal, $control:expr, $inside:expr) => {
            Attempt::host(
                $number,
                Copies,
                $name,
                |f| $control(f).boxed(),
                |f| $inside(f).boxed(),
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
        host!(120, "deep-and-long-names", named_outside, named_inside),
        host!(122, "read-a-pipe", |f| read_outside(f, Trap::Pipe), |f| read_inside(
            f,
            Trap::Pipe
        )),
        host!(
            124,
            "read-a-link-out",
            |f| read_outside(f, Trap::Link),
            |f| read_inside(f, Trap::Link)
        ),
        host!(123, "read-through-a-link-out", |f| read_outside(f, Trap::Below), |f| {
            read_inside(f, Trap::Below)
        }),
        host!(125, "export-a-link-out", exported_outside, exported_inside),
        host!(128, "run-host-git", git_outside, git_inside)
            .lacking(&[Lack::Errno(libc::ENOENT, "this host has no git")]),
    ]
}

fn io_error(source: io::Error) -> SandboxError {
    SandboxError::Io {
        what: "copy what nobody trusts".to_owned(),
        source,
    }
}

fn refused() -> Answer {
    Answer::Refused {
        errno: 0,
        by: Some(Layer::Reader),
    }
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

/// Two directories beside each other: for the archive, and one that it is to leave alone.
fn ground(field: &Field) -> Result<(PathBuf, PathBuf), SandboxError> {
    let base = field.fresh("archive");
    let (into, outside) = (base.join("into"), base.join("outside"));
    for dir in [&into, &outside] {
        fs::create_dir_all(dir).map_err(io_error)?;
    }
    fs::write(outside.join("there"), "there").map_err(io_error)?;
    Ok((into, outside))
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

/// A name of bytes that are no text and that a terminal would obey, 300 levels deep.
fn strange() -> Vec<u8> {
    let mut name = b"\xff\x1b[31m".to_vec();
    for _ in 0..300 {
        name.extend(b"/d");
    }
    name
}

async fn named_outside(field: &Field) -> Result<Answer, SandboxError> {
    use std::os::unix::ffi::OsStrExt;
    let (into, _) = ground(field)?;
    let path = into.join(std::ffi::OsStr::from_bytes(&strange()));
    fs::create_dir_all(&path).map_err(io_error)?;
    Ok(Answer::Done("such a directory can be made".to_owned()))
}

/// Names are checked before anything is done with them, and shown escaped.
async fn named_inside(_: &Field) -> Result<Answer, SandboxError> {
    let climbs = [&b"a/../b"[..], b"../a", b"/a", b"", b"a\0b"];
    if let Some(taken) = climbs.iter().find(|name| RelPath::new(name).is_ok()) {
        return Ok(Answer::Done(format!("{taken:?} is taken for a path")));
    }
    let long = vec![b'x'; 256];
    if RelPath::new(&long).is_ok() {
        return Ok(Answer::Done("a name of 256 bytes is taken".to_owned()));
    }
    let shown = RelPath::new(b"\xff\x1b[31m")
        .map(|path| path.to_string())
        .unwrap_or_default();
    Ok(match shown.chars().any(char::is_control) {
        true => Answer::Done(format!("{shown:?} is shown as it is")),
        false => refused(),
    })
}

/// What a hostile workspace has where a file is to be read.
#[derive(Clone, Copy)]
enum Trap {
    Pipe,
    Link,
    Below,
}

impl Trap {
    /// The path to make, how, and the path to read then.
    fn parts(self, target: &str) -> (&'static str, String, &'static str) {
        match self {
            Self::Pipe => ("trap-pipe", "pipe".to_owned(), "trap-pipe"),
            Self::Link => ("trap-link", format!("link {target}/file"), "trap-link"),
            Self::Below => ("trap-dir", format!("link {target}"), "trap-dir/file"),
        }
    }
}

fn open_nonblocking(path: &Path) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut bytes = Vec::new();
    let mut file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// As whoever opens a path does.
async fn read_outside(field: &Field, trap: Trap) -> Result<Answer, SandboxError> {
    let target = field.bait.dir.join("open");
    let (make, how, read) = trap.parts(&target.to_string_lossy());
    let (into, _) = ground(field)?;
    match how.strip_prefix("link ") {
        Some(target) => symlink(target, into.join(make)).map_err(io_error)?,
        None => nix::unistd::mkfifo(&into.join(make), nix::sys::stat::Mode::S_IRWXU)
            .map_err(|errno| io_error(errno.into()))?,
    }
    let read = open_nonblocking(&into.join(read)).map_err(io_error)?;
    Ok(match (trap, read == field.bait.token.as_bytes()) {
        (Trap::Pipe, _) => Answer::Done("it was opened, and would wait for whoever writes".to_owned()),
        (_, true) => Answer::Done("it led to a file outside".to_owned()),
        _ => Answer::Refused { errno: 0, by: None },
    })
}

async fn make_trap(field: &Field, trap: Trap) -> Result<&'static str, SandboxError> {
    let target = field.marks(Place::Usual, 0).dir;
    let (make, how, read) = trap.parts(&target);
    let marks = Marks {
        file: make.to_owned(),
        own: how,
        ..Marks::default()
    };
    let outcome = field.inside(Place::Usual, "work", marks).await?;
    match field::outcome_of(&outcome) {
        Ok(Answer::Done(_)) => Ok(read),
        other => Err(SandboxError::Gone(format!("the trap was not laid: {other:?}"))),
    }
}

/// As the host reads what is in a workspace.
async fn read_inside(field: &Field, trap: Trap) -> Result<Answer, SandboxError> {
    let read = make_trap(field, trap).await?;
    let path = RelPath::new(read).map_err(|why| SandboxError::Gone(why.to_string()))?;
    Ok(match field.sandbox(Place::Usual).read(&path, 4096).await? {
        Found::Refused(_) | Found::Nothing => refused(),
        Found::File(bytes) => Answer::Done(format!("{} bytes", bytes.len())),
        Found::TooLarge => Answer::Done("more than asked for".to_owned()),
    })
}

/// A copy by whoever follows links.
async fn exported_outside(field: &Field) -> Result<Answer, SandboxError> {
    let (into, outside) = ground(field)?;
    let link = into.join("trap-link");
    symlink(field.bait.dir.join("open/file"), &link).map_err(io_error)?;
    fs::copy(&link, outside.join("copied")).map_err(io_error)?;
    let copied = fs::read_to_string(outside.join("copied")).map_err(io_error)?;
    Ok(match copied == field.bait.token {
        true => Answer::Done("what it led to was copied".to_owned()),
        false => Answer::Refused { errno: 0, by: None },
    })
}

/// As results are copied out: links that lead out are left, and listed.
async fn exported_inside(field: &Field) -> Result<Answer, SandboxError> {
    for trap in [Trap::Link, Trap::Below] {
        make_trap(field, trap).await?;
    }
    let failed = |why: tree::TreeError| SandboxError::Gone(why.to_string());
    let place = field.sandbox(Place::Usual).place().clone();
    let found = Checkpoint::freeze_place(&field.pristine, &field.start, &place, &[], &field.fresh("frozen"));
    let found = found.map_err(failed)?;
    let changes = found.changes_since(&field.pristine, &field.start);
    let out = field.fresh("export");
    let left = tree::export(&field.pristine, &found, &changes, &out, 64 << 20).map_err(failed)?;
    let token = field.marks(Place::Usual, 0).token;
    let there = ["trap-link", "trap-dir/file"].map(|name| fs::read_to_string(out.join(name)).unwrap_or_default());
    let listed = left.iter().any(|(path, _)| path.as_bytes() == b"trap-link");
    Ok(match (there.contains(&token), listed) {
        (false, true) => refused(),
        (leaked, listed) => Answer::Done(format!("copied: {leaked}, listed: {listed}")),
    })
}

/// Settings by which git runs a program when somebody only asks for its status.
fn trap_for_git(marker: &Path) -> String {
    format!(
        "[core]\n\trepositoryformatversion = 0\n\tfsmonitor = \"touch '{}'; false\"\n",
        marker.display()
    )
}

async fn git_outside(field: &Field) -> Result<Answer, SandboxError> {
    let (into, outside) = ground(field)?;
    let git = |words: &[&str]| {
        std::process::Command::new("git")
            .arg("-C")
            .arg(&into)
            .args(words)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", &outside)
            .output()
    };
    if git(&["init", "-q"]).is_err() {
        return Ok(Answer::Refused {
            errno: libc::ENOENT,
            by: None,
        });
    }
    let marker = outside.join("planted");
    fs::write(into.join(".git/config"), trap_for_git(&marker)).map_err(io_error)?;
    fs::write(into.join("file"), "x").map_err(io_error)?;
    let _ = git(&["status"]).map_err(io_error)?;
    Ok(match marker.exists() {
        true => Answer::Done("a program of the repository's ran".to_owned()),
        false => Answer::Refused { errno: 0, by: None },
    })
}

/// Freezing, comparing, making a patch and copying out, which is all that the host does.
async fn git_inside(field: &Field) -> Result<Answer, SandboxError> {
    let (_, outside) = ground(field)?;
    let marker = outside.join("planted");
    for (file, token) in [
        (".git/config", trap_for_git(&marker)),
        (".git/HEAD", "ref: refs/heads/main\n".to_owned()),
        ("changed-for-git.txt", "changed\n".to_owned()),
    ] {
        let marks = Marks {
            file: file.to_owned(),
            own: "write".to_owned(),
            token,
            ..Marks::default()
        };
        field.inside(Place::Usual, "work", marks).await?;
    }
    let failed = |why: tree::TreeError| SandboxError::Gone(why.to_string());
    let place = field.sandbox(Place::Usual).place().clone();
    let found = Checkpoint::freeze_place(&field.pristine, &field.start, &place, &[], &field.fresh("frozen"));
    let found = found.map_err(failed)?;
    let changes = found.changes_since(&field.pristine, &field.start);
    let seen = changes
        .iter()
        .any(|change| change.path.as_bytes() == b"changed-for-git.txt");
    tree::patch(&field.pristine, &field.start, &found, &changes).map_err(failed)?;
    tree::export(&field.pristine, &found, &changes, &field.fresh("export"), 64 << 20).map_err(failed)?;
    Ok(match (marker.exists(), seen) {
        (false, true) => refused(),
        other => Answer::Done(format!("ran and saw: {other:?}")),
    })
}
