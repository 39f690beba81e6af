//! What `opencode serve` is started with: its environment, its configuration, and
//! the permissions of each phase. Ours outrank whatever the repository holds.

use serde_json::{Value, json};

use super::{AgentConfig, Desk};
use crate::{
    guard::{self, Phase},
    names::RelPath,
    policy::{BashMode, Inside, Proxy},
};

/// Where the executable appears inside.
pub const GUEST_BINARY: &str = "/opt/opencode/opencode";
/// Where the read-only configuration directory appears inside.
pub const GUEST_CONFIG: &str = "/opt/opencode-config";
/// Its catalogue of models, in that directory. The one that OpenCode carries describes
/// thousands; to read it took half of a first turn's time and a third of its memory, and
/// the only model is the one of our configuration.
pub(super) const CATALOGUE: &str = "models.json";
/// Our provider's and model's names inside; the door asks upstream for the real model.
pub(super) const PROVIDER: &str = "door";
pub(super) const MODEL: &str = "model";
/// HTTP user of the server.
pub(super) const USER: &str = "opencode";

/// Switches that keep OpenCode from loading, fetching or sending anything unasked.
const SWITCHES: [&str; 12] = [
    "OPENCODE_DISABLE_MODELS_FETCH",
    "OPENCODE_DISABLE_AUTOUPDATE",
    "OPENCODE_DISABLE_LSP_DOWNLOAD",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS",
    "OPENCODE_DISABLE_PROJECT_CONFIG",
    "OPENCODE_DISABLE_CLAUDE_CODE",
    "OPENCODE_DISABLE_EXTERNAL_SKILLS",
    "OPENCODE_DISABLE_SHARE",
    "OPENCODE_PURE",
    "OPENCODE_DISABLE_EMBEDDED_WEB_UI",
    "OPENCODE_DISABLE_FFF",
    "OPENCODE_DISABLE_FILEWATCHER",
];

/// Commands that look and do not touch; the guard, not this list, is the boundary.
const LOOKING: [&str; 8] = [
    "ls *",
    "ls",
    "cat *",
    "grep *",
    "rg *",
    "git status*",
    "git diff*",
    "git log*",
];

