//! Runs that are cut off, and gone on with: `kill -9` of the host after every record of the
//! journal, of guests and launcher at any moment, in the middle of a turn. Of the Docker
//! engine: `engine_death`.
//!
//! By default some of the records are taken; `RESUME_EVERY=1` takes all of them, and
//! `RESUME_EVERY=N` with `RESUME_FROM` from 0 to N-1 takes them in parts. Of the moments two
//! are taken; `RESUME_KILLS=50` takes fifty, and `RESUME_FIRST=N` begins with the Nth.

#[path = "support/cut_off.rs"]
mod cut_off;
#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/left.rs"]
mod left;
#[path = "support/program.rs"]
mod program;

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cut_off::{
    Moment, Moments, PLAN, asked_once, at_home, begin, begin_with, cache, came_to, quiet, resume, same_end, steady,
    three_steps, verdict,
};
use endpoint::{Answer, Endpoint};
use left::{Scene, cgroups, nothing_left};
use program::{Bench, expect, inits_with, launcher_of, opencode, program};
use serde_json::{Value, json};

/// Records after which a run is cut off where not all of them are taken: every so many.
const EVERY: usize = 23;
/// Longest wait for anything.
const LONGEST: Duration = Duration::from_secs(300);

/// What is left is looked for on the whole machine: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The run's directory, once it is there.
fn run_of(bench: &Bench) -> Option<PathBuf> {
    let entry = fs::read_dir(bench.path("runs")).ok()?.next()?.ok()?;
    Some(entry.path())
}

/// The kinds of the records that are whole, and the records that those going back say.
fn records(run: &Path) -> Vec<(String, Option<u64>)> {
    let text = fs::read(run.join("journal.jsonl")).unwrap_or_default();
    let lines = text
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.ends_with(b"\n"));
    let parse = |line: &[u8]| {
        let value: Value = serde_json::from_slice(line).expect("a record");
        let from = value["fields"]["from"].as_u64();
        let event = value["event"].as_str().expect("a kind").to_owned();
        let back = event == "resumed" || event == "continued";
        (event, from.filter(|_| back))
    };
    lines.map(parse).collect()
}

/// Where a run stands: transitions that count, and records since the last of them that this
/// life of it wrote. Before it goes on a life has no place.
fn stand(records: &[(String, Option<u64>)]) -> Option<(usize, usize)> {
    let (mut settled, mut since, mut goes_on): (Vec<usize>, usize, bool) = (Vec::new(), 0, true);
    for (at, (event, from)) in records.iter().enumerate() {
        match (event.as_str(), from) {
            ("event" | "command", _) => {
                settled.push(at);
                since = 0;
            }
            (kind, Some(from)) => {
                let from = usize::try_from(*from).expect("small");
                settled.retain(|at| *at < from);
                // Before the machine has begun, all is done again.
                goes_on = kind == "continued" || settled.is_empty();
                since = 0;
            }
            _ => since += 1,
        }
    }
    goes_on.then_some((settled.len(), since))
}

/// Waits for a place of the journal, then ends the host with SIGKILL; says whether that
/// came in time.
fn cut_off(mut child: Child, bench: &Bench, reached: &dyn Fn(&Path) -> bool) -> bool {
    let give_up = Instant::now() + LONGEST;
    let mut looked_at = None;
    while child.try_wait().expect("wait").is_none() {
        assert!(Instant::now() < give_up, "the place is never reached");
        let run = run_of(bench);
        let lengths = run.as_ref().map(|run| {
            ["journal.jsonl", "cassette.jsonl"].map(|name| fs::metadata(run.join(name)).map_or(0, |meta| meta.len()))
        });
        if lengths == looked_at {
            // Nothing was written since: what runs is not kept from running.
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        looked_at = lengths;
        if run.is_some_and(|run| reached(&run)) {
            break;
        }
    }
    let _ = child.kill();
    child.wait().expect("wait").signal() == Some(9)
}

fn nothing_in_the_cache(bench: &Bench) {
    let scratch = cache(bench).join("opencode-fsm/scratch");
    let left: Vec<_> = fs::read_dir(&scratch)
        .expect("scratch")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["lock"], "in {}", scratch.display());
}

