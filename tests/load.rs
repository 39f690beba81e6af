//! Twenty verifications side by side, as twenty users would start them, each with a stage
//! that misbehaves in a way of its own: every one ends at its cap and not two seconds
//! after it, the right cap is named and blamed, nothing survives, nothing crosses over.

#[path = "support/program.rs"]
mod program;

use std::{fs, path::Path};

use program::{Bench, fingerprint, json_file};

/// Each stage's cap, and how late its end may come.
const CAP_MS: u64 = 4_000;
const LATE_MS: u64 = 2_000;

/// What becomes of a stage.
enum Expected {
    /// A cap ends it: `timeout_seconds`, at [`CAP_MS`].
    Time,
    /// The first of these does that it meets.
    Cap(&'static [&'static str]),
    /// It ends by itself and passes; so many processes of it are killed.
    Passes { leaked: u64 },
    /// It ends by itself and fails.
    Fails,
}

use Expected::{Cap, Fails, Passes, Time};

const PERL: &str = "exec perl abuse.pl";
const SH: &str = "exec sh abuse.sh";
const PYTHON: &str = "exec python3 abuse.py";

/// A name, how it is started, its program, and what becomes of it.
const ABUSES: [(&str, &str, &str, Expected); 21] = [
    (
        "daemons",
        PERL,
        r#"use POSIX (); for (1 .. 3) { next if fork; POSIX::setsid(); exit if fork; POSIX::setsid();
           $SIG{$_} = "IGNORE" for qw(TERM INT HUP QUIT); syscall(157, 1, 0, 0, 0, 0); 1 while 1 } sleep 1000"#,
        Time,
    ),
    (
        "stopped",
        PERL,
        "kill STOP => $_ for getppid, -1, 1, $$; sleep 1000",
        Time,
    ),
    ("flood", SH, "yes \"$MARK flood\" >&2 & exec yes \"$MARK flood\"", Time),
    ("bomb", PERL, "$SIG{TERM} = 'IGNORE'; while (1) { fork }", Time),
    (
        "memory",
        PERL,
        "my @all; while (1) { push @all, 'x' x (1 << 20) }",
        Cap(&["memory"]),
    ),
    (
        "disk",
        PERL,
        r#"open(my $f, ">", "big"); my $x = "x" x (1 << 20); while (1) { defined syswrite $f, $x or sleep 1000 }"#,
        Cap(&["disk"]),
    ),
    (
        "inodes",
        PERL,
        r#"while (1) { for my $at ("/tmp", "/dev/shm") { open(my $f, ">", "$at/" . ++$n) } }"#,
        Time,
    ),
    ("spin", SH, "while :; do :; done & while :; do :; done", Time),
    (
        "descriptors",
        PERL,
        r#"use POSIX (); POSIX::close($_) for 0 .. 4095; for (1 .. 4) { fork } 1 while 1"#,
        Time,
    ),
    ("execs", SH, "exec sh abuse.sh", Time),
    (
        "deaf",
        PERL,
        r#"$SIG{$_} = "IGNORE" for grep { !/KILL|STOP|NUM|__|RTM/ } keys %SIG; 1 while 1"#,
        Time,
    ),
    (
        "orphans",
        PERL,
        "use POSIX (); while (1) { if (!fork) { POSIX::setsid(); exit if fork; POSIX::setsid(); sleep 1000; } wait }",
        Time,
    ),
    ("holds", SH, "sleep 1000 & exit 0", Passes { leaked: 1 }),
    (
        "traced",
        PERL,
        "syscall(101, 0, 0, 0, 0) == 0 or die; kill 10, $$; sleep 1000",
        Time,
    ),
    (
        "threads",
        PYTHON,
        "import threading\ndef spin():\n    while True: pass\nwhile True:\n    try:\n        threading.Thread(target=spin).start()\n    except RuntimeError:\n        spin()\n",
        Time,
    ),
    (
        "line",
        PERL,
        r#"$| = 1; my $x = "$ENV{MARK} " x 65536; while (1) { syswrite STDOUT, $x }"#,
        Time,
    ),
    (
        "zombies",
        PERL,
        "while (1) { my $child = fork; exit if defined $child && !$child }",
        Time,
    ),
    (
        "files",
        PERL,
        r#"my @all; while (open(my $f, "<", "/dev/null")) { push @all, $f } for (1 .. 8) { fork } 1 while 1"#,
        Time,
    ),
    (
        "deep",
        PERL,
        r#"for (1 .. 20_000) { mkdir "d" or last; chdir "d" or last } chmod 0, "."; sleep 1000"#,
        Cap(&["disk", "timeout_seconds"]),
    ),
    (
        "fifos",
        SH,
        "mkdir -p .aider_fsm; mkfifo .aider_fsm/metrics.json .aider_fsm/rollout.json fifo; exec cat fifo",
        Time,
    ),
    ("mutiny", PERL, "kill KILL => $_ for -1, getppid, 1, $$", Fails),
];

fn mark(name: &str) -> String {
    format!("load-{}-{name}", std::process::id())
}

