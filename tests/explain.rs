//! `policy explain` asked, and then tried: what it says of system calls, paths, commands and
//! hosts is what becomes of them.

#[path = "support/program.rs"]
mod program;
mod support;

use std::{collections::BTreeMap, fs, net::TcpListener, path::Path};

use nix::errno::Errno;
use opencode_fsm::{
    policy::Tier,
    sandbox::{
        ExecSpec, Sandbox,
        bare::Bare,
        seccomp::{Action, Case, Network, decide, is_unfiltered, named},
    },
};
use program::{Bench, expect, json_file, opencode};
use serde_json::{Value, json};
use support::{PROGRAM, Scratch, backend, in_docker, perl, plan, sh, text};

/// The program's answer.
fn explain(arguments: &[&str]) -> Value {
    let mut command = program::program();
    command.args([&["policy", "explain", "--json"], arguments].concat());
    let output = expect(command, 0);
    serde_json::from_slice(&output.stdout).expect("json")
}

/// What it says of one back end.
fn of(answer: &Value, backend: &str) -> String {
    let all = answer["enforced_by"].as_array().expect("a list");
    let one = all.iter().find(|one| one["backend"] == backend).expect("each back end");
    one["verdict"].as_str().expect("text").to_owned()
}

/// Makes system calls as they are given, `NUMBER ARG…` a line, and prints what each came to:
/// `ok`, or the number of its error.
const CALLS: &str = r#"
$| = 1;
for my $line (@ARGV) {
    my ($number, @arguments) = map { 0 + $_ } split ' ', $line;
    $! = 0;
    my $result = syscall($number, @arguments);
    print $result == -1 ? 0 + $! : "ok", "\n";
}
"#;

/// Arguments that a case fits, where what it asks for can be had at once.
fn arguments(case: &Case) -> Option<[u64; 6]> {
    // Far from every number that a filter asks for.
    let mut args = [0x0123_4000; 6];
    for condition in case.when.iter().filter(|condition| condition.holds) {
        args[condition.argument as usize] = u64::from(condition.value);
    }
    case.when.iter().all(|condition| condition.fits(&args)).then_some(args)
}

/// The calls that are answered with an error whatever else, each with such arguments and the error.
fn refused(network: Network) -> Vec<(String, String, Errno)> {
    let mut all = Vec::new();
    for call in syscalls::Sysno::iter().filter(|call| !is_unfiltered(*call)) {
        for case in decide(network, call) {
            let (Action::Errno(number), Some(args)) = (case.action, arguments(&case)) else {
                continue;
            };
            if number != 0 {
                let line = args
                    .iter()
                    .fold(call.id().to_string(), |line, arg| format!("{line} {arg}"));
                all.push((call.to_string(), line, Errno::from_raw(number)));
            }
        }
    }
    all
}

async fn try_calls(sandbox: &Sandbox, backend: &str, network: Network) {
    let refused = refused(network);
    assert!(refused.len() > 100, "{}", refused.len());
    let lines: Vec<&str> = refused.iter().map(|(_, line, _)| line.as_str()).collect();
    let spec = ExecSpec {
        cwd: sandbox.inside().workspace.clone(),
        ..perl(CALLS, &lines)
    };
    let outcome = sandbox.exec(spec).await.expect("exec").wait().await.expect("wait");
    let printed = text(&outcome);
    assert_eq!(
        printed.lines().count(),
        refused.len(),
        "{:?}: {printed}\n{lines:?}",
        outcome.end
    );
    for ((name, line, error), found) in refused.iter().zip(printed.lines()) {
        assert_eq!(found, (*error as i32).to_string(), "{name} ({line})");
    }
    // The program says the same of those that have one answer, and names those that have more.
    for name in [
        "mount",
        "bpf",
        "keyctl",
        "lookup_dcookie",
        "clone3",
        "socket",
        "clone",
        "shmget",
        "read",
        "prlimit64",
    ] {
        let answer = explain(&["--syscall", name]);
        let cases = decide(network, named(name).expect("a call"));
        let said = of(&answer, backend);
        match cases.as_slice() {
            [case] => assert_eq!(said, case.action.to_string(), "{name}"),
            _ => assert_eq!(
                (said.as_str(), answer["verdict"].as_str()),
                ("by its arguments", Some("depends")),
                "{name}"
            ),
        }
    }
}

