//! VII: what goes in and comes out.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use futures_util::FutureExt;

use super::{
    Field, archives,
    attempt::{Attempt, Lack, Place, Section::Copies},
    field,
};
use crate::{
    names::RelPath,
    probe::{Answer, Layer, Marks},
    sandbox::{Found, SandboxError},
    tree::{self, Checkpoint, ExportCaps},
};

const CAPS: ExportCaps = ExportCaps {
    bytes: 64 << 20,
    files: 10_000,
};

pub(super) fn attempts() -> Vec<Attempt> {
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
    let copies = vec![
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
    ];
    [archives::attempts(), copies].concat()
}

pub(super) fn io_error(source: io::Error) -> SandboxError {
    SandboxError::Io {
        what: "copy what nobody trusts".to_owned(),
        source,
    }
}

pub(super) fn refused() -> Answer {
    Answer::Refused {
        errno: 0,
        by: Some(Layer::Reader),
    }
}

/// Two directories beside each other: for the archive, and one that it is to leave alone.
pub(super) fn ground(field: &Field) -> Result<(PathBuf, PathBuf), SandboxError> {
    let base = field.fresh("archive");
    let (into, outside) = (base.join("into"), base.join("outside"));
    for dir in [&into, &outside] {
        fs::create_dir_all(dir).map_err(io_error)?;
    }
    fs::write(outside.join("there"), "there").map_err(io_error)?;
    Ok((into, outside))
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
    let left = tree::export(&field.pristine, &found, &changes, &out, CAPS).map_err(failed)?;
    let token = field.marks(Place::Usual, 0).token;
    let there = ["trap-link", "trap-dir/file"].map(|name| fs::read_to_string(out.join(name)).unwrap_or_default());
    let listed = left.iter().any(|(path, _)| path.as_bytes() == b"trap-link");
    Ok(match (there.contains(&token), listed) {
        (true, _) => Answer::Done("what it led to was copied".to_owned()),
        (false, true) => refused(),
        (false, false) => return Err(SandboxError::Gone("the link is not among what was left".to_owned())),
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
    tree::export(&field.pristine, &found, &changes, &field.fresh("export"), CAPS).map_err(failed)?;
    Ok(match (marker.exists(), seen) {
        (true, _) => Answer::Done("a program of the repository's ran".to_owned()),
        (false, true) => refused(),
        (false, false) => return Err(SandboxError::Gone("the workspace was not changed".to_owned())),
    })
}
