//! A model that the deployment serves inside.

use serde_json::json;

use crate::{
    program::expect,
    target::{call, dataset, evaluate, rollout, samples},
};

/// Answers on the loopback; the first answer of each kind in `FIRST` is none.
const SERVER: &str = r##"
import http.server, json, os, re
first = os.environ.get("FIRST", "").split()
class Model(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        kind = first.pop(0) if first else "right"
        hens = int(re.search(r"has (\d+) hens", body["messages"][0]["content"]).group(1))
        text = json.dumps({"choices": [{"message": {"content": "FINAL: %d" % (hens * hens)}}], "model": body["model"]})
        if self.path != "/v1/chat/completions" or self.headers["authorization"] != "Bearer inner":
            kind = "refused"
        if kind == "huge":
            text = "[" * (6 << 20)
        if kind == "nonsense":
            self.wfile.write(b"\x00\xff nothing of HTTP\r\n\r\n")
            return
        self.send_response(403 if kind == "refused" else 200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        try:
            self.wfile.write(text.encode())
        except BrokenPipeError:
            pass
    def log_message(self, *rest):
        pass
port = int(os.environ["AIDER_FSM_PORT"])
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Model)
os.makedirs(".aider_fsm", exist_ok=True)
offer = {"inference": {"type": "openai_compat", "openai_base_url": "http://127.0.0.1:%d" % port, "model": "inner"}}
if os.fork():
    json.dump(offer, open(".aider_fsm/runtime_env.json", "w"))
    os._exit(0)
server.serve_forever()
"##;

fn with_server(first: &str) -> crate::program::Bench {
    let deploy = format!("deploy:\n  setup_cmd: python3 serve.py\n  env: {{FIRST: '{first}'}}\n");
    let stage = "rollout:\n  generic: {concurrency: 1}\n  env: {OPENAI_API_KEY: inner}\n";
    let bench = dataset(3, &format!("{deploy}{stage}"));
    bench.file("serve.py", SERVER);
    bench
}

#[test]
fn what_a_deployment_serves_is_asked_over_a_socket_of_its_own() {
    let bench = with_server("huge nonsense");
    expect(evaluate(&bench, "", &["--require-samples"]), 0);
    assert_eq!(rollout(&call(&bench))["model"], "inner");
    let found = samples(&call(&bench));
    assert_eq!(found.iter().filter(|sample| sample["reward"] == 1.0).count(), 3);
    let tries = &found[0]["meta"]["tries"];
    assert_eq!(tries, 3, "an answer without end, and one that is none");
}

#[test]
fn a_deployment_whose_model_fails_is_infra_and_a_url_elsewhere_is_refused() {
    let bench = with_server("refused");
    expect(evaluate(&bench, "", &[]), 8);
    assert_eq!(bench.summary()["blame"], "provider");
    let offer = "mkdir -p .aider_fsm; \
                 echo '{\"inference\": {\"openai_base_url\": \"http://192.0.2.1/v1\"}}' > .aider_fsm/runtime_env.json";
    let deploy = format!("deploy:\n  setup_cmd: {}\nrollout:\n  generic: true\n", json!(offer));
    let bench = dataset(3, &deploy);
    expect(evaluate(&bench, "", &[]), 1);
    let summary = bench.summary();
    assert_eq!(summary["blame"], json!("verifier"));
    let detail = summary["detail"].as_str().expect("text");
    assert!(
        detail.contains("no http URL of the sandbox's own loopback"),
        "{summary}"
    );
}
