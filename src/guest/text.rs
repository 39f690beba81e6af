//! The executable's own pages, given back while nobody needs them.
#![allow(unsafe_code)]

use std::{
    ffi::{c_int, c_void},
    ops::Range,
};

/// Smallest page of every machine that this program is built for. Where pages are larger,
/// madvise(2) refuses an address inside of one, and nothing is given back.
const PAGE: usize = 4096;

/// Takes what is read and never written of the executable out of this process's resident
/// memory; whatever is needed again comes back from the page cache (madvise(2),
/// `MADV_DONTNEED` on a mapping of a file). A supervisor waits for hours, and most of what
/// it has resident was needed for its start alone.
pub(super) fn give_back() {
    for pages in unwritten() {
        // SAFETY: the pages are a loaded segment's alone, and reading them again reads the
        // same bytes from the same file, since no one has ever written to them.
        unsafe { libc::madvise(pages.start as *mut c_void, pages.len(), libc::MADV_DONTNEED) };
    }
}

/// Addresses of the whole pages of every segment that cannot be written, and so holds nothing
/// but its file's bytes: position-independent code has no relocations there (elf(5)).
fn unwritten() -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    // SAFETY: the callback keeps to its signature, and the list outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut ranges).cast()) };
    ranges
}

/// One loaded object (dl_iterate_phdr(3)); linked statically, this program is the only one.
unsafe extern "C" fn each(object: *mut libc::dl_phdr_info, _: usize, ranges: *mut c_void) -> c_int {
    // SAFETY: the C library hands out an object that lives as long as the call, and the list
    // is the one of `unwritten`, which nobody else touches meanwhile.
    let (object, ranges) = unsafe { (&*object, &mut *ranges.cast::<Vec<Range<usize>>>()) };
    if object.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the C library says how many headers there are.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            let begin = (object.dlpi_addr + header.p_vaddr) as usize;
            let end = begin + header.p_memsz as usize;
            // What shares a page with another segment is left.
            ranges.push(begin.next_multiple_of(PAGE)..end & !(PAGE - 1));
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use std::{fs, hint::black_box};

    use nix::{
        sys::wait::{WaitStatus, waitpid},
        unistd::{ForkResult, fork},
    };

    use super::*;

    /// Resident pages of files, KiB (proc_pid_status(5)).
    fn resident() -> u64 {
        let status = fs::read_to_string("/proc/self/status").expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number.and_then(|number| number.parse().ok()).expect("RssFile")
    }

    #[test]
    fn pages_of_the_executable_leave_and_come_back() {
        // In a process of its own: other tests run in this one.
        // SAFETY: the child reads memory and a file, and leaves.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Child => {
                let pages = || unwritten().into_iter().flat_map(|range| range.step_by(PAGE));
                // SAFETY: an address of a loaded segment.
                let sum = || pages().map(|at| u64::from(unsafe { *(at as *const u8) })).sum::<u64>();
                let (before, touched) = (black_box(sum()), resident());
                give_back();
                let left = resident();
                let as_it_should = touched > 4096 && left * 2 < touched && black_box(sum()) == before;
                // SAFETY: leaves without running anything of the parent's.
                unsafe { libc::_exit(i32::from(!as_it_should)) }
            }
            ForkResult::Parent { child } => assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0))),
        }
    }
}
