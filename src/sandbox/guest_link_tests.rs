//! The host's end against guests that misbehave.

use std::io::Write;

use super::*;
use crate::{
    policy::Tier,
    sandbox::{OutputCaps, OutputSink},
    wire::{Argv, Hello, Reach},
};

struct Nothing;

impl Teardown for Nothing {
    fn kill(&mut self) {}
    fn finish(&mut self) -> Result<(), SandboxError> {
        Ok(())
    }
}

/// A guest that starts the command and dies before it answers.
fn dies_before_it_answers(socket: &OwnedFd) {
    let hello = Hello {
        protocol: PROTOCOL,
        version: String::new(),
        pid: 1,
        landlock_abi: 0,
        found: Default::default(),
    };
    wire::send(socket.as_fd(), &Reply::Hello(hello), &[]).expect("hello");
    let (_, fds) = wire::recv::<Request>(socket.as_fd()).expect("a request");
    let mut stdout = std::fs::File::from(fds.into_iter().nth(2).expect("stdout"));
    stdout.write_all(b"begun\n").expect("write");
}

#[tokio::test]
async fn what_a_command_said_is_kept_when_its_guest_dies_before_it_answers() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("stdout");
    let (ours, theirs) = wire::pair().expect("a pair");
    let guest = std::thread::spawn(move || dies_before_it_answers(&theirs));
    let premises = Premises {
        walls: WallReport {
            tier: Tier::Namespaces,
            walls: Vec::new(),
            witness: None,
        },
        inside: Inside::private(),
        place: Place::Overlay(dir.path().to_path_buf()),
        disk: None,
        oom_events: None,
        fork_events: None,
    };
    let (sandbox, _) = Sandbox::connect(ours, premises, Box::new(Nothing))
        .await
        .expect("connect");
    let spec = ExecSpec {
        argv: Argv::Shell("echo begun".to_owned()),
        env: Vec::new(),
        cwd: "/".to_owned(),
        wall: Duration::from_secs(10),
        silence: None,
        terminal: None,
        leftovers: Leftovers::Kill,
        reach: Reach::Own,
        stdout: OutputCaps {
            tail_bytes: 0,
            sink: Some(OutputSink {
                path: path.clone(),
                max_bytes: 100,
            }),
        },
        stderr: OutputCaps::default(),
    };
    let died = sandbox.exec(spec).await;
    guest.join().expect("the guest's part");
    assert!(matches!(died, Err(SandboxError::Gone(_))));
    assert_eq!(std::fs::read(path).expect("read"), b"begun\n");
}
