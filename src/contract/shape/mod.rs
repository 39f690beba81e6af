//! The shapes of the declared files, for editors: JSON Schemas are made of these types,
//! and their comments are what an editor shows. What a file means its reader decides;
//! the tests hold the two together.
#![allow(dead_code, reason = "nothing but the shape of these types is used")]

mod generic;
mod left;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, generate::SchemaSettings};

use super::outputs;
use generic::{GenericEvaluationShape, GenericRolloutShape};
use left::{HintsUsedFile, MetricsFile, RolloutFile};

/// A stage's own fields and those that all stages share.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(JsonSchema)]
        #[schemars(deny_unknown_fields)]
        struct $name {
            $($(#[$field_doc])* $field: $type,)*
            /// Longest time of one command, seconds; 0 is no limit of its own.
            #[schemars(range(min = 0, max = 2_592_000))]
            timeout_seconds: Option<u32>,
            /// How often a failing command is repeated.
            #[schemars(range(min = 0, max = 100))]
            retries: Option<u32>,
            /// Variables of the commands.
            env: Option<BTreeMap<String, Scalar>>,
            /// Where the commands run, below the repository's root.
            workdir: Option<String>,
        }
    };
}

/// A single value of YAML.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Scalar {
    Text(String),
    Number(f64),
    Switch(bool),
    Nothing(()),
}

/// A boolean, in any of YAML 1.1's words.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Switch {
    Plain(bool),
    Word(SwitchWord),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum SwitchWord {
    Yes,
    No,
    On,
    Off,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Mode {
    Safe,
    System,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum TeardownPolicyWord {
    Always,
    OnSuccess,
    OnFailure,
    Never,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum CommandKind {
    RunCmd,
    InstallTool,
    StartService,
}

/// How a repository is judged: `pipeline.yml`, version 1 (docs/pipeline_spec.md).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PipelineFile {
    /// The integer 1.
    #[schemars(range(min = 1, max = 1))]
    version: Option<u32>,
    /// What commands may be, and caps on time.
    security: Option<SecuritySection>,
    /// Logs in where the others need it.
    auth: Option<AuthSection>,
    /// The acceptance commands.
    tests: Option<TestsSection>,
    /// Starts a service for the stages after it, and takes it down.
    deploy: Option<DeploySection>,
    /// Produces samples.
    rollout: Option<RolloutSection>,
    /// Measures, and says what its metrics must hold.
    evaluation: Option<EvaluationSection>,
    /// Measures further, after the evaluation.
    benchmark: Option<MeasurementSection>,
    /// How it is judged.
    verify: Option<VerifySection>,
    /// Where stages may leave files.
    artifacts: Option<ArtifactsSection>,
    /// Deprecated, and without effect.
    tooling: Option<ToolingSection>,
}

/// What commands may be, and caps on time.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SecuritySection {
    /// `safe` refuses sudo, dd and their like; `system` leaves them to the sandbox.
    mode: Option<Mode>,
    /// Regular expressions; a command must match one where there are any.
    #[schemars(length(max = 100))]
    allowlist: Option<Vec<String>>,
    /// Regular expressions; a command may match none.
    #[schemars(length(max = 100))]
    denylist: Option<Vec<String>>,
    /// Longest time of any command, seconds.
    #[schemars(range(min = 0, max = 2_592_000))]
    max_cmd_seconds: Option<u32>,
    /// Longest time of a whole stage, seconds.
    #[schemars(range(min = 0, max = 2_592_000))]
    max_total_seconds: Option<u32>,
}

/// How it is judged.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct VerifySection {
    /// `sealed` measures in a fresh sandbox of the target and the accepted changes, where no stage ran before.
    isolation: Option<IsolationWord>,
    /// Paths of the tree, or patterns with `*`, `?` and `**`, that the agent may not change.
    #[schemars(length(max = 100))]
    protected: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum IsolationWord {
    Shared,
    Sealed,
}

section! {
    /// Logs in where the others need it.
    AuthSection {
        /// Shell commands, in order.
        cmds: Option<Vec<String>>,
        /// One shell command.
        cmd: Option<String>,
        /// Another name of `cmds`.
        steps: Option<Vec<String>>,
        /// With `--unattended guided`, the commands get the user's terminal.
        interactive: Option<Switch>,
    }
}

section! {
    /// The acceptance commands.
    TestsSection {
        /// Shell commands, in order.
        cmds: Option<Vec<String>>,
        /// One shell command.
        cmd: Option<String>,
    }
}

section! {
    /// Starts a service for the stages after it, and takes it down.
    DeploySection {
        /// Commands that start it; what they leave running lives on.
        setup_cmds: Option<Vec<String>>,
        /// One such command.
        setup_cmd: Option<String>,
        /// Commands that succeed once it can be used.
        health_cmds: Option<Vec<String>>,
        /// One such command.
        health_cmd: Option<String>,
        /// Commands that take it down.
        teardown_cmds: Option<Vec<String>>,
        /// One such command.
        teardown_cmd: Option<String>,
        /// When it is taken down.
        teardown_policy: Option<TeardownPolicyWord>,
        /// Diagnostics of a cluster that runs inside.
        kubectl_dump: Option<KubectlDumpSection>,
    }
}

/// Diagnostics of a cluster that runs inside.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct KubectlDumpSection {
    /// Whether they are wanted.
    enabled: Option<Switch>,
    /// For the logs; all namespaces where none is named.
    namespace: Option<String>,
    /// Whose logs.
    label_selector: Option<String>,
    /// Whether logs are wanted; they need a selector.
    include_logs: Option<Switch>,
}

