//! What a terminal gets while a run goes on. `script` (script(1)) is the terminal.

use std::process::Command;

use crate::program::{Bench, PROGRAM};

/// Everything that a terminal of this kind got in one verification of a repository that
/// prints what terminals obey.
fn seen(term: &str, arguments: &str) -> String {
    let bench = Bench::new();
    let hostile = "printf 'line %s \\033]0;owned\\007\\033[2J \\342\\200\\256x\\n' $i";
    bench.file(
        "pipeline.yml",
        &format!(
            "version: 1\ntests:\n  cmd: \"for i in 1 2 3 4 5 6; do {}; sleep 0.4; done\"\n",
            hostile.replace('\\', "\\\\")
        ),
    );
    let line = format!("{PROGRAM} verify {arguments} --artifacts-dir runs repo");
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", term)
        .env("OPENCODE_FSM_JOBS", "0")
        .env("OPENCODE_FSM_SANDBOX", "jail")
        .current_dir(bench.path(""))
        .output()
        .expect("script");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_terminal_shows_the_last_lines_and_obeys_none_of_them() {
    let text = seen("xterm", "");
    assert!(text.contains("\x1b["), "a picture is drawn");
    // The tail of the command's output, while it ran.
    for shown in [
        "line 2 \u{241b}]0;owned\u{2407}\u{241b}[2J \u{2039}U+202E\u{203a}x",
        "line 5 ",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    for obeyed in ["\x1b]0;owned", "\x1b[2J", "\u{202e}", "\x07"] {
        assert!(!text.contains(obeyed), "{obeyed:?}: {text:?}");
    }
    assert!(text.contains("tests passed"), "{text}");
}

#[test]
fn where_nothing_can_be_drawn_only_lines_come() {
    for (term, arguments) in [("dumb", "-v"), ("xterm", "--json")] {
        let text = seen(term, arguments);
        assert!(
            !text.contains('\x1b') && !text.contains('\x07'),
            "{term} {arguments}: {text:?}"
        );
        let told = if arguments == "--json" {
            "\"stage\":\"tests\""
        } else {
            "tests passed"
        };
        assert!(text.contains(told), "{text}");
    }
}
