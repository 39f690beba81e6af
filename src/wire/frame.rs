//! Frames and descriptors over a SEQPACKET socket (unix(7), cmsg(3)).

use std::{
    cell::RefCell,
    io::{IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Serialize, de::DeserializeOwned};

/// Largest frame in bytes; below the default `net.core.wmem_default`.
pub const MAX_FRAME: usize = 128 * 1024;
/// Most descriptors on one frame; the kernel's own limit is 253 (`SCM_MAX_FD`, unix(7)).
pub const MAX_FDS: usize = 64;

/// Why a frame could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other end is gone.
    #[error("the other end closed the socket")]
    Closed,
    /// The frame exceeds [`MAX_FRAME`] or carries more than [`MAX_FDS`] descriptors.
    #[error("a frame exceeds {MAX_FRAME} bytes or {MAX_FDS} descriptors")]
    TooLarge,
    /// The frame is not the JSON that was expected.
    #[error("a frame does not parse: {0}")]
    Malformed(String),
    /// A non-blocking socket has nothing to give or no room.
    #[error("the socket would block")]
    WouldBlock,
    /// The system call failed.
    #[error("{0}")]
    Io(std::io::Error),
}

impl From<nix::Error> for FrameError {
    fn from(errno: nix::Error) -> Self {
        match errno {
            nix::Error::EPIPE | nix::Error::ECONNRESET | nix::Error::ENOTCONN => FrameError::Closed,
            nix::Error::EAGAIN => FrameError::WouldBlock,
            nix::Error::EMSGSIZE => FrameError::TooLarge,
            errno => FrameError::Io(errno.into()),
        }
    }
}

/// Sends one value with descriptors, as one frame.
///
/// # Errors
/// [`FrameError::TooLarge`] before anything is sent; [`FrameError::Closed`]
/// without raising `SIGPIPE`.
pub fn send<T: Serialize>(socket: BorrowedFd<'_>, value: &T, fds: &[BorrowedFd<'_>]) -> Result<(), FrameError> {
    let frame = serde_json::to_vec(value).map_err(|why| FrameError::Malformed(why.to_string()))?;
    forward(socket, &frame, fds)
}

/// As [`send`], a frame as it [came](recv_frame).
///
/// # Errors
/// As there.
pub fn forward(socket: BorrowedFd<'_>, frame: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), FrameError> {
    if frame.len() > MAX_FRAME || fds.len() > MAX_FDS {
        return Err(FrameError::TooLarge);
    }
    let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(frame)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one value with its descriptors, all close-on-exec.
///
/// # Errors
/// A frame that is too large, truncated or not the expected JSON is refused
/// whole, its descriptors closed. An empty frame is the end of file.
pub fn recv<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> Result<(T, Vec<OwnedFd>), FrameError> {
    let (frame, fds) = recv_frame(socket)?;
    Ok((parse(&frame)?, fds))
}

/// What a frame says.
///
/// # Errors
/// Where it is not the JSON that is expected.
pub fn parse<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(frame).map_err(|why| FrameError::Malformed(why.to_string()))
}

thread_local! {
    /// Where frames arrive: new memory of that size for each would cost more than the call.
    static ARRIVAL: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_FRAME]);
}

/// As [`recv`], a frame as it is.
///
/// # Errors
/// As there, but for what it says.
pub fn recv_frame(socket: BorrowedFd<'_>) -> Result<(Vec<u8>, Vec<OwnedFd>), FrameError> {
    ARRIVAL.with_borrow_mut(|frame| {
        let (length, fds) = recv_into(socket, frame)?;
        Ok((frame[..length].to_vec(), fds))
    })
}

#[allow(unsafe_code)]
fn recv_into(socket: BorrowedFd<'_>, frame: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), FrameError> {
    let mut space = nix::cmsg_space!([i32; MAX_FDS]);
    let (length, flags, fds) = loop {
        let mut slices = [IoSliceMut::new(frame)];
        match recvmsg::<()>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Ok(message) => {
                let mut fds = Vec::new();
                if let Ok(control) = message.cmsgs() {
                    for one in control {
                        if let ControlMessageOwned::ScmRights(raw) = one {
                            // SAFETY: the kernel has just installed these
                            // descriptors for us (unix(7)); nobody else owns them.
                            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                        }
                    }
                }
                break (message.bytes, message.flags, fds);
            }
            Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(FrameError::TooLarge);
    }
    if length == 0 {
        return Err(FrameError::Closed);
    }
    Ok((length, fds))
}

/// A connected pair of SEQPACKET sockets, close-on-exec.
///
/// # Errors
/// When the process has no descriptors left.
pub fn pair() -> std::io::Result<(OwnedFd, OwnedFd)> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::fd::AsFd,
    };

    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Reply, Request};

    fn push(socket: &OwnedFd, bytes: &[u8]) {
        nix::sys::socket::send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).expect("sent");
    }

    #[test]
    fn descriptors_travel_with_their_frame() {
        let (ours, theirs) = pair().expect("pair");
        let (mut reader, writer) = std::io::pipe().expect("pipe");
        send(ours.as_fd(), &Request::Socket, &[writer.as_fd()]).expect("send");
        drop(writer);
        let (request, mut fds) = recv::<Request>(theirs.as_fd()).expect("recv");
        assert!(matches!(request, Request::Socket));
        let fd = fds.pop().expect("one descriptor");
        let flags = nix::fcntl::fcntl(fd.as_fd(), nix::fcntl::FcntlArg::F_GETFD).expect("getfd");
        assert_eq!(flags & nix::libc::FD_CLOEXEC, nix::libc::FD_CLOEXEC);
        std::fs::File::from(fd).write_all(b"hi").expect("write");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(text, "hi");
    }

    #[test]
    fn a_closed_end_and_an_oversized_frame_are_errors() {
        let (ours, theirs) = pair().expect("pair");
        let big = Reply::Failed {
            step: "x".repeat(MAX_FRAME),
            errno: None,
            why: String::new(),
        };
        assert!(matches!(send(ours.as_fd(), &big, &[]), Err(FrameError::TooLarge)));
        drop(theirs);
        assert!(matches!(
            send(ours.as_fd(), &Request::Thaw, &[]),
            Err(FrameError::Closed)
        ));
        assert!(matches!(recv::<Reply>(ours.as_fd()), Err(FrameError::Closed)));
    }

    proptest! {
        #[test]
        fn hostile_frames_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 1..512)) {
            let (ours, theirs) = pair().expect("pair");
            push(&ours, &bytes);
            prop_assert!(matches!(recv::<Reply>(theirs.as_fd()), Err(FrameError::Malformed(_)) | Ok(_)));
        }
    }
}
