//! Acts with processes of one's own, which are to end when their starter does.
#![allow(unsafe_code)]

use super::{
    Act, Answer, Marks,
    call::{at, call, last_errno},
};

/// Asks to be traced, and stops: a wait that takes a stop for an end takes it for over.
pub(super) const STOP_UNDER_TRACE: Act = Act {
    name: "stop-under-trace",
    run: |_| {
        let _ = call(libc::SYS_ptrace, &[0, 0, 0, 0]);
        stop()
    },
};

/// Does nothing, as long as its starter lives.
pub(super) const WAIT: Act = Act {
    name: "wait",
    run: |_| {
        let _ = call(
            libc::SYS_prctl,
            &[libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize],
        );
        loop {
            // SAFETY: waits for a signal (pause(2)).
            unsafe { libc::pause() };
        }
    },
};

/// Stops itself.
pub(super) const STOP: Act = Act {
    name: "stop-itself",
    run: |_| stop(),
};

fn stop() -> Answer {
    loop {
        let _ = call(libc::SYS_kill, &[std::process::id() as usize, libc::SIGSTOP as usize]);
    }
}

/// Ignores every signal that can be, and runs on.
pub(super) const DEAF: Act = Act {
    name: "deaf",
    run: |_| {
        for number in 1..32 {
            // SAFETY: the disposition is one of the two fixed ones (signal(2)).
            unsafe { libc::signal(number, libc::SIG_IGN) };
        }
        loop {
            std::hint::spin_loop();
        }
    },
};

/// Leaves a process behind that has nothing of its starter's any more.
pub(super) const DAEMON: Act = Act {
    name: "daemon",
    run: |marks| {
        for depth in 0..2 {
            // SAFETY: this process is single-threaded (fork(2)).
            match unsafe { libc::fork() } {
                0 => {
                    let _ = call(libc::SYS_setsid, &[]);
                }
                child if depth == 0 => {
                    let _ = call(libc::SYS_wait4, &[child as usize, 0, 0, 0]);
                    return Answer::Done("a daemon".to_owned());
                }
                // SAFETY: leaves at once (_exit(2)).
                _ => unsafe { libc::_exit(0) },
            }
        }
        for fd in 0..3 {
            let _ = call(libc::SYS_close, &[fd]);
        }
        name_itself(marks);
        loop {
            // SAFETY: waits for a signal (pause(2)).
            unsafe { libc::pause() };
        }
    },
};

/// Leaves a child that holds its output open.
pub(super) const HOLD_OUTPUT: Act = Act {
    name: "hold-output",
    run: |_| {
        // SAFETY: this process is single-threaded (fork(2)).
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: waits for a signal (pause(2)).
                unsafe { libc::pause() };
            },
            _ => Answer::Done("its output is held".to_owned()),
        }
    },
};

/// Processes that fork and leave, for ever: none lives long enough to be found.
pub(super) const STORM: Act = Act {
    name: "storm",
    run: |marks| storm(marks, false),
};

/// The same, each in a session of its own, so that no group has them all.
pub(super) const STORM_OF_SESSIONS: Act = Act {
    name: "storm-of-sessions",
    run: |marks| storm(marks, true),
};

fn storm(marks: &Marks, sessions: bool) -> Answer {
    for _ in 0..8 {
        // SAFETY: this process is single-threaded (fork(2)).
        if unsafe { libc::fork() } == 0 {
            let _ = call(libc::SYS_setsid, &[]);
            name_itself(marks);
            loop {
                // SAFETY: as above; the parent leaves at once (_exit(2)).
                match unsafe { libc::fork() } {
                    0 if sessions => {
                        let _ = call(libc::SYS_setsid, &[]);
                    }
                    0 | -1 => {}
                    _ => unsafe { libc::_exit(0) },
                }
            }
        }
    }
    Answer::Done("a storm".to_owned())
}

/// Tells whoever looks whose process this is: 15 bytes of the token.
fn name_itself(marks: &Marks) {
    let mut name = [0u8; 16];
    for (to, from) in name.iter_mut().zip(marks.token.bytes().take(15)) {
        *to = from;
    }
    let _ = call(libc::SYS_prctl, &[libc::PR_SET_NAME as usize, at(&name)]);
}

/// Makes children that end, and waits for none.
pub(super) const ZOMBIES: Act = Act {
    name: "zombies",
    run: |marks| {
        let mut made = 0;
        for _ in 0..marks.amount {
            // SAFETY: this process is single-threaded; the child leaves at once.
            match unsafe { libc::fork() } {
                0 => unsafe { libc::_exit(0) },
                -1 => break,
                _ => made += 1,
            }
        }
        if made < marks.amount {
            return Answer::refused(last_errno());
        }
        Answer::Done(format!("{made} zombies"))
    },
};

/// Starts as many processes as it can, up to an amount, and keeps them.
pub(super) const FORK_BOMB: Act = Act {
    name: "fork-bomb",
    run: |marks| {
        let mut children = Vec::new();
        let mut errno = 0;
        while (children.len() as u64) < marks.amount {
            // SAFETY: this process is single-threaded (fork(2)).
            match unsafe { libc::fork() } {
                0 => loop {
                    // SAFETY: waits for a signal (pause(2)).
                    unsafe { libc::pause() };
                },
                -1 => {
                    errno = last_errno();
                    break;
                }
                child => children.push(child),
            }
        }
        for child in &children {
            let _ = call(libc::SYS_kill, &[*child as usize, libc::SIGKILL as usize]);
            let _ = call(libc::SYS_wait4, &[*child as usize, 0, 0, 0]);
        }
        match errno {
            0 => Answer::Done(format!("{} processes", children.len())),
            errno => Answer::refused(errno),
        }
    },
};

/// Filters every call of its own away, which is to concern nobody else.
pub(super) const FILTER_ALL: Act = Act {
    name: "filter-every-call",
    run: |_| {
        // `struct sock_filter`: return EPERM, for what is not write or exit_group.
        let program: [u64; 5] = [
            instruction(0x20, 0, 0, 0),
            instruction(0x15, 1, 0, libc::SYS_write as u32),
            instruction(0x15, 0, 1, libc::SYS_exit_group as u32),
            instruction(0x06, 0, 0, 0x7fff_0000),
            instruction(0x06, 0, 0, 0x0005_0000 | libc::EPERM as u32),
        ];
        // `struct sock_fprog`: a count and an address.
        let filter = [program.len(), at(&program)];
        let _ = call(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0]);
        let all_threads = 1;
        match call(libc::SYS_seccomp, &[1, all_threads, at(&filter)]) {
            Ok(_) if call(libc::SYS_getppid, &[]) == Err(libc::EPERM) => Answer::Done("every call fails".to_owned()),
            Ok(_) => Answer::in_vain(None),
            Err(errno) => Answer::refused(errno),
        }
    },
};

fn instruction(code: u16, yes: u8, no: u8, k: u32) -> u64 {
    u64::from(code) | u64::from(yes) << 16 | u64::from(no) << 24 | u64::from(k) << 32
}

/// Says by its code what a signal would have said.
pub(super) const PRETEND: Act = Act {
    name: "pretend-an-end",
    // SAFETY: leaves at once (_exit(2)).
    run: |_| unsafe { libc::_exit(137) },
};
