//! Acts on processes that are not the acting one's, and with its own that outlive it.
#![allow(unsafe_code)]

use std::{fs, io::Read};

use super::{
    Act, Answer, Layer, Marks,
    call::{NOWHERE, at, at_mut, call, errno_of, filtered, last_errno, own_uid, signal_refusal},
};

fn supervisor(marks: &Marks) -> i32 {
    match marks.supervisor {
        0 => std::os::unix::process::parent_id().cast_signed(),
        pid => pid,
    }
}

fn signal(pid: i32) -> Answer {
    if pid == std::process::id().cast_signed() {
        return Answer::by(libc::ESRCH, Layer::PidNamespace);
    }
    // The signal that is none asks only whether one could be sent (kill(2)).
    match call(libc::SYS_kill, &[pid as usize, 0]) {
        Ok(_) => Answer::Done(format!("process {pid} can be signalled")),
        Err(errno) => signal_refusal(pid, errno),
    }
}

/// Signals a process of the host's.
pub(super) const SIGNAL_HOST: Act = Act {
    name: "signal-host-process",
    run: |marks| signal(marks.pid),
};

/// Signals its supervisor.
pub(super) const SIGNAL_SUPERVISOR: Act = Act {
    name: "signal-supervisor",
    run: |marks| signal(supervisor(marks)),
};

/// Sees a process of the host's.
pub(super) const SEE_HOST_PROCESS: Act = Act {
    name: "see-host-process",
    run: |marks| {
        let path = format!("/proc/{}/cmdline", marks.pid);
        match fs::read(&path) {
            Ok(line)
                if line
                    .windows(marks.token.len().max(1))
                    .any(|part| part == marks.token.as_bytes()) =>
            {
                Answer::Done(format!("read {path}"))
            }
            Ok(_) => Answer::by(libc::ESRCH, Layer::PidNamespace),
            Err(e) => match errno_of(&e) {
                libc::ENOENT => Answer::by(libc::ENOENT, Layer::PidNamespace),
                errno => Answer::refused(errno),
            },
        }
    },
};

/// Holds on to its supervisor as a debugger (ptrace(2)).
pub(super) const TRACE_SUPERVISOR: Act = Act {
    name: "trace-supervisor",
    run: |marks| {
        let pid = supervisor(marks) as usize;
        match call(libc::SYS_ptrace, &[libc::PTRACE_SEIZE as usize, pid, 0, 0]) {
            Ok(_) => Answer::Done("traced".to_owned()),
            // A process that there is none of is ESRCH for the kernel.
            Err(errno) => {
                let wrong = call(libc::SYS_ptrace, &[libc::PTRACE_SEIZE as usize, 0x7fff_ffff, 0, 0]);
                let by = (wrong == Err(errno) && errno != libc::ESRCH).then_some(Layer::Seccomp);
                Answer::Refused { errno, by }
            }
        }
    },
};

fn memory_of(pid: usize, number: libc::c_long) -> Answer {
    let mut word = [0u8; 8];
    let (ours, theirs) = ([at_mut(&mut word), 8], [NOWHERE, 8]);
    match call(number, &[pid, at(&ours), 1, at(&theirs), 1, 0]) {
        Ok(_) => Answer::Done("reached its memory".to_owned()),
        // Nothing is at that address, which is said after the right was found (process_vm_readv(2)).
        Err(libc::EFAULT) => Answer::Done("may reach its memory".to_owned()),
        Err(errno) => {
            // A flag that there is none of is EINVAL for the kernel.
            let wrong = call(number, &[pid, at(&ours), 1, at(&theirs), 1, 1 << 20]);
            let by = (wrong == Err(errno) && errno != libc::EINVAL).then_some(Layer::Seccomp);
            Answer::Refused { errno, by }
        }
    }
}

/// Reads its supervisor's memory (process_vm_readv(2)).
pub(super) const READ_MEMORY: Act = Act {
    name: "read-supervisor-memory",
    run: |marks| memory_of(supervisor(marks) as usize, libc::SYS_process_vm_readv),
};

/// Writes there.
pub(super) const WRITE_MEMORY: Act = Act {
    name: "write-supervisor-memory",
    run: |marks| memory_of(supervisor(marks) as usize, libc::SYS_process_vm_writev),
};

/// Compares what it shares with its supervisor (kcmp(2)).
pub(super) const COMPARE: Act = Act {
    name: "compare-with-supervisor",
    run: |marks| {
        let (own, pid) = (std::process::id() as usize, supervisor(marks) as usize);
        // A type that there is none of is EINVAL for the kernel.
        filtered(libc::SYS_kcmp, &[own, pid, 1, 0, 0], &[own, own, 77, 0, 0])
    },
};

/// Takes a descriptor of its supervisor's (pidfd_getfd(2)).
pub(super) const TAKE_DESCRIPTOR: Act = Act {
    name: "take-descriptor",
    run: |marks| {
        let opened = call(libc::SYS_pidfd_open, &[supervisor(marks) as usize, 0]);
        let fd = opened.unwrap_or(usize::MAX);
        // Flags are EINVAL, a wrong descriptor is EBADF for the kernel.
        filtered(libc::SYS_pidfd_getfd, &[fd, 0, 0], &[usize::MAX, 0, 1])
    },
};

