//! Whole verifications and runs where no user namespace can be made: the real program,
//! the real OpenCode; the model is a cassette.

#[path = "support/program.rs"]
mod program;

use std::{
    fs,
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use program::{Bench, Forbidden, fingerprint, holding, json_file, opencode};

const PLAN: &str = "# PLAN\n\n## Goal\n- test\n\n## Acceptance\n- [ ] TEST_CMD passes: `sh check.sh`\n\n\
                    ## Next (exactly ONE item)\n- [ ] (STEP_ID=001) one\n\n## Backlog\n- [ ] (STEP_ID=002) two\n\n## Done\n\n## Notes\n-\n";

/// Where the host can be reached by who may: prints one word.
fn reach(port: u16) -> String {
    format!(
        "perl -MSocket -e 'socket(S, AF_INET, SOCK_STREAM, 0); \
         print connect(S, pack_sockaddr_in({port}, INADDR_LOOPBACK)) ? \"reached\" : \"refused\"'"
    )
}

#[test]
fn a_run_finishes_takes_back_what_may_not_stay_and_leaves_the_host_alone() {
    if !opencode() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let reach = reach(listener.local_addr().expect("an address").port());
    let control = Command::new("sh").args(["-c", &reach]).output().expect("sh");
    assert_eq!(control.stdout, b"reached", "control");
    for forbidden in Forbidden::all() {
        let mut bench = Bench::new();
        bench
            .file(
                "pipeline.yml",
                "version: 1\ntests:\n  cmds:\n    - test -f src/log && test \"$MADE\" = \"$PWD/made\" && cat \"$MADE\"\n    \
                 - test -f .opencode/kept && test -f opencode.json\n",
            )
            .file(
                ".aider_fsm/bootstrap.yml",
                "version: 1\ncmds:\n  - echo bootstrapped > made\nenv:\n  MADE: ${AIDER_FSM_REPO_ROOT}/made\n",
            )
            .file("src/app", "app\n")
            .file("src/old", "old\n")
            .file(".opencode/kept", "not for the agent\n")
            .file("opencode.json", "{}\n")
            .file("PLAN.md", PLAN);
        let before = fingerprint(&bench.path("repo"));
        bench.say("plan_update_attempt_1", 1, 1, &[]);
        // Everything that may not be touched, and a link in the place of a directory.
        bench.shell(
            "execute_step",
            1,
            "echo hacked > src/log; echo hacked > pipeline.yml; echo hacked > PLAN.md; mkdir -p .opencode/plugin; \
             echo hacked > .opencode/plugin/x.js; rm -r src && ln -s /usr src; echo hacked > made",
        );
        // What is left of that, and what can be reached.
        bench.shell(
            "execute_step",
            2,
            &format!(
                "{{ cat pipeline.yml | head -1; cat src/app; cat made; ls -A . .opencode; {reach}; id -u; }} > src/log 2>&1; rm src/old; \
                 chmod 755 src/app; mkdir -p new/er; ln -s ../../src/app new/er/link; (setsid sleep 300 > /dev/null 2>&1 &)"
            ),
        );
        bench.say("plan_update_attempt_1", 2, 1, &[]);
        bench.shell("execute_step", 3, "echo two >> src/log");
        bench.say("plan_update_attempt_1", 3, 1, &[]);
        let mut command = bench.run(&["--sandbox", "jail", "--min-tier", "landlock"]);
        let binary = opencode_fsm::agent::find_binary(None).expect("it is there");
        command.env("XDG_CACHE_HOME", bench.cache()).env("OPENCODE_BIN", binary);
        let (code, text) = forbidden.output(&command);
        assert_eq!(code, Some(0), "{forbidden:?}: {text}");

        assert_eq!(fingerprint(&bench.path("repo")), before, "the target is never written");
        let summary = bench.summary();
        assert_eq!(summary["exit_reason"], "DONE", "{summary}");
        assert_eq!(summary["walls"]["tier"], "landlock");
        assert_eq!(summary["guard_events"], 1, "{summary}");
        let log = bench.brought_out("src/log");
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines[..3], ["version: 1", "app", "bootstrapped"], "taken back: {log}");
        assert!(
            !lines.contains(&"kept") && !lines.contains(&"opencode.json"),
            "withheld: {log}"
        );
        assert!(
            log.contains("refused") && !log.contains("reached") && log.ends_with("two\n"),
            "{log}"
        );
        let guard = holding(&bench.the_run().join("guard"), "hacked");
        assert!(!guard.is_empty(), "the evidence is kept");
        // The patch is one that git takes, and it is all that was done.
        let patch = bench.the_run().join("changes.patch");
        let fresh = bench.path("fresh");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(bench.path("repo"))
            .arg(&fresh)
            .status();
        assert!(copied.expect("cp").success());
        let applied = Command::new("git")
            .arg("apply")
            .arg(&patch)
            .current_dir(&fresh)
            .output()
            .expect("git");
        assert!(applied.status.success(), "{applied:?}");
        assert_eq!(fs::read_to_string(fresh.join("src/log")).expect("read"), log);
        assert!(!fresh.join("src/old").exists() && !fresh.join("made").exists());
        assert_eq!(
            fs::read_link(fresh.join("new/er/link")).expect("a link"),
            std::path::Path::new("../../src/app")
        );
        assert_eq!(
            json_file(&bench.the_run().join("walls.json"))["tier"],
            "landlock",
            "the record says what stood"
        );
        // What a bootstrap makes where each sandbox has places of its own serves no other run.
        let layer = json_file(&bench.the_run().join("bootstrap/bootstrap_layer.json"));
        assert_eq!(layer["ready"], false, "{layer}");
        let scratch = bench.path("cache/opencode-fsm/scratch");
        let left = fs::read_dir(&scratch)
            .expect("ls")
            .filter(|entry| entry.as_ref().expect("entry").path().is_dir());
        assert_eq!(left.count(), 0);
    }
}

#[test]
fn nothing_of_a_killed_program_lives_on() {
    for forbidden in Forbidden::all() {
        let bench = Bench::new();
        let mark = format!("71{}", std::process::id());
        let cmd = format!("(setsid sleep {mark} &) ; setsid setsid sleep {mark} & sleep {mark}");
        bench.file("pipeline.yml", &format!("version: 1\ntests:\n  cmd: \"{cmd}\"\n"));
        let mut command = bench.command(&["verify", "--sandbox", "jail", "--min-tier", "landlock"], "repo");
        command.env("XDG_CACHE_HOME", bench.cache());
        let mut child = forbidden.spawn(&command);
        let count = || {
            let of = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
            let lines = fs::read_dir("/proc").expect("proc").flatten().filter_map(of);
            lines
                .filter(|line| line == format!("sleep\0{mark}\0").as_bytes())
                .count()
        };
        let until = |wanted: usize, seconds: u64| {
            let deadline = Instant::now() + Duration::from_secs(seconds);
            while count() != wanted && Instant::now() < deadline {
                std::thread::yield_now();
            }
            assert_eq!(count(), wanted);
        };
        until(3, 30);
        kill(
            Pid::from_raw(i32::try_from(child.id()).expect("a pid")),
            Signal::SIGKILL,
        )
        .expect("kill");
        child.wait().expect("wait");
        until(0, 5);
    }
}
