//! Unpacking a ZIP archive that nobody trusts (APPNOTE.TXT 6.3.10).
//!
//! The central directory is what counts, and each local header has to agree with it:
//! what two readers could read differently is refused. Stored and deflated entries;
//! no encryption, no parts on other disks, no two entries over the same bytes.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use flate2::{Crc, read::DeflateDecoder};

use super::{
    ArchiveLimits, TreeError, Unpacked,
    unpack::{MAX_COMMENT, MAX_TARGET, Unpacker, Wanted},
};

/// Signatures (4.3.7, 4.3.12, 4.3.14 to 4.3.16).
const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;
/// Sizes of those records without what follows their fixed part.
const LOCAL_SIZE: usize = 30;
const END_SIZE: usize = 22;
const END64_SIZE: usize = 56;
const LOCATOR64_SIZE: usize = 20;
/// The extra field that holds what has more than 32 bits (4.5.3).
const EXTRA64: u16 = 1;
/// Bits of the flags (4.4.4): encrypted in one of two ways, patched data, masked headers.
const REFUSED_FLAGS: u16 = 1 | 1 << 5 | 1 << 6 | 1 << 13;
/// Systems whose attributes hold a mode (4.4.2): Unix, and Darwin.
const UNIX: [u8; 2] = [3, 19];
/// Largest central directory that is read at once, bytes.
const MAX_DIRECTORY: u64 = 256 << 20;

/// Unpacks a ZIP archive into the empty directory `dir`; see [`super::tar_reader::unpack`].
///
/// # Errors
/// [`TreeError::Limit`] when a bound is hit; [`TreeError::Refused`] when the file is no
/// ZIP archive, or one that this room does not take; what was unpacked before stays for
/// the caller to remove.
pub fn unpack(file: &mut File, limits: &ArchiveLimits, dir: &Path) -> Result<Unpacked, TreeError> {
    let end = End::find(file)?;
    if end.entries > limits.max_entries {
        let most = limits.max_entries;
        return Err(TreeError::Limit(format!("the archive has more than {most} entries")));
    }
    if end.size > MAX_DIRECTORY {
        let why = format!(
            "the archive's directory has {} bytes; at most {MAX_DIRECTORY} are read",
            end.size
        );
        return Err(TreeError::Limit(why));
    }
    let directory = read_at(file, end.offset, end.size)?;
    let mut entries = Vec::new();
    let mut rest = Fields(&directory);
    for _ in 0..end.entries {
        entries.push(Central::read(&mut rest)?);
    }
    if !rest.0.is_empty() {
        return Err(damaged("its directory is longer than its entries"));
    }
    let mut unpacker = Unpacker::new(dir, limits)?;
    unpacker.out.comment = end.comment;
    let mut taken = Vec::with_capacity(entries.len());
    for entry in &entries {
        let data = entry.data(file, end.offset)?;
        taken.push((entry.offset, data + entry.packed));
        entry.place(file, data, &mut unpacker)?;
    }
    taken.sort_unstable();
    if taken.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err(damaged("two of its entries lie over one another"));
    }
    Ok(unpacker.out)
}

fn damaged(why: &str) -> TreeError {
    TreeError::Refused(format!("the archive is damaged: {why}"))
}

fn unreadable(error: io::Error) -> TreeError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it ends too early"),
        _ => damaged(&error.to_string().escape_debug().to_string()),
    }
}

fn read_at(file: &mut File, offset: u64, size: u64) -> Result<Vec<u8>, TreeError> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
    file.take(size).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 == size {
        true => Ok(bytes),
        false => Err(damaged("it ends too early")),
    }
}

