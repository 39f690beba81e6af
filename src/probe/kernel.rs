//! Acts that reach parts of the kernel which programs have no business with.
#![allow(unsafe_code)]

use std::fs;

use super::{
    Act, Answer, Layer,
    call::{NOWHERE, at, at_mut, c, call, filtered},
};

/// Stores a key, where what is stored is not divided by namespaces (keyrings(7)).
pub(super) const KEYRING: Act = Act {
    name: "keyring",
    run: |marks| {
        let (kind, name, value) = (c("user"), c(&format!("opencode-fsm-{}", marks.token)), [b'x']);
        let process = libc::KEY_SPEC_PROCESS_KEYRING as usize;
        let args = [kind.as_ptr() as usize, name.as_ptr() as usize, at(&value), 1, process];
        match filtered(libc::SYS_add_key, &args, &[NOWHERE, NOWHERE, NOWHERE, 1, process]) {
            done @ Answer::Done(_) => done,
            refused => {
                let session = libc::KEY_SPEC_SESSION_KEYRING as usize;
                match filtered(
                    libc::SYS_keyctl,
                    &[libc::KEYCTL_GET_KEYRING_ID as usize, session, 0],
                    &[0xffff],
                ) {
                    done @ Answer::Done(_) => done,
                    _ => refused,
                }
            }
        }
    },
};

/// Looks for a key of the session's.
pub(super) const REQUEST_KEY: Act = Act {
    name: "request-key",
    run: |_| {
        let (kind, name) = (c("user"), c("opencode-fsm-none"));
        let args = [kind.as_ptr() as usize, name.as_ptr() as usize, 0, 0];
        match filtered(libc::SYS_request_key, &args, &[NOWHERE, NOWHERE, 0, 0]) {
            // The kernel looked, and there is none.
            Answer::Refused {
                errno: libc::ENOKEY, ..
            } => Answer::Done("it was looked for".to_owned()),
            other => other,
        }
    },
};

/// Makes a map for programs in the kernel (bpf(2)).
pub(super) const BPF: Act = Act {
    name: "bpf",
    run: |_| {
        // `union bpf_attr` of BPF_MAP_CREATE: an array of one word.
        let mut attr = [0u32; 18];
        attr[..4].copy_from_slice(&[2, 4, 4, 1]);
        filtered(libc::SYS_bpf, &[0, at(&attr), 72], &[0xffff, NOWHERE, 1 << 20])
    },
};

/// Counts events of the kernel (perf_event_open(2)).
pub(super) const PERF: Act = Act {
    name: "perf-event",
    run: |_| {
        // `struct perf_event_attr`: a software clock of this process.
        let mut attr = [0u64; 16];
        attr[0] = 1 | (128 << 32);
        let wrong = [at(&attr), 0, usize::MAX, usize::MAX, 1 << 30];
        filtered(
            libc::SYS_perf_event_open,
            &[at(&attr), 0, usize::MAX, usize::MAX, 0],
            &wrong,
        )
    },
};

/// Handles page faults itself (userfaultfd(2)).
pub(super) const USERFAULTFD: Act = Act {
    name: "userfaultfd",
    run: |_| filtered(libc::SYS_userfaultfd, &[1], &[1 | 1 << 30]),
};

/// Sets up rings, past which filters of system calls see nothing (io_uring(7)).
pub(super) const IO_URING: Act = Act {
    name: "io-uring",
    run: |_| {
        let mut params = [0u32; 30];
        filtered(libc::SYS_io_uring_setup, &[4, at_mut(&mut params)], &[4, NOWHERE])
    },
};

/// Memory that the kernel itself does not see.
pub(super) const SECRET_MEMORY: Act = Act {
    name: "secret-memory",
    run: |_| filtered(libc::SYS_memfd_secret, &[0], &[1 << 20]),
};

/// Runs code by the table of 32-bit calls.
pub(super) const CALL_32: Act = Act {
    name: "call-by-32-bit-table",
    run: |_| {
        let got: i32;
        // SAFETY: getpid by the table of i386; the registers that the kernel clears are named.
        unsafe {
            std::arch::asm!(
                "int 0x80",
                inlateout("eax") 20 => got,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                options(nostack),
            );
        }
        match got {
            pid if pid > 0 => Answer::Done(format!("getpid gave {pid}")),
            errno => Answer::refused(-errno),
        }
    },
};

