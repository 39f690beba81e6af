//! The door as a user opens it: by the flags of the program, with real package managers where
//! this machine reaches a registry, and with the agent.

use std::{
    fs,
    net::ToSocketAddrs,
    process::{Command, Output},
};

use serde_json::Value;

use crate::program::{Bench, expect, opencode};

fn ledger(bench: &Bench) -> Vec<Value> {
    let text = fs::read_to_string(bench.the_run().join("egress.jsonl")).expect("a ledger");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Where pip keeps what it was made with.
const PIP: &str = "from pip._internal.models.index import PyPI; ";

/// What the first of some commands says that says anything.
fn told(commands: &[&[&str]]) -> String {
    let told = commands.iter().find_map(|ask| {
        let Output { stdout, status, .. } = Command::new(ask[0]).args(&ask[1..]).output().ok()?;
        let said = String::from_utf8_lossy(&stdout).trim().to_owned();
        Some(said).filter(|said| status.success() && !said.is_empty())
    });
    told.unwrap_or_else(|| panic!("none of {commands:?} says anything"))
}

/// The host of a registry. `None`, said aloud, where it is not reached; a failure under CI.
fn registry(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let usual = if scheme == "https" { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().expect("a port")),
        None => (authority, usual),
    };
    let reached = (host, port).to_socket_addrs().is_ok_and(|mut all| {
        all.any(|at| std::net::TcpStream::connect_timeout(&at, std::time::Duration::from_secs(5)).is_ok())
    });
    if !reached {
        assert!(std::env::var_os("CI").is_none(), "the registry is not reached");
        eprintln!("SKIPPED: no registry is reached from here");
        return None;
    }
    Some((host.to_owned(), port))
}

/// `--allow-host` for a host, with the addresses that this machine finds for it where they
/// are private.
fn allow((host, port): &(String, u16)) -> String {
    let private: Vec<String> = (host.as_str(), *port)
        .to_socket_addrs()
        .expect("addresses")
        .filter(|at| opencode_fsm::policy::kind(at.ip()).is_some())
        .map(|at| at.ip().to_string())
        .collect();
    let blocks = if private.is_empty() {
        String::new()
    } else {
        format!("@{}", private.join(","))
    };
    format!("{host}:{port}{blocks}")
}

#[test]
fn pip_and_npm_work_through_the_door_with_this_machines_registries() {
    // As this machine is configured, else what the clients themselves go to.
    let index_url = told(&[
        &["pip3", "config", "get", "global.index-url"],
        &["python3", "-c", &format!("{PIP}print(PyPI.simple_url)")],
    ]);
    let files = told(&[&["python3", "-c", &format!("{PIP}print(PyPI.file_storage_domain)")]]);
    let npm_url = told(&[&["npm", "config", "get", "registry"]]);
    let (index, npm) = (registry(&index_url), registry(&npm_url));
    let (Some(index), Some(npm)) = (index, npm) else { return };
    let scheme = |port: u16| if port == 80 { "http" } else { "https" };
    let files = (files, 443);
    let bench = Bench::new();
    bench.file(
        "pipeline.yml",
        &format!(
            "version: 1\ntests:\n  cmds:\n    - pip3 download --no-deps --no-cache-dir -i {index_url} -d /tmp/out six && ls /tmp/out/six*\n    \
             - test \"$(npm view --registry {}://{}:{} left-pad@1.3.0 version)\" = 1.3.0\n    \
             - '! pip3 download --no-deps --no-cache-dir --retries 0 -i https://denied.example/simple -d /tmp/out six'\n",
            scheme(npm.1), npm.0, npm.1
        ),
    );
    let mut flags = vec![
        "verify".to_owned(),
        "--json".to_owned(),
        "--network".to_owned(),
        "allow".to_owned(),
    ];
    for host in [&index, &npm, &files] {
        flags.extend(["--allow-host".to_owned(), allow(host)]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    expect(bench.command(&flags, "repo"), 0);
    let lines = ledger(&bench);
    let of = |command: &str| -> Vec<&Value> {
        lines
            .iter()
            .filter(|line| line["stage"] == format!("verify/tests_cmd{command}_try01"))
            .collect()
    };
    for command in ["01", "02"] {
        let lines = of(command);
        assert!(
            !lines.is_empty() && lines.iter().all(|line| line["verdict"] == "allowed"),
            "{lines:?}"
        );
    }
    let denied = of("03");
    assert!(
        !denied.is_empty()
            && denied
                .iter()
                .all(|line| line["reason"] == "no-rule" && line["host"] == "denied.example"),
        "{denied:?}"
    );
}

#[test]
fn without_the_flag_there_is_no_door() {
    let bench = Bench::new();
    bench.file(
        "pipeline.yml",
        "version: 1\ntests:\n  cmds:\n    - '! env | grep -i proxy'\n    \
         - '! perl -MIO::Socket::INET -e \"IO::Socket::INET->new(q(127.0.0.1:4098)) or exit 1\"'\n",
    );
    expect(bench.command(&["verify", "--json"], "repo"), 0);
    assert!(!bench.the_run().join("egress.jsonl").exists());
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_runs() {
    let bench = Bench::new();
    bench.file("pipeline.yml", "version: 1\ntests: {cmd: 'true'}\n");
    for (flags, expected) in [
        (&["--allow-host", "pypi.org"][..], "--network allow"),
        (&["--network", "none", "--allow-host", "pypi.org"], "--network allow"),
        (&["--network", "open"], "open"),
        (&["--network", "allow", "--allow-host", "10.0.0.1"], "`addresses`"),
        (&["--network", "allow", "--allow-host", "a.example:0"], "no port"),
        (&["--network", "allow", "--allow-host", "*"], "a host is"),
        (&["--network", "allow", "--resolver", "nonsense"], "an address"),
    ] {
        let output = expect(bench.command(&[&["verify"], flags].concat(), "repo"), 2);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{flags:?}: {said}");
    }
    let flags = [
        "run",
        "--network",
        "none",
        "--model",
        "local/m",
        "--base-url",
        "http://127.0.0.1:9/v1",
    ];
    let output = expect(bench.command(&flags, "repo"), 2);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--network model"), "{said}");
    assert!(!bench.path("runs").exists());
}

#[test]
fn the_agents_tools_meet_the_same_door() {
    if !opencode() {
        return;
    }
    let mut bench = Bench::new();
    bench
        .file("pipeline.yml", "version: 1\ntests:\n  cmd: test -f made\n")
        .file(
            "PLAN.md",
            "## Next (exactly ONE item)\n- [ ] (STEP_ID=001) make it\n## Backlog\n## Done\n## Notes\n-\n",
        );
    bench.say("plan_update_attempt_1", 1, 1, &[]);
    bench.shell("execute_step", 1, "perl -MIO::Socket::INET -e '$ENV{HTTPS_PROXY} =~ m{//(.*)} or die; $s = IO::Socket::INET->new($1) or die; print $s qq(CONNECT tool.denied.example:443 HTTP/1.1\\r\\n\\r\\n); print <$s>'; touch made");
    bench.say("plan_update_attempt_1", 2, 1, &[]);
    let flags = ["--network", "allow", "--allow-host", "allowed.example"];
    expect(bench.run(&flags), 0);
    let lines = ledger(&bench);
    let tool = lines
        .iter()
        .find(|line| line["host"] == "tool.denied.example")
        .expect("the tool's attempt");
    assert_eq!(
        (&tool["role"], &tool["stage"], &tool["reason"]),
        (&"agent".into(), &"agent".into(), &"no-rule".into())
    );
    assert_eq!(tool["process"]["comm"], "perl");
}
