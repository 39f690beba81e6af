//! The user's own terminal, for an `auth` stage that asks for a person.
//!
//! The command inside gets the terminal as its three standard streams. It is no
//! controlling terminal there (`/dev/tty` does not exist inside, and Ctrl-C is ours),
//! and the filter of system calls refuses `TIOCSTI` and `TIOCLINUX`, so it cannot
//! type for the user. It can read what is typed while it runs, and write whatever
//! the terminal obeys: that is what guided mode grants.

use std::{
    fs::{File, OpenOptions},
    os::fd::OwnedFd,
    sync::Arc,
};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

use crate::report::{Aside, Reporter};

/// The terminal, lent out until it is dropped.
pub(super) struct Terminal {
    descriptor: Arc<OwnedFd>,
    before: libc::termios,
    /// Our own live line stays away meanwhile.
    _aside: Aside,
}

impl Terminal {
    /// Opens the terminal of this process.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(reporter: &Reporter) -> std::io::Result<Self> {
        let file: File = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&file)?.into();
        Ok(Self {
            descriptor: Arc::new(file.into()),
            before,
            _aside: reporter.step_aside(),
        })
    }

    /// For a command's standard streams.
    pub fn descriptor(&self) -> Arc<OwnedFd> {
        self.descriptor.clone()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A command that was killed may have left it without echo, or raw.
        let _ = tcsetattr(&*self.descriptor, SetArg::TCSADRAIN, &Termios::from(self.before));
    }
}
