//! `--opencode-url`: a real OpenCode server that the user has started, outside every
//! sandbox; the model is a scripted endpoint.

#[path = "support/endpoint.rs"]
mod endpoint;
#[path = "support/program.rs"]
mod program;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::Engine as _;
use endpoint::{Answer, Endpoint};
use program::{Bench, expect, fingerprint, holding, opencode};
use serde_json::{Value, json};

const USER: &str = "somebody";
const PASSWORD: &str = "pw-0123456789abcdef";

/// `opencode serve` as a user starts it; it ends with the test.
struct Served {
    process: Child,
    url: String,
}

impl Served {
    fn start(dir: &Path, endpoint: &Endpoint) -> Self {
        let home = dir.join("user");
        fs::create_dir_all(&home).expect("mkdir");
        let free = TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("an address")
            .port();
        let config = json!({
            "autoupdate": false, "share": "disabled", "model": "theirs/m", "small_model": "theirs/m",
            "enabled_providers": ["theirs"],
            "provider": {"theirs": {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": endpoint.base_url, "apiKey": "their-own-key"},
                "models": {"m": {"tool_call": true}},
            }},
        });
        let process = Command::new(opencode_fsm::agent::find_binary(None).expect("it is there"))
            .args(["serve", "--hostname", "127.0.0.1", "--port", &free.to_string()])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &home)
            .env("OPENCODE_SERVER_USERNAME", USER)
            .env("OPENCODE_SERVER_PASSWORD", PASSWORD)
            .env("OPENCODE_CONFIG_CONTENT", config.to_string())
            .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
            .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
            .env("OPENCODE_DISABLE_LSP_DOWNLOAD", "1")
            .env("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1")
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("opencode");
        let served = Self {
            process,
            url: format!("http://127.0.0.1:{free}"),
        };
        let deadline = Instant::now() + Duration::from_secs(90);
        while !healthy(free) {
            assert!(Instant::now() < deadline, "the server does not come up");
            std::thread::yield_now();
        }
        served
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What stands before a server and notes what it is asked for.
struct Relay {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    /// Listens until the test ends; the client makes a connection for each request.
    fn before(served: &Served) -> Self {
        let server = served.url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let noted = asked.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, noted) = (server.clone(), noted.clone());
                std::thread::spawn(move || relay(client, &server, &noted));
            }
        });
        Self { url, asked }
    }

    /// The first lines of the requests in which this stands.
    fn asked(&self, what: &str) -> Vec<String> {
        let asked = self.asked.lock().expect("lock");
        asked.iter().filter(|line| line.contains(what)).cloned().collect()
    }
}

fn relay(client: TcpStream, server: &str, noted: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server)?;
    let (mut back, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let mut client = BufReader::new(client);
    let mut first = String::new();
    client.read_line(&mut first)?;
    noted.lock().expect("lock").push(first.trim_end().to_owned());
    server.write_all(first.as_bytes())?;
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    std::io::copy(&mut client, &mut server)?;
    server.shutdown(Shutdown::Both)
}

fn healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
        write!(
            stream,
            "GET /global/health HTTP/1.1\r\nhost: x\r\nauthorization: Basic {pair}\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("\"healthy\":true"))
}

/// A repository whose one step wants the file `made`.
fn repository() -> Bench {
    let bench = Bench::new();
    bench
        .file("pipeline.yml", "version: 1\ntests:\n  cmd: test -f made && test -f .opencode/kept && test ! -e /root\n")
        .file("src/app", "app\n")
        .file(".opencode/kept", "not for the agent\n")
        .file(
            "PLAN.md",
            "# PLAN\n\n## Goal\n- x\n\n## Acceptance\n- [ ] TEST_CMD passes: `test -f made`\n\n## Next (exactly ONE item)\n- [ ] (STEP_ID=001) make it\n\n## Backlog\n\n## Done\n\n## Notes\n-\n",
        );
    bench
}

fn run(bench: &Bench, url: &str, more: &[&str]) -> Command {
    let fixed = ["run", "--json", "--opencode-bash", "full", "--opencode-url", url];
    let mut command = bench.command(&[&fixed[..], more].concat(), "repo");
    command
        .env("OPENCODE_SERVER_USERNAME", USER)
        .env("OPENCODE_SERVER_PASSWORD", PASSWORD)
        .env("OPENAI_API_KEY", "sk-ours-0123456789abcdef");
    command
}

