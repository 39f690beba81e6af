//! Acts that would give privileges: capabilities, ids, limits, namespaces, mounts.
#![allow(unsafe_code)]

use std::fs;

use super::{
    Act, Answer, Layer,
    call::{NOWHERE, at, at_mut, c, call, errno_of, filtered, last_errno, own_uid},
};

/// Finds that a program which it starts could be given capabilities: an ordinary user cannot
/// give that up, and `no_new_privs` makes it void (capabilities(7), "bounding set").
pub(super) const BOUNDING_SET: Act = Act {
    name: "have-bounding-set",
    run: |_| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        match status.lines().find_map(|line| line.strip_prefix("CapBnd:")) {
            Some(set) if set.trim().bytes().all(|b| b == b'0') => Answer::in_vain(Some(Layer::Capabilities)),
            set => Answer::Done(format!("bounding set {}", set.unwrap_or_default().trim())),
        }
    },
};

/// Looks for a capability in any set that gives one (capabilities(7)).
pub(super) const HAVE_CAPABILITIES: Act = Act {
    name: "have-capabilities",
    run: |_| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let held: Vec<&str> = status
            .lines()
            .filter(|line| line.starts_with("Cap") && !line.starts_with("CapBnd"))
            .filter(|line| {
                line.split_whitespace()
                    .nth(1)
                    .is_none_or(|set| set.bytes().any(|b| b != b'0'))
            })
            .collect();
        let (header, mut sets) = ([0x2008_0522u32, 0], [0u32; 6]);
        let told = call(libc::SYS_capget, &[at(&header), at_mut(&mut sets)]);
        if !held.is_empty() {
            Answer::Done(held.join(", ").replace('\t', " "))
        } else if status.is_empty() || told.is_err() {
            Answer::Done("its capabilities cannot be read".to_owned())
        } else if sets.iter().any(|set| *set != 0) {
            Answer::Done(format!("capget {sets:x?}"))
        } else {
            Answer::in_vain(Some(Layer::Capabilities))
        }
    },
};

/// Runs without the bit that keeps programs from gaining privileges
/// (PR_GET_NO_NEW_PRIVS(2const)).
pub(super) const GAIN_PRIVILEGES: Act = Act {
    name: "run-without-no-new-privs",
    run: |_| match call(libc::SYS_prctl, &[libc::PR_GET_NO_NEW_PRIVS as usize]) {
        Ok(1) => Answer::in_vain(Some(Layer::NoNewPrivs)),
        Ok(_) => Answer::Done("programs that it starts may gain privileges".to_owned()),
        Err(errno) => Answer::refused(errno),
    },
};

/// Raises limits, and goes beyond one (setrlimit(2)).
pub(super) const RAISE_LIMITS: Act = Act {
    name: "raise-limits",
    run: |_| {
        let mut now = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the kernel fills the value (getrlimit(2)).
        if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut now) } != 0 {
            return Answer::refused(last_errno());
        }
        let more = libc::rlimit {
            rlim_cur: now.rlim_max.saturating_add(1),
            rlim_max: now.rlim_max.saturating_add(1),
        };
        // SAFETY: the value outlives the call (setrlimit(2)).
        let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const more) };
        if raised == 0 {
            return Answer::Done(format!("{} open files", more.rlim_max));
        }
        let errno = last_errno();
        match core_limit() {
            0 => Answer::by(errno, Layer::Rlimits),
            bytes => Answer::Done(format!("core dumps of {bytes} bytes")),
        }
    },
};

fn core_limit() -> libc::rlim_t {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills the value (getrlimit(2)).
    unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut now) };
    now.rlim_max
}

/// Opens more files than it may: one is asked for at a number above all that are allowed.
pub(super) const OPEN_TOO_MANY: Act = Act {
    name: "open-too-many-files",
    run: |marks| {
        let number = usize::try_from(marks.amount).unwrap_or(0);
        match call(libc::SYS_fcntl, &[0, libc::F_DUPFD as usize, number]) {
            Ok(fd) => Answer::Done(format!("descriptor {fd}")),
            Err(errno @ (libc::EINVAL | libc::EMFILE)) => Answer::by(errno, Layer::Rlimits),
            Err(errno) => Answer::refused(errno),
        }
    },
};

