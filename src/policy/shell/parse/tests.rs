//! Held against bash itself, which is the definition of what it reads.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;
use crate::policy::shell::tree::{Kind, Part};

/// Words of simple commands, the nested ones included, in the order in which they stand.
fn commands(script: &Script) -> Vec<String> {
    let mut all = Vec::new();
    for pipeline in script.items.iter().flat_map(|item| &item.pipelines) {
        for command in &pipeline.commands {
            command_of(command, &mut all);
        }
    }
    all
}

fn command_of(command: &crate::policy::shell::tree::Command, all: &mut Vec<String>) {
    let mut inner = |scripts: &[&Script]| scripts.iter().for_each(|script| all.extend(commands(script)));
    match &command.kind {
        Kind::Subshell(body) | Kind::Group(body) | Kind::For(_, _, body) | Kind::ForArith(_, body) => inner(&[body]),
        Kind::While(condition, body) => inner(&[condition, body]),
        Kind::If(branches, otherwise) => {
            branches.iter().for_each(|(condition, body)| inner(&[condition, body]));
            inner(&[otherwise]);
        }
        Kind::Case(_, arms) => arms.iter().for_each(|(_, body)| inner(&[body])),
        Kind::Function(_, body) => command_of(body, all),
        Kind::Coproc(body) => command_of(body, all),
        Kind::Test(_) | Kind::Arith(_) => {}
        Kind::Simple { words, .. } => {
            let shown = |word: &Word| -> String {
                let part = |part: &Part| match part {
                    Part::Text { text, .. } => text.clone(),
                    Part::Parameter(parameter) => format!("${}", parameter.name),
                    Part::Command { script, .. } => format!("$({})", commands(&script.script).join(";")),
                    Part::Process { script, .. } => format!("<({})", commands(&script.script).join(";")),
                    Part::Arith(_) => "$(())".to_owned(),
                };
                word.parts.iter().map(part).collect()
            };
            all.push(words.iter().map(shown).collect::<Vec<_>>().join(" "));
        }
    }
}

fn seen(text: &str) -> Vec<String> {
    commands(&parse(text).unwrap_or_else(|why| panic!("{text:?}: {why}")))
}

/// An empty directory without programs: where what stands after a body that ends early is run.
fn nowhere() -> &'static std::path::Path {
    static DIR: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    DIR.get_or_init(|| tempfile::tempdir().expect("tempdir")).path()
}

/// What bash prints when it is asked for a function whose body is `text`: its own tree,
/// written out. `None` where bash does not read it.
fn printed_by_bash(text: &str) -> Option<String> {
    let mut bash = Command::new("/bin/bash")
        .args(["--norc", "--noprofile"])
        .env_clear()
        .env("PATH", nowhere())
        .current_dir(nowhere())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("bash");
    let script = format!("f() {{\n{text}\n}}\ndeclare -f f\n");
    // It may be gone by now: `exec`.
    let _ = bash.stdin.take().expect("stdin").write_all(script.as_bytes());
    let output = bash.wait_with_output().expect("bash ends");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (!printed.is_empty()).then_some(printed)
}

#[test]
fn simple_commands_are_found_wherever_they_stand() {
    for (text, expected) in [
        ("a b; c && d || e | f & g", "a b|c|d|e|f|g"),
        ("a 'b c' \"d e\" f\\ g $'h\\x69\\n'", "a b c d e f g hi\n"),
        ("if a; then b; elif c; then d; else e; fi", "a|b|c|d|e"),
        ("while a; do b; done; until c; do d; done", "a|b|c|d"),
        ("for x in a b; do c $x; done", "c $x"),
        ("for x; do c; done", "c"),
        ("for ((i=0; i<3; i++)); do c; done", "c"),
        ("select x in a b; do c; done", "c"),
        ("case $x in a|b) c ;; (d) e ;; *) f; esac", "c|e|f"),
        ("case x in esac", ""),
        ("( a; b ) > out", "a|b"),
        ("{ a; b; } 2>&1", "a|b"),
        ("f() { a; }; f", "a|f"),
        ("function f { a; }", "a"),
        ("f () ( a )", "a"),
        ("! a | b", "a|b"),
        ("time -p a", "a"),
        ("a $(b \"$(c)\")", "a $(b $(c))"),
        ("a \"$(b 'c\"d')\"", "a $(b c\"d)"),
        ("a `b \\`c\\``", "a $(b $(c))"),
        ("a <(b) >(c)", "a <(b) <(c)"),
        ("a $((1 + 2)) $((x)) $(( (3) ))", "a $(()) $(()) $(())"),
        ("a $((b) | c)", "a $(b;c)"),
        ("((x = 1)) && a", "a"),
        ("((a); b)", "a|b"),
        ("[[ -f a && $b == c* || ( x =~ ^(a|b)$ ) ]] && d", "d"),
        ("a ${b:-$(c)} ${d%%/*} ${#e} ${!f} \"${g[@]}\"", "a $b $d $e $f $g"),
        ("a <<END\nb $(c)\nEND\nd", "a|d"),
        ("a <<-'END' | b\n\tc\n\tEND\nd", "a|b|d"),
        ("a <<X <<Y\n1\nX\n2\nY\nb", "a|b"),
        ("x=$(a <<END\nb)\nEND\n)\nc", "|c"),
        ("a # b; c\nd", "a|d"),
        ("a\\\nb c\\\n d", "ab c d"),
        ("x=1 y=(2 3) a z=4", "a z=4"),
        ("declare -a x=(1 2); a", "declare -a x=1 2|a"),
        ("2>&1 >out a <in &>both b", "a b"),
        ("rm !(keep|this) @(a|b)", "rm !(keep|this) @(a|b)"),
        ("echo ${{ github.ref }} x", "echo $ x"),
        ("coproc a b; coproc N { c; }", "a b|c"),
        ("a |& b; c &\nd", "a|b|c|d"),
        ("a;\n\n# c\n;", ""),
        ("echo } fi done", "echo } fi done"),
        ("a\r\nb\r\n", "a|b"),
        ("", ""),
        (" \n # nothing", ""),
    ] {
        if text == "a;\n\n# c\n;" {
            assert!(parse(text).is_err(), "{text:?}");
            continue;
        }
        assert_eq!(seen(text).join("|"), expected, "{text:?}");
    }
}

