//! Evidence: a real run's chain and bundle, untouched and touched in every way.

#[path = "support/program.rs"]
mod program;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::fcntl::{Flock, FlockArg};
use opencode_fsm::record::audit::{AuditError, Break, Place, State, Verified, verify};
use program::{Bench, expect, json_file, opencode, program};
use serde_json::{Value, json};

/// A plan with one step.
const PLAN: &str = "# PLAN\n\n## Goal\n- test\n\n## Next (exactly ONE item)\n- [ ] (STEP_ID=001) make it\n\n## Backlog\n## Done\n## Notes\n-\n";

/// A verification that passes, with files that have unusual names among its outputs.
fn verified(bench: &Bench, more: &[&str]) -> PathBuf {
    bench.file(
        "pipeline.yml",
        "version: 1\ntests:\n  cmd: \"mkdir -p .aider_fsm/artifacts && printf x > \\\".aider_fsm/artifacts/$(printf 'a\\\\033[31m%%b\\\\377')\\\"\"\n",
    );
    let arguments = [&["verify", "--json"], more].concat();
    expect(bench.command(&arguments, "repo"), 0);
    bench.the_run()
}

/// A run of the agent: a step that is taken back once, and made then; signed with `key`.
fn worked(bench: &mut Bench, more: &[&str]) -> PathBuf {
    bench
        .file("pipeline.yml", "version: 1\ntests:\n  cmd: test -f made\n")
        .file("old", "old\n")
        .file("PLAN.md", PLAN);
    bench.say("plan_update_attempt_1", 1, 1, &[]);
    bench.shell("execute_step", 1, "echo hacked > pipeline.yml; echo lost > made");
    let odd = "touch made \"$(printf 'a\\033[31mb')\"; ln -s made link; mkdir dir; echo new > old; echo x > dir/x";
    bench.shell("execute_step", 2, odd);
    bench.say("plan_update_attempt_1", 2, 1, &[]);
    expect(bench.run(more), 0);
    bench.the_run()
}

fn key(bench: &Bench, name: &str) -> Option<(PathBuf, PathBuf)> {
    let (private, public) = (bench.path(&format!("{name}.pem")), bench.path(&format!("{name}.pub")));
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out"])
        .arg(&private)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "openssl is missing");
        eprintln!("SKIPPED: there is no openssl that knows ed25519");
        return None;
    }
    let mut command = Command::new("openssl");
    command
        .args(["pkey", "-pubout", "-in"])
        .arg(&private)
        .arg("-out")
        .arg(&public);
    assert!(command.status().expect("openssl").success());
    Some((private, public))
}

fn check(path: &Path) -> Result<Verified, Break> {
    match Place::open(path).and_then(|place| verify(&place, None)) {
        Ok(verified) => Ok(verified),
        Err(AuditError::Broken(found)) => Err(*found),
        Err(other) => panic!("{other}"),
    }
}

fn broken(path: &Path, what: &str) -> Break {
    match check(path) {
        Err(found) => found,
        Ok(verified) => panic!("{what}: nobody saw it: {verified:?}"),
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let mut command = Command::new("cp");
    assert!(command.arg("-a").arg(from).arg(to).status().expect("cp").success());
}

fn audit(bench: &Bench, arguments: &[&str]) -> Command {
    let mut command = program();
    command.args(arguments).arg("--artifacts-dir").arg(bench.path("runs"));
    command
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Numbers that look random, the same every time.
fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below.max(1)
    }
}

