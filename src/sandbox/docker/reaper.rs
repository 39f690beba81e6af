//! A second process that outlives its host and removes what that could not.
//!
//! A container ends with its host by itself, and the engine then removes it; one that the
//! host had ordered and not yet started has nothing in it that could end.

use std::{
    io::{Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    time::Duration,
};

use super::{collect::collect, connection::Engine};

/// Said by a host that has removed everything itself.
const DONE: u8 = b'.';
/// Between two looks at what is left.
const PAUSE: Duration = Duration::from_millis(300);
/// Looks that must find nothing, one after the other: an order may still be under way.
const CLEAN: u32 = 4;
/// Looks at most.
const LOOKS: u32 = 40;

/// The process, as long as its host lives.
pub(super) struct Reaper {
    child: Child,
    /// Its end of file is the host's end.
    host: Option<ChildStdin>,
}

impl Reaper {
    /// Starts one from a copy of this program.
    pub fn start(program: &Path) -> std::io::Result<Self> {
        let mut command = Command::new(program);
        command
            .arg0("opencode-fsm")
            .arg("engine-reaper")
            .env_clear()
            .current_dir("/")
            // A terminal's Ctrl-C is the host's to take.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(host) = std::env::var_os("DOCKER_HOST") {
            command.env("DOCKER_HOST", host);
        }
        let mut child = command.spawn()?;
        let host = child.stdin.take();
        Ok(Self { child, host })
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(mut host) = self.host.take() {
            let _ = host.write_all(&[DONE]);
        }
        let _ = self.child.wait();
    }
}

/// The reaper's whole life.
pub fn reaper_main() -> ExitCode {
    let mut said = [0];
    if std::io::stdin()
        .read(&mut said)
        .is_ok_and(|n| n == 1 && said[0] == DONE)
    {
        return ExitCode::SUCCESS;
    }
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(reap()),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Removes what is orphaned until nothing more comes; bounded.
async fn reap() -> ExitCode {
    let Ok(engine) = Engine::reach().await else {
        return ExitCode::FAILURE;
    };
    let mut clean = 0;
    for _ in 0..LOOKS {
        clean = match collect(&engine, false).await {
            Ok(found) if found.is_empty() => clean + 1,
            _ => 0,
        };
        if clean == CLEAN {
            return ExitCode::SUCCESS;
        }
        tokio::time::sleep(PAUSE).await;
    }
    ExitCode::FAILURE
}
