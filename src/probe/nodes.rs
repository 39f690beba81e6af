//! Acts with special files and special marks of files.

use std::{
    fs,
    io::{self, Seek, SeekFrom},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
};

use super::{
    Act, Answer, Layer,
    call::{at, at_mut, c, call, errno_of, file_refusal},
    files::{any, open_to_write, told},
};

/// Makes device files in a directory of its own.
pub(super) const MAKE_DEVICE: Act = Act {
    name: "make-device",
    run: |marks| {
        // The null device, and a disk that is nowhere.
        any(
            [(libc::S_IFCHR, 1, 3), (libc::S_IFBLK, 240, 0)].map(|(kind, major, minor)| {
                let path = format!("{}/node-{}", marks.own, std::process::id());
                let name = c(&path);
                let number = libc::makedev(major, minor) as usize;
                let made = call(
                    libc::SYS_mknodat,
                    &[
                        libc::AT_FDCWD as usize,
                        name.as_ptr() as usize,
                        (kind | 0o600) as usize,
                        number,
                    ],
                );
                let _ = fs::remove_file(&path);
                match made {
                    Ok(_) => Answer::Done("made a device file".to_owned()),
                    // The kernel's own answer to who lacks CAP_MKNOD is EPERM (mknod(2)).
                    Err(libc::EACCES) => Answer::by(libc::EACCES, Layer::Landlock),
                    Err(libc::EPERM) => Answer::by(libc::EPERM, Layer::Capabilities),
                    Err(errno) => Answer::refused(errno),
                }
            }),
        )
    },
};

/// Opens devices of the host's.
pub(super) const OPEN_DEVICES: Act = Act {
    name: "open-devices",
    run: |_| {
        any([
            "kmsg",
            "fuse",
            "kvm",
            "mem",
            "port",
            "net/tun",
            "vda",
            "sda",
            "nvme0n1",
            "loop-control",
            "console",
        ]
        .map(|name| {
            let path = format!("/dev/{name}");
            let opened = fs::OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
                .open(&path);
            told(&path, libc::R_OK, opened.map(|_| format!("opened {path}")))
        }))
    },
};

/// Opens the device by which a process would be a file system, and could hold others for ever.
pub(super) const OPEN_FUSE: Act = Act {
    name: "open-fuse-device",
    run: |_| {
        let opened = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
        told("/dev/fuse", libc::W_OK, opened.map(|_| "opened".to_owned()))
    },
};

/// Gives a file attributes that mean something to the kernel or to an overlay.
pub(super) const SET_TRUSTED: Act = Act {
    name: "set-trusted-attributes",
    run: |marks| {
        let path = format!("{}/attributes-{}", marks.own, std::process::id());
        if let Err(e) = fs::write(&path, "") {
            return file_refusal(&path, errno_of(&e), libc::W_OK);
        }
        let name = c(&path);
        // A whole `struct vfs_cap_data` of revision 2 that grants CAP_SYS_ADMIN (capabilities(7)).
        let mut caps = [0u8; 20];
        caps[..4].copy_from_slice(&0x0200_0001u32.to_le_bytes());
        caps[4..8].copy_from_slice(&(1u32 << 21).to_le_bytes());
        let answers = [("trusted.overlay.opaque", &b"y"[..]), ("security.capability", &caps)].map(|(key, value)| {
            let key = c(key);
            let args = [name.as_ptr() as usize, key.as_ptr() as usize, at(value), value.len(), 0];
            match call(libc::SYS_setxattr, &args) {
                Ok(_) => Answer::Done(format!("set {key:?}")),
                Err(libc::EPERM) => Answer::by(libc::EPERM, Layer::Capabilities),
                Err(errno) => Answer::refused(errno),
            }
        });
        let _ = fs::remove_file(&path);
        any(answers)
    },
};

/// Writes to a program that it had started, by the link to it (the way of CVE-2019-5736).
pub(super) const OVERWRITE_PROGRAM: Act = Act {
    name: "overwrite-program",
    run: |marks| {
        let program = format!("{}/program", marks.piece);
        let Ok(mut child) = std::process::Command::new(&program).spawn() else {
            return file_refusal(&program, libc::ENOENT, libc::X_OK);
        };
        let link = c(&format!("/proc/{}/exe", child.id()));
        let held = call(
            libc::SYS_openat,
            &[libc::AT_FDCWD as usize, link.as_ptr() as usize, libc::O_PATH as usize],
        );
        let _ = child.kill();
        let _ = child.wait();
        match held {
            Ok(fd) => open_to_write(&format!("/proc/self/fd/{fd}")),
            Err(_) => open_to_write(&program),
        }
    },
};