/// Every file of a directory of records, changed in every way, is named.
fn every_file_counts(run: &Path, work: &Path) {
    let files: Vec<PathBuf> = program::fingerprint(run)
        .into_keys()
        .filter(|path| !path.is_dir() || path.is_symlink())
        .map(|path| path.strip_prefix(run).expect("below").to_path_buf())
        .filter(|path| path != Path::new("lock") && path != Path::new("journal.jsonl"))
        .collect();
    assert!(files.len() > 10, "{files:?}");
    copy(run, work);
    let mut random = numbers(7);
    for file in &files {
        let (at, name) = (
            work.join(file),
            String::from_utf8_lossy(file.as_os_str().as_encoded_bytes()).into_owned(),
        );
        let named = |found: Break| {
            // Names are escaped where they are shown; all that is plain in them stays.
            let plain: String = name.chars().take_while(|c| c.is_ascii_graphic()).collect();
            assert!(found.file.starts_with(&plain), "{name}: {found}");
        };
        if at.is_symlink() {
            let target = fs::read_link(&at).expect("link");
            fs::remove_file(&at).expect("rm");
            named(broken(work, "a link that is gone"));
            std::os::unix::fs::symlink("elsewhere", &at).expect("symlink");
            named(broken(work, "a link that leads elsewhere"));
            fs::remove_file(&at).expect("rm");
            std::os::unix::fs::symlink(target, &at).expect("symlink");
            continue;
        }
        let bytes = fs::read(&at).expect("read");
        let mode = fs::metadata(&at).expect("stat").permissions();
        let mut changed: Vec<Vec<u8>> = vec![[&bytes[..], b"x"].concat()];
        if !bytes.is_empty() {
            changed.push(bytes[..bytes.len() - 1].to_vec());
            for place in [0, bytes.len() - 1, random(bytes.len()), random(bytes.len())] {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << random(8);
                changed.push(flipped);
            }
        }
        for bytes in changed {
            // A new file: objects and others may share theirs.
            fs::remove_file(&at).expect("rm");
            fs::write(&at, bytes).expect("write");
            named(broken(work, &format!("{name} changed")));
        }
        fs::remove_file(&at).expect("rm");
        let found = broken(work, &format!("{name} dropped"));
        // Whoever drops the receipt leaves an end that nobody confirms.
        named(found);
        fs::write(&at, &bytes).expect("write");
        fs::set_permissions(&at, mode).expect("chmod");
    }
    check(work).expect("all is as it was");
    for name in ["more", "turns/more.json", "objects/ff/more"] {
        let at = work.join(name);
        fs::create_dir_all(at.parent().expect("parent")).expect("mkdir");
        fs::write(&at, "x").expect("write");
        assert_eq!(broken(work, "something inserted").file, name);
        fs::remove_file(&at).expect("rm");
    }
    nix::unistd::mkfifo(&work.join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    assert_eq!(broken(work, "a pipe").file, "pipe");
    fs::remove_file(work.join("pipe")).expect("rm");
    check(work).expect("all is as it was");
}

/// Every record, changed in every way, is named by its number.
fn every_record_counts(run: &Path, work: &Path) {
    copy(run, work);
    let journal = work.join("journal.jsonl");
    let text = fs::read(&journal).expect("read");
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let last = lines.len() - 1;
    let mut random = numbers(11);
    let at = |lines: &[Vec<u8>], what: &str| {
        fs::write(&journal, lines.concat()).expect("write");
        let found = broken(work, what);
        (
            found.file.clone(),
            found.record.map(|record| usize::try_from(record).expect("small")),
            found.to_string(),
        )
    };
    for number in 0..lines.len() {
        let own: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
        let places = [
            0,
            5,
            lines[number].len() - 1,
            random(lines[number].len()),
            random(lines[number].len()),
        ];
        for place in places {
            let mut flipped = own.clone();
            flipped[number][place] ^= 1 << random(7);
            let (file, record, text) = at(&flipped, &format!("byte {place} of record {number}"));
            let confirmed = number < last || file == "journal.jsonl";
            assert!(
                !confirmed || record == Some(number) || (number == last && record == Some(last + 1)),
                "record {number}, byte {place}: {text}"
            );
        }
        let mut dropped = own.clone();
        dropped.remove(number);
        let (_, record, text) = at(&dropped, &format!("record {number} dropped"));
        assert_eq!(record, Some(number), "{text}");
        let mut twice = own.clone();
        twice.insert(number, own[number].clone());
        let (_, record, text) = at(&twice, &format!("record {number} twice"));
        assert_eq!(record, Some(number + 1), "{text}");
        if number < last {
            let mut swapped = own.clone();
            swapped.swap(number, number + 1);
            let (_, record, text) = at(&swapped, &format!("record {number} after the next"));
            assert_eq!(record, Some(number), "{text}");
        }
        // Cut off in it, and before it: the run was finished.
        let mut cut = own[..=number].to_vec();
        let half = cut[number].len() / 2;
        cut[number].truncate(half);
        let (_, record, text) = at(&cut, &format!("cut in record {number}"));
        assert_eq!(record, Some(number), "{text}");
        let (_, record, text) = at(&own[..number], &format!("cut before record {number}"));
        assert_eq!(record, Some(number), "{text}");
    }
    fs::write(&journal, &text).expect("write");
    check(work).expect("all is as it was");
}

/// Every bit of a bundle counts.
fn every_byte_of_a_bundle_counts(bundle: &Path, work: &Path) {
    let bytes = fs::read(bundle).expect("read");
    let mut random = numbers(13);
    // Each header, and some of all bytes.
    let mut places: Vec<usize> = (0..600).map(|_| random(bytes.len())).collect();
    places.extend((0..bytes.len()).step_by(512).map(|block| block + random(512)));
    for place in places {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << random(8);
        fs::write(work, &flipped).expect("write");
        broken(work, &format!("byte {place}"));
    }
    for _ in 0..60 {
        let cut = random(bytes.len());
        fs::write(work, &bytes[..cut]).expect("write");
        broken(work, &format!("cut at {cut}"));
    }
    // Whole members dropped, doubled and swapped.
    let mut members = Vec::new();
    let mut archive = tar::Archive::new(bytes.as_slice());
    for entry in archive.entries().expect("entries") {
        let entry = entry.expect("entry");
        let end = entry.raw_file_position() + entry.size().next_multiple_of(512);
        members.push(usize::try_from(end).expect("small"));
    }
    let starts: Vec<usize> = [0].into_iter().chain(members.iter().copied()).collect();
    let member = |at: usize| &bytes[starts[at]..starts[at + 1]];
    let rest = &bytes[starts[members.len()]..];
    for at in 0..members.len() {
        let others = |order: &[usize]| {
            let mut out: Vec<u8> = order.iter().flat_map(|at| member(*at)).copied().collect();
            out.extend(rest);
            fs::write(work, out).expect("write");
            broken(work, &format!("members {order:?}"));
        };
        let all: Vec<usize> = (0..members.len()).collect();
        let mut dropped = all.clone();
        dropped.remove(at);
        others(&dropped);
        let mut twice = all.clone();
        twice.insert(at, at);
        others(&twice);
        if at + 1 < members.len() {
            let mut swapped = all.clone();
            swapped.swap(at, at + 1);
            others(&swapped);
        }
    }
    fs::write(work, &bytes).expect("write");
    check(work).expect("it is as it was");
}

fn all_of_it(bench: &Bench, run: &Path) {
    assert_eq!(check(run).expect("it holds").state, State::Whole);
    every_file_counts(run, &bench.path("touched"));
    every_record_counts(run, &bench.path("touched"));
    let (one, other) = (bench.path("one.tar"), bench.path("other.tar"));
    for file in [&one, &other] {
        expect(audit(bench, &["bundle", &shown(run), "-o", &shown(file)]), 0);
    }
    assert_eq!(fs::read(&one).expect("read"), fs::read(&other).expect("read"));
    let holds = expect(audit(bench, &["audit", "verify", &shown(&one), "--json"]), 0);
    let holds: Value = serde_json::from_slice(&holds.stdout).expect("json");
    assert_eq!(
        holds["verdict"]["root"],
        json_file(&run.join("receipt.json"))["chain"]["root"]
    );
    every_byte_of_a_bundle_counts(&one, &other);
    // Other programs unpack it, and what comes out can be checked and holds.
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&one).arg("-C").arg(bench.path("."));
    assert!(tar.status().expect("tar").success());
    assert_eq!(
        check(&bench.path(&shown(Path::new(run.file_name().expect("id")))))
            .expect("holds")
            .state,
        State::Whole
    );
}