#[test]
fn a_run_that_is_cut_off_after_every_record_comes_to_the_same() {
    let _alone = alone();
    if !opencode() {
        return;
    }
    let whole = three_steps();
    expect(begin(&whole, &[]), 0);
    let (expected, tree) = came_to(&whole);
    assert_eq!(expected["summary"]["metrics"]["score"], 5, "{expected}");
    assert_eq!(expected["summary"]["guard_events"], 1);
    let calls = expected["summary"]["usage"]["calls"].to_string();

    // Every place of the whole run: so many transitions, and so many records after them.
    let all = records(&whole.the_run());
    let mut places: Vec<(usize, usize)> = (1..=all.len()).filter_map(|most| stand(&all[..most])).collect();
    places.dedup();
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let (every, from) = (
        number("RESUME_EVERY").unwrap_or(EVERY),
        number("RESUME_FROM").unwrap_or(0),
    );
    let taken: Vec<_> = places.iter().copied().skip(from).step_by(every).collect();
    println!(
        "cut off after {} of {} records, every {every}th from the {from}th on (RESUME_EVERY=1 for all of them)",
        taken.len(),
        places.len()
    );

    let scene = Scene {
        bench: three_steps(),
        cgroups_before: cgroups(),
    };
    let bench = &scene.bench;
    // No call is counted twice, or this would not do.
    let mut child = Some(quiet(begin(bench, &["--max-calls", &calls])));
    let (began, mut cut) = (Instant::now(), 0);
    for (number, place) in taken.iter().enumerate() {
        let reached = |run: &Path| stand(&records(run)).is_some_and(|at| at >= *place);
        let living = child.take().unwrap_or_else(|| quiet(resume(bench)));
        if !cut_off(living, bench, &reached) {
            break;
        }
        cut += 1;
        nothing_left(&scene, &format!("cut off at {place:?}"));
        if number % 4 == 2 {
            // In the middle of taking it up, too.
            let lives = |run: &Path| records(run).iter().filter(|(event, _)| event == "resumed").count();
            let before = lives(&bench.the_run());
            let soon = |run: &Path| {
                let now = records(run);
                let since = now.iter().rev().take_while(|(event, _)| event != "resumed").count();
                lives(run) > before && since >= number % 3
            };
            cut += usize::from(cut_off(quiet(resume(bench)), bench, &soon));
        }
    }
    if !bench.the_run().join("receipt.json").exists() {
        expect(resume(bench), 0);
    }
    println!("{cut} times cut off and taken up in {:?}", began.elapsed());
    assert!(cut >= taken.len() - 2, "{cut} of {}", taken.len());
    let (came, files) = came_to(bench);
    assert_eq!(came, expected);
    assert!(files == tree, "{:?}\n{:?}", files.keys(), tree.keys());
    asked_once(&bench.the_run());
    nothing_left(&scene, "at the end");
    nothing_in_the_cache(bench);
    assert_eq!(
        verdict(bench)["verdict"]["resumed"].as_u64().expect("a number") > 0,
        cut > 0
    );
}

