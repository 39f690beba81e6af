//! Copying a surveyed source: every file read once, hashed as it is written, on all cores.

use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::OwnedFd,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use nix::{
    fcntl::OFlag,
    sys::stat::{FileStat, Mode, SFlag, fchmod},
    unistd::symlinkat,
};

use super::{
    CopyProgress, Entry, EntryKind, Manifest, TreeError, at, content,
    layer::{is_sparse, keep_mtime, make_dir},
    survey::Survey,
};
use crate::names::RelPath;

/// Neighbouring files that one thread takes at a time.
const BATCH: usize = 32;
/// More threads than this only wait for the disk.
const MAX_THREADS: usize = 8;

/// What became of a copy.
pub(super) struct Copied {
    pub manifest: Manifest,
    /// Files that could not be opened, beyond what the survey skipped.
    pub unreadable: Vec<(RelPath, String)>,
    /// Something was not what the survey saw; the copy is worth nothing.
    pub moved: bool,
}

/// Copies everything that `survey` found from `from` into the empty directory `to`.
pub(super) fn copy(
    from: &OwnedFd,
    to: &OwnedFd,
    survey: &Survey,
    owner: at::Owner,
    progress: CopyProgress<'_>,
) -> Result<Copied, TreeError> {
    let mut manifest = Manifest::new();
    let mut files = Vec::new();
    let mut parent = OpenDir::default();
    for (path, stat) in &survey.found {
        if at::kind_of(stat) != SFlag::S_IFDIR {
            files.push((path, stat));
            continue;
        }
        let mode = Entry::kept_mode(&EntryKind::Dir, stat.st_mode);
        let dir = parent
            .of(to, path)
            .map_err(TreeError::io("open the copy's parent of", path))?;
        make_dir(dir, path.file_name(), mode, owner).map_err(TreeError::io("make the copy of", path))?;
        manifest.insert(path.clone(), Entry::dir(mode));
    }
    let job = Job {
        from,
        to,
        owner,
        files: &files,
        next: AtomicUsize::new(0),
        done: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        moved: AtomicBool::new(false),
        failed: Mutex::new(None),
        progress,
    };
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .clamp(1, MAX_THREADS);
    let parts: Vec<Part> = std::thread::scope(|scope| {
        // This thread works as well: a host that has none to spare makes it slower, no more.
        let workers: Vec<_> = (1..threads)
            .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, || job.work()).ok())
            .collect();
        let mut parts = vec![job.work()];
        // A worker that panicked has no part; its panic is passed on.
        parts.extend(
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
        );
        parts
    });
    if let Some(error) = job.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut unreadable = Vec::new();
    for part in parts {
        manifest.extend(part.entries);
        unreadable.extend(part.unreadable);
    }
    let moved = job.moved.into_inner();
    Ok(Copied {
        manifest,
        unreadable,
        moved,
    })
}

/// The directory last opened; files come directory by directory.
#[derive(Default)]
pub(super) struct OpenDir(Option<(Option<RelPath>, OwnedFd)>);

impl OpenDir {
    /// The open parent of `path`.
    pub(super) fn of(&mut self, root: &OwnedFd, path: &RelPath) -> std::io::Result<&OwnedFd> {
        let parent = path.parent();
        let fresh = match self.0.take() {
            Some((at, dir)) if at == parent => dir,
            _ => at::open_dir(root, parent.as_ref())?,
        };
        Ok(&self.0.insert((parent, fresh)).1)
    }
}

#[derive(Default)]
struct Part {
    entries: BTreeMap<RelPath, Entry>,
    unreadable: Vec<(RelPath, String)>,
}

struct Job<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    owner: at::Owner,
    files: &'a [(&'a RelPath, &'a FileStat)],
    next: AtomicUsize,
    done: AtomicU64,
    bytes: AtomicU64,
    moved: AtomicBool,
    failed: Mutex<Option<TreeError>>,
    progress: CopyProgress<'a>,
}

/// What became of one file.
enum Outcome {
    Copied(Entry),
    Unreadable(String),
    Moved,
}