#[test]
fn whatever_is_touched_of_a_verification_is_found() {
    let bench = Bench::new();
    let run = verified(&bench, &[]);
    all_of_it(&bench, &run);
}

#[test]
fn whatever_is_touched_of_a_signed_run_of_the_agent_is_found() {
    if !opencode() {
        return;
    }
    let mut bench = Bench::new();
    let Some((private, public)) = key(&bench, "key") else {
        return;
    };
    let (_, others) = key(&bench, "other").expect("as before");
    let run = worked(&mut bench, &["--sign-key", &shown(&private)]);
    all_of_it(&bench, &run);
    let with = |key: &Path| audit(&bench, &["audit", "verify", &shown(&run), "--key", &shown(key)]);
    expect(with(&public), 0);
    let refused = expect(with(&others), 9);
    assert!(
        String::from_utf8_lossy(&refused.stdout).contains("receipt.dsse.json"),
        "{refused:?}"
    );
    // The signature is one that openssl takes.
    let envelope = json_file(&run.join("receipt.dsse.json"));
    let decoded = |value: &Value, name: &str| {
        let file = bench.path(name);
        let mut base64 = Command::new("sh");
        base64.args(["-c", "printf %s \"$1\" | base64 -d > \"$2\"", "sh"]);
        base64.arg(value.as_str().expect("text")).arg(&file);
        assert!(base64.status().expect("base64").success());
        file
    };
    let payload = fs::read(decoded(&envelope["payload"], "payload")).expect("read");
    let statement: Value = serde_json::from_slice(&payload).expect("json");
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    let kind = envelope["payloadType"].as_str().expect("text");
    let signed = [
        format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).as_bytes(),
        &payload,
    ]
    .concat();
    fs::write(bench.path("signed"), signed).expect("write");
    let signature = decoded(&envelope["signatures"][0]["sig"], "sig");
    let mut openssl = Command::new("openssl");
    openssl
        .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"])
        .arg(&public);
    openssl
        .arg("-in")
        .arg(bench.path("signed"))
        .arg("-sigfile")
        .arg(signature);
    expect(openssl, 0);

    // Every change of the run, and by which rule.
    let kinds = |kind: &str| -> Vec<Value> {
        let output = expect(
            audit(&bench, &["audit", "show", &shown(&run), "--kind", kind, "--json"]),
            0,
        );
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("json")["fields"].take())
            .collect()
    };
    let changes = kinds("changes");
    assert_eq!(changes.iter().filter(|phase| phase["kept"] == false).count(), 1);
    let violated = changes.iter().find(|phase| phase["kept"] == false).expect("one");
    let ruled: Vec<_> = violated["changes"]
        .as_array()
        .expect("list")
        .iter()
        .map(|c| c["ruling"].clone())
        .collect();
    assert_eq!(ruled, ["allowed", "violation"]);
    let guard = json_file(&run.join("guard/0001-execute_step.json"));
    assert_eq!(guard["refused"][0]["because"], violated["changes"][1]["because"]);
    assert!(violated["evidence"].is_string());
    assert!(
        kinds("exec")
            .iter()
            .any(|exec| exec["verdict"] == "allowed" && exec["rc"] == 0)
    );
    for ledger in ["model.jsonl", "cassette.jsonl"] {
        assert!(kinds("ledger").iter().any(|bound| bound["file"] == ledger), "{ledger}");
    }
    assert_eq!(kinds("walls").len(), 2, "agent and judge");
    assert_eq!(kinds("checkpoint").len(), 5);
    // Nothing that a terminal obeys.
    let human = expect(audit(&bench, &["audit", "show", &shown(&run)]), 0);
    assert!(!human.stdout.contains(&0x1b));
}