/// Becomes root. Who has that id already gives it up for another first; where that is the only
/// id that there is, nothing is gained by it.
pub(super) const BECOME_ROOT: Act = Act {
    name: "become-root",
    run: |_| {
        let somebody = 65_534;
        if own_uid() == 0 && call(libc::SYS_setresuid, &[somebody, somebody, 0]).is_err() {
            return Answer::in_vain(None);
        }
        for (number, args) in [
            (libc::SYS_setuid, &[0usize, 0, 0][..1]),
            (libc::SYS_setresuid, &[0, 0, 0]),
            (libc::SYS_setreuid, &[0, 0, 0][..2]),
        ] {
            if call(number, args).is_ok() && own_uid() == 0 {
                return Answer::Done("its id became 0".to_owned());
            }
        }
        match call(libc::SYS_setresuid, &[0, 0, 0]) {
            Err(libc::EINVAL) => Answer::by(libc::EINVAL, Layer::UserNamespace),
            Err(libc::EPERM) => Answer::by(libc::EPERM, Layer::Capabilities),
            Err(errno) => Answer::refused(errno),
            Ok(_) => Answer::in_vain(None),
        }
    },
};

/// Changes its groups (setgroups(2)).
pub(super) const CHANGE_GROUPS: Act = Act {
    name: "change-groups",
    run: |_| {
        let groups = [0u32];
        // As many groups as no process may have: EINVAL, after the capability is asked for.
        filtered(libc::SYS_setgroups, &[1, at(&groups)], &[70_000, NOWHERE])
    },
};

/// Mounts, in all the ways that there are (mount(2), fsopen(2)).
pub(super) const MOUNT: Act = Act {
    name: "mount",
    run: |marks| {
        let (none, kind, own) = (c("none"), c("tmpfs"), c(&marks.own));
        let place = own.as_ptr() as usize;
        let answer = filtered(
            libc::SYS_mount,
            &[none.as_ptr() as usize, place, kind.as_ptr() as usize, 0, 0],
            &[NOWHERE, NOWHERE, NOWHERE, 0, 0],
        );
        if matches!(answer, Answer::Done(_)) {
            let _ = call(libc::SYS_umount2, &[place, libc::MNT_DETACH as usize]);
        }
        answer
    },
};

/// Shows a directory at a second place.
pub(super) const BIND: Act = Act {
    name: "bind-mount",
    run: |marks| {
        let (from, own) = (c("/usr"), c(&marks.own));
        let place = own.as_ptr() as usize;
        let answer = filtered(
            libc::SYS_mount,
            &[from.as_ptr() as usize, place, 0, libc::MS_BIND as usize, 0],
            &[NOWHERE, NOWHERE, NOWHERE, 0, 0],
        );
        if matches!(answer, Answer::Done(_)) {
            let _ = call(libc::SYS_umount2, &[place, libc::MNT_DETACH as usize]);
        }
        answer
    },
};

/// Takes a mount's protection away.
pub(super) const REMOUNT: Act = Act {
    name: "remount-read-write",
    run: |marks| {
        let own = c(&marks.own);
        let place = own.as_ptr() as usize;
        // Where it may mount it has something of its own to change.
        let _ = call(libc::SYS_mount, &[place, place, 0, libc::MS_BIND as usize, 0]);
        let flags = (libc::MS_BIND | libc::MS_REMOUNT) as usize;
        filtered(
            libc::SYS_mount,
            &[0, place, 0, flags, 0],
            &[NOWHERE, NOWHERE, NOWHERE, 0, 0],
        )
    },
};

/// Takes a mount away.
pub(super) const UNMOUNT: Act = Act {
    name: "unmount",
    run: |marks| {
        let (kind, own) = (c("tmpfs"), c(&marks.own));
        let (kind, place) = (kind.as_ptr() as usize, own.as_ptr() as usize);
        // Where it may mount it has something of its own to take away.
        let _ = call(libc::SYS_mount, &[kind, place, kind, 0, 0]);
        filtered(
            libc::SYS_umount2,
            &[place, libc::MNT_DETACH as usize],
            &[NOWHERE, 0x4000_0000],
        )
    },
};