#[tokio::test]
async fn system_calls_are_refused_with_the_errors_that_were_said() {
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "calls")).await.expect("a sandbox");
    let name = if in_docker() { "docker" } else { "jail" };
    try_calls(&sandbox, name, Network::Private).await;
    let number = |name: &str| named(name).expect("a call").id().to_string();
    // Of these no filter is asked by newer kernels; whoever calls them has nothing of it.
    for (call, within) in [("uretprobe", ["", "38"]), ("uprobe", ["6", "38"])] {
        let answer = explain(&["--syscall", call]);
        assert_eq!(
            (&answer["verdict"], &answer["rule"]),
            (&json!("deny"), &json!("the kernel")),
            "{call}"
        );
        let found = support::inside(&sandbox, CALLS, &[&number(call)]).await;
        assert!(within.contains(&found.as_str()), "{call}: {found}");
    }
    // The controls: what is said to be allowed is, and what is refused inside is not refused so outside.
    assert_eq!(of(&explain(&["--syscall", "getuid"]), name), "allowed");
    assert_eq!(support::inside(&sandbox, CALLS, &[&number("getuid")]).await, "ok");
    let add_key = format!("{} 0 0 0 0 0", number("add_key"));
    assert_eq!(of(&explain(&["--syscall", "add_key"]), name), "EPERM");
    assert_eq!(
        support::inside(&sandbox, CALLS, &[&add_key]).await,
        (Errno::EPERM as i32).to_string()
    );
    assert_ne!(support::outside(CALLS, &[&add_key]), (Errno::EPERM as i32).to_string());
}

#[tokio::test]
async fn the_tier_without_namespaces_refuses_what_was_said() {
    let dir = Scratch::new();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).expect("chmod");
    let mut plan = plan(dir.path(), "calls");
    plan.min_tier = Tier::Landlock;
    let bare = Bare::with_program(Path::new(PROGRAM), "left off by a test");
    let sandbox = bare.create(&plan).await.expect("a sandbox");
    try_calls(&sandbox, "landlock", Network::Shared).await;
}

/// Absolute paths: what can be read and written is what was said.
#[tokio::test]
async fn paths_inside_can_be_opened_as_was_said() {
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "paths")).await.expect("a sandbox");
    let name = if in_docker() { "docker" } else { "jail" };
    let mut seen = BTreeMap::new();
    for path in [
        "/workspace",
        "/tmp",
        "/home/agent",
        "/dev/shm",
        "/usr/bin/env",
        "/etc/passwd",
        "/etc/ld.so.cache",
        "/usr",
        "/root/.ssh",
        "/etc/shadow",
        "/etc/ssh",
        "/var/lib/dpkg/status",
        "/sys/kernel",
        "/srv",
        "/usr/../root",
    ] {
        let said = match path {
            // Of the tree the guard decides; the place itself is asked for as one inside.
            "/workspace" => of(&explain(&["--path", "/workspace/"]), name),
            path => of(&explain(&["--path", path]), name),
        };
        let script = format!(
            "if [ -r {path} ]; then echo reads; fi; \
             if [ -d {path} ]; then (: > {path}/.tried) 2>/dev/null && echo writes; \
             else (: >> {path}) 2>/dev/null && echo writes; fi; true"
        );
        let outcome = sandbox
            .exec(sh(&script))
            .await
            .expect("exec")
            .wait()
            .await
            .expect("wait");
        let found = text(&outcome);
        let (reads, writes) = (found.contains("reads"), found.contains("writes"));
        match said.as_str() {
            "cannot be opened" => assert!(!reads && !writes, "{path}: {found}"),
            // An image need not have it.
            "read" | "read and execute" => assert!(!writes && (reads || in_docker()), "{path}: {found}"),
            "read, write and execute" => assert!(reads && writes, "{path}: {found}"),
            other => panic!("{path}: {other}"),
        }
        *seen.entry(said).or_insert(0) += 1;
    }
    assert!(seen.len() >= 2, "{seen:?}");
}

