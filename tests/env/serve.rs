//! The protocol, spoken by hand.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use boon::{Compiler, SchemaIndex, Schemas};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{
    program::{Bench, holding, json_file, program},
    target::{alive, scratch, until},
};

/// A server, and the schemas of what is said to and by it.
struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    next: u64,
    schemas: Schemas,
    request: SchemaIndex,
    reply: SchemaIndex,
}

impl Server {
    fn start(bench: &Bench, more: &[&str]) -> Self {
        let mut command = program();
        command
            .args(["env", "serve", "--artifacts-dir"])
            .arg(bench.path("runs"))
            .args(more)
            .env("XDG_CACHE_HOME", bench.cache())
            .env_remove("OPENAI_API_KEY")
            .env_remove("OPENAI_BASE_URL")
            .env_remove("OPENAI_API_BASE");
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        let mut compiled = |name: &str| {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schemas/{name}.v1.json"));
            let schema = json_file(&file);
            let id = schema["$id"].as_str().expect("an id").to_owned();
            compiler.add_resource(&id, schema).expect("a resource");
            compiler.compile(&id, &mut schemas).expect("compiles")
        };
        let (request, reply) = (compiled("env_request"), compiled("env_reply"));
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
            next: 0,
            schemas,
            request,
            reply,
        }
    }

    fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open");
        stdin.write_all(line.as_bytes()).expect("write");
        stdin.write_all(b"\n").expect("write");
    }

    /// Sends a request, and gives its number.
    fn ask(&mut self, method: &str, params: Value) -> u64 {
        self.next += 1;
        let request = json!({"id": self.next, "method": method, "params": params});
        if let Err(why) = self.schemas.validate(&request, self.request) {
            panic!("{request}: {why:#}");
        }
        self.say(&request.to_string());
        self.next
    }

    /// The next line.
    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("read");
        assert!(line.ends_with('\n'), "the server is gone: {line}");
        let reply: Value = serde_json::from_str(&line).expect("json");
        if let Err(why) = self.schemas.validate(&reply, self.reply) {
            panic!("{reply}: {why:#}");
        }
        reply
    }

    /// The answer to a request; events before it are heard and dropped.
    fn answer(&mut self, id: u64) -> Value {
        loop {
            let reply = self.hear();
            if reply.get("event").is_none() && reply["id"] == id {
                return reply;
            }
        }
    }

    fn result(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        let reply = self.answer(id);
        assert!(reply["error"].is_null(), "{method}: {reply}");
        reply["result"].clone()
    }

    fn error(&mut self, method: &str, params: Value) -> String {
        let id = self.ask(method, params);
        let reply = self.answer(id);
        reply["error"]["code"]
            .as_str()
            .unwrap_or_else(|| panic!("{method}: {reply}"))
            .to_owned()
    }

    /// Opens a session on the bench's repository: its name and its run.
    fn setup(&mut self, bench: &Bench) -> (String, String) {
        let opened = self.result("setup", json!({"target": bench.path("repo"), "audit": "off"}));
        let text = |name: &str| opened[name].as_str().expect("text").to_owned();
        (text("session"), text("run_id"))
    }

    /// Waits for the event that a stage has begun.
    fn until_stage(&mut self, stage: &str) {
        loop {
            let event = self.hear()["event"].take();
            if event["event"] == "stage-started" && event["stage"] == stage {
                return;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn served(evaluation: &str) -> Bench {
    let bench = Bench::new();
    bench.file(
        "pipeline.yml",
        &format!(
            "version: 1\n\
             auth:\n  cmd: echo token > $HOME/token\n\
             tests:\n  cmd: exit 9\n\
             deploy:\n  setup_cmd: mkdir -p .aider_fsm; echo \"{{}}\" > .aider_fsm/runtime_env.json; sleep 1000 & echo up\n  teardown_cmd: pkill sleep; touch down\n\
             rollout:\n  run_cmd: touch rolled; test -n \"$FAST\" || sleep 1000\n\
             evaluation:\n  run_cmd: {}\n  env: {{A: of the contract}}\n  metrics_path: .aider_fsm/metrics.json\n  required_keys: [ok]\n\
             benchmark:\n  run_cmd: exit 9\n",
            json!(evaluation)
        ),
    );
    bench
}

const MEASURE: &str = "pgrep sleep >/dev/null && cat $HOME/token && test -f \"$AIDER_RUNTIME_ENV_PATH\" && \
    echo \"$AIDER_EVAL_MODE/$A/$AIDER_LLM_KIND/$AIDER_LLM_MODEL\" && echo \"{\\\"ok\\\": true, \\\"score\\\": 1}\" > .aider_fsm/metrics.json";

#[test]
fn what_is_deployed_stays_between_calls_until_it_is_torn_down() {
    let bench = served(MEASURE);
    let mut server = Server::start(&bench, &[]);
    let hello = server.result("hello", json!({"protocol": 1, "pid": std::process::id()}));
    assert_eq!(hello["protocol"], 1);
    let (session, run) = server.setup(&bench);
    assert_eq!(alive(&run), 0, "nothing runs yet");
    assert_eq!(server.error("evaluation", json!({"session": session})), "missing_llm");
    let deployed = server.result("deploy", json!({"session": session, "llm": "model-7"}));
    assert_eq!((&deployed["ok"], &deployed["runtime_env"]), (&json!(true), &json!({})));
    assert!(deployed["verify"]["tests"].is_null() && deployed["verify"]["auth"]["ok"] == true);
    assert!(alive(&run) > 0, "the service lives on");
    for (number, env, said) in [
        (1, json!({}), "token\nsmoke/of the contract/remote/model-7\n"),
        (
            2,
            json!({"A": "mine", "AIDER_EVAL_MODE": "full"}),
            "token\nfull/mine/remote/model-7\n",
        ),
    ] {
        let found = server.result("evaluation", json!({"session": session, "env": env}));
        assert_eq!(
            (&found["ok"], &found["metrics"]["score"]),
            (&json!(true), &json!(1)),
            "{found}"
        );
        let dir = Path::new(found["artifacts_dir"].as_str().expect("a path")).to_path_buf();
        assert!(dir.ends_with(format!("evaluation_attempt_0{number}")), "{dir:?}");
        let files = found["verify"]["evaluation"]["results"][0]["files"]
            .as_str()
            .expect("files");
        assert_eq!(
            fs::read_to_string(dir.join(format!("{files}_stdout.txt"))).expect("text"),
            said
        );
        assert_eq!(
            json_file(Path::new(found["metrics_path"].as_str().expect("a path")))["ok"],
            true
        );
    }
    assert_eq!(server.result("teardown", json!({"session": session}))["ok"], true);
    assert_eq!(alive(&run), 0);
    // It can deploy again; a call that fails takes it down.
    server.result("deploy", json!({"session": session, "llm": "m"}));
    let failed = server.result("evaluation", json!({"session": session, "env": {"HOME": "/nowhere"}}));
    assert_eq!(
        (&failed["ok"], &failed["verify"]["blame"]),
        (&json!(false), &json!("verifier")),
        "{failed}"
    );
    assert_eq!(alive(&run), 0);
    let run_dir = bench.the_run();
    for attempt in ["teardown_attempt_01", "teardown_attempt_02"] {
        assert_eq!(
            json_file(&run_dir.join(attempt).join("summary.json"))["services_left"],
            0
        );
        assert!(run_dir.join(attempt).join("deploy_teardown_cmd.txt").is_file());
    }
    let closed = server.result("close", json!({"session": session}));
    assert_eq!(Path::new(closed["artifacts_dir"].as_str().expect("a path")), run_dir);
    assert_eq!(bench.summary()["exit_reason"], "CLOSED");
    assert_eq!(server.error("teardown", json!({"session": session})), "env_not_setup");
    assert_eq!(scratch(&bench.path("cache")), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_is_no_request_is_answered_and_the_server_goes_on() {
    let bench = served(MEASURE);
    let mut server = Server::start(&bench, &[]);
    let (session, _) = server.setup(&bench);
    for (line, id, code) in [
        ("{".to_owned(), Value::Null, "invalid_request"),
        ("[1]".to_owned(), Value::Null, "invalid_request"),
        (
            r#"{"id": 77, "method": "explode"}"#.to_owned(),
            json!(77),
            "invalid_request",
        ),
        (
            format!(r#"{{"id": 78, "method": "deploy", "params": {{"session": "{session}", "lm": 1}}}}"#),
            json!(78),
            "invalid_request",
        ),
        ("x".repeat(3 << 20), Value::Null, "line_too_long"),
    ] {
        server.say(&line);
        let reply = loop {
            let reply = server.hear();
            if reply.get("event").is_none() {
                break reply;
            }
        };
        assert_eq!((&reply["id"], &reply["error"]["code"]), (&id, &json!(code)), "{reply}");
    }
    for (params, code) in [
        (json!({"session": "s99", "llm": "m"}), "env_not_setup"),
        (json!({"session": session, "llm": " "}), "empty_llm"),
        (json!({"session": session, "llm": "/no/such"}), "llm_path_not_found"),
        (
            json!({"session": session, "llm": {"path": "/etc/passwd"}}),
            "llm_not_directory",
        ),
        (
            json!({"session": session, "llm": "m", "env": {"AIDER_FSM_STAGE": "x"}}),
            "invalid_env",
        ),
        (
            json!({"session": session, "llm": "m", "env": {"1A": "x"}}),
            "invalid_env",
        ),
        (json!({"session": session, "llm": "m", "mode": ""}), "invalid_env"),
    ] {
        assert_eq!(server.error("deploy", params.clone()), code, "{params}");
    }
    let nothing = bench.path("nothing");
    fs::create_dir(&nothing).expect("mkdir");
    assert_eq!(server.error("setup", json!({"target": nothing})), "contract_missing");
    assert_eq!(server.error("setup", json!({"target": "/no/such/dir"})), "usage");
    assert_eq!(server.error("hello", json!({"protocol": 2})), "protocol_unknown");
    assert_eq!(
        server.result("teardown", json!({"session": session}))["ok"],
        true,
        "it still serves"
    );
}

#[test]
fn a_request_that_is_given_up_ends_what_it_runs() {
    let bench = served(MEASURE);
    let mut server = Server::start(&bench, &[]);
    let (session, run) = server.setup(&bench);
    let rollout = server.ask("rollout", json!({"session": session, "llm": "m"}));
    server.until_stage("rollout");
    assert!(alive(&run) > 0, "the control: it runs");
    let cancel = server.ask("cancel", json!({"request": rollout}));
    let mut seen = [Value::Null, Value::Null];
    while seen.iter().any(Value::is_null) {
        let reply = server.hear();
        if reply.get("event").is_none() {
            let place = usize::from(reply["id"] == cancel);
            seen[place] = reply;
        }
    }
    assert_eq!(
        (&seen[0]["id"], &seen[0]["error"]["code"]),
        (&json!(rollout), &json!("cancelled"))
    );
    assert_eq!(seen[1]["result"]["found"], true);
    until("the end of what it ran", || alive(&run) == 0);
    assert_eq!(server.result("cancel", json!({"request": rollout}))["found"], false);
    // The session is as good as new.
    let both = server.result(
        "rollout_and_evaluation",
        json!({"session": session, "llm": "m", "env": {"FAST": "1"}}),
    );
    assert_eq!(
        (&both["rollout"]["ok"], &both["evaluation"]["ok"]),
        (&json!(true), &json!(true)),
        "{both}"
    );
}

#[test]
fn nothing_is_left_when_the_input_ends_the_peer_dies_or_the_server_is_killed() {
    for way in ["end", "peer", "kill"] {
        let bench = served(MEASURE);
        let mut server = Server::start(&bench, &[]);
        let mut peer = Command::new("sleep").arg("1000").spawn().expect("starts");
        server.result("hello", json!({"protocol": 1, "pid": peer.id()}));
        let (session, run) = server.setup(&bench);
        server.result("deploy", json!({"session": session, "llm": "m"}));
        assert!(alive(&run) > 0, "{way}: the control: it runs");
        // A stage that is under way goes as well.
        server.ask("rollout", json!({"session": session}));
        server.until_stage("rollout");
        match way {
            "end" => drop(server.stdin.take()),
            "peer" => peer.kill().expect("kill"),
            _ => {
                let pid = Pid::from_raw(i32::try_from(server.child.id()).expect("a pid"));
                kill(pid, Signal::SIGKILL).expect("kill");
            }
        }
        let code = server.child.wait().expect("ends").code();
        assert_eq!(code, (way != "kill").then_some(0), "{way}");
        until("the end of what it ran", || alive(&run) == 0);
        if way == "kill" {
            // What it left in the cache is the next one's to remove.
            drop(Server::start(&bench, &[]).setup(&bench));
        } else {
            assert_eq!(bench.summary()["exit_reason"], "PEER_GONE", "{way}");
            assert_eq!(scratch(&bench.path("cache")), Vec::<std::path::PathBuf>::new(), "{way}");
        }
        peer.kill().expect("kill");
        peer.wait().expect("ends");
    }
}

#[test]
fn a_sandbox_that_dies_is_no_verdict_and_the_next_call_has_another() {
    let bench = served(&format!("test -f rolled && {MEASURE}"));
    let mut server = Server::start(&bench, &[]);
    let (session, run) = server.setup(&bench);
    server.result("deploy", json!({"session": session, "llm": "m", "env": {"FAST": "1"}}));
    let sleeps = |pid| crate::program::process_status(pid, "Name:").is_some_and(|name| name == "sleep");
    let init = crate::program::init_with(server.child.id(), &sleeps).expect("the sandbox");
    kill(init, Signal::SIGKILL).expect("kill");
    until("its end", || alive(&run) == 0);
    // The evaluation finds its deployment gone: it deploys and rolls out before, as without one.
    let found = server.result("evaluation", json!({"session": session, "env": {"FAST": "1"}}));
    assert_eq!(found["ok"], true, "{found}");
    assert_eq!(found["verify"]["rollout"]["ok"], true, "{found}");
}

#[test]
fn what_looks_like_a_secret_is_in_no_file_and_what_does_not_stays() {
    let (token, name) = ("hunter2-of-the-call", "gsm8k-of-the-call");
    let env = json!({"MY_TOKEN": token, "DATASET": name});
    let bench = Bench::new();
    bench.file(
        "pipeline.yml",
        "rollout:\n  run_cmd: echo \"$MY_TOKEN and $DATASET\"; mkdir -p .aider_fsm; echo \"$MY_TOKEN and $DATASET\" > .aider_fsm/note\n",
    );
    let mut server = Server::start(&bench, &[]);
    let (session, _) = server.setup(&bench);
    let done = server.result("rollout", json!({"session": session, "llm": "m", "env": env}));
    assert_eq!(done["ok"], true, "{done}");
    let run = bench.the_run();
    assert_eq!(holding(&run, token), Vec::<std::path::PathBuf>::new());
    let shown = holding(&run, &format!("[redacted] and {name}"));
    assert!(shown.len() >= 2, "the control: both printed and wrote it: {shown:?}");
}
