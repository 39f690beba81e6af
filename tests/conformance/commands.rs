//! What becomes of commands: time caps, exit codes, signals, output; and of the host's
//! own changes and looks.

use std::time::Duration;

use opencode_fsm::{
    sandbox::{ExecSpec, OutputSink},
    wire::{Argv, Leftovers, Reach},
};

use crate::{
    probe::{Act, Group, Probe, ended},
    support::{perl, sh, text},
    surroundings::{perl_says, says},
};

pub fn probes() -> Vec<Probe> {
    [times(), codes(), signals(), outputs(), copies()]
        .into_iter()
        .flatten()
        .collect()
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
                ended(),
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

/// An entry of a tar stream: path, kind, mode, bytes or target.
fn archive(entries: &[(&str, tar::EntryType, u32, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, mode, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        let bytes = match kind {
            tar::EntryType::Symlink | tar::EntryType::Link => {
                header.set_link_name(text).expect("a target");
                &[][..]
            }
            _ => text.as_bytes(),
        };
        header.set_size(bytes.len() as u64);
        // As hostile as it comes: the checked setter refuses `..`.
        let name = &mut header.as_gnu_mut().expect("gnu").name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, bytes).expect("in memory");
    }
    builder.into_inner().expect("in memory")
}

fn copies() -> Vec<Probe> {
    use tar::EntryType::{Directory, Fifo, Regular, Symlink};
    let put = |name, removals, entries: &[(&str, tar::EntryType, u32, &str)], then| Probe {
        group: Group::Copies,
        name,
        act: Act::Put {
            removals,
            tar: archive(entries),
            then,
        },
    };
    let read = |name, first, path| Probe {
        group: Group::Copies,
        name,
        act: Act::Read { first, path, max: 4096 },
    };
    let upper = |name, first, path| Probe {
        group: Group::Copies,
        name,
        act: Act::Upper { first, path },
    };
    vec![
        put(
            "a file and its mode",
            &[],
            &[("in/x", Regular, 0o755, "x\n")],
            "stat -c '%a %s' in in/x; [ -O in/x ] && cat in/x",
        ),
        put(
            "set-id bits",
            &[],
            &[("setid", Regular, 0o6755, "")],
            "stat -c %a setid",
        ),
        put(
            "a link and a directory",
            &[],
            &[("d", Directory, 0o700, ""), ("d/l", Symlink, 0o777, "../hello")],
            "stat -c %a d; cat d/l",
        ),
        put(
            "in place of a directory",
            &[],
            &[("deep", Regular, 0o644, "flat\n")],
            "cat deep",
        ),
        put(
            "in place of a protected file",
            &[],
            &[("write-protected", Regular, 0o600, "new\n")],
            "stat -c %a write-protected; cat write-protected",
        ),
        put("a removal", &["gone"], &[], "ls gone 2>/dev/null | wc -l"),
        put(
            "a removal of what is not there",
            &["never", "hello/below"],
            &[],
            "cat hello",
        ),
        Probe {
            group: Group::Copies,
            name: "directories that nobody may enter",
            act: Act::Exec(sh("mkdir -p shut/in && : >shut/in/f && chmod 0 shut/in shut"), ended()),
        },
        put("a removal of those", &["shut"], &[], "ls -d shut 2>/dev/null | wc -l"),
        Probe {
            group: Group::Copies,
            name: "a link out of the workspace",
            act: Act::Exec(sh("ln -s /tmp out; ln -s /etc/passwd passwd"), ended()),
        },
        Probe {
            group: Group::Copies,
            name: "a directory that may not be written",
            act: Act::Exec(sh("mkdir -p ro/in && echo old >ro/f && chmod 555 ro ro/in"), ended()),
        },
        put(
            "into that directory",
            &["ro/f"],
            &[("ro/x", Regular, 0o644, "x\n"), ("ro/in/y", Regular, 0o644, "")],
            "ls ro ro/in; stat -c %a ro",
        ),
        put("through that link", &[], &[("out/x", Regular, 0o644, "")], "ls -A /tmp"),
        put(
            "a path that leads out",
            &[],
            &[("../x", Regular, 0o644, "")],
            "ls /x 2>/dev/null | wc -l",
        ),
        put(
            "a fifo",
            &[],
            &[("pipe", Fifo, 0o644, "")],
            "ls pipe 2>/dev/null | wc -l",
        ),
        read("reading a file", "echo back >back", "back"),
        read("reading what is not there", ":", "nowhere"),
        read("reading below a file", ":", "hello/x"),
        read("reading a directory", ":", "in"),
        read("reading a link", ":", "passwd"),
        read(
            "reading through a link",
            "mkdir -p t; ln -sfn t tl; echo x >t/x",
            "tl/x",
        ),
        read("reading a fifo", "mkfifo p 2>/dev/null; :", "p"),
        read("reading a protected file", "echo s >sealed; chmod 0 sealed", "sealed"),
        read("reading too much", "head -c 5000 /dev/zero >large", "large"),
        read("reading a hole", "truncate -s 4096 holed", "holed"),
        upper("a new file in the layer", "echo n >fresh; chmod 640 fresh", "fresh"),
        upper("a new directory in the layer", "mkdir -m 750 freshdir", "freshdir"),
        upper("a removed file in the layer", "rm -f script", "script"),
        upper(
            "a changed file in the layer",
            "echo more >>no-interpreter",
            "no-interpreter",
        ),
        upper("a link in the layer", "ln -sfn hello linked", "linked"),
        upper("an untouched file in the layer", ":", "hello"),
    ]
}