#[test]
fn a_stranger_can_check_a_run_with_the_verifier_of_the_page() {
    let page = include_str!("../docs/audit.md");
    let script = page
        .split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a script");
    let bench = Bench::new();
    let run = verified(&bench, &[]);
    fs::write(bench.path("verify.py"), script).expect("write");
    let python = || {
        let mut command = Command::new("python3");
        command.arg(bench.path("verify.py")).arg(&run);
        command
    };
    if python().output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "python3 is missing");
        eprintln!("SKIPPED: there is no python3");
        return;
    }
    let output = expect(python(), 0);
    let root = json_file(&run.join("receipt.json"))["chain"]["root"].clone();
    assert!(
        String::from_utf8_lossy(&output.stdout).contains(root.as_str().expect("text")),
        "{output:?}"
    );
    let journal = fs::read_to_string(run.join("journal.jsonl")).expect("read");
    fs::write(
        run.join("journal.jsonl"),
        journal.replacen("\"copied\"", "\"capied\"", 1),
    )
    .expect("write");
    expect(python(), 1);
    fs::write(run.join("journal.jsonl"), journal).expect("write");
    expect(python(), 0);
    fs::write(run.join("more"), "").expect("write");
    expect(python(), 1);
}

#[test]
fn the_exit_code_tells_broken_from_unfinished_and_the_place_is_printed() {
    let bench = Bench::new();
    let run = verified(&bench, &[]);
    let verify = |run: &str, code: i32| {
        let output = expect(audit(&bench, &["audit", "verify", run, "--json"]), code);
        serde_json::from_slice::<Value>(&output.stdout).expect("json")
    };
    assert_eq!(verify("latest", 0)["verdict"]["state"], "whole");
    let journal = fs::read_to_string(run.join("journal.jsonl")).expect("read");
    // As after a crash: no closing record, no receipt, half a record.
    let receipt = fs::read(run.join("receipt.json")).expect("read");
    fs::remove_file(run.join("receipt.json")).expect("rm");
    let cut = journal.trim_end().rfind('\n').expect("lines") + 20;
    fs::write(run.join("journal.jsonl"), &journal[..cut]).expect("write");
    let verdict = verify("latest", 1)["verdict"].take();
    assert_eq!((&verdict["state"], &verdict["torn"]), (&json!("cut-off"), &json!(19)));
    expect(
        audit(&bench, &["bundle", "latest", "-o", &shown(&bench.path("x.tar"))]),
        9,
    );
    assert!(!bench.path("x.tar").exists());
    let lock = fs::File::open(run.join("lock")).expect("open");
    let held = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, why)| why)
        .expect("lock");
    assert_eq!(verify("latest", 1)["verdict"]["state"], "running");
    drop(held);
    // With the receipt there it was finished, and somebody cut it.
    fs::write(run.join("receipt.json"), receipt).expect("write");
    let found = verify("latest", 9)["broken"].take();
    assert_eq!(
        (&found["file"], &found["record"]),
        (&json!("journal.jsonl"), &json!(journal.lines().count() - 1))
    );
    let human = expect(audit(&bench, &["audit", "verify", "latest"]), 9);
    assert!(
        String::from_utf8_lossy(&human.stdout).contains("BROKEN at journal.jsonl, record "),
        "{human:?}"
    );
    // A journal that nobody chained, and what is none.
    fs::write(
        run.join("journal.jsonl"),
        "{\"seq\":0,\"ts\":\"t\",\"event\":\"run\",\"fields\":{}}\n",
    )
    .expect("write");
    assert_eq!(verify("latest", 9)["broken"]["record"], 0);
    fs::remove_file(run.join("journal.jsonl")).expect("rm");
    assert_eq!(verify(&shown(&run), 9)["broken"]["file"], "journal.jsonl");
    expect(audit(&bench, &["audit", "verify", "nothing"]), 2);
}