#[test]
fn answers_that_were_had_are_not_asked_for_again_and_what_was_used_counts() {
    let _alone = alone();
    if !opencode() {
        return;
    }
    let endpoint = Endpoint::start(Box::new(|_, body| {
        let told = body.matches("\"role\":\"tool\"").count();
        let step = body.contains("Carry out one step");
        let tool = |command: &str| Some(("bash", json!({"command": command, "description": "as told"})));
        match (step, told) {
            (true, 0) => Answer::Say("first", tool("echo 1 >> made")),
            (true, 1) => Answer::Say("second", tool("echo 2 >> made")),
            _ => Answer::Say("done", None),
        }
    }));
    let bench = Bench::new();
    bench
        .file("pipeline.yml", "version: 1\ntests:\n  cmd: test -f made\n")
        .file(
            "PLAN.md",
            &PLAN.replace("- [ ] (STEP_ID=002) two\n- [ ] (STEP_ID=003) three\n", ""),
        );
    let with_endpoint = |budget: &str| {
        let mut command = bench.command(
            &[
                "run",
                "--json",
                "--opencode-bash",
                "full",
                "--model",
                "test/model",
                "--base-url",
                &endpoint.base_url,
                "--max-calls",
                budget,
            ],
            "repo",
        );
        at_home(&mut command, &bench);
        command.env("OPENAI_API_KEY", "sk-once-and-again");
        command
    };
    let recorded = |run: &Path| fs::read_to_string(run.join("cassette.jsonl")).map_or(0, |text| text.lines().count());
    // Two answers of the step are there, and the turn goes on.
    let reached = |run: &Path| {
        let text = fs::read_to_string(run.join("cassette.jsonl")).unwrap_or_default();
        text.lines()
            .any(|line| line.contains("\"execute_step\"") && line.contains("second"))
    };
    assert!(cut_off(quiet(with_endpoint("100")), &bench, &reached));
    let had = recorded(&bench.the_run()) - 1;
    let asked = endpoint.requests.lock().expect("lock").len();
    assert!(
        asked - had <= 1,
        "{asked} asked, {had} had: only what was under way is not there"
    );

    // What is never kept has to be given again, and is named.
    let mut without = resume(&bench);
    without.env_remove("OPENAI_API_KEY");
    let refused = expect(without, 2);
    let refused = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(refused.contains("OPENAI_API_KEY"), "{refused}");
    assert_eq!(
        program::holding(&bench.the_run(), "sk-once-and-again"),
        Vec::<PathBuf>::new()
    );

    let mut again = resume(&bench);
    again.env("OPENAI_API_KEY", "sk-once-and-again");
    expect(again, 0);
    let replayed = asked_once(&bench.the_run());
    assert!(replayed >= 2, "{replayed}");
    let requests = endpoint.requests.lock().expect("lock").len();
    let answers = recorded(&bench.the_run()) - 1;
    assert_eq!(requests - answers, asked - had, "each answer was asked for once");
    assert_eq!(bench.summary()["usage"]["calls"], json!(answers));
    assert_eq!(bench.brought_out("made"), "1\n2\n");

    // The same with fewer calls than it takes: what was used before is not given again.
    fs::remove_dir_all(bench.path("runs")).expect("rm");
    let budget = (answers - 1).to_string();
    assert!(cut_off(quiet(with_endpoint(&budget)), &bench, &reached));
    let mut again = resume(&bench);
    again.env("OPENAI_API_KEY", "sk-once-and-again");
    expect(again, 6);
    assert_eq!(bench.summary()["usage"]["calls"], json!(answers - 1));
}