impl Job<'_> {
    fn work(&self) -> Part {
        let mut part = Part::default();
        let mut buffer = content::buffer();
        let (mut source, mut target) = (OpenDir::default(), OpenDir::default());
        loop {
            let first = self.next.fetch_add(BATCH, Ordering::Relaxed);
            let batch = self.files.get(first..).unwrap_or_default();
            if batch.is_empty() || self.moved.load(Ordering::Relaxed) {
                return part;
            }
            for (path, stat) in &batch[..batch.len().min(BATCH)] {
                match self.one(path, stat, &mut source, &mut target, &mut buffer) {
                    Ok(Outcome::Copied(entry)) => {
                        part.entries.insert((*path).clone(), entry);
                    }
                    Ok(Outcome::Unreadable(why)) => part.unreadable.push(((*path).clone(), why)),
                    Ok(Outcome::Moved) => self.moved.store(true, Ordering::Relaxed),
                    Err(error) => {
                        self.failed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(error);
                        self.next.store(self.files.len(), Ordering::Relaxed);
                        return part;
                    }
                }
                let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
                let size = stat.st_size.cast_unsigned();
                let bytes = self.bytes.fetch_add(size, Ordering::Relaxed) + size;
                (self.progress)(done, bytes);
            }
        }
    }

    fn one(
        &self,
        path: &RelPath,
        stat: &FileStat,
        source: &mut OpenDir,
        target: &mut OpenDir,
        buffer: &mut [u8],
    ) -> Result<Outcome, TreeError> {
        let fail = |what| TreeError::io::<std::io::Error>(what, path);
        let name = path.file_name();
        let Ok(from) = source.of(self.from, path) else {
            return Ok(Outcome::Moved);
        };
        let to = target.of(self.to, path).map_err(fail("open the copy's parent of"))?;
        if at::kind_of(stat) == SFlag::S_IFLNK {
            let Ok(link) = at::read_link(from, name) else {
                return Ok(Outcome::Moved);
            };
            symlinkat(link.as_slice(), to, name).map_err(TreeError::io("copy the link", path))?;
            at::give(to, name, self.owner).map_err(fail("give away the copy of"))?;
            let kind = EntryKind::Symlink { target: link };
            return Ok(Outcome::Copied(Entry { kind, mode: 0 }));
        }
        let (mut from, before) = match at::open_name(from, name, OFlag::O_RDONLY, 0).and_then(at::regular) {
            Ok(opened) => opened,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {
                return Ok(Outcome::Unreadable(format!("it cannot be read: {error}")));
            }
            Err(error) if error.raw_os_error() == Some(libc::EIO) => return Err(fail("read")(error)),
            Err(_) => return Ok(Outcome::Moved),
        };
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut copy = File::from(at::open_name(to, name, flags, 0o600).map_err(fail("create the copy of"))?);
        let size = before.st_size.cast_unsigned();
        let content = match content::copy(&mut from, size, is_sparse(&before), Some(&mut copy), buffer) {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(Outcome::Moved),
            Err(error) => return Err(fail("copy")(error)),
        };
        let after = nix::sys::stat::fstat(&from).map_err(TreeError::io("stat", path))?;
        if !same(stat, &before) || !same(&before, &after) {
            return Ok(Outcome::Moved);
        }
        let kind = EntryKind::File { content, size };
        let mode = Entry::kept_mode(&kind, before.st_mode) & 0o777;
        at::give(to, name, self.owner).map_err(fail("give away the copy of"))?;
        fchmod(&copy, Mode::from_bits_truncate(mode)).map_err(TreeError::io("set the mode of the copy of", path))?;
        keep_mtime(&copy, &before).map_err(fail("set the time of the copy of"))?;
        Ok(Outcome::Copied(Entry { kind, mode }))
    }
}

/// Whether two looks at a file saw the same.
fn same(a: &FileStat, b: &FileStat) -> bool {
    let times = |s: &FileStat| (s.st_mtime, s.st_mtime_nsec, s.st_ctime, s.st_ctime_nsec);
    (a.st_ino, a.st_dev, a.st_size, a.st_mode) == (b.st_ino, b.st_dev, b.st_size, b.st_mode) && times(a) == times(b)
}
