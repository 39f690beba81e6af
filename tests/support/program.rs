//! The built program, run as a user runs it, on repositories and cassettes made here.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

/// The built program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_opencode-fsm");

/// The built program, with the jail for its walls where the tests are not about containers
/// (`OPENCODE_FSM_SANDBOX=docker`).
pub fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    // Tests go on side by side with others of this machine.
    command.env("OPENCODE_FSM_JOBS", "0");
    if std::env::var_os("OPENCODE_FSM_SANDBOX").is_none() {
        command.env("OPENCODE_FSM_SANDBOX", "jail");
    }
    command
}

/// Whether OpenCode is there. Where it must be (CI), its absence is a failure.
pub fn opencode() -> bool {
    let there = opencode_fsm::agent::find_binary(None);
    match &there {
        Ok(_) => true,
        Err(why) if std::env::var_os("CI").is_some() => panic!("{why}"),
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            false
        }
    }
}

/// A repository under test, the cassette that plays the model, and the runs.
pub struct Bench {
    dir: tempfile::TempDir,
    entries: Vec<Value>,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("loop-").tempdir().expect("tempdir");
        fs::create_dir(dir.path().join("repo")).expect("mkdir");
        Self {
            dir,
            entries: vec![json!({"cassette": 1})],
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the repository.
    pub fn file(&self, name: &str, text: &str) -> &Self {
        let path = self.path("repo").join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(&path, text).expect("write");
        if text.starts_with("#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        self
    }

    /// Makes the repository a copy of the examples.
    pub fn examples(&self) -> &Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/.");
        let copied = Command::new("cp").arg("-R").arg(from).arg(self.path("repo")).status();
        assert!(copied.expect("cp").success());
        self
    }

    /// The model's next answer in the turn `label`, for the `occurrence`th time that turn comes.
    pub fn say(&mut self, label: &str, occurrence: u32, call: u32, tools: &[(&str, Value)]) -> &mut Self {
        let tools: Vec<Value> = tools
            .iter()
            .map(|(name, arguments)| json!({"name": name, "arguments": arguments}))
            .collect();
        self.entries.push(json!({"turn": label, "occurrence": occurrence, "call": call, "reply": {"text": "so be it", "tools": tools}}));
        self
    }

    /// One tool call, then the end of the turn.
    pub fn act(&mut self, label: &str, occurrence: u32, tool: &str, arguments: Value) -> &mut Self {
        self.say(label, occurrence, 1, &[(tool, arguments)])
            .say(label, occurrence, 2, &[])
    }

    /// A shell command, then the end of the turn.
    pub fn shell(&mut self, label: &str, occurrence: u32, command: &str) -> &mut Self {
        self.act(
            label,
            occurrence,
            "bash",
            json!({"command": command, "description": "as scripted"}),
        )
    }

    /// Writes the cassette, and gives it as a model.
    pub fn cassette(&self) -> String {
        let cassette = self.path("cassette.jsonl");
        let text: String = self.entries.iter().map(|entry| format!("{entry}\n")).collect();
        fs::write(&cassette, text).expect("write");
        format!("cassette:{}", cassette.display())
    }

    /// Writes the cassette and gives the command line of a run with it.
    pub fn run(&self, more: &[&str]) -> Command {
        let model = self.cassette();
        self.command(
            &[
                &["run", "--json", "--opencode-bash", "full", "--model", &model],
                more,
                &[],
            ]
            .concat(),
            "repo",
        )
    }

    /// The program with a target (a name here) at the end.
    pub fn command(&self, arguments: &[&str], target: &str) -> Command {
        let mut command = program();
        command
            .args(arguments)
            .arg("--artifacts-dir")
            .arg(self.path("runs"))
            .arg(self.path(target));
        command.stdin(Stdio::null());
        for name in [
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "OPENAI_API_BASE",
            "AIDER_FSM_MODEL",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// Where the program keeps what it caches; every user may pass through to it.
    pub fn cache(&self) -> PathBuf {
        fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
        self.path("cache")
    }

    /// The only run so far.
    pub fn the_run(&self) -> PathBuf {
        let mut runs = fs::read_dir(self.path("runs"))
            .expect("runs")
            .map(|entry| entry.expect("entry").path());
        let run = runs.next().expect("a run");
        assert!(runs.next().is_none(), "one run");
        run
    }

    /// `summary.json` of the only run.
    pub fn summary(&self) -> Value {
        json_file(&self.the_run().join("summary.json"))
    }

    /// A file as the run brought it out.
    pub fn brought_out(&self, name: &str) -> String {
        fs::read_to_string(self.the_run().join("files").join(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
    }
}

pub fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))).expect("json")
}

/// Runs to the end and demands an exit code.
pub fn expect(mut command: Command, code: i32) -> Output {
    let output = command.output().expect("starts");
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}\n{}",
        shown(&output.stdout),
        shown(&output.stderr)
    );
    output
}

/// Everything that a look at a tree can tell: kinds, modes, times, owners and contents.
pub fn fingerprint(root: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).expect("stat");
        let bytes = if meta.is_file() {
            fs::read(&path).expect("read")
        } else {
            Vec::new()
        };
        if meta.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .expect("ls")
                    .map(|entry| entry.expect("entry").path()),
            );
        }
        found.insert(path, (meta.mode(), meta.mtime(), meta.mtime_nsec(), meta.uid(), bytes));
    }
    found
}