/// Bytes that are taken from the front, little-endian.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], TreeError> {
        let (head, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| damaged("a record is cut short"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TreeError> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or_else(|| damaged("a record is cut short"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, TreeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, TreeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, TreeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn signature(&mut self, wanted: u32) -> Result<(), TreeError> {
        match self.u32()? == wanted {
            true => Ok(()),
            false => Err(damaged("a record is not where it should be")),
        }
    }
}

/// Where the central directory lies.
struct End {
    entries: u64,
    size: u64,
    offset: u64,
    comment: Option<String>,
}

impl End {
    /// The one record whose comment ends with the file. A directory has to end where
    /// this begins, so that nothing else can pass for one.
    fn find(file: &mut File) -> Result<Self, TreeError> {
        let length = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
        let tail_size = length.min((END_SIZE + usize::from(u16::MAX)) as u64);
        let tail = read_at(file, length - tail_size, tail_size)?;
        let starts = (0..=tail.len().saturating_sub(END_SIZE)).rev();
        let fits = |at: &usize| {
            let record = &tail[*at..];
            record.len() >= END_SIZE
                && record.starts_with(&END.to_le_bytes())
                && END_SIZE + usize::from(u16::from_le_bytes([record[20], record[21]])) == record.len()
        };
        let at = starts
            .into_iter()
            .find(fits)
            .ok_or_else(|| TreeError::Refused("it is no ZIP archive".to_owned()))?;
        let mut fields = Fields(&tail[at..]);
        fields.signature(END)?;
        let (disk, first, here) = (fields.u16()?, fields.u16()?, fields.u16()?);
        let (entries, size, offset) = (fields.u16()?, fields.u32()?, fields.u32()?);
        fields.u16()?;
        let comment = std::str::from_utf8(fields.0).ok();
        let comment = comment.filter(|text| !text.is_empty() && text.len() <= MAX_COMMENT);
        let mut end = Self {
            entries: entries.into(),
            size: size.into(),
            offset: offset.into(),
            comment: comment.map(str::to_owned),
        };
        let mut begins = length - tail_size + at as u64;
        let large = entries == u16::MAX || size == u32::MAX || offset == u32::MAX;
        if large && begins >= LOCATOR64_SIZE as u64 {
            begins = end.enlarge(file, begins)?;
        } else if disk != 0 || first != 0 || here != entries {
            return Err(TreeError::Refused("the archive has parts elsewhere".to_owned()));
        }
        match end.offset.checked_add(end.size) == Some(begins) {
            true => Ok(end),
            false => Err(damaged("its directory is not where it says")),
        }
    }

    /// Reads the larger record (4.3.14), and gives where that begins.
    fn enlarge(&mut self, file: &mut File, begins: u64) -> Result<u64, TreeError> {
        let locator = read_at(file, begins - LOCATOR64_SIZE as u64, LOCATOR64_SIZE as u64)?;
        let mut fields = Fields(&locator);
        fields.signature(LOCATOR64)?;
        let (disk, offset, disks) = (fields.u32()?, fields.u64()?, fields.u32()?);
        let record = read_at(file, offset, END64_SIZE as u64)?;
        let mut fields = Fields(&record);
        fields.signature(END64)?;
        let size = fields.u64()?;
        fields.u32()?;
        let (this, first, here) = (fields.u32()?, fields.u32()?, fields.u64()?);
        (self.entries, self.size, self.offset) = (fields.u64()?, fields.u64()?, fields.u64()?);
        if disk != 0 || disks > 1 || this != 0 || first != 0 || here != self.entries {
            return Err(TreeError::Refused("the archive has parts elsewhere".to_owned()));
        }
        let ends = offset.checked_add(12).and_then(|at| at.checked_add(size));
        match ends == Some(begins - LOCATOR64_SIZE as u64) {
            true => Ok(offset),
            false => Err(damaged("its directory is not where it says")),
        }
    }
}

/// An entry of the central directory.
struct Central {
    system: u8,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    attributes: u32,
    offset: u64,
    name: Vec<u8>,
}

impl Central {
    fn read(fields: &mut Fields<'_>) -> Result<Self, TreeError> {
        fields.signature(CENTRAL)?;
        let [_, system] = fields.array()?;
        fields.u16()?;
        let (flags, method) = (fields.u16()?, fields.u16()?);
        fields.u32()?;
        let (crc, packed, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (name, extra, comment) = (fields.u16()?, fields.u16()?, fields.u16()?);
        let disk = fields.u16()?;
        fields.u16()?;
        let (attributes, offset) = (fields.u32()?, fields.u32()?);
        let mut entry = Self {
            system,
            flags,
            method,
            crc,
            packed: packed.into(),
            size: size.into(),
            attributes,
            offset: offset.into(),
            name: fields.bytes(name.into())?.to_vec(),
        };
        entry.enlarge(fields.bytes(extra.into())?)?;
        fields.bytes(comment.into())?;
        match disk == 0 || disk == u16::MAX {
            true => Ok(entry),
            false => Err(TreeError::Refused("the archive has parts elsewhere".to_owned())),
        }
    }

    /// Takes what has more than 32 bits from the extra field, in its order.
    fn enlarge(&mut self, extra: &[u8]) -> Result<(), TreeError> {
        let mut fields = Fields(extra);
        // What is shorter than a header is padding, which some writers leave.
        while fields.0.len() >= 4 {
            let (kind, size) = (fields.u16()?, fields.u16()?);
            let mut field = Fields(fields.bytes(size.into())?);
            if kind == EXTRA64 {
                for value in [&mut self.size, &mut self.packed, &mut self.offset] {
                    if *value == u64::from(u32::MAX) {
                        *value = field.u64()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Where its data lies, which ends before `limit`; the local header has to say the same.
    fn data(&self, file: &mut File, limit: u64) -> Result<u64, TreeError> {
        let differs = || damaged("an entry differs from what its directory says");
        let header = read_at(file, self.offset, LOCAL_SIZE as u64)?;
        let mut fields = Fields(&header);
        fields.signature(LOCAL)?;
        fields.u16()?;
        let (flags, method) = (fields.u16()?, fields.u16()?);
        fields.u32()?;
        fields.bytes(12)?;
        let (name, extra) = (fields.u16()?, fields.u16()?);
        let begins = self.offset + LOCAL_SIZE as u64;
        // Bit 3 says where the sizes are, which the directory has in any case.
        if (flags ^ self.flags) & !(1 << 3) != 0 || method != self.method || usize::from(name) != self.name.len() {
            return Err(differs());
        }
        if read_at(file, begins, name.into())? != self.name {
            return Err(differs());
        }
        let data = begins + u64::from(name) + u64::from(extra);
        match data.checked_add(self.packed).is_some_and(|end| end <= limit) {
            true => Ok(data),
            false => Err(damaged("an entry is longer than the archive")),
        }
    }

    fn place(&self, file: &mut File, data: u64, unpacker: &mut Unpacker) -> Result<(), TreeError> {
        if self.flags & REFUSED_FLAGS != 0 {
            return unpacker.refuse(&self.name, "it is encrypted, or needs another archive".to_owned());
        }
        if !matches!(self.method, 0 | 8) {
            let why = format!("it is packed in a way that is not read here (method {})", self.method);
            return unpacker.refuse(&self.name, why);
        }
        if self.method == 0 && self.packed != self.size {
            return Err(damaged("a stored entry has two sizes"));
        }
        if self.name.contains(&b'\\') && !UNIX.contains(&self.system) {
            return unpacker.refuse(&self.name, "its name has backslashes".to_owned());
        }
        file.seek(SeekFrom::Start(data)).map_err(unreadable)?;
        let packed = (&mut *file).take(self.packed);
        let mut bytes = Checked {
            inner: match self.method {
                0 => Bytes::Stored(packed),
                _ => Bytes::Deflated(DeflateDecoder::new(packed)),
            },
            crc: Crc::new(),
            left: self.size,
        };
        let mode = match UNIX.contains(&self.system) {
            true => self.attributes >> 16,
            false => 0,
        };
        let permissions = |default| match mode & 0o7777 {
            0 => default,
            given => given,
        };
        let is_dir = self.name.ends_with(b"/");
        let wanted = match mode & libc::S_IFMT {
            _ if is_dir => Wanted::Dir,
            libc::S_IFDIR => return Err(damaged("a directory without a slash")),
            0 | libc::S_IFREG => Wanted::File(self.size),
            libc::S_IFLNK if self.size > MAX_TARGET => {
                return unpacker.refuse(&self.name, "a link whose target is too long".to_owned());
            }
            libc::S_IFLNK => {
                let mut target = Vec::new();
                bytes.read_to_end(&mut target).map_err(unreadable)?;
                Wanted::Symlink(target)
            }
            _ => Wanted::Other,
        };
        let default = if is_dir { 0o755 } else { 0o644 };
        let refused = unpacker.out.refused.len();
        let file_wanted = matches!(wanted, Wanted::File(_));
        let placed = unpacker.place(&self.name, wanted, permissions(default), &mut bytes);
        match placed {
            // What could not be read is the archive's fault.
            Err(TreeError::Io { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Err(unreadable(source))
            }
            Ok(()) if file_wanted && unpacker.out.refused.len() == refused => bytes.end(self.crc),
            other => other,
        }
    }
}

enum Bytes<R: Read> {
    Stored(R),
    Deflated(DeflateDecoder<R>),
}

/// The bytes of an entry, no more than it says, and their checksum.
struct Checked<R: Read> {
    inner: Bytes<R>,
    crc: Crc,
    left: u64,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(buffer.len()).min(buffer.len());
        let got = self.inner.read(&mut buffer[..most])?;
        self.crc.update(&buffer[..got]);
        self.left -= got as u64;
        Ok(got)
    }
}

impl<R: Read> Read for Bytes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Bytes::Stored(inner) => inner.read(buffer),
            Bytes::Deflated(inner) => inner.read(buffer),
        }
    }
}

impl<R: Read> Checked<R> {
    /// After the last byte: there is no further one, and the checksum is right.
    fn end(mut self, crc: u32) -> Result<(), TreeError> {
        let mut one = [0];
        if self.left != 0 || self.inner.read(&mut one).map_err(unreadable)? != 0 {
            return Err(damaged("an entry has more bytes than it says"));
        }
        match self.crc.sum() == crc {
            true => Ok(()),
            false => Err(damaged("a checksum is wrong")),
        }
    }
}