#[test]
fn a_contract_that_cannot_be_read_leaves_a_closed_chain_as_well() {
    let bench = Bench::new();
    bench.file("pipeline.yml", "tests: 5\n");
    expect(bench.command(&["verify"], "repo"), 2);
    let verified = check(&bench.the_run()).expect("holds");
    let receipt = verified.receipt.expect("a receipt");
    assert_eq!((verified.state, receipt.outcome.exit), (State::Whole, 2));
}

#[test]
fn steps_are_compared_laid_out_and_gone_on_from() {
    if !opencode() {
        return;
    }
    let mut bench = Bench::new();
    let run = worked(&mut bench, &[]);
    let name = run.file_name().expect("id").to_str().expect("text").to_owned();
    let output = expect(audit(&bench, &["runs", "show", &name, "--json"]), 0);
    let steps: Value = serde_json::from_slice(&output.stdout).expect("json");
    let labels: Vec<_> = steps["steps"]
        .as_array()
        .expect("list")
        .iter()
        .map(|s| s["label"].as_str().expect("text"))
        .collect();
    let expected = [
        "start",
        "plan_update_attempt_1",
        "execute_step",
        "the machine wrote PLAN.md",
        "plan_update_attempt_1",
    ];
    assert_eq!(labels, expected);
    // What the refused try had made is in no step.
    assert!(program::holding(&run.join("objects"), "lost").is_empty());
    // A patch that git takes, there and back.
    let patch = |from: &str, to: &str| {
        let file = bench.path(&format!("{from}-{to}.patch"));
        fs::write(&file, expect(audit(&bench, &["diff", &name, from, to]), 0).stdout).expect("write");
        file
    };
    let (there, back) = (patch("1", "4"), patch("4", "1"));
    copy(&bench.path("repo"), &bench.path("work"));
    for patch in [&there, &back] {
        let mut git = Command::new("git");
        git.arg("apply").arg(patch).current_dir(bench.path("work"));
        assert!(git.status().expect("git").success());
        let made = bench.path("work").join("made").exists();
        assert_eq!(made, patch == &there);
    }
    assert_eq!(fs::read_to_string(bench.path("work/old")).expect("read"), "old\n");
    // A step's tree is what an applied run leaves.
    let out = bench.path("out");
    expect(audit(&bench, &["checkout", &name, "4", &shown(&out)]), 0);
    expect(audit(&bench, &["apply", &name, "--to", &shown(&bench.path("work"))]), 0);
    let tree = |root: &Path| -> Vec<_> {
        let all = program::fingerprint(root).into_iter();
        all.map(|(path, (mode, .., bytes))| (path.strip_prefix(root).expect("below").to_owned(), mode, bytes))
            .collect()
    };
    let (ours, theirs) = (tree(&out), tree(&bench.path("work")));
    assert_eq!(ours[1..], theirs[1..]);
    expect(audit(&bench, &["checkout", &name, "4", &shown(&out)]), 2);
    expect(audit(&bench, &["checkout", &name, "5", &shown(&bench.path("no"))]), 2);
    // From the step before the work was done, with another model's answers, and a target that has moved on.
    bench.file("old", "moved on\n");
    let mut other = Bench::new();
    other.say("plan_update_attempt_1", 1, 1, &[]);
    other.shell("execute_step", 1, "echo otherwise > made; cat old > seen");
    other.say("plan_update_attempt_1", 2, 1, &[]);
    let mut again = other.run(&[]);
    let arguments: Vec<_> = again.get_args().map(ToOwned::to_owned).collect();
    again = program();
    again
        .args(&arguments[..arguments.len() - 1])
        .args(["--from", &format!("{}:1", shown(&run))]);
    expect(again, 0);
    assert_eq!(other.brought_out("made"), "otherwise\n");
    assert_eq!(other.brought_out("seen"), "old\n");
    let second = other.the_run();
    let first: Value = serde_json::from_str(
        fs::read_to_string(second.join("journal.jsonl"))
            .expect("read")
            .lines()
            .next()
            .expect("one"),
    )
    .expect("json");
    assert_eq!(
        (
            &first["fields"]["inputs"]["from"]["run"],
            &first["fields"]["inputs"]["from"]["checkpoint"]
        ),
        (&json!(name), &json!(1))
    );
    check(&second).expect("holds");
    // The two differ, from what they are bound to on.
    let output = expect(audit(&bench, &["audit", "diff", &name, &shown(&second), "--json"]), 1);
    let differences: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert!(
        differences["differences"]["course"]["record_a"].is_number(),
        "{differences}"
    );
    expect(audit(&bench, &["audit", "diff", &name, &name]), 0);
    // Bytes that are damaged are not laid out.
    let object = program::holding(&run.join("objects"), "new\n").pop().expect("kept");
    fs::remove_file(&object).expect("rm");
    fs::write(&object, "NEW\n").expect("write");
    let refused = expect(audit(&bench, &["diff", &name, "1", "4"]), 7);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("damaged"),
        "{refused:?}"
    );
    expect(audit(&bench, &["checkout", &name, "4", &shown(&bench.path("no"))]), 7);
    assert!(!bench.path("no").exists());
}