/// Every file below `root` that holds `needle`.
pub fn holding(root: &Path, needle: &str) -> Vec<PathBuf> {
    fingerprint(root)
        .into_iter()
        .filter(|(_, (.., bytes))| bytes.windows(needle.len()).any(|window| window == needle.as_bytes()))
        .map(|(path, _)| path)
        .collect()
}

/// A line of a process's `status` (proc_pid_status(5)), by its name with the colon.
pub fn process_status(pid: u32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

/// PID 1 of every container that the program that runs as `host` has made, where the tests
/// are about containers.
fn containers(host: u32) -> Vec<u32> {
    if std::env::var_os("OPENCODE_FSM_SANDBOX").is_none_or(|name| name != "docker") {
        return Vec::new();
    }
    let docker = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).output().expect("docker");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let ids = docker(&["ps", "--quiet", "--filter", "label=dev.opencode-fsm.sandbox"]);
    let format = "{{.State.Pid}} {{index .Config.Labels \"dev.opencode-fsm.owner\"}}";
    let inspect: Vec<&str> = ["inspect", "--format", format].into_iter().chain(ids.lines()).collect();
    let owned = docker(&inspect);
    owned
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, owner)| owner.starts_with(&format!("{host} ")))
        .filter_map(|(pid, _)| pid.parse().ok())
        .collect()
}

/// Who is whose child, on this machine.
fn children() -> BTreeMap<u32, Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("proc").flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && let Some(parent) = process_status(pid, "PPid:").and_then(|parent| parent.parse().ok())
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

/// All that descend from a process.
fn below(children: &BTreeMap<u32, Vec<u32>>, root: u32) -> Vec<u32> {
    let (mut found, mut left) = (Vec::new(), vec![root]);
    while let Some(pid) = left.pop() {
        let of = children.get(&pid).cloned().unwrap_or_default();
        found.extend(&of);
        left.extend(of);
    }
    found
}

fn is_init(pid: u32) -> bool {
    process_status(pid, "NSpid:").is_some_and(|ids| ids.ends_with("\t1"))
}

/// PID 1 of every sandbox of the program that runs as `host`, in which some process is `wanted`.
pub fn inits_with(host: u32, wanted: &dyn Fn(u32) -> bool) -> Vec<nix::unistd::Pid> {
    let children = children();
    below(&children, host)
        .into_iter()
        .chain(containers(host))
        .filter(|pid| is_init(*pid) && below(&children, *pid).into_iter().any(wanted))
        .filter_map(|pid| Some(nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?)))
        .collect()
}

/// One of them.
pub fn init_with(host: u32, wanted: &dyn Fn(u32) -> bool) -> Option<nix::unistd::Pid> {
    inits_with(host, wanted).into_iter().next()
}

/// The process that makes the jails of the program that runs as `host`.
pub fn launcher_of(host: u32) -> Option<nix::unistd::Pid> {
    let children = children();
    let makes = |pid: &u32| !is_init(*pid) && below(&children, *pid).into_iter().any(is_init);
    let launcher = children.get(&host)?.iter().copied().find(makes)?;
    Some(nix::unistd::Pid::from_raw(i32::try_from(launcher).ok()?))
}

/// Whose user namespaces are forbidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// To the user of the test, in a user namespace that knows no other.
    Own,
    /// To root, in one that knows every user.
    Root,
}

impl Forbidden {
    /// Those that whoever runs the test can show.
    pub fn all() -> Vec<Self> {
        let root = nix::unistd::geteuid().is_root();
        [Some(Self::Own), root.then_some(Self::Root)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Starts a command where no user namespace can be made: in one that forbids more.
    /// The process that is started becomes the command.
    pub fn spawn(self, command: &Command) -> std::process::Child {
        let id = nix::unistd::geteuid();
        let mut outer = Command::new("unshare");
        outer.args(["--user", "--keep-caps"]);
        match self {
            Self::Own if id.is_root() => {
                outer.arg("--map-root-user");
            }
            Self::Own => {
                outer.arg(format!("--map-user={id}"));
            }
            Self::Root => {}
        }
        // No shell waits for the maps: at its start it asks for its id and takes that on,
        // and where the maps come between, it becomes the id that unmapped ones are shown as.
        let wait = "sysread(STDIN, my $go, 1) == 1 or exit 125; exec @ARGV";
        let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\" < /dev/null";
        outer
            .args(["perl", "-e", wait, "sh", "-c", script, "sh"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => outer.env(name, value),
                None => outer.env_remove(name),
            };
        }
        outer
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = outer.spawn().expect("unshare");
        if self == Self::Root {
            let proc = PathBuf::from(format!("/proc/{}", child.id()));
            // It has its namespace by the time that it becomes another program.
            while fs::read_to_string(proc.join("comm")).expect("it lives") != "perl\n" {
                std::thread::yield_now();
            }
            for map in ["uid_map", "gid_map"] {
                fs::write(proc.join(map), "0 0 4294967295").expect("a map");
            }
        }
        let mut go = child.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut go, b".").expect("go");
        child
    }

    /// Runs a command so, to its end: its exit code and both of its streams.
    pub fn output(self, command: &Command) -> (Option<i32>, String) {
        let output = self.spawn(command).wait_with_output().expect("it ends");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }
}