/// The server's command line.
pub(super) fn argv(inside: &Inside) -> Vec<String> {
    [
        &inside.piece(GUEST_BINARY),
        "serve",
        "--hostname",
        "127.0.0.1",
        "--port",
        &inside.server_port.to_string(),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Beginnings and ends of names that the server, its runtime or its libraries read
/// themselves, and single names: a repository's bootstrap does not set these for it.
const OWN_PREFIXES: [&str; 10] = [
    "OPENCODE", "XDG_", "NODE_", "BUN_", "LD_", "GLIBC_", "SSL_", "OTEL_", "OPENAI_", "AI_",
];
const OWN_SUFFIXES: [&str; 2] = ["_PROXY", "_API_KEY"];
const OWN_NAMES: [&str; 5] = ["HOME", "SHELL", "TMPDIR", "BASH_ENV", "ENV"];

fn is_own(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || OWN_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        || OWN_NAMES.contains(&name.as_str())
}

/// The server's whole environment, with those of `more` that are not its own.
pub(super) fn environment(
    password: &str,
    door_key: &str,
    inside: &Inside,
    more: &[(String, String)],
) -> Vec<(String, String)> {
    let home = &inside.home;
    let mut env: Vec<(String, String)> = [
        ("HOME", home.clone()),
        ("XDG_CONFIG_HOME", inside.piece(GUEST_CONFIG)),
        ("XDG_DATA_HOME", format!("{home}/.local/share")),
        ("XDG_STATE_HOME", format!("{home}/.local/state")),
        ("XDG_CACHE_HOME", format!("{home}/.cache")),
        ("TMPDIR", inside.tmp.clone()),
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        ),
        ("SHELL", "/bin/sh".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("GIT_TERMINAL_PROMPT", "0".to_owned()),
        ("OPENCODE_SERVER_USERNAME", USER.to_owned()),
        ("OPENCODE_SERVER_PASSWORD", password.to_owned()),
        (
            "OPENCODE_MODELS_PATH",
            format!("{}/{CATALOGUE}", inside.piece(GUEST_CONFIG)),
        ),
        // The compiler for code that runs for long costs a server of a few turns a fifth of
        // its time (JavaScriptCore's options; Bun reads them from BUN_JSC_*).
        ("BUN_JSC_useFTLJIT", "0".to_owned()),
        (
            "OPENCODE_CONFIG_CONTENT",
            configuration(inside.model_port, door_key).to_string(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    env.extend(
        inside
            .above()
            .map(|above| ("GIT_CEILING_DIRECTORIES".to_owned(), above.to_owned())),
    );
    env.extend(inside.proxy.iter().flat_map(Proxy::variables));
    env.extend(SWITCHES.map(|name| (name.to_owned(), "1".to_owned())));
    for (name, value) in more.iter().filter(|(name, _)| !is_own(name)) {
        match env.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => known.clone_from(value),
            None => env.push((name.clone(), value.clone())),
        }
    }
    env
}

fn configuration(model_port: u16, door_key: &str) -> Value {
    json!({
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": false, "share": "disabled", "formatter": false, "lsp": false, "snapshot": false,
        "model": format!("{PROVIDER}/{MODEL}"), "small_model": format!("{PROVIDER}/{MODEL}"),
        "enabled_providers": [PROVIDER],
        "provider": {PROVIDER: {
            "npm": "@ai-sdk/openai-compatible", "name": "Door",
            // The door answers within its own caps; these only guard against a lost connection.
            "options": {"baseURL": format!("http://127.0.0.1:{model_port}/v1"), "apiKey": door_key, "headerTimeout": 600_000, "chunkTimeout": 600_000},
            "models": {MODEL: {"name": "Model", "tool_call": true, "limit": {"context": 128_000, "output": 16_000}}},
        }},
        "permission": {
            "*": "allow", "external_directory": "deny", "doom_loop": "deny", "question": "deny",
            "webfetch": "deny", "websearch": "deny", "task": "deny", "skill": "deny",
        },
    })
}

/// The session's rules for a phase: every class explicit, so that nothing waits for
/// an answer; the last rule that matches wins.
pub(super) fn permissions(phase: Phase, config: &AgentConfig, desk: Desk<'_>) -> Value {
    let AgentConfig {
        bash,
        plan,
        pipeline,
        contract,
        ..
    } = config;
    let (inside, walled) = (desk.inside(), matches!(desk, Desk::Inside(_)));
    rules_for(phase, *bash, (plan, pipeline, contract), (inside, walled))
}

fn rules_for(
    phase: Phase,
    bash: BashMode,
    (plan, pipeline, contract): (&RelPath, &RelPath, &[RelPath]),
    (inside, walled): (&Inside, bool),
) -> Value {
    let mut rules = vec![rule("*", "*", "deny")];
    for class in ["read", "glob", "grep", "list", "todowrite", "todoread"] {
        rules.push(rule(class, "*", "allow"));
    }
    let (allowed, denied): (&[RelPath], Vec<&RelPath>) = match phase {
        Phase::PlanUpdate => (std::slice::from_ref(plan), Vec::new()),
        Phase::ExecuteStep => (&[], contract.iter().chain([plan]).collect()),
        Phase::FixOrReplan => (&[], contract.iter().collect()),
        Phase::Scaffold => (std::slice::from_ref(pipeline), Vec::new()),
        Phase::Repair => (&[], Vec::new()),
    };
    let open = matches!(phase, Phase::ExecuteStep | Phase::FixOrReplan);
    rules.push(rule("edit", "*", if open { "allow" } else { "deny" }));
    if matches!(phase, Phase::Scaffold | Phase::Repair) {
        let below = format!("{}/*", guard::contract_dir());
        let inside = format!("{}/{below}", inside.workspace.trim_start_matches('/'));
        rules.extend([below, inside].map(|pattern| rule("edit", &pattern, "allow")));
    }
    rules.extend(
        allowed
            .iter()
            .flat_map(|path| patterns(path, inside))
            .map(|pattern| rule("edit", &pattern, "allow")),
    );
    rules.extend(
        denied
            .into_iter()
            .flat_map(|path| patterns(path, inside))
            .map(|pattern| rule("edit", &pattern, "deny")),
    );
    match bash {
        BashMode::Full if !walled => rules.push(rule("bash", "*", "allow")),
        // The walls decide what lies outside the workspace, not OpenCode.
        BashMode::Full => rules.extend(["bash", "external_directory"].map(|class| rule(class, "*", "allow"))),
        BashMode::Restricted => rules.extend(LOOKING.iter().map(|pattern| rule("bash", pattern, "allow"))),
    }
    Value::Array(rules)
}

/// OpenCode matches paths relative to git's worktree, which is `/` where there is no git.
fn patterns(path: &RelPath, inside: &Inside) -> [String; 2] {
    let text = String::from_utf8_lossy(path.as_bytes()).into_owned();
    [format!("{}/{text}", inside.workspace.trim_start_matches('/')), text]
}

fn rule(permission: &str, pattern: &str, action: &str) -> Value {
    json!({"permission": permission, "pattern": pattern, "action": action})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What OpenCode decides: the last rule whose class and pattern match.
    fn decides(rules: &Value, class: &str, path: &str) -> String {
        let matches = |pattern: &str, text: &str| match pattern.strip_suffix('*') {
            Some(start) => text.starts_with(start),
            None => pattern == text,
        };
        let rules = rules.as_array().expect("rules");
        let last = rules.iter().rev().find(|rule| {
            matches(rule["permission"].as_str().expect("class"), class)
                && matches(rule["pattern"].as_str().expect("pattern"), path)
        });
        last.expect("the first rule matches all")["action"]
            .as_str()
            .expect("action")
            .to_owned()
    }

    #[test]
    fn each_phase_may_edit_its_own_files_and_nothing_ever_asks() {
        let path = |text: &str| RelPath::new(text).expect("path");
        let (plan, contract) = (path("PLAN.md"), [path("pipeline.yml")]);
        for phase in Phase::ALL {
            for (bash, walled) in [
                (BashMode::Restricted, true),
                (BashMode::Full, true),
                (BashMode::Full, false),
            ] {
                let paths = (&plan, &contract[0], &contract[..]);
                let rules = rules_for(phase, bash, paths, (&Inside::private(), walled));
                assert!(!rules.to_string().contains("\"ask\""));
                let edits = [
                    "PLAN.md",
                    "src/x.rs",
                    "pipeline.yml",
                    "workspace/pipeline.yml",
                    ".aider_fsm/stages/x.sh",
                ]
                .map(|p| decides(&rules, "edit", p));
                let expected = match phase {
                    Phase::PlanUpdate => ["allow", "deny", "deny", "deny", "deny"],
                    Phase::ExecuteStep => ["deny", "allow", "deny", "deny", "allow"],
                    Phase::FixOrReplan => ["allow", "allow", "deny", "deny", "allow"],
                    Phase::Scaffold => ["deny", "deny", "allow", "allow", "allow"],
                    Phase::Repair => ["deny", "deny", "deny", "deny", "allow"],
                };
                assert_eq!(edits, expected, "{phase:?}");
                let shell = if bash == BashMode::Full { "allow" } else { "deny" };
                assert_eq!(decides(&rules, "bash", "python3 -c 1"), shell);
                assert_eq!(decides(&rules, "webfetch", "https://x"), "deny");
            }
        }
    }

    #[test]
    fn the_environment_holds_a_dummy_key_only() {
        let more = |name: &str| (name.to_owned(), "more".to_owned());
        let env = environment(
            "pw",
            "d00r",
            &Inside::private(),
            &[
                "PATH",
                "VIRTUAL_ENV",
                "OPENCODE_CONFIG",
                "HOME",
                "OPENCODE_DISABLE_SHARE",
                "LD_PRELOAD",
                "https_proxy",
            ]
            .map(more),
        );
        let set: Vec<_> = env
            .iter()
            .filter(|(_, value)| value == "more")
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(set, ["PATH", "VIRTUAL_ENV"]);
        let text = format!("{env:?}");
        assert!(
            text.contains("127.0.0.1:4097/v1") && text.contains("\\\"apiKey\\\":\\\"d00r\\\""),
            "{text}"
        );
        assert!(!env.iter().any(|(name, _)| name.contains("OPENAI")));
        let catalogue = ("OPENCODE_MODELS_PATH", "/opt/opencode-config/models.json");
        assert!(
            env.iter()
                .any(|(name, value)| (name.as_str(), value.as_str()) == catalogue)
        );
    }
}