/// Makes a call by the table of x32, whose numbers a list of native ones does not have.
pub(super) const CALL_X32: Act = Act {
    name: "call-by-x32-table",
    run: |_| match call(0x4000_0000 | libc::SYS_getpid, &[]) {
        Ok(pid) => Answer::Done(format!("getpid gave {pid}")),
        Err(errno) => Answer::refused(errno),
    },
};

/// Asks for memory that is executable wherever it can be read (personality(2)).
pub(super) const PERSONALITY: Act = Act {
    name: "personality",
    run: |_| match call(libc::SYS_personality, &[0x040_0000]) {
        Ok(before) => {
            let _ = call(libc::SYS_personality, &[before]);
            Answer::Done("READ_IMPLIES_EXEC".to_owned())
        }
        // The kernel refuses no personality.
        Err(errno) => Answer::by(errno, Layer::Seccomp),
    },
};

/// Changes its segments (modify_ldt(2)).
pub(super) const SEGMENTS: Act = Act {
    name: "modify-segments",
    run: |_| {
        let mut table = [0u8; 16];
        filtered(libc::SYS_modify_ldt, &[0, at_mut(&mut table), 16], &[77, NOWHERE, 16])
    },
};

/// Gives pages to a pipe (vmsplice(2)).
pub(super) const GIFT_PAGES: Act = Act {
    name: "gift-pages",
    run: |_| {
        let mut ends = [0i32; 2];
        if let Err(errno) = call(libc::SYS_pipe2, &[at_mut(&mut ends), 0]) {
            return Answer::refused(errno);
        }
        let text = [b'x'];
        let vector = [at(&text), 1];
        // A flag that there is none of.
        filtered(
            libc::SYS_vmsplice,
            &[ends[1] as usize, at(&vector), 1, 0],
            &[ends[1] as usize, NOWHERE, 1, 1 << 20],
        )
    },
};

/// Moves pages between nodes of memory (move_pages(2), mbind(2)).
pub(super) const MOVE_PAGES: Act = Act {
    name: "move-pages",
    run: |_| match filtered(libc::SYS_move_pages, &[0, 0, 0, 0, 0, 0], &[0, 0, 0, 0, 0, 1 << 20]) {
        done @ Answer::Done(_) => done,
        _ => filtered(
            libc::SYS_mbind,
            &[0, 0, 0, 0, 0, 0],
            &[NOWHERE, 1, 77, NOWHERE, 1, 1 << 20],
        ),
    },
};

/// A call of the administrator's. The kernel asks who calls before it looks at arguments,
/// and the arguments are wrong: `reached` is what it says to who may.
fn administrative(number: libc::c_long, args: &[usize], reached: &[i32]) -> Answer {
    match call(number, args) {
        Ok(_) => Answer::Done("the call succeeded".to_owned()),
        Err(errno) if reached.contains(&errno) => Answer::Done(format!("the kernel looked at it (errno {errno})")),
        Err(libc::EPERM) => Answer::refused(libc::EPERM),
        Err(errno) => Answer::by(errno, Layer::Seccomp),
    }
}

/// Loads another kernel (kexec_load(2)).
pub(super) const KEXEC: Act = Act {
    name: "load-kernel",
    run: |_| administrative(libc::SYS_kexec_load, &[0, 0, 0, 0xffff], &[libc::EINVAL]),
};

/// Loads a module (finit_module(2)).
pub(super) const LOAD_MODULE: Act = Act {
    name: "load-module",
    run: |_| {
        let none = c("");
        let args = [usize::MAX, none.as_ptr() as usize, 0];
        administrative(libc::SYS_finit_module, &args, &[libc::EBADF, libc::EINVAL])
    },
};

/// Unloads one that there is none of.
pub(super) const UNLOAD_MODULE: Act = Act {
    name: "unload-module",
    run: |_| {
        let name = c("opencode_fsm_none");
        let args = [name.as_ptr() as usize, libc::O_NONBLOCK as usize];
        administrative(libc::SYS_delete_module, &args, &[libc::ENOENT])
    },
};

/// Swaps to a file (swapon(2)).
pub(super) const SWAP: Act = Act {
    name: "swap-on",
    run: |_| administrative(libc::SYS_swapon, &[NOWHERE, 0], &[libc::EFAULT]),
};

