//! The host's end of a guest's socket.

use tokio::net::{TcpListener, TcpStream};

use crate::{
    names::RelPath,
    sandbox::{ExecSpec, Running, SandboxError, WallReport},
    wire::LeakedProcess,
};

/// A live sandbox. Dropping it kills everything inside; [`Sandbox::destroy`]
/// does so and waits until nothing is left.
pub struct Sandbox {
    _private: (),
}

impl Sandbox {
    /// The walls that stand.
    pub fn walls(&self) -> &WallReport {
        unimplemented!()
    }

    /// Starts a command.
    ///
    /// # Errors
    /// When the guest is gone or refuses.
    pub async fn exec(&self, _spec: ExecSpec) -> Result<Running, SandboxError> {
        unimplemented!()
    }

    /// A listener on 127.0.0.1:`port` inside, accepted on by the host.
    ///
    /// # Errors
    /// When the port is taken inside or the guest is gone.
    pub async fn listen(&self, _port: u16) -> Result<TcpListener, SandboxError> {
        unimplemented!()
    }

    /// A connection to 127.0.0.1:`port` inside.
    ///
    /// # Errors
    /// When nothing listens there (`Io`, connection refused) or the guest is gone.
    pub async fn dial(&self, _port: u16) -> Result<TcpStream, SandboxError> {
        unimplemented!()
    }

    /// Stops every process inside; the tree holds still until [`Sandbox::thaw`].
    ///
    /// # Errors
    /// When the guest is gone.
    pub async fn freeze(&self) -> Result<(), SandboxError> {
        unimplemented!()
    }

    /// Continues what [`Sandbox::freeze`] stopped.
    ///
    /// # Errors
    /// When the guest is gone.
    pub async fn thaw(&self) -> Result<(), SandboxError> {
        unimplemented!()
    }

    /// Kills every process that is not the main process of a stage in `keep`.
    ///
    /// # Errors
    /// When the guest is gone.
    pub async fn sweep(&self, _keep: &[u64]) -> Result<Vec<LeakedProcess>, SandboxError> {
        unimplemented!()
    }

    /// Changes the workspace through the guest: removals first, then a tar stream.
    ///
    /// # Errors
    /// When an entry cannot be written; the workspace may then be half changed
    /// and the caller drops the layer.
    pub async fn put(&self, _removals: &[RelPath], _tar: Vec<u8>) -> Result<(), SandboxError> {
        unimplemented!()
    }

    /// Kills everything, waits until nothing is left, removes what was made for it.
    ///
    /// # Errors
    /// When something could not be removed; it names it.
    pub async fn destroy(self) -> Result<(), SandboxError> {
        unimplemented!()
    }
}
