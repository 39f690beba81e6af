//! Moving and hashing the bytes of one file, holes kept.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::AsFd,
    path::Path,
};

use nix::{errno::Errno, unistd::Whence};

use super::Content;

/// Bytes moved at a time.
const CHUNK: usize = 256 << 10;

impl Content {
    /// The digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// A buffer for [`copy`], one a thread.
pub(super) fn buffer() -> Vec<u8> {
    vec![0; CHUNK]
}

/// Hashes exactly `size` bytes of `from` and writes them to `to` where given.
/// Holes of a sparse file stay holes; a file that is shorter than `size` fails
/// with `UnexpectedEof`, what grows beyond is not read.
pub(super) fn copy(
    from: &mut File,
    size: u64,
    sparse: bool,
    mut to: Option<&mut File>,
    buffer: &mut [u8],
) -> io::Result<Content> {
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while at < size {
        let data = if sparse { next_data(from, at, size)? } else { at };
        if data > at {
            hash_zeros(&mut hasher, data - at);
            at = data;
            from.seek(SeekFrom::Start(at))?;
            if let Some(to) = to.as_deref_mut() {
                to.seek(SeekFrom::Start(at))?;
            }
            continue;
        }
        let end = if sparse { next_hole(from, at, size)? } else { size };
        from.seek(SeekFrom::Start(at))?;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(CHUNK).min(buffer.len());
            let got = match from.read(&mut buffer[..want]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&buffer[..got]);
            if let Some(to) = to.as_deref_mut() {
                to.write_all(&buffer[..got])?;
            }
            at += got as u64;
        }
    }
    if let (true, Some(to)) = (sparse, to) {
        to.set_len(size)?;
    }
    Ok(Content(*hasher.finalize().as_bytes()))
}

fn next_data(file: &File, at: u64, size: u64) -> io::Result<u64> {
    match nix::unistd::lseek(file.as_fd(), at.cast_signed(), Whence::SeekData) {
        Ok(found) => Ok(found.cast_unsigned().min(size)),
        Err(Errno::ENXIO) => Ok(size),
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(at),
        Err(error) => Err(error.into()),
    }
}

fn next_hole(file: &File, at: u64, size: u64) -> io::Result<u64> {
    match nix::unistd::lseek(file.as_fd(), at.cast_signed(), Whence::SeekHole) {
        Ok(found) => Ok(found.cast_unsigned().clamp(at + 1, size)),
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(size),
        Err(error) => Err(error.into()),
    }
}

fn hash_zeros(hasher: &mut blake3::Hasher, mut count: u64) {
    const ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while count > 0 {
        let step = count.min(ZEROS.len() as u64);
        // `step` is at most the length of ZEROS, so it fits.
        hasher.update(&ZEROS[..usize::try_from(step).unwrap_or(ZEROS.len())]);
        count -= step;
    }
}

/// Reads a whole file that is known to be ours, bounded.
pub(super) fn read_bounded(
    file: &mut File,
    size: u64,
    max: u64,
    shown: &dyn std::fmt::Display,
) -> Result<Vec<u8>, super::TreeError> {
    if size > max {
        return Err(super::TreeError::Limit(format!(
            "{shown} has {size} bytes; at most {max} are taken"
        )));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(super::TreeError::io("read", shown))?;
    if bytes.len() as u64 > max {
        return Err(super::TreeError::Limit(format!(
            "{shown} grew beyond {max} bytes while it was read"
        )));
    }
    Ok(bytes)
}

/// A path of our own for messages.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}