/// Paths of the tree: the guard takes back exactly what was said.
#[test]
fn the_guard_takes_back_what_was_said() {
    if !opencode() {
        return;
    }
    let mut bench = Bench::new();
    bench
        .file("pipeline.yml", "version: 1\ntests:\n  cmd: test -f made\n")
        .file("docs/keep.md", "kept\n")
        .file(".aider_fsm/stages/check.sh", "true\n")
        .file(
            "PLAN.md",
            "## Next (exactly ONE item)\n- [ ] (STEP_ID=001) make it\n## Backlog\n## Done\n## Notes\n-\n",
        );
    let policy = bench.path("p.yml");
    fs::write(
        &policy,
        "version: 1\nguards:\n  protected: [{path: 'docs/*.md', because: they are printed}]\n",
    )
    .expect("write");
    let policy = policy.display().to_string();
    let repo = bench.path("repo").display().to_string();
    let paths = [
        "docs/keep.md",
        "docs/keep.txt",
        "PLAN.md",
        "pipeline.yml",
        ".aider_fsm/stages/check.sh",
        ".aider_fsm/stages/new.sh",
        ".aider_fsm/actions.yml",
        ".opencode/x",
        "opencode.json",
        "src/a.rs",
        "made",
    ];
    let ask = |path: &str| {
        explain(&[
            "--policy", &policy, "--repo", &repo, "--phase", "execute", "--path", path,
        ])
    };
    let denied: Vec<&str> = paths
        .into_iter()
        .filter(|path| ask(path)["verdict"] == "deny")
        .collect();
    assert_eq!(denied.len(), 7, "{denied:?}");
    let said = ask("docs/keep.md");
    assert_eq!(said["at"], json!(format!("{policy}:3:15")));
    let write: Vec<String> = paths
        .iter()
        .map(|path| format!("mkdir -p $(dirname {path}); echo changed > {path}"))
        .collect();
    bench.say("plan_update_attempt_1", 1, 1, &[]);
    bench.shell("execute_step", 1, &write.join("; "));
    bench.shell(
        "execute_step",
        2,
        "echo changed > made; mkdir src; echo changed > src/a.rs",
    );
    bench.say("plan_update_attempt_1", 2, 1, &[]);
    expect(bench.run(&["--policy", &policy]), 0);
    let taken = json_file(&bench.the_run().join("guard/0001-execute_step.json"));
    let refused: Vec<&Value> = taken["refused"].as_array().expect("a list").iter().collect();
    for path in paths {
        let found = refused.iter().find(|one| {
            let at = one["change"]["path"].as_str().expect("text");
            at == path || path.starts_with(&format!("{at}/"))
        });
        assert_eq!(found.is_some(), denied.contains(&path), "{path}: {taken}");
    }
    let keep = refused
        .iter()
        .find(|one| one["change"]["path"] == "docs/keep.md")
        .expect("taken back");
    assert_eq!(keep["because"], said["because"], "the run says what the answer said");
    assert_eq!(
        bench.brought_out("src/a.rs"),
        "changed\n",
        "the control: what may change does"
    );
}

/// Commands: what is refused is, with the rule that was said; what is allowed runs.
#[test]
fn commands_are_refused_as_was_said() {
    for (command, denied) in [("sudo true", true), ("rm -rf /", true), ("echo sudo", false)] {
        let said = explain(&["--", command]);
        assert_eq!(said["verdict"], if denied { "deny" } else { "allow" }, "{command}");
        let bench = Bench::new();
        bench.file(
            "pipeline.yml",
            &format!("version: 1\ntests:\n  cmd: {}\n", json!(command)),
        );
        expect(bench.command(&["verify", "--json"], "repo"), if denied { 3 } else { 0 });
        let result = json_file(&bench.the_run().join("verify/tests_result.json"));
        assert_eq!(result["rc"], if denied { 126 } else { 0 }, "{command}");
        assert_eq!(result["blame"] == "policy", denied, "{command}");
    }
}

