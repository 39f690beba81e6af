//! What becomes of commands: time caps, exit codes, signals, output.

use std::time::Duration;

use opencode_fsm::{
    sandbox::{ExecSpec, OutputSink},
    wire::{Argv, Leftovers, Reach},
};

use crate::{
    probe::{Act, Group, Probe, ended, ended_as},
    support::{perl, sh, text},
    surroundings::{perl_says, says},
};

pub fn probes() -> Vec<Probe> {
    [times(), codes(), signals(), outputs()].into_iter().flatten().collect()
}

fn ends(group: Group, name: &'static str, spec: ExecSpec) -> Probe {
    Probe {
        group,
        name,
        act: Act::Exec(spec, ended()),
    }
}

/// A cap that a command is meant to hit.
const CAP: Duration = Duration::from_millis(400);

fn capped(spec: ExecSpec) -> ExecSpec {
    ExecSpec { wall: CAP, ..spec }
}

fn times() -> Vec<Probe> {
    let ends = |name, spec| ends(Group::Time, name, capped(spec));
    let quiet = |script| ExecSpec {
        silence: Some(CAP),
        ..sh(script)
    };
    vec![
        ends("a sleeper", sh("exec sleep 60")),
        ends("one deaf to signals", sh("trap '' TERM INT HUP; while :; do :; done")),
        ends("one that stops itself", sh("kill -STOP $$; exit 3")),
        ends(
            "one with children of its own sessions",
            sh("setsid sleep 60 & setsid sleep 60 & exec sleep 60"),
        ),
        ends(
            "one that traces itself",
            perl("syscall(101, 0, 0, 0, 0); 1 while 1", &[]),
        ),
        Probe {
            group: Group::Time,
            name: "a silent one",
            act: Act::Exec(quiet("echo word; exec sleep 60"), ended()),
        },
        Probe {
            group: Group::Time,
            name: "one that ends before its daemons",
            act: Act::Exec(sh("sleep 60 & sleep 60 & exit 4"), ended()),
        },
        Probe {
            group: Group::Time,
            name: "one whose child holds its output",
            act: Act::Exec(sh("sleep 60 & echo done"), ended()),
        },
        Probe {
            group: Group::Time,
            name: "daemons that may stay",
            act: Act::Exec(
                ExecSpec {
                    leftovers: Leftovers::Keep,
                    ..sh("sleep 60 & until grep -qs sleep /proc/$!/comm; do :; done")
                },
                ended(),
            ),
        },
        Probe {
            group: Group::Time,
            name: "what may stay, seen from the next command",
            act: Act::Exec(sh("grep -l sleep /proc/[0-9]*/comm | wc -l"), Box::new(text)),
        },
    ]
}

fn codes() -> Vec<Probe> {
    let ends = |name, spec| ends(Group::Codes, name, spec);
    let direct = |words: &[&str]| ExecSpec {
        argv: Argv::Direct(words.iter().map(|word| (*word).to_owned()).collect()),
        ..sh("")
    };
    let at = |cwd: &str| ExecSpec {
        cwd: cwd.to_owned(),
        ..sh("pwd")
    };
    vec![
        ends("success", sh("exit 0")),
        ends("codes up to 255", sh("exit 255")),
        ends("a code of 256", sh("perl -e 'exit 256'")),
        ends("a word that is no command", sh("no-such-command")),
        ends("a script that may not be executed", sh("./not-executable")),
        ends(
            "a script without an interpreter line, by the shell",
            sh("./no-interpreter"),
        ),
        ends(
            "a script whose interpreter is missing, by the shell",
            sh("./missing-interpreter"),
        ),
        ends("a syntax error", sh("if")),
        ends("a program that is not there", direct(&["no-such-program"])),
        ends("a program without the right to execute", direct(&["./not-executable"])),
        ends("a directory as program", direct(&["./deep"])),
        ends("a script without an interpreter line", direct(&["./no-interpreter"])),
        ends(
            "a script whose interpreter is missing",
            direct(&["./missing-interpreter"]),
        ),
        ends("an empty command", direct(&[])),
        Probe {
            group: Group::Codes,
            name: "a script's name and words",
            act: Act::Exec(direct(&["./script", "a b", "c"]), Box::new(text)),
        },
        ends("a directory that is not there", at("/workspace/none")),
        ends("a directory that may not be entered", at("/workspace/closed")),
        ends("words of 128 KiB and one more", direct(&["true", &"x".repeat(131_072)])),
    ]
}

