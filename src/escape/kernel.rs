//! II: parts of the kernel that programs have no business with.

use futures_util::FutureExt;

use super::{
    Field,
    attempt::{Attempt, Lack, Place, Section::Kernel},
    field,
};
use crate::{
    probe::{Answer, Ground, Layer},
    sandbox::SandboxError,
    wire::Termination,
};

const NOT_BUILT: Lack = Lack::Errno(libc::ENOSYS, "this kernel is built without it");
const NO_FAMILY: Lack = Lack::Errno(
    libc::EAFNOSUPPORT,
    "this kernel is built without that family of sockets",
);
const NO_PROTOCOL: Lack = Lack::Errno(libc::EPROTONOSUPPORT, "this kernel is built without that protocol");
const SWITCHED_OFF: Lack = Lack::Errno(libc::EPERM, "this host has it switched off");
const CLOSED: Lack = Lack::Errno(libc::EACCES, "this host keeps it from this user");
const NOT_THERE: Lack = Lack::Errno(libc::ENOENT, "this host has none of it");
const NO_USER_NAMESPACES: Lack = Lack::Errno(libc::EPERM, "nobody here may make name spaces to show it in");

pub(super) fn attempts() -> Vec<Attempt> {
    let act = |number, name| Attempt::act(number, Kernel, name).lacking(&[NOT_BUILT, SWITCHED_OFF]);
    let family =
        |number, name| Attempt::act(number, Kernel, name).lacking(&[Lack::Root, NO_FAMILY, NO_PROTOCOL, SWITCHED_OFF]);
    let root = |number, name| Attempt::act(number, Kernel, name).lacking(&[Lack::Root, NOT_BUILT]);
    vec![
        act(27, "trace-supervisor"),
        Attempt::host(
            28,
            Kernel,
            "stop-under-trace",
            |field| stopped_outside(field).boxed(),
            |field| stopped_inside(field, "stop-under-trace").boxed(),
        ),
        act(29, "read-supervisor-memory"),
        act(29, "write-supervisor-memory"),
        act(30, "compare-with-supervisor"),
        act(30, "take-descriptor"),
        act(31, "keyring"),
        act(31, "request-key"),
        act(32, "bpf"),
        act(33, "perf-event").lacking(&[NOT_BUILT, SWITCHED_OFF, CLOSED, NOT_THERE]),
        act(34, "userfaultfd"),
        act(35, "io-uring"),
        family(36, "vsock"),
        family(37, "kernel-ciphers"),
        family(38, "packet-socket"),
        family(38, "raw-socket"),
        family(39, "netlink"),
        family(39, "rare-families"),
        family(39, "multipath-connection"),
        // A kernel without that table ends the program by a fault.
        Attempt::host(
            40,
            Kernel,
            "call-by-32-bit-table",
            |field| by_32_bit_outside(field).boxed(),
            |field| by_32_bit_inside(field).boxed(),
        )
        .lacking(&[NOT_BUILT]),
        act(41, "call-by-x32-table"),
        act(42, "clone3-user-namespace"),
        act(43, "personality"),
        act(44, "modify-segments"),
        act(44, "gift-pages"),
        act(44, "move-pages"),
        act(44, "secret-memory"),
        root(45, "load-kernel"),
        root(45, "load-module"),
        root(45, "unload-module"),
        root(45, "swap-on"),
        root(45, "reboot"),
        root(45, "accounting"),
        root(45, "quota"),
        root(45, "kernel-log"),
        root(45, "hardware-ports"),
        root(46, "open-kernel-settings"),
        root(47, "change-cgroup").lacking(&[Lack::Root, NOT_THERE]),
        Attempt::act(47, Kernel, "mount-cgroups")
            .apart()
            .lacking(&[NO_USER_NAMESPACES]),
        Attempt::act(47, Kernel, "see-host-cgroup").lacking(&[Lack::Errno(0, "this program itself is in no group")]),
        root(48, "read-kernel-secrets"),
        Attempt::act(49, Kernel, "overwrite-program"),
        Attempt::host(
            51,
            Kernel,
            "filter-every-call",
            |field| outside(field, "filter-every-call").boxed(),
            |field| filtered_inside(field).boxed(),
        ),
        Attempt::act(54, Kernel, "enter-namespace").lacking(&[Lack::Root]),
        Attempt::host(
            54,
            Kernel,
            "inherited-descriptors",
            |field| inherited(field, true).boxed(),
            |field| inherited(field, false).boxed(),
        ),
        Attempt::act(45, Kernel, "set-host-name")
            .apart()
            .lacking(&[NO_USER_NAMESPACES]),
        Attempt::act(45, Kernel, "see-host-name"),
        Attempt::act(23, Kernel, "have-capabilities").lacking(&[Lack::Root]),
        Attempt::act(23, Kernel, "have-bounding-set"),
        Attempt::act(23, Kernel, "run-without-no-new-privs"),
        Attempt::act(10, Kernel, "become-root").lacking(&[Lack::Root]),
        Attempt::act(10, Kernel, "be-root-of-the-sandbox")
            .apart()
            .lacking(&[NO_USER_NAMESPACES]),
        root(10, "change-groups"),
    ]
}