/// Opens a file of the host's by its handle (the way of "shocker").
pub(super) const OPEN_BY_HANDLE: Act = Act {
    name: "open-by-handle",
    run: |marks| {
        // `struct file_handle` with room for 128 bytes (open_by_handle_at(2)).
        let mut handle = [0u32; 34];
        handle[0] = 128;
        let mut mount = 0i32;
        let target = if fs::metadata(&marks.file).is_ok() {
            &marks.file
        } else {
            "/"
        };
        let name = c(target);
        let here = libc::AT_FDCWD as usize;
        let (handle_at, mount_at) = (at_mut(&mut handle), at_mut(&mut mount));
        let got = call(
            libc::SYS_name_to_handle_at,
            &[here, name.as_ptr() as usize, handle_at, mount_at, 0],
        );
        let Ok(root) = fs::File::open(if target == "/" { "/" } else { &marks.dir }) else {
            return Answer::refused(libc::ENOENT);
        };
        use std::os::fd::AsRawFd;
        let opened = got.and_then(|_| {
            call(
                libc::SYS_open_by_handle_at,
                &[root.as_raw_fd() as usize, handle_at, libc::O_RDONLY as usize],
            )
        });
        match opened {
            Ok(_) => Answer::Done("opened by handle".to_owned()),
            Err(errno) => {
                // The kernel answers EFAULT or EBADF where it gets to look at arguments.
                let wrong = call(libc::SYS_open_by_handle_at, &[usize::MAX, super::call::NOWHERE, 0]);
                let by = (wrong == Err(errno)).then_some(Layer::Seccomp);
                Answer::Refused { errno, by }
            }
        }
    },
};

/// Runs a program that belongs to root and says so by its set-id bit; whose it became is its
/// exit code.
pub(super) const RUN_SET_ID: Act = Act {
    name: "run-set-id-program",
    run: |marks| {
        let mut command = std::process::Command::new(format!("{}/set-id", marks.piece));
        if super::call::own_uid() == 0 {
            // Who is root already gains nothing: the control is somebody else.
            std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        }
        match command.status() {
            Ok(status) if status.code() == Some(0) => Answer::Done("became root".to_owned()),
            Ok(_) => Answer::in_vain(None),
            Err(e) => file_refusal(&marks.piece, errno_of(&e), libc::X_OK),
        }
    },
};

/// Makes a sparse file that is larger than any disk.
pub(super) const SPARSE: Act = Act {
    name: "sparse-file",
    run: |marks| {
        let path = format!("{}/sparse-{}", marks.own, std::process::id());
        let grown = fs::File::create(&path).and_then(|mut file| {
            ignore_file_size_signal();
            file.seek(SeekFrom::Start(marks.amount))?;
            io::Write::write_all(&mut file, b"x")
        });
        let _ = fs::remove_file(&path);
        match grown {
            Ok(()) => Answer::Done(format!("a file of {} bytes", marks.amount)),
            Err(e) if e.raw_os_error() == Some(libc::EFBIG) => Answer::by(libc::EFBIG, Layer::Rlimits),
            Err(e) => Answer::refused(errno_of(&e)),
        }
    },
};

/// What is too large is to be an error and no signal (setrlimit(2)).
fn ignore_file_size_signal() {
    let mut ignore = [0usize; 4];
    ignore[0] = libc::SIG_IGN;
    // `struct kernel_sigaction`: handler, flags, restorer, mask (rt_sigaction(2)).
    let _ = call(libc::SYS_rt_sigaction, &[libc::SIGXFSZ as usize, at(&ignore), 0, 8]);
}

/// Sets a file's bits so that others would become its owner, and gives it to root.
pub(super) const GIVE_TO_ROOT: Act = Act {
    name: "give-file-to-root",
    run: |marks| {
        let path = format!("{}/given-{}", marks.own, std::process::id());
        let made = fs::write(&path, "").and_then(|()| {
            std::os::unix::fs::chown(&path, Some(0), Some(0))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o4755))
        });
        let _ = fs::remove_file(&path);
        match made {
            Ok(()) => Answer::Done("a set-id file of root's".to_owned()),
            Err(e) => match e.raw_os_error() {
                // The id does not exist in a user namespace that does not map it (chown(2)).
                Some(libc::EINVAL) => Answer::by(libc::EINVAL, Layer::UserNamespace),
                Some(libc::EPERM) => Answer::by(libc::EPERM, Layer::Capabilities),
                _ => Answer::refused(errno_of(&e)),
            },
        }
    },
};

/// Works on a tree as it is told: `file` is the path, `own` the work.
pub(super) const WORK: Act = Act {
    name: "work",
    run: |marks| {
        let path = std::path::Path::new(&marks.file);
        if let Some(parent) = path.parent() {
            let _ = fs::create_dir_all(parent);
        }
        let done = match marks.own.split_once(' ') {
            Some(("link", target)) => {
                let _ = fs::remove_dir_all(path);
                let _ = fs::remove_file(path);
                std::os::unix::fs::symlink(target, path)
            }
            Some(("move", target)) => fs::rename(path, target),
            _ if marks.own == "pipe" => {
                let name = c(&marks.file);
                let made = call(
                    libc::SYS_mknodat,
                    &[
                        libc::AT_FDCWD as usize,
                        name.as_ptr() as usize,
                        (libc::S_IFIFO | 0o600) as usize,
                        0,
                    ],
                );
                made.map(|_| ()).map_err(io::Error::from_raw_os_error)
            }
            _ => fs::write(path, &marks.token),
        };
        match done {
            Ok(()) => Answer::Done(format!("changed {}", marks.file)),
            Err(e) => file_refusal(&marks.file, errno_of(&e), libc::W_OK),
        }
    },
};