/// Copies a tree of mounts (open_tree(2)).
pub(super) const OPEN_TREE: Act = Act {
    name: "open-tree",
    run: |_| {
        let place = c("/usr");
        filtered(
            libc::SYS_open_tree,
            &[
                libc::AT_FDCWD as usize,
                place.as_ptr() as usize,
                libc::OPEN_TREE_CLONE as usize,
            ],
            &[libc::AT_FDCWD as usize, NOWHERE, 0x4000_0000],
        )
    },
};

/// Makes a file system that is not mounted yet (fsopen(2)).
pub(super) const FSOPEN: Act = Act {
    name: "open-file-system",
    run: |_| {
        let kind = c("tmpfs");
        filtered(libc::SYS_fsopen, &[kind.as_ptr() as usize, 0], &[NOWHERE, 0x4000_0000])
    },
};

/// Moves a mount (move_mount(2)).
pub(super) const MOVE_MOUNT: Act = Act {
    name: "move-mount",
    run: |marks| {
        let (empty, own) = (c(""), c(&marks.own));
        let (here, place) = (libc::AT_FDCWD as usize, own.as_ptr() as usize);
        let tree = call(libc::SYS_open_tree, &[here, place, libc::OPEN_TREE_CLONE as usize]);
        // MOVE_MOUNT_F_EMPTY_PATH
        filtered(
            libc::SYS_move_mount,
            &[tree.unwrap_or(usize::MAX), empty.as_ptr() as usize, here, place, 4],
            &[here, NOWHERE, here, NOWHERE, 0x4000_0000],
        )
    },
};

/// Changes a mount's flags (mount_setattr(2)).
pub(super) const MOUNT_SETATTR: Act = Act {
    name: "mount-setattr",
    run: |_| {
        // `struct mount_attr`: nosuid set, nothing cleared.
        let attributes = [2u64, 0, 0, 0];
        let place = c("/proc");
        filtered(
            libc::SYS_mount_setattr,
            &[libc::AT_FDCWD as usize, place.as_ptr() as usize, 0, at(&attributes), 32],
            &[libc::AT_FDCWD as usize, NOWHERE, 0x4000_0000, NOWHERE, 1],
        )
    },
};

fn unshare(flag: libc::c_int) -> Answer {
    // A flag that unshare(2) does not know.
    filtered(libc::SYS_unshare, &[flag as usize], &[0x1])
}

/// Makes a user namespace, in which it would be root.
pub(super) const UNSHARE_USER: Act = Act {
    name: "unshare-user-namespace",
    run: |_| unshare(libc::CLONE_NEWUSER),
};

/// Makes a mount namespace.
pub(super) const UNSHARE_MOUNT: Act = Act {
    name: "unshare-mount-namespace",
    run: |_| unshare(libc::CLONE_NEWNS),
};

/// Makes a user namespace by clone(2), whose flags an other rule has to look at.
pub(super) const CLONE_USER: Act = Act {
    name: "clone-user-namespace",
    run: |_| {
        let flags = (libc::CLONE_NEWUSER | libc::SIGCHLD) as usize;
        match call(libc::SYS_clone, &[flags, 0, 0, 0, 0]) {
            // SAFETY: the child does nothing but leave (_exit(2)).
            Ok(0) => unsafe { libc::_exit(0) },
            Ok(_) => Answer::Done("a child in a user namespace".to_owned()),
            // CLONE_FS with CLONE_NEWUSER is EINVAL for the kernel (clone(2)).
            Err(errno) => {
                let wrong = call(libc::SYS_clone, &[flags | libc::CLONE_FS as usize, 0, 0, 0, 0]);
                let by = (wrong == Err(errno) && errno != libc::EINVAL).then_some(Layer::Seccomp);
                Answer::Refused { errno, by }
            }
        }
    },
};

/// The same by clone3(2), whose flags no filter can see.
pub(super) const CLONE3_USER: Act = Act {
    name: "clone3-user-namespace",
    run: |_| {
        // `struct clone_args` of its first version: flags and exit signal.
        let mut args = [0u64; 8];
        args[0] = libc::CLONE_NEWUSER as u64;
        args[4] = libc::SIGCHLD as u64;
        match call(libc::SYS_clone3, &[at(&args), 64]) {
            // SAFETY: as above.
            Ok(0) => unsafe { libc::_exit(0) },
            Ok(_) => Answer::Done("a child in a user namespace".to_owned()),
            Err(errno) => {
                let by = (call(libc::SYS_clone3, &[NOWHERE, 1]) == Err(errno)).then_some(Layer::Seccomp);
                Answer::Refused { errno, by }
            }
        }
    },
};

