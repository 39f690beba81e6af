//! How the guest of a container comes to its host.
//!
//! An engine starts it as PID 1 with nothing but mounts: it connects to the host's
//! socket, which lies in a directory bound read-only, and is told there what it is to
//! be ([`Admission`]). From then on it is a guest like any other.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::{
        socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
        stat::{Mode, umask},
        statvfs::{FsFlags, statvfs},
    },
};

use super::{Failure, Guest, GuestStart};
use crate::wire::{self, Admission, FoundWalls, FrameError, Reply};

/// The host's socket, inside.
pub const DOOR: &str = "/.opencode-fsm/door/guest.sock";
/// Exit status of a guest that could not come in.
const UNABLE: u8 = 70;
/// Exit status of one that served to its end.
const LEFT: u8 = 0;

/// The whole life of a container's PID 1.
pub fn guest_main() -> ExitCode {
    match come_in() {
        Ok((admission, socket)) => ExitCode::from(serve(admission, socket)),
        // Nobody is there to tell but the engine, which keeps the code.
        Err(_) => ExitCode::from(UNABLE),
    }
}

fn come_in() -> Result<(Admission, OwnedFd), Failure> {
    let no = |step: &str| {
        let step = step.to_owned();
        move |errno| Failure::new(&step, errno)
    };
    let socket =
        socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).map_err(no("socket"))?;
    // Descriptors 0 to 2 may be closed; nothing that is received may land there.
    let raw = fcntl(&socket, FcntlArg::F_DUPFD_CLOEXEC(3)).map_err(no("dup"))?;
    let socket = adopt(raw);
    connect(socket.as_raw_fd(), &UnixAddr::new(DOOR).map_err(no("name the door"))?).map_err(no("connect"))?;
    let refused = |why: FrameError| Failure::plain("be admitted", why);
    let (admission, _) = wire::recv::<Admission>(socket.as_fd()).map_err(refused)?;
    Ok((admission, socket))
}

#[allow(unsafe_code)]
fn adopt(raw: i32) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the kernel has just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

fn serve(admission: Admission, socket: OwnedFd) -> u8 {
    let Admission {
        confinement,
        lease_ms,
        leave_empty,
    } = admission;
    umask(Mode::from_bits_truncate(0o022));
    let Ok(answers) = socket.try_clone() else {
        return UNABLE;
    };
    let start = GuestStart {
        socket,
        confinement,
        nested: None,
        lease: Some(Instant::now() + Duration::from_millis(lease_ms)),
    };
    match Guest::new(start) {
        Ok(guest) => {
            guest.serve();
            // The overlay is still mounted; what it keeps there serves only its next change.
            empty(Path::new(&leave_empty));
            LEFT
        }
        Err(Failure { step, errno, why }) => {
            let _ = wire::send(answers.as_fd(), &Reply::Failed { step, errno, why }, &[]);
            UNABLE
        }
    }
}

/// Removes all below a directory that only the kernel has written to.
fn empty(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            empty(&path);
            let _ = fs::remove_dir(&path);
        } else {
            let _ = fs::remove_file(&path);
        }
    }
}

/// The walls that an engine has built, as they are found.
pub(super) fn found() -> FoundWalls {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("", str::trim)
    };
    let interfaces = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    FoundWalls {
        bounding: u64::from_str_radix(field("CapBnd:"), 16).unwrap_or(u64::MAX),
        seccomp: field("Seccomp:").parse().unwrap_or(0),
        no_new_privs: field("NoNewPrivs:") == "1",
        read_only_root: statvfs("/").is_ok_and(|root| root.flags().contains(FsFlags::ST_RDONLY)),
        interfaces: interfaces
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim().to_owned())
            .take(16)
            .collect(),
    }
}
