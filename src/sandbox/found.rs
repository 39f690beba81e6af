//! One file of the workspace, read through the guest.

use std::os::fd::AsFd;

use tokio::io::unix::AsyncFd;

use crate::{
    names::RelPath,
    sandbox::{
        Sandbox, SandboxError,
        output::{async_fd, nonblocking},
    },
    tree::{ArchiveLimits, EntryKind, TreeError, tar_reader},
    wire::{GET, Request},
};

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// What is at a path of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or something that is no directory stands above it.
    Nothing,
    /// A regular file and all that it holds.
    File(Vec<u8>),
    /// Something that is no regular file, or one that cannot be read; why, in one line.
    Refused(String),
    /// A file with more bytes than asked for.
    TooLarge,
}

impl Sandbox {
    /// What is at `path` of the workspace, as its owner sees it; no link is followed.
    /// While something inside runs, what it writes meanwhile may be read in part.
    ///
    /// # Errors
    /// When the guest is gone or cannot look.
    pub async fn read(&self, path: &RelPath, max: u64) -> Result<Found, SandboxError> {
        let io = |source| SandboxError::Io {
            what: format!("read `{path}` inside"),
            source,
        };
        let (ours, theirs) = std::io::pipe().map_err(io)?;
        nonblocking(ours.as_fd()).map_err(io)?;
        let mut pipe = Some(async_fd(ours).map_err(io)?);
        let mut stream = Vec::new();
        // Headers, padding and the archive's end.
        let limit = usize::try_from(max).unwrap_or(usize::MAX).saturating_add(64 << 10);
        let answer = {
            let request = Request::Get {
                paths: vec![path.clone()],
            };
            let fds = [theirs.as_fd()];
            let ask = self.ask(&request, &fds);
            tokio::pin!(ask);
            loop {
                tokio::select! {
                    answer = &mut ask => break answer,
                    // Over the limit it is closed, which ends the guest's writing too.
                    () = fill(&pipe, &mut stream, limit), if pipe.is_some() => pipe = None,
                }
            }
        };
        drop(theirs);
        if let Some(pipe) = &pipe {
            // All of it is in the pipe by now.
            let mut rest = vec![0; CHUNK];
            while let Ok(n) = std::io::Read::read(&mut pipe.get_ref(), &mut rest)
                && n > 0
            {
                stream.extend_from_slice(&rest[..n]);
            }
        }
        if stream.len() > limit {
            return Ok(Found::TooLarge);
        }
        match answer {
            Ok(_) => only_file(&stream, path, max).map_err(io),
            Err(SandboxError::Guest { step, errno, why }) if step == GET => Ok(match errno {
                Some(libc::ENOENT | libc::ENOTDIR) => Found::Nothing,
                Some(libc::ELOOP) => Found::Refused("a symbolic link stands above it".to_owned()),
                _ => Found::Refused(why),
            }),
            Err(why) => Err(why),
        }
    }
}

/// The one file that a tar stream of the guest holds, unpacked as any hostile archive is.
fn only_file(stream: &[u8], path: &RelPath, max: u64) -> std::io::Result<Found> {
    let dir = tempfile::tempdir()?;
    let limits = ArchiveLimits {
        // More headers than the stream has room for.
        max_entries: stream.len() as u64,
        max_bytes: max,
        case_matters: false,
    };
    let unpacked = match tar_reader::unpack(stream, &limits, dir.path()) {
        Ok(unpacked) => unpacked,
        Err(TreeError::Limit(_)) => return Ok(Found::TooLarge),
        Err(why) => return Ok(Found::Refused(why.to_string())),
    };
    let refused = |why: &str| Ok(Found::Refused(why.to_owned()));
    match unpacked.manifest.get(path).map(|entry| &entry.kind) {
        Some(EntryKind::File { .. }) => Ok(Found::File(std::fs::read(dir.path().join(path.as_path()))?)),
        Some(EntryKind::Dir) => refused("it is a directory"),
        Some(EntryKind::Symlink { .. }) => refused("it is a symbolic link"),
        Some(EntryKind::Special) => refused("it is no regular file"),
        None => match unpacked.refused.first() {
            Some((_, why)) => refused(why),
            None => refused("it did not come"),
        },
    }
}

/// Reads until the pipe ends or more than `limit` bytes came; cancelling loses nothing.
async fn fill(pipe: &Option<AsyncFd<std::io::PipeReader>>, stream: &mut Vec<u8>, limit: usize) {
    let Some(pipe) = pipe else {
        return std::future::pending().await;
    };
    // On the heap: it is kept over each wait, and with it in every future that reads.
    let mut buffer = vec![0; CHUNK];
    while stream.len() <= limit {
        let Ok(mut ready) = pipe.readable().await else { return };
        match ready.try_io(|pipe| std::io::Read::read(&mut pipe.get_ref(), &mut buffer)) {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(n)) => stream.extend_from_slice(&buffer[..n]),
            Err(_) => {}
        }
    }
}
