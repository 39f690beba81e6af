//! The socket that a container's guest comes to.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt, listen, socket,
        sockopt::PeerCredentials,
    },
};
use tokio::io::unix::AsyncFd;

use crate::sandbox::output::async_fd;

/// Name of the socket in its directory; [`crate::guest::DOOR`] is where it is inside.
const NAME: &str = "guest.sock";

/// A door that one guest will come through.
pub(super) struct Door {
    socket: AsyncFd<OwnedFd>,
    dir: PathBuf,
}

/// Who came.
pub(super) struct Arrival {
    pub socket: OwnedFd,
    /// The guest's pid on this host.
    pub pid: i32,
}

impl Door {
    /// Opens it in a directory that only we and root may enter.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        // A socket's path has 108 bytes (unix(7)); ours may be longer.
        let handle = fs::File::open(dir)?;
        let path = format!("/proc/self/fd/{}/{NAME}", handle.as_raw_fd());
        bind(socket.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
        listen(&socket, Backlog::new(1)?)?;
        Ok(Self {
            socket: async_fd(socket)?,
            dir: dir.to_path_buf(),
        })
    }

    /// Waits for the guest. Nothing else can come: the directory is closed to other users,
    /// and in the container the guest is the only process until it is admitted.
    pub async fn arrival(&self) -> io::Result<Arrival> {
        loop {
            let mut ready = self.socket.readable().await?;
            match accept4(self.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                Ok(raw) => {
                    let socket = adopt(raw);
                    let peer = getsockopt(&socket, PeerCredentials)?;
                    return Ok(Arrival {
                        socket,
                        pid: peer.pid(),
                    });
                }
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Whoever finds it later would find nobody behind it.
        let _ = fs::remove_file(self.dir.join(NAME));
    }
}

#[allow(unsafe_code)]
fn adopt(raw: i32) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the kernel has just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(raw) }
}
