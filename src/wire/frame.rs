//! Frames and descriptors over a SEQPACKET socket (unix(7)).

/// Largest frame in bytes.
pub const MAX_FRAME: usize = 128 * 1024;
/// Most descriptors on one frame.
pub const MAX_FDS: usize = 8;

/// Why a frame could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other end is gone.
    #[error("the other end closed the socket")]
    Closed,
    /// The frame exceeds [`MAX_FRAME`] or carries more than [`MAX_FDS`] descriptors.
    #[error("a frame is too large")]
    TooLarge,
    /// The frame is not the JSON that was expected.
    #[error("a frame does not parse: {0}")]
    Malformed(String),
    /// The system call failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Sends one value with descriptors (blocking).
pub fn send<T: serde::Serialize>(
    _socket: std::os::fd::BorrowedFd<'_>,
    _value: &T,
    _fds: &[std::os::fd::BorrowedFd<'_>],
) -> Result<(), FrameError> {
    unimplemented!()
}

/// Receives one value with its descriptors, close-on-exec (blocking).
pub fn recv<T: serde::de::DeserializeOwned>(
    _socket: std::os::fd::BorrowedFd<'_>,
) -> Result<(T, Vec<std::os::fd::OwnedFd>), FrameError> {
    unimplemented!()
}