#[test]
fn a_targets_own_policy_holds_on_and_secrets_of_a_file_are_given_again() {
    let _alone = alone();
    if !opencode() {
        return;
    }
    let mut bench = Bench::new();
    let contract = "version: 1\ntests:\n  cmd: test ${#TOKEN}/${#OTHER} = 14/12\nevaluation:\n  run_cmd: wc made\n";
    let policy = "version: 1\ncommands:\n  rules:\n    - {id: no-wc, verdict: deny, when: {argv: [wc]}, because: nobody counts}\n";
    bench
        .file("pipeline.yml", contract)
        .file("PLAN.md", PLAN)
        .file(".aider_fsm/policy.yml", policy);
    bench.say("plan_update_attempt_1", 1, 1, &[]);
    bench.shell("execute_step", 1, "echo one > made");
    let named = bench.path("some.env");
    let shown = named.display().to_string();
    fs::write(&named, "TOKEN=secret-of-mine\nOTHER=another-one!\n").expect("write");
    let flags = ["--max-iters", "1", "--max-fix", "0", "--env-file", &shown];
    let in_the_step = |run: &Path| stand(&records(run)).is_some_and(|(settled, _)| settled >= 6);
    assert!(cut_off(quiet(begin(&bench, &flags)), &bench, &in_the_step));
    let run = bench.the_run();
    assert!(
        records(&run).iter().any(|(event, _)| event == "narrowed"),
        "the control"
    );

    // What the target says now is not what it said then.
    fs::write(bench.path("repo/.aider_fsm/policy.yml"), "version: 1\n").expect("write");
    let refused = |env_file: Option<&str>| {
        let mut command = resume(&bench);
        if let Some(text) = env_file {
            fs::write(&named, text).expect("write");
            command.args(["--env-file", &shown]);
        }
        String::from_utf8_lossy(&expect(command, 2).stdout).into_owned()
    };
    let before = fs::read(run.join("journal.jsonl")).expect("read");
    let all = refused(None);
    assert!(all.contains("TOKEN, OTHER") && all.contains("--env-file"), "{all}");
    let one = refused(Some("TOKEN=secret-of-mine\n"));
    assert!(
        one.contains("never kept: OTHER;") && !one.contains("secret-of-mine"),
        "{one}"
    );
    assert_eq!(fs::read(run.join("journal.jsonl")).expect("read"), before);

    fs::write(&named, "TOKEN=secret-of-mine\nOTHER=another-one!\n").expect("write");
    let mut again = resume(&bench);
    again.args(["--env-file", &shown]);
    expect(again, 1);
    let journal = fs::read_to_string(run.join("journal.jsonl")).expect("read");
    let ran: Vec<Value> = journal
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("json"))
        .filter(|record| record["event"] == "exec")
        .map(|record| record["fields"].clone())
        .collect();
    assert_eq!(
        (&ran[0]["verdict"], &ran[0]["rc"]),
        (&json!("allowed"), &json!(0)),
        "{ran:?}"
    );
    let rule = ran[1]["rule"].as_str().expect("a rule");
    assert!(ran[1]["verdict"] != "allowed" && rule.contains("no-wc"), "{ran:?}");
    for secret in ["secret-of-mine", "another-one!"] {
        assert_eq!(program::holding(&run, secret), Vec::<PathBuf>::new());
    }
    verdict(&bench);
}

#[test]
fn a_run_is_left_alone_where_it_lives_is_finished_or_does_not_hold() {
    let _alone = alone();
    if !opencode() {
        return;
    }
    let bench = three_steps();
    let mut child = quiet(begin(&bench, &[]));
    let begun = |run: &Path| stand(&records(run)).is_some_and(|(settled, _)| settled >= 4);
    let give_up = Instant::now() + LONGEST;
    while !run_of(&bench).is_some_and(|run| begun(&run)) {
        assert!(Instant::now() < give_up && child.try_wait().expect("wait").is_none());
        std::thread::yield_now();
    }
    let said = |command: Command, code: i32| String::from_utf8_lossy(&expect(command, code).stdout).into_owned();
    assert!(said(resume(&bench), 12).contains("lives; it is not touched"));
    child.kill().expect("kill");
    child.wait().expect("wait");
    let run = bench.the_run();

    // It is shown as what it is.
    let mut list = program();
    list.args(["runs", "list", "--json", "--artifacts-dir"])
        .arg(bench.path("runs"));
    let listed: Value = serde_json::from_slice(&expect(list, 0).stdout).expect("json");
    assert_eq!(
        (&listed["runs"][0]["state"], &listed["runs"][0]["resumable"]),
        (&json!("cut-off"), &json!(true))
    );

    // Evidence that does not hold is not gone on with, and nothing is written.
    let journal = run.join("journal.jsonl");
    let text = fs::read(&journal).expect("read");
    for (name, changed) in [
        ("options.json", b"{}".to_vec()),
        ("policy.json", br#"{"version":1,"extends":"nothing"}"#.to_vec()),
        ("journal.jsonl", [&text[..40], b"X", &text[41..]].concat()),
    ] {
        let path = run.join(name);
        let before = fs::read(&path).expect("read");
        fs::write(&path, changed).expect("write");
        assert!(said(resume(&bench), 9).contains(name), "{name}");
        fs::write(&path, before).expect("write");
    }
    assert_eq!(fs::read(&journal).expect("read"), text);

    // A record that was being written is taken away, and the chain goes on.
    fs::write(&journal, [&text[..], b"{\"v\":1,\"seq\":"].concat()).expect("write");
    expect(resume(&bench), 0);
    let resumed = fs::read_to_string(&journal).expect("read");
    let line = resumed
        .lines()
        .find(|line| line.contains("\"event\":\"resumed\""))
        .expect("a record");
    let line: Value = serde_json::from_str(line).expect("json");
    assert_eq!(line["fields"]["torn"], 13, "{line}");
    let aside = run.join(line["fields"]["aside"].as_str().expect("a place"));
    assert!(aside.is_dir(), "{}", aside.display());
    verdict(&bench);
    a_stranger_finds_that_it_holds(&bench, &run);

    let refused = said(resume(&bench), 2);
    assert!(refused.contains("the run is finished (DONE, exit 0)"), "{refused}");
    // Behind its closing record nothing but the receipt can be missing.
    let receipt = fs::read(run.join("receipt.json")).expect("read");
    fs::remove_file(run.join("receipt.json")).expect("rm");
    expect(resume(&bench), 0);
    assert_eq!(fs::read(run.join("receipt.json")).expect("read"), receipt);
    let verify = bench.command(&["verify", "--json"], "repo");
    fs::remove_dir_all(bench.path("runs")).expect("rm");
    expect(verify, 0);
    assert!(said(resume(&bench), 2).contains("`verify`"));
}

/// The verifier of the page knows runs that were taken up.
fn a_stranger_finds_that_it_holds(bench: &Bench, run: &Path) {
    let page = include_str!("../docs/audit.md");
    let script = page
        .split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    fs::write(bench.path("verify.py"), script.expect("a script")).expect("write");
    let mut python = Command::new("python3");
    python.arg(bench.path("verify.py")).arg(run);
    match python.output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("SKIPPED: there is no python3");
        }
    }
}