fn signals() -> Vec<Probe> {
    let ends = |name, spec| ends(Group::Signals, name, spec);
    let perl_says = |name, program| perl_says(Group::Signals, name, program);
    vec![
        ends("ended by TERM", sh("kill -TERM $$")),
        ends("ended by KILL", sh("kill -KILL $$")),
        ends("ended by SEGV", sh("kill -SEGV $$")),
        ends("ended by PIPE", perl("kill 13, $$", &[])),
        ends("an abort", perl("use POSIX (); POSIX::abort()", &[])),
        says(
            Group::Signals,
            "a child's signal as the shell tells it",
            "sh -c 'kill -9 $$'; echo $?",
        ),
        perl_says("signals to pid 1", r#"told(kill $_, 1) for 0, 15, 9, 19"#),
        perl_says("signals to the parent", r#"told(kill $_, getppid) for 0, 15, 9, 19"#),
        perl_says("signals to nobody", "told(kill 0, 99999)"),
        ends("signals to everybody", sh("trap '' TERM; kill -TERM -1; exit 5")),
        says(
            Group::Signals,
            "signals to its own group",
            "trap 'echo caught' USR1; kill -USR1 0; echo on",
        ),
        Probe {
            group: Group::Signals,
            name: "signals to the parent with a wider reach",
            act: Act::Exec(
                ExecSpec {
                    reach: Reach::Sandbox,
                    ..perl("kill(9, getppid) and sleep 60; exit 7", &[])
                },
                ended_as(),
            ),
        },
        says(Group::Signals, "the command after it", "echo works"),
        perl_says(
            "signals queued and descriptors of processes",
            "my $p = syscall(434, $$ + 0, 0); call(424, $p, 0, 0, 0); call(200, $$ + 0, 0)",
        ),
        perl_says(
            "signals that the parent's end sends",
            r#"my $s = "\0" x 4; call(157, 2, $s, 0, 0, 0); print unpack "L", $s"#,
        ),
    ]
}

fn outputs() -> Vec<Probe> {
    let kept = || -> crate::probe::Verdict {
        Box::new(|o| {
            let digest = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..8].to_owned();
            format!(
                "out {} of {} {}, err {} of {} {}, {}",
                o.stdout.tail.len(),
                o.stdout.total_bytes,
                digest(&o.stdout.tail),
                o.stderr.tail.len(),
                o.stderr.total_bytes,
                digest(&o.stderr.tail),
                if o.stdout.truncated { "cut" } else { "whole" },
            )
        })
    };
    let probe = |name, spec| Probe {
        group: Group::Output,
        name,
        act: Act::Exec(spec, kept()),
    };
    let sunk = |script: &str, max_bytes| {
        let mut spec = sh(script);
        spec.stdout.sink = Some(OutputSink {
            path: std::env::temp_dir().join(format!("conformance-{}-{max_bytes}", std::process::id())),
            max_bytes,
        });
        spec
    };
    vec![
        probe("nothing", sh(":")),
        probe("both streams", sh("echo out; echo err >&2")),
        probe("more than is kept", sh("seq 100000")),
        probe("more than is kept of errors", sh("seq 100000 >&2")),
        probe("every byte", perl("binmode STDOUT; print map chr, 0 .. 255", &[])),
        probe("a line without an end", sh("printf 'no newline'")),
        probe("output of a child", sh("(seq 10)")),
        probe(
            "output by other names",
            sh("echo a >/dev/stdout; echo b >/proc/self/fd/1; echo c >/dev/stderr"),
        ),
        probe("closed streams", sh("exec >&- 2>&-; echo lost; exit 0")),
        Probe {
            group: Group::Output,
            name: "a flood until the cap",
            act: Act::Exec(
                capped(sh("exec yes")),
                Box::new(|o| {
                    format!(
                        "{} {}",
                        o.timed_out,
                        if o.stdout.total_bytes > 1 << 16 {
                            "flooded"
                        } else {
                            "little"
                        }
                    )
                }),
            ),
        },
    ]
    .into_iter()
    .chain([4_u64, 1 << 20].map(|max| Probe {
        group: Group::Output,
        name: if max == 4 {
            "a file that is too small"
        } else {
            "a file that is large enough"
        },
        act: Act::Exec(
            sunk("echo 0123456789", max),
            Box::new(move |o| {
                let path = std::env::temp_dir().join(format!("conformance-{}-{max}", std::process::id()));
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                // Every back end makes it anew.
                let _ = std::fs::remove_file(&path);
                format!(
                    "{} {}",
                    if o.stdout.truncated { "cut" } else { "whole" },
                    text.split_whitespace().collect::<Vec<_>>().join(" ")
                )
            }),
        ),
    }))
    .collect()
}