/// Enters a namespace by its file.
pub(super) const ENTER_NAMESPACE: Act = Act {
    name: "enter-namespace",
    run: |marks| {
        let paths = [
            format!("/proc/{}/ns/net", marks.pid),
            "/proc/1/ns/net".to_owned(),
            "/proc/self/ns/net".to_owned(),
        ];
        let Some(file) = paths.iter().find_map(|path| fs::File::open(path).ok()) else {
            return Answer::by(libc::ENOENT, Layer::PidNamespace);
        };
        use std::os::fd::AsRawFd;
        // A descriptor that is no namespace is EINVAL for the kernel (setns(2)).
        filtered(libc::SYS_setns, &[file.as_raw_fd() as usize, 0], &[usize::MAX, 0])
    },
};

/// Changes its root, and leaves it by a directory that stayed open.
pub(super) const CHROOT: Act = Act {
    name: "chroot",
    run: |marks| {
        let own = c(&marks.own);
        filtered(libc::SYS_chroot, &[own.as_ptr() as usize], &[NOWHERE])
    },
};

/// Changes the root of all (pivot_root(2)).
pub(super) const PIVOT_ROOT: Act = Act {
    name: "pivot-root",
    run: |marks| {
        let own = c(&marks.own);
        let place = own.as_ptr() as usize;
        // A new root must be a mount of its own.
        let _ = call(libc::SYS_mount, &[place, place, 0, libc::MS_BIND as usize, 0]);
        let _ = std::env::set_current_dir(&marks.own);
        let here = c(".");
        let here = here.as_ptr() as usize;
        filtered(libc::SYS_pivot_root, &[here, here], &[NOWHERE, NOWHERE])
    },
};

/// Reads the name that the host has.
pub(super) const HOST_NAME: Act = Act {
    name: "see-host-name",
    run: |marks| match fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(name) if name.trim() == marks.host_name => Answer::Done("the host's name".to_owned()),
        Ok(_) => Answer::in_vain(Some(Layer::UtsNamespace)),
        Err(e) => Answer::refused(errno_of(&e)),
    },
};

/// Sees where the host keeps it (cgroups(7)).
pub(super) const HOST_CGROUP: Act = Act {
    name: "see-host-cgroup",
    run: |_| {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut paths = own.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        match paths.find(|path| *path != "/") {
            Some(path) => Answer::Done(format!("its place is {path}")),
            None => Answer::in_vain(Some(Layer::CgroupNamespace)),
        }
    },
};

/// Makes a control group, or opens what the host runs at the end of one.
pub(super) const CHANGE_CGROUP: Act = Act {
    name: "change-cgroup",
    run: |_| {
        let roots = [
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup/pids",
            "/sys/fs/cgroup/memory",
        ];
        let mut first = None;
        for root in roots {
            let made = format!("{root}/opencode-fsm-{}", std::process::id());
            let answer = fs::create_dir(&made);
            let _ = fs::remove_dir(&made);
            match answer {
                Ok(()) => return Answer::Done(format!("made {made}")),
                Err(e) => first.get_or_insert(errno_of(&e)),
            };
            let agent = format!("{root}/release_agent");
            if fs::OpenOptions::new().write(true).open(&agent).is_ok() {
                return Answer::Done(format!("opened {agent}"));
            }
        }
        super::call::file_refusal(roots[0], first.unwrap_or(libc::ENOENT), libc::W_OK)
    },
};

/// Mounts the control groups.
pub(super) const MOUNT_CGROUP: Act = Act {
    name: "mount-cgroups",
    run: |marks| {
        let (kind, own) = (c("cgroup2"), c(&marks.own));
        let place = own.as_ptr() as usize;
        let answer = filtered(
            libc::SYS_mount,
            &[kind.as_ptr() as usize, place, kind.as_ptr() as usize, 0, 0],
            &[NOWHERE, NOWHERE, NOWHERE, 0, 0],
        );
        if matches!(answer, Answer::Done(_)) {
            let _ = call(libc::SYS_umount2, &[place, libc::MNT_DETACH as usize]);
        }
        answer
    },
};