/// What of the sandboxes is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// PID 1 of any sandbox that lives then.
    Guest,
    /// The process that makes the sandboxes, and with it all of them.
    Launcher,
}

/// Kills one, at its moment or as soon after as there is one; the exit code of the run.
fn bereaved(mut child: Child, victim: Victim, moment: &Moment, whole: Duration) -> Option<i32> {
    // The moment is the point of it, not a wait for something.
    let due = Instant::now() + moment.of(whole);
    let mut killed = None;
    while child.try_wait().expect("wait").is_none() {
        if killed.is_none() && Instant::now() >= due {
            let found = match victim {
                Victim::Guest => {
                    let guests = inits_with(child.id(), &|_| true);
                    (!guests.is_empty()).then(|| guests[moment.choose(guests.len())])
                }
                Victim::Launcher => launcher_of(child.id()),
            };
            killed = found.filter(|pid| nix::sys::signal::kill(*pid, nix::sys::signal::Signal::SIGKILL).is_ok());
        }
        // What runs is not kept from running.
        std::thread::sleep(Duration::from_millis(if killed.is_some() { 20 } else { 2 }));
    }
    let code = child.wait().expect("wait").code();
    println!(
        "{}: {victim:?} {killed:?} killed after {:?}, exit {code:?}",
        moment.number,
        moment.of(whole)
    );
    code
}

#[test]
fn a_sandbox_that_is_killed_at_any_moment_costs_a_turn_at_most() {
    let _alone = alone();
    if !opencode() {
        return;
    }
    let model = steady();
    let whole = three_steps();
    let began = Instant::now();
    expect(begin_with(&model, &whole, &[]), 0);
    let (took, (expected, tree)) = (began.elapsed(), came_to(&whole));
    for moment in Moments::sample("guests and launchers", 2).all() {
        let scene = Scene {
            bench: three_steps(),
            cgroups_before: cgroups(),
        };
        let bench = &scene.bench;
        let victim = [Victim::Guest, Victim::Launcher][usize::from(moment.number % 2 == 1)];
        let what = format!("kill {} of {victim:?}", moment.number);
        let code = bereaved(quiet(begin_with(&model, bench, &[])), victim, &moment, took);
        if code == Some(7) {
            nothing_left(&scene, &what);
            expect(resume(bench), 0);
        } else {
            assert_eq!(code, Some(0), "{what}");
        }
        let (came, files) = came_to(bench);
        same_end(&came, &expected, &what);
        assert!(files == tree, "{what}: {:?}\n{:?}", files.keys(), tree.keys());
        asked_once(&bench.the_run());
        nothing_left(&scene, &what);
        nothing_in_the_cache(bench);
    }
}
