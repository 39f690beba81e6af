//! Acts that take more than their share.
#![allow(unsafe_code)]

use std::{
    fs,
    io::Write,
    time::{Duration, Instant},
};

use super::{
    Act, Answer, Layer,
    call::{call, errno_of},
};

const MEGABYTE: usize = 1 << 20;

fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Takes memory up to an amount, as fast as it can, and says how far it came.
pub(super) const TAKE_MEMORY: Act = Act {
    name: "take-memory",
    run: |marks| {
        let mut held: Vec<Vec<u8>> = Vec::new();
        while (held.len() * MEGABYTE) < usize::try_from(marks.amount).unwrap_or(usize::MAX) {
            let mut block = Vec::new();
            if block.try_reserve_exact(MEGABYTE).is_err() {
                return Answer::refused(libc::ENOMEM);
            }
            block.resize(MEGABYTE, 1u8);
            held.push(block);
        }
        Answer::Done(format!("{} MB", held.len()))
    },
};

/// Stays as it is for longer than whoever looks now and then takes between two looks.
fn linger() {
    std::thread::sleep(Duration::from_millis(900));
}

/// Fills a directory's file system up to an amount, in files that are small enough each.
fn fill(dir: &str, amount: u64) -> Answer {
    let block = vec![1u8; 8 * MEGABYTE];
    let path = |n: u64| format!("{dir}/fill-{}-{n}", std::process::id());
    let all = 0..amount.div_ceil(block.len() as u64);
    let filled = all.clone().try_for_each(|n| fs::write(path(n), &block));
    linger();
    for n in all {
        let _ = fs::remove_file(path(n));
    }
    match filled {
        Ok(()) => Answer::Done(format!("{} MB", amount >> 20)),
        Err(e) => match errno_of(&e) {
            libc::ENOSPC => Answer::by(libc::ENOSPC, Layer::Root),
            errno => Answer::refused(errno),
        },
    }
}

/// Fills the place for temporary files.
pub(super) const FILL_TEMPORARY: Act = Act {
    name: "fill-temporary-files",
    run: |marks| fill(&marks.own, marks.amount),
};

/// Fills the workspace, in files that are small enough each, and stays for a while.
pub(super) const FILL_WORKSPACE: Act = Act {
    name: "fill-workspace",
    run: |marks| {
        let block = vec![1u8; 8 * MEGABYTE];
        for n in 0..marks.amount / (8 * MEGABYTE as u64) {
            if let Err(e) = fs::write(format!("fill-{n}"), &block) {
                return Answer::refused(errno_of(&e));
            }
        }
        linger();
        Answer::Done(format!("{} MB", marks.amount >> 20))
    },
};

/// Makes as many files as there is room for, up to an amount.
pub(super) const TAKE_INODES: Act = Act {
    name: "take-inodes",
    run: |marks| {
        let dir = format!("{}/inodes-{}", marks.own, std::process::id());
        if let Err(e) = fs::create_dir(&dir) {
            return Answer::refused(errno_of(&e));
        }
        let mut refused = None;
        for n in 0..marks.amount {
            if let Err(e) = fs::File::create(format!("{dir}/{n}")) {
                refused = Some(errno_of(&e));
                break;
            }
        }
        linger();
        let _ = fs::remove_dir_all(&dir);
        match refused {
            None => Answer::Done(format!("{} files", marks.amount)),
            Some(libc::ENOSPC) => Answer::by(libc::ENOSPC, Layer::Root),
            Some(errno) => Answer::refused(errno),
        }
    },
};

/// Spins for a while, and says how much of a processor it had.
pub(super) const SPIN: Act = Act {
    name: "spin",
    run: |marks| {
        // Ahead of everybody else, where it may.
        let _ = call(
            libc::SYS_setpriority,
            &[libc::PRIO_PROCESS as usize, 0, (-20isize) as usize],
        );
        let (began, before) = (Instant::now(), cpu_time());
        let wall = Duration::from_millis(500);
        while began.elapsed() < wall {
            std::hint::spin_loop();
        }
        let share = 100.0 * (cpu_time() - before).as_secs_f64() / began.elapsed().as_secs_f64();
        if share > marks.amount as f64 {
            Answer::Done(format!("{share:.0} % of a processor"))
        } else {
            Answer::in_vain(Some(Layer::Cgroup))
        }
    },
};

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the value (clock_gettime(2)).
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Writes to its output without end.
pub(super) const FLOOD: Act = Act {
    name: "flood-output",
    run: |marks| {
        let line = [b"y\n".repeat(32 << 10), Vec::new()].concat();
        for _ in 0..marks.amount / line.len() as u64 {
            if let Err(e) = std::io::stdout().write_all(&line) {
                return Answer::refused(errno_of(&e));
            }
        }
        Answer::Done("all of it".to_owned())
    },
};

/// Writes one line that has no end.
pub(super) const LONG_LINE: Act = Act {
    name: "endless-line",
    run: |marks| {
        let part = vec![b'x'; 64 << 10];
        for _ in 0..marks.amount / part.len() as u64 {
            if let Err(e) = std::io::stdout().write_all(&part) {
                return Answer::refused(errno_of(&e));
            }
        }
        Answer::Done("all of it".to_owned())
    },
};

/// As far as it may be (setrlimit(2)).
fn allow_cores() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the value outlives both calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_CORE, &raw const limit);
    }
}

/// Dies so that a core is written.
pub(super) const DUMP_CORE: Act = Act {
    name: "dump-core",
    run: |marks| {
        let _ = std::env::set_current_dir(&marks.own);
        // SAFETY: this process is single-threaded; the child ends by a signal (abort(3)).
        let child = unsafe { libc::fork() };
        if child == 0 {
            allow_cores();
            // SAFETY: ends the child.
            unsafe { libc::abort() };
        }
        let mut status = 0i32;
        let _ = call(
            libc::SYS_wait4,
            &[child as usize, super::call::at_mut(&mut status), 0, 0],
        );
        match libc::WCOREDUMP(status) {
            true => Answer::Done("a core was dumped".to_owned()),
            false => Answer::in_vain(Some(Layer::Rlimits)),
        }
    },
};

/// Prints text as it is told: what a terminal or a reader of logs would obey.
pub(super) const PRINT: Act = Act {
    name: "print",
    run: |marks| {
        say(&marks.token);
        Answer::Done("printed".to_owned())
    },
};