async fn outside(field: &Field, act: &str) -> Result<Answer, SandboxError> {
    let tried = field.outside(act, Ground::Here, field.bait_marks(0)).await;
    tried.map_err(|source| SandboxError::Io {
        what: format!("try `{act}` outside"),
        source,
    })
}

/// While this program holds a descriptor open that its children would inherit.
async fn inherited(field: &Field, control: bool) -> Result<Answer, SandboxError> {
    use std::os::fd::{AsFd, FromRawFd, OwnedFd};
    let io = |errno: nix::Error| SandboxError::Io {
        what: "hold a descriptor".to_owned(),
        source: errno.into(),
    };
    let null = std::fs::File::open("/dev/null").map_err(|source| SandboxError::Io {
        what: "open /dev/null".to_owned(),
        source,
    })?;
    let raw = nix::fcntl::fcntl(null.as_fd(), nix::fcntl::FcntlArg::F_DUPFD(3)).map_err(io)?;
    let held = hold(raw);
    let act = "inherited-descriptors";
    let answer = if control {
        outside(field, act).await
    } else {
        let outcome = field.inside(Place::Usual, act, field.marks(Place::Usual, 0)).await?;
        field::outcome_of(&outcome).map_err(SandboxError::Gone)
    };
    drop(held);
    return answer;

    #[allow(unsafe_code)]
    fn hold(raw: i32) -> OwnedFd {
        // SAFETY: the kernel has just made this descriptor for us.
        unsafe { OwnedFd::from_raw_fd(raw) }
    }
}

/// A stop is no end: who waits as a shell does is told of it, and the process is there.
async fn stopped_outside(field: &Field) -> Result<Answer, SandboxError> {
    let io = |source| SandboxError::Io {
        what: "stop a process of this program's".to_owned(),
        source,
    };
    let mut child = field
        .outside_command("stop-under-trace", field.bait_marks(0))
        .spawn()
        .map_err(io)?;
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let told = tokio::task::spawn_blocking(move || nix::sys::wait::waitpid(pid, None)).await;
    let _ = child.kill();
    let _ = child.wait();
    Ok(match told {
        Ok(Ok(nix::sys::wait::WaitStatus::Stopped(..))) => {
            Answer::Done("a wait for its end told of a stop, and it lived on".to_owned())
        }
        other => Answer::Refused {
            errno: i32::from(matches!(other, Ok(Err(_)))),
            by: None,
        },
    })
}

/// It is to be ended by its cap, and nothing of it left.
pub(super) async fn stopped_inside(field: &Field, act: &str) -> Result<Answer, SandboxError> {
    let mut spec = field.spec(Place::Usual, act, field.marks(Place::Usual, 0));
    spec.wall = std::time::Duration::from_millis(400);
    let sandbox = field.sandbox(Place::Usual);
    let outcome = sandbox.exec(spec).await?.wait().await?;
    let left = sandbox.sweep(&[]).await?;
    Ok(match (outcome.timed_out, outcome.end) {
        (true, Termination::Signal(libc::SIGKILL)) if left.is_empty() => Answer::Refused {
            errno: 0,
            by: Some(Layer::Supervisor),
        },
        other => Answer::Done(format!("it ended as {other:?}, and left {}", left.len())),
    })
}

async fn by_32_bit_outside(field: &Field) -> Result<Answer, SandboxError> {
    match field
        .outside("call-by-32-bit-table", Ground::Here, field.bait_marks(0))
        .await
    {
        Ok(answer) => Ok(answer),
        Err(_) => Ok(Answer::Refused {
            errno: libc::ENOSYS,
            by: None,
        }),
    }
}

async fn by_32_bit_inside(field: &Field) -> Result<Answer, SandboxError> {
    let marks = field.marks(Place::Usual, 0);
    let outcome = field.inside(Place::Usual, "call-by-32-bit-table", marks).await?;
    match (field::outcome_of(&outcome), outcome.end) {
        (Ok(answer), _) => Ok(answer),
        (Err(_), Termination::Signal(libc::SIGSEGV)) => Ok(Answer::Refused { errno: 0, by: None }),
        (Err(why), _) => Err(SandboxError::Gone(why)),
    }
}

/// What filters all of its own calls concerns nobody else: the next command works.
async fn filtered_inside(field: &Field) -> Result<Answer, SandboxError> {
    let marks = field.marks(Place::Usual, 0);
    field.inside(Place::Usual, "filter-every-call", marks.clone()).await?;
    let next = field.inside(Place::Usual, "inherited-environment", marks).await;
    Ok(match next.map(|outcome| field::outcome_of(&outcome)) {
        Ok(Ok(Answer::Refused { .. })) => Answer::Refused {
            errno: 0,
            by: Some(Layer::Supervisor),
        },
        other => Answer::Done(format!("the next command: {other:?}")),
    })
}
