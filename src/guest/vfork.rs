//! A child that shares its parent's memory until it executes a program (vfork(2)).
//!
//! Fork(2) copies page tables, and both sides then pay for every page that they write to or,
//! of a file, touch again. A child whose memory is its parent's costs none of that.
#![allow(unsafe_code)]

use std::{
    ffi::{c_int, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
};

use nix::{errno::Errno, sys::signal::Signal, unistd::Pid};

use super::Failure;

/// Bytes of a child's stack; only what is touched is ever had.
const STACK: usize = 8 << 20;
/// Bytes below it that nobody may touch: what goes too deep ends there.
const GUARD: usize = 64 << 10;
/// The exit code of a process that panicked.
pub(super) const PANICKED: c_int = 101;

/// Where one child at a time has its stack.
pub(super) struct Stack(*mut c_void);

impl Stack {
    /// Maps one (mmap(2)).
    pub fn map() -> Result<Self, Failure> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        // SAFETY: new memory where the kernel likes; it replaces nothing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                STACK,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Failure::new("mmap a stack", Errno::last()));
        }
        let stack = Self(base);
        // SAFETY: the lowest pages of the mapping just made, which nobody uses yet (mprotect(2)).
        Errno::result(unsafe { libc::mprotect(base, GUARD, libc::PROT_NONE) })
            .map_err(|e| Failure::new("mprotect", e))?;
        Ok(stack)
    }

    /// Runs `act` in a child and waits until that has executed a program or is over; it exits
    /// with what `act` answers. What `act` leaves in this process's memory stays there, as if
    /// it had been called; descriptors, ids, directory and signal actions are the child's own.
    /// A child that is killed may leave anything half-done, the allocator's lists as well: its
    /// parent has to see that `act` came to an end before it trusts any of that.
    ///
    /// The caller is single-threaded.
    pub fn run(&mut self, mut act: impl FnMut() -> c_int) -> Result<Pid, Failure> {
        let mut act: &mut dyn FnMut() -> c_int = &mut act;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | Signal::SIGCHLD as c_int;
        // SAFETY: the stack is this call's alone and grows downwards from its end, which is
        // aligned to a page. The child has the caller's memory, whose one thread does not run
        // before it is gone from there (`CLONE_VFORK`); so `act`, which outlives the call, is
        // used by one at a time.
        let child = unsafe { libc::clone(enter, self.0.byte_add(STACK), flags, (&raw mut act).cast()) };
        Errno::result(child)
            .map(Pid::from_raw)
            .map_err(|e| Failure::new("vfork", e))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and no child runs on it any more (munmap(2)).
        unsafe { libc::munmap(self.0, STACK) };
    }
}

extern "C" fn enter(act: *mut c_void) -> c_int {
    // SAFETY: what `Stack::run` handed over, which waits meanwhile.
    let act = unsafe { &mut *act.cast::<&mut dyn FnMut() -> c_int>() };
    catch_unwind(AssertUnwindSafe(act)).unwrap_or(PANICKED)
}

/// A copy of the calling process with memory of its own, and with the same parent
/// (clone(2), `CLONE_PARENT`); `None` is the copy. The caller is single-threaded.
pub(super) fn sibling() -> Result<Option<Pid>, Failure> {
    let flags = libc::c_long::from(libc::CLONE_PARENT | Signal::SIGCHLD as c_int);
    // SAFETY: as fork(2): without `CLONE_VM` the copy goes on with a copy of this stack; this
    // process is single-threaded, so it may do anything.
    let copy = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    let copy = Errno::result(copy).map_err(|e| Failure::new("clone", e))?;
    Ok((copy > 0).then(|| Pid::from_raw(copy as i32)))
}

#[cfg(test)]
mod tests {
    use nix::{
        sys::wait::{WaitStatus, waitpid},
        unistd::{ForkResult, fork},
    };

    use super::*;

    /// In a process of its own, as a warden is one: this one has threads.
    fn alone(act: impl FnOnce() -> bool) {
        // SAFETY: the child runs what a single-threaded process may, and leaves.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Child => {
                let held = catch_unwind(AssertUnwindSafe(act)).unwrap_or(false);
                // SAFETY: leaves without running anything of the parent's.
                unsafe { libc::_exit(i32::from(!held)) }
            }
            ForkResult::Parent { child } => assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0))),
        }
    }

    fn ended(child: Pid) -> Option<i32> {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => Some(code),
            _ => None,
        }
    }

    #[test]
    fn what_a_child_leaves_in_memory_is_there_and_its_directory_is_its_own() {
        alone(|| {
            let mut stack = Stack::map().expect("a stack");
            let before = std::env::current_dir().expect("cwd");
            let mut left = Vec::new();
            (1..=3).all(|code| {
                let child = stack.run(|| {
                    left.push(code);
                    let _ = nix::unistd::chdir("/proc");
                    code
                });
                ended(child.expect("vfork")) == Some(code)
            }) && left == [1, 2, 3]
                && std::env::current_dir().is_ok_and(|now| now == before)
        });
    }

    #[test]
    fn a_panic_ends_the_child_alone_and_a_sibling_has_its_own_memory() {
        alone(|| {
            let mut stack = Stack::map().expect("a stack");
            std::panic::set_hook(Box::new(|_| {}));
            let panicked = stack.run(|| panic!("over")).expect("vfork");
            let (mut told, mut count) = (None, 0);
            let first = stack.run(|| match sibling() {
                Ok(None) => {
                    count += 1;
                    // SAFETY: leaves without running anything of its original's (_exit(2)).
                    unsafe { libc::_exit(40 + count) }
                }
                made => {
                    told = made.ok().flatten();
                    0
                }
            });
            let copy = told.expect("a sibling");
            ended(panicked) == Some(PANICKED)
                && ended(first.expect("vfork")) == Some(0)
                && ended(copy) == Some(41)
                && count == 0
        });
    }
}