/// Hosts: a connection that was said to be refused is, straight and through the door.
#[test]
fn hosts_are_refused_as_was_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("an address").port();
    // The control: from here it can be reached.
    std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let bench = Bench::new();
    let policy = bench.path("p.yml");
    let text = "version: 1\nnetwork:\n  mode: allow\n  rules:\n    - {host: allowed.test, ports: [8443], because: we say so}\n";
    fs::write(&policy, text).expect("write");
    let policy = policy.display().to_string();
    let ask = |host: &str| explain(&["--policy", &policy, "--host", host]);
    let literal = format!("127.0.0.1:{port}");
    let asked = ["other.test:443", "allowed.test:22", &literal, "169.254.169.254:80"];
    for host in asked {
        assert_eq!(ask(host)["verdict"], "deny", "{host}");
    }
    let allowed = ask("allowed.test:8443");
    assert_eq!(
        (&allowed["verdict"], &allowed["at"]),
        (&json!("allow"), &json!(format!("{policy}:5:7")))
    );
    assert_eq!(ask("allowed.test:22")["at"], json!(format!("{policy}:5:7")));
    assert_eq!(
        explain(&["--host", "allowed.test:8443"])["verdict"],
        "deny",
        "without the policy"
    );
    // Straight to the host, and each through the door: the first line of its answer.
    let script = r#"
use IO::Socket::INET;
my ($straight, @hosts) = @ARGV;
my $direct = IO::Socket::INET->new(PeerAddr => $straight, Timeout => 5);
print defined $direct ? "connected\n" : "refused\n";
my ($proxy) = $ENV{http_proxy} =~ m{//(?:[^@]*@)?([0-9.:]+)};
for my $host (@hosts) {
    my $door = IO::Socket::INET->new(PeerAddr => $proxy, Timeout => 5) or die "no door: $!";
    print $door "CONNECT $host HTTP/1.1\r\nHost: $host\r\n\r\n";
    my $line = <$door>;
    print "$host $line";
}
"#;
    bench.file("try.pl", script);
    let command = format!("perl try.pl {literal} {}", asked.join(" "));
    bench.file(
        "pipeline.yml",
        &format!("version: 1\ntests:\n  cmd: {}\n", json!(command)),
    );
    expect(bench.command(&["verify", "--json", "--policy", &policy], "repo"), 0);
    let run = bench.the_run();
    let printed = fs::read_to_string(run.join("verify/tests_stdout.txt")).expect("output");
    let mut lines = printed.lines();
    assert_eq!(lines.next(), Some("refused"), "{printed}");
    for (host, line) in asked.iter().zip(lines) {
        let status = line
            .strip_prefix(&format!("{host} HTTP/1.1 "))
            .unwrap_or_else(|| panic!("{printed}"));
        assert!(status.starts_with('4'), "{line}");
    }
    let ledger = fs::read_to_string(run.join("egress.jsonl")).expect("a ledger");
    assert_eq!(ledger.lines().count(), asked.len(), "{ledger}");
}

/// What is asked is answered at once: a question costs little of a processor, whatever else runs.
#[test]
fn an_answer_takes_less_than_fifty_milliseconds() {
    let spent = || {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).expect("usage");
        let of = |time: nix::sys::time::TimeVal| time.tv_sec() * 1000 + time.tv_usec() / 1000;
        of(usage.user_time()) + of(usage.system_time())
    };
    for question in [
        &["--syscall", "socket"][..],
        &["--path", "src/a.rs"],
        &["--path", "/etc/shadow"],
        &["--host", "pypi.org"],
        &["--", "make test"],
    ] {
        let least = (0..3)
            .map(|_| {
                let before = spent();
                explain(question);
                spent() - before
            })
            .min();
        assert!(least < Some(50), "{question:?}: {least:?} ms");
    }
}