/// The message of a run that was refused.
fn refused(command: Command, code: i32) -> String {
    let output = expect(command, code);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn an_agent_at_the_users_server_works_on_a_copy_and_is_judged_like_any_other() {
    if !opencode() {
        return;
    }
    let endpoint = Endpoint::start(Box::new(|number, _| {
        let bash = |command: &str| {
            Answer::Say(
                "so be it",
                Some(("bash", json!({"command": command, "description": "x"}))),
            )
        };
        match number {
            // The plan's turn, then a step that touches what it may not, and one that does not.
            1 => bash("ls -A > seen; ls -A .opencode >> seen; pwd >> seen; echo hacked > pipeline.yml; touch made"),
            3 => bash("head -1 pipeline.yml > seen; ls -A . .opencode >> seen; pwd >> seen; touch made"),
            _ => Answer::Say("done", None),
        }
    }));
    let bench = repository();
    let served = Served::start(&bench.path("server"), &endpoint);
    let relay = Relay::before(&served);
    let before = fingerprint(&bench.path("repo"));
    let output = expect(
        run(&bench, &format!("{}/", relay.url), &["--allow-unsandboxed-agent"]),
        0,
    );
    // OpenCode never forgets whom it tells of its events: it is asked once for each place that
    // the tree had, and not for each turn.
    let (turns, streams) = (relay.asked("/prompt_async?"), relay.asked("GET /event?"));
    assert_eq!((turns.len(), streams.len()), (4, 3));
    assert_eq!(BTreeSet::from_iter(&streams).len(), 3, "{streams:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("THE AGENT RUNS OUTSIDE THE SANDBOX"), "{said}");
    assert_eq!(fingerprint(&bench.path("repo")), before, "the target is never written");

    let summary = bench.summary();
    assert_eq!(summary["exit_reason"], "DONE", "{summary}");
    assert_eq!(summary["outside_agent"], relay.url);
    assert_eq!(summary["guard_events"], 1, "{summary}");
    let wall = &summary["walls"]["walls"][0];
    assert_eq!(
        (&wall["name"], &wall["state"]),
        (&json!("sandbox of the agent"), &json!("absent"))
    );
    assert!(
        summary["usage"]["input_tokens"].as_u64() >= Some(70),
        "as the agent says: {summary}"
    );
    let mut changed: Vec<&str> = summary["changes"]
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|change| change["path"].as_str())
        .collect();
    changed.sort_unstable();
    assert_eq!(changed, ["PLAN.md", "made", "seen"]);
    let seen = bench.brought_out("seen");
    assert!(seen.starts_with("version: 1\n") && !seen.contains("kept"), "{seen}");
    assert!(
        !seen.contains(&bench.path("repo").display().to_string()),
        "not the target itself: {seen}"
    );
    let copy = seen.lines().last().expect("where it was");
    assert!(
        copy.starts_with('/') && !Path::new(copy).exists(),
        "the copy goes with the run: {copy}"
    );
    let patch = fs::read_to_string(bench.the_run().join("changes.patch")).expect("patch");
    assert!(!patch.contains("hacked"), "{patch}");
    assert!(
        !holding(&bench.the_run().join("guard"), "hacked").is_empty(),
        "the evidence is kept"
    );
    assert!(holding(&bench.the_run(), PASSWORD).is_empty());
    // The server used its own key; ours went nowhere.
    let requests = endpoint.requests.lock().expect("lock");
    assert!(
        requests
            .iter()
            .all(|(head, _)| head.contains("their-own-key") && !head.contains("sk-ours"))
    );
}

#[test]
fn a_turn_that_is_broken_off_is_ended_at_the_users_server_too() {
    if !opencode() {
        return;
    }
    let endpoint = Endpoint::start(Box::new(|_, _| {
        Answer::Say(
            "on and on",
            Some((
                "bash",
                json!({"command": "sleep 1000", "description": "x", "timeout": 1_000_000}),
            )),
        )
    }));
    let bench = repository();
    let served = Served::start(&bench.path("server"), &endpoint);
    let command = run(&bench, &served.url, &["--allow-unsandboxed-agent", "--timeout", "12"]);
    expect(command, 6);
    let children = || {
        let id = served.process.id();
        let listed = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let of = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        listed
            .split_whitespace()
            .map(of)
            .filter(|line| line.contains("sleep"))
            .count()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while children() > 0 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(children(), 0, "its shell is gone");
    let calls = endpoint.requests.lock().expect("lock").len();
    assert!(calls >= 1, "control: the turn had begun");
}

#[test]
fn a_server_outside_is_taken_only_by_name_and_only_when_it_can_be_used() {
    let bench = repository();
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let text = refused(run(&bench, &nobody, &[]), 2);
    assert!(
        text.contains("outside the sandbox") && text.contains("--allow-unsandboxed-agent"),
        "{text}"
    );
    let allow = "--allow-unsandboxed-agent";
    for (url, more, names) in [
        ("https://localhost:1", &[allow][..], "http://"),
        ("http://example.org", &[allow], "this host"),
        (nobody.as_str(), &[allow, "--model", "cassette:x"], "provider/model"),
        (
            nobody.as_str(),
            &[allow, "--opencode-bin", "/bin/true"],
            "--opencode-bin",
        ),
        (nobody.as_str(), &[allow, "--record-cassette", "x"], "--record-cassette"),
    ] {
        let text = refused(run(&bench, url, more), 2);
        assert!(text.contains(names), "{url} {more:?}: {text}");
    }
    let mut alone = bench.command(&["run", "--json", "--model", "cassette:x", allow], "repo");
    alone.env_remove("OPENCODE_SERVER_PASSWORD");
    assert!(refused(alone, 2).contains("--opencode-url"));
    assert!(!bench.path("runs").exists(), "nothing was begun");
    // Nobody there is the agent's fault, and told so.
    let text = refused(run(&bench, &nobody, &[allow]), 8);
    assert!(text.contains("connect to http://127.0.0.1:"), "{text}");
    let summary: Value = bench.summary();
    assert_eq!(summary["changes"].as_array().map(Vec::len), Some(0), "{summary}");
}
