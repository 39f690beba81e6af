//! Acts on files that are not the acting process's.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt, symlink},
};

use super::{
    Act, Answer, Layer, Marks,
    call::{at, c, call, errno_of, file_refusal},
};

/// What came of an attempt on a path, with the refusal's layer.
pub(super) fn told(path: &str, mode: libc::c_int, got: io::Result<String>) -> Answer {
    match got {
        Ok(how) => Answer::Done(how),
        Err(e) => file_refusal(path, errno_of(&e), mode),
    }
}

/// The first of several ways that leads somewhere; else the refusal of the first.
pub(super) fn any(answers: impl IntoIterator<Item = Answer>) -> Answer {
    let mut first = None;
    for answer in answers {
        match answer {
            done @ Answer::Done(_) => return done,
            refused => {
                first.get_or_insert(refused);
            }
        }
    }
    first.unwrap_or(Answer::in_vain(None))
}

fn holds(path: &str, token: &str) -> io::Result<String> {
    let mut text = Vec::new();
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?
        .take(4096)
        .read_to_end(&mut text)?;
    let found = !token.is_empty() && text.windows(token.len()).any(|part| part == token.as_bytes());
    match found {
        true => Ok(format!("read {path}")),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

fn read(marks: &Marks, path: String) -> Answer {
    let got = holds(&path, &marks.token).map_err(|e| match e.raw_os_error() {
        // What can be read under that name is another file.
        None => io::Error::from_raw_os_error(libc::ENOENT),
        Some(_) => e,
    });
    told(&path, libc::R_OK, got)
}

/// Reads a file of the host's by its path, and by the way up that a root leaves open which
/// was not detached.
pub(super) const READ_HOST_FILE: Act = Act {
    name: "read-host-file",
    run: |marks| {
        let ways = ["", "/.."].map(|way| format!("{way}{}", marks.file));
        any(ways.map(|path| read(marks, path)))
    },
};

/// The same, of a file in the user's home.
pub(super) const READ_HOME: Act = Act {
    name: "read-home",
    run: |marks| any(["", "/.."].map(|way| read(marks, format!("{way}{}", marks.home_file)))),
};

/// Lists a directory of the host's.
pub(super) const LIST_HOST: Act = Act {
    name: "list-host-directory",
    run: |marks| {
        let listed = fs::read_dir(&marks.dir).map(|_| format!("listed {}", marks.dir));
        told(&marks.dir, libc::R_OK, listed)
    },
};

/// Follows links that it makes itself.
pub(super) const FOLLOW_LINK: Act = Act {
    name: "follow-link-out",
    run: |marks| {
        let up = "../".repeat(24);
        let targets = [
            marks.file.clone(),
            format!("{up}{}", marks.file.trim_start_matches('/')),
        ];
        any((0..).zip(targets).map(|(n, target)| {
            let link = format!("{}/link-{n}-{}", marks.own, std::process::id());
            if let Err(e) = symlink(&target, &link) {
                return file_refusal(&link, errno_of(&e), libc::W_OK);
            }
            let answer = match holds(&link, &marks.token) {
                Ok(how) => Answer::Done(how),
                Err(e) => file_refusal(&target, e.raw_os_error().unwrap_or(libc::ENOENT), libc::R_OK),
            };
            let _ = fs::remove_file(&link);
            answer
        }))
    },
};

/// Goes by the links of `/proc` that lead through name spaces.
pub(super) const MAGIC_LINKS: Act = Act {
    name: "magic-links",
    run: |marks| {
        let parent = std::os::unix::process::parent_id();
        let mut ways = vec![
            "/proc/self/root".to_owned(),
            "/proc/self/root/..".to_owned(),
            "/proc/1/root".to_owned(),
            "/proc/1/cwd/..".to_owned(),
            format!("/proc/{parent}/root"),
            "/proc/self/cwd/../../../../../..".to_owned(),
        ];
        let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        ways.extend(open.map(|fd| format!("{}/../../../../..", fd.path().display())));
        any(ways.into_iter().map(|way| read(marks, format!("{way}{}", marks.file))))
    },
};

/// Links a file of the host's into a directory of its own.
pub(super) const HARD_LINK: Act = Act {
    name: "hard-link-in",
    run: |marks| {
        let link = format!("{}/hard-{}", marks.own, std::process::id());
        let made = fs::hard_link(&marks.file, &link).map(|()| "linked".to_owned());
        let _ = fs::remove_file(&link);
        told(&marks.file, libc::F_OK, made)
    },
};

/// Moves a file of its own out.
pub(super) const RENAME_OUT: Act = Act {
    name: "rename-out",
    run: |marks| {
        let (mine, theirs) = (
            format!("{}/mine-{}", marks.own, std::process::id()),
            format!("{}/moved-{}", marks.dir, std::process::id()),
        );
        if let Err(e) = fs::write(&mine, "mine") {
            return file_refusal(&mine, errno_of(&e), libc::W_OK);
        }
        let moved = fs::rename(&mine, &theirs).map(|()| "moved".to_owned());
        let _ = fs::remove_file(&theirs);
        let _ = fs::remove_file(&mine);
        told(&marks.dir, libc::W_OK, moved)
    },
};

/// Changes mode, times, attributes or owner of a file.
fn change(path: &str) -> Answer {
    let name = c(path);
    let (raw, here) = (name.as_ptr() as usize, libc::AT_FDCWD as usize);
    let mode = fs::metadata(path).map_or(0o644, |meta| meta.mode() & 0o777);
    let (key, value) = (c("user.opencode-fsm"), [1u8]);
    let (uid, gid) = fs::metadata(path).map_or((0, 0), |meta| (meta.uid(), meta.gid()));
    let ways = [
        ("chmod", call(libc::SYS_fchmodat, &[here, raw, mode as usize])),
        ("utimensat", call(libc::SYS_utimensat, &[here, raw, 0, 0])),
        (
            "setxattr",
            call(libc::SYS_setxattr, &[raw, key.as_ptr() as usize, at(&value), 1, 0]),
        ),
        (
            "chown",
            call(libc::SYS_fchownat, &[here, raw, uid as usize, gid as usize, 0]),
        ),
    ];
    any(ways.map(|(how, got)| match got {
        Ok(_) => Answer::Done(how.to_owned()),
        Err(libc::EPERM) => Answer::by(libc::EPERM, Layer::Ids),
        Err(errno) => file_refusal(path, errno, libc::F_OK),
    }))
}

/// Changes what landlock does not mediate, of a file of the host's.
pub(super) const CHANGE_HOST_FILE: Act = Act {
    name: "change-host-file",
    run: |marks| change(&marks.file),
};

/// The same, of a file that is its own and shown read-only.
pub(super) const CHANGE_PIECE: Act = Act {
    name: "change-read-only-piece",
    run: |marks| change(&format!("{}/own", marks.piece)),
};

/// Reads a file that its owner on the host alone may read, where it is shown.
pub(super) const READ_OTHERS_PIECE: Act = Act {
    name: "read-closed-piece",
    run: |marks| read(marks, format!("{}/closed", marks.piece)),
};

/// Truncates a file of the host's to the length that it has.
pub(super) const TRUNCATE: Act = Act {
    name: "truncate-host-file",
    run: |marks| {
        let length = marks.token.len();
        let name = c(&marks.file);
        match call(libc::SYS_truncate, &[name.as_ptr() as usize, length]) {
            Ok(_) => Answer::Done("truncated".to_owned()),
            Err(errno) => file_refusal(&marks.file, errno, libc::W_OK),
        }
    },
};

/// Opens a file of the host's for writing, or makes one beside it.
pub(super) const WRITE_HOST: Act = Act {
    name: "write-host-file",
    run: |marks| {
        let made = format!("{}/made-{}", marks.dir, std::process::id());
        let opened = fs::OpenOptions::new().append(true).open(&marks.file);
        let created = fs::write(&made, "made");
        let _ = fs::remove_file(&made);
        any([
            told(&marks.file, libc::W_OK, opened.map(|_| "opened".to_owned())),
            told(&marks.dir, libc::W_OK, created.map(|()| "created".to_owned())),
        ])
    },
};

/// Makes a directory where only the host may.
pub(super) const MAKE_IN_READ_ONLY: Act = Act {
    name: "make-in-read-only",
    run: |marks| {
        let place = if marks.piece.is_empty() { "/usr" } else { &marks.piece };
        let made = format!("{place}/.opencode-fsm-{}", std::process::id());
        let answer = fs::create_dir(&made).map(|()| format!("made {made}"));
        let _ = fs::remove_dir(&made);
        told(place, libc::W_OK, answer)
    },
};

pub(super) fn open_to_write(path: &str) -> Answer {
    let opened = fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    told(path, libc::W_OK, opened.map(|_| format!("opened {path}")))
}

/// Opens settings of the kernel for writing; writes nothing.
pub(super) const OPEN_SETTINGS: Act = Act {
    name: "open-kernel-settings",
    run: |_| {
        any([
            "/proc/sys/kernel/core_pattern",
            "/proc/sysrq-trigger",
            "/proc/sys/vm/drop_caches",
            "/proc/sys/fs/binfmt_misc/register",
            "/sys/kernel/uevent_helper",
        ]
        .map(open_to_write))
    },
};

/// Reads what `/proc` and `/sys` tell of the host's kernel.
pub(super) const READ_KERNEL: Act = Act {
    name: "read-kernel-secrets",
    run: |_| {
        any([
            "/proc/kallsyms",
            "/proc/kcore",
            "/proc/keys",
            "/proc/timer_list",
            "/proc/sched_debug",
            "/proc/kmsg",
            "/sys/firmware/acpi/tables/DSDT",
            "/sys/kernel/debug",
        ]
        .map(|path| {
            let read = || {
                let mut file = fs::OpenOptions::new()
                    .read(true)
                    .custom_flags(libc::O_NONBLOCK)
                    .open(path)?;
                match file.read(&mut [0])? {
                    0 => Err(io::Error::from_raw_os_error(libc::ENODATA)),
                    _ => Ok(format!("read {path}")),
                }
            };
            match read() {
                Ok(how) => Answer::Done(how),
                Err(e) if e.raw_os_error() == Some(libc::ENODATA) => Answer::by(libc::ENODATA, Layer::ProcMasks),
                Err(e) => file_refusal(path, errno_of(&e), libc::R_OK),
            }
        }))
    },
};

/// Watches a file of the host's, or asks for its size.
pub(super) const WATCH: Act = Act {
    name: "watch-host-file",
    run: |marks| {
        let name = c(&marks.file);
        let watch = call(libc::SYS_inotify_init1, &[0]).and_then(|fd| {
            call(
                libc::SYS_inotify_add_watch,
                &[fd, name.as_ptr() as usize, libc::IN_OPEN as usize],
            )
        });
        let stat = fs::metadata(&marks.file);
        any([
            match watch {
                Ok(_) => Answer::Done("watched".to_owned()),
                Err(errno) => file_refusal(&marks.file, errno, libc::R_OK),
            },
            told(
                &marks.file,
                libc::F_OK,
                stat.map(|meta| format!("{} bytes", meta.len())),
            ),
        ])
    },
};

/// Finds what the host keeps in shared memory, by its name.
pub(super) const SHARED_FILE: Act = Act {
    name: "read-shared-memory-file",
    run: |marks| read(marks, format!("/dev/shm/{}", marks.token)),
};