/// Stops the machine (reboot(2)); the number that means it is another.
pub(super) const REBOOT: Act = Act {
    name: "reboot",
    run: |_| administrative(libc::SYS_reboot, &[0, 0, 0, 0], &[libc::EINVAL]),
};

/// Has processes accounted for to a file (acct(2)).
pub(super) const ACCOUNTING: Act = Act {
    name: "accounting",
    run: |_| administrative(libc::SYS_acct, &[NOWHERE], &[libc::EFAULT]),
};

/// Sets quotas (quotactl(2)).
pub(super) const QUOTA: Act = Act {
    name: "quota",
    // Q_SYNC of no device in particular, which every caller may ask for.
    run: |_| {
        filtered(
            libc::SYS_quotactl,
            &[0x80_0001 << 8, 0, 0, 0],
            &[0x7fff_ff00, NOWHERE, 0, 0],
        )
    },
};

/// Reads the kernel's messages (syslog(2)).
pub(super) const KERNEL_LOG: Act = Act {
    name: "kernel-log",
    // Their size; action 99 is none.
    run: |_| filtered(libc::SYS_syslog, &[10, 0, 0], &[99, 0, 0]),
};

/// Speaks to ports of the hardware (iopl(2)).
pub(super) const PORTS: Act = Act {
    name: "hardware-ports",
    run: |_| filtered(libc::SYS_iopl, &[3], &[99]),
};

/// Sets the clock (settimeofday(2)); to nothing, which only who may set it gets done.
pub(super) const SET_CLOCK: Act = Act {
    name: "set-clock",
    run: |_| {
        let wrong = [0i64, 2_000_000];
        filtered(libc::SYS_settimeofday, &[0, 0], &[at(&wrong), 0])
    },
};

/// Names the host anew (sethostname(2)).
pub(super) const SET_HOST_NAME: Act = Act {
    name: "set-host-name",
    run: |_| match fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(name) => {
            let name = name.trim();
            administrative(libc::SYS_sethostname, &[at(name), name.len()], &[])
        }
        Err(_) => administrative(libc::SYS_sethostname, &[NOWHERE, 1], &[libc::EFAULT]),
    },
};

/// Types into a terminal (TIOCSTI, ioctl_tty(2)).
pub(super) const TYPE_INTO_TERMINAL: Act = Act {
    name: "type-into-terminal",
    run: |_| {
        let (path, letter) = (c("/dev/ptmx"), [b'x']);
        let here = libc::AT_FDCWD as usize;
        let flags = (libc::O_RDWR | libc::O_NOCTTY) as usize;
        let main = match call(libc::SYS_openat, &[here, path.as_ptr() as usize, flags]) {
            Ok(main) => main,
            Err(errno) => return super::call::file_refusal("/dev/ptmx", errno, libc::W_OK),
        };
        let unlock = 0i32;
        let _ = call(libc::SYS_ioctl, &[main, libc::TIOCSPTLCK as usize, at(&unlock)]);
        let side = call(libc::SYS_ioctl, &[main, libc::TIOCGPTPEER as usize, flags]).unwrap_or(main);
        // It may become the terminal of a session of one's own.
        let _ = call(libc::SYS_setsid, &[]);
        let _ = call(libc::SYS_ioctl, &[side, libc::TIOCSCTTY as usize, 0]);
        filtered(
            libc::SYS_ioctl,
            &[side, libc::TIOCSTI as usize, at(&letter)],
            &[usize::MAX, libc::TIOCSTI as usize, NOWHERE],
        )
    },
};

/// Pastes a console's selection (TIOCLINUX, ioctl_console(2)).
pub(super) const PASTE_INTO_CONSOLE: Act = Act {
    name: "paste-into-console",
    // A descriptor that is open and no console is ENOTTY for the kernel.
    run: |_| match call(libc::SYS_ioctl, &[0, libc::TIOCLINUX as usize, NOWHERE]) {
        Ok(_) => Answer::Done("pasted".to_owned()),
        Err(libc::EPERM) => Answer::by(libc::EPERM, Layer::Seccomp),
        Err(errno) => Answer::Done(format!("the kernel looked at it (errno {errno})")),
    },
};

/// Watches whole file systems (fanotify(7)).
pub(super) const WATCH_ALL: Act = Act {
    name: "watch-file-systems",
    // A watch over all content, which asks for CAP_SYS_ADMIN.
    run: |_| filtered(libc::SYS_fanotify_init, &[4, 0], &[0x4000_0000, 0]),
};