#[test]
fn what_is_no_script_is_refused() {
    for text in [
        "(",
        ")",
        "a)",
        "if a; then b",
        "fi",
        "do",
        "a &&",
        "| a",
        "a ||| b",
        "'a",
        "\"a",
        "`a",
        "$(a",
        "${a",
        "a <",
        "for",
        "case x in a",
        "f() a",
        "a (b)",
        "{ a",
        "[[ a",
        "f(",
        "a ;; b",
        "\"$(\"",
    ] {
        assert!(matches!(parse(text), Err(ParseError::Syntax { .. })), "{text:?}");
        assert_eq!(printed_by_bash(text), None, "bash reads {text:?}");
    }
}

#[test]
fn no_text_costs_much() {
    let began = Instant::now();
    for piece in [
        "(",
        "((",
        "{ ",
        "$(",
        "$((",
        "`",
        "\"$(",
        "${x:-",
        "if ",
        "case a in b) ",
        "<<a\n",
        "'",
        "! ",
        "a|",
        "a;",
        "<(",
        "@(",
        "coproc $(",
        "f() ",
        "while ",
        "\\\n",
        "x=(",
        "[[ ",
        "$[",
        "a &&\n",
    ] {
        let _ = parse(&piece.repeat(SCRIPT_MAX / 8 / piece.len()));
        let nested = piece.repeat(30);
        let _ = parse(&nested);
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(parse(&"(".repeat(100)), Err(ParseError::Depth));
    assert_eq!(parse(&"a".repeat(SCRIPT_MAX + 1)), Err(ParseError::Length));
}

/// Pieces that scripts are made of, to be put together at random.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "b",
        "rm",
        "x=1",
        "'q r'",
        "\"d $v\"",
        "\\z",
        "$v",
        "${v:-w}",
        "$(s t)",
        "`u`",
        "$((1+2))",
        "{c,d}",
        ";",
        ";\n",
        "&",
        "&&",
        "||",
        "|",
        "|&",
        "\n",
        "(",
        ")",
        "{",
        "}",
        ";}",
        "if",
        "then",
        "else",
        "fi",
        "while",
        "do",
        "done",
        "for",
        "in",
        "case",
        "esac",
        ";;",
        "f()",
        "function",
        "!",
        "time",
        "[[",
        "]]",
        "((",
        "))",
        ">",
        ">>",
        "<",
        "2>&1",
        "&>",
        "<<<",
        "<<E\nh\nE\n",
        "<(p)",
        "#k\n",
        "=",
        "-n",
        "*",
        "coproc",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Whatever bash reads is read here, to the same commands as what bash prints of it.
    #[test]
    fn bash_reads_the_same(pieces in prop::collection::vec(piece(), 1..16)) {
        // Bash writes redirections last, and `2>&1 !` then is another script.
        let reserved = ["!", "time", "{", "if", "while", "for", "case", "[[", "((", "function", "coproc", "(", "}"];
        let moved = |pair: &[&str]| pair[0].contains(['<', '>']) && reserved.contains(&pair[1]);
        prop_assume!(!pieces.windows(2).any(moved));
        // A body that ends early is not the whole of the text.
        let text = format!("{}\nthe_end", pieces.join(" "));
        if let Some(printed) = printed_by_bash(&text).filter(|printed| printed.contains("the_end")) {
            let whole = format!("f() {{\n{text}\n}}");
            let ours = parse(&whole);
            prop_assert!(ours.is_ok(), "{text:?}: {ours:?}; bash: {printed}");
            // Bash writes `> a {` as `{ > a`, which is another script: only what it reads as it wrote it counts.
            let body = printed.trim_start_matches("f () \n{ ").trim_end().trim_end_matches('}').to_owned();
            prop_assume!(printed_by_bash(&body).as_ref() == Some(&printed));
            let theirs = parse(&printed);
            prop_assert!(theirs.is_ok(), "{printed:?}: {theirs:?}");
            prop_assert_eq!(commands(&ours.expect("read")), commands(&theirs.expect("read")), "{:?}", text);
        }
    }

    #[test]
    fn nothing_panics(text in "[ -~\n\t\u{e9}\u{1f600}]{0,80}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }
}