#[test]
fn the_same_answers_take_the_same_course_and_others_part_where_they_differ() {
    if !opencode() {
        return;
    }
    let course = |bench: &mut Bench, made: &str| {
        bench
            .file("pipeline.yml", "version: 1\ntests:\n  cmd: test -f made\n")
            .file("PLAN.md", PLAN);
        bench.say("plan_update_attempt_1", 1, 1, &[]);
        bench.shell("execute_step", 1, &format!("echo {made} > made"));
        bench.say("plan_update_attempt_1", 2, 1, &[]);
        expect(bench.run(&[]), 0);
        check(&bench.the_run()).expect("holds").course
    };
    let mut benches = [Bench::new(), Bench::new(), Bench::new()];
    let courses = [
        course(&mut benches[0], "a"),
        course(&mut benches[1], "a"),
        course(&mut benches[2], "b"),
    ];
    assert_eq!(courses[0], courses[1]);
    assert_ne!(courses[0], courses[2]);
    let compare = |at: usize, code: i32| {
        let runs = [benches[0].the_run(), benches[at].the_run()].map(|run| shown(&run));
        let output = expect(audit(&benches[0], &["audit", "diff", &runs[0], &runs[1]]), code);
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(compare(1, 0).contains("the same course"));
    let parted = compare(2, 1);
    assert!(parted.contains("changes/changes/0/change/after/content"), "{parted}");
    assert!(parted.contains("run/inputs/cassette"), "{parted}");
}

#[test]
fn runs_are_listed_by_what_they_are_and_only_dead_ones_removed() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.file("pipeline.yml", "version: 1\ntests:\n  cmd: \"true\"\n");
        expect(bench.command(&["verify"], "repo"), 0);
    }
    bench.file("pipeline.yml", "version: 1\ntests:\n  cmd: \"false\"\n");
    expect(bench.command(&["verify"], "repo"), 3);
    let list = |more: &[&str]| -> Vec<String> {
        let output = expect(audit(&bench, &[&["runs", "list", "--json"], more].concat()), 0);
        let runs: Value = serde_json::from_slice(&output.stdout).expect("json");
        runs["runs"]
            .as_array()
            .expect("list")
            .iter()
            .map(|run| run["id"].as_str().expect("id").to_owned())
            .collect()
    };
    let all = list(&[]);
    assert_eq!(all.len(), 4);
    assert!(all.is_sorted_by(|a, b| a > b), "the newest first: {all:?}");
    assert_eq!(list(&["--state", "failed"]), [all[0].clone()]);
    assert_eq!(list(&["--state", "done"]).len(), 3);
    assert_eq!(list(&["--target", "/repo"]).len(), 4);
    assert_eq!(list(&["--target", "elsewhere"]).len(), 0);
    assert_eq!(
        (list(&["--older-than", "1h"]).len(), list(&["--newer-than", "1h"]).len()),
        (0, 4)
    );
    // One that lives is never touched.
    let oldest = bench.path("runs").join(&all[3]);
    let lock = fs::File::open(oldest.join("lock")).expect("open");
    let held = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, why)| why)
        .expect("lock");
    assert_eq!(list(&["--state", "running"]), [all[3].clone()]);
    let refused = expect(audit(&bench, &["runs", "rm", &all[3]]), 2);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("lives"),
        "{refused:?}"
    );
    expect(audit(&bench, &["runs", "prune"]), 2);
    expect(audit(&bench, &["runs", "prune", "--keep", "1", "--dry-run"]), 0);
    assert_eq!(list(&[]).len(), 4);
    expect(audit(&bench, &["runs", "prune", "--keep", "1"]), 0);
    assert_eq!(list(&[]), [all[0].clone(), all[3].clone()]);
    drop(held);
    expect(audit(&bench, &["runs", "prune", "--older-than", "1h"]), 0);
    assert_eq!(list(&[]).len(), 2);
    expect(audit(&bench, &["runs", "prune", "--max-size", "0", "--keep", "1"]), 0);
    assert_eq!(list(&[]), [all[0].clone()]);
    expect(audit(&bench, &["runs", "rm", "latest"]), 0);
    assert_eq!(fs::read_dir(bench.path("runs")).expect("ls").count(), 0);
}

#[test]
fn a_run_that_is_killed_leaves_a_chain_that_holds_as_far_as_it_goes() {
    let bench = Bench::new();
    bench.file(
        "pipeline.yml",
        "version: 1\ntests:\n  cmd: touch /tmp/begun; sleep 600\n",
    );
    fs::set_permissions(bench.path("."), fs::Permissions::from_mode(0o711)).expect("chmod");
    let mut child = bench
        .command(&["verify", "--json"], "repo")
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    let begun = || {
        let run = fs::read_dir(bench.path("runs")).ok()?.next()?.ok()?.path();
        let journal = fs::read_to_string(run.join("journal.jsonl")).ok()?;
        journal.contains("\"event\":\"walls\"").then_some(run)
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    let run = loop {
        match begun() {
            Some(run) => break run,
            None => std::thread::yield_now(),
        }
        assert!(std::time::Instant::now() < deadline, "it never began");
    };
    assert_eq!(check(&run).expect("holds").state, State::Running);
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_eq!(check(&run).expect("holds").state, State::CutOff);
}
