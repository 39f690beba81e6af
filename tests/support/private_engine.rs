//! A Docker engine of a test's own, which may be killed: in mount and network namespaces
//! that nobody else sees, with everything that it keeps on a tmpfs there.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bollard::{Docker, body_full, query_parameters::CreateImageOptionsBuilder};
use futures_util::StreamExt;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Longest time for an engine to come up or go.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a small image is made of, from this machine: a shell for stages and one for OpenCode.
const PROGRAMS: [&str; 6] = ["sh", "bash", "sleep", "cat", "mkdir", "ls"];
/// What OpenCode's executable is linked to besides what those programs need.
const LIBRARIES: [&str; 4] = ["libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"];

pub struct PrivateEngine {
    dir: tempfile::TempDir,
    /// Holds the namespaces; ends with its standard input.
    holder: Child,
    containerd: Child,
    daemon: Child,
}

impl PrivateEngine {
    /// Starts one. Where it cannot be (no root, no `dockerd`), `None`, or a failure under CI.
    pub async fn start() -> Option<Self> {
        let missing = if !nix::unistd::geteuid().is_root() {
            Some("an engine of the test's own needs root".to_owned())
        } else {
            let lacks = |tool: &&str| which(tool).is_none();
            let tools = ["containerd", "dockerd", "nsenter", "unshare"];
            tools
                .iter()
                .find(|tool| lacks(tool))
                .map(|tool| format!("there is no {tool}"))
        };
        if let Some(why) = missing {
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("SKIPPED: {why}");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("engine-").tempdir().expect("tempdir");
        let own = dir.path().join("own");
        fs::create_dir(&own).expect("mkdir");
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "--net", "--propagation", "private", "--", "sh", "-c"]);
        holder.arg("mount -t tmpfs -o size=4g,mode=711 engine \"$1\" && echo ready && exec cat");
        holder.arg("sh").arg(&own).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = holder.spawn().expect("unshare");
        let mut line = String::new();
        let said = BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut line);
        assert!(said.is_ok() && line == "ready\n", "no namespaces of its own");
        let containerd = containerd(dir.path(), &holder);
        let daemon = daemon(dir.path(), &holder);
        let mut engine = Self {
            dir,
            holder,
            containerd,
            daemon,
        };
        engine.answers().await;
        Some(engine)
    }

    /// What the mounts of its containers name, and nobody else's.
    pub fn mark(&self) -> String {
        self.dir.path().join("own").display().to_string()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    pub fn client(&self) -> Docker {
        let socket = self.socket();
        Docker::connect_with_unix(socket.to_str().expect("UTF-8"), 60, bollard::API_DEFAULT_VERSION).expect("a client")
    }

    /// Waits until it answers.
    async fn answers(&mut self) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if self.socket().exists() && self.client().ping().await.is_ok() {
                return;
            }
            assert!(Instant::now() < give_up, "{}", self.last_words());
            let ended = self.daemon.try_wait().expect("wait");
            assert!(ended.is_none(), "{ended:?}: {}", self.last_words());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// A command where this engine's mounts are seen, for whose program it is *the* engine.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        let namespaces = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        inside
            .arg(namespaces)
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        inside
    }

    /// Kills it and its containerd, as a crash would; returns once both are gone.
    pub fn kill(&mut self) {
        for daemon in [&mut self.daemon, &mut self.containerd] {
            daemon.kill().expect("kill");
            daemon.wait().expect("wait");
        }
    }

    /// Starts it anew on what the one before it has left.
    pub async fn come_back(&mut self) {
        self.containerd = containerd(self.dir.path(), &self.holder);
        self.daemon = daemon(self.dir.path(), &self.holder);
        self.answers().await;
    }

    /// Imports a small image of this machine's own programs.
    pub async fn import(&self) -> String {
        let mut tar = tar::Builder::new(Vec::new());
        let mut have = BTreeSet::new();
        for program in PROGRAMS {
            let path = which(program).unwrap_or_else(|| panic!("no {program}"));
            let real = fs::canonicalize(&path).expect("there");
            have.extend(libraries(&real));
            tar.append_path_with_name(&real, format!("bin/{program}")).expect("tar");
        }
        let beside = |library: &Path| library.parent().map(Path::to_path_buf);
        let places: BTreeSet<PathBuf> = have.iter().filter_map(|library| beside(library)).collect();
        have.extend(LIBRARIES.iter().filter_map(|name| {
            let mut found = places.iter().map(|place| place.join(name));
            found.find(|path| path.exists())
        }));
        for library in have {
            let inside = library.strip_prefix("/").expect("absolute").to_path_buf();
            let real = fs::canonicalize(&library).expect("there");
            tar.append_path_with_name(real, inside).expect("tar");
        }
        let tar = tar.into_inner().expect("tar");
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo("small")
            .tag("1")
            .build();
        let client = self.client();
        let mut answers = client.create_image(Some(options), Some(body_full(tar.into())), None);
        while let Some(answer) = answers.next().await {
            answer.expect("imports");
        }
        "small:1".to_owned()
    }

    /// The processes that hold its containers, which live longer than it does.
    pub fn shims(&self) -> Vec<i32> {
        let shim = |pid: &i32| command_line(*pid).contains("containerd-shim");
        self.processes().into_iter().filter(shim).collect()
    }

    /// What its daemons have started and names its directory.
    fn processes(&self) -> Vec<i32> {
        let ours = self.dir.path().to_str().expect("UTF-8");
        let own = [&self.holder, &self.containerd, &self.daemon];
        let own = own.map(|child| i32::try_from(child.id()).expect("a pid"));
        let of = |pid: &i32| !own.contains(pid) && command_line(*pid).contains(ours);
        pids().into_iter().filter(of).collect()
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        let give_up = Instant::now() + PATIENCE;
        for daemon in [&mut self.daemon, &mut self.containerd] {
            let pid = i32::try_from(daemon.id()).expect("a pid");
            if matches!(daemon.try_wait(), Ok(None)) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            while matches!(daemon.try_wait(), Ok(None)) && Instant::now() < give_up {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        // What a failed test leaves; each was started by this engine.
        for pid in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Starts a containerd of the daemon's own, and waits for it as long as it takes: the one that
/// a daemon starts by itself has fifteen seconds, which a busy machine does not keep.
fn containerd(dir: &Path, holder: &Child) -> Child {
    let own = dir.join("own");
    let config = dir.join("containerd.toml");
    let [root, state] = ["containerd", "exec/containerd"].map(|name| own.join(name));
    let socket = containerd_socket(dir);
    let text = format!(
        "version = 2\nroot = {root:?}\nstate = {state:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = {socket:?}\n"
    );
    fs::write(&config, text).expect("a configuration");
    let _ = fs::remove_file(&socket);
    let mut child = spawn(dir, holder, "containerd", &[Path::new("--config"), &config]);
    wait_for("an answer of containerd", || {
        let ended = child.try_wait().expect("wait");
        assert!(ended.is_none(), "containerd ended: {ended:?}");
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
    child
}

/// Outside of the engine's file system, where this process sees it.
fn containerd_socket(dir: &Path) -> PathBuf {
    dir.join("containerd.sock")
}

/// Starts a daemon in the holder's namespaces.
fn daemon(dir: &Path, holder: &Child) -> Child {
    let own = |name: &str| dir.join("own").join(name);
    let (data, exec, pid) = (own("data"), own("exec"), own("pid"));
    let (host, containerd) = (format!("unix://{}", dir.join("sock").display()), containerd_socket(dir));
    let arguments = [
        "--data-root".as_ref(),
        data.as_path(),
        "--exec-root".as_ref(),
        &exec,
        "--pidfile".as_ref(),
        &pid,
        "--containerd".as_ref(),
        &containerd,
        "--host".as_ref(),
        host.as_ref(),
        "--bridge".as_ref(),
        "none".as_ref(),
        "--iptables=false".as_ref(),
    ];
    spawn(dir, holder, "dockerd", &arguments)
}

/// A program in the holder's namespaces, which speaks to the log.
fn spawn(dir: &Path, holder: &Child, program: &str, arguments: &[&Path]) -> Child {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .expect("a log");
    Command::new("nsenter")
        .arg(format!("--target={}", holder.id()))
        .args(["--mount", "--net", "--"])
        .arg(which(program).unwrap_or_else(|| panic!("no {program}")))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("nsenter")
}

/// Where a program is; `sbin` is not on everybody's `PATH`.
fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut found = std::env::split_paths(&path).chain(more).map(|dir| dir.join(program));
    found.find(|path| path.is_file())
}

/// The libraries and the loader of a program, by ldd(1).
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}

fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Every process of this machine.
pub fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Waits until a condition of the outside world holds; every such wait ends.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "{what} never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}