/// Threads on the whole host with a mark in their environment that begins so.
fn alive(begins: &str) -> usize {
    let needle = format!("MARK={begins}").into_bytes();
    let entries = |dir: &Path| {
        fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    entries(Path::new("/proc"))
        .flat_map(|process| entries(&process.join("task")).collect::<Vec<_>>())
        .filter_map(|thread| fs::read(thread.join("environ")).ok())
        .filter(|environ| environ.windows(needle.len()).any(|window| window == needle))
        .count()
}

fn bench(name: &str, start: &str, program: &str) -> Bench {
    let bench = Bench::new();
    let script = start.rsplit(' ').next().expect("a word");
    bench.file(script, program).file(
        "pipeline.yml",
        &format!(
            "version: 1\ntests:\n  cmds: ['echo \"$MARK begins\"; {start}']\n  timeout_seconds: {}\n  env: {{MARK: {}}}\n",
            CAP_MS / 1000,
            mark(name)
        ),
    );
    bench
}

#[test]
fn twenty_stages_that_misbehave_end_at_their_caps_side_by_side() {
    let mut runs: Vec<_> = ABUSES
        .iter()
        .map(|(name, start, program, expected)| {
            let bench = bench(name, start, program);
            // What is to fill its memory must get there in time, beside twenty others.
            let memory = if *name == "memory" { "32M" } else { "256M" };
            let mut command = bench.command(
                &[
                    "verify",
                    "--json",
                    "--processes",
                    "64",
                    "--memory",
                    memory,
                    "--disk",
                    "32M",
                ],
                "repo",
            );
            let said = fs::File::create(bench.path("said")).expect("create");
            command.stdout(said.try_clone().expect("dup")).stderr(said);
            let child = command.spawn().expect("starts");
            (*name, bench, child, expected)
        })
        .collect();
    let all = mark("");
    // The control: the search finds what runs.
    while alive(&all) == 0 {
        let over = runs
            .iter_mut()
            .all(|(_, _, child, _)| child.try_wait().expect("wait").is_some());
        assert!(!over, "nothing was ever seen to run");
    }
    let mut wrong = Vec::new();
    for (name, bench, child, expected) in &mut runs {
        let code = child.wait().expect("ends").code();
        let found = judge(name, bench, code, expected);
        wrong.extend(found.into_iter().map(|what| format!("{name}: {what}")));
    }
    assert_eq!(alive(&all), 0, "something survives");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All that is not as it should be with one run.
fn judge(name: &str, bench: &Bench, code: Option<i32>, expected: &Expected) -> Vec<String> {
    let run = bench.the_run();
    if !run.join("verify/summary.json").exists() {
        let said = fs::read_to_string(bench.path("said")).expect("text");
        return vec![format!("exit {code:?} without a record: {said}")];
    }
    let record = json_file(&run.join("verify/summary.json"));
    let mut wrong = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    let stage = &record["stages"][0];
    let late = stage["wall_ms"].as_u64().unwrap_or(u64::MAX).saturating_sub(CAP_MS);
    eprintln!("{name}: {} ms, {} leaked", stage["wall_ms"], stage["leaked"]);
    check(late <= LATE_MS, format!("{late} ms late: {stage}"));
    let (caps, blame, exit): (&[_], _, _) = match expected {
        Time => (&["timeout_seconds"], Some("budget"), 3),
        Cap(caps) => (caps, Some("budget"), 3),
        Passes { .. } => (&[], None, 0),
        Fails => (&[], Some("verifier"), 3),
    };
    check(code == Some(exit), format!("exit {code:?}: {record}"));
    let cap = record["cap"].as_str();
    check(
        cap.map_or(caps.is_empty(), |cap| caps.contains(&cap)),
        format!("cap {cap:?}: {record}"),
    );
    check(
        record["blame"].as_str() == blame,
        format!("blame {}: {record}", record["blame"]),
    );
    if let Passes { leaked } = expected {
        check(stage["leaked"] == *leaked, format!("leaked {}", stage["leaked"]));
    }
    check(
        record["sandbox_failures"].as_array().is_some_and(Vec::is_empty),
        format!("its sandbox failed: {}", record["sandbox_failures"]),
    );
    // It did run, and everything that is kept of it is its own.
    let own = mark(name);
    let stdout = fs::read_to_string(run.join("verify/tests_stdout.txt")).unwrap_or_default();
    check(
        stdout.starts_with(&format!("{own} begins\n")),
        "it never began".to_owned(),
    );
    for (path, (.., bytes)) in fingerprint(&run) {
        check(
            bytes.len() < 3_000_000,
            format!("{} has {} bytes", path.display(), bytes.len()),
        );
        let text = String::from_utf8_lossy(&bytes);
        for (at, _) in text.match_indices(&mark("")) {
            // The last one of a file may be cut.
            let found = text[at..]
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .next();
            check(found.is_some_and(|found| own.starts_with(found)), foreign(&path));
        }
    }
    wrong
}

fn foreign(path: &Path) -> String {
    format!("{} holds another's mark", path.display())
}