section! {
    /// Produces samples.
    RolloutSection {
        /// Shell commands, in order.
        run_cmds: Option<Vec<String>>,
        /// One shell command.
        run_cmd: Option<String>,
        /// A rollout without code of the repository, in place of commands (docs/rollouts.md).
        generic: Option<GenericRolloutShape>,
    }
}

section! {
    /// Measures, and says what its metrics must hold.
    MeasurementSection {
        /// Shell commands, in order.
        run_cmds: Option<Vec<String>>,
        /// One shell command.
        run_cmd: Option<String>,
        /// The metrics file, below the repository's root.
        metrics_path: Option<String>,
        /// Keys that the metrics must hold; dotted names descend.
        required_keys: Option<Vec<String>>,
    }
}

section! {
    /// Measures, and says what its metrics must hold.
    EvaluationSection {
        /// Shell commands, in order.
        run_cmds: Option<Vec<String>>,
        /// One shell command.
        run_cmd: Option<String>,
        /// The metrics file, below the repository's root.
        metrics_path: Option<String>,
        /// Keys that the metrics must hold; dotted names descend.
        required_keys: Option<Vec<String>>,
        /// An evaluation without code of the repository, in place of commands (docs/hints.md).
        generic: Option<GenericEvaluationShape>,
    }
}

/// Where stages may leave files.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ArtifactsSection {
    /// A directory below the repository's root.
    out_dir: Option<String>,
}

/// Deprecated, and without effect.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ToolingSection {
    ensure_tools: Option<Switch>,
    ensure_kind_cluster: Option<Switch>,
    kind_cluster_name: Option<String>,
    kind_config: Option<String>,
}

/// What prepares a repository for its stages: `.aider_fsm/bootstrap.yml`, version 1 (docs/bootstrap_spec.md).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct BootstrapFile {
    /// The integer 1.
    #[schemars(range(min = 1, max = 1))]
    version: Option<u32>,
    /// Shell commands, in order.
    cmds: Option<Vec<String>>,
    /// One shell command.
    cmd: Option<String>,
    /// Another name of `cmds`.
    steps: Option<Vec<String>>,
    /// Variables of the commands and of every stage; `${NAME}` and `$NAME` are expanded, `$$` is `$`.
    env: Option<BTreeMap<String, Scalar>>,
    /// Longest time of one command, seconds.
    #[schemars(range(min = 0, max = 2_592_000))]
    timeout_seconds: Option<u32>,
    /// How often a failing command is repeated.
    #[schemars(range(min = 0, max = 100))]
    retries: Option<u32>,
    /// Where the commands run, below the repository's root.
    workdir: Option<String>,
}

/// What an agent asks for, once, after a failure: `.aider_fsm/actions.yml`, version 1.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ActionsFile {
    /// The integer 1.
    #[schemars(range(min = 1, max = 1))]
    version: Option<u32>,
    /// What to do, in order; the first failure ends it.
    #[schemars(length(min = 1, max = 50))]
    actions: Vec<ActionShape>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum ActionShape {
    Command(CommandAction),
    Write(WriteAction),
}

/// Runs a shell command.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct CommandAction {
    /// Its name; unlike every other in the file.
    #[schemars(length(max = 100))]
    id: Option<String>,
    /// What it is; `run_cmd` where it is not given.
    kind: Option<CommandKind>,
    /// The command.
    cmd: String,
    /// Longest time, seconds.
    #[schemars(range(min = 0, max = 2_592_000))]
    timeout_seconds: Option<u32>,
    /// How often it is repeated when it fails.
    #[schemars(range(min = 0, max = 100))]
    retries: Option<u32>,
    /// For whoever reads the file.
    risk_level: Option<String>,
    /// For whoever reads the file.
    rationale: Option<String>,
}

/// Writes a file.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WriteAction {
    /// Its name; unlike every other in the file.
    #[schemars(length(max = 100))]
    id: Option<String>,
    /// `write_file`.
    #[schemars(extend("const" = "write_file"))]
    kind: String,
    /// Where to, below the repository's root.
    #[schemars(length(max = 4096))]
    path: String,
    /// The whole file.
    content: String,
    /// Without effect.
    #[schemars(range(min = 0, max = 2_592_000))]
    timeout_seconds: Option<u32>,
    /// Without effect.
    #[schemars(range(min = 0, max = 100))]
    retries: Option<u32>,
    /// For whoever reads the file.
    risk_level: Option<String>,
    /// For whoever reads the file.
    rationale: Option<String>,
}

/// The name, the place and the JSON Schema of each declared file, and of each file that stages leave behind.
pub fn schemas() -> Vec<(&'static str, &'static str, Schema)> {
    vec![
        ("pipeline", "pipeline.yml", of::<PipelineFile>()),
        ("bootstrap", ".aider_fsm/bootstrap.yml", of::<BootstrapFile>()),
        ("actions", ".aider_fsm/actions.yml", of::<ActionsFile>()),
        ("metrics", "the file at metrics_path", of::<MetricsFile>()),
        ("rollout", ".aider_fsm/rollout.json", of::<RolloutFile>()),
        (
            "runtime_env",
            ".aider_fsm/runtime_env.json",
            outputs::schema(&outputs::RUNTIME_ENV),
        ),
        (
            "hints_run",
            ".aider_fsm/hints_run.json",
            outputs::schema(&outputs::HINTS_RUN),
        ),
        ("hints_used", ".aider_fsm/hints_used.json", of::<HintsUsedFile>()),
    ]
}

fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>()
}

#[cfg(test)]
mod tests;
