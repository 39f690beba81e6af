//! Sets of capabilities, emptied (capabilities(7)).
#![allow(unsafe_code)]

use nix::errno::Errno;

use super::Failure;

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct CapSet {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `CAP_DAC_OVERRIDE` as a bit of the first set (capabilities(7)).
const DAC_OVERRIDE: u32 = 1 << 1;
/// `_LINUX_CAPABILITY_VERSION_3`, capget(2).
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Empties the bounding set (PR_CAPBSET_DROP(2const)).
pub(crate) fn drop_bounding() -> Result<(), Failure> {
    for cap in 0..64 {
        // SAFETY: numbers only; EINVAL says that the last capability is passed.
        match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap, 0, 0, 0) }) {
            Ok(_) => {}
            Err(Errno::EINVAL) => break,
            // Without CAP_SETPCAP (no user namespace of our own) the bounding
            // set stays; NO_NEW_PRIVS makes it void.
            Err(Errno::EPERM) => break,
            Err(e) => return Err(Failure::new("drop the bounding set", e)),
        }
    }
    Ok(())
}

/// Empties every capability set and reads them back (capabilities(7)).
pub(crate) fn drop_capabilities() -> Result<(), Failure> {
    // SAFETY: numbers only (PR_CAP_AMBIENT(2const)).
    let cleared = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    Errno::result(cleared).map_err(|e| Failure::new("clear ambient capabilities", e))?;
    drop_bounding()?;
    let none = [CapSet::default(); 2];
    set_capabilities(none)?;
    let mut header = CapHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let mut now = [CapSet {
        effective: 1,
        permitted: 1,
        inheritable: 1,
    }; 2];
    // SAFETY: as above; `now` is written by the kernel.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &mut header, now.as_mut_ptr()) })
        .map_err(|e| Failure::new("capget", e))?;
    if now != none {
        return Err(Failure::plain("drop capabilities", "some are left"));
    }
    Ok(())
}

/// Keeps one capability: to change files of whatever mode.
pub(super) fn keep_override() -> Result<(), Failure> {
    let only = CapSet {
        effective: DAC_OVERRIDE,
        permitted: DAC_OVERRIDE,
        inheritable: 0,
    };
    set_capabilities([only, CapSet::default()])
}

fn set_capabilities(sets: [CapSet; 2]) -> Result<(), Failure> {
    let mut header = CapHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    // SAFETY: header and sets are laid out as capset(2) asks and outlive the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &mut header, sets.as_ptr()) })
        .map_err(|e| Failure::new("capset", e))?;
    Ok(())
}