/// The files of `/proc` by which a process gives itself away.
fn look_into(pid: i32) -> Answer {
    let mut first = None;
    for name in ["environ", "mem", "maps", "auxv", "stack"] {
        let read = fs::File::open(format!("/proc/{pid}/{name}")).and_then(|mut file| {
            // The first page of a memory is never there: that it was asked for is enough.
            match file.read(&mut [0]) {
                Err(e) if e.raw_os_error() == Some(libc::EIO) => Ok(1),
                // Without a right to it, it reads as empty (proc_pid_environ(5)).
                other => other,
            }
        });
        match read {
            Ok(0) => {}
            Ok(_) => return Answer::Done(format!("read {name} of {pid}")),
            Err(e) => {
                first.get_or_insert(errno_of(&e));
            }
        }
    }
    for name in ["root", "cwd", "exe", "fd/0"] {
        if fs::read_link(format!("/proc/{pid}/{name}")).is_ok() {
            return Answer::Done(format!("followed {name} of {pid}"));
        }
    }
    match first {
        Some(libc::ENOENT) => Answer::by(libc::ENOENT, Layer::PidNamespace),
        Some(errno) => Answer::refused(errno),
        None => Answer::in_vain(None),
    }
}

/// Looks into its supervisor by `/proc`.
pub(super) const READ_SUPERVISOR: Act = Act {
    name: "look-into-supervisor",
    run: |marks| look_into(supervisor(marks)),
};

/// Looks into a process of the host's.
pub(super) const LOOK_INTO_HOST: Act = Act {
    name: "look-into-host-process",
    run: |marks| look_into(marks.pid),
};

/// Limits its supervisor (prlimit(2)), which no id keeps it from.
pub(super) const LIMIT_SUPERVISOR: Act = Act {
    name: "limit-supervisor",
    run: |marks| {
        let pid = supervisor(marks) as usize;
        let mut now = [0u64; 2];
        // A resource that there is none of is EINVAL for the kernel.
        match call(
            libc::SYS_prlimit64,
            &[pid, libc::RLIMIT_NOFILE as usize, 0, at_mut(&mut now)],
        ) {
            Ok(_) => Answer::Done("read its limits".to_owned()),
            Err(errno) => {
                let wrong = call(libc::SYS_prlimit64, &[pid, 99, 0, 0]);
                let by = (wrong == Err(errno) && errno != libc::EINVAL).then_some(Layer::Seccomp);
                Answer::Refused { errno, by }
            }
        }
    },
};

/// Slows its supervisor down (setpriority(2), sched_setscheduler(2)).
pub(super) const SLOW_SUPERVISOR: Act = Act {
    name: "slow-supervisor",
    run: |marks| {
        let pid = supervisor(marks) as usize;
        // SAFETY: numbers only (getpriority(2)).
        let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, pid as u32) };
        // To what it is already: refused alike to who may not.
        match call(
            libc::SYS_setpriority,
            &[libc::PRIO_PROCESS as usize, pid, nice as usize],
        ) {
            Ok(_) => Answer::Done("set its priority".to_owned()),
            Err(libc::EPERM) => Answer::refused(libc::EPERM),
            Err(errno) => Answer::refused(errno),
        }
    },
};

/// Changes what the kernel thinks of its supervisor.
pub(super) const OFFER_SUPERVISOR: Act = Act {
    name: "offer-supervisor-to-oom-killer",
    run: |marks| {
        let path = format!("/proc/{}/oom_score_adj", supervisor(marks));
        match fs::OpenOptions::new().write(true).open(&path) {
            Ok(_) => Answer::Done("opened".to_owned()),
            Err(e) => super::call::file_refusal(&path, errno_of(&e), libc::W_OK),
        }
    },
};

/// What it inherited beyond its three streams.
pub(super) const INHERITED: Act = Act {
    name: "inherited-descriptors",
    run: |_| {
        for fd in 3..4096usize {
            if call(libc::SYS_fcntl, &[fd, libc::F_GETFD as usize]) == Ok(0) {
                return Answer::Done(format!("descriptor {fd} is open"));
            }
        }
        Answer::in_vain(None)
    },
};

/// Finds anything in its environment but the `PATH` that it was given.
pub(super) const ENVIRONMENT: Act = Act {
    name: "inherited-environment",
    run: |_| match std::env::vars_os().find(|(name, _)| name != "PATH") {
        Some((name, _)) => Answer::Done(format!("{} is there", name.to_string_lossy())),
        None => Answer::in_vain(None),
    },
};

/// Reads a System V segment of the host's.
pub(super) const SHARED_MEMORY: Act = Act {
    name: "read-shared-memory",
    run: |marks| {
        // A size that no segment has is EINVAL for the kernel.
        let segment = match filtered(libc::SYS_shmget, &[marks.segment as usize, 0, 0], &[0, usize::MAX, 0]) {
            Answer::Refused {
                errno: libc::ENOENT, ..
            } => return Answer::by(libc::ENOENT, Layer::IpcNamespace),
            Answer::Done(_) => call(libc::SYS_shmget, &[marks.segment as usize, 0, 0]).unwrap_or(0),
            refused => return refused,
        };
        // SAFETY: attached read-only at an address of the kernel's choice (shmat(2)).
        let place = unsafe { libc::shmat(segment as i32, std::ptr::null(), libc::SHM_RDONLY) };
        if place as isize == -1 {
            return Answer::refused(last_errno());
        }
        // SAFETY: the host's segment is a page long, and holds the token at its beginning.
        let text = unsafe { std::slice::from_raw_parts(place.cast::<u8>(), marks.token.len()) };
        match text == marks.token.as_bytes() {
            true => Answer::Done("read the segment".to_owned()),
            false => Answer::by(0, Layer::IpcNamespace),
        }
    },
};

/// Its own id is the sandbox's root's.
pub(super) const IS_ROOT: Act = Act {
    name: "be-root-of-the-sandbox",
    run: |_| match own_uid() {
        0 => Answer::Done("its id is 0".to_owned()),
        _ => Answer::in_vain(Some(Layer::CommandId)),
    },
};
