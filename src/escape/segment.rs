//! A System V segment of the host's (sysvipc(7)).
#![allow(unsafe_code)]

use std::io;

/// Bytes of it.
const SIZE: usize = 4096;

/// A segment with a text at its beginning, which everybody may read; removed with this value.
pub(super) struct Segment {
    id: i32,
    pub key: i32,
    length: usize,
}

impl Segment {
    pub fn with(text: &str) -> io::Result<Self> {
        // SAFETY: numbers only (shmget(2)); keys that are taken are passed over.
        let made = (1..100).find_map(|n| {
            let key = 0x6f63_0000 + std::process::id().cast_signed() % 0x8000 + n * 0x8000;
            let id = unsafe { libc::shmget(key, SIZE, libc::IPC_CREAT | libc::IPC_EXCL | 0o644) };
            (id >= 0).then_some((key, id))
        });
        let (key, id) = made.ok_or_else(io::Error::last_os_error)?;
        let segment = Self {
            id,
            key,
            length: text.len().min(SIZE),
        };
        segment.with_bytes(|bytes| bytes[..segment.length].copy_from_slice(&text.as_bytes()[..segment.length]))?;
        Ok(segment)
    }

    /// Its text.
    pub fn text(&self) -> String {
        self.with_bytes(|bytes| String::from_utf8_lossy(&bytes[..self.length]).into_owned())
            .unwrap_or_default()
    }

    fn with_bytes<T>(&self, work: impl FnOnce(&mut [u8]) -> T) -> io::Result<T> {
        // SAFETY: attached at an address of the kernel's choice (shmat(2)).
        let place = unsafe { libc::shmat(self.id, std::ptr::null(), 0) };
        if place as isize == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the segment is SIZE bytes, and attached until after the work is done. What
        // another process writes meanwhile is bytes as good as any.
        let done = work(unsafe { std::slice::from_raw_parts_mut(place.cast::<u8>(), SIZE) });
        // SAFETY: attached above.
        unsafe { libc::shmdt(place) };
        Ok(done)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: numbers and a null pointer (shmctl(2)).
        unsafe { libc::shmctl(self.id, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}
