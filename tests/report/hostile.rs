//! A real run of a hostile repository by a hostile agent, once for all tests that look at it.

use std::{fs, path::PathBuf, sync::OnceLock};

use serde_json::json;

use crate::program::{Bench, opencode};

/// Markup that would show itself: run, it changes the document's title; fetched, it calls home.
pub fn markup(home: &str) -> String {
    format!(
        "</pre></code></title></style><script>document.title='OWNED'</script><img src='{home}/img' onerror=\"document.title='OWNED'\">\
         <link rel=stylesheet href='{home}/css'><iframe src='{home}/frame'></iframe><style>@import '{home}/import';</style>\
         <svg onload=\"document.title='OWNED'\"></svg><a href=\"javascript:document.title='OWNED'\">x</a>{{{{ 7*7 }}}}{{% raw %}}"
    )
}

/// Where the markup calls to. Nobody listens there: a browser that asks for it asks its proxy.
pub const HOME: &str = "http://127.0.0.1:47113";

static RUN: OnceLock<Option<(Bench, PathBuf)>> = OnceLock::new();

/// The run's directory.
pub fn run() -> Option<&'static PathBuf> {
    RUN.get_or_init(make).as_ref().map(|(_, run)| run)
}

fn make() -> Option<(Bench, PathBuf)> {
    if !opencode() {
        return None;
    }
    let markup = markup(HOME);
    let mut bench = Bench::new();
    // Ten megabytes in one line, colours, cursor movements, a title, a turned direction, no UTF-8.
    let noise = "printf '\\033[31mred\\033[0m \\033[2J\\033]0;owned\\007 \\342\\200\\256txt.exe \\377\\376 a\\rb\\n'; cat page; \
                 head -c 10000000 /dev/zero | tr '\\0' x; echo; cat page >&2";
    bench
        .file("page", &format!("{markup}\n"))
        .file("pipeline.yml", &format!("version: 1\ntests:\n  cmds:\n    - |\n      {noise}\n    - \"test -f made # <script>document.title='OWNED'</script>\"\n"))
        .file("PLAN.md", &format!(
            "## Goal\n- {markup}\n## Acceptance\n- [ ] TEST_CMD passes: `x`\n## Next (exactly ONE item)\n- [ ] (STEP_ID=001) <script>document.title='OWNED'</script> \u{202e}desrever\n## Backlog\n## Done\n## Notes\n-\n"
        ));
    bench.say("plan_update_attempt_1", 1, 1, &[]);
    let names = "touch \"<script>document.title='OWNED'<\\script>.sh\" 'a\"><img src=x onerror=alert(1)>' \"$(printf '\\342\\200\\256gpj.sh')\" \"$(printf 'bad\\377name')\" \"$(printf 'esc\\033[31m')\"";
    // The first try touches what it may not, under such names; the second one is honest about it.
    bench.shell(
        "execute_step",
        1,
        &format!("{names}; echo '{}' > pipeline.yml", markup.replace('\'', "\"")),
    );
    bench.act(
        "execute_step",
        2,
        "bash",
        json!({"command": format!("{names}; cat page"), "description": markup}),
    );
    bench.shell("fix_or_replan_attempt_1", 1, "touch made");
    for round in 2..=3 {
        bench.say("plan_update_attempt_1", round, 1, &[]);
    }
    bench.say(
        "execute_step",
        3,
        1,
        &[("bash", json!({"command": "cat page; exit 3", "description": "look"}))],
    );
    bench.say("execute_step", 3, 2, &[]);
    let output = bench.run(&[]).output().expect("starts");
    let run = bench.the_run();
    assert!(
        run.join("summary.json").exists(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let printed = fs::metadata(run.join("iter_0001/tests_cmd01_try01_stdout.txt")).expect("output");
    assert!(printed.len() > 1_000_000, "the long line was printed");
    Some((bench, run))
}
